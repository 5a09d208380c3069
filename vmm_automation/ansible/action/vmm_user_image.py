"""A user's data in the task's guest: deployed (and the UA started), saved, captured, restored, cleaned."""

from __future__ import annotations

from typing import Any

from vmm_automation.ansible.action_base import VmmAction
from vmm_automation.errors import UsageError
from vmm_automation.operations import session_guest
from vmm_automation.operations.context import Context


class ActionModule(VmmAction):
    """``vmm_user_image: {state: saved, session: s-1234}``."""

    def perform(self, context: Context, arguments: dict[str, Any], *, check: bool) -> dict[str, Any]:
        """See :mod:`vmm_automation.operations.session_guest`."""
        state, session = str(arguments.get("state")), str(arguments.get("session") or "")
        guest = self.guest()
        if state == "deployed":
            return session_guest.bring_up(context, guest, session)
        if state == "saved":
            return session_guest.save(context, guest, session, check=check)
        if state == "ended":
            return session_guest.end(context, guest, session, check=check)
        if state == "restarted":
            return session_guest.restart(context, guest, session, check=check)
        if state == "captured":
            return session_guest.capture(context, guest, session, check=check)
        if state == "restored":
            if not arguments.get("allow_destroy"):
                raise UsageError(
                    "Cannot replace the present data: destruction is off unless asked for",
                    hint="set user_image_allow_destroy=true (vmm: --yes)",
                )
            number = int(arguments.get("generation") or 0)
            return session_guest.restore(context, guest, session, number=number, check=check)
        if state == "cleaned":
            return session_guest.clean(context, guest, check=check)
        raise UsageError(f"'{state}' is not a state of user images", hint="user_image_state=captured")
