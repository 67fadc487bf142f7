"""Series of the language's rules: aggregation over a job's profiles, units, limits, and their columns.

Add an aggregation or a way to handle too many series here; which samples count is decided in `evaluate`. A series
depends on nothing but the job's profiles and its own rule, but where two rules claim the same one.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pyarrow as pa

from pyro_assets.block.columns import I64, BlockColumns, Bool
from pyro_assets.series.compiled import FUNCTION_VALUE, CompiledRules, compile_language
from pyro_assets.series.config import SeriesConfig
from pyro_assets.series.evaluate import Asked, evaluate, targets_per_rule
from pyro_assets.series.exact import Wide, add_up, carry, join, number_keys, number_tuples, subtract, sum_keys, widen
from pyro_assets.series.facts import SeriesFacts, Unmade, note_overflows
from pyro_assets.series.frame import series_table
from pyro_assets.series.job_info import JobInfo
from pyro_assets.series.label_sets import LabelSets, find_label_sets, note_collisions, rank_groups
from pyro_assets.series.language import OTHER
from pyro_assets.series.name_sets import NameSets, find_names
from pyro_assets.series.names import SHARD_LABEL
from pyro_assets.series.rules import KINDS, SHARD_VALUE

_NANO: Final = {"nanoseconds": 1, "microseconds": 10**3, "milliseconds": 10**6, "seconds": 10**9}
_PER_SECOND: Final = 10**9


@dataclass(slots=True)
class _Values:
    """Series before they have names: int64[n] targets and groups, n exact values, int64[n] what divides them."""

    target: I64
    group: I64
    value: Wide
    divisor: I64

    def take(self, rows: I64) -> "_Values":
        """Some of them."""
        return _Values(*(part.take(rows) for part in (self.target, self.group, self.value, self.divisor)))  # type: ignore[arg-type]


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
        facts: gets what limits dropped, and what could not be made.

    Returns:
        They are sorted by kind, tenant, rule, function, metric and labels.
    """
    rules = compile_language(config)
    sets = find_label_sets(columns, rules.labels)
    note_collisions(sets, facts, {SHARD_LABEL: str(job.shard)})
    names = find_names(columns.symbols, rules.names)
    chosen, multiplier = _choose(rules, sets, kinds, facts)
    size = targets_per_rule(names)
    by_rows = np.array([rule.aggregate in ("mean", "max", "min", "count") for rule in rules.rules], dtype=np.bool_)
    found = _cells(columns, rules, sets, names, chosen, ~by_rows, multiplier)
    if (by_rows & chosen.any(axis=0)).any():
        more = _profiles(columns, rules, sets, names, chosen, by_rows, multiplier)
        found = _Values(
            np.concatenate([found.target, more.target]),
            np.concatenate([found.group, more.group]),
            join([found.value, more.value]),
            np.concatenate([found.divisor, more.divisor]),
        )
    is_whole = np.array([not rule.has_functions for rule in rules.rules], dtype=np.bool_)
    is_zero = (found.value.high | found.value.low) == 0
    found = found.take(np.flatnonzero(~is_zero | is_whole.take(found.target // size)))
    tenants, rank, tenant_rank = rank_groups(sets)
    kind = rules.labels.kind_of_rule.take(found.target // size)
    found = found.take(np.lexsort((rank.take(found.group), found.target, tenant_rank.take(found.group), kind)))
    target, group, divisor = found.target, found.group, found.divisor
    is_rest = target % size == size - 1
    value, is_over = found.value.narrow()
    is_over &= ~is_rest
    kept = ~is_over & _limit(rules, target, group, value, is_over | is_rest, tenants, tenant_rank, size, facts)
    if is_rest.any():
        value, rest_is_over = _rest(rules, found, value, kept, is_rest, size).narrow()
        is_over |= rest_is_over & kept
        kept &= ~is_over & ((value != 0) | ~is_rest)

    def table_of(rows: Bool) -> Any:
        parts = (part.compress(rows) for part in (target, group, value, divisor))
        return _table(rules, sets, names, tenants, job, *parts)

    if is_over.any():
        note_overflows(table_of(is_over), facts)
    table = table_of(kept)
    target = target.compress(kept)
    split = int(np.count_nonzero(rules.labels.kind_of_rule.take(target // size) == 0))
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
) -> _Values:
    """Sums, of all profiles or of each target's last."""
    owner_of_row = 2 * sets.of_row + sets.profiles.is_last
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
    owner, rule_of = entries.owner // 2, entries.target // targets_per_rule(names)
    groups = max(len(sets.groups), 1)
    sums = _multiply(entries.sums, times[owner, rule_of])
    key = entries.target * groups + _group_of(sets, rules, owner, rule_of)
    key, sums = sum_keys(key, sums, _all_targets(rules, names) * groups)
    return _Values(key // groups, key % groups, sums, _divisors(rules, key // groups, names))


def _profiles(
    columns: BlockColumns, rules: CompiledRules, sets: LabelSets, names: NameSets, chosen: Bool, which: Bool, times: I64
) -> _Values:
    """Mean, largest, smallest and number of profiles; of each its parts in one series are added up first."""
    rows = np.arange(len(sets.of_row), dtype=np.int64)
    size, groups = targets_per_rule(names), max(len(sets.groups), 1)
    entries = evaluate(columns, rules, names, Asked(chosen.take(sets.of_row, axis=0), rows), which)
    owner = sets.of_row.take(entries.owner)
    rule = entries.target // size
    sums = _multiply(entries.sums, times[owner, rule])
    (target, group, _), part = number_tuples(
        [
            (entries.target, _all_targets(rules, names)),
            (_group_of(sets, rules, owner, rule), groups),
            (sets.profiles.of_row.take(entries.owner), len(rows)),
        ]
    )
    each = add_up(part, sums, len(target))
    key, number = number_keys(target * groups + group, _all_targets(rules, names) * groups)
    count = np.bincount(number, minlength=len(key)).astype(np.int64)
    total = add_up(number, each, len(key))
    # Ends of each series' profiles by value; they are sorted by series already, but not by value.
    order = np.lexsort((each.low, each.high, number))
    end = np.cumsum(count)
    largest, smallest = each.take(order.take(end - 1)), each.take(order.take(end - count))
    aggregate = np.array([str(rule.aggregate) for rule in rules.rules], dtype=object).take(key // groups // size)
    is_mean = aggregate == "mean"
    cases = [aggregate == "max", aggregate == "min", is_mean]
    value = Wide(
        np.select(cases, [largest.high, smallest.high, total.high], default=count >> 32),
        np.select(cases, [largest.low, smallest.low, total.low], default=count & 0xFFFF_FFFF),
    )
    return _Values(
        key // groups, key % groups, value, _divisors(rules, key // groups, names) * np.where(is_mean, count, 1)
    )


def _group_of(sets: LabelSets, rules: CompiledRules, owner: I64, rule: I64) -> I64:
    found: I64 = sets.group[owner, rules.labels.grouping_of_rule.take(rule)]
    return found


def _all_targets(rules: CompiledRules, names: NameSets) -> int:
    return len(rules.rules) * targets_per_rule(names)


def _multiply(sums: Wide, times: I64) -> Wide:
    """Values in the smallest unit of time that rules may meet."""
    if not len(times) or (times == 1).all():
        return sums
    return carry(sums.high * times, sums.low * times)


def _divisors(rules: CompiledRules, target: I64, names: NameSets) -> I64:
    per_rule = np.array([_PER_SECOND if rule.unit else 1 for rule in rules.rules], dtype=np.int64)
    return per_rule.take(target // targets_per_rule(names))


def _limit(
    rules: CompiledRules, target: I64, group: I64, value: I64, is_none: Bool, tenants: Sequence[str],
    tenant_rank: I64, size: int, facts: SeriesFacts,
) -> Bool:  # fmt: skip
    """bool[n], the series that limits leave; what `is_none` names does not count and goes only with its whole rule."""
    kept = np.ones(len(target), dtype=np.bool_)
    count_tenants = int(tenant_rank.max(initial=0)) + 1
    owner = (target // size) * count_tenants + tenant_rank.take(group)
    count = np.bincount(owner.compress(~is_none))
    for number in np.flatnonzero(count).tolist():
        rule = rules.rules[number // count_tenants]
        if count[number] <= rule.max_series:
            continue
        own = np.flatnonzero((owner == number) & ~is_none)
        if rule.overflow == "keep_largest":
            # Ties are broken by the order of series, which is that of their text.
            order = np.argsort(-np.abs(value.take(own)), kind="stable")
            kept[own.take(order[rule.max_series :])] = False
            facts.dropped_series += len(own) - rule.max_series
        else:
            kept[owner == number] = False
            facts.dropped_series += len(own)
        if rule.overflow == "error":
            tenant = tenants[int(group[own[0]])]
            facts.refuse(
                Unmade(
                    tenant,
                    rule.name,
                    f"gives {count[number]} series in one job and may give {rule.max_series}, so it gave none: narrow "
                    "it, raise max_series, or choose overflow: keep_largest",
                )
            )
        facts.limited_rules += 1
    return kept


def _rest(rules: CompiledRules, found: _Values, value: I64, kept: Bool, is_rest: Bool, size: int) -> Wide:
    """Values, where the whole of each group of a rule with `other` became what its kept functions leave."""
    groups = int(found.group.max(initial=0)) + 1
    key = (found.target // size) * groups + found.group
    own = np.flatnonzero(kept & ~is_rest)
    taken = add_up(key.take(own), widen(value.take(own)), len(rules.rules) * groups).take(key)
    rest = subtract(found.value, taken)
    return Wide(np.where(is_rest, rest.high, found.value.high), np.where(is_rest, rest.low, found.value.low))


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
