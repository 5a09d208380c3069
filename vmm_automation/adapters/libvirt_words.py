"""What libvirt's numbers and failures are in words."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

from vmm_automation.errors import HypervisorUnreachable, NotFound, PortTaken


def start_hint(uri: str) -> str:
    """The command that starts the libvirt which serves a URI."""
    address = urlsplit(uri)
    if address.hostname:
        return f"ssh {address.hostname} systemctl start libvirtd"
    if address.path != "/system":
        return "virsh -c qemu:///session version"
    return "systemctl start libvirtd" if Path("/run/systemd/system").is_dir() else "libvirtd -d"


def no_such_vm(name: str, *, site: str) -> NotFound:
    """The failure to find a VM."""
    return NotFound(f"VM '{name}' does not exist on site '{site}'", hint="vmm vm list", details={"vm": name})


def unreachable(uri: str, *, action: str, reason: str) -> HypervisorUnreachable:
    """The failure of a libvirt that is not there."""
    return HypervisorUnreachable(
        f"libvirt does not answer at '{uri}' (to {action}): {reason}",
        hint=start_hint(uri),
        details={"uri": uri},
    )


def port_taken(port: int, reason: str) -> PortTaken:
    """The failure of a forward whose port somebody else has; 0 where it is not known which."""
    which = f"Port {port}" if port else "A port"
    return PortTaken(
        f"{which} of 127.0.0.1 is already in use: {reason}",
        hint="leave the port out, and a free one is chosen",
        details={"port": port},
    )


def dotted(version: int) -> str:
    """A version as people write it, from libvirt's number."""
    return f"{version // 1_000_000}.{version // 1000 % 1000}.{version % 1000}"
