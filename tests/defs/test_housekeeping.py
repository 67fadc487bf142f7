"""Housekeeping: what is checked when, and that what a live run said last outlives the run."""

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import dagster as dg
import pytest

from pyro_assets.definitions import build_defs
from pyro_assets.defs.housekeeping import keep_house, newly_closed
from pyro_assets.defs.retention import hours_of, prune
from pyro_assets.planning.sweep import RescanReport
from pyro_assets.storage.keys import HOUR_FORMAT, HOUR_MS
from tests.support.dagster_disk import instance_in
from tests.support.fake_pipeline import FakePipeline, hour_of_work, resources_with

ASSETS = ("l1_blocks", "dimension_series", "function_series")
HOUR, NEXT = "2026-11-20-03:00", "2026-11-20-04:00"
START = "2026-11-20-00:00"
SETTLE_MS = 120_000
KEEP = timedelta(hours=1)


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    # On disk, because pruning must also remove the files that Dagster leaves.
    with instance_in(tmp_path) as instance:
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
        assert "40 of 40 segments" in metadata["headline"].value or asset != "l1_blocks"
        assert metadata["headline"].value.endswith("These figures outlive the runs that made them.")
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


def requested(result: dg.SensorResult) -> list[str]:
    return [request.partition_key for request in result.run_requests or ()]


def test_an_hour_is_finished_and_checked_once_it_is_over(instance: dg.DagsterInstance, fake: FakePipeline):
    run(instance, fake, HOUR)
    before = keep(instance, fake, "2026-11-20-02:00", datetime(2026, 11, 20, 4, 1, tzinfo=UTC))
    assert not requested(before)  # late uploads have their time
    over = keep(instance, fake, before.cursor, datetime(2026, 11, 20, 4, 2, tzinfo=UTC))
    assert requested(over) == [HOUR]
    assert over.run_requests[0].tags["lane"] == "close"
    again = keep(instance, fake, over.cursor, datetime(2026, 11, 20, 4, 3, tzinfo=UTC))
    assert again.skip_reason.skip_message == "nothing to close or prune"


def test_the_run_that_closes_an_hour_is_short_lived_and_pruned_too(instance: dg.DagsterInstance, fake: FakePipeline):
    run(instance, fake, HOUR)
    (request,) = keep(instance, fake, "2026-11-20-02:00", soon()).run_requests
    definition = build_defs(resources_with(fake), start_hour=START).resolve_job_def("backfill")
    result = definition.execute_in_process(instance=instance, partition_key=HOUR, tags=request.tags)
    assert result.dagster_run.tags["lane"] == "close"
    assert "nothing_is_left_out" in {found.check_name for found in result.get_asset_check_evaluations()}
    assert prune(instance, fake, much_later(), KEEP) == 2


def test_hours_that_were_listed_and_are_empty_are_done_and_not_missing(
    instance: dg.DagsterInstance, fake: FakePipeline
):
    result = keep(instance, fake, "2026-11-20-04:00", datetime(2026, 11, 20, 7, 30, tzinfo=UTC))
    assert result.skip_reason.skip_message == ("listed and empty: 2 hours from 2026-11-20-05:00 to 2026-11-20-06:00")
    assert fake.listed == [["2026-11-20-05:00", "2026-11-20-06:00"]]
    for asset in ("segments", *ASSETS, "exported_series"):
        metadata = latest(instance, asset, "2026-11-20-06:00").asset_materialization.metadata
        assert metadata["headline"].value.startswith("listed, **0 segments**")
    assert latest(instance, "l1_blocks", "2026-11-20-04:00") is None


def test_an_hour_that_could_not_be_listed_stays_missing_and_is_listed_again(
    instance: dg.DagsterInstance, fake: FakePipeline
):
    run(instance, fake, NEXT)
    fake.seen = RescanReport(failures=["503 SlowDown"])
    result = keep(instance, fake, "2026-11-20-01:00", datetime(2026, 11, 20, 5, 30, tzinfo=UTC))
    assert (requested(result), result.cursor) == ([], "2026-11-20-01:00")
    assert result.skip_reason.skip_message == ("2026-11-20-02:00 could not be listed: 503 SlowDown")
    assert latest(instance, "l1_blocks", "2026-11-20-02:00") is None
    fake.seen = RescanReport(finished=True)
    result = keep(instance, fake, result.cursor, datetime(2026, 11, 20, 5, 31, tzinfo=UTC))
    assert (requested(result), result.cursor) == ([NEXT], NEXT)
    assert latest(instance, "l1_blocks", "2026-11-20-02:00") is not None


def test_hours_that_nobody_processed_are_passed_over(instance: dg.DagsterInstance, fake: FakePipeline):
    result = keep(instance, fake, "2026-11-20-02:00", datetime(2026, 11, 21, 5, 0, tzinfo=UTC))
    assert not result.run_requests
    # A tick looks at ten hours, so that it ends in time; the next one goes on.
    assert result.cursor == "2026-11-20-12:00"


def test_an_hour_whose_only_live_run_was_killed_is_closed_too(instance: dg.DagsterInstance, fake: FakePipeline):
    fake.hours_known[HOUR] = hour_of_work(HOUR, done=True)
    assert requested(keep(instance, fake, "2026-11-20-02:00", datetime(2026, 11, 20, 4, 2, tzinfo=UTC))) == [HOUR]


@pytest.mark.parametrize("cursor", [None, "", "yesterday", "{}"])
def test_the_first_hour_to_close_is_the_one_of_the_first_tick(cursor: str | None):
    now_ms = round(datetime(2026, 11, 20, 3, 30, tzinfo=UTC).timestamp() * 1000)
    assert newly_closed(cursor, now_ms, SETTLE_MS) == ("2026-11-20-02:00", [])
    assert newly_closed("2026-11-20-02:00", now_ms + HOUR_MS, SETTLE_MS) == (HOUR, [HOUR])


@pytest.mark.parametrize(("keep_minutes", "left"), [(0, 1), (0.0001, 0)])
def test_the_sensor(instance: dg.DagsterInstance, fake: FakePipeline, keep_minutes: float, left: int):
    run(instance, fake, HOUR)
    resources = resources_with(fake, keep_runs_minutes=keep_minutes)
    definitions = build_defs(resources, start_hour=START)
    context = dg.build_sensor_context(instance=instance, definitions=definitions, resources=resources)
    result = definitions.resolve_sensor_def("housekeeping")(context)
    assert not result.run_requests
    assert result.cursor < datetime.now(UTC).strftime(HOUR_FORMAT)
    assert instance.get_runs_count() == left


def test_hours_of_a_run():
    def hours(**tags: str) -> list[str]:
        return list(hours_of(dg.DagsterRun(job_name="live", tags={f"dagster/{name}": v for name, v in tags.items()})))

    assert hours(partition=HOUR) == [HOUR]
    assert hours(asset_partition_range_start=HOUR, asset_partition_range_end=NEXT) == [HOUR, NEXT]
    assert hours() == []
