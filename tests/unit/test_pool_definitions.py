"""A pool's file becomes its definition, or a list of errors with file and path."""

from __future__ import annotations

from pathlib import Path

import pytest

from vmm_automation import schema
from vmm_automation.errors import InvalidName, NotFound, SiteInvalid
from vmm_automation.model.names import check_name
from vmm_automation.model.pool import Levels, PoolDefinition
from vmm_automation.site import Site

from .test_site import BAD_NAMES, directory

__all__ = ["directory"]
FEW = "profile: small\nua: radicale\nready: 2\n"


def site_with(directory: Path, content: str, name: str = "calendars") -> Site:
    (directory / "pools").mkdir(exist_ok=True)
    (directory / "pools" / f"{name}.yml").write_text(content)
    return Site.load(directory)


def test_pool_without_optional_keys_has_defaults(directory: Path) -> None:
    """A pool needs its profile, its UA and how many; it is bounded by what its levels say."""
    site = site_with(directory, FEW)
    assert site.validate() == []
    assert site.pools == {
        "calendars": PoolDefinition("calendars", "small", "radicale", Levels(ready=2), most=2)
    }


def test_pool_with_every_key_has_what_it_says(directory: Path) -> None:
    """Each key of the schema arrives in the definition."""
    content = FEW + (
        'version: "3.2.3"\nparked: 1\ncold: 3\nmin: 2\nmax: 9\nparallel_creates: 4\nmax_unavailable: 2\n'
        "failures_before_stop: 5\nready_deadline_s: 60\n"
    )
    assert site_with(directory, content).pool("calendars") == PoolDefinition(
        "calendars",
        "small",
        "radicale",
        Levels(2, 1, 3),
        version="3.2.3",
        least=2,
        most=9,
        parallel_creates=4,
        max_unavailable=2,
        failures_before_stop=5,
        ready_deadline_s=60,
    )
    told = {line.split(":")[0] for line in content.splitlines()}
    assert told == set(schema.schema("pool")["properties"])


def test_wrong_pool_lists_all_its_errors(directory: Path) -> None:
    """Several mistakes are told at once, each with its path."""
    content = "profile: ../x\nua: radicale\nready: -1\nmax: 0\nparallel_create: 2\nready_deadline_s: soon\n"
    with pytest.raises(SiteInvalid) as raised:
        site_with(directory, content).pool("calendars")
    paths = [error.split(": ")[1] for error in raised.value.details["errors"]]
    assert paths == ["max", "parallel_create", "profile", "ready", "ready_deadline_s"]
    assert "did you mean 'parallel_creates'?" in raised.value.message


BOUNDS = {
    "profile: small\nua: radicale\n": "max: is missing",
    FEW + "max: 1\n": "max: 1 is less than ready, parked and cold together, 2",
    FEW + "min: 3\n": "min: 3 is more than max, 2",
    FEW + "min: 3\nmax: 5\n": "min: 3 is more than ready, parked and cold together, 2",
}


@pytest.mark.parametrize("content", BOUNDS)
def test_levels_outside_the_bounds_are_refused(directory: Path, content: str) -> None:
    """What could never be filled, or never be told how far, is an error of the file."""
    errors = site_with(directory, content).validate()
    assert any(error.startswith(f"pools/calendars.yml: {BOUNDS[content]}") for error in errors), errors


def test_pool_of_nothing_with_a_bound_is_a_pool(directory: Path) -> None:
    """A pool may be kept at zero, to be scaled later."""
    site = site_with(directory, "profile: small\nua: radicale\nmax: 3\n")
    assert site.validate() == []
    assert site.pool("calendars").levels.total == 0


@pytest.mark.parametrize(
    ("content", "error"),
    [
        (
            "profile: smal\nua: radicale\nready: 1\n",
            "profile: no profile 'smal': there are small; did you mean",
        ),
        ("profile: small\nua: radical\nready: 1\n", "ua: no UA 'radical': there are radicale; did you mean"),
        (FEW + "version: 3.2.4\n", "version: no version of UA 'radicale' '3.2.4': there are 3.10.0, 3.2.3"),
    ],
)
def test_pool_that_names_what_is_not_there_is_an_error_of_the_site(
    directory: Path, content: str, error: str
) -> None:
    """References are checked with the site, with what there is instead."""
    errors = site_with(directory, content).validate()
    assert len(errors) == 1
    assert errors[0].startswith(f"pools/calendars.yml: {error}")


def test_site_without_pools_has_none(directory: Path) -> None:
    """The directory is optional, and an absent pool is NotFound."""
    site = Site.load(directory)
    assert site.pools == {}
    with pytest.raises(NotFound, match="No pool 'x'"):
        site.pool("x")


@pytest.mark.parametrize("name", [*BAD_NAMES, "a.b", "a_b", "x" * 41])
def test_name_that_a_vm_could_not_begin_with_is_refused(name: str) -> None:
    """The names of a pool's VMs are its own and eight digits more, and a host name has 63 at most."""
    with pytest.raises(InvalidName):
        check_name("pool", name)
    assert check_name("VM", f"{check_name('pool', 'x' * 40)}-01234567")
