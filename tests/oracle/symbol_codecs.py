"""Slow integer codecs of the symbols section: DELTA_BINARY_PACKED and group varint, one value at a time.

They share nothing with the package and are written after the format's description, so that they can contradict it.
"""

from collections.abc import Sequence


def uvarint(value: int) -> bytes:
    """LEB128."""
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


def zigzag(value: int) -> int:
    """Small numbers of either sign become small numbers."""
    return value * 2 if value >= 0 else -value * 2 - 1


def wrap(value: int, bits: int) -> int:
    """Two's complement of `bits` bits."""
    value &= (1 << bits) - 1
    return value - (1 << bits) if value >> (bits - 1) else value


def encode_delta(values: Sequence[int], bits: int, block: int = 128, minis: int = 4) -> bytes:
    """DELTA_BINARY_PACKED as the original writes it: an unfinished block is filled up with zeros first."""
    out = bytearray(
        uvarint(block) + uvarint(minis) + uvarint(len(values)) + uvarint(zigzag(values[0] if values else 0))
    )
    previous = values[0] if values else 0
    rest = list(values[1:])
    for begin in range(0, len(rest), block):
        own = rest[begin : begin + block]
        filled = own + [0] * (block - len(own))
        differences = [wrap(b - a, bits) for a, b in zip([previous, *filled], filled, strict=False)]
        previous = filled[-1]
        least = min(differences)
        out += uvarint(zigzag(least))
        relative = [(d - least) % (1 << bits) for d in differences[: len(own)]] + [0] * (block - len(own))
        widths, data = bytearray(), bytearray()
        for first in range(0, block, block // minis):
            mini = relative[first : first + block // minis]
            width = max(mini).bit_length()
            widths.append(width)
            packed = 0
            for position, value in enumerate(mini):
                packed |= value << (position * width)
            data += packed.to_bytes(len(mini) * width // 8, "little")
        out += widths + data
    return bytes(out)


def encode_groups(numbers: Sequence[Sequence[int]]) -> bytes:
    """Group varint of rows of four numbers."""
    out = bytearray()
    for row in numbers:
        control, data = 0, bytearray()
        for field, value in enumerate(row):
            size = max(1, (value.bit_length() + 7) // 8)
            control |= (size - 1) << (2 * field)
            data += value.to_bytes(size, "little")
        out += bytes([control]) + data
    return bytes(out)


def decode_groups(data: bytes) -> tuple[list[int], list[list[int]]]:
    """Where the groups of a stream start, and their numbers."""
    starts, rows, position = [], [], 0
    while position < len(data):
        starts.append(position)
        control = data[position]
        position += 1
        row = []
        for field in range(4):
            size = ((control >> (2 * field)) & 3) + 1
            if position + size > len(data):
                raise EOFError
            row.append(int.from_bytes(data[position : position + size], "little"))
            position += size
        rows.append(row)
    return starts, rows


def encode_tree(nodes: Sequence[tuple[int, int]]) -> bytes:
    """A tree's chunk from (parent, location) pairs."""
    numbers, previous = [], 0
    for parent, location in nodes:
        numbers += [zigzag(parent - previous), location]
        previous = parent
    numbers += [0, 0] * (len(nodes) % 2)
    return encode_groups([numbers[i : i + 4] for i in range(0, len(numbers), 4)])
