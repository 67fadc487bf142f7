"""Runs that say that they are alive, and those that do not any more."""

import threading
from pathlib import Path

import dagster as dg
import pytest
from fake_pipeline import FakePipeline, hour_of_work, resources_with
from worlds import World

from pyro_assets.definitions import build_defs
from pyro_assets.defs.silent import beating, end_silent_runs
from pyro_assets.errors import LedgerUnavailable
from pyro_assets.ledger.beats import Beats

LEASE_MS = 60_000
RUN = "11111111-0000-4000-8000-000000000000"
STARTED = dg.DagsterRunStatus.STARTED


def started(instance: dg.DagsterInstance, tags: dict[str, str], job: str = "live") -> float:
    """A run that Dagster holds for started, and since when, in Unix seconds."""
    instance.add_run(dg.DagsterRun(job_name=job, run_id=RUN, tags=tags, status=dg.DagsterRunStatus.STARTING))
    event = dg.DagsterEvent("PIPELINE_START", job_name=job, message="started")
    instance.report_dagster_event(event, run_id=RUN)
    (record,) = instance.get_run_records()
    assert (record.dagster_run.status, record.start_time is None) == (STARTED, False)
    return float(record.start_time or 0)


@pytest.mark.parametrize(
    ("tags", "job", "silences", "after_seconds", "dead"),
    [
        ({"lane": "live"}, "live", {RUN: 31.0}, 40, True),
        ({"lane": "live"}, "live", {RUN: 29.0}, 40, False),
        ({"lane": "live-3", "lanes": "4"}, "live", {RUN: 31.0}, 40, True),
        # Killed before it could say anything: live runs speak at once.
        ({"lane": "live"}, "live", {}, 31, True),
        ({"lane": "live"}, "live", {}, 29, False),
        ({"lane": "backfill"}, "backfill", {RUN: 31.0}, 7200, True),
        ({"lane": "close"}, "backfill", {RUN: 3.0}, 7200, False),
        # Other jobs than ours, and ours that never spoke, are Dagster's to judge.
        ({"lane": "backfill"}, "backfill", {}, 7200, False),
        ({}, "somebody_elses", {}, 7200, False),
    ],
)
def test_who_is_dead(tags: dict[str, str], job: str, silences: dict[str, float], after_seconds: float, dead: bool):
    fake = FakePipeline(silences=dict(silences))
    with dg.DagsterInstance.ephemeral() as instance:
        now_ms = round((started(instance, tags, job) + after_seconds) * 1000)
        assert end_silent_runs(instance, fake, now_ms, LEASE_MS) == ([RUN] if dead else [])
        run = instance.get_run_by_id(RUN)
        assert run is not None
        assert run.status == (dg.DagsterRunStatus.FAILURE if dead else STARTED)
        # The second look finds nothing left to do.
        assert end_silent_runs(instance, fake, now_ms, LEASE_MS) == []
    assert (RUN in fake.silences) == (RUN in silences and not dead)


def test_what_an_old_run_left_is_forgotten():
    fake = FakePipeline(silences={"gone": 61.0, "about to start": 1.0})
    with dg.DagsterInstance.ephemeral() as instance:
        end_silent_runs(instance, fake, 10**12, LEASE_MS)
    assert list(fake.silences) == ["about to start"]


def test_beats_come_until_the_end_and_survive_a_ledger_that_is_away(tmp_path: Path):
    heard = threading.Semaphore(0)

    class Sometimes(FakePipeline):
        beaten = 0

        def beat(self, run_id: str) -> None:
            self.beaten += 1
            heard.release()
            if self.beaten == 2:
                raise LedgerUnavailable("away")
            super().beat(run_id)

    fake = Sometimes()
    with beating(fake, RUN, seconds=0.001):
        for _ in range(5):
            assert heard.acquire(timeout=10)
        assert list(fake.silences) == [RUN]
    assert fake.silences == {}
    world = World(tmp_path)
    assert world.pipeline.silence_seconds() == {}
    with beating(world.pipeline, RUN, seconds=60):
        world.pipeline.beat(RUN)
        world.clock.forward(7)
        assert world.pipeline.silence_seconds() == {RUN: 7.0}
    assert world.pipeline.silence_seconds() == {}
    world.ledger.close()


def test_a_run_says_that_it_is_alive_and_takes_it_back(tmp_path: Path):
    ledger = Beats.open(str(tmp_path / "ledger.db"))

    class Speaking(FakePipeline):
        alive: list[str] = []  # noqa: RUF012 - of the class, for a look from outside

        def run(self, hours, *rest, **how):
            ledger.beat(how["run_id"], 5)
            self.alive += ledger.beats()
            return super().run(hours, *rest, **how)

        def end_beats(self, run_id: str) -> None:
            super().end_beats(run_id)
            ledger.end_beats(run_id)

    fake = Speaking({"2026-11-25-13:00": hour_of_work("2026-11-25-13:00")})
    job = build_defs(resources_with(fake), start_hour="2026-11-01-00:00").resolve_job_def("live")
    with dg.DagsterInstance.ephemeral() as instance:
        result = job.execute_in_process(instance=instance, partition_key="2026-11-25-13:00")
    assert fake.alive == [result.run_id]
    assert ledger.beats() == fake.silences == {}
    ledger.close()
