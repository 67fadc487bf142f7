"""`retention` lists, and with --apply removes and merges, on blocks and series of long ago."""

import contextlib
import json
import sqlite3
from pathlib import Path

import pytest

from tests.support.cli_runner import fails, is_wrong_usage, places, run

#: Long before any day on which this may run.
UNTIL = "2026-02-01T12"


def files(folder: Path, below: str) -> list[Path]:
    return sorted((folder / "archive" / below).rglob("*.*")) if (folder / "archive" / below).exists() else []


@pytest.fixture
def done(tmp_path: Path) -> Path:
    options = ["--url", tmp_path / "bucket", "--hours", 1, "--until", UNTIL, "--past-rate", 0.003, "--shards", 2]
    assert run("generate", *options).exit_code == 0
    assert run("run", "--source-url", tmp_path / "bucket", *places(tmp_path)).exit_code == 0
    # As if it had been done long ago: what was derived just now is left alone.
    with contextlib.closing(sqlite3.connect(tmp_path / "ledger.db")) as ledger, ledger:
        ledger.execute("UPDATE series_files SET written_ms = 0")
    return tmp_path


def test_everything_is_kept_by_default(done: Path):
    before = files(done, "")
    assert "kept for ever" in run("retention", *places(done)).stdout
    assert files(done, "") == before


def test_list_apply_and_look(done: Path):
    env = {"PYRO_ASSETS_KEEP_BLOCKS_DAYS": "1"}
    series = run("series", "--archive-url", done / "archive", "--json").stdout
    blocks = len(files(done, "blocks"))
    listed = run("retention", *places(done), "--keep-series-days", 1, env=env)
    assert "would be removed" in listed.stdout
    assert len(files(done, "blocks")) == blocks > 0
    applied = json.loads(run("retention", *places(done), "--apply", "--json", env=env).stdout)
    assert sum(one["objects"] for one in applied["expired"]) == blocks
    assert {one["what"] for one in applied["expired"]} == {"blocks"}
    assert files(done, "blocks") == []
    # The series are in the table, and the same.
    assert (bool(applied["merged"]), applied["no_table"]) == (True, "")
    assert (files(done, "series"), len(files(done, "series_table/kind=dimension"))) == ([], 1)
    assert sorted(run("series", "--archive-url", done / "archive", "--json").stdout.splitlines()) == sorted(
        series.splitlines()
    )
    copy = ["--archive-url", done / "archive", "--to", done / "copy"]
    published = run("publish", *copy, "--from-hour", "2026-01-01", "--to-hour", "2027-01-01")
    assert "were removed by retention" in published.stdout
    again = json.loads(run("retention", *places(done), "--apply", "--json", env=env).stdout)
    assert (again["expired"], again["merged"]) == ([], {})


def test_rows_go_and_come_back(done: Path):
    options = ["--source-url", done / "bucket", *places(done)]
    run("retention", *places(done), "--apply")
    text = run("retention", *places(done), "--apply", "--keep-ledger-days", 1).stdout
    assert "rows removed" in text
    assert "nothing to do" in run("run", *options).stdout
    assert json.loads(run("rescan", *options[:2], *places(done)[2:], "--json").stdout)["new"] == {}
    back = json.loads(run("rebuild-ledger", *places(done), "--from", "2020-01-01", "--json").stdout)
    assert back["jobs"] > 0
    assert "nothing to do" in run("run", *options).stdout


def test_less_than_a_day_and_a_file_of_receivers_with_a_mistake(done: Path):
    fails(run("retention", *places(done), "--keep-blocks-days", 0.5), "a day or more")
    is_wrong_usage(run("retention", *places(done), "--keep-blocks-days", -1))
    fails(run("retention", *places(done), env={"PYRO_ASSETS_RECEIVERS": str(done / "none.yaml")}), "none.yaml")
