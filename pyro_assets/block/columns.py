"""The columns of one or many blocks, end to end: what readers return and writers take.

All references between the arrays are absolute row numbers into the concatenated arrays, checked by the reader, so
that a whole job is handled with a few array operations (performance: the unit of vectorisation is the job).
Only data classes belong here; the code that fills them stands beside each section's bytes.
"""

from dataclasses import dataclass, field
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

I64 = npt.NDArray[np.int64]
U64 = npt.NDArray[np.uint64]
I32 = npt.NDArray[np.int32]
U8 = npt.NDArray[np.uint8]
Bool = npt.NDArray[np.bool_]

#: One series' labels in stored order, as bytes (names and values are not always valid UTF-8). Python's comparison of
#: such tuples is the order of rows and series: pair by pair, name before value, bytewise, a prefix first.
Labels = tuple[tuple[bytes, bytes], ...]


Number = TypeVar("Number", bound=np.number[Any])


def starts(counts: npt.ArrayLike) -> I64:
    """0 and the running sums of counts: of parts that lie end to end, part i is start[i]:start[i + 1].

    >>> starts([2, 0, 3]).tolist()
    [0, 2, 2, 5]
    """
    start = np.zeros(np.size(counts) + 1, dtype=np.int64)
    np.cumsum(counts, dtype=np.int64, out=start[1:])
    return start


def part_sums(values: npt.NDArray[Number], start: I64) -> npt.NDArray[Number]:
    """The sum of each part start[i]:start[i + 1]; of integers modulo 2**64.

    >>> part_sums(np.array([1, 2, 3]), np.array([0, 2, 2, 3])).tolist()
    [3, 0, 3]
    """
    running = np.zeros(len(values) + 1, dtype=values.dtype)
    np.cumsum(values, out=running[1:])
    return running.take(start[1:]) - running.take(start[:-1])


@dataclass(frozen=True, slots=True)
class DatasetInfo:
    """One format-0 dataset, by the metadata.

    `source` is the position of the object in the list that was read; `label_sets` are (name, value) pairs in stored
    order, one tuple a set; times in Unix milliseconds, both ends included.
    """

    source: int
    tenant: bytes
    name: bytes
    min_time_ms: int
    max_time_ms: int
    label_sets: tuple[Labels, ...] = ()


@dataclass(slots=True)
class SeriesTable:
    """Series of `d` datasets, end to end, one entry per chunk (real blocks have one chunk per series).

    Attributes:
        dataset_start: int64[d + 1], entries of dataset i are dataset_start[i]:dataset_start[i + 1].
        fingerprint: uint64[s].
        labels: s label sets in stored order.
        series_index: int64[s], the number that the SeriesIndex column of the profiles refers to (in a dataset index
            of format 1: the position of the dataset in the block's metadata).
        min_time_ns: int64[s], first profile; max_time_ns: int64[s], last profile (included).
    """

    dataset_start: I64
    fingerprint: U64
    labels: list[Labels]
    series_index: I64
    min_time_ns: I64
    max_time_ns: I64


@dataclass(slots=True)
class SymbolTables:
    """Symbols of `u` units, end to end; a unit is one stack-trace partition of one dataset.

    References are absolute rows of the tables below. -1 marks a reference that was out of range in the bytes
    ("dangling"; `dangling` counts them): such a frame has no name, the sample still counts. Nodes are never dangling:
    a parent or location of a node that is out of range is an error of the reader.

    Attributes:
        unit_dataset: int64[u], the dataset each unit belongs to, ascending.
        unit_partition: uint64[u], the partition's id in the StacktracePartition column.
        string_start: int64[u + 1]; strings: Arrow large_binary array of n strings, not always UTF-8.
        function_start: int64[u + 1]; function_name, function_system_name, function_file_name: int64[n], rows of
            `strings`; function_start_line: int32[n].
        mapping_start: int64[u + 1]; mapping_file_name, mapping_build_id: int64[n], rows of `strings`; mapping_flags:
            int32[n] (8 has functions, 4 file names, 2 line numbers, 1 inline frames); mapping_memory_start,
            mapping_memory_limit, mapping_file_offset: uint64[n].
        location_start: int64[u + 1]; location_mapping: int64[n], rows of the mappings; location_address: uint64[n];
            location_is_folded: bool[n]; line_start: int64[n + 1], the lines of location i are
            line_start[i]:line_start[i + 1] (line 0 is the innermost; several lines are inlining; none: not
            symbolised); line_function: int64[l], rows of the functions; line_number: int32[l].
        node_start: int64[u + 1]; node_parent: int64[n], rows of the nodes, -1 for each unit's root, which is its
            first node; parents precede children; node_location: int64[n], rows of the locations (root: -1).
        dangling: int64[u], dangling references per unit.
    """

    unit_dataset: I64
    unit_partition: U64
    string_start: I64
    strings: Any
    function_start: I64
    function_name: I64
    function_system_name: I64
    function_file_name: I64
    function_start_line: I32
    mapping_start: I64
    mapping_file_name: I64
    mapping_build_id: I64
    mapping_flags: I32
    mapping_memory_start: U64
    mapping_memory_limit: U64
    mapping_file_offset: U64
    location_start: I64
    location_mapping: I64
    location_address: U64
    location_is_folded: Bool
    line_start: I64
    line_function: I64
    line_number: I32
    node_start: I64
    node_parent: I64
    node_location: I64
    dangling: I64


@dataclass(slots=True)
class ProfileRows:
    """Profiles of `d` datasets, end to end: one row per profile and sample type, `m` samples in all.

    Attributes:
        dataset_start: int64[d + 1].
        id: uint8[n, 16], the profile's UUID.
        series: int64[n]. From `read_profiles`: SeriesIndex as stored. In `BlockColumns`: rows of the SeriesTable.
        partition: uint64[n], StacktracePartition as stored.
        unit: int64[n], row of the SymbolTables' units; -1 from `read_profiles`, filled in `BlockColumns`.
        total_value: int64[n] (two's complement in an unsigned column); time_ns: int64[n].
        sample_start: int64[n + 1], samples of row i are sample_start[i]:sample_start[i + 1].
        stack: int64[m]. From `read_profiles`: StacktraceID as stored. In `BlockColumns`: rows of the nodes.
        value: int64[m].
        span_id: Arrow uint64 array[m] or None when no sample has one; trace_id: Arrow fixed_size_binary(16)[m] or None.
        sample_labels: Arrow list<struct<Key, Str, Num, NumUnit>>[m] or None when all are empty; copied verbatim.
        drop_frames, keep_frames, duration_ns, period, default_sample_type: Arrow int64[n] or None when all are null.
        comments: Arrow list<int64>[n] or None when all are empty.
        annotations: Arrow list<struct<Key, Value>>[n] or None when all are empty.
    """

    dataset_start: I64
    id: U8
    series: I64
    partition: U64
    unit: I64
    total_value: I64
    time_ns: I64
    sample_start: I64
    stack: I64
    value: I64
    span_id: Any = None
    trace_id: Any = None
    sample_labels: Any = None
    drop_frames: Any = None
    keep_frames: Any = None
    duration_ns: Any = None
    period: Any = None
    default_sample_type: Any = None
    comments: Any = None
    annotations: Any = None


@dataclass(slots=True)
class BlockColumns:
    """All datasets of one or many objects with absolute, checked references between the parts."""

    datasets: list[DatasetInfo]
    series: SeriesTable
    rows: ProfileRows
    symbols: SymbolTables
    facts: dict[str, int] = field(default_factory=dict)
