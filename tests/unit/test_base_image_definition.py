"""What a base image definition accepts, refuses, and takes for the same image."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import yaml

from vmm_automation.model import base_image
from vmm_automation.model.base_image import BaseImageDefinition, base_image_from_mapping

_SITE = Path(__file__).parents[2] / "inventories" / "local" / "base_images"
_DEBIAN: dict[str, Any] = {"kind": "debian", "suite": "bookworm", "packages": ["systemd-sysv", "udev"]}
_QCOW2: dict[str, Any] = {"kind": "qcow2", "path": "/images/some.qcow2", "sha256": "a" * 64}


def test_the_shipped_definition_is_valid() -> None:
    """The definition of the local site has no error, and has what the builder's guest cannot do without."""
    definition, errors = base_image_from_mapping("debian", yaml.safe_load((_SITE / "debian.yml").read_text()))
    assert errors == []
    assert definition is not None
    assert {"openssh-server", "python3", "busybox-static"} <= set(definition.packages)
    assert "net.ifnames=0" in definition.kernel_arguments


@pytest.mark.parametrize(
    ("change", "error"),
    [
        ({"packages": ["a1", "b2", "c3", 7]}, "packages[3]: must be a string"),
        ({"packages": ["ok", "--aptopt=x"]}, "packages[1]: '--aptopt=x' does not look like a package"),
        ({"packages": "udev"}, "packages: must be a list of strings"),
        ({"masked_units": ["fstrim"]}, "masked_units[0]: 'fstrim' does not look like a masked unit"),
        ({"suite": "../etc"}, "suite: '../etc' does not look like a suite"),
        ({"disk_gib": "8"}, "disk_gib: must be a whole number from 2 to 1024"),
        ({"disk_gib": True}, "disk_gib: must be a whole number from 2 to 1024"),
        ({"mirror": "deb x"}, "mirror: 'deb x' does not look like a mirror"),
        ({"pakages": []}, "pakages: unknown key"),
        ({"sha256": "a" * 64}, "sha256: has no meaning for kind 'debian'"),
    ],
)
def test_a_wrong_value_is_named_with_file_and_key(change: dict[str, Any], error: str) -> None:
    """Each wrong value gives one error that begins with the file and the key, and no definition."""
    definition, errors = base_image_from_mapping("debian", {**_DEBIAN, **change})
    assert definition is None
    assert errors == [f"base_images/debian.yml: {error}"]


def test_several_wrong_values_are_all_named() -> None:
    """Validation does not stop at the first error."""
    _, errors = base_image_from_mapping("x", {"kind": "qcow2", "sha256": "ABC", "suite": "bookworm"})
    assert errors == [
        "base_images/x.yml: sha256: 'ABC' does not look like a sha256",
        "base_images/x.yml: suite: has no meaning for kind 'qcow2'",
        "base_images/x.yml: path: is required for kind 'qcow2'",
    ]


@pytest.mark.parametrize("document", [None, [], "text", {}, {"kind": "iso"}, {"kind": ["debian"]}])
def test_a_document_of_another_shape_is_refused(document: object) -> None:
    """Whatever YAML may hold, the answer is an error and not an exception."""
    definition, errors = base_image_from_mapping("x", document)
    assert definition is None
    assert len(errors) == 1


def test_a_name_that_leaves_the_directory_is_refused() -> None:
    """The name becomes a directory name, so it must obey the naming rule."""
    definition, errors = base_image_from_mapping("../x", _DEBIAN)
    assert definition is None
    assert len(errors) == 1


def test_an_initrd_without_a_kernel_is_refused() -> None:
    """An initrd alone could never be used."""
    _, errors = base_image_from_mapping("x", {**_QCOW2, "initrd": "/i"})
    assert errors == ["base_images/x.yml: initrd: needs a kernel"]


@pytest.mark.parametrize(
    "change",
    [
        {"suite": "trixie"},
        {"packages": ("udev",)},
        {"masked_units": ("fstrim.timer",)},
        {"disk_gib": 9},
        {"kernel_arguments": "quiet"},
        {"mirror": "http://mirror.example/debian"},
        {"sha256": "b" * 64},
    ],
)
def test_what_matters_changes_the_digest(change: dict[str, Any]) -> None:
    """Another content is another image."""
    before = _definition(_DEBIAN)
    assert dataclasses.replace(before, **change).digest != before.digest


def test_a_new_builder_revision_changes_the_digest(monkeypatch: pytest.MonkeyPatch) -> None:
    """Images that an older builder made are not taken for those of the present one."""
    definition = _definition(_DEBIAN)
    before = definition.digest
    monkeypatch.setattr(base_image, "BUILDER_REVISION", base_image.BUILDER_REVISION + 1)
    assert definition.digest != before


def test_name_and_place_leave_the_digest_alone() -> None:
    """The same file under another name or path is the same image."""
    before = _definition(_QCOW2)
    assert dataclasses.replace(before, name="other", path="/elsewhere.qcow2").digest == before.digest


def _definition(mapping: dict[str, Any]) -> BaseImageDefinition:
    definition, errors = base_image_from_mapping("x", mapping)
    assert errors == []
    assert definition is not None
    return definition
