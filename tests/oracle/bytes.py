"""Bytes for the slow decoder: CRC-32C, xxHash64, integers, DELTA_BINARY_PACKED and protobuf in plain Python.

Like all of the slow decoder it shares nothing with the package, only the standard library is imported, and
obvious beats fast. What knows a section of the block format belongs beside it: slow_tsdb, slow_symbols,
slow_decoder.
"""

from typing import Any


class SlowDecodeError(ValueError):
    """Some bytes are not what the format says."""


def must(condition: object, message: str, *values: object) -> None:
    """Raise SlowDecodeError with the values unless the condition holds."""
    if not condition:
        raise SlowDecodeError(message + (": " + ", ".join(map(repr, values)) if values else ""))


def _crc_table() -> tuple[int, ...]:
    table = []
    for byte in range(256):
        crc = byte
        for _ in range(8):
            crc = (crc >> 1) ^ (0x82F63B78 if crc & 1 else 0)
        table.append(crc)
    return tuple(table)


_CRC_TABLE = _crc_table()


def crc32c(data: bytes) -> int:
    """CRC-32C, one byte at a time."""
    crc, table = 0xFFFFFFFF, _CRC_TABLE
    for byte in data:
        crc = (crc >> 8) ^ table[(crc ^ byte) & 0xFF]
    return crc ^ 0xFFFFFFFF


def check_crc(data: bytes, stored: int, what: str) -> None:
    computed = crc32c(data)
    must(computed == stored, f"CRC of {what}", hex(stored), hex(computed))


MASK64 = (1 << 64) - 1
_P1, _P2, _P3, _P4, _P5 = (
    0x9E3779B185EBCA87,
    0xC2B2AE3D27D4EB4F,
    0x165667B19E3779F9,
    0x85EBCA77C2B2AE63,
    0x27D4EB2F165667C5,
)


def xxh64(data: bytes) -> int:
    """xxHash64 with seed 0, as its specification is written."""

    def rotate(x: int, r: int) -> int:
        return ((x << r) | (x >> (64 - r))) & MASK64

    def lane(acc: int, value: int) -> int:
        return rotate((acc + value * _P2) & MASK64, 31) * _P1 & MASK64

    position, n = 0, len(data)
    if n >= 32:
        accs = [(_P1 + _P2) & MASK64, _P2, 0, -_P1 & MASK64]
        while position + 32 <= n:
            for i in range(4):
                accs[i] = lane(accs[i], int.from_bytes(data[position : position + 8], "little"))
                position += 8
        h = sum(rotate(acc, r) for acc, r in zip(accs, (1, 7, 12, 18), strict=True)) & MASK64
        for acc in accs:
            h = ((h ^ lane(0, acc)) * _P1 + _P4) & MASK64
    else:
        h = _P5
    h = (h + n) & MASK64
    while position + 8 <= n:
        h ^= lane(0, int.from_bytes(data[position : position + 8], "little"))
        h = (rotate(h, 27) * _P1 + _P4) & MASK64
        position += 8
    if position + 4 <= n:
        h ^= int.from_bytes(data[position : position + 4], "little") * _P1 & MASK64
        h = (rotate(h, 23) * _P2 + _P3) & MASK64
        position += 4
    for byte in data[position:]:
        h ^= byte * _P5 & MASK64
        h = rotate(h, 11) * _P1 & MASK64
    h = ((h ^ (h >> 33)) * _P2) & MASK64
    h = ((h ^ (h >> 29)) * _P3) & MASK64
    return h ^ (h >> 32)


class Reader:
    """A position in some bytes; refuses to pass their end."""

    def __init__(self, data: bytes, position: int = 0) -> None:
        self.data, self.position = data, position

    def take(self, n: int) -> bytes:
        must(0 <= n <= len(self.data) - self.position, "truncated", n, self.position, len(self.data))
        start, self.position = self.position, self.position + n
        return self.data[start : self.position]

    def u8(self) -> int:
        return self.take(1)[0]

    def u16(self) -> int:
        return int.from_bytes(self.take(2), "big")

    def u32(self) -> int:
        return int.from_bytes(self.take(4), "big")

    def u64(self) -> int:
        return int.from_bytes(self.take(8), "big")

    def i64(self) -> int:
        return int.from_bytes(self.take(8), "big", signed=True)

    def uvarint(self) -> int:
        value = shift = 0
        while True:
            byte = self.u8()
            value |= (byte & 0x7F) << shift
            if not byte & 0x80:
                must(value <= MASK64, "uvarint over 64 bits", value)
                return value
            shift += 7
            must(shift < 70, "uvarint longer than ten bytes", self.position)

    def varint(self) -> int:
        value = self.uvarint()
        return (value >> 1) ^ -(value & 1)

    def text(self) -> bytes:
        return self.take(self.uvarint())

    def zeros(self, n: int, what: str) -> None:
        must(self.take(n) == bytes(n), f"{what} are not zero", self.position - n)

    def at_end(self) -> bool:
        return self.position == len(self.data)


def delta_binary_packed(data: bytes, width: int) -> list[int]:
    """Parquet's DELTA_BINARY_PACKED as signed integers of `width` bits; the stream must end with the data."""
    reader = Reader(data)
    block_size, mini_blocks, count, value = (
        reader.uvarint(),
        reader.uvarint(),
        reader.uvarint(),
        reader.varint(),
    )
    must(
        block_size % 128 == 0 and mini_blocks and block_size % mini_blocks == 0,
        "bad delta header",
        block_size,
    )
    per_mini_block = block_size // mini_blocks
    values = [value] if count else []
    while len(values) < count:
        min_delta = reader.varint()
        widths = reader.take(mini_blocks)
        for bits in widths:
            if len(values) == count:
                break
            must(bits <= width, "bit width over that of the type", bits)
            packed = int.from_bytes(reader.take(per_mini_block * bits // 8), "little")
            mask = (1 << bits) - 1
            for _ in range(min(per_mini_block, count - len(values))):
                value += min_delta + (packed & mask)
                packed >>= bits
                values.append(value)
    must(reader.at_end(), "bytes after a delta stream", reader.position, len(data))
    half, modulus = 1 << (width - 1), 1 << width
    return [(value + half) % modulus - half for value in values]


def protobuf_fields(data: bytes) -> dict[int, list[Any]]:
    """A protobuf message: field number -> raw values in order (int, or bytes for length-delimited ones)."""
    reader, fields = Reader(data), dict[int, list[Any]]()
    while not reader.at_end():
        key = reader.uvarint()
        number, wire_type = key >> 3, key & 7
        if wire_type == 0:
            value: Any = reader.uvarint()
        elif wire_type == 1:
            value = int.from_bytes(reader.take(8), "little")
        elif wire_type == 2:
            value = reader.text()
        elif wire_type == 5:
            value = int.from_bytes(reader.take(4), "little")
        else:
            raise SlowDecodeError(f"protobuf wire type {wire_type}")
        fields.setdefault(number, []).append(value)
    return fields


def signed64(value: int) -> int:
    return value - (1 << 64) if value >= 1 << 63 else value


def packed(values: list[Any]) -> list[int]:
    """A repeated scalar field, packed or not."""
    numbers = []
    for value in values:
        if isinstance(value, int):
            numbers.append(value)
        else:
            reader = Reader(value)
            while not reader.at_end():
                numbers.append(reader.uvarint())
    return numbers
