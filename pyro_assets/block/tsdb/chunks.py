"""The chunk of a series entry: its times and the number that profile rows refer to, decoded for a whole job at once.

Only the integers of chunks belong here; entries around them are `reader`'s and `writer`'s (FORMAT.md, 5.3).
"""

from collections.abc import Sequence
from typing import Final

import numpy as np

from pyro_assets.block.columns import I64
from pyro_assets.block.cursor import UVARINT_MAX_BYTES, Cursor, uvarint, varint
from pyro_assets.errors import BadCount, BadEncoding, BadIndex, BadLength, Where

#: varint min time, uvarint duration, uvarint KB, uvarint series index; then a u32 checksum.
_FIELDS: Final = 4
_LONGEST_BYTES: Final = _FIELDS * UVARINT_MAX_BYTES + 4
#: Rows of a matrix; a job has a few hundred, so more than one batch bounds the memory that made-up indices can ask for.
_BATCH: Final = 8192
_LATEST: Final = np.uint64((1 << 63) - 1)
_SERIES_INDEX_BOUND: Final = 1 << 32


def decode_chunks(chunks: Sequence[bytes], places: Sequence[tuple[Where, int]]) -> tuple[I64, I64, I64]:
    """Decodes one chunk a series: four LEB128 numbers and four bytes of checksum, which real blocks leave 0.

    Args:
        chunks: the bytes of each chunk, nothing before or after it.
        places: the section of each and its offset there, for messages.

    Returns:
        int64[s] each: series index, first time and last time in Unix nanoseconds.

    Raises:
        BadLength: a chunk is longer or shorter than its numbers.
        BadEncoding: a number or the last time does not fit 64 bits.
        BadIndex: a series index that does not fit 32 bits.
    """
    decoded = np.empty((3, len(chunks)), np.int64)
    for first in range(0, len(chunks), _BATCH):
        last = first + _BATCH
        decoded[:, first:last] = _decode_batch(chunks[first:last], places[first:last])
    return decoded[0], decoded[1], decoded[2]


def _decode_batch(chunks: Sequence[bytes], places: Sequence[tuple[Where, int]]) -> tuple[I64, I64, I64]:
    """Decodes one batch, in which a row of the matrix is as wide as the longest chunk.

    A byte below 128 ends a number.
    """
    count = len(chunks)
    length = np.array([len(chunk) for chunk in chunks], np.int64)
    width = int(length.max())
    if width > _LONGEST_BYTES:
        _refuse_length(length > _LONGEST_BYTES, length, places)
    joined = b"".join([chunk.ljust(width, b"\0") for chunk in chunks])
    matrix = np.frombuffer(joined, np.uint8).reshape(count, width)
    ends = matrix < 0x80
    of_row = ends.sum(axis=1, dtype=np.int64)
    if int(of_row.min()) < _FIELDS:
        _refuse_length(of_row < _FIELDS, length, places)
    # Where the first numbers of each row end: positions of ends in the flat matrix, from each row's first on.
    first_end = np.cumsum(of_row) - of_row
    stops = np.flatnonzero(ends).take(first_end[:, None] + np.arange(_FIELDS)) + 1
    row = np.arange(0, count * width, width, dtype=np.int64)
    if (stops[:, -1] - row + 4 != length).any():
        _refuse_length(stops[:, -1] - row + 4 != length, length, places)
    starts = np.concatenate((row[:, None], stops), axis=1)
    # Every byte's place within its number gives its shift; the sums of numbers are the sums of their bytes.
    begins = np.zeros(count * width, np.int64)
    begins[starts.ravel()] = starts.ravel()
    place = np.arange(count * width, dtype=np.int64) - np.maximum.accumulate(begins)
    shift = np.minimum(place * 7, 63).view(np.uint64)
    bits = (matrix.ravel() & 0x7F).astype(np.uint64) << shift
    sums = np.add.reduceat(bits, starts.ravel()).reshape(count, _FIELDS + 1)
    size = stops - starts[:, :-1]
    too_long = (size > UVARINT_MAX_BYTES) | ((size == UVARINT_MAX_BYTES) & (matrix.ravel()[stops - 1] > 1))
    unfit = too_long.any(axis=1)
    zigzag, duration, _, series_index = np.ascontiguousarray(sums.T[:_FIELDS])
    min_time = ((zigzag >> np.uint64(1)) ^ (~(zigzag & np.uint64(1)) + np.uint64(1))).view(np.int64)
    max_time = min_time + duration.view(np.int64)
    # Both sides modulo 2^64: the room above min_time is never negative.
    unfit |= duration > _LATEST - min_time.view(np.uint64)
    if unfit.any():
        where, offset = places[int(unfit.argmax())]
        raise BadEncoding("number in a chunk", where, offset=offset, expected="64 bits", actual="more")
    if int(series_index.max()) >= _SERIES_INDEX_BOUND:
        worst = int(series_index.argmax())
        where, offset = places[worst]
        raise BadIndex(
            "series index of a chunk", where, offset=offset, expected="32 bits", actual=int(series_index[worst])
        )
    return series_index.view(np.int64), min_time, max_time


def _refuse_length(
    bad: "np.ndarray[tuple[int], np.dtype[np.bool_]]", length: I64, places: Sequence[tuple[Where, int]]
) -> None:
    first = int(bad.argmax())
    where, offset = places[first]
    raise BadLength(
        "chunk of a series", where, offset=offset, expected="four numbers and 4 bytes", actual=int(length[first])
    )


def first_chunks(entry: bytes, position: int, base: int, where: Where) -> list[bytes]:
    """Rewrites the chunks of an entry that has none or several, each as if it were the first.

    Later chunks store their first time relative to the last time of the chunk before. No real block has been seen to
    have them.

    Args:
        entry: a series entry.
        position: of the number of chunks in `entry`.
        base: offset of the entry in its section.
        where: for messages.

    Raises:
        BadCount, BadLength, Truncated: the entry does not hold these chunks.
    """
    cursor = Cursor(entry, where, base)
    cursor.position = position
    count = cursor.uvarint("number of chunks")
    # Four one-byte numbers and a checksum a chunk at least.
    if count * (_FIELDS + 4) > cursor.remaining:
        raise BadCount(
            "chunks of a series",
            where,
            offset=base + position,
            expected=f"at most {cursor.remaining // (_FIELDS + 4)}",
            actual=count,
        )
    chunks = []
    previous = 0
    for _ in range(count):
        start = previous + cursor.varint("first time")
        duration = cursor.uvarint("duration")
        numbers = uvarint(cursor.uvarint("size")) + uvarint(cursor.uvarint("series index"))
        chunks.append(varint(start) + uvarint(duration) + numbers + cursor.take(4, "checksum of a chunk"))
        previous = start + duration
    if cursor.remaining:
        raise BadLength(
            "entry after its chunks", where, offset=cursor.offset, expected="the end", actual=cursor.remaining
        )
    return chunks
