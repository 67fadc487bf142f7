"""Which files hold the series of a span of time, hour by hour, as the ledger knows it.

Add another place of the same rows here. The rows themselves are `rows`'.
"""

from collections.abc import Iterator

from sqlalchemy import func, select

from pyro_assets.ledger.database import Queries
from pyro_assets.ledger.records import SeriesFile
from pyro_assets.ledger.schema import jobs, series_files
from pyro_assets.storage.keys import HOUR_MS, hour_of


class FilesByHour(Queries):
    """Which files hold what series."""

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

    def files_of(self, hour: str, begin_ms: int, end_ms: int) -> list[SeriesFile]:
        """Files of an hour with samples in [begin_ms, end_ms), in the order of time.

        Returns:
            Each with one of its jobs, and the rows of it that count: those of jobs that have no newer file.
        """
        oldest, newest = func.min(jobs.c.timestamp_ms), func.max(jobs.c.timestamp_ms)
        query = (
            select(
                series_files.c.kind,
                func.min(series_files.c.job_id).label("job_id"),
                series_files.c.key,
                func.sum(series_files.c.rows).label("rows"),
                func.max(series_files.c.size_bytes).label("size_bytes"),
                func.max(series_files.c.crc32c).label("crc32c"),
            )
            .join(jobs, jobs.c.id == series_files.c.job_id)
            .where(jobs.c.hour == hour, series_files.c.key.is_not(None), series_files.c.rows > 0)
            .group_by(series_files.c.kind, series_files.c.key)
            .having(newest >= begin_ms, oldest < end_ms)
            .order_by(oldest, series_files.c.key)
        )
        with self.ledger.read() as connection:
            return [SeriesFile(**{**row._mapping, "rows": int(row.rows)}) for row in connection.execute(query)]

    def jobs_in(self, key: str, hour: str) -> list[str]:
        """The jobs of an hour whose series are in a file."""
        query = (
            select(series_files.c.job_id)
            .join(jobs, jobs.c.id == series_files.c.job_id)
            .where(jobs.c.hour == hour, series_files.c.key == key)
        )
        with self.ledger.read() as connection:
            return list(connection.execute(query).scalars())
