"""Several processes give the bytes of one; one that dies, or does not end, takes only its own job with it."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pyro_assets.app import App, open_app
from pyro_assets.block.reader import RawObject
from pyro_assets.compaction.compact import Compacted, Dedup, compact
from pyro_assets.errors import ProgramError, TooLarge
from pyro_assets.jobs.pool import Died, Limits, Pool
from pyro_assets.jobs.quarantine import QuarantineRecords
from pyro_assets.operations import runs
from pyro_assets.rules.config import SeriesConfig
from pyro_assets.settings import Settings
from tests.support import golden_bucket
from tests.support.obedient import Endless, Unloadable, obey

GOLDEN = golden_bucket.committed()


def opened(folder: Path, **settings: Any) -> App:
    return open_app(
        str(GOLDEN.root),
        str(folder / "archive"),
        str(folder / "ledger.db"),
        settings=Settings(**settings),
        config=SeriesConfig(),
    )


def objects(folder: Path) -> dict[str, bytes]:
    root = folder / "archive"
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


#: Segments whose reading takes more memory than there is.
GREEDY = golden_bucket.committed().jobs[0][2].removeprefix("segments/")


def greedy_compact(objects: Sequence[RawObject], dedup: Dedup) -> Compacted:
    """Compacts, and eats memory over one object."""
    if any(item.object_key.endswith(GREEDY) for item in objects):
        eaten = bytearray(600 << 20)
        eaten[::4096] = b"x" * len(eaten[::4096])
        time.sleep(60)
    return compact(objects, dedup=dedup)


def answers(pool: Pool, *tasks: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    left = list(tasks)
    while left or pool.tasks:
        while left and pool.has_room:
            pool.submit(left.pop(0))
        found |= dict(pool.wait(5))
    return found


def test_a_process_that_dies_takes_its_own_task_only():
    with Pool(obey, None, 2) as pool:
        found = answers(pool, "a", "die", "b", "c")
    assert {name: found[name] for name in "abc"} == {name: f"did {name}" for name in "abc"}
    assert found["die"] == Died("its process ended with exit code -9")


def test_tasks_lie_ready_and_survive_the_process_that_had_them_before_it():
    with Pool(obey, None, 1) as pool:
        # Larger than a pipe.
        large = "x" * 100_000
        for task in ("die", large):
            pool.submit(task)
        assert not pool.has_room
        assert pool.tasks == ["die", large]
        found = dict(pool.wait(30))
        assert found == {"die": Died("its process ended with exit code -9")}
        assert answers(pool, "a", "b") == {large: f"did {large}", "a": "did a", "b": "did b"}
        # Answers and tasks that are larger than any pipe do not wait for each other.
        huge = [str(number) * 1_000_000 for number in range(6)]
        assert answers(pool, *huge) == {task: f"did {task}" for task in huge}


def test_time_is_counted_from_the_begin_of_a_task_not_from_its_submission():
    with Pool(obey, None, 1, Limits(seconds=1.5)) as pool:
        naps = ["doze 1", "doze 2", "doze 3"]
        assert answers(pool, *naps) == {nap: f"did {nap}" for nap in naps}


def test_limits_stop_a_task():
    with Pool(obey, None, 2, Limits(seconds=1)) as pool:
        found = answers(pool, "sleep", "a")
    assert found == {"sleep": Died("it took more than 1 s", "time"), "a": "did a"}
    with Pool(obey, None, 1, Limits(memory_bytes=300 << 20)) as pool:
        found = answers(pool, "eat", "a")
    assert (found["eat"].limit, found["a"]) == ("memory", "did a")


def test_several_processes_give_the_bytes_of_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("pyro_assets.jobs.run._wants_pool", lambda worker, *_: worker.processes > 1)
    for name, workers in (("one", 1), ("two", 2)):
        with opened(tmp_path / name, workers=workers) as pipeline:
            reports = runs.run_exact(pipeline, GOLDEN.jobs, run_id="run")
            assert sum(report.run.derived for report in reports.values()) == len(GOLDEN.jobs)
            assert sum(report.run.compacted for report in reports.values()) == len(GOLDEN.jobs)
            assert runs.run_exact(pipeline, GOLDEN.jobs, run_id="run")
    assert objects(tmp_path / "one") == objects(tmp_path / "two")


#: With a limit of memory every job is computed in a process that may be ended.
MUCH = 1 << 30


def test_a_job_that_exceeds_a_limit_is_split_down_to_single_sources_which_have_another_chance(tmp_path: Path):
    limits = {"job_seconds": 0.000001, "job_memory_mib": MUCH}
    with opened(tmp_path, **limits) as pipeline:
        [(hour, report)] = runs.run_exact(pipeline, [GOLDEN.jobs[0][:3]], run_id="run").items()
        assert all("LimitExceeded: it took more than" in error for error in report.run.errors)
        # Of three and of two sources; then each source alone, in the same run.
        assert [error.endswith("(split into 2 smaller jobs)") for error in report.run.errors].count(True) == 2
        assert (report.run.failed, report.jobs_by_state) == (5, {"split": 2, "planned": 3})
    later = time.time_ns() // 1_000_000 + 600_000
    # Without the limit, or on a machine that is not busy any more, they are done.
    with opened(tmp_path) as pipeline:
        pipeline = replace(pipeline, clock=lambda: later)
        report = runs.run(pipeline, [hour], run_id="run")[hour]
    assert report.jobs_by_state == {"split": 2, "derived": 3}
    assert report.sources_by_state == {"done": 3}
    assert QuarantineRecords(pipeline.ledger).kept_failures() == []


def test_a_source_that_needs_too_much_memory_is_set_aside_and_the_others_go_on(tmp_path: Path):
    keys = GOLDEN.jobs[0][:4]
    assert keys[2].endswith(GREEDY)
    with opened(tmp_path, job_memory_mib=450) as pipeline:
        pipeline = replace(pipeline, engine=replace(pipeline.engine, compact=greedy_compact))
        now_ms = time.time_ns() // 1_000_000
        pipeline = replace(pipeline, clock=lambda: now_ms)
        [hour] = runs.run_exact(pipeline, [keys], run_id="run")
        # Halved, halved again, two chances of the single source; what is done waits for nobody.
        for _ in range(4):
            now_ms += 600_000
            report = runs.run(pipeline, [hour], run_id="run")[hour]
    assert report.sources_by_state == {"done": 3, "set_aside": 1}
    assert [(aside.key, "its process used" in aside.reason) for aside in report.set_aside] == [(keys[2], True)]
    assert report.jobs_by_state == {"split": 2, "derived": 3}


def large_compact(objects: Sequence[RawObject], dedup: Dedup) -> Compacted:
    """Two sources need more memory than there may be; one never does."""
    if len(objects) > 1:
        raise TooLarge(needed_bytes=len(objects) << 20, most_bytes=3 << 19)
    return compact(objects, dedup=dedup)


@pytest.mark.parametrize("limits", [{}, {"job_memory_mib": MUCH}], ids=["alone", "processes"])
def test_sources_that_need_too_much_memory_together_are_dealt_to_smaller_jobs(tmp_path: Path, limits: dict[str, int]):
    with opened(tmp_path, **limits) as pipeline:
        pipeline = replace(pipeline, engine=replace(pipeline.engine, compact=large_compact))
        [(hour, report)] = runs.run_exact(pipeline, [GOLDEN.jobs[0][:3]], run_id="run").items()
        # Of three sources two jobs, of the larger one two again: nothing has failed, and no other run is needed.
        assert (report.run.failed, report.run.errors, report.run.derived) == (0, [], 3)
        assert report.jobs_by_state == {"split": 2, "derived": 3}
        assert report.sources_by_state == {"done": 3}
        assert QuarantineRecords(pipeline.ledger).kept_failures() == []
        assert runs.run(pipeline, [hour], run_id="again")[hour].run.derived == 0


def test_a_job_is_bounded_by_what_its_size_allows(tmp_path: Path):
    with opened(tmp_path, job_mib=100) as pipeline:
        compactor = runs.worker_of(pipeline, "run", frozenset()).compactor
        assert compactor.engine.compact.keywords == {"most_bytes": 100 << 20}
        assert compactor.engine.compact_rest.keywords == {"most_bytes": 100 << 20}
    assert Settings(job_mib=0.001).most_memory_bytes == 64 << 20


def test_where_no_process_comes_up_the_run_does_the_work_itself(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("pyro_assets.jobs.run._wants_pool", lambda *_: True)
    looked: list[tuple[object, ...]] = []
    monkeypatch.setattr("pyro_assets.jobs.pool.Pool.come_up", lambda *asked: looked.append(asked))
    with opened(tmp_path, workers=2) as pipeline:
        reports = runs.run_exact(pipeline, GOLDEN.jobs, run_id="run")
    assert sum(report.run.derived for report in reports.values()) == len(GOLDEN.jobs) > 1
    # It does not wait for them.
    assert {asked[1:] for asked in looked} == {(0.0,)}


def fail_to_import(objects: Sequence[RawObject], dedup: Dedup) -> Compacted:
    """An installation that lacks something, in every process."""
    raise ModuleNotFoundError("No module named 'polars'")


class Together(Pool):
    """Gives answers four at a time, as when they come while the parent is busy."""

    def wait(self, timeout_seconds: float) -> list[tuple[Any, Any]]:
        found = super().wait(timeout_seconds)
        while self.tasks and len(found) < 4:
            found += super().wait(timeout_seconds)
        return found


def test_a_broken_installation_leaves_no_job_with_a_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("pyro_assets.jobs.run.Pool", Together)
    with opened(tmp_path, workers=2, job_memory_mib=MUCH) as pipeline:
        pipeline = replace(pipeline, engine=replace(pipeline.engine, compact=fail_to_import))
        with pytest.raises(ProgramError, match="no job was touched"):
            runs.run_exact(pipeline, [[key] for key in GOLDEN.jobs[0][:8]], run_id="run")
        with pipeline.ledger.read() as connection:
            held = connection.exec_driver_sql("SELECT attempts, lease_expires_ms FROM jobs").fetchall()
    # Also those that had been answered when the third failure said what is wrong.
    assert [tuple(row) for row in held] == [(0, 0)] * 8


def test_a_process_that_cannot_start_is_noticed():
    with Pool(obey, Unloadable(), 1) as pool:
        assert not pool.come_up(30)


def test_a_process_that_never_comes_up_is_ended():
    with Pool(obey, Endless(), 1) as pool:
        assert not pool.come_up(0.1)
        (slot,) = pool._slots
    assert slot.process.exitcode == -signal.SIGKILL


PARENT = """
import os
import signal
from pyro_assets.jobs.pool import Pool
from tests.support.obedient import obey
if __name__ == "__main__":
    with Pool(obey, None, 1) as pool:
        pool.submit("pid")
        while not (found := pool.wait(5)):
            pass
        print(found[0][1], flush=True)
        os.kill(os.getpid(), signal.SIGKILL)
"""


def test_processes_end_with_a_parent_that_is_killed(tmp_path: Path):
    (tmp_path / "parent.py").write_text(PARENT)
    environment = os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])}
    program = [sys.executable, tmp_path / "parent.py"]
    with subprocess.Popen(program, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment) as parent:
        # The child has the pipe, too: it ends when both are gone.
        shown, _ = parent.communicate(timeout=60)
    assert parent.returncode == -signal.SIGKILL
    assert int(shown) != parent.pid
