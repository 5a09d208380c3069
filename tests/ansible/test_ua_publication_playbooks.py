"""Publishing and withdrawing by the playbooks, as the command does it."""

from __future__ import annotations

from ..made_site import MadeSite
from .test_playbooks import play


def test_playbooks_publish_and_withdraw_as_the_command_does(site: MadeSite) -> None:
    """The same documents; what one door did is no change for the other."""
    first = play(site, "ua_publish", ua_id="radicale", ua_note="first")
    assert (first.status, first.changed, first.stats["revision"]) == (0, 1, 1)
    assert not site.json("ua", "publish", "radicale")[1]["changed"]
    done = play(site, "ua_withdraw", ua_id="radicale", ua_version="3.2.3", ua_drain_s=60)
    assert (done.changed, done.stats["version"]) == (1, "3.2.3")
    assert done.stats["drain_until"]
    again = site.json("ua", "withdraw", "radicale", "--version", "3.2.3")[1]
    assert (again["changed"], again["result"]["drain_until"]) == (False, done.stats["drain_until"])
