"""A slow, independent evaluation of de-duplication and of series, from the slow decoder's plain profiles.

Add what the series must be in the most literal Python; nothing of pyro_assets may be imported, so that a shared
misunderstanding cannot hide. What is a decision rather than arithmetic (gauges, selectors) comes in as arguments.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from tests.oracle.bytes import xxh64
from tests.oracle.values import Block, Labels, Profile

#: tenant, metric, sorted labels without __name__ -> exact value.
SeriesValues = dict[tuple[str, str, tuple[tuple[str, str], ...]], int]

#: One selector: (name, operator, value), operators as in PromQL.
Matcher = tuple[str, str, str]


class Row(NamedTuple):
    """A profile and where it came from."""

    tenant: bytes
    service: bytes
    source: int
    profile: Profile


class Merged(NamedTuple):
    """What compaction keeps, in its order, and what it counts."""

    rows: list[Row]
    duplicates: int
    conflicts: int


# --- Compaction -------------------------------------------------------------------------------------------------


def same_samples(one: Profile, other: Profile) -> bool:
    """Equal samples, whatever their order in the row: stacks, values, span and trace ids, labels.

    Stacks of different partitions are not compared: the partition is that of the program, so a retried upload is in
    the same one.
    """
    if one.samples and one.partition != other.partition:
        return False
    return Counter(one.samples) == Counter(other.samples)


def merge(blocks: Sequence[Block], dedup: str) -> Merged:
    """Merge the format-0 datasets of sources, given in job order.

    Args:
        blocks: the sources.
        dedup: "original": in a dataset of two or more sources a row with the series and time of the row before it
            is dropped; "exact": a row is dropped when an earlier one has its series, time and samples.
    """
    groups: dict[tuple[bytes, bytes], list[Row]] = defaultdict(list)
    sources: dict[tuple[bytes, bytes], int] = Counter()
    for source, block in enumerate(blocks):
        for dataset in block.datasets:
            if dataset.format == 0:
                key = (dataset.tenant, dataset.name)
                sources[key] += 1
                groups[key] += [Row(*key, source, profile) for profile in dataset.profiles]
    kept: list[Row] = []
    duplicates = conflicts = 0
    for key in sorted(groups):
        rows = sorted(groups[key], key=lambda row: (row.profile.labels, row.profile.time_ns, row.source))
        seen: dict[tuple[Labels, int], list[Profile]] = defaultdict(list)
        for row in rows:
            before = seen[row.profile.labels, row.profile.time_ns]
            if dedup == "original":
                is_duplicate = bool(before) and sources[key] > 1
            else:
                is_duplicate = any(same_samples(row.profile, other) for other in before)
            if is_duplicate:
                duplicates += 1
                continue
            conflicts += bool(before)
            before.append(row.profile)
            kept.append(row)
    return Merged(kept, duplicates, conflicts)


# --- Selectors --------------------------------------------------------------------------------------------------

_MATCHER = re.compile(r"""\s*([a-zA-Z_][\w.]*)\s*(=~|!~|!=|=)\s*"((?:[^"\\]|\\.)*)"\s*""")


def parse_selector(text: str) -> list[Matcher]:
    """`{a="b", c=~"d|e"}` in its plain form (escapes: backslash before any character)."""
    body = text.strip()
    if body[:1] != "{" or body[-1:] != "}":
        raise ValueError(f"not a selector: {text}")
    body, matchers = body[1:-1].strip(), []
    while body:
        match = _MATCHER.match(body)
        if match is None:
            raise ValueError(f"not a selector: {text}")
        matchers.append((match[1], match[2], re.sub(r"\\(.)", r"\1", match[3])))
        body = body[match.end() :].removeprefix(",").strip()
    return matchers


def matches(labels: Mapping[str, str], matchers: Iterable[Matcher]) -> bool:
    """All matchers hold; a label that is missing counts as empty; expressions are anchored at both ends."""
    for name, operator, value in matchers:
        actual = labels.get(name, "")
        is_exact = operator in ("=", "!=")
        holds = actual == value if is_exact else re.fullmatch(value, actual, re.DOTALL) is not None
        if holds == operator.startswith("!"):
            return False
    return True


def text_labels(labels: Labels) -> dict[str, str]:
    """Labels as text; bytes that are not UTF-8 shown with escapes."""
    return {name.decode(errors="backslashreplace"): value.decode(errors="backslashreplace") for name, value in labels}


def function_total(profile: Profile, function: bytes | None) -> int:
    """The sum of the samples whose stack contains the function, once per sample; of all samples for None."""
    return sum(
        sample.value for sample in profile.samples if function is None or function in sample.stack.function_names
    )


# --- The original's recording rules -----------------------------------------------------------------------------


def instance_of(block: Block) -> str:
    """The label pyroscope_instance that a job with this first source carries."""
    return f"{xxh64(block.shard.to_bytes(4, 'big') + block.created_by_index.to_bytes(4, 'big')):016x}"


def ulid_time_ms(ulid: bytes | str) -> int:
    """The creation time in a ULID."""
    text = ulid if isinstance(ulid, str) else ulid.decode()
    value = 0
    for character in text[:10]:
        value = value * 32 + "0123456789ABCDEFGHJKMNPQRSTVWXYZ".index(character)
    return value


def recorded(rows: Iterable[Row], rules: Sequence[Mapping[str, Any]], instance: str) -> SeriesValues:
    """What the original's recording rules make of a job's merged rows; zero-valued function series included."""
    values: SeriesValues = defaultdict(int)
    parsed = [
        (rule, [matcher for selector in rule["matchers"] for matcher in parse_selector(selector)]) for rule in rules
    ]
    for row in rows:
        labels = text_labels(row.profile.labels)
        for rule, matchers in parsed:
            if not matches(labels, matchers):
                continue
            stack_filter = rule.get("stacktrace_filter")
            function = stack_filter["function_name"]["function_name"].encode() if stack_filter else None
            out = {name: labels[name] for name in rule["group_by"] if labels.get(name)}
            out |= {pair["name"]: pair["value"] for pair in rule["external_labels"]}
            out |= {"profiles_rule_id": rule["id"], "pyroscope_instance": instance}
            key = (row.tenant.decode(errors="backslashreplace"), rule["metric_name"], tuple(sorted(out.items())))
            values[key] += function_total(row.profile, function)
    return dict(values)


# --- Our own series ---------------------------------------------------------------------------------------------


def legal_name(text: str, *, is_metric: bool = False) -> str:
    """A name with every character that Prometheus does not allow there replaced by an underscore."""
    name = re.sub(r"[^a-zA-Z0-9_:]" if is_metric else r"[^a-zA-Z0-9_]", "_", text)
    return "_" + name if name[:1].isdigit() else name


def metric_of(profile_type: str, prefix: str) -> str:
    """The metric of a profile type, colons and other illegal characters replaced."""
    return prefix + legal_name(profile_type.replace(":", "_"))


def native_labels(labels: Mapping[str, str], shard: int, function: str | None) -> tuple[tuple[str, str], ...]:
    """The public labels, those that ours would hide renamed, and ours."""
    out = {}
    for name, value in labels.items():
        if name.startswith("__") or not value:
            continue
        renamed = "exported_" + name if name in ("function", "tenant", "pyroscope_shard") else name
        if renamed in out:
            raise ValueError(f"labels collide: {name}")
        out[renamed] = value
    out["pyroscope_shard"] = str(shard)
    if function is not None:
        out["function"] = function
    return tuple(sorted(out.items()))


def public(labels: Labels) -> dict[bytes, bytes]:
    """Labels that are not private and have a value; of a name that stands twice the first."""
    found: dict[bytes, bytes] = {}
    for name, value in labels:
        found.setdefault(name, value)
    return {name: value for name, value in found.items() if value and not name.startswith(b"__")}


def profiles(rows: Sequence[Row]) -> list[tuple[Any, bool]]:
    """Per row the profile it is a part of, and whether that is a last one of its target."""
    kinds = [(row.tenant, row.service, dict(row.profile.labels)[b"__profile_type__"]) for row in rows]
    keys = [
        (kind, row.profile.id if any(row.profile.id) else number)
        for number, (kind, row) in enumerate(zip(kinds, rows, strict=True))
    ]
    of_samples: dict[Any, set[bytes]] = defaultdict(set)
    for key, row in zip(keys, rows, strict=True):
        for other_key, other in zip(keys, rows, strict=True):
            if key == other_key:
                one, two = public(row.profile.labels), public(other.profile.labels)
                of_samples[key[0]] |= {name for name in one | two if one.get(name) != two.get(name)}
    targets = [
        (kind, frozenset(pair for pair in public(row.profile.labels).items() if pair[0] not in of_samples[kind]))
        for kind, row in zip(kinds, rows, strict=True)
    ]
    time_of = {
        key: max(row.profile.time_ns for own, row in zip(keys, rows, strict=True) if own == key) for key in set(keys)
    }
    last = {
        target: max(time_of[key] for key, own in zip(keys, targets, strict=True) if own == target)
        for target in set(targets)
    }
    return [(key, time_of[key] == last[target]) for key, target in zip(keys, targets, strict=True)]


def native(
    rows: Sequence[Row],
    shard: int,
    is_gauge: Callable[[str], bool],
    *,
    function: str | None = None,
    selector: str = "{}",
) -> SeriesValues:
    """Dimension series (function None) or the series of one function, in their standard form.

    Flows are summed over the job; of a gauge only the last profile of each target counts (all that share its last
    time), then equal series are summed.
    """
    prefix = "pyroscope_exported_metrics_" + ("functions_" if function is not None else "")
    matchers = parse_selector(selector)
    is_last = [last for _, last in profiles(rows)]
    values: SeriesValues = defaultdict(int)
    for row, counts in zip(rows, is_last, strict=True):
        labels = text_labels(row.profile.labels)
        profile_type = labels["__profile_type__"]
        if not matches(labels, matchers):
            continue
        if is_gauge(profile_type) and not counts:
            continue
        out = native_labels(labels, shard, function)
        wanted = function.encode() if function is not None else None
        values[row.tenant.decode(errors="backslashreplace"), metric_of(profile_type, prefix), out] += function_total(
            row.profile, wanted
        )
    return dict(values)
