"""How the acceleration verdict is reached without starting a guest."""

from __future__ import annotations

from pathlib import Path

import pytest

from vmm_automation.adapters.acceleration import probe_acceleration
from vmm_automation.errors import UsageError
from vmm_automation.model.base_image import BaseImage

_IMAGE = BaseImage("plain", "0" * 64, Path("/images/disk.qcow2"), None, None, "")


@pytest.mark.parametrize("kind", ["kvm", "tcg"])
def test_an_operator_who_decides_is_obeyed(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """VMM_ACCELERATION decides at once, and its decision is not kept for later runs."""
    monkeypatch.setenv("VMM_ACCELERATION", kind)
    verdict = probe_acceleration(_IMAGE, directory=tmp_path)
    assert (verdict.kind, verdict.seconds) == (kind, 0.0)
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_decision_is_a_usage_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A misspelt value must not silently mean one or the other."""
    monkeypatch.setenv("VMM_ACCELERATION", "hvf")
    with pytest.raises(UsageError, match="'hvf'"):
        probe_acceleration(_IMAGE, directory=tmp_path)


def test_an_image_without_a_kernel_gets_emulation_with_a_reason(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What cannot be tried is not claimed, and the reason is said."""
    monkeypatch.delenv("VMM_ACCELERATION", raising=False)
    verdict = probe_acceleration(_IMAGE, directory=tmp_path)
    assert verdict.kind == "tcg"
    assert "kvm" in verdict.reason.lower()
