"""The definitions over the real pipeline and made-up segments, in one process: sensor, runs, checks, exact series."""

import threading
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from pyro_assets.definitions import build_defs
from pyro_assets.demo.proof import prove, read_series
from pyro_assets.generator.generate import generate_past
from pyro_assets.generator.manifest import ManifestWriter
from pyro_assets.generator.segments import Recipe, SegmentMaker
from pyro_assets.resources.pipeline import PipelineResource, RetentionResource
from pyro_assets.storage.bucket import open_bucket
from pyro_assets.storage.keys import hour_start_ms

START, HOUR, NEXT = "2025-03-04-00:00", "2025-03-04-08:00", "2025-03-04-09:00"
FUNCTIONS = {"net/http.HandlerFunc.ServeHTTP": "{}", "runtime.gcDrain": "{}"}


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


def made_resources(tmp_path: Path, live_since: str) -> dict[str, Any]:
    config = tmp_path / "series.yaml"
    config.write_text("functions:\n" + "".join(f"  {name!r}: '{text}'\n" for name, text in FUNCTIONS.items()))
    pipeline = PipelineResource(
        source_url=str(tmp_path / "bucket"),
        archive_url=str(tmp_path / "archive"),
        ledger_url=f"sqlite:///{tmp_path / 'ledger.db'}",
        config=str(config),
        start_date=START,
        live_since=live_since,
        live_budget_seconds=5.0,
    )
    return {"pipeline": pipeline, "retention": RetentionResource()}


@pytest.fixture
def resources(tmp_path: Path) -> dict[str, Any]:
    return made_resources(tmp_path, START)


def land(tmp_path: Path, start_ms: int, end_ms: int, rate: float = 0.01) -> None:
    """Make segments of a span of time, `rate` a second in each of two shards."""
    recipe = Recipe(seed=3, shards=2, uploads=2)
    manifest = ManifestWriter(tmp_path / "manifest.jsonl", recipe.seed, recipe.functions)
    generate_past(
        SegmentMaker(recipe),
        open_bucket(str(tmp_path / "bucket"), writable=True),
        manifest,
        start_ms=start_ms,
        end_ms=end_ms,
        rate=rate,
        stop=threading.Event(),
    )
    manifest.close()


def tick(instance: dg.DagsterInstance, resources: dict[str, Any], cursor: str | None = None) -> dg.SensorResult:
    definitions = build_defs(resources, start_hour=START)
    context = dg.build_sensor_context(instance=instance, cursor=cursor, definitions=definitions, resources=resources)
    return definitions.resolve_sensor_def("segments_landed")(context)


def execute(
    instance: dg.DagsterInstance,
    resources: dict[str, Any],
    request: dg.RunRequest,
    job: str = "backfill",
    failing: Sequence[str] = (),
    **selection: Any,
) -> dict[tuple[str, str], dict[str, Any]]:
    """Run what was requested; (asset, hour) -> the last metadata. As a backfill it is no live run, whoever asked."""
    tags = {name: value for name, value in request.tags.items() if job != "backfill" or not value.startswith("live")}
    result = (
        build_defs(resources, start_hour=START)
        .resolve_job_def(job)
        .execute_in_process(instance=instance, partition_key=request.partition_key, tags=tags, **selection)
    )
    assert result.success
    failed = [found.check_name for found in result.get_asset_check_evaluations() if not found.passed]
    assert failed == list(failing)
    return {
        (event.asset_key.to_user_string(), event.partition): {
            name: value.value for name, value in event.materialization.metadata.items() if hasattr(value, "value")
        }
        for event in result.get_asset_materialization_events()
    }


def test_two_hours_land_and_exact_series_come_out(
    tmp_path: Path, instance: dg.DagsterInstance, resources: dict[str, Any]
):
    boundary = hour_start_ms(NEXT)
    land(tmp_path, boundary - 900_000, boundary + 900_000)
    first = tick(instance, resources)
    assert [event.partition for event in first.asset_events if isinstance(event, dg.AssetMaterialization)] == [
        HOUR,
        NEXT,
    ]
    (request,) = first.run_requests
    # Ticks alone do not see what comes late: of hours that are over, it stays said that nobody has looked since.
    unseen = ["no_source_left_undone"]
    found = execute(instance, resources, request, job="live", failing=unseen)
    made = ("l1_blocks", "dimension_series", "function_series")
    assert {(name, hour) for name in made for hour in (HOUR, NEXT)} <= set(found)
    metadata = found["l1_blocks", HOUR]
    assert metadata["complete"] is False
    execute(instance, resources, dg.RunRequest(partition_key=NEXT, tags={"lane": "close"}), failing=unseen)
    closed = execute(instance, resources, dg.RunRequest(partition_key=HOUR, tags={"lane": "close"}))
    assert closed["l1_blocks", HOUR]["complete"] is True
    assert closed["l1_blocks", HOUR]["headline"].endswith("complete\n\nThis run: nothing to do.")
    assert metadata["pending"] == 0
    assert metadata["segments"] > 10
    assert metadata["blocks"] >= found["dimension_series", HOUR]["jobs_derived"] > 0
    assert metadata["read_mib"] > metadata["written_mib"] > 0
    assert metadata["dagster/row_count"] > 0
    rows = read_series(tmp_path / "archive")
    assert sum(found["dimension_series", hour]["dagster/row_count"] for hour in (HOUR, NEXT)) == len(
        rows.filter(rows["kind"] == "dimension")
    )
    proof = prove(tmp_path / "archive", tmp_path / "manifest.jsonl", FUNCTIONS)
    assert proof.equal, proof.differences[:3]
    assert not tick(instance, resources, first.cursor).run_requests


def contents(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_re_run_and_a_run_of_the_series_alone_change_nothing(
    tmp_path: Path, instance: dg.DagsterInstance, resources: dict[str, Any]
):
    begin = hour_start_ms(HOUR)
    land(tmp_path, begin, begin + 600_000)
    (request,) = tick(instance, resources).run_requests
    execute(instance, resources, request)
    files = contents(tmp_path / "archive")
    again = execute(instance, resources, dg.RunRequest(partition_key=HOUR))
    assert all(metadata["headline"].endswith("This run: nothing to do.") for metadata in again.values())
    only = execute(
        instance,
        resources,
        dg.RunRequest(partition_key=HOUR),
        asset_selection=[dg.AssetKey("function_series")],
    )
    assert set(only) == {("function_series", HOUR)}
    assert "This run: derived " in only["function_series", HOUR]["headline"]
    assert contents(tmp_path / "archive") == files


def test_a_late_upload_gets_a_run_of_its_hour_alone(tmp_path: Path, instance: dg.DagsterInstance):
    resources = made_resources(tmp_path, NEXT)
    boundary = hour_start_ms(NEXT)
    land(tmp_path, boundary, boundary + 20_000, rate=0.3)
    first = tick(instance, resources)
    (request,) = first.run_requests
    assert request.partition_key == NEXT
    execute(instance, resources, request)
    # An hour that nobody processed is history, whenever it lands.
    land(tmp_path, boundary - 20_000, boundary - 10_000, rate=0.3)
    second = tick(instance, resources, first.cursor)
    assert not second.run_requests
    assert "start a backfill" in second.skip_reason.skip_message
    execute(instance, resources, dg.RunRequest(partition_key=HOUR))
    # From then on, late uploads of it are live.
    land(tmp_path, boundary - 10_000, boundary, rate=0.3)
    third = tick(instance, resources, second.cursor)
    assert [request.partition_key for request in third.run_requests] == [HOUR]
    execute(instance, resources, third.run_requests[0])
    assert prove(tmp_path / "archive", tmp_path / "manifest.jsonl", FUNCTIONS).equal


def test_a_past_hour_that_live_listing_has_passed_by_is_read_by_the_run_that_a_person_starts(
    tmp_path: Path, instance: dg.DagsterInstance, resources: dict[str, Any]
):
    begin = hour_start_ms(NEXT)
    land(tmp_path, begin, begin + 20_000, rate=0.3)
    first = tick(instance, resources)
    # Uploaded long after their time: no tick will see them.
    land(tmp_path, begin - 600_000, begin - 500_000, rate=0.1)
    second = tick(instance, resources, first.cursor)
    assert not [event for event in second.asset_events if isinstance(event, dg.AssetMaterialization)]
    # What landed live still waits for its job, a year and more after its time.
    waits = ["nothing_needs_a_person"]
    found = execute(instance, resources, dg.RunRequest(partition_key=HOUR), job="__ASSET_JOB", failing=waits)
    metadata = found["l1_blocks", HOUR]
    assert (metadata["segments"], metadata["pending"], metadata["complete"]) == (20, 0, True)


def test_a_run_over_a_bucket_that_does_not_exist_is_no_success(
    tmp_path: Path, instance: dg.DagsterInstance, resources: dict[str, Any]
):
    said = tick(instance, resources)
    assert "has neither segments/ nor blocks/ (it is empty or does not exist)" in said.skip_reason.skip_message
    verdicts = {event.check_name: event.passed for event in said.asset_events}
    assert verdicts == {
        "source_is_pyroscopes_bucket": False,
        "nothing_is_left_out": True,
        "nothing_needs_a_person": True,
    }
    job = build_defs(resources, start_hour=START).resolve_job_def("backfill")
    result = job.execute_in_process(instance=instance, partition_key=HOUR, raise_on_error=False)
    assert not result.success
    (failure,) = result.filter_events(lambda event: event.is_step_failure)
    assert "has neither segments/ nor blocks/" in failure.step_failure_data.user_failure_data.description
    passed = {found.check_name: found.passed for found in result.get_asset_check_evaluations()}
    assert not passed["no_source_left_undone"]
