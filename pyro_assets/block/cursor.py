"""A bounded reader: takes integers and ranges from untrusted bytes and never reads past their end.

New primitive encodings that several sections share belong here. Columnar decoding does not: a Cursor is for headers
and small tables, one call per item.
"""

import struct
from typing import Final

from pyro_assets.errors import BadLength, Truncated, Where

_U16: Final = struct.Struct(">H")
_U32: Final = struct.Struct(">I")
_U64: Final = struct.Struct(">Q")
_I64: Final = struct.Struct(">q")

#: LEB128 of 64 bits needs at most ten bytes.
UVARINT_MAX_BYTES: Final = 10


class Cursor:
    """Reads forward through `data`; every read either returns exactly what was asked for or raises.

    Args:
        data: the bytes; nothing is copied until a caller asks for bytes.
        where: object, dataset and section, for messages.
        base: what to add to positions so that messages count from the section's start.

    Attributes:
        position: bytes from the start of `data` to the next read.
        end: half-open bound, the length of `data`.

    >>> cursor = Cursor(memoryview(bytes([0, 0, 0, 7, 0xAC, 0x02])), Where())
    >>> cursor.u32(), cursor.uvarint(), cursor.remaining
    (7, 300, 0)
    """

    __slots__ = ("base", "data", "end", "position", "where")

    def __init__(self, data: memoryview | bytes, where: Where, base: int = 0) -> None:
        self.data = memoryview(data)
        if self.data.format != "B":
            self.data = self.data.cast("B")
        self.where = where
        self.base = base
        self.position = 0
        self.end = len(self.data)

    @property
    def remaining(self) -> int:
        """Bytes that are left."""
        return self.end - self.position

    @property
    def offset(self) -> int:
        """The position as bytes from the start of the section, as in messages."""
        return self.base + self.position

    def _advance(self, size_bytes: int, what: str) -> int:
        start = self.position
        if size_bytes < 0 or size_bytes > self.end - start:
            raise Truncated(
                f"{what} runs past the end",
                self.where,
                offset=self.base + start,
                expected=f"{size_bytes} bytes",
                actual=f"{self.end - start} left",
            )
        self.position = start + size_bytes
        return start

    def u8(self, what: str = "byte") -> int:
        """The next byte."""
        return self.data[self._advance(1, what)]

    def u16(self, what: str = "16-bit number") -> int:
        """The next two bytes, big-endian, unsigned."""
        return int(_U16.unpack_from(self.data, self._advance(2, what))[0])

    def u32(self, what: str = "32-bit number") -> int:
        """The next four bytes, big-endian, unsigned."""
        return int(_U32.unpack_from(self.data, self._advance(4, what))[0])

    def u64(self, what: str = "64-bit number") -> int:
        """The next eight bytes, big-endian, unsigned."""
        return int(_U64.unpack_from(self.data, self._advance(8, what))[0])

    def i64(self, what: str = "64-bit number") -> int:
        """The next eight bytes, big-endian, two's complement."""
        return int(_I64.unpack_from(self.data, self._advance(8, what))[0])

    def uvarint(self, what: str = "uvarint") -> int:
        """The next LEB128 number, unsigned, at most 64 bits.

        Raises:
            Truncated: the bytes end inside the number.
            BadLength: it is longer than 64 bits.
        """
        value = shift = 0
        start = self.position
        for position in range(start, min(start + UVARINT_MAX_BYTES, self.end)):
            byte = self.data[position]
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                if value >> 64:
                    break
                self.position = position + 1
                return value
            shift += 7
        if self.end - start < UVARINT_MAX_BYTES:
            raise Truncated(f"{what} runs past the end", self.where, offset=self.base + start)
        raise BadLength(
            f"{what} is longer than 64 bits", self.where, offset=self.base + start, expected="at most 10 bytes"
        )

    def varint(self, what: str = "varint") -> int:
        """The next zig-zag LEB128 number, signed 64 bits."""
        value = self.uvarint(what)
        return (value >> 1) ^ -(value & 1)

    def take(self, size_bytes: int, what: str = "range") -> memoryview:
        """The next `size_bytes` bytes as a view."""
        start = self._advance(size_bytes, what)
        return self.data[start : start + size_bytes]

    def at(self, offset: int, size_bytes: int, what: str = "range") -> memoryview:
        """The bytes [offset, offset + size_bytes) of `data`, without moving.

        Raises:
            BadLength: the range is not inside `data`.
        """
        if offset < 0 or size_bytes < 0 or offset + size_bytes > self.end:
            raise BadLength(
                f"{what} lies outside",
                self.where,
                offset=self.base + offset,
                expected=f"within {self.end} bytes",
                actual=f"{size_bytes} bytes from {offset}",
            )
        return self.data[offset : offset + size_bytes]
