"""Read by each Python that a test starts. For borg, pytest counts as not installed.

It looks for it at each start, to test itself, and would load all of it: a third of the time of a short command.
"""

import sys
from types import ModuleType

if sys.orig_argv[1:2] and sys.orig_argv[1].endswith("/borg"):
    sys.modules["pytest"] = ModuleType("pytest")
