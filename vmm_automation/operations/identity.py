"""Who acts, and whether that one may: operators by the site's list, Watchers by their grant and its token.

A name is what somebody says (``--as``, else the login), and it is kept beside the login in the audit chain.
It is proven by nothing but a token: the rules hold for those who come through the doors, and whoever can
write the state can do without them (``docs/watchers.md``). Rules that need the state are asked in the
transaction of what they permit.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from vmm_automation.errors import NotPermitted
from vmm_automation.model.access import Access
from vmm_automation.model.names import check_name
from vmm_automation.model.watcher import Privilege
from vmm_automation.state import grants, suspend_right
from vmm_automation.state.audit import Author
from vmm_automation.state.store import Snapshot

_SHOWN = 10


@dataclass(frozen=True)
class Identity:
    """Who acts; ``login`` is who the system says is there, '' where it says the same."""

    name: str
    login: str = ""
    door: str = "python"
    access: Access = field(default_factory=Access)
    token: str = field(default="", repr=False)

    @property
    def author(self) -> Author:
        """The same, for the audit chain."""
        return Author(self.name, self.door, self.login)

    @property
    def speaks_as_operator(self) -> bool:
        """Listed as operator; where nobody is, whoever names nobody else."""
        if self.access.operators:
            return self.name in self.access.operators
        return self.login in ("", self.name)


def identify(name: str, *, login: str, door: str, access: Access, token: str = "") -> Identity:
    """Who acts: ``name`` if somebody is named, else the login.

    Raises:
        InvalidName: the name is none that a person can have.
    """
    if name and name != login:
        check_name("person", name)
    return Identity(name or login, login, door, access, token)


def given(actor: str | Identity, door: str) -> Identity:
    """An identity as it is, or the one of a plain name on a site without a list of operators."""
    return actor if isinstance(actor, Identity) else Identity(actor, door=door)


def access_of(site: Path) -> Access:
    """The ``access`` block of a site directory; its YAML is parsed only where that word stands in it.

    Raises:
        SiteInvalid: ``site.yml`` has the block, and is wrong or cannot be read.
    """
    from vmm_automation.state.open import mentions

    if not mentions(site / "site.yml", b"access", unreadable=True):
        return Access()
    from vmm_automation.site import Site

    return Site.load(site).access


def require_operator(who: Identity, *, doing: str) -> None:
    """``doing`` completes 'Cannot …' in the message.

    Raises:
        NotPermitted: the site lists its operators, and this is none of them.
    """
    _require_person(who, doing=doing)
    if who.access.may_operate(who.name):
        return
    listed = sorted(who.access.operators)
    names = ", ".join(listed[:_SHOWN]) + (", …" if len(listed) > _SHOWN else "")
    raise NotPermitted(
        f"Cannot {doing}: '{who.name}' is no operator of this site, only {names}",
        hint="add --as NAME, if you are one of them",
        details={"actor": who.name, "operators": listed},
    )


def require_watcher(
    tx: Snapshot,
    who: Identity,
    *,
    session: str,
    watcher: str,
    doing: str,
    now: datetime,
    operator_too: bool = False,
) -> None:
    """Make sure that somebody acts for a Watcher, and has the token if its grant has one.

    That the Watcher has a grant is left to what follows. With ``operator_too`` a listed operator may as well.

    Raises:
        NotPermitted: it is another person's to do, or the token is missing or wrong.
    """
    _require_person(who, doing=doing)
    access = who.access
    if not access.acts_for(who.name, watcher):
        if operator_too and who.name in access.operators:
            return
        if access.operators or not who.speaks_as_operator:
            members = access.groups.get(watcher)
            of = f"no member of group '{watcher}'" if members else f"not watcher '{watcher}'"
            raise NotPermitted(
                f"Cannot {doing}: '{who.name}' is {of}",
                hint=f"add --as {min(members) if members else watcher}, if that is you",
                details={"session": session, "watcher": watcher, "actor": who.name},
            )
    _require_token(tx, who, session=session, watcher=watcher, doing=doing, now=now)


def require_switch(
    tx: Snapshot, who: Identity, *, session: str, watcher: str | None, action: str, now: datetime
) -> str | None:
    """As which Watcher somebody suspends or resumes (``action``) a session; None: as its operator.

    Whoever is named without the suspend right may be a member of the group that has it.

    Raises:
        NotPermitted: no operator, not the Watcher, or without its token.
    """
    doing = f"{action} session '{session}'"
    if watcher is None:
        require_operator(who, doing=doing)
        return None
    mine = [watcher, *(who.access.groups_of(watcher) if watcher == who.name else ())]
    granted = [each for each in mine if grants.get_valid(tx, session=session, watcher=each, now=now)]
    if not granted and action == "resume" and watcher == who.name and who.name in who.access.operators:
        return None
    holder = suspend_right.show(tx, session=session, now=now).holder
    acting = holder if holder in granted else [*granted, watcher][0]
    require_watcher(tx, who, session=session, watcher=acting, doing=doing, now=now)
    return acting


def require_privilege(
    tx: Snapshot, who: Identity, *, session: str, privilege: Privilege, action: str, now: datetime
) -> None:
    """Make sure that somebody is an operator, or has a valid grant with a privilege (by a group too).

    Raises:
        NotPermitted: neither, or the grant's token is missing or wrong.
    """
    doing = f"{action} session '{session}'"
    _require_person(who, doing=doing)
    if who.speaks_as_operator:
        return
    lacks = "has no valid grant on it"
    for watcher in (who.name, *who.access.groups_of(who.name)):
        grant = grants.get_valid(tx, session=session, watcher=watcher, now=now)
        if grant and privilege in grant.privileges:
            _require_token(tx, who, session=session, watcher=watcher, doing=doing, now=now)
            return
        lacks = f"lacks the privilege '{privilege}'" if grant else lacks
    verb = "update" if "privilege" in lacks else "assign"
    option = "--add" if verb == "update" else "--privilege"
    raise NotPermitted(
        f"Cannot {doing}: '{who.name}' is no operator, and as a watcher {lacks}",
        hint=f"vmm watcher {verb} {session} {who.name} {option} {privilege}",
        details={"session": session, "actor": who.name, "missing": str(privilege)},
    )


def require_no_watcher(tx: Snapshot, who: Identity, *, session: str, doing: str, now: datetime) -> None:
    """Keep those out who compete for a session's suspend right: members of a group with a grant on it.

    Raises:
        NotPermitted: this is one of them.
    """
    for group in who.access.groups_of(who.name):
        if grants.get_valid(tx, session=session, watcher=group, now=now):
            raise NotPermitted(
                f"Cannot {doing}: '{who.name}' is of its Watcher '{group}', and only the operator may",
                hint=f"vmm watcher lock show {session}",
                details={"session": session, "actor": who.name, "watcher": group},
            )


def _require_person(who: Identity, *, doing: str) -> None:
    members = who.access.groups.get(who.name)
    if members:
        raise NotPermitted(
            f"Cannot {doing}: '{who.name}' is a group of this site, and only people act",
            hint=f"add --as {min(members)}, if that is you",
            details={"actor": who.name, "members": sorted(members)},
        )


def _require_token(
    tx: Snapshot, who: Identity, *, session: str, watcher: str, doing: str, now: datetime
) -> None:
    grant = grants.get_valid(tx, session=session, watcher=watcher, now=now)
    if grant is None or not (grant.token_hash or who.access.tokens_required):
        return
    from vmm_automation.operations.tokens import is_token_of

    if not grant.token_hash:
        why, hint = "none was made for it", f"vmm watcher update {session} {watcher} --new-token"
    elif not who.token:
        why, hint = "it was not given", "export VMM_WATCHER_TOKEN_FILE=FILE"
    elif not is_token_of(who.token, grant.token_hash):
        why, hint = "what was given is not it", f"vmm watcher update {session} {watcher} --new-token"
    else:
        return
    raise NotPermitted(
        f"Cannot {doing}: watcher '{watcher}' needs the token of its grant, and {why}",
        hint=hint,
        details={"session": session, "watcher": watcher},
    )
