"""Profiles as points over time: per group of label values and step the sum of what they total.

A point stands at the end of its step and counts what came since the one before. The original sums whatever
aggregation is asked for; so does this.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from pyro_assets.block.columns import Labels
from pyro_assets.explore.pyroscope.archive import ChosenProfiles
from pyro_assets.explore.pyroscope.asked import TimeRange
from pyro_assets.storage.shown import show_bytes

_NS_PER_MS = 1_000_000


@dataclass(frozen=True, slots=True)
class TimeLine:
    """The points of one group: labels by name, and (Unix milliseconds, value) by time."""

    labels: tuple[tuple[str, str], ...]
    points: tuple[tuple[int, float], ...]

    @property
    def total(self) -> float:
        """Of all points."""
        return sum(value for _, value in self.points)


def lines(
    profiles: Iterable[ChosenProfiles], span: TimeRange, step_ms: int, group_by: Sequence[str], limit: int = 0
) -> list[TimeLine]:
    """Sums over time.

    Args:
        profiles: that are meant.
        span: begins the first step.
        step_ms: at least 1.
        group_by: label names; profiles without one of them are a group too.
        limit: at most so many lines, those with the largest totals; 0 for all.

    Returns:
        Lines by falling total.
    """
    wanted = sorted({name.encode() for name in group_by})
    groups: dict[Labels, int] = {}
    parts = [_sums(one, span, step_ms, wanted, groups) for one in profiles]
    if not parts:
        return []
    sums = pl.concat(parts).group_by("group", "time_ms").agg(pl.col("value").sum())
    # Points are floats on the wire; a sum that is larger than 64 bits is a float as well.
    sums = sums.with_columns(pl.col("value").cast(pl.Float64)).sort("group", "time_ms")
    names = list(groups)
    found = [
        TimeLine(
            tuple((show_bytes(name), show_bytes(value)) for name, value in names[group]),
            tuple(zip(own["time_ms"].to_list(), own["value"].to_list(), strict=True)),
        )
        for (group,), own in sums.group_by("group", maintain_order=True)
    ]
    found.sort(key=lambda one: (-one.total, one.labels))
    return found[:limit] if limit > 0 else found


def _sums(
    chosen: ChosenProfiles, span: TimeRange, step_ms: int, wanted: Sequence[bytes], groups: dict[Labels, int]
) -> pl.DataFrame:
    """Int128 sums per group and step; `groups` numbers the groups in the order in which they are met."""
    columns, place = chosen.columns, np.flatnonzero(chosen.rows)
    entry = columns.rows.series.take(place)
    used, number = np.unique(entry, return_inverse=True)
    codes = []
    for one in used.tolist():
        # Of a name that stands twice the first counts.
        labels = dict(reversed(columns.series.labels[one]))
        key = tuple((name, labels[name]) for name in wanted if name in labels)
        codes.append(groups.setdefault(key, len(groups)))
    since = columns.rows.time_ns.take(place) // _NS_PER_MS - span.start_ms
    frame = pl.DataFrame(
        {
            "group": np.array(codes, dtype=np.int64).take(number),
            "time_ms": span.start_ms - (-since // step_ms) * step_ms,
            "value": columns.rows.total_value.take(place),
        }
    )
    return frame.group_by("group", "time_ms").agg(pl.col("value").cast(pl.Int128).sum())
