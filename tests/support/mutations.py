"""Ways to falsify an object: one field, its metadata, a section, or something at random.

Starts from a good object, whose places `tests.support.object_layout` knows; all checksums can be put right again, so
that what lies behind a checksum is reached. Independent of the package.
"""

import io
import random
import zlib
from collections.abc import Callable, Mapping
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tests.oracle.bytes import crc32c
from tests.oracle.decoder import metadata_of
from tests.support.object_layout import Crc, Layout, layout

__all__ = [
    "Crc",
    "Layout",
    "encode_metadata",
    "layout",
    "metadata_of",
    "patched",
    "random_mutation",
    "refixed",
    "sealed",
    "section_of",
    "with_metadata",
    "with_profiles",
    "with_section",
]


def refixed(data: bytes, crcs: list[Crc]) -> bytes:
    """The object with all these checksums computed again, in order."""
    out = bytearray(data)
    for crc in crcs:
        content = bytes(out[crc.start : crc.end])
        if crc.width:
            signed = zlib.crc32(content) - (zlib.crc32(content) >> 31 << 32)
            number = _uvarint((signed << 1) ^ (signed >> 31))
            # Stretched to its place; one in sixteen places is too short for most checksums.
            if len(number) <= crc.width:
                spare = crc.width - len(number)
                if spare:
                    number = bytes([*number[:-1], number[-1] | 0x80, *[0x80] * (spare - 1), 0])
                out[crc.at : crc.at + crc.width] = number
        else:
            out[crc.at : crc.at + 4] = crc32c(content).to_bytes(4, "big")
    return bytes(out)


def patched(data: bytes, found: Layout, values: Mapping[str, int], *, refix: bool = True) -> bytes:
    """The object with other numbers in some fields (modulo their width), checksums put right or not."""
    out = bytearray(data)
    for name, value in values.items():
        offset, width, order = found.fields[name]
        out[offset : offset + width] = (value % (1 << 8 * width)).to_bytes(width, order)  # type: ignore[arg-type]
    return refixed(bytes(out), found.crcs) if refix else bytes(out)


# --- Metadata and sections --------------------------------------------------------------------------------------


def _uvarint(value: int) -> bytes:
    value %= 1 << 64
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def encode_metadata(meta: Mapping[str, Any]) -> bytes:
    """The message of a metadata dictionary, every field written whatever it holds."""

    def number(field_number: int, value: int) -> bytes:
        return _uvarint(field_number << 3) + _uvarint(value)

    def text(field_number: int, value: bytes) -> bytes:
        return _uvarint(field_number << 3 | 2) + _uvarint(len(value)) + value

    parts = [number(1, meta["format_version"]), text(2, meta["id"])]
    names = ("tenant", "shard", "compaction_level", "min_time", "max_time", "created_by", "size")
    parts += [number(i, meta[name]) for i, name in enumerate(names, start=3)]
    for one in meta["datasets"]:
        inner = b"".join(
            [
                *(number(i, one[n]) for i, n in enumerate(("tenant", "name", "min_time", "max_time"), start=1)),
                text(5, b"".join(map(_uvarint, one["table_of_contents"]))),
                number(6, one["size"]),
                text(8, b"".join(map(_uvarint, one["labels"]))),
                number(9, one["format"]),
            ]
        )
        parts.append(text(10, inner))
    parts += [text(11, string) for string in meta["string_table"]]
    parts.append(number(12, meta["metadata_offset"]))
    return b"".join(parts)


def sealed(body: bytes, message: bytes) -> bytes:
    """Body, message, its length and checksum."""
    tail = message + len(message).to_bytes(4, "big")
    return body + tail + crc32c(tail).to_bytes(4, "big")


def with_metadata(data: bytes, change: Callable[[dict[str, Any]], None]) -> bytes:
    """The object with its metadata changed by a function that edits the dictionary in place."""
    meta = metadata_of(data)
    body = data[: meta["metadata_offset"]]
    change(meta)
    return sealed(body, encode_metadata(meta))


def with_section(data: bytes, section: int, new: bytes, dataset: int = 0) -> bytes:
    """The object with one section of a dataset replaced, offsets put right."""
    meta = metadata_of(data)
    body = data[: meta["metadata_offset"]]
    one = meta["datasets"][dataset]
    bounds = [*one["table_of_contents"], one["table_of_contents"][0] + one["size"]]
    start, end = bounds[section], bounds[section + 1]
    shift = len(new) - (end - start)
    body = body[:start] + new + body[end:]
    one["size"] += shift
    for other in meta["datasets"]:
        other["table_of_contents"] = [at + shift if at >= end else at for at in other["table_of_contents"]]
    meta["metadata_offset"] += shift
    return sealed(body, encode_metadata(meta))


def section_of(data: bytes, section: int, dataset: int = 0) -> bytes:
    """The bytes of one section of a dataset."""
    one = metadata_of(data)["datasets"][dataset]
    bounds = [*one["table_of_contents"], one["table_of_contents"][0] + one["size"]]
    return data[bounds[section] : bounds[section + 1]]


def with_profiles(data: bytes, change: Callable[[pa.Table], pa.Table], dataset: int = 0) -> bytes:
    """The object with another profiles table, written by plain pyarrow."""
    table = pq.ParquetFile(io.BytesIO(section_of(data, 0, dataset)), arrow_extensions_enabled=True).read()
    buffer = io.BytesIO()
    pq.write_table(
        change(table),
        buffer,
        compression="none",
        use_dictionary=False,
        store_schema=False,
        write_page_index=True,
    )
    return with_section(data, 0, buffer.getvalue(), dataset)


# --- At random --------------------------------------------------------------------------------------------------

EXTREMES = (
    0,
    1,
    0x7F,
    0x80,
    0xFF,
    0x7FFF,
    0xFFFF,
    0x7FFFFFFF,
    0x80000000,
    0xFFFFFFFF,
    1 << 62,
    (1 << 63) - 1,
    1 << 63,
    (1 << 64) - 1,
)


def random_mutation(data: bytes, rng: random.Random, found: list[Layout]) -> tuple[str, bytes]:
    """A name and a mutant; half of the time all checksums are right again wherever lengths allow."""
    kinds = ["bits", "bytes", "field", "field", "field", "number", "truncate", "cut", "double"]
    kinds += ["metadata", "section", "parquet", "parquet", "covered", "covered", "covered"]
    kind = rng.choice(kinds)
    if kind == "section":
        return _random_section(data, rng)
    out = bytearray(data)
    refix = rng.random() < 0.7
    crcs = [crc for one in found for crc in one.crcs]
    if kind == "bits":
        for _ in range(rng.randint(1, 4)):
            out[rng.randrange(len(out))] ^= 1 << rng.randrange(8)
    elif kind == "parquet":
        # The footer of a Parquet file is small, claims everything, and has no checksum.
        one = rng.choice(found)
        end = one.fields["parquet.footer_length"][0]
        begin = end - int.from_bytes(out[end : end + 4], "little")
        for _ in range(rng.randint(1, 3)):
            out[rng.randrange(begin, end)] = rng.choice((rng.randrange(256), 0, 0xFF, 0x7F))
    elif kind == "covered":
        # Inside of what one checksum covers, small parts as often as large ones; all checksums are right again.
        crc, refix = rng.choice(crcs), True
        for _ in range(rng.randint(1, 3)):
            width = min(rng.choice((1, 1, 2, 4, 8)), crc.end - crc.start)
            start = rng.randrange(crc.start, crc.end - width + 1) if width else crc.start
            value = rng.choice((*EXTREMES, rng.getrandbits(64))) % (1 << 8 * width)
            out[start : start + width] = value.to_bytes(width, rng.choice(("big", "little")))
        kind = f"covered by {crc.name}"
    elif kind == "bytes":
        start = rng.randrange(len(out))
        length = min(rng.randint(1, 16), len(out) - start)
        out[start : start + length] = rng.choice((rng.randbytes(length), b"\xff" * length, bytes(length)))
    elif kind == "field":
        one = rng.choice(found)
        name = rng.choice(list(one.fields))
        offset, width, order = one.fields[name]
        old = int.from_bytes(out[offset : offset + width], order)  # type: ignore[arg-type]
        value = rng.choice((*EXTREMES, old + 1, old - 1, old * 2, rng.getrandbits(64))) % (1 << 8 * width)
        out[offset : offset + width] = value.to_bytes(width, order)  # type: ignore[arg-type]
        kind = f"field {name}={value}"
    elif kind == "number":
        width = rng.choice((1, 2, 4, 8))
        start = rng.randrange(max(len(out) - width, 1))
        value = rng.choice(EXTREMES) % (1 << 8 * width)
        out[start : start + width] = value.to_bytes(width, rng.choice(("big", "little")))
    elif kind == "truncate":
        del out[rng.randrange(len(out)) :]
        refix = False
    elif kind == "cut":
        start = rng.randrange(len(out))
        del out[start : start + rng.randint(1, 200)]
        refix = False
    elif kind == "double":
        start = rng.randrange(len(out))
        piece = out[start : start + rng.randint(1, 200)]
        out[start:start] = piece
        refix = False
    else:
        return _random_metadata(data, rng)
    return kind + (" refixed" if refix else ""), refixed(bytes(out), crcs) if refix else bytes(out)


def _random_section(data: bytes, rng: random.Random) -> tuple[str, bytes]:
    """One section shorter, longer or another's, with the metadata telling its new place."""
    datasets = metadata_of(data)["datasets"]
    dataset = rng.randrange(len(datasets))
    sections = len(datasets[dataset]["table_of_contents"])
    section = rng.randrange(sections)
    old = section_of(data, section, dataset)
    start, length = rng.randrange(len(old)), rng.randint(1, 64)
    new = rng.choice(
        (
            old[:start],
            old[start:],
            old[:start] + old[start + length :],
            old[: start + length] + old[start:],
            section_of(data, rng.randrange(sections), dataset),
            rng.randbytes(length),
        )
    )
    return f"section {section} of dataset {dataset}", with_section(data, section, new, dataset)


def _random_metadata(data: bytes, rng: random.Random) -> tuple[str, bytes]:
    described = ""

    def change(meta: dict[str, Any]) -> None:
        nonlocal described
        names = ("format_version", "tenant", "shard", "compaction_level", "min_time", "max_time", "created_by")
        extreme = rng.choice(EXTREMES)
        where = rng.randrange(3) if meta["datasets"] else 0
        if where == 0:
            name = rng.choice((*names, "size", "metadata_offset"))
            meta[name] = extreme
        else:
            one = rng.choice(meta["datasets"])
            name = rng.choice(("tenant", "name", "min_time", "max_time", "size", "format"))
            if where == 1:
                one[name] = extreme
            else:
                name = rng.choice(("table_of_contents", "labels"))
                values = list(one[name]) or [0]
                # -1 and -2 as counts lead backwards.
                near = rng.choice((-1, -2, 0, 1, 2))
                values[rng.randrange(len(values))] = rng.choice((extreme, near, rng.randrange(len(data))))
                one[name] = values
        described = f"{name}={extreme}"

    mutant = with_metadata(data, change)
    return f"metadata {described}", mutant
