"""Equal rows of a table get one code, by hashed keys that are verified exactly.

Here, too:
* gathering variable-length ranges (the samples of rows, the lines of locations) without a loop.

Add other ways of numbering equal rows here; what the rows are stays with the callers. Idea: find the first row of each
hash through a table of slots, number the classes in order of first occurrence, compare every row with its
representative, and fall back to an exact sort where two different rows shared a hash.
"""

from collections.abc import Callable, Hashable, Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeVar

import numpy as np

from pyro_assets.block.columns import I32, I64, U64

_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)
_SHIFT = np.uint64(32)
_ROUND_SALT = np.array([0x2545F4914F6CDD1D], dtype=np.uint64)
_ROUNDS = 64
_T = TypeVar("_T", bound=Hashable)


@dataclass(frozen=True, slots=True)
class Distinct:
    """Classes of equal rows, numbered from 0 in order of first occurrence.

    Attributes:
        codes: int64[n], class of each row.
        first: int64[k], first row of each class, ascending.
    """

    codes: I64
    first: I64


Numbering = Callable[[U64], Distinct]


def mix(seed: U64, column: I64 | U64) -> U64:
    """Fold one more column into 64-bit hashes (multiply and xor-shift; equality is verified by the callers)."""
    mixed: U64 = (seed ^ column.view(np.uint64)) * _MULTIPLIER
    return mixed ^ (mixed >> _SHIFT)


def hash_columns(columns: Sequence[I64]) -> U64:
    """64-bit hashes of the rows of `columns`, each int64[n]."""
    hashed = np.zeros(len(columns[0]), dtype=np.uint64)
    for column in columns:
        hashed = mix(hashed, np.ascontiguousarray(column))
    return hashed


def number_by_hash(hashed: U64) -> Distinct:
    """Number rows of equal hash, without sorting.

    Every row writes its number into a table at its hash's top bits, last row first, so that the first row of a class
    remains there; rows whose slot went to another class try again with other bits. All rows of a class share their
    slots, so a class is settled in one round as a whole.
    """
    count = len(hashed)
    first_of_row = np.empty(count, dtype=np.int64)
    pending = np.arange(count, dtype=np.int64)
    keys = hashed
    for _ in range(_ROUNDS):
        if not len(pending):
            break
        bits = max((len(pending) - 1).bit_length() + 1, 1)
        slot = (keys >> np.uint64(64 - bits)).view(np.int64)
        # A table of half the bytes stays in the caches of a processor twice as long.
        table: I32 | I64 = np.empty(1 << bits, np.int32) if count < 1 << 31 else np.empty(1 << bits, np.int64)
        # Of several values for one slot NumPy keeps the last; this is checked below, not relied upon.
        table[slot[::-1]] = np.arange(len(pending) - 1, -1, -1, dtype=table.dtype)
        winner = table.take(slot)
        settled = keys.take(winner) == keys
        first_of_row[pending[settled]] = pending.take(winner[settled])
        left = np.flatnonzero(~settled)
        pending = pending.take(left)
        keys = mix(keys.take(left), _ROUND_SALT)
    if len(pending) or (first_of_row > np.arange(count, dtype=np.int64)).any():
        return number_exactly([hashed.view(np.int64)])
    is_first = first_of_row == np.arange(count, dtype=np.int64)
    rank = np.cumsum(is_first, dtype=np.int64) - 1
    return Distinct(rank.take(first_of_row), np.flatnonzero(is_first))


def number_exactly(columns: Sequence[I64]) -> Distinct:
    """Number equal rows by sorting all columns: slower, and right whatever the values are."""
    count = len(columns[0])
    order = np.lexsort((np.arange(count, dtype=np.int64), *columns))
    differs = np.zeros(count, dtype=np.bool_)
    differs[:1] = True
    for column in columns:
        values = column.take(order)
        differs[1:] |= values[1:] != values[:-1]
    class_of = np.empty(count, dtype=np.int64)
    class_of[order] = np.cumsum(differs, dtype=np.int64) - 1
    first = order[differs]
    by_first = np.argsort(first, kind="stable")
    code_of_class = np.empty(len(first), dtype=np.int64)
    code_of_class[by_first] = np.arange(len(first), dtype=np.int64)
    return Distinct(code_of_class.take(class_of), first.take(by_first))


def number_ragged(start: I64, columns: Sequence[I64]) -> I64:
    """A number per range of rows, equal where the ranges hold equal rows in equal order; memory follows the rows.

    Args:
        start: int64[n + 1], range i has the rows start[i]:start[i + 1].
        columns: at least one, int64[m] each.
    """
    table = np.stack(columns, axis=1)
    seen: dict[bytes, int] = {}
    ranges = (table[begin:end].tobytes() for begin, end in pairwise(start.tolist()))
    return np.fromiter((seen.setdefault(content, len(seen)) for content in ranges), np.int64, len(start) - 1)


def distinct_rows(columns: Sequence[I64], number: Numbering = number_by_hash) -> Distinct:
    """Number the equal rows of a table of int64 columns.

    Args:
        columns: at least one column, all of length n.
        number: how hashes become classes; tests pass one that makes different rows collide.

    >>> distinct_rows([np.array([7, 5, 7, 7]), np.array([1, 1, 1, 2])]).codes.tolist()
    [0, 1, 0, 2]
    """
    return verified(
        number(hash_columns(columns)),
        lambda classes: all(np.array_equal(c.take(classes.first).take(classes.codes), c) for c in columns),
        lambda: number_exactly(columns),
    )


def verified(hashed: Distinct, is_exact: Callable[[Distinct], bool], number_again: Callable[[], Distinct]) -> Distinct:
    """The classes found by hash when every row equals its representative, otherwise those found exactly."""
    return hashed if is_exact(hashed) else number_again()


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


def numbered(things: Iterable[_T | None]) -> tuple[list[_T], I64]:
    """Distinct things in the order of their coming, and int64[n], the position of each among them, -1 of None.

    >>> distinct, number = numbered(["b", None, "a", "b"])
    >>> distinct, number.tolist()
    (['b', 'a'], [0, -1, 1, 0])
    """
    position: dict[_T, int] = {}
    numbers = [-1 if one is None else position.setdefault(one, len(position)) for one in things]
    return list(position), np.array(numbers, dtype=np.int64)
