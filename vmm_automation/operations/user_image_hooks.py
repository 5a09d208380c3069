"""What a UA brings for its data: hooks around a capture, and converters from one data version to the next."""

from __future__ import annotations

import secrets
from collections.abc import Sequence

from vmm_automation.model.ua import Converter, UaDefinition
from vmm_automation.operations.user_image_answers import succeeded
from vmm_automation.operations.user_image_scripts import SessionAccount, hook_script
from vmm_automation.ports import Guest

_SESSION_ACCOUNT = SessionAccount()


def run_hooks(
    guest: Guest, *, ua: UaDefinition, names: Sequence[str], account: SessionAccount = _SESSION_ACCOUNT
) -> bool:
    """Run those of a UA's hooks ``dump`` and ``stop`` that it brings; False where it does not run any more.

    Raises:
        TaskFailed: one ended with a status, or not in time.
    """
    script = hook_script(account, operation=secrets.token_hex(8), ua=ua, names=names)
    if not script:
        return True
    doing = f"prepare the capture of UA '{ua.id}'"
    return succeeded(guest, guest.run(script), doing=doing).stdout.strip() == "done"


def converters_between(ua: UaDefinition, *, older: int, newer: int) -> tuple[Converter, ...] | None:
    """What brings data of one data version to another, in order: the fewest steps; None if nothing does."""
    ways: dict[int, tuple[Converter, ...]] = {older: ()}
    reached = [older]
    for at in reached:  # grows while it is walked: breadth first
        for each in ua.converters:
            if each.older == at and each.newer <= newer and each.newer not in ways:
                ways[each.newer] = (*ways[at], each)
                reached.append(each.newer)
    return ways.get(newer)
