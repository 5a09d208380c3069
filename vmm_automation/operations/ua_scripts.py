"""The scripts that UA operations run in a guest: quoted values, then the shell text of ``ua_shell*.py``."""

from __future__ import annotations

import shlex
from collections.abc import Mapping, Sequence

from vmm_automation.adapters.ua_unit import GUEST_ROOT, fill_placeholders, unit_name
from vmm_automation.model.ua import Probe
from vmm_automation.operations import ua_shell
from vmm_automation.operations.ua_shell_packages import PACKAGES
from vmm_automation.operations.ua_shell_probe import PROBE
from vmm_automation.operations.ua_shell_service import SERVICE
from vmm_automation.operations.ua_shell_status import STATUS

#: exit status of a script that stopped on purpose; it has printed a ``refused`` line
REFUSED = 75
DPKG_STATUS = "/var/lib/dpkg/status"
BASE_STATUS = "/opt/vmm/dpkg-status.base"


def status_script() -> str:
    """Reads back what is delivered, what is active and what runs; changes nothing."""
    return f"root={GUEST_ROOT}\n{ua_shell.PRELUDE}{STATUS}"


def install_script(
    ua: str,
    *,
    version: str,
    digest: str,
    activate: bool,
    ports: Sequence[int],
    deadline_s: int,
    probe: Probe | None = None,
    room: int = 0,
) -> str:
    """Unpacks the bundle at :func:`incoming_path` unless it is there already; activates it if asked.

    With ``room``, the bytes that must be free for it, the bundle is the script's input instead.
    """
    values = {
        "version": version,
        "digest": digest,
        "activate": "yes" if activate else "no",
        "incoming": "" if room else incoming_path(ua, digest),
        "room": str(room >> 10),
        **_waiting(ports, deadline_s),
        **_proving(ua, probe),
    }
    source = ua_shell.FROM_INPUT if room else ua_shell.FROM_FILE
    parts = (SERVICE, PROBE, source, ua_shell.DELIVER, PACKAGES, ua_shell.ACTIVATE, ua_shell.INSTALL)
    return _script(ua, values, *parts)


def switch_script(
    ua: str, *, version: str, ports: Sequence[int], deadline_s: int, probe: Probe | None = None
) -> str:
    """Makes a delivered version the active one; a running service is started again with it."""
    values = {"version": version, **_waiting(ports, deadline_s), **_proving(ua, probe)}
    return _script(ua, values, SERVICE, PROBE, PACKAGES, ua_shell.ACTIVATE, ua_shell.SWITCH)


def packages_script(ua: str, *, version: str, would_install: str, notes: Mapping[str, str]) -> str:
    """Says whether an activation would bring packages; ``notes``: of a version that is not there yet."""
    home = f"{GUEST_ROOT}/{ua}"
    named = {"root": GUEST_ROOT, "home": home, "target": f"{home}/{version}"}
    written = "".join(f"printf %s {shlex.quote(text)} >$target/{name}\n" for name, text in notes.items())
    return (
        "".join(f"{name}={shlex.quote(value)}\n" for name, value in named.items())
        + ua_shell.PRELUDE
        + PACKAGES
        + ua_shell.ACTIVATE
        + would_install
        + ua_shell.ASK
        + ("target=$scratch\n" + written if notes else "")
        + "if would_install; then say would install_packages; fi\n"
    )


def deactivate_script(ua: str) -> str:
    """Leaves every version where it is, and none active; a running service is stopped."""
    return _script(ua, {}, SERVICE, ua_shell.DEACTIVATE)


def start_script(ua: str, *, version: str, ports: Sequence[int], deadline_s: int) -> str:
    """Starts a delivered version and waits until it listens."""
    values = {"version": version, **_waiting(ports, deadline_s)}
    return _script(ua, values, SERVICE, PROBE, PACKAGES, ua_shell.ACTIVATE, ua_shell.START)


def stop_script(ua: str) -> str:
    """Stops the service if it runs."""
    return _script(ua, {}, SERVICE, ua_shell.STOP)


def remove_script(ua: str, *, versions: Sequence[str]) -> str:
    """Removes versions and whatever only they needed."""
    return _script(ua, {"versions": " ".join(versions)}, SERVICE, ua_shell.REMOVE)


def incoming_path(ua: str, digest: str) -> str:
    """Where a bundle is put before it is unpacked: a directory that the session account cannot enter."""
    return f"/root/.vmm-incoming-{ua}@{digest[:16]}"


def _waiting(ports: Sequence[int], deadline_s: int) -> dict[str, str]:
    return {"ports": " ".join(f"{port:04X}" for port in ports), "deadline": str(deadline_s)}


def _proving(ua: str, probe: Probe | None) -> dict[str, str]:
    if probe is None:
        return {"probe": "none"}
    return {
        "probe": probe.kind,
        "probe_command": fill_placeholders(shlex.join(probe.command), ua=ua),
        "probe_port": str(probe.port),
        "probe_hex": f"{probe.port:04X}",
        "probe_path": probe.path,
        "probe_deadline": str(probe.deadline_s),
        "stable": str(probe.stable_for_s),
    }


def _script(ua: str, values: dict[str, str], *parts: str) -> str:
    home = f"{GUEST_ROOT}/{ua}"
    named = {"ua": ua, "root": GUEST_ROOT, "home": home, "unit": unit_name(ua)}
    named["unit_file"] = f"/etc/systemd/system/{unit_name(ua)}"
    if "version" in values:
        named["target"] = f"{home}/{values['version']}"
    assignments = "".join(f"{name}={shlex.quote(value)}\n" for name, value in (named | values).items())
    return assignments + ua_shell.PRELUDE + ua_shell.LOCK + "".join(parts)
