"""What is due and what is pending: questions to the ledger that change nothing.

When sources become a job is decided by `policy`. Add a query when a face or the pipeline has a question. Each must cost
the same however much is finished; sums over finished work belong to `hours`.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, Connection, and_, case, func, or_, select

from pyro_assets.ledger.database import Queries
from pyro_assets.ledger.hours import from_json
from pyro_assets.ledger.records import Lane, in_lane
from pyro_assets.ledger.schema import OPEN_STATES, hour_upkeep, jobs, series_files, sources
from pyro_assets.planning.observed import may_begin
from pyro_assets.planning.sources import chunks


@dataclass(frozen=True, slots=True)
class Backlog:
    """What is not done yet, over all hours.

    Attributes:
        due: hour -> jobs that could be claimed now, oldest hour first.
        leased: jobs that some worker has.
        unfinished: planned or compacted jobs, due or not.
        waiting: sources in no job yet.
        oldest_ms: since when the oldest source that is not derived yet waits: its creation, or, of one of Pyroscope's
            blocks, when it was seen. None if there is none.
    """

    due: dict[str, int]
    leased: int
    unfinished: int
    waiting: int
    oldest_ms: int | None


class DueJobs(Queries):
    """The part of the ledger that answers questions."""

    def backlog(self, now_ms: int, kinds: Collection[str], lane: Lane | None = None) -> Backlog:
        """What is not done yet.

        Args:
            now_ms: Unix milliseconds.
            kinds: kinds of series that a job must have to need no more work.
            lane: counts only jobs of these shards.
        """
        # A block of a higher level usually adds nothing, and waits for lower ones; nobody waits for it.
        open_jobs = and_(jobs.c.state.in_(OPEN_STATES), jobs.c.level.is_(None), in_lane(lane))
        # Which level a block is of is known when it was opened; it waits for us since it was seen.
        since_ms = case((jobs.c.kind == "blocks", jobs.c.planned_ms), else_=jobs.c.first_created_ms)
        seen_ms = case((sources.c.kind == "blocks", sources.c.first_seen_ms), else_=sources.c.created_ms)
        with self.ledger.read() as connection:
            due = _due_hours(connection, now_ms, kinds, lane)
            unfinished, leased, oldest_job = connection.execute(
                select(
                    func.count(),
                    func.coalesce(func.sum(_as_int(jobs.c.lease_expires_ms > now_ms)), 0),
                    func.min(since_ms),
                ).where(open_jobs)
            ).one()
            waiting, oldest_source = connection.execute(
                select(func.count(), func.min(seen_ms)).where(sources.c.state == "pending")
            ).one()
        times = [time for time in (oldest_job, oldest_source) if time is not None]
        return Backlog(due, int(leased), unfinished, waiting, min(times, default=None))

    def due_hours(
        self, now_ms: int, kinds: Collection[str], lane: Lane | None = None, since_hour: str = ""
    ) -> dict[str, int]:
        """Hour -> jobs that a worker could claim now, oldest hour first, beginning with `since_hour`."""
        with self.ledger.read() as connection:
            return _due_hours(connection, now_ms, kinds, lane, since_hour)

    def due_jobs(
        self, hour: str, now_ms: int, *, kinds: Collection[str], lane: Lane | None = None, since_ms: int = 0
    ) -> list[str]:
        """Ids of an hour's jobs that have work to do and that nobody has, oldest first.

        Args:
            hour: partition key.
            now_ms: Unix milliseconds.
            kinds: a compacted job that lacks one of these kinds of series has work to do, as every planned one has.
            lane: only jobs of these shards.
            since_ms: only jobs whose samples are of this time or later.
        """
        with self.ledger.read() as connection:
            return list(
                connection.execute(
                    select(jobs.c.id)
                    .where(
                        jobs.c.hour == hour,
                        jobs.c.timestamp_ms >= since_ms,
                        jobs.c.state.in_(OPEN_STATES),
                        _has_work(kinds),
                        _free(now_ms),
                        may_begin(),
                        in_lane(lane),
                    )
                    .order_by(jobs.c.timestamp_ms, jobs.c.shard, jobs.c.tenant)
                ).scalars()
            )

    def committed_jobs(self, hour: str, lane: Lane | None = None) -> list[str]:
        """Ids of an hour's jobs whose level-1 blocks are committed and still there, oldest first."""
        with self.ledger.read() as connection:
            return list(
                connection.execute(
                    select(jobs.c.id)
                    .where(jobs.c.hour == hour, jobs.c.compacted_ms.is_not(None), in_lane(lane))
                    .where(jobs.c.state.in_(("compacted", "derived", "exported", "quarantined")))
                    .where(jobs.c.blocks_removed_ms.is_(None))
                    .order_by(jobs.c.timestamp_ms, jobs.c.shard, jobs.c.tenant)
                ).scalars()
            )

    def jobs_removed_in(self, hours: Sequence[str]) -> dict[str, int]:
        """Hour -> jobs of which no series can be made any more, because their blocks or rows were removed."""
        found: dict[str, int] = {}
        with self.ledger.read() as connection:
            for chunk in chunks(sorted(set(hours))):
                without = (
                    select(jobs.c.hour, func.count())
                    .where(jobs.c.hour.in_(chunk), jobs.c.blocks_removed_ms.is_not(None))
                    .group_by(jobs.c.hour)
                )
                found |= {row[0]: row[1] for row in connection.execute(without)}
                collapsed = select(hour_upkeep.c.hour, hour_upkeep.c.figures).where(
                    hour_upkeep.c.hour.in_(chunk), hour_upkeep.c.figures.is_not(None)
                )
                for hour, figures in connection.execute(collapsed):
                    found[hour] = found.get(hour, 0) + sum(from_json(figures).jobs_by_state.values())
        return found

    def unverified_jobs(self, hour: str, *, again: bool) -> tuple[list[str], int]:
        """Ids of an hour's committed jobs that no check has verified yet (`again`: all), and how many one has."""
        with self.ledger.read() as connection:
            rows = connection.execute(
                select(jobs.c.id, jobs.c.verified_ms, jobs.c.blocks_removed_ms)
                .where(jobs.c.hour == hour, jobs.c.compacted_ms.is_not(None))
                .where(or_(jobs.c.blocks_removed_ms.is_(None), jobs.c.verified_ms.is_not(None)))
                .order_by(jobs.c.timestamp_ms, jobs.c.shard, jobs.c.tenant)
            ).all()
        wanted = [row.id for row in rows if row.verified_ms is None or (again and row.blocks_removed_ms is None)]
        return wanted, len(rows) - len(wanted)

    def hours_of(self, job_ids: Sequence[str]) -> dict[str, str]:
        """Job -> its hour, in the order of `job_ids`."""
        found: dict[str, str] = {}
        with self.ledger.read() as connection:
            for chunk in chunks(job_ids):
                rows = connection.execute(select(jobs.c.id, jobs.c.hour).where(jobs.c.id.in_(chunk)))
                found |= {row.id: row.hour for row in rows}
        return {job_id: found[job_id] for job_id in job_ids}


def _as_int(condition: ColumnElement[bool]) -> ColumnElement[int]:
    return case((condition, 1), else_=0)


def _free(now_ms: int) -> ColumnElement[bool]:
    return and_(jobs.c.lease_expires_ms <= now_ms, jobs.c.next_attempt_ms <= now_ms)


def _lacks(kinds: Collection[str]) -> ColumnElement[bool]:
    """Whether a job has not all of these kinds of series."""
    has = (
        select(func.count())
        .where(series_files.c.job_id == jobs.c.id, series_files.c.kind.in_(list(kinds)))
        .scalar_subquery()
    )
    return has < len(kinds)


def _has_work(kinds: Collection[str]) -> ColumnElement[bool]:
    return or_(jobs.c.state == "planned", and_(jobs.c.state == "compacted", _lacks(kinds)))


def _due_hours(
    connection: Connection, now_ms: int, kinds: Collection[str], lane: Lane | None, since_hour: str = ""
) -> dict[str, int]:
    rows = connection.execute(
        select(jobs.c.hour, func.count())
        .where(jobs.c.state.in_(OPEN_STATES), _has_work(kinds), _free(now_ms), may_begin(), in_lane(lane))
        .where(jobs.c.hour >= since_hour)
        .group_by(jobs.c.hour)
        .order_by(jobs.c.hour)
    )
    return {row[0]: row[1] for row in rows}
