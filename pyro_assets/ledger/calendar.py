"""Many hours at a time: counts of jobs and sources by state for a calendar, and the cost of their jobs.

Add a count here when people should see it of weeks at once; everything about one hour belongs to `hours`. The cost
grows with the hours asked for, by index entries, not by rows.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from sqlalchemy import and_, func, select

from pyro_assets.ledger.database import Queries
from pyro_assets.ledger.hours import from_json
from pyro_assets.ledger.schema import (
    OPEN_STATES,
    JobState,
    SourceState,
    hour_upkeep,
    jobs,
    quarantine,
    series_files,
    sources,
)

#: States of sources that a calendar counts; done ones are many and of no interest.
_SOURCES: tuple[SourceState, ...] = ("pending", "set_aside", "lost")
_JOBS: tuple[JobState, ...] = ("planned", "compacted", "derived", "exported", "quarantined")


@dataclass(slots=True)
class HourCounts:
    """Jobs and sources of an hour by state; acknowledged sources are not counted as set aside or lost.

    `is_listed`: it was listed as a whole after it was over.
    """

    jobs: dict[str, int] = field(default_factory=dict)
    sources: dict[str, int] = field(default_factory=dict)
    is_listed: bool = False

    @property
    def open_jobs(self) -> int:
        """Jobs without series yet."""
        return sum(self.jobs.get(state, 0) for state in OPEN_STATES)

    @property
    def done_jobs(self) -> int:
        """Jobs with series."""
        return self.jobs.get("derived", 0) + self.jobs.get("exported", 0)


@dataclass(frozen=True, slots=True)
class HoursCost:
    """The cost of the jobs of some hours, for estimates of doing them again.

    Attributes:
        jobs: with committed level-1 blocks; without_blocks: of which these were removed since, not counted otherwise.
        derived: that have series.
        bytes_in: of their sources; bytes_out: of their level-1 blocks.
        derive_seconds: measured, over `measured` of the jobs; compact_seconds: the same for compaction.
        undone: jobs planned or compacted; waiting: sources in no job yet.
    """

    jobs: int
    without_blocks: int
    derived: int
    measured: int
    bytes_in: int
    bytes_out: int
    derive_seconds: float
    compact_seconds: float
    undone: int
    waiting: int


class HourCalendar(Queries):
    """The part of the ledger that sums over many hours."""

    def hour_counts(self, first: str, end: str) -> dict[str, HourCounts]:
        """Hour -> counts, for hours (partition keys) of [first, end) that have any, oldest first."""
        found: dict[str, HourCounts] = {}
        with self.ledger.read() as connection:
            for job_state in _JOBS:
                rows = connection.execute(
                    select(jobs.c.hour, func.count())
                    .where(jobs.c.state == job_state, jobs.c.hour >= first, jobs.c.hour < end)
                    .group_by(jobs.c.hour)
                )
                for hour, count in rows:
                    found.setdefault(hour, HourCounts()).jobs[job_state] = count
            taken_off = and_(
                quarantine.c.subject == "source",
                quarantine.c.subject_id == sources.c.key,
                quarantine.c.released_ms.is_not(None),
            )
            for source_state in _SOURCES:
                query = (
                    select(sources.c.hour, func.count())
                    .where(sources.c.state == source_state, sources.c.hour >= first, sources.c.hour < end)
                    .group_by(sources.c.hour)
                )
                if source_state != "pending":
                    query = query.where(~select(quarantine.c.subject).where(taken_off).exists())
                for hour, count in connection.execute(query):
                    found.setdefault(hour, HourCounts()).sources[source_state] = count
            # Of hours whose rows were removed, what was counted before.
            collapsed = select(hour_upkeep.c.hour, hour_upkeep.c.figures).where(
                hour_upkeep.c.hour >= first, hour_upkeep.c.hour < end, hour_upkeep.c.figures.is_not(None)
            )
            for hour, figures in connection.execute(collapsed):
                counts = found.setdefault(hour, HourCounts()).jobs
                for state, count in from_json(figures).jobs_by_state.items():
                    counts[state] = counts.get(state, 0) + count
            listed = select(hour_upkeep.c.hour).where(
                hour_upkeep.c.hour >= first, hour_upkeep.c.hour < end, hour_upkeep.c.listed_ms.is_not(None)
            )
            for hour in found.keys() & set(connection.execute(listed).scalars()):
                found[hour].is_listed = True
        return dict(sorted(found.items()))

    def hours_cost(self, hours: Sequence[str]) -> HoursCost:
        """Sums over the jobs of consecutive hours (partition keys, the first and the last count)."""
        first, last = min(hours), max(hours)
        span = and_(jobs.c.hour >= first, jobs.c.hour <= last)
        there = and_(span, jobs.c.compacted_ms.is_not(None), jobs.c.blocks_removed_ms.is_(None))
        total = [
            func.coalesce(func.sum(jobs.c[name]), 0)
            for name in ("bytes_in", "bytes_out", "derive_seconds", "compact_seconds")
        ]
        with self.ledger.read() as connection:
            count, derived, *sums = connection.execute(
                select(func.count(), func.count(jobs.c.derived_ms), *total).where(there)
            ).one()
            without_blocks = connection.execute(
                select(func.count()).where(span, jobs.c.blocks_removed_ms.is_not(None))
            ).scalar_one()
            # A ledger that was rebuilt does not know how long its jobs took.
            measured = connection.execute(select(func.count()).where(there, jobs.c.derive_seconds > 0)).scalar_one()
            undone = connection.execute(select(func.count()).where(span, jobs.c.state.in_(OPEN_STATES))).scalar_one()
            waiting = connection.execute(
                select(func.count()).where(
                    sources.c.state == "pending", sources.c.hour >= first, sources.c.hour <= last
                )
            ).scalar_one()
        bytes_in, bytes_out, derive_seconds, compact_seconds = sums
        return HoursCost(
            jobs=count,
            without_blocks=without_blocks,
            derived=derived,
            measured=measured,
            bytes_in=int(bytes_in),
            bytes_out=int(bytes_out),
            derive_seconds=float(derive_seconds),
            compact_seconds=float(compact_seconds),
            undone=undone,
            waiting=waiting,
        )

    def written_since(self, hours: Sequence[str], kinds: Sequence[str], since_ms: int) -> tuple[int, int]:
        """(jobs whose series of all these kinds were written since a moment, jobs with level-1 blocks) of hours."""
        span = and_(jobs.c.hour >= min(hours), jobs.c.hour <= max(hours))
        there = and_(jobs.c.compacted_ms.is_not(None), jobs.c.blocks_removed_ms.is_(None))
        of_hours = and_(span, jobs.c.state.in_(_JOBS), there)
        written = (
            select(func.count())
            .where(
                series_files.c.job_id == jobs.c.id,
                series_files.c.kind.in_(list(kinds)),
                series_files.c.written_ms >= since_ms,
            )
            .scalar_subquery()
        )
        with self.ledger.read() as connection:
            done = connection.execute(select(func.count()).where(of_hours, written >= len(kinds))).scalar_one()
            total = connection.execute(select(func.count()).where(of_hours)).scalar_one()
        return done, total
