"""What people look at: files of series, newest first, and where the series of a job come from.

Add a question of a page here when `status`, `hours` and `receipts` have no answer; nothing is changed.
"""

from dataclasses import dataclass

from sqlalchemy import select

from pyro_assets.ledger.database import Database
from pyro_assets.ledger.loading import job_of
from pyro_assets.ledger.receipt import StoredFile
from pyro_assets.ledger.receipts import stored_file
from pyro_assets.ledger.records import Job
from pyro_assets.ledger.schema import jobs, series_files
from pyro_assets.ledger.status import within


@dataclass(frozen=True, slots=True)
class ShownJob:
    """Where series come from.

    Attributes:
        job: as a worker would get it; its `run_id` is the last run that had it.
        first_created_ms: creation of its first source.
        compacted_ms, derived_ms, exported_ms: when, None where it has not happened.
        files: its files of series, by kind.
    """

    job: Job
    first_created_ms: int
    compacted_ms: int | None
    derived_ms: int | None
    exported_ms: int | None
    files: tuple[StoredFile, ...]


class Shown(Database):
    """The part of the ledger that pages ask."""

    def newest_series_files(
        self, begin_ms: int, end_ms: int, *, kind: str = "", limit: int = 2000
    ) -> list[tuple[int, str, StoredFile]]:
        """Timestamp, id and file of jobs with samples in [begin_ms, end_ms), the newest first, at most so many.

        Jobs of an hour may share a file.
        """
        query = (
            select(jobs.c.timestamp_ms, series_files)
            .join(jobs, jobs.c.id == series_files.c.job_id)
            .where(within(begin_ms, end_ms), series_files.c.key.is_not(None), series_files.c.rows > 0)
            .order_by(jobs.c.timestamp_ms.desc(), jobs.c.shard, series_files.c.kind)
            .limit(limit)
        )
        if kind:
            query = query.where(series_files.c.kind == kind)
        with self._read() as connection:
            return [(row.timestamp_ms, row.job_id, stored_file(row)) for row in connection.execute(query)]

    def shown_job(self, job_id: str) -> ShownJob | None:
        """A job, its level-1 blocks and files of series; None where there is none of this id."""
        with self._read() as connection:
            row = connection.execute(select(jobs).where(jobs.c.id == job_id)).first()
            if row is None:
                return None
            job = job_of(connection, row)
            files = connection.execute(
                select(series_files)
                .where(series_files.c.job_id == job_id, series_files.c.key.is_not(None))
                .order_by(series_files.c.kind)
            ).all()
        return ShownJob(
            job=job,
            first_created_ms=row.first_created_ms,
            compacted_ms=row.compacted_ms,
            derived_ms=row.derived_ms,
            exported_ms=row.exported_ms,
            files=tuple(stored_file(file) for file in files),
        )
