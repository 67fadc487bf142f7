"""Samples of many series in the bytes of remote read, as columns: chunks in Prometheus's XOR encoding, or plain ones.

Both give the repeated fields of their messages, series behind series, so that pieces of a series from several calls
may be put one behind the other. A chunk's values are written with a new window of bits each, which any reader of the
encoding takes: nothing depends on the sample before, and no loop runs over samples.
"""

from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from pyro_assets.block.columns import I64, U64
from pyro_assets.explore.remote_read.bits import bit_length, empty_bits, to_bytes, varint_fields, write_bits

F64 = npt.NDArray[np.float64]

#: What Prometheus itself puts into a chunk.
SAMPLES_PER_CHUNK: Final = 120
#: Times end here, in 2109: what is in a field beside one still has room.
MAX_TIME_MS: Final = (1 << 42) - 1
#: (lowest, highest, bits) of differences between distances, shortest first; what is further away has 64 bits.
_DISTANCES: Final = ((-8191, 8192, 14), (-65535, 65536, 17), (-524287, 524288, 20))


@dataclass(frozen=True, slots=True)
class EncodedSeries:
    """Encoded series, n in all.

    Attributes:
        data: all bytes.
        ends: int64[n + 1], series i is data[ends[i]:ends[i + 1]].
    """

    data: memoryview
    ends: I64


def encode_chunks(time_ms: I64, value: F64, begins: I64) -> EncodedSeries:
    """Samples as `ChunkedSeries.chunks`.

    Args:
        time_ms: int64[m], from 0 to MAX_TIME_MS, ascending in each series.
        value: float64[m].
        begins: int64[n], the first sample of each series, none of which is empty.
    """
    count = np.diff(begins, append=len(time_ms))
    place = np.arange(len(time_ms), dtype=np.int64) - np.repeat(begins, count)
    in_chunk = place % SAMPLES_PER_CHUNK
    starts = np.flatnonzero(in_chunk == 0)
    values, widths = _sample_fields(time_ms, value, in_chunk)
    each = widths.sum(axis=0)
    before = np.cumsum(each) - each
    samples = np.diff(starts, append=len(time_ms))
    data_bytes = 2 + (np.add.reduceat(each, starts) + 7) // 8
    heads, head_widths = _chunk_heads(time_ms, starts, samples, data_bytes)
    head_bits = head_widths.sum(axis=0)  # the last 16 bits are the first of the data: how many samples
    ends = np.append(0, np.cumsum(head_bits // 8 + data_bytes - 2))
    words = empty_bits(int(ends[-1]))
    write_bits(words, heads.ravel("F"), head_widths.ravel("F"), _positions(head_widths, ends[:-1] * 8))
    chunk = np.cumsum(in_chunk == 0) - 1
    at = _positions(widths, (ends[:-1] * 8 + head_bits - before.take(starts)).take(chunk) + before)
    there = np.flatnonzero(widths.ravel("F"))
    write_bits(words, values.ravel("F").take(there), widths.ravel("F").take(there), at.take(there))
    return EncodedSeries(to_bytes(words, int(ends[-1])), ends.take(np.append(chunk.take(begins), len(starts))))


def encode_samples(time_ms: I64, value: F64, begins: I64) -> EncodedSeries:
    """Samples as `TimeSeries.samples`; see `encode_chunks`."""
    times, time_widths = varint_fields(time_ms.astype(np.uint64))
    inner = (np.uint64(10) + (time_widths // 8).astype(np.uint64)) << np.uint64(8)
    values = np.stack(
        [
            np.uint64(0x12_00_09) | inner,
            value.view(np.uint64).byteswap(),
            np.uint64(0x10) << time_widths.astype(np.uint64) | times,
        ]
    )
    widths = np.stack([np.full_like(time_widths, 24), np.full_like(time_widths, 64), time_widths + 8])
    ends = np.append(0, np.cumsum(widths.sum(axis=0))) // 8
    words = empty_bits(int(ends[-1]))
    write_bits(words, values.ravel("F"), widths.ravel("F"), _positions(widths, ends[:-1] * 8))
    return EncodedSeries(to_bytes(words, int(ends[-1])), ends.take(np.append(begins, len(time_ms))))


def _positions(widths: I64, begins: I64) -> I64:
    """Where fields begin, column by column as `ravel("F")` has them; `begins` is where each column does."""
    at = np.cumsum(widths, axis=0) - widths + begins
    return at.ravel("F")


def _chunk_heads(time_ms: I64, starts: I64, samples: I64, data_bytes: I64) -> tuple[U64, I64]:
    """Fields before the bits of each chunk: (4, chunks), from the tag of the message to the number of samples."""
    first, first_width = varint_fields(time_ms.take(starts).astype(np.uint64))
    last, last_width = varint_fields(time_ms.take(starts + samples - 1).astype(np.uint64))
    length, length_width = varint_fields(data_bytes.astype(np.uint64))
    inner = (8 + first_width + 8 + last_width + 24 + length_width) // 8 + data_bytes
    size, size_width = varint_fields(inner.astype(np.uint64))

    def tagged(tag: int, field: U64, width: I64) -> U64:
        return np.uint64(tag) << width.astype(np.uint64) | field

    data = tagged(0x18_01_22, length, length_width) << np.uint64(16) | samples.astype(np.uint64)
    values = np.stack(
        [tagged(0x12, size, size_width), tagged(0x08, first, first_width), tagged(0x10, last, last_width)]
    )
    widths = np.stack([8 + size_width, 8 + first_width, 8 + last_width, 24 + length_width + 16])
    return np.concatenate([values, data[None]]), widths


def _sample_fields(time_ms: I64, value: F64, in_chunk: I64) -> tuple[U64, I64]:
    """Fields of each sample: (3, m). The first is only there where the second has no room for the time."""
    raw = value.view(np.uint64)
    delta = np.diff(time_ms, prepend=0)
    values = np.zeros((3, len(raw)), dtype=np.uint64)
    widths = np.zeros((3, len(raw)), dtype=np.int64)
    # How the value differs from the one before: 0 where it does not, else 11, leading zeros, length and the bits.
    change = raw ^ np.concatenate([raw[:1], raw[:-1]])
    leading = np.minimum(32 - bit_length((change >> np.uint64(32)).astype(np.uint32)), 31)
    lowest = change & (~change + np.uint64(1))
    trailing = np.where(
        lowest > np.uint64(0xFFFFFFFF),
        31 + bit_length((lowest >> np.uint64(32)).astype(np.uint32)),
        bit_length((lowest & np.uint64(0xFFFFFFFF)).astype(np.uint32)) - 1,
    )
    is_same = change == 0
    length = np.where(is_same, 0, 64 - leading - trailing)
    prefix = np.where(is_same, 0, 3 << 11 | leading << 6 | length & 63).astype(np.uint64)
    prefix_width = np.where(is_same, 1, 13)
    values[2] = np.where(is_same, np.uint64(0), change >> np.maximum(trailing, 0).astype(np.uint64))
    widths[2] = length
    # The time: how its distance differs from the one before.
    distance = np.diff(delta, prepend=0)
    time, time_width = np.zeros_like(distance), np.ones_like(distance)
    far = distance != 0
    for number, (lowest_one, highest, bits) in enumerate(_DISTANCES):
        fits = far & (distance >= lowest_one) & (distance <= highest)
        far &= ~fits
        mark = (1 << number + 2) - 2
        time = np.where(fits, mark << bits | distance & (1 << bits) - 1, time)
        time_width = np.where(fits, number + 2 + bits, time_width)
    far &= in_chunk > 1
    values[0] = np.where(far, np.uint64(0xF) << np.uint64(60) | distance.view(np.uint64) >> np.uint64(4), np.uint64(0))
    widths[0] = np.where(far, 64, 0)
    time = np.where(far, distance & 15, time)
    time_width = np.where(far, 4, time_width)
    values[1] = time.view(np.uint64) << prefix_width.astype(np.uint64) | prefix
    widths[1] = time_width + prefix_width
    # A chunk's first sample as it is, and its second with a plain distance.
    first, second = np.flatnonzero(in_chunk == 0), np.flatnonzero(in_chunk == 1)
    values[1, first], widths[1, first] = varint_fields(time_ms.take(first).astype(np.uint64) << np.uint64(1))
    values[2, first], widths[2, first] = raw.take(first), 64
    time_field, width = varint_fields(delta.take(second).astype(np.uint64))
    values[1, second] = time_field << prefix_width.take(second).astype(np.uint64) | prefix.take(second)
    widths[1, second] = width + prefix_width.take(second)
    return values, widths
