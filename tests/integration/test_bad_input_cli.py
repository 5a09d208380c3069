"""Wrong input on the command line: one exit status by class, the wrong thing named, a hint, and nothing done."""

from __future__ import annotations

import hashlib
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import yaml

from .controller import Controller

BAD_NAMES = {
    "slash": "a/b",
    "parent": "..",
    "path": "../../etc/passwd",
    "space": "a b",
    "dash": "-rf",
    "control": "a\x1b[31mb\n",
    "long": "a" * 300,
    "letter": "jürgen",
    "surrogate": "a\udcffb",
    "empty": "",
    "shell": "a;id",
    "jinja": "{{lookup('pipe','id')}}",
}
_OPEN = ("session", "open", "--user", "ann", "--ua", "radicale")
_NAMES = list(BAD_NAMES.values())


@contextmanager
def listener(port: int = 0) -> Iterator[int]:
    """A port of 127.0.0.1 that somebody listens on."""
    with socket.create_server(("127.0.0.1", port)) as server:
        yield int(server.getsockname()[1])


@pytest.fixture
def unchanged(vmm: Controller, two_vms: tuple[str, str]) -> Iterator[Controller]:
    """The site, which must be the same at the end of the test."""
    del two_vms
    before = vmm.everything()
    yield vmm
    assert vmm.everything() == before


@pytest.mark.parametrize(
    ("words", "names"),
    [
        (("vm", "show", "nix"), "'nix'"),
        (("vm", "start", "nix"), "'nix'"),
        (("vm", "start", "vm-1", "nix"), "'nix'"),
        (("vm", "create", "vm-9", "--profile", "smal"), "'smal'"),
        (("ua", "install", "radical"), "'radical'"),
        (("ua", "install", "radicale", "--version", "9"), "9"),
        (("ua", "install", "radicale", "--vm", "nix"), "'nix'"),
        (("session", "open", "--user", "ann", "--ua", "radical"), "'radical'"),
        ((*_OPEN, "--terminal", "desktob"), "'desktob'"),
        ((*_OPEN, "--terminal", "./nix.yml"), "'./nix.yml'"),
        ((*_OPEN, "--vm", "nix"), "'nix'"),
        (("session", "show", "s-0"), "'s-0'"),
        (("session", "close", "s-0"), "'s-0'"),
        (("session", "suspend", "s-0", "--as", "bo"), "'s-0'"),
        (("watcher", "assign", "s-0", "bo", "--privilege", "view"), "'s-0'"),
        (("watcher", "lock", "acquire", "s-0", "bo"), "'s-0'"),
        (("watcher", "list", "s-0"), "'s-0'"),
        (("image", "show", "nobody", "radicale"), "'nobody'"),
        (("image", "capture", "s-0"), "'s-0'"),
        (("playbook", "run", "vm_creat"), "'vm_creat'"),
    ],
    ids=" ".join,
)
def test_what_does_not_exist_is_named(unchanged: Controller, words: tuple[str, ...], names: str) -> None:
    """A name of something that is not there ends in exit status 4, and nothing is done to what is there."""
    unchanged(*words).refused("NotFound", status=4, names=names)


def test_watcher_without_a_grant_is_named(vmm: Controller, radicale: tuple[str, str]) -> None:
    """Updating or revoking one who was never assigned ends in exit status 4."""
    del radicale
    session = vmm(*_OPEN).result["session"]["id"]
    for words in (("update", session, "ghost", "--add", "view"), ("revoke", session, "ghost")):
        vmm("watcher", *words).refused("NotFound", status=4, names="'ghost'")
    vmm("session", "close", session)


@pytest.mark.parametrize("name", _NAMES, ids=list(BAD_NAMES))
def test_bad_name_is_refused_wherever_it_is_given(unchanged: Controller, name: str) -> None:
    """No name that breaks the rules reaches a path, a shell, a template or a terminal."""
    for words in (
        ("vm", "create", "--", name),
        ("vm", "show", "--", name),
        ("session", "show", "--", name),
        ("watcher", "lock", "acquire", "--", "s-0", name),
        ("image", "show", "--", name, "radicale"),
        ("session", "open", f"--user={name}", "--ua=radicale"),
        ("ua", "install", "--", name),
    ):
        done = unchanged(*words)
        error = done.refused("InvalidName", status=2, names="")
        assert error["message"].isprintable()
        assert len(error["message"]) < 300
        assert "\x1b" not in done.stderr


@pytest.mark.parametrize(
    ("profile", "names"),
    [
        ("{", "standard input"),
        ("just words", "standard input"),
        ("screen_width: 100", "screen_width"),
        ("screen_width_px: wide", "screen_width_px"),
        ("inputs: [telepathy]", "telepathy"),
        ("!!python/object/apply:os.system [id]", "standard input"),
        ("", "standard input"),
    ],
    ids=["not YAML", "no mapping", "unknown key", "wrong type", "unknown word", "object", "nothing"],
)
def test_terminal_profile_that_is_wrong_is_refused(unchanged: Controller, profile: str, names: str) -> None:
    """A profile that is not YAML, not a mapping or not in our vocabulary is refused with the place of the error."""
    unchanged(*_OPEN, "--terminal", "-", input=profile).refused("TerminalInvalid", status=3, names=names)


def test_terminal_that_no_vm_fits_is_told_why(unchanged: Controller) -> None:
    """A text-only terminal gets no calendar with a web page; each VM's reason is in the error."""
    error = unchanged(*_OPEN, "--terminal", "text-only").refused("NoVmFits", status=7, names="radicale")
    assert error["details"]["rejected"] or error["details"]["terminal"], error


def test_base_image_that_is_not_what_its_definition_says_is_refused(
    vmm: Controller, bare: Controller, tmp_path: Path
) -> None:
    """A wrong digest, a file that is no image, and one that is absent: no VM, no image, no file is left."""
    text = tmp_path / "text.qcow2"
    text.write_text("not an image\n")
    digest = hashlib.sha256(text.read_bytes()).hexdigest()
    wrong = {
        "a wrong digest": {"path": str(text), "sha256": "0" * 64},
        "no image": {"path": str(text), "sha256": digest},
        "absent": {"path": str(tmp_path / "absent.qcow2"), "sha256": digest},
    }
    profile = (vmm.site / "profiles" / "small.yml").read_text().replace("base_image: debian", "base_image: own")
    for what, definition in wrong.items():
        own = yaml.safe_dump({"kind": "qcow2", **definition})
        edit = {"base_images/own.yml": own, "profiles/own.yml": profile}
        site = bare.on_site(tmp_path / f"site of {what}", edit)
        images = sorted(path.name for path in (bare.home / "base_images").glob("[!.]*"))
        site("vm", "create", "vm-9", "--profile", "own").refused("ArtifactInvalid", status=9, names="'own'")
        assert sorted(path.name for path in (bare.home / "base_images").glob("[!.]*")) == images
        assert list((bare.home / "base_images").glob(".own.building*")) == []
        assert site.domains() == vmm.domains()
        assert not (bare.home / "vms" / bare.name / "vm-9").exists()


def test_port_of_the_endpoint_that_is_taken_is_refused(vmm: Controller, radicale: tuple[str, str]) -> None:
    """A wanted port that somebody listens on ends in exit status 5, before a session is begun."""
    del radicale
    before = vmm.everything()
    with listener() as port:
        vmm(*_OPEN, "--port", str(port)).refused("PortTaken", status=5, names=str(port))
    assert vmm.everything() == before


def test_vm_whose_ssh_port_is_taken_moves_to_another(vmm: Controller, idle_vms: tuple[str, str]) -> None:
    """A stopped VM has no hold on its port; where another program took it meanwhile the VM starts elsewhere."""
    vm = idle_vms[1]
    port = vmm("vm", "show", vm).result["vm"]["ssh_port"]
    assert vmm("vm", "stop", vm).changed
    with listener(port):
        assert vmm("vm", "start", vm).changed
    assert vmm("vm", "show", vm).result["vm"]["ssh_port"] != port
    assert vmm.on_guest(vm, "hostname") == vm


def test_artifact_altered_in_the_cache_or_other_than_defined_is_never_delivered(
    vmm: Controller, radicale: tuple[str, str], tmp_path: Path
) -> None:
    """What a VM gets is what the definition's digests say, or nothing; both ways exit status 9."""
    install = ("ua", "install", "radicale", "--version", "3.2.3", "--vm", radicale[0])
    wheel = next((vmm.home / "artifacts").glob("*-vobject-*.whl"))
    whole = tmp_path / "whole.whl"
    shutil.copy2(wheel, whole)
    with wheel.open("ab") as file:
        file.write(b"more")
    try:
        error = vmm(*install).refused("ArtifactInvalid", status=9, names="vobject")
        assert error["hint"] == f"rm {wheel}"
    finally:
        shutil.copy2(whole, wheel)
    assert vmm(*install).result["vms"][radicale[0]]["actions"] == []

    definition = (vmm.site / "uas" / "radicale.yml").read_text()
    digest = wheel.name.partition("-")[0]
    edit = {"uas/radicale.yml": definition.replace(digest, "0" * 64)}
    other = vmm.on_site(tmp_path / "site", edit)
    other(*install).refused("ArtifactInvalid", status=9, names="vobject==")
    assert vmm(*install).result["vms"][radicale[0]]["actions"] == []
