"""A site with a pool whose VMs run on libvirt's test driver: real doors, and nobody to make a VM."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from vmm_automation.adapters.cached_files import sha256_of
from vmm_automation.content import default_site
from vmm_automation.model.ua import DeploymentState
from vmm_automation.site import Site
from vmm_automation.state import ledger, pools, vms
from vmm_automation.state.pools import Phase

from .made_site import MadeSite, make_site

_UA = 'versions: {{"1": {{kind: archive, artifacts: [{{source: app.tar, sha256: "{digest}"}}]}}}}\n'


def make_pool_site(
    place: Path, *, members: Sequence[str], levels: str = "ready: 2", lacking: Sequence[str] = ()
) -> MadeSite:
    """Pool ``web`` of UA ``tool``; on its members it is active, but for those that are ``lacking`` it."""
    digest = Site.load(default_site()).base_image("debian").digest
    site = make_site(place, running=members, base_digest=digest)
    archive = site.directory / "uas" / "app.tar"
    with tarfile.open(archive, "w") as opened:
        entry = tarfile.TarInfo("run")
        entry.size = 1
        opened.addfile(entry, io.BytesIO(b"x"))
    (site.directory / "uas" / "tool.yml").write_text(_UA.format(digest=sha256_of(archive)))
    (site.directory / "pools").mkdir()
    (site.directory / "pools" / "web.yml").write_text(f"profile: small\nua: tool\n{levels}\n")
    now = datetime.now(UTC)
    with site.store() as store, store.transaction() as tx:
        for vm in members:
            pools.add(tx, vm=vm, pool="web", now=now)
            pools.move_to(tx, vm=vm, phase=Phase.MEMBER, now=now)
            vms.mark_clean(tx, vm=vm, now=now)
            if vm not in lacking:
                active = DeploymentState.ACTIVE
                ledger.record(tx, vm=vm, ua="tool", version="1", state=active, now=now)
    return site
