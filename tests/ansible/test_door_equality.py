"""Verbs that need no guest answer alike by the command line and by their playbook, to the last key."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ..made_site import MadeSite
from .test_image_store_playbooks import WHOSE, stored
from .test_playbooks import play

POOL = "profile: small\nua: radicale\nready: 1\nmax: 4\n"
OF = ("ann", "radicale")
PRUNE = {**WHOSE, "image_store_keep_last": 1, "image_store_allow_destroy": True}
PAIRS: dict[str, tuple[tuple[str, ...], dict[str, Any]]] = {
    "image_restore": (("image", "restore", *OF, "--generation", "1"), {**WHOSE, "image_store_generation": 1}),
    "image_prune": (("image", "prune", *OF, "--keep-last", "1"), PRUNE),
    "image_verify": (("image", "verify", *OF), WHOSE),
    "pool_scale": (("pool", "scale", "some", "--ready", "2"), {"pool_names": ["some"], "pool_ready": 2}),
    "pool_drain": (("pool", "drain", "some"), {"pool_names": ["some"]}),
    "ua_rollout_stop": (("ua", "rollout", "stop", "radicale"), {"ua_id": "radicale"}),
    "ua_publish": (("ua", "publish", "radicale"), {"ua_id": "radicale"}),
}


def test_dry_run_gives_the_same_document_through_both_doors(site: MadeSite, tmp_path: Path) -> None:
    """Whether anything changed is said beside the result, never in it."""
    stored(site, tmp_path / "tars", count=2)
    (site.directory / "pools").mkdir(exist_ok=True)
    (site.directory / "pools" / "some.yml").write_text(POOL)
    for playbook, (words, variables) in PAIRS.items():
        check = () if playbook == "image_verify" else ("--check",)
        _code, document = site.json(*words, *check)
        told = play(site, playbook, "--check", **variables).stats
        assert alike(document["result"]) == alike(told), playbook
        assert told, playbook


def alike(document: dict[str, Any]) -> dict[str, Any]:
    """Without times; what only reads tells the end of the audit chain by its playbook alone."""
    inner = {key: alike(value) if isinstance(value, dict) else value for key, value in document.items()}
    times = {"captured_at", "published_at", "audit"}
    return {key: value for key, value in inner.items() if key not in times}
