"""Trees of stack traces: nodes as (parent, location), many trees at once.

Two nodes make a group of `group_varint`: zig-zag of (parent - the node before's parent), location, twice; an odd
last node is completed by zeros. Node 0 is the root with parent -1, and parents precede children. Here stand both
directions and the checks that make a tree safe to walk; what a location is does not concern this module.
"""

from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np

from pyro_assets.block.columns import I64
from pyro_assets.block.symbols import group_varint
from pyro_assets.errors import BadCount, BadEncoding, BadIndex, BlockError, Unwritable, Where

Place = tuple[Where, int]

_BATCH_BYTES: Final = 1 << 18
_WRITING: Final = Where(section="symbols")


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
    node_start = np.zeros(len(nodes) + 1, dtype=np.int64)
    np.cumsum(nodes, dtype=np.int64, out=node_start[1:])
    parent = np.empty(int(node_start[-1]), dtype=np.int64)
    location = np.empty(int(node_start[-1]), dtype=np.int64)
    for units in _batches(chunks):
        bounds = slice(units.start, units.stop + 1)
        rows = slice(int(node_start[units.start]), int(node_start[units.stop]))
        pairs = _decode_pairs(chunks[units], np.diff(node_start[bounds]), places[units])
        _resolve(pairs, node_start[bounds], location_start[bounds], parent[rows], location[rows], places[units])
    return node_start, parent, location


def _batches(chunks: Sequence[bytes | memoryview]) -> Iterator[slice]:
    """Cut the units so that a batch's arrays stay in the processor's cache, which a large job's would not."""
    begin = total = 0
    for unit, chunk in enumerate(chunks, start=1):
        total += len(chunk)
        if total >= _BATCH_BYTES:
            yield slice(begin, unit)
            begin, total = unit, 0
    if begin < len(chunks):
        yield slice(begin, len(chunks))


def _decode_pairs(chunks: Sequence[bytes | memoryview], count: I64, places: Sequence[Place]) -> group_varint.U32:
    """Both numbers of every node, uint32[n, 2], padding left out."""
    try:
        data, groups, group_start = group_varint.split(chunks)
    except group_varint.BadStreamError as error:
        where, offset = places[error.stream]
        raise BadEncoding(f"stack-trace chunk: {error.why}", where, offset=offset) from None
    actual = np.diff(group_start)
    wrong = actual != (count + 1) >> 1
    if wrong.any():
        unit = int(np.flatnonzero(wrong)[0])
        where, offset = places[unit]
        raise BadCount(
            "number of nodes in the stack-trace chunk",
            where,
            offset=offset,
            expected=int(count[unit]),
            actual=f"{int(actual[unit])} groups of two",
        )
    pairs = group_varint.decode(data, groups).reshape(-1, 2)
    odd = np.flatnonzero(count & 1)
    if not len(odd):
        return pairs
    begin = 2 * group_start[:-1]
    end = begin + count
    padding = pairs.take(end.take(odd), axis=0)
    if padding.any():
        where, offset = places[int(odd[padding.any(axis=1)][0])]
        raise BadEncoding("padding of the stack-trace chunk", where, offset=offset, expected=0)
    return np.concatenate([pairs[i:j] for i, j in zip(begin.tolist(), end.tolist(), strict=True)])


def _resolve(
    pairs: group_varint.U32,
    node_start: I64,
    location_start: I64,
    parent: I64,
    location: I64,
    places: Sequence[Place],
) -> None:
    """Fill in `parent` and `location` of the nodes of some units and check them."""
    count = np.diff(node_start)
    first = node_start[:-1] - node_start[0]
    occupied = count > 0
    root = first[occupied]
    if not len(root):
        return
    # Undo the zig-zag, then the differences of all trees in one running sum, which counts from each tree's first row
    # when what was summed up before that tree is replaced by the row.
    zigzag = pairs[:, 0]
    sign = zigzag & np.uint32(1)
    np.negative(sign, out=sign)
    sign ^= zigzag >> np.uint32(1)
    np.cumsum(sign.view(np.int32), dtype=np.int64, out=parent)
    before = np.where(first > 0, parent.take(first - 1, mode="clip"), 0)
    parent += np.repeat(node_start[:-1] - before, count)
    # Roots stand one row before their tree; with them out of the way, no other node may.
    row = node_start[:-1][occupied]
    is_wrong_root = parent.take(root) != row - 1
    is_late = parent >= np.arange(node_start[0], node_start[-1], dtype=np.int64)
    parent[root] = row
    is_early = np.minimum.reduceat(parent, root) < row
    if is_wrong_root.any() or is_early.any() or is_late.any():
        own = parent - np.repeat(node_start[:-1], count)
        is_late |= own < 0
        is_late[root] = is_wrong_root
        raise _bad_node("parent of a node", is_late, node_start, own, places)
    parent[root] = -1
    location[:] = pairs[:, 1]
    location[root] = 0
    limit = np.diff(location_start)
    if ((np.maximum.reduceat(location, root) >= limit[occupied]) & (count[occupied] > 1)).any():
        beyond = location >= np.repeat(limit, count)
        beyond[root] = False
        raise _bad_node("location of a node", beyond, node_start, location, places, limit)
    location += np.repeat(location_start[:-1], count)
    location[root] = -1


def _bad_node(
    what: str, wrong: np.ndarray, node_start: I64, value: np.ndarray, places: Sequence[Place], limit: I64 | None = None
) -> BlockError:
    row = int(np.flatnonzero(wrong)[0])
    unit = int(np.searchsorted(node_start - node_start[0], row, side="right")) - 1
    node = row - int(node_start[unit] - node_start[0])
    where, offset = places[unit]
    expected = f"0 to {node - 1}" if node else "-1, the root"
    if limit is not None:
        expected = f"below {int(limit[unit])}"
    return BadIndex(f"{what} ({node})", where, offset=offset, expected=expected, actual=int(value[row]))


def encode_trees(node_start: I64, location_start: I64, parent: I64, location: I64) -> list[bytes]:
    """Encode one tree per unit.

    Args:
        node_start: int64[u + 1], the nodes of unit i are node_start[i]:node_start[i + 1].
        location_start: int64[u + 1].
        parent: int64[n], rows of the nodes, -1 for roots.
        location: int64[n], rows of the locations; those of roots do not matter.

    Returns:
        u chunks.

    Raises:
        Unwritable: a node that does not follow its parent in the same unit, a first node that is no root, a location
            of another unit.
    """
    count = np.diff(node_start)
    root = node_start[:-1][count > 0]
    own_location = location - np.repeat(location_start[:-1], count)
    own_location[root] = 0
    # The location of a root is written as 0 even where there is none.
    limit = np.repeat(np.maximum(np.diff(location_start), count == 1), count)
    if (own_location.view(np.uint64) >= limit.view(np.uint64)).any():
        raise Unwritable("location of a node", _WRITING, expected="a location of the node's unit")
    own_parent = parent - np.repeat(node_start[:-1], count)
    node = np.arange(len(parent), dtype=np.int64)
    if (parent >= node).any() or np.count_nonzero(own_parent < 0) != len(root) or (parent.take(root) != -1).any():
        raise Unwritable("parent of a node", _WRITING, expected="an earlier node of the same unit, -1 for the first")
    own_parent[root] = -1
    delta = own_parent.copy()
    delta[1:] -= own_parent[:-1]
    delta[root] = -1
    groups = (count + 1) >> 1
    group_start = np.zeros(len(count) + 1, dtype=np.int64)
    np.cumsum(groups, out=group_start[1:])
    numbers = np.zeros((2 * int(group_start[-1]), 2), dtype=np.uint32)
    zigzag = (delta << 1) ^ (delta >> 63)
    targets = (2 * group_start[:-1]).tolist()
    for begin, length, target in zip(node_start[:-1].tolist(), count.tolist(), targets, strict=True):
        numbers[target : target + length, 0] = zigzag[begin : begin + length]
        numbers[target : target + length, 1] = own_location[begin : begin + length]
    return group_varint.encode(numbers.reshape(-1, 4), group_start)


def count_leaves(node_start: I64, parent: I64) -> I64:
    """Nodes of each unit that are no root and no other node's parent."""
    is_leaf = parent >= 0
    is_leaf[parent[is_leaf]] = False
    leaves = np.zeros(len(parent) + 1, dtype=np.int64)
    np.cumsum(is_leaf, out=leaves[1:])
    return np.diff(leaves.take(node_start))
