"""The committed Dagster files: they load, and they agree with the code that relies on them."""

from pathlib import Path

import dagster as dg
import yaml

from pyro_assets.definitions import build_defs
from pyro_assets.defs.jobs import ASKED, CLOSE, lane_tags
from pyro_assets.ledger.records import Lane
from pyro_assets.settings import RunSettings

ROOT = Path(__file__).parent.parent.parent
RESOURCES = ROOT / "resources"


def test_dagster_yaml_makes_an_instance(tmp_path: Path):
    (tmp_path / "dagster.yaml").write_bytes((RESOURCES / "dagster.yaml").read_bytes())
    with dg.DagsterInstance.from_config(str(tmp_path)) as instance:
        assert instance.run_monitoring_enabled
        assert not instance.telemetry_enabled
        assert not instance.nux_enabled
        assert Path(instance.root_directory) == tmp_path


def test_a_backfill_ends_in_order_before_it_is_killed():
    settings = yaml.safe_load((RESOURCES / "dagster.yaml").read_text())
    bound = settings["run_monitoring"]["max_runtime_seconds"]
    assert RunSettings().backfill_budget_seconds < bound
    definitions = build_defs()
    live, backfill = (definitions.resolve_job_def(name).run_tags for name in ("live", "backfill"))
    assert int(backfill["dagster/max_runtime"]) == bound
    assert live["dagster/max_retries"] == "0"
    assert "dagster/max_retries" not in backfill
    assert RunSettings().live_budget_seconds < int(live["dagster/max_runtime"]) < bound


def test_lanes_are_limited():
    limits = yaml.safe_load((RESOURCES / "dagster.yaml").read_text())["run_coordinator"]["config"]
    assert {limit["key"]: limit["limit"] for limit in limits["tag_concurrency_limits"]} == {
        "lane": 1,
    }


def test_every_lane_has_room_at_the_same_time():
    definitions = build_defs()
    jobs = ("live", "backfill", "rules", "merge_series", "sweep", "retention", "resolve_rules")
    lanes = {definitions.resolve_job_def(job).run_tags["lane"] for job in jobs}
    assert lanes == {"live", "backfill", "rules", "upkeep"}
    # Hours that are over have a lane that the sensor names, runs from the asset graph one that the coordinator gives.
    limits = yaml.safe_load((RESOURCES / "dagster.yaml").read_text())["run_coordinator"]["config"]
    turns = {lane_tags(Lane(), turn)["lane"] for turn in ("next", "late")}
    assert limits["max_concurrent_runs"] == len(lanes | turns | {CLOSE, ASKED})
    assert "three times the number of live lanes and five more" in (RESOURCES / "docs" / "launchers.md").read_text(
        "utf-8"
    )


def test_both_workspaces_name_the_same_location():
    (own,) = yaml.safe_load((ROOT / "workspace.yaml").read_text())["load_from"]
    (server,) = yaml.safe_load((RESOURCES / "workspace.yaml").read_text())["load_from"]
    assert own["python_module"]["module_name"] == "pyro_assets.definitions"
    assert own["python_module"]["location_name"] == server["grpc_server"]["location_name"]
    assert f"-m {own['python_module']['module_name']}" in (RESOURCES / "workspace.yaml").read_text()
