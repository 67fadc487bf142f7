"""Sums of 64-bit integers that never wrap: computed wider than their result, and checked at the end.

Add other exact reductions here, and how keys become numbers for them. Where the bounds of the input allow it, one
pass over doubles is exact and enough; otherwise values are split into a signed upper and an unsigned lower half of 32
bits that are summed apart.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pyro_assets.block.columns import I64, Bool

_LOW_BITS = np.int64(0xFFFF_FFFF)
_EXACT_DOUBLE = 2**53
# So many halves of 32 bits still add up exactly in a double.
_CHUNK = 1 << 20
# Keys are counted in a table up to this size, and where there are many of them.
_TABLE = 1 << 22


@dataclass(slots=True)
class Wide:
    """Integers of up to 95 bits: `high` * 2**32 + `low`, with 0 <= low < 2**32; both int64[n]."""

    high: I64
    low: I64

    def take(self, rows: I64) -> "Wide":
        """The integers at these rows."""
        return Wide(self.high.take(rows), self.low.take(rows))

    def nonzero(self) -> I64:
        """The rows whose integer is not 0."""
        return np.flatnonzero(self.high | self.low)

    def narrow(self) -> tuple[I64, Bool]:
        """As int64[n], and bool[n] where that is not possible."""
        return (self.high << 32) | self.low, (self.high < -(2**31)) | (self.high >= 2**31)


def widen(values: I64) -> Wide:
    """int64[n] as wide integers."""
    return Wide(values >> 32, values & _LOW_BITS)


def subtract(one: Wide, other: Wide) -> Wide:
    """Differences of wide integers."""
    return carry(one.high - other.high, one.low - other.low)


def carry(high: I64, low: I64) -> Wide:
    """Wide integers of lower halves that went beyond 32 bits."""
    return Wide(high + (low >> 32), low & _LOW_BITS)


def sum_by(codes: I64, values: I64, size: int) -> Wide:
    """Exact sums per code.

    Args:
        codes: int64[n], 0 <= code < size.
        values: int64[n].
        size: number of codes.

    >>> most = 2**63 - 1
    >>> sums = sum_by(np.array([0, 1, 1]), np.array([-1, most, most]), 2)
    >>> [int(high) * 2**32 + int(low) for high, low in zip(sums.high, sums.low)] == [-1, 2 * most]
    True
    """
    if not len(values):
        return Wide(np.zeros(size, dtype=np.int64), np.zeros(size, dtype=np.int64))
    largest = max(int(values.max()), -int(values.min()))
    if largest * len(values) <= _EXACT_DOUBLE:
        return widen(np.bincount(codes, weights=values, minlength=size).astype(np.int64))
    high, low = np.zeros(size, dtype=np.int64), np.zeros(size, dtype=np.int64)
    for begin in range(0, len(values), _CHUNK):
        chunk = widen(values[begin : begin + _CHUNK])
        chunk_codes = codes[begin : begin + _CHUNK]
        high += np.bincount(chunk_codes, weights=chunk.high, minlength=size).astype(np.int64)
        low += np.bincount(chunk_codes, weights=chunk.low, minlength=size).astype(np.int64)
    return carry(high, low)


def add_up(codes: I64, sums: Wide, size: int) -> Wide:
    """Exact sums of wide integers per code; for the few that are left after `sum_by`."""
    high, low = np.zeros(size, dtype=np.int64), np.zeros(size, dtype=np.int64)
    np.add.at(high, codes, sums.high)
    np.add.at(low, codes, sums.low)
    return carry(high, low)


def join(parts: Sequence[Wide]) -> Wide:
    """At least one array of wide integers, end to end."""
    return Wide(np.concatenate([part.high for part in parts]), np.concatenate([part.low for part in parts]))


def sum_keys(key: I64, sums: Wide, size: int) -> tuple[I64, Wide]:
    """Distinct keys, ascending, and the exact sums of their wide integers.

    Args:
        key: int64[n], 0 <= key < size.
        sums: n wide integers.
        size: bound of the keys, see `number_keys`.
    """
    keys, number = number_keys(key, size)
    return keys, add_up(number, sums, len(keys))


def number_keys(key: I64, size: int) -> tuple[I64, I64]:
    """Distinct keys, ascending, and int64[n], the position of each key among them.

    Args:
        key: int64[n], 0 <= key < size.
        size: bound of the keys; where it is small a table replaces sorting.
    """
    if size > min(_TABLE, max(16 * len(key), 1 << 16)):
        distinct, code = np.unique(key, return_inverse=True)
        return distinct, code
    is_there = np.zeros(size, dtype=np.bool_)
    is_there[key] = True
    return np.flatnonzero(is_there), (np.cumsum(is_there, dtype=np.int64) - 1).take(key)


def number_tuples(columns: Sequence[tuple[I64, int]]) -> tuple[list[I64], I64]:
    """Distinct tuples, in ascending order, and int64[n], the position of each among them.

    Columns are put together one by one: of all combinations few are there, so that tables do instead of sorting.

    Args:
        columns: at least one, each n numbers from 0 and their bound.

    Returns:
        Per column int64[distinct], and int64[n].

    >>> parts, number = number_tuples([(np.array([1, 0, 1]), 2), (np.array([5, 9, 5]), 10)])
    >>> [part.tolist() for part in parts], number.tolist()
    ([[0, 1], [9, 5]], [1, 0, 1])
    """
    key, number = number_keys(columns[0][0].astype(np.int64), columns[0][1])
    parts = [key]
    for column, size in columns[1:]:
        own, code = number_keys(column.astype(np.int64), size)
        width = max(len(own), 1)
        key, number = number_keys(number * width + code, len(parts[0]) * width)
        parts = [part.take(key // width) for part in parts] + [own.take(key % width)]
    return parts, number
