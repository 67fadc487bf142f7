"""Stacks trimmed to what Go's compiler reads of a profile: the frames next to the leaf, and no line of the leaf.

Everything else about the profile is `pprof`'s.
"""

from dataclasses import dataclass, replace

import numpy as np
import polars as pl

from pyro_assets.block.columns import I64, SymbolTables
from pyro_assets.block.symbols.paths import find_runs, path_depths
from pyro_assets.compaction.symbols import merge_symbols, prune_symbols
from pyro_assets.explore.call_tree import add_up


@dataclass(frozen=True, slots=True)
class GoPgo:
    """How stacks are trimmed.

    Attributes:
        keep_locations: so many from the leaf on; 0 for all.
        aggregate_callees: samples of one function are one whatever its line; calls keep theirs.
    """

    keep_locations: int
    aggregate_callees: bool

    def trim(self, tables: SymbolTables, own: I64) -> tuple[SymbolTables, I64]:
        """Tables of one unit, and int64[nodes] that end at each node; the same of the trimmed stacks."""
        ends = np.flatnonzero((own != 0) & (tables.node_parent >= 0))
        if not len(ends):
            return tables, own
        chain = self._chains(tables.node_parent, ends)
        is_there = chain >= 0
        location = tables.node_location.take(np.maximum(chain, 0))
        if self.aggregate_callees:
            location[:, -1] += len(tables.location_mapping)
            tables = _with_callees(tables)
        # Node 0 is the root; every chain hangs on it with nodes of its own, from the outermost on.
        number = np.where(is_there, np.cumsum(is_there).reshape(chain.shape), 0)
        above = np.concatenate([np.zeros((len(chain), 1), dtype=np.int64), number[:, :-1]], axis=1)
        chained = replace(
            tables,
            node_start=np.array([0, number.max(initial=0) + 1], dtype=np.int64),
            node_parent=np.append(-1, above[is_there]),
            node_location=np.append(-1, location[is_there]),
        )
        merged = merge_symbols(chained, np.zeros(1, dtype=np.int64))
        leaf = merged.node_code.take(number[:, -1])
        pruned, row = prune_symbols(merged.tables, leaf)
        leaf = leaf if row is None else row.take(leaf)
        return pruned, add_up(leaf, own.take(ends), len(pruned.node_parent)).cast(pl.Int64).to_numpy()

    def _chains(self, parent: I64, ends: I64) -> I64:
        """int64[stacks, kept], nodes of each stack from the outermost on, the leaf last; -1 where there is none."""
        depth = path_depths(find_runs(parent)).take(ends) - 1
        width = int(depth.max(initial=1))
        width = min(width, self.keep_locations) if self.keep_locations else width
        found = np.full((len(ends), width), -1, dtype=np.int64)
        node = ends
        for place in range(width - 1, -1, -1):
            is_frame = parent.take(node) >= 0
            found[:, place] = np.where(is_frame, node, -1)
            node = np.where(is_frame, parent.take(node), node)
        return found


def _with_callees(tables: SymbolTables) -> SymbolTables:
    """The tables with every location once more, without its address and without the line of its innermost function."""
    first = tables.line_start[:-1].compress(np.diff(tables.line_start) > 0)
    number = tables.line_number.copy()
    number[first] = 0
    locations = len(tables.location_mapping)
    return replace(
        tables,
        location_start=np.array([0, 2 * locations], dtype=np.int64),
        location_mapping=np.tile(tables.location_mapping, 2),
        location_address=np.append(tables.location_address, np.zeros(locations, dtype=np.uint64)),
        location_is_folded=np.tile(tables.location_is_folded, 2),
        line_start=np.append(tables.line_start, tables.line_start[1:] + tables.line_start[-1]),
        line_function=np.tile(tables.line_function, 2),
        line_number=np.append(tables.line_number, number),
    )
