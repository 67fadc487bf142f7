"""Sums that never wrap, against Python's integers."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pyro_assets.series import exact
from pyro_assets.series.exact import add_up, sum_by

EXTREME = st.sampled_from([2**63 - 1, -(2**63), 2**53, 2**53 + 1, -1, 2**32, 2**31, -(2**31), 0])
VALUES = st.lists(st.tuples(st.integers(0, 4), st.one_of(EXTREME, st.integers(-(2**63), 2**63 - 1))), max_size=40)


def slow(pairs: list[tuple[int, int]], size: int) -> list[int]:
    sums = [0] * size
    for code, value in pairs:
        sums[code] += value
    return sums


def exactly(sums: exact.Wide) -> list[int]:
    assert ((sums.low >= 0) & (sums.low < 2**32)).all()
    return [high * 2**32 + low for high, low in zip(sums.high.tolist(), sums.low.tolist(), strict=True)]


@given(VALUES, st.integers(1, 7))
def test_sums_are_exact_whatever_the_chunks(pairs, chunk):
    codes = np.array([code for code, _ in pairs], dtype=np.int64)
    values = np.array([value for _, value in pairs], dtype=np.int64)
    before = exact._CHUNK
    exact._CHUNK = chunk
    try:
        sums = sum_by(codes, values, 5)
    finally:
        exact._CHUNK = before
    expected = slow(pairs, 5)
    assert exactly(sums) == expected
    assert sums.nonzero().tolist() == [code for code, value in enumerate(expected) if value]
    narrow, is_over = sums.narrow()
    for value, number, over in zip(narrow.tolist(), expected, is_over.tolist(), strict=True):
        assert over == (not -(2**63) <= number < 2**63)
        assert over or value == number
    twice = add_up(np.zeros(5, dtype=np.int64), sums, 1)
    assert exactly(twice) == [sum(expected)]


def test_many_small_values_take_the_short_way():
    codes = np.arange(1000, dtype=np.int64) % 3
    values = np.arange(1000, dtype=np.int64) - 500
    pairs = list(zip(codes.tolist(), values.tolist(), strict=True))
    assert exactly(sum_by(codes, values, 4)) == slow(pairs, 4)
