"""Path sums against a loop over the nodes."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from pyro_assets.block.symbols.paths import find_runs, path_sums


@st.composite
def forests(draw) -> tuple[list[int], list[int]]:
    size = draw(st.integers(0, 60))
    parents = [
        -1 if node == 0 else draw(st.sampled_from([-1, node - 1, node - 1, node - 1]) | st.integers(0, node - 1))
        for node in range(size)
    ]
    weights = draw(st.lists(st.integers(-(2**63), 2**63 - 1), min_size=size, max_size=size))
    return parents, weights


@given(forests())
def test_path_sums_modulo_two_to_the_64(forest):
    parents, weights = forest
    expected: list[int] = []
    for parent, weight in zip(parents, weights, strict=True):
        expected.append((weight + (expected[parent] if parent >= 0 else 0)) % 2**64)
    found = path_sums(find_runs(np.array(parents, dtype=np.int64)), np.array(weights, dtype=np.int64))
    assert found.view(np.uint64).tolist() == expected
