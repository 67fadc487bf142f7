"""What an hour came to: sums over its sources and jobs.

Here, too:
* the figures of an hour, and how they outlive the rows they were summed up from.

Add a sum when people should see it. The cost grows with the hour, never with the ledger.
"""

import json
from dataclasses import asdict, dataclass, field, fields
from itertools import chain
from typing import Any, Final

from sqlalchemy import Connection, Select, func, select

from pyro_assets.ledger.database import Queries
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


@dataclass(slots=True)
class HourStatus:
    """Sums over an hour's jobs and sources; fields as in `monitoring.reports.HourReport`."""

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
    unheld_total: int = 0
    unheld: list[tuple[str, str, str]] = field(default_factory=list)
    services: dict[tuple[str, str], tuple[int, int]] = field(default_factory=dict)
    facts: dict[str, int] = field(default_factory=dict)
    examples: list[str] = field(default_factory=list)
    listed_ms: int | None = None


def to_json(status: HourStatus) -> str:
    """Figures as text."""
    plain = asdict(status)
    plain["services"] = [[*names, *counts] for names, counts in status.services.items()]
    return json.dumps(plain)


def from_json(text: str) -> HourStatus:
    """Figures of a text; what an older program did not know is as of nothing."""
    plain = json.loads(text)
    known = {one.name for one in fields(HourStatus)}
    status = HourStatus(**{name: value for name, value in plain.items() if name in known})
    status.services = {(tenant, service): (int(n), int(u)) for tenant, service, n, u in plain.get("services", ())}
    status.unheld = [(str(key), str(state), str(reason)) for key, state, reason in status.unheld]
    return status


def added(kept: HourStatus, now: HourStatus) -> HourStatus:
    """Figures of rows that were removed, and of those that came since.

    Shards may be the same ones, so the larger number counts.
    """
    both: dict[str, Any] = {}
    for one in fields(HourStatus):
        before, after = getattr(kept, one.name), getattr(now, one.name)
        if isinstance(before, dict):
            both[one.name] = dict(
                sorted({key: _sum(before.get(key), after.get(key)) for key in before | after}.items())
            )
        elif isinstance(before, int | float | list):
            both[one.name] = before if after is None else before + after
        else:
            both[one.name] = after if before is None else before
    both["shards"] = max(kept.shards, now.shards)
    for name, choose in (("oldest_ms", min), ("newest_ms", max), ("oldest_pending_ms", min)):
        times = [getattr(status, name) for status in (kept, now) if getattr(status, name) is not None]
        both[name] = choose(times) if times else None
    return HourStatus(**both)


def _sum(before: Any, after: Any) -> Any:
    if before is None or after is None:
        return after if before is None else before
    if isinstance(before, tuple):
        return tuple(one + other for one, other in zip(before, after, strict=True))
    return before + after


_EXAMPLES: Final = 10
_SUMS: Final = ("blocks", "bytes_in", "bytes_out", "profiles", "samples", "duplicates", "conflicts")
_SECONDS: Final = ("compact_seconds", "derive_seconds")


class HourRecords(Queries):
    """The part of the ledger that sums up hours."""

    def tenants_lately(self, hours: int = 24) -> list[str]:
        """Tenants with blocks in the latest hours."""
        latest = self.hours()[-hours:]
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
            for state in SOURCE_STATES:
                last = ""
                # One step of the index per hour; DISTINCT would walk over every source.
                while state != "out_of_range" and (
                    following := connection.execute(
                        select(func.min(sources.c.hour)).where(sources.c.state == state, sources.c.hour > last)
                    ).scalar()
                ):
                    hours.add(following)
                    last = following
        return sorted(hours)

    def hour_status(self, hour: str, examples: int = 100) -> HourStatus:
        """Sums over an hour; `examples` bounds the list of sources that no output holds."""
        with self.ledger.read() as connection:
            return hour_status_of(connection, hour, examples)


def hour_status_of(connection: Connection, hour: str, examples: int) -> HourStatus:
    """Sums over an hour's rows, and what was kept of those that retention removed."""
    status = HourStatus()
    _sum_sources(connection, hour, examples, status)
    _sum_jobs(connection, hour, status)
    kept = connection.execute(
        select(hour_upkeep.c.figures, hour_upkeep.c.listed_ms).where(hour_upkeep.c.hour == hour)
    ).first()
    if kept is not None and kept.figures is not None:
        status = added(from_json(kept.figures), status)
    status.listed_ms = None if kept is None else kept.listed_ms
    return status


def _sum_sources(connection: Connection, hour: str, examples: int, status: HourStatus) -> None:
    rows = connection.execute(
        select(sources.c.state, func.count())
        .where(sources.c.state.in_(SOURCE_STATES), sources.c.hour == hour)
        .group_by(sources.c.state)
    )
    status.sources_by_state = {row[0]: row[1] for row in rows}
    status.shards = (
        connection.execute(
            select(func.count(sources.c.shard.distinct())).where(
                sources.c.hour == hour, sources.c.state.in_(set(SOURCE_STATES) - {"out_of_range"})
            )
        ).scalar()
        or 0
    )
    status.unheld_total = sum(status.sources_by_state.get(state, 0) for state in UNHELD_STATES)
    if status.unheld_total:
        unheld = connection.execute(
            select(sources.c.key, sources.c.state, sources.c.reason)
            .where(sources.c.hour == hour, sources.c.state.in_(UNHELD_STATES))
            .order_by(sources.c.key)
            .limit(examples)
        )
        status.unheld = [(row.key, row.state, row.reason or "") for row in unheld]
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
    _sum_services(_texts(connection, select(jobs.c.services).where(committed)), status)
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


def _sum_services(of_jobs: list[Any], status: HourStatus) -> None:
    services: dict[tuple[str, str], tuple[int, int]] = {}
    for tenant, service, samples, unsymbolised in chain.from_iterable(of_jobs):
        before = services.get((tenant, service), (0, 0))
        services[tenant, service] = (before[0] + samples, before[1] + unsymbolised)
    status.services = dict(sorted(services.items()))


def _sum_facts(of_jobs: list[Any], status: HourStatus) -> None:
    for facts in of_jobs:
        status.examples += facts.pop("examples", [])
        for name, count in facts.items():
            status.facts[name] = status.facts.get(name, 0) + count
    status.examples = list(dict.fromkeys(status.examples))[:_EXAMPLES]
