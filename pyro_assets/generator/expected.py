"""Manifest entries -> the series that must come out, folded by the rules of the product in slow plain Python.

Written a second time on purpose: names, labels, flows, gauges and duplicates as the design has them, without a line
of the packages that compute them for users. Keep it plain; speed does not matter here.
"""

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import lru_cache

import pyarrow as pa

from pyro_assets.generator.manifest import Manifest, ManifestRow, SegmentEntry

#: tenant, service and profile type
_Scope = tuple[str, str, str]
#: (tenant, metric, labels sorted by name)
SeriesKey = tuple[str, str, tuple[tuple[str, str], ...]]

#: Labels that belong to the product; a profile's own label of that name is moved aside.
_RESERVED = ("function", "tenant", "pyroscope_shard")
_MATCHER = re.compile(r'\s*([A-Za-z_][A-Za-z0-9_.]*)\s*(=~|!~|!=|=)\s*"((?:[^"\\]|\\.)*)"\s*(?:,|$)')


def is_gauge(profile_type: str) -> bool:
    """Whether values of a type are levels, of which only the last profile of a target counts.

    >>> is_gauge("memory:inuse_space:bytes:space:bytes"), is_gauge("memory:alloc_space:bytes:space:bytes")
    (True, False)
    """
    sample_type = profile_type.split(":")[1]
    return sample_type.startswith("inuse_") or sample_type in ("goroutine", "goroutines")


def metric_name(profile_type: str, *, functions: bool) -> str:
    """The metric of a profile type.

    >>> metric_name("mutex:delay:nanoseconds:contentions:count", functions=False)
    'pyroscope_exported_metrics_mutex_delay_nanoseconds_contentions_count'
    """
    prefix = "pyroscope_exported_metrics_functions_" if functions else "pyroscope_exported_metrics_"
    return prefix + re.sub(r"[^a-zA-Z0-9_]", "_", profile_type)


def public_labels(labels: Iterable[tuple[str, str]], shard: int) -> dict[str, str]:
    """The labels of a series by their own names, without those that a rule adds."""
    public = {}
    for name, value in labels:
        if name.startswith("__"):
            continue
        public[f"exported_{name}" if name in _RESERVED else name] = value
    return public | {"pyroscope_shard": str(shard)}


def matches(selector: str, labels: Mapping[str, str]) -> bool:
    """Evaluates a PromQL-style selector; a missing label is empty, regular expressions match from end to end.

    >>> matches('{vehicle=~"bike|car", env!="test"}', {"vehicle": "car"}), matches("{}", {})
    (True, True)

    Raises:
        ValueError: the selector does not parse.
    """
    inner = selector.strip()
    if not (inner.startswith("{") and inner.endswith("}")):
        raise ValueError(f"selector {selector!r} does not stand in braces")
    inner, position = inner[1:-1].rstrip(), 0
    while position < len(inner):
        found = _MATCHER.match(inner, position)
        if not found:
            raise ValueError(f"selector {selector!r} does not parse at {inner[position:]!r}")
        name, operator, pattern = found[1], found[2], re.sub(r"\\(.)", r"\1", found[3])
        value = labels.get(name, "")
        equal = _fits(pattern, value) if "~" in operator else value == pattern
        if equal is operator.startswith("!"):
            return False
        position = found.end()
    return True


@lru_cache(maxsize=1 << 16)
def _fits(pattern: str, value: str) -> bool:
    import pyarrow.compute as pc

    # By RE2, since people write what Python's `re` takes for ever to answer.
    return bool(pc.match_substring_regex(pa.array([value], pa.large_string()), rf"(?s)\A(?:{pattern})\z")[0].as_py())


def fold(
    segments: Iterable[SegmentEntry],
    shard: int,
    functions: Mapping[str, str],
    gauge: Callable[[str], bool] = is_gauge,
) -> dict[SeriesKey, int]:
    """The series of one job.

    Args:
        segments: the job's sources.
        shard: the job's.
        functions: selector by function, for the function series.
        gauge: which profile types are levels.

    Returns:
        Values by series, those of function series that are 0 included.
    """
    rows: dict[tuple[object, int], ManifestRow] = {}
    for segment in segments:
        for row in segment.rows:
            # The generator never uploads two different profiles of one series and time: equal ones are retries.
            rows.setdefault((row.identity, row.time_ns), row)
    last = _last_rows(rows.values())
    series: dict[SeriesKey, int] = {}
    for row in rows.values():
        tenant, labels = row.identity
        profile_type = dict(labels)["__profile_type__"]
        if gauge(profile_type) and id(row) not in last:
            continue
        public = public_labels(labels, shard)
        _count(series, (tenant, metric_name(profile_type, functions=False), _sorted(public)), row.value)
        for function, selector in functions.items():
            if matches(selector, dict(labels)):
                named = _sorted(public | {"function": function})
                key = (tenant, metric_name(profile_type, functions=True), named)
                _count(series, key, row.functions.get(function, 0))
    return series


def _last_rows(rows: Iterable[ManifestRow]) -> set[int]:
    """The ids of the rows that belong to the last profile of their target.

    One upload of a process is one profile of each type, whatever labels its samples have. Labels that differ between
    the parts of any one profile are the samples' own, and no part of a target.
    """
    rows = list(rows)
    parts: dict[tuple[_Scope, str, int], list[dict[str, str]]] = {}
    for row in rows:
        session = dict(row.identity[1]).get("__session_id__", "")
        parts.setdefault((_scope(row), session, row.time_ns), []).append(_public(row))
    of_samples: dict[_Scope, set[str]] = {}
    for (scope, _, _), labelled in parts.items():
        names = {name for one in labelled for name in one}
        differing = {name for name in names if len({one.get(name) for one in labelled}) > 1}
        of_samples.setdefault(scope, set()).update(differing)
    targets = []
    for row in rows:
        left = {name: text for name, text in _public(row).items() if name not in of_samples[_scope(row)]}
        targets.append((_scope(row), _sorted(left)))
    newest: dict[object, int] = {}
    for row, target in zip(rows, targets, strict=True):
        newest[target] = max(row.time_ns, newest.get(target, row.time_ns))
    return {id(row) for row, target in zip(rows, targets, strict=True) if newest[target] == row.time_ns}


def _scope(row: ManifestRow) -> _Scope:
    tenant, labels = row.identity
    own = dict(labels)
    return tenant, own.get("service_name", ""), own["__profile_type__"]


def _public(row: ManifestRow) -> dict[str, str]:
    return {name: text for name, text in row.identity[1] if not name.startswith("__")}


def totals_by_hour(manifest: Manifest) -> list[dict[str, object]]:
    """What was made per hour of creation, tenant, metric and labels, over all shards.

    Flows are sums; of a gauge it is the last profile of each target in the hour. The labels are those of the uploads
    without private ones; per function of the manifest there is an entry with the label `function`.
    """
    hours: dict[int, list[SegmentEntry]] = {}
    for segment in manifest.segments:
        hours.setdefault(segment.created_ms // 3_600_000, []).append(segment)
    out: list[dict[str, object]] = []
    everything = dict.fromkeys(manifest.functions, "{}")
    for hour, segments in sorted(hours.items()):
        series = fold(segments, 0, everything)
        for (tenant, metric, labels), value in sorted(series.items()):
            if not value:
                continue
            own = {name: text for name, text in labels if name != "pyroscope_shard"}
            out.append({"hour_ms": hour * 3_600_000, "tenant": tenant, "metric": metric, "labels": own, "value": value})
    return out


def _sorted(labels: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
    return tuple(sorted(labels.items()))


def _count(series: dict[SeriesKey, int], key: SeriesKey, value: int) -> None:
    series[key] = series.get(key, 0) + value


def by_key(segments: Sequence[SegmentEntry]) -> dict[str, SegmentEntry]:
    """Entries by object key."""
    return {segment.key: segment for segment in segments}
