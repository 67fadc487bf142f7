"""`generate` fills a bucket, past or live, and leaves the manifest and its totals."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pyro_assets.generator.check import compare
from pyro_assets.generator.manifest import read_manifest
from pyro_assets.storage.keys import parse_block_key
from tests.support.cli_runner import fails, is_wrong_usage, places, run

UNTIL = "2026-11-25T13:00"
FUNCTION = "encoding/json.Unmarshal"


def test_past_hours(tmp_path: Path):
    options = ["--hours", 2, "--until", UNTIL, "--past-rate", 0.002, "--shards", 3, "--json"]
    result = run("generate", "--url", tmp_path / "bucket", *options)
    assert result.exit_code == 0, result.output
    made = json.loads(result.stdout)
    assert set(made["hours"]) == {"2026-11-25-11:00", "2026-11-25-12:00"}
    keys = [path.relative_to(tmp_path / "bucket").as_posix() for path in (tmp_path / "bucket").rglob("block.bin")]
    assert len(keys) == made["segments"]
    assert len(keys) == pytest.approx(0.002 * 7200 * 3, abs=3)
    assert {parse_block_key(key).hour for key in keys} == set(made["hours"])
    assert {parse_block_key(key).shard for key in keys} == {1, 2, 3}
    manifest = read_manifest(Path(made["manifest"]))
    assert sorted(entry.key for entry in manifest.segments) == sorted(keys)
    assert Path(made["manifest"]) == tmp_path / "bucket.manifest.jsonl"
    totals = json.loads(Path(made["totals"]).read_text())
    assert {one["tenant"] for one in totals} == {"acme", "globex", "initech"}
    assert all(set(one) == {"hour_ms", "tenant", "metric", "labels", "value"} for one in totals)


def test_what_is_generated_comes_out_of_the_pipeline(tmp_path: Path):
    options = ["--hours", 1, "--until", UNTIL, "--past-rate", 0.01, "--retry-share", 0.2]
    assert run("generate", "--url", tmp_path / "bucket", *options).exit_code == 0
    selector = '{service_name=~"check.*|ride-sharing-app"}'
    (tmp_path / "series.yaml").write_text(json.dumps({"functions": {FUNCTION: selector}}))
    done = run(
        "run", "--source-url", tmp_path / "bucket", *places(tmp_path), "--config", tmp_path / "series.yaml", "--json"
    )
    assert done.exit_code == 0, done.output
    assert sum(hour["duplicates"] for hour in json.loads(done.stdout)["hours"].values()) > 0
    import polars as pl

    archive = tmp_path / "archive"
    series = pl.concat(
        pl.read_parquet(path, hive_partitioning=False) for path in (archive / "series").rglob("*.parquet")
    )
    commits = [json.loads(path.read_bytes()) for path in (archive / "commits").rglob("*.json")]
    manifest = read_manifest(tmp_path / "bucket.manifest.jsonl")
    assert compare(manifest, series, commits, {FUNCTION: selector}) == []
    assert len(manifest.segments) > 130
    wrong = series.with_columns(pl.when(pl.int_range(pl.len()) == 7).then(1).otherwise("value_int").alias("value_int"))
    assert [difference.what for difference in compare(manifest, wrong, commits, {FUNCTION: selector})] == ["value"]


def test_live(tmp_path: Path):
    options = ["--live", "--seconds", 1, "--rate", 3, "--shards", 2, "--manifest", tmp_path / "m.jsonl"]
    result = run("generate", "--url", tmp_path / "bucket", *options)
    assert result.exit_code == 0, result.output
    assert "segments," in result.stdout
    assert read_manifest(tmp_path / "m.jsonl").segments
    assert (tmp_path / "m.totals.json").exists()


def test_ctrl_c_ends_in_order(tmp_path: Path):
    code = "from pyro_assets.cli.main import main; main()"
    options = ["generate", "--url", str(tmp_path / "bucket"), "--live", "--rate", "5", "--json"]
    process = subprocess.Popen([sys.executable, "-c", code, *options], stdout=subprocess.PIPE, text=True)
    try:
        deadline = time.monotonic() + 30
        while not list((tmp_path / "bucket").rglob("block.bin")):
            assert time.monotonic() < deadline
            time.sleep(0.1)
        os.kill(process.pid, signal.SIGINT)
        stdout, _ = process.communicate(timeout=20)
    finally:
        process.kill()
    assert process.returncode == 0
    made = json.loads(stdout)
    assert made["segments"] == len(list((tmp_path / "bucket").rglob("block.bin")))
    assert len(read_manifest(Path(made["manifest"])).segments) == made["segments"]


def test_functions_are_recorded_on_demand(tmp_path: Path):
    options = ["--hours", 1, "--until", UNTIL, "--past-rate", 0.001, "--function", "main.main", "--function", FUNCTION]
    assert run("generate", "--url", tmp_path / "bucket", *options).exit_code == 0
    assert read_manifest(tmp_path / "bucket.manifest.jsonl").functions == ("main.main", FUNCTION)


def test_another_seed_needs_another_manifest(tmp_path: Path):
    options = ["--url", tmp_path / "bucket", "--hours", 1, "--until", UNTIL, "--past-rate", 0.0005]
    assert run("generate", *options).exit_code == 0
    assert run("generate", *options).exit_code == 0
    fails(run("generate", *options, "--seed", 2), "begun with seed 1")


@pytest.mark.parametrize(
    "options",
    [
        [],
        ["--live", "--until", UNTIL],
        ["--hours", "1", "--seconds", "5"],
        ["--hours", "1", "--rate", "5"],
        ["--hours", "-1"],
        ["--hours", "1", "--until", "noon"],
        ["--live", "--retry-share", "2"],
        ["--live", "--shards", "0"],
    ],
)
def test_wrong_usage(tmp_path: Path, options: list[str]):
    is_wrong_usage(run("generate", "--url", tmp_path / "bucket", *options))
    assert not (tmp_path / "bucket").exists()


def test_a_bucket_that_cannot_be_written(tmp_path: Path):
    (tmp_path / "file").write_text("")
    result = run("generate", "--url", tmp_path / "file", "--hours", 1, "--until", UNTIL, "--past-rate", 0.001)
    fails(result)
