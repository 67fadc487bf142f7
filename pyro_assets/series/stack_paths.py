"""Which stacks hold given frames in a given order: `a;b;...;c`, caller to callee.

Here, too:
* the nodes of trees that have something wanted, as a smaller tree down which sets of bits are passed.

Frames of all stacks become one tree, in which inlined functions are frames of their own, and paths are followed in it
for all stacks at once. Which names belong to a part of a path is for `patterns` to say.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pyro_assets.block.columns import I32, I64, Bool, SymbolTables

Words = npt.NDArray[np.uint64]
#: Paths, each with its parts: numbers of sets of names, or -1 for a gap of any frames, which stands at neither end.
Paths = tuple[tuple[int, ...], ...]
_BITS_OF_WORD: Final = 64


@dataclass(slots=True)
class Hits:
    """The nodes of trees that have something wanted themselves, as a tree of their own.

    Attributes:
        anchor, hit_of_anchor: hit_of_anchor[anchor[n]] is the nearest hit at or above node n, the number of hits where
            there is none.
        above: int32[h], the nearest hit above each one; h stands for none.
    """

    anchor: I32
    hit_of_anchor: I32
    above: I32

    def at_or_above(self, node: I64) -> I32:
        """The nearest hit at or above nodes; h stands for none."""
        return self.hit_of_anchor.take(self.anchor.take(node))

    def pass_down(self, own: Words) -> Words:
        """uint64[h + 1, w]: the bits that stand at or above each hit; the last row is that of no hit.

        Args:
            own: uint64[h, w], the bits of each hit alone.
        """
        hits = len(self.above)
        held = np.zeros((hits + 1, own.shape[1]), dtype=np.uint64)
        held[:-1] = own
        hop = np.append(self.above, np.int32(hits))
        active = np.flatnonzero(self.above < hits)
        while len(active):
            ahead = hop.take(active)
            held[active] |= held.take(ahead, axis=0)
            ahead = hop.take(ahead)
            hop[active] = ahead
            active = active.compress(ahead < hits)
        return held


def find_hits(parent: I64, is_hit: Bool) -> Hits:
    """The tree of hits.

    Args:
        parent: int64[n], absolute parent of each node, -1 for roots; parents precede children.
        is_hit: bool[n].
    """
    is_anchor = is_hit | (parent != np.arange(-1, len(parent) - 1, dtype=np.int64))
    is_anchor[:1] = True
    anchor = np.cumsum(is_anchor, dtype=np.int32)
    anchor -= 1
    anchor_node = np.flatnonzero(is_anchor)
    parent = parent.take(anchor_node)
    above = anchor.take(np.maximum(parent, 0))
    above[parent < 0] = len(anchor_node)  # above the roots stands one more anchor, which holds nothing
    hit_of_anchor, above_hit = _nearest_hits(above, is_hit.take(anchor_node))
    return Hits(anchor, hit_of_anchor, above_hit)


def _nearest_hits(above: I32, is_hit: Bool) -> tuple[I32, I32]:
    """The nearest hit at or above each anchor, and the nearest one above each hit.

    Args:
        above: int32[k], the anchor above each one; k stands for none.
        is_hit: bool[k], anchors that have a wanted function themselves.

    Returns:
        int32[k] and int32[h], positions among the h hits; h stands for none.
    """
    anchors = len(above)
    nearest = np.append(np.where(is_hit, np.arange(anchors, dtype=np.int32), above), np.int32(anchors))
    is_end = np.append(is_hit, True)
    active = np.flatnonzero(~is_end.take(nearest))
    while len(active):
        ahead = nearest.take(nearest.take(active))
        nearest[active] = ahead
        active = active.compress(~is_end.take(ahead))
    number = np.cumsum(is_hit, dtype=np.int32)
    hits = number[-1]
    number -= 1
    number = np.append(number, hits)
    hit_of_anchor = number.take(nearest)
    return hit_of_anchor[:-1], hit_of_anchor.take(above.compress(is_hit))


def number_rows(words: Words) -> tuple[I32, npt.NDArray[np.uint8]]:
    """Equal rows get one number: int32[n], and uint8[distinct, 8 * w], the bytes of each number's row."""
    width = words.shape[1] * 8
    buffers = [None, pa.py_buffer(words)]
    encoded = pa.FixedSizeBinaryArray.from_buffers(pa.binary(width), len(words), buffers).dictionary_encode()
    distinct = np.frombuffer(encoded.dictionary.buffers()[1], dtype=np.uint8)[: len(encoded.dictionary) * width]
    return encoded.indices.to_numpy(), distinct.reshape(-1, width)


def find_paths(symbols: SymbolTables, code_of_line: I64, members: Bool, paths: Paths) -> tuple[I64, Bool]:
    """Follow paths, all at once: only frames that have a name of some path are looked at.

    Args:
        symbols: the tables; parents precede children.
        code_of_line: int64[lines], the number of each line's name, -1 without one.
        members: bool[sets, names].
        paths: p paths.

    Returns:
        int64[nodes], a number per node, and bool[numbers, p], which paths the stacks that end at such nodes hold.
    """
    code, parent, last = frames_of(symbols, code_of_line)
    part, name = np.divmod(np.flatnonzero(members.take(_parts(paths), axis=0)), max(members.shape[1], 1))
    order = np.argsort(name, kind="stable")
    part, name = part.take(order), name.take(order)
    begin = np.flatnonzero(np.append(True, name[1:] != name[:-1])[: len(name)])
    slot_of_name = np.full(members.shape[1] + 1, -1, dtype=np.int64)  # -1 finds the last
    slot_of_name[name.take(begin)] = np.arange(len(begin), dtype=np.int64)
    slot = slot_of_name.take(code)
    hits = np.flatnonzero(slot >= 0)
    if not len(hits):
        return np.zeros(len(last), dtype=np.int64), np.zeros((1, len(paths)), dtype=np.bool_)
    tree = find_hits(parent, slot >= 0)
    is_called_by_hit = np.append(slot >= 0, False).take(parent.take(hits))
    caller = np.where(is_called_by_hit, tree.above, np.int32(len(hits)))
    slot_of_hit = slot.take(hits)

    def of_hits(bits: Words) -> Words:
        return np.bitwise_or.reduceat(bits.take(part, axis=0), begin, axis=0).take(slot_of_hit, axis=0)

    held = _held(paths, of_hits, tree, caller)
    number, rows = number_rows(held)
    bits = np.unpackbits(rows, axis=1, count=len(paths), bitorder="little").astype(np.bool_)
    nearest = np.where(last < 0, len(hits), tree.at_or_above(np.maximum(last, 0)))
    found: I64 = number.take(nearest).astype(np.int64)
    return found, bits


def _held(paths: Paths, of_hits: Callable[[Words], Words], tree: Hits, caller: I32) -> Words:
    """uint64[h + 1, w]: bit p tells that path p stands at or above a hit; the last row is that of no hit.

    Args:
        paths: p paths.
        of_hits: from uint64[parts, w] to uint64[h, w], the bits of all parts that have a hit's name.
        tree: h hits.
        caller: int32[h], the hit that calls each one directly; h where that is no hit.
    """
    steps = _steps(paths)
    nothing = np.zeros((1, steps[0].ending.shape[0]), dtype=np.uint64)
    final = reached = np.zeros((len(caller) + 1, nothing.shape[1]), dtype=np.uint64)
    for step in steps:
        own = np.zeros((len(caller), nothing.shape[1]), dtype=np.uint64)
        before = None if step is steps[0] else reached.take(tree.above, axis=0)
        for wanted, ends in step.parts:
            at = of_hits(wanted)
            if before is not None:
                at &= before
            own |= at & ends
            before = np.append(at, nothing, axis=0).take(caller, axis=0)
        reached = tree.pass_down(own)
        final = final | (reached & step.ending)
    return final


@dataclass(frozen=True, slots=True)
class _Step:
    """What all paths have between two gaps, a bit each.

    Attributes:
        parts: of the first part, the second and so on: uint64[parts, w], the paths whose part is a set, and uint64[w],
            the paths that have no further part before the gap. What follows a part must be called by it.
        ending: uint64[w], paths that have no further gap. What stands behind a gap must be below what is before it.
    """

    parts: list[tuple[Words, Words]]
    ending: Words


@lru_cache(maxsize=64)
def _steps(paths: Paths) -> list[_Step]:
    """Paths from gap to gap."""
    position = {part: number for number, part in enumerate(_parts(paths))}
    words = -(-len(paths) // _BITS_OF_WORD)
    steps: list[_Step] = []
    for number, path in enumerate(paths):
        word, bit = number // _BITS_OF_WORD, np.uint64(1 << number % _BITS_OF_WORD)
        segments = _segments(path)
        for level, segment in enumerate(segments):
            if level == len(steps):
                steps.append(_Step([], np.zeros(words, dtype=np.uint64)))
            parts = steps[level].parts
            for place, part in enumerate(segment):
                if place == len(parts):
                    parts.append((np.zeros((len(position), words), np.uint64), np.zeros(words, np.uint64)))
                parts[place][0][position[part], word] |= bit
            parts[len(segment) - 1][1][word] |= bit
        steps[len(segments) - 1].ending[word] |= bit
    return steps


def _parts(paths: Paths) -> list[int]:
    """The distinct sets that are parts of paths, ascending."""
    return sorted({part for path in paths for part in path if part >= 0})


def _segments(path: tuple[int, ...]) -> list[list[int]]:
    """The parts of a path between its gaps."""
    segments: list[list[int]] = [[]]
    for part in path:
        if part < 0:
            segments.append([])
        else:
            segments[-1].append(part)
    return segments


def frames_of(symbols: SymbolTables, code_of_line: I64) -> tuple[I64, I64, I64]:
    """The frames of all nodes, outermost first: int64[f] names, int64[f] parents (-1 above roots).

    Returns:
        These two, and int64[nodes], the innermost frame of each node, -1 for the roots, which have none.
    """
    location, node_parent = symbols.node_location, symbols.node_parent
    lines = np.append(np.diff(symbols.line_start), 0).take(location)
    count = np.where(node_parent < 0, 0, np.maximum(lines, 1))
    end = np.cumsum(count)
    begin = end - count
    last = np.where(count > 0, end - 1, -1)
    node = np.repeat(np.arange(len(count), dtype=np.int64), count)
    position = np.arange(len(node), dtype=np.int64)
    from_end = end.take(node) - 1 - position  # line 0 is the innermost
    line = np.append(symbols.line_start[:-1], 0).take(location).take(node) + from_end
    has_line = lines.take(node) > 0
    code = np.append(code_of_line, -1).take(np.where(has_line, line, -1))
    is_first = position == begin.take(node)
    parent = np.where(is_first, np.append(last, -1).take(node_parent.take(node)), position - 1)
    return code, parent, last
