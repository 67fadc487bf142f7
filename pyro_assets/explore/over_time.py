"""What profiles amount to over time, by the labels of their series: sums per step, which may be split by any label.

Add a way to look at values over time here. Which profiles count is decided by the caller; how points are drawn is not
known.
"""

from dataclasses import dataclass, field
from typing import Final

import numpy as np
import polars as pl

from pyro_assets.block.columns import BlockColumns, Bool, Labels
from pyro_assets.storage.shown import show_bytes

_NS_PER_MS: Final = 1_000_000
#: What stands for all groups but the largest.
OTHERS: Final = "all others"

#: Begin of a step (Unix ms) -> value.
Points = dict[int, float]


@dataclass(slots=True)
class Timeline:
    """Sums per series and step; tables of batches of profiles that are put together when they are asked for.

    Attributes:
        step_ms: width of a step; steps begin at whole multiples of it.
    """

    step_ms: int
    _code: dict[Labels, int] = field(default_factory=dict)
    _parts: list[pl.DataFrame] = field(default_factory=list)

    def add(self, columns: BlockColumns, is_chosen: Bool) -> None:
        """Add profiles of some blocks; bool[rows] says which."""
        place = np.flatnonzero(is_chosen)
        used, number = np.unique(columns.rows.series.take(place), return_inverse=True)
        codes = [self._code.setdefault(columns.series.labels[one], len(self._code)) for one in used.tolist()]
        step_ns = self.step_ms * _NS_PER_MS
        frame = pl.DataFrame(
            {
                "series": np.array(codes, dtype=np.int64).take(number),
                "begin_ms": columns.rows.time_ns.take(place) // step_ns * self.step_ms,
                "value": columns.rows.total_value.take(place),
            }
        )
        sums = pl.col("value").cast(pl.Int128).sum()
        self._parts.append(frame.group_by("series", "begin_ms").agg(sums, pl.len().alias("profiles")))

    def split(self, label: str = "", *, is_gauge: bool = False, most: int = 5) -> list[tuple[str, Points]]:
        """Points of each value of a label, the largest first.

        Args:
            label: "" for one group of everything.
            is_gauge: values are levels: of each series the mean over its profiles of a step counts.
            most: so many groups at most; the rest becomes one group, which stands last.
        """
        if not self._parts:
            return []
        values = [dict(reversed(labels)).get(label.encode(), b"") if label else b"" for labels in self._code]
        number_of = {value: number for number, value in enumerate(dict.fromkeys(values))}
        names = list(number_of)
        codes = np.array([number_of[value] for value in values], dtype=np.int64)
        group = pl.DataFrame({"series": np.arange(len(values), dtype=np.int64), "group": codes})
        sums = pl.concat(self._parts).group_by("series", "begin_ms").agg(pl.col("value", "profiles").sum())
        value = pl.col("value").cast(pl.Float64) / (pl.col("profiles") if is_gauge else 1)
        points = (
            sums.with_columns(value)
            .join(group, on="series")
            .group_by("group", "begin_ms")
            .agg(pl.col("value").sum())
            .sort("group", "begin_ms")
        )
        found: list[tuple[str, Points]] = []
        for (number,), own in points.group_by("group", maintain_order=True):
            name = show_bytes(names[int(str(number))]) or (f"no {label}" if label else "")
            found.append((name, dict(zip(own["begin_ms"].to_list(), own["value"].to_list(), strict=True))))
        found.sort(key=lambda one: (-sum(one[1].values()), one[0]))
        if len(found) <= most + 1:
            return found
        rest: Points = {}
        for _, own_points in found[most:]:
            for begin_ms, amount in own_points.items():
                rest[begin_ms] = rest.get(begin_ms, 0.0) + amount
        return [*found[:most], (f"{OTHERS} ({len(found) - most})", rest)]

    @property
    def labels(self) -> list[str]:
        """Public names of labels, sorted."""
        names = {name for labels in self._code for name, _ in labels}
        return sorted(show_bytes(name) for name in names if not name.startswith(b"__"))
