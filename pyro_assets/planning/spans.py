"""Hours that are over, and hours that follow each other. Hours are partition keys ("2026-11-25-13:00", UTC)."""

from collections.abc import Iterable
from itertools import pairwise

from pyro_assets.storage.keys import HOUR_MS, hour_start_ms


def over_since_ms(hour: str, settle_ms: int) -> int:
    """From when on an hour is over: its end, and the time that late uploads have."""
    return hour_start_ms(hour) + HOUR_MS + settle_ms


def hours_over(hours: Iterable[str], settle_ms: int, now_ms: int) -> list[str]:
    """Those hours that are over."""
    return [hour for hour in hours if over_since_ms(hour, settle_ms) <= now_ms]


def spans(hours: Iterable[str]) -> list[tuple[str, str]]:
    """Maximal runs of consecutive hours as (first, last), latest span first: fresh data does not wait for late ones.

    >>> spans(["2026-11-25-13:00", "2026-11-25-09:00", "2026-11-25-12:00"])
    [('2026-11-25-12:00', '2026-11-25-13:00'), ('2026-11-25-09:00', '2026-11-25-09:00')]
    """
    ordered = sorted(set(hours))
    breaks = [
        position + 1
        for position, (before, after) in enumerate(pairwise(ordered))
        if hour_start_ms(after) - hour_start_ms(before) != HOUR_MS
    ]
    groups = [
        ordered[start:end] for start, end in zip([0, *breaks], [*breaks, len(ordered)], strict=True) if end > start
    ]
    return [(group[0], group[-1]) for group in reversed(groups)]
