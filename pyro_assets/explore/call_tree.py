"""Stacks of many profiles merged into one tree of calls, and what every function has of it.

Frames are merged by the names on their path, whatever program, block or job they come from: level by level, which is
exact. Add what can be read from such a tree here; which profiles go into it is decided by the caller, and how it is
drawn is not known.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import blake2b
from itertools import pairwise
from typing import Final

import numpy as np
import polars as pl

from pyro_assets.block.columns import I64, U64, BlockColumns, Bool
from pyro_assets.block.symbols.paths import find_runs, path_depths
from pyro_assets.compaction.arrays import numbered
from pyro_assets.errors import ValueOverflow
from pyro_assets.explore.functions import number_in_preorder
from pyro_assets.series.name_sets import distinct_names
from pyro_assets.series.stack_paths import frames_of

#: Trees of batches are kept apart until they have so many nodes together (or several times the merged one's).
_NODES: Final = 1 << 18
_GROWTH: Final = 3
_LIMIT: Final = 2**63
#: Odd numbers that mix bits (splitmix64).
_MIX: Final = (np.uint64(0xBF58_476D_1CE4_E5B9), np.uint64(0x94D0_49BB_1331_11EB))


@dataclass(slots=True)
class CallTree:
    """A merged tree; node 0 is the root, which stands for everything and has no name.

    Attributes:
        names: distinct names of functions, as they are shown.
        parent: int64[n], -1 for the root; parents precede children, level by level.
        name: int64[n], positions in `names`, -1 for the root and frames without function.
        depth: int64[n], 0 for the root.
        own: int64[n], of samples whose innermost frame it is (the root: that have no frame).
        total: int64[n], of samples whose stack contains the node.
        path_id: uint64[n], a hash of the names from the root to the node; the same in every tree with this path.
    """

    names: list[str]
    parent: I64
    name: I64
    depth: I64
    own: I64
    total: I64
    path_id: U64
    _start: I64
    _end: I64

    def functions(self) -> tuple[I64, I64]:
        """Per name int64 own values and totals; a total counts a sample once, however often the function is on it."""
        own, total = np.zeros(len(self.names), dtype=np.int64), np.zeros(len(self.names), dtype=np.int64)
        node = np.flatnonzero(self.name >= 0)
        np.add.at(own, self.name.take(node), self.own.take(node))
        node = self.outermost(node)
        np.add.at(total, self.name.take(node), self.total.take(node))
        return own, total

    def outermost(self, node: I64) -> I64:
        """Those of some named nodes that have no node of their own function above them."""
        node = node.take(np.lexsort((self._start.take(node), self.name.take(node))))
        # Intervals of one function are nested or apart, so one is inside another where it begins before an earlier end.
        shift = self.name.take(node) * (len(self.parent) + 1)
        reach = np.maximum.accumulate(self._end.take(node) + shift) if len(node) else shift
        is_outer = np.ones(len(node), dtype=np.bool_)
        is_outer[1:] = self._start.take(node[1:]) + shift[1:] >= reach[:-1]
        return node.compress(is_outer)

    def below(self, nodes: I64) -> Bool:
        """bool[n]: these nodes, of which none is below another, and all below them."""
        size = len(self.parent) + 1
        steps = np.bincount(self._start.take(nodes), minlength=size) - np.bincount(
            self._end.take(nodes), minlength=size
        )
        return np.asarray(np.cumsum(steps).take(self._start) > 0)

    def find(self, path_id: int) -> int | None:
        """The node with this `path_id`, None if there is none."""
        found = np.flatnonzero(self.path_id == np.uint64(path_id))
        return int(found[0]) if len(found) else None

    def ancestors(self, node: int) -> list[int]:
        """The nodes above, from the root on."""
        found = []
        while (node := int(self.parent[node])) >= 0:
            found.append(node)
        return found[::-1]

    def children(self, node: int) -> I64:
        """The nodes directly below, by falling total, then name."""
        # Level by level, those of one parent stand together.
        begin, end = np.searchsorted(self.parent[1:], [node, node + 1]) + 1
        found = np.arange(begin, end, dtype=np.int64)
        names = [self.text(one) for one in found.tolist()]
        order = sorted(range(len(found)), key=lambda place: (-int(self.total[begin + place]), names[place]))
        return found.take(np.array(order, dtype=np.int64))

    def text(self, node: int) -> str:
        """The node's name, "" for none."""
        return self.names[int(self.name[node])] if self.name[node] >= 0 else ""


def path_id(names: Sequence[str]) -> int:
    """The `path_id` of the node that these names lead to, from the root on; "" stands for a frame without function."""
    found = np.zeros(1, dtype=np.uint64)
    for name in names:
        found = _child_id(found, _hash([name]))
    return int(found[0])


class TreeBuilder:
    """Merges profiles of many blocks."""

    def __init__(self) -> None:
        self._number: dict[str, int] = {}
        nothing = np.zeros(0, dtype=np.int64)
        self._parts = [_Part(np.full(1, -1), np.full(1, -1), add_up(nothing, nothing, 1))]

    def add(self, columns: BlockColumns, is_chosen: Bool) -> None:
        """Add the samples of some profiles.

        Args:
            columns: profiles, of one block or many.
            is_chosen: bool[rows], which of them.
        """
        rows = columns.rows
        place = np.flatnonzero(np.repeat(is_chosen, np.diff(rows.sample_start)))
        names, code_of_line = distinct_names(columns.symbols)
        code, parent, last = frames_of(columns.symbols, code_of_line)
        # Frame 0 is the root of everything.
        leaf = last.take(rows.stack.take(place)) + 1
        own = add_up(leaf, rows.value.take(place), len(code) + 1)
        code, parent = np.append(-1, code), np.append(-1, parent + 1)
        kept = _with_callers(np.unique(leaf), parent)
        number = np.cumsum(kept, dtype=np.int64) - 1
        parent, code, own = parent.compress(kept), code.compress(kept), own.gather(np.flatnonzero(kept))
        parent[1:] = number.take(parent[1:])
        used = np.unique(code.compress(code >= 0))
        global_code = np.full(len(names) + 1, -1, dtype=np.int64)
        texts = names.take(used).to_pylist()
        # A function whose name is empty has none.
        global_code[used] = [self._number.setdefault(text, len(self._number)) if text else -1 for text in texts]
        self._parts.append(_merge([_Part(parent, global_code.take(code), own)]))
        sizes = [len(part.parent) for part in self._parts]
        if sum(sizes) > max(_NODES, _GROWTH * sizes[0]):
            self._parts = [_merge(self._parts)]

    def finish(self) -> CallTree:
        """The tree of all that was added.

        Raises:
            ValueOverflow: the values do not fit 64 bits.
        """
        whole = _merge(self._parts)
        if int(whole.own.abs().sum()) >= _LIMIT:
            raise ValueOverflow("the sum of these profiles does not fit 64 bits; choose fewer hours or fewer profiles")
        return tree_of(list(self._number), whole.parent, whole.code, whole.own.cast(pl.Int64).to_numpy())


def tree_of(names: list[str], parent: I64, code: I64, own: I64) -> CallTree:
    """The tree of merged nodes, level by level: see `merge_equal`; the names' codes and own values are per node."""
    start, end = number_in_preorder(parent)
    depth = path_depths(find_runs(parent)) - 1
    ids = _path_ids(parent, code, depth, _hash([*names, ""]))
    return CallTree(names, parent, code, depth, own, sums_below(own, start, end), ids, start, end)


def sums_below(own: I64, start: I64, end: I64) -> I64:
    """int64[n], what a node and all below it have, by the intervals that `number_in_preorder` gives them."""
    in_order = np.zeros(len(own) + 1, dtype=np.int64)
    in_order[start + 1] = own
    running = np.cumsum(in_order)
    return running.take(end) - running.take(start)


@dataclass(slots=True)
class _Part:
    """A tree whose first node is the root: parents (before their children), codes of names, own values."""

    parent: I64
    code: I64
    own: pl.Series


def _with_callers(node: I64, parent: I64) -> Bool:
    """bool[n]: these nodes, all above them, and the root."""
    kept = np.zeros(len(parent), dtype=np.bool_)
    kept[0] = True
    while len(node):
        node = node.compress(~kept.take(node))
        kept[node] = True
        node = np.unique(parent.take(node))
    return kept


def _merge(parts: Sequence[_Part]) -> _Part:
    """One tree in which no two children of a node have the same name, level by level."""
    begin = np.cumsum([0, *(len(part.parent) for part in parts)]).tolist()
    parent = np.concatenate(
        [np.where(part.parent < 0, -1, part.parent + at) for part, at in zip(parts, begin, strict=False)]
    )
    code = np.concatenate([part.code for part in parts])
    own = pl.concat([part.own for part in parts])
    parent, code, node = merge_equal(parent, code)
    return _Part(parent, code, add_up(node, own, len(parent)))


def merge_equal(parent: I64, code: I64) -> tuple[I64, I64, I64]:
    """Trees as one, whose node 0 is all their roots, and in which equal children of a node are one.

    Args:
        parent: int64[n], -1 for roots; parents precede children.
        code: int64[n], what makes children equal; from -2 on.

    Returns:
        int64[m] parents and codes, level by level (the root's are -1), and int64[n], the new node of each.
    """
    depth = path_depths(find_runs(parent))
    order = np.argsort(depth, kind="stable")
    bounds = np.searchsorted(depth.take(order), np.arange(1, int(depth.max(initial=0)) + 2)).tolist()
    node = np.zeros(len(parent), dtype=np.int64)
    parents, codes = [np.full(1, -1, dtype=np.int64)], [np.full(1, -1, dtype=np.int64)]
    size = 1
    for first, end in pairwise(bounds[1:]):
        level = order[first:end]
        key = (node.take(parent.take(level)) << 32) | (code.take(level) + 2)
        distinct, inverse = np.unique(key, return_inverse=True)
        node[level] = size + inverse
        parents.append(distinct >> 32)
        codes.append((distinct & 0xFFFF_FFFF) - 2)
        size += len(distinct)
    return np.concatenate(parents), np.concatenate(codes), node


def lay_over(
    first: tuple[list[str], I64, I64], second: tuple[list[str], I64, I64]
) -> tuple[list[str], I64, I64, I64, I64]:
    """Two trees as one, see `merge_equal`; each has names, parents and codes, of which those below 0 are no names.

    Returns:
        Names, parents and codes of the whole, and the new node of each node of the first and of the second.
    """
    names, number = numbered([*first[0], *second[0]])
    tables = np.split(number, [len(first[0])])
    # What stands for no name is found from the end.
    codes = [
        np.append(table, (-2, -1)).take(one[2], mode="wrap") for table, one in zip(tables, (first, second), strict=True)
    ]
    size = len(first[1])
    shifted = np.where(second[1] < 0, -1, second[1] + size)
    parent, code, place = merge_equal(np.concatenate([first[1], shifted]), np.concatenate(codes))
    return names, parent, code, place[:size], place[size:]


def add_up(code: I64, value: I64 | pl.Series, size: int) -> pl.Series:
    """Exact sums (Int128) per code, 0 <= code < size."""
    sums = pl.DataFrame({"code": code, "value": value}).group_by("code").agg(pl.col("value").cast(pl.Int128).sum())
    every = pl.DataFrame({"code": np.arange(size, dtype=np.int64)})
    return every.join(sums, on="code", how="left", maintain_order="left")["value"].fill_null(0)


def _hash(names: Sequence[str]) -> U64:
    data = b"".join(blake2b(name.encode("utf-8", "surrogatepass"), digest_size=8).digest() for name in names)
    return np.frombuffer(data, dtype="<u8").astype(np.uint64)


def _child_id(above: U64, name: U64) -> U64:
    """Modulo 2**64, as unsigned arrays compute."""
    mixed = (above ^ (above >> np.uint64(30))) * _MIX[0] + name
    mixed = (mixed ^ (mixed >> np.uint64(27))) * _MIX[1]
    return mixed ^ (mixed >> np.uint64(31))


def _path_ids(parent: I64, code: I64, depth: I64, hashes: U64) -> U64:
    """The last of the hashes is that of no name."""
    ids = np.zeros(len(parent), dtype=np.uint64)
    bounds = np.searchsorted(depth, np.arange(int(depth.max()) + 2)).tolist()
    for first, end in pairwise(bounds[1:]):
        ids[first:end] = _child_id(ids.take(parent[first:end]), hashes.take(code[first:end]))
    return ids
