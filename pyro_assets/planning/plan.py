"""Planning: the only place that writes jobs, in one transaction at a time over all processes.

Add what must hold for every job from its birth on; the rules of grouping are in `policy`.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any, Final

from sqlalchemy import ColumnElement, Connection, Row, and_, case, func, select

from pyro_assets.errors import JobConflict
from pyro_assets.ledger.database import Queries, among, values_of
from pyro_assets.ledger.schema import job_sources, jobs, sources
from pyro_assets.planning.listing import FoundBlock
from pyro_assets.planning.modes import in_force
from pyro_assets.planning.policy import Policy, Waiting, cut, job_id, kind_of_mode
from pyro_assets.planning.remembered import collapsed_among, collapsed_timestamps
from pyro_assets.planning.sources import chunks, known_jobs, known_sources, source_row
from pyro_assets.storage.keys import HOUR_MS, hour_of

#: Sources that one transaction looks at: bounds its memory and how long others wait.
SLICE: Final = 20_000


@dataclass(frozen=True, slots=True)
class _Group:
    """What sources must share to be in one job."""

    kind: str
    shard: int
    tenant: str


class Planner(Queries):
    """The part of the ledger that makes jobs of sources."""

    def plan(self, now_ms: int, policy: Policy) -> int:
        """Makes jobs of the sources that wait, oldest hour first.

        Sources that were out of range and no longer are (the start date was changed, the future has come) take part.

        Returns:
            The number of new jobs.
        """
        planned = 0
        while True:
            jobs_of_slice, more = self._plan_slice(now_ms, policy)
            planned += jobs_of_slice
            if not more or not jobs_of_slice:
                return planned

    def plan_aged(self, now_ms: int, policy: Policy) -> int:
        """Makes jobs only where a source has waited long enough for others: what a live run asks between ticks.

        Returns:
            The number of new jobs.
        """
        with self.ledger.read() as connection:
            created_first = sources.c.created_ms < sources.c.first_seen_ms
            since_ms = case((created_first, sources.c.created_ms), else_=sources.c.first_seen_ms)
            oldest_ms = connection.execute(select(func.min(since_ms)).where(sources.c.state == "pending")).scalar()
        return self.plan(now_ms, policy) if oldest_ms is not None and now_ms - oldest_ms >= policy.max_age_ms else 0

    def plan_exact(self, wanted: Sequence[Sequence[FoundBlock]], now_ms: int, policy: Policy) -> list[str]:
        """Makes exactly these jobs, whatever the rules of grouping say, and no others.

        Returns:
            The jobs' ids in the order given; jobs that exist already are not made again.

        Raises:
            JobConflict: a source is in another job, or twice in these, or a job is empty or has several shards or
                tenants.
        """
        keys = [[item.block.key for item in blocks] for blocks in wanted]
        ids = [job_id(policy.mode, policy.dedup, own) for own in keys]
        with self.ledger.write(planning=True) as connection:
            there = known_jobs(connection, ids)
            new = {identity: blocks for identity, blocks in zip(ids, wanted, strict=True) if identity not in there}
            groups = [_group_of(blocks) for blocks in new.values()]
            every = [item for blocks in new.values() for item in blocks]
            taken = iter(_take_exactly(connection, every, now_ms, policy))
            cuts: dict[_Group, list[list[Waiting]]] = {}
            for group, blocks in zip(groups, new.values(), strict=True):
                cuts.setdefault(group, []).append([next(taken) for _ in blocks])
            for kind in sorted({group.kind for group in cuts}):
                # The timestamps of one kind are looked at by the next.
                _insert(connection, [one for one in cuts.items() if one[0].kind == kind], now_ms, policy)
        return ids

    def _plan_slice(self, now_ms: int, policy: Policy) -> tuple[int, bool]:
        kind = kind_of_mode(policy.mode)
        with self.ledger.read() as connection:
            if not _anything_waits(connection, now_ms, policy):
                return 0, False
        with self.ledger.write(planning=True) as connection:
            now_in_force = in_force(connection, policy)
            if now_in_force is None:
                return 0, False
            policy = now_in_force
            connection.execute(
                sources.update().where(_has_come_into_range(now_ms, policy)).values(state="pending", reason=None)
            )
            rows = connection.execute(
                select(sources)
                .where(sources.c.state == "pending", sources.c.kind == kind)
                .order_by(sources.c.hour, sources.c.shard, sources.c.tenant, sources.c.ulid, sources.c.key)
                .limit(SLICE + 1)
            ).all()
            more = len(rows) > SLICE
            groups = [(key, list(items)) for key, items in groupby(rows[:SLICE], lambda r: (r.hour, r.shard, r.tenant))]
            cuts = []
            for number, ((_, shard, tenant), items) in enumerate(groups):
                waiting = [Waiting(r.id, r.key, r.created_ms, r.first_seen_ms, r.size_bytes) for r in items]
                last = number == len(groups) - 1
                cuts.append((_Group(kind, shard, tenant), cut(waiting, policy, now_ms, more=more and last)))
            planned = len(_insert(connection, cuts, now_ms, policy))
        return planned, more


def _anything_waits(connection: Connection, now_ms: int, policy: Policy) -> bool:
    """Whether a transaction that writes is worth its lock."""
    for condition in (sources.c.state == "pending", _has_come_into_range(now_ms, policy)):
        if connection.execute(select(sources.c.id).where(condition).limit(1)).first() is not None:
            return True
    return False


def _has_come_into_range(now_ms: int, policy: Policy) -> ColumnElement[bool]:
    last_ms = now_ms + policy.future_ms
    return and_(
        sources.c.state == "out_of_range",
        sources.c.kind == kind_of_mode(policy.mode),
        # The hours are in the index, the exact times are not.
        sources.c.hour.between(hour_of(policy.start_ms), hour_of(last_ms)),
        sources.c.created_ms.between(policy.start_ms, last_ms),
    )


def _group_of(blocks: Sequence[FoundBlock]) -> _Group:
    groups = {
        _Group(b.block.level_kind, b.block.shard, b.block.tenant if b.block.level_kind == "blocks" else "")
        for b in blocks
    }
    if len(groups) != 1:
        first = blocks[0].block.key if blocks else "nothing"
        raise JobConflict(
            f"the job that begins with {first} cannot be: a job has at least one source, all of one shard and "
            "kind (and tenant, where they are level-1 blocks)"
        )
    return groups.pop()


def _take_exactly(connection: Connection, blocks: Sequence[FoundBlock], now_ms: int, policy: Policy) -> list[Waiting]:
    """Sources of exact jobs, recorded where they were not known, in the order given."""
    keys = [item.block.key for item in blocks]
    if twice := [key for key, times in Counter(keys).items() if times > 1]:
        raise JobConflict(f"{twice[0]} is named twice; a source is in one job, once")
    known = known_sources(connection, keys)
    missing = [item for item in blocks if item.block.key not in known]
    for key in sorted(collapsed_among(connection, missing)):
        raise JobConflict(
            f"{key} is done; retention removed its row from the ledger: `pyro-assets rebuild-ledger` puts its hour back"
        )
    for rows in chunks([source_row(item, now_ms, policy) for item in missing]):
        connection.execute(sources.insert(), rows)
    known |= known_sources(connection, [item.block.key for item in missing])
    for row in known.values():
        if row.state not in ("pending", "out_of_range"):
            raise JobConflict(f"{row.key} is {row.state}: it already belongs to another job or was set aside")
    return [Waiting(r.id, r.key, r.created_ms, r.first_seen_ms, r.size_bytes) for r in map(known.__getitem__, keys)]


def _insert(
    connection: Connection,
    cuts: Sequence[tuple[_Group, Sequence[Sequence[Waiting]]]],
    now_ms: int,
    policy: Policy,
    parent: Row[Any] | None = None,
) -> list[str]:
    """Writes jobs of some groups, each with a timestamp that no other of its series has; returns their ids.

    A tick has a group for each shard and few jobs in each: they are written together.
    """
    wanted = [(group, job) for group, of_group in cuts for job in of_group]
    ids = _free_ids(connection, [job for _, job in wanted], policy)
    placed: dict[_Group, set[int]] = {}
    stamps: list[int] = []
    for group, of_group in cuts:
        stamps += _stamps(connection, group, of_group, placed.setdefault(group, set()))
    rows, links = [], []
    for (group, job), identity, timestamp_ms in zip(wanted, ids, stamps, strict=True):
        created = [source.created_ms for source in job]
        rows.append(
            {
                "id": identity,
                "kind": group.kind,
                "shard": group.shard,
                "tenant": group.tenant,
                "hour": hour_of(job[0].created_ms),
                "timestamp_ms": timestamp_ms,
                "mode": policy.mode,
                "dedup": policy.dedup,
                "parent": None if parent is None else parent.id,
                "compares": 1 if _compares(group, job, policy, parent) else None,
                "sources": len(job),
                "bytes_in": sum(source.size_bytes for source in job),
                "first_created_ms": min(created),
                "last_created_ms": max(created),
                "planned_ms": now_ms,
                "state": "planned",
            }
        )
        links += [{"source_id": s.id, "job_id": identity, "position": i} for i, s in enumerate(job)]
    for rows_chunk in chunks(rows):
        connection.execute(jobs.insert(), rows_chunk)
    for links_chunk in chunks(links):
        connection.execute(job_sources.insert(), links_chunk)
        taken_ids = [link["source_id"] for link in links_chunk]
        planned = sources.update().where(among(connection, sources.c.id)).values(state="planned", reason=None)
        connection.execute(planned, {"among": values_of(connection, taken_ids)})
    return ids


def _stamps(
    connection: Connection, group: _Group, of_group: Sequence[Sequence[Waiting]], placed: set[int]
) -> list[int]:
    """Timestamps of new jobs; `placed` has those of earlier ones of the same shard, which are not written yet."""
    if not of_group:
        return []
    first = min(job[0].created_ms for job in of_group)
    last = max(job[0].created_ms for job in of_group)
    taken = _taken_timestamps(connection, group, first, last)
    stamps = []
    for job in of_group:
        timestamp_ms = job[0].created_ms
        while timestamp_ms in taken or timestamp_ms in placed:
            timestamp_ms += 1
            if timestamp_ms > last:
                # Pushed past what was looked up.
                last = timestamp_ms + len(of_group)
                taken |= _taken_timestamps(connection, group, timestamp_ms, last)
        placed.add(timestamp_ms)
        stamps.append(timestamp_ms)
    return stamps


def _compares(group: _Group, job: Sequence[Waiting], policy: Policy, parent: Row[Any] | None) -> bool:
    """Whether the other mode may have some of a job's profiles."""
    if parent is not None:
        return bool(parent.compares)
    return any(policy.is_near_change(group.shard, source.created_ms) for source in job)


def _free_ids(connection: Connection, wanted: Sequence[Sequence[Waiting]], policy: Policy) -> list[str]:
    """Ids for new jobs. Sources that were retried may make a job that was there before: it gets another id."""
    ids = [job_id(policy.mode, policy.dedup, [source.key for source in job]) for job in wanted]
    used = known_jobs(connection, ids)
    for position, job in enumerate(wanted):
        number = 1
        while ids[position] in used:
            number += 1
            ids[position] = job_id(policy.mode, policy.dedup, [*(source.key for source in job), f"again {number}"])
            if connection.execute(select(jobs.c.id).where(jobs.c.id == ids[position])).first():
                used.add(ids[position])
    return ids


def insert_parts(
    connection: Connection, job: Row[Any], parts: Sequence[Sequence[Row[Any]]], now_ms: int, policy: Policy
) -> list[str]:
    """Writes the smaller jobs of one that is split, given rows of its sources, in the caller's transaction."""
    group = _Group(job.kind, job.shard, job.tenant)
    wanted = [[Waiting(r.id, r.key, r.created_ms, r.first_seen_ms, r.size_bytes) for r in part] for part in parts]
    return _insert(connection, [(group, wanted)], now_ms, policy, parent=job)


def _taken_timestamps(connection: Connection, group: _Group, first_ms: int, last_ms: int) -> set[int]:
    query = select(jobs.c.timestamp_ms).where(
        jobs.c.shard == group.shard, jobs.c.timestamp_ms.between(first_ms, last_ms)
    )
    if group.tenant:
        query = query.where(jobs.c.tenant.in_((group.tenant, "")))
    hours = sorted({hour_of(time_ms) for time_ms in (first_ms - HOUR_MS, first_ms, last_ms) if time_ms >= 0})
    return set(connection.execute(query).scalars()) | collapsed_timestamps(connection, group.shard, hours)
