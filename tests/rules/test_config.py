# ruff: noqa: E501 - a case of the table reads best on one line
"""The configuration file: what it means, and that every broken one is refused with file, line, field and reason."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyro_assets.errors import ConfigError
from pyro_assets.rules.config import DEFAULT_GAUGES, SeriesConfig, load_config, parse_config

FULL = """
# every field
dimensions:
  selectors: ['{service_name=~"shop.*"}', '{env="prod"}']
  drop_labels: [pod]
functions:
  "foo": "{service_name=\\"my-service\\", vehicle=\\"bike\\"}"
  main.(*Server).Serve: '{}'
  on: '{}'
  12:30: "{}"
  "a: b, [c]; {d}": '{}'
gauges: [inuse_space, "memory:*:*:*:*"]
recording_rules:
  - id: abcdefghij
    metric_name: profiles_recorded_x
    matchers: ['{__profile_type__="process_cpu:cpu:nanoseconds:cpu:nanoseconds"}', '{a!~"b"}']
    group_by: [service_name, k8s.pod]
    external_labels: [{name: team, value: perf}]
    stacktrace_filter:
      function_name: {function_name: runtime.main, metric_type: 0}
  - {id: second, metric_name: m}
"""


def test_everything_that_can_be_said():
    config = parse_config(FULL, "series.yaml")
    assert config.dimensions.selectors == ['{service_name=~"shop.*"}', '{env="prod"}']
    assert config.dimensions.drop_labels == ["pod"]
    assert list(config.functions) == ["foo", "main.(*Server).Serve", "on", "12:30", "a: b, [c]; {d}"]
    assert config.functions["foo"] == '{service_name="my-service", vehicle="bike"}'
    assert config.gauges == ["inuse_space", "memory:*:*:*:*"]
    first, second = config.recording_rules
    assert (first.function, second.function) == ("runtime.main", None)
    assert second.matchers == second.group_by == second.external_labels == []


@pytest.mark.parametrize(
    "text", ["", "# nothing\n", "---\n", "functions:\ndimensions:\ngauges:\nrecording_rules:\n", "{}"]
)
def test_nothing_said_means_dimension_series_of_everything(text: str):
    config = parse_config(text)
    assert config == SeriesConfig()
    assert config.dimensions.selectors == ["{}"]
    assert config.gauges == list(DEFAULT_GAUGES)


def test_a_list_is_a_list_of_recording_rules():
    rules = [{"id": "a", "metric_name": "m", "matchers": ["{}"]}]
    bare = parse_config(json.dumps(rules), "rules.json")
    assert bare == parse_config(json.dumps({"recording_rules": rules}))
    assert bare.dimensions == SeriesConfig().dimensions


def test_real_rules_load(shared_data: Path):
    assert len(load_config(shared_data / "bucket-2026" / "rules.json").recording_rules) == 14
    assert len(load_config(str(shared_data / "large-2026" / "rules.json")).recording_rules) == 13


def test_json_is_yaml_with_its_escapes():
    name = "größe \U0001f600 \t\"'\\/ {}"
    config = parse_config(json.dumps({"functions": {name: '{a="\U0001f600"}'}}))
    assert config.functions == {name: '{a="\U0001f600"}'}
    assert parse_config('{"functions": {"a\\/b": "{}"}}').functions == {"a/b": "{}"}


def test_the_hash_is_of_the_meaning():
    text = "functions: {a: '{}', b: '{}'}"
    same = "functions:\n  b: '{}'  # comment\n  a: \"{}\"\ndimensions:\n"
    assert parse_config(text).hash == parse_config(same).hash
    others = ["functions: {a: '{}'}", "functions: {a: '{}', b: '{x=\"\"}'}", text + "\ngauges: []"]
    assert len({parse_config(other).hash for other in [text, *others]}) == 4
    assert len(parse_config(text).hash) == 64


#: text, line, field, a part of the reason
BROKEN = [
    # What is no YAML, or YAML that is not wanted.
    ("a: [1\nb: c", 2, "the file", "no valid YAML"),
    ("functions:\n  a: '{}'\n bad: x", 3, "the file", "no valid YAML"),
    ("functions: {a: \"{x='\\q'}\"}", 1, "the file", "unknown escape"),
    ("functions:\n\ta: '{}'", 2, "the file", "no valid YAML"),
    ("functions: {a: '{}'}\n---\nfunctions: {}", 2, "the file", "another document"),
    ("a: \x00", 1, "the file", "not allowed"),
    ("x: &a [1]\ny: *a", 2, "y", "aliases are not supported"),
    ("&a [*a]", 1, "[0]", "aliases are not supported"),
    ("functions: !!set {a}", 1, "functions", "is not supported"),
    ("gauges: !!python/name:os.system x", 1, "gauges", "is not supported"),
    ("gauges: !!int abc", 1, "gauges", "is not supported"),
    ("[" * 40 + "]" * 40, 1, "[0]" * 33, "more than 32 levels"),
    ("? [a]\n: b", 1, "the file", "keys are names"),
    # The shape as a whole.
    ("hello", 1, "the file", "must be a mapping, not text"),
    ("17", 1, "the file", "must be a mapping, not a number"),
    # Unknown and double keys.
    ("\nfunction: {a: '{}'}", 2, "function", "unknown field; did you mean functions?"),
    ("xyz: 1", 1, "xyz", "known are dimensions, functions, gauges, recording_rules"),
    ("dimensions:\n  selector: '{}'", 2, "dimensions.selector", "did you mean selectors?"),
    ("functions:\n  a: '{}'\n  b: '{}'\n  a: '{x=\"y\"}'", 4, "functions.a", "stands twice (first in line 2)"),
    ("gauges: []\ngauges: []", 2, "gauges", "stands twice"),
    # Types.
    ("functions: []", 1, "functions", "must be a mapping, not a list"),
    ("functions: text", 1, "functions", "must be a mapping, not text"),
    ("functions:\n  a:\n    b: c", 2, "functions.a", "must be text, not a mapping"),
    ("functions:\n  a: {}", 2, "functions.a", "must be text, not a mapping"),
    ("functions:\n  a:", 2, "functions.a", "must be text, not nothing; put it in quotes"),
    ("functions:\n  a: 17", 2, "functions.a", "must be text, not a number"),
    ("functions:\n  a: true", 2, "functions.a", "must be text, not true or false"),
    ("functions:\n  '': '{}'", 2, "functions[\"\"]", "must not be empty"),
    ("dimensions: ['{}']", 1, "dimensions", "must be a mapping, not a list"),
    ("dimensions:\n  keep_labels: pod", 2, "dimensions.keep_labels", "must be a list, not text"),
    ("dimensions:\n  drop_labels: [1]", 2, "dimensions.drop_labels[0]", "must be text, not a number"),
    ("recording_rules: {a: b}", 1, "recording_rules", "must be a list, not a mapping"),
    ("recording_rules: [a]", 1, "recording_rules[0]", "must be a mapping, not text"),
    # Selectors and gauges.
    ("functions:\n  a: '{b}'", 2, "functions.a", "character 3: expected one of ="),
    ("functions:\n  a: vehicle", 2, "functions.a", "a selector starts with {"),
    ("functions:\n  a.b(c): '{x=~\"(?=y)\"}'", 2, 'functions["a.b(c)"]', "invalid perl operator: (?="),
    ("dimensions:\n  selectors:\n  - '{}'\n  - '{'", 4, "dimensions.selectors[1]", "not closed by }"),
    ("gauges:\n- inuse_*\n- '[a]'", 3, "gauges[1]", "write a sample type"),
    ("gauges: ['']", 1, "gauges[0]", "write a sample type"),
    ("gauges: ['memory:inuse']", 1, "gauges[0]", "five parts"),
    ("dimensions:\n  keep_labels: [a]\n  drop_labels: [b]", 3, "dimensions.drop_labels", "write one of the two"),
    # Recording rules.
    ("recording_rules:\n- id: a", 2, "recording_rules[0].metric_name", "this field is missing"),
    ("recording_rules:\n- metric_name: m", 2, "recording_rules[0].id", "this field is missing"),
    ("recording_rules:\n- {id: '', metric_name: m}", 2, "recording_rules[0].id", "must not be empty"),
    ("recording_rules:\n- id: 7\n  metric_name: m", 2, "recording_rules[0].id", "must be text, not a number"),
    ("recording_rules:\n- id: a\n  metric_name: a-b", 3, "recording_rules[0].metric_name", "is no name of a metric"),
    ("recording_rules:\n- id: a\n  metric_name: m\n  group-by: [x]", 4, 'recording_rules[0]["group-by"]', "did you mean group_by?"),
    ("recording_rules:\n- {id: a, metric_name: m}\n- {id: a, metric_name: n}", 3, "recording_rules[1].id", "exists already as recording_rules[0]"),
    ("recording_rules:\n- id: a\n  metric_name: m\n  matchers: ['x']", 4, "recording_rules[0].matchers[0]", "starts with {"),
    ("recording_rules:\n- id: a\n  metric_name: m\n  matchers: '{}'", 4, "recording_rules[0].matchers", "must be a list"),
    ("recording_rules:\n- id: a\n  metric_name: m\n  group_by: [__name__]", 4, "recording_rules[0].group_by[0]", "Prometheus's own"),
    ("recording_rules:\n- id: a\n  metric_name: m\n  group_by: ['']", 4, "recording_rules[0].group_by[0]", "cannot be a label"),
    ("recording_rules:\n- id: a\n  metric_name: m\n  group_by: [b, a.b, a_b]", 4, "recording_rules[0].group_by[2]", "set already by group_by[1]"),
    ("recording_rules:\n- id: a\n  metric_name: m\n  group_by: [profiles_rule_id]", 4, "recording_rules[0].group_by[0]", "set for every rule"),
    ("recording_rules:\n- id: a\n  metric_name: m\n  external_labels:\n  - {name: b, value: c}\n  group_by: [b]", 6, "recording_rules[0].group_by[0]", "set already by external_labels[0]"),
    ("recording_rules:\n- id: a\n  metric_name: m\n  external_labels:\n  - {name: b, value: c}\n  - {name: b, value: c}", 6, "recording_rules[0].external_labels[1].name", "set already by external_labels[0]"),
    ("recording_rules:\n- id: a\n  metric_name: m\n  external_labels:\n  - name: pyroscope_instance\n    value: c", 5, "recording_rules[0].external_labels[0].name", "set for every rule"),
    ("recording_rules:\n- id: a\n  metric_name: m\n  external_labels: [{name: 1a, value: c}]", 4, "recording_rules[0].external_labels[0].name", "is no name of a label"),
    ("recording_rules:\n- id: a\n  metric_name: m\n  external_labels: [{name: __a, value: c}]", 4, "recording_rules[0].external_labels[0].name", "is no name of a label"),
    ("recording_rules:\n- id: a\n  metric_name: m\n  external_labels: [{name: b}]", 4, "recording_rules[0].external_labels[0].value", "this field is missing"),
    ("recording_rules:\n- id: a\n  metric_name: m\n  external_labels: [{name: b, value: c, x: y}]", 4, "recording_rules[0].external_labels[0].x", "known are name, value"),
    ("recording_rules:\n- id: a\n  metric_name: m\n  stacktrace_filter: {}", 4, "recording_rules[0].stacktrace_filter.function_name", "this field is missing"),
    ("recording_rules:\n- id: a\n  metric_name: m\n  stacktrace_filter:\n    function_name: main", 5, "recording_rules[0].stacktrace_filter.function_name", "must be a mapping, not text"),
    ("recording_rules:\n- id: a\n  metric_name: m\n  stacktrace_filter:\n    function_name:\n      function_name: ''", 6, "recording_rules[0].stacktrace_filter.function_name.function_name", "must not be empty"),
    ("recording_rules:\n- id: a\n  metric_name: m\n  stacktrace_filter:\n    function_name:\n      function_name: f\n      metric_type: 1", 7, "recording_rules[0].stacktrace_filter.function_name.metric_type", "only 0 (total) is known"),
    ("recording_rules:\n- id: a\n  metric_name: m\n  stacktrace_filter:\n    function_name:\n      function_name: f\n      metric_type: MEAN", 7, "recording_rules[0].stacktrace_filter.function_name.metric_type", "must be a whole number, not text"),
    # A bare list of rules.
    ('[\n {"id": "a",\n  "metric_name": "m",\n  "matchers": ["{"]}\n]', 4, "recording_rules[0].matchers[0]", "not closed by }"),
    ('[\n {"id": "a"},\n 17\n]', 2, "recording_rules[0].metric_name", "this field is missing"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "line", "what", "why"), BROKEN)
def test_a_broken_file_is_refused(text: str, line: int, what: str, why: str):
    with pytest.raises(ConfigError) as caught:
        parse_config(text, "series.yaml")
    error = caught.value
    assert (error.file, error.line, error.what) == ("series.yaml", line, what)
    assert why in error.why
    place = f"series.yaml:{line}: " if line else "series.yaml: "
    assert str(error).startswith(f"{place}{what}: {error.why}")


def test_all_problems_are_said_at_once_in_order():
    text = """
dimensions:
  selectors: ["{"]
functions:
  a: x
  a: y
gauge: []
recording_rules:
- id: a
- metric_name: m
  id: b
  group_by: c
"""
    with pytest.raises(ConfigError) as caught:
        parse_config(text, "f.yaml")
    assert [problem.line for problem in caught.value.problems] == [3, 5, 6, 7, 9, 12]
    assert str(caught.value).splitlines() == [str(problem) for problem in caught.value.problems]
    assert len({problem.what for problem in caught.value.problems}) == 5  # functions.a twice


def test_problems_of_several_rules_together():
    rule = "- {id: x, metric_name: '1', group_by: [a, a]}\n"
    with pytest.raises(ConfigError) as caught:
        parse_config("recording_rules:\n" + rule * 2)
    assert [(problem.line, problem.what[18:]) for problem in caught.value.problems] == [
        (2, ".metric_name"),
        (2, ".group_by[1]"),
        (3, ".id"),
        (3, ".metric_name"),
        (3, ".group_by[1]"),
    ]


def test_half_a_character_is_refused():
    with pytest.raises(ConfigError) as caught:
        parse_config('{"functions": {"\\ud800": "{}"}}')
    assert caught.value.line == 1


def test_absurd_nesting_is_refused():
    for text in ("[" * 20_000, '{"a":' * 5_000):
        with pytest.raises(ConfigError):
            parse_config(text)


def test_files_that_cannot_be_read(tmp_path: Path):
    with pytest.raises(ConfigError, match="cannot be read: No such file"):
        load_config(tmp_path / "absent.yaml")
    with pytest.raises(ConfigError, match="cannot be read"):
        load_config(tmp_path)
    (tmp_path / "latin.yaml").write_bytes(b"# gr\xf6\xdfe")
    with pytest.raises(ConfigError, match=r"is not UTF-8 \(byte 4\)"):
        load_config(tmp_path / "latin.yaml")
    (tmp_path / "mark.yaml").write_bytes(b"\xef\xbb\xbffunctions: {a: '{}'}")
    assert load_config(tmp_path / "mark.yaml").functions == {"a": "{}"}
    (tmp_path / "large.yaml").write_text("#" * (1 << 20) + "#")
    with pytest.raises(ConfigError, match="larger than"):
        load_config(tmp_path / "large.yaml")


VALUE = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.text(max_size=5), st.sampled_from(["{}", "{a='b'}"])),
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.text(max_size=5), inner, max_size=3)),
    max_leaves=8,
)
FIELDS = [
    "dimensions", "selectors", "functions", "gauges", "recording_rules", "id", "metric_name", "matchers", "group_by",
    "external_labels", "stacktrace_filter", "function_name", "name", "value",
]  # fmt: skip


@given(
    st.recursive(VALUE, lambda v: st.dictionaries(st.sampled_from(FIELDS), v | st.lists(v, max_size=3)), max_leaves=9)
)
def test_anything_else_ends_in_our_error(value: object):
    try:
        parse_config(json.dumps(value))
    except ConfigError as error:
        assert all(problem.line >= 1 for problem in error.problems)


@given(st.text())
def test_any_text_ends_in_our_error(text: str):
    for candidate in (text, "functions: " + text, "- " + text):
        try:
            parse_config(candidate)
        except ConfigError as error:
            assert error.file == "<text>"
