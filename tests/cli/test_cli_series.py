"""`series` prints what an archive has: lines for scripts, a table for people, filtered."""

import json
import shutil
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from pyro_assets.series.files import series_to_parquet
from tests.support.cli_runner import fails, is_wrong_usage, run

HOURS = ("2026-11-25T09", "2026-11-25T10")
TIME_MS = 1_795_600_274_692


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two hours of two kinds; values tell rows apart."""
    folder = tmp_path_factory.mktemp("archive")
    for number, hour in enumerate(HOURS):
        for kind in ("dimension", "function"):
            rows = [
                {
                    "tenant": tenant,
                    "metric": f"pyroscope_exported_metrics_{'functions_' if kind == 'function' else ''}cpu",
                    "labels": [{"name": "pod", "value": "größe-0"}],
                    "timestamp_ms": TIME_MS + number,
                    "value": float(number),
                    "value_int": number,
                    "rule": kind,
                    "job": f"job{number}",
                }
                for tenant in ("acme", "globex")
            ]
            path = folder / "series" / f"kind={kind}" / f"hour={hour}" / f"job{number}.parquet"
            path.parent.mkdir(parents=True)
            path.write_bytes(series_to_parquet(pl.DataFrame(rows)))
    return folder


def lines(archive: Path, *options: Any) -> list[dict[str, Any]]:
    result = run("series", "--archive-url", archive, *options)
    assert result.exit_code == 0, result.output
    return [json.loads(line) for line in result.stdout.splitlines()]


def test_integers_are_exact_where_a_double_is_not(tmp_path: Path):
    large = 2**53 + 1
    row = {"tenant": "t", "metric": "m", "labels": [], "timestamp_ms": 1, "value": float(large), "value_int": large}
    path = tmp_path / "series" / "kind=dimension" / "hour=2026-11-25T09" / "job.parquet"
    path.parent.mkdir(parents=True)
    path.write_bytes(series_to_parquet(pl.DataFrame([row | {"rule": "r", "job": "j"}])))
    assert [line["value"] for line in lines(tmp_path)] == [large]
    assert f"{large:,}" in run("series", "--archive-url", tmp_path, "--table").stdout


def test_lines_of_json_where_no_person_looks(archive: Path):
    found = lines(archive)
    assert len(found) == 8
    assert found[0] == {
        "tenant": "acme",
        "labels": {"__name__": "pyroscope_exported_metrics_cpu", "pod": "größe-0"},
        "timestamp_ms": TIME_MS,
        "value": 0.0,
    }
    assert [one["timestamp_ms"] for one in found] == sorted(one["timestamp_ms"] for one in found)


@pytest.mark.parametrize(
    ("options", "count"),
    [
        (["--kind", "function"], 4),
        (["--hour", "2026-11-25-10:00"], 4),
        (["--hour", "2026-11-25T10"], 4),
        (["--hour", "2026-11-25-10:00", "--hour", "2026-11-25-09:00"], 8),
        (["--tenant", "acme"], 4),
        (["--metric", "pyroscope_exported_metrics_cpu"], 4),
        (["--rule", "none"], 0),
        (["--metric", "*_functions_*", "--tenant", "globex", "--hour", "2026-11-25-09:00"], 1),
    ],
)
def test_filters(archive: Path, options: list[str], count: int):
    assert len(lines(archive, *options)) == count


def test_people_get_the_newest_in_a_table(archive: Path):
    result = run("series", "--archive-url", archive, "--table", "--limit", 3)
    assert result.exit_code == 0
    assert result.stdout.splitlines()[0].split() == ["time", "(UTC)", "tenant", "value", "metric", "labels"]
    assert result.stdout.count("pod=größe-0") == 3
    assert "2026-11-25 09:51:14.693" in result.stdout
    assert "the newest 3 of 8 series" in result.stdout


@pytest.mark.parametrize("how", ["--json", "--table"])
def test_nothing_is_said_to_be_nothing(archive: Path, tmp_path: Path, how: str):
    for options in (["--archive-url", archive, "--tenant", "none"], ["--archive-url", tmp_path / "none"]):
        result = run("series", how, *options)
        assert result.exit_code == 0
        assert result.stdout == ""
        assert "no such series" in result.stderr


def test_a_file_that_holds_no_series(tmp_path: Path):
    path = tmp_path / "series" / "kind=dimension" / "hour=2026-11-25T09" / "job.parquet"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"no parquet")
    fails(run("series", "--archive-url", tmp_path), "job.parquet", "holds no series")


def test_wrong_usage(archive: Path):
    is_wrong_usage(run("series", "--hour", "yesterday"), "yesterday", "--hour")
    is_wrong_usage(run("series", "--limit", "0"), "--limit")


def test_a_damaged_file_hides_no_other(archive: Path, tmp_path: Path):
    place = tmp_path / "copy"
    shutil.copytree(archive, place)
    path = min(place.rglob("*.parquet"))
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    result = run("series", "--archive-url", place)
    fails(result, "1 files could not be read", path.name, "derive its job again")
    assert len(result.stdout.splitlines()) == 6
