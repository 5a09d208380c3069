"""The domain XML of a VM, and what is read back from it.

The owner, profile, port and host key of a VM are in the domain's own metadata, so that the list of
VMs cannot drift from libvirt and lost state can be rebuilt.
"""

from __future__ import annotations

import re
import xml.etree.ElementTree as ET
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

NAMESPACE = "urn:vmm-automation:vm:1"
_QEMU = "http://libvirt.org/schemas/domain/qemu/1.0"
_FORWARD_NETDEV = "n0"
_EMULATED_CPU = "Nehalem"  # boots about a third faster than "max": fewer features to emulate
USER_DISK_SERIAL = "vmm-user-data"  # by which the guest knows it; 20 characters at most
_USER_DISK = "vdu"
_SPARE_ROOT_PORTS = 4  # for hot-plugged disks: virtio-blk needs a free port that existed at boot

_FORWARD = re.compile(r"TCP\[HOST_FORWARD\]\s+\S+\s+\S+\s+(\d+)\s+\S+\s+(\d+)\s")

ET.register_namespace("vmm", NAMESPACE)
ET.register_namespace("qemu", _QEMU)


@dataclass(frozen=True)
class VmRecord:
    """What the domain's metadata says of a VM; ``features`` and ``protocols`` are what it offers."""

    site: str
    name: str
    profile: str
    base_digest: str
    ssh_port: int
    host_key: str
    created_at: str
    ready: bool = False
    features: tuple[str, ...] = ()
    protocols: tuple[str, ...] = ()
    home: str = ""


@dataclass(frozen=True)
class DomainSpec:
    """All that a domain is made from; sizes in MiB, paths on the hypervisor."""

    record: VmRecord
    uuid: str
    vcpus: int
    memory_mib: int
    acceleration: str
    cpu: str
    disk: Path
    seed: Path
    console: Path
    kernel: Path | None
    initrd: Path | None
    kernel_arguments: str


def domain_name(*, site: str, vm: str) -> str:
    """The libvirt name of a VM: unique among the sites that share a hypervisor."""
    return f"vmm-{site}-{vm}"


def record_xml(record: VmRecord) -> str:
    """The metadata element of a VM, without its namespace: libvirt adds it when an element is set alone."""
    element = _record_element(record)
    element.tag = "vm"
    return ET.tostring(element, encoding="unicode")


def parse_record(xml: str) -> VmRecord:
    """Read the metadata element back.

    Raises:
        KeyError, ValueError: it was not written by this project.
    """
    element = ET.fromstring(xml)  # noqa: S314 - written by libvirt, which only its administrators reach
    words = {key: tuple((element.get(key) or "").split()) for key in ("features", "protocols")}
    return VmRecord(
        site=element.attrib["site"],
        name=element.attrib["name"],
        profile=element.attrib["profile"],
        base_digest=element.attrib["base_digest"],
        ssh_port=int(element.attrib["ssh_port"]),
        host_key=element.attrib["host_key"],
        created_at=element.attrib["created_at"],
        ready=element.get("ready") == "yes",
        home=element.get("home", ""),
        **words,
    )


def domain_xml(spec: DomainSpec) -> str:
    """The XML to define a VM from."""
    kvm = spec.acceleration == "kvm"
    domain = ET.Element("domain", type="kvm" if kvm else "qemu")
    _text(domain, "name", domain_name(site=spec.record.site, vm=spec.record.name))
    _text(domain, "uuid", spec.uuid)
    ET.SubElement(domain, "genid")
    ET.SubElement(domain, "metadata").append(_record_element(spec.record))
    _text(domain, "memory", str(spec.memory_mib), unit="MiB")
    _text(domain, "vcpu", str(spec.vcpus))
    _boot(domain, spec)
    features = ET.SubElement(domain, "features")
    ET.SubElement(features, "acpi")
    _cpu(domain, spec)
    ET.SubElement(domain, "clock", offset="utc")
    for event, action in (("on_poweroff", "destroy"), ("on_reboot", "restart"), ("on_crash", "preserve")):
        _text(domain, event, action)
    _devices(ET.SubElement(domain, "devices"), spec)
    _forwarding(domain, spec.record.ssh_port)
    return ET.tostring(domain, encoding="unicode")


def snapshot_xml(name: str) -> str:
    """The XML of a snapshot with memory; the seed, which is read-only, is left out by libvirt itself."""
    snapshot = ET.Element("domainsnapshot")
    _text(snapshot, "name", name)
    return ET.tostring(snapshot, encoding="unicode")


def user_disk_xml(chain: Sequence[Path]) -> str:
    """A disk to be plugged into a running guest: a file and all that it lies on, each said to be qcow2."""
    disk = ET.Element("disk", type="file", device="disk")
    ET.SubElement(disk, "driver", name="qemu", type="qcow2", cache="writeback", discard="unmap")
    ET.SubElement(disk, "source", file=str(chain[0]))
    below = disk
    for file in chain[1:]:
        below = ET.SubElement(below, "backingStore", type="file")
        ET.SubElement(below, "format", type="qcow2")
        ET.SubElement(below, "source", file=str(file))
    ET.SubElement(below, "backingStore")  # nothing more: libvirt need not look into any of them
    ET.SubElement(disk, "target", dev=_USER_DISK, bus="virtio")
    _text(disk, "serial", USER_DISK_SERIAL)
    return ET.tostring(disk, encoding="unicode")


def find_user_disk(xml: str) -> str | None:
    """The file of the user's disk in a domain's XML; None if there is none."""
    domain = ET.fromstring(xml)  # noqa: S314 - libvirt's own output
    for disk in domain.iterfind("devices/disk"):
        source = disk.find("source")
        if disk.findtext("serial") == USER_DISK_SERIAL and source is not None:
            return source.get("file", "")
    return None


def with_record(xml: str, record: VmRecord) -> str:
    """The same domain with another metadata record, and its SSH forward moved to the record's port."""
    domain = ET.fromstring(xml)  # noqa: S314 - libvirt's own output
    metadata = domain.find("metadata")
    command_line = domain.find(f"{{{_QEMU}}}commandline")
    if metadata is None or command_line is None:
        raise ValueError("not a domain of this project")
    metadata.clear()
    metadata.append(_record_element(record))
    domain.remove(command_line)
    _forwarding(domain, record.ssh_port)
    return ET.tostring(domain, encoding="unicode")


def _record_element(record: VmRecord) -> ET.Element:
    return ET.Element(
        f"{{{NAMESPACE}}}vm",
        {
            "site": record.site,
            "name": record.name,
            "profile": record.profile,
            "base_digest": record.base_digest,
            "ssh_port": str(record.ssh_port),
            "host_key": record.host_key,
            "created_at": record.created_at,
            "home": record.home,
            "ready": "yes" if record.ready else "no",
            "features": " ".join(record.features),
            "protocols": " ".join(record.protocols),
        },
    )


def _text(parent: ET.Element, tag: str, text: str, **attributes: str) -> ET.Element:
    element = ET.SubElement(parent, tag, attributes)
    element.text = text
    return element


def _boot(domain: ET.Element, spec: DomainSpec) -> None:
    os_element = ET.SubElement(domain, "os")
    _text(os_element, "type", "hvm", arch="x86_64", machine="q35")
    if spec.kernel and spec.initrd:
        _text(os_element, "kernel", str(spec.kernel))
        _text(os_element, "initrd", str(spec.initrd))
        _text(os_element, "cmdline", spec.kernel_arguments)
    else:
        ET.SubElement(os_element, "boot", dev="hd")


def _cpu(domain: ET.Element, spec: DomainSpec) -> None:
    if spec.acceleration == "kvm" and spec.cpu in {"", "host"}:
        ET.SubElement(domain, "cpu", mode="host-passthrough", migratable="on")
        return
    cpu = ET.SubElement(domain, "cpu", mode="custom", match="exact", check="none")
    _text(cpu, "model", spec.cpu or _EMULATED_CPU, fallback="allow")


def _devices(devices: ET.Element, spec: DomainSpec) -> None:
    ET.SubElement(devices, "controller", type="pci", index="0", model="pcie-root")
    for port in range(1, 10 + _SPARE_ROOT_PORTS):
        ET.SubElement(devices, "controller", type="pci", index=str(port), model="pcie-root-port")
    _disk(devices, spec.disk, kind="qcow2", target="vda", serial="vmm-root")
    _disk(devices, spec.seed, kind="raw", target="vdb", serial="vmm-seed", read_only=True)
    console = ET.SubElement(devices, "serial", type="file")
    ET.SubElement(console, "source", path=str(spec.console), append="off")
    ET.SubElement(console, "target", port="0")
    agent = ET.SubElement(devices, "channel", type="unix")
    ET.SubElement(agent, "target", type="virtio", name="org.qemu.guest_agent.0")
    rng = ET.SubElement(devices, "rng", model="virtio")
    _text(rng, "backend", "/dev/urandom", model="random")
    ET.SubElement(devices, "memballoon", model="none")
    ET.SubElement(devices, "panic", model="isa")


def _disk(
    devices: ET.Element, path: Path, *, kind: str, target: str, serial: str, read_only: bool = False
) -> None:
    disk = ET.SubElement(devices, "disk", type="file", device="disk")
    ET.SubElement(disk, "driver", name="qemu", type=kind, cache="unsafe" if read_only else "writeback")
    ET.SubElement(disk, "source", file=str(path))
    ET.SubElement(disk, "target", dev=target, bus="virtio")
    _text(disk, "serial", serial)
    if read_only:
        ET.SubElement(disk, "readonly")


def _forwarding(domain: ET.Element, ssh_port: int) -> None:
    """The guest's only network: nothing but what is forwarded from the hypervisor's loopback.

    libvirt 9 cannot express forwards of user-mode networking, so they go to QEMU as arguments.
    """
    netdev = f"user,id={_FORWARD_NETDEV},restrict=on,ipv6=off,hostfwd=tcp:127.0.0.1:{ssh_port}-:22"
    device = f"virtio-net-pci,netdev={_FORWARD_NETDEV},bus=pcie.0,addr=0x10"
    command_line = ET.SubElement(domain, f"{{{_QEMU}}}commandline")
    for value in ("-netdev", netdev, "-device", device):
        ET.SubElement(command_line, f"{{{_QEMU}}}arg", value=value)


def add_forward_command(*, port: int, guest_port: int) -> str:
    """The QEMU monitor command that forwards 127.0.0.1:port to the guest's port."""
    return f"hostfwd_add {_FORWARD_NETDEV} tcp:127.0.0.1:{port}-:{guest_port}"


def parse_forwards(answer: str) -> dict[int, int]:
    """Ports of the host that lead to ports of the guest, from the monitor's answer to ``info usernet``."""
    return {int(port): int(guest_port) for port, guest_port in _FORWARD.findall(answer)}


def remove_forward_command(*, port: int) -> str:
    """The QEMU monitor command that takes a forward away."""
    return f"hostfwd_remove {_FORWARD_NETDEV} tcp:127.0.0.1:{port}"
