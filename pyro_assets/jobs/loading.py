"""Jobs and outputs between rows of the database and the classes that leave the ledger.

Add the translation of a table here when its rows leave the ledger; deciding anything belongs elsewhere.
"""

import json
from dataclasses import dataclass, replace
from typing import Any, Final

from sqlalchemy import Connection, bindparam, select

from pyro_assets.errors import LedgerError
from pyro_assets.jobs.record import CommitRecord
from pyro_assets.ledger.database import Queries
from pyro_assets.ledger.records import Failure, Job, JobIdentity, JobSource, Output, SeriesFile, plain
from pyro_assets.ledger.schema import hour_upkeep, job_sources, jobs, outputs, quarantine, series_files, sources
from pyro_assets.planning.observed import known_outputs

# Every claim asks these: made once, because making a statement takes longer than running it.
_SOURCES: Final = (
    select(sources.c.key, sources.c.size_bytes, sources.c.state, sources.c.reason)
    .join(job_sources, job_sources.c.source_id == sources.c.id)
    .where(job_sources.c.job_id == bindparam("job_id"))
    .order_by(job_sources.c.position)
)
_OUTPUTS: Final = select(outputs).where(outputs.c.job_id == bindparam("job_id")).order_by(outputs.c.position)
_FILES: Final = select(series_files).where(series_files.c.job_id == bindparam("job_id")).order_by(series_files.c.kind)
#: Fields of a commit record that are columns of its job.
_RESULTS: Final = ("instance", "profiles", "samples", "duplicates", "conflicts", "oldest_ms", "newest_ms")
_SERIES_NUMBER: Final = select(hour_upkeep.c.series_number).where(hour_upkeep.c.hour == bindparam("hour"))


def load_job(connection: Connection, job_id: str) -> Job:
    """A job with everything that belongs to it."""
    return job_of(connection, connection.execute(select(jobs).where(jobs.c.id == job_id)).one())


def job_of(connection: Connection, row: Any, *, failed: bool = True, isolate: bool = False) -> Job:
    """The job of a row, with everything that belongs to it; `failed` and `isolate` as in `Job`."""
    key = {"job_id": row.id}
    found = connection.execute(_SOURCES, key)
    committed = row.compacted_ms is not None
    # Before that it has neither outputs nor series.
    made = connection.execute(_OUTPUTS, key) if committed else ()
    files = connection.execute(_FILES, key) if committed else ()
    return Job(
        **{name: getattr(row, name) for name in JobIdentity.__slots__},
        state=row.state,
        attempts=row.attempts,
        run_id=row.run_id or "",
        fence=row.fence,
        sources=tuple(JobSource(*source) for source in found),
        outputs=tuple(map(Output.from_row, made)),
        files=tuple(map(SeriesFile.from_row, files)),
        config_hash=row.config_hash,
        instance=row.instance,
        committed=committed,
        blocks_removed=row.blocks_removed_ms is not None,
        series_number=connection.execute(_SERIES_NUMBER, {"hour": row.hour}).scalar(),
        failed=failed,
        isolate=isolate,
        level=row.level,
        compares=bool(row.compares),
        known=known_outputs(connection, row),
    )


@dataclass(frozen=True, slots=True)
class ShownJob:
    """A job as people see it.

    Attributes:
        job: as a worker would get it; its `run_id` is the last run that had it.
        first_created_ms: creation of its first source.
        compacted_ms, derived_ms, exported_ms: when, None where it has not happened.
    """

    job: Job
    first_created_ms: int
    compacted_ms: int | None
    derived_ms: int | None
    exported_ms: int | None


class JobRecords(Queries):
    """The part of the ledger that shows jobs to those who do not claim them."""

    def look_up(self, job_id: str) -> tuple[Job, int]:
        """A job as it is now, and how many duplicates its compaction dropped.

        Raises:
            LedgerError: there is no such job.
        """
        with self.ledger.read() as connection:
            duplicates = connection.execute(select(jobs.c.duplicates).where(jobs.c.id == job_id)).scalar()
            if duplicates is None:
                raise LedgerError(f"the ledger has no job {job_id}")
            return load_job(connection, job_id), duplicates

    def shown_job(self, job_id: str) -> ShownJob | None:
        """The same with its times, for people; None where there is no such job."""
        with self.ledger.read() as connection:
            row = connection.execute(select(jobs).where(jobs.c.id == job_id)).first()
            if row is None:
                return None
            job = job_of(connection, row)
        return ShownJob(job, row.first_created_ms, row.compacted_ms, row.derived_ms, row.exported_ms)


def output_rows(done: CommitRecord) -> list[dict[str, Any]]:
    """The rows of a job's outputs."""
    return [{"job_id": done.id, "position": place, **plain(output)} for place, output in enumerate(done.outputs)]


def recorded(connection: Connection, job_id: str) -> CommitRecord:
    """The record of a committed job, as the ledger knows it; failures that were forgiven are not known."""
    row = connection.execute(select(jobs).where(jobs.c.id == job_id)).one()
    job = job_of(connection, row)
    kept = select(quarantine).where(quarantine.c.subject == "source", quarantine.c.job_id == job_id)
    failures = {one.subject_id: Failure.from_row(one) for one in connection.execute(kept)}
    return CommitRecord.of(
        job,
        sources=tuple(replace(source, failure=failures.get(source.key)) for source in job.sources),
        outputs=job.outputs,
        services=tuple(map(tuple, json.loads(row.services or "[]"))),
        facts=json.loads(row.compact_facts or "{}"),
        **{name: getattr(row, name) for name in _RESULTS},
    )


def compacted_columns(done: CommitRecord) -> dict[str, Any]:
    """What a record says of its job, the same whether it is committed or restored from the archive."""
    return {
        **{name: getattr(done, name) for name in _RESULTS},
        "blocks": len(done.outputs),
        "bytes_out": sum(output.size_bytes for output in done.outputs),
        "services": json.dumps(done.services),
        "compact_facts": json.dumps(dict(done.facts)) if done.facts else None,
        **({"compares": 1} if done.facts.get("known_profiles") else {}),
        # Which level it was does not matter any more.
        **({"level": 2} if done.facts.get("recovered_profiles") else {}),
    }
