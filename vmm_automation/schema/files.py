"""One directory of a site, with one definition per YAML file: only the files that are asked for are read."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Generic, Protocol, TypeVar

from vmm_automation.errors import InvalidName, NotFound, SiteInvalid
from vmm_automation.model.names import check_name
from vmm_automation.schema import suggestion
from vmm_automation.schema.yaml_text import read_mapping

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

_SUFFIX = ".yml"
_SHOWN_ERRORS = 50


class Build(Protocol[T_co]):
    """Makes a definition of a mapping; ``where`` begins each error."""

    def __call__(
        self, name: str, document: Mapping[str, Any], /, *, where: str
    ) -> tuple[T_co | None, list[str]]:
        """The definition, or None and every error."""


@dataclass(frozen=True)
class DefinitionFiles(Generic[T]):
    """The ``<name>.yml`` files of one directory; each is read at most once in the life of this object.

    ``kind`` is the word for one of them and the naming rule that file names obey; ``invalid`` is the
    class of error that a wrong file raises.
    """

    directory: Path
    kind: str
    build: Build[T]
    invalid: type[SiteInvalid] = SiteInvalid
    _known: dict[str, tuple[T | None, list[str]]] = field(default_factory=dict, repr=False, compare=False)

    def names(self) -> list[str]:
        """The names of all files whose names obey the rule, sorted; none if there is no directory."""
        return sorted(path.stem for path in self._paths() if not self._name_errors(path))

    def one(self, name: str) -> T:
        """The definition of one name, from one file.

        Raises:
            InvalidName: the name breaks its rule; no file was looked for.
            NotFound: there is no such file.
            SiteInvalid: the file is wrong (:attr:`invalid` says which class); all its errors are listed.
        """
        check_name(self.kind, name)
        definition, errors = self._read(name)
        if definition is None and not errors:
            raise self._not_found(name)
        if definition is None:
            what = f"{self.kind[0].upper()}{self.kind[1:]} '{name}'"
            hint = f"$EDITOR {self.directory / name}{_SUFFIX}"
            raise invalid_from(errors, what=what, hint=hint, error_class=self.invalid)
        return definition

    def all(self) -> dict[str, T]:
        """Every definition, by name.

        Raises:
            SiteInvalid: one or several files are wrong (:attr:`invalid` says which class).
        """
        errors = self.errors()
        if errors:
            what = f"Directory '{self.directory}'"
            raise invalid_from(errors, what=what, hint=f"ls {self.directory}", error_class=self.invalid)
        return self.valid()

    def valid(self) -> dict[str, T]:
        """The definitions of the files without errors, by name."""
        read = {name: self._read(name)[0] for name in self.names()}
        return {name: definition for name, definition in read.items() if definition is not None}

    def errors(self) -> list[str]:
        """Every error of every file, in the order of file names."""
        errors: list[str] = []
        for path in self._paths():
            errors += self._name_errors(path) or self._read(path.stem)[1]
        return errors

    def _paths(self) -> list[Path]:
        try:
            found = list(self.directory.iterdir())
        except (FileNotFoundError, NotADirectoryError):
            return []
        return sorted(
            path for path in found if path.suffix in (_SUFFIX, ".yaml") and not path.name.startswith(".")
        )

    def _name_errors(self, path: Path) -> list[str]:
        where = f"{self.directory.name}/{path.name}"
        if path.suffix != _SUFFIX:
            return [f"{where}: is not read: name it '{path.stem}{_SUFFIX}'"]
        try:
            check_name(self.kind, path.stem)
        except InvalidName as failure:
            return [f"{self.directory.name}: {failure.message}"]
        return []

    def _read(self, name: str) -> tuple[T | None, list[str]]:
        """The definition, or None with its errors, or None without any if there is no file (any more)."""
        if name not in self._known:
            where = f"{self.directory.name}/{name}{_SUFFIX}"
            try:
                document, errors = read_mapping(self.directory / f"{name}{_SUFFIX}", where=where)
            except FileNotFoundError:
                return None, []
            built = (None, errors) if document is None else self.build(name, document, where=where)
            self._known[name] = built
        return self._known[name]

    def _not_found(self, name: str) -> NotFound:
        names = self.names()
        there = f"there are {', '.join(names)}" if names else "there are none"
        return NotFound(
            f"No {self.kind} '{name}' in '{self.directory}': {there}{suggestion(name, names)}",
            hint=f"ls {self.directory}",
            details={"kind": self.kind, "name": name, "known": names},
        )


def invalid_from(
    errors: list[str], *, what: str, hint: str, error_class: type[SiteInvalid] = SiteInvalid
) -> SiteInvalid:
    """The error that lists what is wrong: 50 in the message, all of them in ``details['errors']``."""
    if len(errors) == 1:
        text = errors[0]
    else:
        more = len(errors) - _SHOWN_ERRORS
        lines = errors[:_SHOWN_ERRORS] + ([f"… and {more} more"] if more > 0 else [])
        text = "".join(f"\n  {line}" for line in [f"{len(errors)} errors", *lines]).strip()
    return error_class(f"{what} is invalid: {text}", hint=hint, details={"errors": errors})
