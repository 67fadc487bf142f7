"""The Parquet message of the profiles section: its columns, their types, and how a file's own schema is checked.

Add a column here when the format gains one; reading and writing stand in `profiles` and `profiles_writer`.
Nothing here touches values. The idea and the list of columns: FORMAT.md, section "profiles".
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from pyro_assets.errors import BadEncoding, Where

SAMPLES = "Samples.list.element."
LABELS = SAMPLES + "Labels.list.element."
COMMENTS = "Comments.list.element"
ANNOTATIONS = "Annotations.list.element."
LABEL_TYPE = pa.struct(
    [
        pa.field("Key", pa.int64(), nullable=False),
        pa.field("Str", pa.int64()),
        pa.field("Num", pa.int64()),
        pa.field("NumUnit", pa.int64()),
    ]
)
LABELS_TYPE = pa.list_(pa.field("element", LABEL_TYPE, nullable=False))
COMMENTS_TYPE = pa.list_(pa.field("element", pa.int64(), nullable=False))
ANNOTATION_TYPE = pa.struct(
    [pa.field("Key", pa.string(), nullable=False), pa.field("Value", pa.string(), nullable=False)]
)
ANNOTATIONS_TYPE = pa.list_(pa.field("element", ANNOTATION_TYPE, nullable=False))
TRACE_ID_TYPE = pa.binary(16)
SAMPLE_TYPE = pa.struct(
    [
        pa.field("StacktraceID", pa.uint64(), nullable=False),
        pa.field("Value", pa.int64(), nullable=False),
        pa.field("Labels", LABELS_TYPE, nullable=False),
        pa.field("SpanID", pa.uint64()),
        pa.field("TraceID", TRACE_ID_TYPE),
    ]
)
SAMPLES_TYPE = pa.list_(pa.field("element", SAMPLE_TYPE, nullable=False))
#: What a writer writes, in the original's order.
PROFILE_SCHEMA = pa.schema(
    [
        pa.field("ID", pa.uuid(), nullable=False),
        pa.field("SeriesIndex", pa.uint32(), nullable=False),
        pa.field("StacktracePartition", pa.uint64(), nullable=False),
        pa.field("TotalValue", pa.uint64(), nullable=False),
        pa.field("Samples", SAMPLES_TYPE, nullable=False),
        pa.field("DropFrames", pa.int64()),
        pa.field("KeepFrames", pa.int64()),
        pa.field("TimeNanos", pa.timestamp("ns", tz="UTC"), nullable=False),
        pa.field("DurationNanos", pa.int64()),
        pa.field("Period", pa.int64()),
        pa.field("Comments", COMMENTS_TYPE, nullable=False),
        pa.field("DefaultSampleType", pa.int64()),
        pa.field("Annotations", ANNOTATIONS_TYPE, nullable=False),
    ]
)


@dataclass(frozen=True, slots=True)
class Leaf:
    """What a leaf column must be: `kind` says physical and logical type; `levels` are (definition, repetition)."""

    kind: str
    levels: tuple[int, int]


_I64, _U64, _U32 = "INT64", "INT64 unsigned", "INT32 unsigned"
_UUID, _BYTES16, _TEXT, _TIME = "16 bytes UUID", "16 bytes", "BYTE_ARRAY String", "INT64 nanoseconds UTC"
#: Leaves in the original's order.
LEAVES: dict[str, Leaf] = {
    "ID": Leaf(_UUID, (0, 0)),
    "SeriesIndex": Leaf(_U32, (0, 0)),
    "StacktracePartition": Leaf(_U64, (0, 0)),
    "TotalValue": Leaf(_U64, (0, 0)),
    SAMPLES + "StacktraceID": Leaf(_U64, (1, 1)),
    SAMPLES + "Value": Leaf(_I64, (1, 1)),
    LABELS + "Key": Leaf(_I64, (2, 2)),
    LABELS + "Str": Leaf(_I64, (3, 2)),
    LABELS + "Num": Leaf(_I64, (3, 2)),
    LABELS + "NumUnit": Leaf(_I64, (3, 2)),
    SAMPLES + "SpanID": Leaf(_U64, (2, 1)),
    SAMPLES + "TraceID": Leaf(_BYTES16, (2, 1)),
    "DropFrames": Leaf(_I64, (1, 0)),
    "KeepFrames": Leaf(_I64, (1, 0)),
    "TimeNanos": Leaf(_TIME, (0, 0)),
    "DurationNanos": Leaf(_I64, (1, 0)),
    "Period": Leaf(_I64, (1, 0)),
    COMMENTS: Leaf(_I64, (1, 1)),
    "DefaultSampleType": Leaf(_I64, (1, 0)),
    ANNOTATIONS + "Key": Leaf(_TEXT, (1, 1)),
    ANNOTATIONS + "Value": Leaf(_TEXT, (1, 1)),
}
#: Bytes of an ID; no row is smaller.
ID_BYTES = 16
STACK, VALUE = SAMPLES + "StacktraceID", SAMPLES + "Value"
SPAN_ID, TRACE_ID = SAMPLES + "SpanID", SAMPLES + "TraceID"
LABEL_KEY, ANNOTATION_KEY = LABELS + "Key", ANNOTATIONS + "Key"
#: Leaves that every block has. The others came later, or have nothing in most blocks.
REQUIRED = ("ID", "SeriesIndex", "StacktracePartition", "TotalValue", STACK, VALUE, "TimeNanos")
#: The others, those that belong together in one tuple: all of them are there and read, or none is.
OPTIONAL: tuple[tuple[str, ...], ...] = (
    tuple(LABELS + name for name in ("Key", "Str", "Num", "NumUnit")),
    (SPAN_ID,),
    (TRACE_ID,),
    ("DropFrames",),
    ("KeepFrames",),
    ("DurationNanos",),
    ("Period",),
    (COMMENTS,),
    ("DefaultSampleType",),
    tuple(ANNOTATIONS + name for name in ("Key", "Value")),
)


def check_leaves(leaves: Sequence[tuple[str, Leaf]], where: Where) -> dict[str, int]:
    """Check the types of all known leaves of a file.

    Args:
        leaves: path and type of every leaf of the file, in its order.
        where: for messages.

    Returns:
        The place of each known leaf in that order.

    Raises:
        BadEncoding: a required column is missing or a column is of another type; the message names it.
    """
    place: dict[str, int] = {}
    for index, (path, found) in enumerate(leaves):
        wanted = LEAVES.get(path)
        if wanted is None:
            continue
        if path in place:
            raise BadEncoding(f"column {path} of the profiles stands twice in the schema", where)
        if found != wanted:
            raise BadEncoding(f"type of column {path} of the profiles", where, expected=wanted, actual=found)
        place[path] = index
    for path in REQUIRED:
        if path not in place:
            raise BadEncoding(f"required column {path} of the profiles is missing", where)
    for paths in OPTIONAL:
        if len({path in place for path in paths}) > 1:
            raise BadEncoding("a group of columns of the profiles is incomplete", where, expected=paths)
    return place


def empty_lists(length: int, kind: Any) -> Any:
    """`length` empty lists of type `kind`."""
    return pa.ListArray.from_arrays(pa.array(np.zeros(length + 1, np.int32)), pa.array([], kind.value_type), type=kind)


def retype_lists(lists: Any, kind: Any) -> Any:
    """The same lists under one of this module's types: Arrow names and marks list elements as it likes.

    Null lists become empty ones; nulls inside are kept.
    """
    if lists.type.equals(kind) and not lists.null_count:
        return lists
    offsets, values = lists.offsets, lists.values
    if lists.null_count:
        values = lists.flatten()
        lengths = np.diff(np.frombuffer(offsets.buffers()[1], np.int32, len(offsets), offsets.offset * 4))
        lengths[np.asarray(lists.is_null())] = 0
        offsets = pa.array(np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32))
    if pa.types.is_struct(kind.value_type):
        names = [field.name for field in kind.value_type]
        values = pa.StructArray.from_arrays([values.field(name) for name in names], fields=list(kind.value_type))
    return pa.ListArray.from_arrays(offsets, values, type=kind)
