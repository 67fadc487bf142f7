"""Thrift's compact protocol, read from whatever bytes there are."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyro_assets.block.parquet import thrift


def read(data: bytes) -> dict:
    return thrift.read_struct(memoryview(data), 0)[0]


def test_all_types() -> None:
    data = (
        b"\x11\x12\x13\x07"  # 1: true, 2: false, 3: a byte
        b"\x15\x03\x36\xc4\x31"  # 4: -2, 7: 3170
        b"\x08\x64\x02hi"  # 50: "hi", its number given whole
        b"\x17" + bytes(8) + b"\x19\x25\x02\x04"  # 51: a double, 52: a list of two numbers
        b"\x1c\x11\x00"  # 53: a struct
        b"\x19\x21\x01\x02\x00"  # 54: a list of booleans
        b"rest"
    )
    fields, end = thrift.read_struct(memoryview(data), 0)
    assert fields == {
        1: True, 2: False, 3: 7, 4: -2, 7: 3170, 50: b"hi", 51: None, 52: [1, 2], 53: {1: True}, 54: [1, 2],
    }  # fmt: skip
    assert data[end:] == b"rest"


@pytest.mark.parametrize("end", range(14))
def test_an_early_end(end: int) -> None:
    data = b"\x15\x03\x36\xc4\x31\x1c\x18\x02hi\x19\x15\x02\x00\x00"
    with pytest.raises((IndexError, ValueError)):
        read(data[:end])


@pytest.mark.parametrize(
    ("data", "match"),
    [
        (b"\x1d\x00", "wire type 13"),
        (b"\x1a\x00", "wire type 10"),
        (b"\x1b\x00", "wire type 11"),
        (b"\x18\x05hi", "a binary runs past the end"),
        (b"\x18\xff\xff\xff\xff\x0f", "a binary runs past the end"),
        (b"\x19\xfc\xff\xff\xff\xff\x0f", "a list is longer"),
        (b"\x15" + b"\x80" * 10 + b"\x01", "more than ten bytes"),
        (b"\x1c" * 40, "structs within structs"),
        (b"\x19\x1c" * 40, "structs within structs"),
        (b"\x19\x19" * 4000, "lists within lists|structs within structs"),
    ],
)
def test_what_is_refused(data: bytes, match: str) -> None:
    with pytest.raises(ValueError, match=match):
        read(data)


@given(st.binary(max_size=60))
def test_any_bytes(data: bytes) -> None:
    with contextlib.suppress(IndexError, ValueError):
        read(data)


@given(st.integers(0, 2**62))
def test_numbers(value: int) -> None:
    raw = thrift.number(value)
    assert thrift.number_of(raw) == value
    assert read(b"\x16" + raw + b"\x00") == {1: value}


@given(st.lists(st.integers(0, 2**40), max_size=40), st.text(max_size=200))
def test_what_is_written_is_read(numbers: list[int], text: str) -> None:
    data = b"\x19" + thrift.list_of(thrift.I64, [thrift.number(one) for one in numbers])
    data += b"\x18" + thrift.binary(text) + b"\x00"
    assert read(data) == {1: numbers, 2: text.encode()}
