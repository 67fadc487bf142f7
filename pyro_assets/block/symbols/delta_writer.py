"""DELTA_BINARY_PACKED integers, encoded in NumPy for many streams at once; `delta` decodes.

The bytes are those of the original's encoder. Parquet leaves the end of an unfinished block open: the original fills
it up with zeros before it takes differences and their minimum, and clears what the filling left afterwards; Arrow
does not, which is why it is not used here. Nothing here knows what the numbers mean.
"""

from itertools import pairwise
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from pyro_assets.block.columns import I64, U8, U64, Bool
from pyro_assets.block.cursor import uvarint
from pyro_assets.block.symbols.delta import BLOCK_VALUES, MINI_BLOCKS

Unsigned = npt.NDArray[Any]

#: The encoding of no values.
EMPTY: Final = uvarint(BLOCK_VALUES) + uvarint(MINI_BLOCKS) + b"\0\0"

_MINI_VALUES: Final = BLOCK_VALUES // MINI_BLOCKS
_HEAD: Final = np.frombuffer(EMPTY[:-2], np.uint8)
# Eight values of w bits take w bytes, so a mini-block of 32 is four such octets whatever its width.
_OCTETS: Final = _MINI_VALUES // 8
_WORD_BITS: Final = 64
# So few values, a handful of mappings for example, cost less one by one than sixty operations on arrays.
_FEW_VALUES: Final = 100
# Mini-blocks whose values, widened, fit the processor's cache.
_BATCH_ROWS: Final = 1024


def encode(values: npt.NDArray[np.int32] | I64, start: I64) -> list[bytes]:
    """Encode streams of integers.

    Args:
        values: int32 or int64[n], streams end to end; differences wrap around in this type.
        start: int64[s + 1], stream i is start[i]:start[i + 1], at least one value.

    Returns:
        s encoded streams.

    >>> encode(np.array([-7, 1, 9], np.int32), np.array([0, 1, 3]))[1].hex()[:20]
    '80010402021105000000'
    """
    count = np.diff(start)
    if not len(count):
        return []
    if len(values) <= _FEW_VALUES:
        numbers, bits = values.tolist(), 8 * values.itemsize
        return [_encode_few(numbers[begin:end], bits) for begin, end in pairwise(start.tolist())]
    blocks = (count - 1 + BLOCK_VALUES - 1) // BLOCK_VALUES
    differences, least = _differences(values, start, count, blocks)
    width = _bit_length(differences.max(axis=1))

    # Where everything goes: each stream's head, each block's least difference and widths, each mini-block's bits.
    first_varint, first_size = _varints(_zigzag(values.take(start[:-1])))
    count_varint, count_size = _varints(count.astype(np.uint64))
    least_varint, least_size = _varints(_zigzag(least))
    mini_size = 4 * width.reshape(-1, MINI_BLOCKS)
    head_size = len(_HEAD) + count_size + first_size
    block_size = least_size + MINI_BLOCKS + mini_size.sum(axis=1)
    block_at = np.cumsum(block_size) - block_size + np.repeat(np.cumsum(head_size), blocks)
    block_end = np.concatenate([[0], np.cumsum(block_size)])
    stream_size = head_size + np.diff(block_end.take(np.concatenate([[0], np.cumsum(blocks)])))
    stream_end = np.cumsum(stream_size)
    stream_at = stream_end - stream_size
    width_at = block_at + least_size
    mini_at = (width_at + MINI_BLOCKS)[:, None] + np.cumsum(mini_size, axis=1) - mini_size

    total = int(stream_end[-1])
    buffer = np.zeros(total + _WORD_BITS, dtype=np.uint8)
    _write_bits(buffer, differences, width, mini_at.reshape(-1))
    # After the bits, whose whole words run over what follows them.
    buffer[stream_at[:, None] + np.arange(len(_HEAD))] = _HEAD
    _scatter(buffer, stream_at + len(_HEAD), count_varint, count_size)
    _scatter(buffer, stream_at + len(_HEAD) + count_size, first_varint, first_size)
    _scatter(buffer, block_at, least_varint, least_size)
    buffer[width_at[:, None] + np.arange(MINI_BLOCKS)] = width.reshape(-1, MINI_BLOCKS)
    whole = buffer.tobytes()
    return [whole[begin:end] for begin, end in pairwise([0, *stream_end.tolist()])]


def _encode_few(values: list[int], bits: int) -> bytes:
    """One stream of at most a block, value by value."""
    parts = [uvarint(BLOCK_VALUES), bytes([MINI_BLOCKS]), uvarint(len(values)), uvarint(_zigzag_of(values[0]))]
    if len(values) > 1:
        half, modulus = 1 << (bits - 1), 1 << bits
        # Two of the zeros that fill the block up: one differs from the last value, the others do not differ.
        steps = [(after - before + half) % modulus - half for before, after in pairwise([*values, 0, 0])]
        least = min(steps)
        rest = [(step - least) % modulus for step in steps[: len(values) - 1]]
        minis = [rest[i : i + _MINI_VALUES] for i in range(0, BLOCK_VALUES, _MINI_VALUES)]
        widths = [max(mini, default=0).bit_length() for mini in minis]
        parts += (uvarint(_zigzag_of(least)), bytes(widths))
        for mini, width in zip(minis, widths, strict=True):
            packed = sum([value << (width * place) for place, value in enumerate(mini)])
            parts.append(packed.to_bytes(4 * width, "little"))
    return b"".join(parts)


def _zigzag_of(value: int) -> int:
    return value << 1 if value >= 0 else ~(value << 1)


def _differences(values: npt.NDArray[Any], start: I64, count: I64, blocks: I64) -> tuple[Unsigned, npt.NDArray[Any]]:
    """Differences less their block's least one, a row per mini-block, and the least difference of each block."""
    total = int(blocks.sum())
    flat = np.zeros(total * BLOCK_VALUES, dtype=values.dtype)
    step = values[1:] - values[:-1]
    first_block = np.cumsum(blocks) - blocks
    begins = (first_block * BLOCK_VALUES).tolist()
    for source, length, target in zip(start[:-1].tolist(), (count - 1).tolist(), begins, strict=True):
        flat[target : target + length] = step[source : source + length]
    table = flat.reshape(total, BLOCK_VALUES)
    used = (count - 1) % BLOCK_VALUES
    unfinished = np.flatnonzero(used)
    used = used.take(unfinished)
    row = (first_block + blocks - 1).take(unfinished)
    # The first zero that fills a block up differs from the last value, the others from nothing.
    table[row, used] = -values.take(start[1:].take(unfinished) - 1)
    least = table.min(axis=1)
    table -= least[:, None]
    for begin, end in zip((row * BLOCK_VALUES + used).tolist(), ((row + 1) * BLOCK_VALUES).tolist(), strict=True):
        flat[begin:end] = 0
    unsigned = flat.view(np.uint32 if flat.dtype == np.int32 else np.uint64)
    return unsigned.reshape(-1, _MINI_VALUES), least


def _write_bits(buffer: U8, rows: Unsigned, width: I64, at: I64) -> None:
    """Write each mini-block's values with its width in bits, lowest first."""
    words_each = -(-int(width.max(initial=0)) // 8)
    words = np.empty((words_each, len(rows), _OCTETS), dtype=np.uint64)
    for begin in range(0, len(rows), _BATCH_ROWS):
        batch = slice(begin, begin + _BATCH_ROWS)
        first, second = _narrow_words(rows[batch], width[batch].astype(np.uint64))
        for number, word in enumerate((first, second)[:words_each]):
            words[number, batch] = word.T
    broad = np.flatnonzero(width > 16)
    if len(broad):
        words[:, broad] = _broad_words(rows[broad].astype(np.uint64), width.take(broad), words_each)
    octet_at = np.repeat(at, _OCTETS)
    for octet in range(1, _OCTETS):
        octet_at[octet::_OCTETS] += octet * width
    # Whole words are written, last words of octets first and each in ascending order: what a word leaves behind its
    # octet are first bytes of following octets, which come later.
    unaligned: U64 = np.ndarray(len(buffer) - 7, "<u8", buffer.data, strides=(1,))
    for number in reversed(range(words_each)):
        needed = np.repeat(width > 8 * number, _OCTETS)
        unaligned[octet_at[needed] + 8 * number] = words[number].reshape(-1)[needed]


def _narrow_words(rows: Unsigned, bits: U64) -> tuple[U64, U64]:
    """Both words of octets whose values have at most 16 bits, uint64[4, rows]; others get nonsense."""
    values = rows.T.astype(np.uint64, order="C")
    pairs = values[1::2] << bits
    pairs |= values[0::2]
    quads = pairs[1::2] << (2 * bits)
    quads |= pairs[0::2]
    first = quads[1::2] << (4 * bits)
    first |= quads[0::2]
    # Shifts by 64 and more give 0.
    return first, quads[1::2] >> (np.uint64(_WORD_BITS) - 4 * bits)


def _broad_words(rows: U64, width: I64, words_each: int) -> U64:
    """The words of octets of any width, uint64[words, rows, 4]: value by value, each in one or two words."""
    words = np.zeros((words_each + 1, len(rows), _OCTETS), dtype=np.uint64)
    index = np.arange(len(rows))
    for value in range(8):
        first_bit = value * width
        word = first_bit // _WORD_BITS
        shift = (first_bit % _WORD_BITS).astype(np.uint64)[:, None]
        own = rows[:, value::8]
        words[word, index] |= own << shift
        words[word + 1, index] |= own >> (np.uint64(_WORD_BITS) - shift)
    return words[:words_each]


def _zigzag(values: npt.NDArray[Any]) -> U64:
    signed = values.astype(np.int64)
    return ((signed << 1) ^ (signed >> 63)).view(np.uint64)


def _bit_length(values: Unsigned) -> I64:
    """Bits of the largest number of each row; exact, because a float64 holds 32 bits exactly."""
    high = values >> 32 if values.dtype == np.uint64 else np.zeros_like(values)
    part = np.where(high > 0, high, values).astype(np.float64)
    return np.frexp(part)[1].astype(np.int64) + np.where(high > 0, 32, 0)


def _varints(values: U64) -> tuple[U8, I64]:
    """LEB128 of each value in a row, filled up behind, and its length in bytes."""
    size = np.maximum(1, -(-_bit_length(values) // 7))
    column = np.arange(int(size.max(initial=1)))
    low = (values[:, None] >> (7 * column).astype(np.uint64)).astype(np.uint8) & np.uint8(0x7F)
    return low | np.where(column < size[:, None] - 1, np.uint8(0x80), np.uint8(0)), size


def _scatter(buffer: U8, at: I64, rows: U8, size: I64) -> None:
    """Write the first `size` bytes of each row."""
    column = np.arange(rows.shape[1])
    is_own: Bool = column < size[:, None]
    buffer[(at[:, None] + column)[is_own]] = rows[is_own]
