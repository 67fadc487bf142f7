"""Spans of time as options of commands.

Add a notation of time here when people want it; every command then takes it.
"""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Final, TypeVar

import click

Command = TypeVar("Command", bound=Callable[..., Any])
_FORMATS: Final = ("%Y-%m-%d-%H:%M", "%Y-%m-%dT%H", "%Y-%m-%d")


def read_time(_ctx: click.Context, param: click.Parameter, value: str | None) -> int | None:
    """Unix milliseconds of an hour such as 2026-11-25T09 or 2026-11-25-09:00, a day, or any time of ISO 8601 (UTC)."""
    if value is None:
        return None
    for form in _FORMATS:
        try:
            return _ms(datetime.strptime(value, form))
        except ValueError:
            continue
    try:
        return _ms(datetime.fromisoformat(value))
    except ValueError:
        message = f"{value!r} is no time; write an hour such as 2026-11-25T09, or a day"
        raise click.BadParameter(message, param=param) from None


def _ms(time: datetime) -> int:
    return round((time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp() * 1000)


def span_options(first: str = "--from", last: str = "--to", *, required: bool = False) -> Callable[[Command], Command]:
    """Two options, which become `begin_ms` and `end_ms`: half-open, None where they are not given."""

    def add(command: Command) -> Command:
        end = click.option(
            last,
            "end_ms",
            callback=read_time,
            metavar="TIME",
            required=required,
            help="End, exclusive, in the same form.",
        )
        begin = click.option(
            first, "begin_ms", callback=read_time, metavar="TIME", required=required, help="Begin: 2026-11-25T09 (UTC)."
        )
        return begin(end(command))

    return add


def check_span(begin_ms: int | None, end_ms: int | None) -> None:
    """Refuses a span that holds nothing."""
    if begin_ms is not None and end_ms is not None and begin_ms >= end_ms:
        raise click.UsageError("the span ends before it begins")
