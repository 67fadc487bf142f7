"""Rules on every real job: totals stay below the profiles' own, and self with the rest is all of it."""

import polars as pl
import pytest

from pyro_assets.block.reader import RawObject
from pyro_assets.compaction.compact import compact
from pyro_assets.rules.config import SeriesConfig, parse_config
from pyro_assets.series.compiled import compile_rules
from pyro_assets.series.derive import ALL_KINDS, derive
from pyro_assets.series.engine import Chosen, add_up
from pyro_assets.series.facts import JobInfo
from pyro_assets.series.name_sets import find_names
from tests.support import golden_bucket
from tests.support.series_jobs import JOB, frame, job, profile, sample

GOLDEN = golden_bucket.committed()
RULES = """
dimensions: {selectors: []}
rules:
- {name: total, functions: [{glob: "*"}], by: [pod], max_series: 100000, labels: {n: total}}
- {name: self, functions: [{glob: "*"}], by: [pod], max_series: 100000, match: self, other: true}
- {name: whole, by: [pod]}
"""


@pytest.mark.parametrize("number", range(len(GOLDEN.jobs)))
def test_sums_of_all_functions(number: int):
    objects = [RawObject(key, (GOLDEN.root / key).read_bytes()) for key in GOLDEN.jobs[number]]
    derived = derive(compact(objects).columns, JobInfo("job", 1, 0, "x"), parse_config(RULES))
    whole, own = {}, {}
    totals = []
    for row in (row for part in derived.frames.values() for row in part.iter_rows(named=True)):
        labels = {one["name"]: one["value"] for one in row["labels"]}
        key = (row["tenant"], row["metric"].replace("metrics_functions_", "metrics_"), labels.get("pod"))
        if row["rule"] == "whole":
            whole[key] = row["value_int"]
        elif row["rule"] == "self":
            own[key] = own.get(key, 0) + row["value_int"]
        else:
            totals.append((key, row["value_int"]))
    assert own == {key: value for key, value in whole.items() if value}
    assert totals
    assert all(value <= whole[key] for key, value in totals)


@pytest.mark.parametrize("number", range(len(GOLDEN.jobs)))
def test_no_function_is_worth_more_than_its_profile(number: int):
    """For every profile by itself, and of all functions that it has: self <= total <= the profile's total."""
    objects = [RawObject(key, (GOLDEN.root / key).read_bytes()) for key in GOLDEN.jobs[number]]
    columns = compact(objects).columns
    compiled = compile_rules(parse_config(RULES))
    names = find_names(columns.symbols, compiled.names)
    rows, wanted = len(columns.rows.series), compiled.of_kinds(ALL_KINDS)
    # Every row is an owner and a group of its own.
    row = pl.DataFrame({"row": range(rows), "owner": range(rows), "total": columns.rows.total_value})
    owners = row.cast({"total": pl.Int128})
    asked = row.join(wanted.select("selection").unique(), how="cross").select(
        "selection", "owner", group="row", profile="row", times=pl.lit(1, pl.Int64)
    )
    values = add_up(columns, compiled, names, Chosen(wanted, asked, owners, asked)).collect()
    sums: dict[str, dict[tuple[int, int], int]] = {rule.id: {} for rule in compiled.rules}
    for number, owner, function, value in values.select("rule", "group", "function", "exact").iter_rows():
        if value or compiled.rules[number].wanted is None:
            sums[compiled.rules[number].id][owner, function] = value
    size = len(names.shown) + 2
    whole = {owner: value for (owner, _), value in sums["whole"].items()}
    assert whole == dict(enumerate(columns.rows.total_value.tolist()))
    own = {key: value for key, value in sums["self"].items() if key[1] != size - 1}
    assert len(sums["total"]) > len(own) > rows
    assert all(value <= whole[owner] for (owner, _), value in sums["total"].items())
    assert all(value <= sums["total"][key] for key, value in own.items())
    of_profile = dict.fromkeys(whole, 0)
    for (owner, _), value in own.items():
        of_profile[owner] += value
    assert all(value <= whole[owner] for owner, value in of_profile.items())


def test_odd_names():
    odd = 'a[b, c]; {d="e"}\\\n' + "y" * 1000
    columns, _ = job(profile([sample(1, odd.encode(), frame(None)), sample(2, b"\xff;"), sample(4, frame())]))
    rules = [{"name": "one", "functions": [odd, "\\xff;"]}]
    config = SeriesConfig.model_validate({"rules": rules})
    found = derive(columns, JOB, config).frames["function"]
    names = [{one["name"]: one["value"] for one in labels}["function"] for labels in found["labels"].to_list()]
    assert dict(zip(names, found["value_int"].to_list(), strict=True)) == {odd: 1, "\\xff;": 2}
