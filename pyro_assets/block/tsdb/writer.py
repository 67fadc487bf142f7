"""Writes a TSDB index: everything in it follows from the series and their order, so equal series give equal bytes.

Real blocks are reproduced to the byte. Which series there are, and their order, is decided by callers; reading stands
in `reader` (FORMAT.md, 5).
"""

import struct
from collections.abc import Sequence

import google_crc32c

from pyro_assets.block.columns import I64, U64, Labels
from pyro_assets.block.tsdb.layout import (
    FINGERPRINT_STEP,
    HEAD,
    SERIES_ALIGNMENT,
    Toc,
    uvarint,
    varint,
)
from pyro_assets.block.tsdb.layout import U64 as U64_STRUCT
from pyro_assets.errors import Unwritable, Where

_crc = google_crc32c.value
_U32 = struct.Struct(">I").pack
_MAX_U32 = (1 << 32) - 1


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
        Unwritable: a series index outside 32 bits, or a last time before the first.
    """
    where = where or Where(section="tsdb")
    fingerprints, indices = fingerprint.tolist(), series_index.tolist()
    first, last = min_time_ns.tolist(), max_time_ns.tolist()
    if not len(labels) == len(fingerprints) == len(indices) == len(first) == len(last):
        raise Unwritable("series columns of different lengths", where, expected=len(labels), actual=len(indices))
    for number, (index, start, end) in enumerate(zip(indices, first, last, strict=True)):
        if not 0 <= index <= _MAX_U32 or end < start:
            raise Unwritable(
                f"series {number}",
                where,
                expected="an index of 32 bits and times in order",
                actual=(index, start, end),
            )

    strings = sorted({text for one in labels for label in one for text in label})
    number_of = {text: number for number, text in enumerate(strings)}
    out = bytearray(HEAD)
    symbols = len(out)
    entries = [_U32(len(strings))]
    entries += [uvarint(len(text)) + text for text in strings]
    out += _framed(b"".join(entries))

    series = len(out)
    code = {text: uvarint(number) for text, number in number_of.items()}
    references = []
    postings: dict[tuple[bytes, bytes], list[int]] = {}
    for one, value, index, start, end in zip(labels, fingerprints, indices, first, last, strict=True):
        out += bytes(-len(out) % SERIES_ALIGNMENT)
        reference = len(out) // SERIES_ALIGNMENT
        references.append(reference)
        for label in one:
            postings.setdefault(label, []).append(reference)
        body = b"".join(
            (
                U64_STRUCT.pack(value),
                uvarint(len(one)),
                b"".join([code[text] for label in one for text in label]),
                b"\x01",
                varint(start),
                uvarint(end - start),
                b"\x00",
                uvarint(index),
                b"\x00\x00\x00\x00",
            )
        )
        out += uvarint(len(body)) + body + _U32(_crc(body))

    label_indices = len(out)
    out += bytes(-len(out) % 4)
    pairs = sorted(postings)
    values: dict[bytes, list[int]] = {}
    for name, value in pairs:
        values.setdefault(name, []).append(number_of[value])
    names = []
    for name, numbers in values.items():
        names.append(b"\x01" + uvarint(len(name)) + name + uvarint(len(out)))
        out += _framed(struct.pack(f">{len(numbers) + 2}I", 1, len(numbers), *numbers))

    postings_start = len(out)
    table = [b"\x02\x00\x00" + uvarint(postings_start)]
    out += _framed(struct.pack(f">{len(references) + 1}I", len(references), *references))
    for pair in pairs:
        name, value = pair
        table.append(b"".join((b"\x02", uvarint(len(name)), name, uvarint(len(value)), value, uvarint(len(out)))))
        holders = postings[pair]
        out += _framed(struct.pack(f">{len(holders) + 1}I", len(holders), *holders))

    label_index_table = len(out)
    out += _framed(_U32(len(names)) + b"".join(names))
    postings_table = len(out)
    out += _framed(_U32(len(table)) + b"".join(table))
    fingerprint_offsets = len(out)
    marks = list(zip(references[::FINGERPRINT_STEP], fingerprints[::FINGERPRINT_STEP], strict=True))
    out += _framed(_U32(len(marks)) + b"".join([struct.pack(">QQ", *mark) for mark in marks]))
    toc = Toc(
        symbols,
        series,
        label_indices,
        label_index_table,
        postings_start,
        postings_table,
        fingerprint_offsets,
        min(first, default=0),
        max(last, default=0),
    )
    out += toc.encode()
    return bytes(out)


def _framed(payload: bytes) -> bytes:
    """A part of the index: its length, itself, its checksum."""
    return b"".join((_U32(len(payload)), payload, _U32(_crc(payload))))
