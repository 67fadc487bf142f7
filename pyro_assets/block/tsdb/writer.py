"""Writes a TSDB index: everything in it follows from the series and their order, so equal series give equal bytes.

Real blocks are reproduced to the byte. Which series there are, and their order, is decided by callers; reading stands
in `reader` (FORMAT.md, 5).
"""

from collections.abc import Iterable, Sequence
from struct import Struct, pack

import google_crc32c

from pyro_assets.block.columns import I64, U64, Labels
from pyro_assets.block.cursor import uvarint, varint
from pyro_assets.block.tsdb.layout import FINGERPRINT_STEP, HEAD, SERIES_ALIGNMENT, Toc
from pyro_assets.block.tsdb.lists import LIST_ALIGNMENT
from pyro_assets.errors import Unwritable, Where

_crc = google_crc32c.value
_U32 = Struct(">I").pack
_U64 = Struct(">Q").pack
_PAIR = Struct(">QQ").pack
_MAX_U32 = (1 << 32) - 1
#: Text of an index's postings, in which each pair of name and value stands: the format ends at 4 GiB, memory before.
_MOST_PAIR_BYTES = 1 << 30

Label = tuple[bytes, bytes]
#: One series: labels, fingerprint, series index, first and last time.
_Column = tuple[Labels, int, int, int, int]


def write_index(
    labels: Sequence[Labels],
    fingerprint: U64,
    series_index: I64,
    min_time_ns: I64,
    max_time_ns: I64,
    where: Where | None = None,
) -> bytes:
    """Writes the index of one dataset or tenant, one chunk a series, in the given order.

    Args:
        labels: s label sets in stored order.
        fingerprint: uint64[s], copied.
        series_index: int64[s], what the SeriesIndex column refers to (in a dataset index: the dataset's position).
        min_time_ns: int64[s], first profile.
        max_time_ns: int64[s], last profile, included.
        where: for messages.

    Returns:
        The whole section.

    Raises:
        Unwritable: a series index outside 32 bits, a last time before the first, or more text than an index may have.
    """
    where = where or Where(section="tsdb")
    first, last = min_time_ns.tolist(), max_time_ns.tolist()
    columns = list(zip(labels, fingerprint.tolist(), series_index.tolist(), first, last, strict=True))
    for number, (_, _, index, start, end) in enumerate(columns):
        if not 0 <= index <= _MAX_U32 or end < start:
            raise Unwritable(
                f"series {number}",
                where,
                expected="an index of 32 bits and times in order",
                actual=(index, start, end),
            )
    strings = sorted({text for one in labels for label in one for text in label})
    # Every string stands among the symbols and, with its length in front of it as here, in the offset tables.
    written = {text: uvarint(len(text)) + text for text in strings}

    out = bytearray(HEAD)
    symbols = len(out)
    out += _framed(_U32(len(strings)) + b"".join(written.values()))
    series = len(out)
    references, holders = _append_series(out, columns, strings)
    pairs = sorted(holders)
    size = sum(len(name) + len(value) for name, value in pairs)
    if size > _MOST_PAIR_BYTES:
        raise Unwritable("labels of all series", where, expected=f"at most {_MOST_PAIR_BYTES} bytes", actual=size)
    label_indices = len(out)
    names = _append_label_indices(out, pairs, strings, written)
    postings = len(out)
    lists = _append_postings(out, pairs, holders, references, written)
    label_index_table = len(out)
    out += _framed(_U32(len(names)) + b"".join(names))
    postings_table = len(out)
    out += _framed(_U32(len(lists)) + b"".join(lists))
    fingerprints = len(out)
    marked = range(0, len(references), FINGERPRINT_STEP)
    marks = [_PAIR(references[number], columns[number][1]) for number in marked]
    out += _framed(_U32(len(marks)) + b"".join(marks))
    toc = Toc(
        symbols,
        series,
        label_indices,
        label_index_table,
        postings,
        postings_table,
        fingerprints,
        min(first, default=0),
        max(last, default=0),
    )
    out += toc.encode()
    return bytes(out)


def _append_series(
    out: bytearray, columns: Iterable[_Column], strings: Sequence[bytes]
) -> tuple[list[int], dict[Label, list[int]]]:
    """Appends the entries; returns the references of all, and of those that hold each label."""
    symbol = {text: uvarint(number) for number, text in enumerate(strings)}
    references: list[int] = []
    holders: dict[Label, list[int]] = {}
    for labels, fingerprint, index, start, end in columns:
        out += bytes(-len(out) % SERIES_ALIGNMENT)
        reference = len(out) // SERIES_ALIGNMENT
        references.append(reference)
        for label in labels:
            holders.setdefault(label, []).append(reference)
        entry = b"".join(
            (
                _U64(fingerprint),
                uvarint(len(labels)),
                b"".join([symbol[text] for label in labels for text in label]),
                b"\x01",
                varint(start),
                uvarint(end - start),
                b"\x00",
                uvarint(index),
                b"\x00\x00\x00\x00",
            )
        )
        out += uvarint(len(entry)) + entry + _U32(_crc(entry))
    return references, holders


def _append_label_indices(
    out: bytearray, pairs: Iterable[Label], strings: Sequence[bytes], written: dict[bytes, bytes]
) -> list[bytes]:
    """Appends the values of each label name; returns the entries of their offset table."""
    number_of = {text: number for number, text in enumerate(strings)}
    values: dict[bytes, list[int]] = {}
    for name, value in pairs:
        values.setdefault(name, []).append(number_of[value])
    out += bytes(-len(out) % LIST_ALIGNMENT)
    table = []
    for name, numbers in values.items():
        table.append(b"\x01" + written[name] + uvarint(len(out)))
        out += _framed(pack(f">{len(numbers) + 2}I", 1, len(numbers), *numbers))
    return table


def _append_postings(
    out: bytearray,
    pairs: Iterable[Label],
    holders: dict[Label, list[int]],
    references: Sequence[int],
    written: dict[bytes, bytes],
) -> list[bytes]:
    """Appends the series of all and of each label; returns the entries of their offset table."""
    table = [b"\x02\x00\x00" + uvarint(len(out))]
    out += _framed(pack(f">{len(references) + 1}I", len(references), *references))
    for pair in pairs:
        table.append(b"\x02" + written[pair[0]] + written[pair[1]] + uvarint(len(out)))
        held = holders[pair]
        out += _framed(pack(f">{len(held) + 1}I", len(held), *held))
    return table


def _framed(payload: bytes) -> bytes:
    """A part of the index: its length, itself, its checksum."""
    return b"".join((_U32(len(payload)), payload, _U32(_crc(payload))))
