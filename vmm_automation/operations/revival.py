"""A guest that is stuck in its boot is started once more; one that is merely slow is waited for."""

from __future__ import annotations

from vmm_automation.adapters.disks import VmFiles
from vmm_automation.operations.context import Context

_STUCK = "BUG: soft lockup"  # what Linux says of a processor that did nothing else for 20 s
_REVIVALS = 2


class Revival:
    """Power-cycles a guest that is stuck before anything answered.

    Emulated processors lose an interrupt between each other once in some hundred boots, and then wait for
    ever: either one of them still notices and says so, or there is no further word. Only for a guest that has
    booted nothing that somebody could lose.
    """

    def __init__(self, context: Context, name: str, files: VmFiles) -> None:
        self._context = context
        self._name = name
        self._files = files
        self._left = _REVIVALS
        self._begin_again()

    def _begin_again(self) -> None:
        self._written, self._since = -1, self._context.clock.now()

    def attempt(self) -> None:
        """Look at the console, and act if it has to be."""
        if not self._left or not (self._says_so() or self._stands_still()):
            return
        self._left -= 1
        self._context.progress(f"VM '{self._name}' is stuck while it boots: starting it once more")
        self._context.hypervisor.destroy(self._name)
        self._context.hypervisor.start(self._name)
        self._begin_again()

    def _says_so(self) -> bool:
        return any(_STUCK in line for line in self._files.console_tail())

    def _stands_still(self) -> bool:
        """No word on the console for a third of the time that the site grants: enough for three boots."""
        now = self._context.clock.now()
        written = self._files.console_length()
        if written != self._written:
            self._written, self._since = written, now
        patience_s = self._context.site.policies.ssh_deadline_s / (_REVIVALS + 1)
        return (now - self._since).total_seconds() >= patience_s
