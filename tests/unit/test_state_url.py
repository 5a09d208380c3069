"""Where the state is: how it is said, who wins, and that a password is never shown."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from vmm_automation.errors import SiteInvalid, UsageError, VmmError
from vmm_automation.model.state_url import StateUrl, parse_state_url
from vmm_automation.places import Places
from vmm_automation.site import Site
from vmm_automation.state.open import find_url, open_store, schema_version

SECRET = "hunter2"
URL = "postgresql://vmm@db.example.org/vmm"


@pytest.fixture(autouse=True)
def _no_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("VMM_STATE_URL", "VMM_STATE_URL_FILE"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def site(tmp_path: Path) -> Path:
    directory = tmp_path / "made"
    directory.mkdir()
    (directory / "site.yml").write_text("name: made\n")
    return directory


@pytest.mark.parametrize(
    ("text", "options", "location"),
    [
        (URL, {"user": "vmm", "host": "db.example.org", "dbname": "vmm"}, URL),
        ("postgres://h/d", {"host": "h", "dbname": "d"}, "postgresql://h/d"),
        (
            "postgresql://u:p%40%3A%2F@[::1]:5433/d?sslmode=verify-full",
            {
                "user": "u",
                "password": "p@:/",
                "host": "::1",
                "port": "5433",
                "dbname": "d",
                "sslmode": "verify-full",
            },
            "postgresql://u@[::1]:5433/d",
        ),
        ("postgresql://a:1,b:2/d", {"host": "a,b", "port": "1,2", "dbname": "d"}, "postgresql://a:1,b:2/d"),
        ("postgresql://a:1,b/d", {"host": "a,b", "port": "1,", "dbname": "d"}, "postgresql://a:1,b/d"),
        (
            "postgresql:///d?host=/run/postgresql&user=u",
            {"host": "/run/postgresql", "user": "u", "dbname": "d"},
            "postgresql://u@%2Frun%2Fpostgresql/d",
        ),
        (
            "postgresql://u:a@b@h/d",
            {"user": "u", "password": "a@b", "host": "h", "dbname": "d"},
            "postgresql://u@h/d",
        ),
        ("sqlite:///var/lib/a%20b.db\n", {"path": "/var/lib/a b.db"}, "sqlite:///var/lib/a b.db"),
    ],
)
def test_url_is_taken_apart(text: str, options: dict[str, str], location: str) -> None:
    """What libpq accepts is accepted; what is shown of it leads there again and has no password."""
    url = parse_state_url(text)
    assert (dict(url.options), url.location) == (options, location)
    assert parse_state_url(url.location.replace(" ", "%20")).location == location


@pytest.mark.parametrize(
    "text",
    ["", "state.db", "mysql://h/d", "postgresql:h", "postgresql://h:x/d", "postgresql://h/d#x", "sqlite://a/b",
     "sqlite:///", "sqlite:///a?b=c", "postgresql://h/a b",
     f"postgresql://u:{SECRET} x@h/d", f"u:{SECRET}@h"],
)  # fmt: skip
def test_what_is_no_url_is_refused_without_quoting_it(text: str) -> None:
    """The message says what is wrong, not what was given: there may be a password in it."""
    with pytest.raises(ValueError, match=r"has a|is not") as caught:
        parse_state_url(text)
    assert SECRET not in str(caught.value)


def test_default_is_the_file_of_the_controller(site: Path) -> None:
    """Nothing said anywhere: SQLite, below VMM_HOME; a site that is not there changes nothing."""
    assert find_url(site) is None
    assert find_url(site / "missing") is None
    with open_store(Places(site / "home")) as store:
        assert (store.name, store.location) == ("sqlite", str(site / "home" / "state.db"))
    assert schema_version(Places(site / "home")) > schema_version(Places(site / "elsewhere")) == 0


@pytest.mark.parametrize(
    "text",
    [f"state:\n  url: {URL}\n", f"{{name: made, 'state': {{url: '{URL}'}}}}\n",
     f'"\\x73tate": {{"url": "{URL}"}}\n',
     f"? state\n: {{url: {URL}}}\n"],
)  # fmt: skip
def test_site_says_where_in_any_spelling(site: Path, text: str) -> None:
    """However YAML lets it be written, every door goes to the same state."""
    (site / "site.yml").write_text(text)
    found = find_url(site)
    assert found is not None
    assert found.location == Site.load(site).state_url == URL


def test_environment_wins_over_the_site(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """VMM_STATE_URL, then the file, then site.yml; a broken site.yml is then not even looked at."""
    (site / "site.yml").write_text("state: [\n")
    file = site / "url"
    file.write_text("postgresql://from-file/d\n")
    file.chmod(0o600)
    monkeypatch.setenv("VMM_STATE_URL_FILE", str(file))
    assert find_url(site) == StateUrl("postgresql", {"host": "from-file", "dbname": "d"})
    monkeypatch.setenv("VMM_STATE_URL", "sqlite:///x/state.db")
    assert find_url(site) == StateUrl("sqlite", {"path": "/x/state.db"})


def test_site_that_says_it_wrongly_is_refused(site: Path) -> None:
    """A state is not silently begun somewhere else."""
    for text in (
        "state: {url: 1}",
        "state: {}",
        "state: {url: 'mysql://h/d'}",
        "state: {uri: x}",
        "state: [",
    ):
        (site / "site.yml").write_text(text)
        with pytest.raises(SiteInvalid):
            find_url(site)


@pytest.mark.parametrize("where", ["VMM_STATE_URL", "site.yml"])
@pytest.mark.parametrize("how", ["//u:{}@h/d", "//h/d?password={}", "//h/d?sslpassword={}"])
def test_password_where_others_see_it_is_refused(
    site: Path, monkeypatch: pytest.MonkeyPatch, where: str, how: str
) -> None:
    """A site is in version control and an environment in a run's artifacts: neither may hold a secret."""
    text = f"postgresql:{how.format(SECRET)}"
    if where == "site.yml":
        (site / "site.yml").write_text(f"state:\n  url: '{text}'\n")
    else:
        monkeypatch.setenv(where, text)
    with pytest.raises(VmmError, match="password") as caught:
        find_url(site)
    assert SECRET not in repr(caught.value.to_document())


def test_file_may_hold_a_password_if_it_is_private(site: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """AWX hands a credential over as a file; one that everybody may read is refused."""
    file = site / "url"
    file.write_text(f"postgresql://u:{SECRET}@h/d\n")
    monkeypatch.setenv("VMM_STATE_URL_FILE", str(file))
    file.chmod(0o600)
    url = find_url(site)
    assert url is not None
    assert (url.options["password"], SECRET in repr(url), url.masked(f"no {SECRET}")) == (
        SECRET,
        False,
        "no ***",
    )
    file.chmod(0o644)
    with pytest.raises(UsageError) as caught:
        find_url(site)
    assert caught.value.hint == f"chmod 600 {file}"
    file.unlink()
    with pytest.raises(UsageError, match="No such file"):
        find_url(site)


def test_missing_driver_is_told_with_how_to_install_it(tmp_path: Path) -> None:
    """PostgreSQL is an extra: without it the message says which, and SQLite needs it for nothing."""
    program = (
        "import sys; sys.modules['psycopg'] = None\n"
        "from pathlib import Path\n"
        "from vmm_automation.errors import ToolMissing\n"
        "from vmm_automation.model.state_url import parse_state_url\n"
        "from vmm_automation.places import Places\n"
        "from vmm_automation.state.open import open_store\n"
        "open_store(Places(Path(sys.argv[1]))).close()\n"
        "try:\n    open_store(Places(Path('x')), parse_state_url('postgresql://h/d'))\n"
        "except ToolMissing as missing:\n    print(missing.hint)\n"
    )
    words = [sys.executable, "-c", program, str(tmp_path / "home")]
    done = subprocess.run(words, capture_output=True, check=False, text=True, timeout=60)
    assert done.stdout.strip() == "pip install 'vmm-automation[postgres]'", done.stderr
