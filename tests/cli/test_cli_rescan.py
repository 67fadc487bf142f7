"""`rescan` finds what ticks did not see, in the span that was asked for."""

import json
from pathlib import Path

import pytest

from tests.support import golden_bucket
from tests.support.cli_runner import fails, is_wrong_usage, places, run

GOLDEN = golden_bucket.committed()


def test_everything_of_a_bucket_then_nothing(tmp_path: Path):
    options = ["--source-url", GOLDEN.root, *places(tmp_path)[2:]]
    segments = sum(1 for _ in (GOLDEN.root / "segments").rglob("block.bin"))
    report = json.loads(run("rescan", *options, "--json").stdout)
    assert (report["listed"], sum(report["new"].values())) == (segments, segments)
    [hour, *_] = report["new"]
    assert f"{segments} keys listed, 0 new" in run("rescan", *options).stdout
    assert "0 keys listed" in run("rescan", *options, "--to", "2020-01-01").stdout
    assert f"{segments} keys listed" in run("rescan", *options, "--from", hour).stdout


def test_a_sweep_has_nothing_to_do_before_ticks(tmp_path: Path):
    options = ["--source-url", GOLDEN.root, *places(tmp_path)[2:], "--sweep", 10]
    assert "the round is through" in run("rescan", *options).stdout
    assert run("run", "--source-url", GOLDEN.root, *places(tmp_path)).exit_code == 0
    assert "the round goes on" in run("rescan", *options).stdout


@pytest.mark.parametrize(
    "options",
    [["--from", "yesterday"], ["--from", "2026-01-02", "--to", "2026-01-01"], ["--sweep", "5", "--to", "2026-01-01"]],
)
def test_spans_that_are_none(options: list[str]):
    is_wrong_usage(run("rescan", *options))


def test_a_bucket_that_cannot_be_listed(tmp_path: Path):
    (tmp_path / "bucket").mkdir()
    (tmp_path / "bucket" / "segments").mkdir(mode=0)
    result = run("rescan", "--source-url", tmp_path / "bucket", *places(tmp_path)[2:])
    if result.exit_code == 0:
        pytest.skip("this user may read everything")
    fails(result, "listings failed")
