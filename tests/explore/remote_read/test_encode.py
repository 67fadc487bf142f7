"""Chunks and plain samples as columns: what protobuf and a reader of single bits make of them is what went in."""

import math
import struct
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyro_assets.explore.remote_read import prompb_pb2 as pb
from pyro_assets.explore.remote_read.encode import MAX_TIME_MS, SAMPLES_PER_CHUNK, encode_chunks, encode_samples
from tests.oracle.xor import decode_chunk

VALUES = st.one_of(st.floats(), st.integers(-(2**53), 2**53).map(float), st.sampled_from([0.0, -0.0, 1.0, 5e-324]))
STEPS = st.one_of(st.integers(1, 20_000), st.sampled_from([5000, 8192, 65536, 524_287, 524_288, 3_600_000, 2**35]))
Series = list[tuple[int, float]]


@st.composite
def series(draw: st.DrawFn) -> Series:
    time = draw(st.one_of(st.integers(0, 2**30), st.just(1_795_600_276_100)))
    found = [(time, draw(VALUES))]
    for step, value in draw(st.lists(st.tuples(STEPS, VALUES), max_size=8)):
        time += step
        found.append((time, value))
    return found


def columns(given_series: list[Series]) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    flat = [pair for one in given_series for pair in one]
    begins = np.cumsum([0, *map(len, given_series)])[:-1]
    return np.array([t for t, _ in flat]), np.array([v for _, v in flat]), begins


def raw(found: Series) -> list[tuple[int, bytes]]:
    """Values by their bits: NaN is not equal to itself, and zeros have signs."""
    return [(time, struct.pack(">d", value)) for time, value in found]


def chunked(given_series: list[Series]) -> list[list[pb.Chunk]]:
    pieces = encode_chunks(*columns(given_series))
    ends = pieces.ends.tolist()
    return [list(pb.ChunkedSeries.FromString(bytes(pieces.data[begin:end])).chunks) for begin, end in pairwise(ends)]


@given(st.lists(series(), min_size=1, max_size=5))
def test_chunks_hold_the_samples_of_their_series(given_series):
    for wanted, chunks in zip(given_series, chunked(given_series), strict=True):
        assert raw([pair for chunk in chunks for pair in decode_chunk(chunk.data)]) == raw(wanted)
        assert [chunk.type for chunk in chunks] == [pb.Chunk.XOR]
        assert (chunks[0].min_time_ms, chunks[-1].max_time_ms) == (wanted[0][0], wanted[-1][0])


@given(st.lists(series(), min_size=1, max_size=5))
def test_plain_samples_are_those_of_protobuf(given_series):
    pieces = encode_samples(*columns(given_series))
    ends = pieces.ends.tolist()
    for wanted, (begin, end) in zip(given_series, pairwise(ends), strict=True):
        expected = pb.TimeSeries(samples=[pb.Sample(timestamp=time, value=value) for time, value in wanted])
        # Zeros are written too, which protobuf leaves out: readers take both.
        found = pb.TimeSeries.FromString(bytes(pieces.data[begin:end]))
        assert raw([(s.timestamp, s.value) for s in found.samples]) == raw(
            [(s.timestamp, s.value) for s in expected.samples]
        )


@pytest.mark.parametrize("count", [1, 2, 3, SAMPLES_PER_CHUNK, SAMPLES_PER_CHUNK + 1, 1000])
def test_a_chunk_has_as_many_samples_as_prometheus_puts_into_one(count):
    generator = np.random.default_rng(count)
    times = np.cumsum(generator.integers(1, 10_000, count)) + 1_795_600_000_000
    one = list(zip(times.tolist(), generator.random(count).tolist(), strict=True))
    (chunks,) = chunked([one])
    decoded = [decode_chunk(chunk.data) for chunk in chunks]
    assert [pair for part in decoded for pair in part] == one
    assert all(len(part) == SAMPLES_PER_CHUNK for part in decoded[:-1])
    assert len(decoded) == math.ceil(count / SAMPLES_PER_CHUNK)
    assert [(c.min_time_ms, c.max_time_ms) for c in chunks] == [(part[0][0], part[-1][0]) for part in decoded]


def test_the_first_and_the_last_time_that_can_be_written():
    one = [(0, 1.0), (MAX_TIME_MS, -1.0)]
    assert decode_chunk(chunked([one])[0][0].data) == one
    back = [(0, 1.0), (1, 2.0), (MAX_TIME_MS, 3.0)]
    assert decode_chunk(chunked([back])[0][0].data) == back
