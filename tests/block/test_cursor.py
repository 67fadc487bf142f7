"""A cursor takes exactly what it was asked for, or raises."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyro_assets.block.cursor import Cursor, uvarint, varint
from pyro_assets.block.tsdb.layout import read_uvarint
from pyro_assets.errors import BadLength, Truncated, Where

HERE = Where("key", "symbols")


def test_a_missing_byte_is_truncated_and_nothing_moves() -> None:
    cursor = Cursor(bytes(3 + 4), HERE, base=100)
    cursor.take(3)
    with pytest.raises(Truncated) as caught:
        cursor.take(5)
    assert caught.value.offset == 103
    assert (caught.value.expected, caught.value.actual) == ("5 bytes", "4 left")
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


def test_take_gives_views_within_bounds() -> None:
    cursor = Cursor(memoryview(b"abcdef"), HERE, base=10)
    assert bytes(cursor.take(2)) == b"ab"
    assert (cursor.position, cursor.offset, cursor.remaining) == (2, 12, 4)
    for size in (-1, 5, 1 << 70):
        with pytest.raises(Truncated):
            cursor.take(size)


def test_signed_views_are_read_as_bytes() -> None:
    assert Cursor(memoryview(b"\xff\x01").cast("b"), HERE).uvarint() == 0xFF
