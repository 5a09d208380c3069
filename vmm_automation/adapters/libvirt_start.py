"""How an operator starts the libvirt that does not answer; known without libvirt's own library."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import urlsplit


def start_hint(uri: str) -> str:
    """The command that starts the libvirt which serves a URI."""
    address = urlsplit(uri)
    if address.hostname:
        return f"ssh {address.hostname} systemctl start libvirtd"
    if address.path != "/system":
        return "virsh -c qemu:///session version"
    return "systemctl start libvirtd" if Path("/run/systemd/system").is_dir() else "libvirtd -d"
