"""What one profile is, and which profile of a target is its last: the definition of RULES.md, and its only place.

Everything that takes the last of something, or counts or averages profiles, asks here. What is added up over profiles
is for the callers.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import compress

import numpy as np

from pyro_assets.block.columns import I64, U8, Bool, Labels, ProfileRows
from pyro_assets.block.tsdb.labels import profile_type
from pyro_assets.rules.names import PRIVATE_PREFIX

_PRIVATE = PRIVATE_PREFIX.encode()
_Public = dict[bytes, bytes]


@dataclass(slots=True)
class Profiles:
    """The profiles that rows are parts of.

    Attributes:
        of_row: int64[rows], the number of the row's profile, -1 where nobody asked.
        is_last: bool[rows], whether that profile is the last of its target; true where nobody asked.
    """

    of_row: I64
    is_last: Bool


def find_profiles(rows: ProfileRows, labels: Sequence[Labels], scope: I64, asked: Bool) -> Profiles:
    """Tell which rows are one profile, and which profiles are the last of their targets.

    Args:
        rows: the profiles' rows; `series` are positions in `labels`.
        labels: e label sets.
        scope: int64[e], equal where tenant and service (and job, where there are several) are.
        asked: bool[e], label sets of interest; all others of their scopes and profile types are looked at, too.
    """
    found = Profiles(np.full(len(rows.series), -1, dtype=np.int64), np.ones(len(rows.series), dtype=np.bool_))
    if not asked.any():
        return found
    pairs = list(zip(scope.tolist(), map(profile_type, labels), strict=True))
    kinds = {pair: number for number, pair in enumerate(dict.fromkeys(compress(pairs, asked.tolist())))}
    kind_of_entry = np.array([kinds.get(pair, -1) for pair in pairs], dtype=np.int64)
    own = np.flatnonzero(kind_of_entry.take(rows.series) >= 0)
    entries, series = np.unique(rows.series.take(own), return_inverse=True)
    kind, time_ns = kind_of_entry.take(entries), rows.time_ns.take(own)
    of_row = _number_profiles(rows.id.take(own, axis=0), kind.take(series))
    public = [_public(labels[entry]) for entry in entries.tolist()]
    target = _targets(kind, public, _sample_labels(series, of_row, kind, public)).take(series)
    time, last = (np.full(len(own), np.iinfo(np.int64).min, dtype=np.int64) for _ in range(2))
    np.maximum.at(time, of_row, time_ns)
    np.maximum.at(last, target, time_ns)
    found.of_row[own] = of_row
    found.is_last[own] = time.take(of_row) == last.take(target)
    return found


def _number_profiles(ids: U8, kind: I64) -> I64:
    """Rows of equal kind and id get one number; an id of zeros says nothing, so such a row is a profile by itself."""
    half = np.ascontiguousarray(ids).view(np.uint64).reshape(-1, 2)
    itself = np.where(half.any(axis=1), -1, np.arange(len(half), dtype=np.int64))
    keys = (itself, half[:, 0], half[:, 1], kind)
    order = np.lexsort(keys)
    is_other = np.zeros(len(order), dtype=np.bool_)
    for key in keys:
        in_order = key.take(order)
        is_other[1:] |= in_order[1:] != in_order[:-1]
    number = np.empty(len(order), dtype=np.int64)
    number[order] = np.cumsum(is_other)
    return number


def _public(labels: Labels) -> _Public:
    """Labels that can make a target: named, with a value, not private. Of a name that stands twice the first counts."""
    return {name: value for name, value in reversed(labels) if value and not name.startswith(_PRIVATE)}


def _sample_labels(series: I64, of_row: I64, kind: I64, public: Sequence[_Public]) -> dict[int, set[bytes]]:
    """Per kind the names of labels in which parts of one profile differ, or which some of them lack."""
    found: dict[int, set[bytes]] = {}
    order = np.lexsort((series, of_row))
    profile, entry = of_row.take(order), series.take(order)
    differs = (profile[1:] == profile[:-1]) & (entry[1:] != entry[:-1])
    # Neighbours are enough: what differs between any two parts differs between two neighbours.
    for one, other in zip(entry[:-1].compress(differs).tolist(), entry[1:].compress(differs).tolist(), strict=True):
        names = found.setdefault(int(kind[one]), set())
        names.update(name for name, _ in public[one].items() ^ public[other].items())
    return found


def _targets(kind: I64, public: Sequence[_Public], sample_labels: dict[int, set[bytes]]) -> I64:
    """int64[e]: what a label set is of, without the labels of samples."""
    numbers: dict[tuple[int, frozenset[tuple[bytes, bytes]]], int] = {}
    nothing: set[bytes] = set()

    def number(one: int, own: _Public) -> int:
        left_out = sample_labels.get(one, nothing)
        kept = own.items() if not left_out else [item for item in own.items() if item[0] not in left_out]
        return numbers.setdefault((one, frozenset(kept)), len(numbers))

    return np.array([number(*pair) for pair in zip(kind.tolist(), public, strict=True)], dtype=np.int64)
