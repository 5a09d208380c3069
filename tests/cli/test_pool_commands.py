"""``vmm pool``: what people and pipelines see of pools."""

from __future__ import annotations

from pathlib import Path

import pytest

from ..made_site import MadeSite
from ..pool_site import make_pool_site

ONE, TWO, THREE = "web-00000001", "web-00000002", "web-00000003"


@pytest.fixture
def pool(tmp_path: Path) -> MadeSite:
    """Two ready are wanted and one parked; of three VMs one is in a session and one lacks the UA."""
    site = make_pool_site(
        tmp_path, members=[ONE, TWO, THREE], levels="ready: 2\nparked: 1\nmax: 4", lacking=[THREE]
    )
    site.claim("s-1", vm=ONE)
    return site


def test_list_has_wanted_and_found_for_each_level(pool: MadeSite) -> None:
    """One line per pool, and the same as JSON."""
    text = pool.vmm("pool", "list").stdout.splitlines()
    assert text[0].split() == ["NAME", "UA", "READY", "PARKED", "COLD", "IN", "USE", "OTHER", "MAX", "STATUS"]
    assert text[1].split() == ["web", "tool", "1", "1/2", "0/1", "0/0", "1", "1", "4", "ok"]
    status, document = pool.json("pool", "list")
    [told] = document["result"]["pools"]
    assert (status, told["wanted"]) == (0, {"ready": 2, "parked": 1, "cold": 0})
    assert told["found"] == {"ready": 1, "parked": 0, "cold": 0, "in_use": 1, "other": 1}


def test_show_has_each_vm_and_what_a_refill_would_do(pool: MadeSite) -> None:
    """Who asks sees what the next refill does, and why."""
    text = pool.vmm("pool", "show", "web").stdout
    assert f"prepare {THREE} (its UA is not active)" in text
    assert "create a parked VM (missing)" in text
    told = pool.json("pool", "show", "web")[1]["result"]["pool"]
    assert {member["vm"]: member["place"] for member in told["members"]} == {
        ONE: "in_use",
        TWO: "ready",
        THREE: "other",
    }


def test_scaled_and_drained_pool_says_so(pool: MadeSite) -> None:
    """In the listing, and why a session does not get its VMs."""
    assert pool.vmm("pool", "scale", "web", "--ready", "1").stdout == "web: 1 ready, 1 parked, 0 cold\n"
    assert pool.json("pool", "drain", "web")[1]["changed"]
    assert pool.vmm("pool", "list").stdout.splitlines()[1].endswith("4    drained, scaled")
    words = ("session", "select", "--user", "ann", "--ua", "tool", "--terminal", "phone", "--vm", TWO)
    status, document = pool.json(*words)
    assert (status, document["error"]["class"]) == (7, "NoVmFits")
    assert "it is of pool 'web', which is drained" in document["error"]["message"]
    assert document["error"]["hint"] == "vmm pool list"
    assert pool.vmm("pool", "drain", "web", "--undo").stdout == "web: gives out VMs\n"
    assert pool.json(*words)[0] == 0


@pytest.mark.parametrize(
    ("words", "status", "kind"),
    [
        (["show", "wbe"], 4, "NotFound"),
        (["show", "../web"], 2, "InvalidName"),
        (["scale", "web"], 2, "UsageError"),
        (["scale", "web", "--ready", "9"], 2, "UsageError"),
        (["scale", "web", "--ready", "-1"], 2, "UsageError"),
        (["drain", "web", "--delete"], 2, "UsageError"),
        (["drain", "web", "--delete", "--undo"], 2, "UsageError"),
        (["refill", "wbe"], 4, "NotFound"),
    ],
)
def test_wrong_request_is_refused_with_a_hint(
    pool: MadeSite, words: list[str], status: int, kind: str
) -> None:
    """Nothing is changed, and there is one thing to type."""
    before = pool.dump()
    found, document = pool.json("pool", *words)
    assert (found, document["error"]["class"]) == (status, kind), document
    assert document["error"]["hint"]
    assert pool.dump() == before


def test_wrong_pool_file_is_told_with_all_its_errors(pool: MadeSite) -> None:
    """By path, before anything is done."""
    (pool.directory / "pools" / "web.yml").write_text("profile: small\nua: tool\nready: two\nmaximum: 3\n")
    status, document = pool.json("pool", "refill")
    assert (status, document["error"]["class"]) == (3, "SiteInvalid")
    assert "pools/web.yml: maximum: unknown key" in document["error"]["message"]
    assert "pools/web.yml: ready: 'two' is not a whole number" in document["error"]["message"]


def test_site_without_pools_says_how_to_have_one(tmp_path: Path) -> None:
    """An empty list is no error; refilling nothing is."""
    site = make_pool_site(tmp_path, members=[])
    (site.directory / "pools" / "web.yml").unlink()
    assert site.vmm("pool", "list").stdout.startswith("No pools. Define one")
    assert site.json("pool", "refill")[0] == 4
