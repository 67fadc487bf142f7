"""Gathering variable-length ranges (the samples of rows, the lines of locations) without a loop.

Add only index arithmetic here.
"""

import numpy as np

from pyro_assets.block.columns import I64


def range_starts(counts: I64) -> I64:
    """Where ranges of these lengths begin when they lie end to end, and where the last one ends: int64[n + 1].

    >>> range_starts(np.array([2, 0, 3])).tolist()
    [0, 2, 2, 5]
    """
    start = np.zeros(len(counts) + 1, dtype=np.int64)
    np.cumsum(counts, out=start[1:])
    return start


def gather_ranges(start: I64, rows: I64) -> tuple[I64, I64]:
    """Ranges of the chosen rows, end to end.

    Args:
        start: int64[n + 1], row i owns start[i]:start[i + 1].
        rows: int64[k], the rows wanted, in the order wanted.

    Returns:
        int64[k + 1], where each row's range begins now, and int64[m], the old position of each element.

    >>> [part.tolist() for part in gather_ranges(np.array([0, 2, 2, 5]), np.array([2, 0]))]
    [[0, 3, 5], [2, 3, 4, 0, 1]]
    """
    begin = start.take(rows)
    count = start.take(rows + 1) - begin
    gathered = range_starts(count)
    position = np.arange(gathered[-1], dtype=np.int64) + np.repeat(begin - gathered[:-1], count)
    return gathered, position
