"""Numbering equal rows: against a dictionary, and with hashes that collide on purpose."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyro_assets.compaction.arrays import Distinct, distinct_rows, number_by_hash, number_exactly

TABLES = st.lists(st.tuples(st.integers(-2, 2), st.integers(-(2**63), 2**63 - 1) | st.integers(0, 1)), max_size=40)


def slow(rows: list[tuple[int, ...]]) -> tuple[list[int], list[int]]:
    seen: dict[tuple[int, ...], int] = {}
    first: list[int] = []
    codes = []
    for position, row in enumerate(rows):
        if row not in seen:
            seen[row] = len(seen)
            first.append(position)
        codes.append(seen[row])
    return codes, first


def columns(rows: list[tuple[int, ...]]) -> list[np.ndarray]:
    return [np.array([row[k] for row in rows], dtype=np.int64) for k in range(2)]


@given(TABLES)
@pytest.mark.parametrize(
    "number",
    [
        number_by_hash,
        lambda hashed: number_by_hash(hashed & np.uint64(1)),
        lambda hashed: number_by_hash(np.zeros_like(hashed)),
    ],
    ids=["hashes", "one bit", "all collide"],
)
def test_codes_in_order_of_first_occurrence(number, rows):
    found = distinct_rows(columns(rows), number)
    assert (found.codes.tolist(), found.first.tolist()) == slow(rows)


@given(TABLES)
def test_the_exact_way_agrees(rows):
    found = number_exactly(columns(rows))
    assert (found.codes.tolist(), found.first.tolist()) == slow(rows)


def test_hashes_that_collide_are_noticed():
    assert number_by_hash(np.zeros(3, dtype=np.uint64)).codes.tolist() == [0, 0, 0]
    rows = [(1, 5), (2, 5), (1, 5)]
    assert isinstance(distinct_rows(columns(rows)), Distinct)
    assert distinct_rows(columns(rows)).codes.tolist() == [0, 1, 0]
