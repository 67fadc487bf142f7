"""Files of an hour's jobs in one: which files count, every row of every job once, damage named."""

import json
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyro_assets.errors import SeriesError
from pyro_assets.series.frame import SCHEMA, parquet_to_series, to_polars
from pyro_assets.series.merged import (
    JobSeries,
    MergedFile,
    current_files,
    read_job_series,
    without_jobs,
    write_merged,
)


def rows(job: str, count: int) -> Any:
    labels = [[{"name": "pod", "value": f"pod-{number % 7}"}, {"name": "x", "value": "é"}] for number in range(count)]
    columns = {
        "tenant": ["acme"] * count,
        "metric": [f"m{number}" for number in range(count)],
        "labels": labels,
        "timestamp_ms": [1000] * count,
        "value": [number / 2 for number in range(count)],
        "value_int": [number if number % 2 else None for number in range(count)],
        "rule": ["r"] * count,
        "job": [job] * count,
    }
    return pa.table(columns, schema=SCHEMA)


def parts(**counts: int) -> list[JobSeries]:
    return [JobSeries(job, rows(job, count), {"hash": f"h{count % 2}"}) for job, count in counts.items()]


@given(st.dictionaries(st.text("abcdef0123456789", min_size=1, max_size=8), st.integers(0, 40), max_size=12))
def test_each_job_comes_back_as_it_was(counts: dict[str, int]):
    made = parts(**counts)
    data = write_merged(made)
    assert write_merged(iter(made)) == data
    merged = MergedFile(data)
    assert merged.jobs == counts
    for part in made:
        found = merged.read(part.job)
        assert found.table.equals(part.table)
        assert (found.metadata, merged.metadata(part.job)) == (part.metadata, part.metadata)
    # Any reader of Parquet sees all rows and nothing else.
    assert pq.read_table(pa.BufferReader(data)).num_rows == sum(counts.values())
    assert len(parquet_to_series(data)) == sum(counts.values())


def test_jobs_over_several_groups_of_rows_in_any_order():
    counts = {"a": 50_000, "b": 0, "c": 30_000, "d": 70_000, "e": 3}
    made = parts(**counts)
    data = write_merged(made)
    merged = MergedFile(data)
    assert pq.ParquetFile(pa.BufferReader(data)).num_row_groups == 5
    for part in reversed(made):
        assert merged.read(part.job).table.equals(part.table)


def test_a_merge_of_a_merge_is_the_same_file():
    made = parts(a=5, b=0, c=7)
    data = write_merged(made)
    merged = MergedFile(data)
    assert write_merged(merged.read(job) for job in merged.jobs) == data


def test_a_jobs_own_file_with_what_it_says_of_itself():
    sink = pa.BufferOutputStream()
    with pq.ParquetWriter(sink, SCHEMA, store_schema=False) as writer:
        writer.write_table(rows("a", 3))
        writer.add_key_value_metadata({"hash": "x"})
    part = read_job_series(sink.getvalue(), "a")
    assert (part.table.num_rows, part.metadata) == (3, {"hash": "x"})
    assert MergedFile(write_merged([part])).metadata("a") == {"hash": "x"}


def test_damage_is_named():
    data = write_merged(parts(a=5, b=6))
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
    sink = pa.BufferOutputStream()
    named = json.dumps({"jobs": [["a", 4, 0]], "metadata": [{}]})
    with pq.ParquetWriter(sink, SCHEMA, store_schema=False) as writer:
        writer.write_table(rows("a", 3))
        writer.add_key_value_metadata({"pyro_assets.jobs": named})
    with pytest.raises(SeriesError, match="has 3 rows and says that its jobs have 4"):
        MergedFile(sink.getvalue())


def test_rows_of_other_jobs():
    frame = to_polars(pa.concat_tables([rows("a", 2), rows("b", 3)]))
    assert len(without_jobs(frame, [])) == 5
    assert without_jobs(frame, {"a", "z"})["job"].to_list() == ["b"] * 3


FOLDER = "series/kind=function/hour=2026-11-25T09"


@pytest.mark.parametrize(
    ("names", "current"),
    [
        ([], {}),
        (["a", "b"], {"a": "", "b": ""}),
        # The merged file is there, its sources not removed yet.
        (["a", "b", "merged-000001"], {"merged-000001": ""}),
        # Derived again: the newest wins, whether or not a merge has begun.
        (["a", "a-000001", "b"], {"a-000001": "", "b": ""}),
        (["a", "a-000001", "b", "merged-000001"], {"a-000001": "", "merged-000001": "a"}),
        (["a-000001", "merged-000001", "merged-000002"], {"merged-000002": ""}),
        (["a-000009", "a-000010", "merged-000009"], {"a-000010": "", "merged-000009": "a"}),
        (["a.tmp", "note-x"], {"note-x": ""}),
    ],
)
def test_which_files_count(names: list[str], current: dict[str, str]):
    keys = [f"{FOLDER}/{name}.parquet" if "." not in name else f"{FOLDER}/{name}" for name in names]
    found = {file.key: ",".join(sorted(file.without)) for file in current_files(keys)}
    assert found == {f"{FOLDER}/{name}.parquet": without for name, without in current.items()}


def test_folders_do_not_mix():
    keys = ["k/h1/a.parquet", "k/h2/a.parquet", "k/h2/merged-000001.parquet"]
    assert [file.key for file in current_files(keys)] == ["k/h1/a.parquet", "k/h2/merged-000001.parquet"]
