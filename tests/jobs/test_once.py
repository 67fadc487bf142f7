"""Every job once, whoever asks for it at the same time, and every source once, whatever becomes of a cursor."""

import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from pyro_assets.app import App
from pyro_assets.ledger.database import Ledger
from pyro_assets.monitoring.reports import HourReport
from pyro_assets.operations import runs, ticks
from pyro_assets.planning.policy import Policy
from pyro_assets.planning.sources import SourceRecords
from pyro_assets.storage.ulid import first_ulid
from tests.support import fakes
from tests.support.ledgers import HOUR, NOW_MS
from tests.support.worlds import SETTINGS, World

SEGMENTS = 30
JOBS = 10
FOLDER = "segments/4/anonymous/"


@pytest.fixture
def full(world: World) -> World:
    """Ten planned jobs of an hour."""
    for number in range(SEGMENTS):
        world.segment(-60 + number, f"acme {number}")
    assert ticks.tick(world.pipeline).planned_jobs == JOBS
    return world


def test_two_live_runs_a_backfill_and_a_persons_run_at_once_do_every_job_once(full: World, tmp_path: Path) -> None:
    keys = sorted(full.source.objects)
    exact = [keys[start : start + 3] for start in range(0, SEGMENTS, 3)]
    asked: list[Callable[[App], dict[str, HourReport]]] = [
        lambda pipeline: runs.run(pipeline, [HOUR], run_id="live 1"),
        lambda pipeline: runs.run(pipeline, [HOUR], run_id="live 2"),
        lambda pipeline: runs.run(pipeline, ["2026-11-25-12:00", HOUR], run_id="backfill"),
        lambda pipeline: runs.run_exact(pipeline, exact, run_id="person"),
    ]
    barrier = threading.Barrier(len(asked))
    reports: list[HourReport] = []

    def work(what: Callable[[App], dict[str, HourReport]]) -> None:
        # As a process of its own would: with its own connections.
        ledger = Ledger.open(str(tmp_path / "ledger.db"))
        config: object = fakes.TextConfig()
        pipeline = App(full.source, full.archive, ledger, SETTINGS, config, engine=full.engine.engine, clock=full.clock)  # type: ignore[arg-type]
        with pipeline:
            barrier.wait()
            reports.append(what(pipeline)[HOUR])

    threads = [threading.Thread(target=work, args=(one,)) for one in asked]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(reports) == len(asked)
    assert [report.run.errors for report in reports] == [[]] * len(asked)
    assert sum(report.run.compacted for report in reports) == sum(report.run.derived for report in reports) == JOBS
    assert full.engine.calls.count("compact") == full.engine.calls.count("derive") == JOBS
    assert full.archived_values() == full.source_values()
    assert runs.hour_report(full.pipeline, HOUR).jobs_by_state == {"derived": JOBS}


@pytest.mark.parametrize("seconds", [None, -10_000, -55, 100_000])
def test_a_cursor_that_is_lost_set_back_or_ahead_loses_and_doubles_nothing(full: World, seconds: float | None) -> None:
    full.tick_and_run()
    SourceRecords(full.ledger).drop_cursors("live")
    if seconds is not None:
        ulid = first_ulid(NOW_MS + round(seconds * 1000))
        SourceRecords(full.ledger).record_sources([], {FOLDER: ulid}, NOW_MS, Policy())
    full.segment(-1, "acme 100")
    tick = ticks.tick(full.pipeline)
    assert {hour: arrived.objects for hour, arrived in tick.arrivals.items()} == {HOUR: 1}
    full.clock.forward(10)
    full.tick_and_run()
    assert full.archived_values() == full.source_values()
    assert SourceRecords(full.ledger).cursors()[FOLDER] > first_ulid(NOW_MS - 2_000)


def test_clocks_that_are_years_off_are_marked_and_move_no_window(full: World) -> None:
    future, past = full.segment(40_000_000), full.segment(-200_000_000, shard=9)
    tick = ticks.tick(full.pipeline)
    assert tick.out_of_range == 2
    assert {full.state_of(key) for key in (future, past)} == {"out_of_range"}
    assert SourceRecords(full.ledger).cursors()[FOLDER] < first_ulid(NOW_MS)
    full.segment(-1, "acme 100")
    assert ticks.tick(full.pipeline).arrivals[HOUR].objects == 1


def test_a_shard_that_appears_is_found_and_one_that_vanishes_is_no_failure(full: World) -> None:
    full.tick_and_run()
    full.source.objects.clear()
    key = full.segment(-1, "acme 100", shard=9)
    tick = ticks.tick(full.pipeline)
    assert (tick.failures, tick.arrivals[HOUR].objects) == ((), 1)
    assert full.state_of(key) == "pending"
