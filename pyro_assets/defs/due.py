"""Which hours the live lane takes, and in how many runs: pure decisions, without Dagster, for the sensor's tables.

Here, too:
* what landed and was not reported yet: pure, for the sensor's cursor.

Add a rule here when the sensor must decide something; talking to pipeline and instance belongs to `sensors`.
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Final

from pyro_assets.planning.report import HourArrivals

REPORT_MS: Final = 60_000


@dataclass(frozen=True, slots=True)
class Landed:
    """Arrivals by hour since the last report, which was at `reported_ms` (Unix ms; 0: never)."""

    hours: Mapping[str, HourArrivals] = field(default_factory=dict)
    reported_ms: int = 0

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> "Landed":
        """Read what `to_state` made.

        Raises:
            ValueError, KeyError, TypeError, AttributeError: it is something else.
        """
        hours = {str(hour): HourArrivals(**arrivals) for hour, arrivals in state["hours"].items()}
        return cls(hours, int(state["reported_ms"]))

    def to_state(self) -> dict[str, Any]:
        """As plain values for JSON."""
        return {"hours": {hour: asdict(arrivals) for hour, arrivals in self.hours.items()}} | {
            "reported_ms": self.reported_ms
        }

    def plus(self, arrivals: Mapping[str, HourArrivals]) -> "Landed":
        """With more arrivals."""
        hours = dict(self.hours)
        for hour, more in arrivals.items():
            hours[hour] = added(hours[hour], more) if hour in hours else more
        return replace(self, hours=hours)

    def is_due(self, now_ms: int) -> bool:
        """Whether there is something to report that has waited long enough."""
        return bool(self.hours) and now_ms - self.reported_ms >= REPORT_MS


def added(one: HourArrivals, other: HourArrivals) -> HourArrivals:
    """Two arrivals of an hour as one; the shards are those of the tick that saw most of them.

    >>> added(HourArrivals(2, 50, 2, 100, 150), HourArrivals(1, 30, 1, 90, 120))
    HourArrivals(objects=3, size_bytes=80, shards=2, oldest_created_ms=90, newest_created_ms=150)
    """
    return HourArrivals(
        objects=one.objects + other.objects,
        size_bytes=one.size_bytes + other.size_bytes,
        shards=max(one.shards, other.shards),
        oldest_created_ms=min(one.oldest_created_ms, other.oldest_created_ms),
        newest_created_ms=max(one.newest_created_ms, other.newest_created_ms),
    )


_MAX_LATE_HOURS: Final = 500


@dataclass(frozen=True, slots=True)
class Watch:
    """What the sensor remembers between ticks, in its cursor.

    Attributes:
        live_since: the first hour that the live lane takes by itself; what landed before it waits for a backfill.
        late: earlier hours that were processed already and got late uploads since; the live lane takes them too.
        landed: what was not reported yet.
        said: check -> the description of its last verdict that a tick gave; a tick gives one only when it is another.
    """

    live_since: str
    late: tuple[str, ...] = ()
    landed: Landed = field(default_factory=Landed)
    said: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def from_cursor(cls, cursor: str | None, live_since: str) -> "Watch":
        """Read a cursor; an empty or foreign one begins anew at `live_since`.

        >>> Watch.from_cursor(None, "2026-11-25-13:00").live_since
        '2026-11-25-13:00'
        """
        try:
            state = json.loads(cursor or "")
            landed = Landed.from_state(state["landed"])
            said = {str(check): str(text) for check, text in state.get("said", {}).items()}
            return cls(str(state["live_since"]), tuple(map(str, state["late"])), landed, said)
        except (ValueError, KeyError, TypeError, AttributeError):
            return cls(live_since)

    def to_cursor(self) -> str:
        """As text for Dagster."""
        landed = self.landed.to_state()
        state = {"live_since": self.live_since, "late": list(self.late), "landed": landed, "said": dict(self.said)}
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


def describe(hours: Sequence[str]) -> str:
    """Hours in a few words.

    >>> describe(["2026-11-25-12:00"]), describe(["2026-11-25-10:00", "2026-11-25-11:00", "2026-11-25-12:00"])
    ('2026-11-25-12:00', '3 hours from 2026-11-25-10:00 to 2026-11-25-12:00')
    """
    return hours[0] if len(hours) == 1 else f"{len(hours)} hours from {hours[0]} to {hours[-1]}"
