"""Spans of time as options of commands.

Add a notation of time here when people want it; every command then takes it.
"""

from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from typing import Any, Final, TypeVar

import click

from pyro_assets.storage.keys import hour_of

Command = TypeVar("Command", bound=Callable[..., Any])
#: No id can say a later time.
_END_MS: Final = 2**48
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


def whole_span(begin_ms: int | None, end_ms: int | None) -> tuple[int, int]:
    """A span with both ends: where one is not given, everything before or after is inside.

    >>> whole_span(None, 5), whole_span(3, None)
    ((0, 5), (3, 281474976710656))
    """
    return begin_ms or 0, _END_MS if end_ms is None else end_ms


def hours_of_span(hours: Iterable[str], begin_ms: int | None, end_ms: int | None) -> list[str]:
    """Those of some hours of which a part lies in the span.

    >>> hours_of_span(["1970-01-01-00:00", "1970-01-01-01:00", "1970-01-01-02:00"], 3_600_000, 7_200_000)
    ['1970-01-01-01:00']
    """
    begin_ms, end_ms = whole_span(begin_ms, end_ms)
    return [hour for hour in hours if hour_of(begin_ms) <= hour <= hour_of(end_ms - 1)]
