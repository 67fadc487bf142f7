"""Call trees of names as columns: unnamed frames left out, small nodes cut, two trees laid one over the other.

Add what is done to whole trees here. How a tree is shown (`flame_graph`) and where its profiles come from are not
known; nothing here loops over nodes.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np

from pyro_assets.block.columns import I64, Bool
from pyro_assets.block.symbols.paths import find_runs, path_sums
from pyro_assets.explore.call_tree import CallTree, lay_over, merge_equal, sums_below
from pyro_assets.explore.functions import number_in_preorder

#: What stands for the nodes that were cut.
OTHER: Final = "other"
#: Its code: none of a name, and not that of the root.
OTHER_CODE: Final = -2


@dataclass(slots=True)
class Stacks:
    """A tree in which no two children of a node have the same name; node 0 is the root, which has none.

    Attributes:
        names: of functions.
        parent: int64[n], -1 for the root; parents precede children.
        code: int64[n], positions in `names`; -1 for the root, OTHER_CODE for what was cut.
        own, total: int64[n, sides]: of samples that end there, and of those that pass; one side, or two of a diff.
    """

    names: list[str]
    parent: I64
    code: I64
    own: I64
    total: I64

    def texts(self) -> list[str]:
        """The name of every node, "" for the root."""
        return [OTHER if code == OTHER_CODE else self.names[code] if code >= 0 else "" for code in self.code.tolist()]


def named(tree: CallTree) -> Stacks:
    """A merged tree without frames that have no function; stacks without any are left out altogether."""
    parent, code, own = tree.parent, tree.name.copy(), tree.own.copy()
    code[0] = -1
    own[0] = 0
    is_unnamed = code < 0
    is_unnamed[0] = False
    if is_unnamed.any():
        every = np.arange(len(parent), dtype=np.int64)
        above = np.where(is_unnamed, parent, every)
        while True:
            further = above.take(above)
            if np.array_equal(further, above):
                break
            above = further
        kept = np.flatnonzero(~is_unnamed)
        number = np.full(len(parent), -1, dtype=np.int64)
        number[kept] = np.arange(len(kept), dtype=np.int64)
        moved = np.zeros(len(kept), dtype=np.int64)
        np.add.at(moved, number.take(above), own)
        moved[0] = 0
        up = number.take(above.take(np.maximum(parent.take(kept), 0)))
        up[0] = -1
        parent, code, place = merge_equal(up, code.take(kept))
        own = np.zeros(len(parent), dtype=np.int64)
        np.add.at(own, place, moved)
    return Stacks(tree.names, parent, code, own[:, None], totals(parent, own)[:, None])


def over(left: Stacks, right: Stacks) -> Stacks:
    """Two trees as one with two sides."""
    names, parent, code, *places = lay_over(
        (left.names, left.parent, left.code), (right.names, right.parent, right.code)
    )
    own, total = (np.zeros((len(parent), 2), dtype=np.int64) for _ in range(2))
    for side, (one, its) in enumerate(zip((left, right), places, strict=True)):
        own[its, side], total[its, side] = one.own[:, 0], one.total[:, 0]
    return Stacks(names, parent, code, own, total)


def cut(stacks: Stacks, max_nodes: int) -> Stacks:
    """The tree without nodes that are smaller than the largest `max_nodes`; what a node loses is its child "other".

    Equal nodes at the border all stay. Of a diff the larger side counts.
    """
    kept, lost, holders = cut_nodes(stacks.parent, stacks.total, max_nodes)
    if not len(holders):
        return stacks
    number = np.cumsum(kept, dtype=np.int64) - 1
    return Stacks(
        stacks.names,
        np.concatenate([[-1], number.take(stacks.parent.compress(kept)[1:]), number.take(holders)]),
        np.append(stacks.code.compress(kept), np.full(len(holders), OTHER_CODE)),
        np.concatenate([stacks.own.compress(kept, axis=0), lost]),
        np.concatenate([stacks.total.compress(kept, axis=0), lost]),
    )


def cut_nodes(parent: I64, total: I64, max_nodes: int) -> tuple[Bool, I64, I64]:
    """Which nodes stay (see `cut`).

    Args:
        parent: int64[n]; node 0 is the root, which always stays.
        total: int64[n, sides].
        max_nodes: 0 for all.

    Returns:
        bool[n]; int64[h, sides], what is lost below nodes that stay; int64[h], these nodes.
    """
    weight = total.max(axis=1)
    kept = np.ones(len(parent), dtype=np.bool_)
    if 0 < max_nodes < len(parent) - 1:
        least = np.partition(weight[1:], len(parent) - 1 - max_nodes)[len(parent) - 1 - max_nodes]
        is_small = weight < least
        is_small[0] = False
        kept = path_sums(find_runs(parent), is_small.astype(np.int64)) == 0
    border = np.flatnonzero(~kept)
    border = border.compress(kept.take(parent.take(border)))
    holders, place = np.unique(parent.take(border), return_inverse=True)
    lost = np.zeros((len(holders), total.shape[1]), dtype=np.int64)
    np.add.at(lost, place, total.take(border, axis=0))
    return kept, lost, holders


def totals(parent: I64, own: I64) -> I64:
    """int64[n], of every node and all below it.

    >>> totals(np.array([-1, 0, 1, 0]), np.array([1, 2, 4, 8])).tolist()
    [15, 6, 4, 8]
    """
    return sums_below(own, *number_in_preorder(parent))
