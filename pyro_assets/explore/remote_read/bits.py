"""Numbers of any width one behind the other, the highest bit first, for many at once: the ground of both encodings.

Only positions and bits are known here; what a field means is for `encode`. Loops run over bytes of a varint, never
over fields.
"""

import numpy as np
import numpy.typing as npt

from pyro_assets.block.columns import I64, U64

_LONGEST_VARINT = 8  # of times and lengths: a field has 64 bits


def empty_bits(size_bytes: int) -> U64:
    """Room for so many bytes, all zero; what `write_bits` fills and `to_bytes` gives."""
    return np.zeros(size_bytes // 8 + 2, dtype=np.uint64)


def write_bits(words: U64, values: U64, widths: I64, at: I64) -> None:
    """Writes fields into room that is zero there.

    Args:
        words: of `empty_bits`.
        values: uint64[n], no bit above its field's width.
        widths: int64[n], 1 to 64.
        at: int64[n], the position of each field's first bit, ascending; fields do not overlap.
    """
    if not len(values):
        return
    word = at >> 6
    over = (at & 63) + widths - 64  # bits that belong to the next word, where positive
    head = np.where(over > 0, values >> np.maximum(over, 0).astype(np.uint64), values)
    head = head << np.maximum(-over, 0).astype(np.uint64)
    first = np.flatnonzero(np.diff(word, prepend=-1))
    words[word.take(first)] |= np.bitwise_or.reduceat(head, first)
    spill = np.flatnonzero(over > 0)  # at most one into each word
    words[word.take(spill) + 1] |= values.take(spill) << (64 - over.take(spill)).astype(np.uint64)


def to_bytes(words: U64, size_bytes: int) -> memoryview:
    """The first so many bytes of what was written."""
    return memoryview(words.byteswap().view(np.uint8).data)[:size_bytes]


def varint_fields(numbers: U64) -> tuple[U64, I64]:
    r"""Varints as fields: groups of seven bits, the lowest first, each a byte.

    >>> values, widths = varint_fields(np.array([1, 300], dtype=np.uint64))
    >>> [f"{value:x}" for value in values.tolist()], widths.tolist()
    (['1', 'ac02'], [8, 16])

    Returns:
        uint64[n] and int64[n]: values and widths in bits. Numbers must be below 2**56.
    """
    count = np.ones(len(numbers), dtype=np.int64)
    for group in range(1, _LONGEST_VARINT):
        count += numbers >= np.uint64(1 << 7 * group)
    values = np.zeros(len(numbers), dtype=np.uint64)
    for group in range(int(count.max(initial=0))):
        more = np.where(count > group + 1, np.uint64(0x80), np.uint64(0))
        byte = (numbers >> np.uint64(7 * group)) & np.uint64(0x7F) | more
        values = np.where(count > group, values << np.uint64(8) | byte, values)
    return values, count * 8


def bit_length(numbers: npt.NDArray[np.uint32]) -> I64:
    """How many bits each number needs, 0 for 0: a float64 holds 32 bits exactly."""
    return np.frexp(numbers.astype(np.float64))[1].astype(np.int64)
