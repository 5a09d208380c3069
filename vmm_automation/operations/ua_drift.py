"""Where a guest and the ledger differ, and what would mend it: pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from vmm_automation.model.ua import Deployment, DeploymentState
from vmm_automation.operations.ua_reports import UaOnGuest

_STANDING = frozenset({DeploymentState.DELIVERED, DeploymentState.INACTIVE})


@dataclass(frozen=True)
class VersionCompared:
    """One version: its state by the ledger and by the guest, and how they differ ('' where they agree)."""

    version: str
    ledger: DeploymentState | None
    guest: str
    drift: str = ""

    def to_document(self) -> dict[str, Any]:
        """As in result documents."""
        recorded = str(self.ledger) if self.ledger else None
        return {"ledger": recorded, "guest": self.guest or None, "drift": self.drift or None}


def compared(rows: Sequence[Deployment], there: UaOnGuest) -> list[VersionCompared]:
    """Every version of one UA that the ledger or the guest knows, in the order of their names."""
    recorded = {row.version: row for row in rows}
    found = []
    for version in sorted({*recorded, *there.versions}):
        row = recorded.get(version)
        standing = "active" if there.active == version else "inactive"
        on_guest = standing if version in there.versions else ""  # the link may lead nowhere
        drift = _drift(row, there, version=version, on_guest=on_guest)
        found.append(VersionCompared(version, row.state if row else None, on_guest, drift))
    return found


def repairs(versions: Sequence[VersionCompared]) -> list[tuple[str, str]]:
    """What mends the differences, in order, as (verb, version): ``activate`` and ``deliver`` bring what is
    missing, ``deactivate`` takes back what nobody asked for, ``record`` takes into the ledger what is there.
    What is active though it was said to have failed is activated: its probe decides.
    """
    drifted = [each for each in versions if each.drift]
    wanted = [each.version for each in versions if each.ledger is DeploymentState.ACTIVE]
    plan = [("deliver", each.version) for each in drifted if each.ledger in _STANDING and not each.guest]
    if wanted:
        moved = any(each.guest == "active" or each.version in wanted for each in drifted)
        plan += [("activate", version) for version in wanted if moved]
    else:
        plan += [(_instead(each), each.version) for each in drifted if each.guest == "active"]
    plan += [("deliver", each.version) for each in drifted if each.ledger in _STANDING and each.guest]
    unknown = (None, DeploymentState.REMOVED)
    return plan + [("record", each.version) for each in drifted if each.ledger in unknown and each.guest]


def _instead(found: VersionCompared) -> str:
    return "activate" if found.ledger is DeploymentState.FAILED else "deactivate"


def _drift(row: Deployment | None, there: UaOnGuest, *, version: str, on_guest: str) -> str:
    if row is None or row.state is DeploymentState.REMOVED:
        return "is there, and the ledger knows nothing of it" if on_guest else ""
    if row.state is DeploymentState.FAILED:
        return "is active, and the ledger says that it failed" if on_guest == "active" else ""
    if not on_guest:
        return "is not there"
    wanted = "active" if row.state is DeploymentState.ACTIVE else "inactive"
    if on_guest != wanted:
        return f"is {on_guest}"
    if row.digest and there.versions[version] != row.digest:
        return "has another content"
    if on_guest == "active" and there.unit_sha256 != there.units.get(version, ""):
        return "has another unit file"
    return ""
