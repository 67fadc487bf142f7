"""Trees as the original's clients draw them: levels of a flame graph, of a diff, and the bytes of a tree.

Siblings stand by name, what was cut last; a node's children begin where its own part ends. Add another drawing here;
trees are made in `stacks`.
"""

from itertools import pairwise
from typing import Final

import numpy as np

from pyro_assets.block.columns import I64
from pyro_assets.block.symbols.paths import find_runs, path_depths, path_sums
from pyro_assets.explore.functions import number_in_preorder
from pyro_assets.explore.pyroscope.messages.querier_pb2 import FlameGraph, FlameGraphDiff, Level
from pyro_assets.explore.pyroscope.stacks import OTHER_CODE, Stacks

_ROOT: Final = "total"


def flame_graph(stacks: Stacks) -> FlameGraph:
    """A tree of one side."""
    names, levels = _drawn(stacks)
    return FlameGraph(
        names=names, levels=levels, total=int(stacks.total[0, 0]), max_self=int(stacks.own[:, 0].max(initial=0))
    )


def flame_graph_diff(stacks: Stacks) -> FlameGraphDiff:
    """A tree of two sides."""
    names, levels = _drawn(stacks)
    left, right = stacks.total[0].tolist()
    return FlameGraphDiff(
        names=names, levels=levels, total=left + right, max_self=int(stacks.own.max(initial=0)),
        leftTicks=left, rightTicks=right,
    )  # fmt: skip


def tree_bytes(stacks: Stacks) -> bytes:
    r"""A tree of one side, node after node, the last sibling first: length and bytes of the name, own value, children.

    >>> one = np.array([[0], [5]])
    >>> tree_bytes(Stacks(["main"], np.array([-1, 0]), np.array([-1, 0]), one, one))
    b'\x00\x00\x01\x04main\x05\x00'
    """
    _, last_first = _orders(stacks)
    order = np.argsort(last_first, kind="stable").tolist()
    children = np.bincount(stacks.parent[1:], minlength=len(stacks.parent)).tolist()
    texts, own = stacks.texts(), stacks.own[:, 0].tolist()
    found = bytearray()
    for node in order:
        name = texts[node].encode("utf-8", "replace")
        found += _varint(len(name)) + name + _varint(own[node]) + _varint(children[node])
    return bytes(found)


def _drawn(stacks: Stacks) -> tuple[list[str], list[Level]]:
    """Names in the order in which they are met, the last sibling first; and the levels from the root down."""
    first_first, last_first = _orders(stacks)
    runs = find_runs(stacks.parent)
    depth = path_depths(runs) - 1
    drawn = np.lexsort((first_first, depth))
    code, number = np.unique(stacks.code, return_inverse=True)
    seen = np.full(len(code), len(stacks.code), dtype=np.int64)
    np.minimum.at(seen, number, last_first)
    rank = np.empty(len(code), dtype=np.int64)
    met = np.argsort(seen)
    rank[met] = np.arange(len(code), dtype=np.int64)
    texts = stacks.texts()
    node_of = np.argsort(last_first)
    names = [_ROOT, *(texts[int(node_of[seen[one]])] for one in met[1:].tolist())]
    columns = []
    for side in range(stacks.own.shape[1]):
        own, total = stacks.own[:, side], stacks.total[:, side]
        before = _before(stacks.parent, first_first, total) + np.append(0, own.take(stacks.parent[1:]))
        begin = path_sums(runs, before).take(drawn)
        end = begin + total.take(drawn)
        offset = begin - np.append(0, end[:-1])
        level = depth.take(drawn)
        is_first = np.append(True, level[1:] != level[:-1])
        columns += [np.where(is_first, begin, offset), total.take(drawn), own.take(drawn)]
    table = np.stack([*columns, rank.take(number).take(drawn)], axis=1)
    bounds = np.searchsorted(depth.take(drawn), np.arange(int(depth.max()) + 2)).tolist()
    levels = [Level(values=table[begin:end].ravel().tolist()) for begin, end in pairwise(bounds)]
    return names, levels


def _orders(stacks: Stacks) -> tuple[I64, I64]:
    """Two numberings of the nodes from 0 on, parents before children: siblings by name, and the other way round."""
    place = {text: position for position, text in enumerate(sorted(stacks.names))}
    ranks = np.array([*(place[name] for name in stacks.names), len(place), -1], dtype=np.int64)
    rank = ranks.take(np.where(stacks.code == OTHER_CODE, len(place), np.where(stacks.code < 0, -1, stacks.code)))
    start, end = number_in_preorder(stacks.parent)
    runs = find_runs(stacks.parent)
    size = end - start
    found = [path_sums(runs, _before(stacks.parent, key, size) + (stacks.parent >= 0)) for key in (rank, -rank)]
    return found[0], found[1]


def _before(parent: I64, key: I64, amount: I64) -> I64:
    """int64[n], what the siblings before each node amount to, by rising key."""
    order = np.lexsort((key, parent))
    ordered = amount.take(order)
    before = np.cumsum(ordered) - ordered
    same = parent.take(order)
    is_first = np.append(True, same[1:] != same[:-1])
    found = np.empty(len(parent), dtype=np.int64)
    found[order] = before - before.compress(is_first).take(np.cumsum(is_first) - 1)
    return found


def _varint(number: int) -> bytes:
    number &= 0xFFFF_FFFF_FFFF_FFFF
    found = bytearray()
    while number > 0x7F:
        found.append(number & 0x7F | 0x80)
        number >>= 7
    found.append(number)
    return bytes(found)
