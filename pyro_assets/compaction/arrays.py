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
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from pyro_assets.block.columns import I64, U64, starts

_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)
_SHIFT = np.uint64(32)
_ROUND_SALT = np.array([0x2545F4914F6CDD1D], dtype=np.uint64)
_ROUNDS = 64
#: Rows whose temporary columns fit a processor's cache, and are no matter beside the columns themselves.
CHUNK_ROWS = 1 << 15
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

#: A column of any type of integers, or of bools.
Integers = npt.NDArray[Any]


def mix(seed: U64, column: Integers) -> U64:
    """Fold one more column into 64-bit hashes (multiply and xor-shift; equality is verified by the callers)."""
    wide = column if column.dtype.itemsize == seed.itemsize else column.astype(np.int64)
    mixed: U64 = seed ^ wide.view(np.uint64)
    mixed *= _MULTIPLIER
    mixed ^= mixed >> _SHIFT
    return mixed


def hash_columns(columns: Sequence[Integers]) -> U64:
    """64-bit hashes of the rows of `columns`, each [n]."""
    hashed = np.empty(len(columns[0]), dtype=np.uint64)
    for begin in range(0, len(hashed), CHUNK_ROWS):
        own = slice(begin, begin + CHUNK_ROWS)
        mixed = np.zeros(len(hashed[own]), dtype=np.uint64)
        for column in columns:
            mixed = mix(mixed, column[own])
        hashed[own] = mixed
    return hashed


def number_by_hash(hashed: U64) -> Distinct:
    """Number rows of equal hash, without sorting.

    Every row writes its number into a table at its hash's top bits, last row first, so that the first row of a class
    remains there; rows whose slot went to another class try again with other bits. All rows of a class share their
    slots, so a class is settled in one round as a whole.
    """
    count = len(hashed)
    keys, pending = hashed, None
    first_of_row: Integers = np.zeros(0, dtype=np.int32)
    for _ in range(_ROUNDS):
        winner, left = _winners(keys)
        if pending is None:
            first_of_row, pending = winner, left
        else:
            first_of_row[pending] = pending.take(winner)
            pending = pending.take(left)
        if not len(pending):
            break
        keys = mix(keys.take(left), _ROUND_SALT)
    row = np.arange(count, dtype=first_of_row.dtype)
    if pending is None or len(pending) or (first_of_row > row).any():
        return number_exactly([hashed.view(np.int64)])
    is_first = first_of_row == row
    rank = np.cumsum(is_first, dtype=np.int64)
    rank -= 1
    return Distinct(rank.take(first_of_row), np.flatnonzero(is_first))


def _winners(keys: U64) -> tuple[Integers, I64]:
    """The first row that has each row's slot, and the rows whose key is another than that one's."""
    count = len(keys)
    shift = np.uint64(63 - (count - 1).bit_length())
    # A table of half the bytes stays in the caches of a processor twice as long.
    table: Integers = np.empty(1 << (64 - int(shift)), np.int32 if count < 1 << 31 else np.int64)
    winner = np.empty(count, dtype=table.dtype)
    left = [np.zeros(0, dtype=np.int64)]
    for begin in reversed(range(0, count, CHUNK_ROWS)):
        slot = (keys[begin : begin + CHUNK_ROWS] >> shift).view(np.int64)
        # Of several values for one slot NumPy keeps the last; this is checked by the caller, not relied upon.
        table[slot[::-1]] = np.arange(begin + len(slot) - 1, begin - 1, -1, dtype=table.dtype)
    for begin in range(0, count, CHUNK_ROWS):
        own = keys[begin : begin + CHUNK_ROWS]
        found = table.take((own >> shift).view(np.int64))
        winner[begin : begin + CHUNK_ROWS] = found
        left.append(np.flatnonzero(keys.take(found) != own) + begin)
    return winner, np.concatenate(left)


def number_exactly(columns: Sequence[Integers]) -> Distinct:
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


def number_ragged(start: I64, columns: Sequence[Integers]) -> I64:
    """A number per range of rows, equal where the ranges hold equal rows in equal order; memory follows the rows.

    Args:
        start: int64[n + 1], range i has the rows start[i]:start[i + 1].
        columns: at least one, [m] each.
    """
    table = np.stack(columns, axis=1)
    seen: dict[bytes, int] = {}
    ranges = (table[begin:end].tobytes() for begin, end in pairwise(start.tolist()))
    return np.fromiter((seen.setdefault(content, len(seen)) for content in ranges), np.int64, len(start) - 1)


def distinct_rows(columns: Sequence[Integers], number: Numbering = number_by_hash) -> Distinct:
    """Number the equal rows of a table.

    Args:
        columns: at least one column, all of length n.
        number: how hashes become classes; tests pass one that makes different rows collide.

    >>> distinct_rows([np.array([7, 5, 7, 7]), np.array([1, 1, 1, 2])]).codes.tolist()
    [0, 1, 0, 2]
    """
    return verified(
        number(hash_columns(columns)),
        lambda classes: are_equal(classes, columns),
        lambda: number_exactly(columns),
    )


def are_equal(classes: Distinct, columns: Iterable[Integers]) -> bool:
    """Whether every row of the columns equals the first of its class."""
    if len(classes.first) == len(classes.codes):
        return True
    for begin in range(0, len(classes.codes), CHUNK_ROWS):
        own = slice(begin, begin + CHUNK_ROWS)
        twin = classes.first.take(classes.codes[own])
        if not all(np.array_equal(column.take(twin), column[own]) for column in columns):
            return False
    return True


def verified(hashed: Distinct, is_exact: Callable[[Distinct], bool], number_again: Callable[[], Distinct]) -> Distinct:
    """The classes found by hash when every row equals its representative, otherwise those found exactly."""
    return hashed if is_exact(hashed) else number_again()


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
    gathered = starts(count)
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
