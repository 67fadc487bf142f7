"""Which hours the live lane takes, and in how many runs: pure decisions, without Dagster, for the sensor's tables.

Add a rule here when the sensor must decide something; talking to pipeline and instance belongs to `landing`.
"""

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from typing import Final

from pyro_assets.defs.landed import Landed
from pyro_assets.storage.keys import HOUR_MS, hour_start_ms

_MAX_LATE_HOURS: Final = 500


@dataclass(frozen=True, slots=True)
class Watch:
    """What the sensor remembers between ticks, in its cursor.

    Attributes:
        live_since: the first hour that the live lane takes by itself; what landed before it waits for a backfill.
        late: earlier hours that were processed already and got late uploads since; the live lane takes them too.
        landed: what was not reported yet.
    """

    live_since: str
    late: tuple[str, ...] = ()
    landed: Landed = field(default_factory=Landed)

    @classmethod
    def from_cursor(cls, cursor: str | None, live_since: str) -> "Watch":
        """Read a cursor; an empty or foreign one begins anew at `live_since`.

        >>> Watch.from_cursor(None, "2026-11-25-13:00").live_since
        '2026-11-25-13:00'
        """
        try:
            state = json.loads(cursor or "")
            landed = Landed.from_state(state["landed"])
            return cls(str(state["live_since"]), tuple(map(str, state["late"])), landed)
        except (ValueError, KeyError, TypeError, AttributeError):
            return cls(live_since)

    def to_cursor(self) -> str:
        """As text for Dagster."""
        state = {"live_since": self.live_since, "late": list(self.late), "landed": self.landed.to_state()}
        return json.dumps(state)

    def after(self, arrivals: Iterable[str], unfinished_jobs: int, began: Callable[[str], bool]) -> "Watch":
        """The next state: hours with late uploads join, and leave when no job is unfinished anywhere.

        Args:
            arrivals: hours with new sources.
            unfinished_jobs: of all hours; a job that waits for another try keeps its hour.
            began: whether some job of an hour is done already, so that it is no untouched history.
        """
        late = set(self.late if unfinished_jobs else ())
        late |= {hour for hour in arrivals if hour < self.live_since and began(hour)}
        return replace(self, late=tuple(sorted(late))[-_MAX_LATE_HOURS:])

    def takes(self, hour: str) -> bool:
        """Whether the live lane processes this hour."""
        return hour >= self.live_since or hour in self.late


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


def describe(hours: Sequence[str]) -> str:
    """Hours in a few words.

    >>> describe(["2026-11-25-12:00"]), describe(["2026-11-25-10:00", "2026-11-25-11:00", "2026-11-25-12:00"])
    ('2026-11-25-12:00', '3 hours from 2026-11-25-10:00 to 2026-11-25-12:00')
    """
    return hours[0] if len(hours) == 1 else f"{len(hours)} hours from {hours[0]} to {hours[-1]}"
