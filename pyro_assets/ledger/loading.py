"""Jobs and outputs between rows of the database and the classes that leave the ledger.

Add the translation of a table here when its rows leave the ledger; deciding anything belongs elsewhere.
"""

import json
from typing import Any

from sqlalchemy import Connection, select

from pyro_assets.errors import LedgerError
from pyro_assets.ledger.database import Database
from pyro_assets.ledger.records import Compaction, Job, JobSource, Output
from pyro_assets.ledger.schema import job_sources, jobs, outputs, series_files, sources


def load_job(connection: Connection, job_id: str) -> Job:
    """A job with everything that belongs to it."""
    row = connection.execute(select(jobs).where(jobs.c.id == job_id)).one()
    found = connection.execute(
        select(sources.c.key, sources.c.created_ms, sources.c.size_bytes, sources.c.state, sources.c.reason)
        .join(job_sources, job_sources.c.source_id == sources.c.id)
        .where(job_sources.c.job_id == job_id)
        .order_by(job_sources.c.position)
    )
    made = connection.execute(select(outputs).where(outputs.c.job_id == job_id).order_by(outputs.c.position))
    kinds = connection.execute(select(series_files.c.kind).where(series_files.c.job_id == job_id)).scalars()
    return Job(
        id=row.id,
        kind=row.kind,
        shard=row.shard,
        tenant=row.tenant,
        hour=row.hour,
        timestamp_ms=row.timestamp_ms,
        mode=row.mode,
        dedup=row.dedup,
        state=row.state,
        attempts=row.attempts,
        run_id=row.run_id or "",
        fence=row.fence,
        sources=tuple(JobSource(*source) for source in found),
        outputs=tuple(Output(o.tenant, o.block_id, o.key, o.size_bytes, o.crc32c, o.profiles, o.samples) for o in made),
        kinds=frozenset(kinds),
        config_hash=row.config_hash,
        instance=row.instance,
        committed=row.compacted_ms is not None,
    )


class Loading(Database):
    """The part of the ledger that shows jobs to those who do not claim them."""

    def look_up(self, job_id: str) -> tuple[Job, int]:
        """A job as it is now, and how many duplicates its compaction dropped.

        Raises:
            LedgerError: there is no such job.
        """
        with self._read() as connection:
            duplicates = connection.execute(select(jobs.c.duplicates).where(jobs.c.id == job_id)).scalar()
            if duplicates is None:
                raise LedgerError(f"the ledger has no job {job_id}")
            return load_job(connection, job_id), duplicates


def output_row(job_id: str, position: int, output: Output) -> dict[str, object]:
    """The row of a job's output."""
    return {
        "job_id": job_id,
        "position": position,
        "tenant": output.tenant,
        "block_id": output.block_id,
        "key": output.key,
        "size_bytes": output.size_bytes,
        "crc32c": output.crc32c,
        "profiles": output.profiles,
        "samples": output.samples,
    }


def compacted_columns(done: Compaction) -> dict[str, Any]:
    """What a compaction says of its job, the same whether it is committed or restored from a commit record."""
    return {
        "instance": done.instance,
        "blocks": len(done.outputs),
        "bytes_out": sum(output.size_bytes for output in done.outputs),
        "profiles": done.profiles,
        "samples": done.samples,
        "duplicates": done.duplicates,
        "conflicts": done.conflicts,
        "oldest_ms": done.oldest_ms,
        "newest_ms": done.newest_ms,
        "services": json.dumps(done.services),
        "compact_facts": json.dumps(dict(done.facts)) if done.facts else None,
    }
