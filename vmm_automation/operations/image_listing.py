"""What there is of stored User Images and what they hold, read from the state: nothing is proven.

Which of them have a volume, and what of a volume was kept aside, is told by the store of volumes.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from vmm_automation.errors import Conflict, NotFound, UsageError
from vmm_automation.images.comparison import compare
from vmm_automation.model.names import check_name
from vmm_automation.model.policies import Tier
from vmm_automation.model.session import Session, SessionMode, SessionState
from vmm_automation.model.times import to_text
from vmm_automation.state import generations, orphans, sessions
from vmm_automation.state.store import Store

if TYPE_CHECKING:
    from vmm_automation.images.volume import VolumeStore

_WHY_ASIDE = "its session was given up; to have it back: vmm image deploy SESSION --orphan NAME"


def listing(
    store: Store, volumes: VolumeStore, *, user: str = "", ua: str = "", orphaned: bool = False
) -> dict[str, Any]:
    """Generations by user, UA and number, or the saves that are kept aside; of one user, one UA, or all.

    ``tier`` is ``volume`` where there is one: the generation is deployed by it, in whatever time.

    Raises:
        InvalidName: the user or the UA can have no such name.
    """
    of = {"user": user and check_name("user", user), "ua": ua and check_name("UA", ua)}
    read = orphans.list_orphans if orphaned else generations.list_generations
    with store.reading() as tx:
        found = read(tx, user=of["user"] or None, ua=of["ua"] or None)
    on_volumes = frozenset(volumes.archives())
    tiers = {True: str(Tier.VOLUME), False: str(Tier.PORTABLE)}
    saves = [{**one.to_document(), "tier": tiers[one.archive in on_volumes]} for one in found]
    return {"changed": False, "generations": [*saves, *(_asides(store, volumes, **of) if orphaned else ())]}


def manifest(
    store: Store, volumes: VolumeStore, *, user: str, ua: str, number: int = 0, orphan: str = ""
) -> dict[str, Any]:
    """The manifest of a generation (of the newest for 0), or of the save of archive ``orphan``.

    Raises:
        NotFound: there is no such generation or save.
        InvalidName: the user or the UA can have no such name.
        UsageError: both are wanted.
        Conflict: ``orphan`` is a volume, which has no manifest.
    """
    of = {"user": check_name("user", user), "ua": check_name("UA", ua)}
    require_one(number, orphan)
    require_manifest(store, volumes, orphan, **of)
    with store.reading() as tx:
        if orphan:
            found = orphans.get(tx, **of, archive=orphan)[1].to_document()
        else:
            found = generations.manifest_document(tx, **of, number=number or None)
    return {"changed": False, "manifest": found}


def difference(
    store: Store, volumes: VolumeStore, *, user: str, ua: str, old: int, new: int = 0, orphan: str = ""
) -> dict[str, Any]:
    """What another generation, or the save of archive ``orphan``, has otherwise than one has, by layer.

    Raises:
        NotFound: there is no such generation or save.
        InvalidName: the user or the UA can have no such name.
        UsageError: neither or both are wanted.
        Conflict: ``orphan`` is a volume, which has no manifest.
    """
    of = {"user": check_name("user", user), "ua": check_name("UA", ua)}
    require_one(new, orphan)
    if not new and not orphan:
        raise UsageError("Compare needs two generations", hint=f"vmm image diff {user} {ua} --from 1 --to 2")
    require_manifest(store, volumes, orphan, **of)
    with store.reading() as tx:
        before = generations.get_manifest(tx, **of, number=old)
        after = (
            orphans.get(tx, **of, archive=orphan)[1]
            if orphan
            else generations.get_manifest(tx, **of, number=new)
        )
    layers = compare(before.files, after.files)
    return {"changed": False, "from": old, "to": orphan or new, "layers": layers}


def require_one(number: int, orphan: str) -> None:
    """Refuse a generation and a save at once.

    Raises:
        UsageError: both are given.
    """
    if number and orphan:
        raise UsageError("Give a generation or a save that was kept aside, not both", hint="vmm image --help")


def require_manifest(store: Store, volumes: VolumeStore, orphan: str, *, user: str, ua: str) -> None:
    """Refuse a volume that was kept aside where a manifest is needed: what it holds, only a guest could read.

    Raises:
        Conflict: ``orphan`` is one of this user and UA.
    """
    if not orphan or orphan not in {path.stem for path in volumes.asides()}:
        return
    wrote = session_of(store, orphan)
    if wrote is None or (wrote.user, wrote.ua) != (user, ua):
        return
    with store.reading() as tx:
        live = sessions.list_sessions(tx, live_only=True)
    mine = [one for one in live if (one.user, one.ua, one.mode) == (user, ua, SessionMode.WRITER)]
    active = [one.id for one in mine if one.state is SessionState.ACTIVE]
    into = f"vmm image deploy {active[0]} --orphan {orphan} --yes" if active else ""
    raise Conflict(
        f"What was kept aside as '{orphan}' is a volume and has no manifest: only a session of user '{user}'"
        f", UA '{ua}', can read it, and makes it a generation when it closes",
        hint=into or f"vmm session open --user {user} --ua {ua}",
        details={"user": user, "ua": ua, "volume": orphan},
    )


def session_of(store: Store, name: str) -> Session | None:
    """The session whose volume was put aside by this name; a second one of a session has a number behind."""
    with store.reading() as tx:
        for each in (name, name.rpartition("-")[0]):
            try:
                return sessions.get(tx, session_id=each)
            except NotFound:
                continue
    return None


def _asides(store: Store, volumes: VolumeStore, *, user: str, ua: str) -> list[dict[str, Any]]:
    """What sessions wrote on volumes that never became a generation, in the form of saves."""
    found = []
    for path in volumes.asides():
        session = session_of(store, path.stem)
        of = {"user": session.user, "ua": session.ua} if session else {"user": "", "ua": ""}
        if user in ("", of["user"]) and ua in ("", of["ua"]):
            stat = path.stat()
            found.append(
                {
                    **of,
                    "archive": path.stem,
                    "captured_at": to_text(datetime.fromtimestamp(stat.st_mtime, UTC)),
                    "file_count": None,
                    "size": stat.st_size,
                    "session": session.id if session else "",
                    "state": "orphaned",
                    "tier": str(Tier.VOLUME),
                    "reason": _WHY_ASIDE,
                }
            )
    return found
