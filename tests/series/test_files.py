"""Files of many jobs: every row of every job once and as it was, metrics that are found, damage that is named."""

import json
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyro_assets.errors import SeriesError
from pyro_assets.series.files import JobSeries, MergedFile, read_job_series, write_pieces
from pyro_assets.series.frame import SCHEMA


def rows(job: str, count: int) -> Any:
    labels = [[{"name": "pod", "value": f"pod-{number % 7}"}, {"name": "x", "value": "é"}] for number in range(count)]
    columns = {
        "tenant": [f"acme-{number % 2}" for number in range(count)],
        "metric": [f"m{number * 7 % 11}" for number in range(count)],
        "labels": labels,
        "timestamp_ms": [1000 + len(job)] * count,
        "value": [number / 2 for number in range(count)],
        "value_int": [number if number % 2 else None for number in range(count)],
        "rule": ["r"] * count,
        "job": [job] * count,
    }
    return pa.table(columns, schema=SCHEMA)


def parts(**counts: int) -> list[JobSeries]:
    return [JobSeries(job, rows(job, count), {"hash": f"h{count % 2}"}) for job, count in counts.items()]


def one(made: list[JobSeries]) -> bytes:
    (piece,) = write_pieces(made)
    return piece.data


@given(st.dictionaries(st.text("abcdef0123456789", min_size=1, max_size=8), st.integers(0, 40), max_size=12))
def test_each_job_comes_back_as_it_was(counts: dict[str, int]):
    made = parts(**counts)
    pieces = list(write_pieces(made, 50))
    assert [piece.data for piece in write_pieces(iter(made), 50)] == [piece.data for piece in pieces]
    assert [job for piece in pieces for job in piece.jobs] == list(counts)
    assert all(piece.rows <= 50 for piece in pieces)
    there = 0
    for piece in pieces:
        merged = MergedFile(piece.data)
        assert merged.jobs == piece.jobs
        for part in made:
            if part.job in piece.jobs:
                found = merged.read(part.job)
                assert found.table.equals(part.table)
                assert (found.metadata, merged.metadata(part.job)) == (part.metadata, part.metadata)
        # Any reader of Parquet sees all rows and nothing else.
        there += pq.read_table(pa.BufferReader(piece.data)).num_rows
    assert there == sum(counts.values())


def test_files_are_bounded_and_a_large_job_is_alone():
    pieces = list(write_pieces(parts(a=30, b=30, c=500, d=0, e=99, f=1), 100))
    assert [dict(piece.jobs) for piece in pieces] == [{"a": 30, "b": 30}, {"c": 500}, {"d": 0, "e": 99, "f": 1}]
    assert pieces[0].smallest == {"tenant": "acme-0", "metric": "m0", "timestamp_ms": 1001}
    assert pieces[0].largest == {"tenant": "acme-1", "metric": "m9", "timestamp_ms": 1001}
    assert list(write_pieces([])) == []
    (empty,) = write_pieces(parts(a=0))
    assert (dict(empty.jobs), empty.smallest, empty.largest) == ({"a": 0}, {}, {})
    assert MergedFile(empty.data).read("a").table.num_rows == 0


def test_a_metric_lies_together_and_its_groups_are_found():
    made = parts(a=50_000, b=0, c=30_000, d=70_000, e=3)
    data = one(made)
    file = pq.ParquetFile(pa.BufferReader(data))
    assert file.num_row_groups == 5
    columns = {file.metadata.row_group(0).column(n).path_in_schema: n for n in range(file.metadata.num_columns)}
    bounds = [file.metadata.row_group(n).column(columns["metric"]).statistics for n in range(5)]
    assert sum(bound.min <= "m3" <= bound.max for bound in bounds) < 5
    # By tenant, metric, series and time.
    table = file.read()
    keys = list(zip(*(table[name].to_pylist() for name in ("tenant", "metric")), strict=True))
    assert keys == sorted(keys)
    merged = MergedFile(data)
    for part in reversed(made):
        assert merged.read(part.job).table.equals(part.table)


def test_every_page_has_a_checksum_that_arrow_verifies():
    data = bytearray(one(parts(a=500)))
    column = pq.ParquetFile(pa.BufferReader(data)).metadata.row_group(0).column(0)
    data[column.data_page_offset + column.total_compressed_size - 4] ^= 0xFF
    with pytest.raises(OSError, match=r"CRC|crc|checksum"):
        pq.read_table(pa.BufferReader(bytes(data)), page_checksum_verification=True)


def test_a_merge_of_a_merge_is_the_same_file():
    data = one(parts(a=5, b=0, c=7))
    merged = MergedFile(data)
    assert one([merged.read(job) for job in merged.jobs]) == data


def test_a_jobs_own_file_with_what_it_says_of_itself():
    sink = pa.BufferOutputStream()
    with pq.ParquetWriter(sink, SCHEMA, store_schema=False) as writer:
        writer.write_table(rows("a", 3))
        writer.add_key_value_metadata({"hash": "x"})
    part = read_job_series(sink.getvalue(), "a")
    assert (part.table.num_rows, part.metadata) == (3, {"hash": "x"})
    assert MergedFile(one([part])).metadata("a") == {"hash": "x"}


def before_the_table(jobs: list[list[Any]], table: Any) -> bytes:
    """An hour's merged file as versions before the table wrote it: rows job by job, without their places."""
    sink = pa.BufferOutputStream()
    with pq.ParquetWriter(sink, SCHEMA, store_schema=False) as writer:
        writer.write_table(table, row_group_size=4)
        writer.add_key_value_metadata({"pyro_assets.jobs": json.dumps({"jobs": jobs, "metadata": [{"hash": "x"}]})})
    return bytes(sink.getvalue())


def test_files_from_before_the_table_are_read():
    made = parts(b=5, a=0, c=6)
    jobs = [[part.job, part.table.num_rows, 0] for part in made]
    merged = MergedFile(before_the_table(jobs, pa.concat_tables([part.table for part in made])))
    for part in made:
        assert merged.read(part.job).table.equals(part.table)
        assert merged.metadata(part.job) == {"hash": "x"}


def test_damage_is_named():
    data = one(parts(a=5, b=6))
    with pytest.raises(SeriesError, match=r"f\.parquet has no job z"):
        MergedFile(data, "f.parquet").read("z")
    for bad in (b"", b"PAR1", data[:-9], data[: len(data) // 2]):
        with pytest.raises(SeriesError, match=r"f\.parquet"):
            MergedFile(bad, "f.parquet")
        with pytest.raises(SeriesError, match=r"f\.parquet"):
            read_job_series(bad, "a", "f.parquet")
    sink = pa.BufferOutputStream()
    pq.write_table(rows("a", 3), sink)
    with pytest.raises(SeriesError, match="no series"):
        MergedFile(sink.getvalue())  # a job's own file says nothing of jobs
    with pytest.raises(SeriesError, match="has 3 rows and says that its jobs have 4"):
        MergedFile(before_the_table([["a", 4, 0]], rows("a", 3)))
    with pytest.raises(SeriesError, match="has other rows than it says of its jobs"):
        MergedFile(before_the_table([["a", 2, 0], ["b", 1, 0]], rows("a", 3))).read("a")
