"""The demo's folder: emptied at every start, used by one demo, its environment its own."""

from datetime import UTC, datetime
from pathlib import Path

import pytest
import yaml

from pyro_assets.demo.layout import FUNCTIONS, DemoFolder
from pyro_assets.errors import PyroAssetsError
from pyro_assets.generator.segments import WATCHED
from pyro_assets.rules.config import load_config


def test_a_second_start_keeps_data_and_rules_until_it_is_cleared(tmp_path: Path):
    layout = DemoFolder(tmp_path / "demo")
    with layout.lock():
        layout.prepare(4266)
        assert not layout.is_used
        (layout.bucket / "left").write_text("stays")
        (layout.root / "ledger.db").write_text("stays")
        layout.config.write_text("rules: []")
        layout.prepare(4267)
        assert layout.is_used
        assert layout.config.read_text() == "rules: []"
        assert (layout.bucket / "left").read_text() == (layout.root / "ledger.db").read_text() == "stays"
        layout.clear()
        assert not layout.is_used
        assert [path.name for path in layout.root.iterdir()] == ["lock"]
        layout.prepare(4268)
    assert list(layout.bucket.iterdir()) == []
    (entry,) = yaml.safe_load(layout.workspace.read_text())["load_from"]
    assert entry["grpc_server"]["port"] == 4268
    assert (layout.dagster_home / "dagster.yaml").read_text().startswith("# Copy to $DAGSTER_HOME")


def test_partitions_begin_with_the_history_of_a_new_demo_and_with_what_an_old_one_saw(tmp_path: Path):
    layout, now = DemoFolder(tmp_path), datetime(2026, 11, 25, 13, 5, tzinfo=UTC)
    assert layout.environment({}, now)["PYRO_ASSETS_START_DATE"] == "2026-11-25-10:00"
    layout.prepare(1)
    (tmp_path / "ledger.db").touch()
    assert "PYRO_ASSETS_START_DATE" not in layout.environment({}, now)


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
    assert made["DAGSTER_HOME"] == str(tmp_path / "dagster_home")


def test_the_configuration_is_valid_and_its_functions_are_watched(tmp_path: Path):
    layout = DemoFolder(tmp_path)
    layout.prepare(1)
    assert load_config(layout.config).functions == FUNCTIONS
    assert set(FUNCTIONS) <= set(WATCHED)
