"""From checked YAML mappings to the model: each function returns the definition, or None and all errors."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from typing import Any, Final

from vmm_automation.model.policies import RefusedEntries, SecondSession, Tier
from vmm_automation.model.ua import (
    SESSION_ACCOUNT,
    Artifact,
    CaptureRules,
    Converter,
    Endpoint,
    Hook,
    Probe,
    Requirements,
    UaDefinition,
    UaVersion,
    UserData,
)
from vmm_automation.model.vm import Offers, VmProfile
from vmm_automation.schema import errors_of, located, suggestion

#: what a UA's command and environment may name in braces
PLACEHOLDERS: Final = ("version_dir", "home", "config_dir")
#: the commands that a UA may bring for captures
HOOKS: Final = ("dump", "stop", "freeze", "thaw")
# '${name}' belongs to a shell inside the guest, not to us
_PLACEHOLDER: Final = re.compile(r"(?<!\$)\{([A-Za-z_]+)\}")

Document = Mapping[str, Any]


def profile_from_mapping(name: str, document: Document, *, where: str) -> tuple[VmProfile | None, list[str]]:
    """A VM profile, or None and every error."""
    errors = errors_of("profile", document, where=where)
    if errors:
        return None, errors
    stated = {key: value for key, value in document.items() if key != "offers"}
    return VmProfile(name=name, **_tuples(stated), offers=Offers(**_tuples(document.get("offers", {})))), []


def ua_from_mapping(name: str, document: Document, *, where: str) -> tuple[UaDefinition | None, list[str]]:
    """A UA definition, or None and every error; the order of ``versions`` is kept: oldest first."""
    errors = errors_of("ua", document, where=where)
    errors += [located(where, path, text) for path, text in _ua_errors(document)]
    if errors:
        return None, errors
    requirements = document.get("requirements", {})
    return UaDefinition(
        id=name,
        display_name=document.get("display_name", name),
        versions=tuple(_version(key, value, requirements) for key, value in document["versions"].items()),
        command=tuple(document.get("command", ())),
        stop=tuple(document.get("stop", ())),
        run_as=document.get("run_as", SESSION_ACCOUNT),
        unit=document.get("unit", ""),
        environment=dict(document.get("environment", {})),
        files=dict(document.get("files", {})),
        endpoints=tuple(Endpoint(**endpoint) for endpoint in document.get("endpoints", ())),
        user_data=_user_data(document.get("user_data", {})),
        requirements=_requirements(requirements),
        start_deadline_s=document.get("start_deadline_s", 120),
        probe=Probe(**_tuples(document["probe"])) if "probe" in document else None,
        capture=_capture(document.get("capture", {})),
        converters=tuple(
            Converter(each["from"], each["to"], _hook(each)) for each in document.get("converters", ())
        ),
        session_idle_s=document.get("session_idle_s"),
        session_max_s=document.get("session_max_s"),
    ), []


def _requirements(*stated: Document) -> Requirements:
    """Of documents with parts ``terminal`` and ``vm``: what a later one states replaces the earlier."""
    merged: dict[str, Any] = {}
    for document in stated:
        merged |= {**_tuples(document.get("terminal", {})), **_tuples(document.get("vm", {}))}
    return Requirements(**merged)


def _version(version: str, document: Document, common: Document) -> UaVersion:
    own = document.get("requirements")
    return UaVersion(
        version=version,
        kind=document["kind"],
        artifacts=tuple(
            # Stored artifacts are named by their digest, so there must be one spelling of it.
            Artifact(source=artifact["source"], sha256=artifact["sha256"].lower())
            for artifact in document.get("artifacts", ())
        ),
        packages=tuple(document.get("packages", ())),
        data_version=document.get("data_version", 1),
        requirements=None if own is None else _requirements(common, own),
        licence=document.get("licence", ""),
        changes=tuple(document.get("changes", ())),
        role=document.get("role", ""),
        variables=dict(document.get("variables", {})),
    )


def _capture(document: Document) -> CaptureRules:
    hooks = {key: _hook(document[key]) for key in HOOKS if key in document}
    return CaptureRules(**{**document, **hooks})


def _user_data(document: Document) -> UserData:
    words = {"tier": Tier, "second_session": SecondSession, "refused_entries": RefusedEntries}
    chosen = {key: word(document[key]) for key, word in words.items() if key in document}
    return UserData(**{**_tuples(document), **chosen})


def _hook(document: Document) -> Hook:
    return Hook(tuple(document["command"]), document.get("deadline_s", 60))


def _ua_errors(document: Document) -> Iterator[tuple[tuple[str | int, ...], str]]:
    """What a schema cannot say; tolerant of wrong shapes, which the schema reports."""
    yield from _placeholder_errors(document)
    for version, stated in _entries(document.get("versions")).items():
        for key in ("role", "variables"):
            if key in _entries(stated) and _entries(stated).get("kind") != "role":
                yield ("versions", str(version), key), "is for kind 'role' only"
    kind = _entries(document.get("probe")).get("kind")
    if kind in ("http", "tcp", "unit") and not {"command", "unit"} & set(document):
        yield (
            ("probe", "kind"),
            f"'{kind}' asks the UA's service, and there is no 'command' or 'unit' for one",
        )
    yield from _service_errors(document)
    yield from _converter_errors(document)
    endpoints = [each for each in _items(document.get("endpoints")) if isinstance(each, Mapping)]
    for key in ("name", "port"):
        counted = Counter(str(endpoint.get(key)) for endpoint in endpoints if key in endpoint)
        for value, count in counted.items():
            if count > 1:
                yield ("endpoints",), f"{count} endpoints have the {key} '{value}'"
    user_data = _entries(document.get("user_data"))
    exceptions = {str(path) for path in _items(user_data.get("exceptions"))}
    for index, path in enumerate(_items(user_data.get("settings"))):
        if str(path) in exceptions:
            yield ("user_data", "settings", index), f"'{path}' is in layer 'exceptions' too"


def _service_errors(document: Document) -> Iterator[tuple[tuple[str | int, ...], str]]:
    for key in ("stop", "run_as"):
        if key in document and "command" not in document:
            yield (key,), "there is no 'command' that it is about"
    if "unit" in document:
        for key in ("command", "environment"):
            if document.get(key):
                yield (key,), f"is not for a UA whose packages bring the unit '{document['unit']}'"
        if document.get("user_data"):
            yield ("user_data",), "is the session account's, and a unit of packages runs as that unit says"
    account = document.get("run_as", SESSION_ACCOUNT)
    if account != SESSION_ACCOUNT and document.get("user_data"):
        yield ("user_data",), f"is the session account's, and the UA runs as '{account}'"


def _converter_errors(document: Document) -> Iterator[tuple[tuple[str | int, ...], str]]:
    for index, each in enumerate(_items(document.get("converters"))):
        older, newer = _entries(each).get("from"), _entries(each).get("to")
        if isinstance(older, int) and isinstance(newer, int) and newer <= older:
            yield (
                ("converters", index, "to"),
                f"{newer} is not greater than {older}: data are never taken back",
            )


def _placeholder_errors(document: Document) -> Iterator[tuple[tuple[str | int, ...], str]]:
    capture = _entries(document.get("capture"))
    commands: list[tuple[tuple[str | int, ...], Any]] = [
        (("probe",), document.get("probe")),
        *((("capture", name), capture.get(name)) for name in HOOKS),
        *((("converters", number), each) for number, each in enumerate(_items(document.get("converters")))),
        ((), document),
    ]
    texts: list[tuple[tuple[str | int, ...], Any]] = [
        *(
            ((*path, "command", index), word)
            for path, holder in commands
            for index, word in enumerate(_items(_entries(holder).get("command")))
        ),
        *((("stop", index), word) for index, word in enumerate(_items(document.get("stop")))),
        *((("environment", key), value) for key, value in _entries(document.get("environment")).items()),
    ]
    for path, text in texts:
        for placeholder in _PLACEHOLDER.findall(text) if isinstance(text, str) else ():
            if placeholder not in PLACEHOLDERS:
                close = suggestion(placeholder, PLACEHOLDERS)
                yield path, f"unknown placeholder '{{{placeholder}}}'{close}"


def _items(value: object) -> list[Any]:
    return value if isinstance(value, list) else []


def _entries(value: object) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _tuples(document: Document) -> dict[str, Any]:
    return {key: tuple(value) if isinstance(value, list) else value for key, value in document.items()}
