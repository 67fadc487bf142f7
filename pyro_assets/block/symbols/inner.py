"""The inner blocks of strings, functions, mappings and locations: headers checked, columns found, not yet decoded.

`Pieces` gathers the byte ranges of many units, so that each kind of column is decoded once for a whole job by
`reader`. Layouts of inner headers belong here, in both directions; numbers are decoded elsewhere.
"""

import struct
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any, Final

import google_crc32c
import numpy as np

from pyro_assets.block.columns import U8
from pyro_assets.block.symbols.index import (
    FUNCTIONS,
    KIND_NAMES,
    LOCATIONS,
    MAPPINGS,
    STRINGS,
    Partition,
    SymbolBlock,
)
from pyro_assets.errors import BadCount, BadEncoding, BadLength, Truncated, Where
from pyro_assets.storage.checksum import check_crc, crc32c

# Items, sizes of the columns (strings: a byte that the original leaves to chance, bits of a length), CRC.
_LAYOUT: Final = {
    STRINGS: struct.Struct(">IBBHI"),
    FUNCTIONS: struct.Struct(">6I"),
    MAPPINGS: struct.Struct(">8I"),
    LOCATIONS: struct.Struct(">7I"),
}
#: What an encoder of integers makes of no values at all, with and without a first value.
_EMPTY_STREAMS: Final = (b"", b"\x80\x01\x04\x00\x00", b"\x80\x01\x04\x00")


#: An inner block with integer columns: the section, where it is, its items, and the bounds of its columns: column i
#: is data[bounds[i]:bounds[i + 1]].
InnerBlock = tuple[memoryview, Where, int, tuple[int, ...]]

#: Columns of a location block as its bounds have them.
MAPPING, LINE_COUNTS, LINES, ADDRESS, FOLDED = range(5)


@dataclass(slots=True)
class Pieces:
    """Inner blocks of many units, in order.

    Attributes:
        strings, functions, mappings, locations, lines: items per unit.
        lengths: per inner block of strings: their lengths, uint8 or big-endian uint16.
        texts: per inner block of strings: their bytes, end to end.
        string_places: per inner block of strings: where its lengths are.
        function_blocks, mapping_blocks, location_blocks: the inner blocks of the other tables.
        lines_of_block: per inner block of locations: its number of lines.
    """

    strings: list[int] = field(default_factory=list)
    functions: list[int] = field(default_factory=list)
    mappings: list[int] = field(default_factory=list)
    locations: list[int] = field(default_factory=list)
    lines: list[int] = field(default_factory=list)
    lengths: list[Any] = field(default_factory=list)
    texts: list[memoryview] = field(default_factory=list)
    string_places: list[tuple[Where, int]] = field(default_factory=list)
    function_blocks: list[InnerBlock] = field(default_factory=list)
    mapping_blocks: list[InnerBlock] = field(default_factory=list)
    location_blocks: list[InnerBlock] = field(default_factory=list)
    lines_of_block: list[int] = field(default_factory=list)

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
        self._add_functions(data, array, partition.functions, where)
        self._add_mappings(data, array, partition.mappings, where)
        self._add_locations(data, array, partition.locations, where)

    def _add_strings(self, data: memoryview, array: U8, block: SymbolBlock, where: Where) -> None:
        position, end, left = block.offset, block.offset + block.size, block.items
        self.strings.append(left)
        while left:
            header = position
            items = min(left, block.items_per_block)
            _, _, bits, _, _ = _header(data, array, position, end, STRINGS, items, where)
            position += 12
            if bits not in (8, 16):
                raise BadEncoding("bits of a string's length", where, offset=header + 5, expected=(8, 16), actual=bits)
            begin = position + items * bits // 8
            if begin > end:
                raise Truncated("lengths of the strings", where, offset=position, actual=f"{end - position} left")
            lengths = array[position:begin]
            if bits == 16:
                lengths = lengths.view(">u2")
            # The last inner block has what is left; `strings` compares all sums with their blocks at once.
            position = end if items == left else begin + int(lengths.sum(dtype=np.int64))
            if position > end:
                raise BadLength(
                    "lengths of the strings run past their block",
                    where,
                    offset=header + 12,
                    expected=f"a sum of at most {end - begin}",
                    actual=position - begin,
                )
            self.string_places.append((where, header + 12))
            self.lengths.append(lengths)
            self.texts.append(data[begin:position])
            left -= items
        _must_end(position, end, STRINGS, where)

    def _add_functions(self, data: memoryview, array: U8, block: SymbolBlock, where: Where) -> None:
        position, end, left = block.offset, block.offset + block.size, block.items
        self.functions.append(left)
        while left:
            items = min(left, block.items_per_block)
            _, name, system_name, file_name, start_line, _ = _header(
                data, array, position, end, FUNCTIONS, items, where
            )
            b0 = position + 24
            b1 = b0 + name
            b2 = b1 + system_name
            b3 = b2 + file_name
            position = b3 + start_line
            _must_fit(b0, position, end, FUNCTIONS, where)
            self.function_blocks.append((data, where, items, (b0, b1, b2, b3, position)))
            left -= items
        _must_end(position, end, FUNCTIONS, where)

    def _add_mappings(self, data: memoryview, array: U8, block: SymbolBlock, where: Where) -> None:
        position, end, left = block.offset, block.offset + block.size, block.items
        self.mappings.append(left)
        while left:
            items = min(left, block.items_per_block)
            _, *sizes, _ = _header(data, array, position, end, MAPPINGS, items, where)
            bounds = tuple(accumulate(sizes, initial=position + 32))
            position = bounds[-1]
            _must_fit(bounds[0], position, end, MAPPINGS, where)
            self.mapping_blocks.append((data, where, items, bounds))
            left -= items
        _must_end(position, end, MAPPINGS, where)

    def _add_locations(self, data: memoryview, array: U8, block: SymbolBlock, where: Where) -> None:
        position, end, left = block.offset, block.offset + block.size, block.items
        self.locations.append(left)
        lines_of_unit = 0
        while left:
            header = position
            items = min(left, block.items_per_block)
            _, mapping, lines, line_bytes, address, folded, _ = _header(
                data, array, position, end, LOCATIONS, items, where
            )
            b0 = position + 28
            b1 = b0 + mapping
            b2 = b1 + items
            b3 = b2 + line_bytes
            b4 = b3 + address
            position = b4 + folded
            _must_fit(b0, position, end, LOCATIONS, where)
            if not lines and (line_bytes > 5 or bytes(data[b2:b3]) not in _EMPTY_STREAMS):
                raise BadCount("lines where none are announced", where, offset=b2, expected=0)
            if folded and folded != (items + 7) // 8:
                raise BadLength(
                    "size of is-folded", where, offset=header + 20, expected=(items + 7) // 8, actual=folded
                )
            self.location_blocks.append((data, where, items, (b0, b1, b2, b3, b4, position)))
            self.lines_of_block.append(lines)
            lines_of_unit += lines
            left -= items
        self.lines.append(lines_of_unit)
        _must_end(position, end, LOCATIONS, where)


def _header(
    data: memoryview, array: U8, position: int, end: int, kind: int, items: int, where: Where
) -> tuple[int, ...]:
    """Fields of an inner header, whose count must be `items` and whose CRC must fit."""
    layout = _LAYOUT[kind]
    size = layout.size
    if position + size > end:
        raise Truncated(
            f"inner header of the {KIND_NAMES[kind]}",
            where,
            offset=position,
            expected=f"{size} bytes",
            actual=f"{end - position} left",
        )
    fields = layout.unpack_from(data, position)
    if google_crc32c.value(array[position : position + size - 4]) != fields[-1]:
        what = f"an inner header of the {KIND_NAMES[kind]}"
        check_crc(data[position : position + size - 4], fields[-1], what, where, position)
    if fields[0] != items:
        raise BadCount(
            f"items of an inner block of the {KIND_NAMES[kind]}",
            where,
            offset=position,
            expected=items,
            actual=fields[0],
        )
    return fields


def _must_fit(begin: int, after: int, end: int, kind: int, where: Where) -> None:
    if after > end:
        raise BadLength(
            f"columns of the {KIND_NAMES[kind]} run past their block",
            where,
            offset=begin,
            expected=f"at most {end - begin} bytes",
            actual=after - begin,
        )


def _must_end(position: int, end: int, kind: int, where: Where) -> None:
    if position != end:
        raise BadLength(f"bytes after the {KIND_NAMES[kind]}", where, offset=position, expected=end, actual=position)


def inner_header(kind: int, *fields: int) -> bytes:
    """An inner header: count and sizes (strings: count, byte of chance, bits, 0) followed by their CRC."""
    head = _LAYOUT[kind].pack(*fields, 0)[:-4]
    return head + crc32c(head).to_bytes(4, "big")
