"""What rules make of profiles, as queries: exact sums over frames, for all kinds of rules and all jobs at once.

Four frames are joined. `profiles`: what a label set has (its owner), and its total. `samples`: owner, class of stack,
value. `members`: class, and the rule and function that count it. `chosen`: rule, owner, and the group of labels that
its values go to. An owner is a label set, apart for its last and its earlier profiles, or one row where a rule looks at
profiles one by one. Sums are 128 bits wide; what does not fit 64 at the end is told. What rules mean is in `rules`,
which stacks hold which names in `stacks`, and what a profile is in `profiles`.
"""

from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np
import polars as pl

from pyro_assets.block.columns import I64, BlockColumns, Bool, ProfileRows
from pyro_assets.compaction.gather import gather_ranges
from pyro_assets.series.compiled import CompiledRules
from pyro_assets.series.label_sets import LabelSets
from pyro_assets.series.name_sets import NameSets
from pyro_assets.series.questions import find_questions
from pyro_assets.series.rules import KINDS
from pyro_assets.series.stacks import hold

_NANO: Final = {"nanoseconds": 1, "microseconds": 10**3, "milliseconds": 10**6, "seconds": 10**9}
_PER_SECOND: Final = 10**9
#: So many (sum, rule, function) are made at a time, whatever hostile trees look like.
_PAIRS: Final = 1 << 22
_OF_SERIES: Final = ["rule", "group", "function"]
_ONE: Final = pl.lit(1, pl.Int64)
_NONE: Final = pl.lit(0, pl.Int64).alias("function")
_ZERO: Final = pl.lit(0, pl.Int128).alias("value")
_SUM: Final = pl.col("value").cast(pl.Int128).sum()


@dataclass(frozen=True)
class Chosen:
    """Which owners' values go where: int64[n] each.

    Attributes:
        owner, rule, group: see the module.
        profile: 1 + the profile that the owner is a part of; 0 where the rule does not look at them one by one.
        times: what values are multiplied by.
    """

    owner: I64
    rule: I64
    group: I64
    profile: I64
    times: I64

    def frame(self, which: Bool, asker: I64 | None = None) -> pl.LazyFrame:
        """Some of them; a frame costs by its columns, so without those that say nothing.

        Args:
            which: bool[n].
            asker: int64[n], a number for owner and rule together, which takes their place.
        """
        names = [*self.keys[1:], *(["times"] if self.is_multiplied else [])]
        first = {"owner": self.owner, "rule": self.rule} if asker is None else {"asker": asker}
        columns = first | {name: getattr(self, name) for name in names}
        return pl.LazyFrame({name: column.compress(which) for name, column in columns.items()})

    @cached_property
    def keys(self) -> list[str]:
        """What values are added up by, beside functions."""
        return ["rule", "group", "profile"] if self.profile.any() else ["rule", "group"]

    @cached_property
    def is_multiplied(self) -> bool:
        """Whether some values are multiplied."""
        return bool((self.times != 1).any())

    def value(self, column: str) -> pl.Expr:
        """A column as the value of a series."""
        return (pl.col(column) * pl.col("times") if self.is_multiplied else pl.col(column)).alias("value")


def choose(rules: CompiledRules, sets: LabelSets, kinds: frozenset[str]) -> tuple[Chosen, I64]:
    """What the rules of some kinds select.

    Returns:
        It, and per label set how many rules left it out because its unit is no time.
    """
    chosen = sets.selected & np.array([kind in kinds for kind in KINDS], dtype=np.bool_).take(rules.labels.kind_of_rule)
    nano = np.array([_NANO.get(meaning.unit, 0) for meaning in sets.meanings], dtype=np.int64)
    has_other_unit = chosen & rules.is_scaled & (nano == 0)[:, None]
    chosen &= ~has_other_unit
    is_gauge = np.array([meaning.is_gauge for meaning in sets.meanings], dtype=np.bool_)
    takes_all = rules.labels.takes_all(is_gauge)

    def of_sets(which: Bool) -> tuple[I64, I64]:
        place = np.flatnonzero(which)
        return place // max(len(rules.rules), 1), place % max(len(rules.rules), 1)

    has_last, has_earlier = (np.zeros(len(chosen), dtype=np.bool_) for _ in range(2))
    has_last[sets.of_row.compress(sets.profiles.is_last)] = True
    has_earlier[sets.of_row.compress(~sets.profiles.is_last)] = True
    last = of_sets(chosen & ~rules.is_over_profiles & (has_last[:, None] | takes_all))
    earlier = of_sets(chosen & ~rules.is_over_profiles & takes_all & has_earlier[:, None])
    by_set, by_set_rule = of_sets(chosen & rules.is_over_profiles)
    row_of_set = np.argsort(sets.of_row, kind="stable")
    begin, place = gather_ranges(np.searchsorted(sets.of_row.take(row_of_set), np.arange(len(chosen) + 1)), by_set)
    row = row_of_set.take(place)
    one = np.concatenate([last[0], earlier[0], sets.of_row.take(row)])
    rule = np.concatenate([last[1], earlier[1], np.repeat(by_set_rule, np.diff(begin))])
    owner = np.concatenate([2 * last[0] + 1, 2 * earlier[0], 2 * len(chosen) + row])
    profile = np.zeros(len(owner), dtype=np.int64)
    profile[len(owner) - len(row) :] = sets.profiles.of_row.take(row) + 1
    group = sets.group[one, rules.labels.grouping_of_rule.take(rule)]
    times = np.where(rules.is_scaled.take(rule), nano.take(one), 1)
    return Chosen(owner, rule, group, profile, times), has_other_unit.sum(axis=1)


def add_up(
    columns: BlockColumns, rules: CompiledRules, sets: LabelSets, names: NameSets, chosen: Chosen
) -> pl.LazyFrame:
    """Values of series, exactly.

    Returns:
        A query with the columns rule, function (see `frame.Found`), group, exact (Int128) and divisor, one row per
        series; those that are 0 too, and for `other` the whole that its functions are taken from, as the last function.
    """
    size = 2 * len(sets.meanings)
    owner = 2 * sets.of_row + sets.profiles.is_last
    row, totals = np.arange(len(owner), dtype=np.int64), _totals(columns.rows)
    over = np.unique(chosen.owner[chosen.owner >= size]) - size
    if len(over):
        row, owner = np.concatenate([row, over]), np.concatenate([owner, size + over])
        totals = totals.gather(row)
    profiles = pl.LazyFrame({"owner": owner, "total": totals})
    has_function = (rules.wanted >= 0).take(chosen.rule)
    has_rest = rules.has_other.take(chosen.rule)
    keeps_zero = has_function & rules.keeps_zero.take(chosen.rule)
    keys, total, parts = chosen.keys, chosen.value("total"), []
    if not has_function.all():
        parts.append(profiles.join(chosen.frame(~has_function), on="owner").select(*keys, _NONE, total))
    if has_rest.any():
        rest = pl.lit(len(names.shown) + 1, pl.Int64).alias("function")
        parts.append(profiles.join(chosen.frame(has_rest), on="owner").select(*keys, rest, total))
    if keeps_zero.any():
        # These have a series wherever they select, even if nothing is found.
        parts.append(chosen.frame(keeps_zero).select(*keys, _NONE, _ZERO))
    if has_function.any():
        parts += _functions(columns, rules, names, row, owner, chosen, has_function)
    if not parts:
        parts = [chosen.frame(np.zeros(len(has_function), dtype=np.bool_)).select(*keys, _NONE, _ZERO)]
    added = pl.concat(parts).group_by(*keys, "function").agg(exact=pl.col("value").sum())
    scale = (
        pl.lit(pl.Series(np.where(rules.is_scaled, _PER_SECOND, 1))).gather("rule") if rules.is_scaled.any() else _ONE
    )
    if not len(over):
        return added.select(*_OF_SERIES, "exact", divisor=scale)
    how = pl.lit(pl.Series([str(rule.aggregate) for rule in rules.rules])).gather("rule")
    value, count = pl.col("exact"), pl.len().cast(pl.Int64)
    return (
        added.group_by(_OF_SERIES)
        .agg(sum=value.sum(), max=value.max(), min=value.min(), count=count)
        .with_columns(how=how)
        .select(
            *_OF_SERIES,
            pl.when(how="max").then("max").when(how="min").then("min")
            .when(how="count").then(pl.col("count").cast(pl.Int128)).otherwise("sum").alias("exact"),
            divisor=pl.when(how="mean").then("count").otherwise(_ONE) * scale,
        )
    )  # fmt: skip


def _totals(rows: ProfileRows) -> pl.Series:
    """Totals of rows; a total wraps as it is stored, so that of huge values is added up again."""
    stored = pl.Series("total", rows.total_value).cast(pl.Int128)
    count = np.diff(rows.sample_start)
    largest = max(int(rows.value.max(initial=0)), -int(rows.value.min(initial=0)))
    if largest * int(count.max(initial=0)) < 2**63:
        return stored
    samples = pl.DataFrame({"row": np.repeat(np.arange(len(count), dtype=np.int64), count), "value": rows.value})
    exact = samples.group_by("row").agg(_SUM)
    both = pl.DataFrame({"row": np.arange(len(count), dtype=np.int64), "total": stored}).join(exact, "row", "left")
    has_wrapped = (pl.col("value") - pl.col("total")) % pl.lit(2**64, pl.Int128) == 0
    return both.sort("row").select(total=pl.when(has_wrapped).then("value").otherwise("total"))["total"]


def _functions(
    columns: BlockColumns, rules: CompiledRules, names: NameSets, row: I64, owner: I64, chosen: Chosen, which: Bool
) -> list[pl.LazyFrame]:
    """Sums of the samples whose stacks hold what rules ask for."""
    asking = np.zeros(len(rules.rules), dtype=np.bool_)
    asking[chosen.rule.compress(which)] = True
    asked = find_questions(rules, names, asking)
    used = np.zeros(max(int(owner.max(initial=0)), int(chosen.owner.max(initial=0))) + 1, dtype=np.bool_)
    used[chosen.owner.compress(which)] = True
    used = used.take(owner)
    owner, stack, value = (
        np.repeat(owner.compress(used), np.diff(columns.rows.sample_start).take(row.compress(used))),
        columns.rows.stack,
        columns.rows.value,
    )
    if not (used.all() and len(owner) == len(value)):
        place = gather_ranges(columns.rows.sample_start, row.compress(used))[1]
        stack, value = stack.take(place), value.take(place)
    askers = chosen.frame(which, asker=chosen.owner * len(rules.rules) + chosen.rule)
    asker = (pl.col("owner") * len(rules.rules) + pl.col("rule")).alias("asker")
    parts = []
    for held in hold(columns, rules, names, asked, stack):
        for members in held.members(asked, _PAIRS):
            found = np.flatnonzero(members.is_meant.take(held.class_of_stack))
            cell = owner.take(found) * held.classes + held.class_of_stack.take(found)
            samples = pl.LazyFrame({"cell": cell, "value": value.take(found)})
            of_class = pl.LazyFrame({"class": members.of_class, "rule": members.rule, "function": members.function})
            parts.append(
                samples.group_by("cell")
                .agg(_SUM)
                .with_columns(owner=pl.col("cell") // held.classes, **{"class": pl.col("cell") % held.classes})
                .join(of_class, on="class")
                .with_columns(asker)
                .join(askers, on="asker")
                .select("rule", *chosen.keys[1:], "function", chosen.value("value"))
            )
    return parts
