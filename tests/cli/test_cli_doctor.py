"""`doctor` names what is wrong with its remedy, one fault at a time, and changes nothing."""

import contextlib
import json
import os
import shutil
import time
from pathlib import Path
from typing import Any

import pytest

from pyro_assets.archive.scrubs import Damage, ScrubRecords
from pyro_assets.ledger.database import Ledger
from pyro_assets.ledger.schema import jobs
from pyro_assets.storage.keys import HOUR_MS, block_key, hour_of, segment_key
from pyro_assets.storage.ulid import make_ulid
from tests.support import golden_bucket
from tests.support.cli_runner import places, run

GOLDEN = golden_bucket.committed()
YAML = Path(__file__).parent.parent.parent / "resources" / "dagster.yaml"


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """A Dagster home as the README says, beside a young bucket."""
    (tmp_path / "home").mkdir()
    shutil.copy(YAML, tmp_path / "home" / "dagster.yaml")
    put(tmp_path / "source", age_seconds=1)
    return tmp_path


def put(bucket: Path, age_seconds: float, key: Any = segment_key, *where: Any) -> None:
    ulid = make_ulid(round((time.time() - age_seconds) * 1000), bytes(10))
    path = bucket / key(*(where or (4,)), ulid)
    path.parent.mkdir(parents=True)
    path.write_bytes(b"x" * 20)


def findings(folder: Path, *options: Any, env: dict[str, str] | None = None) -> list[dict[str, str]]:
    environment = {"DAGSTER_HOME": str(folder / "home")} | (env or {})
    result = run("doctor", "--source-url", folder / "source", *places(folder), "--json", *options, env=environment)
    found: list[dict[str, str]] = json.loads(result.stdout)
    assert result.exit_code == any(one["level"] == "problem" for one in found)
    assert all(one["remedy"] for one in found if one["level"] != "ok")
    return [one for one in found if one["level"] != "ok"]


def only(found: list[dict[str, str]], check: str, level: str, *words: str) -> None:
    [one] = [one for one in found if one["check"] == check and one["level"] == level]
    for word in words:
        assert word in one["text"] + one["remedy"]


def test_nothing_is_wrong(home: Path):
    assert [one for one in findings(home) if one["check"] != "disk"] == []
    text = run("doctor", "--source-url", home / "source", *places(home), env={"DAGSTER_HOME": str(home / "home")})
    assert text.exit_code == 0
    for check in ("versions", "configuration", "source", "archive", "ledger", "disk", "Dagster", "work"):
        assert f" {check}: " in text.stdout


def test_a_file_of_settings_that_says_something_else_than_the_environment(home: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(home)
    (home / ".env").write_text("PYRO_ASSETS_LANES=2\nPYRO_ASSETS_WORKERS=1\nSECRET=hidden-1\nALONE=1\n")
    found = findings(home, env={"PYRO_ASSETS_LANES": "1", "PYRO_ASSETS_WORKERS": "1", "SECRET": "hidden-2"})
    only(found, "environment", "warning", "than .env: PYRO_ASSETS_LANES, SECRET", "Dagster's processes take .env")
    assert "hidden" not in str([one for one in found if one["check"] == "environment"])


def test_source_and_archive_in_one_place(home: Path):
    only(findings(home, "--archive-url", home / "source" / "x"), "configuration", "problem", "same place")


def test_a_bucket_of_something_else(home: Path):
    (home / "other" / "photos").mkdir(parents=True)
    only(
        findings(home, "--source-url", home / "other"),
        "source",
        "problem",
        "neither segments/ nor blocks/ (only photos/)",
    )


def test_an_archive_that_cannot_be_written(home: Path):
    (home / "archive").write_bytes(b"a file")
    only(findings(home), "archive", "problem", "permission")


def test_a_ledger_that_cannot_be_opened_or_was_lost(home: Path):
    (home / "folder").mkdir()
    assert any(one["check"] == "ledger" for one in findings(home, "--ledger-url", home / "folder"))
    (home / "archive" / "commits" / "2026-11-25T09" / "4").mkdir(parents=True)
    (home / "archive" / "commits" / "2026-11-25T09" / "4" / "x.json").write_bytes(b"{}")
    only(findings(home), "ledger", "problem", "rebuild-ledger")


def test_files_of_configuration_with_mistakes(home: Path):
    (home / "series.yaml").write_text("functions: 5\n")
    only(
        findings(home, env={"PYRO_ASSETS_CONFIG": str(home / "series.yaml")}), "configuration", "problem", "series.yaml"
    )
    only(
        findings(home, env={"PYRO_ASSETS_RECEIVERS": str(home / "none.yaml")}), "configuration", "problem", "none.yaml"
    )
    assert any("both" in one["text"] for one in findings(home, env={"PYRO_ASSETS_COMPACTION": "both"}))


def test_a_compacting_pyroscope_in_own_mode(home: Path):
    put(home / "source", 1, block_key, 4, b"acme")
    only(findings(home), "mode", "warning", "deleted no segment so far", "observe")
    # A block whose segments are gone tells that they are deleted, the oldest one that is left tells when.
    put(home / "source", 3600, block_key, 4, b"acme")
    only(findings(home), "mode", "problem", "deletes segments about 0 minutes after they were created", "observe")
    assert not [one for one in findings(home, env={"PYRO_ASSETS_COMPACTION": "observe"}) if one["check"] == "mode"]


def test_dagster_without_its_settings(home: Path):
    only(findings(home, env={"DAGSTER_HOME": ""}), "Dagster", "warning", "DAGSTER_HOME")
    path = home / "home" / "dagster.yaml"
    path.write_text("run_retries: {enabled: true}\n")
    found = [one["text"] for one in findings(home) if one["check"] == "Dagster"]
    assert len(found) == 2
    assert "run_coordinator, run_monitoring, retention" in found[0]
    path.write_text("{")
    only(findings(home), "Dagster", "problem", "YAML")
    path.unlink()
    only(findings(home), "Dagster", "problem", "does not exist")


def test_clocks_and_what_was_set_aside(home: Path):
    put(home / "source", -60, segment_key, 5)
    put(home / "source", 1000, segment_key, 6)
    # The others stay too young however long this takes.
    env = {"PYRO_ASSETS_JOB_AGE_SECONDS": "600"}
    assert run("run", "--source-url", home / "source", *places(home), env=env).exit_code == 1
    found = findings(home)
    only(found, "clock", "warning", "in the future", "NTP")
    only(found, "work", "warning", "1 sources could not be read", "quarantine list")


def test_a_bucket_in_which_nothing_happens(home: Path):
    shutil.rmtree(home / "source")
    put(home / "source", 7200)
    assert run("run", "--source-url", home / "source", *places(home)).exit_code == 1
    only(findings(home), "clock", "warning", "120 minutes old")


@pytest.mark.parametrize(
    ("change", "level", "words"),
    [
        (("max_runtime_seconds: 21600", ""), "problem", ("machine died", "max_runtime_seconds: 21600")),
        (("run_monitoring:\n  enabled: true", "run_monitoring:\n  enabled: false"), "problem", ("machine died",)),
        (
            ("class: LaneRunCoordinator", "class: DefaultRunCoordinator"),
            "problem",
            ("at once", "LaneRunCoordinator"),
        ),
        (("  sensor: {purge_after_days:", "  other: {purge_after_days:"), "warning", ("every tick of a sensor",)),
        (("backfill_runs: 1", "backfill_runs: 4"), "warning", ("room for 8 runs", "max_concurrent_runs: 17")),
    ],
)
def test_a_setting_of_dagster_that_runs_rely_on(
    home: Path, change: tuple[str, str], level: str, words: tuple[str, ...]
):
    path = home / "home" / "dagster.yaml"
    text = path.read_text()
    assert change[0] in text
    path.write_text(text.replace(*change))
    only(findings(home), "Dagster", level, *words)


def test_growth_against_room_and_what_crashed_writers_left(home: Path):
    options = ["--url", home / "bucket", "--hours", 1, "--past-rate", 0.003, "--shards", 2, "--until"]
    now = time.strftime("%Y-%m-%dT%H:00", time.gmtime())
    assert run("generate", *options, now).exit_code == 0
    assert run("run", "--source-url", home / "bucket", *places(home)).exit_code == 0
    found = run("doctor", "--source-url", home / "bucket", *places(home), "--json").stdout
    [growth] = [one for one in json.loads(found) if one["check"] == "growth"]
    assert growth["level"] == "ok"
    assert "MiB of blocks" in growth["text"]
    assert "has room for" in growth["text"]
    left = home / "archive" / ".tmp" / "half"
    left.write_bytes(b"half")
    os.utime(left, (1000, 1000))
    orphan = make_ulid(round((time.time() - 7200) * 1000), b"orphan0000")
    block = home / "archive" / block_key(0, b"acme", orphan)
    block.parent.mkdir(parents=True)
    block.write_bytes(b"left by a crash")
    only(findings(home), "upkeep", "warning", "2 objects", "--keep-temporary-days")


def test_growth_counts_the_running_hour(home: Path):
    assert (
        run("generate", "--url", home / "bucket", "--live", "--seconds", 1, "--rate", 2, "--shards", 1).exit_code == 0
    )
    run("run", "--source-url", home / "bucket", *places(home), env={"PYRO_ASSETS_JOB_AGE_SECONDS": "0"})
    found = run("doctor", "--source-url", home / "bucket", *places(home), "--json").stdout
    [growth] = [one for one in json.loads(found) if one["check"] == "growth"]
    assert "the last 24 hours, with the running one, added " in growth["text"]


def test_hours_that_nobody_merged(home: Path):
    with contextlib.closing(Ledger.open(str(home / "ledger.db"))) as ledger, ledger.write() as connection:
        for number in range(30):
            job = dict.fromkeys(
                ("shard", "sources", "bytes_in", "planned_ms", "first_created_ms", "last_created_ms"), 0
            )
            job |= {"id": str(number), "kind": "segments", "tenant": "", "timestamp_ms": number, "mode": "own"}
            job |= {"dedup": "exact", "hour": hour_of(number * HOUR_MS), "state": "derived"}
            connection.execute(jobs.insert().values(job))
    only(findings(home), "table", "warning", "30 that are over wait for it", "merge_every_hour")


def test_rot_that_a_scrub_found(home: Path):
    with contextlib.closing(Ledger.open(str(home / "ledger.db"))) as ledger:
        ScrubRecords(ledger).note_scrub(
            "2026-11-25-09:00", [Damage("series/x.parquet", "2026-11-25-09:00", "series", "it rotted")], 5
        )
    only(findings(home), "upkeep", "problem", "1 objects", "series/x.parquet", "verify --archive --repair")
