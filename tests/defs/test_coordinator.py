"""The queue of dagster.yaml: runs from the asset graph share a lane, live ones go first and always find room."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest
import yaml
from dagster._core.code_pointer import FileCodePointer
from dagster._core.definitions.automation_tick_evaluation_context import build_run_requests_with_backfill_policies
from dagster._core.definitions.events import AssetKeyPartitionKey
from dagster._core.origin import JobPythonOrigin, RepositoryPythonOrigin
from dagster._core.remote_origin import RegisteredCodeLocationOrigin, RemoteJobOrigin, RemoteRepositoryOrigin
from dagster._core.run_coordinator import SubmitRunContext
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import EmptyWorkspaceTarget
from dagster._daemon.run_coordinator.queued_run_coordinator_daemon import QueuedRunCoordinatorDaemon

from pyro_assets.definitions import build_defs
from pyro_assets.defs.catalogue import ASSETS
from pyro_assets.defs.coordinator import lanes_problem
from pyro_assets.defs.jobs import ASKED, LANE, RANGE_END, RANGE_START
from tests.support.dagster_disk import instance_in
from tests.support.fake_pipeline import FakePipeline, resources_with

SETTINGS = Path(__file__).parents[2] / "resources" / "dagster.yaml"
HOUR = "2026-11-20-03:00"


def queue(**config: int) -> dict[str, Any]:
    """The queue of dagster.yaml, with other numbers."""
    coordinator = yaml.safe_load(SETTINGS.read_text())["run_coordinator"]
    return {"run_coordinator": coordinator | {"config": coordinator["config"] | config}}


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    with instance_in(tmp_path, **queue()) as instance:
        yield instance


def submit(instance: dg.DagsterInstance, job: str, *assets: str, tags: dict[str, str] | None = None) -> str:
    """A run in the queue, as web server and daemon put it there."""
    run = dg.DagsterRun(
        job_name=job,
        asset_selection=frozenset(map(dg.AssetKey, assets)) or None,
        tags={"dagster/partition": HOUR, **(tags or {})},
        remote_job_origin=RemoteJobOrigin(RemoteRepositoryOrigin(RegisteredCodeLocationOrigin("ours"), "ours"), job),
        job_code_origin=JobPythonOrigin(job, RepositoryPythonOrigin(sys.executable, FileCodePointer("x.py", "x"))),
    )
    instance.add_run(run)
    with WorkspaceProcessContext(instance, EmptyWorkspaceTarget()) as process:
        instance.run_coordinator.submit_run(SubmitRunContext(run, process.create_request_context()))
    return run.run_id


def dequeued(instance: dg.DagsterInstance) -> list[str]:
    """The runs that the daemon would start now."""
    daemon = QueuedRunCoordinatorDaemon(interval_seconds=1)
    return [run.run_id for run in daemon._get_runs_to_dequeue(instance, instance.get_concurrency_config(), None)]


def test_single_hours_from_the_asset_graph_go_one_at_a_time_and_never_take_lives_place(instance: dg.DagsterInstance):
    asked = [submit(instance, "__ASSET_JOB", "l1_blocks", "dimension_series") for _ in range(9)]
    asked.append(submit(instance, "__ASSET_JOB", "l1_blocks", tags={"dagster/backfill": "abcdefgh"}))
    live_tags = build_defs(resources_with(FakePipeline())).resolve_job_def("live").run_tags
    live = submit(instance, "live", "l1_blocks", tags=dict(live_tags))
    assert {instance.get_run_by_id(run).tags[LANE] for run in asked} == {ASKED}
    assert instance.get_run_by_id(live).tags[LANE] == "live"
    # Live goes first though it came last; of the others only the first.
    assert dequeued(instance) == [live, asked[0]]


def test_an_instance_without_our_queue_is_told_how_to_get_one(instance: dg.DagsterInstance):
    assert lanes_problem(instance) == ""
    with dg.DagsterInstance.ephemeral() as bare:
        assert "a copy of resources/dagster.yaml" in lanes_problem(bare)


def test_runs_of_a_backfill_go_side_by_side_where_dagster_yaml_says_so(tmp_path: Path):
    with instance_in(tmp_path, **queue(backfill_runs=2, max_concurrent_runs=11)) as instance:
        tags = dict(build_defs(resources_with(FakePipeline())).resolve_job_def("backfill").run_tags)
        runs = [submit(instance, "backfill", "l1_blocks", tags=tags) for _ in range(3)]
        asked = [submit(instance, "__ASSET_JOB", "l1_blocks", tags={"dagster/backfill": "abcdefgh"}) for _ in range(3)]
        lanes = [instance.get_run_by_id(run).tags[LANE] for run in [*runs, *asked]]
        assert lanes == ["backfill", "backfill-2", "backfill", "asked", "asked-2", "asked"]
        assert dequeued(instance) == [*runs[:2], *asked[:2]]
        # Whoever is done makes room for the next one, and a lane that is empty is filled first.
        instance.report_run_canceled(instance.get_run_by_id(runs[1]))
        assert instance.get_run_by_id(submit(instance, "backfill", "l1_blocks", tags=tags)).tags[LANE] == "backfill-2"


def test_a_backfill_of_many_hours_is_several_runs_and_of_few_one(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PYRO_ASSETS_BACKFILL_HOURS", "5")
    graph = build_defs(resources_with(FakePipeline()), start_hour="2026-11-20-00:00").resolve_asset_graph()
    hours = [f"2026-11-20-{hour:02}:00" for hour in range(13)]

    def runs(hours: list[str], *assets: str) -> list[tuple[str, str]]:
        wanted = {AssetKeyPartitionKey(dg.AssetKey(asset), hour) for asset in assets for hour in hours}
        with dg.DagsterInstance.ephemeral() as instance:
            requests = build_run_requests_with_backfill_policies(wanted, graph, instance)
        assert all(set(request.asset_selection) == set(map(dg.AssetKey, assets)) for request in requests)
        return [(request.tags[RANGE_START], request.tags[RANGE_END]) for request in requests]

    for assets in (ASSETS, ["hour_blocks"]):
        assert runs(hours, *assets) == [(hours[0], hours[4]), (hours[5], hours[9]), (hours[10], hours[12])]
        assert runs(hours[3:8], *assets) == [(hours[3], hours[7])]


def test_runs_of_others_are_left_alone(instance: dg.DagsterInstance):
    others = [submit(instance, "__ASSET_JOB", "somebody_elses"), submit(instance, "nightly")]
    assert all(LANE not in instance.get_run_by_id(run).tags for run in others)
    assert dequeued(instance) == others
