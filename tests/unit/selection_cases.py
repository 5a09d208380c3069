"""A UA, a VM and a terminal that fit each other, to be changed by each test of selection."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from vmm_automation.errors import NoVmFits
from vmm_automation.model.terminal import TerminalProfile
from vmm_automation.model.ua import Artifact, Requirements, UaDefinition, UaVersion
from vmm_automation.model.vm import Offers, Vm, VmCondition, VmFacts, VmState
from vmm_automation.selection.outcome import Selection
from vmm_automation.selection.select import select_vm

VERSIONS = ("3.2.3", "3.10.0", "3.3.0")  # by age: 3.3.0 is the newest although its number is not the highest
NEEDS = Requirements(protocols=("http",), vcpus=1, memory_mib=256)
PHONE = TerminalProfile(name="phone", screen_width_px=390, screen_height_px=844, inputs=("touch",),
                        audio_out=True, protocols=("http",), bandwidth_kbit_s=8000)  # fmt: skip

RICH = replace(PHONE, video_codecs=("h264", "av1"), audio_codecs=("opus", "aac"), max_frame_rate_hz=60)


def a_ua(**changes: Any) -> UaDefinition:
    """Radicale in three versions, with requirements changed as asked."""
    versions = tuple(UaVersion(each, "pip", (Artifact("x", "0" * 64),)) for each in VERSIONS)
    return UaDefinition("radicale", "Radicale", versions, requirements=replace(NEEDS, **changes))


def a_vm(name: str = "vm-1", **changes: Any) -> VmFacts:
    """A VM that fits, changed as asked; keys of VmFacts and of Vm alike."""
    facts: dict[str, Any] = {"condition": VmCondition.CLEAN, "session": None, "offers": Offers()}
    facts |= {"pool": "", "drained": False, "held": "", "kept_for": None}
    facts["active_uas"] = {"radicale": "3.3.0"}
    facts |= {key: changes.pop(key) for key in list(changes) if key in facts}
    vm = Vm(name=name, domain=name, uuid=name, state=VmState.RUNNING, profile="small", base_digest="",
            vcpus=2, memory_mib=768, ssh_port=22, host_key="", protocols=("http",), ready=True)  # fmt: skip
    return VmFacts(replace(vm, **changes), **facts)


def choose(facts: Sequence[VmFacts], **changes: Any) -> Selection:
    """Select with nothing special asked, changed as asked."""
    asked: dict[str, Any] = {"ua": a_ua(), "terminal": PHONE, "version": None, "wanted_vm": None}
    asked |= {"avoid": (), "last_vm": None}
    return select_vm(facts=facts, **(asked | changes))


def refused(facts: Sequence[VmFacts], **changes: Any) -> NoVmFits:
    """The error of a selection that leaves no VM."""
    with pytest.raises(NoVmFits) as raised:
        choose(facts, **changes)
    return raised.value
