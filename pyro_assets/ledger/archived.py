"""Jobs as readers of the archive need them: times and level-1 blocks of whole hours, in a few queries.

Add what a reader of many jobs must know; one job with everything is in `loading`. Jobs without level-1 blocks (not
compacted yet, split, lost, or removed by retention) are not here.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import ColumnElement, and_, select

from pyro_assets.ledger.claims import COMMITTED_STATES
from pyro_assets.ledger.database import Database
from pyro_assets.ledger.records import Output
from pyro_assets.ledger.schema import jobs, outputs


@dataclass(frozen=True, slots=True)
class ArchivedJob:
    """A job whose level-1 blocks are in the archive.

    Attributes:
        id: of the job.
        shard: of all its sources.
        hour: partition key.
        timestamp_ms: of all its samples.
        instance: `pyroscope_instance` of the imported rules' series.
        outputs: its level-1 blocks.
    """

    id: str
    shard: int
    hour: str
    timestamp_ms: int
    instance: str
    outputs: tuple[Output, ...]


class Archived(Database):
    """The part of the ledger that knows what the archive holds."""

    def archived_jobs(self, hours: Sequence[str]) -> list[ArchivedJob]:
        """The jobs of these hours that have level-1 blocks, hour by hour, oldest first."""
        found = []
        with self._read() as connection:
            for hour in hours:
                made: dict[str, list[Output]] = {}
                columns = (
                    outputs.c.job_id, outputs.c.tenant, outputs.c.block_id, outputs.c.key, outputs.c.size_bytes,
                    outputs.c.crc32c, outputs.c.profiles, outputs.c.samples,
                )  # fmt: skip
                rows = connection.execute(
                    select(*columns)
                    .join(jobs, jobs.c.id == outputs.c.job_id)
                    .where(is_there(hour))
                    .order_by(outputs.c.job_id, outputs.c.position)
                )
                for job_id, *output in rows:
                    made.setdefault(job_id, []).append(Output(*output))
                those = connection.execute(
                    select(jobs.c.id, jobs.c.shard, jobs.c.hour, jobs.c.timestamp_ms, jobs.c.instance)
                    .where(is_there(hour))
                    .order_by(jobs.c.timestamp_ms, jobs.c.shard, jobs.c.tenant)
                )
                for job_id, shard, own_hour, timestamp_ms, instance in those:
                    blocks = tuple(made.get(job_id, ()))
                    found.append(ArchivedJob(job_id, shard, own_hour, timestamp_ms, instance or "", blocks))
        return found

    def archived_services(self, hours: Sequence[str]) -> list[tuple[str, str]]:
        """Tenants and services of these hours, as text, sorted."""
        found: set[tuple[str, str]] = set()
        with self._read() as connection:
            for hour in hours:
                # Services of neighbouring jobs are the same: equal texts are parsed once.
                texts = connection.execute(select(jobs.c.services).where(is_there(hour)).distinct()).scalars()
                found |= {(tenant, service) for text in texts for tenant, service, *_ in json.loads(text or "[]")}
        return sorted(found)


def is_there(hour: str) -> ColumnElement[bool]:
    """Whether a job of an hour is committed and its level-1 blocks were not removed."""
    return and_(
        jobs.c.hour == hour,
        jobs.c.compacted_ms.is_not(None),
        jobs.c.blocks_removed_ms.is_(None),
        jobs.c.state.in_(COMMITTED_STATES),
    )
