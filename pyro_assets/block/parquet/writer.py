"""Writes profiles sections: one Parquet file per dataset, as the original reads them.

Add here what turns `ProfileRows` into Parquet; the columns stand in `profiles_schema`. No rows are ordered,
renumbered or summed here: the caller does that. Equal columns give equal bytes with the same pyarrow version.
"""

from itertools import pairwise
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pyro_assets.block.columns import ProfileRows
from pyro_assets.block.parquet.schema import (
    ANNOTATIONS,
    ANNOTATIONS_TYPE,
    COMMENTS,
    COMMENTS_TYPE,
    LABELS,
    LABELS_TYPE,
    PROFILE_SCHEMA,
    SAMPLE_TYPE,
    SAMPLES_TYPE,
    SPAN_ID,
    STACK,
    TRACE_ID,
    TRACE_ID_TYPE,
    VALUE,
    empty_lists,
    retype_lists,
)
from pyro_assets.errors import Unwritable, Where

#: Rows a row group holds at most, as in the original's compacted blocks.
ROW_GROUP_ROWS: Final = 10_240
_DELTA: Final = (
    "SeriesIndex",
    "StacktracePartition",
    "TotalValue",
    STACK,
    VALUE,
    *(LABELS + name for name in ("Key", "Str", "Num", "NumUnit")),
    "DropFrames",
    "KeepFrames",
    COMMENTS,
)
_OPTIONS: Final[dict[str, Any]] = {
    "compression": "NONE",
    "use_dictionary": [SPAN_ID, TRACE_ID],
    "column_encoding": {
        **dict.fromkeys(_DELTA, "DELTA_BINARY_PACKED"),
        **dict.fromkeys(("ID", "TimeNanos", "DurationNanos", "Period", "DefaultSampleType"), "PLAIN"),
        **{ANNOTATIONS + name: "DELTA_LENGTH_BYTE_ARRAY" for name in ("Key", "Value")},
    },
    "store_schema": False,
    # As the original does; whoever reads can tell flipped bits.
    "write_page_checksum": True,
    # Without a column index a server answers queries with "missing column index".
    "write_page_index": True,
}


def write_profiles(rows: ProfileRows) -> list[bytes]:
    """Write one Parquet file per dataset.

    Args:
        rows: the form that `read_profiles` returns: `series` is the SeriesIndex and `stack` the StacktraceID to store;
            `unit` is not used. Rows are written in the order given.

    Returns:
        The sections in the order of the datasets.

    Raises:
        Unwritable: a series index outside an unsigned 32-bit integer, or more than 2^31 - 1 samples at once.
    """
    if len(rows.series) and not 0 <= int(rows.series.min()) <= int(rows.series.max()) < 1 << 32:
        raise Unwritable("series index of a profile", _WHERE, expected="0 to 2^32 - 1", actual=rows.series.max())
    if len(rows.stack) >= 1 << 31:
        raise Unwritable("samples of one call", _WHERE, expected="less than 2^31", actual=len(rows.stack))
    table = _table(rows)
    return [_write(table.slice(start, end - start)) for start, end in pairwise(rows.dataset_start.tolist())]


_WHERE: Final = Where(section="profiles")


def _write(table: Any) -> bytes:
    sink = pa.BufferOutputStream()
    with pq.ParquetWriter(sink, PROFILE_SCHEMA, **_OPTIONS) as writer:
        writer.write_table(table, row_group_size=ROW_GROUP_ROWS)
    return bytes(sink.getvalue())


def _table(rows: ProfileRows) -> Any:
    count, samples = len(rows.series), len(rows.stack)
    elements = pa.StructArray.from_arrays(
        [
            _numbers(rows.stack, pa.uint64(), samples),
            _numbers(rows.value, pa.int64(), samples),
            _lists(rows.sample_labels, LABELS_TYPE, samples),
            pa.nulls(samples, pa.uint64()) if rows.span_id is None else rows.span_id,
            pa.nulls(samples, TRACE_ID_TYPE) if rows.trace_id is None else rows.trace_id,
        ],
        fields=list(SAMPLE_TYPE),
    )
    offsets = pa.array(rows.sample_start.astype(np.int32))
    ids = pa.Array.from_buffers(pa.binary(16), count, [None, pa.py_buffer(np.ascontiguousarray(rows.id))])
    nothing = pa.nulls(count, pa.int64())
    return pa.Table.from_arrays(
        [
            pa.ExtensionArray.from_storage(pa.uuid(), ids),
            pa.array(rows.series.astype(np.uint32)),
            _numbers(rows.partition, pa.uint64(), count),
            _numbers(rows.total_value, pa.uint64(), count),
            pa.ListArray.from_arrays(offsets, elements, type=SAMPLES_TYPE),
            nothing if rows.drop_frames is None else rows.drop_frames,
            nothing if rows.keep_frames is None else rows.keep_frames,
            _numbers(rows.time_ns, pa.timestamp("ns", tz="UTC"), count),
            nothing if rows.duration_ns is None else rows.duration_ns,
            nothing if rows.period is None else rows.period,
            _lists(rows.comments, COMMENTS_TYPE, count),
            nothing if rows.default_sample_type is None else rows.default_sample_type,
            _lists(rows.annotations, ANNOTATIONS_TYPE, count),
        ],
        schema=PROFILE_SCHEMA,
    )


def _numbers(values: Any, kind: Any, count: int) -> Any:
    """64-bit numbers under another type with the same bits (two's complement in an unsigned column)."""
    return pa.Array.from_buffers(kind, count, [None, pa.py_buffer(np.ascontiguousarray(values))])


def _lists(lists: Any, kind: Any, count: int) -> Any:
    return empty_lists(count, kind) if lists is None else retype_lists(lists, kind)
