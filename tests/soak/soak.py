"""A deployment under load for some minutes, with kills or without, and what came of every segment and sample.

Generator, code server, webserver, daemon and a Prometheus are real processes. At the end nothing may be missing,
double or different: the archive against the generator's manifest, Prometheus against the archive.
"""

import os
import random
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

import dagster as dg
from sqlalchemy import text

from pyro_assets.app import App, open_app
from pyro_assets.demo import services
from pyro_assets.demo.layout import FUNCTIONS, DemoFolder
from pyro_assets.demo.processes import Processes, free_port
from pyro_assets.demo.proof import prove
from pyro_assets.demo.story import is_undone
from pyro_assets.errors import PyroAssetsError
from pyro_assets.ledger.hours import HourRecords
from pyro_assets.ledger.lag import LagFigures, LagRecords
from pyro_assets.operations import runs, sending
from pyro_assets.storage.keys import HOUR_MS, hour_start_ms
from tests.soak.killer import KINDS, Killer, end_orphans

#: Segments per second and shard, as Pyroscope's segment writer makes them.
RATE = 2.0
_DRAIN_SECONDS = 300.0
#: Of this process alone: while a server is down nobody else may take its port, and be taken for it.
_FIRST_PORT = 20_000 + os.getpid() % 1_000 * 10
_POLL_SECONDS = 0.25


@dataclass
class Figures:
    """What a soak came to; `differences` must be empty."""

    minutes: float
    segments: int = 0
    jobs: int = 0
    series: int = 0
    samples: int = 0
    lag: dict[str, dict[str, Any]] = field(default_factory=dict)
    kills: dict[str, int] = field(default_factory=dict)
    runs: dict[str, int] = field(default_factory=dict)
    lanes: dict[str, int] = field(default_factory=dict)
    jobs_claimed_again: int = 0
    start_seconds: float = 0.0  # of code server, webserver and daemon: how quick this machine is today
    drain_seconds: float = 0.0  # from the end of kills and new segments until nothing was left to do
    differences: list[str] = field(default_factory=list)


def soak(
    folder: Path,
    seconds: float,
    *,
    kill_every_seconds: tuple[float, float] | None = (15.0, 45.0),
    rate: float = RATE,
    seed: int = 1,
    settings: Mapping[str, str] | None = None,
    kinds: Sequence[tuple[str, ...]] = KINDS,
    prepare: Callable[[DemoFolder, Processes], Mapping[str, Callable[[], None]]] = lambda _layout, _processes: {},
) -> Figures:
    """Runs everything for so long and compares.

    Args:
        folder: emptied first.
        seconds: how long segments land.
        kill_every_seconds: shortest and longest time between two kills; None: nothing is killed.
        rate: segments per second and shard.
        seed: of the kills.
        settings: environment variables beside the layout's.
        kinds: what is killed together.
        prepare: makes the folder ready for more processes, which it starts; name -> starts it again.

    Raises:
        PyroAssetsError: it could not be run to its end.
    """
    program = services.prometheus_program()
    if program is None:
        raise PyroAssetsError("no prometheus on the path: the soak compares with what it holds")
    layout = DemoFolder(folder.resolve())
    with layout.lock():
        code_port = free_port(_FIRST_PORT)
        layout.prepare(code_port)
        processes = Processes(layout.logs, layout.environment(os.environ) | dict(settings or {}))
        port = free_port(_FIRST_PORT + 2)
        try:
            starts: dict[str, Callable[[], None]] = {
                **prepare(layout, processes),
                services.CODE_SERVER: partial(services.start_code_server, processes, layout, code_port),
                services.WEBSERVER: partial(services.start_webserver, processes, layout, port),
                services.DAEMON: partial(services.start_daemon, processes, layout),
            }
            dice = random.Random(seed)
            killer = Killer(processes, starts, layout.dagster_home, dice, kill_every_seconds, kinds)
            return _run(layout, processes, killer, program, (code_port, port), Figures(seconds / 60), rate)
        finally:
            processes.stop_all()
            end_orphans(layout.dagster_home)


def _run(
    layout: DemoFolder,
    processes: Processes,
    killer: Killer,
    program: str,
    ports: tuple[int, int],
    figures: Figures,
    rate: float,
) -> Figures:
    prometheus_port = free_port(_FIRST_PORT + 4)
    web_port = free_port(_FIRST_PORT + 6)
    layout.prepare_prometheus(prometheus_port, web_port)
    # What it holds is compared in the end: what it would read from the archive proves nothing.
    layout.configure_prometheus(web_port, reads=False)
    services.start_prometheus(processes, layout, program, prometheus_port)
    begun = time.monotonic()
    services.start_code_server(processes, layout, ports[0])
    services.start_dagster(processes, layout, ports[0], ports[1])
    figures.start_seconds = round(time.monotonic() - begun, 1)
    services.start_generator(processes, layout, rate)
    begun_ms = time.time_ns() // 1_000_000
    end = time.monotonic() + figures.minutes * 60
    while time.monotonic() < end:
        killer.look()
        if processes.has_ended(services.GENERATOR) or processes.has_ended(services.PROMETHEUS_PROCESS):
            processes.check()
        time.sleep(_POLL_SECONDS)
    killer.every_seconds = None
    processes.stop(services.GENERATOR, 30.0)
    with open_app(
        str(layout.bucket), str(layout.archive), layout.ledger_url, receivers_file=str(layout.receivers)
    ) as pipeline:
        figures.drain_seconds = _drain(pipeline, layout, killer)
        figures.kills = dict(killer.kills)
        _compare(pipeline, layout, figures)
        _measure(pipeline, layout, begun_ms, figures)
    return figures


def _drain(pipeline: App, layout: DemoFolder, killer: Killer) -> float:
    """Waits until nothing is left to do, without a hand; how long that took."""
    landed = sum(1 for _ in layout.bucket.rglob("block.bin"))
    begun = time.monotonic()
    while True:
        reports = [runs.hour_report(pipeline, hour) for hour in HourRecords(pipeline.ledger).hours()]
        if sum(report.segments for report in reports) >= landed and not any(map(is_undone, reports)):
            return round(time.monotonic() - begun, 1)
        if time.monotonic() - begun > _DRAIN_SECONDS:
            left = {report.hour: (report.pending, report.undone_jobs) for report in reports}
            raise PyroAssetsError(f"{landed} segments landed, and after {_DRAIN_SECONDS:.0f} s is left {left}")
        killer.look()
        time.sleep(2 * _POLL_SECONDS)


def _compare(pipeline: App, layout: DemoFolder, figures: Figures) -> None:
    proof = prove(layout.archive, layout.manifest, FUNCTIONS)
    figures.segments, figures.jobs, figures.series = proof.segments, proof.jobs, proof.series
    figures.differences += [str(difference) for difference in proof.differences]
    if not proof.equal and not figures.differences:
        figures.differences.append("nothing was made")
    hours = HourRecords(pipeline.ledger).hours()
    (receiver,) = pipeline.receivers()
    found = sending.reconcile(pipeline, receiver.name, hour_start_ms(hours[0]), hour_start_ms(hours[-1]) + HOUR_MS)
    figures.samples = found.compared
    figures.differences += [f"{receiver.name}: {example}" for example in found.examples]
    if not found.is_equal and not found.examples:
        figures.differences.append(f"{receiver.name} does not hold what was sent")


def _measure(pipeline: App, layout: DemoFolder, begun_ms: int, figures: Figures) -> None:
    for stage, lag in LagRecords(pipeline.ledger).lag(begun_ms, time.time_ns() // 1_000_000).items():
        figures.lag[stage] = _in_seconds(lag)
    with pipeline.ledger.read() as connection:
        again = connection.execute(text("SELECT count(*) FROM jobs WHERE fence > 1")).scalar()
    figures.jobs_claimed_again = int(again or 0)
    config = str(layout.dagster_home)
    with dg.DagsterInstance.from_config(config) as instance:
        for record in instance.get_run_records():
            name = record.dagster_run.status.value.lower()
            figures.runs[name] = figures.runs.get(name, 0) + 1
            lane = record.dagster_run.tags["lane"]
            figures.lanes[lane] = figures.lanes.get(lane, 0) + 1


def _in_seconds(lag: LagFigures) -> dict[str, Any]:
    named = {"p50": lag.p50_ms, "p95": lag.p95_ms, "max": lag.max_ms}
    return {"jobs": lag.count} | {name: value / 1000 for name, value in named.items()} | {"histogram": lag.describe()}
