"""Equal rows of a table get one code, by hashed keys that are verified exactly.

Add other ways of numbering equal rows here; what the rows are stays with the callers. Idea: sort (hash, position)
packed in one 64-bit word, number the classes in order of first occurrence, compare every row with its
representative, and fall back to an exact sort where two different rows shared a hash.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from pyro_assets.block.columns import I64, U64

_MULTIPLIER = np.uint64(0x9E3779B97F4A7C15)
_SHIFT = np.uint64(32)


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
    """Number rows of equal hash; the low bits of the hashes are used, as many as fit beside a row number."""
    count = len(hashed)
    bits = np.uint64(max(count - 1, 1).bit_length())
    packed = (hashed << bits) | np.arange(count, dtype=np.uint64)
    packed.sort()
    is_first = np.empty(count, dtype=np.bool_)
    is_first[:1] = True
    np.not_equal(packed[1:] >> bits, packed[:-1] >> bits, out=is_first[1:])
    position = (packed & ((np.uint64(1) << bits) - np.uint64(1))).view(np.int64)
    first_of_class = position[is_first]
    seen_first = np.zeros(count, dtype=np.bool_)
    seen_first[first_of_class] = True
    rank = np.cumsum(seen_first, dtype=np.int64) - 1
    code_of_class = rank.take(first_of_class)
    codes = np.empty(count, dtype=np.int64)
    codes[position] = code_of_class.take(np.cumsum(is_first, dtype=np.int64) - 1)
    return Distinct(codes, np.flatnonzero(seen_first))


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
