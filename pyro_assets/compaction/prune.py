"""Dropping symbols that no sample refers to any more.

Add further tables here when the format grows; merging is in `symbols`. Nothing is copied when everything is in use,
which is the usual case.
"""

from dataclasses import replace

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pyro_assets.block.columns import I64, Bool, SymbolTables
from pyro_assets.compaction.gather import gather_ranges, range_starts


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
    return range_starts(used.astype(np.int64)).take(start)


def _renumber(row: I64, reference: I64) -> I64:
    """Follow references into kept rows; -1 stays -1."""
    return np.append(row, np.int64(-1)).take(reference)
