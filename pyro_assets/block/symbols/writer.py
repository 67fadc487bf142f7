"""Tables to symbols sections: one section per dataset, each kind of column encoded once for the whole job.

Here references are made relative to their unit, tables are cut into inner blocks and the pieces put in order. Byte
layouts stand in `index` and `inner`; which symbols are written is decided in compaction.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice, pairwise
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from pyro_assets.block.columns import I32, I64, SymbolTables
from pyro_assets.block.symbols import delta_writer
from pyro_assets.block.symbols.index import (
    FUNCTIONS,
    ITEMS_PER_BLOCK,
    LOCATIONS,
    MAPPINGS,
    Partition,
    StackChunk,
    SymbolBlock,
    encode_index,
)
from pyro_assets.block.symbols.inner import inner_header
from pyro_assets.block.symbols.strings import encode_strings
from pyro_assets.block.symbols.tree import count_leaves, encode_trees
from pyro_assets.errors import Unwritable, Where
from pyro_assets.storage.checksum import crc32c

_WHERE: Final = Where(section="symbols")
_MAX_LINES: Final = 0xFF
_BATCH_VALUES: Final = 1 << 15

#: Per unit, the pieces of one of its symbol blocks.
Pieces = list[list[bytes]]


def write_symbols(tables: SymbolTables, datasets: int, stack_traces: I64 | None = None) -> list[bytes]:
    """Write the symbols of many datasets.

    Args:
        tables: units in the order of their datasets, rows of all tables in the order of the units. References of -1
            stay dangling.
        datasets: d, the number of sections; those without a unit have no partition.
        stack_traces: int64[u], the distinct StacktraceIDs that profiles of each unit have, which the chunk's header
            tells. Without it the leaves of the tree are counted, of which there are not more.

    Returns:
        d sections.

    Raises:
        Unwritable: a string longer than 65,535 bytes, more than 255 lines of a location, a reference to another
            unit, a child before its parent.
    """
    _check_units(tables, datasets)
    if stack_traces is None:
        stack_traces = count_leaves(tables.node_start, tables.node_parent)
    strings = encode_strings(tables.strings, tables.string_start)
    mappings, functions, locations = _encode_columns(tables)
    chunks = encode_trees(tables.node_start, tables.location_start, tables.node_parent, tables.node_location)
    items = [
        np.diff(start).tolist()
        for start in (tables.string_start, tables.mapping_start, tables.function_start, tables.location_start)
    ]
    nodes = np.diff(tables.node_start).tolist()
    sections = []
    first_unit = np.searchsorted(tables.unit_dataset, np.arange(datasets + 1)).tolist()
    for begin, end in pairwise(first_unit):
        parts: list[bytes] = []
        offset = 0
        partitions = []
        for unit in range(begin, end):
            blocks = []
            for pieces, count in zip((strings, mappings, functions, locations), items, strict=True):
                data = b"".join(pieces[unit])
                blocks.append(SymbolBlock(offset, len(data), crc32c(data), count[unit], ITEMS_PER_BLOCK))
                parts.append(data)
                offset += len(data)
            data = chunks[unit]
            chunk = StackChunk(offset, len(data), crc32c(data), int(stack_traces[unit]), nodes[unit])
            parts.append(data)
            offset += len(data)
            string, mapping, function, location = blocks
            partitions.append(Partition(int(tables.unit_partition[unit]), chunk, location, mapping, function, string))
        parts.append(encode_index(partitions, offset))
        sections.append(b"".join(parts))
    return sections


def _check_units(tables: SymbolTables, datasets: int) -> None:
    units = tables.unit_dataset
    if len(units) and (units[0] < 0 or units[-1] >= datasets or (units[1:] < units[:-1]).any()):
        raise Unwritable("datasets of the units", _WHERE, expected=f"ascending, below {datasets}")
    rows = (
        (tables.string_start, len(tables.strings)),
        (tables.mapping_start, len(tables.mapping_flags)),
        (tables.function_start, len(tables.function_start_line)),
        (tables.location_start, len(tables.location_address)),
        (tables.node_start, len(tables.node_parent)),
        (tables.line_start, len(tables.line_number)),
    )
    for start, count in rows:
        if start[0] != 0 or start[-1] != count:
            raise Unwritable("rows that belong to no unit", _WHERE, expected=(0, count), actual=(start[0], start[-1]))


@dataclass(slots=True)
class _Cut:
    """A table cut into inner blocks: block i has the rows bound[i]:bound[i + 1]; `of_unit` counts blocks per unit."""

    bound: I64
    of_unit: list[int]

    @property
    def blocks(self) -> int:
        """Number of inner blocks."""
        return len(self.bound) - 1


def _cut(start: I64) -> _Cut:
    bound: list[int] = []
    of_unit = []
    for begin, end in pairwise(start.tolist()):
        own = range(begin, end, ITEMS_PER_BLOCK)
        bound += own
        of_unit.append(len(own))
    return _Cut(np.array([*bound, int(start[-1])], dtype=np.int64), of_unit)


def _encode_columns(tables: SymbolTables) -> tuple[Pieces, Pieces, Pieces]:
    """The pieces of mappings, functions and locations."""
    function, mapping, location = _cut(tables.function_start), _cut(tables.mapping_start), _cut(tables.location_start)
    names = (tables.function_name, tables.function_system_name, tables.function_file_name)
    files = (tables.mapping_file_name, tables.mapping_build_id)
    line_bound = tables.line_start.take(location.bound)
    lines = np.empty(2 * len(tables.line_number), dtype=np.int32)
    line_unit_start = tables.line_start.take(tables.location_start)
    lines[0::2] = _relative([tables.line_function], line_unit_start, tables.function_start)[0]
    lines[1::2] = tables.line_number
    narrow: list[tuple[I32, I64]] = [
        *((column, function.bound) for column in _relative(names, tables.function_start, tables.string_start)),
        (tables.function_start_line, function.bound),
        *((column, mapping.bound) for column in _relative(files, tables.mapping_start, tables.string_start)),
        (tables.mapping_flags, mapping.bound),
        (_relative([tables.location_mapping], tables.location_start, tables.mapping_start)[0], location.bound),
        (lines, 2 * line_bound),
    ]
    columns = _encode_narrow(narrow)
    memory = (tables.mapping_memory_start, tables.mapping_memory_limit, tables.mapping_file_offset)
    wide = _encode_wide([*((column, mapping) for column in memory), (tables.location_address, location)])
    return (
        _assemble(MAPPINGS, mapping, [*columns[4:7], *wide[:3]]),
        _assemble(FUNCTIONS, function, columns[:4]),
        _assemble_locations(tables, location, np.diff(line_bound).tolist(), columns[7], columns[8], wide[3]),
    )


def _relative(columns: Sequence[I64], owner_start: I64, target_start: I64) -> list[I32]:
    """Rows of another table, counted from the first that belongs to the same unit; dangling ones stay -1."""
    count = np.diff(owner_start)
    base = np.repeat(target_start[:-1], count)
    limit = np.repeat(np.diff(target_start), count).view(np.uint64)
    found = []
    for column in columns:
        own = column - base
        outside = own.view(np.uint64) >= limit
        if outside.any():
            if (column[outside] >= 0).any():
                raise Unwritable("reference to a symbol of another unit", _WHERE)
            own[outside] = -1
        found.append(own.astype(np.int32))
    return found


def _encode_narrow(columns: Sequence[tuple[I32, I64]]) -> list[list[bytes]]:
    """Encode 32-bit columns: per column, a stream per inner block."""
    found: list[list[bytes]] = []
    pending: list[tuple[I32, I64]] = []
    for number, column in enumerate(columns, start=1):
        pending.append(column)
        # Several at once spare fixed costs while they are small, and would leave the cache when they are large.
        if number == len(columns) or sum(len(values) for values, _ in pending) >= _BATCH_VALUES:
            found += _encode_together(pending)
            pending = []
    return found


def _encode_together(columns: Sequence[tuple[I32, I64]]) -> list[list[bytes]]:
    starts = [np.zeros(1, dtype=np.int64)]
    offset = 0
    for values, bound in columns:
        # Only lines may be missing from an inner block; a stream needs a value.
        ends = bound[1:][bound[1:] > bound[:-1]]
        starts.append(ends + offset)
        offset += len(values)
    encoded = iter(delta_writer.encode(np.concatenate([values for values, _ in columns]), np.concatenate(starts)))
    return [
        [next(encoded) if end > begin else delta_writer.EMPTY for begin, end in pairwise(bound.tolist())]
        for _, bound in columns
    ]


def _encode_wide(columns: Sequence[tuple[npt.NDArray[np.uint64], _Cut]]) -> list[list[bytes]]:
    """Encode 64-bit columns: per column, a stream per inner block, or nothing where all values are 0."""
    parts: list[Any] = []
    present: list[list[bool]] = []
    for values, cut in columns:
        if not cut.blocks or not values.any():
            present.append([False] * cut.blocks)
            continue
        present.append(np.logical_or.reduceat(values != 0, cut.bound[:-1]).tolist())
        bounds = pairwise(cut.bound.tolist())
        parts += [values[begin:end] for (begin, end), own in zip(bounds, present[-1], strict=True) if own]
    if not parts:
        return [[b""] * cut.blocks for _, cut in columns]
    start = np.cumsum([0, *map(len, parts)], dtype=np.int64)
    encoded = iter(delta_writer.encode(np.concatenate(parts).view(np.int64), start))
    return [[next(encoded) if own else b"" for own in column] for column in present]


def _assemble(kind: int, cut: _Cut, columns: list[list[bytes]]) -> Pieces:
    """Inner blocks that are a header and columns, per unit."""
    items = np.diff(cut.bound).tolist()
    blocks: Iterator[list[bytes]] = (
        [inner_header(kind, count, *map(len, own)), *own] for count, *own in zip(items, *columns, strict=True)
    )
    return [[piece for block in islice(blocks, count) for piece in block] for count in cut.of_unit]


def _assemble_locations(
    tables: SymbolTables,
    cut: _Cut,
    lines: list[int],
    mapping: list[bytes],
    line: list[bytes],
    address: list[bytes],
) -> Pieces:
    counts = np.diff(tables.line_start)
    if len(counts) and (counts.max() > _MAX_LINES or counts.min() < 0):
        raise Unwritable("lines of a location", _WHERE, expected=f"0 to {_MAX_LINES}", actual=int(counts.max()))
    line_counts = counts.astype(np.uint8).tobytes()
    folded = [b""] * cut.blocks
    if tables.location_is_folded.any():
        folded = [
            np.packbits(bits, bitorder="little").tobytes() if bits.any() else b""
            for bits in (tables.location_is_folded[begin:end] for begin, end in pairwise(cut.bound.tolist()))
        ]
    blocks: Iterator[list[bytes]] = (
        [
            inner_header(LOCATIONS, end - begin, len(own), number, len(own_lines), len(memory), len(bits)),
            own,
            line_counts[begin:end],
            own_lines,
            memory,
            bits,
        ]
        for (begin, end), number, own, own_lines, memory, bits in zip(
            pairwise(cut.bound.tolist()), lines, mapping, line, address, folded, strict=True
        )
    )
    return [[piece for block in islice(blocks, count) for piece in block] for count in cut.of_unit]
