"""The queue of dagster.yaml: runs from the asset graph share a lane, live ones go first and always find room."""

import sys
from collections.abc import Iterator
from pathlib import Path

import dagster as dg
import pytest
import yaml
from dagster._core.code_pointer import FileCodePointer
from dagster._core.origin import JobPythonOrigin, RepositoryPythonOrigin
from dagster._core.remote_origin import RegisteredCodeLocationOrigin, RemoteJobOrigin, RemoteRepositoryOrigin
from dagster._core.run_coordinator import SubmitRunContext
from dagster._core.workspace.context import WorkspaceProcessContext
from dagster._core.workspace.load_target import EmptyWorkspaceTarget
from dagster._daemon.run_coordinator.queued_run_coordinator_daemon import QueuedRunCoordinatorDaemon

from pyro_assets.definitions import build_defs
from pyro_assets.defs.jobs import ASKED, LANE
from tests.support.dagster_disk import instance_in
from tests.support.fake_pipeline import FakePipeline, resources_with

SETTINGS = Path(__file__).parents[2] / "resources" / "dagster.yaml"
HOUR = "2026-11-20-03:00"


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[dg.DagsterInstance]:
    settings = {"run_coordinator": yaml.safe_load(SETTINGS.read_text())["run_coordinator"]}
    with instance_in(tmp_path, **settings) as instance:
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


def test_runs_of_others_are_left_alone(instance: dg.DagsterInstance):
    others = [submit(instance, "__ASSET_JOB", "somebody_elses"), submit(instance, "nightly")]
    assert all(LANE not in instance.get_run_by_id(run).tags for run in others)
    assert dequeued(instance) == others
