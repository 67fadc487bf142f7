"""What rules make of profiles, as queries: exact sums over frames, for all kinds of rules and all jobs at once.

Here, too:
* what becomes of summed values: their order, rules' limits, the rest of a total, and whether values fit 64 bits.

Rules that select the same label sets into the same groups of labels share a selection. `Chosen` says which label sets
are selected, which owners these have (its last and its earlier profiles, or each row where profiles are looked at one
by one), and where the owners' values go. `samples` are owner, class of stack and value, and `counted` class and
selection, and the rule and function that count it. Sums are 128 bits wide; what does not fit 64 at the end is told.
What rules mean is in `rules`, which label sets they select in `label_sets`, which stacks hold which names in `stacks`,
and what a profile is in `profiles`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Final

import numpy as np
import polars as pl

from pyro_assets.block.columns import BlockColumns, ProfileRows
from pyro_assets.compaction.arrays import gather_ranges
from pyro_assets.series.compiled import CompiledRules, find_questions
from pyro_assets.series.facts import SeriesFacts, Unmade
from pyro_assets.series.label_sets import LabelSets
from pyro_assets.series.name_sets import NameSets
from pyro_assets.series.profiles import find_profiles, run
from pyro_assets.series.stacks import hold

_NANO: Final = {"nanoseconds": 1, "microseconds": 10**3, "milliseconds": 10**6, "seconds": 10**9}
_PER_SECOND: Final = 10**9
#: So many (sum, rule, function) are made at a time, whatever hostile trees look like.
_PAIRS: Final = 1 << 22
_ONE: Final = pl.lit(1, pl.Int64)
_NO_FUNCTION: Final = pl.lit(0, pl.Int64)
_NOTHING: Final = pl.lit(0, pl.Int128)
_SUM: Final = pl.col("value").cast(pl.Int128).sum()

#: Of which label sets a rule adds up the last profiles alone: those of gauges, where it leaves that to the type.
_ONLY_LAST: Final = (pl.col("aggregate") == "last") | ((pl.col("aggregate") == "default") & pl.col("is_gauge"))
#: What values are multiplied by; null where they should become seconds and are no time.
_TIMES: Final = (
    pl.when(~pl.col("is_scaled")).then(_ONE)
    .otherwise(pl.col("unit").replace_strict(_NANO, default=None, return_dtype=pl.Int64))
)  # fmt: skip
#: Which owners of its label sets a rule asks for.
_IS_ASKED: Final = (pl.col("is_each") == pl.col("profile").is_not_null()) & (~pl.col("only_last") | pl.col("is_last"))


@dataclass(frozen=True, slots=True)
class Chosen:
    """What rules select of jobs, as frames.

    Attributes:
        wanted: the rules, see `CompiledRules.frame`.
        selected: selection, set, group, job, only_last, is_each, and times, which is null where the rules leave a label
            set out because its unit is no time.
        owners: row, owner, set, is_last, profile (null of whole label sets) and total.
        asked: selection, owner, group, profile and times.
    """

    wanted: pl.DataFrame
    selected: pl.DataFrame
    owners: pl.DataFrame
    asked: pl.DataFrame

    @property
    def of_group(self) -> list[str]:
        """What sums are apart by, beside rule and function: the group, and the profile where rules look at each."""
        is_each = self.asked["profile"].null_count() < len(self.asked)
        return ["group", "profile"] if is_each else ["group"]


def choose(columns: BlockColumns, sets: LabelSets, wanted: pl.DataFrame) -> Chosen:
    """What wanted rules select: which label sets, which owners these have, and where the owners' values go."""
    selections = wanted.lazy().select("selection", "aggregate", "is_scaled", "is_each").unique()
    selected = run(
        sets.pairs()
        .join(selections, on="selection")
        .join(sets.frame(), on="set")
        .select("selection", "set", "group", "job", "is_each", only_last=_ONLY_LAST, times=_TIMES)
    )
    owners = _find_owners(columns, sets, selected)
    of_sets = owners.lazy().select("set", "owner", "is_last", "profile").unique()
    asked = selected.lazy().filter(pl.col("times").is_not_null()).join(of_sets, on="set").filter(_IS_ASKED)
    return Chosen(wanted, selected, owners, run(asked.select("selection", "owner", "group", "profile", "times")))


def _find_owners(columns: BlockColumns, sets: LabelSets, selected: pl.DataFrame) -> pl.DataFrame:
    rows = columns.rows
    looked_at = selected["set"].filter(selected["only_last"] | selected["is_each"])
    is_asked = pl.Series(sets.of_entry).is_in(looked_at.implode()).to_numpy()
    profiles = find_profiles(rows, columns.series.labels, sets.scope, is_asked).with_columns(
        pl.Series("row", np.arange(len(rows.series), dtype=np.int64)),
        pl.Series("set", sets.of_entry.take(rows.series)),
        _totals(rows),
    )
    owners = profiles.with_columns(owner=2 * pl.col("set") + pl.col("is_last"), profile=pl.lit(None, pl.Int64))
    if selected["is_each"].any():
        each = selected.lazy().filter("is_each")
        by_row = profiles.join(each, on="set", how="semi").with_columns(owner=2 * len(sets.meanings) + pl.col("row"))
        owners = pl.concat([owners, by_row])
    return run(owners)


def add_up(columns: BlockColumns, rules: CompiledRules, names: NameSets, chosen: Chosen) -> pl.LazyFrame:
    """Values of series, exactly.

    Returns:
        A query with the columns rule, function (see `frame.name_series`), group, exact (Int128) and profiles (by which
        it is divided), one row per series; those that are 0 too, and for `other` the whole that its functions are taken
        from, as the last function.
    """
    wanted, asked, of_group = chosen.wanted.lazy(), chosen.asked.lazy(), chosen.of_group
    rest = pl.lit(len(names.shown) + 1, pl.Int64)
    totals = (
        chosen.owners.lazy()
        .select("owner", "total")
        .join(asked, on="owner")
        .group_by("selection", *of_group)
        .agg(value=(pl.col("total") * pl.col("times")).sum())
        .join(wanted.filter(pl.col("has_other") | ~pl.col("has_function")), on="selection")
        .with_columns(function=pl.when("has_other").then(rest).otherwise(_NO_FUNCTION))
    )
    parts = [totals, *_functions(columns, rules, names, chosen)]
    if rules.any("keeps_zero"):
        # These have a series wherever they select, even if nothing is found.
        empty = wanted.filter(pl.col("has_function") & pl.col("keeps_zero"))
        possible = asked.select("selection", *of_group).unique()
        parts.append(possible.join(empty, on="selection").with_columns(function=_NO_FUNCTION, value=_NOTHING))
    # Of a series as one number: Polars adds up by it in half of the time that three columns take.
    functions, groups = len(names.shown) + 2, int(chosen.asked["group"].to_numpy().max(initial=0)) + 1
    series, (_, *profile) = pl.col("series"), of_group
    number = ((pl.col("rule") * groups + pl.col("group")) * functions + pl.col("function")).alias("series")
    added = (
        pl.concat([part.select(number, *profile, "value") for part in parts])
        .group_by("series", *profile)
        .agg(exact=pl.col("value").sum())
        .select(
            "exact",
            rule=series // (groups * functions),
            group=series // functions % groups,
            function=series % functions,
        )
    )
    if not profile:
        return added.with_columns(profiles=_ONE)
    value, how = pl.col("exact"), pl.col("aggregate").first()
    return (
        added.join(wanted.select("rule", "aggregate"), on="rule")
        .group_by("rule", "group", "function")
        .agg(
            exact=pl.when(how == "max").then(value.max()).when(how == "min").then(value.min())
            .when(how == "count").then(pl.len().cast(pl.Int128)).otherwise(value.sum()),
            profiles=pl.when(how == "mean").then(pl.len().cast(pl.Int64)).otherwise(_ONE),
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


def _functions(columns: BlockColumns, rules: CompiledRules, names: NameSets, chosen: Chosen) -> list[pl.LazyFrame]:
    """Sums of the samples whose stacks hold what rules ask for."""
    asked, of_group = chosen.asked.lazy(), chosen.of_group
    counting = run(chosen.wanted.lazy().filter("has_function").join(asked, on="selection", how="semi"))
    if counting.is_empty():
        return []
    questions = find_questions(rules, names, counting["rule"].sort().to_numpy())
    of_functions = asked.join(counting.lazy(), on="selection", how="semi")
    used = run(chosen.owners.lazy().join(of_functions, on="owner", how="semi").select("row", "owner"))
    row, rows = used["row"].to_numpy(), columns.rows
    owner = np.repeat(used["owner"].to_numpy(), np.diff(rows.sample_start).take(row))
    place = gather_ranges(rows.sample_start, row)[1]
    stack, value = rows.stack.take(place), rows.value.take(place)
    parts = []
    for held in hold(columns, rules, names, questions, stack):
        for members in held.members(questions, _PAIRS):
            samples = pl.LazyFrame({"owner": owner, "class": held.class_of_stack, "value": value})
            cell = (pl.col("owner") * held.classes + pl.col("class")).alias("cell")
            counted = pl.LazyFrame(
                {
                    "counted": members.of_class * len(rules.labels.selections) + rules.selection.take(members.rule),
                    "rule": members.rule,
                    "function": members.function,
                }
            )
            by_class = pl.col("class") * len(rules.labels.selections) + pl.col("selection")
            parts.append(
                samples.filter(pl.lit(pl.Series(members.is_meant)).gather("class"))
                .group_by(cell)
                .agg(_SUM)
                .select("value", owner=pl.col("cell") // held.classes, **{"class": pl.col("cell") % held.classes})
                .join(of_functions, on="owner")
                .select(*of_group, counted=by_class, value=pl.col("value") * pl.col("times"))
                .group_by("counted", *of_group)
                .agg(_SUM)
                .join(counted, on="counted")
            )
    return parts


# Values of a limited rule are compared to this fraction: means are not whole.
_FINE: Final = 1 << 20
_OF_LIMITS: Final = ["job", "tenant_rank", "rule"]
_EXACT: Final = pl.col("exact")
_DIVISOR: Final = (pl.col("profiles") * pl.when("is_scaled").then(_PER_SECOND).otherwise(_ONE)).alias("divisor")
#: Where a series stands, as one number of 127 bits: its job, kind, tenant, rule, function and the text of its labels.
#: Polars sorts 31,000 series by it in 2 ms, and by six columns in 11.
_PLACE: Final = reduce(
    lambda place, column: place * pl.lit(2 ** column[1], pl.Int128) + pl.col(column[0]),
    {"kind": 1, "tenant_rank": 21, "rule": 20, "function": 32, "order": 32}.items(),
    pl.col("job").cast(pl.Int128),
)


def _narrow(whole: pl.Expr, is_whole: pl.Expr) -> list[pl.Expr]:
    """A value as it is sent and, exactly, as it is stored; whether it does not fit, and whether it is sent rounded."""
    fits = whole.cast(pl.Int64, strict=False)
    return [
        _EXACT.cast(pl.Float64).alias("value"),
        pl.when(is_whole).then(fits).alias("value_int"),
        fits.is_null().alias("is_over"),
        (is_whole & (whole.cast(pl.Float64).cast(pl.Int128, strict=False) != whole)).alias("is_rounded"),
    ]


_DIVIDED: Final = _narrow(_EXACT // pl.col("divisor"), _EXACT % pl.col("divisor") == 0)
#: The same where nothing is divided.
_WHOLE: Final = _narrow(_EXACT, pl.lit(value=True))


def settle(
    values: pl.LazyFrame, rules: CompiledRules, groups: pl.DataFrame, names: int, facts: Sequence[SeriesFacts]
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Series in their order, those that stay and those whose values do not fit.

    Args:
        values: see `add_up`.
        rules: r rules.
        groups: see `label_sets.groups_of`.
        names: so many names of functions; the number behind them is the rest of a total.
        facts: of each job; get what limits dropped.

    Returns:
        Two frames with the columns job, kind, rule, function, group, value (Float64) and value_int (null where the
        value is no integer) and is_rounded, by job, kind, tenant, rule, function, metric and labels.
    """
    is_divided = rules.any("is_scaled") or rules.any("is_each")
    narrowed = _DIVIDED if is_divided else _WHOLE
    of_rules = rules.frame.lazy().select(
        "rule", "kind", "most", "keeps_largest", "keeps_zero", "has_function", "is_scaled"
    )
    of_groups = groups.lazy().with_columns(pl.col("order").rank("ordinal"), tenant_rank=pl.col("tenant").rank("dense"))
    series = run(
        values.join(of_rules, on="rule")
        .filter((_EXACT != 0) | pl.col("keeps_zero") | ~pl.col("has_function"))
        .join(of_groups, on="group")
        .sort(_PLACE)
        .with_columns(_DIVISOR)
        .with_columns(narrowed)
    )
    is_rest = pl.col("function") == names + 1
    if len(series) > rules.least_most:
        series = _limit(series, rules, is_rest, facts)
    if rules.any("has_other"):
        taken = pl.when(~is_rest & ~pl.col("is_over")).then(_EXACT).sum().over("rule", "group")
        rest = series.with_columns(exact=pl.when(is_rest).then(_EXACT - taken).otherwise(_EXACT))
        series = rest.with_columns(narrowed).filter((_EXACT != 0) | ~is_rest)
    if is_divided:
        # Polars multiplies by the inverse of a divisor that is the same everywhere, which rounds twice.
        value = pl.Series("value", series["value"].to_numpy() / series["divisor"].to_numpy())
        series = series.with_columns(value)
    is_over = series["is_over"]
    return (series.filter(~is_over), series.filter(is_over)) if is_over.any() else (series, series.clear())


def _limit(series: pl.DataFrame, rules: CompiledRules, is_rest: pl.Expr, facts: Sequence[SeriesFacts]) -> pl.DataFrame:
    """Series without those beyond their rule's limit; a rest is no series here and goes only with its whole rule."""
    counts = ~is_rest & ~pl.col("is_over")
    found = series.with_columns(count=counts.sum().over(_OF_LIMITS))
    beyond = found.filter(pl.col("count") > pl.col("most")).unique(_OF_LIMITS, maintain_order=True)
    if not len(beyond):
        return series
    for job, tenant, rule_number, count in beyond.select("job", "tenant", "rule", "count").iter_rows():
        rule, fact = rules.rules[rule_number], facts[job]
        fact.limited_rules += 1
        fact.dropped_series += count - rule.max_series if rule.overflow == "keep_largest" else count
        if rule.overflow == "error":
            why = (
                f"gives {count} series in one job and may give {rule.max_series}, so it gave none: narrow it, raise "
                "max_series, or choose overflow: keep_largest"
            )
            fact.refuse(Unmade(tenant, rule.id, why))
    # Ties are broken by the order of series, which is that of their text.
    size = pl.when(counts).then(_EXACT.abs() * _FINE // pl.col("divisor"))
    place = size.rank("ordinal", descending=True).over(_OF_LIMITS)
    is_beyond = pl.col("count") > pl.col("most")
    kept = ~is_beyond | (pl.col("keeps_largest") & (~counts | (place <= pl.col("most"))))
    return found.filter(kept).select(series.columns)
