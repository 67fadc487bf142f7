"""Written profiles: columns, encodings, page index and statistics as the original's blocks have them."""

import re
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given

from pyro_assets.block.columns import ProfileRows
from pyro_assets.block.parquet.writer import ROW_GROUP_ROWS, write_profiles
from pyro_assets.errors import Unwritable
from tests.support import profile_rows as made
from tests.support.golden_bucket import COMMITTED


def opened(section: bytes | memoryview) -> pq.ParquetFile:
    return pq.ParquetFile(pa.BufferReader(section))


def message(file: pq.ParquetFile) -> list[str]:
    """The schema's text without the name of the message and the annotations that change nothing."""
    text = str(file.schema).split("\n", 2)[2]
    return [re.sub(r" \(Int\(bitWidth=64, isSigned=true\)\)", "", line) for line in text.splitlines()]


def column_facts(file: pq.ParquetFile) -> dict[str, tuple]:
    group = file.metadata.row_group(0)
    columns = [group.column(number) for number in range(group.num_columns)]
    return {
        # Run lengths are of levels, which Arrow also names where there are none.
        column.path_in_schema: (
            sorted(set(column.encodings) - {"RLE"}),
            column.compression,
            column.has_dictionary_page,
            column.has_column_index,
            column.has_offset_index,
            column.is_stats_set,
        )
        for column in columns
    }


def originals(root: Path) -> list[memoryview]:
    """Profiles sections of level-1 blocks that the original wrote."""
    return [
        section
        for name, sections in made.real_sections(root)
        if "/blocks/" in name.replace(str(root), "")
        for section in sections
    ]


def test_columns_are_those_of_the_originals_blocks() -> None:
    [section] = write_profiles(made.plain_rows())
    mine = opened(section)
    wanted = opened(originals(COMMITTED)[0])
    assert message(mine) == message(wanted)
    assert column_facts(mine) == column_facts(wanted)
    assert mine.metadata.metadata is None


def test_columns_in_all_level_1_blocks(bucket_2026: Path) -> None:
    [section] = write_profiles(made.plain_rows())
    facts, text = column_facts(opened(section)), message(opened(section))
    for wanted in originals(bucket_2026):
        assert column_facts(opened(wanted)) == facts
        assert message(opened(wanted)) == text


def test_columns_with_something_in_them_are_encoded_alike() -> None:
    """Labels, spans, comments and annotations: encodings by column, not by what is in it."""
    rows = made.plain_rows(2, 1)
    [plain] = write_profiles(rows)
    rows.span_id = pa.array([1, 2], pa.uint64())
    rows.trace_id = pa.array([b"t" * 16, None], made.TRACE_ID_TYPE)
    rows.sample_labels = pa.array([[{"Key": 1, "Str": 2}], []], made.LABELS_TYPE)
    rows.comments = pa.array([[1], [2, 3]], made.COMMENTS_TYPE)
    rows.annotations = pa.array([[{"Key": "k", "Value": "v"}], []], made.ANNOTATIONS_TYPE)
    rows.drop_frames = rows.keep_frames = rows.period = rows.default_sample_type = pa.array([1, None], pa.int64())
    [full] = write_profiles(rows)
    assert column_facts(opened(full)) == column_facts(opened(plain))


def test_statistics() -> None:
    rows = made.plain_rows(10, 3)
    rows.time_ns = np.arange(10, dtype=np.int64) + 100
    [section] = write_profiles(rows)
    group = opened(section).metadata.row_group(0)
    by_path = {group.column(number).path_in_schema: group.column(number) for number in range(group.num_columns)}
    stacks = by_path["Samples.list.element.StacktraceID"].statistics
    assert (stacks.min, stacks.max, stacks.null_count) == (1, 7, 0)
    assert by_path["DurationNanos"].statistics.null_count == 5
    assert by_path["Samples.list.element.SpanID"].statistics.null_count == 30
    assert not by_path["Period"].statistics.has_min_max


def test_row_groups_are_short() -> None:
    [section] = write_profiles(made.plain_rows(2 * ROW_GROUP_ROWS + 1, 0))
    metadata = opened(section).metadata
    assert [metadata.row_group(number).num_rows for number in range(metadata.num_row_groups)] == [10_240, 10_240, 1]


@given(rows=made.jobs())
def test_plain_pyarrow_reads_it(rows: ProfileRows) -> None:
    for number, section in enumerate(write_profiles(rows)):
        table = pq.read_table(pa.BufferReader(section), use_threads=False)
        part = slice(*rows.dataset_start[number : number + 2].tolist())
        assert table["SeriesIndex"].to_pylist() == rows.series[part].tolist()
        assert table["ID"].combine_chunks().storage.to_pylist() == [one.tobytes() for one in rows.id[part]]
        begin, end = rows.sample_start[part.start], rows.sample_start[part.stop]
        values = [sample["Value"] for row in table["Samples"].to_pylist() for sample in row]
        assert values == rows.value[begin:end].tolist()


@given(rows=made.jobs())
def test_equal_columns_give_equal_bytes(rows: ProfileRows) -> None:
    assert write_profiles(rows) == write_profiles(rows)


def test_arrow_slices_are_written_as_what_they_show() -> None:
    """Columns that were gathered may be views with offsets, or lists with nulls."""
    rows = made.plain_rows(2, 1)
    rows.span_id = pa.array([9, 1, 2], pa.uint64())[1:]
    rows.comments = pa.array([[7], [1], None], made.COMMENTS_TYPE)[1:]
    rows.sample_labels = pa.array([[{"Key": 5}], [], [{"Key": 6, "Num": 1}]], made.LABELS_TYPE)[1:]
    [section] = write_profiles(rows)
    table = pq.read_table(pa.BufferReader(section))
    assert table["Comments"].to_pylist() == [[1], []]
    samples = [sample for row in table["Samples"].to_pylist() for sample in row]
    assert [sample["SpanID"] for sample in samples] == [1, 2]
    assert [[label["Key"] for label in sample["Labels"]] for sample in samples] == [[], [6]]


@pytest.mark.parametrize("number", [-1, 2**32])
def test_a_series_index_that_does_not_fit(number: int) -> None:
    rows = made.plain_rows()
    rows.series = rows.series + number
    with pytest.raises(Unwritable, match=r"series index of a profile.*nothing was written"):
        write_profiles(rows)
