"""The scrub in Dagster: a schedule at night, what a run shows, and a check that stays red while anything is rotten."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from pyro_assets.archive.scrub import Damage, ScrubReport
from pyro_assets.definitions import build_defs
from pyro_assets.defs.catalogue import ARCHIVE
from pyro_assets.defs.jobs import UPKEEP_SECONDS
from pyro_assets.defs.scrubbing import CHECK
from tests.support.dagster_disk import instance_in
from tests.support.fake_pipeline import FakePipeline, resources_with

START, HOUR = "2026-11-20-00:00", "2026-11-20-03:00"
ROT = Damage("series/x.parquet", HOUR, "series", "series/x.parquet has the CRC-32C 1 | and was written with 2", 5)


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    with instance_in(tmp_path) as instance:
        yield instance


def run(instance: dg.DagsterInstance, report: ScrubReport) -> Any:
    """The result of a night, its check, and its pipeline."""
    fake = FakePipeline(scrubbed=report)
    job = build_defs(resources_with(fake), start_hour=START).resolve_job_def("scrub")
    result = job.execute_in_process(instance=instance, raise_on_error=False)
    [check] = result.get_asset_check_evaluations()
    return result, check, fake


def test_a_night_shows_what_it_compared(instance: dg.DagsterInstance):
    result, check, fake = run(instance, ScrubReport([HOUR], left=2, objects=7, bytes=900))
    assert result.success
    assert (check.check_name, check.passed, check.asset_key) == (CHECK, True, dg.AssetKey(ARCHIVE))
    [(what, how)] = fake.upkeep
    assert what == "scrub"
    assert how["deadline_monotonic"] > 0
    assert result.dagster_run.tags["lane"] == "upkeep"
    assert float(result.dagster_run.tags["dagster/max_runtime"]) > UPKEEP_SECONDS
    [record] = instance.fetch_materializations(dg.AssetKey(ARCHIVE), limit=5).records
    metadata = {name: value.value for name, value in record.asset_materialization.metadata.items()}
    assert (metadata["hours"], metadata["objects"], metadata["read_mib"], metadata["left"]) == (1, 7, 0.001, 2)


def test_rot_fails_the_check_and_says_what_to_do(instance: dg.DagsterInstance):
    result, check, _ = run(instance, ScrubReport([HOUR], damaged=[ROT]))
    assert result.success
    assert not check.passed
    assert check.severity == dg.AssetCheckSeverity.ERROR
    assert "verify --archive --repair" in check.description
    assert f"| series | {HOUR} | series/x.parquet has" in check.metadata["what"].value
    _, check, _ = run(instance, ScrubReport([HOUR]))
    assert check.passed


def test_an_archive_that_does_not_answer_fails_the_run_and_not_the_check(instance: dg.DagsterInstance):
    result, check, _ = run(instance, ScrubReport(failures=[f"{HOUR}: 503"]))
    assert not result.success
    assert "503" in str(result.all_events)
    assert check.passed


def test_the_schedule_runs_every_night():
    definitions = build_defs(resources_with(FakePipeline()), start_hour=START)
    schedule = definitions.resolve_schedule_def("scrub_every_night")
    assert (schedule.job_name, schedule.default_status) == ("scrub", dg.DefaultScheduleStatus.RUNNING)
    assert schedule.cron_schedule.split()[2:] == ["*", "*", "*"]
    # Runs that process hours have nothing to do with it.
    for name in ("live", "backfill", "rules"):
        assert dg.AssetKey(ARCHIVE) not in definitions.resolve_job_def(name).asset_layer.executable_asset_keys
