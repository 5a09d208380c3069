"""A user's data in the task's guest: deployed (and the UA started), saved, captured, restored, cleaned."""

from __future__ import annotations

from typing import Any

from vmm_automation.ansible.action_base import VmmAction
from vmm_automation.errors import UsageError
from vmm_automation.operations import cleaning, image_preview, session_guest
from vmm_automation.operations.context import Context

#: steps of a run that takes none of them in a dry run
_ALWAYS = {
    "deployed": session_guest.bring_up,
    "handed_over": session_guest.hand_over,
    "taken_over": session_guest.take_over,
}
_CHECKED = {
    "saved": session_guest.save,
    "ended": session_guest.end,
    "restarted": session_guest.restart,
}


class ActionModule(VmmAction):
    """``vmm_user_image: {state: saved, session: s-1234}``."""

    def perform(self, context: Context, arguments: dict[str, Any], *, check: bool) -> dict[str, Any]:
        """See :mod:`vmm_automation.operations.session_guest` and ``cleaning``."""
        state, session = str(arguments.get("state")), str(arguments.get("session") or "")
        guest = self.guest()
        if state in _ALWAYS:
            return _ALWAYS[state](context, guest, session)
        if state in _CHECKED:
            return _CHECKED[state](context, guest, session, check=check)
        if state == "captured":
            changed_only = bool(arguments.get("changed_only"))
            return session_guest.capture(context, guest, session, changed_only=changed_only, check=check)
        if state == "restored":
            if not arguments.get("allow_destroy"):
                raise UsageError(
                    "Cannot replace the present data: destruction is off unless asked for",
                    hint="set user_image_allow_destroy=true (vmm: --yes)",
                )
            number, orphan = int(arguments.get("generation") or 0), str(arguments.get("orphan") or "")
            if number and orphan:
                raise UsageError("Give a generation or a volume, not both", hint="vmm image deploy --help")
            return session_guest.restore(context, guest, session, number=number, orphan=orphan, check=check)
        if state == "previewed":
            return image_preview.preview(context, guest, session)
        if state == "cleaned":
            return cleaning.clean(context, guest, check=check)
        raise UsageError(f"'{state}' is not a state of user images", hint="user_image_state=captured")
