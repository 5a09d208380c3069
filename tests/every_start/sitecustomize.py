"""Read by each Python that a test starts. For borg, pytest counts as not installed.

It looks for it at each start, for its self-test, and would load all of it: a third of a short command's time.
"""

import sys
from types import ModuleType

if sys.orig_argv[1:2] and sys.orig_argv[1].endswith("/borg"):
    sys.modules["pytest"] = ModuleType("pytest")
