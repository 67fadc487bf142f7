"""Compares the archive's series with what a manifest says, job by job, in slow plain Python.

What is right for one job is decided in `expected.py`; here it is compared with the archive. A command, the demo
and tests share this; it imports none of the code that made the series.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from pyro_assets.generator.expected import SeriesKey, by_key, fold, is_gauge
from pyro_assets.generator.manifest import Manifest

_PREFIX = "pyroscope_exported_metrics_"


@dataclass(frozen=True, slots=True)
class Discrepancy:
    """One thing that is not as it must be.

    `what` is one of: value, missing, unexpected, repeated (a series twice in one job), unknown source (a job lists a
    segment that the manifest lacks), dropped (a source that a job could not use), unprocessed (a segment in no job),
    processed twice.
    """

    what: str
    job_id: str
    place: str
    expected: int | None = None
    actual: float | None = None

    def __str__(self) -> str:
        job = f"job {self.job_id}: " if self.job_id else ""
        values = "" if self.expected is None and self.actual is None else f": {self.expected} != {self.actual}"
        return f"{job}{self.what}: {self.place}{values}"


@dataclass(frozen=True, slots=True)
class CommittedJob:
    """What a commit record says: id, shard, timestamp (Unix ms) of its samples, keys of the sources that went in.

    `dropped` are the keys of sources that are in no output.
    """

    job_id: str
    shard: int
    timestamp_ms: int
    sources: tuple[str, ...]
    dropped: tuple[str, ...] = ()


def compare(
    manifest: Manifest,
    series: Any,
    commits: Iterable[CommittedJob | Mapping[str, Any]],
    functions: Mapping[str, str] | None = None,
    *,
    dimensions: bool = True,
    unprocessed_is_difference: bool = True,
) -> list[Discrepancy]:
    """Everything in which the archive's series differ from the manifest; empty if nothing does.

    Args:
        manifest: what was made.
        series: rows of the archive's series, as a Polars frame or mappings with the keys tenant, metric, labels,
            timestamp_ms, value, value_int and job. Metrics of imported recording rules are passed over.
        commits: the jobs that are done; all series must be theirs.
        functions: selector by function as configured; each must be among those that the manifest recorded. None: the
            function series are not looked at.
        dimensions: whether dimension series are looked at.
        unprocessed_is_difference: whether a segment in no job is one.

    Raises:
        ValueError: a function was not recorded, or a selector does not parse.
    """
    wanted = dict(functions or {})
    unrecorded = sorted(set(wanted) - set(manifest.functions))
    if unrecorded:
        raise ValueError(f"the manifest has no totals of {', '.join(unrecorded)}; it recorded {manifest.functions}")
    jobs = [commit if isinstance(commit, CommittedJob) else job_of(commit) for commit in commits]
    differences: list[Discrepancy] = []
    found: dict[str, dict[tuple[SeriesKey, int], tuple[float, int | None]]] = {job.job_id: {} for job in jobs}
    for job_id, key, timestamp_ms, value, exact in _rows(series):
        is_function = key[1].startswith(_PREFIX + "functions_")
        if not key[1].startswith(_PREFIX) or not (functions is not None if is_function else dimensions):
            continue
        mine = found.get(job_id)
        if mine is None:
            differences.append(Discrepancy("unexpected", job_id, f"{_text(key)} of a job without commit record"))
        elif (key, timestamp_ms) in mine:
            differences.append(Discrepancy("repeated", job_id, _text(key)))
        else:
            mine[key, timestamp_ms] = (value, exact)
    entries = by_key(manifest.segments)
    seen: dict[str, str] = {}
    for job in jobs:
        differences.extend(_sources(job, entries, seen))
        segments = [entries[key] for key in job.sources if key in entries]
        expected = {
            key: value
            for key, value in fold(segments, job.shard, wanted, is_gauge).items()
            if dimensions or key[1].startswith(_PREFIX + "functions_")
        }
        differences.extend(_values(job, expected, found[job.job_id]))
    if unprocessed_is_difference:
        differences.extend(Discrepancy("unprocessed", "", key) for key in entries if key not in seen)
    return differences


def job_of(record: Mapping[str, Any]) -> CommittedJob:
    """The job that a commit record of the archive tells of."""
    states = [(source["key"], source["state"]) for source in record["sources"]]
    done = tuple(key for key, state in states if state == "done")
    dropped = tuple(key for key, state in states if state != "done")
    return CommittedJob(record["job"], record["shard"], record["timestamp_ms"], done, dropped)


def _sources(job: CommittedJob, entries: Mapping[str, object], seen: dict[str, str]) -> Iterator[Discrepancy]:
    for key in job.sources + job.dropped:
        if key in job.dropped:
            yield Discrepancy("dropped", job.job_id, key)
        if key not in entries:
            yield Discrepancy("unknown source", job.job_id, key)
        if key in seen:
            yield Discrepancy("processed twice", job.job_id, f"{key}, also in job {seen[key]}")
        seen[key] = job.job_id


def _values(
    job: CommittedJob, expected: dict[SeriesKey, int], found: dict[tuple[SeriesKey, int], tuple[float, int | None]]
) -> Iterator[Discrepancy]:
    for key, value in sorted(expected.items()):
        actual, exact = found.pop((key, job.timestamp_ms), (None, None))
        if actual is None:
            # A series whose value is 0 may be left out.
            if value:
                yield Discrepancy("missing", job.job_id, _text(key), value)
        elif exact != value or actual != float(value):
            yield Discrepancy("value", job.job_id, _text(key), value, actual if exact is None else exact)
    for (key, timestamp_ms), (actual, _) in sorted(found.items()):
        yield Discrepancy("unexpected", job.job_id, f"{_text(key)} at {timestamp_ms}", None, actual)


def _rows(series: Any) -> Iterator[tuple[str, SeriesKey, int, float, int | None]]:
    rows = series.iter_rows(named=True) if hasattr(series, "iter_rows") else iter(series)
    for row in rows:
        labels = row["labels"]
        pairs = labels.items() if isinstance(labels, Mapping) else ((pair["name"], pair["value"]) for pair in labels)
        key = (row["tenant"], row["metric"], tuple(sorted(pairs)))
        yield row["job"], key, row["timestamp_ms"], row["value"], row["value_int"]


def _text(key: SeriesKey) -> str:
    tenant, metric, labels = key
    return f"{tenant}: {metric}{{{', '.join(f'{name}={value!r}' for name, value in labels)}}}"
