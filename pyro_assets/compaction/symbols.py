"""Merging symbol tables: equal strings, functions, mappings, locations and stacks of one output appear once.

Here, too:
* dropping symbols that no sample refers to any more.

Add what makes two symbols equal here. All tables of a job are merged at once; codes are numbered in order of first
occurrence, so that each output unit owns one contiguous range.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from pyro_assets.block.columns import I32, I64, U64, Bool, SymbolTables, starts
from pyro_assets.block.symbols.paths import find_runs, path_depths, path_sums
from pyro_assets.compaction.arrays import (
    CHUNK_ROWS,
    Distinct,
    Integers,
    Numbering,
    are_equal,
    distinct_rows,
    gather_ranges,
    hash_columns,
    mix,
    number_by_hash,
    number_exactly,
    number_ragged,
    verified,
)

#: Strings of more jobs than most.
STRINGS_AT_ONCE: Final = 1 << 17


@dataclass(frozen=True, slots=True)
class MergedSymbols:
    """The merged tables and where each node of the sources went.

    Attributes:
        tables: one unit per output dataset and partition.
        unit_code: int64[u], output unit of each source unit.
        node_code: int64[n], merged node of each source node (absolute).
    """

    tables: SymbolTables
    unit_code: I64
    node_code: I64


def merge_symbols(tables: SymbolTables, output_of_dataset: I64, number: Numbering = number_by_hash) -> MergedSymbols:
    """Merge the symbols of all datasets that go into one output dataset.

    Args:
        tables: the sources' symbols; units in the order of their datasets. They are used up: a column is emptied when
            it is merged, because both forms of all symbols at once are most of a job's memory.
        output_of_dataset: int64[d], output dataset of each source dataset, ascending.
        number: see `distinct_rows`.
    """
    unit_code, unit_output, unit_partition = _merge_units(tables, output_of_dataset)
    units = len(unit_output)
    merged = replace(
        tables,
        unit_dataset=unit_output,
        unit_partition=unit_partition,
        dangling=np.bincount(unit_code, weights=tables.dangling, minlength=units).astype(np.int64),
    )
    string_code = _merge_strings(tables, merged, unit_code, number)
    function_code = _merge_functions(tables, merged, unit_code, string_code, number)
    mapping_code = _merge_mappings(tables, merged, unit_code, string_code, number)
    del string_code
    location_code = _merge_locations(tables, merged, unit_code, mapping_code, function_code, number)
    del mapping_code, function_code
    return MergedSymbols(merged, unit_code, _merge_nodes(tables, merged, unit_code, location_code, number))


def _merge_strings(tables: SymbolTables, merged: SymbolTables, unit_code: I64, number: Numbering) -> I64:
    unit = _unit_of_rows(tables.string_start, unit_code)
    found, merged.string_start = _number_in_units(_distinct_strings(tables.strings, unit, number), unit, merged)
    merged.strings = tables.strings
    if not _are_all(found.first, len(tables.strings)):
        merged.strings = tables.strings.take(pa.array(found.first))
    _empty(tables, "strings")
    return found.codes


def _merge_functions(
    tables: SymbolTables, merged: SymbolTables, unit_code: I64, string_code: I64, number: Numbering
) -> I64:
    unit = _unit_of_rows(tables.function_start, unit_code)
    names = ("function_name", "function_system_name", "function_file_name")
    texts = [_follow(string_code, getattr(tables, name)) for name in names]
    _empty(tables, *names)
    columns: list[Integers] = [unit, *texts, tables.function_start_line]
    found, merged.function_start = _number_in_units(distinct_rows(columns, number), unit, merged)
    for name, text in zip(names, texts, strict=True):
        setattr(merged, name, _rows_of(text, found.first))
    _take(tables, merged, found.first, "function_start_line")
    return found.codes


def _merge_mappings(
    tables: SymbolTables, merged: SymbolTables, unit_code: I64, string_code: I64, number: Numbering
) -> I64:
    unit = _unit_of_rows(tables.mapping_start, unit_code)
    file_name = _follow(string_code, tables.mapping_file_name)
    build_id = _follow(string_code, tables.mapping_build_id)
    columns: list[Integers] = [
        unit,
        file_name,
        build_id,
        tables.mapping_flags,
        tables.mapping_memory_start,
        tables.mapping_memory_limit,
        tables.mapping_file_offset,
    ]
    found, merged.mapping_start = _number_in_units(distinct_rows(columns, number), unit, merged)
    merged.mapping_file_name = _rows_of(file_name, found.first)
    merged.mapping_build_id = _rows_of(build_id, found.first)
    _take(
        tables,
        merged,
        found.first,
        "mapping_flags",
        "mapping_memory_start",
        "mapping_memory_limit",
        "mapping_file_offset",
    )
    return found.codes


def _merge_locations(
    tables: SymbolTables,
    merged: SymbolTables,
    unit_code: I64,
    mapping_code: I64,
    function_code: I64,
    number: Numbering,
) -> I64:
    unit = _unit_of_rows(tables.location_start, unit_code)
    mapping = _follow(mapping_code, tables.location_mapping)
    line_function = _follow(function_code, tables.line_function)
    _empty(tables, "location_mapping", "line_function")
    found, merged.location_start = _number_in_units(
        _distinct_locations(tables, unit, mapping, line_function, number), unit, merged
    )
    merged.location_mapping = _rows_of(mapping, found.first)
    _take(tables, merged, found.first, "location_address", "location_is_folded")
    merged.line_start, merged.line_function, merged.line_number = tables.line_start, line_function, tables.line_number
    if not _are_all(found.first, len(mapping)):
        merged.line_start, line_row = gather_ranges(tables.line_start, found.first)
        merged.line_function = line_function.take(line_row)
        merged.line_number = tables.line_number.take(line_row)
    _empty(tables, "line_start", "line_number")
    return found.codes


def _merge_nodes(
    tables: SymbolTables, merged: SymbolTables, unit_code: I64, location_code: I64, number: Numbering
) -> I64:
    unit = _unit_of_rows(tables.node_start, unit_code)
    location = _follow(location_code, tables.node_location)
    _empty(tables, "node_location")
    found, merged.node_start = _number_in_units(_distinct_nodes(tables, location, unit, number), unit, merged)
    merged.node_location = _rows_of(location, found.first)
    del location
    merged.node_parent = _follow(found.codes, _rows_of(tables.node_parent, found.first))
    _empty(tables, "node_parent")
    return found.codes


def _take(tables: SymbolTables, merged: SymbolTables, rows: I64, *names: str) -> None:
    """Moves the chosen rows of columns from one to the other."""
    for name in names:
        setattr(merged, name, _rows_of(getattr(tables, name), rows))
        _empty(tables, name)


def _rows_of(column: Integers, rows: I64) -> Integers:
    """The chosen rows of a column: itself where these are all."""
    return column if _are_all(rows, len(column)) else column.take(rows)


def _are_all(rows: I64, count: int) -> bool:
    return len(rows) == count and bool((rows[1:] > rows[:-1]).all())


def _empty(tables: SymbolTables, *names: str) -> None:
    for name in names:
        column = getattr(tables, name)
        setattr(tables, name, pa.array([], column.type) if name == "strings" else np.empty(0, column.dtype))


def _merge_units(tables: SymbolTables, output_of_dataset: I64) -> tuple[I64, I64, U64]:
    """Output unit of each unit: output datasets ascending, their partitions by id."""
    output = output_of_dataset.take(tables.unit_dataset)
    keys = sorted(set(zip(output.tolist(), tables.unit_partition.tolist(), strict=True)))
    row = {key: i for i, key in enumerate(keys)}
    codes = [row[key] for key in zip(output.tolist(), tables.unit_partition.tolist(), strict=True)]
    return (
        np.array(codes, dtype=np.int64),
        np.array([key[0] for key in keys], dtype=np.int64),
        np.array([key[1] for key in keys], dtype=np.uint64),
    )


def _unit_of_rows(start: I64, unit_code: I64) -> I32:
    return np.repeat(unit_code.astype(np.int32), np.diff(start))


def _follow(codes: I64, reference: I64) -> I64:
    """References into merged tables; -1 (no such row) stays -1."""
    if not len(codes):
        return np.full(len(reference), -1, dtype=np.int64)
    followed = codes.take(reference, mode="clip")
    is_none = reference < 0
    if is_none.any():
        followed[is_none] = -1
    return followed


def _number_in_units(classes: Distinct, unit: I32, merged: SymbolTables) -> tuple[Distinct, I64]:
    """Renumber classes so that each output unit's are contiguous, and tell where each unit's begin."""
    unit_of_class = unit.take(classes.first)
    start = starts(np.bincount(unit_of_class, minlength=len(merged.unit_dataset)))
    if (unit_of_class[1:] >= unit_of_class[:-1]).all():
        return classes, start
    # Only objects with several partitions a dataset come here: their units interleave.
    order = np.argsort(unit_of_class, kind="stable")
    moved = np.empty(len(order), dtype=np.int64)
    moved[order] = np.arange(len(order), dtype=np.int64)
    return Distinct(moved.take(classes.codes), classes.first.take(order)), start


def _distinct_strings(strings: pa.LargeBinaryArray, unit: I32, number: Numbering) -> Distinct:
    return distinct_rows([_string_codes(strings), unit], number)


def _string_codes(strings: pa.LargeBinaryArray) -> Integers:
    """A number per string, equal where they are.

    Arrow's table of what it has seen takes ten times the bytes of short strings, so many are done in parts: by their
    lengths and ends, which equal strings share.
    """
    parts = -(-len(strings) // STRINGS_AT_ONCE)
    if parts <= 1:
        codes: Integers = strings.dictionary_encode().indices.to_numpy()
        return codes
    end = pc.binary_slice(strings, -2, None).dictionary_encode().indices.to_numpy()
    part = hash_columns([pc.binary_length(strings).to_numpy(), end]) % np.uint64(parts)
    codes = np.empty(len(strings), dtype=np.int64)
    known = 0
    for number in range(parts):
        rows = np.flatnonzero(part == number)
        encoded = strings.take(pa.array(rows)).dictionary_encode()
        codes[rows] = encoded.indices.to_numpy()
        codes[rows] += known
        known += len(encoded.dictionary)
    return codes


def _distinct_locations(
    tables: SymbolTables, unit: I32, mapping: I64, line_function: I64, number: Numbering
) -> Distinct:
    start, line_number = tables.line_start, tables.line_number
    line_count = np.diff(start).astype(np.int32)
    fixed: list[Integers] = [unit, mapping, tables.location_address, tables.location_is_folded, line_count]
    hashed = hash_columns(fixed)
    for begin in range(0, len(hashed), CHUNK_ROWS):
        own = hashed[begin : begin + CHUNK_ROWS]
        count = line_count[begin : begin + CHUNK_ROWS]
        for ordinal in range(int(count.max())):
            having = np.flatnonzero(count > ordinal)
            line = start.take(having + begin) + ordinal
            own[having] = mix(mix(own.take(having), line_function.take(line)), line_number.take(line))

    def is_exact(classes: Distinct) -> bool:
        return are_equal(classes, fixed) and _have_equal_lines(classes, start, (line_function, line_number))

    def number_again() -> Distinct:
        return number_exactly([*fixed, number_ragged(start, [line_function, line_number])])

    return verified(number(hashed), is_exact, number_again)


def _have_equal_lines(classes: Distinct, start: I64, columns: Sequence[Integers]) -> bool:
    """Whether locations have the lines of the first of their class, and are known to have as many."""
    if len(classes.first) == len(classes.codes):
        return True
    for begin in range(0, len(classes.codes), CHUNK_ROWS):
        codes = classes.codes[begin : begin + CHUNK_ROWS]
        here = start[begin : begin + len(codes) + 1]
        offset = start.take(classes.first.take(codes)) - here[:-1]
        lines = slice(int(here[0]), int(here[-1]))
        twin = np.arange(lines.start, lines.stop, dtype=np.int64) + np.repeat(offset, np.diff(here))
        if not all(np.array_equal(column.take(twin), column[lines]) for column in columns):
            return False
    return True


def _distinct_nodes(tables: SymbolTables, location: I64, unit: I32, number: Numbering) -> Distinct:
    """Nodes are equal when their locations from the root down are: equal location, equal parent class."""
    parent = tables.node_parent
    root = np.flatnonzero(parent < 0)
    runs = find_runs(parent)
    weight = hash_columns([location, path_depths(runs)])
    # Roots carry their unit, which keeps the trees of different outputs apart.
    weight[root] = mix(weight.take(root), unit.take(root))
    hashed = path_sums(runs, weight)
    del runs, weight

    def is_exact(classes: Distinct) -> bool:
        if len(classes.first) == len(classes.codes):
            return True
        parent_code = _follow(classes.codes, parent)
        parent_code[root] = -1 - unit.take(root)
        return are_equal(classes, (location, parent_code))

    def number_again() -> Distinct:
        """Paths by their first 1, 2, 4, ... nodes, each numbered by two halves: exact whatever the hashes do."""
        hop = np.where(parent < 0, np.arange(len(parent), dtype=np.int64), parent)
        found = number_exactly([location, np.where(parent < 0, unit, np.int64(-1))])
        while True:
            further = hop.take(hop)
            found = number_exactly([found.codes, found.codes.take(hop)])
            if np.array_equal(further, hop):
                return found
            hop = further

    return verified(number(hashed), is_exact, number_again)


def prune_symbols(tables: SymbolTables, stack: I64) -> tuple[SymbolTables, I64 | None]:
    """Keep the nodes on the way from `stack` to the roots, and what these refer to.

    Args:
        tables: merged symbols.
        stack: int64[m], nodes that samples refer to.

    Returns:
        The tables, and int64[n] with each old node's new row (-1: dropped), or None when all nodes stay.
    """
    used = np.zeros(len(tables.node_parent), dtype=np.bool_)
    used[stack] = True
    has_parent = tables.node_parent >= 0
    _mark_parents(used, tables.node_parent, has_parent)
    used[~has_parent] = True  # roots stay: node 0 of a tree is its root whatever is in it
    node_row: I64 | None = None
    if not used.all():
        node_row = _rows(used)
        kept = np.flatnonzero(used)
        tables = replace(
            tables,
            node_start=_starts(tables.node_start, used),
            node_parent=_renumber(node_row, tables.node_parent.take(kept)),
            node_location=tables.node_location.take(kept),
        )
    tables = _prune_locations(tables)
    tables = _prune_functions_and_mappings(tables)
    return _prune_strings(tables), node_row


def _mark_parents(used: Bool, parent: I64, has_parent: Bool) -> None:
    """Mark every ancestor of a marked node; each round doubles the distance, so that a deep tree takes few."""
    is_inner = np.zeros(len(parent), dtype=np.bool_)
    is_inner[parent[has_parent]] = True
    if (used | is_inner).all():  # every leaf is used, so every node is
        used[:] = True
        return
    hop = np.where(has_parent, parent, np.arange(len(parent), dtype=np.int64))
    while True:
        used[hop[used]] = True
        further = hop.take(hop)
        if np.array_equal(further, hop):
            return
        hop = further


def _prune_locations(tables: SymbolTables) -> SymbolTables:
    used = _referenced(len(tables.location_mapping), tables.node_location)
    if used.all():
        return tables
    kept = np.flatnonzero(used)
    line_start, line_row = gather_ranges(tables.line_start, kept)
    return replace(
        tables,
        location_start=_starts(tables.location_start, used),
        location_mapping=tables.location_mapping.take(kept),
        location_address=tables.location_address.take(kept),
        location_is_folded=tables.location_is_folded.take(kept),
        line_start=line_start,
        line_function=tables.line_function.take(line_row),
        line_number=tables.line_number.take(line_row),
        node_location=_renumber(_rows(used), tables.node_location),
    )


def _prune_functions_and_mappings(tables: SymbolTables) -> SymbolTables:
    used = _referenced(len(tables.function_name), tables.line_function)
    if not used.all():
        kept = np.flatnonzero(used)
        tables = replace(
            tables,
            function_start=_starts(tables.function_start, used),
            function_name=tables.function_name.take(kept),
            function_system_name=tables.function_system_name.take(kept),
            function_file_name=tables.function_file_name.take(kept),
            function_start_line=tables.function_start_line.take(kept),
            line_function=_renumber(_rows(used), tables.line_function),
        )
    used = _referenced(len(tables.mapping_flags), tables.location_mapping)
    if not used.all():
        kept = np.flatnonzero(used)
        tables = replace(
            tables,
            mapping_start=_starts(tables.mapping_start, used),
            mapping_file_name=tables.mapping_file_name.take(kept),
            mapping_build_id=tables.mapping_build_id.take(kept),
            mapping_flags=tables.mapping_flags.take(kept),
            mapping_memory_start=tables.mapping_memory_start.take(kept),
            mapping_memory_limit=tables.mapping_memory_limit.take(kept),
            mapping_file_offset=tables.mapping_file_offset.take(kept),
            location_mapping=_renumber(_rows(used), tables.location_mapping),
        )
    return tables


def _prune_strings(tables: SymbolTables) -> SymbolTables:
    used = _referenced(
        len(tables.strings),
        tables.function_name,
        tables.function_system_name,
        tables.function_file_name,
        tables.mapping_file_name,
        tables.mapping_build_id,
    )
    # Row 0 of a partition is the empty string by convention; readers may rely on it.
    first = tables.string_start[:-1][np.diff(tables.string_start) > 0]
    used[first] |= np.array([len(tables.strings[int(row)].as_py()) == 0 for row in first], dtype=np.bool_)
    if used.all():
        return tables
    row = _rows(used)
    return replace(
        tables,
        string_start=_starts(tables.string_start, used),
        strings=tables.strings.take(pa.array(np.flatnonzero(used))),
        function_name=_renumber(row, tables.function_name),
        function_system_name=_renumber(row, tables.function_system_name),
        function_file_name=_renumber(row, tables.function_file_name),
        mapping_file_name=_renumber(row, tables.mapping_file_name),
        mapping_build_id=_renumber(row, tables.mapping_build_id),
    )


def _referenced(rows: int, *references: I64) -> Bool:
    used: npt.NDArray[np.bool_] = np.zeros(rows + 1, dtype=np.bool_)
    for reference in references:
        used[reference] = True  # -1 marks the extra last row
    return used[:rows]


def _rows(used: Bool) -> I64:
    """New row of each old row, -1 for dropped ones."""
    return np.where(used, np.cumsum(used, dtype=np.int64) - 1, np.int64(-1))


def _starts(start: I64, used: Bool) -> I64:
    return starts(used.astype(np.int64)).take(start)


def _renumber(row: I64, reference: I64) -> I64:
    """Follow references into kept rows; -1 stays -1."""
    return np.append(row, np.int64(-1)).take(reference)
