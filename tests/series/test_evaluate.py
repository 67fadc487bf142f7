"""Rules of the language against an evaluation that goes through every sample in plain Python."""

import json
from fnmatch import fnmatchcase
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from pyro_assets.rules.config import DEFAULT_GAUGES, SeriesConfig, parse_config
from pyro_assets.series.compiled import compile_rules
from pyro_assets.series.derive import Derived, derive
from tests.oracle import rules as slow_rules
from tests.support.series_jobs import ALLOC, GOROUTINES, JOB, JOBS, frame, job, of_tenant, profile, sample
from tests.support.strategies import CPU, INUSE

Series = dict[Any, Fraction]
FITS = (-(2**63), 2**63 - 1)


def is_gauge(profile_type: str) -> bool:
    return any(fnmatchcase(profile_type.split(":")[1], gauge) for gauge in DEFAULT_GAUGES)


def config_of(*rules: dict[str, Any], **more: Any) -> SeriesConfig:
    return parse_config(json.dumps({"dimensions": {"selectors": []}, "rules": list(rules)} | more))


def values_of(derived: Derived, rule: str | None = None) -> Series:
    values: Series = {}
    for part in derived.frames.values():
        for row in part.iter_rows(named=True):
            if rule is not None and row["rule"] != rule:
                continue
            labels = tuple((label["name"], label["value"]) for label in row["labels"])
            assert list(labels) == sorted(labels)
            key = (row["tenant"], row["metric"], labels)
            assert key not in values
            exact = row["value_int"]
            values[key] = Fraction(row["value"]) if exact is None else Fraction(exact)
    return values


def same(found: Series, expected: Series) -> None:
    assert found.keys() == expected.keys()
    for key, value in expected.items():
        assert float(found[key]) == pytest.approx(float(value), rel=1e-12), key
        if value.denominator == 1:
            assert found[key] == value, key


PATTERNS: list[Any] = [
    "main.main",
    "a",
    "x" * 1000,
    {"glob": "main.*"},
    {"glob": "?"},
    {"glob": "*"},
    {"regex": "main\\.(main|work)|b"},
    {"regex": "gr.*e"},
    {"exact": "größe"},
]
PATHS: list[Any] = [
    ["main.main", "a"],
    ["main.main", "...", "a"],
    [{"glob": "*"}, {"glob": "*"}, "...", "b"],
    ["a", "a"],
    ["a", "...", "a", "...", {"glob": "main.*"}],
]
FUNCTION_RULES = st.fixed_dictionaries(
    {"functions": st.lists(st.sampled_from(PATTERNS), min_size=1, max_size=3)},
    optional={
        "stack": st.sampled_from(PATHS),
        "exclude": st.lists(st.sampled_from(PATTERNS[:5]), max_size=2),
        "match": st.sampled_from(["total", "self"]),
        "combine": st.booleans(),
        "aggregate": st.sampled_from(["sum", "mean", "max", "min", "last", "count"]),
    },
)
WHOLE_RULES = st.fixed_dictionaries(
    {}, optional={"aggregate": st.sampled_from(["sum", "mean", "max", "min", "last", "count"])}
)
COMMON = st.fixed_dictionaries(
    {},
    optional={
        "selector": st.sampled_from(["{}", '{pod="x"}', '{env=~"x|y"}', '{pod!="x"}', '{service_name="shop"}']),
        "profile_types": st.sampled_from([["cpu"], ["inuse_*", "goroutine"], [CPU.decode()]]),
        "tenants": st.sampled_from([["acme"], ["acme", "globex"]]),
        "by": st.sampled_from([[], ["pod"], ["pod", "service_name"]]),
        "labels": st.sampled_from([{"team": "x"}, {"env": "fixed"}]),
    },
)
RULES = st.tuples(st.one_of(FUNCTION_RULES, WHOLE_RULES), COMMON).map(lambda pair: pair[0] | pair[1])


@given(JOBS, st.lists(RULES, min_size=1, max_size=4), st.integers(0, 3), st.booleans(), st.randoms())
def test_any_rules_as_by_slow_evaluation(jobs, given_rules, seed, split, random):
    columns, rows = job(*jobs, split=split, seed=seed)
    # A label of its own keeps apart what several rules make.
    rules = [
        rule | {"name": f"r{number}", "labels": rule.get("labels", {}) | {"n": str(number)}}
        for number, rule in enumerate(given_rules)
    ]
    derived = derive(columns, JOB, config_of(*rules))
    left_out = 0
    for rule in rules:
        expected = slow_rules.evaluate(rule, rows, 3, is_gauge)
        fitting = {key: value for key, value in expected.items() if FITS[0] <= value <= FITS[1]}
        left_out += len(expected) - len(fitting)
        same(values_of(derived, rule["name"]), fitting)
    assert derived.facts.overflowing_series == left_out
    random.shuffle(rules)
    other, _ = job(*jobs, split=not split, seed=seed + 1)
    assert values_of(derive(other, JOB, config_of(*rules))) == values_of(derived)


def of_positive(one: Any) -> Any:
    """A profile whose samples are worth something."""
    samples = tuple(item._replace(value=abs(item.value)) for item in one.samples)
    return one._replace(samples=samples, total_value=sum(item.value for item in samples))


@given(JOBS, st.sampled_from([[{"glob": "*"}], ["a", "b"], [{"glob": "main.*"}]]), st.sampled_from([2, 10_000]))
def test_total_is_at_least_self_and_self_with_the_rest_is_the_whole(jobs, functions, most):
    jobs = [(tenant, service, of_positive(one)) for tenant, service, one in jobs]
    columns, _ = job(*jobs)
    rules = [
        {"name": "total", "functions": functions, "labels": {"n": "total"}},
        {"name": "self", "functions": functions, "match": "self", "other": True, "max_series": most}
        | {"overflow": "keep_largest"},
        {"name": "whole"},
    ]
    derived = derive(columns, JOB, config_of(*rules))
    assume(not derived.facts.overflowing_series)
    total, own, whole = (values_of(derived, name) for name in ("total", "self", "whole"))
    sums: Series = {}
    for (tenant, metric, labels), value in own.items():
        rest = tuple(label for label in labels if label[0] != "function")
        key = (tenant, metric.replace("functions_", ""), rest)
        sums[key] = sums.get(key, Fraction(0)) + value
        if ("function", "__other__") not in labels:
            assert total[tenant, metric, tuple(sorted((*labels, ("n", "total"))))] >= value
    for (tenant, metric, labels), value in total.items():
        rest = tuple(label for label in labels if label[0] not in ("function", "n"))
        assert value <= whole[tenant, metric.replace("functions_", ""), rest]
    assert sums == {key: value for key, value in whole.items() if value}


def test_the_short_form_and_its_equal_in_the_language():
    given = [
        profile([sample(1 << n, b"main.main", b"f" if n % 2 else b"g")], kind, pod=pod, time_ns=n)
        for n, (kind, pod) in enumerate([(CPU, "a"), (INUSE, "a"), (CPU, "b"), (INUSE, "a"), (ALLOC, "b"), (CPU, "a")])
    ]
    columns, _ = job(*given)
    names = ["f", "g", "main.main", "none"]
    short = derive(columns, JOB, parse_config(json.dumps({"functions": dict.fromkeys(names, '{pod="a"}')})))
    rule = {"name": "all", "functions": names, "selector": '{pod="a"}'}
    assert values_of(derive(columns, JOB, config_of(rule))) == {
        key: value for key, value in values_of(short).items() if "functions_" in key[1]
    }


def test_recursion_inlining_and_frames_without_function():
    columns, rows = job(
        profile(
            [
                sample(1, b"a", b"a", b"b"),
                sample(2, frame(b"b", b"a"), b"c"),  # b inlined into a
                sample(4, b"a", frame(), b"b"),
                sample(8, b"a", b"c", frame(None)),
            ]
        )
    )

    def value(**rule: Any) -> dict[str, int]:
        found = values_of(derive(columns, JOB, config_of({"name": "r", **rule})))
        same(found, slow_rules.evaluate({"name": "r", **rule}, rows, 3, is_gauge))
        return {dict(labels).get("function", ""): int(one) for (_, _, labels), one in found.items()}

    assert value(functions=["a", "b", "c"]) == {"a": 15, "b": 7, "c": 10}
    assert value(functions=["a", "b", "c"], match="self") == {"b": 5, "c": 2}
    assert value(stack=["a", "b"]) == {"b": 3}
    assert value(stack=["a", "...", "b"]) == {"b": 7}
    assert value(stack=["a", "b", "c"]) == {"c": 2}
    assert value(functions=["a"], stack=["a", "a"]) == {"a": 1}
    assert value(functions=["a", "b"], combine=True) == {"": 15}
    assert value(functions=["a"], exclude=["c"]) == {"a": 5}
    assert value(functions=["a"], exclude=[{"glob": "[bc]"}]) == {"a": 15}  # a bracket is a bracket


def test_units_labels_and_names():
    columns, rows = job(
        profile([1_500_000_000], pod="a", env="x"),
        profile([500_000_000], pod="b", env="x"),
        profile([7], ALLOC, pod="a", env="x"),
    )
    rule = {"name": "r", "unit": "seconds", "by": ["env"], "labels": {"team": "t"}}
    derived = derive(columns, JOB, config_of(rule))
    metric = "pyroscope_exported_metrics_process_cpu_cpu_nanoseconds_cpu_nanoseconds_seconds"
    labels = (("env", "x"), ("pyroscope_shard", "3"), ("team", "t"))
    assert values_of(derived) == {("acme", metric, labels): 2}
    assert derived.facts.other_units == 1
    assert values_of(derived) == slow_rules.evaluate(rule, rows, 3, is_gauge)
    named = rule | {"metric": "cpu_seconds", "profile_types": ["cpu"], "aggregate": "mean"}
    frame = derive(columns, JOB, config_of(named)).frames["dimension"]
    assert frame.select("metric", "value", "value_int").rows() == [("cpu_seconds", 1.0, 1)]
    half = named | {"by": ["pod"], "aggregate": "max"}
    frame = derive(columns, JOB, config_of(half)).frames["dimension"]
    assert sorted(frame["value"].to_list()) == [0.5, 1.5]
    assert frame["value_int"].to_list() == [None, None]


def test_equal_questions_of_rules_have_one_number():
    compiled = compile_rules(
        config_of(
            {"name": "a", "functions": ["f", {"glob": "g*"}], "exclude": ["x"]},
            {"name": "b", "functions": ["x"], "exclude": ["f", {"glob": "g*"}], "normalize": ["generics"]},
            {"name": "c", "stack": ["x", "...", "y"]},
            {"name": "d", "labels": {"n": "d"}, "functions": ["x"], "stack": ["x", "y"]},
            {"name": "e", "labels": {"n": "e"}, "functions": ["f", {"glob": "g*"}], "stack": ["x", "...", "y"]},
        )
    )
    numbers = {
        rule.id: found
        for rule, *found in zip(compiled.rules, compiled.wanted, compiled.excluded, compiled.path, strict=True)
    }
    assert len(compiled.sets) == len(set(compiled.sets)) == 5
    assert numbers["a"][0] == numbers["e"][0] != numbers["b"][1]
    assert numbers["a"][1] == numbers["d"][0] != numbers["b"][0]
    assert numbers["c"][2] == numbers["e"][2] != numbers["d"][2]
    assert numbers["a"][2] == numbers["b"][2] == -1
    x, y = int(numbers["d"][0]), compiled.paths[numbers["d"][2]][1]
    assert [compiled.paths[numbers[name][2]] for name in ("c", "d")] == [(x, -1, y), (x, y)]


def test_limits():
    given = [profile([sample(10 + n, f"f{n}".encode())], pod="a") for n in range(6)]
    columns, rows = job(*given, *[of_tenant(b"globex", one) for one in given[:2]])
    rule: dict[str, Any] = {"name": "r", "functions": [{"glob": "f?"}], "max_series": 3}
    derived = derive(columns, JOB, config_of(rule))
    same(values_of(derived), slow_rules.evaluate(rule, rows, 3, is_gauge))
    assert (len(values_of(derived)), derived.facts.dropped_series, derived.facts.limited_rules) == (2, 6, 1)
    largest = rule | {"overflow": "keep_largest"}
    derived = derive(columns, JOB, config_of(largest))
    same(values_of(derived), slow_rules.evaluate(largest, rows, 3, is_gauge))
    assert derived.facts.dropped_series == 3


def test_overflow_error_costs_the_rule_of_that_tenant_alone():
    given = [profile([sample(10 + n, f"f{n}".encode())], pod="a") for n in range(6)]
    columns, _ = job(*given, *[of_tenant(b"globex", one) for one in given[:2]])
    rule: dict[str, Any] = {"name": "r", "functions": [{"glob": "f?"}], "max_series": 3, "overflow": "error"}
    other = {"name": "other", "functions": ["f1"], "labels": {"n": "other"}}
    derived = derive(columns, JOB, config_of(rule, other, functions={"f5": "{}"}))
    frame = derived.frames["function"]
    assert frame.group_by("tenant", "rule").len().sort("tenant", "rule").rows() == [
        ("acme", "function:f5", 1),
        ("acme", "other", 1),
        ("globex", "other", 1),
        ("globex", "r", 2),
    ]
    facts = derived.facts
    assert (facts.refused_rules, facts.dropped_series, facts.overflowing_series) == (1, 6, 0)
    assert facts.examples == [
        "rule r gives 6 series in one job and may give 3, so it gave none: narrow it, raise max_series, or choose "
        "overflow: keep_largest (tenant 'acme')"
    ]


def test_a_value_that_does_not_fit_costs_its_own_series():
    most = 2**63 - 1
    columns, rows = job(
        profile([sample(most, b"f"), sample(1, b"g")], time_ns=1, number=1, pod="a"),
        profile([sample(most, b"f"), sample(3, b"g")], time_ns=2, number=2, pod="a"),
        profile([sample(-5, b"f")], time_ns=2, number=3, pod="b"),
        of_tenant(b"globex", profile([sample(2, b"f")], pod="a")),
    )
    rules = [
        {"name": name, "functions": ["f", "g"], "aggregate": name, "labels": {"n": name}}
        for name in ("sum", "mean", "max", "min", "count", "last")
    ]
    derived = derive(columns, JOB, config_of(*rules))
    left_out = {}
    for rule in rules:
        expected = slow_rules.evaluate(rule, rows, 3, is_gauge)
        found = values_of(derived, rule["name"])
        assert found.keys() <= expected.keys()
        left_out[rule["name"]] = expected.keys() - found.keys()
        same(found, {key: expected[key] for key in found})
    assert {name: len(keys) for name, keys in left_out.items() if keys} == {"sum": 1}
    assert derived.facts.overflowing_series == 1
    assert {one.rule for one in derived.facts.unmade} == {"sum"}


def test_the_rest_of_a_total_that_does_not_fit():
    most = 2**63 - 1
    columns, _ = job(
        profile([sample(most, b"f"), sample(most, b"g"), sample(-most, b"h")], pod="a"),
        profile([sample(4, b"f"), sample(3, b"g")], pod="b"),
    )
    columns.rows.total_value[:1] = [most]
    rule = {"name": "r", "functions": ["h"], "match": "self", "other": True}
    derived = derive(columns, JOB, config_of(rule))
    found = {
        (dict(labels)["pod"], dict(labels)["function"]): value for (_, _, labels), value in values_of(derived).items()
    }
    assert found == {("a", "h"): -most, ("b", "__other__"): 7}
    assert derived.facts.overflowing_series == 1


def test_of_two_rules_that_give_one_series_the_first_has_it():
    columns, _ = job(profile([sample(1, b"f"), sample(2, b"g")], pod="a"))
    one, two = {"name": "one", "functions": ["f"]}, {"name": "two", "functions": [{"glob": "?"}], "match": "self"}
    for rules in ([one, two], [two, one]):
        derived = derive(columns, JOB, config_of(*rules))
        assert (len(values_of(derived, "one")), len(values_of(derived, "two"))) == (1, 1)
        assert derived.facts.conflicting_series == 1
        [example] = derived.facts.collision_examples
        assert example.startswith("rule two gives pyroscope_exported_metrics_functions_process_cpu")
        assert example.endswith("which another rule gives already: left out")
    derived = derive(columns, JOB, config_of(one, functions={"f": "{}"}))
    assert derived.frames["function"]["rule"].to_list() == ["function:f"]


def test_a_disabled_rule_gives_nothing_and_folded_names_are_one():
    columns, _ = job(
        profile([sample(1, b"a$$Lambda$1/0x0000abcd.run"), sample(2, b"a$$Lambda$2.run"), sample(4, b"b")])
    )
    rule = {"name": "r", "functions": [{"glob": "a*"}], "normalize": ["lambdas"]}
    assert [dict(labels)["function"] for _, _, labels in values_of(derive(columns, JOB, config_of(rule)))] == [
        "a$$Lambda.run"
    ]
    assert list(values_of(derive(columns, JOB, config_of(rule))).values()) == [3]
    assert not values_of(derive(columns, JOB, config_of(rule | {"enabled": False})))


def test_symbols_of_two_profile_types_of_which_the_second_has_a_rule():
    stack = sample(5, b"f")
    columns, _ = job(profile([stack]), profile([sample(7, b"f")], GOROUTINES))
    found = values_of(
        derive(columns, JOB, config_of({"name": "r", "functions": ["f"], "profile_types": ["goroutine"]}))
    )
    assert list(found.values()) == [7]


def test_a_job_without_profiles():
    columns, _ = job()
    rules = [
        {"name": "a", "functions": ["f"], "tenants": ["acme"]},
        {"name": "b", "aggregate": "mean", "unit": "seconds"},
    ]
    assert values_of(derive(columns, JOB, config_of(*rules))) == {}


def test_no_profile_is_counted_in_which_nothing_matched():
    columns, _ = job(profile([]), profile([sample(1, b"g")], pod="a"))
    rule = {"name": "r", "functions": ["f"], "stack": ["f", "g"]}
    for aggregate in ("count", "mean", "sum"):
        assert values_of(derive(columns, JOB, config_of(rule | {"aggregate": aggregate}))) == {}


def test_two_tenants_whose_series_have_equal_fingerprints():
    """Equal labels give equal fingerprints in the two tenants' indices; nothing of theirs is added up."""
    given = profile([sample(1, b"f"), sample(2, b"g")], pod="a")
    other = profile([sample(10, b"f"), sample(20, b"g")], pod="a")
    columns, _ = job(given, of_tenant(b"globex", other))
    rules = [
        {"name": "each", "functions": ["f", "g"], "by": []},
        {"name": "best", "functions": [{"glob": "?"}], "by": [], "max_series": 1, "overflow": "keep_largest"}
        | {"labels": {"n": "1"}},
        {"name": "mean", "by": [], "aggregate": "mean"},
        {"name": "only", "by": ["pod"], "tenants": ["globex"]},
    ]
    derived = derive(columns, JOB, config_of(*rules))
    found = {
        name: sorted((tenant, int(value)) for (tenant, _, _), value in values_of(derived, name).items())
        for name in ("each", "best", "mean", "only")
    }
    assert found == {
        "each": [("acme", 1), ("acme", 2), ("globex", 10), ("globex", 20)],
        "best": [("acme", 2), ("globex", 20)],
        "mean": [("acme", 3), ("globex", 30)],
        "only": [("globex", 30)],
    }


def test_a_rule_on_a_label_that_some_series_lack():
    columns, _ = job(
        profile([sample(1, b"f")], pod="a", zone="x"),
        profile([sample(2, b"f")], pod="b"),
        profile([sample(4, b"f")], zone="y"),
        profile([sample(8, b"f")]),
    )

    def sums(**rule: Any) -> dict[tuple[tuple[str, str], ...], int]:
        found = values_of(derive(columns, JOB, config_of({"name": "r"} | rule)), "r")
        kept = ("pod", "zone")
        return {tuple(one for one in labels if one[0] in kept): int(value) for (_, _, labels), value in found.items()}

    zone_x, zone_y, pod_b = ("zone", "x"), ("zone", "y"), ("pod", "b")
    for functions in ({}, {"functions": ["f"]}):
        # Grouped by it, series that lack the label are one series without it.
        assert sums(by=["zone"], **functions) == {(zone_x,): 1, (zone_y,): 4, (): 10}
        assert sums(without=["pod"], selector='{service_name="shop"}', **functions) == sums(by=["zone"], **functions)
        # To a matcher, a missing label is the empty text.
        assert sums(by=[], selector='{zone=""}', **functions) == {(): 10}
        assert sums(by=[], selector='{zone!=""}', **functions) == {(): 5}
        assert sums(by=["pod"], selector='{zone!="x", pod=~".+"}', **functions) == {(pod_b,): 2}
        assert sums(by=[], selector='{zone=~"x|"}', **functions) == {(): 11}
        assert sums(by=[], selector='{zone="none"}', **functions) == {}
