"""DELTA_BINARY_PACKED integers, read by Arrow: streams become the pages of a Parquet file made in memory.

Only decoding is here, `delta_writer` encodes. Arrow decodes in C++ what plain Python would take a hundred times as
long for, and one file for all streams of a job keeps its fixed cost low. Nothing here knows what the numbers mean.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pyro_assets.block.columns import I32, I64
from pyro_assets.block.parquet.thrift import number

Streams = Sequence[bytes | memoryview]

#: What the original writes: values of a block, mini-blocks in it.
BLOCK_VALUES: Final = 128
MINI_BLOCKS: Final = 4
_HEADER_START: Final = np.array([[BLOCK_VALUES & 0x7F | 0x80], [BLOCK_VALUES >> 7], [MINI_BLOCKS]], dtype=np.int64)
_HEADER_PLACES: Final = np.arange(5, dtype=np.int64)[:, None]
#: Larger blocks would let a few bytes stand for very many values; encoders put at most 256 into 5 bytes.
MOST_VALUES_PER_BYTE: Final = 64
_MAX_BLOCK_VALUES: Final = 4096
_PARQUET: Final = b"PAR1"
_INT32, _INT64 = 1, 2


class BadDeltaError(ValueError):
    """A stream that does not decode.

    `stream` counts through narrow and then wide ones; `is_count` tells a number of values other than expected from
    other damage.
    """

    def __init__(self, stream: int, why: str, *, is_count: bool = False) -> None:
        super().__init__(f"stream {stream}: {why}")
        self.stream, self.why, self.is_count = stream, why, is_count


def decode(narrow: Streams, narrow_counts: Sequence[int], wide: Streams, wide_counts: Sequence[int]) -> tuple[I32, I64]:
    """Decode 32-bit and 64-bit streams.

    Args:
        narrow: streams of 32-bit numbers.
        narrow_counts: how many values each must hold, at least 1.
        wide: streams of 64-bit numbers.
        wide_counts: the same for them.

    Returns:
        int32[sum of narrow_counts], int64[sum of wide_counts], in the order of the streams; may be read-only.

    Raises:
        BadDeltaError: a stream holds another number of values or does not decode.

    >>> decode([bytes([0x80, 1, 4, 1, 13])], [1], [], [])[0].tolist()
    [-7]
    """
    file, at = _parquet_file(narrow, narrow_counts, wide, wide_counts)
    _check_headers(file, at, [*narrow, *wide], [*narrow_counts, *wide_counts])
    try:
        return _read(file, bool(narrow), bool(wide))
    except (pa.ArrowException, OSError):
        pass
    begin, end = 0, len(narrow) + len(wide)
    # By halves: a job may have a hundred thousand streams.
    while begin < end:
        middle = max((begin + end) // 2, begin + 1)
        own, other = slice(begin, middle), slice(max(begin - len(narrow), 0), max(middle - len(narrow), 0))
        try:
            file, _ = _parquet_file(narrow[own], narrow_counts[own], wide[other], wide_counts[other])
            _read(file, bool(narrow[own]), bool(wide[other]))
            begin = middle
        except (pa.ArrowException, OSError) as error:
            if middle == begin + 1:
                raise BadDeltaError(begin, str(error)) from None
            end = middle
    raise BadDeltaError(0, "the streams do not decode together")


def _check_headers(file: bytes, at: I64, streams: Streams, counts: Sequence[int]) -> None:
    """Compare each stream's own number of values, and its least size, with what is expected, before it is decoded.

    Args:
        file: holds the streams, and more than 5 bytes after the last.
        at: int64[s], where they start.
        streams: the same streams.
        counts: how many values each must hold.
    """
    lengths = np.array(list(map(len, streams)), dtype=np.int64)
    expected = np.array(counts, dtype=np.int64)
    blocks = (expected + (BLOCK_VALUES - 2)) // BLOCK_VALUES
    # The header takes five bytes, a block's least difference and bit widths five more.
    usual = lengths >= 5 + 5 * blocks
    usual &= expected < 1 << 14
    head = np.frombuffer(file, np.uint8).take(at + _HEADER_PLACES).astype(np.int64)
    usual &= (head[:3] == _HEADER_START).all(axis=0)
    low, high = head[3], head[4]
    usual &= np.where(low < 0x80, low, (low & 0x7F) | high << 7) == expected
    if not usual.all():
        for stream in np.flatnonzero(~usual).tolist():
            _check_header(stream, streams[stream], counts[stream])


def _check_header(stream: int, data: bytes | memoryview, count: int) -> None:
    """The same for one stream, whatever its block size."""
    position = 0
    numbers = []
    for _ in range(3):
        value = shift = 0
        while True:
            if position == len(data) or shift > 28:
                raise BadDeltaError(stream, "the header is cut off or longer than 32 bits")
            byte = data[position]
            position += 1
            value |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                break
        numbers.append(value)
    block_values, mini_blocks, values = numbers
    if values != count:
        raise BadDeltaError(stream, f"{values} values instead of {count}", is_count=True)
    if (
        block_values % BLOCK_VALUES
        or not BLOCK_VALUES <= block_values <= _MAX_BLOCK_VALUES
        or not 1 <= mini_blocks <= block_values // 32
        or block_values % (32 * mini_blocks)
    ):
        raise BadDeltaError(stream, f"blocks of {block_values} values in {mini_blocks} mini-blocks")
    blocks = -(-(count - 1) // block_values)
    if len(data) < max(position + 1 + blocks * (1 + mini_blocks), count // MOST_VALUES_PER_BYTE):
        raise BadDeltaError(stream, f"{len(data)} bytes are too few for {count} values")


def _read(file: bytes, has_narrow: bool, has_wide: bool) -> tuple[I32, I64]:
    reader = pq.ParquetFile(pa.BufferReader(file))
    narrow: I32 = np.zeros(0, dtype=np.int32)
    wide: I64 = np.zeros(0, dtype=np.int64)
    if has_narrow:
        narrow = _values(reader.read_row_group(0, columns=["a"], use_threads=False))
    if has_wide:
        wide = _values(reader.read_row_group(1, columns=["b"], use_threads=False))
    return narrow, wide


def _values(table: Any) -> Any:
    column = table.column(0)
    return column.chunk(0).to_numpy() if column.num_chunks == 1 else column.to_numpy()


def _parquet_file(
    narrow: Streams, narrow_counts: Sequence[int], wide: Streams, wide_counts: Sequence[int]
) -> tuple[bytes, I64]:
    """A file with column `a` (INT32) in its first row group and column `b` (INT64) in its second.

    The columns' lengths differ, so each row group describes both but is true for one only; the other is not read.

    Returns:
        The file; int64[s], where each stream starts in it.
    """
    parts: list[bytes | memoryview] = [_PARQUET] * (1 + 2 * len(narrow) + 2 * len(wide))
    parts[2::2] = [*narrow, *wide]
    parts[1::2] = list(map(_page_header, map(len, parts[2::2]), [*narrow_counts, *wide_counts]))
    ends = np.cumsum(list(map(len, parts)), dtype=np.int64)
    begin, middle, end = len(_PARQUET), int(ends[2 * len(narrow)]), int(ends[-1])
    sizes = (middle - begin, end - middle)
    rows = (sum(narrow_counts), sum(wide_counts))
    columns = [
        _column_chunk(b"a", _INT32, rows[0], len(_PARQUET), sizes[0]),
        _column_chunk(b"b", _INT64, rows[1], len(_PARQUET) + sizes[0], sizes[1]),
    ]
    groups = b"".join(
        b"\x19\x2c" + b"".join(columns) + b"\x16" + number(size) + b"\x16" + number(count) + b"\0"
        for size, count in zip(sizes, rows, strict=True)
    )
    root = b"\x48\x01s\x15\x04\0"
    schema = b"\x19\x3c" + root + _schema_element(b"a", _INT32) + _schema_element(b"b", _INT64)
    footer = b"\x15\x02" + schema + b"\x16" + number(sum(rows)) + b"\x19\x2c" + groups + b"\0"
    parts += (footer, len(footer).to_bytes(4, "little"), _PARQUET)
    return b"".join(parts), ends[1::2]


# Thrift's compact protocol: a field is (id difference << 4 | type); integers are zig-zag LEB128 (types 5 and 6),
# 8 is a string, 9 a list, 12 a structure, which ends with 0.


@lru_cache(maxsize=1 << 14)
def _page_header(size: int, count: int) -> bytes:
    length = number(size)
    # Data page, sizes without and with compression, then: number of values, encoding 5 (DELTA_BINARY_PACKED),
    # encodings of the levels, of which a required column has none.
    return b"\x15\0\x15" + length + b"\x15" + length + b"\x2c\x15" + number(count) + b"\x15\x0a\x15\x06\x15\x06\0\0"


def _schema_element(name: bytes, kind: int) -> bytes:
    return b"\x15" + number(kind) + b"\x25\0\x18" + bytes([len(name)]) + name + b"\0"


def _column_chunk(name: bytes, kind: int, count: int, offset: int, size: int) -> bytes:
    at, length = number(offset), number(size)
    meta = b"\x15" + number(kind) + b"\x19\x15\x0a" + b"\x19\x18" + bytes([len(name)]) + name
    meta += b"\x15\0" + b"\x16" + number(count) + b"\x16" + length + b"\x16" + length + b"\x26" + at + b"\0"
    return b"\x26" + at + b"\x1c" + meta + b"\0"
