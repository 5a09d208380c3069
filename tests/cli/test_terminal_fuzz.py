"""Any JSON, and any bytes, as the terminal profile on standard input: a verdict or a clear error."""

from __future__ import annotations

import io
import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from vmm_automation.cli.root import run
from vmm_automation.model.terminal import COMPONENTS, VOCABULARY
from vmm_automation.model.ua import DeploymentState
from vmm_automation.state import ledger, vms

from ..made_site import MadeSite, make_site

#: a verdict; a wrong profile; a fine one that no VM fits; a base that is not there
CLASSES = {"ok": {0}, "TerminalInvalid": {3}, "NoVmFits": {7}, "NotFound": {4}, "InvalidName": {2}}
_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
_KEYS = st.sampled_from([*VOCABULARY, *COMPONENTS, "base", "merge", "name"]) | st.text()
_WORDS = st.sampled_from(
    ["desktop", "phone", "locked", "append", "http", "touch", "none", "en-GB", 5, 0, True]
)
_VALUES = _JSON | _WORDS | st.lists(_WORDS, max_size=3) | st.dictionaries(_KEYS, _JSON | _WORDS, max_size=3)
_PROFILES = _JSON | st.dictionaries(_KEYS, _VALUES, max_size=6)


@pytest.fixture(scope="module")
def fitting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[MadeSite]:
    """One VM that fits; nothing that is asked here changes anything."""
    site = make_site(tmp_path_factory.mktemp("fuzz"), running=["vm-1"])
    with site.store() as store, store.transaction() as tx:
        now, active = datetime.now(UTC), DeploymentState.ACTIVE
        vms.mark_clean(tx, vm="vm-1", now=now)
        ledger.record(tx, vm="vm-1", ua="radicale", version="3.5.4", state=active, now=now)
    before = os.environ.get("VMM_HOME")
    os.environ["VMM_HOME"] = str(site.home)
    yield site
    os.environ.pop("VMM_HOME")
    if before is not None:
        os.environ["VMM_HOME"] = before


@contextmanager
def standard_input(content: bytes) -> Iterator[None]:
    before, sys.stdin = sys.stdin, io.TextIOWrapper(io.BytesIO(content))
    try:
        yield
    finally:
        sys.stdin = before


def asked(site: MadeSite, content: bytes) -> tuple[int, dict[str, Any], str]:
    """Exit code, document and standard error of 'vmm session select'; a crash raises, as text too."""
    words = ["session", "select", "--site", str(site.directory), "--user", "ann", "--ua", "radicale"]
    out, err = io.StringIO(), io.StringIO()
    with standard_input(content), redirect_stdout(out), redirect_stderr(err):
        code = run([*words, "--terminal", "-", "--output", "json"])
    text = io.TextIOWrapper(io.BytesIO(), encoding="utf-8")  # as strict as a terminal
    with standard_input(content), redirect_stdout(text), redirect_stderr(io.StringIO()):
        assert run([*words, "--terminal", "-"]) == code
        text.flush()
    return code, json.loads(out.getvalue()), err.getvalue()


def expect_verdict_or_error(site: MadeSite, content: bytes) -> None:
    code, document, said = asked(site, content)
    error = document.get("error") or {}
    assert code in CLASSES[error.get("class", "ok")]
    if code:
        assert said.startswith("Error: ")
        assert error["message"]
        assert "Traceback" not in said
    else:
        assert document["result"]["selection"]["ranked"][0]["vm"] == "vm-1"


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(profile=_PROFILES, ascii_only=st.booleans())
@example(profile={"protocols": ["http"], "screen_width_px": 800, "screen_height_px": 600}, ascii_only=True)
@example(profile={"base": "phone", "locale": "\ud800"}, ascii_only=True)
def test_any_json_on_standard_input_gets_a_verdict_or_a_clear_error(
    fitting: MadeSite, profile: Any, ascii_only: bool
) -> None:
    """Through the whole command: exit code, one JSON document, and for people a sentence."""
    text = json.dumps(profile, ensure_ascii=ascii_only)
    expect_verdict_or_error(fitting, text.encode("utf-8", "surrogatepass"))


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(content=st.binary(max_size=200))
def test_any_bytes_on_standard_input_get_a_verdict_or_a_clear_error(
    fitting: MadeSite, content: bytes
) -> None:
    """Whatever it is, it is at most a wrong profile."""
    expect_verdict_or_error(fitting, content)
