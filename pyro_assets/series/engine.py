"""What rules make of profiles, as queries: exact sums over frames, for all kinds of rules and all jobs at once.

Here, too:
* what becomes of summed values: their order, rules' limits, the rest of a total, and whether values fit 64 bits.

Four frames are joined. `profiles`: what a label set has (its owner), and its total. `samples`: owner, class of stack,
value. `members`: class, and the rule and function that count it. `chosen`: rule, owner, and the group of labels that
its values go to. An owner is a label set, apart for its last and its earlier profiles, or one row where a rule looks at
profiles one by one. Sums are 128 bits wide; what does not fit 64 at the end is told. What rules mean is in `rules`,
which stacks hold which names in `stacks`, and what a profile is in `profiles`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Final

import numpy as np
import polars as pl

from pyro_assets.block.columns import I64, BlockColumns, Bool, ProfileRows
from pyro_assets.compaction.arrays import gather_ranges
from pyro_assets.rules.choice import KINDS
from pyro_assets.series.compiled import CompiledRules
from pyro_assets.series.facts import SeriesFacts, Unmade
from pyro_assets.series.label_sets import LabelSets
from pyro_assets.series.name_sets import NameSets
from pyro_assets.series.questions import find_questions
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


# Values of a limited rule are compared to this fraction: means are not whole.
_FINE: Final = 1 << 20


@dataclass(frozen=True, slots=True)
class Groups:
    """Of g groups of labels: tenants as text, and int64[g] jobs, places by text, and places of the job's tenant."""

    tenants: Sequence[str]
    job: I64
    rank: I64
    tenant_rank: I64


_EXACT: Final = pl.col("exact")
_DIVISOR: Final = pl.col("divisor")
#: A value's whole part, null where it does not fit.
_QUOTIENT: Final = (_EXACT // _DIVISOR).cast(pl.Int64, strict=False)
_DIVIDED: Final = [
    _EXACT.cast(pl.Float64).alias("value"),
    pl.when(_EXACT % _DIVISOR == 0).then(_QUOTIENT).alias("value_int"),
    _QUOTIENT.is_null().alias("is_over"),
]
#: The same where nothing is divided.
_WHOLE: Final = [
    _EXACT.cast(pl.Float64).alias("value"),
    _EXACT.cast(pl.Int64, strict=False).alias("value_int"),
    _EXACT.cast(pl.Int64, strict=False).is_null().alias("is_over"),
]
#: Every expression is used as it stands.
PLAIN: Final = pl.QueryOptFlags.none()


def settle(
    values: pl.LazyFrame, rules: CompiledRules, groups: Groups, names: int, facts: Sequence[SeriesFacts]
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Series in their order, those that stay and those whose values do not fit.

    Args:
        values: see `engine.add_up`.
        rules: r rules.
        groups: g groups.
        names: so many names of functions; the number behind them is the rest of a total.
        facts: of each job; get what limits dropped.

    Returns:
        Two frames with the columns job, kind, rule, function, group, value (Float64) and value_int (null where the
        value is no integer), by job, kind, tenant, rule, function, metric and labels.
    """
    is_divided = bool((rules.is_scaled | rules.is_over_profiles).any())
    narrowed = _DIVIDED if is_divided else _WHOLE
    found = values.with_columns(narrowed).collect(optimizations=PLAIN)
    rule, group, function = (found[name].to_numpy() for name in ("rule", "group", "function"))
    job, tenant, kind = groups.job.take(group), groups.tenant_rank.take(group), rules.labels.kind_of_rule.take(rule)
    stays = (found["value"].to_numpy() != 0) | (rules.keeps_zero | (rules.wanted < 0)).take(rule)
    order = np.lexsort((groups.rank.take(group), function, rule, tenant, kind, job))
    order = order.compress(stays.take(order))
    of_series = {"job": job, "kind": kind, "tenant": tenant}
    series = found[order].hstack([pl.Series(name, array.take(order)) for name, array in of_series.items()])
    # What does not fit, and a rest, count as no series; leaving them in only makes us look once more.
    owner, tenants = (rule * len(groups.tenants) + tenant).take(order), len(groups.tenants)
    many = np.bincount(owner, minlength=len(rules.rules) * tenants).reshape(len(rules.rules), tenants)
    is_rest = pl.col("function") == names + 1
    if (many > rules.most[:, None]).any():
        series = _limit(series, rules, groups, is_rest, facts)
    if rules.has_other.any():
        taken = pl.when(~is_rest & ~pl.col("is_over")).then(_EXACT).sum().over("rule", "group")
        rest = series.with_columns(exact=pl.when(is_rest).then(_EXACT - taken).otherwise(_EXACT))
        series = rest.with_columns(narrowed).filter((_EXACT != 0) | ~is_rest)
    if is_divided:
        # Polars multiplies by the inverse of a divisor that is the same everywhere, which rounds twice.
        value = pl.Series("value", series["value"].to_numpy() / series["divisor"].to_numpy())
        series = series.with_columns(value)
    is_over = series["is_over"]
    return (series.filter(~is_over), series.filter(is_over)) if is_over.any() else (series, series.clear())


def _limit(
    series: pl.DataFrame, rules: CompiledRules, groups: Groups, is_rest: pl.Expr, facts: Sequence[SeriesFacts]
) -> pl.DataFrame:
    """Series without those beyond their rule's limit; a rest is no series here and goes only with its whole rule."""
    counts = ~is_rest & ~pl.col("is_over")
    most = pl.lit(pl.Series(rules.most)).gather("rule")
    found = series.with_columns(count=counts.sum().over("tenant", "rule")).with_columns(most=most)
    beyond = found.filter(pl.col("count") > pl.col("most")).unique(["tenant", "rule"], maintain_order=True)
    if not len(beyond):
        return series
    for job, rule_number, group, count in beyond.select("job", "rule", "group", "count").iter_rows():
        rule, fact = rules.rules[rule_number], facts[job]
        fact.limited_rules += 1
        fact.dropped_series += count - rule.max_series if rule.overflow == "keep_largest" else count
        if rule.overflow == "error":
            why = (
                f"gives {count} series in one job and may give {rule.max_series}, so it gave none: narrow it, raise "
                "max_series, or choose overflow: keep_largest"
            )
            fact.refuse(Unmade(groups.tenants[group], rule.id, why))
    keeps_largest = pl.lit(pl.Series([rule.overflow == "keep_largest" for rule in rules.rules])).gather("rule")
    # Ties are broken by the order of series, which is that of their text.
    size = pl.when(counts).then(_EXACT.abs() * _FINE // pl.col("divisor"))
    place = size.rank("ordinal", descending=True).over("tenant", "rule")
    is_beyond = pl.col("count") > pl.col("most")
    kept = ~is_beyond | (keeps_largest & (~counts | (place <= pl.col("most"))))
    return found.filter(kept).select(series.columns)
