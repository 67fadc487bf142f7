"""Series as Parquet: the same back, readable by other tools, refused when it is something else."""

import io
import json
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pyro_assets.errors import DamagedSeries, SeriesError
from pyro_assets.rules.config import parse_config
from pyro_assets.series.derive import derive
from pyro_assets.series.files import parquet_to_series, parse_series_key, series_to_parquet
from pyro_assets.series.frame import json_lines
from pyro_assets.storage.keys import series_key
from tests.support.series_jobs import ALLOC, JOB, job, profile, sample

HOUR = "2026-11-25-09:00"


def frames() -> dict[str, pl.DataFrame]:
    columns, _ = job(
        profile([sample(2**53 + 1, b"f")], pod='a "quoted"\n', labels=((b"raw", b"\xff"),)),
        profile([sample(-3, b"f")], ALLOC),
    )
    return derive(columns, JOB, parse_config("functions: {f: '{}', größe: '{}'}")).frames


def test_what_was_written_comes_back():
    for frame in frames().values():
        data = series_to_parquet(frame)
        again = parquet_to_series(data)
        assert again.equals(frame)
        assert again.schema == frame.schema
        assert series_to_parquet(frame) == series_to_parquet(again) == data


def test_a_job_without_series_is_a_file_too():
    empty = frames()["dimension"].clear()
    assert parquet_to_series(series_to_parquet(empty)).equals(empty)


def test_slices_and_rechunked_frames_give_the_same_bytes():
    frame = frames()["dimension"]
    parts = pl.concat([frame[:1], frame[1:]], rechunk=False)
    assert parts.n_chunks() == 2
    assert series_to_parquet(parts) == series_to_parquet(frame)
    assert series_to_parquet(parts.select(reversed(parts.columns))) == series_to_parquet(frame)


def test_any_tool_reads_it(tmp_path: Path):
    for kind, frame in frames().items():
        path = tmp_path / series_key(kind, HOUR, "job-1")
        path.parent.mkdir(parents=True)
        path.write_bytes(series_to_parquet(frame))
    table = pq.read_table(tmp_path / "series", partitioning="hive")
    assert set(table["kind"].to_pylist()) == {"dimension", "function"}
    assert table.schema.field("value_int").type == pa.int64()
    assert table.schema.field("labels").type.value_type.field(1).name == "value"
    found = pl.read_parquet(tmp_path / "series" / "**" / "*.parquet", hive_partitioning=True)
    assert found.height == sum(frame.height for frame in frames().values())


@pytest.mark.parametrize("key", ["", "series/a.parquet", "series/kind=x/hour=2026/a.parquet", "hour=2026-11-25T09/a"])
def test_keys_that_name_no_series(key: str):
    with pytest.raises(SeriesError, match="names no file of series"):
        parse_series_key(key)


def parquet(table: pa.Table) -> bytes:
    sink = io.BytesIO()
    pq.write_table(table, sink)
    return sink.getvalue()


def test_files_that_are_no_series():
    good = series_to_parquet(frames()["dimension"])
    bad = [
        b"",
        b"PAR1",
        good[:-20],
        good[:200],
        good[10:],
        parquet(pa.table({"a": [1]})),
        parquet(parquet_to_series(good).to_arrow().drop_columns(["rule"])),
        parquet(pa.table({name: pa.array(["x"]) for name in parquet_to_series(good).columns})),
    ]
    for data in bad:
        with pytest.raises(DamagedSeries, match=r"f\.parquet h.*derive its job again"):
            parquet_to_series(data, "f.parquet")


def test_lines_of_json_are_as_recorded_samples_are():
    lines = [json.loads(line) for line in json_lines(frames()["dimension"])]
    assert lines[1] == {
        "labels": {
            "__name__": "pyroscope_exported_metrics_process_cpu_cpu_nanoseconds_cpu_nanoseconds",
            "pod": 'a "quoted"\n',
            "pyroscope_shard": "3",
            "raw": "\\xff",
            "service_name": "shop",
        },
        "tenant": "acme",
        "timestamp_ms": 1_700_000_000_123,
        "value": 2**53 + 1,
    }
    assert next(json_lines(frames()["dimension"])).startswith('{"labels": {"__name__": ')
