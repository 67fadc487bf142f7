"""The demo's folder: emptied at every start, used by one demo, its environment its own."""

from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml

from pyro_assets.demo.layout import FUNCTIONS, DemoFolder
from pyro_assets.errors import PyroAssetsError
from pyro_assets.generator.segments import WATCHED
from pyro_assets.rules.config import load_config


def test_a_second_start_is_clean(tmp_path: Path):
    layout = DemoFolder(tmp_path / "demo")
    with layout.lock():
        layout.prepare(4266)
        (layout.bucket / "left").write_text("over")
        (layout.root / "ledger.db").write_text("over")
        layout.prepare(4267)
    assert list(layout.bucket.iterdir()) == []
    assert not (layout.root / "ledger.db").exists()
    (entry,) = yaml.safe_load(layout.workspace.read_text())["load_from"]
    assert entry["grpc_server"]["port"] == 4267
    assert (layout.dagster_home / "dagster.yaml").read_text().startswith("# Copy to $DAGSTER_HOME")


def test_one_demo_at_a_time(tmp_path: Path):
    layout = DemoFolder(tmp_path / "demo")
    with layout.lock(), pytest.raises(PyroAssetsError, match="another demo is running"):
        layout.lock()
    layout.lock().close()


def test_the_environment_of_another_installation_is_left_out(tmp_path: Path):
    base = {"PATH": "/bin", "PYRO_ASSETS_SOURCE_URL": "s3://real", "PYRO_ASSETS_LIVE_SINCE": "2026-01-01-00:00"}
    made = DemoFolder(tmp_path).environment(base, datetime(2026, 11, 25, 13, 5, tzinfo=UTC))
    assert made["PATH"] == "/bin"
    assert made["PYRO_ASSETS_SOURCE_URL"] == str(tmp_path / "bucket")
    assert "PYRO_ASSETS_LIVE_SINCE" not in made
    assert made["PYRO_ASSETS_START_DATE"] == "2026-11-23-00:00"
    assert made["DAGSTER_HOME"] == str(tmp_path / "dagster_home")


def test_the_configuration_is_valid_and_its_functions_are_watched(tmp_path: Path):
    layout = DemoFolder(tmp_path)
    layout.prepare(1)
    assert load_config(layout.config).functions == FUNCTIONS
    assert set(FUNCTIONS) <= set(WATCHED)
