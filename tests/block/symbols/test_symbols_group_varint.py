"""Group varint: all streams at once against one group at a time."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyro_assets.block.symbols import group_varint
from tests.oracle.symbol_codecs import decode_groups, encode_groups

U32 = st.integers(0, 2**32 - 1) | st.integers(0, 300) | st.sampled_from([0, 255, 256, 65535, 65536, 2**24])


def decode(streams: list[bytes]) -> tuple[list[int], list[list[int]], list[int]]:
    data, groups, start = group_varint.split(streams)
    return groups.tolist(), group_varint.decode(data, groups).tolist(), start.tolist()


def check(streams: list[bytes]) -> None:
    starts, rows, bounds, offset = [], [], [0], 0
    for stream in streams:
        own_starts, own_rows = decode_groups(stream)
        starts += [offset + start for start in own_starts]
        rows += own_rows
        offset += len(stream)
        bounds.append(len(rows))
    assert decode(streams) == (starts, rows, bounds)


@given(st.lists(st.lists(st.tuples(U32, U32, U32, U32), max_size=60), max_size=5))
def test_decoding_and_encoding(streams: list[list[tuple[int, int, int, int]]]) -> None:
    slow = [encode_groups(stream) for stream in streams]
    check(slow)
    for stream, expected in zip(streams, slow, strict=True):
        encoder = group_varint.GroupVarintWriter(len(stream))
        numbers = np.array(stream, dtype=np.uint32).reshape(-1, 4)
        encoder.add(numbers[:7])
        encoder.add(numbers[7:])
        assert encoder.finish() == expected


@pytest.mark.parametrize("seed", range(12))
def test_long_streams_whose_groups_are_guessed(seed: int) -> None:
    rng = np.random.default_rng(seed)
    streams = []
    for size in (0, 20_000, 1, 700, 90_000, 3)[: 2 + seed % 5]:
        numbers = rng.integers(0, 2**32, (size, 4), dtype=np.uint64) >> rng.integers(0, 33, (size, 4), dtype=np.uint64)
        streams.append(encode_groups((numbers & 0xFFFFFFFF).tolist()))
    check(streams)


@pytest.mark.parametrize(
    "pattern", [bytes(5), b"\x00\x02\x05\x02\x05", b"\x55" + b"\x55\x01" * 4, b"\xff" * 17, b"\x01\x01\x01\x01\x01\x01"]
)
def test_walks_that_never_meet_the_true_one(pattern: bytes) -> None:
    # Whatever byte a walk starts from, it repeats itself beside the true groups.
    check([pattern * 2000, pattern * 3, b"", pattern * 9000])


def test_control_bytes_need_not_be_the_shortest() -> None:
    check([b"\xff" + b"\x01\x00\x00\x00" * 4 + b"\x00\x01\x02\x03\x04"])


@pytest.mark.parametrize("cut", [1, 2, 3, 4])
@pytest.mark.parametrize("size", [1, 50, 20_000])
def test_a_stream_that_ends_inside_a_group(size: int, cut: int) -> None:
    good = encode_groups([[1, 2, 3, 4]] * 700)
    bad = encode_groups([[7, 300, 2, 1]] * size)[:-cut]
    with pytest.raises(group_varint.BadStreamError) as caught:
        group_varint.split([good, bad, good])
    assert caught.value.stream == 1
