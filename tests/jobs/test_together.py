"""Several due jobs in one go leave what each leaves alone: in the archive byte for byte, in the ledger row for row."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pyro_assets.app import App, open_app
from pyro_assets.jobs import compute, derive
from pyro_assets.operations import runs
from pyro_assets.rules.config import SeriesConfig, parse_config
from tests.support import golden_bucket

GOLDEN = golden_bucket.committed()
#: What a run says of when and by whom, and of how long it took.
_OF_THE_RUN = ("_ms", "seconds", "run_id", "fence")


def opened(source: Path, folder: Path, config: SeriesConfig) -> App:
    return open_app(str(source), str(folder / "archive"), str(folder / "ledger.db"), config=config)


def left(pipeline: App, folder: Path) -> tuple[dict[str, bytes], dict[str, list[dict[str, Any]]]]:
    """All objects and all rows."""
    root = folder / "archive"
    objects = {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}
    rows = {}
    with pipeline.ledger.read() as connection:
        for table in ("jobs", "sources", "outputs", "series_files", "quarantine"):
            found = connection.exec_driver_sql(f"SELECT * FROM {table}").mappings()
            told = [{name: one for name, one in row.items() if not name.endswith(_OF_THE_RUN)} for row in found]
            rows[table] = sorted(told, key=lambda row: json.dumps(row, default=str))
    return objects, rows


def untouched(_: Path) -> None:
    """Nothing is wrong."""


def broken(bucket: Path) -> None:
    path = bucket / GOLDEN.jobs[1][0]
    path.write_bytes(path.read_bytes()[:-200])


def gone(bucket: Path) -> None:
    (bucket / GOLDEN.jobs[1][0]).unlink()


@pytest.fixture(scope="module")
def config() -> SeriesConfig:
    return parse_config((GOLDEN.root / "rules.json").read_text(), "rules.json")


def run(
    bucket: Path, folder: Path, config: SeriesConfig, change: Callable[[Path], None], leftover: bool = False
) -> tuple[dict[str, bytes], dict[str, list[dict[str, Any]]]]:
    with opened(bucket, folder, config) as pipeline:
        # Planned while all is there.
        jobs = [keys[:4] for keys in GOLDEN.jobs]
        wanted = [[runs.found(pipeline, key) for key in keys] for keys in jobs]
        policy = runs.Modes(pipeline.ledger).enter_mode(runs.policy_of(pipeline.settings), 1)
        runs.Planner(pipeline.ledger).plan_exact(wanted, 1, policy)
        if leftover:
            for path in (folder.parent / "clean" / "archive" / "blocks").rglob("block.bin"):
                key = str(path.relative_to(folder.parent / "clean" / "archive"))
                pipeline.archive.create(key, b"of another version")
        change(bucket)
        hours = sorted({one.block.hour for job in wanted for one in job})
        reports = runs.run(pipeline, hours, run_id="run")
        assert sum(report.run.derived for report in reports.values()) == len(jobs)
        return left(pipeline, folder)


@pytest.mark.parametrize("change", [untouched, broken, gone])
def test_what_is_left_is_what_each_job_leaves_alone(
    tmp_path: Path, config: SeriesConfig, change: Callable[[Path], None], monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[int] = []

    def compact_jobs(jobs: Any, dedup: Any, most_bytes: int = 0) -> Any:
        made.append(len(jobs))
        return own(jobs, dedup, most_bytes)

    def compute_alone(task: compute.Task, *args: Any) -> None:
        alone.append(task.job.id)
        return one(task, *args)

    alone: list[str] = []
    own, one = derive._compact_jobs, compute._compute_alone
    monkeypatch.setattr(compute, "_compute_alone", compute_alone)
    monkeypatch.setattr(derive, "_compact_jobs", compact_jobs)
    found = []
    for name, together in (("alone", 1), ("together", 8)):
        monkeypatch.setattr("pyro_assets.jobs.run.MOST_TOGETHER", together)
        bucket = golden_bucket_copy(tmp_path / name / "bucket")
        found.append(run(bucket, tmp_path / name, config, change))
    assert found[0] == found[1]
    # A source that is gone shows before anything is compacted.
    assert made == ([] if change is gone else [len(GOLDEN.jobs)])
    assert len(alone) == len(GOLDEN.jobs) * (1 if change is untouched else 2)


def golden_bucket_copy(folder: Path) -> Path:
    for keys in GOLDEN.jobs:
        for key in keys[:4]:
            (folder / key).parent.mkdir(parents=True)
            (folder / key).write_bytes(GOLDEN.read(key))
    return folder


def test_blocks_that_a_crash_left_are_replaced(tmp_path: Path, config: SeriesConfig) -> None:
    clean = run(golden_bucket_copy(tmp_path / "one"), tmp_path / "clean", config, untouched)
    assert run(golden_bucket_copy(tmp_path / "two"), tmp_path / "again", config, untouched, leftover=True) == clean
