"""What the sensor decides and says, without Dagster: which hours are live, when a run is relieved, why there is none.

Here, too:
* what it remembers, in a cursor that people can read: what landed and was not reported, what is wrong since when.

Add a rule here when the sensor must decide something; talking to the ledger and Dagster belongs to `sensors`.
"""

import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime
from typing import Final

from pyro_assets.defs.jobs import Turn
from pyro_assets.ledger.records import Lane
from pyro_assets.planning.report import HourArrivals, TickReport
from pyro_assets.storage.shown import counted

REPORT_MS: Final = 60_000


@dataclass(frozen=True, slots=True)
class Landed:
    """Arrivals by hour since the last report, which was at `reported_ms` (Unix ms; 0: never)."""

    hours: Mapping[str, HourArrivals] = field(default_factory=dict)
    reported_ms: int = 0

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
#: So long before a live run's time is over the next one is asked for: a tick, a place in the queue, a process, imports.
LEAD_SECONDS: Final = 15.0


@dataclass(frozen=True, slots=True)
class LiveRun:
    """A live run that is not over, as the sensor sees it.

    Attributes:
        run_id: Dagster's.
        status: in lower case.
        lane: its share of the shards; None where it cannot be told.
        turn: which of the lane's runs it is; see `jobs.Turn`.
        last_hour: the last of its partitions, "" where that is not known.
        seconds: since it began; None while it waits for its start.
    """

    run_id: str
    status: str
    lane: Lane | None
    turn: Turn = ""
    last_hour: str = ""
    seconds: float | None = None

    def is_of_other_lanes(self, lane: Lane) -> bool:
        """Whether it is from before the number of lanes was changed.

        It has shards of several of the present ones then: all wait for it, so that the samples of a shard are sent in
        the order of time. That a job is done once does not depend on it.
        """
        return self.lane is None or self.lane.count != lane.count

    def is_to_be_relieved(self, hours: Iterable[str], budget_seconds: float) -> bool:
        """Whether the next run should be on its way: its time is nearly over, or an hour after its own has begun."""
        lead = min(LEAD_SECONDS, budget_seconds / 2)
        is_late = self.seconds is not None and self.seconds >= budget_seconds - lead
        is_started = self.status == "started"
        return is_started and (is_late or (bool(self.last_hour) and any(hour > self.last_hour for hour in hours)))


@dataclass(frozen=True, slots=True)
class Watch:
    """What the sensor remembers between ticks, in its cursor.

    Attributes:
        live_since: the first hour that the live lane takes by itself; what landed before it waits for a backfill.
        late: earlier hours that were processed already and got late uploads since; the live lane takes them too.
        landed: what was not reported yet.
        said: check -> the description of its last verdict that a tick gave; a tick gives one only when it is another.
        wrong: alert that holds -> since when, as a tick saw it first (Unix ms).
        looked_ms: when a tick looked at alerts last.
        ticked_ms: when a tick listed all that there was.
    """

    live_since: str
    late: tuple[str, ...] = ()
    landed: Landed = field(default_factory=Landed)
    said: Mapping[str, str] = field(default_factory=dict)
    wrong: Mapping[str, int] = field(default_factory=dict)
    looked_ms: int = 0
    ticked_ms: int = 0

    @classmethod
    def from_cursor(cls, cursor: str | None, live_since: str) -> "Watch":
        """Read a cursor; an empty or foreign one begins anew at `live_since`.

        >>> Watch.from_cursor(None, "2026-11-25-13:00").live_since
        '2026-11-25-13:00'
        """
        try:
            state = json.loads(cursor or "")
            late = tuple(map(str, state.get("late hours", state.get("late", ()))))
            if "live since" not in state:
                # Of an older version: what it had not reported is in the ledger all the same.
                return cls(str(state["live_since"]), late)
            unreported = {str(hour): HourArrivals(**arrivals) for hour, arrivals in state["not reported yet"].items()}
            return cls(
                str(state["live since"]),
                late,
                Landed(unreported, _ms(state["reported"])),
                {str(check): str(text) for check, text in state["said"].items()},
                {str(name): _ms(since) for name, since in state["wrong since"].items()},
                _ms(state["looked"]),
                _ms(state.get("ticked", "never")),
            )
        except (ValueError, KeyError, TypeError, AttributeError):
            return cls(live_since)

    def to_cursor(self) -> str:
        """As text for Dagster, which people read too."""
        state = {
            "live since": self.live_since,
            "late hours": list(self.late),
            "reported": _time(self.landed.reported_ms),
            "not reported yet": {hour: asdict(arrivals) for hour, arrivals in self.landed.hours.items()},
            "said": dict(self.said),
            "wrong since": {name: _time(since) for name, since in self.wrong.items()},
            "looked": _time(self.looked_ms),
            "ticked": _time(self.ticked_ms),
        }
        return json.dumps(state, indent=1)

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


def _time(time_ms: int) -> str:
    return datetime.fromtimestamp(time_ms / 1000, UTC).isoformat(timespec="milliseconds") if time_ms else "never"


def _ms(text: str) -> int:
    return 0 if text == "never" else round(datetime.fromisoformat(text).timestamp() * 1000)


def what_landed(tick: TickReport) -> str:
    """What a tick found, and what is due, in words.

    >>> what_landed(TickReport(0, due={"2026-11-25-12:00": 2}, waiting_sources=3))
    'landed: nothing new; due: 2 jobs of 2026-11-25-12:00; 3 segments wait for more or for their age'
    """
    objects = sum(arrivals.objects for arrivals in tick.arrivals.values())
    mib = sum(arrivals.size_bytes for arrivals in tick.arrivals.values()) / 2**20
    landed = f"{counted(objects, 'segment')} ({mib:,.1f} MiB) of {describe(list(tick.arrivals))}"
    due = f"{counted(sum(tick.due.values()), 'job')} of {describe(list(tick.due))}"
    parts = [
        f"landed: {landed if objects else 'nothing new'}",
        f"due: {due if tick.due else 'nothing'}",
    ]
    if tick.waiting_sources:
        wait = "waits for more or for its" if tick.waiting_sources == 1 else "wait for more or for their"
        parts.append(f"{counted(tick.waiting_sources, 'segment')} {wait} age")
    if tick.leased_jobs:
        parts.append(f"{counted(tick.leased_jobs, 'job')} being worked on")
    return "; ".join(parts)


def why_no_run(tick: TickReport, due: Sequence[str], in_flight: Sequence[LiveRun]) -> str:
    """Why a tick requests no run although something may be due."""
    if in_flight:
        listed = ", ".join(
            f"live run {run.run_id[:8]} is {run.status}"
            + (f" for {run.seconds:.0f} s" if run.seconds is not None else "")
            for run in in_flight
        )
        return f"no run: {listed}" + (" and takes what is due" if due else "")
    if tick.source_problem:
        return f"no run: {tick.source_problem}"
    if tick.due and not due:
        return "no run: nothing of what is due is live"
    if tick.waiting_sources or tick.unfinished_jobs:
        return "no run: nothing is due"
    return "no run: every segment that landed is in a derived job"


def what_to_know(tick: TickReport, watch: Watch, first_hour: str) -> list[str]:
    """What a person should know of a tick, and do, a sentence each."""
    parts = []
    history = [hour for hour in tick.due if not watch.takes(hour)]
    if history:
        jobs = sum(tick.due[hour] for hour in history)
        parts.append(
            f"{counted(jobs, 'job')} of {describe(history)} landed before {watch.live_since}: start a backfill for them"
        )
    early = sorted(hour for hour in {*tick.due, *tick.arrivals} if hour < first_hour)
    if early:
        parts.append(
            f"{describe(early)} came to light since this code location was loaded, whose partitions begin with "
            f"{first_hour}: reload it (Deployment; or restart the code server), then they can be materialized"
        )
    if tick.out_of_range:
        parts.append(f"{tick.out_of_range} new segments were created outside the partitions and are left alone")
    if tick.truncated:
        parts.append("the listing goes on with the next tick")
    return [*parts, *tick.others[:1], *tick.failures[:1]]


def describe(hours: Sequence[str]) -> str:
    """Hours in a few words.

    >>> describe(["2026-11-25-12:00"]), describe(["2026-11-25-10:00", "2026-11-25-11:00", "2026-11-25-12:00"])
    ('2026-11-25-12:00', '3 hours from 2026-11-25-10:00 to 2026-11-25-12:00')
    >>> describe([])
    'no hour'
    """
    if not hours:
        return "no hour"
    return hours[0] if len(hours) == 1 else f"{len(hours)} hours from {hours[0]} to {hours[-1]}"
