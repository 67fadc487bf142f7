"""Reads the profiles sections of a whole job: many small Parquet files into one set of columns.

Add here what turns Parquet into `ProfileRows`; the message's columns stand in `profiles_schema`, the guard against
page headers that claim too much in `profiles_pages`, the other direction in `profiles_writer`. Everything in the
files is untrusted, their metadata too. Why columns are skipped: performance (a third of the time).
"""

from collections.abc import Callable, Sequence
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pyro_assets.block.columns import I64, ProfileRows
from pyro_assets.block.profiles_pages import DELTA_LENGTH_BYTE_ARRAY, PLAIN, check_pages
from pyro_assets.block.profiles_schema import (
    ANNOTATION_KEY,
    ANNOTATIONS,
    ANNOTATIONS_TYPE,
    COMMENTS,
    COMMENTS_TYPE,
    LABEL_KEY,
    LABELS,
    LABELS_TYPE,
    REQUIRED,
    SPAN_ID,
    STACK,
    TRACE_ID,
    TRACE_ID_TYPE,
    VALUE,
    Layout,
    check_schema,
    empty_lists,
    retype_lists,
)
from pyro_assets.block.profiles_writer import write_profiles
from pyro_assets.errors import BadCount, BadEncoding, BadLength, BadMagic, Truncated, Where

__all__ = ["read_profiles", "write_profiles"]

_MAGIC: Final = b"PAR1"
_ID_BYTES: Final = 16
#: No encoding that the format uses packs more values than this into a byte (Arrow's deltas: 256 in 5 bytes).
_VALUES_PER_BYTE: Final = 64
#: More samples than this in one section are refused: lists have 32-bit offsets, and memory has an end.
_MOST_SAMPLES: Final = 1 << 27
#: No list in a footer is longer; Thrift allocates for a list before it reads the elements.
_LONGEST_FOOTER_LIST: Final = 1 << 16

#: Whatever pyarrow raises for a file that does not decode.
_ARROW_ERRORS: Final = (
    pa.ArrowException,
    OSError,
    ValueError,
    KeyError,
    IndexError,
    OverflowError,
    TypeError,
    NotImplementedError,
    MemoryError,
)

#: How many values a nested column may have in a row group: as many as another column (as rows if ""), and whether
#: more than that, by lists.
_COUNTS: Final = {
    STACK: ("", True),
    VALUE: (STACK, False),
    SPAN_ID: (STACK, False),
    TRACE_ID: (STACK, False),
    LABEL_KEY: (STACK, True),
    LABELS + "Str": (LABEL_KEY, False),
    LABELS + "Num": (LABEL_KEY, False),
    LABELS + "NumUnit": (LABEL_KEY, False),
    COMMENTS: ("", True),
    ANNOTATION_KEY: ("", True),
    ANNOTATIONS + "Value": (ANNOTATION_KEY, False),
}
#: Strings may not come from a dictionary: a small file could then hold any number of long ones.
_ENCODINGS: Final = dict.fromkeys((ANNOTATION_KEY, ANNOTATIONS + "Value"), (PLAIN, DELTA_LENGTH_BYTE_ARRAY))

_SAMPLE_FIELDS: Final = {
    "StacktraceID": pa.uint64(),
    "Value": pa.int64(),
    "Labels": LABELS_TYPE,
    "SpanID": pa.uint64(),
    "TraceID": TRACE_ID_TYPE,
}

#: Layouts seen so far: the schema of almost every file equals one of them, which is faster than checking it.
_known_layouts: list[Layout] = []


def read_profiles(sections: Sequence[memoryview], wheres: Sequence[Where]) -> ProfileRows:
    """Read the profiles sections of many datasets end to end.

    Args:
        sections: one Parquet file per dataset.
        wheres: for messages, one per section.

    Returns:
        Rows with SeriesIndex, StacktracePartition and StacktraceID as stored and `unit` -1. Arrays may be
        read-only views of Arrow's memory. A row's total is not compared with its values.

    Raises:
        BadMagic: a section is no Parquet file.
        Truncated: a section ends too early.
        BadLength: the footer's or a page's length contradicts the section's size.
        BadCount: more rows or samples than the section can hold, or counts that contradict each other.
        BadEncoding: whatever else does not decode, a missing or mistyped column, nulls where none may be.
    """
    # One phase over all sections after the other, not section by section: a fifth faster, by warm code and memory.
    files = _each(_open, sections, wheres)
    columns = _each(_columns_to_read, list(zip(sections, files, strict=True)), wheres)
    tables = _each(_read_table, list(zip(files, columns, strict=True)), wheres)
    parts = _each(_split_table, tables, wheres)
    chunks = [chunk for _, samples in parts for chunk in samples]
    row_counts = np.array([0, *(table.num_rows for table in tables)], np.int64)
    flat = pa.concat_tables([rest for rest, _ in parts], promote_options="default") if parts else _NO_ROWS
    flat = flat.combine_chunks()
    rows = flat.num_rows
    sample_start, stack, value, labels, span_id, trace_id = _join_samples(chunks, rows)
    return ProfileRows(
        dataset_start=np.cumsum(row_counts),
        id=_view(flat, "ID", np.uint8, _ID_BYTES).reshape(rows, _ID_BYTES),
        series=_view(flat, "SeriesIndex", np.uint32).astype(np.int64),
        partition=_view(flat, "StacktracePartition", np.uint64),
        unit=np.full(rows, -1, np.int64),
        total_value=_view(flat, "TotalValue", np.int64),
        time_ns=_view(flat, "TimeNanos", np.int64),
        sample_start=sample_start,
        stack=stack,
        value=value,
        span_id=span_id,
        trace_id=trace_id,
        sample_labels=labels,
        drop_frames=_optional(flat, "DropFrames"),
        keep_frames=_optional(flat, "KeepFrames"),
        duration_ns=_optional(flat, "DurationNanos"),
        period=_optional(flat, "Period"),
        default_sample_type=_optional(flat, "DefaultSampleType"),
        comments=_lists(flat, "Comments", COMMENTS_TYPE),
        annotations=_lists(flat, "Annotations", ANNOTATIONS_TYPE),
    )


_NO_ROWS: Final = pa.table({"ID": pa.array([], pa.binary(16))})


def _first_line(error: BaseException) -> str:
    return f"{type(error).__name__}: {str(error).strip().splitlines()[0] if str(error).strip() else ''}"[:300]


def _each(step: Callable[[Any, Where], Any], items: Sequence[Any], wheres: Sequence[Where]) -> list[Any]:
    """One step over all sections; whatever Arrow raises becomes an error of the section."""
    results = []
    for item, where in zip(items, wheres, strict=True):
        try:
            results.append(step(item, where))
        except _ARROW_ERRORS as error:
            raise BadEncoding(f"Parquet of the profiles: {_first_line(error)}", where) from error
    return results


def _open(section: memoryview, where: Where) -> Any:
    size = len(section)
    if size < 12:
        raise Truncated("profiles", where, expected="a Parquet file of at least 12 bytes", actual=size)
    ends = bytes(section[:4]), bytes(section[size - 4 :])
    if ends != (_MAGIC, _MAGIC):
        raise BadMagic("profiles", where, expected=(_MAGIC, _MAGIC), actual=ends)
    footer_bytes = int.from_bytes(section[size - 8 : size - 4], "little")
    if footer_bytes > size - 12:
        raise BadLength(
            "Parquet footer of the profiles",
            where,
            offset=size - 8,
            expected=f"at most {size - 12}",
            actual=footer_bytes,
        )
    return pq.ParquetFile(
        pa.BufferReader(section),
        pre_buffer=False,
        arrow_extensions_enabled=False,
        thrift_string_size_limit=size,
        thrift_container_size_limit=_LONGEST_FOOTER_LIST,
    )


def _read_table(item: tuple[Any, list[str]], where: Where) -> Any:
    file, columns = item
    table = file.read(columns=columns, use_threads=False)
    if table.num_rows != file.metadata.num_rows:
        raise BadCount("rows of the profiles", where, expected=file.metadata.num_rows, actual=table.num_rows)
    return table


def _split_table(table: Any, where: Where) -> tuple[Any, list[tuple[Any, ...]]]:
    """The table without its samples, and the samples by chunk."""
    index = table.column_names.index("Samples")
    return table.remove_column(index), [_split_samples(chunk, where) for chunk in table.column(index).chunks]


def _find_layout(schema: Any, where: Where) -> Layout:
    for layout in _known_layouts:
        if schema.equals(layout.schema):
            return layout
    layout = check_schema(schema, where)
    # Real files have a handful of schemas; made ones may have any number.
    if len(_known_layouts) < 8:
        _known_layouts.append(layout)
    return layout


def _columns_to_read(item: tuple[memoryview, Any], where: Where) -> list[str]:
    """Paths of the leaves that hold anything, after their sizes and counts were checked."""
    section, file = item
    metadata = file.metadata
    layout = _find_layout(file.schema, where)
    wanted: dict[str, None] = dict.fromkeys(REQUIRED)
    rows = samples = 0
    for number in range(metadata.num_row_groups):
        group = metadata.row_group(number)
        for paths, probe in layout.optional:
            if paths[0] not in wanted:
                chunk = group.column(probe)
                statistics = chunk.statistics
                if statistics is None or not statistics.has_null_count or statistics.null_count != chunk.num_values:
                    wanted.update(dict.fromkeys(paths))
        group_rows = group.num_rows
        if group_rows < 0:
            raise BadCount("rows in a row group of the profiles", where, expected="0 or more", actual=group_rows)
        rows += group_rows
    if not rows == metadata.num_rows <= len(section) // _ID_BYTES:
        raise BadCount(
            "rows of the profiles",
            where,
            expected=f"{rows}, at most {len(section) // _ID_BYTES}",
            actual=metadata.num_rows,
        )
    for number in range(metadata.num_row_groups):
        samples += _check_row_group(section, metadata.row_group(number), layout, wanted, where)
    if samples > _MOST_SAMPLES:
        raise BadCount("samples of the profiles", where, expected=f"at most {_MOST_SAMPLES}", actual=samples)
    return list(wanted)


def _check_row_group(section: memoryview, group: Any, layout: Layout, wanted: dict[str, None], where: Where) -> int:
    """Check counts and sizes of the columns that will be read; the number of samples."""
    rows = group.num_rows
    values: dict[str, int] = {}
    for path in wanted:
        chunk = group.column(layout.position[path])
        if chunk.compression != "UNCOMPRESSED":
            raise BadEncoding(f"compression of column {path}", where, expected="UNCOMPRESSED", actual=chunk.compression)
        if "." not in path:
            continue  # One value a row: Arrow stops at the rows it was asked for.
        values[path] = count = chunk.num_values
        base, grows = _COUNTS[path]
        least = values[base] if base else rows
        most = least + grows * _VALUES_PER_BYTE * min(chunk.total_compressed_size, len(section))
        if not least <= count <= most:
            raise BadCount(f"values of column {path}", where, expected=f"from {least} to {most}", actual=count)
        start = chunk.data_page_offset
        if chunk.has_dictionary_page and 0 < chunk.dictionary_page_offset < start:
            start = chunk.dictionary_page_offset
        check_pages(section, start, start + chunk.total_compressed_size, count, path, where, _ENCODINGS.get(path))
    return values[STACK]


def _split_samples(samples: Any, where: Where) -> tuple[Any, ...]:
    """One chunk of Samples as (offsets, stacks, values, labels, span ids, trace ids); absent ones are None."""
    elements = samples.values
    if samples.null_count or elements.null_count:
        raise BadEncoding("nulls in the required column Samples of the profiles", where)
    offsets = np.frombuffer(samples.offsets.buffers()[1], np.int32, len(samples) + 1, samples.offsets.offset * 4)
    first, last = int(offsets[0]), int(offsets[-1])
    if first or last != len(elements):
        elements, offsets = elements.slice(first, last - first), offsets - first
    kind = elements.type
    parts = (elements.field(at) if (at := kind.get_field_index(name)) >= 0 else None for name in _SAMPLE_FIELDS)
    return (offsets, *parts)


def _join_samples(chunks: list[tuple[Any, ...]], rows: int) -> tuple[I64, I64, I64, Any, Any, Any]:
    """Chunks end to end: sample_start, stack, value, labels, span ids, trace ids."""
    sample_start = np.zeros(rows + 1, np.int64)
    row = sample = 0
    for chunk in chunks:
        offsets = chunk[0]
        count = len(offsets) - 1
        np.add(offsets[1:], sample, out=sample_start[row + 1 : row + count + 1])
        row += count
        sample += int(offsets[-1])
    stack, value, labels, span_id, trace_id = (
        _join([chunk[field] for chunk in chunks], [len(chunk[1]) for chunk in chunks], kind)
        for field, kind in enumerate(_SAMPLE_FIELDS.values(), 1)
    )
    labels = None if labels is None or not len(labels.values) else labels
    return sample_start, _as_numpy(stack, np.int64), _as_numpy(value, np.int64), labels, _some(span_id), _some(trace_id)


def _join(parts: list[Any], lengths: list[int], kind: Any) -> Any:
    """Arrays end to end, missing ones as nulls or empty lists; None if all are missing."""
    present = [part for part in parts if part is not None]
    if len(present) < len(parts):
        if not present:
            return None
        missing = empty_lists if pa.types.is_list(kind) else pa.nulls
        parts = [missing(length, kind) if part is None else part for part, length in zip(parts, lengths, strict=True)]
    if pa.types.is_list(kind):
        parts = [retype_lists(part, kind) for part in parts]
    return pa.concat_arrays(parts) if parts else pa.array([], kind)


def _some(array: Any) -> Any:
    return None if array is None or array.null_count == len(array) else array


def _column(flat: Any, name: str) -> Any:
    index = flat.schema.get_field_index(name)
    if index < 0:
        return None
    column = flat.column(index)
    return column.chunk(0) if column.num_chunks else None


def _optional(flat: Any, name: str) -> Any:
    return _some(_column(flat, name))


def _lists(flat: Any, name: str, kind: Any) -> Any:
    lists = _column(flat, name)
    if lists is None or not len(lists.values):
        return None
    return retype_lists(lists, kind)


def _view(flat: Any, name: str, dtype: Any, width: int = 1) -> Any:
    column = _column(flat, name)
    return np.empty(0, dtype) if column is None else _as_numpy(column, dtype, width)


def _as_numpy(array: Any, dtype: Any, width: int = 1) -> Any:
    """The values of a fixed-width array without nulls as they lie in memory, `width` items of `dtype` each."""
    if not len(array):
        return np.empty(0, dtype)
    size = width * np.dtype(dtype).itemsize
    return np.frombuffer(array.buffers()[1], dtype, len(array) * width, array.offset * size)
