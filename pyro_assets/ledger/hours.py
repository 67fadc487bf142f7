"""Sums over the sources and jobs of an hour, also when their rows were removed: the sums are kept as JSON then.

Here, too:
* the first hour ever seen, with which the partitions begin.

Add a sum when people should see it. The cost grows with the hour, never with the ledger.
"""

import json
from collections import Counter
from collections.abc import Iterable
from dataclasses import astuple, dataclass, field, fields
from itertools import chain
from typing import Any, Final

from sqlalchemy import Connection, Select, func, select

from pyro_assets.ledger.database import Queries, fact, put_fact
from pyro_assets.ledger.schema import (
    OPEN_STATES,
    SOURCE_STATES,
    UNHELD_STATES,
    hour_upkeep,
    jobs,
    outputs,
    series_files,
    sources,
)


@dataclass(frozen=True, slots=True)
class SetAside:
    """A source that is in no output, and why; `state` is set_aside, lost or quarantined."""

    key: str
    state: str
    reason: str


@dataclass(frozen=True, slots=True)
class ServiceSamples:
    """Samples of one service in an hour; unsymbolised: the innermost frame has no function."""

    tenant: str
    service: str
    samples: int
    unsymbolised: int

    @property
    def unsymbolised_share(self) -> float:
        """0 to 1."""
        return self.unsymbolised / self.samples if self.samples else 0.0


@dataclass(slots=True)
class HourStatus:
    """Sums over the jobs and sources of an hour.

    Attributes:
        hour: the partition key.
        shards: in how many shards sources were found.
        sources_by_state: pending, planned, done, set_aside, lost, quarantined, out_of_range -> count.
        jobs_by_state: planned, compacted, derived, exported, lost, split, quarantined -> count.
        blocks: level-1 blocks committed.
        bytes_in, bytes_out: of the sources of committed jobs, of their level-1 blocks.
        profiles, samples: in the level-1 blocks (rows: one per profile and sample type).
        duplicates, conflicts: as compaction counted them.
        series: kind -> rows of the series files.
        job_seconds: of compaction and derivation, over all jobs.
        oldest_ms, newest_ms: first and last profile of the committed jobs.
        pending: sources that are not in a derived job yet; undone_jobs: jobs not derived yet.
        oldest_pending_ms: creation time of the oldest pending source.
        set_aside: the first of the sources that no output holds, by key (`set_aside_total` counts all).
        services: by tenant and service.
        facts: name -> count of what was odd: dangling, total_mismatches, negative_samples, rounded_values, ...
        examples: the first of these in words.
        listed_ms: when its last whole listing began after it was over; None where there was none.
    """

    hour: str = ""
    shards: int = 0
    sources_by_state: dict[str, int] = field(default_factory=dict)
    jobs_by_state: dict[str, int] = field(default_factory=dict)
    blocks: int = 0
    bytes_in: int = 0
    bytes_out: int = 0
    profiles: int = 0
    samples: int = 0
    duplicates: int = 0
    conflicts: int = 0
    series: dict[str, int] = field(default_factory=dict)
    job_seconds: float = 0.0
    oldest_ms: int | None = None
    newest_ms: int | None = None
    pending: int = 0
    undone_jobs: int = 0
    oldest_pending_ms: int | None = None
    set_aside_total: int = 0
    set_aside: tuple[SetAside, ...] = ()
    services: tuple[ServiceSamples, ...] = ()
    facts: dict[str, int] = field(default_factory=dict)
    examples: tuple[str, ...] = ()
    listed_ms: int | None = None


#: Names in stored figures that are not those of the fields: they were chosen earlier.
_STORED_NAMES: Final = {"set_aside": "unheld", "set_aside_total": "unheld_total"}
_EXAMPLES: Final = 10
_MOST_SET_ASIDE: Final = 100
_SUMS: Final = ("blocks", "bytes_in", "bytes_out", "profiles", "samples", "duplicates", "conflicts")
_SECONDS: Final = ("compact_seconds", "derive_seconds")
_INSIDE: Final = tuple(state for state in SOURCE_STATES if state != "out_of_range")
_FIRST_HOUR: Final = "first_hour"


def to_json(status: HourStatus) -> str:
    """Sums as JSON, to be kept when the rows are removed."""
    plain = {_STORED_NAMES.get(one.name, one.name): getattr(status, one.name) for one in fields(HourStatus)}
    return json.dumps(plain, default=astuple)


def from_json(text: str) -> HourStatus:
    """Sums that `to_json` made; fields that an older version did not have stay empty."""
    plain = json.loads(text)
    stored = {one.name: _STORED_NAMES.get(one.name, one.name) for one in fields(HourStatus)}
    values = {name: plain[key] for name, key in stored.items() if key in plain}
    values["services"] = tuple(ServiceSamples(*row) for row in values.get("services", ()))
    values["set_aside"] = tuple(SetAside(*row) for row in values.get("set_aside", ()))
    return HourStatus(**values | {"examples": tuple(values.get("examples", ()))})


def added(kept: HourStatus, now: HourStatus) -> HourStatus:
    """Sums over rows that were removed, and over those that came since.

    Shards may be the same ones, so the larger number counts.
    """
    both: dict[str, Any] = {}
    for one in fields(HourStatus):
        before, after = getattr(kept, one.name), getattr(now, one.name)
        if isinstance(before, dict):
            both[one.name] = {key: before.get(key, 0) + after.get(key, 0) for key in sorted(before | after)}
        elif isinstance(before, int | float | tuple):
            both[one.name] = before if after is None else before + after
        else:
            both[one.name] = after if before is None else before
    both["hour"], both["shards"] = now.hour, max(kept.shards, now.shards)
    both["services"] = _by_service((*kept.services, *now.services))
    for name, choose in (("oldest_ms", min), ("newest_ms", max), ("oldest_pending_ms", min)):
        times = [getattr(status, name) for status in (kept, now) if getattr(status, name) is not None]
        both[name] = choose(times) if times else None
    return HourStatus(**both)


def _by_service(rows: Iterable[ServiceSamples]) -> tuple[ServiceSamples, ...]:
    """One row for each tenant and service, in their order."""
    samples, unsymbolised = Counter[tuple[str, str]](), Counter[tuple[str, str]]()
    for row in rows:
        samples[row.tenant, row.service] += row.samples
        unsymbolised[row.tenant, row.service] += row.unsymbolised
    return tuple(ServiceSamples(*names, samples[names], unsymbolised[names]) for names in sorted(samples))


class HourRecords(Queries):
    """The part of the ledger that sums up hours."""

    def tenants_lately(self) -> list[str]:
        """Tenants with blocks in the latest 24 hours that have sources."""
        latest = self.hours()[-24:]
        with self.ledger.read() as connection:
            rows = connection.execute(
                select(outputs.c.tenant)
                .distinct()
                .join(jobs, jobs.c.id == outputs.c.job_id)
                .where(jobs.c.hour.in_(latest))
            )
            return sorted(row[0] for row in rows)

    def hours(self) -> list[str]:
        """All hours with sources inside the partitions, oldest first."""
        hours: set[str] = set()
        with self.ledger.read() as connection:
            for state in _INSIDE:
                last = ""
                # One step of the index per hour; DISTINCT would walk over every source.
                while following := connection.execute(
                    select(func.min(sources.c.hour)).where(sources.c.state == state, sources.c.hour > last)
                ).scalar():
                    hours.add(following)
                    last = following
        return sorted(hours)

    def first_hour(self) -> str | None:
        """The first hour with a source inside the partitions that was ever seen; None where there was none yet."""
        with self.ledger.read() as connection:
            return min(filter(None, [fact(connection, _FIRST_HOUR), _first_known(connection)]), default=None)

    def remember_first_hour(self, now_ms: int) -> None:
        """Keeps the first hour for when its rows are gone: it only moves backwards."""
        with self.ledger.read() as connection:
            if not _is_new(connection):
                return
        with self.ledger.write() as connection:
            if _is_new(connection):
                put_fact(connection, _FIRST_HOUR, _first_known(connection), now_ms)

    def hour_status(self, hour: str) -> HourStatus:
        """Sums over an hour."""
        with self.ledger.read() as connection:
            return hour_status_of(connection, hour)


def _first_known(connection: Connection) -> str | None:
    """The first hour that has rows, or had some until retention removed them."""
    first = [
        select(func.min(sources.c.hour)).where(sources.c.state == state).scalar_subquery().label(state)
        for state in _INSIDE
    ]
    removed = select(func.min(hour_upkeep.c.hour)).where(hour_upkeep.c.collapsed_ms.is_not(None))
    row = connection.execute(select(*first, removed.scalar_subquery().label("removed"))).one()
    return min(filter(None, row), default=None)


def _is_new(connection: Connection) -> bool:
    kept, known = fact(connection, _FIRST_HOUR), _first_known(connection)
    return known is not None and (kept is None or known < kept)


def hour_status_of(connection: Connection, hour: str) -> HourStatus:
    """Sums over an hour's rows, and the kept sums of those that retention removed."""
    status = HourStatus(hour)
    _sum_sources(connection, hour, status)
    _sum_jobs(connection, hour, status)
    kept = connection.execute(
        select(hour_upkeep.c.figures, hour_upkeep.c.listed_ms).where(hour_upkeep.c.hour == hour)
    ).first()
    if kept is not None and kept.figures is not None:
        status = added(from_json(kept.figures), status)
    status.listed_ms = None if kept is None else kept.listed_ms
    return status


def _sum_sources(connection: Connection, hour: str, status: HourStatus) -> None:
    rows = connection.execute(
        select(sources.c.state, func.count())
        .where(sources.c.state.in_(SOURCE_STATES), sources.c.hour == hour)
        .group_by(sources.c.state)
    )
    status.sources_by_state = {row[0]: row[1] for row in rows}
    status.shards = (
        connection.execute(
            select(func.count(sources.c.shard.distinct())).where(sources.c.hour == hour, sources.c.state.in_(_INSIDE))
        ).scalar()
        or 0
    )
    status.set_aside_total = sum(status.sources_by_state.get(state, 0) for state in UNHELD_STATES)
    if status.set_aside_total:
        unheld = connection.execute(
            select(sources.c.key, sources.c.state, sources.c.reason)
            .where(sources.c.hour == hour, sources.c.state.in_(UNHELD_STATES))
            .order_by(sources.c.key)
            .limit(_MOST_SET_ASIDE)
        )
        status.set_aside = tuple(SetAside(row.key, row.state, row.reason or "") for row in unheld)
    status.oldest_pending_ms = connection.execute(
        select(func.min(sources.c.created_ms)).where(sources.c.hour == hour, sources.c.state == "pending")
    ).scalar()


def _sum_jobs(connection: Connection, hour: str, status: HourStatus) -> None:
    """Sums by state are the database's work; an hour of many shards has thousands of jobs."""
    status.pending = status.sources_by_state.get("pending", 0)
    rows = connection.execute(
        select(
            jobs.c.state,
            func.count().label("jobs"),
            func.sum(jobs.c.sources).label("sources"),
            func.min(jobs.c.first_created_ms).label("first_created_ms"),
        )
        .where(jobs.c.hour == hour)
        .group_by(jobs.c.state)
    )
    for row in rows:
        status.jobs_by_state[row.state] = row.jobs
        if row.state in (*OPEN_STATES, "quarantined"):
            status.undone_jobs += row.jobs
        if row.state in OPEN_STATES:
            status.pending += int(row.sources)
            times = [row.first_created_ms, status.oldest_pending_ms]
            status.oldest_pending_ms = min(time for time in times if time is not None)
    committed = (jobs.c.hour == hour) & jobs.c.compacted_ms.is_not(None)
    total = connection.execute(
        select(
            *(func.coalesce(func.sum(jobs.c[name]), 0).label(name) for name in (*_SUMS, *_SECONDS)),
            func.min(jobs.c.oldest_ms).label("oldest_ms"),
            func.max(jobs.c.newest_ms).label("newest_ms"),
        ).where(committed)
    ).one()
    for name in _SUMS:
        setattr(status, name, int(getattr(total, name)))
    status.job_seconds = float(sum(getattr(total, name) for name in _SECONDS))
    status.oldest_ms, status.newest_ms = total.oldest_ms, total.newest_ms
    of_jobs = chain.from_iterable(_texts(connection, select(jobs.c.services).where(committed)))
    status.services = _by_service(ServiceSamples(*row) for row in of_jobs)
    for column in (jobs.c.compact_facts, jobs.c.derive_facts):
        _sum_facts(_texts(connection, select(column).where(committed, column.is_not(None))), status)
    series = connection.execute(
        select(series_files.c.kind, func.sum(series_files.c.rows))
        .join(jobs, jobs.c.id == series_files.c.job_id)
        .where(jobs.c.hour == hour)
        .group_by(series_files.c.kind)
        .order_by(series_files.c.kind)
    )
    status.series = {row[0]: int(row[1]) for row in series}


def _texts(connection: Connection, query: Select[Any]) -> list[Any]:
    """A column of JSON texts, parsed all at once."""
    parsed: list[Any] = json.loads(f"[{','.join(connection.execute(query).scalars())}]")
    return parsed


def _sum_facts(of_jobs: list[Any], status: HourStatus) -> None:
    for facts in of_jobs:
        status.examples += tuple(facts.pop("examples", ()))
        for name, count in facts.items():
            status.facts[name] = status.facts.get(name, 0) + count
    status.examples = tuple(dict.fromkeys(status.examples))[:_EXAMPLES]
