"""Reading profiles: against plain pyarrow over real sections, and what was written comes back, in both ways."""

import io
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given

from pyro_assets.block.columns import ProfileRows
from pyro_assets.block.parquet.footer import find_part, read_footer
from pyro_assets.block.parquet.pages import find_usual_pages
from pyro_assets.block.parquet.rows import Section, read_profiles, read_sections, write_profiles
from pyro_assets.block.parquet.schema import REQUIRED
from pyro_assets.errors import BadEncoding, Where
from tests.support import profile_rows as made
from tests.support.golden_bucket import COMMITTED


def carefully(sections: list[memoryview], wheres: list[Where]) -> ProfileRows:
    """The careful way, which `read_profiles` takes where the fast one declines."""
    return read_sections([Section(read_footer(*pair), pair[1]) for pair in zip(sections, wheres, strict=True)])


def is_usual(section: memoryview) -> bool:
    """Whether neither the footer nor a page of the section needs the careful way."""
    part = find_part(section)
    return part is not None and all(find_usual_pages(section, part.chunk(path)) for path in REQUIRED)


WAYS = pytest.mark.parametrize("read", [read_profiles, carefully], ids=["usual", "careful"])


def assert_as_plain_pyarrow(rows: ProfileRows, sections: list[memoryview]) -> None:
    """The columns hold what `pq.read_table` says, value by value."""
    tables = [pq.read_table(pa.BufferReader(section), use_threads=False) for section in sections]
    assert np.diff(rows.dataset_start).tolist() == [table.num_rows for table in tables]

    def column(name: str) -> list:
        return [
            value
            for table in tables
            for value in (table[name].to_pylist() if name in table.column_names else [None] * table.num_rows)
        ]

    def mine(array, length: int, missing=None) -> list:
        return [missing] * length if array is None else array.to_pylist()

    count = int(rows.dataset_start[-1])
    times = [value for table in tables for value in table["TimeNanos"].cast(pa.int64()).to_pylist()]
    assert [row.tobytes() for row in rows.id] == [value.bytes for value in column("ID")]
    assert rows.series.tolist() == column("SeriesIndex")
    assert rows.partition.tolist() == column("StacktracePartition")
    assert rows.total_value.view(np.uint64).tolist() == column("TotalValue")
    assert rows.time_ns.tolist() == times
    assert mine(rows.drop_frames, count) == column("DropFrames")
    assert mine(rows.keep_frames, count) == column("KeepFrames")
    assert mine(rows.duration_ns, count) == column("DurationNanos")
    assert mine(rows.period, count) == column("Period")
    assert mine(rows.default_sample_type, count) == column("DefaultSampleType")
    assert mine(rows.comments, count, []) == [value or [] for value in column("Comments")]
    assert mine(rows.annotations, count, []) == [value or [] for value in column("Annotations")]
    samples = column("Samples")
    flat = [sample for row in samples for sample in row]
    assert np.diff(rows.sample_start).tolist() == [len(row) for row in samples]
    assert rows.stack.view(np.uint64).tolist() == [sample["StacktraceID"] for sample in flat]
    assert rows.value.tolist() == [sample["Value"] for sample in flat]
    assert mine(rows.span_id, len(flat)) == [sample["SpanID"] for sample in flat]
    assert mine(rows.trace_id, len(flat)) == [sample.get("TraceID") for sample in flat]
    assert mine(rows.sample_labels, len(flat), []) == [sample["Labels"] for sample in flat]


@WAYS
def test_committed_objects_hold_what_plain_pyarrow_says(read) -> None:
    sections = [section for _, found in made.real_sections(COMMITTED) for section in found]
    assert len(sections) > 20
    assert_as_plain_pyarrow(read(sections, made.wheres(len(sections))), sections)


@pytest.mark.parametrize("folder", ["segments-2024", "blocks-2025", "bucket-2026", "large-2026"])
def test_real_objects_hold_what_plain_pyarrow_says(shared_data: Path, folder: str) -> None:
    sections = [section for _, found in made.real_sections(shared_data / folder) for section in found]
    assert sections
    for begin in range(0, len(sections), 40):
        part = sections[begin : begin + 40]
        rows = read_profiles(part, made.wheres(len(part)))
        assert_as_plain_pyarrow(rows, part)
        made.assert_same(carefully(part, made.wheres(len(part))), rows)


def test_old_and_new_objects_in_one_job(shared_data: Path) -> None:
    """Old objects have no TraceID and no annotations, and their schema differs."""
    old = [section for _, found in made.real_sections(shared_data / "segments-2024") for section in found]
    new = [section for _, found in made.real_sections(COMMITTED) for section in found][:10]
    sections = [one for pair in zip(new, old, strict=False) for one in pair]
    assert_as_plain_pyarrow(read_profiles(sections, made.wheres(len(sections))), sections)


def test_real_sections_take_the_fast_way(shared_data: Path) -> None:
    for folder in ("segments-2024", "blocks-2025", "bucket-2026"):
        for name, sections in made.real_sections(shared_data / folder):
            read_profiles(sections, made.wheres(len(sections)))  # learns the schema
            assert all(is_usual(section) for section in sections), name


@WAYS
@given(rows=made.jobs())
def test_what_was_written_comes_back(rows: ProfileRows, read) -> None:
    sections = [memoryview(section) for section in write_profiles(rows)]
    made.assert_same(read(sections, made.wheres(len(sections))), rows)


@given(rows=made.jobs())
def test_both_ways_agree_with_plain_pyarrow(rows: ProfileRows) -> None:
    sections = [memoryview(section) for section in write_profiles(rows)]
    assert_as_plain_pyarrow(read_profiles(sections, made.wheres(len(sections))), sections)


def test_nothing_is_nothing() -> None:
    made.assert_same(read_profiles([], []), made.make_rows([]))


@WAYS
def test_datasets_without_rows(read) -> None:
    rows = made.make_rows([[], [], []])
    sections = [memoryview(section) for section in write_profiles(rows)]
    made.assert_same(read(sections, made.wheres(3)), rows)


def test_fast_way_takes_what_this_project_writes() -> None:
    """Several pages a column too: 200,000 samples do not fit one."""
    rows = made.plain_rows(4, 50_000)
    rows.value = rows.value * 0x7FFF_FFFF_FFFF
    sections = [memoryview(section) for section in write_profiles(rows)]
    made.assert_same(read_profiles(sections, made.wheres(1)), rows)
    assert is_usual(sections[0])
    made.assert_same(read_profiles(sections, made.wheres(1)), rows)


@WAYS
def test_several_row_groups(read) -> None:
    rows = made.plain_rows(25_000, 1)
    sections = [memoryview(section) for section in write_profiles(rows)]
    assert pq.ParquetFile(pa.BufferReader(sections[0])).num_row_groups == 3
    made.assert_same(read(sections, made.wheres(1)), rows)


def rewrite(section: bytes, change=lambda table: table, **options) -> memoryview:
    """The same columns as another writer may put them."""
    table = change(pq.read_table(pa.BufferReader(section)))
    sink = io.BytesIO()
    pq.write_table(table, sink, **{"compression": "none", "store_schema": False, **options})
    return memoryview(sink.getvalue())


@WAYS
@pytest.mark.parametrize(
    "options",
    [
        {},
        {"use_dictionary": False},
        {"use_dictionary": False, "write_statistics": False},
        {"data_page_version": "2.0"},
        {"row_group_size": 2},
        {"use_dictionary": False, "max_rows_per_page": 1},
        {"write_page_checksum": True, "use_dictionary": False},
    ],
    ids=str,
)
def test_other_writers(read, options: dict) -> None:
    rows = made.plain_rows(7, 3)
    [section] = write_profiles(rows)
    made.assert_same(read([rewrite(section, **options)], made.wheres(1)), rows)


@WAYS
def test_a_mixed_job(read) -> None:
    """One section of an unusual form among usual ones, and one with columns that the others do not use."""
    plain, other, full = made.plain_rows(5, 3, 1), made.plain_rows(2, 6, 2), made.plain_rows(3, 2, 3)
    full.span_id = pa.array([1, None, 3, 4, None, 6], pa.uint64())
    full.period = pa.array([None, 5, None], pa.int64())
    full.comments = pa.array([[1], [], [2, 3]], made.COMMENTS_TYPE)
    [first], [second], [third] = map(write_profiles, (plain, other, full))
    found = read([memoryview(first), rewrite(second), memoryview(third)], made.wheres(3))
    assert found.dataset_start.tolist() == [0, 5, 7, 10]
    assert found.span_id.to_pylist() == [None] * 27 + [1, None, 3, 4, None, 6]
    assert found.period.to_pylist() == [None] * 8 + [5, None]
    assert found.comments.to_pylist() == [[]] * 7 + [[1], [], [2, 3]]
    assert found.value.tolist() == [*plain.value, *other.value, *full.value]


@WAYS
def test_unknown_columns_are_left_alone(read) -> None:
    rows = made.plain_rows()
    [section] = write_profiles(rows)
    more = rewrite(
        section, lambda table: table.append_column("Future", pa.array([1] * len(table))), use_dictionary=False
    )
    made.assert_same(read([more], made.wheres(1)), rows)


@WAYS
def test_missing_optional_columns_read_as_nothing(read) -> None:
    rows = made.plain_rows(2, 2)
    [section] = write_profiles(rows)
    names = ("Annotations", "Comments", "DropFrames", "KeepFrames", "Period", "DefaultSampleType")
    less = rewrite(section, lambda table: table.drop_columns(list(names)))
    made.assert_same(read([less], made.wheres(1)), rows)


@WAYS
@pytest.mark.parametrize("name", ["ID", "SeriesIndex", "StacktracePartition", "TotalValue", "Samples", "TimeNanos"])
def test_a_missing_required_column_is_named(read, name: str) -> None:
    [section] = write_profiles(made.plain_rows())
    bad = rewrite(section, lambda table: table.drop_columns([name]))
    with pytest.raises(BadEncoding, match=f"required column {name}.* is missing .*dataset 0, section profiles"):
        read([bad], made.wheres(1))


def with_column(name: str, make):
    """Replaces a column by one of another type."""

    def change(table: pa.Table) -> pa.Table:
        index = table.column_names.index(name)
        field, column = make(table.schema.field(name), table.column(name))
        return table.set_column(index, field, column)

    return change


@WAYS
@pytest.mark.parametrize(
    ("name", "make"),
    [
        ("SeriesIndex", lambda field, column: (pa.field("SeriesIndex", pa.uint32()), column)),
        ("SeriesIndex", lambda field, column: (pa.field("SeriesIndex", pa.int32(), False), column.cast(pa.int32()))),
        ("TotalValue", lambda field, column: (pa.field("TotalValue", pa.int64(), False), column.cast(pa.int64()))),
        ("TimeNanos", lambda field, column: (pa.field("TimeNanos", pa.int64(), False), column.cast(pa.int64()))),
        ("Period", lambda field, column: (pa.field("Period", pa.string()), column.cast(pa.string()))),
        ("Comments", lambda field, column: (pa.field("Comments", field.type, True), column)),
        ("ID", lambda field, column: (pa.field("ID", pa.binary(16), False), column.combine_chunks().storage)),
    ],
    ids=["nullable", "signed", "signed-64", "no-time", "text", "nullable-list", "no-uuid"],
)
def test_a_column_of_another_type_is_named(read, name: str, make) -> None:
    [section] = write_profiles(made.plain_rows())
    with pytest.raises(BadEncoding, match=f"type of column {name}.*expected .*found .*"):
        read([rewrite(section, with_column(name, make))], made.wheres(1))


@WAYS
def test_compressed_columns_are_refused(read) -> None:
    """The format never compresses, and what is not unpacked cannot blow up."""
    [section] = write_profiles(made.plain_rows())
    with pytest.raises(BadEncoding, match=r"compression of column ID.*expected UNCOMPRESSED, found SNAPPY"):
        read([rewrite(section, compression="snappy")], made.wheres(1))


@WAYS
def test_annotations_from_a_dictionary_are_refused(read) -> None:
    rows = made.plain_rows(2, 1)
    rows.annotations = pa.array([[{"Key": "a", "Value": "b"}], []], made.ANNOTATIONS_TYPE)
    [section] = write_profiles(rows)
    with pytest.raises(BadEncoding, match=r"encoding of column Annotations.list.element.Key"):
        read([rewrite(section)], made.wheres(1))
    made.assert_same(read([rewrite(section, use_dictionary=False)], made.wheres(1)), rows)
