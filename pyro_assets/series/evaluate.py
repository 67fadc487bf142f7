"""Rules of the language evaluated on a job's profiles: which samples count for which rule, added up exactly.

Add what decides whether a sample counts here; aggregations, limits and names of series are in `rule_series`. All rules
come from one pass over the samples: they are added up per owner (label set or profile) and class of stacks first.
"""

from dataclasses import dataclass

import numpy as np

from pyro_assets.block.columns import I64, BlockColumns, Bool
from pyro_assets.compaction.gather import gather_ranges
from pyro_assets.series.compiled import CompiledRules
from pyro_assets.series.exact import Wide, join, number_tuples, sum_by, sum_keys
from pyro_assets.series.name_sets import NameSets, leaf_codes
from pyro_assets.series.stack_paths import find_paths
from pyro_assets.series.stacks import classify_locations
from pyro_assets.series.sums import profile_totals

# So many functions are looked for at a time: bounds what a pattern that matches everything costs in memory.
_FEATURES = 1024
# How many (sum, function, rule) are expanded at a time.
_PAIRS = 1 << 21


@dataclass(slots=True)
class Asked:
    """What is asked in one pass.

    Attributes:
        chosen: bool[owners, r], which owners' samples a rule counts.
        owner_of_row: int64[rows]; rows of owners that no rule counts are skipped.
    """

    chosen: Bool
    owner_of_row: I64


@dataclass(slots=True)
class Entries:
    """Sums per owner and target.

    Attributes:
        owner: int64[k].
        target: int64[k], rule * (names + 2) + 1 + the name as shown; + 0 where a rule has no function per series.
        sums: k exact sums.
    """

    owner: I64
    target: I64
    sums: Wide


def targets_per_rule(names: NameSets) -> int:
    """How many targets a rule has: none, each name, the rest."""
    return len(names.shown) + 2


def evaluate(columns: BlockColumns, rules: CompiledRules, names: NameSets, asked: Asked, which: Bool) -> Entries:
    """Add up what rules count.

    Args:
        columns: the job's profiles.
        rules: r rules.
        names: the job's names for the rules' sets.
        asked: owners.
        which: bool[r], the rules to evaluate.

    Returns:
        Entries, unique, sorted by owner and target. Functions that were not found have none; whole profiles have one
        per owner with profiles.
    """
    chosen = asked.chosen & which
    size = targets_per_rule(names)
    parts: list[tuple[I64, I64, Wide]] = []
    has_functions = np.array([rule.has_functions for rule in rules.rules], dtype=np.bool_)
    is_self = np.array([rule.match == "self" for rule in rules.rules], dtype=np.bool_)
    whole = chosen & ~has_functions
    rest = chosen & np.array([rule.other for rule in rules.rules], dtype=np.bool_)
    if whole.any() or rest.any():
        totals = profile_totals(columns.rows, asked.owner_of_row, len(chosen))
        for pairs, offset in ((whole, 0), (rest, size - 1)):
            owner, rule = np.nonzero(pairs)
            parts.append((owner, rule * size + offset, totals.take(owner)))
    for one, from_leaf in ((chosen & has_functions & ~is_self, False), (chosen & has_functions & is_self, True)):
        if one.any():
            parts += _function_sums(columns, rules, names, Asked(one, asked.owner_of_row), from_leaf)
    if not parts:
        nothing = np.zeros(0, dtype=np.int64)
        return Entries(nothing, nothing, Wide(nothing, nothing))
    all_targets = len(rules.rules) * size
    key, sums = sum_keys(
        np.concatenate([owner * all_targets + target for owner, target, _ in parts]),
        join([part for _, _, part in parts]),
        len(chosen) * all_targets,
    )
    return Entries(key // all_targets, key % all_targets, sums)


@dataclass(slots=True)
class _Features:
    """What stacks can have: functions that rules ask for, then exclusions.

    Attributes:
        name, feature: int64[p], pairs: names and what they count as.
        rules: per feature the rules that ask for it; empty for exclusions.
        shown: per feature 1 + the name as shown, 0 where rules combine names.
        exclusion: per rule a feature, -1 for none.
    """

    name: I64
    feature: I64
    rules: list[list[int]]
    shown: list[int]
    exclusion: I64


def _features(rules: CompiledRules, names: NameSets, which: Bool) -> _Features:
    name_parts: list[I64] = []
    feature_parts: list[I64] = []
    asked_by: list[list[int]] = []
    shown: list[int] = []
    groups: dict[tuple[int, bool], list[int]] = {}
    for rule in np.flatnonzero(which).tolist():
        groups.setdefault((rules.wanted[rule], rules.rules[rule].combine), []).append(rule)
    # Rules of single names share the features of equal names.
    known: dict[tuple[int, tuple[int, ...]], int] = {}
    for (number, combine), own in groups.items():
        member = np.flatnonzero(names.members[number]) if number >= 0 else np.zeros(0, dtype=np.int64)
        if not len(member):
            continue
        codes = np.zeros(len(member), dtype=np.int64) if combine else names.shown_code[number].take(member) + 1
        if len(member) > 1:
            distinct, inverse = np.unique(codes, return_inverse=True)
        else:
            distinct, inverse = codes, np.zeros(1, dtype=np.int64)
            key = (int(codes[0]), tuple(member.tolist()))
            if key in known:
                asked_by[known[key]] += own
                continue
            known[key] = len(asked_by)
        name_parts.append(member)
        feature_parts.append(inverse + len(asked_by))
        shown += distinct.tolist()
        # Only features of single names get further rules, so that the others may share one list.
        asked_by += [list(own)] if len(member) == 1 else [own] * len(distinct)
    exclusion = np.full(len(rules.rules), -1, dtype=np.int64)
    numbers: dict[int, int] = {}
    for rule in np.flatnonzero(which).tolist():
        number = rules.excluded[rule]
        if number < 0:
            continue
        if number not in numbers:
            numbers[number] = len(asked_by)
            member = np.flatnonzero(names.members[number])
            name_parts.append(member)
            feature_parts.append(np.full(len(member), len(asked_by), dtype=np.int64))
            asked_by.append([])
            shown.append(0)
        exclusion[rule] = numbers[number]
    nothing = [np.zeros(0, dtype=np.int64)]
    return _Features(
        np.concatenate(name_parts or nothing), np.concatenate(feature_parts or nothing), asked_by, shown, exclusion
    )


def _function_sums(
    columns: BlockColumns, rules: CompiledRules, names: NameSets, asked: Asked, from_leaf: bool
) -> list[tuple[I64, I64, Wide]]:
    """Owners, targets and sums of function rules, which all are of total, or (`from_leaf`) of self."""
    features = _features(rules, names, np.asarray(asked.chosen.any(axis=0)))
    rows = columns.rows
    owner = np.repeat(np.where(asked.chosen.any(axis=1).take(asked.owner_of_row), asked.owner_of_row, -1),
                      np.diff(rows.sample_start))  # fmt: skip
    place = np.flatnonzero(owner >= 0)
    stack, value, owner = rows.stack.take(place), rows.value.take(place), owner.take(place)
    path_code, path_bits = _path_codes(columns, rules, names, asked)
    asks = np.array([bool(own) for own in features.rules], dtype=np.bool_)
    wanted, excluded = np.flatnonzero(asks), np.flatnonzero(~asks)
    parts = []
    for begin in range(0, len(wanted), _FEATURES):
        some = wanted[begin : begin + _FEATURES]
        used = np.concatenate([excluded, some] if not from_leaf else [excluded])
        number = np.full(len(asks) + 1, -1, dtype=np.int64)
        number[used] = np.arange(len(used), dtype=np.int64)
        location, feature = _located(columns, names, features, number)
        classes = classify_locations(columns.symbols, location, feature, max(len(used), 1))
        count = len(classes.member_start) - 1
        holder = np.repeat(np.arange(count, dtype=np.int64), np.diff(classes.member_start))
        has = np.zeros((count, len(excluded) + 1), dtype=np.bool_)
        is_exclusion = classes.member < len(excluded)
        has[holder.compress(is_exclusion), classes.member.compress(is_exclusion)] = True
        class_of_sample = classes.of_stacks(stack)
        if from_leaf:
            leaf = leaf_codes(columns.symbols, names.code_of_line).take(stack)
            pairs = np.isin(features.feature, some)
            name, feature = features.name.compress(pairs), features.feature.compress(pairs)
            order = np.argsort(name, kind="stable")
            member = feature.take(order)
            start = np.searchsorted(name.take(order), np.arange(_number_of_names(names) + 1))
            holds = np.append(np.diff(start) > 0, False)
        else:
            kept = ~is_exclusion
            member = used.take(classes.member.compress(kept))
            start = np.searchsorted(holder.compress(kept), np.arange(count + 1))
            leaf = np.zeros(0, dtype=np.int64)
            holds = np.diff(start) > 0
        matching = np.flatnonzero(holds.take(leaf if from_leaf else class_of_sample))
        found = stack.take(matching)
        coordinates = [(owner, len(asked.chosen)), (class_of_sample, count)]
        coordinates += [(leaf, _number_of_names(names))] if from_leaf else []
        (entry_owner, entry_class, *entry_leaf, entry_path), position = number_tuples(
            [(part.take(matching), size) for part, size in coordinates] + [(path_code.take(found), len(path_bits))]
        )
        sums = sum_by(position, value.take(matching), len(entry_owner))
        entry_holder = entry_leaf[0] if from_leaf else entry_class
        parts += _expand(
            entry_owner, entry_holder, start, member, features, asked.chosen, sums, rules, names,
            has, entry_class, path_bits, entry_path, excluded,
        )  # fmt: skip
    return parts


def _expand(
    owner: I64, holder: I64, start: I64, member: I64, features: _Features, chosen: Bool, sums: Wide,
    rules: CompiledRules, names: NameSets, has: Bool, class_of: I64, path_bits: Bool, path_of: I64, excluded: I64,
) -> list[tuple[I64, I64, Wide]]:  # fmt: skip
    """From sums per owner and class of stacks to sums per owner and target."""
    size = targets_per_rule(names)
    rule_start = np.concatenate([[0], np.cumsum([len(own) for own in features.rules])]).astype(np.int64)
    rule_member = np.array([rule for own in features.rules for rule in own], dtype=np.int64)
    shown = np.array(features.shown, dtype=np.int64)
    exclusion = np.full(len(shown) + 1, -1, dtype=np.int64)
    exclusion[excluded] = np.arange(len(excluded), dtype=np.int64)
    exclusion_of_rule = np.where(features.exclusion >= 0, exclusion.take(features.exclusion), len(excluded))
    path_of_rule = np.array(rules.path, dtype=np.int64)
    parts = []
    # How many (entry, feature, rule) an entry becomes, for cutting into pieces of bounded size.
    rules_of_holder = np.append(0, np.cumsum(np.diff(rule_start).take(member)))
    weight = np.cumsum((rules_of_holder.take(start[1:]) - rules_of_holder.take(start[:-1])).take(holder))
    begin = 0
    while begin < len(owner):
        before = int(weight[begin - 1]) if begin else 0
        end = max(begin + 1, int(np.searchsorted(weight, before + _PAIRS)))
        entry = np.arange(begin, end, dtype=np.int64)
        entry, one = _spread(entry, start, holder[begin:end])
        feature = member.take(one)
        begin_of_entry, two = gather_ranges(rule_start, feature)
        rules_of_entry = np.diff(begin_of_entry)
        entry, feature = np.repeat(entry, rules_of_entry), np.repeat(feature, rules_of_entry)
        rule = rule_member.take(two)
        counts = chosen[owner.take(entry), rule] & ~has[class_of.take(entry), exclusion_of_rule.take(rule)]
        counts &= path_bits[path_of.take(entry), path_of_rule.take(rule)]
        entry, rule, feature = entry.compress(counts), rule.compress(counts), feature.compress(counts)
        target = rule * size + shown.take(feature)
        key, merged = sum_keys(
            owner.take(entry) * (len(rules.rules) * size) + target,
            sums.take(entry),
            len(chosen) * len(rules.rules) * size,
        )
        parts.append((key // (len(rules.rules) * size), key % (len(rules.rules) * size), merged))
        begin = end
    return parts


def _spread(entry: I64, start: I64, holder: I64) -> tuple[I64, I64]:
    """Each entry once per member of its holder: entries, and positions among the members."""
    begin, place = gather_ranges(start, holder)
    return np.repeat(entry, np.diff(begin)), place


def _number_of_names(names: NameSets) -> int:
    return len(names.members[0]) if names.members else 0


def _located(columns: BlockColumns, names: NameSets, features: _Features, number: I64) -> tuple[I64, I64]:
    """Locations, ascending, and the numbers of the features that their lines have."""
    kept = np.flatnonzero(number.take(features.feature) >= 0)
    name, feature = features.name.take(kept), number.take(features.feature.take(kept))
    order = np.argsort(name, kind="stable")
    start = np.searchsorted(name.take(order), np.arange(_number_of_names(names) + 1))
    has = np.append(np.diff(start) > 0, False)
    line = np.flatnonzero(has.take(names.code_of_line))
    line, place = _spread(line, start, names.code_of_line.take(line))
    location = np.searchsorted(columns.symbols.line_start, line, side="right") - 1
    return location, feature.take(order).take(place)


def _path_codes(columns: BlockColumns, rules: CompiledRules, names: NameSets, asked: Asked) -> tuple[I64, Bool]:
    """int64[nodes], a number per node, and bool[numbers, paths + 1], which paths its stack holds; the last always."""
    used = sorted({rules.path[rule] for rule in np.flatnonzero(asked.chosen.any(axis=0)).tolist()} - {-1})
    bits = np.ones((1, len(rules.paths) + 1), dtype=np.bool_)
    if not used:
        return np.zeros(len(columns.symbols.node_parent), dtype=np.int64), bits
    parts = [[None if one < 0 else names.members[one] for one in rules.paths[path]] for path in used]
    code, holds = find_paths(columns.symbols, names.code_of_line, parts)
    bits = np.repeat(bits, len(holds), axis=0)
    bits[:, used] = holds
    return code, bits
