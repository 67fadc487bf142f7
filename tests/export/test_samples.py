"""Samples as columns of numbers: that shortcuts of sorting give what sorting gives."""

import numpy as np
import pyarrow as pa
import pytest

from pyro_assets.export.samples import _distinct, read_samples
from pyro_assets.series.frame import SCHEMA


@pytest.mark.parametrize("bound", [1 << 10, 1 << 24], ids=["marked", "sorted"])
def test_distinct_keys_are_those_of_numpy(bound: int):
    key = np.random.default_rng(7).integers(0, min(bound, 5_000), 300)
    found, place = _distinct(key, bound)
    expected, expected_place = np.unique(key, return_inverse=True)
    assert found.tolist() == expected.tolist()
    assert place.tolist() == expected_place.tolist()
    assert [part.tolist() for part in _distinct(key[:0], 0)] == [[], []]


@pytest.mark.parametrize("samples", [50, 20_000], ids=["counted", "sorted"])
def test_labels_stand_in_the_order_of_their_names(samples: int):
    labels = [
        [{"name": name, "value": f"{name}{row % 7}"} for name in ("z", "a", "m")[: 1 + row % 3]]
        for row in range(samples)
    ]
    table = pa.table(
        {
            "tenant": ["t"] * samples,
            "metric": [f"metric_{row % 5}" for row in range(samples)],
            "labels": labels,
            "timestamp_ms": [1] * samples,
            "value": [float(row) for row in range(samples)],
            "value_int": list(range(samples)),
            "rule": ["r"] * samples,
            "job": ["j"] * samples,
        },
        schema=SCHEMA,
    )
    found = read_samples(table)
    for row in (0, 1, 2, samples // 2, samples - 1):
        expected = {"__name__": f"metric_{row % 5}"} | {pair["name"]: pair["value"] for pair in labels[row]}
        assert list(found.labels(row).items()) == sorted(expected.items())
