"""The life of a UA on two real VMs: every verb with its dry run, drift, and the way back."""

from __future__ import annotations

from pathlib import Path

from .controller import Controller


def test_every_verb_plans_what_it_does_and_does_it_once(vmm: Controller, radicale: tuple[str, str]) -> None:
    """Deliver, activate, roll back, deactivate: the dry run tells the same actions, a second run none."""
    vm = radicale[0]
    assert vmm("ua", "remove", "radicale", "--version", "3.5.4", "--vm", vm, "--yes").result is not None
    newer = ("radicale", "--version", "3.5.4", "--vm", vm)
    for words in (
        ("deliver", *newer),
        ("activate", *newer),
        ("rollback", "radicale", "--vm", vm),
        ("deactivate", "radicale", "--vm", vm),
        ("activate", "radicale", "--version", "3.2.3", "--vm", vm),
    ):
        planned = vmm("ua", *words, "--check")
        done = vmm("ua", *words)
        assert planned.changed, words
        assert planned.result["vms"] == done.result["vms"], words
        assert not vmm("ua", *words).changed, words
    told = vmm("ua", "status", "--vm", vm).result["vms"][vm]
    assert not told["drifted"], told
    states = {version: each["ledger"] for version, each in told["uas"]["radicale"]["versions"].items()}
    assert states == {"3.2.3": "active", "3.5.4": "inactive"}


def test_what_was_changed_by_hand_is_told_and_mended(vmm: Controller, radicale: tuple[str, str]) -> None:
    """A version removed and a link turned by root on the guest: drifted, then as the ledger says."""
    vm, other = radicale
    vmm("ua", "deliver", "radicale", "--version", "3.5.4", "--vm", vm)
    vmm.on_guest(vm, "rm -r /opt/vmm/ua/radicale/3.2.3; ln -sfn 3.5.4 /opt/vmm/ua/radicale/current")
    told = vmm("ua", "status", "radicale").result["vms"]
    assert (told[vm]["drifted"], told[other]["drifted"]) == (True, False)
    assert vmm("ua", "status", "radicale", "--repair", "--vm", vm).changed
    assert not vmm("ua", "status", "radicale", "--vm", vm).result["vms"][vm]["drifted"]
    assert vmm.on_guest(vm, "readlink /opt/vmm/ua/radicale/current") == "3.2.3"


def test_failed_probe_returns_each_vm_by_itself(
    vmm: Controller, radicale: tuple[str, str], tmp_path: Path
) -> None:
    """One VM cannot take the new version and is back on the old; the other has it: partial, told per VM."""
    good, bad = radicale
    definition = (vmm.site / "uas" / "radicale.yml").read_text()
    probe = "probe: {kind: http, port: 5232, path: /.web/, deadline_s: 60, stable_for_s: 1}\n"
    proven = vmm.on_site(tmp_path / "site", {"uas/radicale.yml": definition + probe})
    vmm.on_guest(bad, "touch /run/spoiled")
    spoiled = "probe: {kind: command, command: [test, '!', -e, /run/spoiled], deadline_s: 1}\n"
    picky = vmm.on_site(tmp_path / "picky", {"uas/radicale.yml": definition + spoiled})
    update = ("ua", "update", "radicale", "--version", "3.5.4")
    planned = proven(*update, "--vm", good, "--check")
    done = proven(*update, "--vm", good)
    assert planned.result["vms"] == done.result["vms"]
    assert done.result["vms"][good]["actions"][-1] == "probe"
    assert vmm.on_guest(good, "ls -A /home/session /run/systemd/system | grep -c -e radicale || true") == "0"
    refused = picky(*update)
    error = refused.refused("Partial", status=13, names="version 3.2.3 is active again")
    (failure,) = error["details"]["failures"]
    assert (failure["host"], failure["error"]["details"]["returned"]) == (bad, "3.2.3")
    assert vmm.on_guest(bad, "readlink /opt/vmm/ua/radicale/current; rm /run/spoiled") == "3.2.3"
    assert not vmm("ua", "status", "radicale").result["vms"][bad]["drifted"]
