"""Series of made jobs, against the slow evaluation and by hand where names and counts matter."""

import itertools
import json
from dataclasses import replace
from fnmatch import fnmatchcase
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyro_assets.rules.config import DEFAULT_GAUGES, SeriesConfig, parse_config
from pyro_assets.rules.language import Rule
from pyro_assets.rules.names import metric_name
from pyro_assets.series import compiled, label_sets
from pyro_assets.series.compiled import compile_rules
from pyro_assets.series.derive import Derived, derive, derive_jobs
from pyro_assets.series.facts import JobInfo
from tests.oracle import series as slow_series
from tests.support.series_jobs import ALLOC, GOROUTINES, JOB, JOBS, frame, job, of_tenant, profile, sample
from tests.support.series_values import values_of
from tests.support.strategies import CPU, INUSE

CPU_METRIC = metric_name(CPU)
FUNCTIONS = "pyroscope_exported_metrics_functions_"


def config_of(functions: dict[str, str] | None = None, rules: list[dict[str, Any]] | None = None) -> SeriesConfig:
    return parse_config(json.dumps({"functions": functions or {}, "recording_rules": rules or []}))


def rule(name: str, *matchers: str, by: tuple[str, ...] = (), function: str | None = None, **external: str) -> Any:
    external_labels = [{"name": key, "value": value} for key, value in external.items()]
    one = {"id": name, "metric_name": f"recorded_{name}", "matchers": list(matchers), "group_by": list(by)}
    one["external_labels"] = external_labels
    if function is not None:
        one["stacktrace_filter"] = {"function_name": {"function_name": function, "metric_type": 0}}
    return one


def is_gauge(profile_type: str) -> bool:
    return any(fnmatchcase(profile_type.split(":")[1], gauge) for gauge in DEFAULT_GAUGES)


def by_labels(derived: Derived, kind: str, *names: str) -> dict[tuple[str | None, ...], int]:
    """Values by the values of some labels."""
    result = {}
    for row in derived.frames[kind].iter_rows(named=True):
        labels = {label["name"]: label["value"] for label in row["labels"]}
        key = tuple(labels.get(name) for name in names)
        assert key not in result
        result[key] = row["value_int"]
    return result


# --- Dimension series ---------------------------------------------------------------------------------------


def test_one_series_per_profile_type_and_public_labels():
    columns, rows = job(
        profile([1, 2], pod="a"),
        profile([4], pod="a", time_ns=9),
        profile([8], pod="b"),
        profile([16], ALLOC, pod="a"),
        profile([32], service=b"till", pod="a"),
    )
    derived = derive(columns, JOB, SeriesConfig())
    assert values_of(derived, "dimension") == slow_series.native(rows, 3, is_gauge)
    frame = derived.frames["dimension"]
    assert frame.columns == ["tenant", "metric", "labels", "timestamp_ms", "value", "value_int", "rule", "job"]
    assert frame.schema["labels"] == pl.List(pl.Struct({"name": pl.String, "value": pl.String}))
    first = frame.filter(metric=CPU_METRIC).row(0, named=True)
    assert first["labels"] == [
        {"name": "pod", "value": "a"},
        {"name": "pyroscope_shard", "value": "3"},
        {"name": "service_name", "value": "shop"},
    ]
    assert (first["tenant"], first["timestamp_ms"], first["value"]) == ("acme", 1_700_000_000_123, 7.0)
    assert (first["rule"], first["job"]) == ("dimensions", "job-1")
    assert derived.facts.series == {"dimension": 4, "function": 0}


def test_series_that_differ_in_private_labels_only_are_summed():
    columns, _ = job(
        profile([1], pod="a", labels=((b"__session_id__", b"1"),)),
        profile([2], pod="a", labels=((b"__session_id__", b"2"),)),
        profile([4], pod="a", labels=((b"zone", b""),)),
    )
    derived = derive(columns, JOB, SeriesConfig())
    assert by_labels(derived, "dimension", "pod") == {("a",): 7}
    assert derived.facts.merged_series == 0


def test_selectors_and_labels_of_dimensions():
    columns, _ = job(
        profile([1], pod="a", env="prod"),
        profile([2], pod="b", env="prod"),
        profile([4], pod="a", env="test"),
        profile([8], ALLOC, pod="a"),
    )
    text = "dimensions: {selectors: ['{env=\"prod\"}', '{pod=\"a\"}'], drop_labels: [pod, service_name]}"
    assert by_labels(derive(columns, JOB, parse_config(text)), "dimension", "env", "pod") == {
        ("prod", None): 3,
        ("test", None): 4,
        (None, None): 8,
    }
    keep = parse_config("dimensions: {keep_labels: [service_name]}")
    kept = values_of(derive(columns, JOB, keep))
    labels = (("pyroscope_shard", "3"), ("service_name", "shop"))
    assert kept == {("acme", CPU_METRIC, labels): 7, ("acme", metric_name(ALLOC), labels): 8}
    off = parse_config("dimensions: {selectors: []}")
    assert derive(columns, JOB, off).frames["dimension"].height == 0


def test_expressions_that_hang_pythons_re_are_run_in_rules_of_every_form():
    columns, _ = job(profile([1], pod="a" * 40), profile([2], pod="a" * 63 + "!"))
    never, some = ".{0,99}" * 20 + "~", "a?" * 32 + "a" * 32 + "!?"
    config = config_of({"f": f'{{pod=~"{never}"}}'}, [rule("r", f'{{pod=~"{some}"}}', by=("pod",))])
    rules = [Rule(name="a", selector=f'{{pod!~"{never}"}}', by=["pod"])]
    derived = derive(columns, JOB, config.model_copy(update={"rules": rules}))
    found = {(row["rule"], row["value_int"]) for row in derived.frames["dimension"].iter_rows(named=True)}
    assert {pair for pair in found if pair[0] != "dimensions"} == {("r", 1), ("r", 2), ("a", 1), ("a", 2)}


def test_flows_are_summed_and_of_gauges_the_last_counts():
    given = [
        profile([sample(value, b"f")], kind, pod=pod, time_ns=time)
        for kind in (CPU, INUSE, GOROUTINES, ALLOC)
        for pod, time, value in [("a", 1, 1), ("a", 3, 2), ("a", 2, 4), ("b", 1, 8)]
    ]
    columns, rows = job(*given)
    derived = derive(columns, JOB, config_of({"f": "{}"}, [rule("sum", by=("pod",)), rule("f", function="f")]))
    expected = slow_series.native(rows, 3, is_gauge) | slow_series.native(rows, 3, is_gauge, function="f")
    assert values_of(derived, prefix="pyroscope") == expected
    of_a = {
        key[1]: value for key, value in expected.items() if dict(key[2])["pod"] == "a" and "functions" not in key[1]
    }
    assert of_a == {metric_name(CPU): 7, metric_name(ALLOC): 7, metric_name(INUSE): 2, metric_name(GOROUTINES): 2}
    # Imported rules always sum: four types, 7 of a and 8 of b each.
    assert sorted(values_of(derived, prefix="recorded_").values()) == [4 * 7, 4 * 8, 4 * 15]


def test_profiles_that_share_the_last_time_of_a_gauge_all_count():
    columns, rows = job(profile([1], INUSE, time_ns=1), profile([2], INUSE, time_ns=5), profile([4], INUSE, time_ns=5))
    derived = derive(columns, JOB, SeriesConfig())
    assert list(values_of(derived).values()) == [6]
    assert values_of(derived) == slow_series.native(rows, 3, is_gauge)


def test_a_private_label_makes_no_other_target():
    columns, rows = job(
        profile([1], INUSE, time_ns=1, labels=((b"__session_id__", b"1"),)),
        profile([2], INUSE, time_ns=2, labels=((b"__session_id__", b"1"),)),
        profile([4], INUSE, time_ns=1, labels=((b"__session_id__", b"2"),)),
        split=True,
    )
    derived = derive(columns, JOB, SeriesConfig())
    assert list(values_of(derived).values()) == [2]
    assert values_of(derived) == slow_series.native(rows, 3, is_gauge)


def test_parts_of_the_last_profile_count_and_older_profiles_give_no_series():
    given = [
        profile([sample(value, b"f")], GOROUTINES, time_ns=time, number=number, **labels)
        for value, time, number, labels in [
            (10, 1, 1, {"rid": "1", "pod": "a"}),
            (20, 1, 1, {"rid": "2", "pod": "a"}),
            (15, 2, 2, {"rid": "3", "pod": "a"}),
            (16, 2, 2, {"pod": "a"}),  # a part without the label
            (40, 1, 3, {"rid": "1", "pod": "b"}),
            (50, 1, 4, {"rid": "1", "pod": "b"}),  # of the same time
        ]
    ]
    columns, rows = job(*given, split=True)
    derived = derive(columns, JOB, config_of({"f": "{}"}, [rule("all", by=("pod",))]))
    expected = {("a", "3"): 15, ("a", None): 16, ("b", "1"): 90}
    assert by_labels(derived, "function", "pod", "rid") == expected
    native = slow_series.native(rows, 3, is_gauge) | slow_series.native(rows, 3, is_gauge, function="f")
    assert values_of(derived, prefix="pyroscope") == native
    # Imported rules add up every profile, as the original does.
    assert sorted(values_of(derived, prefix="recorded_").values()) == [61, 90]


def test_a_profile_is_of_one_tenant_service_and_type():
    given = [
        profile([value], kind, service, time_ns=value, number=7, pod=pod)
        for value, (service, kind) in enumerate(itertools.product((b"shop", b"till"), (INUSE, GOROUTINES)), 1)
        for pod in "ab"
    ]
    columns, rows = job(*given, *[of_tenant(b"globex", one) for one in given[:3]])
    assert values_of(derive(columns, JOB, SeriesConfig())) == slow_series.native(rows, 3, is_gauge)
    text = "dimensions: {selectors: []}\nrules: [{name: r, aggregate: count, metric: m, profile_types: ['*'], by: []}]"
    assert {key[0]: value for key, value in values_of(derive(columns, JOB, parse_config(text))).items()} == {
        "acme": 4,
        "globex": 2,
    }


def test_jobs_by_one_set_of_queries_are_what_each_gives_alone():
    given = [
        [profile([sample(5, b"f"), sample(2, b"g")], pod="a", env=env), profile([sample(3, b"f")], INUSE, time_ns=time)]
        for env, time in (("x", 1), ("y", 5), ("x", 3))
    ]
    alone = [job(*own)[0] for own in given]
    together, _ = job(*[of_tenant(b"%d" % number, one) for number, own in enumerate(given) for one in own])
    job_of_dataset = np.array([int(dataset.tenant) for dataset in together.datasets])
    together = replace(together, datasets=[replace(dataset, tenant=b"acme") for dataset in together.datasets])
    jobs = [JobInfo(f"job-{number}", number, 1_000 + number, f"{number}") for number in range(3)]
    limited = {"name": "most", "functions": [{"glob": "*"}], "labels": {"n": "1"}, "max_series": 1}
    config = config_of({"f": "{}", "none": "{}"}, [rule("r", by=("env",))])
    config = config.model_copy(update={"rules": parse_config(json.dumps({"rules": [limited]})).rules})
    for derived, columns, info in zip(derive_jobs(together, job_of_dataset, jobs, config), alone, jobs, strict=True):
        expected = derive(columns, info, config)
        assert all(derived.frames[kind].equals(expected.frames[kind]) for kind in ("dimension", "function"))
        assert derived.facts == expected.facts
        assert derived.facts.dropped_series == 3


def test_without_ids_every_row_is_a_profile():
    columns, _ = job(profile([1], CPU, pod="a"), profile([2], CPU, pod="b"))
    text = "dimensions: {selectors: []}\nrules: [{name: r, aggregate: mean, by: []}]"
    [frame] = [one for one in derive(columns, JOB, parse_config(text)).frames.values() if len(one)]
    assert frame["value"].to_list() == [1.5]


def test_gauges_are_what_the_configuration_says():
    columns, _ = job(*[profile([value], kind, time_ns=value) for kind in (CPU, INUSE) for value in (1, 2)])
    none = derive(columns, JOB, parse_config("gauges: []"))
    assert sorted(values_of(none).values()) == [3, 3]
    cpu = derive(columns, JOB, parse_config(f"gauges: ['{CPU.decode()}']"))
    assert {key[1]: value for key, value in values_of(cpu).items()} == {metric_name(CPU): 2, metric_name(INUSE): 3}
    globbed = derive(columns, JOB, parse_config("gauges: ['memory:*:*:*:*', 'c?u']"))
    assert sorted(values_of(globbed).values()) == [2, 2]


def test_tenants_with_equal_fingerprints_or_similar_names_stay_apart():
    given = profile([sample(1, b"f")])
    columns, _ = job(given, of_tenant(b"globex", given), of_tenant(b"\xff", given), of_tenant(rb"\xff", given))
    assert len(set(columns.series.fingerprint.tolist())) == 1
    derived = derive(columns, JOB, config_of({"f": "{}"}, [rule("a", function="f")]))
    for kind, per_tenant in (("dimension", 1), ("function", 2)):
        counts = derived.frames[kind].group_by("tenant").len().sort("tenant").rows()
        tenants = ["\\x5cxff", "\\xff", "acme", "globex"]
        assert counts == [(tenant, per_tenant) for tenant in tenants]


def test_equal_fingerprints_of_different_labels_do_not_matter():
    columns, rows = job(profile([1], pod="a"), profile([2], pod="b"))
    columns.series.fingerprint[:] = 7
    assert values_of(derive(columns, JOB, SeriesConfig())) == slow_series.native(rows, 3, is_gauge)


# --- Function series ----------------------------------------------------------------------------------------


def test_functions_with_selectors():
    columns, _ = job(
        profile([sample(1, b"main", b"f"), sample(2, b"main")], vehicle="bike"),
        profile([sample(4, b"f", b"g", b"f"), sample(8, b"g")], vehicle="car"),
        profile([sample(16, frame(b"x", b"f"))]),
        profile([sample(32, b"f")], ALLOC, vehicle="bike"),
    )
    functions = {"f": "{}", "g": '{vehicle=~"b.*|c.*"}', "main": '{vehicle=""}', "x": '{vehicle!="car"}', "y": "{}"}
    derived = derive(columns, JOB, config_of(functions))
    values = {
        (dict(labels)["function"], dict(labels).get("vehicle"), metric): value
        for (_, metric, labels), value in values_of(derived, "function").items()
    }
    cpu, alloc = metric_name(CPU, FUNCTIONS), metric_name(ALLOC, FUNCTIONS)
    assert values == {
        ("f", "bike", cpu): 1,
        ("f", "car", cpu): 4,
        ("f", None, cpu): 16,
        ("f", "bike", alloc): 32,
        ("g", "car", cpu): 12,
        ("x", None, cpu): 16,
    }
    # f: 4 label sets, g: 3 (bike of two types, car), main: 1, x: 3 (bike of two types, none), y: 4
    assert derived.facts.skipped_zero_series == (4 + 3 + 1 + 3 + 4) - 6
    assert set(derived.frames["function"]["rule"]) == {"function:f", "function:g", "function:x"}


def test_a_function_that_cancels_out_has_no_series_but_is_counted():
    columns, _ = job(profile([sample(5, b"f"), sample(-5, b"f"), sample(1, b"g")]))
    derived = derive(columns, JOB, config_of({"f": "{}"}, [rule("r", function="f")]))
    assert [(row["rule"], row["value_int"]) for row in derived.frames["function"].iter_rows(named=True)] == [("r", 0)]
    assert derived.facts.skipped_zero_series == 1


def test_symbols_shared_by_two_profile_types_of_which_the_second_has_the_rule():
    shared = [sample(3, b"main", b"f"), sample(4, b"main")]
    columns, _ = job(profile(shared, CPU), profile(shared, INUSE))
    text = '{__profile_type__="memory:inuse_space:bytes:space:bytes"}'
    derived = derive(columns, JOB, config_of({"f": text}, [rule("r", text, function="main")]))
    assert {(row["metric"], row["value_int"]) for row in derived.frames["function"].iter_rows(named=True)} == {
        (metric_name(INUSE, FUNCTIONS), 3),
        ("recorded_r", 7),
    }


def test_own_label_called_function_moves_aside():
    columns, _ = job(profile([sample(1, b"f")], function="theirs", tenant="t", pyroscope_shard="s"))
    derived = derive(columns, JOB, config_of({"f": "{}"}))
    row = derived.frames["function"].row(0, named=True)
    assert [(label["name"], label["value"]) for label in row["labels"]] == [
        ("exported_function", "theirs"),
        ("exported_pyroscope_shard", "s"),
        ("exported_tenant", "t"),
        ("function", "f"),
        ("pyroscope_shard", "3"),
        ("service_name", "shop"),
    ]


# --- Imported recording rules -------------------------------------------------------------------------------


def test_recording_rules_as_the_original_evaluates_them():
    columns, rows = job(
        profile([sample(1, b"main", b"f")], vehicle="bike", region="eu"),
        profile([sample(2, b"main")], vehicle="car"),
        profile([sample(4, b"main", b"f")]),
        profile([sample(8, b"f")], ALLOC, vehicle="bike"),
        profile([sample(16, b"g")], INUSE, time_ns=1),
        profile([sample(32, b"g")], INUSE, time_ns=2),
    )
    cpu = '{__profile_type__="process_cpu:cpu:nanoseconds:cpu:nanoseconds"}'
    given = [
        rule("total", cpu),
        rule("by", cpu, by=("vehicle", "region", "service_name", "absent")),
        rule("two", cpu, '{vehicle=~"b.+"}', team="perf", empty=""),
        rule("none", '{service_name="other"}'),
        rule("all"),
        rule("f", cpu, by=("vehicle",), function="f"),
        rule("nowhere", cpu, by=("vehicle",), function="nowhere"),
        rule("f2", '{vehicle=""}', by=("service_name",), function="f", team="x"),
        rule("main", by=("region",), function="main"),
    ]
    derived = derive(columns, JOB, config_of(rules=given))
    expected = slow_series.recorded(rows, given, JOB.instance)
    without_empty = {
        (tenant, metric, tuple(pair for pair in labels if pair[1])): value
        for (tenant, metric, labels), value in expected.items()
    }
    assert values_of(derived, prefix="recorded_") == without_empty
    # f of car, nowhere of bike, car and none, are kept.
    assert sum(value == 0 for value in without_empty.values()) == 4
    in_order = derived.frames["dimension"].filter(pl.col("rule") != "dimensions")["rule"].to_list()
    assert in_order == sorted(in_order)


def test_group_by_of_a_name_that_is_not_legal():
    columns, _ = job(profile([1], labels=((b"k8s.pod", b"p"),)))
    derived = derive(columns, JOB, config_of(rules=[rule("r", by=("k8s.pod",))]))
    row = derived.frames["dimension"].filter(rule="r").row(0, named=True)
    assert [label["name"] for label in row["labels"]] == ["k8s.pod", "profiles_rule_id", "pyroscope_instance"]


# --- Exactness ----------------------------------------------------------------------------------------------

MOST = 2**63 - 1


def test_sums_are_exact_to_the_last_bit_and_rounding_is_counted():
    columns, _ = job(
        profile([sample(MOST, b"f")]),
        profile([sample(MOST, b"f")], time_ns=2),
        profile([sample(-MOST, b"f")], time_ns=3),
        profile([sample(2**53, b"f"), sample(1, b"f")], pod="b"),
        profile([sample(2**53, b"f"), sample(2, b"f")], pod="c"),
        profile([sample(-(2**63), b"f")], pod="d"),
    )
    derived = derive(columns, JOB, config_of({"f": "{}"}))
    expected = {(None,): MOST, ("b",): 2**53 + 1, ("c",): 2**53 + 2, ("d",): -(2**63)}
    assert by_labels(derived, "dimension", "pod") == expected
    assert by_labels(derived, "function", "pod") == expected
    assert derived.facts.rounded_values == 2 * 2
    assert derived.facts.negative_samples == 2
    assert derived.frames["dimension"]["value"].to_list().count(2.0**63) == 1


@pytest.mark.parametrize("sign", [1, -1])
def test_a_sum_past_64_bits_costs_its_own_series_and_is_named(sign: int):
    columns, _ = job(
        profile([sample(sign * MOST, b"f"), sample(sign * 7, b"g")], pod="a", time_ns=1),
        profile([sample(sign * 2, b"f")], pod="a", time_ns=2),
        profile([sample(3, b"f")], pod="b"),
        of_tenant(b"globex", profile([sample(5, b"f")], pod="c")),
    )
    derived = derive(columns, JOB, config_of({"f": "{}", "g": "{}"}, [rule("r", by=("pod",))]))
    given = {
        (row["tenant"], row["rule"], {one["name"]: one["value"] for one in row["labels"]}["pod"]): row["value_int"]
        for frame in derived.frames.values()
        for row in frame.iter_rows(named=True)
    }
    ids = ("dimensions", "function:f", "r")
    of_others = {("acme", name, "b"): 3 for name in ids} | {("globex", name, "c"): 5 for name in ids}
    assert given == of_others | {("acme", "function:g", "a"): sign * 7}
    assert derived.facts.overflowing_series == len(derived.facts.unmade) == 3
    [first] = [one for one in derived.facts.unmade if one.rule == "dimensions"]
    assert first.tenant == "acme"
    assert f"{CPU_METRIC}{{pod='a', pyroscope_shard='3', service_name='shop'}} a value that does not fit" in str(first)
    assert derived.facts.examples[0] == str(derived.facts.unmade[0])
    # Of another kind, and of a gauge, nothing is too large.
    assert derive(columns, JOB, config_of({"f": "{}"}, []), frozenset()).frames == {}
    gauge = derive(columns, JOB, parse_config("gauges: [cpu]"))
    assert by_labels(gauge, "dimension", "pod") == {("a",): 2 * sign, ("b",): 3, ("c",): 5}
    assert gauge.facts.overflowing_series == 0


# --- Kinds, emptiness, order --------------------------------------------------------------------------------


def test_kinds_that_are_not_asked_for_are_not_there():
    columns, _ = job(profile([sample(1, b"f")]))
    config = config_of({"f": "{}"}, [rule("r"), rule("s", function="f")])
    both = derive(columns, JOB, config)
    assert set(both.frames) == {"dimension", "function"}
    for kind in ("dimension", "function"):
        only = derive(columns, JOB, config, frozenset({kind}))
        assert set(only.frames) == {kind}
        assert only.frames[kind].equals(both.frames[kind])
        assert only.facts.series == {kind: 2}


@pytest.mark.parametrize("text", ["", "dimensions: {selectors: []}", "functions: {f: '{}'}"])
def test_nothing_in_nothing_out(text: str):
    for profiles in ([], [profile([])]):
        columns, _ = job(*profiles)
        derived = derive(columns, JOB, parse_config(text))
        rows = len(profiles) if "selectors" not in text else 0
        assert [derived.frames[kind].height for kind in ("dimension", "function")] == [rows, 0]
        assert derived.frames["function"].schema == derived.frames["dimension"].schema


def test_series_nobody_refers_to_make_none():
    columns, _ = job(profile([1], pod="a"), profile([2], pod="b"))
    columns.rows.series[:] = 0
    assert by_labels(derive(columns, JOB, SeriesConfig()), "dimension", "pod") == {("a",): 3}


def test_order_of_sources_and_rules_has_no_say():
    given = [
        profile([sample(value, b"f")], kind, pod=pod, time_ns=value)
        for value, (kind, pod) in enumerate(itertools.product((CPU, INUSE, ALLOC), "abc"))
    ]
    own_rules = [rule(name, by=("pod",), function=f) for name, f in [("b", "f"), ("a", None), ("c", "x")]]
    one = derive(job(*given)[0], JOB, config_of({"f": "{}", "g": "{}"}, own_rules))
    other = derive(job(*given[::-1], split=True, seed=5)[0], JOB, config_of({"g": "{}", "f": "{}"}, own_rules[::-1]))
    for kind in ("dimension", "function"):
        assert one.frames[kind].equals(other.frames[kind])
        keys = one.frames[kind].select("tenant", "rule", "metric").rows()
        assert keys == sorted(keys)


def test_what_was_seen_before_has_no_say(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(label_sets, "_REMEMBERED", 3)
    config = config_of({"f": "{}", "fresh rules": "{}"}, [rule("r", by=("pod",))])
    for number in range(8):
        columns, rows = job(*[profile([sample(number, b"f")], pod=f"p{n}") for n in range(number, number + 3)])
        derived = derive(columns, JOB, config)
        expected = slow_series.native(rows, 3, is_gauge)
        assert values_of(derived, prefix=CPU_METRIC) == expected
        assert len(compile_rules(config).labels._memory.meanings) <= 3 + 3


def test_equal_configurations_share_their_rules():
    text = "functions: {shared: '{}'}"
    assert compile_rules(parse_config(text)) is compile_rules(parse_config(text))
    for number in range(20):
        compile_rules(parse_config(f"functions: {{f{number}: '{{}}'}}"))
    assert len(compile_rules.known()) == compiled._COMPILED


# --- Facts --------------------------------------------------------------------------------------------------


def test_facts_of_services():
    native, plain = frame(), b"main"
    columns, _ = job(
        profile([sample(1, plain, native), sample(2, native, plain), sample(3, plain), 4]),
        profile([sample(-5, native)], ALLOC),
        profile([sample(6, frame(None))], service=b"till"),
        of_tenant(b"\xfe", profile([])),
        split=True,
    )
    facts = derive(columns, JOB, SeriesConfig()).facts
    assert [
        (s.tenant, s.service, s.profiles, s.samples, s.unsymbolised_samples, s.dangling) for s in facts.services
    ] == [
        ("acme", "shop", 2, 5, 2, 0),
        ("acme", "till", 1, 1, 0, 1),
        ("\\xfe", "shop", 1, 0, 0, 0),
    ]
    assert facts.negative_samples == 1
    assert json.loads(json.dumps(facts.to_dict()))["services"][0]["unsymbolised_samples"] == 2


def test_labels_that_collide_are_reported_and_kept_apart():
    columns, _ = job(profile([1], labels=((b"a.b", b"x"), (b"a_b", b"y"))))
    derived = derive(columns, JOB, SeriesConfig())
    assert by_labels(derived, "dimension", "a_b", "a.b") == {("y", "x"): 1}
    assert (derived.facts.label_collisions, derived.facts.merged_series) == (1, 0)
    why = "label 'a.b' cannot be called 'a_b', another label is: it is called 'U__a_2e_b'"
    assert derived.facts.collision_examples == [why]
    by = derive(columns, JOB, config_of(rules=[rule("r", by=("a.b", "service_name"))])).facts
    assert by.label_collisions == 1  # of the dimensions alone: what stands beside has no say


def test_labels_that_collide_in_rules_alone_are_reported():
    columns, _ = job(profile([1], labels=((b"a.b", b"x"), (b"a_b", b"y"))), profile([2], pod="b"))
    rules = [Rule(name="some", selector='{"a.b"="x"}'), Rule(name="none", selector='{pod="c"}')]
    only_rules = parse_config("dimensions: {selectors: []}").model_copy(update={"rules": rules})
    facts = derive(columns, JOB, only_rules).facts
    assert (facts.label_collisions, facts.merged_series, len(facts.collision_examples)) == (1, 0, 1)
    assert derive(columns, JOB, only_rules.model_copy(update={"rules": rules[1:]})).facts.label_collisions == 0


def test_label_sets_that_become_one_series_are_reported():
    columns, _ = job(
        profile([1], labels=((b"a.b", b"x"),)),
        profile([2], labels=((b"a_b", b"x"),)),
        profile([4], labels=((b"a-b", b"x"),)),
        of_tenant(b"globex", profile([8], labels=((b"a-b", b"x"),))),
    )
    derived = derive(columns, JOB, SeriesConfig())
    assert sorted(values_of(derived).values()) == [1, 2, 4, 8]  # they are added up where they are sent so
    assert (derived.facts.label_collisions, derived.facts.merged_series) == (0, 1)
    assert "different labels became one series" in derived.facts.collision_examples[0]
    assert f"'pyroscope_shard': '{JOB.shard}'" in derived.facts.collision_examples[0]


def test_profile_types_that_become_one_metric_are_reported():
    columns, _ = job(profile([1], b"a.b:c:d:e:f"), profile([2], b"a_b:c:d:e:f"))
    derived = derive(columns, JOB, SeriesConfig())
    assert list(values_of(derived).values()) == [3]
    assert derived.facts.merged_series == 1


# --- Against the slow evaluation ----------------------------------------------------------------------------

SELECTORS = ["{}", '{pod="x"}', '{pod!="x", env=""}', '{env=~"x|y"}', '{a_b!~".+"}', '{"a.b"=~".*"}', '{function="x"}']
SLOW_SELECTORS = [text.replace('"a.b"=~', "a.b=~") for text in SELECTORS]
FUNCTION_NAMES = ["main.main", "main.work", "a", "größe", "x" * 1000, "nowhere"]
RULES = st.lists(
    st.builds(
        lambda selectors, by, function, external: (selectors, tuple(by), function, external),
        st.lists(st.integers(0, len(SELECTORS) - 1), max_size=2),
        st.lists(st.sampled_from(["pod", "env", "service_name", "absent"]), max_size=3, unique=True),
        st.none() | st.sampled_from(FUNCTION_NAMES),
        st.fixed_dictionaries({}, optional={"team": st.just("t")}),
    ),
    max_size=4,
)


def fits(value: int) -> bool:
    return -(2**63) <= value < 2**63


@given(
    JOBS,
    RULES,
    st.dictionaries(st.sampled_from(FUNCTION_NAMES), st.integers(0, len(SELECTORS) - 1), max_size=4),
    st.integers(0, 5),
    st.booleans(),
)
def test_any_job_as_by_slow_evaluation(jobs, given_rules, functions, seed, split):
    columns, rows = job(*jobs, split=split, seed=seed)
    own = [
        rule(f"r{number}", *[SELECTORS[s] for s in selectors], by=by, function=function, **external)
        for number, (selectors, by, function, external) in enumerate(given_rules)
    ]
    slow_rules = [
        one | {"matchers": [SLOW_SELECTORS[s] for s in selectors]}
        for one, (selectors, *_) in zip(own, given_rules, strict=True)
    ]
    dimension = slow_series.native(rows, 3, is_gauge)
    function: dict[Any, int] = {}
    skipped = 0
    for name, selector in functions.items():
        values = slow_series.native(rows, 3, is_gauge, function=name, selector=SLOW_SELECTORS[selector])
        skipped += sum(not value for value in values.values())
        function |= {key: value for key, value in values.items() if value}
    recorded = slow_series.recorded(rows, slow_rules, JOB.instance)
    expected = dimension | function | recorded
    config = config_of({name: SELECTORS[s] for name, s in functions.items()}, own)
    # A total is stored modulo 2**64, so the slow sums of samples are compared where that makes no difference.
    if not all(-(2**63) <= sum(s.value for s in row.profile.samples) < 2**63 for row in rows):
        return
    derived = derive(columns, JOB, config)
    assert derived.facts.overflowing_series == sum(not fits(value) for value in expected.values())
    expected = {key: value for key, value in expected.items() if fits(value)}
    assert values_of(derived) == expected
    assert derived.facts.skipped_zero_series == skipped
    assert derived.facts.rounded_values == sum(int(float(value)) != value for value in expected.values())
    assert derived.facts.negative_samples == sum(s.value < 0 for row in rows for s in row.profile.samples)
