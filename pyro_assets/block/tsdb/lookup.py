"""The parts of an index that serve look-ups: label indices, postings, their offset tables, fingerprint offsets.

This project never looks a series up, but it vouches for every byte of a block: each part's lengths, counts, checksums
and references are checked here. Nothing is returned; series themselves are read in `reader` (FORMAT.md, 5.5).
"""

import struct
from collections.abc import Sequence
from typing import Final

import google_crc32c

from pyro_assets.block.checksum import check_crc
from pyro_assets.block.cursor import Cursor
from pyro_assets.block.tsdb.layout import FINGERPRINT_STEP, U32, Toc, align
from pyro_assets.errors import BadCount, BadIndex, BadLength, Truncated, Where

_crc = google_crc32c.value

_LIST_ALIGNMENT: Final = 4
#: Smallest entry of an offset table: number of strings, that many empty strings, a one-byte offset.
_LABEL_INDEX_STRINGS: Final = 1
_POSTINGS_STRINGS: Final = 2


def check_lookup(index: bytes, toc: Toc, references: Sequence[int], symbols: int, where: Where) -> None:
    """Checks everything between the series and the fingerprint offsets.

    Args:
        index: the whole TSDB index.
        toc: its table of contents.
        references: of the series that were read, offset / 16.
        symbols: how many symbols there are.
        where: object, dataset and section.

    Raises:
        BadLength, BadCount, BadIndex, ChecksumMismatch, Truncated.
    """
    start = align(toc.label_indices, _LIST_ALIGNMENT)
    starts = _check_lists(index, start, toc.postings, 2, frozenset(range(symbols)), "label index", where)
    _check_table(index, toc.label_index_table, toc.postings_table, 1, starts, "label-index table", where)
    start = align(toc.postings, _LIST_ALIGNMENT)
    starts = _check_lists(index, start, toc.label_index_table, 1, frozenset(references), "postings", where)
    _check_table(index, toc.postings_table, toc.fingerprints, 2, starts, "postings table", where)


def _check_lists(
    index: bytes, start: int, end: int, head: int, allowed: frozenset[int], what: str, where: Where
) -> list[int]:
    """Walks the lists `u32 length, head words, n words, u32 CRC` that fill [start, end).

    Args:
        index: the whole TSDB index.
        start: of the first list.
        end: half-open bound of the last.
        head: words before the items; the last of them is the number of items.
        allowed: what an item may be.
        what: for messages.
        where: for messages.

    Returns:
        The offsets where lists start.
    """
    if start >= end:
        return []
    if (end - start) % 4:
        raise BadLength(f"lists of {what}", where, offset=start, expected="a multiple of 4", actual=end - start)
    words = struct.unpack_from(f">{(end - start) // 4}I", index, start)
    starts = []
    position, last = 0, len(words)
    while position < last:
        size = words[position] >> 2
        stop = position + 1 + size
        offset = start + 4 * position
        if stop >= last or words[position] & 3 or size < head:
            raise BadLength(
                f"length of a {what}",
                where,
                offset=offset,
                expected=f"{4 * head} to {4 * (last - position - 2)}, a multiple of 4",
                actual=words[position],
            )
        if _crc(index[offset + 4 : start + 4 * stop]) != words[stop]:
            check_crc(index[offset + 4 : start + 4 * stop], words[stop], what, where, offset + 4)
        if words[position + head] != size - head:
            raise BadCount(
                f"items of a {what}",
                where,
                offset=offset + 4 * head,
                expected=size - head,
                actual=words[position + head],
            )
        if head == 2 and words[position + 1] != 1:
            raise BadCount(f"names of a {what}", where, offset=offset + 4, expected=1, actual=words[position + 1])
        if not allowed.issuperset(words[position + 1 + head : stop]):
            bad = next(item for item in words[position + 1 + head : stop] if item not in allowed)
            raise BadIndex(
                f"item of a {what}", where, offset=offset, expected="a symbol or series that exists", actual=bad
            )
        starts.append(offset)
        position = stop + 1
    return starts


def _check_table(index: bytes, start: int, end: int, strings: int, starts: list[int], what: str, where: Where) -> None:
    """Checks `u32 length, u32 count, entries, u32 CRC` in [start, end); every list must have one entry.

    An entry is `uvarint strings`, that many strings and the offset of a list.
    """
    table = part(index, start, end, what, where)
    count = U32.unpack_from(table)[0]
    if count != len(starts):
        raise BadCount(f"entries of the {what}", where, offset=start + 4, expected=len(starts), actual=count)
    offsets = []
    position = 4
    marks = range(strings)
    try:
        for _ in range(count):
            if table[position] != strings:
                raise BadCount(
                    f"strings of an entry of the {what}",
                    where,
                    offset=start + 4 + position,
                    expected=strings,
                    actual=table[position],
                )
            position += 1
            for _mark in marks:
                size = table[position]
                if size < 0x80:
                    position += 1 + size
                else:
                    size, position = read_uvarint(table, position, start + 4, where)
                    position += size
            size = table[position]
            if size < 0x80:
                position += 1
            else:
                size, position = read_uvarint(table, position, start + 4, where)
            offsets.append(size)
    except IndexError:
        raise Truncated(f"entries of the {what}", where, offset=start + 4 + position) from None
    if position != len(table):
        raise BadLength(
            f"entries of the {what}", where, offset=start + 4, expected=f"{len(table)} bytes", actual=position
        )
    if offsets != starts and sorted(offsets) != starts:
        known = set(starts)
        bad = next((offset for offset in offsets if offset not in known), "the same list twice")
        raise BadIndex(f"offset in the {what}", where, offset=start, expected="the start of a list", actual=bad)


def check_fingerprints(
    index: bytes, start: int, end: int, references: Sequence[int], fingerprints: Sequence[int], where: Where
) -> None:
    """Checks the fingerprint offsets in [start, end) against the series that were read.

    Raises:
        BadLength, BadCount, BadIndex, ChecksumMismatch.
    """
    table = part(index, start, end, "fingerprint offsets", where)
    pairs = list(zip(references[::FINGERPRINT_STEP], fingerprints[::FINGERPRINT_STEP], strict=True))
    count = U32.unpack_from(table)[0]
    if count != len(pairs):
        raise BadCount("fingerprint offsets", where, offset=start + 4, expected=len(pairs), actual=count)
    if len(table) != 4 + 16 * count:
        raise BadLength("fingerprint offsets", where, offset=start, expected=4 + 16 * count, actual=len(table))
    found = list(struct.iter_unpack(">QQ", table[4:]))
    if found != pairs:
        number = next(number for number, pair in enumerate(pairs) if found[number] != pair)
        raise BadIndex(
            "fingerprint offset",
            where,
            offset=start + 8 + 16 * number,
            expected=pairs[number],
            actual=found[number],
        )


def part(index: bytes, start: int, end: int, what: str, where: Where) -> bytes:
    """The payload of `u32 length, payload, u32 CRC`, which must fill [start, end); at least its count is there.

    Raises:
        Truncated, BadLength, ChecksumMismatch.
    """
    if end - start < 12:
        raise Truncated(what, where, offset=start, expected="at least 12 bytes", actual=end - start)
    length = U32.unpack_from(index, start)[0]
    if length != end - start - 8:
        raise BadLength(f"length of {what}", where, offset=start, expected=end - start - 8, actual=length)
    payload = index[start + 4 : end - 4]
    expected = U32.unpack_from(index, end - 4)[0]
    if _crc(payload) != expected:
        check_crc(payload, expected, what, where, start + 4)
    return payload


def read_uvarint(data: bytes, position: int, base: int, where: Where) -> tuple[int, int]:
    """A number of two bytes quickly, a longer one through a cursor; returns it and the position after it."""
    second = data[position + 1]
    if second < 0x80:
        return data[position] & 0x7F | second << 7, position + 2
    cursor = Cursor(memoryview(data)[position:], where, base + position)
    return cursor.uvarint(), position + cursor.position
