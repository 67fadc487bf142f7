"""Symbols sections to tables: many sections at once, each step once over the whole job.

Here the columns that `inner` found and `delta`, `tree` decoded are put end to end and their references made
absolute. Byte layouts stand in `index` and `inner`; what is done with the tables, in compaction.
"""

from collections.abc import Sequence
from itertools import chain

import numpy as np
import numpy.typing as npt

from pyro_assets.block.columns import I32, I64, U64, Bool, SymbolTables
from pyro_assets.block.symbols.delta import BadDeltaError, decode, gaps
from pyro_assets.block.symbols.index import check_data, parse_index
from pyro_assets.block.symbols.inner import Column, Pieces
from pyro_assets.block.symbols.strings import join_strings
from pyro_assets.block.symbols.tree import decode_trees
from pyro_assets.errors import BadCount, BadEncoding, BlockError, Where


def read_symbols(sections: Sequence[memoryview], wheres: Sequence[Where]) -> SymbolTables:
    """Read the symbols of many datasets.

    Args:
        sections: d whole symbols sections.
        wheres: d places, for messages; offsets in errors count from the section's start.

    Returns:
        One unit per partition of each section, in order. References out of range are -1 and counted.

    Raises:
        UnsupportedVersion: a section of another version than 3.
        ChecksumMismatch: one of its CRCs differs.
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
        for partition in parse_index(data, where):
            check_data(array, partition, where)
            dataset.append(position)
            number.append(partition.number)
            pieces.add_partition(data, array, partition, where)
            chunk = partition.chunk
            chunks.append(data[chunk.offset : chunk.offset + chunk.size])
            nodes.append(chunk.nodes)
            places.append((where, chunk.offset))

    string_start = _starts(pieces.strings)
    strings = join_strings(pieces.lengths, pieces.texts)
    function_start, mapping_start = _starts(pieces.functions), _starts(pieces.mappings)
    location_start = _starts(pieces.locations)
    narrow, wide = _decode(pieces)

    functions = int(function_start[-1])
    mappings = int(mapping_start[-1])
    locations = int(location_start[-1])
    cuts = np.cumsum([3 * functions, functions, 2 * mappings, mappings, locations]).tolist()
    names, start_line, files, flags, location_mapping, lines = np.split(narrow, cuts)
    dangling = np.zeros(len(dataset), dtype=np.int64)
    function_strings = _rows(names.reshape(3, -1), function_start, string_start, dangling)
    mapping_strings = _rows(files.reshape(2, -1), mapping_start, string_start, dangling)
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
        location_mapping=_rows(location_mapping[None], location_start, mapping_start, dangling)[0],
        location_address=memory[3],
        location_is_folded=_folded(pieces),
        line_start=line_start,
        line_function=_rows(lines[None, 0::2], _starts(pieces.lines_of_unit), function_start, dangling)[0],
        line_number=np.ascontiguousarray(lines[1::2]),
        node_start=node_start,
        node_parent=node_parent,
        node_location=node_location,
        dangling=dangling,
    )


def _starts(counts: Sequence[int]) -> I64:
    start = np.zeros(len(counts) + 1, dtype=np.int64)
    np.cumsum(counts, dtype=np.int64, out=start[1:])
    return start


def _decode(pieces: Pieces) -> tuple[I32, I64]:
    """All integer columns, end to end: the narrow ones in the order that `read_symbols` splits, then the wide ones."""
    narrow: list[Column] = [
        *pieces.function_columns,
        *pieces.mapping_columns[:3],
        pieces.location_mapping,
        pieces.line_column,
    ]
    wide: list[Column] = [*pieces.mapping_columns[3:], pieces.address]
    try:
        return decode(
            list(chain.from_iterable(column.streams for column in narrow)),
            list(chain.from_iterable(column.counts for column in narrow)),
            list(chain.from_iterable(column.streams for column in wide)),
            list(chain.from_iterable(column.counts for column in wide)),
        )
    except BadDeltaError as error:
        places = list(chain.from_iterable(column.places for column in (*narrow, *wide)))
        where, offset = places[error.stream]
        kind: type[BlockError] = BadCount if error.is_count else BadEncoding
        raise kind(f"integer column of the symbols: {error.why}", where, offset=offset) from None


def _memory(pieces: Pieces, wide: I64) -> list[U64]:
    """Memory start, limit and file offset of mappings, address of locations; zeros where they were left out."""
    columns = []
    begin = 0
    items = [*[pieces.mapping_columns[0].counts] * 3, pieces.location_items]
    for column, counts in zip((*pieces.mapping_columns[3:], pieces.address), items, strict=True):
        end = begin + sum(column.counts)
        columns.append(gaps(counts, column.present, wide[begin:end]).view(np.uint64))
        begin = end
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
    counts = np.frombuffer(b"".join(pieces.line_counts), np.uint8)
    start = np.zeros(len(counts) + 1, dtype=np.int64)
    np.cumsum(counts, dtype=np.int64, out=start[1:])
    bounds = _starts(pieces.location_items)
    actual = np.diff(start.take(bounds))
    wrong = np.flatnonzero(actual != np.array(pieces.lines, dtype=np.int64))
    if len(wrong):
        where, offset = pieces.location_places[int(wrong[0])]
        raise BadCount(
            "number of lines of the locations",
            where,
            offset=offset,
            expected=int(actual[wrong[0]]),
            actual=pieces.lines[int(wrong[0])],
        )
    return start


def _folded(pieces: Pieces) -> Bool:
    folded = np.zeros(sum(pieces.location_items), dtype=np.bool_)
    begin = 0
    for items, bits in zip(pieces.location_items, pieces.folded, strict=True):
        if bits is not None:
            folded[begin : begin + items] = np.unpackbits(bits, count=items, bitorder="little")
        begin += items
    return folded
