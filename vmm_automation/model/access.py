"""Who may act as operator, and which groups there are: the ``access`` block of a site."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True)
class Access:
    """The site's word on people; as made without arguments, everybody who can reach the state may operate."""

    operators: frozenset[str] = frozenset()
    groups: Mapping[str, frozenset[str]] = field(default_factory=dict)
    tokens_required: bool = False

    def may_operate(self, name: str) -> bool:
        """Whether somebody may do what is the operator's."""
        return not self.operators or name in self.operators

    def acts_for(self, name: str, watcher: str) -> bool:
        """Whether somebody is the Watcher, or a member of the group that is the Watcher."""
        return name in self.groups.get(watcher, (watcher,))

    def groups_of(self, name: str) -> list[str]:
        """The groups that somebody is a member of, sorted."""
        return sorted(group for group, members in self.groups.items() if name in members)


def access_from(document: Mapping[str, Any]) -> Access:
    """The block as the schema allows it."""
    groups = {name: frozenset(members) for name, members in document.get("groups", {}).items()}
    return Access(
        operators=frozenset(document.get("operators", ())),
        groups=groups,
        tokens_required=document.get("watcher_tokens") == "required",
    )


def access_errors(document: Mapping[str, Any]) -> Iterable[tuple[tuple[str | int, ...], str]]:
    """Groups that are taken for people: path and reason. A name is one or the other, everywhere."""
    groups = document.get("groups", {})
    lists: list[tuple[tuple[str, ...], Iterable[str]]] = [(("operators",), document.get("operators", ()))]
    lists += [(("groups", group), members) for group, members in groups.items()]
    for path, names in lists:
        for index, name in enumerate(names):
            if name in groups:
                yield (
                    (*path, index),
                    f"'{name}' is a group: a person is needed, and no person has a group's name",
                )
