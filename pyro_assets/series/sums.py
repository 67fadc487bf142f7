"""Values of series: rows and samples added up per rule and group, exactly, all rules at once.

Add an aggregation here. Rows are first added up in cells, two per label set (all that every rule counts, and earlier
profiles of gauges, which only imported rules count), so that what follows is small however many rules there are.
"""

import numpy as np

from pyro_assets.block.columns import I64, BlockColumns, Bool, ProfileRows
from pyro_assets.compaction.gather import gather_ranges
from pyro_assets.series.exact import Wide, add_up, join, number_keys, sum_by, sum_keys, widen
from pyro_assets.series.facts import SeriesFacts
from pyro_assets.series.label_sets import LabelSets
from pyro_assets.series.rule_set import RuleSet
from pyro_assets.series.rules import KINDS
from pyro_assets.series.stacks import function_sums


def _cells(sets: LabelSets) -> I64:
    """Per row 2 * its label set, and 1 more unless it is of an earlier profile of a gauge."""
    is_gauge = np.array([meaning.is_gauge for meaning in sets.meanings], dtype=np.bool_)
    return 2 * sets.of_row + (sets.profiles.is_last | ~is_gauge.take(sets.of_row))


def sum_series(
    columns: BlockColumns, rules: RuleSet, sets: LabelSets, kinds: frozenset[str], facts: SeriesFacts
) -> tuple[I64, I64, Wide]:
    """Sum what every rule asks for.

    Args:
        columns: the job's profiles.
        rules: r rules.
        sets: their label sets, with g groups.
        kinds: which kinds of rules to evaluate.
        facts: gets `skipped_zero_series`.

    Returns:
        int64[n], the rule of each series; int64[n], its group; n exact values. Sorted by rule and group, both as
        numbers, which says nothing about their names.
    """
    groups = len(sets.groups)
    size = len(rules.rules) * groups
    cell = _cells(sets)
    is_wanted = np.array([kind in kinds for kind in KINDS], dtype=np.bool_).take(rules.kind_of_rule)
    has_function = rules.function_of_rule >= 0
    # Label sets that only earlier profiles of a gauge have give no series, but to rules that count all.
    counts = np.zeros(len(sets.meanings), dtype=np.bool_)
    counts[cell.compress(cell & 1) >> 1] = True
    chosen = sets.selected & is_wanted & (counts[:, None] | rules.counts_all)
    keys: list[I64] = []
    parts: list[Wide] = []

    # Pairs of a label set and a rule: each is a series, for whole profiles with a value, for functions with 0 so far.
    owner, rule = _pairs(chosen & rules.keeps_zero)
    key = _keys(rules, sets, owner, rule)
    totals = profile_totals(columns.rows, cell, 2 * len(sets.meanings))
    is_whole = ~has_function.take(rule)
    for odd, counts in ((1, is_whole), (0, is_whole & rules.counts_all.take(rule))):
        values = totals.take(2 * owner + odd)
        keys.append(key)
        parts.append(Wide(np.where(counts, values.high, 0), np.where(counts, values.low, 0)))

    possible = 0
    if (has_function & is_wanted).any():
        key, values = _function_values(columns, rules, sets, chosen & has_function, cell)
        keys.append(key)
        parts.append(values)
        owner, rule = _pairs(chosen & has_function & ~rules.keeps_zero)
        possible = len(number_keys(_keys(rules, sets, owner, rule), size)[0])

    key, sums = sum_keys(np.concatenate(keys), join(parts), size)
    rule, group = key // max(groups, 1), key % max(groups, 1)
    keeps_zero = rules.keeps_zero.take(rule)
    keep = np.flatnonzero(keeps_zero | ((sums.high | sums.low) != 0))
    facts.skipped_zero_series = possible - int(np.count_nonzero(~keeps_zero.take(keep)))
    return rule.take(keep), group.take(keep), sums.take(keep)


def profile_totals(rows: ProfileRows, cell: I64, cells: int) -> Wide:
    """Totals of profiles per cell; a profile's own total wraps as it is stored, so a huge one is added up again."""
    totals = rows.total_value
    count = np.diff(rows.sample_start)
    largest = max(int(rows.value.max(initial=0)), -int(rows.value.min(initial=0)))
    if largest * int(count.max(initial=0)) < 2**63:
        return sum_by(cell, totals, cells)
    exact = sum_by(np.repeat(np.arange(len(totals), dtype=np.int64), count), rows.value, len(totals))
    stored = widen(totals)
    has_wrapped = (exact.narrow()[0] == totals) & (exact.high != stored.high)
    return add_up(
        cell,
        Wide(
            np.where(has_wrapped, exact.high, stored.high),
            np.where(has_wrapped, exact.low, stored.low),
        ),
        cells,
    )


def _pairs(chosen: Bool) -> tuple[I64, I64]:
    """Row and column of what is true; for two dimensions much faster than `nonzero`."""
    place = np.flatnonzero(chosen)
    return place // max(chosen.shape[1], 1), place % max(chosen.shape[1], 1)


def _keys(rules: RuleSet, sets: LabelSets, owner: I64, rule: I64) -> I64:
    """The series that a label set (`owner`) belongs to for a rule, as one number."""
    return rule * len(sets.groups) + sets.group[owner, rules.grouping_of_rule.take(rule)]


def _function_values(
    columns: BlockColumns, rules: RuleSet, sets: LabelSets, chosen: Bool, cell: I64
) -> tuple[I64, Wide]:
    """Keys and values of what function rules count; keys repeat.

    Args:
        columns: the job's profiles.
        rules: r rules.
        sets: s label sets.
        chosen: bool[s, r], the function rules that select a label set.
        cell: int64[rows].
    """
    row_counts = chosen.any(axis=1).take(sets.of_row)
    cells = 2 * len(sets.meanings)
    found = function_sums(columns.symbols, columns.rows, rules.functions, np.where(row_counts, cell, -1), cells)
    # Every rule that asks for the function of a sum.
    by_function = np.argsort(rules.function_of_rule, kind="stable")
    function = rules.function_of_rule.take(by_function)
    begin = np.searchsorted(function, np.arange(len(rules.functions) + 1, dtype=np.int64))
    start, place = gather_ranges(begin, found.function)
    entry = np.repeat(np.arange(len(found.function), dtype=np.int64), np.diff(start))
    rule, cell_of_entry = by_function.take(place), found.cell.take(entry)
    owner = cell_of_entry >> 1
    counts = chosen[owner, rule] & (((cell_of_entry & 1) == 1) | rules.counts_all.take(rule))
    entry, rule, owner = entry.compress(counts), rule.compress(counts), owner.compress(counts)
    return _keys(rules, sets, owner, rule), found.sums.take(entry)
