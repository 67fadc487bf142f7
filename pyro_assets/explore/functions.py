"""Every function of some profiles with its own and its total value, for looking at blocks.

All functions come from one pass: nodes are numbered in preorder, so that what stands below a node is an interval, and
of the intervals of one function only the outermost count (recursion counts once). This is for people who look, not
for every job; what rules need is in `stacks`.
"""

from typing import Final

import numpy as np
import polars as pl

from pyro_assets.block.columns import I64, BlockColumns, SymbolTables
from pyro_assets.block.symbols.paths import find_runs, path_sums
from pyro_assets.block.tsdb.labels import profile_type
from pyro_assets.series.name_sets import leaf_codes
from pyro_assets.storage.shown import show_bytes

# Deeper trees than any program makes are walked node by node, which needs no array operation per level.
_MAX_LEVELS: Final = 2048


def top_functions(columns: BlockColumns, limit: int | None = None) -> pl.DataFrame:
    """Functions by value.

    Args:
        columns: profiles, of one object or many.
        limit: at most so many functions per tenant, service and profile type, the largest totals.

    Returns:
        Columns tenant, service, profile_type, function, self (int64, samples whose innermost frame it is), total
        (int64, samples whose stack contains it, each once); by tenant, service, profile type and falling total. Values
        are sums over all profiles, modulo 2**64. Samples whose innermost frame has no function are in no row's `self`.
    """
    symbols, rows = columns.symbols, columns.rows
    groups, group_of_row = _groups(columns)
    encoded = symbols.strings.dictionary_encode()
    # Dangling references are -1 and find the -1 at the end of each table.
    code_of_function = np.append(np.append(encoded.indices.to_numpy(), -1).take(symbols.function_name), -1)
    code_of_line = code_of_function.take(symbols.line_function)
    start, end = number_in_preorder(symbols.node_parent)
    node, code = _outermost(symbols, code_of_line, start, end)
    begin_of_unit = np.searchsorted(node, symbols.node_start)
    names = [show_bytes(name) for name in encoded.dictionary.to_pylist()]

    count = np.diff(rows.sample_start)
    group_of_sample, unit_of_row = np.repeat(group_of_row, count), rows.unit
    leaf_code = leaf_codes(symbols, code_of_line).take(rows.stack)
    position = start.take(rows.stack)
    order = np.lexsort((position, group_of_sample))
    bounds = np.searchsorted(group_of_sample.take(order), np.arange(len(groups) + 1))
    parts = []
    for number, (tenant, service, kind) in enumerate(groups):
        chosen = order[bounds[number] : bounds[number + 1]]
        total, own = np.zeros(len(names), dtype=np.int64), np.zeros(len(names), dtype=np.int64)
        value, place = rows.value.take(chosen), position.take(chosen)
        has_leaf = np.flatnonzero(leaf_code.take(chosen) >= 0)
        np.add.at(own, leaf_code.take(chosen.take(has_leaf)), value.take(has_leaf))
        running = np.append(0, np.cumsum(value, dtype=np.int64))
        seen = np.zeros(len(names), dtype=np.bool_)
        for unit in np.unique(unit_of_row[(group_of_row == number) & (count > 0)]).tolist():
            some = slice(begin_of_unit[unit], begin_of_unit[unit + 1])
            low = np.searchsorted(place, start.take(node[some]))
            high = np.searchsorted(place, end.take(node[some]))
            np.add.at(total, code[some], running.take(high) - running.take(low))
            seen[code[some][high > low]] = True
        found = np.flatnonzero(seen)
        functions = [names[position] for position in found.tolist()]
        part = pl.DataFrame({"function": functions, "self": own.take(found), "total": total.take(found)})
        keys = {"tenant": show_bytes(tenant), "service": show_bytes(service), "profile_type": show_bytes(kind)}
        part = part.select(
            *(pl.lit(text, dtype=pl.String).alias(name) for name, text in keys.items()),
            pl.col("function").cast(pl.String),
            pl.col("self", "total"),
        ).sort(["total", "function"], descending=[True, False])
        parts.append(part if limit is None else part.head(limit))
    schema = dict.fromkeys(("tenant", "service", "profile_type", "function"), pl.String)
    empty = pl.DataFrame(schema={**schema, "self": pl.Int64, "total": pl.Int64})
    return pl.concat([empty, *parts])


def _groups(columns: BlockColumns) -> tuple[list[tuple[bytes, bytes, bytes]], I64]:
    """Distinct (tenant, service, profile type), sorted, and int64[n], the one of each row."""
    starts = columns.series.dataset_start.tolist()
    of_entry: list[tuple[bytes, bytes, bytes]] = []
    for dataset, begin, end in zip(columns.datasets, starts, starts[1:], strict=False):
        of_entry += [
            (dataset.tenant, dataset.name, profile_type(labels)) for labels in columns.series.labels[begin:end]
        ]
    used = set(np.unique(columns.rows.series).tolist())
    groups = sorted({key for entry, key in enumerate(of_entry) if entry in used})
    number = {key: position for position, key in enumerate(groups)}
    return groups, np.array([number.get(key, -1) for key in of_entry], dtype=np.int64).take(columns.rows.series)


def number_in_preorder(parent: I64) -> tuple[I64, I64]:
    """Number the nodes of trees such that what stands below a node is an interval.

    Args:
        parent: int64[n], absolute parent of each node, -1 for roots; parents precede children, trees each other.

    Returns:
        int64[n] first and int64[n] end (exclusive) of each node's interval; the node itself has the first number.

    >>> [part.tolist() for part in number_in_preorder(np.array([-1, 0, 0, 1], dtype=np.int64))]
    [[0, 1, 3, 2], [4, 3, 4, 3]]
    """
    nodes = len(parent)
    size = np.ones(nodes, dtype=np.int64)
    if not nodes:
        return size, size.copy()
    runs = find_runs(parent)
    depth = path_sums(runs, size)
    order = np.lexsort((np.arange(nodes), parent, depth))
    level = np.searchsorted(depth.take(order), np.arange(1, int(depth.max()) + 2))
    if len(level) > _MAX_LEVELS:
        sizes, parents = size.tolist(), parent.tolist()
        for node in range(nodes - 1, -1, -1):
            if parents[node] >= 0:
                sizes[parents[node]] += sizes[node]
        size = np.array(sizes, dtype=np.int64)
    else:
        for number in range(len(level) - 2, 0, -1):
            these = order[level[number] : level[number + 1]]
            np.add.at(size, parent.take(these), size.take(these))
    # A node stands behind its parent and its earlier siblings with all that is below them: a sum along its path.
    before = np.cumsum(size.take(order)) - size.take(order)
    same = parent.take(order)
    is_first = np.append(True, (same[1:] != same[:-1]))
    family = np.cumsum(is_first) - 1
    offset = np.empty(nodes, dtype=np.int64)
    offset[order] = before - before.compress(is_first).take(family) + (same >= 0)
    start = path_sums(runs, offset)
    return start, start + size


def _outermost(symbols: SymbolTables, code_of_line: I64, start: I64, end: I64) -> tuple[I64, I64]:
    """Pairs (node, function) where no node above has the function too; ascending by node."""
    location = symbols.node_location
    lines = np.append(np.diff(symbols.line_start), 0).take(location)
    node = np.repeat(np.arange(len(location), dtype=np.int64), lines)
    first = np.repeat(np.append(symbols.line_start[:-1], 0).take(location) - (np.cumsum(lines) - lines), lines)
    code = code_of_line.take(first + np.arange(len(node), dtype=np.int64))
    node, code = node.compress(code >= 0), code.compress(code >= 0).astype(np.int64)
    order = np.lexsort((start.take(node), code))
    node, code = node.take(order), code.take(order)
    # Intervals of one function are nested or apart, so one is inside another where it begins before an earlier end.
    # A node that has the function twice begins where its first one does.
    shift = code * (len(location) + 1)
    reach = np.maximum.accumulate(end.take(node) + shift) if len(node) else shift
    is_outer = np.append(True, start.take(node[1:]) + shift[1:] >= reach[:-1]) if len(node) else np.zeros(0, np.bool_)
    node, code = node.compress(is_outer), code.compress(is_outer)
    by_node = np.argsort(node, kind="stable")
    return node.take(by_node), code.take(by_node)
