"""How long ``vmm vm create`` takes until VMs answer over SSH, against the least that the same VMs need.

The floor makes the same overlay and seed, defines and starts the same domain with virsh, and asks ssh every
0.2 s. One VM, and four at once.
"""

from __future__ import annotations

import subprocess
import time
import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from tests.benchmarks.figures import Report, Times, arguments, interleaved, say, seconds_of
from tests.benchmarks.own_site import OwnSite, own_site, run
from vmm_automation.adapters.base_image_builder import ensure_base_image
from vmm_automation.adapters.disks import free_port
from vmm_automation.adapters.domain_xml import DomainSpec, VmRecord, domain_name, domain_xml
from vmm_automation.adapters.seed import GuestIdentity, new_host_key, write_seed
from vmm_automation.adapters.ssh import SshPlaces, ensure_key
from vmm_automation.model.base_image import AccelerationVerdict, BaseImage
from vmm_automation.model.vm import VmProfile
from vmm_automation.operations import vm
from vmm_automation.operations.base_image import acceleration
from vmm_automation.operations.context import open_context

_PROFILE = "small"
_POLL_S = 0.2
_ATTEMPT_S = 2  # while a guest has no network, QEMU accepts connections that nobody answers
_DEADLINE_S = 300.0
_FLOOR = "qemu-img, virsh, ssh"


def main() -> None:
    """Measure and report."""
    options = arguments("provision", runs=3, description=__doc__ or "")
    report = Report("provision")
    with own_site() as site:
        floor = Floor.of(site)
        phases: list[dict[str, object]] = []
        for count in (1, 4):
            kinds = {
                _FLOOR: floor.measure(count),
                "operations.vm.present": _operation(site, count, phases=phases),
                "vmm vm create": _command(site, count),
            }
            times: Times = interleaved(options.runs, kinds)
            report.add(f"{count} VM{'s' if count > 1 else ''}", times, floor=_FLOOR)
        report.note("acceleration", floor.verdict.kind)
        report.note("phases of operations.vm.present", phases)
    report.write(options.json)


@dataclass(frozen=True)
class Floor:
    """The least that makes VMs of a profile answer over SSH."""

    site: OwnSite
    image: BaseImage
    profile: VmProfile
    verdict: AccelerationVerdict
    key: Path
    public_key: str

    @classmethod
    def of(cls, site: OwnSite) -> Floor:
        """What all runs share is found out before any of them."""
        context = open_context(site.directory)
        profile = context.site.profile(_PROFILE)
        definition = context.site.base_image(profile.base_image)
        image, _ = ensure_base_image(definition, directory=context.places.base_images, progress=say)
        ssh = SshPlaces.of(context.places)
        return cls(
            site=site,
            image=image,
            profile=profile,
            verdict=acceleration(context, image),
            key=ssh.key,
            public_key=ensure_key(ssh),
        )

    def measure(self, count: int) -> Callable[[int], float]:
        """A measurement of ``count`` VMs at once."""

        def measure(number: int) -> float:
            names = [f"floor-{count}-{number}-{index}" for index in range(count)]
            with ThreadPoolExecutor(max_workers=count) as pool:
                seconds = seconds_of(lambda: list(pool.map(self._provision, names)))
            self.site.delete_domains(f"vmm-{self.site.name}f-")
            return seconds

        return measure

    def _provision(self, name: str) -> None:
        directory = self.site.home / "floor" / name
        directory.mkdir(parents=True, mode=0o755)
        disk = directory / "disk.qcow2"
        run(["qemu-img", "create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", self.image.disk, disk])
        private, public = new_host_key()
        identity = GuestIdentity(name, uuid.uuid4().hex, private, public, (self.public_key,))
        write_seed(directory / "seed.raw", identity=identity)
        port = free_port()
        spec = self._spec(name, directory, port=port, host_key=public)
        (directory / "domain.xml").write_text(domain_xml(spec))
        self.site.virsh("define", str(directory / "domain.xml"))
        domain = domain_name(site=spec.record.site, vm=name)
        self.site.virsh("start", domain)
        (directory / "known_hosts").write_text(f"{domain} {spec.record.host_key}\n")
        self._wait(directory / "known_hosts", domain=domain, port=port)

    def _spec(self, name: str, directory: Path, *, port: int, host_key: str) -> DomainSpec:
        record = VmRecord(
            site=f"{self.site.name}f",
            name=name,
            profile=self.profile.name,
            base_digest=self.image.digest,
            ssh_port=port,
            host_key=" ".join(host_key.split()[:2]),
            created_at="",
        )
        return DomainSpec(
            record=record,
            uuid=str(uuid.uuid4()),
            vcpus=self.profile.vcpus,
            memory_mib=self.profile.memory_mib,
            acceleration=self.verdict.kind,
            cpu=self.verdict.cpu,
            disk=directory / "disk.qcow2",
            seed=directory / "seed.raw",
            console=directory / "console.log",
            kernel=self.image.kernel,
            initrd=self.image.initrd,
            kernel_arguments=self.image.kernel_arguments,
        )

    def _wait(self, known_hosts: Path, *, domain: str, port: int) -> None:
        argv = ["ssh", "-F", "/dev/null", "-p", str(port), "-i", str(self.key)]
        argv += ["-o", f"UserKnownHostsFile={known_hosts}", "-o", f"HostKeyAlias={domain}"]
        argv += ["-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=yes", "-o", "IdentitiesOnly=yes"]
        argv += ["-o", f"ConnectTimeout={_ATTEMPT_S}", "root@127.0.0.1", "true"]
        deadline = time.monotonic() + _DEADLINE_S
        while subprocess.run(argv, capture_output=True, check=False).returncode:
            if time.monotonic() > deadline:
                raise TimeoutError(f"{domain} did not answer within {_DEADLINE_S:g} s")
            time.sleep(_POLL_S)


def _operation(site: OwnSite, count: int, *, phases: list[dict[str, object]]) -> Callable[[int], float]:
    def measure(number: int) -> float:
        context = open_context(site.directory)
        names = [f"operation-{count}-{number}-{index}" for index in range(count)]
        started = time.perf_counter()
        made = vm.present(context, names, profile=_PROFILE)
        seconds = time.perf_counter() - started
        phases.extend({"vms": count, **made["vms"][name]["phases"]} for name in names)
        vm.absent(context, names, allow_destroy=True)
        context.hypervisor.close()
        context.store.close()
        return seconds

    return measure


def _command(site: OwnSite, count: int) -> Callable[[int], float]:
    def measure(number: int) -> float:
        names = [f"command-{count}-{number}-{index}" for index in range(count)]
        seconds = seconds_of(lambda: site.vmm("vm", "create", *names, "--profile", _PROFILE))
        site.vmm("vm", "delete", *names, "--yes")
        return seconds

    return measure


if __name__ == "__main__":
    main()
