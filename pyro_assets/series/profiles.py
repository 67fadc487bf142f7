"""What one profile is, and which profile of a target is its last: the definition of RULES.md, and its only place.

Everything that takes the last of something, or counts or averages profiles, asks here. What is added up over profiles
is for the callers.
"""

from collections.abc import Mapping, Sequence
from itertools import compress
from typing import Final

import numpy as np
import polars as pl

from pyro_assets.block.columns import I64, Bool, Labels, ProfileRows
from pyro_assets.block.tsdb.labels import profile_type
from pyro_assets.rules.names import PRIVATE_PREFIX

_PRIVATE = PRIVATE_PREFIX.encode()
_Public = dict[bytes, bytes]

#: The profile that a row is a part of, called by the first row of its kind and id; an id of zeros says nothing, so such
#: a row is a profile by itself. A kind is a scope and a profile type.
PROFILE: Final = (
    pl.when((pl.col("id_high") == 0) & (pl.col("id_low") == 0))
    .then("row")
    .otherwise(pl.col("row").first().over("kind", "id_high", "id_low"))
)
#: Whether a profile has several label sets, of which some labels must be those of samples.
_IS_SPLIT: Final = pl.col("entry").min().over("profile") != pl.col("entry").max().over("profile")
#: Whether a profile is the last of its target, with all its parts; of equal times all profiles are.
IS_LAST: Final = pl.col("time").max().over("profile") == pl.col("time").max().over("target")
#: Of a label of a profile with so many parts, whether it differs between any two of them, or some lack it.
_IS_OF_SAMPLES: Final = (pl.col("value").n_unique() > 1) | (pl.len() < pl.col("parts").first())

#: Every expression is used as it stands.
_PLAIN: Final = pl.QueryOptFlags.none()


def run(query: pl.LazyFrame) -> pl.DataFrame:
    """What a query gives that needs no optimisation.

    By the engine in memory: over some hundred rows, Polars' choice takes three times as long, 0.3 ms a join.
    """
    return query.collect(engine="in-memory", optimizations=_PLAIN)


def find_profiles(rows: ProfileRows, labels: Sequence[Labels], scope: I64, asked: Bool) -> pl.LazyFrame:
    """Tell which rows are one profile, and which profiles are the last of their targets.

    Args:
        rows: the profiles' rows; `series` are positions in `labels`.
        labels: e label sets.
        scope: int64[e], equal where tenant and service (and job, where there are several) are.
        asked: bool[e], label sets of interest; all others of their scopes and profile types are looked at, too.

    Returns:
        A query for two columns, by row: profile (a number, null where nobody asked) and is_last (true there).
    """
    if not asked.any():
        return pl.LazyFrame({"profile": pl.repeat(None, len(rows.series), dtype=pl.Int64, eager=True)}).with_columns(
            is_last=pl.lit(value=True)
        )
    pairs = list(zip(scope.tolist(), map(profile_type, labels), strict=True))
    kinds = {pair: number for number, pair in enumerate(dict.fromkeys(compress(pairs, asked.tolist())))}
    kind_of_entry = np.array([kinds.get(pair, -1) for pair in pairs], dtype=np.int64)
    ids = np.ascontiguousarray(rows.id).view(np.uint64).reshape(-1, 2)
    parts = run(
        pl.LazyFrame(
            {
                "row": np.arange(len(rows.series), dtype=np.int64),
                "entry": rows.series,
                "kind": kind_of_entry.take(rows.series),
                "id_high": ids[:, 0],
                "id_low": ids[:, 1],
                "time": rows.time_ns,
            }
        )
        .with_columns(profile=PROFILE)
        .with_columns(is_split=_IS_SPLIT & (pl.col("kind") >= 0))
    )
    public = {entry: _public(labels[entry]) for entry in np.flatnonzero(kind_of_entry >= 0).tolist()}
    sample_labels = _sample_labels(parts, public) if parts["is_split"].any() else {}
    is_asked = pl.col("kind") >= 0
    return (
        parts.lazy()
        .with_columns(target=pl.lit(_targets(kind_of_entry, public, sample_labels)).gather("entry"))
        .select(profile=pl.when(is_asked).then("profile"), is_last=~is_asked | IS_LAST)
    )


def _public(labels: Labels) -> _Public:
    """Labels that can make a target: named, with a value, not private. Of a name that stands twice the first counts."""
    return {name: value for name, value in reversed(labels) if value and not name.startswith(_PRIVATE)}


def _sample_labels(parts: pl.DataFrame, public: Mapping[int, _Public]) -> dict[int, set[bytes]]:
    """Per kind the names of labels in which parts of one profile differ, or which some of them lack."""
    several = parts.lazy().filter("is_split").unique(["profile", "entry"])
    labels = pl.LazyFrame(
        [(entry, name, value) for entry, own in public.items() for name, value in own.items()],
        {"entry": pl.Int64, "name": pl.Binary, "value": pl.Binary},
        orient="row",
    )
    found: dict[int, set[bytes]] = {}
    query = (
        several.with_columns(parts=pl.len().over("profile"))
        .join(labels, on="entry")
        .group_by("kind", "profile", "name")
        .agg(is_of_samples=_IS_OF_SAMPLES)
        .filter("is_of_samples")
    )
    for kind, name in run(query.select("kind", "name").unique()).iter_rows():
        found.setdefault(kind, set()).add(name)
    return found


def _targets(kind: I64, public: Mapping[int, _Public], sample_labels: Mapping[int, set[bytes]]) -> pl.Series:
    """Int64 per label set: what it is of, without the labels of samples. They are few, and matched by a dictionary."""
    numbers: dict[tuple[int, frozenset[tuple[bytes, bytes]]], int] = {}
    nothing: set[bytes] = set()
    target = np.full(len(kind), -1, dtype=np.int64)
    for entry, own in public.items():
        left_out = sample_labels.get(int(kind[entry]), nothing)
        kept = own.items() if not left_out else [item for item in own.items() if item[0] not in left_out]
        target[entry] = numbers.setdefault((int(kind[entry]), frozenset(kept)), len(numbers))
    return pl.Series(target)
