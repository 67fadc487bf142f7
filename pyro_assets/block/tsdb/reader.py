"""Reads the series of many TSDB indices at once: labels, fingerprints, times and the numbers that rows refer to.

Every part of an index is checked, also those that are not used (`lookup`). One pass over series entries in Python is
meant, there are hundreds in a job; their integers are decoded for the whole job at once (`chunks`). Writing stands in
`writer` (FORMAT.md, 5).
"""

from collections.abc import Sequence

import google_crc32c
import numpy as np

from pyro_assets.block.columns import I64, Labels, SeriesTable
from pyro_assets.block.cursor import Cursor
from pyro_assets.block.tsdb.chunks import decode_chunks, first_chunks
from pyro_assets.block.tsdb.layout import SERIES_ALIGNMENT, TOC_BYTES, U32, Toc, read_toc, read_uvarint
from pyro_assets.block.tsdb.lookup import Lookup, check_fingerprints, check_lookups, part
from pyro_assets.block.tsdb.memo import Memo
from pyro_assets.errors import BadCount, BadIndex, BadLength, Truncated, Where
from pyro_assets.storage.checksum import check_crc

_crc = google_crc32c.value

#: fingerprint, number of labels, number of chunks.
_SMALLEST_ENTRY_BYTES = 8 + 1 + 1


def read_series(sections: Sequence[memoryview | bytes], wheres: Sequence[Where]) -> SeriesTable:
    """Reads and checks TSDB indices, of datasets or of tenants.

    Args:
        sections: one whole index each.
        wheres: the place of each section, for messages.

    Returns:
        The series of all sections, end to end, in the order they are stored in.

    Raises:
        Truncated, BadMagic, UnsupportedVersion, ChecksumMismatch, BadLength, BadCount, BadIndex, BadEncoding.
    """
    job = _Job()
    dataset_start = np.zeros(len(sections) + 1, np.int64)
    for position, (section, where) in enumerate(zip(sections, wheres, strict=True)):
        job.read(bytes(section), where)
        dataset_start[position + 1] = len(job.fingerprints)
    series_index, min_time_ns, max_time_ns = job.finish()
    return SeriesTable(
        dataset_start=dataset_start,
        fingerprint=np.frombuffer(b"".join(job.fingerprints), ">u8").astype(np.uint64),
        labels=job.labels,
        series_index=series_index,
        min_time_ns=min_time_ns,
        max_time_ns=max_time_ns,
    )


class _Symbols:
    """One symbol table and the label sets that were already resolved with it."""

    __slots__ = ("_resolved", "longest_bytes", "strings")

    def __init__(self, strings: list[bytes]) -> None:
        self.strings = strings
        self.longest_bytes = max(map(len, strings), default=0)
        self._resolved: dict[bytes, Labels] = {}

    def resolved(self) -> dict[bytes, Labels]:
        """Label sets by the bytes of their numbers; callers add to it."""
        if len(self._resolved) > _MOST_RESOLVED:
            self._resolved = {}
        return self._resolved


#: Text of all labels of an index, each time a series has it. A long string that every series refers to is small in the
#: index, and stands with each of them in what is made of it.
_MOST_LABEL_BYTES = 256 << 20


#: What of an index its look-up parts depend on: they themselves, the offsets of all parts, series references, symbols.
_LookupKey = tuple[bytes, tuple[int, ...], tuple[int, ...], int]

#: Label sets that a remembered symbol table keeps resolved.
_MOST_RESOLVED = 4096
#: Bytes of symbol tables, and of look-up parts that were found right; either is a few thousand indices.
_MEMO_BYTES = 2 << 20
_symbol_tables: Memo[bytes, _Symbols] = Memo(_MEMO_BYTES)
_right_lookups: Memo[_LookupKey, bool] = Memo(_MEMO_BYTES)


class _Job:
    """What was read so far; equal symbol tables are read once and equal look-up parts checked once.

    The segments of a job come from the same programs, so most of their indices differ in nothing but times.
    """

    def __init__(self) -> None:
        self.fingerprints: list[bytes] = []
        self.labels: list[Labels] = []
        self.chunks: list[bytes] = []
        self.places: list[tuple[Where, int]] = []
        self._lookups: dict[_LookupKey, Lookup] = {}

    def read(self, index: bytes, where: Where) -> None:
        """Reads one index."""
        toc = read_toc(index, where)
        raw = index[toc.symbols : toc.series]
        symbols = _symbol_tables.get(raw)
        if symbols is None:
            symbols = _Symbols(_read_symbols(index, toc, where))
            _symbol_tables.put(raw, symbols, len(raw))
        before = len(self.labels)
        references, fingerprints = self._read_entries(index, toc, symbols, where)
        # An entry refers to a string by a byte.
        if (toc.label_indices - toc.series) * symbols.longest_bytes > _MOST_LABEL_BYTES:
            _check_label_bytes(self.labels[before:], where)
        check_fingerprints(index, toc.fingerprints, len(index) - TOC_BYTES, references, fingerprints, where)
        count = len(symbols.strings)
        key = (index[toc.label_indices : toc.fingerprints], toc[:7], tuple(references), count)
        if _right_lookups.get(key) is None and key not in self._lookups:
            self._lookups[key] = Lookup(index, toc, references, count, where)

    def finish(self) -> tuple[I64, I64, I64]:
        """Does what is done for the whole job at once; returns series index, first and last time."""
        check_lookups(list(self._lookups.values()))
        for key in self._lookups:
            _right_lookups.put(key, True, len(key[0]) + 8 * len(key[2]))
        return decode_chunks(self.chunks, self.places)

    def _read_entries(self, index: bytes, toc: Toc, symbols: _Symbols, where: Where) -> tuple[list[int], list[bytes]]:
        """Reads the series entries; returns the reference and the fingerprint of each."""
        references: list[int] = []
        fingerprints: list[bytes] = []
        resolved = symbols.resolved()
        end = toc.label_indices
        position = toc.series
        while True:
            start = (position + SERIES_ALIGNMENT - 1) & -SERIES_ALIGNMENT
            if start >= end:
                break
            length = index[start]
            body = start + 1
            if length >= 0x80:
                length, body = read_uvarint(index, start, 0, where)
            stop = body + length
            position = stop + 4
            if position > end or length < _SMALLEST_ENTRY_BYTES:
                raise BadLength(
                    "length of a series entry",
                    where,
                    offset=start,
                    expected=f"{_SMALLEST_ENTRY_BYTES} to {end - body - 4}",
                    actual=length,
                )
            crc = U32.unpack_from(index, stop)[0]
            entry = index[body:stop]
            if _crc(entry) != crc:
                check_crc(entry, crc, "series entry", where, body)
            fingerprint = entry[:8]
            # Labels: where all numbers are below 128 they are the bytes themselves.
            count = entry[8]
            chunk = 9 + 2 * count
            refs = entry[8:chunk]
            labels = resolved.get(refs)
            if labels is None or chunk >= length:
                labels, chunk = _read_labels(entry, symbols, where, body)
                if chunk == 9 + 2 * count:
                    resolved[refs] = labels
            references.append(start // SERIES_ALIGNMENT)
            fingerprints.append(fingerprint)
            if entry[chunk] == 1:
                self.fingerprints.append(fingerprint)
                self.labels.append(labels)
                self.chunks.append(entry[chunk + 1 :])
                self.places.append((where, body + chunk + 1))
            else:
                for data in first_chunks(entry, chunk, body, where):
                    self.fingerprints.append(fingerprint)
                    self.labels.append(labels)
                    self.chunks.append(data)
                    self.places.append((where, body + chunk))
        if position != end:
            raise BadLength("end of the series", where, offset=position, expected=end, actual=position)
        return references, fingerprints


def _check_label_bytes(series: Sequence[Labels], where: Where) -> None:
    size = sum(len(text) for labels in series for label in labels for text in label)
    if size > _MOST_LABEL_BYTES:
        raise BadLength("labels of all series", where, expected=f"at most {_MOST_LABEL_BYTES} bytes", actual=size)


def _read_labels(entry: bytes, symbols: _Symbols, where: Where, base: int) -> tuple[Labels, int]:
    """The labels of an entry and the position after them."""
    text = symbols.strings.__getitem__
    position = 9 + 2 * entry[8]
    numbers: Sequence[int] = entry[9:position]
    # Numbers below 128 are their own encoding, and most symbol tables have no more.
    if position < len(entry) and entry[8:position].isascii():
        try:
            return tuple(zip(map(text, numbers[::2]), map(text, numbers[1::2]), strict=True)), position
        except IndexError:
            pass  # The long way names the number.
    numbers, position = _read_numbers(entry, len(symbols.strings), where, base)
    return tuple(zip(map(text, numbers[::2]), map(text, numbers[1::2]), strict=True)), position


def _read_numbers(entry: bytes, symbols: int, where: Where, base: int) -> tuple[list[int], int]:
    """The symbols of an entry's labels, where some need two bytes or are wrong; and the position after them."""
    cursor = Cursor(entry, where, base)
    cursor.position = 8
    count = cursor.uvarint("number of labels")
    # Two bytes a label at least, and the number of chunks.
    if 2 * count >= cursor.remaining:
        raise BadCount(
            "labels of a series",
            where,
            offset=base + 8,
            expected=f"at most {(cursor.remaining - 1) // 2}",
            actual=count,
        )
    position = cursor.position
    numbers = []
    try:
        for _ in range(2 * count):
            start = position
            number = entry[position]
            position += 1
            if number >= 0x80:
                number, position = read_uvarint(entry, start, base, where)
            if number >= symbols:
                raise BadIndex(
                    "label symbol", where, offset=base + start, expected=f"at most {symbols - 1}", actual=number
                )
            numbers.append(number)
        entry[position]
    except IndexError:
        raise Truncated("labels of a series", where, offset=base + position) from None
    return numbers, position


def _read_symbols(index: bytes, toc: Toc, where: Where) -> list[bytes]:
    """The symbol table: `u32 length, u32 count, entries of uvarint length and bytes, u32 CRC`."""
    table = part(index, toc.symbols, toc.series, "symbols", where)
    count = U32.unpack_from(table)[0]
    if count > len(table) - 4:
        raise BadCount("symbols", where, offset=toc.symbols + 4, expected=f"at most {len(table) - 4}", actual=count)
    strings = []
    position = 4
    try:
        for _ in range(count):
            size = table[position]
            position += 1
            if size >= 0x80:
                size, position = read_uvarint(table, position - 1, toc.symbols + 4, where)
            strings.append(table[position : position + size])
            position += size
    except IndexError:
        raise Truncated("symbols", where, offset=toc.symbols + 4 + position) from None
    if position != len(table):
        raise BadLength("symbols", where, offset=toc.symbols, expected=f"{len(table)} bytes", actual=position)
    return strings
