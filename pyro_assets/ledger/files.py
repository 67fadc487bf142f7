"""Which files hold the series of jobs: of a span of time, of an hour, of one job as it is now.

Add a question about where series are; what is in files is `series.files`'s, what upkeep does to them `upkeep`'s.
"""

from collections.abc import Iterator
from typing import Any

from sqlalchemy import Select, func, or_, select

from pyro_assets.ledger.database import Queries
from pyro_assets.ledger.records import SeriesFile, within
from pyro_assets.ledger.schema import hour_upkeep, jobs, series_files
from pyro_assets.storage.keys import HOUR_MS, hour_of


class FileRecords(Queries):
    """The part of the ledger that knows where series are."""

    def files_between(
        self, begin_ms: int, end_ms: int, *, kind: str = "", newest: int | None = None
    ) -> list[tuple[int, SeriesFile]]:
        """Timestamp and file of every committed job with samples in [begin_ms, end_ms), by time.

        Jobs of an hour may share a file.

        Args:
            begin_ms: the first millisecond.
            end_ms: the first millisecond that is not asked for any more.
            kind: of series; "" for all.
            newest: at most so many, the newest first.
        """
        time = jobs.c.timestamp_ms
        query = (
            select(time, series_files)
            .join(jobs, jobs.c.id == series_files.c.job_id)
            .where(within(begin_ms, end_ms), series_files.c.key.is_not(None), series_files.c.rows > 0)
            .order_by(time if newest is None else time.desc(), jobs.c.shard, series_files.c.kind)
            .limit(newest)
        )
        if kind:
            query = query.where(series_files.c.kind == kind)
        with self.ledger.read() as connection:
            return [(row.timestamp_ms, SeriesFile.from_row(row)) for row in connection.execute(query)]

    def files_in_hour(self, hour: str, begin_ms: int, end_ms: int) -> list[SeriesFile]:
        """Files of an hour with samples in [begin_ms, end_ms), in the order of time.

        Returns:
            Each with one of its jobs, and the rows of it that count: those of jobs that have no newer file.
        """
        oldest, newest = func.min(jobs.c.timestamp_ms), func.max(jobs.c.timestamp_ms)
        query = (
            select(
                series_files.c.kind,
                func.min(series_files.c.job_id),
                series_files.c.key,
                func.sum(series_files.c.rows),
                func.max(series_files.c.size_bytes),
                func.max(series_files.c.crc32c),
            )
            .join(jobs, jobs.c.id == series_files.c.job_id)
            .where(jobs.c.hour == hour, series_files.c.key.is_not(None), series_files.c.rows > 0)
            .group_by(series_files.c.kind, series_files.c.key)
            .having(newest >= begin_ms, oldest < end_ms)
            .order_by(oldest, series_files.c.key)
        )
        with self.ledger.read() as connection:
            found = connection.execute(query).all()
        return [SeriesFile(kind, job, key, int(rows), size, crc) for kind, job, key, rows, size, crc in found]

    def jobs_in(self, key: str, hour: str) -> list[str]:
        """The jobs of an hour whose series are in a file."""
        with self.ledger.read() as connection:
            return [row.job_id for row in connection.execute(files_of(hour).where(series_files.c.key == key))]

    def placed_file(self, job_id: str, kind: str) -> SeriesFile | None:
        """Where the series of a job are now; None where it has none."""
        query = select(series_files).where(
            series_files.c.job_id == job_id, series_files.c.kind == kind, series_files.c.key.is_not(None)
        )
        with self.ledger.read() as connection:
            row = connection.execute(query).first()
        return None if row is None else SeriesFile.from_row(row)

    def hours_between(self, begin_ms: int, end_ms: int) -> Iterator[str]:
        """Hours with jobs that may have samples in [begin_ms, end_ms), oldest first; a look-up each."""
        # A job's timestamp is in its hour, or some milliseconds later.
        last = hour_of(max(begin_ms - HOUR_MS, 0))
        query = select(func.min(jobs.c.hour)).where(jobs.c.hour >= last)
        while True:
            with self.ledger.read() as connection:
                found = connection.execute(query).scalar()
            if found is None or found > hour_of(end_ms):
                return
            yield found
            query = select(func.min(jobs.c.hour)).where(jobs.c.hour > found)

    def removed_in(self, begin_ms: int, end_ms: int) -> list[str]:
        """Hours (partition keys) of [begin_ms, end_ms) whose series or rows retention removed, oldest first."""
        first, last = hour_of(max(begin_ms, 0)), hour_of(max(end_ms - 1, 0))
        gone = or_(hour_upkeep.c.series_removed_ms.is_not(None), hour_upkeep.c.collapsed_ms.is_not(None))
        query = select(hour_upkeep.c.hour).where(hour_upkeep.c.hour.between(first, last), gone)
        with self.ledger.read() as connection:
            return list(connection.execute(query.order_by(hour_upkeep.c.hour)).scalars())


def files_of(hour: str) -> Select[Any]:
    """The files of series of an hour, one row for each job and kind, by kind and then by time."""
    return (
        select(series_files)
        .join(jobs, jobs.c.id == series_files.c.job_id)
        .where(jobs.c.hour == hour, series_files.c.key.is_not(None))
        .order_by(series_files.c.kind, jobs.c.timestamp_ms, jobs.c.shard, jobs.c.tenant, jobs.c.id)
    )
