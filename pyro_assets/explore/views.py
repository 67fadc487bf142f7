"""Other views of call trees: around one function (callers and callees), two laid over each other, stacks as text.

Add a view that is made of whole trees here. How it is drawn is not known.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np

from pyro_assets.block.columns import I64
from pyro_assets.explore.call_tree import CallTree, lay_over, merge_equal, tree_of

#: Shares are counted in so many parts.
WHOLE: Final = 1_000_000_000


def callees(tree: CallTree, function: str) -> CallTree:
    """What a function calls, wherever it is called: its subtrees as one, whose root it is."""
    roots = _outermost(tree, function)
    kept = np.flatnonzero(tree.below(roots))
    number = np.full(len(tree.parent), -1, dtype=np.int64)
    number[kept] = np.arange(len(kept), dtype=np.int64)
    parent = number.take(np.maximum(tree.parent.take(kept), 0))
    parent[number.take(roots)] = -1
    return _merged(tree.names, parent, tree.name.take(kept), tree.own.take(kept))


def callers(tree: CallTree, function: str) -> CallTree:
    """Who calls a function, wherever: the paths to it, from it upwards, as one tree whose root it is.

    A node's total is what the function has on the paths through it; its own value, where it is the outermost frame.
    """
    node = _outermost(tree, function)
    parts_parent, parts_code, parts_own = [np.full(len(node), -1, dtype=np.int64)], [tree.name.take(node)], []
    weight, above, size = tree.total.take(node), tree.parent.take(node), len(node)
    place = np.arange(len(node), dtype=np.int64)
    while len(node):
        goes_on = above > 0
        parts_own.append(np.where(goes_on, 0, weight))
        weight, node, place = weight.compress(goes_on), above.compress(goes_on), place.compress(goes_on)
        parts_parent.append(place)
        parts_code.append(tree.name.take(node))
        place, size = np.arange(size, size + len(node), dtype=np.int64), size + len(node)
        above = tree.parent.take(node)
    own = np.concatenate([*parts_own, np.zeros(0, dtype=np.int64)])
    return _merged(tree.names, np.concatenate(parts_parent), np.concatenate(parts_code), own)


@dataclass(frozen=True, slots=True)
class Compared:
    """Two trees laid over each other.

    Attributes:
        tree: of shares: a node's total is its share of the first tree and its share of the second, in parts of WHOLE.
        first, second: int64[n], per node its share of each tree, in the same parts.
    """

    tree: CallTree
    first: I64
    second: I64


def compare(first: CallTree, second: CallTree) -> Compared:
    """Lay two trees over each other; what they amount to may differ, so shares are compared."""
    names, parent, code, *places = lay_over(
        (first.names, first.parent, first.name), (second.names, second.parent, second.name)
    )
    sides = []
    for one, its in zip((first, second), places, strict=True):
        own = np.zeros(len(parent), dtype=np.int64)
        whole = int(one.total[0])
        shares = np.rint(one.own * (WHOLE / whole)).astype(np.int64) if whole else np.zeros(len(its), dtype=np.int64)
        np.add.at(own, its, shares)
        sides.append(tree_of(names, parent, code, own))
    return Compared(tree_of(names, parent, code, sides[0].own + sides[1].own), sides[0].total, sides[1].total)


def folded(tree: CallTree) -> Iterator[str]:
    """Stacks as lines `outermost;...;innermost value`, as flamegraph.pl and speedscope read them."""
    texts = ["(no function)" if not name else name.replace(";", ":").replace("\n", " ") for name in tree.names]
    paths = [""] * len(tree.parent)
    values = zip(tree.parent.tolist(), tree.name.tolist(), tree.own.tolist(), strict=True)
    for node, (parent, code, own) in enumerate(values):
        if node:
            text = texts[code] if code >= 0 else "(no function)"
            paths[node] = f"{paths[parent]};{text}" if parent else text
        if own:
            yield f"{paths[node] or '(no stack)'} {own}\n"


def _outermost(tree: CallTree, function: str) -> I64:
    code = tree.names.index(function) if function in tree.names else -2
    return tree.outermost(np.flatnonzero(tree.name == code))


def _merged(names: list[str], parent: I64, code: I64, own: I64) -> CallTree:
    """A tree of subtrees with one root: their roots, whose children are put together."""
    merged_parent, merged_code, place = merge_equal(parent, code)
    merged_own = np.zeros(len(merged_parent), dtype=np.int64)
    np.add.at(merged_own, place, own)
    return tree_of(names, merged_parent, merged_code, merged_own)
