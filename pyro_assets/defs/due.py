"""Which hours the live lane takes, and in how many runs: pure decisions, without Dagster, for the sensor's tables.

Add a rule here when the sensor must decide something; talking to pipeline and instance belongs to `landing`.
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from pyro_assets.defs.landed import Landed

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
