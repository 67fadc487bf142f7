"""What landed and was not reported yet: pure, for the sensor's cursor.

Events of no run cannot be pruned in Dagster, and each takes 4 kB: one per tick would be 70 MB a day for ever. So
arrivals add up here until a run is requested for them, or for a minute at most.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Final

from pyro_assets.pipeline.reports import HourArrivals

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
