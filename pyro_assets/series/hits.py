"""The nodes of trees that have something wanted, as a smaller tree down which sets of bits are passed.

Only hits, and nodes that do not follow their parent directly, can differ from the node before them. These anchors form
a smaller tree; in it the nearest hit above is found by pointer doubling. What the bits mean is for the callers to say.
"""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from pyro_assets.block.columns import I32, I64, Bool

Words = npt.NDArray[np.uint64]


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
        return _pass_down(self.above, own)


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


def _pass_down(above: I32, own: Words) -> Words:
    """uint64[h + 1, w]: the functions that stand at or above each hit; the last row is that of no hit.

    Args:
        above: int32[h], the hit above each one; h stands for none.
        own: uint64[h, w], the functions of each hit alone.
    """
    hits = len(above)
    held = np.zeros((hits + 1, own.shape[1]), dtype=np.uint64)
    held[:-1] = own
    hop = np.append(above, np.int32(hits))
    active = np.flatnonzero(above < hits)
    while len(active):
        ahead = hop.take(active)
        held[active] |= held.take(ahead, axis=0)
        ahead = hop.take(ahead)
        hop[active] = ahead
        active = active.compress(ahead < hits)
    return held


def number_rows(words: Words) -> tuple[I32, npt.NDArray[np.uint8]]:
    """Equal rows get one number: int32[n], and uint8[distinct, 8 * w], the bytes of each number's row."""
    width = words.shape[1] * 8
    buffers = [None, pa.py_buffer(words)]
    encoded = pa.FixedSizeBinaryArray.from_buffers(pa.binary(width), len(words), buffers).dictionary_encode()
    distinct = np.frombuffer(encoded.dictionary.buffers()[1], dtype=np.uint8)[: len(encoded.dictionary) * width]
    return encoded.indices.to_numpy(), distinct.reshape(-1, width)
