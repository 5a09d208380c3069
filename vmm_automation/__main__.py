"""``vmm`` and ``python -m vmm_automation``."""

from __future__ import annotations

import gc
import sys

_KEPT_OBJECTS = 50_000


def main() -> None:
    """Run the command line and exit with its documented status."""
    # Loading a command makes many objects and no garbage: to look for some meanwhile, and once more at the
    # end, would be a seventh of a short command's time. Long ones still collect.
    gc.set_threshold(_KEPT_OBJECTS)
    from vmm_automation.cli.root import run

    status = run(sys.argv[1:])
    gc.freeze()
    sys.exit(status)


if __name__ == "__main__":
    main()
