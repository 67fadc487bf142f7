"""Lists of numbers with a checksum each, as label indices and postings are made of: `u32 length, head, items, CRC`.

Two checkers stand here: one that goes from list to list and names what is wrong, and one that looks at all lists of a
job at once and only says whether they are right. Offset tables that point at lists do not belong here (FORMAT.md, 5.5).
"""

import struct
from collections.abc import Sequence
from typing import Final, NamedTuple

import google_crc32c
import numpy as np
import numpy.typing as npt

from pyro_assets.block.columns import Bool
from pyro_assets.block.tsdb.layout import U32
from pyro_assets.errors import BadCount, BadIndex, BadLength, Where
from pyro_assets.storage.checksum import check_crc

#: Lists start at multiples of this.
LIST_ALIGNMENT: Final = 4

U32Array = npt.NDArray[np.uint32]

_crc = google_crc32c.value
_ALL: Final = 0xFFFFFFFF
_POLYNOMIAL: Final = 0x82F63B78  # Castagnoli, reflected


class Lists(NamedTuple):
    """The lists that fill [start, end) of an index.

    Attributes:
        data: the whole index.
        start: of the first list, a multiple of 4.
        end: half-open bound of the last.
        head: words before the items of a list: the number of items, in front of it a 1 if there are two.
        offsets: where the offset table says that lists start.
        allowed: what an item may be, ascending; symbols are a range from 0.
        what: a list's name in messages.
        where: object, dataset and section.
    """

    data: bytes
    start: int
    end: int
    head: int
    offsets: Sequence[int]
    allowed: Sequence[int]
    what: str
    where: Where


def check_lists(lists: Lists) -> None:
    """Walks from list to list and raises at the first that is wrong, then compares with the offset table.

    Raises:
        BadLength, BadCount, BadIndex, ChecksumMismatch.
    """
    data, start, end, head, offsets, allowed, what, where = lists
    known = frozenset(allowed)
    starts = set()
    offset = start
    while offset < end:
        size = U32.unpack_from(data, offset)[0] if offset + 4 <= end else -1
        stop = offset + 4 + size
        if stop + 4 > end or size % 4 or size < 4 * head:
            bounds = f"{4 * head} to {end - offset - 8}, a multiple of 4"
            raise BadLength(f"length of a {what}", where, offset=offset, expected=bounds, actual=size)
        crc = U32.unpack_from(data, stop)[0]
        check_crc(data[offset + 4 : stop], crc, what, where, offset + 4)
        words = struct.unpack_from(f">{size // 4}I", data, offset + 4)
        items = words[head:]
        if words[head - 1] != len(items):
            at = offset + 4 * head
            raise BadCount(f"items of a {what}", where, offset=at, expected=len(items), actual=words[head - 1])
        if head == 2 and words[0] != 1:
            raise BadCount(f"names of a {what}", where, offset=offset + 4, expected=1, actual=words[0])
        for number, item in enumerate(items):
            if item not in known:
                at = offset + 4 * (1 + head + number)
                raise BadIndex(f"item of a {what}", where, offset=at, expected="one that exists", actual=item)
        starts.add(offset)
        offset = stop + 4
    if len(offsets) != len(starts):
        raise BadCount(f"offsets to a {what}", where, offset=start, expected=len(starts), actual=len(offsets))
    if starts.symmetric_difference(offsets):
        bad = next((one for one in offsets if one not in starts), "one twice")
        raise BadIndex(f"offset of a {what}", where, offset=start, expected="where a list starts", actual=bad)


def _before(register: int) -> int:
    """The state of a CRC-32C register that four zero bytes turn into `register`."""
    for _ in range(32):
        register = ((register ^ _POLYNOMIAL) << 1 | 1) if register >> 31 else register << 1
    return register


#: Fed as four bytes into a register of 0, this leaves it as it is before any data: all ones.
_RESTART: Final = _before(_ALL)


def lists_are_right(job: Sequence[Lists]) -> bool:
    """Whether `check_lists` would raise for none of a whole job's lists, found out without a loop over them.

    Checksums of short lists one by one would cost more than all else. Instead one CRC runs over all lists, each
    stored checksum replaced by the bytes that must bring the register to 0 and each length by those that restart it:
    it ends at 0 only if every list does (or errors cancel, one in 2^32, as with any such checksum).
    """
    starts: list[int] = []
    joined = bytearray()
    for data, start, end, _, offsets, _, _, _ in job:
        # Where the table does not begin with the first list, the slow way has to look.
        if (offsets[0] != start) if offsets else (start < end):
            return False
        shift = len(joined) - start
        starts += [offset + shift for offset in offsets]
        joined += data[start : max(start, end)]
        if len(joined) % 4:
            return False
    if not starts:
        return True
    stream = np.frombuffer(joined, "<u4")
    words = stream.byteswap()
    try:
        first = np.array(starts, np.int64)
    except OverflowError:
        return False
    if (first % 4).any():
        return False
    first //= 4
    head = np.repeat([one.head for one in job], [len(one.offsets) for one in job])
    crc = np.append(first[1:], len(words)) - 1
    items = crc - first - 1 - head
    # Ascending starts within the words, each list as long as it says and with as many items: no gap and no overlap.
    if (items < 0).any() or first[-1] >= len(words) or (words[first] != 4 * (items + head)).any():
        return False
    if (words[first + head] != items).any() or (words[first[head == 2] + 1] != 1).any():
        return False
    stream[first] = _RESTART
    stream[crc] = words[crc] ^ np.uint32(_ALL)
    # In front of the first list the register is not 0 but all ones.
    stream[0] ^= np.uint32(_ALL)
    if _crc(stream) != _ALL:
        return False
    is_item = np.ones(len(words), np.bool_)
    is_item[first] = is_item[first + 1] = is_item[first + head] = is_item[crc] = False
    return _are_allowed(job, words, is_item)


def _are_allowed(job: Sequence[Lists], words: U32Array, is_item: Bool) -> bool:
    """Whether every item is one that its own index allows."""
    # One number for index and item, so that one look-up serves all of them; symbols need only a bound.
    owner = np.arange(len(job), dtype=np.int64) << 32
    bound = np.array([len(one.allowed) if isinstance(one.allowed, range) else -1 for one in job], np.int64)
    counts = [max(0, one.end - one.start) // 4 for one in job]
    keys = (np.repeat(owner, counts) | words)[is_item]
    below = np.repeat(owner + bound, counts)[is_item]
    allowed = np.array(
        [
            item + (number << 32)
            for number, one in enumerate(job)
            if not isinstance(one.allowed, range)
            for item in one.allowed
        ]
        or [-1],
        np.int64,
    )
    found = np.minimum(allowed.searchsorted(keys), len(allowed) - 1)
    return bool(((allowed[found] == keys) | (keys < below)).all())
