"""The inner blocks of strings, functions, mappings and locations: headers checked, columns found, not yet decoded.

`Pieces` gathers the byte ranges of many units, so that each kind of column is decoded once for a whole job by
`reader`. Layouts of inner headers belong here, in both directions; numbers are decoded elsewhere.
"""

import struct
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from pyro_assets.block.checksum import crc32c
from pyro_assets.block.columns import U8
from pyro_assets.block.symbols.index import (
    FUNCTIONS,
    INNER_HEADER_BYTES,
    KIND_NAMES,
    LOCATIONS,
    MAPPINGS,
    STRINGS,
    Partition,
    SymbolBlock,
)
from pyro_assets.errors import BadCount, BadEncoding, BadLength, ChecksumMismatch, Truncated, Where

# Items, sizes of the columns (strings: a byte that the original leaves to chance, bits of a length), CRC.
_LAYOUT: Final = {
    STRINGS: struct.Struct(">IBBHI"),
    FUNCTIONS: struct.Struct(">6I"),
    MAPPINGS: struct.Struct(">8I"),
    LOCATIONS: struct.Struct(">7I"),
}
#: What an encoder of integers makes of no values at all, with and without a first value.
_EMPTY_STREAMS: Final = (b"", b"\x80\x01\x04\x00\x00", b"\x80\x01\x04\x00")


@dataclass(slots=True)
class Column:
    """Streams of one column, one per inner block; `present` tells where a stream of an optional column stood."""

    streams: list[memoryview] = field(default_factory=list)
    counts: list[int] = field(default_factory=list)
    places: list[tuple[Where, int]] = field(default_factory=list)
    present: list[bool] = field(default_factory=list)

    def add(self, data: memoryview, count: int, place: tuple[Where, int]) -> None:
        """Append the stream of one inner block."""
        self.streams.append(data)
        self.counts.append(count)
        self.places.append(place)


@dataclass(slots=True)
class Pieces:
    """Byte ranges of the columns of many units, in order; counts are per unit unless said otherwise.

    Attributes:
        lengths: per inner block of strings: their lengths, uint8 or big-endian uint16.
        texts: per inner block: the bytes of its strings, end to end.
        line_counts: per inner block of locations: a byte per location; `location_items`, `lines`: numbers of
            locations and lines per inner block.
        folded: per inner block: a bit per location, or None.
    """

    strings: list[int] = field(default_factory=list)
    functions: list[int] = field(default_factory=list)
    mappings: list[int] = field(default_factory=list)
    locations: list[int] = field(default_factory=list)
    lines_of_unit: list[int] = field(default_factory=list)
    lengths: list[Any] = field(default_factory=list)
    texts: list[memoryview] = field(default_factory=list)
    function_columns: list[Column] = field(default_factory=lambda: [Column() for _ in range(4)])
    mapping_columns: list[Column] = field(default_factory=lambda: [Column() for _ in range(6)])
    location_mapping: Column = field(default_factory=Column)
    line_counts: list[memoryview] = field(default_factory=list)
    location_items: list[int] = field(default_factory=list)
    lines: list[int] = field(default_factory=list)
    location_places: list[tuple[Where, int]] = field(default_factory=list)
    line_column: Column = field(default_factory=Column)
    address: Column = field(default_factory=Column)
    folded: list[U8 | None] = field(default_factory=list)

    def add_partition(self, data: memoryview, array: U8, partition: Partition, where: Where) -> None:
        """Find the columns of one unit.

        Args:
            data: the whole section.
            array: the same bytes as uint8.
            partition: its checked headers.
            where: for messages.

        Raises:
            BlockError: an inner block is not what the format says.
        """
        self._add_strings(data, array, partition.strings, where)
        self._add_functions(data, partition.functions, where)
        self._add_mappings(data, partition.mappings, where)
        self._add_locations(data, array, partition.locations, where)

    def _add_strings(self, data: memoryview, array: U8, block: SymbolBlock, where: Where) -> None:
        position, end, left = block.offset, block.offset + block.size, block.items
        self.strings.append(left)
        while left:
            header = position
            items = min(left, block.items_per_block)
            _, bits, _ = _header(data, position, end, STRINGS, items, where)
            position += 12
            if bits not in (8, 16):
                raise BadEncoding(
                    "bits of a string's length", where, offset=header + 5, expected="8 or 16", actual=bits
                )
            begin = position + items * bits // 8
            if begin > end:
                raise Truncated("lengths of the strings", where, offset=position, actual=f"{end - position} left")
            lengths = array[position:begin]
            if bits == 16:
                lengths = lengths.view(">u2")
            position = begin + int(lengths.sum(dtype=np.int64))
            if position > end:
                raise BadLength(
                    "lengths of the strings run past their block",
                    where,
                    offset=header + 12,
                    expected=f"a sum of at most {end - begin}",
                    actual=position - begin,
                )
            self.lengths.append(lengths)
            self.texts.append(data[begin:position])
            left -= items
        _must_end(position, end, STRINGS, where)

    def _add_functions(self, data: memoryview, block: SymbolBlock, where: Where) -> None:
        position, end, left = block.offset, block.offset + block.size, block.items
        self.functions.append(left)
        while left:
            items = min(left, block.items_per_block)
            sizes = _header(data, position, end, FUNCTIONS, items, where)
            position = _sized(position + 24, end, sizes, 0, FUNCTIONS, where) - sum(sizes)
            for column, size in zip(self.function_columns, sizes, strict=True):
                column.add(data[position : position + size], items, (where, position))
                position += size
            left -= items
        _must_end(position, end, FUNCTIONS, where)

    def _add_mappings(self, data: memoryview, block: SymbolBlock, where: Where) -> None:
        position, end, left = block.offset, block.offset + block.size, block.items
        self.mappings.append(left)
        while left:
            items = min(left, block.items_per_block)
            sizes = _header(data, position, end, MAPPINGS, items, where)
            position = _sized(position + 32, end, sizes, 0, MAPPINGS, where) - sum(sizes)
            for number, (column, size) in enumerate(zip(self.mapping_columns, sizes, strict=True)):
                # The last three may be absent.
                column.present.append(size > 0 or number < 3)
                if size or number < 3:
                    column.add(data[position : position + size], items, (where, position))
                    position += size
            left -= items
        _must_end(position, end, MAPPINGS, where)

    def _add_locations(self, data: memoryview, array: U8, block: SymbolBlock, where: Where) -> None:
        position, end, left = block.offset, block.offset + block.size, block.items
        self.locations.append(left)
        lines_of_unit = 0
        while left:
            header = position
            items = min(left, block.items_per_block)
            mapping, lines, line_bytes, address, folded = _header(data, position, end, LOCATIONS, items, where)
            position += 28
            _sized(position, end, (mapping, line_bytes, address, folded), items, LOCATIONS, where)
            self.location_mapping.add(data[position : position + mapping], items, (where, position))
            position += mapping
            self.line_counts.append(data[position : position + items])
            self.location_items.append(items)
            self.location_places.append((where, header + 8))
            self.lines.append(lines)
            lines_of_unit += lines
            position += items
            stream = data[position : position + line_bytes]
            if lines:
                self.line_column.add(stream, 2 * lines, (where, position))
            elif line_bytes > 5 or bytes(stream) not in _EMPTY_STREAMS:
                raise BadCount("lines where none are announced", where, offset=position, expected=0)
            position += line_bytes
            self.address.present.append(address > 0)
            if address:
                self.address.add(data[position : position + address], items, (where, position))
                position += address
            if folded and folded != (items + 7) // 8:
                raise BadLength(
                    "size of is-folded", where, offset=header + 20, expected=(items + 7) // 8, actual=folded
                )
            self.folded.append(array[position : position + folded] if folded else None)
            position += folded
            left -= items
        self.lines_of_unit.append(lines_of_unit)
        _must_end(position, end, LOCATIONS, where)


def _header(data: memoryview, position: int, end: int, kind: int, items: int, where: Where) -> tuple[int, ...]:
    """Fields of an inner header between its count, which must be `items`, and its CRC, which must fit."""
    size = INNER_HEADER_BYTES[kind]
    if position + size > end:
        raise Truncated(
            f"inner header of the {KIND_NAMES[kind]}",
            where,
            offset=position,
            expected=f"{size} bytes",
            actual=f"{end - position} left",
        )
    count, *fields, crc = _LAYOUT[kind].unpack_from(data, position)
    actual = crc32c(data[position : position + size - 4])
    if actual != crc:
        raise ChecksumMismatch(
            f"CRC of an inner header of the {KIND_NAMES[kind]}",
            where,
            offset=position,
            expected=f"{crc:#010x}",
            actual=f"{actual:#010x}",
        )
    if count != items:
        raise BadCount(
            f"items of an inner block of the {KIND_NAMES[kind]}", where, offset=position, expected=items, actual=count
        )
    return tuple(fields)


def _sized(position: int, end: int, sizes: tuple[int, ...], more: int, kind: int, where: Where) -> int:
    """Where the columns end, which must be inside the symbol block."""
    after = position + sum(sizes) + more
    if after > end:
        raise BadLength(
            f"columns of the {KIND_NAMES[kind]} run past their block",
            where,
            offset=position,
            expected=f"at most {end - position} bytes",
            actual=after - position,
        )
    return after


def _must_end(position: int, end: int, kind: int, where: Where) -> None:
    if position != end:
        raise BadLength(f"bytes after the {KIND_NAMES[kind]}", where, offset=position, expected=end, actual=position)


def inner_header(kind: int, *fields: int) -> bytes:
    """An inner header: count and sizes (strings: count, byte of chance, bits, 0) followed by their CRC."""
    head = _LAYOUT[kind].pack(*fields, 0)[:-4]
    return head + crc32c(head).to_bytes(4, "big")
