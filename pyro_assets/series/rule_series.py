"""Series of the language's rules: aggregation over a job's profiles, units, limits, and their columns.

Add an aggregation or a way to handle too many series here; which samples count is decided in `evaluate`. A series
depends on nothing but the job's profiles and its own rule, but where two rules claim the same one.
"""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pyarrow as pa

from pyro_assets.block.columns import I64, BlockColumns, Bool
from pyro_assets.errors import TooManySeries, ValueOverflow
from pyro_assets.series.compiled import FUNCTION_VALUE, CompiledRules, compile_language
from pyro_assets.series.config import SeriesConfig
from pyro_assets.series.evaluate import Asked, Entries, evaluate, targets_per_rule
from pyro_assets.series.exact import Wide, add_up, carry, number_keys, sum_keys, widen
from pyro_assets.series.facts import SeriesFacts
from pyro_assets.series.frame import series_table
from pyro_assets.series.job_info import JobInfo
from pyro_assets.series.label_sets import LabelSets, find_label_sets, rank_groups
from pyro_assets.series.language import OTHER
from pyro_assets.series.name_sets import NameSets, find_names
from pyro_assets.series.rules import KINDS, SHARD_VALUE

_NANO: Final = {"nanoseconds": 1, "microseconds": 10**3, "milliseconds": 10**6, "seconds": 10**9}
_PER_SECOND: Final = 10**9
_LIMIT: Final = 2**62


@dataclass(frozen=True, slots=True)
class RuleSeries:
    """Series of rules.

    Attributes:
        table: an Arrow table of the series' schema.
        split: so many of its rows, the first ones, are of dimension rules.
        makers: pairs of a rule and a function ("" for none) that have series.
    """

    table: Any
    split: int
    makers: set[tuple[str, str]]


def rule_series(
    columns: BlockColumns, job: JobInfo, config: SeriesConfig, kinds: frozenset[str], facts: SeriesFacts
) -> "RuleSeries":
    """The series of a configuration's `rules`.

    Args:
        columns: the job's profiles.
        job: names and time of the job.
        config: with rules.
        kinds: which kinds to derive.
        facts: gets what limits dropped.

    Returns:
        They are sorted by kind, tenant, rule, function, metric and labels.

    Raises:
        TooManySeries: a rule with `overflow: error` gives more series than it may.
        ValueOverflow: a value does not fit 63 bits.
    """
    rules = compile_language(config)
    sets = find_label_sets(columns, rules.labels)
    names = find_names(columns.symbols, rules.names)
    chosen, multiplier = _choose(rules, sets, kinds, facts)
    size = targets_per_rule(names)
    by_rows = np.array([rule.aggregate in ("mean", "max", "min", "count") for rule in rules.rules], dtype=np.bool_)
    target, group, value, divisor = _cells(columns, rules, sets, names, chosen, ~by_rows, multiplier)
    if (by_rows & chosen.any(axis=0)).any():
        found = _profiles(columns, rules, sets, names, chosen, by_rows, multiplier)
        target, group, value, divisor = (
            np.concatenate(pair) for pair in zip((target, group, value, divisor), found, strict=True)
        )
    keep = np.flatnonzero(
        (value != 0) | np.array([not rule.has_functions for rule in rules.rules]).take(target // size)
    )
    target, group, value, divisor = (part.take(keep) for part in (target, group, value, divisor))
    tenants, rank, tenant_rank = rank_groups(sets)
    kind = rules.labels.kind_of_rule.take(target // size)
    order = np.lexsort((rank.take(group), target, tenant_rank.take(group), kind))
    target, group, value, divisor = (part.take(order) for part in (target, group, value, divisor))
    kept = _limit(rules, target, group, value, tenant_rank, size, facts)
    value = _rest(rules, target, group, value, kept, size)
    kept = kept & ((value != 0) | (target % size != size - 1))
    target, group, value, divisor = (part.compress(kept) for part in (target, group, value, divisor))
    split = int(np.count_nonzero(rules.labels.kind_of_rule.take(target // size) == 0))
    table = _table(rules, sets, names, tenants, job, target, group, value, divisor)
    codes = np.unique(target).tolist()
    makers = {(rules.rules[code // size].name, _function(names, code % size)) for code in codes}
    return RuleSeries(table, split, makers)


def _choose(rules: CompiledRules, sets: LabelSets, kinds: frozenset[str], facts: SeriesFacts) -> tuple[Bool, I64]:
    """bool[s, r], which label sets a rule counts; int64[s, r], what their values are multiplied by."""
    wanted = np.array([kind in kinds for kind in KINDS], dtype=np.bool_).take(rules.labels.kind_of_rule)
    chosen = sets.selected & wanted
    nano = np.array([_NANO.get(meaning.unit, 0) for meaning in sets.meanings], dtype=np.int64)
    multiplier = np.ones(chosen.shape, dtype=np.int64)
    for number, rule in enumerate(rules.rules):
        if rule.unit:
            facts.other_units += int(np.count_nonzero(chosen[:, number] & (nano == 0)))
            chosen[:, number] &= nano > 0
            multiplier[:, number] = nano
    return chosen, multiplier


def _cells(
    columns: BlockColumns, rules: CompiledRules, sets: LabelSets, names: NameSets, chosen: Bool, which: Bool, times: I64
) -> tuple[I64, I64, I64, I64]:
    """Sums, of all profiles or of each series' last: targets, groups, values, divisors."""
    last = np.full(len(sets.meanings), np.iinfo(np.int64).min, dtype=np.int64)
    np.maximum.at(last, sets.of_row, columns.rows.time_ns)
    owner_of_row = 2 * sets.of_row + (columns.rows.time_ns == last.take(sets.of_row))
    is_gauge = np.array([meaning.is_gauge for meaning in sets.meanings], dtype=np.bool_)
    only_last = np.zeros(chosen.shape, dtype=np.bool_)
    for number, rule in enumerate(rules.rules):
        only_last[:, number] = is_gauge if rule.aggregate is None else rule.aggregate == "last"
    asked = np.zeros((2 * len(chosen), len(rules.rules)), dtype=np.bool_)
    asked[1::2] = chosen
    asked[::2] = chosen & ~only_last
    has_rows = np.zeros(len(asked), dtype=np.bool_)
    has_rows[owner_of_row] = True
    entries = evaluate(columns, rules, names, Asked(asked & has_rows[:, None], owner_of_row), which)
    key, sums = _grouped(entries, entries.owner // 2, rules, sets, names, times)
    value = _narrow(sums, rules, key // max(len(sets.groups), 1), targets_per_rule(names))
    target = key // max(len(sets.groups), 1)
    return target, key % max(len(sets.groups), 1), value, _divisors(rules, target, names)


def _profiles(
    columns: BlockColumns, rules: CompiledRules, sets: LabelSets, names: NameSets, chosen: Bool, which: Bool, times: I64
) -> tuple[I64, I64, I64, I64]:
    """Mean, largest, smallest and number of profiles: targets, groups, values, divisors."""
    rows = np.arange(len(sets.of_row), dtype=np.int64)
    size, groups = targets_per_rule(names), max(len(sets.groups), 1)
    entries = evaluate(columns, rules, names, Asked(chosen.take(sets.of_row, axis=0), rows), which)
    owner = sets.of_row.take(entries.owner)
    rule = entries.target // size
    group = sets.group[owner, rules.labels.grouping_of_rule.take(rule)]
    each = _narrow(_multiply(entries.sums, times[owner, rule]), rules, entries.target, size)
    key, number = number_keys(entries.target * groups + group, len(rules.rules) * size * groups)
    count = np.bincount(number, minlength=len(key)).astype(np.int64)
    largest = np.full(len(key), np.iinfo(np.int64).min, dtype=np.int64)
    smallest = np.full(len(key), np.iinfo(np.int64).max, dtype=np.int64)
    np.maximum.at(largest, number, each)
    np.minimum.at(smallest, number, each)
    target = key // groups
    total = add_up(number, widen(each), len(key))
    aggregate = np.array([str(rule.aggregate) for rule in rules.rules], dtype=object).take(target // size)
    is_mean = aggregate == "mean"
    sums = _narrow(Wide(np.where(is_mean, total.high, 0), np.where(is_mean, total.low, 0)), rules, target, size)
    value = np.select([aggregate == "max", aggregate == "min", is_mean], [largest, smallest, sums], default=count)
    return target, key % groups, value, _divisors(rules, target, names) * np.where(is_mean, count, 1)


def _grouped(
    entries: Entries, owner: I64, rules: CompiledRules, sets: LabelSets, names: NameSets, times: I64
) -> tuple[I64, Wide]:
    size, groups = targets_per_rule(names), max(len(sets.groups), 1)
    rule = entries.target // size
    group = sets.group[owner, rules.labels.grouping_of_rule.take(rule)]
    sums = _multiply(entries.sums, times[owner, rule])
    return sum_keys(entries.target * groups + group, sums, len(rules.rules) * size * groups)


def _multiply(sums: Wide, times: I64) -> Wide:
    """Values in the smallest unit of time that rules may meet."""
    if not len(times) or (times == 1).all():
        return sums
    return carry(sums.high * times, sums.low * times)


def _divisors(rules: CompiledRules, target: I64, names: NameSets) -> I64:
    per_rule = np.array([_PER_SECOND if rule.unit else 1 for rule in rules.rules], dtype=np.int64)
    return per_rule.take(target // targets_per_rule(names))


def _narrow(sums: Wide, rules: CompiledRules, target: I64, size: int) -> I64:
    value, is_over = sums.narrow()
    # One bit less than int64, so that the rest of a total can be computed without a check.
    is_over |= (value >= _LIMIT) | (value < -_LIMIT)
    if is_over.any():
        name = rules.rules[int(target[np.flatnonzero(is_over)[0]]) // size].name
        raise ValueOverflow(
            f"a sum of rule {name} does not fit 63 bits, so no series of this job were made; "
            "look at the profiles' values with `pyro-assets inspect`"
        )
    return value


def _limit(
    rules: CompiledRules, target: I64, group: I64, value: I64, tenant_rank: I64, size: int, facts: SeriesFacts
) -> Bool:
    """bool[n], the series that limits leave. The rest of a total is no series of its own here."""
    kept = np.ones(len(target), dtype=np.bool_)
    is_rest = target % size == size - 1
    tenants = int(tenant_rank.max(initial=0)) + 1
    owner = (target // size) * tenants + tenant_rank.take(group)
    count = np.bincount(owner.compress(~is_rest))
    for number in np.flatnonzero(count).tolist():
        rule = rules.rules[number // tenants]
        if count[number] <= rule.max_series:
            continue
        if rule.overflow == "error":
            raise TooManySeries(
                f"rule {rule.name} gives {count[number]} series in one job and may give {rule.max_series}: "
                "narrow it, raise max_series, or choose overflow: keep_largest"
            )
        own = np.flatnonzero((owner == number) & ~is_rest)
        if rule.overflow == "drop_rule":
            kept[owner == number] = False
            facts.dropped_series += len(own)
        else:
            # Ties are broken by the order of series, which is that of their text.
            order = np.argsort(-np.abs(value.take(own)), kind="stable")
            kept[own.take(order[rule.max_series :])] = False
            facts.dropped_series += len(own) - rule.max_series
        facts.limited_rules += 1
    return kept


def _rest(rules: CompiledRules, target: I64, group: I64, value: I64, kept: Bool, size: int) -> I64:
    """Values, where the whole of each group of a rule with `other` became what its kept functions leave."""
    is_rest = target % size == size - 1
    if not is_rest.any():
        return value
    groups = int(group.max(initial=0)) + 1
    key = (target // size) * groups + group
    own = np.flatnonzero(kept & ~is_rest)
    taken = np.zeros(len(rules.rules) * groups, dtype=np.int64)
    np.add.at(taken, key.take(own), value.take(own))
    return np.where(is_rest, value - taken.take(key), value)


def _function(names: NameSets, code: int) -> str:
    """The label `function` of a target, "" for none."""
    return OTHER if code == len(names.shown) + 1 else names.shown[code - 1] if code else ""


def _table(
    rules: CompiledRules, sets: LabelSets, names: NameSets, tenants: list[str], job: JobInfo,
    target: I64, group: I64, value: I64, divisor: I64,
) -> Any:  # fmt: skip
    size = targets_per_rule(names)
    distinct, position = np.unique(target, return_inverse=True)
    chosen, constants = [], []
    for number in distinct.tolist():
        one = rules.labels.rules[number // size]
        code = number % size
        function = _function(names, code)
        own = {SHARD_VALUE: str(job.shard), FUNCTION_VALUE: function}
        chosen.append(one)
        constants.append([own.get(text, text) for text in one.constants])
    table = series_table(
        chosen, constants, sets.memory, sets.groups, tenants, position, group, value, job.timestamp_ms, job.job_id
    )
    units = {number for number, rule in enumerate(rules.rules) if rule.unit and rule.metric is None}
    if units:
        import pyarrow.compute as pc

        is_scaled = pa.array(np.isin(target // size, sorted(units)))
        end, nothing = (pa.scalar(text, type=pa.large_string()) for text in ("_seconds", ""))
        scaled = pc.binary_join_element_wise(table["metric"], end, nothing)
        table = table.set_column(1, "metric", pc.if_else(is_scaled, scaled, table["metric"]))
    if (divisor != 1).any():
        is_whole = value % divisor == 0
        table = table.set_column(4, "value", pa.array(value / divisor))
        table = table.set_column(5, "value_int", pa.array(value // divisor, mask=~is_whole))
    return table
