"""A site and a state of the test's own, on libvirt's built-in test driver: real code all the way, no VM."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from vmm_automation.adapters.domain_xml import NAMESPACE, VmRecord, record_xml
from vmm_automation.content import default_site
from vmm_automation.state import sessions, vms
from vmm_automation.state.sqlite import SqliteStore
from vmm_automation.state.store import Store

from .forked import run_forked

NAME = "made"


def _vmm(_words: list[str]) -> None:
    """The program, as its start script calls it."""
    from vmm_automation.__main__ import main

    main()


@dataclass(frozen=True)
class MadeSite:
    """A site directory and the home of its state."""

    directory: Path
    home: Path

    @property
    def inventory(self) -> Path:
        """What ansible-playbook gets as -i."""
        return self.directory / "site.vmm.yml"

    @property
    def environment(self) -> dict[str, str]:
        """This process's environment, pointed at the site and its state."""
        ours = {"VMM_HOME": str(self.home), "VMM_SITE": str(self.directory), "LC_ALL": "C.UTF-8"}
        return {**os.environ, **ours}

    def vmm(
        self, *words: str, stdin: bytes = b"", environment: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run the command line as a pipeline does: no terminal anywhere."""
        done = run_forked(
            _vmm,
            "vmm",
            *words,
            environment=environment or self.environment,
            cwd=self.home.parent,
            stdin=stdin,
        )
        return subprocess.CompletedProcess(
            done.args, done.returncode, done.stdout.decode(), done.stderr.decode()
        )

    def json(self, *words: str, stdin: bytes = b"") -> tuple[int, dict[str, Any]]:
        """Exit status and the one document on standard output."""
        done = self.vmm(*words, "--output", "json", stdin=stdin)
        return done.returncode, json.loads(done.stdout)

    def store(self) -> SqliteStore:
        """The state, opened by this process."""
        return SqliteStore.open(self.home / "state.db")

    def claim(self, session: str = "s-1", *, vm: str = "vm-1", user: str = "ann") -> str:
        """Put a live session into the state, as if it had been claimed by a run that still goes on."""
        with self.store() as store:
            return self.claim_in(store, session, vm=vm, user=user)

    def claim_in(self, store: Store, session: str = "s-1", *, vm: str = "vm-1", user: str = "ann") -> str:
        """The same in a state that may be elsewhere."""
        now = datetime.now(UTC)
        with store.transaction() as tx:
            vms.mark_clean(tx, vm=vm, now=now)
            sessions.claim(
                tx,
                session_id=session,
                user=user,
                ua="radicale",
                version="1",
                vm=vm,
                terminal="phone",
                explanation={},
                owner="",
                now=now,
            )
        return session

    def dump(self) -> list[str]:
        """All that the state holds, as SQL."""
        with self.store() as store, store.reading() as tx:
            names = [row["name"] for row in tx.all("SELECT name FROM sqlite_master WHERE type = 'table'")]
            return [f"{name} {dict(row)}" for name in names for row in tx.all(f"SELECT * FROM {name}")]


def make_site(
    place: Path,
    *,
    running: Mapping[str, int] | Sequence[str] = (),
    base_digest: str = "0" * 64,
    made_from: str = "",
) -> MadeSite:
    """A copy of the project's site, with VMs that the test driver calls running (name: SSH port).

    ``made_from``: the home that their domains are noted to be made from.
    """
    directory, home = place / "site", place / "home"
    shutil.copytree(default_site(), directory)
    ports = dict(running) if isinstance(running, Mapping) else dict.fromkeys(running, 1)
    node = place / "node.xml"
    domains = "".join(_domain(name, port, base_digest, made_from) for name, port in ports.items())
    node.write_text(f"<node>{domains}</node>")
    uri = f"test://{node}" if ports else "test:///default"
    (directory / "site.yml").write_text(f"name: {NAME}\nuri: {uri}\n")
    home.mkdir(mode=0o700)
    return MadeSite(directory, home)


def _domain(name: str, port: int, base_digest: str, home: str) -> str:
    record = VmRecord(
        site=NAME,
        name=name,
        profile="small",
        base_digest=base_digest,
        ssh_port=port,
        host_key="ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIE3c2eNwNL6YxH4hWKzTCV0Nmh0eEVUcXC5e9gKzVwWf",
        created_at="2026-01-31T12:00:00.000000Z",
        ready=True,
        protocols=("http",),
        home=home,
    )
    metadata = record_xml(record).replace("<vm ", f'<vmm:vm xmlns:vmm="{NAMESPACE}" ')
    return (
        f"<domain type='test'><name>vmm-{NAME}-{name}</name><memory unit='MiB'>768</memory>"
        f"<vcpu>2</vcpu><os><type>hvm</type></os><metadata>{metadata}</metadata></domain>"
    )
