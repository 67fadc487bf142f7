"""A tenant's dataset index: one TSDB index over the series of all its datasets in a block.

It tells a server which datasets hold a series. What it says is derived here from the datasets' own indices; its bytes
are `writer`'s (FORMAT.md, 5.6).
"""

from collections.abc import Sequence

import numpy as np

from pyro_assets.block.columns import Labels, SeriesTable
from pyro_assets.block.tsdb.writer import write_index
from pyro_assets.errors import Where


def write_dataset_index(series: SeriesTable, datasets: Sequence[int], positions: Sequence[int]) -> bytes:
    """Writes the section of a dataset of format 1.

    Its series are those of the datasets one after the other, not sorted anew; each carries its dataset's position as
    series index and zero as times.

    Args:
        series: the series of a block's datasets, or of many blocks'.
        datasets: the tenant's datasets, as rows of `series.dataset_start`, in the order of the metadata.
        positions: of each of them in `BlockMeta.datasets`.

    Returns:
        The section.
    """
    labels: list[Labels] = []
    parts = []
    for dataset in datasets:
        start, end = int(series.dataset_start[dataset]), int(series.dataset_start[dataset + 1])
        labels += series.labels[start:end]
        parts.append(series.fingerprint[start:end])
    zero = np.zeros(len(labels), np.int64)
    return write_index(
        labels,
        np.concatenate(parts) if parts else np.empty(0, np.uint64),
        np.repeat(np.array(positions, np.int64), [len(part) for part in parts]),
        zero,
        zero,
        Where(section="dataset index"),
    )
