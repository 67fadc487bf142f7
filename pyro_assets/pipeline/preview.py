"""What a rule would give over past hours, before anybody pays for it: series, functions, shares and cost.

Add a figure here when it helps a person decide about a rule. Nothing is stored or sent; the archive's level-1 blocks
are read, only those of the tenants and services that the rule can select, until the budget is over.
"""

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Final

from pyro_assets.block.checksum import check_crc
from pyro_assets.errors import TooManySeries, Where
from pyro_assets.ledger.ledger import Ledger
from pyro_assets.ledger.records import Job
from pyro_assets.pipeline.engine import Engine
from pyro_assets.series.language import Rule, warnings_of
from pyro_assets.storage.interface import Bucket, ObjectInfo, ReadOnlyBucket
from pyro_assets.storage.keys import HOUR_MS, hour_start_ms

if TYPE_CHECKING:
    from pyro_assets.block.columns import BlockColumns
    from pyro_assets.block.metadata import BlockMeta
    from pyro_assets.series.config import SeriesConfig

_SHOWN: Final = 20
_DEFAULT_HOURS: Final = 3
_GOLDEN: Final = 0.6180339887498949
_MOST: Final = 100_000


@dataclass(frozen=True, slots=True)
class FunctionShare:
    """One function that a rule caught.

    Attributes:
        metric: names the profile type.
        total: of the function in the jobs read, without the rule's aggregation and unit.
        share: of the profile type's total in the profiles that the rule selects, 0 to 1; None where that is 0.
    """

    tenant: str
    metric: str
    function: str
    total: int
    share: float | None


@dataclass(frozen=True, slots=True)
class ShownSeries:
    """One series.

    Attributes:
        value: the largest of its samples.
    """

    tenant: str
    metric: str
    labels: tuple[tuple[str, str], ...]
    value: float


@dataclass(slots=True)
class Preview:
    """What a rule gives.

    Attributes:
        hours: looked at.
        jobs, jobs_read: of these hours, and how many of them were read; the preview is exact when they are equal.
        series: distinct series in the jobs read: a lower bound where not all were.
        samples: samples of all jobs; an estimate where not all were read.
        first: the first series by tenant, metric and labels; largest: those with the largest samples.
        functions: what the rule caught, by falling total; names_seen: function names looked at, over all jobs read.
        points: (timestamp_ms, metric, sum over the job's series), for a plot.
        most_series: of one job and tenant, after limits; dropped_series: left out by limits.
        cost_ms: CPU time of the rule per job, without reading; seconds: what the preview took.
        folding: family -> examples (name, folded name) of names that it would fold.
        warnings: in words.
    """

    hours: tuple[str, ...]
    jobs: int = 0
    jobs_read: int = 0
    series: int = 0
    samples: int = 0
    first: list[ShownSeries] = field(default_factory=list)
    largest: list[ShownSeries] = field(default_factory=list)
    functions: list[FunctionShare] = field(default_factory=list)
    names_seen: int = 0
    points: list[tuple[int, str, float]] = field(default_factory=list)
    most_series: int = 0
    dropped_series: int = 0
    cost_ms: float = 0.0
    seconds: float = 0.0
    folding: dict[str, list[tuple[str, str]]] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)

    @property
    def is_exact(self) -> bool:
        """Whether every job was read."""
        return self.jobs == self.jobs_read


def closed_hours(ledger: Ledger, now_ms: int, count: int = _DEFAULT_HOURS) -> list[str]:
    """The last hours that are over and have sources."""
    return [hour for hour in ledger.hours() if hour_start_ms(hour) + HOUR_MS <= now_ms][-count:]


def preview_rule(
    archive: ReadOnlyBucket | Bucket,
    ledger: Ledger,
    rule: Rule,
    config: "SeriesConfig",
    hours: Sequence[str],
    *,
    tenants: Sequence[str] = (),
    budget_seconds: float = 10.0,
    engine: Engine | None = None,
    clock: Callable[[], float] = time.monotonic,
) -> Preview:
    """Evaluate a rule, saved or not, on the committed jobs of past hours.

    Args:
        archive: where level-1 blocks are.
        ledger: knows the jobs.
        rule: a valid rule; whether it is enabled has no say.
        config: for its gauges.
        hours: partition keys.
        tenants: only these; empty means those of the rule.
        budget_seconds: no further job is read after this time; at least one is.
        engine: how blocks are read.
        clock: seconds.

    Raises:
        StorageError, BlockError: the archive is damaged or does not answer.
    """
    begun = clock()
    own_tenants = [name for name in tenants if not rule.tenants or name in rule.tenants] if tenants else rule.tenants
    found = Preview(tuple(hours))
    tally = _Tally(rule.model_copy(update={"enabled": True, "tenants": list(own_tenants)}), config)
    jobs = [job for hour in hours for job in ledger.committed_jobs(hour)]
    found.jobs = len(jobs)
    # Spread evenly over time however many are read.
    for position in sorted(range(len(jobs)), key=lambda number: number * _GOLDEN % 1):
        if found.jobs_read and clock() - begun > budget_seconds:
            break
        job, _ = ledger.look_up(jobs[position])
        columns = read_selected(archive, engine or Engine(), job, rule, own_tenants, bool(tenants))
        if columns is not None:
            tally.add(columns, job, found)
        found.jobs_read += 1
    tally.finish(found)
    found.seconds = clock() - begun
    return found


def largest_functions(found: Preview, count: int) -> list[str]:
    """The functions with the largest shares of any profile type and tenant, for rules with `top_k`."""
    best: dict[str, tuple[float, int]] = {}
    for one in found.functions:
        best[one.function] = max(best.get(one.function, (0.0, 0)), (one.share or 0.0, one.total))
    return sorted(best, key=lambda name: (-best[name][0], -best[name][1], name))[:count]


class _Tally:
    """Adds jobs up."""

    def __init__(self, rule: Rule, config: "SeriesConfig") -> None:
        from pyro_assets.series.config import SeriesConfig

        self.rule = rule
        nothing = config.model_copy(
            update={"dimensions": config.dimensions.model_copy(update={"selectors": []}), "functions": {}, "rules": []}
        ).model_copy(update={"recording_rules": []})
        self.alone: SeriesConfig = nothing.model_copy(update={"rules": [rule]})
        common: dict[str, Any] = {
            "by": [],
            "without": [],
            "labels": {},
            "metric": None,
            "aggregate": None,
            "unit": None,
        }
        common |= {"other": False, "max_series": _MOST, "overflow": "keep_largest"}
        whole = common | {"name": "whole", "functions": [], "stack": [], "exclude": [], "combine": False}
        parts = [rule.model_copy(update=whole | {"match": "total", "normalize": []})]
        if rule.has_functions:
            parts.append(rule.model_copy(update=common | {"name": "functions", "combine": False}))
        self.shares: SeriesConfig = nothing.model_copy(update={"rules": parts})
        self.series: dict[tuple[str, str, tuple[tuple[str, str], ...]], float] = {}
        self.totals: dict[tuple[str, str, str], int] = {}
        self.wholes: dict[tuple[str, str], int] = {}
        self.cost_seconds = 0.0
        self.samples = 0

    def add(self, columns: "BlockColumns", job: Job, found: Preview) -> None:
        """One job."""
        from pyro_assets.series.derive import JobInfo, derive

        info = JobInfo(job.id, job.shard, job.timestamp_ms, job.instance or "")
        found.names_seen += len(columns.symbols.function_name)
        begun = time.process_time()
        try:
            derived = derive(columns, info, self.alone)
        except TooManySeries as error:
            found.warnings.append(str(error))
            return
        finally:
            self.cost_seconds += time.process_time() - begun
        found.dropped_series += derived.facts.dropped_series
        points: dict[str, float] = {}
        per_tenant: dict[str, int] = {}
        for row in (row for frame in derived.frames.values() for row in frame.iter_rows(named=True)):
            labels = tuple((label["name"], label["value"]) for label in row["labels"])
            key = (row["tenant"], row["metric"], labels)
            self.series[key] = max(self.series.get(key, row["value"]), row["value"])
            points[row["metric"]] = points.get(row["metric"], 0.0) + row["value"]
            per_tenant[row["tenant"]] = per_tenant.get(row["tenant"], 0) + 1
            self.samples += 1
        found.most_series = max(found.most_series, *per_tenant.values(), 0)
        found.points += [(job.timestamp_ms, metric, value) for metric, value in sorted(points.items())]
        for row in (row for frame in derive(columns, info, self.shares).frames.values() for row in frame.to_dicts()):
            if row["rule"] == "whole":
                one = (row["tenant"], row["metric"])
                self.wholes[one] = self.wholes.get(one, 0) + row["value_int"]
            else:
                function = next(label["value"] for label in row["labels"] if label["name"] == "function")
                name = (row["tenant"], row["metric"], function)
                self.totals[name] = self.totals.get(name, 0) + row["value_int"]

    def finish(self, found: Preview) -> None:
        """Everything that needs all jobs."""
        found.series = len(self.series)
        read = max(found.jobs_read, 1)
        found.samples = self.samples if found.is_exact else round(self.samples * found.jobs / read)
        found.cost_ms = 1e3 * self.cost_seconds / read
        shown = [ShownSeries(*key, value) for key, value in sorted(self.series.items())]
        found.first = shown[:_SHOWN]
        found.largest = sorted(shown, key=lambda one: -one.value)[:_SHOWN]
        for (tenant, metric, function), total in self.totals.items():
            whole = self.wholes.get((tenant, metric.replace("_functions_", "_", 1)), 0)
            share = total / whole if whole else None
            found.functions.append(FunctionShare(tenant, metric, function, total, share))
        found.functions.sort(key=lambda one: (-one.total, one.tenant, one.metric, one.function))
        found.points.sort()
        found.folding = _folding([one.function for one in found.functions], self.rule)
        found.warnings += [f"{place[0]}: {why}" for place, why in warnings_of(self.rule, self.alone.gauges)]
        if found.dropped_series:
            what = (
                "the whole rule is left out there" if self.rule.overflow == "drop_rule" else "the smallest are left out"
            )
            found.warnings.append(f"some jobs have more than max_series ({self.rule.max_series}) series: {what}")
        elif found.most_series * 2 > self.rule.max_series:
            found.warnings.append(
                f"a job has {found.most_series} of at most {self.rule.max_series} series (max_series)"
            )
        if self.rule.has_functions and found.jobs_read and not found.functions:
            found.warnings.append("no function of these hours is meant by the rule; check spelling, case and selector")


def _folding(names: Iterable[str], rule: Rule) -> dict[str, list[tuple[str, str]]]:
    import pyarrow as pa

    from pyro_assets.series.normalize import FAMILIES, normalize

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


def read_selected(
    archive: ReadOnlyBucket | Bucket, engine: Engine, job: Job, rule: Rule, tenants: Sequence[str], strict: bool
) -> "BlockColumns | None":
    """The datasets of a job that a rule can select; None when there are none."""
    from pyro_assets.block.object import parse_object
    from pyro_assets.block.reader import RawObject

    if strict and not tenants:
        return None
    outputs = [output for output in job.outputs if not tenants or output.tenant in tenants]
    objects = []
    for output, data in zip(
        outputs, archive.get_many([ObjectInfo(one.key, one.size_bytes) for one in outputs]), strict=True
    ):
        if isinstance(data, Exception):
            raise data
        check_crc(data, output.crc32c, "the committed object", Where(output.key))
        meta = _narrowed(parse_object(data, output.key), rule)
        if meta.datasets:
            objects.append(RawObject(output.key, data, meta))
    if not objects:
        return None
    read = engine.read_blocks(objects)
    if read.set_aside:
        raise read.set_aside[0][1]
    return read.columns


def _narrowed(meta: "BlockMeta", rule: Rule) -> "BlockMeta":
    """The metadata without datasets of services that the rule's selector excludes."""
    from pyro_assets.series.selectors import parse_selector

    matchers = [one for one in parse_selector(rule.selector).matchers if one.name == b"service_name"]
    if not matchers:
        return meta
    kept = [one for one in meta.datasets if one.format != 0 or all(m.matches(one.name) for m in matchers)]
    return replace(meta, datasets=kept if any(one.format == 0 for one in kept) else [])
