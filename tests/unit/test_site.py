"""A site gives definitions by name, reads only what is asked for, and checks references between files."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from vmm_automation import schema
from vmm_automation.errors import InvalidName, NotFound, SiteInvalid, TerminalInvalid
from vmm_automation.model.policies import Tier
from vmm_automation.model.vm import VmProfile
from vmm_automation.site import Acceleration, Site

LOCAL = Path(__file__).parents[2] / "inventories" / "local"
DIGEST = "ab" * 32
RADICALE = f"""
display_name: Radicale
command: [/usr/bin/python3, -m, radicale, --config, "{{config_dir}}/radicale.conf"]
environment: {{PYTHONPATH: "{{version_dir}}"}}
files: {{radicale.conf: "[server]"}}
endpoints: [{{name: web, port: 5232, protocol: http, health: /}}]
user_data:
  {{settings: [.local/share/radicale], exceptions: [.config/radicale], exclude: ["*.lock"], tier: volume}}
requirements:
  terminal: {{protocols: [http], min_screen_width_px: 320}}
  vm: {{vcpus: 1, memory_mib: 256, features: []}}
start_deadline_s: 60
versions:
  "3.10.0": {{kind: pip, artifacts: [{{source: radicale==3.10.0, sha256: {DIGEST.upper()}}}]}}
  "3.2.3": {{kind: deb, packages: [radicale=3.2.3-1], data_version: 2}}
"""
BAD_NAMES = ["a/../b", "../x", "..", "a..b", "a/b", "/etc/passwd", "a b", " ", "", "-rf", "--help", "a\n"]
BAD_NAMES += ["a\tb", "a\x00b", "\x1b[31m", "x" * 300, "käse", "\uff41", "A", ".hidden", "a.", "a-"]


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    """A small site of its own."""
    root = tmp_path / "lab"
    for name in ("profiles", "terminals", "uas", "base_images"):
        (root / name).mkdir(parents=True)
    (root / "site.yml").write_text("uri: auto\n")
    (root / "base_images/debian.yml").write_text((LOCAL / "base_images/debian.yml").read_text())
    (root / "profiles/small.yml").write_text("base_image: debian\nvcpus: 2\nmemory_mib: 768\n")
    (root / "uas/radicale.yml").write_text(RADICALE)
    (root / "terminals/phone.yml").write_text("screen_width_px: 390\nprotocols: [http]\n")
    return root


def errors_in(directory: Path, file: str, content: str | bytes) -> list[str]:
    """What the site says of one file with this content."""
    (directory / file).write_bytes(content if isinstance(content, bytes) else content.encode())
    return Site.load(directory).validate()


def test_shipped_site_has_no_error() -> None:
    """The site that ships validates, with all cross references."""
    assert Site.load(LOCAL).validate() == []


def test_shipped_files_explain_every_key_in_their_header() -> None:
    """Whoever opens a shipped site, profile or terminal file finds each key of its schema explained above."""
    files = {"site.yml": "site", "profiles/small.yml": "profile"}
    files |= {f"terminals/{name}.yml": "terminal" for name in ("desktop", "phone", "text-only")}
    for file, kind in files.items():
        header = [line for line in (LOCAL / file).read_text().splitlines() if line.startswith("#")]
        explained = {match[1] for line in header if (match := re.match(r"#\s+(\w+)", line))}
        assert set(schema.schema(kind)["properties"]) <= explained, file


def test_site_without_optional_keys_has_defaults(directory: Path) -> None:
    """A site needs no key: its name is the directory's, its lease and deadline are 300 s."""
    (directory / "site.yml").write_text("{}\n")
    site = Site.load(directory)
    assert (site.name, site.uri) == ("lab", "auto")
    assert (site.policies.suspend_lease_s, site.policies.ssh_deadline_s) == (300, 300)
    assert site.policies.acceleration is Acceleration.AUTO
    assert site.libvirt_uri == ("qemu:///system" if os.geteuid() == 0 else "qemu:///session")


def test_site_with_uri_connects_to_it(directory: Path) -> None:
    """A stated URI is used as it stands."""
    (directory / "site.yml").write_text("uri: qemu+ssh://hv1/system\npolicies: {acceleration: kvm}\n")
    site = Site.load(directory)
    assert site.libvirt_uri == "qemu+ssh://hv1/system"
    assert site.policies.acceleration is Acceleration.KVM


def test_wrong_site_file_lists_all_its_errors(directory: Path) -> None:
    """Several mistakes in site.yml are told at once, each with its path."""
    (directory / "site.yml").write_text(
        "name: Lab 1\nuri: nonsense\npolicy: 1\n"
        "policies: {acceleration: fast, suspend_lease_s: 0, ssh_deadline_s: 1.5}\n"
    )
    with pytest.raises(SiteInvalid) as raised:
        Site.load(directory)
    paths = [error.split(": ")[1] for error in raised.value.details["errors"]]
    assert paths == [
        "name",
        "policies.acceleration",
        "policies.ssh_deadline_s",
        "policies.suspend_lease_s",
        "policy",
        "uri",
    ]
    assert all(error in raised.value.message for error in raised.value.details["errors"])
    assert "did you mean 'policies'?" in raised.value.message


def test_directory_without_site_file_is_not_found(tmp_path: Path) -> None:
    """A directory that is no site is NotFound, not a traceback."""
    with pytest.raises(NotFound, match=r"has no 'site\.yml'"):
        Site.load(tmp_path / "nowhere")


def test_ua_file_becomes_definition_with_versions_in_file_order(directory: Path) -> None:
    """A UA's versions keep the order of the file, which is their age, whatever their numbers are."""
    ua = Site.load(directory).ua("radicale")
    assert [version.version for version in ua.versions] == ["3.10.0", "3.2.3"]
    assert ua.version().version == "3.2.3"
    assert ua.versions[0].artifacts[0].sha256 == DIGEST
    assert (ua.versions[1].packages, ua.versions[1].data_version) == (("radicale=3.2.3-1",), 2)
    assert ua.endpoints[0].port == 5232
    assert ua.requirements.min_screen_width_px == 320
    assert (ua.requirements.memory_mib, ua.requirements.inputs) == (256, ())
    assert ua.user_data.exceptions == (".config/radicale",)
    assert (ua.user_data.tier, ua.user_data.volume_mib) == (Tier.VOLUME, 10240)
    assert ua.start_deadline_s == 60


def test_mappings_hold_every_definition(directory: Path) -> None:
    """The four mappings list a site by name."""
    site = Site.load(directory)
    assert site.profiles == {"small": VmProfile("small", "debian", 2, 768)}
    assert list(site.uas) == ["radicale"]
    assert list(site.terminals) == ["phone"]
    assert list(site.base_images) == ["debian"]
    assert site.base_image("debian").name == "debian"


def test_getter_reads_only_its_file(directory: Path) -> None:
    """A broken file does not stand in the way of a good one; the mapping of all reports it."""
    (directory / "profiles/broken.yml").write_text("[")
    site = Site.load(directory)
    assert site.profile("small").vcpus == 2
    with pytest.raises(SiteInvalid, match=r"profiles/broken\.yml"):
        _ = site.profiles


def test_definition_is_read_once(directory: Path) -> None:
    """One run sees one state of a file even if it is edited meanwhile."""
    site = Site.load(directory)
    before = site.profile("small")
    (directory / "profiles/small.yml").write_text("vcpus: broken")
    assert site.profile("small") is before
    assert site.profiles["small"] is before


@pytest.mark.parametrize("getter", ["profile", "ua", "terminal", "base_image"])
@pytest.mark.parametrize("name", BAD_NAMES)
def test_bad_name_is_refused_before_any_file_is_looked_for(directory: Path, getter: str, name: str) -> None:
    """No name with a path, space, dash in front, control character or of 300 characters reaches a file."""
    with pytest.raises(InvalidName) as raised:
        getattr(Site.load(directory), getter)(name)
    assert raised.value.message.isprintable()
    assert len(raised.value.message) < 250


def test_path_to_real_file_is_refused(directory: Path) -> None:
    """A name cannot climb out of its directory even to a file that exists."""
    (directory / "secret.yml").write_text("base_image: debian\nvcpus: 1\nmemory_mib: 64\n")
    with pytest.raises(InvalidName):
        Site.load(directory).profile("../secret")


def test_unknown_name_lists_what_there_is_and_the_closest(directory: Path) -> None:
    """A misspelt name is answered with the names there are and the one that was meant."""
    with pytest.raises(NotFound, match="there are radicale; did you mean 'radicale'") as raised:
        Site.load(directory).ua("radicle")
    assert raised.value.details["known"] == ["radicale"]
    with pytest.raises(NotFound, match=r"there are small$"):
        Site.load(directory).profile("zzz")


def test_profile_of_absent_base_image_is_reported(directory: Path) -> None:
    """A profile's base image must exist; the closest name is offered."""
    content = "base_image: debain\nvcpus: 1\nmemory_mib: 64\n"
    errors = errors_in(directory, "profiles/other.yml", content)
    assert errors == [
        "profiles/other.yml: base_image: no base image 'debain': there are debian; did you mean 'debian'?"
    ]


def test_validate_reports_every_file_once(directory: Path) -> None:
    """Errors of all kinds of files come together, each named by its file exactly once."""
    for file in ("profiles/x.yml", "terminals/x.yml", "uas/x.yml", "base_images/x.yml"):
        (directory / file).write_text("nonsense: 1\n")
    errors = Site.load(directory).validate()
    for file in ("profiles/x.yml", "terminals/x.yml", "uas/x.yml", "base_images/x.yml"):
        mine = [error for error in errors if error.startswith(f"{file}: ")]
        assert mine
        assert all(error.count(file) == 1 for error in mine)


def test_requested_terminal_may_be_a_mapping(directory: Path) -> None:
    """A request may carry its terminal's capabilities; what it does not state is unknown."""
    site = Site.load(directory)
    terminal = site.terminal({"name": "kiosk-7", "inputs": ["touch"], "audio_out": None})
    assert (terminal.name, terminal.inputs) == ("kiosk-7", ("touch",))
    assert terminal.audio_out is None
    assert terminal.screen_width_px is None
    assert site.terminal({}).name == "request"


@pytest.mark.parametrize("mapping", [
    {"unknown": 1}, {"screen_width_px": "390"}, {1: 2}, {"protocols": ["HTTP"]}, {"name": 5},
    {"inputs": "touch"}, {"audio_out": 1}, {"video_codecs": [["h264"]]}, {"bearer": {}}, ["a"], 5, None,
])  # fmt: skip
def test_bad_requested_terminal_is_refused(directory: Path, mapping: Any) -> None:
    """Unknown keys, wrong types and what is no mapping at all are TerminalInvalid."""
    with pytest.raises(TerminalInvalid):
        Site.load(directory).terminal(mapping)


@pytest.mark.parametrize("name", BAD_NAMES)
def test_bad_name_of_requested_terminal_is_refused(directory: Path, name: str) -> None:
    """A terminal's name in a request obeys the same rule as a file's."""
    with pytest.raises(InvalidName):
        Site.load(directory).terminal({"name": name})


def test_alias_free_yaml_round_trips(directory: Path) -> None:
    """What a program writes as plain YAML is read back as it was."""
    wanted = {"screen_width_px": 5, "protocols": ["http"], "locale": "no"}
    (directory / "terminals/t.yml").write_text(yaml.safe_dump(wanted))
    terminal = Site.load(directory).terminal("t")
    assert (terminal.screen_width_px, terminal.protocols, terminal.locale) == (5, ("http",), "no")
