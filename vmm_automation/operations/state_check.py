"""Whether the state is whole: what its engine says, and the rules that hold between its rows.

Most rules cannot be broken through this program, because one transaction or a unique index keeps each. A
check looks for what came otherwise: a restored half, a hand-made change, a damaged disk, a mistake of ours.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

from vmm_automation.model.image import Manifest
from vmm_automation.model.times import from_text
from vmm_automation.state import audit, audit_chain, schema
from vmm_automation.state.session_rows import LIVE_SQL
from vmm_automation.state.tables import tables

if TYPE_CHECKING:
    from vmm_automation.state.store import Engine, Snapshot

#: a sentence for each row that a query finds: nothing where the rule holds; <live> stands for LIVE_SQL
_RULES = (
    (
        "VM '{vm}' has {n} live sessions",
        "SELECT vm, COUNT(*) AS n FROM sessions WHERE <live> GROUP BY vm HAVING COUNT(*) > 1 ORDER BY vm",
    ),
    (
        "user '{user_name}' has {n} live sessions of UA '{ua}' that write",
        "SELECT user_name, ua, COUNT(*) AS n FROM sessions WHERE <live> AND mode = 'writer'"
        " GROUP BY user_name, ua HAVING COUNT(*) > 1 ORDER BY user_name, ua",
    ),
    (
        "VM '{vm}' has {n} active versions of UA '{ua}'",
        "SELECT vm, ua, COUNT(*) AS n FROM deployments WHERE state = 'active' GROUP BY vm, ua"
        " HAVING COUNT(*) > 1 ORDER BY vm, ua",
    ),
    (
        "session '{id}' has fence {fence}, newer than VM '{vm}' knows ({known})",
        "SELECT id, sessions.fence, vm, COALESCE(vm_conditions.fence, 0) AS known"
        " FROM sessions LEFT JOIN vm_conditions USING (vm)"
        " WHERE sessions.fence > COALESCE(vm_conditions.fence, 0) ORDER BY id",
    ),
    (
        "fence {fence} was given out, and the counter stands at {value}: it would be given again",
        "SELECT fence, value FROM (SELECT MAX(fence) AS fence FROM (SELECT fence FROM sessions"
        " UNION ALL SELECT fence FROM vm_conditions UNION ALL SELECT fence FROM generations"
        " UNION ALL SELECT fence FROM session_moves) AS given)"
        " AS highest, counters WHERE name = 'session_fence' AND fence > value",
    ),
    (
        "the counter of fences is not there",
        "SELECT 1 AS n WHERE NOT EXISTS (SELECT 1 FROM counters WHERE name = 'session_fence')",
    ),
    (
        "session '{session}' is on its way to VM '{vm}', and is {state}",
        "SELECT session, session_moves.vm, state FROM session_moves JOIN sessions ON id = session"
        " WHERE state <> 'starting' ORDER BY session",
    ),
    (
        "VM '{vm}' counts as clean while it is worked on by {reserved}",
        "SELECT vm, reserved FROM pool_members JOIN vm_conditions USING (vm)"
        " WHERE reserved <> '' AND condition = 'clean' ORDER BY vm",
    ),
    (
        "generation {number} of user '{user_name}', UA '{ua}' has an older fence than the one before it",
        "SELECT number, user_name, ua FROM generations AS mine WHERE fence < (SELECT MAX(fence)"
        " FROM generations AS older WHERE older.user_name = mine.user_name AND older.ua = mine.ua"
        " AND older.number < mine.number) ORDER BY user_name, ua, number",
    ),
    (
        "something is said of generation {number} of user '{user_name}', UA '{ua}', which does not exist",
        "SELECT number, user_name, ua FROM generation_marks AS mark WHERE NOT EXISTS (SELECT 1"
        " FROM generations WHERE generations.user_name = mark.user_name AND generations.ua = mark.ua"
        " AND generations.number = mark.number) ORDER BY user_name, ua, number",
    ),
    (
        "watcher '{watcher}' has a grant on session '{session}', which is over",
        "SELECT watcher, session FROM grants WHERE NOT EXISTS (SELECT 1 FROM sessions"
        " WHERE id = session AND <live>) ORDER BY session, watcher",
    ),
    (
        "watcher '{holder}' holds the suspend right of session '{session}' without a grant to suspend",
        "SELECT holder, session FROM suspend_rights WHERE holder <> '' AND NOT EXISTS (SELECT 1 FROM grants"
        " WHERE grants.session = suspend_rights.session AND watcher = holder"
        " AND privileges LIKE '%suspend%') ORDER BY session",
    ),
    (
        "the suspend right of session '{session}' outlives the grant of watcher '{holder}'",
        "SELECT suspend_rights.session, holder FROM suspend_rights JOIN grants"
        " ON grants.session = suspend_rights.session AND watcher = holder"
        " WHERE suspend_rights.expires_at > grants.expires_at ORDER BY suspend_rights.session",
    ),
    (
        "the suspend right of session '{session}' is older than the start of the grant of watcher '{holder}'",
        "SELECT suspend_rights.session, holder FROM suspend_rights JOIN grants"
        " ON grants.session = suspend_rights.session AND watcher = holder"
        " WHERE suspend_rights.acquired_at < grants.starts_at ORDER BY suspend_rights.session",
    ),
)
_TIMES = (
    ("sessions", "id", ("created_at", "changed_at", "seen_at")),
    ("grants", "session", ("granted_at", "starts_at", "expires_at")),
    ("suspend_rights", "session", ("acquired_at", "expires_at", "vacated_at")),
)


def check_state(store: Engine) -> dict[str, Any]:
    """Read all of the state and tell what is wrong; an empty list of problems says that nothing is.

    Raises:
        StateUnusable: it cannot be read far enough to tell.
    """
    problems = store.problems()
    with store.reading() as tx:
        for sentence, query in _RULES:
            problems += [sentence.format(**row) for row in tx.all(query.replace("<live>", LIVE_SQL))]
        problems += [*_times(tx), *_documents(tx), *_chain(tx)]
        counts = {table.name: _count(tx, table.name) for table in tables()}
    return {
        "engine": store.name,
        "state": store.location,
        "schema": schema.VERSION,
        "rows": counts,
        "problems": problems,
    }


def _count(tx: Snapshot, table: str) -> int:
    row = tx.one(f"SELECT COUNT(*) AS n FROM {table}")  # noqa: S608 - a name of the schema
    return int(row["n"]) if row else 0


def _times(tx: Snapshot) -> Iterator[str]:
    for table, key, columns in _TIMES:
        for row in tx.all(f"SELECT {key}, {', '.join(columns)} FROM {table} ORDER BY {key}"):  # noqa: S608 - same
            for column in columns:
                if row[column] and not _reads(from_text, row[column]):
                    yield f"{table}: '{row[key]}' has a {column} that is no time"


def _documents(tx: Snapshot) -> Iterator[str]:
    for row in tx.all("SELECT id, explanation FROM sessions ORDER BY id"):
        if not _reads(json.loads, row["explanation"]):
            yield f"session '{row['id']}' has an explanation that cannot be read"
    for row in tx.all("SELECT seq, result FROM events ORDER BY seq"):
        if not _reads(json.loads, row["result"]):
            yield f"event {row['seq']} has a result that cannot be read"
    names = tx.all(
        "SELECT user_name, ua, number, root_digest FROM generations ORDER BY user_name, ua, number"
    )
    for row in names:  # one by one: a manifest may be megabytes
        found = tx.one(
            "SELECT manifest FROM generations WHERE user_name = :user AND ua = :ua AND number = :number",
            user=row["user_name"],
            ua=row["ua"],
            number=row["number"],
        )
        of = f"generation {row['number']} of user '{row['user_name']}', UA '{row['ua']}'"
        if not found or not _reads(_digest, found["manifest"]):
            yield f"{of} has a manifest that cannot be read"
        elif _digest(found["manifest"]) != row["root_digest"]:
            yield f"{of} has a manifest that is not the one it was stored with"


def _chain(tx: Snapshot) -> Iterator[str]:
    found = audit_chain.verify(audit.pages(tx), head=audit.head(tx))
    yield from (f"audit chain: {finding['why']}" for finding in found["findings"])


def _digest(manifest: str) -> str:
    return Manifest.from_document(json.loads(manifest)).root_digest


def _reads(read: Callable[[str], object], text: str) -> bool:
    try:
        read(text)
    except (KeyError, TypeError, ValueError, AttributeError):
        return False
    return True
