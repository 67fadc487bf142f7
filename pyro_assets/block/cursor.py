"""Variable-length integers (LEB128): written, and read from untrusted bytes by a cursor that never leaves them.

Encodings of single numbers that several sections share belong here. Columnar decoding does not: a Cursor is for small
tables, one call per item.
"""

from typing import Final

from pyro_assets.errors import BadLength, Truncated, Where

#: LEB128 of 64 bits needs at most ten bytes.
UVARINT_MAX_BYTES: Final = 10
_SMALL: Final = [bytes([number]) for number in range(0x80)]


def uvarint(number: int) -> bytes:
    """An unsigned number as LEB128: seven bits a byte, the lowest first.

    >>> uvarint(300).hex()
    'ac02'
    """
    if number < 0x80:
        return _SMALL[number]
    out = bytearray()
    while number >= 0x80:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def varint(number: int) -> bytes:
    """A signed number of 64 bits: zig-zag, then LEB128."""
    return uvarint((number << 1) ^ (number >> 63))


class Cursor:
    """Reads forward through `data`; every read either returns exactly what was asked for or raises.

    Args:
        data: the bytes; nothing is copied until a caller asks for bytes.
        where: object, dataset and section, for messages.
        base: what to add to positions so that messages count from the section's start.

    Attributes:
        position: bytes from the start of `data` to the next read.
        end: half-open bound, the length of `data`.

    >>> cursor = Cursor(memoryview(bytes([0xAC, 0x02, 7])), Where())
    >>> cursor.uvarint(), cursor.remaining
    (300, 1)
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
