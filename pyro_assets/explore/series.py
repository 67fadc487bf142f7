"""Stored series for people: which metrics there are, the label sets of one, the samples of one series.

Add a question here when a page has one; which files are read, and how many, is `scan`'s, and told with every
answer. Parquet's columns are `series.frame`'s.
"""

import hashlib
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import polars as pl

from pyro_assets.explore.scan import Asked, Bounds, Extent, SeriesScan
from pyro_assets.ledger.database import Ledger
from pyro_assets.series.frame import labels_key
from pyro_assets.storage.interface import ReadOnlyBucket

_MAX_SAMPLES: Final = 5_000
_GROUP: Final = ("tenant", "metric", "kind")


@dataclass(frozen=True, slots=True)
class Step:
    """What series amount to in a step: the sum of their values, and the sum of the mean that each of them has."""

    total: float
    level: float


#: Begin of a step (Unix ms) -> what there was; steps without a sample are not there.
Steps = Mapping[int, Step]


@dataclass(frozen=True, slots=True)
class ShownMetric:
    """A metric of a tenant; `rules` are those that asked for its series; `steps` where they were asked for."""

    tenant: str
    metric: str
    kind: str
    rules: tuple[str, ...]
    series: int
    samples: int
    last_ms: int
    steps: Steps


@dataclass(frozen=True, slots=True)
class ShownSeries:
    """One series; `id` names it in links; `steps` where they were asked for."""

    id: str
    tenant: str
    metric: str
    kind: str
    rule: str
    labels: Mapping[str, str]
    samples: int
    last_ms: int
    last_value: float
    last_int: int | None
    steps: Steps


@dataclass(frozen=True, slots=True)
class ShownSample:
    """A sample: one job's value; `value_int` is exact where the value is an integer."""

    timestamp_ms: int
    value: float
    value_int: int | None
    job: str
    rule: str


@dataclass(frozen=True, slots=True)
class Metrics:
    """Metrics by name, the part of them that was asked for, and how many there are."""

    rows: tuple[ShownMetric, ...]
    total: int
    tenants: tuple[str, ...]
    rules: tuple[str, ...]
    extent: Extent


@dataclass(frozen=True, slots=True)
class MetricSeries:
    """Series of a metric, the part of them that was asked for, how many there are, and the steps of all of them."""

    rows: tuple[ShownSeries, ...]
    total: int
    extent: Extent
    steps: Steps


@dataclass(frozen=True, slots=True)
class SeriesSamples:
    """A series with its samples, oldest first; None where it has none in the span. `cut`: only the newest are here."""

    series: ShownSeries | None
    samples: tuple[ShownSample, ...]
    cut: bool
    extent: Extent


@dataclass(frozen=True, slots=True)
class RuleSeries:
    """What a rule gave: distinct series, samples, the time of the newest one, and its metrics, each with its steps."""

    series: int
    samples: int
    last_ms: int
    metrics: Mapping[str, Steps]


class SeriesReader:
    """Answers about stored series.

    Args:
        archive: where the files lie.
        ledger: knows which there are.
        bounds: what a question may cost.
        monotonic: seconds.
    """

    def __init__(
        self,
        archive: ReadOnlyBucket,
        ledger: Ledger,
        bounds: Bounds | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        scan = SeriesScan(archive, ledger, bounds, monotonic)
        self._collect, self._collect_all = scan.collect, scan.collect_all

    def metrics(self, asked: Asked, offset: int = 0, limit: int = 100, step_ms: int = 0) -> Metrics:
        """Metrics of the series asked for, by name and tenant; with their steps where a width is given."""
        key = labels_key()

        def look(frame: pl.LazyFrame) -> pl.LazyFrame:
            # Series are counted by hash: of a million of them that is what memory holds.
            hashed = frame.with_columns(key.hash().alias("series"))
            return hashed.group_by(*_GROUP, "rule", "series").agg(
                pl.len().alias("samples"), pl.max("timestamp_ms").alias("last_ms")
            )

        (frame, *stepped), extent = self._collect_all(asked, [look, *_step_looks(step_ms)])
        if frame is None:
            return Metrics((), 0, (), (), extent)
        steps = _steps(stepped, *_GROUP)
        named = (
            frame.group_by(*_GROUP)
            .agg(
                pl.col("rule").unique().sort().alias("rules"),
                pl.col("series").n_unique(),
                pl.sum("samples"),
                pl.max("last_ms"),
            )
            .sort("metric", "tenant", "kind")
        )
        rows = tuple(
            ShownMetric(
                **row | {"rules": tuple(row["rules"])}, steps=steps.get(tuple(row[name] for name in _GROUP), {})
            )
            for row in named[offset : offset + limit].to_dicts()
        )
        return Metrics(
            rows, len(named), tuple(sorted(frame["tenant"].unique())), tuple(sorted(frame["rule"].unique())), extent
        )

    def rules(self, asked: Asked, step_ms: int = 0) -> tuple[dict[str, RuleSeries], Extent]:
        """What each rule gave, by the rule's id; with steps where a width is given."""
        identity = pl.struct("tenant", "metric", labels_key().hash())

        def look(frame: pl.LazyFrame) -> pl.LazyFrame:
            hashed = frame.with_columns(identity.hash().alias("series"))
            return hashed.group_by("rule", "series").agg(
                pl.len().alias("samples"), pl.max("timestamp_ms").alias("last_ms")
            )

        (frame, *stepped), extent = self._collect_all(asked, [look, *_step_looks(step_ms, "rule")])
        if frame is None:
            return {}, extent
        metrics: dict[str, dict[str, Steps]] = {}
        for (rule, metric), steps in _steps(stepped, "rule", "metric").items():
            metrics.setdefault(rule, {})[metric] = steps
        found = frame.group_by("rule").agg(pl.col("series").n_unique(), pl.sum("samples"), pl.max("last_ms"))
        rows = ((row.pop("rule"), row) for row in found.to_dicts())
        return {rule: RuleSeries(**row, metrics=metrics.get(rule, {})) for rule, row in rows}, extent

    def label_sets(self, asked: Asked, offset: int = 0, limit: int = 100, step_ms: int = 0) -> MetricSeries:
        """Series of a metric and tenant, the largest last values first; with their steps where a width is given."""
        frame, stepped, extent = self._series(asked, step_ms)
        if frame is None:
            return MetricSeries((), 0, extent, {})
        ordered = frame.sort(["last_value", "series"], descending=[True, False])
        steps = _steps(stepped, "tenant", "series")
        rows = [
            _shown(row, steps.get((row["tenant"], row["series"]), {}))
            for row in ordered[offset : offset + limit].to_dicts()
        ]
        return MetricSeries(tuple(rows), len(ordered), extent, _steps(stepped, "metric").get((asked.metric,), {}))

    def samples(self, asked: Asked, series_id: str) -> SeriesSamples:
        """One series of a metric and tenant, with its newest samples."""
        frame, _, extent = self._series(asked)
        found = None
        if frame is not None:
            found = next((row for row in frame.to_dicts() if _id_of(row["series"]) == series_id), None)
        if found is None:
            return SeriesSamples(None, (), False, extent)
        key, wanted = labels_key(), found["series"]

        def look(frame: pl.LazyFrame) -> pl.LazyFrame:
            return frame.filter(key == wanted).select("timestamp_ms", "value", "value_int", "job", "rule")

        rows, extent = self._collect(asked, look)
        if rows is None:
            return SeriesSamples(None, (), False, extent)
        newest = rows.sort("timestamp_ms", "job").tail(_MAX_SAMPLES)
        shown = tuple(ShownSample(**row) for row in newest.to_dicts())
        return SeriesSamples(_shown(found, {}), shown, len(rows) > len(newest), extent)

    def _series(self, asked: Asked, step_ms: int = 0) -> tuple[pl.DataFrame | None, list[pl.DataFrame | None], Extent]:
        key = labels_key()
        newest = [pl.col(name).sort_by("timestamp_ms").last() for name in ("labels", "rule", "value", "value_int")]

        def look(frame: pl.LazyFrame) -> pl.LazyFrame:
            keyed = frame.with_columns(key.alias("series"))
            return keyed.group_by(*_GROUP, "series").agg(
                *newest, pl.len().alias("samples"), pl.max("timestamp_ms").alias("last_ms")
            )

        (frame, *stepped), extent = self._collect_all(asked, [look, *_step_looks(step_ms)])
        if frame is None:
            return None, [], extent
        last = [pl.col(name).sort_by("last_ms").last() for name in ("labels", "rule", "value", "value_int")]
        merged = frame.group_by(*_GROUP, "series").agg(*last, pl.sum("samples"), pl.max("last_ms"))
        return merged.rename({"value": "last_value", "value_int": "last_int"}), stepped, extent


def _step_looks(step_ms: int, *more: str) -> list[Callable[[pl.LazyFrame], pl.LazyFrame]]:
    """Looks at what every series amounts to in every step; none where there is no width."""
    key, begin = labels_key(), pl.col("timestamp_ms") // step_ms * step_ms if step_ms else pl.lit(0)

    def look(frame: pl.LazyFrame) -> pl.LazyFrame:
        keyed = frame.with_columns(key.alias("series"), begin.alias("begin_ms"))
        return keyed.group_by(*_GROUP, *more, "series", "begin_ms").agg(pl.sum("value"), pl.len().alias("samples"))

    return [look] if step_ms else []


def _steps(stepped: Sequence[pl.DataFrame | None], *group: str) -> dict[tuple[str, ...], dict[int, Step]]:
    """Steps of each group of series."""
    found: dict[tuple[str, ...], dict[int, Step]] = {}
    for frame in stepped:
        if frame is None:
            continue
        names = [name for name in ("rule", *_GROUP, "series", "begin_ms") if name in frame.columns]
        whole = frame.group_by(names).agg(pl.sum("value"), pl.sum("samples"))
        sums = whole.group_by(*group, "begin_ms").agg(
            pl.sum("value"), (pl.col("value") / pl.col("samples")).sum().alias("level")
        )
        for *names, begin_ms, value, level in sums.sort("begin_ms").iter_rows():
            found.setdefault(tuple(names), {})[begin_ms] = Step(value, level)
    return found


def _id_of(key: str) -> str:
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).hexdigest()[:16]


def _shown(row: Mapping[str, Any], steps: Steps) -> ShownSeries:
    return ShownSeries(
        id=_id_of(row["series"]),
        tenant=row["tenant"],
        metric=row["metric"],
        kind=row["kind"],
        rule=row["rule"],
        labels={label["name"]: label["value"] for label in row["labels"]},
        samples=row["samples"],
        last_ms=row["last_ms"],
        last_value=row["last_value"],
        last_int=row["last_int"],
        steps=steps,
    )
