"""How many values the data pages of a Parquet column chunk claim, read from the page headers before Arrow decodes.

A run-length encoded page of a few bytes can claim 2^31 list elements, and Arrow believes the page; so whoever
decodes bytes from outside counts first. Add checks of page headers here; values and schemas stand in `profiles` and
`profiles_schema`. Page headers are Thrift's compact protocol (Parquet specification, parquet.thrift).
"""

from typing import Final

from pyro_assets.errors import BadCount, BadEncoding, BadLength, Truncated, Where

#: Page types and value encodings by their numbers in parquet.thrift.
DATA_PAGE: Final = 0
DATA_PAGE_V2: Final = 3
PLAIN: Final = 0
DELTA_LENGTH_BYTE_ARRAY: Final = 6

#: Field numbers of PageHeader and of the two data page headers.
_TYPE, _COMPRESSED_SIZE, _DATA_HEADER, _DATA_HEADER_V2 = 1, 3, 5, 8
_VALUES: Final = 1
_ENCODING: Final = {_DATA_HEADER: 2, _DATA_HEADER_V2: 4}

#: No encoding that the format uses packs more values than this into a byte (Arrow's deltas: 256 in 5 bytes).
VALUES_PER_BYTE: Final = 64

_DEEPEST_STRUCT: Final = 8
_Struct = dict[int, "int | _Struct"]


def check_pages(
    section: memoryview,
    start: int,
    end: int,
    values: int,
    column: str,
    where: Where,
    encodings: tuple[int, ...] | None = None,
) -> None:
    """Check that the data pages in `section[start:end]` hold exactly `values` values by their own headers.

    Args:
        section: the whole Parquet file.
        start: bytes to the chunk's first page header.
        end: half-open bound of the chunk.
        values: what the footer says, list elements and nulls included.
        column: path for messages.
        where: for messages.
        encodings: value encodings that are allowed, None for all.

    Raises:
        Truncated: the chunk or a page header runs past the section.
        BadCount: the pages claim more or fewer values than the footer.
        BadLength: a page's size is negative or runs past its chunk.
        BadEncoding: a page header does not parse, or an encoding is not allowed.
    """
    if not 0 <= start <= end <= len(section):
        raise Truncated(
            f"column {column} lies outside the profiles", where, expected=f"{start}:{end}", actual=len(section)
        )
    if values == 0 or (encodings is None and _one_page_holds(section, start, values)):
        return
    position, seen = start, 0
    while seen < values:
        try:
            header, after = read_struct(section, position)
        except IndexError:
            raise Truncated(f"page header of column {column}", where, offset=position) from None
        except ValueError:
            raise BadEncoding(f"page header of column {column} does not parse", where, offset=position) from None
        size = header.get(_COMPRESSED_SIZE)
        if not isinstance(size, int) or not 0 <= size <= end - after:
            raise BadLength(
                f"page of column {column}", where, offset=position, expected=f"at most {end - after} bytes", actual=size
            )
        field = {DATA_PAGE: _DATA_HEADER, DATA_PAGE_V2: _DATA_HEADER_V2}.get(header.get(_TYPE, -1))  # type: ignore[arg-type]
        if field is not None:
            data_header = header.get(field)
            count = data_header.get(_VALUES) if isinstance(data_header, dict) else None
            if not isinstance(data_header, dict) or not isinstance(count, int) or not 0 <= count <= values - seen:
                raise BadCount(
                    f"values in a page of column {column}",
                    where,
                    offset=position,
                    expected=f"at most {values - seen}",
                    actual=count,
                )
            if encodings is not None and data_header.get(_ENCODING[field]) not in encodings:
                raise BadEncoding(
                    f"encoding of column {column}",
                    where,
                    offset=position,
                    expected=encodings,
                    actual=data_header.get(_ENCODING[field]),
                )
            seen += count
        position = after + size


def _one_page_holds(data: memoryview, start: int, values: int) -> bool:
    """Whether the first page is a data page that holds them all: the usual case, without reading the whole header.

    False says nothing: the caller then reads the headers properly.
    """
    try:
        # Field 1, an i32 (0x15): the page's type, zig-zag; fields 2 and 3, two sizes; maybe field 4, a CRC; then a
        # struct (its field's distance in the high four bits, 12 in the low ones): 5, or 8 of version 2.
        if data[start] != 0x15:
            return False
        field = {0: _DATA_HEADER, 6: _DATA_HEADER_V2}.get(data[start + 1], 0)
        position = start + 2
        for _ in range(2):
            if data[position] != 0x15:
                return False
            _, position = _read_varint(data, position + 1)
        number = 3
        if data[position] == 0x15:
            _, position = _read_varint(data, position + 1)
            number = 4
        if field <= number or data[position] != (field - number) << 4 | 12:
            return False
        if data[position + 1] != 0x15:
            return False
        count, _ = _read_varint(data, position + 2)
    except (IndexError, ValueError):
        return False
    return count == values << 1


def _read_varint(data: memoryview, position: int) -> tuple[int, int]:
    byte = data[position]
    position += 1
    if byte < 128:
        return byte, position
    result, shift = byte & 127, 7
    while True:
        byte = data[position]
        position += 1
        result |= (byte & 127) << shift
        if byte < 128:
            return result, position
        shift += 7
        if shift > 63:
            raise ValueError


def read_struct(data: memoryview, position: int, depth: int = _DEEPEST_STRUCT) -> tuple[_Struct, int]:
    """A struct of integers, booleans, binaries and structs in Thrift's compact protocol.

    Returns:
        Integers and structs by field number (the others are skipped), and the position after the struct.

    Raises:
        IndexError: the data end before the struct does.
        ValueError: something else, such as a list.
    """
    if depth == 0:
        raise ValueError
    fields: _Struct = {}
    number = 0
    while True:
        byte = data[position]
        position += 1
        kind = byte & 15
        if kind == 0:
            return fields, position
        if byte >> 4:
            number += byte >> 4
        else:
            number, position = _read_varint(data, position)
            number = (number >> 1) ^ -(number & 1)
        if kind == 12:
            fields[number], position = read_struct(data, position, depth - 1)
        elif kind in (4, 5, 6):
            raw, position = _read_varint(data, position)
            fields[number] = (raw >> 1) ^ -(raw & 1)
        elif kind in (1, 2):
            pass
        elif kind == 3:
            position += 1
        elif kind == 7:
            position += 8
        elif kind == 8:
            length, position = _read_varint(data, position)
            position += length
        else:
            raise ValueError
