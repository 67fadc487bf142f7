"""The inner blocks of strings: lengths of one or two bytes, then the bytes end to end.

Both directions stand here; strings are bytes throughout, because not all of them are valid UTF-8.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Final

import numpy as np
import pyarrow as pa

from pyro_assets.block.columns import I64, U8, starts
from pyro_assets.block.symbols.index import ITEMS_PER_BLOCK, STRINGS
from pyro_assets.block.symbols.inner import inner_header
from pyro_assets.errors import BadLength, Unwritable, Where

#: The longest string that two bytes of length can announce.
MAX_STRING_BYTES: Final = 0xFFFF


def join_strings(
    lengths: Sequence[Any], texts: Sequence[memoryview], places: Sequence[tuple[Where, int]]
) -> pa.LargeBinaryArray:
    """Make one array of the strings of many inner blocks.

    Args:
        lengths: per inner block, uint8 or big-endian uint16, the strings' lengths in bytes.
        texts: per inner block, their bytes.
        places: per inner block, for messages.

    Raises:
        BadLength: the lengths of a block do not add up to its bytes.
    """
    counts = list(map(len, lengths))
    offsets = starts(np.concatenate(lengths) if counts else [])
    end = offsets.take(np.cumsum(counts, dtype=np.int64))
    wrong = np.flatnonzero(end != np.cumsum(list(map(len, texts)), dtype=np.int64))
    if len(wrong):
        block = int(wrong[0])
        where, offset = places[block]
        begin = int(end[block - 1]) if block else 0
        raise BadLength(
            "lengths of the strings",
            where,
            offset=offset,
            expected=f"a sum of {len(texts[block])}",
            actual=int(end[block]) - begin,
        )
    return pa.Array.from_buffers(
        pa.large_binary(), len(offsets) - 1, [None, pa.py_buffer(offsets), pa.py_buffer(b"".join(texts))]
    )


def encode_strings(strings: Any, start: I64) -> list[list[bytes]]:
    """Encode the strings of many units.

    Args:
        strings: Arrow large_binary array of n strings, without nulls.
        start: int64[u + 1], the strings of unit i are start[i]:start[i + 1].

    Returns:
        Per unit, the pieces of its block of strings.

    Raises:
        Unwritable: a string is longer than 65,535 bytes.
    """
    if isinstance(strings, pa.ChunkedArray):
        strings = strings.combine_chunks()
    if strings.type != pa.large_binary():
        strings = strings.cast(pa.large_binary())
    _, offset_buffer, text_buffer = strings.buffers()
    bounds = np.frombuffer(offset_buffer, np.int64)[strings.offset :][: len(strings) + 1] if len(strings) else None
    if bounds is None:
        return [[] for _ in range(len(start) - 1)]
    text: U8 = np.frombuffer(text_buffer, np.uint8) if text_buffer is not None else np.zeros(0, np.uint8)
    length = np.diff(bounds)
    if length.max() > MAX_STRING_BYTES:
        raise Unwritable(
            "string is too long",
            Where(section="symbols"),
            expected=f"at most {MAX_STRING_BYTES} bytes",
            actual=int(length.max()),
        )
    short = length.astype(np.uint8)
    return [_encode_unit(text, bounds, length, short, begin, end) for begin, end in pairwise(start.tolist())]


def _encode_unit(text: U8, bounds: I64, length: I64, short: U8, begin: int, end: int) -> list[bytes]:
    pieces = []
    chance = 0
    for first in range(begin, end, ITEMS_PER_BLOCK):
        last = min(first + ITEMS_PER_BLOCK, end)
        bits = 8 if int(length[first:last].max()) <= 0xFF else 16
        lengths = short[first:last].tobytes() if bits == 8 else length[first:last].astype(">u2").tobytes()
        # The original builds the header where the lengths were, and leaves the byte at index 4 as it was.
        chance = lengths[4] if len(lengths) > 4 else chance
        pieces.append(inner_header(STRINGS, last - first, chance, bits, 0))
        pieces.append(lengths)
        pieces.append(text[bounds[first] : bounds[last]].tobytes())
    return pieces
