"""Jobs that may hold what other jobs hold: when they may begin, and whose blocks they are compared with.

In observe mode Pyroscope merges level-1 blocks to higher levels under keys that look the same; near a change of modes
both modes know of the same segments. Add a rule of who waits for whom here: two such jobs at once would both take what
neither has committed. Comparing profiles is the compaction's part.
"""

from typing import Any

from sqlalchemy import ColumnElement, Connection, FromClause, Row, Select, and_, not_, or_, select, text

from pyro_assets.ledger.records import Output
from pyro_assets.ledger.schema import jobs, outputs
from pyro_assets.planning.policy import MARGIN_MS


def may_begin() -> ColumnElement[bool]:
    """Whether a job need not wait for another one of its folder.

    A higher level waits for blocks of lower and of unknown levels that it may have been made of, so that these give
    what they have at their own times; and what may be in a higher level that has begun waits for its end.
    """
    other, ids = _neighbours()
    begun = ids.where(
        other.c.level.is_not(None),
        other.c.attempts > 0,
        jobs.c.first_created_ms.between(other.c.first_created_ms, other.c.planned_ms),
    ).exists()
    return or_(
        jobs.c.kind != "blocks",
        jobs.c.state != "planned",
        # One that has begun goes on after a crash: the others wait for it.
        and_(jobs.c.level.is_not(None), or_(jobs.c.attempts > 0, not_(_has_lower()))),
        and_(jobs.c.level.is_(None), not_(begun)),
    )


def has_lower(connection: Connection, job_id: str) -> bool:
    """Whether a job of a higher level must wait for lower ones."""
    return connection.execute(select(jobs.c.id).where(jobs.c.id == job_id, _has_lower())).first() is not None


def _has_lower() -> ColumnElement[bool]:
    other, ids = _neighbours()
    return ids.where(
        or_(other.c.level.is_(None), other.c.level < jobs.c.level),
        other.c.first_created_ms.between(jobs.c.first_created_ms, jobs.c.planned_ms),
    ).exists()


def _neighbours() -> tuple[FromClause, Select[tuple[str]]]:
    """Other jobs of the same folder that are not committed, and a query for their ids."""
    other = jobs.alias()
    neighbour = and_(
        other.c.kind == "blocks",
        other.c.state == "planned",
        other.c.shard == jobs.c.shard,
        other.c.tenant == jobs.c.tenant,
        other.c.id != jobs.c.id,
    )
    return other, select(other.c.id).correlate(jobs).where(neighbour)


def known_outputs(connection: Connection, job: Row[Any]) -> tuple[Output, ...]:
    """Committed blocks that may hold profiles of a job which is not committed yet; empty for nearly all jobs."""
    if job.compacted_ms is not None or (job.kind != "blocks" and not job.compares):
        return ()
    query = (
        select(outputs)
        .join(jobs, jobs.c.id == outputs.c.job_id)
        .where(jobs.c.shard == job.shard, jobs.c.id != job.id, jobs.c.compacted_ms.is_not(None))
        .order_by(outputs.c.key)
    )
    if job.tenant:
        query = query.where(outputs.c.key.startswith(f"blocks/{job.shard}/{job.tenant}/", autoescape=True))
    if job.level is not None:
        query = query.where(
            jobs.c.timestamp_ms.between(job.first_created_ms - MARGIN_MS, job.planned_ms),
            jobs.c.newest_ms >= job.oldest_ms,
            jobs.c.oldest_ms <= job.newest_ms,
        )
    elif job.compares:
        # Jobs of a slow shard reach far; of an observed block only its profiles tell how far.
        begin_ms = job.first_created_ms - MARGIN_MS
        query = query.where(
            jobs.c.timestamp_ms <= job.last_created_ms + MARGIN_MS,
            or_(jobs.c.last_created_ms >= begin_ms, jobs.c.newest_ms >= begin_ms),
        )
    else:
        # What was recovered from higher levels; the words are those of the index of these few jobs.
        query = query.where(
            jobs.c.tenant == job.tenant,
            text("jobs.level IS NOT NULL AND jobs.blocks > 0"),
            jobs.c.first_created_ms <= job.first_created_ms,
        )
    found = connection.execute(query)
    return tuple(map(Output.from_row, found))
