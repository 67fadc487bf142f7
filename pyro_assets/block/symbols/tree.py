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
from pyro_assets.errors import BadCount, BadEncoding, BadIndex, BlockError, Where

Place = tuple[Where, int]

_BATCH_BYTES: Final = 1 << 18


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
    # Undo the zig-zag, then the differences of all trees in one running sum.
    zigzag, own_location = pairs[:, 0], pairs[:, 1]
    delta = ((zigzag >> np.uint32(1)) ^ (np.uint32(0) - (zigzag & np.uint32(1)))).view(np.int32)
    running = np.zeros(len(delta) + 1, dtype=np.int64)
    np.cumsum(delta, dtype=np.int64, out=running[1:])
    base = np.repeat(node_start[:-1], count)
    # Counted from the tree's first node; as unsigned, -1 is beyond every node, so one comparison finds both errors.
    own_parent = running[1:]
    own_parent -= np.repeat(running.take(first), count)
    np.add(own_parent, base, out=parent)
    node = np.arange(node_start[0], node_start[-1], dtype=np.int64)
    node -= base
    is_wrong = own_parent.view(np.uint64) >= node.view(np.uint64)
    root = first[count > 0]
    if np.count_nonzero(is_wrong) != len(root) or (own_parent.take(root) != -1).any():
        is_wrong[root] = own_parent.take(root) != -1
        raise _bad_node("parent of a node", is_wrong, node_start, own_parent, places)
    limit = np.diff(location_start)
    beyond = own_location >= np.repeat(limit, count)
    beyond[root] = False
    if beyond.any():
        raise _bad_node("location of a node", beyond, node_start, own_location, places, limit)
    np.add(own_location, np.repeat(location_start[:-1], count), out=location)
    parent[root] = -1
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
