"""What an hour came to: sums over its sources and jobs.

Add a sum when people should see it. The cost grows with the hour, never with the ledger.
"""

import json
from dataclasses import dataclass, field
from typing import Final

from sqlalchemy import Connection, func, select

from pyro_assets.ledger.database import Database
from pyro_assets.ledger.schema import OPEN_STATES, SOURCE_STATES, UNHELD_STATES, jobs, series_files, sources

_EXAMPLES: Final = 10


@dataclass(slots=True)
class HourStatus:
    """Sums over the jobs and sources of an hour; see `pipeline.reports.HourReport` for the fields of the same names."""

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
    lags_ms: list[int] = field(default_factory=list)
    pending: int = 0
    undone_jobs: int = 0
    oldest_pending_ms: int | None = None
    unheld_total: int = 0
    unheld: list[tuple[str, str, str]] = field(default_factory=list)
    services: dict[tuple[str, str], tuple[int, int]] = field(default_factory=dict)
    facts: dict[str, int] = field(default_factory=dict)
    examples: list[str] = field(default_factory=list)


class Hours(Database):
    """The part of the ledger that sums up hours."""

    def hours(self) -> list[str]:
        """All hours with sources inside the partitions, oldest first."""
        hours: set[str] = set()
        with self._read() as connection:
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
        with self._read() as connection:
            status = HourStatus()
            _sum_sources(connection, hour, examples, status)
            _sum_jobs(connection, hour, status)
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
    status.pending = status.sources_by_state.get("pending", 0)
    rows = connection.execute(
        select(
            jobs.c.id,
            jobs.c.state,
            jobs.c.sources,
            jobs.c.bytes_in,
            jobs.c.first_created_ms,
            jobs.c.compacted_ms,
            jobs.c.derived_ms,
            jobs.c.blocks,
            jobs.c.bytes_out,
            jobs.c.profiles,
            jobs.c.samples,
            jobs.c.duplicates,
            jobs.c.conflicts,
            jobs.c.oldest_ms,
            jobs.c.newest_ms,
            jobs.c.compact_seconds,
            jobs.c.derive_seconds,
            jobs.c.services,
            jobs.c.compact_facts,
            jobs.c.derive_facts,
        ).where(jobs.c.hour == hour)
    )
    services: dict[tuple[str, str], list[int]] = {}
    examples: list[str] = []
    for row in rows:
        status.jobs_by_state[row.state] = status.jobs_by_state.get(row.state, 0) + 1
        if row.state in (*OPEN_STATES, "quarantined"):
            status.undone_jobs += 1
        if row.state in OPEN_STATES:
            status.pending += row.sources
            status.oldest_pending_ms = min(
                row.first_created_ms,
                row.first_created_ms if status.oldest_pending_ms is None else status.oldest_pending_ms,
            )
        if row.compacted_ms is None:
            continue
        status.blocks += row.blocks
        status.bytes_in += row.bytes_in
        status.bytes_out += row.bytes_out
        status.profiles += row.profiles
        status.samples += row.samples
        status.duplicates += row.duplicates
        status.conflicts += row.conflicts
        status.job_seconds += row.compact_seconds + row.derive_seconds
        if row.derived_ms is not None:
            status.lags_ms.append(row.derived_ms - row.first_created_ms)
        if row.oldest_ms is not None:
            status.oldest_ms = row.oldest_ms if status.oldest_ms is None else min(status.oldest_ms, row.oldest_ms)
        if row.newest_ms is not None:
            status.newest_ms = row.newest_ms if status.newest_ms is None else max(status.newest_ms, row.newest_ms)
        for tenant, service, samples, unsymbolised in json.loads(row.services or "[]"):
            total = services.setdefault((tenant, service), [0, 0])
            total[0] += samples
            total[1] += unsymbolised
        for text in (row.compact_facts, row.derive_facts):
            facts = json.loads(text or "{}")
            examples += facts.pop("examples", [])
            for name, count in facts.items():
                status.facts[name] = status.facts.get(name, 0) + count
    status.examples = list(dict.fromkeys(examples))[:_EXAMPLES]
    status.services = {key: (total[0], total[1]) for key, total in sorted(services.items())}
    series = connection.execute(
        select(series_files.c.kind, func.sum(series_files.c.rows))
        .join(jobs, jobs.c.id == series_files.c.job_id)
        .where(jobs.c.hour == hour)
        .group_by(series_files.c.kind)
        .order_by(series_files.c.kind)
    )
    status.series = {row[0]: int(row[1]) for row in series}
