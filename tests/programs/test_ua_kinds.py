"""Delivery kinds in a guest made of a directory: what comes with a version goes with it."""

from __future__ import annotations

import struct
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from tests.programs.sandbox_guest import SandboxGuest
from vmm_automation.adapters.bundles import Bundle, build_bundle
from vmm_automation.adapters.cached_files import sha256_of
from vmm_automation.adapters.kinds import Kind, kind_of, rpm
from vmm_automation.errors import ArtifactInvalid, GuestUnreachable, TaskFailed
from vmm_automation.model.ua import UaDefinition, UaVersion
from vmm_automation.operations import ua
from vmm_automation.schema import schema

Make = Callable[[Path], tuple[UaVersion, list[Path]]]
_STEPS = ("unpack", "keep", "packages", "unit", "reload", "switch")


def kept(directory: Path, name: str, content: bytes) -> Path:
    """A file as the cache has it."""
    file = directory / name
    file.write_bytes(content)
    return file.rename(directory / f"{sha256_of(file)}-{name}")


def rpm_bytes(name: str, version: str, release: str) -> bytes:
    """The least that is an RPM package: a lead, an empty signature, a header with three texts."""
    store = b"".join(word.encode() + b"\0" for word in (name, version, release))
    offsets = (0, len(name) + 1, len(name) + len(version) + 2)
    index = b"".join(struct.pack(">IIII", 1000 + n, 6, offset, 1) for n, offset in enumerate(offsets))
    magic = b"\x8e\xad\xe8\x01" + bytes(4)
    signature = magic + struct.pack(">II", 0, 3) + bytes(3) + bytes(5)
    return (
        b"\xed\xab\xee\xdb"
        + bytes(92)
        + signature
        + magic
        + struct.pack(">II", 3, len(store))
        + index
        + store
    )


def apt(directory: Path) -> tuple[UaVersion, list[Path]]:
    del directory
    return UaVersion("1.0", "apt", packages=("tool=1.5",)), []


def as_is(version: UaVersion, directory: Path) -> tuple[UaVersion, list[Path]]:
    del directory
    return version, []


def rpms(directory: Path) -> tuple[UaVersion, list[Path]]:
    files = [
        kept(directory, f"{name}-1.5-2.rpm", rpm_bytes(name, "1.5", "2")) for name in ("tool", "libtool")
    ]
    return UaVersion("1.0", "rpm"), files


def app_image(directory: Path) -> tuple[UaVersion, list[Path]]:
    return UaVersion("1.0", "archive"), [kept(directory, "tool.AppImage", b"\x7fELF")]


def bundled(directory: Path, make: Make) -> dict[str, Any]:
    version, files = make(directory)
    definition = UaDefinition("demo", "Demo", (version,), command=("sleep", "1"))
    bundle = build_bundle(definition, version, files=files, directory=directory / "bundles")
    return {"definition": definition, "version": version, "bundle": bundle}


def without_dpkg(guest: SandboxGuest) -> None:
    (guest.root / "var/lib/dpkg/status").unlink()


def rpm_database(guest: SandboxGuest) -> str:
    database = guest.root / "state/rpms"
    return database.read_text() if database.exists() else ""


@pytest.mark.parametrize("step", ["", *_STEPS, "apt"])
@pytest.mark.parametrize("make", [apt, rpms, app_image])
def test_install_cut_off_anywhere_is_finished_and_removal_leaves_nothing(
    guest: SandboxGuest, tmp_path: Path, make: Make, step: str
) -> None:
    """Files and packages are afterwards what they were; what was planned is what is done."""
    if make is rpms:
        without_dpkg(guest)
    clean = (guest.tree(), guest.packages, rpm_database(guest))
    parts = bundled(tmp_path, make)
    if step:
        guest.kill_at_step = {"apt": 5}.get(step) or _STEPS.index(step) + 1
        try:
            ua.install(guest, **parts)
        except TaskFailed as killed:
            assert killed.details["status"] == -9
    else:
        planned = ua.install(guest, **parts, check=True)
        assert ua.install(guest, **parts)["actions"] == planned["actions"]
    planned = ua.install(guest, **parts, check=True)
    assert ua.install(guest, **parts)["actions"] == planned["actions"]
    assert ua.install(guest, **parts)["changed"] is False
    if make is not app_image:
        assert "tool 1.5" in "\n".join([*guest.packages, rpm_database(guest)])
    removed = ua.remove(guest, ua="demo", check=True)["actions"]
    assert ua.remove(guest, ua="demo")["actions"] == removed
    assert (guest.tree(), guest.packages, rpm_database(guest)) == clean


def test_package_of_the_guests_sources_that_would_replace_another_is_refused(
    guest: SandboxGuest, tmp_path: Path
) -> None:
    """Its removal would not bring the old one back; nothing was installed."""
    before = guest.packages
    parts = bundled(tmp_path, partial(as_is, UaVersion("1.0", "apt", packages=("greedy",))))
    with pytest.raises(TaskFailed, match="it would replace what is installed: libc6"):
        ua.install(guest, **parts)
    ua.remove(guest, ua="demo")
    assert guest.packages == before


def test_packages_of_the_guests_sources_are_updated_and_go_back(guest: SandboxGuest, tmp_path: Path) -> None:
    """Another version replaces the one that a delivery brought; what both need goes with the last of them."""
    before = (guest.tree(), guest.packages)
    old, new = (
        UaVersion("1.0", "apt", packages=("tool=1.5",)),
        UaVersion("2.0", "apt", packages=("tool=2.0",)),
    )
    parts = {each.version: bundled(tmp_path, partial(as_is, each)) for each in (old, new)}
    for version in ("1.0", "2.0"):
        ua.install(guest, **parts[version])
    assert "tool 2.0 installed" in guest.packages
    ua.activate(guest, definition=parts["1.0"]["definition"], version="1.0")
    assert "tool 1.5 installed" in guest.packages
    ua.install(guest, **parts["2.0"])
    assert ua.remove(guest, ua="demo", version="1.0")["actions"] == ["remove 1.0"]
    assert {"tool 2.0 installed", "shared 1.5 installed"} <= set(guest.packages)
    assert ua.remove(guest, ua="demo")["actions"] == ["remove_unit", "remove 2.0", "purge_packages"]
    assert (guest.tree(), guest.packages) == before


def test_app_image_is_one_program(tmp_path: Path) -> None:
    """It is not unpacked, whatever it begins with, and can be run."""
    import tarfile

    with tarfile.open(bundled(tmp_path, app_image)["bundle"].path) as archive:
        assert archive.getmember("app/tool.AppImage").mode == 0o755


@pytest.mark.parametrize(
    "content", [b"", b"\xed\xab\xee\xdb", rpm_bytes("a", "1", "2")[:130], b"PK" + bytes(200)]
)
def test_file_that_is_no_rpm_package_is_refused(tmp_path: Path, content: bytes) -> None:
    """Before anything of it is sent."""
    file = tmp_path / "x.rpm"
    file.write_bytes(content)
    with pytest.raises(ArtifactInvalid, match="is no RPM package"):
        rpm.package_of(file)


def test_every_kind_of_the_schema_is_a_module_of_its_own() -> None:
    """And all of them can be asked the same."""
    for name in schema("ua")["$defs"]["version"]["properties"]["kind"]["enum"]:
        assert isinstance(kind_of(name), Kind)


def test_artifact_changed_between_its_digest_and_its_use_is_refused(tmp_path: Path) -> None:
    """What was verified is what goes into the bundle."""
    version, files = app_image(tmp_path)
    files[0].write_bytes(b"another")
    with pytest.raises(ArtifactInvalid, match="was changed after it was verified"):
        build_bundle(UaDefinition("demo", "Demo", (version,)), version, files=files, directory=tmp_path / "b")


class _Breaks(SandboxGuest):
    """The connection breaks after so many bytes of the first transfer."""

    after = 0

    def put(self, local: Path, remote: str) -> None:
        """As much as gets through."""
        super().put(local, remote)
        self.sizes = [*getattr(self, "sizes", []), local.stat().st_size]
        if self.after:
            with (self.root / remote[1:]).open("r+b") as file:
                file.truncate(self.after)
            self.after = 0
            raise GuestUnreachable("the connection broke", hint="")


def test_transfer_that_broke_goes_on_where_it_ended(tmp_path: Path) -> None:
    """Only the rest is sent; what is there whole is not sent at all; another beginning is not built upon."""
    parts = bundled(tmp_path, rpms)
    bundle: Bundle = parts["bundle"]
    for after, then in ((100, [bundle.size - 100]), (bundle.size, []), (0, [bundle.size])):
        guest = _Breaks(tmp_path / f"guest-{after}")
        without_dpkg(guest)
        guest.after = after
        if after:
            with pytest.raises(GuestUnreachable):
                ua.install(guest, **parts)
            guest.sizes = []
        else:
            (guest.root / "root" / f".vmm-incoming-demo@{bundle.digest[:16]}").write_bytes(b"x" * 50)
        ua.install(guest, **parts)
        assert getattr(guest, "sizes", []) == then
        assert sorted((guest.root / "root").iterdir()) == []
