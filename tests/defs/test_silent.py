"""Runs that say that they are alive, and those that do not any more."""

import os
import socket
import subprocess
import sys
import threading
from pathlib import Path

import dagster as dg
import pytest

from pyro_assets.definitions import build_defs
from pyro_assets.defs.runs import beating, end_silent_runs
from pyro_assets.errors import LedgerUnavailable
from pyro_assets.jobs.beats import Beat, Beats
from pyro_assets.ledger.database import Ledger
from tests.support.fake_pipeline import FakePipeline, hour_of_work, resources_with
from tests.support.worlds import World

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


#: A process that certainly ended: the number is this one's, the time of its begin is not.
ENDED = f"{socket.gethostname()}/{os.getpid()}/1"
ELSEWHERE = "elsewhere/1/1"


@pytest.mark.parametrize(
    ("tags", "job", "owner", "silent_seconds", "dead"),
    [
        ({"lane": "live"}, "live", ENDED, 1, True),
        ({"lane": "live-3", "lanes": "4"}, "live", ENDED, 1, True),
        ({"lane": "backfill"}, "backfill", ENDED, 7200, True),
        ({"lane": "upkeep"}, "merge_series", ENDED, 1, True),
        ({"lane": "upkeep"}, "merge_series", ELSEWHERE, 61, True),
        # A backfill that was started in the asset graph carries no lane.
        ({"dagster/backfill": "abcdefgh"}, "__ASSET_JOB", ENDED, 1, True),
        # Of another machine only its silence is known.
        ({"lane": "live"}, "live", ELSEWHERE, 61, True),
        ({"lane": "live"}, "live", ELSEWHERE, 59, False),
        ({"lane": "close"}, "backfill", ELSEWHERE, 3, False),
        # Killed before it could say anything: live runs speak when they start.
        ({"lane": "live"}, "live", None, 121, True),
        ({"lane": "live"}, "live", None, 119, False),
        # Other jobs than ours, and ours that never spoke, are Dagster's to judge.
        ({"lane": "backfill"}, "backfill", None, 7200, False),
        ({}, "somebody_elses", None, 7200, False),
    ],
    # Processes have other numbers in each worker that collects these.
    ids=lambda value: "gone" if value is ENDED else None,
)
def test_who_is_dead(tags: dict[str, str], job: str, owner: str | None, silent_seconds: int, dead: bool):
    with dg.DagsterInstance.ephemeral() as instance:
        now_ms = round((started(instance, tags, job) + silent_seconds) * 1000)
        fake = FakePipeline(heard={RUN: Beat(now_ms - silent_seconds * 1000, owner)} if owner else {})
        assert end_silent_runs(instance, fake, now_ms, LEASE_MS) == ([RUN] if dead else [])
        run = instance.get_run_by_id(RUN)
        assert run is not None
        assert run.status == (dg.DagsterRunStatus.FAILURE if dead else STARTED)
        # The second look finds nothing left to do.
        assert end_silent_runs(instance, fake, now_ms, LEASE_MS) == []
    assert (RUN in fake.heard) == (owner is not None and not dead)


def test_what_ended_a_run_is_said_where_it_is_known():
    with dg.DagsterInstance.ephemeral() as instance:
        now_ms = round((started(instance, {"lane": "live"}) + 1) * 1000)
        fake = FakePipeline(heard={RUN: Beat(now_ms, ENDED)}, words={RUN: "it took more than 600 s"})
        assert end_silent_runs(instance, fake, now_ms, LEASE_MS) == [RUN]
        events = [record.event_log_entry.dagster_event for record in instance.get_records_for_run(RUN).records]
    said = [event.message for event in events if event is not None and event.message]
    assert "its process is gone (it took more than 600 s). What it had begun is done by" in said[-1]


def test_what_an_old_run_left_is_forgotten():
    fake = FakePipeline(heard={"gone": Beat(0, ELSEWHERE), "about to start": Beat(60_000, ELSEWHERE)})
    with dg.DagsterInstance.ephemeral() as instance:
        end_silent_runs(instance, fake, 61_000, LEASE_MS)
    assert list(fake.heard) == ["about to start"]


def test_a_process_of_this_machine_is_seen_to_be_gone(tmp_path: Path):
    program = (
        "import sys; from pyro_assets.jobs.beats import Beats; from pyro_assets.ledger.database import Ledger; "
        "Beats(Ledger.open(sys.argv[1])).beat('child', 7); "
        "print(flush=True); sys.stdin.read()"
    )
    url = str(tmp_path / "ledger.db")
    with subprocess.Popen([sys.executable, "-c", program, url], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        child.stdout.readline()
        ledger = Ledger.open(url)
        Beats(ledger).beat("me", 8)
        assert {run: (beat.at_ms, beat.is_gone) for run, beat in Beats(ledger).beats().items()} == {
            "child": (7, False),
            "me": (8, False),
        }
        child.kill()
        # A zombie, which nobody has waited for yet, or none: it is gone in either case.
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        assert Beats(ledger).beats()["child"].is_gone
    assert Beats(ledger).beats()["child"].is_gone
    assert not Beats(ledger).beats()["me"].is_gone
    ledger.close()


def test_beats_come_until_the_end_and_survive_a_ledger_that_is_away(tmp_path: Path):
    heard = threading.Semaphore(0)

    class Sometimes(FakePipeline):
        beaten = 0

        def beat(self, run_id: str, now_ms: int) -> None:
            self.beaten += 1
            heard.release()
            if self.beaten == 2:
                raise LedgerUnavailable("away")
            super().beat(run_id, now_ms)

    fake = Sometimes()
    with beating(fake, RUN, seconds=0.001):
        for _ in range(5):
            assert heard.acquire(timeout=10)
        assert list(fake.heard) == [RUN]
    assert fake.heard == {}
    world = World(tmp_path)
    assert Beats(world.ledger).beats() == {}
    with beating(world.pipeline, RUN, seconds=60):
        Beats(world.ledger).beat(RUN, world.clock())
        world.clock.forward(7)
        assert world.clock.now_ms - Beats(world.ledger).beats()[RUN].at_ms == 7_000
    assert Beats(world.ledger).beats() == {}
    world.ledger.close()


def test_a_run_says_that_it_is_alive_and_takes_it_back(tmp_path: Path):
    ledger = Ledger.open(str(tmp_path / "ledger.db"))

    class Speaking(FakePipeline):
        alive: list[str] = []  # noqa: RUF012 - of the class, for a look from outside

        def run(self, hours, *rest, **how):
            Beats(ledger).beat(how["run_id"], 5)
            self.alive += Beats(ledger).beats()
            return super().run(hours, *rest, **how)

        def end_beats(self, run_id: str) -> None:
            super().end_beats(run_id)
            Beats(ledger).end_beats(run_id)

    fake = Speaking({"2026-11-25-13:00": hour_of_work("2026-11-25-13:00")})
    job = build_defs(resources_with(fake), start_hour="2026-11-01-00:00").resolve_job_def("live")
    with dg.DagsterInstance.ephemeral() as instance:
        result = job.execute_in_process(instance=instance, partition_key="2026-11-25-13:00")
    assert fake.alive == [result.run_id]
    assert Beats(ledger).beats() == fake.heard == {}
    ledger.close()


def test_a_run_is_heard_until_its_results_are_written():
    instance = dg.DagsterInstance.ephemeral()
    written = []

    class Ending(FakePipeline):
        def end_beats(self, run_id: str) -> None:
            super().end_beats(run_id)
            written.append(len(instance.fetch_materializations(dg.AssetKey("exported_series"), limit=5).records))

    fake = Ending({"2026-11-25-13:00": hour_of_work("2026-11-25-13:00")})
    job = build_defs(resources_with(fake), start_hour="2026-11-01-00:00").resolve_job_def("backfill")
    with instance:
        assert job.execute_in_process(instance=instance, partition_key="2026-11-25-13:00").success
    assert written == [1]


@pytest.mark.parametrize(("silent_seconds", "dead"), [(119, False), (121, True)])
def test_a_long_run_that_took_its_beat_back_may_write_that_it_succeeded(silent_seconds: int, dead: bool):
    with dg.DagsterInstance.ephemeral() as instance:
        wrote_s = started(instance, {"lane": "live"}) + 240
        event = dg.DagsterEvent("STEP_START", job_name="live", message="the step began late")
        instance.report_dagster_event(event, run_id=RUN, timestamp=wrote_s)
        now_ms = round((wrote_s + silent_seconds) * 1000)
        assert end_silent_runs(instance, FakePipeline(), now_ms, LEASE_MS) == ([RUN] if dead else [])


@pytest.mark.parametrize("job", ["merge_series", "sweep", "retention"])
def test_upkeep_says_that_it_is_alive(job: str):
    alive = []

    class Speaking(FakePipeline):
        def end_beats(self, run_id: str) -> None:
            alive.append((run_id, list(self.heard), [name for name, _ in self.upkeep]))
            super().end_beats(run_id)

    fake = Speaking()
    definition = build_defs(resources_with(fake), start_hour="2026-11-01-00:00").resolve_job_def(job)
    with dg.DagsterInstance.ephemeral() as instance:
        result = definition.execute_in_process(instance=instance)
    ((run_id, heard, done),) = alive
    assert (run_id, heard, len(done)) == (result.run_id, [result.run_id], 1)
    assert fake.heard == {}
