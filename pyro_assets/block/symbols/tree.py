"""Trees of stack traces: nodes as (parent, location), many trees at once.

Two nodes make a group of `group_varint`: zig-zag of (parent - the node before's parent), location, twice; an odd
last node is completed by zeros. Node 0 is the root with parent -1, and parents precede children. Here stand both
directions and the checks that make a tree safe to walk; what a location is does not concern this module.
"""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Final

import numpy as np

from pyro_assets.block.columns import I64, starts
from pyro_assets.block.symbols import group_varint
from pyro_assets.errors import BadCount, BadEncoding, BadIndex, BlockError, Unwritable, Where

Place = tuple[Where, int]

_BATCH_BYTES: Final = 1 << 19
_BATCH_NODES: Final = 1 << 14
_IS_NO_ROOT: Final = np.arange(_BATCH_NODES) > 0
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
    node_start = starts(nodes)
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
    bounds = zip(pairwise(node_start.tolist()), pairwise(location_start.tolist()), strict=True)
    return [
        _encode_tree(parent, location, first, last, first_location, last_location)
        for (first, last), (first_location, last_location) in bounds
    ]


def _encode_tree(parent: I64, location: I64, first: int, last: int, first_location: int, last_location: int) -> bytes:
    encoder = group_varint.GroupVarintWriter((last - first + 1) // 2)
    # In batches that fit the cache; a batch begins a group, so its size is even.
    for begin in range(first, last, _BATCH_NODES):
        end = min(begin + _BATCH_NODES, last)
        delta = parent[begin:end].copy()
        own_location = location[begin:end] - first_location
        # The least parent that a node may have, which roots do not.
        least = int(delta.min(initial=first, where=_IS_NO_ROOT[: end - begin]) if begin == first else delta.min())
        if least < first or (begin == first and delta[0] != -1):
            raise Unwritable("parent of a node", _WRITING, expected="-1 for the first node of a unit, for no other")
        if (delta >= np.arange(begin, end, dtype=np.int64)).any():
            raise Unwritable("parent of a node", _WRITING, expected="an earlier node")
        delta[1:] -= parent[begin : end - 1]
        if begin == first:
            # Rows count from the root here, from 0 in the bytes; the root's own parent is -1 in both.
            delta[1:2] -= first
            own_location[0] = 0
        else:
            delta[0] -= parent[begin - 1]
        limit = max(last_location - first_location, 1 if end - first == 1 else 0)
        if int(own_location.view(np.uint64).max()) >= limit:
            raise Unwritable("location of a node", _WRITING, expected="a location of the node's unit")
        numbers = np.zeros((end - begin + 1 & ~1, 2), dtype=np.uint32)
        numbers[: end - begin, 0] = (delta << 1) ^ (delta >> 63)
        numbers[: end - begin, 1] = own_location
        encoder.add(numbers.reshape(-1, 4))
    return encoder.finish()


def count_leaves(node_start: I64, parent: I64) -> I64:
    """Nodes of each unit that are no root and no other node's parent."""
    # The roots' -1 marks the place behind the last node.
    is_inner = np.zeros(len(parent) + 1, dtype=np.bool_)
    is_inner[parent] = True
    is_inner[node_start[:-1]] = True
    return np.array(
        [last - first - np.count_nonzero(is_inner[first:last]) for first, last in pairwise(node_start.tolist())],
        dtype=np.int64,
    )
