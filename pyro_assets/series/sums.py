"""Values of series: rows and samples added up per rule and group, exactly, all rules at once.

Add an aggregation here. Rows are first added up in cells, two per label set (all that every rule counts, and earlier
profiles of gauges, which only imported rules count), so that what follows is small however many rules there are.
"""

import numpy as np

from pyro_assets.block.columns import I64, BlockColumns, Bool
from pyro_assets.series.exact import Wide, add_up, sum_by
from pyro_assets.series.facts import SeriesFacts
from pyro_assets.series.label_sets import LabelSets
from pyro_assets.series.rules import RuleSet
from pyro_assets.series.stacks import function_sums


def _cells(columns: BlockColumns, sets: LabelSets) -> I64:
    """Per row 2 * its label set, and 1 more unless it is an earlier profile of a gauge."""
    is_gauge = np.array([meaning.is_gauge for meaning in sets.meanings], dtype=np.bool_)
    cell = 2 * sets.of_row + 1
    gauge_rows = np.flatnonzero(is_gauge.take(sets.of_row)) if is_gauge.any() else np.zeros(0, dtype=np.int64)
    if len(gauge_rows):
        times = columns.rows.time_ns.take(gauge_rows)
        owner = sets.of_row.take(gauge_rows)
        last = np.full(len(sets.meanings), np.iinfo(np.int64).min, dtype=np.int64)
        np.maximum.at(last, owner, times)
        cell[gauge_rows] -= times < last.take(owner)
    return cell


def sum_series(
    columns: BlockColumns, rules: RuleSet, sets: LabelSets, wanted: Bool, facts: SeriesFacts
) -> tuple[I64, I64, Wide]:
    """Sum what every rule asks for.

    Args:
        columns: the job's profiles.
        rules: r rules.
        sets: their label sets, with g groups.
        wanted: bool[r], the rules to evaluate.
        facts: gets `skipped_zero_series`.

    Returns:
        int64[n], the rule of each series; int64[n], its group; n exact values. Sorted by rule and group, both as
        numbers, which says nothing about their names.
    """
    groups = len(sets.groups)
    cell = _cells(columns, sets)
    cells = 2 * len(sets.meanings)
    counts_all = np.array([not rule.last_of_gauges for rule in rules.rules], dtype=np.bool_)
    has_function = np.array([rule.function is not None for rule in rules.rules], dtype=np.bool_)
    keeps_zero = np.array([rule.keeps_zero for rule in rules.rules], dtype=np.bool_)
    keys: list[I64] = []
    parts: list[Wide] = []

    # Pairs of a label set and a rule that selects it; function rules add their values below.
    chosen = sets.selected & wanted
    owner, rule = np.nonzero(chosen & keeps_zero)
    totals = sum_by(cell, columns.rows.total_value, cells)
    key = rule * groups + sets.group[owner, rules.grouping_of_rule.take(rule)]
    is_whole = ~has_function.take(rule)
    for odd, counted in ((1, is_whole), (0, is_whole & counts_all.take(rule))):
        values = totals.take(2 * owner + odd)
        keys.append(key)
        parts.append(Wide(np.where(counted, values.high, 0), np.where(counted, values.low, 0)))

    if (has_function & wanted).any():
        key, values = _function_values(columns, rules, sets, chosen, cell, counts_all)
        keys.append(key)
        parts.append(values)
        owner, rule = np.nonzero(chosen & has_function & ~keeps_zero)
        possible = np.unique(rule * groups + sets.group[owner, rules.grouping_of_rule.take(rule)])
    else:
        possible = np.zeros(0, dtype=np.int64)

    every = Wide(np.concatenate([part.high for part in parts]), np.concatenate([part.low for part in parts]))
    key, inverse = np.unique(np.concatenate(keys), return_inverse=True)
    sums = add_up(inverse, every, len(key))
    rule = key // max(groups, 1)
    keep = np.flatnonzero(keeps_zero.take(rule) | ((sums.high | sums.low) != 0))
    facts.skipped_zero_series = len(possible) - int(np.count_nonzero(~keeps_zero.take(rule.take(keep))))
    return rule.take(keep), key.take(keep) - rule.take(keep) * groups, sums.take(keep)


def _function_values(
    columns: BlockColumns, rules: RuleSet, sets: LabelSets, chosen: Bool, cell: I64, counts_all: Bool
) -> tuple[I64, Wide]:
    """Keys (rule, group) and values of what function rules count; keys repeat."""
    number = {name: position for position, name in enumerate(rules.functions)}
    function_of_rule = np.array([-1 if r.function is None else number[r.function] for r in rules.rules], dtype=np.int64)
    has_function = function_of_rule >= 0
    is_counted = (chosen & has_function).any(axis=1)
    row_is_counted = is_counted.take(sets.of_row)
    cells = 2 * len(sets.meanings)
    found = function_sums(columns.symbols, columns.rows, rules.functions, np.where(row_is_counted, cell, -1), cells)
    # Every rule that asks for the function of a sum.
    by_function = np.argsort(function_of_rule, kind="stable")
    begin = np.searchsorted(function_of_rule.take(by_function), np.arange(len(number) + 1, dtype=np.int64))
    count = np.diff(begin).take(found.function)
    entry = np.repeat(np.arange(len(count), dtype=np.int64), count)
    before = np.cumsum(count) - count
    place = np.arange(len(entry), dtype=np.int64) + np.repeat(begin.take(found.function) - before, count)
    rule = by_function.take(place)
    owner = found.cell.take(entry) >> 1
    counts = chosen[owner, rule] & (((found.cell.take(entry) & 1) == 1) | counts_all.take(rule))
    entry, rule, owner = entry.compress(counts), rule.compress(counts), owner.compress(counts)
    key = rule * len(sets.groups) + sets.group[owner, rules.grouping_of_rule.take(rule)]
    return key, found.sums.take(entry)
