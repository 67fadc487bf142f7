"""A preview tells what a run with the rule then gives, reads what it must, and says when it only estimates."""

import json
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest

from pyro_assets.explore.preview import Preview, closed_hours, preview_rule
from pyro_assets.ledger.database import Ledger
from pyro_assets.ledger.hours import HourRecords
from pyro_assets.rules.config import SeriesConfig
from pyro_assets.storage.bucket import open_bucket
from tests.support import golden_bucket
from tests.support.cli_runner import fails, is_wrong_usage, places, run

GOLDEN = golden_bucket.committed()
RULES: list[dict[str, Any]] = [
    {"name": "main", "functions": [{"glob": "main.*"}], "labels": {"n": "1"}},
    {"name": "own", "functions": [{"regex": "(main|runtime)\\..*"}], "match": "self", "other": True},
    {"name": "whole", "by": ["service_name"], "aggregate": "max", "profile_types": ["cpu"], "unit": "seconds"},
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The real bucket's jobs, with the rules above in force."""
    folder = tmp_path_factory.mktemp("preview")
    (folder / "rules.json").write_text(json.dumps({"dimensions": {"selectors": []}, "rules": RULES}))
    result = run("run", "--jobs", GOLDEN.root / "jobs.json", "--source-url", GOLDEN.root, *places(folder), "--json",
                 "--config", folder / "rules.json")  # fmt: skip
    assert result.exit_code == 0, result.output
    return folder


def ledger_of(folder: Path) -> Ledger:
    options = dict(zip(*[iter(map(str, places(folder)))] * 2, strict=True))
    return Ledger.open(options["--ledger-url"])


def of_rule(folder: Path, rule: dict[str, Any], **how: Any) -> Preview:
    ledger = ledger_of(folder)
    parsed = SeriesConfig.model_validate({"rules": [rule]}).rules[0]
    try:
        return preview_rule(
            open_bucket(str(folder / "archive")), ledger, parsed, SeriesConfig(), HourRecords(ledger).hours(), **how
        )
    finally:
        ledger.close()


def stored(folder: Path, name: str) -> list[dict[str, Any]]:
    import polars as pl

    return [
        row
        for path in (folder / "archive" / "series").rglob("*.parquet")
        for row in pl.read_parquet(path).filter(pl.col("rule") == name).to_dicts()
    ]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: str(rule["name"]))
def test_an_exact_preview_is_what_a_run_gives(folder: Path, rule: dict[str, Any]):
    found = of_rule(folder, rule)
    rows = stored(folder, rule["name"])
    assert rows
    assert (found.is_exact, found.jobs) == (True, len(GOLDEN.jobs))
    largest: dict[Any, float] = {}
    points: dict[Any, float] = defaultdict(float)
    for row in rows:
        key = (row["tenant"], row["metric"], tuple((one["name"], one["value"]) for one in row["labels"]))
        largest[key] = max(largest.get(key, row["value"]), row["value"])
        points[row["timestamp_ms"], row["metric"]] += row["value"]
    assert (found.series, found.samples) == (len(largest), len(rows))
    assert [(one.tenant, one.metric, one.labels, one.value) for one in found.first] == [
        (*key, value) for key, value in sorted(largest.items())[:20]
    ]
    assert {(at, metric): value for at, metric, value in found.points} == pytest.approx(points)
    assert all(one.share is None or 0 < one.share <= 1 for one in found.functions)


def test_shares_are_those_of_the_selected_profiles(folder: Path):
    every = of_rule(folder, {"name": "r", "functions": [{"glob": "*"}], "match": "self", "profile_types": ["cpu"]})
    for tenant in {one.tenant for one in every.functions}:
        shares = [one.share for one in every.functions if one.tenant == tenant and one.share is not None]
        assert 0.5 < sum(shares) <= 1.000001


def test_without_time_it_is_an_estimate(folder: Path):
    found = of_rule(folder, RULES[0], budget_seconds=0)
    assert (found.jobs_read, found.is_exact) == (1, False)
    assert found.samples % found.jobs == 0


def test_tenants_and_services(folder: Path):
    assert of_rule(folder, RULES[0], tenants=["nobody"]).series == 0
    one = of_rule(folder, RULES[0] | {"selector": '{service_name="none"}'})
    assert (one.series, one.names_seen) == (0, 0)
    assert "check spelling" in one.warnings[-1]
    tenant = stored(folder, "main")[0]["tenant"]
    assert of_rule(folder, RULES[0], tenants=[tenant]).first[0].tenant == tenant


def test_limits_are_warned_of(folder: Path):
    found = of_rule(folder, RULES[0] | {"max_series": 1})
    assert found.dropped_series
    assert "the whole rule is left out there" in found.warnings[0]
    assert "may give 1" in of_rule(folder, RULES[0] | {"max_series": 1, "overflow": "error"}).warnings[0]


def test_the_last_closed_hours(folder: Path):
    ledger = ledger_of(folder)
    assert closed_hours(ledger, 0) == []
    assert closed_hours(ledger, 2**42) == HourRecords(ledger).hours()[-3:]
    ledger.close()


def test_the_command(folder: Path, tmp_path: Path):
    path = tmp_path / "one.yaml"
    path.write_text("rules: [{name: net, functions: [{glob: 'runtime.*'}]}]")
    where = [*places(folder)]
    result = run("rules", "preview", "-f", path, *where, "--config", "")
    assert result.exit_code == 0, result.output
    assert "functions caught" in result.stdout
    found = json.loads(run("rules", "preview", "-f", path, *where, "--config", "", "--json").stdout)
    assert found["is_exact"] is True
    assert {one["function"].startswith("runtime.") for one in found["functions"]} == {True}
    both = run("rules", "preview", "main", *where, "--config", folder / "rules.json")
    assert "all of" in both.stdout
    is_wrong_usage(run("rules", "preview", *where, "--config", folder / "rules.json"), "main, own, whole")
    fails(run("rules", "preview", "-f", path, *where, "--config", folder / "none"), "cannot be read")


def test_the_largest_functions_are_stored_with_the_rule(folder: Path, tmp_path: Path):
    path = tmp_path / "top.yaml"
    path.write_text("rules: [{name: top, functions: [{glob: '*'}], match: self, profile_types: [cpu], top_k: 2}]")
    where = places(folder)
    assert run("rules", "apply", "-f", path, *where[2:]).exit_code == 0
    hours = [part for hour in hours_of(folder) for part in ("--hour", hour)]
    result = run("rules", "resolve", "top", *where, *hours)
    names = result.stdout.splitlines()
    every = of_rule(folder, {"name": "r", "functions": [{"glob": "*"}], "match": "self", "profile_types": ["cpu"]})
    assert len(names) == 2
    assert max(every.functions, key=lambda one: one.share or 0).function == names[0]
    assert run("rules", "resolve", "top", *where, *hours).stdout == result.stdout
    history = run("rules", "show", "top", "--history", *where[2:]).stdout
    assert history.count("# version") == 2
    assert f"resolved over {len(GOLDEN.jobs)} of {len(GOLDEN.jobs)} jobs" in history
    rule = json.loads(json.dumps({"name": "r", "functions": [{"glob": "*"}], "match": "self", "top_k": 2}))
    assert of_rule(folder, rule).series == 0
    found = of_rule(folder, rule | {"resolved": names, "profile_types": ["cpu"]})
    assert {one.function for one in found.functions} == set(names)
    fails(run("rules", "resolve", "none", *where), "no rule 'none' with top_k")
    run("rules", "delete", "top", *where[2:])


def hours_of(folder: Path) -> list[str]:
    ledger = ledger_of(folder)
    try:
        return HourRecords(ledger).hours()
    finally:
        ledger.close()
