# ruff: noqa: E501 - a case of the table reads best on one line
"""Recording rules in the original's own forms: tenants, places of mistakes, and what is none of our business."""

import json

import pytest

from pyro_assets.errors import ConfigError
from pyro_assets.rules.choice import equivalent_rules
from pyro_assets.rules.config import parse_config

OVERRIDES = """
overrides:
  acme:
    max_global_series_per_tenant: 5000
    recording_rules:
    - id: both
      metric_name: m
    - id: own
      metric_name: n
      matchers: ['{a="b"}']
  beta:
    recording_rules: [{id: both, metric_name: m}]
  idle:
functions: {f: '{}'}
"""


def test_a_tenants_rules_count_for_this_tenant():
    config = parse_config(OVERRIDES)
    assert [(rule.id, rule.tenants) for rule in config.recording_rules] == [
        ("both", ["acme", "beta"]),
        ("own", ["acme"]),
    ]
    assert list(config.functions) == ["f"]
    assert [rule.tenants for rule in equivalent_rules(config)[1:]] == [["acme", "beta"], ["acme"]]
    plain = parse_config("recording_rules: [{id: own, metric_name: n, tenants: [acme]}]")
    assert plain.hash != parse_config("recording_rules: [{id: own, metric_name: n}]").hash


def test_older_configurations_keep_their_hash():
    """Computed before rules could have tenants: what was derived with it is still known by it."""
    text = "recording_rules: [{id: own, metric_name: n}]"
    assert parse_config(text).hash == "1ba5efe4cb8b025b6eeabb0c0058bd1dbe928870fa8db6abca34fb0b88c6149b"


@pytest.mark.parametrize(
    ("text", "line", "field", "why"),
    [
        (OVERRIDES.replace("n\n", "a-b\n"), 9, "overrides.acme.recording_rules[1].metric_name", "is no name of a metric"),
        (OVERRIDES.replace("a=", "a"), 10, "overrides.acme.recording_rules[1].matchers[0]", "expected one of ="),
        (OVERRIDES.replace("metric_name: m}", "metric_name: other}"), 12, "overrides.beta.recording_rules[0].id", "ids must be"),
        ("overrides:\n  acme:\n    recording_rules: x", 3, "overrides.acme.recording_rules", "must be a mapping"),
        ("overrides: [acme]", 1, "overrides", "unknown field"),
        ('{"rules": [\n{"id": "a",\n"metricName": "b c"}]}', 3, "rules[0].metricName", "is no name of a metric"),
        ('{"rule": {"id": "a", "metricName": "b",\n"groupBy": ["__x"]}}', 2, "rule.groupBy[0]", "Prometheus's own"),
        ('{"id": "a",\n"metricName": "b",\n"stacktraceFilter": 7}', 3, "stacktraceFilter", "must be a mapping, not a number"),
    ],
)  # fmt: skip
def test_mistakes_are_shown_where_they_stand(text: str, line: int, field: str, why: str):
    with pytest.raises(ConfigError) as caught:
        parse_config(text, "o.yaml")
    [problem] = caught.value.problems
    assert (problem.file, problem.line, problem.what) == ("o.yaml", line, field)
    assert why in str(problem)


def test_a_profile_type_said_apart_is_a_matcher():
    kind = "a:b:c:d:e"
    matcher = f'{{__profile_type__="{kind}"}}'
    rule = {"id": "a", "metric_name": "b", "profile_type": kind}
    for matchers in ({}, {"matchers": [matcher]}):
        [one] = parse_config(json.dumps([rule | matchers])).recording_rules
        assert one.matchers == [matcher]
    [one] = parse_config(json.dumps([rule | {"matchers": ['{x="y"}']}])).recording_rules
    assert one.matchers == [matcher, '{x="y"}']
