"""Upkeep in Dagster: when its jobs run, what they ask for, and what people see of it."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from pyro_assets.archive.hours import HourCompaction
from pyro_assets.archive.merge import MergeReport
from pyro_assets.archive.retain import Expired, Keep, RetentionReport
from pyro_assets.definitions import build_defs
from pyro_assets.defs.jobs import RANGE_END, RANGE_START
from pyro_assets.defs.retention import old_runs, prune
from pyro_assets.planning.sweep import RescanReport
from tests.support.dagster_disk import instance_in
from tests.support.fake_pipeline import FakePipeline, hour_of_work, resources_with

HOUR = "2026-11-20-03:00"
START = "2026-11-20-00:00"


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    with instance_in(tmp_path) as instance:
        yield instance


def run(instance: dg.DagsterInstance, fake: FakePipeline, job: str, config: Any = None, **settings: Any) -> Any:
    """The result of a job, and the metadata of its only step."""
    definition = build_defs(resources_with(fake, **settings), start_hour=START).resolve_job_def(job)
    result = definition.execute_in_process(instance=instance, run_config=config, raise_on_error=False)
    outputs = result.filter_events(lambda event: event.is_successful_output)
    metadata = outputs[0].step_output_data.metadata if outputs else {}
    return result, {name: value.value for name, value in metadata.items()}


def test_merging_says_what_it_did(instance: dg.DagsterInstance):
    fake = FakePipeline(merged=MergeReport({HOUR: 80}, 80, 2, 5000, 900, ["2026-11-20-04:00"], 3))
    result, metadata = run(instance, fake, "merge_series")
    assert result.success
    assert result.dagster_run.tags["lane"] == "upkeep"
    assert (metadata["hours"], metadata["files before"], metadata["files after"], metadata["left"]) == (1, 80, 2, 3)
    assert metadata["not at rest"] == "2026-11-20-04:00"
    assert fake.closed == fake.opened == 1


def test_the_sweep_goes_on_at_its_pace_and_late_uploads_are_seen(instance: dg.DagsterInstance):
    fake = FakePipeline(swept=RescanReport(500, {HOUR: 7}, planned_jobs=1))
    result, metadata = run(instance, fake, "sweep", sweep_keys=123)
    assert result.success
    assert fake.upkeep == [("sweep", {"max_keys": 123})]
    assert (metadata["late uploads"], metadata["round"]) == (7, "the round goes on with the next run")
    [record] = instance.fetch_materializations(dg.AssetKey("segments"), limit=10).records
    assert (record.partition_key, record.run_id) == (HOUR, "")
    assert record.asset_materialization.metadata["segments"].value == 7


def test_a_sweep_whose_listing_fails_is_red(instance: dg.DagsterInstance):
    fake = FakePipeline(swept=RescanReport(500, failures=["503 SlowDown"]))
    result, _ = run(instance, fake, "sweep")
    assert not result.success
    assert "503 SlowDown" in str(result.all_events)


def test_retention_lists_unless_it_is_told_to_remove(instance: dg.DagsterInstance):
    gone = [Expired("blocks", HOUR, 8, 1000), Expired("ledger", HOUR, 0, 0, rows=16)]
    fake = FakePipeline(retained=RetentionReport(gone, {"series: a receiver lacks samples": 2}))
    for apply in (False, True):
        config = {"ops": {"remove_what_is_old": {"config": {"apply": apply}}}} if apply else None
        result, metadata = run(instance, fake, "retention", config, keep_blocks_days=30, keep_ledger_days=90)
        assert result.success
        assert fake.upkeep.pop() == ("retain", {"keep": Keep(blocks=30, ledger=90), "apply": apply})
        assert (metadata["applied"], metadata["objects"], metadata["rows"]) == (apply, 8, 16)
        assert metadata["kept though old"] == {"series: a receiver lacks samples": 2}
        assert f"| blocks | {HOUR} | 8 | 0 | 0.0 |" in metadata["what"]


def test_retention_deletes_old_runs_of_any_kind(instance: dg.DagsterInstance):
    fake = FakePipeline({HOUR: hour_of_work(HOUR)})
    definition = build_defs(resources_with(fake), start_hour=START).resolve_job_def("backfill")
    backfill = definition.execute_in_process(instance=instance, partition_key=HOUR).run_id
    now = datetime.now(UTC)
    assert old_runs(instance, now + timedelta(days=400), 0) == []
    assert old_runs(instance, now + timedelta(days=29), 30) == []
    assert [found.run_id for found in old_runs(instance, now + timedelta(days=31), 30)] == [backfill]
    tiny = 1e-9  # days: everything is old at once
    _, listed = run(instance, fake, "retention", keep_backfill_runs_days=tiny)
    assert listed["runs"] == 1
    assert instance.get_run_by_id(backfill)
    config = {"ops": {"remove_what_is_old": {"config": {"apply": True}}}}
    _, metadata = run(instance, fake, "retention", config, keep_backfill_runs_days=tiny)
    assert metadata["runs"] == 2  # the dry run too, and not the one that does it
    assert instance.get_run_by_id(backfill) is None
    # What it said last stays.
    filter_ = dg.AssetRecordsFilter(dg.AssetKey("l1_blocks"), asset_partitions=[HOUR])
    [record] = instance.fetch_materializations(filter_, limit=5).records
    assert record.run_id == ""


def test_runs_of_upkeep_do_not_pile_up(instance: dg.DagsterInstance):
    fake = FakePipeline()
    run(instance, fake, "sweep")
    run(instance, fake, "merge_series")
    now = datetime.now(UTC)
    assert prune(instance, fake, now + timedelta(hours=2), timedelta(hours=1)) == 1
    assert [left.job_name for left in instance.get_runs()] == ["merge_series"]
    assert prune(instance, fake, now + timedelta(days=8), timedelta(hours=1)) == 1


def test_runs_that_are_found_twice_are_counted_once(instance: dg.DagsterInstance, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("pyro_assets.defs.retention._RUNS_A_TICK", 10)
    tags = {"lane": "upkeep"}
    for number in range(11):
        job = "sweep" if number < 6 else "merge_series"
        instance.add_run(dg.DagsterRun(job_name=job, tags=tags, status=dg.DagsterRunStatus.SUCCESS))
    later = datetime.now(UTC) + timedelta(days=8)
    assert prune(instance, FakePipeline(), later, timedelta(hours=1)) == 10
    assert prune(instance, FakePipeline(), later, timedelta(hours=1)) == 1


@pytest.mark.parametrize(
    ("settings", "sweeps"),
    [
        ({}, True),
        ({"sweep_keys": 0}, False),
        ({"keep_series_days": 400}, True),
        ({"keep_backfill_runs_days": 30}, True),
    ],
)
def test_schedules(settings: dict[str, Any], sweeps: bool):
    resources = resources_with(FakePipeline(), **settings)
    definitions = build_defs(resources, start_hour=START)
    hourly = definitions.resolve_schedule_def("merge_every_hour")
    assert (hourly.cron_schedule, hourly.default_status) == ("7 * * * *", dg.DefaultScheduleStatus.RUNNING)
    asked = {}
    for name in ("sweep_every_ten_minutes", "retention_every_night"):
        schedule = definitions.resolve_schedule_def(name)
        assert schedule.default_status == dg.DefaultScheduleStatus.RUNNING
        asked[name] = schedule(dg.build_schedule_context(resources=resources))
    assert isinstance(asked["sweep_every_ten_minutes"], dg.RunRequest if sweeps else dg.SkipReason)
    retention = asked["retention_every_night"]
    # Every night, whatever is kept: files leave the table.
    assert isinstance(retention, dg.RunRequest)
    assert retention.run_config["ops"]["remove_what_is_old"]["config"] == {"apply": True}


def compact(instance: dg.DagsterInstance, fake: FakePipeline, **tags: str) -> Any:
    job = build_defs(resources_with(fake), start_hour=START).resolve_job_def("hour_blocks")
    return job.execute_in_process(instance=instance, tags=tags, raise_on_error=False)


def test_blocks_of_hours_are_made_for_hours_that_lack_them(instance: dg.DagsterInstance):
    hours = ["2026-11-20-03:00", "2026-11-20-04:00", "2026-11-20-06:00"]
    fake = FakePipeline(compacted={hour: HourCompaction(hour, 3, 30, 40, 9000, 5000, 100, 77) for hour in hours})
    resources = resources_with(fake)
    schedule = build_defs(resources, start_hour=START).resolve_schedule_def("hour_blocks_every_hour")
    assert (schedule.cron_schedule, schedule.default_status) == ("11 * * * *", dg.DefaultScheduleStatus.RUNNING)
    asked = list(schedule(dg.build_schedule_context(resources=resources)))
    ranges = [(one.tags[RANGE_START], one.tags[RANGE_END]) for one in asked]
    assert ranges == [(hours[0], hours[1]), (hours[2], hours[2])]
    result = compact(instance, fake, **asked[0].tags)
    assert result.success
    assert fake.upkeep == [("compact", {"hours": hours[:2]})]
    made = {event.partition: event.materialization.metadata for event in result.get_asset_materialization_events()}
    assert [made[hour]["jobs"].value for hour in hours[:2]] == [30, 30]
    (check,) = result.get_asset_check_evaluations()
    assert (check.passed, check.description) == (True, "60 jobs compared; all profiles and totals equal")
    # What it said of an hour outlives its run.
    assert prune(instance, fake, datetime.now(UTC) + timedelta(days=8), timedelta(hours=1)) == 1
    wanted = dg.AssetRecordsFilter(dg.AssetKey("hour_blocks"), asset_partitions=hours[:1])
    (record,) = instance.fetch_materializations(wanted, limit=5).records
    assert (record.run_id, record.asset_materialization.metadata["profiles"].value) == ("", 77)
    for report in fake.compacted.values():
        report.is_done = True
    (skipped,) = schedule(dg.build_schedule_context(resources=resources))
    assert isinstance(skipped, dg.SkipReason)


def test_hours_that_are_left_as_they_are_fail_the_check(instance: dg.DagsterInstance):
    fake = FakePipeline(compacted={HOUR: HourCompaction(HOUR, damaged=["acme in shard 4: key is missing"])})
    result = compact(instance, fake, **{RANGE_START: HOUR, RANGE_END: HOUR})
    assert result.success
    (check,) = result.get_asset_check_evaluations()
    assert not check.passed
    assert "key is missing" in check.description
    fake.compacted = {}
    result = compact(instance, fake, **{RANGE_START: HOUR, RANGE_END: HOUR})
    assert result.success
    (event,) = result.get_asset_materialization_events()
    assert "not over yet" in event.materialization.metadata["headline"].value
