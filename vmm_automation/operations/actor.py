"""Who acts, as far as the operating system knows."""

from __future__ import annotations

import os
import pwd


def os_user() -> str:
    """The login name of this process's user, or ``uid-N`` where it has none."""
    try:
        return pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:
        return f"uid-{os.geteuid()}"
