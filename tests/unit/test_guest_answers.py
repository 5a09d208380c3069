"""What a guest's scripts answer is text that somebody else chose: a value, or a failure that names the VM."""

from __future__ import annotations

import base64
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vmm_automation.ansible.action_base import AnsibleGuest
from vmm_automation.errors import TaskFailed
from vmm_automation.images.archive import ArchivePolicy
from vmm_automation.model.ua import UaDefinition, UserData
from vmm_automation.operations import ua
from vmm_automation.operations.user_image import plan_capture
from vmm_automation.operations.user_image_answers import names, succeeded
from vmm_automation.operations.user_image_fetch import Source, fetch
from vmm_automation.operations.user_image_scripts import SessionAccount
from vmm_automation.ports import GuestResult

UA = UaDefinition("notes", "Notes", versions=(), user_data=UserData(settings=(".notes",)))
_TEXT = st.one_of(st.text(), st.from_regex(r"\A((consistency|size|sha256|kept|removed) [ -~]{0,9}\n){0,9}"))


class TalkingGuest:
    """Says the same to every script."""

    name = "vm-1"

    def __init__(self, stdout: str = "", *, stderr: str = "", status: int = 0) -> None:
        self.said = GuestResult(status, stdout, stderr)

    def run(self, script: str, *, stdin: bytes = b"") -> GuestResult:
        """As :class:`ports.Guest`."""
        del script, stdin
        return self.said

    def put(self, local: Path, remote: str) -> None:
        """Not asked for here."""
        raise NotImplementedError

    def fetch(self, remote: str, local: Path, *, limit: int) -> None:
        """As far as any test comes."""
        raise NotImplementedError


def capture(guest: TalkingGuest) -> None:
    account = SessionAccount()
    source = Source(guest, UA, account, ArchivePolicy(home=account.home))
    with pytest.raises(NotImplementedError):
        fetch(source, into=Path("/nonexistent/user.tar"), tag="")


def preview(guest: TalkingGuest) -> None:
    names(guest, guest.said.stdout, doing="look through the user's home")


_READERS = {
    "capture": capture,
    "plan": lambda guest: plan_capture(guest, ua=UA),
    "preview": preview,
    "ua": ua.read_status,
}


@pytest.mark.parametrize("read", _READERS.values(), ids=_READERS.keys())
@given(text=_TEXT)
def test_any_answer_is_understood_or_fails_by_the_name_of_the_vm(
    read: Callable[[TalkingGuest], object], text: str
) -> None:
    """Missing lines, other numbers, other text: never a failure of another kind."""
    try:
        read(TalkingGuest(text))
    except TaskFailed as failed:
        assert "vm-1" in failed.message
        assert failed.details["host"] == "vm-1"


@pytest.mark.parametrize(
    "said",
    [
        "",
        "consistency stopped\nsize x\nsha256 " + "0" * 64,
        "consistency stopped\nsize \u0663\nsha256 " + "0" * 64,
        "consistency stopped\nsize -1\nsha256 " + "0" * 64,
        "consistency good\nsize 1\nsha256 " + "0" * 64,
        "consistency stopped\nsize 1\nsha256 0",
    ],
)
def test_capture_that_answers_otherwise_than_agreed_fails(said: str) -> None:
    """Nothing is fetched by such an answer."""
    with pytest.raises(
        TaskFailed, match=r"on VM 'vm-1': its answer has no usable '(consistency|size|sha256)'"
    ):
        capture(TalkingGuest(said))


@pytest.mark.parametrize("said", ["vmm\tfree\tmuch", "vmm\tincoming\tx", "vmm\tunit\tvmm-ua-x"])
def test_list_of_uas_that_cannot_be_read_fails(said: str) -> None:
    """By the name of the VM too."""
    with pytest.raises(TaskFailed, match="VM 'vm-1'"):
        ua.read_status(TalkingGuest(said))


def test_names_may_hold_any_byte() -> None:
    """What is no UTF-8 survives."""
    guest = TalkingGuest(base64.b64encode(b"f a\xff\nb\0d c\0").decode())
    assert names(guest, guest.said.stdout, doing="look") == ["f a\udcff\nb", "d c"]


def test_failure_of_tar_names_the_path() -> None:
    """And not tar's last words; other output is told by its last line, with nothing that a terminal obeys."""
    said = "tar: a: socket ignored\ntar: b\x1b c: Cannot open: Permission denied\ntar: Exiting with"
    gave_up = " failure status due to previous errors\n"
    guest = TalkingGuest(stderr=said + gave_up, status=2)
    with pytest.raises(
        TaskFailed, match=r"on VM 'vm-1': cannot open 'b\\x1b c': Permission denied"
    ) as failed:
        succeeded(guest, guest.said, doing="capture", home="/home/session")
    assert failed.value.hint == (
        r"in the guest: chown -h --reference=/home/session '/home/session/b\x1b c'"
        r" && chmod u+rX '/home/session/b\x1b c'"
    )
    guest = TalkingGuest(stderr="tar: x: file changed\ntar: Exiting with" + gave_up, status=2)
    with pytest.raises(TaskFailed, match=r"x: file changed$"):
        succeeded(guest, guest.said, doing="capture")


def test_output_that_is_not_utf8_is_text_that_can_be_stored() -> None:
    """Ansible hands it on as lone surrogates, which neither the state nor a file takes."""
    said = {"rc": 0, "stdout": "caf\udce9", "stderr": "\udcff"}
    action: Any = SimpleNamespace(_low_level_execute_command=lambda *_args, **_more: said)
    done = AnsibleGuest(action, name="vm-1").run("true")
    assert (done.stdout + done.stderr).encode() == "caf\ufffd\ufffd".encode()
