"""The parts of an index that serve look-ups: label indices, postings, their offset tables, fingerprint offsets.

This project never looks a series up, but it vouches for every byte of a block: each part's lengths, counts, checksums
and references are checked here. Nothing is returned; series themselves are read in `reader` (FORMAT.md, 5.5).
"""

from collections.abc import Sequence
from typing import NamedTuple

import google_crc32c

from pyro_assets.block.tsdb.layout import FINGERPRINT_STEP, U32, U64, Toc, align, read_uvarint
from pyro_assets.block.tsdb.lists import LIST_ALIGNMENT, Lists, check_lists, lists_are_right
from pyro_assets.errors import BadCount, BadIndex, BadLength, Truncated, Where
from pyro_assets.storage.checksum import check_crc

_crc = google_crc32c.value


class Lookup(NamedTuple):
    """What the look-up parts of one index are checked against.

    Attributes:
        data: the whole TSDB index.
        toc: its table of contents.
        references: of the series that were read, offset / 16.
        symbols: how many symbols there are.
        where: object, dataset and section.
    """

    data: bytes
    toc: Toc
    references: Sequence[int]
    symbols: int
    where: Where


def check_lookups(lookups: Sequence[Lookup]) -> None:
    """Checks everything between the series and the fingerprint offsets of many indices.

    Raises:
        BadLength, BadCount, BadIndex, ChecksumMismatch, Truncated.
    """
    lists = []
    for data, toc, references, symbols, where in lookups:
        start, end = toc.label_index_table, toc.postings_table
        offsets = _table_offsets(data, start, end, 1, "label-index table", where)
        start, end = align(toc.label_indices, LIST_ALIGNMENT), toc.postings
        lists.append(Lists(data, start, end, 2, offsets, range(symbols), "label index", where))
        start, end = toc.postings_table, toc.fingerprints
        offsets = _table_offsets(data, start, end, 2, "postings table", where)
        start, end = align(toc.postings, LIST_ALIGNMENT), toc.label_index_table
        lists.append(Lists(data, start, end, 1, offsets, references, "postings list", where))
    if not lists_are_right(lists):
        for one in lists:
            check_lists(one)


def _table_offsets(data: bytes, start: int, end: int, strings: int, what: str, where: Where) -> list[int]:
    """Reads `u32 length, u32 count, entries, u32 CRC` in [start, end).

    An entry is the number of its strings as uvarint, the strings, and the offset of a list as uvarint.

    Returns:
        The offsets, in the order of the table.
    """
    table = part(data, start, end, what, where)
    count = U32.unpack_from(table)[0]
    if count > (len(table) - 4) // (strings + 2):
        most = (len(table) - 4) // (strings + 2)
        raise BadCount(f"entries of the {what}", where, offset=start + 4, expected=f"at most {most}", actual=count)
    offsets = []
    position = 4
    base = start + 4
    try:
        for _ in range(count):
            if table[position] != strings:
                raise BadCount(
                    f"strings of an entry of the {what}",
                    where,
                    offset=base + position,
                    expected=strings,
                    actual=table[position],
                )
            # Written out rather than called, because this runs for every label value of a job.
            size = table[position + 1]
            if size < 0x80:
                position += 2 + size
            else:
                size, position = read_uvarint(table, position + 1, base, where)
                position += size
            if strings == 2:
                size = table[position]
                if size < 0x80:
                    position += 1 + size
                else:
                    size, position = read_uvarint(table, position, base, where)
                    position += size
            size = table[position]
            position += 1
            if size >= 0x80:
                size, position = read_uvarint(table, position - 1, base, where)
            offsets.append(size)
    except IndexError:
        raise Truncated(f"entries of the {what}", where, offset=base + position) from None
    if position != len(table):
        raise BadLength(f"entries of the {what}", where, offset=start, expected=len(table), actual=position)
    return offsets


def check_fingerprints(
    index: bytes, start: int, end: int, references: Sequence[int], fingerprints: Sequence[bytes], where: Where
) -> None:
    """Checks the fingerprint offsets in [start, end) against the series that were read.

    Args:
        index: the whole TSDB index.
        start: of the part.
        end: of the part, half-open.
        references: of all series, offset / 16.
        fingerprints: of all series, eight bytes each as they stand in the entries.
        where: for messages.

    Raises:
        Truncated, BadLength, BadCount, BadIndex, ChecksumMismatch.
    """
    table = part(index, start, end, "fingerprint offsets", where)
    count = len(range(0, len(references), FINGERPRINT_STEP))
    found = U32.unpack_from(table)[0]
    if found != count:
        raise BadCount("fingerprint offsets", where, offset=start + 4, expected=count, actual=found)
    if len(table) != 4 + 16 * count:
        raise BadLength("fingerprint offsets", where, offset=start, expected=4 + 16 * count, actual=len(table))
    for number in range(count):
        series = number * FINGERPRINT_STEP
        expected = U64.pack(references[series]) + fingerprints[series]
        at = 4 + 16 * number
        if table[at : at + 16] != expected:
            raise BadIndex(
                "fingerprint offset",
                where,
                offset=start + 4 + at,
                expected=expected.hex(),
                actual=table[at : at + 16].hex(),
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
