"""Faults of the program: no job is to blame, unless it alone fails; and then it waits without holding up the others."""

from pathlib import Path

import pytest
from sqlalchemy import text

from pyro_assets.errors import ProgramError
from pyro_assets.jobs.quarantine import QuarantineRecords
from pyro_assets.ledger.database import Ledger
from pyro_assets.operations import runs, ticks
from pyro_assets.planning.due import DueJobs
from pyro_assets.settings import KINDS, Settings
from tests.support.ledgers import HOUR, RETRY
from tests.support.worlds import World

BROKEN = [
    ModuleNotFoundError("No module named 'polars'"),
    AttributeError("module 'pyarrow' has no attribute 'BufferReader'"),
    TypeError("compact() got an unexpected keyword argument 'dedup'"),
    NameError("name 'np' is not defined"),
]


def rows(ledger: Ledger) -> list[tuple[object, ...]]:
    """What the ledger says of jobs, without who had them."""
    wanted = "SELECT id, state, attempts, next_attempt_ms, lease_expires_ms FROM jobs ORDER BY id"
    with ledger.read() as connection:
        return [tuple(row) for row in connection.execute(text(wanted))]


@pytest.mark.parametrize("error", BROKEN, ids=lambda error: type(error).__name__)
@pytest.mark.parametrize("jobs", [1, 2, 7])
def test_a_broken_installation_touches_no_job(world: World, error: Exception, jobs: int):
    for shard in range(1, jobs + 1):
        world.segment(-30, shard=shard)
    ticks.tick(world.pipeline)
    before = rows(world.ledger)
    world.engine.fail["compact"] = error
    for _ in range(2 * world.settings.max_attempts):
        with pytest.raises(ProgramError, match=f"{type(error).__name__}: .*no job was touched") as caught:
            runs.run(world.pipeline, [HOUR], run_id="run")
        assert caught.value.__cause__ is error
    # It does not take a failure of each of thousands of jobs to see that.
    assert world.engine.calls.count("compact") == 2 * world.settings.max_attempts * min(jobs, 3)
    assert rows(world.ledger) == before
    assert QuarantineRecords(world.ledger).kept_failures() == []
    world.engine.fail.clear()
    assert runs.run(world.open(), [HOUR], run_id="repaired")[HOUR].run.derived == jobs


def test_what_was_done_before_the_fault_stays(world: World):
    for shard in (1, 2):
        world.segment(-30, shard=shard)
    world.engine.fail["derive"] = ImportError("polars")
    with pytest.raises(ProgramError, match="2 of 2 jobs"):
        world.tick_and_run()
    report = runs.hour_report(world.pipeline, HOUR)
    assert report.jobs_by_state == {"compacted": 2}
    world.engine.fail.clear()
    assert world.tick_and_run().run.derived == 2
    assert world.archived_values() == world.source_values()


class OneBadJob(World):
    """A program that has a bug, which the data of one shard leads to."""

    def __init__(self, folder: Path, settings: Settings) -> None:
        super().__init__(folder, settings)
        healthy = self.engine.compact

        def compact(objects, dedup):
            if any(b"unlucky" in item.data for item in objects):
                raise AttributeError("'NoneType' object has no attribute 'take'")
            return healthy(objects, dedup)

        self.engine.compact = compact  # type: ignore[method-assign]
        self.pipeline = self.open()


def test_a_job_that_alone_fails_waits_longer_each_time_and_holds_up_nobody(tmp_path: Path):
    world = OneBadJob(tmp_path, Settings(job_blocks=3, max_attempts=3))
    world.segment(-100, "unlucky 1", shard=1)
    waits: list[int] = []
    for number in range(8):
        # The bad one is the oldest and comes first whenever it is due.
        for shard in range(2, 6):
            world.segment(-90 + number, shard=shard, salt=number)
        report = world.tick_and_run()
        assert report.run.derived == 4
        assert report.run.failed == 1
        assert "AttributeError: 'NoneType' object has no attribute 'take'" in report.run.errors[0]
        (bad,) = [row for row in rows(world.ledger) if row[1] == "planned"]
        assert bad[2] == 0, "no attempt is counted"
        waits.append(int(str(bad[3])) - world.clock.now_ms)
        assert DueJobs(world.pipeline.ledger).due_hours(world.pipeline.clock(), KINDS) == {}
        world.clock.now_ms = int(str(bad[3]))
    assert waits == [Settings().retry_base_ms * 2**number for number in range(6)] + [Settings().retry_cap_ms] * 2
    (kept,) = QuarantineRecords(world.ledger).kept_failures()
    assert (kept.failures, kept.given_up, kept.failure.cause) == (8, False, "AttributeError")
    world.ledger.close()


def test_a_run_that_did_something_before_knows_that_the_program_works(tmp_path: Path):
    world = OneBadJob(tmp_path, Settings(job_blocks=3))
    world.segment(-50, shard=2)
    assert world.tick_and_run().run.derived == 1
    # As a live run does that stays: in a later round the bad job is alone.
    world.segment(-100, "unlucky 1", shard=1)
    report = world.tick_and_run()
    assert (report.run.failed, report.undone_jobs) == (1, 1)
    # Another run, which has seen nothing work, does not judge by one job.
    world.clock.forward(RETRY.cap_ms / 1000)
    with pytest.raises(ProgramError):
        runs.run(world.open(), [HOUR], run_id="new")
    world.ledger.close()


def test_errors_of_data_still_count(world: World):
    world.segment(-30)
    world.engine.fail["compact"] = ValueError("bad value")
    assert world.tick_and_run().run.failed == 1
    ((_, _, attempts, _, _),) = rows(world.ledger)
    assert attempts == 1
