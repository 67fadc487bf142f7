"""A slow, independent evaluation of the rule language, one profile and one sample at a time.

Rules are plain dictionaries as a file has them. Add what a new field means in the most literal Python; nothing of
pyro_assets may be imported.
"""

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from fnmatch import fnmatchcase
from fractions import Fraction
from typing import Any

from tests.oracle.series import Row, matches, metric_of, parse_selector, profiles, text_labels
from tests.oracle.values import Stack

SeriesValues = dict[tuple[str, str, tuple[tuple[str, str], ...]], Fraction]
NANO = {"nanoseconds": 1, "microseconds": 10**3, "milliseconds": 10**6, "seconds": 10**9}


def is_meant(name: str | None, patterns: Iterable[Any]) -> bool:
    """Whether a name is one of the patterns; frames without a name never are."""
    for pattern in patterns:
        if not name:
            continue
        if isinstance(pattern, str) or "exact" in pattern:
            if name == (pattern if isinstance(pattern, str) else pattern["exact"]):
                return True
        elif "glob" in pattern:
            if fnmatchcase(name, pattern["glob"].replace("[", "[[]")):  # a bracket is a bracket
                return True
        elif re.fullmatch(pattern["regex"], name, re.DOTALL):
            return True
    return False


def frames(stack: Stack) -> list[str | None]:
    """Names, caller first, inlined ones as frames of their own; None for a frame without function."""
    result: list[str | None] = []
    for frame in stack:  # leaf first
        names = [None if line.name is None else line.name.decode(errors="backslashreplace") for line in frame.lines]
        result += names or [None]
    return result[::-1]


def holds_path(names: Sequence[str | None], path: Sequence[Any]) -> bool:
    """Whether the frames hold the path: parts follow each other directly, but at gaps."""

    def follows(at: int, part: int) -> bool:
        if part == len(path):
            return True
        if path[part] == "...":
            return any(follows(later, part + 1) for later in range(at, len(names)))
        return at < len(names) and is_meant(names[at], [path[part]]) and follows(at + 1, part + 1)

    return any(follows(start, 0) for start in range(len(names)))


def counted(rule: Mapping[str, Any], stack: Stack) -> set[str]:
    """The functions (or "" where they are combined) for which a sample of this stack counts."""
    names = frames(stack)
    path = rule.get("stack", [])
    if is_meant_any(names, rule.get("exclude", [])) or (path and not holds_path(names, path)):
        return set()
    candidates = names[-1:] if rule.get("match") == "self" else names
    found = {name for name in candidates if name and is_meant(name, rule.get("functions") or path[-1:])}
    return {""} if found and rule.get("combine") else found


def is_meant_any(names: Sequence[str | None], patterns: Sequence[Any]) -> bool:
    """Whether one of the names is meant."""
    return any(is_meant(name, patterns) for name in names)


def evaluate(rule: Mapping[str, Any], rows: Sequence[Row], shard: int, is_gauge: Callable[[str], bool]) -> SeriesValues:
    """The series of one rule."""
    has_functions = bool(rule.get("functions") or rule.get("stack"))
    values_of: dict[Any, dict[Any, int]] = defaultdict(lambda: defaultdict(int))
    totals: dict[Any, int] = defaultdict(int)
    for row, (profile, is_last) in zip(rows, profiles(rows), strict=True):
        labels = text_labels(row.profile.labels)
        kind = labels["__profile_type__"]
        tenant = row.tenant.decode(errors="backslashreplace")
        unit = kind.split(":")[2]
        aggregate = rule.get("aggregate") or ("last" if is_gauge(kind) else "sum")
        types = rule.get("profile_types", [])
        if not matches(labels, parse_selector(rule.get("selector", "{}"))) or (
            (rule.get("tenants") and tenant not in rule["tenants"])
            or (types and not any(fnmatchcase(kind if ":" in t else kind.split(":")[1], t) for t in types))
            or (rule.get("unit") and unit not in NANO)
            or (aggregate == "last" and not is_last)
        ):
            continue
        times = NANO[unit] if rule.get("unit") else 1
        metric = rule.get("metric") or metric_of(
            kind, "pyroscope_exported_metrics_" + ("functions_" if has_functions else "")
        ) + ("_seconds" if rule.get("unit") else "")
        found: dict[str, int] = defaultdict(int)
        for sample in row.profile.samples:
            for function in counted(rule, sample.stack) if has_functions else {""}:
                found[function] += sample.value * times
        if not has_functions:
            found[""] += 0
        base = (tenant, metric, out_labels(rule, labels, shard))
        if rule.get("other"):
            totals[base] += sum(sample.value for sample in row.profile.samples) * times
        for function, value in found.items():
            values_of[base, function][profile] += value
    result: SeriesValues = {}
    for (base, function), parts in values_of.items():
        values = list(parts.values())
        aggregate = rule.get("aggregate", "sum")
        aggregated = {
            "sum": Fraction(sum(values)),
            "last": Fraction(sum(values)),
            "mean": Fraction(sum(values), len(values)),
            "max": Fraction(max(values)),
            "min": Fraction(min(values)),
            "count": Fraction(len(values)),
        }[aggregate]
        own = {"function": function} if has_functions and not rule.get("combine") else {}
        if aggregated or not has_functions:
            key = base[0], base[1], tuple(sorted((*base[2], *own.items())))
            result[key] = aggregated / 10**9 if rule.get("unit") else aggregated
    result = limited(rule, result)
    for base, total in totals.items():
        left = Fraction(total, 10**9 if rule.get("unit") else 1)
        for (tenant, metric, series), one in result.items():
            rest = tuple(label for label in series if label[0] != "function")
            if (tenant, metric, rest) == base and ("function", "__other__") not in series:
                left -= one
        if left:
            result[base[0], base[1], tuple(sorted((*base[2], ("function", "__other__"))))] = left
    return result


def limited(rule: Mapping[str, Any], series: SeriesValues) -> SeriesValues:
    """What limits leave; equal values are left to tests that avoid them."""
    most = rule.get("max_series", 10_000)
    result: SeriesValues = {}
    for tenant in {key[0] for key in series}:
        own = {key: value for key, value in series.items() if key[0] == tenant}
        if len(own) > most:
            largest = sorted(own, key=lambda key: -abs(own[key]))[:most]
            own = {key: own[key] for key in largest} if rule.get("overflow") == "keep_largest" else {}
        result |= own
    return result


def out_labels(rule: Mapping[str, Any], labels: Mapping[str, str], shard: int) -> tuple[tuple[str, str], ...]:
    """The labels of a series but for `function`."""
    out = {}
    for name, value in labels.items():
        if name.startswith("__") or not value:
            continue
        moved = "exported_" + name if name in ("function", "tenant", "pyroscope_shard") else name
        names = {name, moved}
        if rule.get("by") is not None and not names & set(rule["by"]):
            continue
        if names & {*rule.get("without", []), *rule.get("labels", {})}:
            continue
        out[moved] = value
    return tuple(sorted((out | dict(rule.get("labels", {})) | {"pyroscope_shard": str(shard)}).items()))
