"""Finds out whether guests can run under KVM here, by running one.

Nothing less tells the truth: there are hosts where /dev/kvm opens, libvirt lists KVM and a firmware runs
under it, and a Linux guest hangs all the same. So the base image's own kernel is started under KVM with
an initrd that writes one line to the serial port and powers off.

The verdict is kept in ``DIRECTORY/acceleration.json``, replaced in one step, and holds for one kernel file,
one QEMU program and one boot of the host; files are told apart by size and time of change, because to read
them and to ask QEMU costs 30 ms for each VM that is made. Two probes at the same time do the work twice and
write the same.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from vmm_automation.adapters.process import run, tool_missing
from vmm_automation.errors import TaskFailed, Timeout, UsageError
from vmm_automation.model.base_image import AccelerationVerdict, BaseImage
from vmm_automation.places import make_directory

_QEMU = "qemu-system-x86_64"
_DEVICE = Path("/dev/kvm")
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_OVERRIDE = "VMM_ACCELERATION"
_CACHE = "acceleration.json"
_MARKER = b"vmm-probe: user space reached"
#: tried in this order; on hosts that offer a feature they cannot set, plain "host" ends at once
_KVM_CPUS = ("host", "host,-arch-capabilities")
_TCG_CPU = "Nehalem"  # guests boot a third faster on it than on "max": fewer features to emulate


def probe_acceleration(
    image: BaseImage,
    *,
    directory: Path,
    deadline_s: float = 20,
    progress: Callable[[str], None] = lambda _line: None,
) -> AccelerationVerdict:
    """Whether a Linux guest with the kernel of ``image`` runs under KVM here; TCG where not, with the reason.

    The verdict is kept in ``directory``; ``deadline_s`` is in seconds and bounds all attempts together.
    The environment variable VMM_ACCELERATION (``kvm`` or ``tcg``) decides without a probe.

    Raises:
        UsageError: VMM_ACCELERATION has another value.
        ToolMissing: QEMU is not installed.
    """
    forced = os.environ.get(_OVERRIDE, "")
    if forced:
        return _forced(forced)
    refusal = _device_refusal()
    if refusal:
        return _tcg(refusal, seconds=0.0)
    if image.kernel is None or image.probe_initrd is None:
        return _tcg(f"KVM cannot be tried: base image '{image.name}' has no kernel of its own", seconds=0.0)
    key = _cache_key(image.kernel)
    cached = _read_cache(directory / _CACHE, key)
    if cached is not None:
        return cached
    progress(f"trying whether a Linux guest runs under KVM here (at most {deadline_s:g} s, once)")
    verdict = _probe(image.kernel, image.probe_initrd, deadline_s)
    # A verdict that cannot be kept is still true: the next run asks again.
    with contextlib.suppress(OSError):
        _write_cache(directory / _CACHE, key, verdict)
    return verdict


def boot_probe(*, kernel: Path, probe_initrd: Path, accelerator: str, cpu: str, deadline_s: float) -> str:
    """Run the probe's guest once; empty if it reached user space, else one clause that says what happened.

    Raises:
        ToolMissing: QEMU is not installed.
    """
    with tempfile.TemporaryDirectory(prefix="vmm-probe-") as directory:
        serial = Path(directory) / "serial"
        ending = ""
        try:
            run(
                [
                    _QEMU, "-machine", "q35", "-accel", accelerator, "-cpu", cpu, "-m", "256", "-no-reboot",
                    "-nodefaults", "-no-user-config", "-display", "none", "-serial", f"file:{serial}",
                    "-kernel", kernel, "-initrd", probe_initrd,
                    "-append", "console=ttyS0 quiet panic=-1",
                ],
                timeout=deadline_s,
            )  # fmt: skip
        except Timeout:
            ending = f"a Linux guest did not reach user space within {deadline_s:.0f} s"
        except TaskFailed as failed:
            ending = f"QEMU ended: {failed.message}"
        reached = serial.is_file() and _MARKER in serial.read_bytes()
    if reached:
        return ""
    return ending or "a Linux guest stopped before it reached user space"


def _probe(kernel: Path, initrd: Path, deadline_s: float) -> AccelerationVerdict:
    started = time.monotonic()
    ending = ""
    for cpu in _KVM_CPUS:
        left = deadline_s - (time.monotonic() - started)
        if left <= 0:
            break
        ending = boot_probe(kernel=kernel, probe_initrd=initrd, accelerator="kvm", cpu=cpu, deadline_s=left)
        if not ending:
            seconds = time.monotonic() - started
            reason = f"a Linux guest reached user space under KVM in {seconds:.1f} s"
            return AccelerationVerdict(kind="kvm", reason=reason, seconds=seconds, cached=False, cpu=cpu)
    return _tcg(f"{ending} under KVM", seconds=time.monotonic() - started)


def _tcg(reason: str, *, seconds: float) -> AccelerationVerdict:
    return AccelerationVerdict(kind="tcg", reason=reason, seconds=seconds, cached=False, cpu=_TCG_CPU)


def _forced(value: str) -> AccelerationVerdict:
    reason = f"{_OVERRIDE} says so"
    if value == "kvm":
        return AccelerationVerdict(kind="kvm", reason=reason, seconds=0.0, cached=False, cpu=_KVM_CPUS[0])
    if value == "tcg":
        return _tcg(reason, seconds=0.0)
    raise UsageError(f"{_OVERRIDE} is '{value}': it must be 'kvm' or 'tcg'", hint=f"unset {_OVERRIDE}")


def _device_refusal() -> str:
    """Why /dev/kvm cannot be used, or nothing."""
    try:
        os.close(os.open(_DEVICE, os.O_RDWR | os.O_CLOEXEC))
    except FileNotFoundError:
        return f"{_DEVICE} does not exist"
    except OSError as refused:
        return f"{_DEVICE} cannot be opened: {(refused.strerror or str(refused)).lower()}"
    return ""


def _cache_key(kernel: Path) -> dict[str, str]:
    program = shutil.which(_QEMU)
    if program is None:
        raise tool_missing(_QEMU)
    boot = _BOOT_ID.read_text().strip()
    return {"kernel": _identity(kernel), "qemu": _identity(Path(program)), "boot": boot}


def _identity(file: Path) -> str:
    """Changes when the file is replaced or written to."""
    found = file.stat()
    return f"{found.st_size} bytes, changed at {found.st_mtime_ns}"


def _read_cache(path: Path, key: dict[str, str]) -> AccelerationVerdict | None:
    """The kept verdict for ``key``; None where there is none, or where the file is not ours to understand."""
    try:
        kept = json.loads(path.read_text())
        if kept["key"] != key or kept["kind"] not in ("kvm", "tcg"):
            return None
        return AccelerationVerdict(
            kind=kept["kind"],
            reason=str(kept["reason"]),
            seconds=float(kept["seconds"]),
            cached=True,
            cpu=str(kept["cpu"]),
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _write_cache(path: Path, key: dict[str, str], verdict: AccelerationVerdict) -> None:
    content = {
        "key": key,
        "kind": verdict.kind,
        "reason": verdict.reason,
        "seconds": verdict.seconds,
        "cpu": verdict.cpu,
    }
    make_directory(path.parent, mode=0o755)
    with tempfile.NamedTemporaryFile("w", dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
        file.write(json.dumps(content, indent=1) + "\n")
    temporary = Path(file.name)
    temporary.chmod(0o644)
    temporary.replace(path)
