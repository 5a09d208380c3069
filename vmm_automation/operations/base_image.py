"""Base images of a site, and what acceleration its guests get: both are found out once and kept."""

from __future__ import annotations

from typing import Any

from vmm_automation.adapters.acceleration import probe_acceleration
from vmm_automation.adapters.base_image_builder import cached_base_image, ensure_base_image
from vmm_automation.model.base_image import AccelerationVerdict, BaseImage
from vmm_automation.operations.context import Context
from vmm_automation.operations.identity import require_operator


def present(context: Context, name: str, *, check: bool = False) -> dict[str, Any]:
    """Build or verify a base image and say which acceleration guests get; changed only if it was built.

    Raises:
        NotFound: the site has no such base image.
        ArtifactInvalid: the image is not what its definition says.
        PreflightFailed: a tool or disk space is missing.
        NotPermitted: the site lists its operators, and this is none of them.
    """
    require_operator(context.identity, doing=f"build base image '{name}'")
    definition = context.site.base_image(name)
    cached = cached_base_image(definition, directory=context.places.base_images)
    if check and cached is None:
        return {"changed": True, "base_image": {"name": name, "digest": definition.digest, "action": "build"}}
    image, built = ensure_base_image(
        definition, directory=context.places.base_images, progress=context.progress
    )
    verdict = acceleration(context, image)
    return {
        "changed": built,
        "base_image": {
            "name": name,
            "digest": image.digest,
            "disk": str(image.disk),
            "action": "built" if built else "found",
        },
        "acceleration": {"kind": verdict.kind, "reason": verdict.reason, "cached": verdict.cached},
    }


def acceleration(context: Context, image: BaseImage) -> AccelerationVerdict:
    """The verdict for guests of a base image; probed at first, then read from the cache."""
    if context.site.policies.acceleration != "auto":
        kind = context.site.policies.acceleration
        return AccelerationVerdict(kind=kind, reason="the site's policy", seconds=0.0, cached=True)
    return probe_acceleration(image, directory=context.places.base_images, progress=context.progress)
