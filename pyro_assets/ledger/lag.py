"""Lag: from the creation of a job's first source until it was compacted, derived, exported by live work.

Work that a person asked for, such as a backfill of last year, says nothing of lag: of that, the time since the run or
export began is told apart. Histograms are made by the database over the jobs that reached a stage in a span of time, or
those of an hour. Add a stage here when jobs get one; names of metrics and what people see belong to the faces.
"""

from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any, Final, Literal, get_args

from sqlalchemy import ColumnElement, and_, func, or_, select

from pyro_assets.ledger.database import Queries
from pyro_assets.ledger.schema import jobs

#: What a job reaches, in this order.
Stage = Literal["compacted", "derived", "exported"]
STAGES: Final[tuple[Stage, ...]] = get_args(Stage)
#: Upper bounds of buckets, inclusive; the goal is 12 s for half of all jobs and 20 s for 95 of 100, to "exported".
LAG_BOUNDS_MS: Final = (
    *(2_500, 5_000, 7_500, 10_000, 12_500, 15_000, 20_000),
    *(30_000, 45_000, 60_000, 120_000, 300_000, 900_000, 3_600_000),
)


@dataclass(frozen=True, slots=True)
class LagFigures:
    """How late jobs were at one stage.

    Attributes:
        count: jobs.
        sum_ms: of their lags.
        p50_ms, p95_ms, max_ms: exact, by nearest rank; 0 without jobs.
        buckets: jobs by upper bound, one for each of LAG_BOUNDS_MS and a last one above; not cumulative.
    """

    count: int = 0
    sum_ms: int = 0
    p50_ms: int = 0
    p95_ms: int = 0
    max_ms: int = 0
    buckets: tuple[int, ...] = (0,) * (len(LAG_BOUNDS_MS) + 1)

    def describe(self) -> str:
        """The buckets that hold something, in words.

        >>> figures_of([(1_000, 3), (11_000, 2), (4_000_000, 1)]).describe()
        '2.5 s: 3, 12.5 s: 2, above: 1'
        """
        names = [*(f"{bound_ms / 1000:g} s" for bound_ms in LAG_BOUNDS_MS), "above"]
        return ", ".join(f"{name}: {jobs_}" for name, jobs_ in zip(names, self.buckets, strict=True) if jobs_)


@dataclass(frozen=True, slots=True)
class StageStep:
    """What came to a stage in a step of time.

    Attributes:
        begin_ms: of the step.
        jobs, size_bytes: that reached it, and of how many bytes of sources, whoever asked for them.
        pending: jobs whose first source was there at the end of the step, and that had not reached it.
        lag: of the live jobs.
    """

    begin_ms: int
    jobs: int
    size_bytes: int
    pending: int
    lag: LagFigures


class LagRecords(Queries):
    """The part of the ledger that measures lag.

    With `asked` both methods are about the jobs that people asked for: from the begin of the run or export until they
    reached a stage.
    """

    def lag(self, since_ms: int, until_ms: int, *, asked: bool = False) -> dict[Stage, LagFigures]:
        """Lags of the jobs that reached a stage in [since_ms, until_ms), Unix ms; its cost grows with their number."""
        return self._figures(lambda reached: and_(reached >= since_ms, reached < until_ms), asked=asked)

    def hour_lag(self, hour: str, *, asked: bool = False) -> dict[Stage, LagFigures]:
        """Lags of the jobs of an hour (partition key)."""
        return self._figures(lambda reached: and_(jobs.c.hour == hour, reached.is_not(None)), asked=asked)

    def over_time(self, stage: Stage, since_ms: int, until_ms: int, step_ms: int) -> list[StageStep]:
        """What live work did in steps of a span [since_ms, until_ms); every step is there, the oldest first."""
        reached = _COLUMNS[stage]
        is_open = and_(jobs.c.level.is_(None), or_(reached.is_(None), reached >= since_ms))
        done = and_(reached >= since_ms, reached < until_ms)
        step = ((reached - since_ms) // step_ms).label("step")
        lag = (reached - jobs.c.first_created_ms).label("lag_ms")
        came = ((jobs.c.first_created_ms - since_ms) // step_ms).label("step")
        with self.ledger.read() as connection:
            lags: dict[int, list[tuple[int, int]]] = {}
            live = select(step, lag, func.count()).where(done, is_live(reached)).group_by(step, lag).order_by(lag)
            for number, lag_ms, count in connection.execute(live):
                lags.setdefault(int(number), []).append((int(lag_ms), int(count)))
            work = (
                select(step, func.count(), func.sum(jobs.c.bytes_in)).where(done, jobs.c.level.is_(None)).group_by(step)
            )
            finished = {int(row[0]): (int(row[1]), int(row[2])) for row in connection.execute(work)}
            arrived = select(came, func.count()).where(
                jobs.c.first_created_ms >= since_ms, jobs.c.first_created_ms < until_ms, is_open
            )
            new = {int(row[0]): int(row[1]) for row in connection.execute(arrived.group_by(came))}
            before = select(func.count()).where(jobs.c.first_created_ms < since_ms, is_open)
            pending = int(connection.execute(before).scalar_one())
        found = []
        for number in range(-(-(until_ms - since_ms) // step_ms)):
            count, size_bytes = finished.get(number, (0, 0))
            pending += new.get(number, 0) - count
            found.append(
                StageStep(since_ms + number * step_ms, count, size_bytes, pending, figures_of(lags.get(number, [])))
            )
        return found

    def _figures(
        self, wanted: Callable[[ColumnElement[int]], ColumnElement[bool]], *, asked: bool
    ) -> dict[Stage, LagFigures]:
        found: dict[Stage, LagFigures] = {}
        with self.ledger.read() as connection:
            for stage, reached in _COLUMNS.items():
                # Grouped by the exact lag: one row for each different one, whatever the number of jobs.
                lag = (reached - (jobs.c.asked_ms if asked else jobs.c.first_created_ms)).label("lag_ms")
                counted = reached >= jobs.c.asked_ms if asked else is_live(reached)
                query = select(lag, func.count()).where(wanted(reached), counted).group_by(lag).order_by(lag)
                found[stage] = figures_of([(int(row[0]), int(row[1])) for row in connection.execute(query)])
        return found


def figures_of(lags: Sequence[tuple[int, int]]) -> LagFigures:
    """Figures of (lag in ms, jobs that have it), sorted.

    >>> figures = figures_of([(1_000, 1), (2_500, 1), (4_000_000, 2)])
    >>> figures.count, figures.p50_ms, figures.p95_ms, figures.buckets[0], figures.buckets[-1]
    (4, 2500, 4000000, 2, 2)
    """
    if not lags:
        return LagFigures()
    running = list(accumulate(jobs_ for _, jobs_ in lags))
    count = running[-1]
    p50_ms, p95_ms = (lags[bisect_left(running, -(-count * percent // 100))][0] for percent in (50, 95))
    buckets = [0] * (len(LAG_BOUNDS_MS) + 1)
    for lag_ms, jobs_ in lags:
        buckets[bisect_left(LAG_BOUNDS_MS, lag_ms)] += jobs_
    sum_ms = sum(lag_ms * jobs_ for lag_ms, jobs_ in lags)
    return LagFigures(count, sum_ms, p50_ms, p95_ms, lags[-1][0], tuple(buckets))


_COLUMNS: Final[Mapping[Stage, ColumnElement[int]]] = {
    "compacted": jobs.c.compacted_ms,
    "derived": jobs.c.derived_ms,
    "exported": jobs.c.exported_ms,
}


def is_live(reached_ms: ColumnElement[Any]) -> ColumnElement[bool]:
    """Whether something of a job was reached then without being asked for, so that its age is our lag.

    A block of a higher level is as old as what Pyroscope made it of, which other jobs had in time.
    """
    return and_(jobs.c.level.is_(None), or_(jobs.c.asked_ms.is_(None), reached_ms < jobs.c.asked_ms))
