"""Hours as a calendar: days by hours of the day, each with its state and that state in words.

Add a state here when hours can be in one that people must tell from the others; counts come from `ledger.calendar`,
everything about one hour from `hours`.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final, Literal

from pyro_assets.app import App
from pyro_assets.errors import ConfigError
from pyro_assets.export.states import export_due_hours
from pyro_assets.ledger.calendar import HourCalendar, HourCounts
from pyro_assets.storage.keys import HOUR_MS, hour_of, hour_start_ms

#: In the order of what a person should look at first.
HourState = Literal["failed", "pending", "unsent", "running", "done", "nothing", "future"]
#: State -> what it means, for legends.
MEANINGS: Final[Mapping[HourState, str]] = {
    "failed": "something was given up, set aside or lost",
    "pending": "over, and not all of it is known to have series",
    "unsent": "series that a receiver lacks",
    "running": "not over yet",
    "done": "complete",
    "nothing": "nothing landed",
}
DAY_MS: Final = 24 * HOUR_MS


@dataclass(frozen=True, slots=True)
class HourCell:
    """One hour: its partition key, state, jobs that have series, and what there is to say."""

    hour: str
    state: HourState
    jobs: int
    text: str


@dataclass(frozen=True, slots=True)
class Day:
    """A day (UTC), such as 2026-11-25, and its 24 hours."""

    date: str
    cells: tuple[HourCell, ...]


def days(pipeline: App, now_ms: int, *, count: int = 14, before: str = "") -> list[Day]:
    """The last days, the latest first.

    Args:
        pipeline: what is asked.
        now_ms: Unix milliseconds.
        count: of days.
        before: a day (2026-11-25); the days before it instead of those up to today.

    Raises:
        ValueError: `before` is no day.
        LedgerUnavailable.
    """
    end_ms = hour_start_ms(f"{before}-00:00") if before else (now_ms // DAY_MS + 1) * DAY_MS
    first_ms = end_ms - count * DAY_MS
    counts = HourCalendar(pipeline.ledger).hour_counts(hour_of(first_ms), hour_of(end_ms))
    unsent = _unsent(pipeline)
    settled_ms = now_ms - pipeline.settings.settle_ms
    found = []
    for day_ms in range(end_ms - DAY_MS, first_ms - 1, -DAY_MS):
        cells = []
        for begin_ms in range(day_ms, day_ms + DAY_MS, HOUR_MS):
            hour = hour_of(begin_ms)
            is_future, is_over = begin_ms > now_ms, begin_ms + HOUR_MS <= settled_ms
            cells.append(cell(hour, counts.get(hour), unsent.get(hour, 0), is_over=is_over, is_future=is_future))
        found.append(Day(hour_of(day_ms)[:10], tuple(cells)))
    return found


def cell(hour: str, counts: HourCounts | None, unsent: int, *, is_over: bool, is_future: bool = False) -> HourCell:
    """The state of an hour.

    >>> cell("2026-11-25-09:00", HourCounts({"derived": 3}), 0, is_over=True).state
    'pending'
    >>> cell("2026-11-25-09:00", HourCounts({"derived": 3}, is_listed=True), 0, is_over=True).state
    'done'
    >>> late = HourCounts({"derived": 3, "planned": 1}, {"lost": 2})
    >>> cell("2026-11-25-09:00", late, 0, is_over=True).text
    '2 segments lost, 1 job without series, 3 jobs done, never listed as a whole'
    """
    if counts is None:
        return HourCell(hour, "future" if is_future else "nothing", 0, "" if is_future else MEANINGS["nothing"])
    parts = [
        _count(counts.jobs.get("quarantined", 0), "job", "given up"),
        _count(counts.sources.get("lost", 0), "segment", "lost"),
        _count(counts.sources.get("set_aside", 0), "segment", "set aside"),
    ]
    is_bad = any(parts)
    waiting = counts.sources.get("pending", 0)
    parts += [
        _count(counts.open_jobs, "job", "without series"),
        _count(waiting, "segment", "in no job yet"),
        _count(unsent, "job", "not sent everywhere"),
        _count(counts.done_jobs, "job", "done"),
        "never listed as a whole" if is_over and not counts.is_listed else "",
    ]
    state: HourState
    if is_bad:
        state = "failed"
    elif not is_over:
        state = "running"
    elif counts.open_jobs or waiting or not counts.is_listed:
        state = "pending"
    elif unsent:
        state = "unsent"
    else:
        state = "done"
    return HourCell(hour, state, counts.done_jobs, ", ".join(filter(None, parts)) or MEANINGS["nothing"])


def _unsent(pipeline: App) -> dict[str, int]:
    """Hour -> jobs that some receiver lacks."""
    try:
        return export_due_hours(pipeline)
    except ConfigError:
        return {}  # the receivers' file is refused, which is said where receivers are shown


def _count(count: int, noun: str, what: str) -> str:
    return f"{count:,} {noun if count == 1 else noun + 's'} {what}" if count else ""
