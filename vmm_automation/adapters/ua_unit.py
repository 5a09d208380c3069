"""The systemd unit of a UA, made from its definition.

It speaks of ``current`` and never of one version, so that going to another version is the switch of one
symbolic link and systemd reads its units again only when the definition itself has changed.
"""

from __future__ import annotations

from collections.abc import Sequence

from vmm_automation.model.ua import SESSION_ACCOUNT, UaDefinition

#: below here lies all that is delivered into a guest
GUEST_ROOT = "/opt/vmm/ua"
SESSION_HOME = "/home/session"

# Only settings that cost no start-up time: no mount namespaces, no seccomp filters.
_UNIT = """\
[Unit]
Description={description}
After=network.target

[Service]
Type=exec
User={account}
WorkingDirectory={home}
{environment}ExecStart={command}
{stop}Restart=no
TimeoutStopSec=20
UMask=0077
NoNewPrivileges=yes
CapabilityBoundingSet=
LimitCORE=0
"""

#: one that stands for a unit of the packages: it goes up and down with it, both ways. Not ordered after it,
#: or its stop would wait for its own end.
_STAND_IN = """\
[Unit]
Description={description}
BindsTo={unit}

[Service]
Type=exec
User=nobody
ExecStart=/bin/sleep infinity
ExecStop=+/bin/systemctl stop {unit}
Restart=no
TimeoutStopSec=60
"""


def unit_name(ua: str) -> str:
    """The unit's file name."""
    return f"vmm-ua-{ua}.service"


def fill_placeholders(text: str, *, ua: str) -> str:
    """``text`` with ``{version_dir}``, ``{config_dir}`` and ``{home}`` filled in; other braces stay."""
    version_dir = f"{GUEST_ROOT}/{ua}/current"
    places = {"version_dir": version_dir, "config_dir": f"{version_dir}/etc", "home": SESSION_HOME}
    for name, place in places.items():
        text = text.replace("{" + name + "}", place)
    return text


def render_unit(definition: UaDefinition) -> str:
    """The unit file's text; empty for a UA without command and unit, which is a tool and has no service."""
    description = " ".join(definition.display_name.replace("%", "%%").split()) or definition.id
    if definition.unit:
        return _STAND_IN.format(description=description, unit=definition.unit)
    if not definition.command:
        return ""
    environment = {"LANG": "C.UTF-8", **definition.environment}
    lines = [
        f"Environment={_quoted(f'{key}={fill_placeholders(value, ua=definition.id)}', dollars=False)}\n"
        for key, value in sorted(environment.items())
    ]
    account = definition.run_as
    return _UNIT.format(
        description=description,
        account=account,
        home=SESSION_HOME if account == SESSION_ACCOUNT else "/",  # which only that account may enter
        environment="".join(lines),
        command=_words(definition.command, ua=definition.id),
        stop=f"ExecStop={_words(definition.stop, ua=definition.id)}\n" if definition.stop else "",
    )


def _words(command: Sequence[str], *, ua: str) -> str:
    return " ".join(_quoted(fill_placeholders(word, ua=ua)) for word in command)


def _quoted(word: str, *, dollars: bool = True) -> str:
    """``word`` as systemd reads it back unchanged: its quotes, specifiers and (in commands) variables
    escaped.
    """
    text = word.replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n").replace("%", "%%")
    if dollars:
        text = text.replace("$", "$$")
    return f'"{text}"'
