"""Housekeeping: what is checked when, and that what a live run said last outlives the run."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest
from fake_pipeline import FakePipeline, hour_of_work, resources_with

from pyro_assets.definitions import build_defs
from pyro_assets.defs.housekeeping import Kept, keep_house, newly_closed
from pyro_assets.defs.retention import hours_of, prune

ASSETS = ("l1_blocks", "dimension_series", "function_series")
HOUR, NEXT = "2026-11-20-03:00", "2026-11-20-04:00"
START = "2026-11-20-00:00"
SETTLE_MS = 120_000
KEEP = timedelta(hours=1)


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    # On disk, because pruning must also remove the files that Dagster leaves.
    with dg.DagsterInstance.local_temp(str(tmp_path), overrides={"telemetry": {"enabled": False}}) as instance:
        yield instance


@pytest.fixture
def fake() -> FakePipeline:
    return FakePipeline({HOUR: hour_of_work(HOUR), NEXT: hour_of_work(NEXT)})


def run(instance: dg.DagsterInstance, fake: FakePipeline, *hours: str, job: str = "live") -> str:
    tags = {"dagster/asset_partition_range_start": hours[0], "dagster/asset_partition_range_end": hours[-1]}
    result = (
        build_defs(resources_with(fake), start_hour=START)
        .resolve_job_def(job)
        .execute_in_process(
            instance=instance,
            partition_key=hours[0] if len(hours) == 1 else None,
            tags=tags if len(hours) > 1 else {},
            raise_on_error=False,
        )
    )
    return result.run_id


def latest(instance: dg.DagsterInstance, asset: str, hour: str) -> dg.EventLogRecord | None:
    filter_ = dg.AssetRecordsFilter(dg.AssetKey(asset), asset_partitions=[hour])
    records = instance.fetch_materializations(filter_, limit=1).records
    return records[0] if records else None


def soon() -> datetime:
    return datetime.now(UTC) + timedelta(minutes=5)


def much_later() -> datetime:
    return datetime.now(UTC) + KEEP + timedelta(minutes=5)


def test_old_live_runs_go_and_their_figures_stay(instance: dg.DagsterInstance, fake: FakePipeline, tmp_path: Path):
    run_id = run(instance, fake, HOUR)
    file = tmp_path / "history" / "runs" / f"{run_id}.db"
    assert file.is_file()
    assert prune(instance, fake, soon(), KEEP) == 0
    assert prune(instance, fake, much_later(), KEEP) == 1
    assert instance.get_run_by_id(run_id) is None
    assert not file.exists()
    assert not (tmp_path / "storage" / run_id).exists()
    for asset in ASSETS:
        record = latest(instance, asset, HOUR)
        assert record.run_id == ""
        metadata = record.asset_materialization.metadata
        assert metadata["segments"].value == 40
        assert metadata["run"].value == "none: these figures outlive the runs"
    assert prune(instance, fake, much_later(), KEEP) == 0


def test_an_hour_with_a_younger_run_needs_no_seal(instance: dg.DagsterInstance, fake: FakePipeline):
    old = run(instance, fake, HOUR)
    middle = datetime.now(UTC)
    young = run(instance, fake, HOUR)
    assert prune(instance, fake, middle + KEEP, KEEP) == 1
    assert instance.get_run_by_id(old) is None
    assert latest(instance, "l1_blocks", HOUR).run_id == young


def test_a_range_run_is_sealed_in_each_hour(instance: dg.DagsterInstance, fake: FakePipeline):
    run(instance, fake, HOUR, NEXT)
    prune(instance, fake, much_later(), KEEP)
    assert latest(instance, "l1_blocks", HOUR).run_id == latest(instance, "l1_blocks", NEXT).run_id == ""


def test_backfills_and_failures_stay(instance: dg.DagsterInstance, fake: FakePipeline):
    backfill = run(instance, fake, HOUR, job="backfill")
    fake.failing[NEXT] = "broken"
    failed = run(instance, fake, NEXT)
    assert prune(instance, fake, much_later(), KEEP) == 0
    assert instance.get_run_by_id(backfill)
    assert prune(instance, fake, much_later() + timedelta(days=8), KEEP) == 1
    assert instance.get_run_by_id(failed) is None


def test_what_a_failed_run_did_not_materialise_is_not_sealed(instance: dg.DagsterInstance, fake: FakePipeline):
    fake.failing[HOUR] = "broken"
    run(instance, fake, HOUR)
    prune(instance, fake, much_later() + timedelta(days=8), KEEP)
    assert latest(instance, "l1_blocks", HOUR) is not None
    assert latest(instance, "dimension_series", HOUR) is None


def keep(instance: dg.DagsterInstance, fake: FakePipeline, cursor: str | None, now: datetime) -> dg.SensorResult:
    return keep_house(instance, fake, cursor, now, timedelta(0), SETTLE_MS)


def checked(result: dg.SensorResult) -> list[str]:
    requests = result.run_requests or ()
    return [hour for request in requests for hour in request.run_config["ops"]["check_hours"]["config"]["hours"]]


def test_an_hour_is_sealed_and_checked_once_it_is_over(instance: dg.DagsterInstance, fake: FakePipeline):
    run(instance, fake, HOUR)
    just_checked = Kept("2026-11-20-02:00", 2**45).to_cursor()
    for minute in (1, 2):
        result = keep(instance, fake, just_checked, datetime(2026, 11, 20, 4, minute, tzinfo=UTC))
        if minute == 1:
            # Late uploads have their time.
            assert not result.run_requests
            assert result.cursor == just_checked
            assert latest(instance, "dimension_series", HOUR).run_id
    assert checked(result) == [HOUR]
    assert latest(instance, "dimension_series", HOUR).run_id == ""
    again = keep(instance, fake, result.cursor, datetime(2026, 11, 20, 4, 3, tzinfo=UTC))
    assert again.skip_reason.skip_message == "nothing to check, seal or prune"


def test_hours_of_live_runs_are_checked_every_five_minutes(instance: dg.DagsterInstance, fake: FakePipeline):
    run(instance, fake, HOUR)
    run(instance, fake, NEXT, job="backfill")  # a backfill checks its hours itself
    now = soon()
    first = keep(instance, fake, None, now)
    assert checked(first) == [HOUR]
    assert checked(keep(instance, fake, first.cursor, now + timedelta(minutes=4))) == []
    assert checked(keep(instance, fake, first.cursor, now + timedelta(minutes=6))) == []  # nothing ran since


def test_the_job_that_is_requested_runs_both_checks(instance: dg.DagsterInstance, fake: FakePipeline):
    run(instance, fake, HOUR)
    (request,) = keep(instance, fake, None, soon()).run_requests
    job = build_defs(resources_with(fake), start_hour=START).resolve_job_def("verify")
    result = job.execute_in_process(instance=instance, run_config=request.run_config)
    assert {evaluation.check_name: evaluation.passed for evaluation in result.get_asset_check_evaluations()} == {
        "totals_equal_sources": True,
        "no_source_left_undone": True,
    }
    assert result.dagster_run.tags["lane"] == "verify"


def test_runs_of_the_checks_are_pruned_too(instance: dg.DagsterInstance, fake: FakePipeline):
    job = build_defs(resources_with(fake), start_hour=START).resolve_job_def("verify")
    job.execute_in_process(instance=instance)
    assert prune(instance, fake, much_later(), KEEP) == 1


def test_hours_that_nobody_processed_are_passed_over(instance: dg.DagsterInstance, fake: FakePipeline):
    cursor = Kept("2026-11-20-02:00", 0).to_cursor()
    result = keep(instance, fake, cursor, datetime(2026, 11, 21, 5, 0, tzinfo=UTC))
    assert not result.run_requests
    # A tick looks at ten hours, so that it ends in time; the next one goes on.
    assert Kept.from_cursor(result.cursor, 0).closed == "2026-11-20-12:00"


def test_the_first_tick_begins_with_the_running_hour():
    now_ms = round(datetime(2026, 11, 20, 3, 30, tzinfo=UTC).timestamp() * 1000)
    kept = Kept.from_cursor(None, now_ms)
    assert kept.closed == "2026-11-20-02:00"
    assert newly_closed(kept.closed, now_ms, SETTLE_MS) == ("2026-11-20-02:00", [])


@pytest.mark.parametrize(
    "cursor", ["", "{}", "[]", "null", '{"closed": "yesterday", "verified_ms": 1}', '{"closed": 3}']
)
def test_a_broken_cursor_begins_anew(cursor: str):
    assert Kept.from_cursor(cursor, 0) == Kept.from_cursor(None, 0)


@pytest.mark.parametrize(("keep_minutes", "left"), [(0, 1), (0.0001, 0)])
def test_the_sensor(instance: dg.DagsterInstance, fake: FakePipeline, keep_minutes: float, left: int):
    run(instance, fake, HOUR)
    resources = resources_with(fake, keep_runs_minutes=keep_minutes)
    definitions = build_defs(resources, start_hour=START)
    context = dg.build_sensor_context(instance=instance, definitions=definitions, resources=resources)
    result = definitions.resolve_sensor_def("housekeeping")(context)
    assert checked(result) == [HOUR]
    assert Kept.from_cursor(result.cursor, 0).verified_ms > 0
    assert instance.get_runs_count() == left


def test_hours_of_a_run():
    def hours(**tags: str) -> list[str]:
        return list(hours_of(dg.DagsterRun(job_name="live", tags={f"dagster/{name}": v for name, v in tags.items()})))

    assert hours(partition=HOUR) == [HOUR]
    assert hours(asset_partition_range_start=HOUR, asset_partition_range_end=NEXT) == [HOUR, NEXT]
    assert hours() == []
