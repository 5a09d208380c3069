"""``vmm`` and ``python -m vmm_automation``."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line and exit with its documented status."""
    from vmm_automation.cli.root import run

    sys.exit(run(sys.argv[1:]))


if __name__ == "__main__":
    main()
