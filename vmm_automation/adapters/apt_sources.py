"""Reads the controller's own apt set-up, so that a base image comes from where it installs itself.

Third-party sources are left out: only entries of the wanted release (with its updates and security) and
of component ``main`` count.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from vmm_automation.adapters.process import run
from vmm_automation.errors import PreflightFailed

_ONE_LINE = re.compile(
    r"deb\s+(?:\[(?P<options>[^]]*)\]\s+)?(?P<uri>\S+)\s+(?P<suite>\S+)\s+(?P<components>.+)"
)
#: branches of apt's configuration that say how to reach an archive: proxies, certificates, retries
_TRANSPORT = re.compile(
    r"Acquire::(?:https?|ftp|Retries|Check-(?:Valid-Until|Date)|ForceIPv[46]|Queue-Mode|Proxy-Auto-Detect)\b.*"
    r"|Acquire::.*::(?:Proxy|ProxyAutoDetect).*"
)


@dataclass(frozen=True)
class AptSource:
    """One archive and suite; ``options`` are those of a one-line entry, without brackets."""

    uri: str
    suite: str
    options: str = ""

    @property
    def line(self) -> str:
        """The entry in apt's one-line form."""
        return " ".join(
            filter(None, ["deb", self.options and f"[{self.options}]", self.uri, self.suite, "main"])
        )


def controller_sources(suite: str, *, directory: Path = Path("/etc/apt")) -> tuple[AptSource, ...]:
    """The controller's entries that carry Debian release ``suite``.

    Raises:
        PreflightFailed: it has none.
    """
    wanted = {suite, f"{suite}-updates", f"{suite}-security", f"{suite}/updates"}
    parts = directory / "sources.list.d"
    found: list[AptSource] = []
    for path in [directory / "sources.list", *sorted(parts.glob("*.list")), *sorted(parts.glob("*.sources"))]:
        if path.is_file():
            parse = deb822_sources if path.suffix == ".sources" else one_line_sources
            found += [source for source in parse(path.read_text(errors="replace")) if source.suite in wanted]
    if suite not in {source.suite for source in found}:
        raise PreflightFailed(
            f"No apt source of the controller carries Debian release '{suite}'",
            hint="set 'mirror' in the base image's definition",
        )
    return tuple(dict.fromkeys(found))


def transport_configuration() -> str:
    """The apt configuration that says how to reach archives; it may hold a proxy's password.

    Raises:
        ToolMissing, TaskFailed: apt-config is absent or fails.
    """
    lines = run(["apt-config", "dump"], timeout=60).text.splitlines()
    return "".join(f"{line}\n" for line in lines if _TRANSPORT.fullmatch(line))


def one_line_sources(text: str) -> Iterator[AptSource]:
    """The entries of component ``main`` in a file of ``deb URI SUITE COMPONENT…`` lines."""
    for line in text.splitlines():
        match = _ONE_LINE.fullmatch(line.partition("#")[0].strip())
        if match and "main" in match["components"].split():
            yield AptSource(match["uri"], match["suite"], _kept_options(match["options"] or ""))


def deb822_sources(text: str) -> Iterator[AptSource]:
    """The entries of component ``main`` in a file of deb822 paragraphs."""
    for paragraph in re.split(r"\n\s*\n", text):
        fields = _fields(paragraph)
        enabled = fields.get("enabled", "yes").lower() not in ("no", "false", "0")
        if not enabled or "deb" not in fields.get("types", "").split():
            continue
        if "main" not in fields.get("components", "").split():
            continue
        options = _deb822_options(fields)
        for uri in fields.get("uris", "").split():
            for suite in fields.get("suites", "").split():
                yield AptSource(uri, suite, options)


def _fields(paragraph: str) -> dict[str, str]:
    fields: dict[str, str] = {}
    name = ""
    for line in paragraph.splitlines():
        if line.startswith("#"):
            continue
        if line[:1] in (" ", "\t") and name:
            fields[name] += "\n" + line.strip()
        elif ":" in line:
            name, _, value = line.partition(":")
            name = name.strip().lower()
            fields[name] = value.strip()
    return fields


def _deb822_options(fields: dict[str, str]) -> str:
    options = []
    if fields.get("trusted", "").lower() in ("yes", "true", "1"):
        options.append("trusted=yes")
    # A key that stands in the paragraph itself has no one-line form; apt then takes the controller's
    # trusted keys.
    key_file = fields.get("signed-by", "")
    if key_file.startswith("/") and not any(sign.isspace() for sign in key_file):
        options.append(f"signed-by={key_file}")
    return " ".join(options)


def _kept_options(options: str) -> str:
    return " ".join(option for option in options.split() if option.startswith(("signed-by=", "trusted=")))
