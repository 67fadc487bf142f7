"""Trees of stack traces: nodes as (parent, location), many trees at once.

Two nodes make a group of `group_varint`: zig-zag of (parent - the node before's parent), location, twice; an odd
last node is completed by zeros. Node 0 is the root with parent -1, and parents precede children. Here stand both
directions and the checks that make a tree safe to walk; what a location is does not concern this module.
"""

from collections.abc import Sequence

import numpy as np

from pyro_assets.block.columns import I64
from pyro_assets.block.symbols import group_varint
from pyro_assets.errors import BadCount, BadEncoding, BadIndex, BlockError, Where

Place = tuple[Where, int]


def decode_trees(
    chunks: Sequence[bytes | memoryview], nodes: Sequence[int], location_start: I64, places: Sequence[Place]
) -> tuple[I64, I64, I64]:
    """Decode and check one tree per unit.

    Args:
        chunks: u encoded trees.
        nodes: their numbers of nodes.
        location_start: int64[u + 1], the locations of unit i are location_start[i]:location_start[i + 1].
        places: u places (with the chunk's offset in its section), for messages.

    Returns:
        node_start int64[u + 1]; parent int64[n], rows of the nodes, -1 for roots; location int64[n], rows of the
        locations, -1 for roots.

    Raises:
        BadEncoding: a chunk is no sequence of groups, or padding is not zero.
        BadCount: it holds another number of nodes.
        BadIndex: a node whose parent does not precede it, a first node that is no root, a location out of range.
    """
    try:
        numbers, group_start = group_varint.decode(chunks)
    except group_varint.BadStreamError as error:
        where, offset = places[error.stream]
        raise BadEncoding(f"stack-trace chunk: {error.why}", where, offset=offset) from None
    count = np.array(nodes, dtype=np.int64)
    node_start = np.zeros(len(count) + 1, dtype=np.int64)
    np.cumsum(count, out=node_start[1:])
    groups = np.diff(group_start)
    if not np.array_equal(groups, (count + 1) >> 1):
        unit = int(np.flatnonzero(groups != (count + 1) >> 1)[0])
        where, offset = places[unit]
        raise BadCount(
            "number of nodes in the stack-trace chunk",
            where,
            offset=offset,
            expected=int(count[unit]),
            actual=f"{int(groups[unit])} groups of two",
        )
    pairs = numbers.reshape(-1, 2)
    # Undo the zig-zag, then the differences of all trees in one running sum.
    zigzag = pairs[:, 0]
    delta = ((zigzag >> np.uint32(1)) ^ (np.uint32(0) - (zigzag & np.uint32(1)))).view(np.int32)
    running = np.cumsum(delta, dtype=np.int64)
    pair_start = 2 * group_start[:-1]
    before = np.where(pair_start > 0, running.take(pair_start - 1, mode="clip"), 0) if len(running) else pair_start
    location = pairs[:, 1]
    odd = np.flatnonzero(count & 1)
    if len(odd):
        padding = pair_start.take(odd) + count.take(odd)
        if pairs.take(padding, axis=0).any():
            unit = int(odd[pairs.take(padding, axis=0).any(axis=1)][0])
            where, offset = places[unit]
            raise BadEncoding("padding of the stack-trace chunk", where, offset=offset, expected=0)
        bounds = list(zip(pair_start.tolist(), (pair_start + count).tolist(), strict=True))
        running = np.concatenate([running[begin:end] for begin, end in bounds])
        location = np.concatenate([location[begin:end] for begin, end in bounds])
    first = np.repeat(node_start[:-1], count)
    parent = running
    parent -= np.repeat(before - node_start[:-1], count)
    root = node_start[:-1][count > 0]
    # Roots are the nodes whose parent is the row before their tree's first; any other such node is an error.
    is_wrong = (parent < first) | (parent >= np.arange(len(parent), dtype=np.int64))
    if np.count_nonzero(is_wrong) != len(root) or (parent.take(root) != root - 1).any():
        is_wrong[root] = parent.take(root) != root - 1
        raise _bad_node("parent of a node", is_wrong, node_start, parent - first, places)
    limit = np.diff(location_start)
    beyond = location >= np.repeat(limit, count)
    beyond[root] = False
    if beyond.any():
        raise _bad_node("location of a node", beyond, node_start, location, places, limit)
    row = np.add(location, np.repeat(location_start[:-1], count), dtype=np.int64)
    parent[root] = -1
    row[root] = -1
    return node_start, parent, row


def _bad_node(
    what: str, wrong: np.ndarray, node_start: I64, value: np.ndarray, places: Sequence[Place], limit: I64 | None = None
) -> BlockError:
    row = int(np.flatnonzero(wrong)[0])
    unit = int(np.searchsorted(node_start, row, side="right")) - 1
    node = row - int(node_start[unit])
    where, offset = places[unit]
    expected = f"0 to {node - 1}" if node else "-1, the root"
    if limit is not None:
        expected = f"below {int(limit[unit])}"
    return BadIndex(f"{what} ({node})", where, offset=offset, expected=expected, actual=int(value[row]))


def encode_trees(node_start: I64, parent: I64, location: I64) -> list[bytes]:
    """Encode one tree per unit.

    Args:
        node_start: int64[u + 1].
        parent: int64[n], counted from the tree's first node, -1 for roots.
        location: int64[n], counted from the unit's first location, 0 for roots.

    Returns:
        u chunks.
    """
    count = np.diff(node_start)
    groups = (count + 1) >> 1
    group_start = np.zeros(len(count) + 1, dtype=np.int64)
    np.cumsum(groups, out=group_start[1:])
    delta = np.empty(len(parent), dtype=np.int64)
    delta[:1] = parent[:1]
    np.subtract(parent[1:], parent[:-1], out=delta[1:])
    first = node_start[:-1][count > 0]
    delta[first] = parent.take(first)
    pairs = np.zeros((2 * int(group_start[-1]), 2), dtype=np.uint32)
    zigzag = (delta << 1) ^ (delta >> 63)
    if (count & 1).any():
        begins = zip(node_start[:-1].tolist(), count.tolist(), (2 * group_start[:-1]).tolist(), strict=True)
        for begin, length, target in begins:
            pairs[target : target + length, 0] = zigzag[begin : begin + length]
            pairs[target : target + length, 1] = location[begin : begin + length]
    else:
        pairs[:, 0] = zigzag
        pairs[:, 1] = location
    return group_varint.encode(pairs.reshape(-1, 4), group_start)
