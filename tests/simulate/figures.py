"""What a simulation came to, as plain values, and the targets that it must meet.

Add a figure when somebody should be able to see it grow. Measuring belongs to `simulation`.
"""

import statistics
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from sqlalchemy import create_engine, func, inspect, make_url, select, table

from pyro_assets.ledger.schema import job_sources, jobs, sources
from tests.simulate.engine import digest_of
from tests.simulate.simulation import Simulation, Tick

#: Sources a second that ticks and runs must plan and commit.
SOURCES_PER_SECOND = 500
#: A tick at the live edge, seconds.
TICK_SECONDS = 1.0
#: Growth from a tenth of the way to its end that is no growth: buffers fill, collections come late.
MEMORY_GROWTH, MEMORY_BYTES = 1.15, 24 << 20
TICK_GROWTH, TICK_SLACK_SECONDS = 1.5, 0.02


def figures_of(
    simulation: Simulation, wall_seconds: float, cpu_seconds: float, server_cpu_seconds: float | None
) -> dict[str, Any]:
    """Everything that was measured; what the ledger's server used of the CPU counts, where that is known."""
    done = simulation.engine.sources
    all_cpu_seconds = None if server_cpu_seconds is None else cpu_seconds + server_cpu_seconds
    live = [tick for tick in simulation.ticks if tick.live]
    tenth = max(len(live) // 10, 1)
    early, late = live[tenth : 2 * tenth] or live, live[-tenth:]
    tick_seconds = sum(tick.seconds for tick in simulation.ticks)
    return {
        "segments": simulation.stream.segments,
        "shards": simulation.stream.shards,
        "hours": simulation.stream.hours,
        "ledger": make_url(simulation.ledger_url).get_backend_name() if "://" in simulation.ledger_url else "sqlite",
        "sources": done,
        "jobs": simulation.engine.jobs,
        "wall_seconds": round(wall_seconds, 1),
        "cpu_seconds": round(cpu_seconds, 1),
        "sources_per_second": round(done / (tick_seconds + simulation.run_seconds)),
        "server_cpu_seconds": None if server_cpu_seconds is None else round(server_cpu_seconds, 1),
        "sources_per_cpu_second": None if all_cpu_seconds is None else round(done / all_cpu_seconds),
        "plan_seconds": round(tick_seconds, 1),
        "commit_seconds": round(simulation.run_seconds, 1),
        "sweep_seconds": round(simulation.sweep_seconds, 1),
        "live_sources": simulation.live_sources,
        "live_seconds": round(simulation.live_seconds, 1),
        "ticks": len(simulation.ticks),
        "live_tick": tick_figures(live),
        "live_tick_early": tick_figures(early),
        "live_tick_late": tick_figures(late),
        "resident_mib": {str(share): round(used / 2**20) for share, used in few(simulation.resident).items()},
        "throttled": simulation.source.throttled,
        "failed_ticks": simulation.failed_ticks,
        "archive_objects": simulation.archive.objects,
        **ledger_figures(simulation.ledger_url),
        "lost_or_doubled": reconcile(simulation),
    }


def tick_figures(ticks: Sequence[Tick]) -> dict[str, float]:
    """Percentiles of time, and the greatest numbers of requests, keys and statements."""
    seconds = sorted(tick.seconds for tick in ticks)
    cpu = sorted(tick.cpu_seconds for tick in ticks)
    return {
        "p50_ms": round(1e3 * statistics.median(seconds), 1),
        "p95_ms": round(1e3 * seconds[int(0.95 * (len(seconds) - 1))], 1),
        "max_ms": round(1e3 * seconds[-1], 1),
        "cpu_p50_ms": round(1e3 * statistics.median(cpu), 1),
        "cpu_p95_ms": round(1e3 * cpu[int(0.95 * (len(cpu) - 1))], 1),
        "max_requests": max(tick.requests for tick in ticks),
        "max_keys": max(tick.keys for tick in ticks),
        "max_statements": max(tick.statements for tick in ticks),
    }


def few(values: dict[float, int]) -> dict[float, int]:
    """A tenth of the way, then every fifth, the end."""
    shares = sorted(values)
    wanted = {min(shares, key=lambda share: abs(share - aim)) for aim in (0.1, 0.2, 0.4, 0.6, 0.8, 1.0)}
    return {share: values[share] for share in shares if share in wanted}


def ledger_figures(url: str) -> dict[str, Any]:
    """Rows of every table, and bytes on the disk."""
    engine = create_engine(url if "://" in url else f"sqlite:///{url}")
    try:
        with engine.connect() as connection:
            names = sorted(inspect(connection).get_table_names())
            rows = {name: connection.execute(select(func.count()).select_from(table(name))).scalar() for name in names}
            if engine.dialect.name == "sqlite":
                path = Path(str(engine.url.database))
                size = sum(one.stat().st_size for one in path.parent.glob(f"{path.name}*"))
            else:
                size = int(connection.exec_driver_sql("SELECT pg_database_size(current_database())").scalar() or 0)
    finally:
        engine.dispose()
    return {"rows": {name: count for name, count in rows.items() if count}, "ledger_mib": round(size / 2**20, 1)}


def reconcile(simulation: Simulation) -> list[str]:
    """What differs between the stream, the ledger and what was compacted; nothing, if all is well."""
    stream, engine = simulation.stream, simulation.engine
    expected = digest = skipped = 0
    # Only clocks that are years behind are for ever outside the partitions.
    for key, is_in_range in simulation.source.all_keys():
        if is_in_range:
            expected += 1
            digest = (digest + digest_of(key)) & (2**64 - 1)
        else:
            skipped += 1
    database = create_engine(
        simulation.ledger_url if "://" in simulation.ledger_url else f"sqlite:///{simulation.ledger_url}"
    )
    with database.connect() as connection:
        states = dict(connection.execute(select(sources.c.state, func.count()).group_by(sources.c.state)).all())
        linked = connection.execute(select(func.count()).select_from(job_sources)).scalar()
        job_states = dict(connection.execute(select(jobs.c.state, func.count()).group_by(jobs.c.state)).all())
    database.dispose()
    wrong = []
    if (engine.sources, engine.digest) != (expected, digest):
        wrong.append(f"{engine.sources} sources were compacted, {expected} have landed, or others than these")
    if states != {"done": expected, "out_of_range": skipped}:
        wrong.append(
            f"{stream.segments} segments have the states {states}; expected {expected} done, {skipped} outside"
        )
    if linked != expected:
        wrong.append(f"{linked} sources are in jobs, not {expected}")
    if job_states != {"derived": engine.jobs}:
        wrong.append(f"{engine.jobs} jobs were compacted, the ledger has {job_states}")
    return wrong


def missed(figures: dict[str, Any]) -> list[str]:
    """The targets that were missed, in words."""
    found = list(figures["lost_or_doubled"])
    # A machine that does other things beside must not look like a slow program.
    rate = max(figures["sources_per_second"], figures["sources_per_cpu_second"] or 0)
    if rate < SOURCES_PER_SECOND:
        found.append(f"{rate} sources a second were planned and committed, at least {SOURCES_PER_SECOND} are required")
    live, early, late = figures["live_tick"], figures["live_tick_early"], figures["live_tick_late"]
    taken = min(live["p95_ms"], live["cpu_p95_ms"]) if figures["ledger"] == "sqlite" else live["p95_ms"]
    if taken > 1e3 * TICK_SECONDS:
        found.append(f"a tick at the live edge took {taken} ms (p95), {1e3 * TICK_SECONDS:.0f} are allowed")
    allowed = TICK_GROWTH * early["cpu_p50_ms"] + 1e3 * TICK_SLACK_SECONDS
    if late["cpu_p50_ms"] > allowed:
        found.append(f"ticks became slower: {early['cpu_p50_ms']} ms of CPU at first, {late['cpu_p50_ms']} at the end")
    # A request for the shards and one for each, or one more where a cursor was lost.
    requests = 1 + 2 * figures["shards"]
    if live["max_requests"] > requests:
        found.append(f"a tick at the live edge made {live['max_requests']} requests, {requests} are allowed")
    memory = list(figures["resident_mib"].values())
    if memory[-1] > max(MEMORY_GROWTH * memory[0], memory[0] + MEMORY_BYTES / 2**20):
        found.append(f"memory grew from {memory[0]} to {memory[-1]} MiB")
    return found
