"""A guest that says one thing of its user image and sends another: a guest of namespaces on this machine."""

from __future__ import annotations

import os
import re
from dataclasses import replace
from pathlib import Path

import pytest

from vmm_automation.errors import ArtifactInvalid
from vmm_automation.images.borg import BorgStore
from vmm_automation.ports import GuestResult

from .local_guest import FILL, LocalGuest, captured, leftovers

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="namespaces with accounts need root")


@pytest.mark.parametrize("told", ["real", "more than the limit"])
def test_guest_that_sends_more_than_it_says_or_than_is_let_in_is_refused(
    guest: LocalGuest, store: BorgStore, tmp_path: Path, told: str
) -> None:
    """The controller writes no more than the announced size, and that is bounded by the policy."""

    class Lying(LocalGuest):
        def __init__(self) -> None:
            self.__dict__.update(guest.__dict__)

        def run(self, script: str, *, stdin: bytes = b"") -> GuestResult:
            done = super().run(script, stdin=stdin)
            for tar in self.outside("/root").glob("*.tar"):
                os.truncate(tar, 1 << 40)
            if told != "real":
                done = replace(done, stdout=re.sub("size [0-9]+", "size 9000000000", done.stdout))
            return done

    guest.as_session(FILL)
    with pytest.raises(ArtifactInvalid, match=r"more than [0-9,]+"):
        captured(Lying(), store, tmp_path)
    assert leftovers(guest, tmp_path) == []
