"""The documented run launchers: they parse, keep what the code relies on, and name options that exist."""

import re
from pathlib import Path
from typing import Any

import yaml

from pyro_assets.defs.runs import BEAT_SECONDS
from pyro_assets.settings import Settings

RESOURCES = Path(__file__).parents[2] / "resources"
TEXT = (RESOURCES / "docs" / "launchers.md").read_text("utf-8")
ALL_BLOCKS: list[dict[str, Any]] = [
    yaml.safe_load(block) for block in re.findall(r"```yaml\n(.*?)```", TEXT, re.DOTALL)
]
BLOCKS = [block for block in ALL_BLOCKS if "run_launcher" in block]


def test_both_launchers_are_there_and_change_nothing_else_of_the_monitoring():
    own = yaml.safe_load((RESOURCES / "dagster.yaml").read_text())["run_monitoring"]
    launchers = {block["run_launcher"]["class"]: block for block in BLOCKS}
    assert set(launchers) == {"K8sRunLauncher", "CeleryRunLauncher"}
    for block in launchers.values():
        monitoring = block["run_monitoring"]
        assert monitoring.pop("max_resume_run_attempts") == 0
        assert monitoring.pop("start_timeout_seconds") >= own["start_timeout_seconds"]
        assert monitoring == {name: value for name, value in own.items() if name != "start_timeout_seconds"}


def test_launcher_and_workers_of_celery_agree():
    (celery,) = [block["run_launcher"]["config"] for block in BLOCKS if "Celery" in block["run_launcher"]["class"]]
    (module,) = re.findall(r"```python\n(.*?)```", TEXT, re.DOTALL)
    settings: dict[str, Any] = {}
    exec(module, settings)
    assert settings["broker_url"] == celery["broker"]
    assert settings["result_backend"] == celery["backend"]
    for name, value in celery["config_source"].items():
        assert settings[name] == value
    # Dagster asks a worker's health; one that does not say that it has begun is taken for dead.
    assert settings["task_track_started"] is True


def test_silence_is_as_long_as_is_said():
    assert "after a minute of silence" in TEXT.replace("\n", " ")
    assert Settings().lease_ms == 60_000
    assert BEAT_SECONDS * 4 < 60


def test_more_runs_of_backfills_come_with_the_room_for_them():
    (more,) = [block["run_coordinator"]["config"] for block in ALL_BLOCKS if "run_coordinator" in block]
    own = yaml.safe_load((RESOURCES / "dagster.yaml").read_text())["run_coordinator"]["config"]
    assert set(more) <= set(own)
    added = more["backfill_runs"] - own["backfill_runs"]
    assert more["max_concurrent_runs"] == own["max_concurrent_runs"] + 3 * added
