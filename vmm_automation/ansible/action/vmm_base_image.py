"""Build or verify a base image, and find out which acceleration guests get."""

from __future__ import annotations

from typing import Any

from vmm_automation.ansible.action_base import VmmAction
from vmm_automation.operations import base_image
from vmm_automation.operations.context import Context


class ActionModule(VmmAction):
    """``vmm_base_image: {name: debian}``, or ``{profile: small}`` for the image of a profile."""

    def perform(self, context: Context, arguments: dict[str, Any], *, check: bool) -> dict[str, Any]:
        """See :func:`vmm_automation.operations.base_image.present`."""
        profile = arguments.get("profile")
        name = context.site.profile(str(profile)).base_image if profile else str(arguments["name"])
        return base_image.present(context, name, check=check)
