"""A job that never ends takes its run with it, once: then it is alone, and what is to blame is set aside."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pyro_assets.jobs.loading import JobRecords
from pyro_assets.jobs.quarantine import Pardons, QuarantineRecords
from pyro_assets.ledger.database import Ledger
from tests.support import golden_bucket, hanging_run

GOLDEN = golden_bucket.committed()
HOUR = "2026-11-25-09:00"
SEGMENTS = sum(map(len, GOLDEN.jobs))


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    found = Ledger.open(str(tmp_path / "ledger.db"))
    yield found
    found.close()


def run(folder: Path, *arguments: str, **settings: str) -> "subprocess.CompletedProcess[str]":
    places = {
        "SOURCE_URL": str(GOLDEN.root),
        "ARCHIVE_URL": str(folder / "archive"),
        "LEDGER_URL": str(folder / "ledger.db"),
        "JOB_SECONDS": "3",
        "JOB_BLOCKS": "4",
    }
    env = os.environ | {f"PYRO_ASSETS_{name}": value for name, value in (places | settings).items()}
    program = [sys.executable, hanging_run.__file__, *arguments]
    return subprocess.run(program, env=env, capture_output=True, text=True, check=False, timeout=300)


def is_ended(done: "subprocess.CompletedProcess[str]", ledger: Ledger) -> Any:
    """It ended with status 1, its stacks and a sentence, which the ledger knows, too."""
    assert done.returncode == 1
    assert "Timeout (0:00:03)!" in done.stderr
    assert f'File "{hanging_run.__file__}", line' in done.stderr
    (kept,) = [one for one in QuarantineRecords(ledger).kept_failures() if one.failure.cause == "LimitExceeded"]
    assert (kept.subject, kept.failures, kept.given_up) == ("job", 1, False)
    job, _ = JobRecords(ledger).look_up(kept.subject_id)
    assert hanging_run.GUILTY in [source.key for source in job.sources]
    assert f"Error: job {job.id} of {HOUR}, shard {job.shard}: it took more than 3 s (PYRO_ASSETS_JOB_" in done.stderr
    assert kept.failure.message == f"it took more than 3 s, and the run {job.run_id} was ended with it"
    return job


def wait_is_over(ledger: Ledger) -> None:
    with ledger.write() as connection:
        connection.exec_driver_sql("UPDATE jobs SET next_attempt_ms = 0")


@pytest.mark.service  # a minute, most of it the limits of runs that are ended
@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_job_that_hangs_ends_its_run_and_is_isolated_by_the_next_one(tmp_path: Path, ledger: Ledger, workers: str):
    job = is_ended(run(tmp_path, "cli", "run", "--json"), ledger)
    wait_is_over(ledger)
    again = run(tmp_path, "cli", "run", "--json", WORKERS=workers)
    assert (again.returncode, "Timeout" in again.stderr) == (1, False)
    report = json.loads(again.stdout)["hours"][HOUR]
    # In this one run all others were done, and the job was halved down to the one that hangs.
    assert report["sources_by_state"]["done"] == SEGMENTS - 1
    assert f"job {job.id} of {HOUR}, shard 4: LimitExceeded: it took more than 3 s (split" in report["run"]["errors"][0]
    # It has another chance, which a slow machine may take in the same run.
    wait_is_over(ledger)
    run(tmp_path, "cli", "run", "--json", WORKERS=workers)
    (aside,) = Pardons(ledger).unheld_sources(HOUR)
    assert (aside.key, aside.state, aside.reason) == (
        hanging_run.GUILTY,
        "set_aside",
        "LimitExceeded: it took more than 3 s",
    )
    assert [one.subject_id for one in QuarantineRecords(ledger).kept_failures()] == [hanging_run.GUILTY]


def test_a_run_of_dagster_that_a_job_ends_is_noted_too(tmp_path: Path, ledger: Ledger):
    assert run(tmp_path, "cli", "rescan", "--from", "2026-11-25T09", "--to", "2026-11-25T10").returncode == 0
    run_id = "11111111-0000-4000-8000-000000000000"
    job = is_ended(run(tmp_path, "dagster", HOUR, run_id), ledger)
    assert job.run_id == run_id
    assert (
        QuarantineRecords(ledger).last_words(run_id) == f"it took more than 3 s, and the run {run_id} was ended with it"
    )
    assert QuarantineRecords(ledger).last_words("another") == ""
