"""Reads the profiles sections of a whole job: many small Parquet files into one set of columns.

Add here what turns Parquet into `ProfileRows`. The message's columns stand in `profiles_schema`, the fast way of
reading in `profiles_joined`, the careful one in `profiles_section`, writing in `profiles_writer`. Everything in the
files is untrusted.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pyarrow as pa

from pyro_assets.block.columns import I64, ProfileRows
from pyro_assets.block.profiles_joined import Joined, read_joined
from pyro_assets.block.profiles_schema import (
    ANNOTATIONS_TYPE,
    COMMENTS_TYPE,
    ID_BYTES,
    LABELS_TYPE,
    TRACE_ID_TYPE,
    empty_lists,
    retype_lists,
)
from pyro_assets.block.profiles_section import ARROW_ERRORS, open_section
from pyro_assets.block.profiles_writer import write_profiles
from pyro_assets.errors import BadCount, BadEncoding, BlockError, ChecksumMismatch, Where

__all__ = ["read_profiles", "write_profiles"]


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
        Truncated: a section or a column ends too early.
        BadLength: the footer's or a page's length contradicts the section's size.
        BadCount: more rows or samples than the section can hold, or counts that contradict each other.
        ChecksumMismatch: a page's bytes differ from its CRC (the original's pages have one).
        BadEncoding: whatever else does not decode, a missing or mistyped column, nulls where none may be.
    """
    try:
        joined = read_joined(sections)
        if joined is not None:
            return _with_seldom(joined, sections, wheres)
    except (BlockError, *ARROW_ERRORS):
        # Something is wrong somewhere: the careful way says what and where.
        pass
    return _read_each(sections, wheres)


def _read_each(sections: Sequence[memoryview], wheres: Sequence[Where]) -> ProfileRows:
    # One phase over all sections after the other, not section by section: a fifth faster, by warm code and memory.
    opened = _each(open_section, sections, wheres)
    read = _each(lambda section, _: section.read(section.columns()), opened, wheres)
    tables, samples = [table for table, _ in read], [samples for _, samples in read]
    seldom = [
        _Seldom(len(one.starts) - 1, int(one.starts[-1]), one.labels, one.span_id, one.trace_id, *_lists_of_rows(table))
        for one, table in zip(samples, tables, strict=True)
    ]
    row_counts = np.array([len(one.starts) - 1 for one in samples], np.int64)
    sample_counts = np.array([one.starts[-1] for one in samples], np.int64)
    base = np.cumsum(sample_counts) - sample_counts
    starts = [one.starts[1:] + begin for one, begin in zip(samples, base, strict=True)]
    flat = [table.select([name for name in table.column_names if name in _FLAT]) for table in tables]
    return _assemble(
        row_counts,
        pa.concat_tables(flat, promote_options="default").combine_chunks() if flat else _NOTHING,
        np.concatenate([np.zeros(1, np.int64), *starts]),
        np.concatenate([np.zeros(0, np.int64), *(_as_numpy(one.stack, np.int64) for one in samples)]),
        np.concatenate([np.zeros(0, np.int64), *(_as_numpy(one.value, np.int64) for one in samples)]),
        seldom,
    )


_FLAT: Final = (
    "ID",
    "SeriesIndex",
    "StacktracePartition",
    "TotalValue",
    "TimeNanos",
    "DropFrames",
    "KeepFrames",
    "DurationNanos",
    "Period",
    "DefaultSampleType",
)
_NOTHING: Final = pa.table({"ID": pa.array([], pa.binary(ID_BYTES))})


@dataclass(slots=True)
class _Seldom:
    """Columns of one section that few sections have, None where it has none."""

    rows: int
    samples: int
    labels: Any = None
    span_id: Any = None
    trace_id: Any = None
    comments: Any = None
    annotations: Any = None


def _each(step: Callable[[Any, Where], Any], items: Sequence[Any], wheres: Sequence[Where]) -> list[Any]:
    """One step over all sections; whatever Arrow raises becomes an error of the section."""
    results = []
    for item, where in zip(items, wheres, strict=True):
        try:
            results.append(step(item, where))
        except ARROW_ERRORS as error:
            text = str(error).strip().split("\n")[0][:200]
            if "CRC" in text:
                raise ChecksumMismatch("CRC of a page of the profiles", where) from error
            raise BadEncoding(f"Parquet of the profiles ({type(error).__name__}: {text})", where) from error
    return results


def _with_seldom(joined: Joined, sections: Sequence[memoryview], wheres: Sequence[Where]) -> ProfileRows:
    """Adds the columns that few sections have to what was read of all."""
    bounds = np.cumsum(np.append(0, joined.row_counts))
    sample_bounds = joined.sample_start.take(bounds)
    seldom = [
        _Seldom(rows, samples)
        for rows, samples in zip(joined.row_counts.tolist(), np.diff(sample_bounds).tolist(), strict=True)
    ]
    for number, paths in joined.seldom.items():
        where, section = wheres[number], open_section(sections[number], wheres[number])
        table, samples = section.read(paths)
        one = seldom[number]
        one.comments, one.annotations = _lists_of_rows(table)
        if samples is not None:
            starts = joined.sample_start[bounds[number] : bounds[number + 1] + 1]
            if not np.array_equal(samples.starts, starts - starts[0]):
                raise BadCount("samples of the profiles differ from column to column", where)
            one.labels, one.span_id, one.trace_id = samples.labels, samples.span_id, samples.trace_id
    return _assemble(joined.row_counts, joined.flat, joined.sample_start, joined.stack, joined.value, seldom)


def _lists_of_rows(table: Any) -> tuple[Any, Any]:
    """Comments and annotations of a section's table, None where they were not read."""
    return _column(table, "Comments"), _column(table, "Annotations")


def _assemble(
    row_counts: I64, flat: Any, sample_start: I64, stack: I64, value: I64, seldom: list[_Seldom]
) -> ProfileRows:
    rows = len(sample_start) - 1
    samples_of = [one.samples for one in seldom]
    rows_of = [one.rows for one in seldom]
    return ProfileRows(
        dataset_start=np.cumsum(np.append(0, row_counts)),
        id=_view(flat, "ID", np.uint8, ID_BYTES).reshape(rows, ID_BYTES),
        series=_view(flat, "SeriesIndex", np.uint32).astype(np.int64),
        partition=_view(flat, "StacktracePartition", np.uint64),
        unit=np.full(rows, -1, np.int64),
        total_value=_view(flat, "TotalValue", np.int64),
        time_ns=_view(flat, "TimeNanos", np.int64),
        sample_start=sample_start,
        stack=stack,
        value=value,
        span_id=_join([one.span_id for one in seldom], samples_of, pa.uint64()),
        trace_id=_join([one.trace_id for one in seldom], samples_of, TRACE_ID_TYPE),
        sample_labels=_join([one.labels for one in seldom], samples_of, LABELS_TYPE),
        drop_frames=_some(_column(flat, "DropFrames")),
        keep_frames=_some(_column(flat, "KeepFrames")),
        duration_ns=_some(_column(flat, "DurationNanos")),
        period=_some(_column(flat, "Period")),
        default_sample_type=_some(_column(flat, "DefaultSampleType")),
        comments=_join([one.comments for one in seldom], rows_of, COMMENTS_TYPE),
        annotations=_join([one.annotations for one in seldom], rows_of, ANNOTATIONS_TYPE),
    )


def _join(parts: list[Any], lengths: list[int], kind: Any) -> Any:
    """Arrays end to end, missing ones as nulls or empty lists; None if there is no value in any."""
    if all(part is None for part in parts):
        return None
    if pa.types.is_list(kind):
        missing = empty_lists
        parts = [part if part is None else retype_lists(part, kind) for part in parts]
    else:
        missing = pa.nulls
    whole = pa.concat_arrays(
        [missing(length, kind) if part is None else part for part, length in zip(parts, lengths, strict=True)]
    )
    if pa.types.is_list(kind):
        return whole if len(whole.values) else None
    return _some(whole)


def _some(array: Any) -> Any:
    return None if array is None or array.null_count == len(array) else array


def _column(table: Any, name: str) -> Any:
    index = table.schema.get_field_index(name)
    if index < 0:
        return None
    column = table.column(index)
    return column.chunk(0) if column.num_chunks else pa.array([], column.type)


def _view(flat: Any, name: str, dtype: Any, width: int = 1) -> Any:
    column = _column(flat, name)
    return np.empty(0, dtype) if column is None else _as_numpy(column, dtype, width)


def _as_numpy(array: Any, dtype: Any, width: int = 1) -> Any:
    """The values of a fixed-width array without nulls as they lie in memory, `width` items of `dtype` each."""
    if not len(array):
        return np.empty(0, dtype)
    size = width * np.dtype(dtype).itemsize
    return np.frombuffer(array.buffers()[1], dtype, len(array) * width, array.offset * size)
