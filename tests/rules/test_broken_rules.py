# ruff: noqa: E501 - a case of the table reads best on one line
"""A hundred broken files of rules: each is refused with its file, the line, the field, and what to write instead.

Every case is a mistake of its own kind. The texts are what people read, so a change of one is looked at here.
"""

import re

import pytest

from pyro_assets.errors import ConfigError
from pyro_assets.rules.config import parse_config

#: text, line, field, the end of the message.
# fmt: off
BROKEN: list[tuple[str, int, str, str]] = [
    ('rules:\n- name: a\n  by: [pod', 4, 'the file', '; check quotes, brackets and indentation there'),
    ('rules:\n- name: a\n\tby: [pod]', 3, 'the file', '; check quotes, brackets and indentation there'),
    ('rules:\n- name: a\n by: [pod]', 3, 'the file', '; check quotes, brackets and indentation there'),
    ('rules:\n- name: a\n  description: "it\'s \\q"', 3, 'the file', '; check quotes, brackets and indentation there'),
    ('rules:\n- &one {name: a}\n- *one', 2, 'rules[1]', 'is an alias (*name); aliases are not supported, write the value again'),
    ('rules:\n- name: a\n---\nrules: []', 3, 'the file', '; check quotes, brackets and indentation there'),
    ('rules:\n- name: a\n  name: b', 3, 'rules[0].name', 'stands twice (first in line 2); remove one'),
    ('rules:\n- name: a\n  max_series: !!int x', 3, 'rules[0].max_series', 'has the tag tag:yaml.org,2002:int, which is not supported; write the value plainly'),
    ('rules:\n- name: a\n  ? [by]\n  : [pod]', 3, 'rules[0]', 'has a key that is a list or a mapping; keys are names, write one'),
    ('rules:\n- name: a\n  by: ' + "[" * 40 + "]" * 40, 3, "rules[0].by" + "[0]" * 30, 'is nested more than 32 levels deep; write it flatter'),
    ('rules:\n- name: a\n  metric: %a', 3, 'the file', '; check quotes, brackets and indentation there'),
    ('just text', 1, 'the file', 'must be a mapping, not text; write headings such as rules:'),
    ('- name: a\n- by: [pod]', 1, 'the file', 'is a list of rules without a heading; write rules: above it'),
    ('rule:\n- name: a', 1, 'rule', 'unknown field; did you mean rules?'),
    ('ruless:\n- name: a', 1, 'ruless', 'unknown field; did you mean rules?'),
    ('rules:\n  name: a', 1, 'rules', 'must be a list, not a mapping; put - before each item'),
    ('rules: all', 1, 'rules', 'must be a list, not text; write [all]'),
    ('rules:\n- name: a\n-', 3, 'rules[1]', 'must be a mapping, not nothing; write a value or remove it'),
    ('rules:\n- main.main', 2, 'rules[0]', 'must be a mapping, not text; write its fields as NAME: VALUE'),
    ('rules: [[]]', 1, 'rules[0]', 'must be a mapping, not a list; write its fields as NAME: VALUE'),
    ('rules:\n- by: [pod]', 2, 'rules[0].name', 'this field is missing; write name: and its value'),
    ("rules:\n- name: ''", 2, 'rules[0].name', "'' is no name of a rule; use up to 100 letters, digits, _ . - and / between them"),
    ('rules:\n- name: 7', 2, 'rules[0].name', 'must be text, not a number; put it in quotes'),
    ('rules:\n- name: net//http', 2, 'rules[0].name', "'net//http' is no name of a rule; use up to 100 letters, digits, _ . - and / between them"),
    ('rules:\n- name: ' + "x" * 101, 2, 'rules[0].name', 'is no name of a rule; use up to 100 letters, digits, _ . - and / between them'),
    ('rules:\n- name: a\n- name: b\n  by: [pod]\n- name: a\n  by: [zone]', 5, 'rules[2].name', "'a' exists already as rules[0]; choose another name"),
    ('rules:\n- name: dimensions\n  by: [pod]', 2, 'rules[0].name', "'dimensions' is what the series of the heading `dimensions` are called; choose another name"),
    ('recording_rules: [{id: a, metric_name: m}]\nrules:\n- name: a\n  by: [pod]', 3, 'rules[0].name', "'a' is the id of a recording rule; choose another name"),
    ('rules:\n- name: a\n  description: [x]', 3, 'rules[0].description', 'must be text, not a list; put it in quotes'),
    ('rules:\n- name: a\n  enabled: sometimes', 3, 'rules[0].enabled', 'must be true or false, not text; write it without quotes'),
    ('rules:\n- name: a\n  function: main.main', 3, 'rules[0].function', 'unknown field; did you mean functions?'),
    ("rules:\n- name: a\n  functions: {glob: 'a*'}", 3, 'rules[0].functions', 'must be a list, not a mapping; put - before each item'),
    ('rules:\n- name: a\n  functions: [17]', 3, 'rules[0].functions[0]', 'must be a mapping, not a number; write a name in quotes, {glob: ...} or {regex: ...}'),
    ("rules:\n- name: a\n  functions:\n  - main.main\n  - ''", 5, 'rules[0].functions[1]', 'write one of exact, glob and regex, and not empty'),
    ('rules:\n- name: a\n  functions: [{}]', 3, 'rules[0].functions[0]', 'write one of exact, glob and regex, and not empty'),
    ("rules:\n- name: a\n  functions: [{glob: 'a*', regex: 'b'}]", 3, 'rules[0].functions[0]', 'write one of exact, glob and regex, and not empty'),
    ('rules:\n- name: a\n  functions: [{prefix: main}]', 3, 'rules[0].functions[0].prefix', 'unknown field; known are exact, glob, regex'),
    ('rules:\n- name: a\n  functions: [{glob: [a]}]', 3, 'rules[0].functions[0].glob', 'must be text, not a list; put it in quotes'),
    ("rules:\n- name: a\n  functions:\n  - {regex: 'main[.'}", 4, 'rules[0].functions[0]', "'main[.', character 5 of the regular expression: missing ]: [.; close the class, or write \\[ for the character"),
    ("rules:\n- name: a\n  functions: [{regex: '(?<=a)b'}]", 3, 'rules[0].functions[0]', "'(?<=a)b', character 1 of the regular expression: invalid perl operator: (?<=; write it without lookaround, atomic groups and conditions, which RE2 has not"),
    ("rules:\n- name: a\n  functions: [{regex: '(a)\\1'}]", 3, 'rules[0].functions[0]', "'(a)\\\\1', character 4 of the regular expression: invalid escape sequence: \\1; write it without backreferences, which RE2 has not; the end of the text is \\z"),
    ("rules:\n- name: a\n  functions: [{regex: '*a'}]", 3, 'rules[0].functions[0]', "'*a', character 1 of the regular expression: no argument for repetition operator: *; write a backslash before it for the character"),
    ("rules:\n- name: a\n  functions: [{regex: 'a{1001}'}]", 3, 'rules[0].functions[0]', "'a{1001}', character 2 of the regular expression: invalid repetition size: {1001}; use counts that ascend and multiply to 1000 at most"),
    ("rules:\n- name: a\n  functions: [{regex: 'a)'}]", 3, 'rules[0].functions[0]', "'a)', the regular expression: unexpected ): a); write \\) for the character"),
    ("rules:\n- name: a\n  functions: [{regex: '\\pX'}]", 3, 'rules[0].functions[0]', "'\\\\pX', character 1 of the regular expression: invalid character class range: \\pX; write a class that RE2 knows, or a range that ascends"),
    ("rules:\n- name: a\n  functions: [{regex: '[z-a]'}]", 3, 'rules[0].functions[0]', "'[z-a]', character 2 of the regular expression: invalid character class range: z-a; write a class that RE2 knows, or a range that ascends"),
    ("rules:\n- name: a\n  functions: [{regex: 'a\\'}]", 3, 'rules[0].functions[0]', "'a\\\\', the regular expression: trailing \\; write \\\\ for the character"),
    ("rules:\n- name: a\n  functions: [{regex: '((a{1,100}){1,100}){1,100}'}]", 3, 'rules[0].functions[0]', '; use counts that ascend and multiply to 1000 at most'),
    ("rules:\n- name: a\n  functions: [{regex: '\\pL{1000}'}]", 3, 'rules[0].functions[0]', '; make it shorter or with fewer repetitions'),
    ('rules:\n- name: a\n  functions: [{glob: ' + "x" * 2001 + '}]', 3, 'rules[0].functions[0]', 'is longer than 2000 characters; write several patterns'),
    ('rules:\n- name: a\n  match: self', 3, 'rules[0].match', 'self needs functions or a stack; a rule without them counts whole profiles'),
    ('rules:\n- name: a\n  functions: [f]\n  match: leaf', 4, 'rules[0].match', "must be 'total' or 'self', not 'leaf'"),
    ('rules:\n- name: a\n  functions: [f]\n  match: Total', 4, 'rules[0].match', "must be 'total' or 'self', not 'Total'; did you mean total?"),
    ('rules:\n- name: a\n  combine: true', 3, 'rules[0].combine', 'needs functions or a stack; a rule without them counts whole profiles'),
    ("rules:\n- name: a\n  functions: [f]\n  combine: 'true'", 4, 'rules[0].combine', 'must be true or false, not text; write it without quotes'),
    ('rules:\n- name: a\n  exclude: [f]', 3, 'rules[0].exclude', 'needs functions or a stack; a rule without them counts whole profiles'),
    ('rules:\n- name: a\n  functions: [f]\n  exclude: f', 4, 'rules[0].exclude', 'must be a list, not text; write [f]'),
    ('rules:\n- name: a\n  normalize: [generics]', 3, 'rules[0].normalize', 'needs functions or a stack; a rule without them counts whole profiles'),
    ('rules:\n- name: a\n  functions: [f]\n  normalize: [generic]', 4, 'rules[0].normalize[0]', "must be 'generics', 'lambdas', 'proxies' or 'addresses', not 'generic'; did you mean generics?"),
    ('rules:\n- name: a\n  functions: [f]\n  normalize: generics', 4, 'rules[0].normalize', 'must be a list, not text; write [generics]'),
    ('rules:\n- name: a\n  stack: ...;main.main', 3, 'rules[0].stack', 'begins or ends with a gap, which says nothing; begin and end with a function'),
    ('rules:\n- name: a\n  stack: a;...;...;b', 3, 'rules[0].stack[2]', 'is a gap after a gap; remove one'),
    ('rules:\n- name: a\n  stack: ' + ";".join("a" * 33), 3, 'rules[0].stack', 'has more than 32 parts; shorten it with ...'),
    ('rules:\n- name: a\n  stack: a;;b', 3, 'rules[0].stack[1]', 'write one of exact, glob and regex, and not empty'),
    ('rules:\n- name: a\n  stack: 5', 3, 'rules[0].stack', 'must be a list, not a number; write [5]'),
    ("rules:\n- name: a\n  stack: [a, {glob: ''}]", 3, 'rules[0].stack[1]', 'write one of exact, glob and regex, and not empty'),
    ('rules:\n- name: a\n  selector: service_name=shop', 3, 'rules[0].selector', "selector 'service_name=shop', character 1: a selector starts with { and has no metric name before it"),
    ("rules:\n- name: a\n  selector: '{service_name=shop}'", 3, 'rules[0].selector', "selector '{service_name=shop}', character 15: expected a value in quotes"),
    ('rules:\n- name: a\n  selector: \'{service_name=="shop"}\'', 3, 'rules[0].selector', 'selector \'{service_name=="shop"}\', character 15: expected a value in quotes'),
    ('rules:\n- name: a\n  selector: \'{service_name="shop"\'', 3, 'rules[0].selector', 'selector \'{service_name="shop"\', character 21: expected , or } after a matcher'),
    ('rules:\n- name: a\n  selector: \'{service_name="shop"} by\'', 3, 'rules[0].selector', 'selector \'{service_name="shop"} by\', character 23: nothing may follow the closing }'),
    ('rules:\n- name: a\n  selector: \'{a-b="c"}\'', 3, 'rules[0].selector', 'selector \'{a-b="c"}\', character 3: expected one of = != =~ !~ after the label name'),
    ('rules:\n- name: a\n  selector: \'{a=~"("}\'', 3, 'rules[0].selector', 'selector \'{a=~"("}\', character 5: the regular expression: missing ): (; close every parenthesis, or write \\( for the character'),
    ('rules:\n- name: a\n  selector: \'{a="b" c="d"}\'', 3, 'rules[0].selector', 'selector \'{a="b" c="d"}\', character 8: expected , or } after a matcher'),
    ('rules:\n- name: a\n  selector: \'{service_name=""}\'', 3, 'rules[0].selector', 'never matches: every profile has a service_name; remove the matcher or name one'),
    ('rules:\n- name: a\n  selector: {service_name: shop}', 3, 'rules[0].selector', 'must be text, not a mapping; put it in quotes'),
    ('rules:\n- name: a\n  profile_types: cpu', 3, 'rules[0].profile_types', 'must be a list, not text; write [cpu]'),
    ("rules:\n- name: a\n  profile_types: ['process_cpu:cpu']", 3, 'rules[0].profile_types[0]', 'is no whole type; write five parts, name:type:unit:period_type:period_unit, or a sample type alone'),
    ("rules:\n- name: a\n  profile_types: ['[ci]pu']", 3, 'rules[0].profile_types[0]', 'is no type; write a sample type (inuse_space) or a whole profile type; * and ? stand for any characters'),
    ("rules:\n- name: a\n  tenants: ['']", 3, 'rules[0].tenants[0]', 'a tenant has a name; an empty list means all of them'),
    ('rules:\n- name: a\n  tenants: [4]', 3, 'rules[0].tenants[0]', 'must be text, not a number; put it in quotes'),
    ('rules:\n- name: a\n  metric: cpu-seconds\n  profile_types: [cpu]', 3, 'rules[0].metric', "'cpu-seconds' is no name of a metric; use letters, digits, _ and :, no digit first"),
    ("rules:\n- name: a\n  metric: ''\n  profile_types: [cpu]", 3, 'rules[0].metric', "'' is no name of a metric; use letters, digits, _ and :, no digit first"),
    ('rules:\n- name: a\n  metric: all', 3, 'rules[0].metric', 'would add up values of different profile types; name profile_types, or leave the metric to its default'),
    ('rules:\n- name: a\n  by: pod', 3, 'rules[0].by', 'must be a list, not text; write [pod]'),
    ('rules:\n- name: a\n  by: [function]', 3, 'rules[0].by[0]', "'function' is reserved; leave it out, it is set where it belongs"),
    ('rules:\n- name: a\n  by: [tenant]', 3, 'rules[0].by[0]', "'tenant' is reserved; leave it out, it is set where it belongs"),
    ('rules:\n- name: a\n  by: [__name__]', 3, 'rules[0].by[0]', "'__name__' is reserved; leave it out, it is set where it belongs"),
    ('rules:\n- name: a\n  by: [__session_id__]', 3, 'rules[0].by[0]', "'__session_id__' is reserved; leave it out, it is set where it belongs"),
    ("rules:\n- name: a\n  by: ['']", 3, 'rules[0].by[0]', 'is empty; remove it or write the name of a label'),
    ('rules:\n- name: a\n  by: [pod]\n  without: [zone]', 4, 'rules[0].without', 'by says already what stays; write one of the two'),
    ('rules:\n- name: a\n  without: [__period_type__]', 3, 'rules[0].without[0]', "'__period_type__' is reserved; leave it out, it is set where it belongs"),
    ('rules:\n- name: a\n  labels: [team]', 3, 'rules[0].labels', 'must be a mapping, not a list; write its fields as NAME: VALUE'),
    ('rules:\n- name: a\n  labels: {team: 1}', 3, 'rules[0].labels.team', 'must be text, not a number; put it in quotes'),
    ("rules:\n- name: a\n  labels: {team: ''}", 3, 'rules[0].labels.team', 'must not be empty: Prometheus takes an empty label for a missing one; remove it'),
    ('rules:\n- name: a\n  labels: {__name__: x}', 3, 'rules[0].labels.__name__', "'__name__' is reserved; choose another name"),
    ('rules:\n- name: a\n  labels: {profiles_rule_id: x}', 3, 'rules[0].labels.profiles_rule_id', "'profiles_rule_id' is reserved; choose another name"),
    ('rules:\n- name: a\n  labels: {pyroscope_shard: x}', 3, 'rules[0].labels.pyroscope_shard', "'pyroscope_shard' is reserved; choose another name"),
    ('rules:\n- name: a\n  labels: {function: x}', 3, 'rules[0].labels.function', "'function' is reserved; choose another name"),
    ('rules:\n- name: a\n  labels: {tenant: x}', 3, 'rules[0].labels.tenant', "'tenant' is reserved; choose another name"),
    ('rules:\n- name: a\n  labels: {my-team: x}', 3, 'rules[0].labels["my-team"]', "'my-team' is no name of a label; use letters, digits and _, no digit or __ first"),
    ('rules:\n- name: a\n  labels: {pod: x}\n  by: [pod]', 3, 'rules[0].labels.pod', "'pod' stands in by too; remove one of them"),
    ('rules:\n- name: a\n  aggregate: average', 3, 'rules[0].aggregate', "must be 'sum', 'mean', 'max', 'min', 'last' or 'count', not 'average'"),
    ('rules:\n- name: a\n  unit: minutes', 3, 'rules[0].unit', "must be 'seconds', not 'minutes'"),
    ('rules:\n- name: a\n  unit: seconds\n  aggregate: count', 3, 'rules[0].unit', 'a count of profiles has no unit of time; remove it'),
    ('rules:\n- name: a\n  functions: [f]\n  other: true', 4, 'rules[0].other', 'needs match: self and one series per function; totals of functions overlap'),
    ('rules:\n- name: a\n  functions: [f]\n  match: self\n  combine: true\n  other: true', 6, 'rules[0].other', 'needs match: self and one series per function; totals of functions overlap'),
    ('rules:\n- name: a\n  functions: [f]\n  match: self\n  other: true\n  aggregate: mean', 5, 'rules[0].other', 'the rest of a mean means nothing; use sum or last'),
    ('rules:\n- name: a\n  max_series: 0', 3, 'rules[0].max_series', 'must be at least 1, not 0'),
    ('rules:\n- name: a\n  max_series: 100001', 3, 'rules[0].max_series', 'must be at most 100000, not 100001'),
    ("rules:\n- name: a\n  max_series: '500'", 3, 'rules[0].max_series', 'must be a whole number, not text; write it without quotes'),
    ('rules:\n- name: a\n  max_series: 1.5', 3, 'rules[0].max_series', 'must be a whole number, not a fraction; write it without a fraction'),
    ('rules:\n- name: a\n  overflow: drop', 3, 'rules[0].overflow', "must be 'error', 'drop_rule' or 'keep_largest', not 'drop'; did you mean drop_rule?"),
    ('rules:\n- name: a\n  top_k: 3', 3, 'rules[0].top_k', 'needs functions or a stack; a rule without them counts whole profiles'),
    ('rules:\n- name: a\n  functions: [f]\n  top_k: -1', 4, 'rules[0].top_k', 'must be at least 1, not -1'),
    ('rules:\n- name: a\n  functions: [f]\n  resolved: [f]', 4, 'rules[0].resolved', 'belongs to top_k; write the names into functions, or say top_k'),
    ('rules:\n- name: a\n  functions: [f]\n  top_k: 1\n  resolved: [f, g]', 5, 'rules[0].resolved', 'has more than top_k (1) names; run `pyro-assets rules resolve` again'),
    ("rules:\n- name: a\n  functions: [f]\n  top_k: 1\n  resolved: ['']", 5, 'rules[0].resolved[0]', 'must not be empty; write some text or remove it'),
    ('rules:\n- name: a\n  by: [pod]\n- name: b\n  by: [pod]\n  aggregate: max', 4, 'rules[1].name', 'must give the same series as rules[0] (a); give one another metric or labels'),
    ('rules:\n- name: a\n  functions: [f, g]\n- name: b\n  functions: [g]', 4, 'rules[1].name', 'must give the same series as rules[0] (a); give one another metric or labels'),
    ("rules:\n- {name: a, functions: [{glob: 'f*'}]}\n- {name: b, functions: [{glob: 'f*'}]}", 3, 'rules[1].name', 'must give the same series as rules[0] (a); give one another metric or labels'),
]
# fmt: on

#: How a message tells what to do. What it does not match only says that something is wrong.
_REMEDY = re.compile(
    r"\b(write|use|choose|remove|put|name|narrow|close|leave|check|say|give|make|shorten|begin and end|run|did you mean|known are"
    r"|expected|needs|must be|may follow|is not closed|belongs|closes nothing|take|set)\b"
)


@pytest.mark.parametrize(("text", "line", "what", "why"), BROKEN, ids=range(len(BROKEN)))
def test_a_broken_file_is_refused_with_a_remedy(text: str, line: int, what: str, why: str):
    with pytest.raises(ConfigError) as caught:
        parse_config(text, "team/rules.yaml")
    error = caught.value.problems[0]
    assert (error.file, error.line, error.what) == ("team/rules.yaml", line, what)
    assert error.why.endswith(why)
    assert str(error).startswith(f"team/rules.yaml:{line}: {what}: ")
    assert _REMEDY.search(error.why)


def test_there_are_more_than_a_hundred_kinds():
    assert len({text for text, *_ in BROKEN}) == len(BROKEN) > 100
