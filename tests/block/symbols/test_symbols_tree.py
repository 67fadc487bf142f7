"""Trees: many at once, in batches, against the slow codec."""

import numpy as np
import pytest

from pyro_assets.block.symbols import tree
from pyro_assets.errors import BadEncoding, BadIndex, Where
from tests.oracle.symbol_codecs import encode_tree


def starts(counts: list[int]) -> np.ndarray:
    return np.cumsum([0, *counts], dtype=np.int64)


def random_tree(rng: np.random.Generator, nodes: int, locations: int) -> list[tuple[int, int]]:
    follows = rng.random(nodes) < 0.8
    return [
        (-1, 0),
        *((i if follows[i] else int(rng.integers(i + 1)), int(rng.integers(locations))) for i in range(nodes - 1)),
    ]


COUNTS = [1, 0, 90_000, 2, 3, 40_001, 0, 30_000, 7, 70_000]


def test_batches_of_trees() -> None:
    rng = np.random.default_rng(5)
    locations = [1, 5, 70_000, 1, 300, 900, 0, 200, 9, 5]
    trees = [random_tree(rng, count, own)[:count] for count, own in zip(COUNTS, locations, strict=True)]
    chunks = [encode_tree(nodes) for nodes in trees]
    assert sum(map(len, chunks)) > tree._BATCH_BYTES
    places = [(Where(dataset=str(i)), i) for i in range(len(trees))]
    node_start, parent, location = tree.decode_trees(chunks, COUNTS, starts(locations), places)
    assert node_start.tolist() == starts(COUNTS).tolist()
    location_start = starts(locations).tolist()
    for unit, nodes in enumerate(trees):
        first = int(node_start[unit])
        own = slice(first, int(node_start[unit + 1]))
        assert parent[own].tolist() == [p + first if p >= 0 else -1 for p, _ in nodes]
        assert location[own].tolist() == [q + location_start[unit] if p >= 0 else -1 for p, q in nodes]
    assert tree.encode_trees(node_start, starts(locations), parent, location) == chunks
    leaves = [len(nodes) - len({p for p, _ in nodes if p >= 0} | {0}) if nodes else 0 for nodes in trees]
    assert tree.count_leaves(node_start, parent).tolist() == leaves


@pytest.mark.parametrize("unit", [2, 5, 9])
def test_an_error_in_any_batch_names_its_unit(unit: int) -> None:
    rng = np.random.default_rng(6)
    trees = [random_tree(rng, count, 50)[:count] for count in COUNTS]
    chunks = [encode_tree(nodes) for nodes in trees]
    places = [(Where(dataset=str(i)), 100 + i) for i in range(len(trees))]
    locations = starts([50] * len(COUNTS))
    broken = encode_tree([*trees[unit][:-1], (0, 50)])
    with pytest.raises(BadIndex) as caught:
        tree.decode_trees([*chunks[:unit], broken, *chunks[unit + 1 :]], COUNTS, locations, places)
    assert (caught.value.where.dataset, caught.value.offset) == (str(unit), 100 + unit)
    assert caught.value.what == f"location of a node ({COUNTS[unit] - 1})"
    with pytest.raises(BadEncoding) as cut:
        tree.decode_trees([*chunks[:unit], chunks[unit][:-1], *chunks[unit + 1 :]], COUNTS, locations, places)
    assert cut.value.where.dataset == str(unit)
