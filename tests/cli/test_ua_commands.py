"""The catalogue through the command line: checked and shown without a VM, and without leaving a trace."""

from __future__ import annotations

import io
import tarfile

from vmm_automation.adapters.cached_files import sha256_of

from ..made_site import MadeSite

BROKEN = """\
command: ["{verson_dir}/app/run"]
endpoints: [{name: web, port: 0}]
probe: {kind: http}
versions:
  "1":
    kind: archive
    artifacts: [{source: app.tar, sha256: none}]
  "2": {kind: ipk}
"""
SOUND = """\
versions:
  "1":
    kind: archive
    licence: MIT
    changes: [the first one]
    artifacts: [{{source: app.tar, sha256: "{digest}"}}]
"""


def put(site: MadeSite, name: str, text: str) -> None:
    (site.directory / "uas" / f"{name}.yml").write_text(text)


def archive(site: MadeSite) -> str:
    path = site.directory / "uas" / "app.tar"
    with tarfile.open(path, "w") as opened:
        entry = tarfile.TarInfo("run")
        entry.size = 1
        opened.addfile(entry, io.BytesIO(b"x"))
    return sha256_of(path)


def test_shipped_catalogue_is_valid_and_nothing_is_touched(site: MadeSite) -> None:
    """Neither state nor cache is made by asking."""
    status, document = site.json("ua", "validate")
    assert (status, document["result"]["valid"]) == (0, ["aria2", "radicale"])
    assert site.json("ua", "validate", "aria2")[1]["result"]["valid"] == ["aria2"]
    assert list(site.home.iterdir()) == []


def test_every_error_of_a_definition_is_told_with_its_place(site: MadeSite) -> None:
    """All at once, each with file and path; the other definitions are judged on their own."""
    put(site, "broken", BROKEN)
    for words in (("ua", "validate", "broken"), ("ua", "validate")):
        status, document = site.json(*words)
        assert (status, document["error"]["class"]) == (3, "SiteInvalid")
        errors = document["error"]["details"]["errors"]
        assert all(error.startswith("uas/broken.yml: ") for error in errors)
        told = "\n".join(errors)
        for place in ("command[0]", "endpoints[0].port", "probe", "artifacts[0].sha256", "versions.2.kind"):
            assert place in told, (place, told)
    assert site.json("ua", "validate", "aria2")[0] == 0


def test_archive_that_is_absent_or_another_one_is_told(site: MadeSite) -> None:
    """Before anything is delivered: the file is looked at, and its digest compared."""
    put(site, "tool", SOUND.format(digest="0" * 64))
    place = "uas/tool.yml: versions.1.artifacts[0]: "
    (error,) = site.json("ua", "validate", "tool")[1]["error"]["details"]["errors"]
    assert error.startswith(f"{place}there is no file")
    digest = archive(site)
    (error,) = site.json("ua", "validate", "tool")[1]["error"]["details"]["errors"]
    assert error == f"{place}'app.tar' has the sha256 {digest}"
    put(site, "tool", SOUND.format(digest=digest))
    assert site.json("ua", "validate", "tool")[0] == 0


def test_role_that_the_site_has_not_is_told_for_each_version(site: MadeSite) -> None:
    """All of them, each with its place, beside whatever else is wrong; the role comes, and it is sound."""
    put(site, "guest", 'versions: {"1": {kind: role, role: greeter}, "2": {kind: role, role: greter}}\n')
    put(site, "tool", SOUND.format(digest="0" * 64))
    tasks = site.directory / "roles" / "greeter" / "tasks"
    errors = site.json("ua", "validate")[1]["error"]["details"]["errors"]
    for number, name in (("1", "greeter"), ("2", "greter")):
        (error,) = [each for each in errors if f"versions.{number}.role: " in each]
        assert error.startswith(f"uas/guest.yml: versions.{number}.role: Role '{name}' is absent")
    assert any(error.startswith("uas/tool.yml: ") for error in errors)
    tasks.mkdir(parents=True)
    (error,) = site.json("ua", "validate", "guest")[1]["error"]["details"]["errors"]
    assert "versions.2.role" in error
    put(site, "guest", 'versions: {"1": {kind: role, role: greeter}}\n')
    assert site.json("ua", "validate", "guest")[0] == 0


def test_ua_is_shown_with_versions_changes_and_where_it_is(site: MadeSite) -> None:
    """One document, and the same for people; a UA that is not there is not found."""
    put(site, "tool", SOUND.format(digest=archive(site)))
    shown = site.json("ua", "show", "tool")[1]["result"]
    (version,) = shown["ua"]["versions"]
    assert (version["licence"], version["changes"], version["active_on"]) == ("MIT", ["the first one"], [])
    assert shown["deployments"] == []
    text = site.vmm("ua", "show", "radicale").stdout
    assert "3.5.4" in text
    assert "web http 5232" in text
    assert site.json("ua", "show", "nothing")[0] == site.json("ua", "validate", "nothing")[0] == 4


def test_revision_is_published_and_a_version_withdrawn_through_the_command(site: MadeSite) -> None:
    """Both tell what they did, a dry run the same without doing it, and 'show' has the log."""
    put(site, "tool", SOUND.format(digest=archive(site)))
    words = ("ua", "publish", "tool", "--note", "first")
    planned = site.json(*words, "--check")[1]
    done = site.json(*words)[1]
    assert planned["result"]["changelog"] == done["result"]["changelog"]
    assert (planned["changed"], done["changed"], site.json(*words)[1]["changed"]) == (True, True, False)
    withdrawal = ("ua", "withdraw", "tool", "--version", "1", "--drain", "2h")
    assert site.json(*withdrawal)[1]["result"]["drain_until"]
    status, document = site.json("ua", "install", "tool")
    assert (status, document["error"]["class"]) == (5, "Conflict")
    text = site.vmm("ua", "show", "tool").stdout
    assert "1 added: the first one" in text
    assert "archive, withdrawn" in text
