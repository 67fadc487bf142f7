"""Group varint: four unsigned 32-bit numbers behind one control byte, for many streams at once.

A control byte's 2-bit fields, lowest first, give (bytes - 1) of each number, which follow little-endian.
Only the integer code is here; what the numbers mean stands in `tree`. Where a group starts is known only when the
one before it has been looked at: `group_starts` explains how that is done without a loop over groups.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np
import numpy.typing as npt

from pyro_assets.block.columns import I64, U8

U32 = npt.NDArray[np.uint32]

#: Bytes of the largest group, and of the smallest.
MAX_GROUP_BYTES: Final = 17
MIN_GROUP_BYTES: Final = 5

# Tables by control byte: bytes of each number and of the group, where each number starts, which bits are its own.
_FIELD_BYTES: Final = np.array([[((c >> (2 * k)) & 3) + 1 for k in range(4)] for c in range(256)], dtype=np.int64)
_FIELD_OFFSET: Final = 1 + np.cumsum(_FIELD_BYTES, axis=1) - _FIELD_BYTES
_FIELD_MASK: Final = ((1 << (8 * _FIELD_BYTES)) - 1).astype(np.uint32)

# Room for reads past the last group: a guessed group may start anywhere and a number is loaded as four bytes.
_PADDING_BYTES: Final = 2 * MAX_GROUP_BYTES
# What one guessed walk has to cover, in the most steps it may take, and the steps of a reconciling walk: of real trees
# one walk in a hundred is not through by then. Measured; longer chunks mean more steps, shorter ones more meetings.
_CHUNK_BYTES: Final = 512
_GUESS_STEPS: Final = _CHUNK_BYTES // MIN_GROUP_BYTES + 2
_RECONCILE_STEPS: Final = 40
_TAIL_ROWS: Final = np.arange(_RECONCILE_STEPS, dtype=np.int64)[:, None]
_BYTES_33, _BYTES_0F, _BYTES_05 = (np.uint64(byte * 0x0101010101010101) for byte in (0x33, 0x0F, 0x05))


class BadStreamError(ValueError):
    """A stream that is no sequence of groups; `stream` is its position among those given, `why` says what is wrong."""

    def __init__(self, stream: int, why: str) -> None:
        super().__init__(f"stream {stream}: {why}")
        self.stream, self.why = stream, why


def split(streams: Sequence[bytes | memoryview]) -> tuple[bytes, I64, I64]:
    """Put many streams end to end and find their groups.

    Args:
        streams: t streams, each a whole number of groups.

    Returns:
        The streams' bytes and some padding; int64[g], offsets of the groups in them, ascending; int64[t + 1], the
        groups of stream i are start[i]:start[i + 1].

    Raises:
        BadStreamError: a stream ends inside a group.
    """
    size = np.array([len(stream) for stream in streams], dtype=np.int64)
    end = np.cumsum(size)
    padding = _PADDING_BYTES + -(int(size.sum()) + _PADDING_BYTES) % 8
    data = b"".join((*streams, bytes(padding)))
    groups = group_starts(data, end - size, end)
    first_group = np.zeros(len(size) + 1, dtype=np.int64)
    first_group[1:] = np.searchsorted(groups, end)
    return data, groups, first_group


def decode(data: bytes, groups: I64) -> U32:
    """Decode groups that `split` found.

    Args:
        data: as returned by `split`.
        groups: int64[g], a part of the offsets that it returned, ascending.

    Returns:
        uint32[g, 4].

    >>> decode(*split([bytes([0b00000001, 0x2C, 0x01, 2, 3, 4])])[:2]).tolist()
    [[300, 2, 3, 4]]
    """
    if not len(groups):
        return np.empty((0, 4), dtype=np.uint32)
    first, last = int(groups[0]), int(groups[-1])
    # One copy of every byte's four-byte neighbourhood makes unaligned loads plain gathers.
    window = np.ascontiguousarray(np.ndarray(last - first + MAX_GROUP_BYTES, "<u4", data, first, strides=(1,)))
    control = np.frombuffer(data, np.uint8).take(groups).astype(np.int64)
    # "clip" clips nothing here: it spares NumPy a second pass that looks for indices out of range.
    place = _FIELD_OFFSET.take(control, axis=0, mode="clip")
    base = groups - first
    for field in range(4):
        place[:, field] += base
    numbers = window.take(place, mode="clip")
    numbers &= _FIELD_MASK.take(control, axis=0, mode="clip")
    return numbers


def group_starts(data: bytes, begin: I64, end: I64) -> I64:
    """Find where the groups of streams that lie end to end start.

    A walk from any byte soon meets the true one, because two walks that once stand on the same byte stay together.
    So every stream is cut into chunks; all chunks are walked at once, one vector step a group, from guessed starts;
    where a chunk's walk leaves its chunk, the same is done until the next chunk's walk is met, and that one's
    positions before the meeting are dropped. Few chunks (in hostile bytes: all) are left to a plain loop.

    Args:
        data: the streams, followed by at least 34 bytes of padding up to a multiple of 8.
        begin: int64[t], first byte of each stream.
        end: int64[t], their half-open ends.

    Returns:
        int64[g], ascending offsets of control bytes.

    Raises:
        BadStreamError: a stream ends inside a group.
    """
    if not len(end) or end[-1] == 0:
        return np.zeros(0, dtype=np.int64)
    step = _group_bytes(data)
    chunks = -(-(end - begin) // _CHUNK_BYTES)
    first_lane = np.cumsum(chunks) - chunks
    stream = np.repeat(np.arange(len(begin), dtype=np.int64), chunks)
    lanes = np.arange(len(stream), dtype=np.int64)
    lane_begin = np.repeat(begin - first_lane * _CHUNK_BYTES, chunks)
    lane_begin += lanes * _CHUNK_BYTES
    stream_end = end.take(stream)
    lane_end = np.minimum(lane_begin + _CHUNK_BYTES, stream_end)
    # Walking is one row a step: the guessed walks, then the reconciling ones from where those left their chunks.
    rows = np.empty((_GUESS_STEPS + _RECONCILE_STEPS, len(stream)), dtype=np.int64)
    walk, tail = rows[:_GUESS_STEPS], rows[_GUESS_STEPS:]
    is_true = np.empty(rows.shape, dtype=np.bool_)
    inside, is_true_tail = is_true[:_GUESS_STEPS], is_true[_GUESS_STEPS:]
    _walk(step, lane_begin, walk)
    np.less(walk, lane_end, out=inside)
    lane_exit = walk[np.count_nonzero(inside, axis=0), lanes]
    flags = bytearray(len(data))
    is_guess = np.frombuffer(flags, np.bool_)
    is_guess[walk[inside]] = True

    _walk(step, lane_exit, tail)
    met = is_guess.take(tail, mode="clip")
    met |= tail >= stream_end
    meeting = met.argmax(axis=0)
    meeting_at = tail[meeting, lanes]
    # A walk that passes over the whole next chunk makes that one's exit untrue: left to the loop.
    is_met = met[meeting, lanes]
    is_first = np.zeros(len(stream), dtype=np.bool_)
    is_first[first_lane[chunks > 0]] = True
    is_met[:-1] &= is_first[1:] | (meeting_at[:-1] < lane_end[1:])
    true_from = lane_begin.copy()
    true_from[1:] = np.where(is_first[1:], lane_begin[1:], meeting_at[:-1])
    np.less(_TAIL_ROWS, np.where(is_met, meeting, 0), out=is_true_tail)
    last_exit = meeting_at.copy()
    added: list[int] = []
    resume = -1  # lanes before this one were passed over by the loop
    lengths = step.data
    for lane in np.flatnonzero(~is_met).tolist():
        if lane < resume:
            continue
        position, stop = int(lane_exit[lane]), int(stream_end[lane])
        while position < stop and not flags[position]:
            added.append(position)
            position += lengths[position]
        last_exit[lane] = position
        resume = lane + 1
        while resume < len(stream) and not is_first[resume] and lane_end[resume] <= position:
            true_from[resume] = len(data)
            is_true_tail[:, resume] = False
            last_exit[resume] = position
            resume += 1
        if resume < len(stream) and not is_first[resume]:
            true_from[resume] = position
    last = (first_lane + chunks - 1)[chunks > 0]
    wrong = last_exit.take(last) != stream_end.take(last)
    if wrong.any():
        raise BadStreamError(int(stream.take(last)[wrong][0]), "the last group runs past the end")
    inside &= walk >= true_from
    # Lane by lane, so that the offsets come in order.
    starts = rows.T[is_true.T]
    return np.insert(starts, np.searchsorted(starts, added), added) if added else starts


def _group_bytes(data: bytes) -> U8:
    """The length of the group that every byte would begin, adding all 2-bit fields of eight bytes at once."""
    words = np.frombuffer(data, np.uint64)
    pairs = words >> np.uint64(2)
    pairs &= _BYTES_33
    pairs += words & _BYTES_33
    sums = pairs >> np.uint64(4)
    sums &= _BYTES_0F
    pairs &= _BYTES_0F
    sums += pairs
    sums += _BYTES_05
    return sums.view(np.uint8)


def _walk(step: U8, begin: I64, rows: I64) -> None:
    """Fill each row with the positions after one more group; past the end of the data they only grow."""
    stride = np.empty(len(begin), dtype=np.uint8)
    here = rows[0]
    here[:] = begin
    for following in list(rows)[1:]:
        step.take(here, out=stride, mode="clip")
        np.add(here, stride, out=following)
        here = following


class GroupVarintWriter:
    """Writes one stream of groups, batch by batch.

    >>> encoder = GroupVarintWriter(1)
    >>> encoder.add(np.array([[300, 2, 3, 4]], dtype=np.uint32))
    >>> encoder.finish().hex()
    '012c01020304'
    """

    def __init__(self, groups: int) -> None:
        """Args: groups: the most that will be added."""
        self._buffer = np.empty(groups * MAX_GROUP_BYTES + 8, dtype=np.uint8)
        self._end = 0

    def add(self, numbers: U32) -> None:
        """Append groups, uint32[g, 4]."""
        if len(numbers):
            self._end = _encode(numbers, self._buffer, self._end)

    def finish(self) -> bytes:
        """The stream."""
        return self._buffer[: self._end].tobytes()


def _encode(numbers: U32, buffer: U8, offset: int) -> int:
    """Write groups from `offset` of the buffer on; returns where they end."""
    # Two numbers of up to four bytes are put into a word, so a group is a control byte and two words.
    pairs = numbers.reshape(-1, 2)
    extra = (pairs > 0xFF).view(np.uint8)
    extra += pairs > 0xFFFF
    extra += pairs > 0xFFFFFF
    # Neighbouring counts as one little-endian number, so that nothing is gathered byte by byte.
    both = extra.view("<u2")[:, 0]
    first_bits = (both & np.uint16(3)).astype(np.uint64)
    first_bits += np.uint64(1)
    first_bits <<= np.uint64(3)
    words = pairs[:, 1].astype(np.uint64)
    words <<= first_bits
    words |= pairs[:, 0]
    size = both >> np.uint16(8)
    size += both & np.uint16(3)
    size += np.uint16(2)
    size[0::2] += np.uint16(1)  # the control byte before the first word
    at = np.cumsum(size, dtype=np.int64)
    at += offset
    end = int(at[-1])
    at -= size
    at[0::2] += 1
    # Whole words, in ascending order: the bytes that a word leaves behind its two numbers, the next one overwrites.
    unaligned: npt.NDArray[np.uint64] = np.ndarray(len(buffer) - 7, "<u8", buffer.data, strides=(1,))
    unaligned[at] = words
    all_four = extra.reshape(-1, 4).view("<u4")[:, 0]
    control = all_four | all_four >> np.uint32(6) | all_four >> np.uint32(12) | all_four >> np.uint32(18)
    buffer[at[0::2] - 1] = control.astype(np.uint8)
    return end
