"""Chunks of remote read taken apart bit by bit, as Prometheus's own reader does it; nothing under test is used."""

import struct


class _Bits:
    def __init__(self, data: bytes) -> None:
        self.text = "".join(f"{byte:08b}" for byte in data)
        self.at = 0

    def take(self, count: int) -> int:
        assert self.at + count <= len(self.text), "the chunk ends before its samples do"
        self.at += count
        return int(self.text[self.at - count : self.at] or "0", 2)

    def varint(self) -> int:
        number = shift = 0
        while True:
            byte = self.take(8)
            number |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                return number


def decode_chunk(data: bytes) -> list[tuple[int, float]]:
    """(time, value) of each sample."""
    count, bits = int.from_bytes(data[:2], "big"), _Bits(data[2:])
    found: list[tuple[int, float]] = []
    time = delta = value = leading = trailing = 0
    for number in range(count):
        if number == 0:
            coded = bits.varint()
            time, value = (coded >> 1) ^ -(coded & 1), bits.take(64)
        else:
            delta = bits.varint() if number == 1 else delta + _distance(bits)
            time += delta
            if bits.take(1):
                if bits.take(1):
                    leading, length = bits.take(5), bits.take(6) or 64
                    trailing = 64 - leading - length
                value ^= bits.take(64 - leading - trailing) << trailing
        found.append((time, struct.unpack(">d", value.to_bytes(8, "big"))[0]))
    assert bits.take(len(bits.text) - bits.at) == 0, "something stands behind the last sample"
    assert len(data) - 2 - (bits.at + 7) // 8 == 0
    return found


def _distance(bits: _Bits) -> int:
    ones = 0
    while ones < 4 and bits.take(1):
        ones += 1
    width = (0, 14, 17, 20, 64)[ones]
    number = bits.take(width)
    highest = 1 << (width - 1) if width else 0
    return number - (1 << width) if number > (highest if width < 64 else highest - 1) else number
