"""Sums along the path from the root to every node of parent-pointer trees, without a loop over nodes.

Add other whole-tree computations here; what the sums mean (hashes, depths, functions on a stack) stays with the
callers. Idea: parents precede children and most nodes follow their parent directly, so nodes fall into runs; inside
a run a path sum is a cumulative sum, and only the far fewer run starts are resolved by pointer doubling.
"""

from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from pyro_assets.block.columns import I64

Number = TypeVar("Number", np.int64, np.uint64)


@dataclass(frozen=True, slots=True)
class Runs:
    """Nodes cut into runs in which every node but the first is the child of the node before it.

    Attributes:
        start: int64[r], first node of each run, ascending.
        run_of_node: int64[n].
        parent_node: int64[r], parent of each run's first node (the first node itself for roots).
        parent_run: int64[r], the run of that parent (the run itself for roots).
        is_root: bool[r].
    """

    start: I64
    run_of_node: I64
    parent_node: I64
    parent_run: I64
    is_root: npt.NDArray[np.bool_]


def find_runs(parent: I64) -> Runs:
    """Cut trees into runs.

    Args:
        parent: int64[n], absolute parent of each node, -1 for roots; parents precede children.
    """
    nodes = len(parent)
    is_start = parent != np.arange(-1, nodes - 1, dtype=np.int64)
    if nodes:
        is_start[0] = True  # the first root's -1 equals 0 - 1
    start = np.flatnonzero(is_start)
    run_of_node = np.cumsum(is_start, dtype=np.int64)
    run_of_node -= 1
    parent_node = parent.take(start)
    is_root = parent_node < 0
    parent_node = np.where(is_root, start, parent_node)
    return Runs(start, run_of_node, parent_node, run_of_node.take(parent_node), is_root)


def path_depths(runs: Runs) -> I64:
    """Number of nodes on every node's path, itself included: 1 for roots.

    >>> path_depths(find_runs(np.array([-1, 0, 1, 0, -1, 4], dtype=np.int64))).tolist()
    [1, 2, 3, 2, 1, 2]
    """
    base = runs.parent_node - runs.start.take(runs.parent_run) + 1
    base[runs.is_root] = 0
    base = _sum_to_root(runs, base)
    depth = (base - runs.start).take(runs.run_of_node)
    depth += np.arange(1, len(depth) + 1, dtype=np.int64)
    return depth


def path_sums(runs: Runs, weight: npt.NDArray[Number]) -> npt.NDArray[Number]:
    """Sum of `weight` over every node's path, root and node included, modulo 2**64.

    Args:
        runs: the trees' runs.
        weight: [n] int64 or uint64; the root's weight is part of every sum.

    >>> parent = np.array([-1, 0, 1, 0, -1, 4], dtype=np.int64)
    >>> path_sums(find_runs(parent), np.ones(6, dtype=np.int64)).tolist()
    [1, 2, 3, 2, 1, 2]
    """
    if not len(weight):
        return weight.copy()
    total = np.cumsum(weight, dtype=weight.dtype)
    before_run = total.take(runs.start) - weight.take(runs.start)  # what the cumulative sum had before the run began
    # The sum from the run's first node to the parent that the next run hangs on, added up run by run to the root.
    base = total.take(runs.parent_node) - before_run.take(runs.parent_run)
    base[runs.is_root] = 0
    base = _sum_to_root(runs, base)
    total += (base - before_run).take(runs.run_of_node)
    return total


def _sum_to_root(runs: Runs, step: npt.NDArray[Number]) -> npt.NDArray[Number]:
    """Add up each run's step and those of the runs it hangs on, to the root, whose own must be 0."""
    hop = runs.parent_run
    while True:
        further = hop.take(hop)
        step = step + step.take(hop)
        if np.array_equal(further, hop):
            return step
        hop = further
