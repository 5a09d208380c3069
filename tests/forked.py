"""Where processes of tests come from: a server that has everything imported and nothing open forks them.

Each is a process like any other, to be killed like any other; it is only spared a second of imports.
"""

from __future__ import annotations

import multiprocessing

#: what a process would import first, a task's own module too: forked children import what is lacking
_IMPORTED = (
    "pytest",
    "vmm_automation.state.sqlite",
    "vmm_automation.state.postgres",
    "tests.contention.test_claims",
    "tests.contention.test_queue",
    "tests.contention.test_right_history",
    "tests.contention.test_second_sessions",
    "tests.contention.test_suspend_right",
    "tests.crash.acts",
    "tests.crash.image_acts",
    "tests.crash.pool_acts",
)

FORKED = multiprocessing.get_context("forkserver")
FORKED.set_forkserver_preload(list(_IMPORTED))
