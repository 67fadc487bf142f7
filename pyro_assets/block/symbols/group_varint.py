"""Group varint: four unsigned 32-bit numbers behind one control byte, for many streams at once.

A control byte's 2-bit fields, lowest first, give (bytes - 1) of each number, which follow little-endian.
Only the integer code is here; what the numbers mean stands in `tree`. Where a group starts is known only when the
one before it has been looked at: `group_starts` explains how that is done without a loop over groups.
"""

from collections.abc import Sequence
from itertools import pairwise
from typing import Final

import numpy as np
import numpy.typing as npt

from pyro_assets.block.columns import I64, U8

U32 = npt.NDArray[np.uint32]

#: Bytes of the largest group, and of the smallest.
MAX_GROUP_BYTES: Final = 17
MIN_GROUP_BYTES: Final = 5

_FIELD_BYTES: Final = np.array([[((c >> (2 * k)) & 3) + 1 for c in range(256)] for k in range(4)], dtype=np.int64)
_GROUP_BYTES: Final = bytes((1 + _FIELD_BYTES.sum(axis=0)).astype(np.uint8))
# Where the numbers of a group start, from the control byte on, and the bits that belong to each.
_FIELD_OFFSET: Final = np.concatenate([np.ones((1, 256), np.int64), 1 + np.cumsum(_FIELD_BYTES, axis=0)[:3]])
_FIELD_MASK: Final = (np.uint64(1) << (8 * _FIELD_BYTES).astype(np.uint64)).astype(np.uint64) - np.uint64(1)
_FIELD_MASK_U32: Final = _FIELD_MASK.astype(np.uint32)

# Room for reads past the last group: a guessed group may start anywhere and a number is loaded as four bytes.
_PADDING: Final = bytes(2 * MAX_GROUP_BYTES)
# Lanes of the guessed walk and steps of the reconciling one; measured, not critical.
_MAX_CHUNK_BYTES: Final = 1024
_MIN_CHUNK_BYTES: Final = 160
_RECONCILE_STEPS: Final = 24


class BadStreamError(ValueError):
    """A stream that is no sequence of groups; `stream` is its position among those given, `why` says what is wrong."""

    def __init__(self, stream: int, why: str) -> None:
        super().__init__(f"stream {stream}: {why}")
        self.stream, self.why = stream, why


def decode(streams: Sequence[bytes | memoryview]) -> tuple[U32, I64]:
    """Decode many streams of groups.

    Args:
        streams: t streams, each a whole number of groups.

    Returns:
        uint32[g, 4], the numbers of all groups of all streams; int64[t + 1], the groups of stream i are
        start[i]:start[i + 1].

    Raises:
        BadStreamError: a stream ends inside a group.

    >>> decode([bytes([0b00000001, 0x2C, 0x01, 2, 3, 4])])[0].tolist()
    [[300, 2, 3, 4]]
    """
    size = np.array([len(stream) for stream in streams], dtype=np.int64)
    end = np.cumsum(size)
    data = b"".join((*streams, _PADDING))
    starts = group_starts(data, end - size, end)
    first_group = np.zeros(len(size) + 1, dtype=np.int64)
    first_group[1:] = np.searchsorted(starts, end)
    numbers = np.empty((len(starts), 4), dtype=np.uint32)
    # One copy of every byte's four-byte neighbourhood makes unaligned loads plain gathers.
    window = np.ascontiguousarray(np.ndarray(len(data) - 3, "<u4", data, strides=(1,)))
    control = np.frombuffer(data, np.uint8).take(starts)
    for field in range(4):
        loaded = window.take(starts + _FIELD_OFFSET[field].take(control))
        np.bitwise_and(loaded, _FIELD_MASK_U32[field].take(control), out=numbers[:, field])
    return numbers, first_group


def group_starts(data: bytes, begin: I64, end: I64) -> I64:
    """Find where the groups of streams that lie end to end start.

    A walk from any byte soon meets the true one, because two walks that once stand on the same byte stay together.
    So every stream is cut into chunks; all chunks are walked at once, one vector step a group, from guessed starts;
    where a chunk's walk leaves its chunk, the same is done until the next chunk's walk is met, and that one's
    positions before the meeting are dropped. Few chunks (in hostile bytes: all) are left to a plain loop.

    Args:
        data: the streams, followed by at least 34 bytes of padding.
        begin: int64[t], first byte of each stream.
        end: int64[t], their half-open ends.

    Returns:
        int64[g], ascending offsets of control bytes.

    Raises:
        BadStreamError: a stream ends inside a group.
    """
    total = int(end[-1]) if len(end) else 0
    if total == 0:
        return np.zeros(0, dtype=np.int64)
    group_bytes = data.translate(_GROUP_BYTES)
    step = np.frombuffer(group_bytes, np.uint8).astype(np.int64)
    # Steps cost as much as some hundred lanes, so lanes and steps grow together with the bytes.
    chunk_bytes = min(max(_MIN_CHUNK_BYTES, int(1.2 * total**0.5)), _MAX_CHUNK_BYTES)
    chunks = -(-(end - begin) // chunk_bytes)
    stream = np.repeat(np.arange(len(begin), dtype=np.int64), chunks)
    is_first = np.zeros(len(stream), dtype=np.bool_)
    occupied = chunks > 0
    is_first[(np.cumsum(chunks) - chunks)[occupied]] = True
    lane_begin = begin.take(stream) + chunk_bytes * (
        np.arange(len(stream), dtype=np.int64) - np.repeat(np.cumsum(chunks) - chunks, chunks)
    )
    stream_end = end.take(stream)
    lane_end = np.minimum(lane_begin + chunk_bytes, stream_end)

    walk = _walk(step, lane_begin, chunk_bytes // MIN_GROUP_BYTES + 1)
    inside = walk < lane_end
    lane_exit = walk[np.count_nonzero(inside, axis=0), np.arange(len(stream))]
    is_start = np.zeros(len(data), dtype=np.bool_)
    guessed = walk[inside]
    is_start[guessed] = True

    # Reconcile: from each exit on until a guessed start, or the stream's end, is met.
    tail = _walk(step, lane_exit, _RECONCILE_STEPS)
    met = is_start.take(tail, mode="clip")
    met |= tail >= stream_end
    meeting = met.argmax(axis=0)
    meeting_at = tail[meeting, np.arange(len(stream))]
    # A walk that passes over the whole next chunk makes that one's exit untrue: left to the loop.
    is_met = met[meeting, np.arange(len(stream))]
    is_met[:-1] &= is_first[1:] | (meeting_at[:-1] < lane_end[1:])
    loop = np.flatnonzero(~is_met).tolist()
    true_from = lane_begin.copy()
    true_from[1:] = np.where(is_first[1:], lane_begin[1:], meeting_at[:-1])
    is_true_tail = np.arange(len(tail), dtype=np.int64)[:, None] < np.where(is_met, meeting, 0)
    added: list[int] = []
    resume = -1  # lanes before this one were passed over by the loop
    last_exit = meeting_at.copy()
    for lane in loop:
        if lane < resume:
            continue
        position, stop = int(lane_exit[lane]), int(stream_end[lane])
        while position < stop and not is_start[position]:
            added.append(position)
            position += group_bytes[position]
        last_exit[lane] = position
        resume = lane + 1
        while resume < len(stream) and not is_first[resume] and lane_end[resume] <= position:
            true_from[resume] = total
            is_true_tail[:, resume] = False
            last_exit[resume] = position
            resume += 1
        if resume < len(stream) and not is_first[resume]:
            true_from[resume] = position
    last = np.cumsum(chunks)[occupied] - 1
    wrong = last_exit.take(last) != stream_end.take(last)
    if wrong.any():
        raise BadStreamError(int(stream.take(last)[wrong][0]), "the last group runs past the end")
    false_start = inside & (walk < true_from)
    is_start[walk[false_start]] = False
    is_start[tail[is_true_tail]] = True
    is_start[added] = True
    return np.flatnonzero(is_start)


def _walk(step: I64, begin: I64, steps: int) -> I64:
    """Positions int64[steps + 1, lanes] of walks from `begin`; past the end of the data they only grow."""
    walk = np.empty((steps + 1, len(begin)), dtype=np.int64)
    rows = list(walk)
    here = rows[0]
    here[:] = begin
    for following in rows[1:]:
        step.take(here, out=following, mode="clip")
        np.add(here, following, out=following)
        here = following
    return walk


def encode(numbers: U32, group_start: I64) -> list[bytes]:
    """Encode groups of four numbers.

    Args:
        numbers: uint32[g, 4].
        group_start: int64[t + 1], the groups of stream i are group_start[i]:group_start[i + 1].

    Returns:
        t streams.

    >>> encode(np.array([[300, 2, 3, 4]], dtype=np.uint32), np.array([0, 1]))[0].hex()
    '012c01020304'
    """
    extra = (numbers > 0xFF).astype(np.uint8)
    extra += numbers > 0xFFFF
    extra += numbers > 0xFFFFFF
    control = extra[:, 0] | extra[:, 1] << 2 | extra[:, 2] << 4 | extra[:, 3] << 6
    # A group of 17 bytes, of which the ones that are needed are kept in order.
    wide = np.empty((len(numbers), MAX_GROUP_BYTES), dtype=np.uint8)
    wide[:, 0] = control
    wide[:, 1:] = numbers.astype("<u4", copy=False).view(np.uint8).reshape(-1, 16)
    data = wide[_KEPT_BYTES.take(control, axis=0)]
    length = np.frombuffer(_GROUP_BYTES, np.uint8).take(control)
    offset = np.zeros(len(numbers) + 1, dtype=np.int64)
    np.cumsum(length, dtype=np.int64, out=offset[1:])
    bounds = offset.take(group_start).tolist()
    whole = data.tobytes()
    return [whole[begin:end] for begin, end in pairwise(bounds)]


def _kept_bytes() -> npt.NDArray[np.bool_]:
    kept: U8 = np.zeros((256, MAX_GROUP_BYTES), dtype=np.uint8)
    kept[:, 0] = 1
    for field in range(4):
        for byte in range(4):
            kept[:, 1 + 4 * field + byte] = byte < _FIELD_BYTES[field]
    return kept.astype(np.bool_)


_KEPT_BYTES: Final = _kept_bytes()
