"""Durations as people type them: ``90s``, ``15m``, ``2h``, ``1d``."""

from __future__ import annotations

import re
from datetime import timedelta
from typing import Any

import click

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86400}
_PATTERN = re.compile(r"([0-9]{1,6})([smhd])")


class Duration(click.ParamType[timedelta]):
    """A whole number with a unit: s, m, h or d."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> timedelta:
        """Read the text of an option."""
        if isinstance(value, timedelta):
            return value
        match = _PATTERN.fullmatch(str(value))
        if not match:
            self.fail(f"'{value}' is not a duration such as 90s, 15m, 2h or 1d", param, ctx)
        return timedelta(seconds=int(match[1]) * _UNITS[match[2]])
