"""Pieces of series come out as they went in, series by series, from memory and from a file."""

import numpy as np
import pytest

from pyro_assets.explore.remote_read.encode import EncodedSeries
from pyro_assets.explore.remote_read.spool import SeriesSpool


@pytest.mark.parametrize("size", [1, 2 << 20], ids=["memory", "file"])
def test_pieces_of_a_series_stand_behind_each_other(size: int):
    generator = np.random.default_rng(3)
    kept = dict.fromkeys(range(5), b"")
    with SeriesSpool() as spool:
        assert list(spool.series(np.arange(2))) == [b"", b""]
        for round_ in range(10):
            series = np.flatnonzero(generator.random(5) < 0.7)
            parts = [bytes([round_, number]) * size for number in series.tolist()]
            ends = np.cumsum([0, *map(len, parts)])
            spool.add(series, EncodedSeries(memoryview(b"".join(parts)), ends))
            for number, part in zip(series.tolist(), parts, strict=True):
                kept[number] += part
        order = np.array([3, 0, 4, 2, 1])
        assert spool.sizes(6).tolist() == [*(len(kept[number]) for number in range(5)), 0]
        assert list(spool.series(order)) == [kept[number] for number in order.tolist()]
        assert spool.size_bytes == sum(map(len, kept.values()))
