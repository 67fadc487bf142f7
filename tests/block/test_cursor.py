"""A cursor takes exactly what it was asked for, or raises."""

import struct
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyro_assets.block.cursor import Cursor
from pyro_assets.block.tsdb.layout import read_uvarint, uvarint, varint
from pyro_assets.errors import BadLength, Truncated, Where

HERE = Where("key", "symbols")


def test_fixed_numbers_are_big_endian() -> None:
    cursor = Cursor(struct.pack(">BHIQq", 1, 2, 3, 1 << 63, -4), HERE)
    assert (cursor.u8(), cursor.u16(), cursor.u32(), cursor.u64(), cursor.i64()) == (1, 2, 3, 1 << 63, -4)
    assert cursor.remaining == 0


@pytest.mark.parametrize(
    ("read", "size"),
    [
        (lambda c: c.u8(), 1),
        (lambda c: c.u16(), 2),
        (lambda c: c.u32(), 4),
        (lambda c: c.u64(), 8),
        (lambda c: c.i64(), 8),
        (lambda c: c.take(5), 5),
    ],
)
def test_a_missing_byte_is_truncated_and_nothing_moves(read: Callable[[Cursor], object], size: int) -> None:
    cursor = Cursor(bytes(3 + size - 1), HERE, base=100)
    cursor.take(3)
    with pytest.raises(Truncated) as caught:
        read(cursor)
    assert caught.value.offset == 103
    assert (caught.value.expected, caught.value.actual) == (f"{size} bytes", f"{size - 1} left")
    assert cursor.position == 3


@given(st.integers(0, (1 << 64) - 1), st.binary(max_size=3))
def test_uvarint_round_trip(number: int, after: bytes) -> None:
    data = uvarint(number)
    cursor = Cursor(data + after, HERE)
    assert cursor.uvarint() == number
    assert cursor.position == len(data)
    assert read_uvarint(data + after + b"\0", 0, 0, HERE) == (number, len(data))
    for size in range(len(data)):
        with pytest.raises(Truncated):
            Cursor(data[:size], HERE).uvarint()


@given(st.integers(-(1 << 63), (1 << 63) - 1))
def test_varint_round_trip(number: int) -> None:
    assert Cursor(varint(number), HERE).varint() == number


@pytest.mark.parametrize("data", [b"\xff" * 10, b"\xff" * 11, b"\xff" * 9 + b"\x02", b"\x80" * 10 + b"\0"])
def test_more_than_64_bits_is_a_bad_length(data: bytes) -> None:
    with pytest.raises(BadLength, match="longer than 64 bits"):
        Cursor(data, HERE).uvarint()


def test_take_and_at_give_views_within_bounds() -> None:
    cursor = Cursor(memoryview(b"abcdef"), HERE, base=10)
    assert bytes(cursor.take(2)) == b"ab"
    assert bytes(cursor.at(3, 3)) == b"def"
    assert bytes(cursor.at(6, 0)) == b""
    assert (cursor.position, cursor.offset, cursor.remaining) == (2, 12, 4)
    for offset, size in ((-1, 1), (0, -1), (4, 3), (7, 0), (1 << 70, 1), (0, 1 << 70)):
        with pytest.raises(BadLength):
            cursor.at(offset, size)
    for size in (-1, 5, 1 << 70):
        with pytest.raises(Truncated):
            cursor.take(size)


def test_signed_views_are_read_as_bytes() -> None:
    assert Cursor(memoryview(b"\xff\xfe").cast("b"), HERE).u16() == 0xFFFE
