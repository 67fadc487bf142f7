"""What a rule gives, added up over many jobs: series, samples, functions and shares, without a loop over samples.

Figures of a preview are worked out here; which jobs are read, and how, is not known. Jobs are evaluated many at a
time, and give the series that each gives alone.
"""

import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final

import numpy as np
import polars as pl
import pyarrow as pa

from pyro_assets.explore.preview import FunctionShare, Preview, PreviewSeries, TypeShare
from pyro_assets.explore.read import ArchivedJob, JobBatch
from pyro_assets.rules.choice import only
from pyro_assets.rules.config import SeriesConfig
from pyro_assets.rules.language import Rule, warnings_of
from pyro_assets.rules.names import FUNCTION_LABEL, FUNCTION_METRIC_PREFIX, METRIC_PREFIX, SHARD_LABEL
from pyro_assets.rules.patterns import FAMILIES, normalize
from pyro_assets.series.derive import Derived, derive_jobs
from pyro_assets.series.facts import JobInfo
from pyro_assets.series.frame import labels_key

_SHOWN: Final = 20
_MOST: Final = 100_000
#: Distinct series are put together again once there are so many rows of them.
_ROWS: Final = 200_000
#: Stands for the shard of each job.
_NO_SHARD: Final = -1


class Tally:
    """Adds jobs up."""

    def __init__(self, rule: Rule, config: SeriesConfig, read: Callable[[Sequence[ArchivedJob]], JobBatch]) -> None:
        """See the class.

        Args:
            rule: a valid rule; whether it is enabled has no say, and tenants are left to the reading.
            config: for its gauges.
            read: reads what the rule can select of some jobs.
        """
        self.rule = rule.model_copy(update={"enabled": True, "tenants": []})
        self._read = read
        nothing = only(config, ())

        def alone(**changes: Any) -> SeriesConfig:
            return nothing.model_copy(update={"rules": [self.rule.model_copy(update=changes)]})

        common: dict[str, Any] = {
            "by": [], "without": [], "labels": {}, "metric": None, "aggregate": None, "unit": None, "other": False,
            "max_series": _MOST, "overflow": "keep_largest",
        }  # fmt: skip
        whole = common | {"functions": [], "stack": [], "exclude": [], "combine": False, "match": "total"}
        self._alone = alone()
        self._shares = {"whole": alone(**whole, normalize=[], top_k=None, resolved=[])}
        if rule.has_functions:
            self._shares["function"] = alone(**common, combine=False)
            # Totals of functions overlap; own values do not.
            if rule.match == "total" and not (len(rule.wanted) == 1 and rule.wanted[0].exact):
                self._shares["caught"] = alone(**common, combine=True)
        # The series of such a rule are already sums per function, and need not be worked out again for shares.
        self._is_plain = rule.has_functions and not (
            rule.combine or rule.aggregate or rule.unit or rule.metric or rule.other
        )
        self._series: list[pl.DataFrame] = []
        self._points: list[pl.DataFrame] = []
        self._sums: dict[str, dict[tuple[str, str, str], int]] = {name: {} for name in self._shares}
        self._single_seconds: list[float] = []
        self._shared_seconds: list[float] = []
        self._unmade: dict[str, set[str]] = {}
        self._samples = 0

    def add(self, jobs: Sequence[ArchivedJob], found: Preview) -> None:
        """Some jobs, read and evaluated together."""
        columns = self._read(jobs).columns
        if columns is None:
            return
        infos = [JobInfo(f"{number}", _NO_SHARD, 0, "") for number in range(len(jobs))]
        job_of_dataset = np.array([one.source for one in columns.datasets], dtype=np.int64)
        begun = time.process_time()
        derived = derive_jobs(columns, job_of_dataset, infos, self._alone)
        # Of jobs that have something for the rule.
        (self._single_seconds if len(jobs) == 1 else self._shared_seconds).append(
            (time.process_time() - begun) / len(jobs)
        )
        found.names_seen += len(columns.symbols.function_name)
        dropped = sum(one.facts.dropped_series for one in derived)
        found.dropped_series += dropped
        for job, of_job in zip(jobs, derived, strict=True):
            for one in of_job.facts.unmade:
                self._unmade.setdefault(str(one), set()).add(job.id)
        self._add_series(_frame_of(derived), jobs, found)
        is_done = self._is_plain and not dropped
        if is_done:
            self._add_sums("function", _frame_of(derived))
        for name, config in self._shares.items():
            if name != "function" or not is_done:
                self._add_sums(name, _frame_of(derive_jobs(columns, job_of_dataset, infos, config)))

    def _add_series(self, frame: pl.DataFrame, jobs: Sequence[ArchivedJob], found: Preview) -> None:
        if frame.is_empty():
            return
        number = pl.col("job").cast(pl.Int64)
        of_jobs = pl.DataFrame(
            {"number": range(len(jobs)), "at": [job.timestamp_ms for job in jobs], "shard": [job.shard for job in jobs]}
        )
        frame = frame.select("tenant", "metric", "labels", "value", number=number, identity=labels_key()).join(
            of_jobs, on="number"
        )
        self._samples += frame.height
        counts = frame.group_by("number", "tenant").len()["len"].max()
        found.most_series = max(found.most_series, int(str(counts)))
        self._points.append(frame.group_by("at", "metric").agg(pl.col("value").sum()))
        self._series.append(_distinct(frame.select("tenant", "metric", "shard", "identity", "labels", "value")))
        if sum(map(len, self._series)) > _ROWS:
            self._series = [_distinct(pl.concat(self._series))]

    def _add_sums(self, name: str, frame: pl.DataFrame) -> None:
        label = pl.element().struct
        is_function = pl.element().filter(label.field("name") == FUNCTION_LABEL).struct.field("value")
        function = pl.col("labels").list.eval(is_function).list.first() if name == "function" else pl.lit("")
        rows = (
            frame.select("tenant", "metric", function=function, value=pl.col("value_int").cast(pl.Int128))
            .group_by("tenant", "metric", "function")
            .agg(pl.col("value").sum())
        )
        sums = self._sums[name]
        for tenant_name, metric, text, value in rows.select("tenant", "metric", "function", "value").iter_rows():
            key = (tenant_name, metric, text)
            sums[key] = sums.get(key, 0) + value

    def finish(self, found: Preview) -> None:
        """Everything that needs all jobs."""
        read = max(found.jobs_read, 1)
        # A job alone also pays for what it does once, whatever the number of rules; the first even for what is loaded.
        seconds = sorted(self._shared_seconds or self._single_seconds[1:] or self._single_seconds)
        found.cost_ms = 1e3 * seconds[len(seconds) // 2] if seconds else 0.0
        found.samples = self._samples if found.is_exact else round(self._samples * found.jobs / read)
        self._finish_series(found)
        self._finish_shares(found)
        found.folding = _folding([one.function for one in found.functions], self.rule)
        self._warn(found)

    def _finish_series(self, found: Preview) -> None:
        if not self._series:
            return
        series = _distinct(pl.concat(self._series))
        found.series = series.height
        rows = series.select("tenant", "metric", "shard", "labels", "value").iter_rows()
        keys = sorted((tenant, metric, _labels(labels, shard), value) for tenant, metric, shard, labels, value in rows)
        largest = sorted(keys, key=lambda one: -one[3])[:_SHOWN]
        found.first, found.largest = ([PreviewSeries(*one) for one in some] for some in (keys[:_SHOWN], largest))
        points = pl.concat(self._points).group_by("at", "metric").agg(pl.col("value").sum()).sort("at", "metric")
        found.points = list(points.select("at", "metric", "value").iter_rows())

    def _finish_shares(self, found: Preview) -> None:
        wholes = {(tenant, metric): total for (tenant, metric, _), total in self._sums["whole"].items()}

        def of_whole(tenant: str, metric: str, total: int) -> tuple[int, float | None]:
            kind = metric.removeprefix(FUNCTION_METRIC_PREFIX)
            whole = wholes.get((tenant, METRIC_PREFIX + kind if kind != metric else metric), 0)
            return whole, total / whole if whole else None

        caught: dict[tuple[str, str], int] = {}
        for (tenant, metric, function), total in self._sums.get("function", {}).items():
            found.functions.append(FunctionShare(tenant, metric, function, total, of_whole(tenant, metric, total)[1]))
            caught[tenant, metric] = caught.get((tenant, metric), 0) + total
        found.functions.sort(key=lambda one: (-one.total, one.tenant, one.metric, one.function))
        if "caught" in self._sums:
            caught = {(tenant, metric): total for (tenant, metric, _), total in self._sums["caught"].items()}
        elif not self.rule.has_functions:
            caught = wholes
        shares = [TypeShare(*one, total, *of_whole(*one, total)) for one, total in caught.items()]
        found.shares = sorted(shares, key=lambda one: (-one.total, one.tenant, one.metric))

    def _warn(self, found: Preview) -> None:
        for message, of_jobs in self._unmade.items():
            more = f" (so it is in {len(of_jobs)} of the jobs read)" if len(of_jobs) > 1 else ""
            found.warnings.append(message + more)
        found.warnings += [f"{place[0]}: {why}" for place, why in warnings_of(self.rule, self._alone.gauges)]
        if found.dropped_series:
            what = (
                "the smallest are left out"
                if self.rule.overflow == "keep_largest"
                else "the whole rule is left out there"
            )
            found.warnings.append(f"some jobs have more than max_series ({self.rule.max_series}) series: {what}")
        elif found.most_series * 2 > self.rule.max_series:
            found.warnings.append(
                f"a job has {found.most_series} of at most {self.rule.max_series} series (max_series)"
            )
        if self.rule.has_functions and found.jobs_read and not found.functions:
            found.warnings.append("no function of these hours is meant by the rule; check spelling, case and selector")


def _frame_of(derived: Sequence[Derived]) -> pl.DataFrame:
    """All series of jobs, of both kinds."""
    return pl.concat([frame for one in derived for frame in one.frames.values()])


def _distinct(frame: pl.DataFrame) -> pl.DataFrame:
    return frame.group_by("tenant", "metric", "shard", "identity").agg(pl.col("labels").first(), pl.col("value").max())


def _labels(labels: Iterable[dict[str, str]], shard: int) -> tuple[tuple[str, str], ...]:
    return tuple((one["name"], str(shard) if one["name"] == SHARD_LABEL else one["value"]) for one in labels)


def _folding(names: Iterable[str], rule: Rule) -> dict[str, list[tuple[str, str]]]:
    distinct = list(dict.fromkeys(names))
    array = pa.array(distinct, type=pa.large_string())
    result: dict[str, list[tuple[str, str]]] = {}
    for family in FAMILIES:
        if family not in rule.normalize:
            folded = normalize(array, [family]).to_pylist()
            changed = [pair for pair in zip(distinct, folded, strict=True) if pair[0] != pair[1]]
            if changed:
                result[family] = changed[:_SHOWN]
    return result
