"""The ledger: which version of which UA is where, and in what state.

At most one version of a UA is *active* on a VM; the schema's unique index enforces it.
"""

from __future__ import annotations

from datetime import datetime

from vmm_automation.model.times import to_text
from vmm_automation.model.ua import Deployment, DeploymentState
from vmm_automation.state.store import Row, Snapshot, Tx

#: how the reason of a version begins that is active because of a rollback
RETURNED = "returned from "
_COLUMNS = "vm, ua, version, state, changed_at, digest, reason"


def record(
    tx: Tx,
    *,
    vm: str,
    ua: str,
    version: str,
    state: DeploymentState,
    now: datetime,
    digest: str = "",
    reason: str = "",
) -> Deployment:
    """Write down what is on a VM now; a version that becomes *active* makes the other one *inactive*.

    An empty ``digest`` keeps the one that is known. Writing down what is known already changes nothing.
    """
    at = to_text(now)
    if state is DeploymentState.ACTIVE:
        tx.execute(
            "UPDATE deployments SET state = 'inactive', changed_at = :at, reason = ''"
            " WHERE vm = :vm AND ua = :ua AND version <> :version AND state = 'active'",
            at=at,
            vm=vm,
            ua=ua,
            version=version,
        )
    tx.execute(
        "INSERT INTO deployments (vm, ua, version, state, changed_at, digest, reason)"
        " VALUES (:vm, :ua, :version, :state, :at, :digest, :reason)"
        " ON CONFLICT (vm, ua, version) DO UPDATE SET state = excluded.state,"
        " changed_at = excluded.changed_at, reason = excluded.reason,"
        " digest = CASE WHEN excluded.digest = '' THEN deployments.digest ELSE excluded.digest END"
        " WHERE deployments.state <> excluded.state OR deployments.reason <> excluded.reason"
        " OR excluded.digest NOT IN ('', deployments.digest)",
        vm=vm,
        ua=ua,
        version=version,
        state=str(state),
        at=at,
        digest=digest,
        reason=reason,
    )
    return next(found for found in for_vm(tx, vm=vm) if (found.ua, found.version) == (ua, version))


def for_vm(tx: Snapshot, *, vm: str) -> list[Deployment]:
    """All that was ever delivered to a VM, by UA and version, *removed* ones too."""
    query = f"SELECT {_COLUMNS} FROM deployments WHERE vm = :vm ORDER BY ua, version"  # noqa: S608 - a constant
    return [_deployment(row) for row in tx.all(query, vm=vm)]


def for_ua(tx: Snapshot, *, ua: str) -> list[Deployment]:
    """All VMs that a UA was ever delivered to, by VM and version, *removed* ones too."""
    query = f"SELECT {_COLUMNS} FROM deployments WHERE ua = :ua ORDER BY vm, version"  # noqa: S608 - a constant
    return [_deployment(row) for row in tx.all(query, ua=ua)]


def active_versions(tx: Snapshot) -> dict[str, dict[str, str]]:
    """VM to UA to the version that is active there."""
    found: dict[str, dict[str, str]] = {}
    for row in tx.all("SELECT vm, ua, version FROM deployments WHERE state = 'active' ORDER BY vm, ua"):
        found.setdefault(row["vm"], {})[row["ua"]] = row["version"]
    return found


def way_back(tx: Snapshot, *, vm: str, ua: str) -> Deployment | None:
    """What a rollback leads to: the version that was active last before the present one.

    A version that is active because of a rollback is its own answer, so that asking twice goes back once;
    None where nothing was active before.
    """
    rows = [row for row in for_vm(tx, vm=vm) if row.ua == ua]
    for row in rows:
        if row.state is DeploymentState.ACTIVE and row.reason.startswith(RETURNED):
            return row
    before = [row for row in rows if row.state is DeploymentState.INACTIVE]
    return max(before, key=lambda row: row.changed_at, default=None)


def forget_vm(tx: Tx, *, vm: str) -> None:
    """Drop all rows of a VM that was deleted or made anew."""
    tx.execute("DELETE FROM deployments WHERE vm = :vm", vm=vm)


def forget_inactive(tx: Tx, *, vm: str) -> None:
    """Drop the rows of a VM that is being rebuilt, but those of what will be installed again."""
    tx.execute("DELETE FROM deployments WHERE vm = :vm AND state <> 'active'", vm=vm)


def _deployment(row: Row) -> Deployment:
    return Deployment(**{**row, "state": DeploymentState(row["state"])})
