"""The language of rules: short forms, patterns, folded names, and every refusal with place and remedy."""

import json
import re
import time
from fnmatch import fnmatchcase
from typing import Any

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyro_assets.errors import ConfigError
from pyro_assets.rules.config import SeriesConfig, parse_config
from pyro_assets.rules.language import Rule, warnings_of
from pyro_assets.rules.patterns import FAMILIES, Pattern, match_names, normalize
from pyro_assets.rules.re2 import match_whole


def text_array(*names: str) -> Any:
    return pa.array(names, type=pa.large_string())


def test_short_forms():
    text = """
rules:
- name: a
  functions: main.(*Server).Serve
- name: b
  functions: [x, {glob: net/http.*}, {regex: 'a|b'}]
  stack: main.main;...;odd\\;name
  exclude: [y]
  unit: seconds
"""
    one, two = parse_config(text).rules
    assert one.functions == [Pattern(exact="main.(*Server).Serve")]
    assert [pattern.show() for pattern in two.functions] == ["x", "glob net/http.*", "regex a|b"]
    assert [pattern.exact for pattern in two.stack] == ["main.main", "...", "odd;name"]


def test_the_hash_knows_what_rules_mean():
    def digest(*rules: dict[str, Any]) -> str:
        return parse_config(json.dumps({"rules": list(rules)})).hash

    one, two = {"name": "a", "functions": ["f"]}, {"name": "b", "functions": ["g"]}
    assert digest(one, two) == digest(two, one)
    assert digest(one) == digest(one | {"description": "why", "match": "total"})
    assert digest(one) != digest(one | {"match": "self"})
    assert digest() == SeriesConfig().hash
    # A configuration without rules keeps the hash that it had before there were any.
    assert "rules" not in json.dumps(one) or digest() != digest(one)


NAMES = st.text(st.sampled_from("ab*?.[]()\\|+^$\n/é "), max_size=6)


@given(
    st.lists(NAMES, max_size=8), st.lists(st.text(st.sampled_from("ab*?.[(|é "), min_size=1, max_size=4), max_size=30)
)
def test_globs_match_as_those_of_the_standard_library(names, globs):
    names = sorted(set(names))
    patterns = [Pattern(glob=glob) for glob in dict.fromkeys(globs)]
    found = match_names(text_array(*names), patterns)
    for pattern, matched in zip(patterns, found, strict=True):
        expected = [bool(name) and fnmatchcase(name, (pattern.glob or "").replace("[", "[[]")) for name in names]
        assert matched.tolist() == expected, pattern


@given(st.lists(NAMES, max_size=8), st.lists(st.text(st.sampled_from("ab*?\\"), min_size=1, max_size=5), max_size=8))
def test_globs_that_are_a_beginning_match_as_their_expressions(names, globs):
    names = text_array(*sorted(set(names)))
    patterns = [Pattern(glob=glob) for glob in dict.fromkeys(globs)]
    for pattern, matched in zip(patterns, match_names(names, patterns), strict=True):
        whole = match_whole(names, pattern.expression).tolist()
        expected = [bool(name) and found for name, found in zip(names.to_pylist(), whole, strict=True)]
        assert matched.tolist() == expected, pattern


@given(st.lists(NAMES, max_size=8), st.sampled_from(["a+b*", "(?i)A|é", "[^a].*", "a.c|.\n?", "(a|b)*", r"\(.*\)", ""]))
def test_expressions_match_whole_names(names, regex):
    names = sorted(set(names))
    if not regex:
        return
    found = match_names(text_array(*names), [Pattern(regex=regex), Pattern(exact="a")])
    expected = re.compile(regex, re.DOTALL)
    assert found[0].tolist() == [bool(name) and expected.fullmatch(name) is not None for name in names]
    assert found[1].tolist() == [name == "a" for name in names]


def test_a_catastrophic_expression_takes_linear_time():
    names = text_array("a" * 5000 + "!", "x" * 5000)
    started = time.process_time()
    assert match_names(names, [Pattern(regex="(a+)+b|(a|a)*c|(x+x+)+y")])[0].tolist() == [False, False]
    assert time.process_time() - started < 2


@given(st.lists(st.text(max_size=20), max_size=5))
def test_folding_never_loses_a_name(names):
    folded = normalize(text_array(*names), FAMILIES).to_pylist()
    assert [bool(one) for one in folded] == [bool(one) for one in names]


def test_all_problems_at_once():
    text = "rules:\n- name: a b\n  match: self\n- name: c\n  by: [function]\n- name: c\n  labels: {a: ''}\n"
    with pytest.raises(ConfigError) as caught:
        parse_config(text)
    assert [(error.line, error.what) for error in caught.value.problems] == [
        (2, "rules[0].name"),
        (3, "rules[0].match"),
        (5, "rules[1].by[0]"),
        (6, "rules[2].name"),
        (7, "rules[2].labels.a"),
    ]


@pytest.mark.parametrize(
    ("one", "two", "is_refused"),
    [
        ({"functions": ["f"]}, {"functions": ["f", "g"]}, True),
        ({"functions": ["f"]}, {"functions": ["f"], "match": "self"}, True),
        ({"functions": ["f"]}, {"functions": ["f"], "enabled": False}, False),
        ({"functions": ["f"]}, {"functions": ["f"], "labels": {"a": "b"}}, False),
        ({"functions": ["f"]}, {"functions": ["g"]}, False),
        ({"functions": ["f"]}, {}, False),
        ({}, {"aggregate": "max"}, True),
        ({"functions": ["f"], "combine": True}, {"functions": ["g"], "combine": True}, True),
    ],
)
def test_two_rules_that_must_give_the_same_series(one: Any, two: Any, is_refused: bool):
    text = json.dumps({"rules": [{"name": "a"} | one, {"name": "b"} | two]})
    if not is_refused:
        parse_config(text)
        return
    with pytest.raises(ConfigError, match=r"rules\[1\].name: must give the same series as rules\[0\]"):
        parse_config(text)


def test_warnings():
    def of(**fields: Any) -> list[str]:
        return [why for _, why in warnings_of(Rule(name="r", **fields), SeriesConfig().gauges)]

    assert of() == of(profile_types=["cpu"], by=["pod"]) == []
    assert "added up per label set" in of(profile_types=["inuse_*"], by=["pod"])[0]
    assert "means nothing" in of(profile_types=["goroutine"], aggregate="sum")[0]
    assert "forgets the others" in of(profile_types=["cpu"], aggregate="last")[0]
