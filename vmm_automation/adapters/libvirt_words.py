"""What is said of a libvirt that does not do what it is asked, and of its versions."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit

from vmm_automation.errors import PortTaken


def start_hint(uri: str) -> str:
    """The command that starts the libvirt which serves a URI."""
    address = urlsplit(uri)
    if address.hostname:
        return f"ssh {address.hostname} systemctl start libvirtd"
    if address.path != "/system":
        return "virsh -c qemu:///session version"
    return "systemctl start libvirtd" if Path("/run/systemd/system").is_dir() else "libvirtd -d"


def port_taken(port: int, reason: str) -> PortTaken:
    """A forward's port is in use; 0 where it is not known which."""
    which = f"Port {port}" if port else "A port"
    return PortTaken(
        f"{which} of 127.0.0.1 is already in use: {reason}",
        hint="leave the port out, and a free one is chosen",
        details={"port": port},
    )


def dotted(version: int) -> str:
    """A version as libvirt counts it, as people write it."""
    return f"{version // 1_000_000}.{version // 1000 % 1000}.{version % 1000}"
