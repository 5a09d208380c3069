"""``vmm doctor``: what is missing or wrong on this controller, and the fix."""

from __future__ import annotations

import click

from vmm_automation.cli.door import Door, Reply, operation
from vmm_automation.errors import PreflightFailed

_holder = click.Group("vmm")


@operation(_holder, "doctor")
def command(door: Door) -> Reply:
    """Check this controller and its site; changes nothing. Exit status 8 if a check failed.

    Example: vmm doctor --output json
    """
    from vmm_automation.operations.doctor import examine

    checks = examine(door.context)
    lines = [
        f"{check.status.upper():8} {check.name}: {check.found}"
        + (f"\n{'':9}Fix: {check.fix}" if check.fix else "")
        for check in checks
    ]
    documents = [check.to_document() for check in checks]
    failed = [check for check in checks if check.status == "failed"]
    if failed:
        if door.output == "text":
            door.show(Reply({}, "\n".join(lines)))
        names = ", ".join(check.name for check in failed)
        raise PreflightFailed(
            f"{len(failed)} of {len(checks)} checks failed: {names}",
            hint=failed[0].fix,
            details={"checks": documents},
        )
    return Reply({"checks": documents}, "\n".join(lines))
