"""`init`: a folder whose files say what was asked for, and that is never overwritten."""

from pathlib import Path

import pytest
import yaml
from dotenv import dotenv_values

from pyro_assets.resources.environment import Environment, usable
from pyro_assets.rules.config import load_config
from pyro_assets.settings import variable
from tests.support.cli_runner import is_wrong_usage, run


@pytest.fixture(autouse=True)
def nothing_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in Environment.model_fields:
        monkeypatch.delenv(variable(name), raising=False)


def settings_of(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Environment:
    for name, value in dotenv_values(folder / ".env").items():
        assert value is not None
        monkeypatch.setenv(name, value)
    settings, refused = usable()
    assert refused == ""
    return settings


def test_what_is_asked_for_is_set_and_everything_else_stands_there_as_a_comment(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    given = ["--source-url", "here is it", "--archive-url", "s3://archive/x", "--mode", "observe"]
    result = run("init", "new/project", *given, env={"PYRO_ASSETS_JOB_AGE_SECONDS": "2.5"})
    assert result.exit_code == 0, result.output
    folder = tmp_path / "new" / "project"
    text = (folder / ".env").read_text("utf-8")
    for name in Environment.model_fields:
        assert f"{variable(name)}=" in text
    settings = settings_of(folder, monkeypatch)
    assert settings.source_url == str(tmp_path / "here is it")
    assert (settings.archive_url, settings.compaction, settings.job_age_seconds) == ("s3://archive/x", "observe", 2.5)
    assert (settings.config, settings.receivers) == ("rules.yaml", "receivers.yaml")
    assert dotenv_values(folder / ".env")["DAGSTER_HOME"] == str(folder)
    untouched = set(Environment.model_fields) - settings.model_fields_set
    assert all(f"\n#{variable(name)}=" in text for name in untouched)


def test_the_files_are_what_their_readers_take(tmp_path: Path):
    assert run("init", tmp_path).exit_code == 0
    assert load_config(tmp_path / "rules.yaml").rules
    assert yaml.safe_load((tmp_path / "receivers.yaml").read_text()) == {"receivers": []}
    (location,) = yaml.safe_load((tmp_path / "workspace.yaml").read_text())["load_from"]
    assert location["python_module"]["module_name"] == "pyro_assets.definitions"
    assert {"code", "webserver", "daemon", "pages", "postgres"} == set(
        yaml.safe_load((tmp_path / "compose.yaml").read_text())["services"]
    )


def test_nothing_is_overwritten(tmp_path: Path):
    (tmp_path / "rules.yaml").write_text("mine")
    first = run("init", tmp_path)
    assert f"kept  {tmp_path / 'rules.yaml'}" in first.output
    (tmp_path / ".env").write_text("mine too")
    second = run("init", tmp_path, "--source-url", "s3://other")
    assert second.exit_code == 0
    assert "wrote" not in second.output
    assert (tmp_path / "rules.yaml").read_text() == "mine"
    assert (tmp_path / ".env").read_text() == "mine too"


def test_a_setting_that_cannot_be_is_refused_before_anything_is_written(tmp_path: Path):
    is_wrong_usage(run("init", tmp_path / "new", "--mode", "both"), "'own', 'observe'")
    result = run("init", tmp_path / "new", "--live-since", "tomorrow")
    assert result.exit_code == 2
    assert "PYRO_ASSETS_LIVE_SINCE is 'tomorrow'" in result.stderr
    assert not (tmp_path / "new").exists()


def test_commands_read_the_file_of_the_folder_and_the_environment_wins(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / ".env").write_text("PYRO_ASSETS_LANES=0\nPYRO_ASSETS_RECEIVERS=none.yaml\n")
    (tmp_path / "source").mkdir()
    # So that what the command adds to the environment goes again.
    monkeypatch.setenv("PYRO_ASSETS_LANES", "")
    monkeypatch.setenv("PYRO_ASSETS_RECEIVERS", "")
    monkeypatch.delenv("PYRO_ASSETS_LANES")
    monkeypatch.delenv("PYRO_ASSETS_RECEIVERS")
    assert "PYRO_ASSETS_LANES is '0'" in run("run").stderr
    monkeypatch.setenv("PYRO_ASSETS_LANES", "1")
    assert "none.yaml" in run("run", "--source-url", tmp_path / "source").stderr
