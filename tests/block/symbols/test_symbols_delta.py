"""DELTA_BINARY_PACKED: Arrow's decoder and our encoder against one that works value by value."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyro_assets.block.symbols import delta, delta_writer
from tests.oracle.bytes import delta_binary_packed
from tests.oracle.symbol_codecs import encode_delta, uvarint

DTYPE = {32: np.int32, 64: np.int64}


def numbers(bits: int) -> st.SearchStrategy[list[int]]:
    low, high = -(1 << (bits - 1)), (1 << (bits - 1)) - 1
    value = st.integers(low, high) | st.integers(-40, 300) | st.sampled_from([low, high, 0, -1])
    return st.lists(value, min_size=1, max_size=300)


def decode(streams: list[bytes], counts: list[int], bits: int) -> list[int]:
    narrow, wide = delta.decode(streams, counts, [], []) if bits == 32 else delta.decode([], [], streams, counts)
    return (narrow if bits == 32 else wide).tolist()


def encode(columns: list[list[int]], bits: int) -> list[bytes]:
    values = np.array([value for column in columns for value in column], dtype=DTYPE[bits])
    return delta_writer.encode(values, np.cumsum([0, *map(len, columns)]))


@pytest.mark.parametrize("bits", [32, 64])
class TestRoundTrip:
    @given(data=st.data())
    def test_bytes_are_those_of_the_slow_encoder_and_decode(self, bits: int, data: st.DataObject) -> None:
        columns = data.draw(st.lists(numbers(bits), min_size=1, max_size=4))
        encoded = encode(columns, bits)
        assert encoded == [encode_delta(column, bits) for column in columns]
        assert [delta_binary_packed(stream, bits) for stream in encoded] == columns
        assert decode(encoded, [len(column) for column in columns], bits) == [v for c in columns for v in c]

    @pytest.mark.parametrize("count", [1, 2, 32, 33, 127, 128, 129, 130, 256, 257, 1023, 1024, 1025])
    def test_counts_around_the_ends_of_blocks(self, bits: int, count: int) -> None:
        for seed, width in enumerate((1, 7, 8, 9, 16, 17, 24, 31, bits - 1, bits)):
            rng = np.random.default_rng(seed)
            values = [int(v) >> (64 - width) for v in rng.integers(-(2**63), 2**63 - 1, count)]
            encoded = encode([values], bits)
            assert encoded == [encode_delta(values, bits)]
            assert decode(encoded, [count], bits) == values

    @pytest.mark.parametrize(("block", "minis"), [(128, 1), (256, 8), (1024, 4)])
    def test_other_block_sizes_are_read(self, bits: int, block: int, minis: int) -> None:
        values = [3 * i * (-1) ** i for i in range(700)]
        assert decode([encode_delta(values, bits, block, minis)], [700], bits) == values


def test_nothing_to_do() -> None:
    assert [column.tolist() for column in delta.decode([], [], [], [])] == [[], []]
    assert delta_writer.encode(np.zeros(0, np.int32), np.zeros(1, np.int64)) == []
    assert encode_delta([], 32) == delta_writer.EMPTY


def test_narrow_and_wide_columns_together() -> None:
    narrow, wide = delta.decode([encode_delta([1, 2], 32)], [2], [encode_delta([2**40, -5, 9], 64)], [3])
    assert (narrow.tolist(), wide.tolist()) == ([1, 2], [2**40, -5, 9])


GOOD = encode_delta(list(range(0, 500, 7)), 32)
BROKEN = {
    "another count": (encode_delta([1, 2, 3], 32), True),
    "a count of 2**31": (uvarint(128) + uvarint(4) + uvarint(1 << 31) + b"\0", True),
    "empty": (b"", False),
    "cut off in the header": (GOOD[:2], False),
    "cut off in a block": (GOOD[:-3], False),
    "fewer bytes than blocks": (GOOD[:6], False),
    "a number without end": (b"\xff" * 30, False),
    "a block of 2**31 values": (uvarint(1 << 31) + uvarint(4) + uvarint(72) + b"\0" * 90, False),
    "mini-blocks of no multiple of 32": (uvarint(128) + uvarint(8) + uvarint(72) + b"\0" * 90, False),
    "no mini-blocks": (uvarint(128) + uvarint(0) + uvarint(72) + b"\0" * 90, False),
    "a width of 77 bits": (uvarint(128) + uvarint(4) + uvarint(72) + b"\0\0" + b"\x4d" * 4 + b"\0" * 2000, False),
}


@pytest.mark.parametrize("name", BROKEN)
def test_one_broken_stream_is_named(name: str) -> None:
    stream, is_count = BROKEN[name]
    with pytest.raises(delta.BadDeltaError) as caught:
        delta.decode([GOOD, stream, GOOD], [72, 72, 72], [encode_delta([5], 64)], [1])
    assert (caught.value.stream, caught.value.is_count) == (1, is_count)


def test_broken_wide_streams_count_after_the_narrow_ones() -> None:
    with pytest.raises(delta.BadDeltaError) as caught:
        delta.decode([GOOD], [72], [encode_delta([5], 64), encode_delta([5, 6], 64)[:-1]], [1, 2])
    assert caught.value.stream == 2


def test_few_bytes_do_not_stand_for_very_many_values() -> None:
    """Blocks of 4,096 equal differences take two bytes each: forty bytes would be 65,536 numbers."""
    data = uvarint(4096) + uvarint(1) + uvarint(1 << 16) + b"\x00" + b"\x00\x00" * 16
    with pytest.raises(delta.BadDeltaError, match="bytes are too few for 65536 values"):
        delta.decode([data], [1 << 16], [], [])
