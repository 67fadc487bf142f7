"""The demo's folder: emptied at every start, used by one demo, its environment its own."""

from datetime import UTC, datetime
from pathlib import Path

import dagster as dg
import pytest
import yaml

from pyro_assets.definitions import build_defs
from pyro_assets.demo.layout import FUNCTIONS, DemoFolder
from pyro_assets.errors import PyroAssetsError
from pyro_assets.generator.segments import WATCHED
from pyro_assets.planning.report import TickReport
from pyro_assets.resources.environment import Environment
from pyro_assets.rules.config import load_config
from pyro_assets.storage.keys import hour_start_ms
from tests.support.fake_pipeline import FakePipeline, resources_with


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


@pytest.mark.parametrize("is_used", [False, True])
def test_what_lands_before_the_first_tick_is_live_though_that_comes_in_the_next_hour(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, is_used: bool
):
    layout, now = DemoFolder(tmp_path), datetime(2026, 11, 25, 13, 59, 58, tzinfo=UTC)
    layout.prepare(1)
    if is_used:
        (tmp_path / "ledger.db").touch()
    for name, value in layout.environment({}, now).items():
        monkeypatch.setenv(name, value)
    hour, next_hour = "2026-11-25-13:00", "2026-11-25-14:00"
    tick = TickReport(hour_start_ms(next_hour) + 7_000, due={hour: 4}, unfinished_jobs=4)
    fake = FakePipeline({}, [tick])
    resources = resources_with(fake, live_since=Environment().live_since)
    definitions = build_defs(resources, start_hour=hour)
    with dg.DagsterInstance.ephemeral() as instance:
        context = dg.build_sensor_context(instance=instance, definitions=definitions, resources=resources)
        result = definitions.resolve_sensor_def("segments_landed")(context)
    assert [request.partition_key for request in result.run_requests] == [hour]


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
    assert made["PYRO_ASSETS_LIVE_SINCE"] == "2026-11-25-13:00"
    assert made["DAGSTER_HOME"] == str(tmp_path / "dagster_home")


def test_the_configuration_is_valid_and_its_functions_are_watched(tmp_path: Path):
    layout = DemoFolder(tmp_path)
    layout.prepare(1)
    assert load_config(layout.config).functions == FUNCTIONS
    assert set(FUNCTIONS) <= set(WATCHED)
