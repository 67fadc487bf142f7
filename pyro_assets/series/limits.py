"""What becomes of summed values: their order, rules' limits, the rest of a total, and whether values fit 64 bits.

Add what decides whether a series is kept here; a series that is not is counted and, where it is an error, named. What
values are is added up by `engine`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import polars as pl

from pyro_assets.block.columns import I64
from pyro_assets.series.compiled import CompiledRules
from pyro_assets.series.facts import SeriesFacts, Unmade

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
