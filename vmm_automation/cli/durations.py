"""Durations and times as people type them: ``90s``, ``15m``, ``2h``, ``1d``; ``2026-01-31T14:00Z``."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import click

from vmm_automation.model.times import read_duration, read_moment, read_time


class Duration(click.ParamType[timedelta]):
    """A whole number with a unit: s, m, h or d."""

    name = "duration"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> timedelta:
        """Read the text of an option."""
        return value if isinstance(value, timedelta) else _read(self, read_duration, value, param, ctx)


class Time(click.ParamType[datetime]):
    """A moment in ISO 8601 that says its zone."""

    name = "time"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> datetime:
        """Read the text of an option."""
        return value if isinstance(value, datetime) else _read(self, read_time, value, param, ctx)


class Moment(click.ParamType[datetime | timedelta]):
    """A moment, or a duration from now on."""

    name = "time|duration"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> datetime | timedelta:
        """Read the text of an option."""
        return (
            value if isinstance(value, datetime | timedelta) else _read(self, read_moment, value, param, ctx)
        )


def _read(
    kind: click.ParamType[Any],
    read: Callable[[str], Any],
    value: Any,
    param: click.Parameter | None,
    ctx: click.Context | None,
) -> Any:
    try:
        return read(str(value))
    except ValueError as wrong:
        kind.fail(str(wrong), param, ctx)
