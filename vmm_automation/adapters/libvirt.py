"""The hypervisor port on libvirt; only this file and two beside it import libvirt."""

from __future__ import annotations

import json
from dataclasses import replace

import libvirt
import libvirt_qemu

from vmm_automation.adapters import domain_xml
from vmm_automation.adapters.domain_xml import DomainSpec, VmRecord, domain_name
from vmm_automation.adapters.libvirt_failures import failure_of, translated
from vmm_automation.adapters.libvirt_kept import KeptMemory
from vmm_automation.adapters.libvirt_user_disks import UserDisks
from vmm_automation.adapters.libvirt_words import dotted, no_such_vm, port_taken
from vmm_automation.errors import Conflict, NotFound, TaskFailed
from vmm_automation.model.names import check_name
from vmm_automation.model.vm import Vm, VmState

_STATES = {
    libvirt.VIR_DOMAIN_RUNNING: VmState.RUNNING,
    libvirt.VIR_DOMAIN_BLOCKED: VmState.RUNNING,
    libvirt.VIR_DOMAIN_PAUSED: VmState.PAUSED,
    libvirt.VIR_DOMAIN_PMSUSPENDED: VmState.PAUSED,
    libvirt.VIR_DOMAIN_SHUTDOWN: VmState.RUNNING,
    libvirt.VIR_DOMAIN_SHUTOFF: VmState.STOPPED,
    libvirt.VIR_DOMAIN_NOSTATE: VmState.STOPPED,
    libvirt.VIR_DOMAIN_CRASHED: VmState.CRASHED,
}
_UNDEFINE_ALL = (
    libvirt.VIR_DOMAIN_UNDEFINE_MANAGED_SAVE
    | libvirt.VIR_DOMAIN_UNDEFINE_SNAPSHOTS_METADATA
    | libvirt.VIR_DOMAIN_UNDEFINE_NVRAM
    | libvirt.VIR_DOMAIN_UNDEFINE_CHECKPOINTS_METADATA
)
_METADATA_PREFIX = "vmm"


class LibvirtHypervisor(KeptMemory, UserDisks):
    """The VMs of one site at one libvirt URI.

    Calls may come from several threads at once (libvirt's connection allows it). A domain without this
    site's metadata, or made from another controller's ``home``, is never listed nor touched: keys and
    disks of its VM are there.
    """

    def __init__(self, uri: str, *, site: str, home: str = "") -> None:
        self.uri = uri
        self.site = site
        self.home = home
        libvirt.registerErrorHandler(lambda _context, _error: None, None)  # errors travel as exceptions
        with translated(self.uri, "open a connection"):
            self._connection = libvirt.open(uri)

    def close(self) -> None:
        """Let the connection go."""
        self._connection.close()

    def version(self) -> str:
        """``libvirt 9.0.0, QEMU 7.2.22``."""
        with translated(self.uri, "ask for its version"):
            return (
                f"libvirt {dotted(self._connection.getLibVersion())}, "
                f"QEMU {dotted(self._connection.getVersion())}"
            )

    def vms(self) -> list[Vm]:
        """All VMs of the site, by name."""
        found = []
        with translated(self.uri, "list domains"):
            for domain in self._connection.listAllDomains():
                record = self._record(domain)
                if record and record.site == self.site and self._is_ours(record):
                    found.append(self._vm(domain, record))
        return sorted(found, key=lambda vm: vm.name)

    def vm(self, name: str) -> Vm:
        """One VM of the site.

        Raises:
            NotFound: the site has no such VM.
            Conflict: its domain was made by something else, or from another home.
        """
        domain = self._domain(name)
        record = self._record(domain)
        if record is None:
            raise Conflict(
                f"Domain '{domain.name()}' exists but was not made by this site",
                hint=f"virsh -c {self.uri} dumpxml {domain.name()}",
            )
        if not self._is_ours(record):
            raise Conflict(
                f"VM '{name}' of site '{self.site}' was made from another home, '{record.home}'",
                hint=f"VMM_HOME={record.home} vmm vm show {name}",
                details={"vm": name, "home": record.home},
            )
        with translated(self.uri, f"read VM '{name}'"):
            return self._vm(domain, record)

    def define(self, spec: DomainSpec) -> None:
        """Make the domain known, not running."""
        with translated(self.uri, f"define VM '{spec.record.name}'"):
            self._connection.defineXML(domain_xml.domain_xml(spec))

    def start(self, name: str) -> None:
        """Start the guest; no change if it runs already.

        Raises:
            PortTaken: the SSH port of the domain is in use on the hypervisor.
        """
        domain = self._domain(name)
        with translated(self.uri, f"start VM '{name}'"):
            if not domain.isActive():
                domain.create()

    def move_ssh_port(self, name: str, *, port: int) -> None:
        """Give a stopped VM another SSH port."""
        self._rewrite(name, ssh_port=port)

    def mark_ready(self, name: str) -> None:
        """Record in the domain's metadata that the VM has answered over SSH."""
        domain = self._domain(name)
        record = self._record(domain)
        if record is None or record.ready:
            return
        flags = libvirt.VIR_DOMAIN_AFFECT_CONFIG
        if domain.isActive():
            flags |= libvirt.VIR_DOMAIN_AFFECT_LIVE
        xml = domain_xml.record_xml(replace(record, ready=True))
        with translated(self.uri, f"mark VM '{name}' ready"):
            domain.setMetadata(
                libvirt.VIR_DOMAIN_METADATA_ELEMENT, xml, _METADATA_PREFIX, domain_xml.NAMESPACE, flags
            )

    def park(self, name: str) -> None:
        """Save the guest with its memory and switch it off; no change if it is off already."""
        domain = self._domain(name)
        with translated(self.uri, f"park VM '{name}'"):
            if domain.isActive():
                domain.managedSave(0)

    def shutdown(self, name: str) -> None:
        """Ask the guest to power off; returns at once. No change if it does not run."""
        domain = self._domain(name)
        with translated(self.uri, f"shut down VM '{name}'"):
            if not domain.isActive():
                return
            try:
                domain.shutdown()
            except libvirt.libvirtError:
                if domain.isActive():  # else it ended while it was asked
                    raise

    def destroy(self, name: str) -> None:
        """Cut the power; disks stay. No change if it does not run."""
        domain = self._domain(name)
        with translated(self.uri, f"cut the power of VM '{name}'"):
            if domain.isActive():
                domain.destroy()

    def undefine(self, name: str) -> None:
        """Forget the domain with its saved memory, snapshots and firmware variables; disks stay."""
        domain = self._domain(name)
        with translated(self.uri, f"undefine VM '{name}'"):
            domain.undefineFlags(_UNDEFINE_ALL)

    def pause(self, name: str) -> None:
        """Stop the guest's CPUs, keeping it in memory; no change if they are stopped already."""
        domain = self._domain(name)
        with translated(self.uri, f"pause VM '{name}'"):
            if domain.state()[0] != libvirt.VIR_DOMAIN_PAUSED:
                domain.suspend()

    def resume(self, name: str) -> None:
        """Let the guest's CPUs run again; no change if they run already."""
        domain = self._domain(name)
        with translated(self.uri, f"resume VM '{name}'"):
            if domain.state()[0] == libvirt.VIR_DOMAIN_PAUSED:
                domain.resume()

    def forwards(self, name: str) -> dict[int, int] | None:
        """Ports of 127.0.0.1 that lead to ports of a running guest; None where there is no QEMU to ask."""
        try:
            return domain_xml.parse_forwards(self._monitor(name, "info usernet"))
        except TaskFailed as failed:
            if failed.details.get("code") == libvirt.VIR_ERR_NO_SUPPORT:
                return None
            raise

    def add_forward(self, name: str, *, port: int, guest_port: int) -> None:
        """Forward 127.0.0.1:port of the hypervisor to a TCP port of the guest.

        Raises:
            PortTaken: the port is in use.
        """
        answer = self._monitor(name, domain_xml.add_forward_command(port=port, guest_port=guest_port))
        if answer.strip():
            raise port_taken(port, answer.strip())

    def remove_forward(self, name: str, *, port: int) -> None:
        """Take a forward away; no change if there is none."""
        self._monitor(name, domain_xml.remove_forward_command(port=port))

    def _monitor(self, name: str, command: str) -> str:
        domain = self._domain(name)
        request = {"execute": "human-monitor-command", "arguments": {"command-line": command}}
        with translated(self.uri, f"set up forwards of VM '{name}'"):
            answer = libvirt_qemu.qemuMonitorCommand(domain, json.dumps(request), 0)
        return str(json.loads(answer).get("return", ""))

    def _rewrite(self, name: str, *, ssh_port: int) -> None:
        domain = self._domain(name)
        record = self._record(domain)
        if record is None:
            raise NotFound(f"VM '{name}' is not of site '{self.site}'", hint="vmm vm list")
        with translated(self.uri, f"redefine VM '{name}'"):
            xml = domain.XMLDesc(libvirt.VIR_DOMAIN_XML_INACTIVE | libvirt.VIR_DOMAIN_XML_SECURE)
            moved = replace(record, ssh_port=ssh_port)
            self._connection.defineXML(domain_xml.with_record(xml, moved))
            if domain.hasManagedSaveImage():  # has the XML of its own that it is resumed with
                xml = domain.managedSaveGetXMLDesc(libvirt.VIR_DOMAIN_SAVE_IMAGE_XML_SECURE)
                domain.managedSaveDefineXML(domain_xml.with_record(xml, moved))

    def _domain(self, name: str) -> libvirt.virDomain:
        check_name("VM", name)
        try:
            return self._connection.lookupByName(domain_name(site=self.site, vm=name))
        except libvirt.libvirtError as error:
            if error.get_error_code() == libvirt.VIR_ERR_NO_DOMAIN:
                raise no_such_vm(name, site=self.site) from error
            raise failure_of(error, self.uri, f"look up VM '{name}'") from error

    def _record(self, domain: libvirt.virDomain) -> VmRecord | None:
        try:
            xml = domain.metadata(libvirt.VIR_DOMAIN_METADATA_ELEMENT, domain_xml.NAMESPACE)
            return domain_xml.parse_record(xml)
        except libvirt.libvirtError as error:
            if error.get_error_code() in {libvirt.VIR_ERR_NO_DOMAIN_METADATA, libvirt.VIR_ERR_NO_DOMAIN}:
                return None
            raise
        except (KeyError, ValueError):
            return None

    def _is_ours(self, record: VmRecord) -> bool:
        return not record.home or not self.home or record.home == self.home

    def _vm(self, domain: libvirt.virDomain, record: VmRecord) -> Vm:
        state, _max_kib, memory_kib, vcpus, _cpu_ns = domain.info()
        found = _STATES.get(state, VmState.STOPPED)
        saved = found is VmState.STOPPED and domain.hasManagedSaveImage()
        return Vm(
            name=record.name,
            domain=domain.name(),
            uuid=domain.UUIDString(),
            state=VmState.PARKED if saved else found,
            profile=record.profile,
            base_digest=record.base_digest,
            vcpus=vcpus,
            memory_mib=memory_kib // 1024,
            ssh_port=record.ssh_port,
            host_key=record.host_key,
            features=record.features,
            protocols=record.protocols,
            created_at=record.created_at,
            ready=record.ready,
        )
