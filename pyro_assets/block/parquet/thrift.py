"""Thrift's compact protocol, as far as Parquet's footers and page headers use it: structs to Python values and back.

Arrow's own reader of footers is not meant for bytes from outside (a changed byte can end the process), so footers are
parsed here. Add wire types here; what the fields mean is said in parquet.thrift and used in `footer`, `pages` and
`file`; numbers without zig-zag, as lengths have them, are `cursor.uvarint`.
"""

from collections.abc import Sequence
from typing import Any, Final

from pyro_assets.block.cursor import uvarint

#: No struct of Parquet's is nested deeper.
_DEEPEST: Final = 12
#: Wire types.
TRUE, FALSE, BYTE, I16, I32, I64, DOUBLE, BINARY, LIST, SET, MAP, STRUCT = range(1, 13)
Struct = dict[int, Any]


def read_struct(data: memoryview, position: int, depth: int = _DEEPEST) -> tuple[Struct, int]:
    """Read one struct.

    Args:
        data: the bytes, up to where the struct may reach.
        position: where it starts.
        depth: how many levels may follow.

    Returns:
        Its values by field number: int, bool, bytes, list, or a dict for a struct; and the position after it.

    Raises:
        IndexError: the data end before the struct does.
        ValueError: something that Parquet does not use, a length past the end, or too deep.
    """
    if depth == 0:
        raise ValueError("structs within structs")
    fields: Struct = {}
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
            number, position = _read_number(data, position)
        if kind <= FALSE:
            fields[number] = kind == TRUE
        else:
            fields[number], position = _read_value(data, position, kind, depth)


def _read_value(data: memoryview, position: int, kind: int, depth: int) -> tuple[Any, int]:
    if kind in (I16, I32, I64):
        return _read_number(data, position)
    if kind == BINARY:
        size, position = _read_varint(data, position)
        if size > len(data) - position:
            raise ValueError("a binary runs past the end")
        return bytes(data[position : position + size]), position + size
    if kind == STRUCT:
        return read_struct(data, position, depth - 1)
    if kind == LIST:
        return _read_list(data, position, depth)
    if kind in (TRUE, FALSE, BYTE):
        return data[position], position + 1
    if kind == DOUBLE:
        data[position + 7]
        return None, position + 8
    raise ValueError(f"wire type {kind}")


def _read_list(data: memoryview, position: int, depth: int) -> tuple[list[Any], int]:
    if depth == 0:
        raise ValueError("lists within lists")
    byte = data[position]
    count, kind, position = byte >> 4, byte & 15, position + 1
    if count == 15:
        count, position = _read_varint(data, position)
    # Every item takes at least a byte.
    if count > len(data) - position:
        raise ValueError("a list is longer than what is left")
    items = []
    for _ in range(count):
        item, position = _read_value(data, position, kind, depth - 1)
        items.append(item)
    return items, position


def _read_number(data: memoryview, position: int) -> tuple[int, int]:
    raw, position = _read_varint(data, position)
    return (raw >> 1) ^ -(raw & 1), position


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
            raise ValueError("a number of more than ten bytes")


def number_of(raw: bytes) -> int:
    """A number from its bytes, which are known to be exactly one.

    >>> number_of(bytes([0x3C])), number_of(bytes([0xC4, 0x31])), number_of(bytes([0x03]))
    (30, 3170, -2)
    """
    # Nearly all are of one to three bytes, and there are hundreds of thousands.
    if len(raw) == 1:
        result = raw[0]
    elif len(raw) == 2:
        result = raw[0] & 127 | raw[1] << 7
    elif len(raw) == 3:
        result = raw[0] & 127 | (raw[1] & 127) << 7 | raw[2] << 14
    else:
        result = shift = 0
        for byte in raw:
            result |= (byte & 127) << shift
            shift += 7
    return (result >> 1) ^ -(result & 1)


def number(value: int) -> bytes:
    """The bytes of a number that is not negative.

    >>> number(30).hex(), number(3170).hex()
    ('3c', 'c431')
    """
    return uvarint(value << 1)


def binary(text: str) -> bytes:
    """The bytes of a string."""
    return uvarint(len(text.encode())) + text.encode()


def list_of(kind: int, items: Sequence[bytes]) -> bytes:
    """The bytes of a list of items of a wire type."""
    count = len(items)
    start = bytes([count << 4 | kind]) if count < 15 else bytes([0xF0 | kind]) + uvarint(count)
    return start + b"".join(items)
