"""A pool of real VMs: filled, a session on the parked one, filled again, and gone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from .calendars import answers
from .controller import Controller

PROFILE = "base_image: debian\nvcpus: 1\nmemory_mib: 512\n"
POOL = 'profile: tiny\nua: radicale\nversion: "3.2.3"\nready: 2\nparked: 1\nparallel_creates: 3\n'


@pytest.fixture
def pool(vmm: Controller, base_image: None) -> Iterator[str]:
    """A pool in the site's files; its VMs are gone at the end."""
    del base_image
    files = {vmm.site / "profiles" / "tiny.yml": PROFILE, vmm.site / "pools" / "cal.yml": POOL}
    for file, text in files.items():
        file.parent.mkdir(exist_ok=True)
        file.write_text(text)
    try:
        yield "cal"
    finally:
        vmm("pool", "drain", "cal", "--delete", "--yes")
        for file in files:
            Path(file).unlink()


def found(vmm: Controller) -> dict[str, int]:
    """Where the pool's VMs are, of places with any."""
    told = vmm("pool", "show", "cal").result["pool"]
    return {place: count for place, count in told["found"].items() if count}


def test_session_on_a_parked_vm_of_a_filled_pool(vmm: Controller, pool: str) -> None:
    """Two ready and one saved; the saved one is resumed for a session, and saved again by a later refill."""
    assert vmm("pool", "refill", pool).changed
    assert found(vmm) == {"ready": 2, "parked": 1}
    assert not vmm("pool", "refill", pool).changed
    states = {
        vm["name"]: vm["state"] for vm in vmm("vm", "list").result["vms"] if vm["name"].startswith("cal-")
    }
    [parked] = [name for name, state in states.items() if state == "parked"]

    words = ("session", "open", "--user", "ida", "--ua", "radicale", "--vm", parked)
    opened = vmm(*words).result
    assert opened["warmth"] == "parked"
    assert answers(opened["session"]["endpoint"])
    assert found(vmm) == {"ready": 2, "in_use": 1}
    assert not vmm("pool", "refill", pool).changed

    vmm("session", "close", opened["session"]["id"])
    told = vmm("pool", "refill", pool).result["pools"][pool]["steps"]
    assert [step["action"] for step in told] == ["park"]
    assert found(vmm) == {"ready": 2, "parked": 1}
    assert len(vmm("pool", "drain", pool, "--delete", "--yes").result["deleted"]) == 3
    assert not [vm for vm in vmm("vm", "list").result["vms"] if vm["name"].startswith("cal-")]
