"""A sensor and its runs through days in minutes: the real planner, ledger and sensor over a stream that is computed.

Each hour begins with some ticks at the live edge, five seconds apart, as if a daemon were there; then it is away for
the rest of the hour and comes back to a backlog. Cursors are lost and lie on the way. What is measured stands in
`figures`; add what may happen to a real installation here.
"""

import contextlib
import itertools
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import dagster as dg
from sqlalchemy import event

from pyro_assets.app import App
from pyro_assets.definitions import build_defs
from pyro_assets.defs.jobs import RANGE_END, RANGE_START
from pyro_assets.errors import StorageUnavailable
from pyro_assets.ledger.database import Ledger
from pyro_assets.operations import runs
from pyro_assets.planning.sweep import rescan, sweep
from pyro_assets.resources.pipeline import PipelineResource, RetentionResource
from pyro_assets.rules.config import SeriesConfig
from pyro_assets.settings import Settings
from pyro_assets.storage.keys import HOUR_MS, hour_of, hour_start_ms, segment_key
from pyro_assets.storage.ulid import first_ulid
from tests.simulate.engine import CountingEngine
from tests.simulate.store import CountingArchive, StreamBucket
from tests.simulate.stream import START_HOUR, START_MS, Stream

#: Ticks at the live edge in each hour, and how far they are apart.
LIVE_TICKS = 12
_TICK_MS = 5_000
#: A round that brings less has caught up with the live edge; a backlog takes so many rounds at most.
_LITTLE = 100
_ROUNDS = 200
#: Keys that a slow sweep lists in each hour, as a share of what an hour brings.
_SWEEP_SHARE = 1.25
_CONFIG = SeriesConfig()
_worlds: dict[str, "Simulation"] = {}


class SimulatedPipeline(PipelineResource):
    """Opens a pipeline over the stream, with a connection of its own to the ledger, as in production."""

    def open(self, *, series: bool = False) -> App:
        """See `PipelineResource.open`."""
        return _worlds[self.source_url].open()


@dataclass(slots=True)
class Tick:
    """One evaluation of the sensor: wall and CPU seconds, listings, keys in them, statements, sources in the ledger."""

    live: bool
    seconds: float
    cpu_seconds: float
    requests: int
    keys: int
    statements: int
    new: int


@dataclass(slots=True)
class Simulation:
    """One run through the stream.

    Attributes:
        stream: what lands.
        ledger_url: of an empty database.
        ticks: one entry for each.
        failed_ticks: had nothing to say but that a listing failed.
        run_seconds: of all runs; live_seconds, live_sources: of runs and ticks at the live edge.
        resident: share of the stream that is over -> resident memory in bytes.
    """

    stream: Stream
    ledger_url: str
    ticks: list[Tick] = field(default_factory=list)
    run_seconds: float = 0.0
    sweep_seconds: float = 0.0
    live_seconds: float = 0.0
    live_sources: int = 0
    failed_ticks: int = 0
    resident: dict[float, int] = field(default_factory=dict)
    now_ms: int = START_MS
    statements: int = 0
    clock: Any = None
    source: Any = None
    archive: CountingArchive = field(default_factory=CountingArchive)
    engine: CountingEngine = field(default_factory=CountingEngine)
    _count_one: Any = None
    _runs: Iterator[int] = field(default_factory=itertools.count)

    def __post_init__(self) -> None:
        self.clock = lambda: self.now_ms
        self.source = StreamBucket(self.stream, self.clock)
        # A bound method is another object each time it is asked for.
        self._count_one = self._count

    @property
    def settings(self) -> Settings:
        """The defaults, beginning where the stream does; what is in memory does not travel to another process."""
        return Settings(start_date=START_HOUR, job_seconds=0.0)

    def open(self) -> App:
        """A pipeline; close it."""
        ledger = Ledger.open(self.ledger_url)
        if not event.contains(ledger._engine, "before_cursor_execute", self._count_one):
            event.listen(ledger._engine, "before_cursor_execute", self._count_one)
        return App(
            self.source, self.archive, ledger, self.settings, _CONFIG, engine=self.engine.engine, clock=self.clock
        )

    def run(self) -> None:
        """Everything, until nothing is left to be done."""
        with self._sensor() as tick:
            for number in range(self.stream.hours):
                self._hour(number, tick)
                self._remember(number)
            self.source.is_throttling = False
            # Clocks that were ahead are caught up with; what came very late is looked for once more.
            self.now_ms = self.stream.end_ms + 27 * HOUR_MS
            self._catch_up(tick, 1)
            with self.open() as opened:
                rescan(self.source, opened.ledger, self.settings, 0, 2**48 - 1, self.now_ms)
            self._catch_up(tick, 1)

    def _hour(self, number: int, tick: "_Sensor") -> None:
        begin_ms = START_MS + number * HOUR_MS
        before = self.engine.sources
        started = time.perf_counter()
        for step in range(1, LIVE_TICKS + 1):
            self.now_ms = begin_ms + step * _TICK_MS
            self._tick_and_run(tick, live=step > 1)
            if step == 1:
                # What was left of the hour before is not the live edge's.
                before, started = self.engine.sources, time.perf_counter()
        self.live_seconds += time.perf_counter() - started
        self.live_sources += self.engine.sources - before
        self._disturb(number)
        self.now_ms = begin_ms + HOUR_MS - 1
        self._catch_up(tick)
        started = time.perf_counter()
        with self.open() as opened:
            keys = int(_SWEEP_SHARE * self.stream.segments / self.stream.hours)
            sweep(self.source, opened.ledger, self.settings, self.now_ms, keys)
        self.sweep_seconds += time.perf_counter() - started

    def _catch_up(self, tick: "_Sensor", enough: int = _LITTLE) -> None:
        """Ticks and runs until a round has brought less than `enough` sources."""
        for _ in range(_ROUNDS):
            before, throttled = self.engine.sources, self.source.throttled
            self._tick_and_run(tick, live=False)
            if self.engine.sources - before < enough and self.source.throttled == throttled:
                return
            self.now_ms += _TICK_MS
        raise AssertionError(f"the backlog does not end within {_ROUNDS} rounds")

    def _tick_and_run(self, tick: "_Sensor", *, live: bool) -> None:
        for request in tick(live=live):
            first = request.partition_key or request.tags[RANGE_START]
            last = request.partition_key or request.tags[RANGE_END]
            hours = [hour_of(ms) for ms in range(hour_start_ms(first), hour_start_ms(last) + 1, HOUR_MS)]
            started = time.perf_counter()
            with self.open() as opened:
                reports = runs.run(opened, hours, run_id=f"run-{next(self._runs)}")
            if errors := [error for report in reports.values() for error in report.run.errors]:
                raise AssertionError(f"jobs failed, which nothing here can make them do: {errors[0]}")
            self.run_seconds += time.perf_counter() - started

    def _disturb(self, number: int) -> None:
        """Every few hours the cursors of some shards are lost, set back or set ahead."""
        kind = number % 4
        if kind == 3 or self.stream.shards < 6:
            return
        shard = 2 * (number // 4) % (self.stream.shards - 4) + 2
        with self.open() as opened, opened.ledger.write() as connection:
            for one in (shard, shard + 1):
                folder = segment_key(one, "").removesuffix("/block.bin")
                moved = first_ulid(self.now_ms - 3 * HOUR_MS if kind == 1 else self.now_ms + 30 * HOUR_MS)
                statement = (
                    "DELETE FROM cursors WHERE folder = '{0}' AND purpose = 'live'"
                    if kind == 0
                    else "UPDATE cursors SET ulid = '{1}' WHERE folder = '{0}' AND purpose = 'live'"
                )
                connection.exec_driver_sql(statement.format(folder, moved))

    def _remember(self, number: int) -> None:
        share = (number + 1) / self.stream.hours
        self.resident[round(share, 3)] = int(Path("/proc/self/statm").read_text("ascii").split()[1]) * 4096

    def _sensor(self) -> "_Sensor":
        return _Sensor(self)

    def _count(self, *_: Any) -> None:
        self.statements += 1


class _Sensor:
    """The real sensor, evaluated as Dagster's daemon does; gives the runs that it asks for."""

    def __init__(self, simulation: Simulation) -> None:
        self._simulation = simulation
        self._url = f"simulated://{id(simulation)}"
        pipeline = SimulatedPipeline(
            source_url=self._url,
            archive_url="simulated://archive",
            ledger_url=simulation.ledger_url,
            start_date=START_HOUR,
            live_since=START_HOUR,
        )
        self._resources = {"pipeline": pipeline, "retention": RetentionResource()}
        self._definitions = build_defs(self._resources, start_hour=START_HOUR)
        self._sensor = self._definitions.resolve_sensor_def("segments_landed")
        self._instance = dg.DagsterInstance.ephemeral()
        self._cursor: str | None = None

    def __enter__(self) -> "_Sensor":
        _worlds[self._url] = self._simulation
        return self

    def __exit__(self, *exception: object) -> None:
        del _worlds[self._url]
        self._instance.dispose()

    def __call__(self, *, live: bool) -> list[dg.RunRequest]:
        simulation, source = self._simulation, self._simulation.source
        requests, keys, statements = source.requests, source.keys, simulation.statements
        started, cpu = time.perf_counter(), time.process_time()
        context = dg.build_sensor_context(
            instance=self._instance, cursor=self._cursor, definitions=self._definitions, resources=self._resources
        )
        result: Any = None
        # A tick whose only news is a listing that failed is a failed tick in Dagster; the next one goes on.
        with contextlib.suppress(StorageUnavailable):
            result = self._sensor(context)
        simulation.ticks.append(
            Tick(
                live=live,
                seconds=time.perf_counter() - started,
                cpu_seconds=time.process_time() - cpu,
                requests=source.requests - requests,
                keys=source.keys - keys,
                statements=simulation.statements - statements,
                new=simulation.engine.sources,
            )
        )
        if result is None:
            simulation.failed_ticks += 1
            return []
        self._cursor = result.cursor
        return list(result.run_requests or ())
