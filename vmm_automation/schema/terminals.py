"""Terminal profiles: from the components and bases of checked mappings to one profile with everything merged.

A profile may be a difference from another (``base``), which may be one itself. What becomes of an attribute
that both state is a rule of the vocabulary (:data:`vmm_automation.model.terminal.VOCABULARY`), in whose
place a profile may put another for the differences from it (``merge``); what is once locked stays locked.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path as FilePath
from typing import Any, Final

from vmm_automation.errors import NotFound, SiteInvalid, TerminalInvalid
from vmm_automation.model.names import check_name
from vmm_automation.model.terminal import COMPONENTS, VOCABULARY, MergeRule, TerminalProfile
from vmm_automation.schema import Path, errors_of, located, shown
from vmm_automation.schema.files import DefinitionFiles, invalid_from
from vmm_automation.schema.yaml_text import MAX_DEPTH

_REQUEST: Final = "request"
_MAX_BASES: Final = 8
_OTHER_KEYS: Final = ("base", "merge", *COMPONENTS)


@dataclass(frozen=True)
class Layer:
    """One profile before its base is merged in: attributes flat, by name; null is stated, too."""

    name: str
    values: Mapping[str, Any]
    base: str = ""
    rules: Mapping[str, MergeRule] = field(default_factory=dict)
    kept: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class TerminalProfiles:
    """The ``terminals/`` of a site; ``keep_unknown`` is its policy for keys that the vocabulary lacks."""

    directory: FilePath
    keep_unknown: bool = False

    def names(self) -> list[str]:
        """The names of all profiles that have a file."""
        return self._files.names()

    def one(self, name: str) -> TerminalProfile:
        """One profile of the site, by name.

        Raises:
            InvalidName, NotFound: there is no such file.
            TerminalInvalid: it or a base of it is wrong; all errors are listed.
        """
        profile, errors = self._merged(self._files.one(name), where=f"terminals/{name}.yml")
        if profile is None:
            hint = f"$EDITOR {self.directory / name}.yml"
            raise invalid_from(errors, what=f"Terminal '{name}'", hint=hint, error_class=TerminalInvalid)
        return profile

    def all(self) -> dict[str, TerminalProfile]:
        """Every profile, by name. Raises TerminalInvalid if any file is wrong."""
        return {name: self.one(name) for name in self._files.all()}

    def errors(self) -> list[str]:
        """Every error of every file, those of merging after those of the files."""
        errors = self._files.errors()
        for name, layer in self._files.valid().items():
            errors += self._merged(layer, where=f"terminals/{name}.yml")[1]
        return errors

    def requested(self, mapping: object) -> TerminalProfile:
        """The profile that a request carries; without a ``name`` it is called ``request``.

        Raises:
            InvalidName: its name breaks the rule.
            TerminalInvalid: it is no mapping, has unknown keys or wrong values, or departs from its base.
        """
        name, document, errors = _opened(mapping)
        profile = None
        if not errors:
            check_name("terminal", name)
            layer, errors = self._layer(name, document, where="terminal")
            if layer is not None:
                profile, errors = self._merged(layer, where="terminal")
        if profile is None:
            hint = f"ls {self.directory}"
            raise invalid_from(
                errors, what="The terminal profile of the request", hint=hint, error_class=TerminalInvalid
            )
        return profile

    @cached_property
    def _files(self) -> DefinitionFiles[Layer]:
        return DefinitionFiles(self.directory, "terminal", self._layer, invalid=TerminalInvalid)

    def _layer(
        self, name: str, document: Mapping[str, Any], /, *, where: str
    ) -> tuple[Layer | None, list[str]]:
        known, kept = _sifted(document) if self.keep_unknown else (document, {})
        errors = errors_of("terminal", known, where=where) or list(_twice(known, where=where))
        if errors:
            return None, errors
        values = {key: value for key, value in known.items() if key in VOCABULARY}
        for component in COMPONENTS:
            values |= known.get(component, {})
        rules = {key: MergeRule(rule) for key, rule in known.get("merge", {}).items()}
        return Layer(name, values, known.get("base", ""), rules, kept), []

    def _merged(self, layer: Layer, *, where: str) -> tuple[TerminalProfile | None, list[str]]:
        lineage, errors = self._lineage(layer, where=where)
        if errors:
            return None, errors
        merged = lineage[0]
        for difference in lineage[1:]:
            found = list(_conflicts(merged, difference, where=where))
            if found:
                return None, found
            merged = _merge(merged, difference)
        values: dict[str, Any] = {
            key: tuple(each) if isinstance(each, list) else each for key, each in merged.values.items()
        }
        return TerminalProfile(name=layer.name, **values, kept=dict(merged.kept)), []

    def _lineage(self, layer: Layer, *, where: str) -> tuple[list[Layer], list[str]]:
        """The layer's farthest base first, the layer itself last."""
        lineage, names = [layer], [] if where == "terminal" else [layer.name]
        while base := lineage[0].base:
            chain = " → ".join([*names, base])
            if base in names:
                return [], [located(where, ("base",), f"is a difference from itself: {chain}")]
            if len(lineage) > _MAX_BASES:
                return [], [located(where, ("base",), f"more than {_MAX_BASES} bases: {chain}")]
            try:
                lineage.insert(0, self._files.one(base))
            except NotFound as absent:
                return [], [located(where, ("base",), absent.message)]
            except SiteInvalid as wrong:
                return [], [located(where, ("base",), f"base '{base}': {text}") for text in _texts(wrong)]
            names.append(base)
        return lineage, []


def rule_of(name: str, base: Layer) -> MergeRule:
    """How a difference from ``base`` is merged for one attribute."""
    return base.rules.get(name, VOCABULARY[name].rule)


def _conflicts(base: Layer, difference: Layer, *, where: str) -> Iterator[str]:
    """Locked values that the difference states otherwise; what the base does not know cannot be locked."""
    for name, value in difference.values.items():
        locked = base.values.get(name)
        if rule_of(name, base) is MergeRule.LOCKED and locked is not None and value != locked:
            path = VOCABULARY[name].path(name).split(".")
            text = f"{_value(value)} differs from {_value(locked)} of base '{base.name}', which locks it"
            yield located(where, path, text)


def _merge(base: Layer, difference: Layer) -> Layer:
    values = dict(base.values)
    for name, value in difference.values.items():
        known = base.values.get(name)
        if rule_of(name, base) is MergeRule.APPEND and known is not None:
            values[name] = [*known, *(each for each in value or () if each not in known)]
        else:
            values[name] = value
    locked = {name: rule for name, rule in base.rules.items() if rule is MergeRule.LOCKED}
    rules = {**base.rules, **difference.rules, **locked}
    return Layer(difference.name, values, rules=rules, kept={**base.kept, **difference.kept})


def _twice(document: Mapping[str, Any], *, where: str) -> Iterator[str]:
    for component in COMPONENTS:
        for name in document.get(component, {}):
            if name in document:
                yield located(where, (name,), f"is stated in component '{component}', too")


def _sifted(document: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """What the vocabulary knows, and the rest by path."""
    known: dict[str, Any] = {}
    kept: dict[str, Any] = {}
    for key, value in document.items():
        if key in COMPONENTS and isinstance(value, Mapping):
            mine = {name for name, each in VOCABULARY.items() if each.component == key}
            known[key] = {name: each for name, each in value.items() if name in mine}
            kept |= {f"{key}.{name}": each for name, each in value.items() if name not in mine}
        elif key in VOCABULARY or key in _OTHER_KEYS:
            known[key] = value
        else:
            kept[key] = value
    return known, kept


def _opened(mapping: object) -> tuple[str, dict[str, Any], list[str]]:
    """Name and document of what a request carries, and what is wrong with its form."""
    if not isinstance(mapping, Mapping):
        return _REQUEST, {}, errors_of("terminal", mapping, where="terminal")
    document = {key: value for key, value in mapping.items() if key != "name"}
    name = mapping.get("name", _REQUEST)
    errors = list(_form_errors(document))
    if not isinstance(name, str):
        errors.append(f"terminal: name: {shown(name)} is not text")
    return name, document, errors


def _form_errors(document: object) -> Iterator[str]:
    """What no file could hold (its reader sees to it), told before anything walks the document in full."""
    level: list[tuple[Path, Any]] = [((), document)]
    for _ in range(MAX_DEPTH):
        inner: list[tuple[Path, Any]] = []
        for path, value in level:
            if isinstance(value, Mapping):
                for key in (key for key in value if not isinstance(key, str)):
                    yield located("terminal", path, f"key {shown(key)} is not text")
                inner += [((*path, str(key)), each) for key, each in value.items()]
            elif isinstance(value, list | tuple):
                inner += [((*path, index), each) for index, each in enumerate(value)]
        level = inner
    if level:
        yield f"terminal: is nested more than {MAX_DEPTH} levels deep"


def _texts(wrong: SiteInvalid) -> list[str]:
    return [str(text) for text in wrong.details.get("errors", [wrong.message])]


def _value(value: object) -> str:
    return f"[{', '.join(map(str, value))}]" if isinstance(value, list | tuple) else shown(value)
