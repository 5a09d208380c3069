"""A pool of real VMs: filled, more requests than it has VMs, filled again, and gone."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from .calendars import answers
from .controller import Controller, Started, wait_until

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


def opening(vmm: Controller, user: str) -> Started:
    """A request in a process of its own, for VMs of the pool only."""
    words = ("session", "open", "--user", user, "--ua", "radicale", "--wait", "900")
    return vmm.start(*words, "--avoid", "vm-1", "--avoid", "vm-2")


def test_five_requests_for_a_pool_of_three(vmm: Controller, pool: str) -> None:
    """Two ready, one saved: at once two get a ready VM, one the saved one, two wait until sessions close."""
    assert vmm("pool", "refill", pool).changed
    assert found(vmm) == {"ready": 2, "parked": 1}
    assert not vmm("pool", "refill", pool).changed

    requests = {user: opening(vmm, user) for user in ("ida", "ivo", "ina", "ian", "isa")}
    wait_until(
        lambda: len(vmm.live_sessions()) == 3 and len(vmm("session", "queue").result["queue"]) == 2,
        what="three served and two waiting",
        seconds=300,
    )
    waiting = [each["user"] for each in vmm("session", "queue").result["queue"]]
    served = {user: requests[user].wait().result for user in requests if user not in waiting}
    assert sorted(each["warmth"] for each in served.values()) == ["parked", "ready", "ready"]
    assert len({each["vm"] for each in served.values()}) == 3
    assert all(answers(each["session"]["endpoint"]) for each in served.values())
    assert found(vmm) == {"in_use": 3}

    for user, each in list(served.items())[:2]:
        vmm("session", "close", each["session"]["id"])
        del served[user]
    served |= {user: requests[user].wait().result for user in waiting}
    assert len({each["vm"] for each in served.values()}) == 3
    assert all(answers(each["session"]["endpoint"]) for each in served.values())
    assert vmm("session", "queue").result["queue"] == []

    for each in served.values():
        vmm("session", "close", each["session"]["id"])
    told = vmm("pool", "refill", pool).result["pools"][pool]["steps"]
    assert [step["action"] for step in told] == ["park"]
    assert found(vmm) == {"ready": 2, "parked": 1}
    assert len(vmm("pool", "drain", pool, "--delete", "--yes").result["deleted"]) == 3
    assert not [vm for vm in vmm("vm", "list").result["vms"] if vm["name"].startswith("cal-")]
