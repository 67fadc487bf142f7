"""Symbols sections to tables: many sections at once, each step once over the whole job.

Here the columns that `inner` found and `delta`, `tree` decoded are put end to end and their references made
absolute. Byte layouts stand in `index` and `inner`; what is done with the tables, in compaction.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np
import numpy.typing as npt

from pyro_assets.block.columns import I32, I64, U64, Bool, SymbolTables, starts
from pyro_assets.block.symbols.delta import BadDeltaError, decode
from pyro_assets.block.symbols.index import parse_index
from pyro_assets.block.symbols.inner import ADDRESS, FOLDED, LINE_COUNTS, LINES, MAPPING, InnerBlock, Pieces
from pyro_assets.block.symbols.strings import join_strings
from pyro_assets.block.symbols.tree import decode_trees
from pyro_assets.errors import BadCount, BadEncoding, BlockError, TooLarge, Where

#: Columns of 64 bits, which are left out where they are all 0, by table and number.
_WIDE: Final = (("mapping_blocks", 3), ("mapping_blocks", 4), ("mapping_blocks", 5), ("location_blocks", ADDRESS))

# Measured with symbols that all differ: bytes of memory at most for a string, function, location, line and node.
_NEEDED_BYTES: Final = (75, 55, 45, 25, 45)
_NEEDED_PER_TEXT: Final = 2


def read_symbols(
    sections: Sequence[memoryview], wheres: Sequence[Where], *, names_only: bool = False, most_bytes: int = 0
) -> SymbolTables:
    """Read the symbols of many datasets.

    Args:
        sections: d whole symbols sections.
        wheres: d places, for messages; offsets in errors count from the section's start.
        names_only: decode what tells the names on a stack: trees, lines, names of functions, strings. All else is
            checked as far as its checksums go, and reads as -1 (references), 0 or False.
        most_bytes: of memory that reading and merging them may need; 0: any.

    Returns:
        One unit per partition of each section, in order. References out of range are -1 and counted.

    Raises:
        UnsupportedVersion: a section of another version than 3.
        ChecksumMismatch: one of its CRCs differs.
        TooLarge: they need more memory than `most_bytes`.
        BlockError: the first section that is not what the format says; nothing of the others is returned then.
    """
    pieces = Pieces()
    dataset: list[int] = []
    number: list[int] = []
    chunks: list[memoryview] = []
    nodes: list[int] = []
    places: list[tuple[Where, int]] = []
    for position, (section, where) in enumerate(zip(sections, wheres, strict=True)):
        data = memoryview(section)
        array = np.frombuffer(data, np.uint8) if len(data) else np.zeros(0, np.uint8)
        for partition in parse_index(data, array, where):
            dataset.append(position)
            number.append(partition.number)
            pieces.add_partition(data, array, partition, where)
            chunk = partition.chunk
            chunks.append(data[chunk.offset : chunk.offset + chunk.size])
            nodes.append(chunk.nodes)
            places.append((where, chunk.offset))

    if most_bytes and (needed := _needed_bytes(pieces, nodes)) > most_bytes:
        raise TooLarge(needed, most_bytes)
    string_start = starts(pieces.strings)
    strings = join_strings(pieces.lengths, pieces.texts, pieces.string_places)
    function_start, mapping_start = starts(pieces.functions), starts(pieces.mappings)
    location_start = starts(pieces.locations)
    narrow, wide = _decode(pieces, names_only)

    functions = int(function_start[-1])
    mappings = int(mapping_start[-1])
    locations = int(location_start[-1])
    dangling = np.zeros(len(dataset), dtype=np.int64)
    if names_only:
        names, lines = np.split(narrow, [functions])
        unknown = np.full(functions, -1, dtype=np.int64)
        function_strings = [_rows(names[None], function_start, string_start, dangling)[0], unknown, unknown]
        start_line, flags = np.zeros(functions, dtype=np.int32), np.zeros(mappings, dtype=np.int32)
        mapping_strings = np.full((2, mappings), -1, dtype=np.int64)
        mapping_of_location = np.full(locations, -1, dtype=np.int64)
    else:
        cuts = np.cumsum([3 * functions, functions, 2 * mappings, mappings, locations]).tolist()
        names, start_line, files, flags, location_mapping, lines = np.split(narrow, cuts)
        # Copies, so that they do not keep all that was decoded.
        start_line, flags = start_line.copy(), flags.copy()
        function_strings = list(_rows(names.reshape(3, -1), function_start, string_start, dangling))
        mapping_strings = _rows(files.reshape(2, -1), mapping_start, string_start, dangling)
        mapping_of_location = _rows(location_mapping[None], location_start, mapping_start, dangling)[0]
    line_start = _line_starts(pieces)
    node_start, node_parent, node_location = decode_trees(chunks, nodes, location_start, places)
    memory = _memory(pieces, wide)
    return SymbolTables(
        unit_dataset=np.array(dataset, dtype=np.int64),
        unit_partition=np.array(number, dtype=np.uint64),
        string_start=string_start,
        strings=strings,
        function_start=function_start,
        function_name=function_strings[0],
        function_system_name=function_strings[1],
        function_file_name=function_strings[2],
        function_start_line=start_line,
        mapping_start=mapping_start,
        mapping_file_name=mapping_strings[0],
        mapping_build_id=mapping_strings[1],
        mapping_flags=flags,
        mapping_memory_start=memory[0],
        mapping_memory_limit=memory[1],
        mapping_file_offset=memory[2],
        location_start=location_start,
        location_mapping=mapping_of_location,
        location_address=memory[3],
        location_is_folded=np.zeros(locations, dtype=np.bool_) if names_only else _folded(pieces),
        line_start=line_start,
        line_function=_rows(lines[None, 0::2], starts(pieces.lines), function_start, dangling)[0],
        line_number=np.ascontiguousarray(lines[1::2]),
        node_start=node_start,
        node_parent=node_parent,
        node_location=node_location,
        dangling=dangling,
    )


def _needed_bytes(pieces: Pieces, nodes: Sequence[int]) -> int:
    """Memory for reading and merging symbols, at most: as much as if none of them appeared twice."""
    counts = (pieces.strings, pieces.functions, pieces.locations, pieces.lines_of_block, nodes)
    each = sum(sum(count) * size for count, size in zip(counts, _NEEDED_BYTES, strict=True))
    return each + _NEEDED_PER_TEXT * sum(map(len, pieces.texts))


@dataclass(slots=True)
class _Streams:
    """Integer columns, a stream per inner block, and whose they are."""

    data: list[memoryview] = field(default_factory=list)
    counts: list[int] = field(default_factory=list)
    owners: list[tuple[Sequence[InnerBlock], int]] = field(default_factory=list)

    def add(self, blocks: Sequence[InnerBlock], column: int, counts: Sequence[int]) -> None:
        """Append a column of all inner blocks."""
        self.data += [data[bounds[column] : bounds[column + 1]] for data, _, _, bounds in blocks]
        self.counts += counts
        self.owners.append((blocks, column))

    def place(self, stream: int) -> tuple[Where, int]:
        """Where a stream stands."""
        for blocks, column in self.owners:
            if stream < len(blocks):
                _, where, _, bounds = blocks[stream]
                return where, bounds[column]
            stream -= len(blocks)
        raise IndexError(stream)


def _decode(pieces: Pieces, names_only: bool) -> tuple[I32, I64]:
    """Integer columns, end to end: the narrow ones in the order that `read_symbols` splits, then the wide ones."""
    narrow, wide = _Streams(), _Streams()
    functions = [items for _, _, items, _ in pieces.function_blocks]
    mappings = [items for _, _, items, _ in pieces.mapping_blocks]
    for column in range(1 if names_only else 4):
        narrow.add(pieces.function_blocks, column, functions)
    for column in range(0 if names_only else 3):
        narrow.add(pieces.mapping_blocks, column, mappings)
    if not names_only:
        narrow.add(pieces.location_blocks, MAPPING, [items for _, _, items, _ in pieces.location_blocks])
    lines = pieces.lines_of_block
    blocks: Sequence[InnerBlock] = pieces.location_blocks
    if 0 in lines:
        blocks = [block for block, count in zip(blocks, lines, strict=True) if count]
        lines = [count for count in lines if count]
    narrow.add(blocks, LINES, [2 * count for count in lines])
    for table, column in () if names_only else _WIDE:
        present = [block for block in getattr(pieces, table) if block[3][column] < block[3][column + 1]]
        if present:
            wide.add(present, column, [items for _, _, items, _ in present])
    try:
        return decode(narrow.data, narrow.counts, wide.data, wide.counts)
    except BadDeltaError as error:
        is_wide = error.stream >= len(narrow.data)
        where, offset = wide.place(error.stream - len(narrow.data)) if is_wide else narrow.place(error.stream)
        kind: type[BlockError] = BadCount if error.is_count else BadEncoding
        raise kind(f"integer column of the symbols: {error.why}", where, offset=offset) from None


def _memory(pieces: Pieces, wide: I64) -> list[U64]:
    """Memory start, limit and file offset of mappings, address of locations; zeros where they were left out."""
    columns = []
    source = 0
    for table, column in _WIDE:
        blocks: Sequence[InnerBlock] = getattr(pieces, table)
        whole = np.zeros(sum([items for _, _, items, _ in blocks]), dtype=np.int64)
        target = 0
        for _, _, items, bounds in blocks if source < len(wide) else ():
            if bounds[column] < bounds[column + 1]:
                whole[target : target + items] = wide[source : source + items]
                source += items
            target += items
        columns.append(whole.view(np.uint64))
    return columns


def _rows(values: npt.NDArray[np.int32], owner_start: I64, target_start: I64, dangling: I64) -> I64:
    """References of each unit's items to its own part of another table, as rows of that table.

    Args:
        values: int32[c, n], c columns of references, counted from the unit's first target.
        owner_start: int64[u + 1], items of each unit.
        target_start: int64[u + 1], rows of the other table of each unit.
        dangling: int64[u], raised by the number of references out of range, which become -1.
    """
    count = np.diff(owner_start)
    rows = np.add(values, np.repeat(target_start[:-1], count), dtype=np.int64)
    # Seen as unsigned, negative references are beyond any table.
    beyond = values.view(np.uint32) >= np.repeat(np.diff(target_start), count)
    if beyond.any():
        rows[beyond] = -1
        unit = np.repeat(np.arange(len(count), dtype=np.int64), count)
        dangling += np.bincount(unit, weights=beyond.sum(axis=0), minlength=len(count)).astype(np.int64)
    return rows


def _line_starts(pieces: Pieces) -> I64:
    blocks = pieces.location_blocks
    parts = [data[bounds[LINE_COUNTS] : bounds[LINE_COUNTS + 1]] for data, _, _, bounds in blocks]
    counts = np.frombuffer(b"".join(parts), np.uint8)
    start = starts(counts)
    actual = np.diff(start.take(starts([items for _, _, items, _ in blocks])))
    wrong = np.flatnonzero(actual != np.array(pieces.lines_of_block, dtype=np.int64))
    if len(wrong):
        block = int(wrong[0])
        _, where, _, bounds = blocks[block]
        raise BadCount(
            "number of lines of the locations",
            where,
            offset=bounds[LINE_COUNTS],
            expected=int(actual[block]),
            actual=pieces.lines_of_block[block],
        )
    return start


def _folded(pieces: Pieces) -> Bool:
    folded = np.zeros(sum(pieces.locations), dtype=np.bool_)
    begin = 0
    for data, _, items, bounds in pieces.location_blocks:
        bits = data[bounds[FOLDED] : bounds[FOLDED + 1]]
        if len(bits):
            folded[begin : begin + items] = np.unpackbits(np.frombuffer(bits, np.uint8), count=items, bitorder="little")
        begin += items
    return folded
