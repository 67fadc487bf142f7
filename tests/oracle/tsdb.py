"""A slow decoder of TSDB index sections that recomputes every redundant part from the series and compares.

Shares nothing with the package. The format is explained in pyro_assets/block/FORMAT.md.
"""

import struct
from typing import Any

from tests.oracle.bytes import Reader, check_crc, must
from tests.oracle.values import Series


class _Framed(Reader):
    """A part framed as u32 length, content, u32 CRC of the content; `end` is where the next part begins."""

    def __init__(self, data: bytes, offset: int, what: str) -> None:
        outer = Reader(data, offset)
        super().__init__(outer.take(outer.u32()))
        check_crc(self.data, outer.u32(), what)
        self.end = outer.position


def read_tsdb(data: bytes, is_dataset_index: bool = False) -> list[Series]:
    """All series of a TSDB index, with every redundant part of it checked against the series."""
    must(data[:5] == b"\xba\xaa\xd7\x00\x02", "magic or version of a TSDB index", data[:5])
    must(len(data) >= 81, "too short for a TSDB index", len(data))
    check_crc(data[-76:-4], int.from_bytes(data[-4:], "big"), "TSDB table of contents")
    symbols_at, series_at, indices_at, indices_table_at, postings_at, postings_table_at, fingerprints_at = (
        struct.unpack(">7Q", data[-76:-20])
    )
    through_from = struct.unpack(">2q", data[-20:-4])
    must(symbols_at == 5, "symbols do not follow the version", symbols_at)

    reader = _Framed(data, symbols_at, "TSDB symbols")
    symbols = [reader.text() for _ in range(reader.u32())]
    must(reader.at_end(), "bytes after the TSDB symbols")
    must(symbols == sorted(set(symbols)), "TSDB symbols are not sorted and unique")
    must(b"" not in symbols, "the empty string is among the TSDB symbols")
    must(series_at == reader.end, "series do not follow the symbols", series_at)

    series: list[Series] = []
    entries: list[tuple[int, list[tuple[int, int]]]] = []
    outer = Reader(data, series_at)
    while outer.position < indices_at:
        outer.zeros(-outer.position % 16, "padding between series")
        offset = outer.position
        entry = outer.take(outer.uvarint())
        check_crc(entry, outer.u32(), "series")
        inner = Reader(entry)
        fingerprint = inner.u64()
        pairs = [(inner.uvarint(), inner.uvarint()) for _ in range(inner.uvarint())]
        chunks, end = [], 0
        for number in range(inner.uvarint()):
            start = inner.varint() + (end if number else 0)
            end = start + inner.uvarint()
            must(inner.uvarint() == 0, "KB of a chunk")
            chunks.append((start, end, inner.uvarint()))
            must(inner.u32() == 0, "checksum of a chunk")
        must(inner.at_end(), "bytes after a series entry", offset)
        must(all(name < len(symbols) and value < len(symbols) for name, value in pairs), "symbol out of range")
        labels = tuple((symbols[name], symbols[value]) for name, value in pairs)
        series.append(Series(labels, fingerprint, tuple(chunks), offset // 16))
        entries.append((offset // 16, pairs))

    # The offsets of the table of contents are taken before the padding that aligns what follows.
    must(outer.position == indices_at, "label indices do not follow the series", indices_at, outer.position)
    names = sorted({name for _, pairs in entries for name, _ in pairs})
    offset_of: dict[bytes, int] = {}
    for name in names:
        position = outer.position + -outer.position % 4
        offset_of[symbols[name]] = position
        reader = _Framed(data, position, "label index")
        must(reader.u32() == 1, "names of a label index")
        values = [reader.u32() for _ in range(reader.u32())]
        must(reader.at_end(), "bytes after a label index")
        expected = sorted({value for _, pairs in entries for n, value in pairs if n == name})
        must(values == expected, "values of a label index", symbols[name])
        outer.position = reader.end

    if not names:
        # Nothing real shows whether an index without labels is padded before or after its postings begin.
        outer.position = min(postings_at, outer.position + -outer.position % 4)
    must(outer.position == postings_at, "postings do not follow the label indices", postings_at, outer.position)
    lists: dict[tuple[bytes, bytes], list[int]] = {(b"", b""): [reference for reference, _ in entries]}
    for reference, pairs in entries:
        for name, value in pairs:
            lists.setdefault((symbols[name], symbols[value]), []).append(reference)
    posting_offset: dict[tuple[bytes, bytes], int] = {}
    for pair in sorted(lists):
        position = outer.position + -outer.position % 4
        posting_offset[pair] = position
        reader = _Framed(data, position, "postings")
        references = [reader.u32() for _ in range(reader.u32())]
        must(reader.at_end(), "bytes after a postings list")
        must(references == lists[pair], "postings list", pair)
        outer.position = reader.end

    must(outer.position == indices_table_at, "label-index table", indices_table_at, outer.position)
    reader = _Framed(data, indices_table_at, "label-index table")
    found: list[tuple[Any, int]] = []
    for _ in range(reader.u32()):
        must(reader.uvarint() == 1, "entry of the label-index table")
        found.append((reader.text(), reader.uvarint()))
    must(reader.at_end() and found == list(offset_of.items()), "label-index table", found)
    must(reader.end == postings_table_at, "postings table does not follow", postings_table_at)
    reader = _Framed(data, postings_table_at, "postings table")
    found = []
    for _ in range(reader.u32()):
        must(reader.uvarint() == 2, "entry of the postings table")
        found.append(((reader.text(), reader.text()), reader.uvarint()))
    must(reader.at_end() and found == list(posting_offset.items()), "postings table", found)
    must(reader.end == fingerprints_at, "fingerprint offsets do not follow", fingerprints_at)
    reader = _Framed(data, fingerprints_at, "fingerprint offsets")
    pairs64 = [(reader.u64(), reader.u64()) for _ in range(reader.u32())]
    must(reader.at_end(), "bytes after the fingerprint offsets")
    must(pairs64 == [(s.reference, s.fingerprint) for s in series[::1024]], "fingerprint offsets", pairs64)
    must(reader.end == len(data) - 76, "table of contents does not follow", reader.end)

    all_chunks = [chunk for one in series for chunk in one.chunks]
    if all_chunks:
        bounds = (min(chunk[0] for chunk in all_chunks), max(chunk[1] for chunk in all_chunks))
        must(through_from == bounds, "times of the table of contents", through_from, bounds)
    if is_dataset_index:
        must(all(chunk[:2] == (0, 0) for chunk in all_chunks), "a dataset index with times")
    else:
        indices = [chunk[2] for chunk in all_chunks]
        must(indices == sorted(indices), "series are not in the order of their index", indices)
    return series
