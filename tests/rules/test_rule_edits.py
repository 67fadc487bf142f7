"""Edits of rules before they are saved: problems at their fields, collisions with other rules, plans of many edits."""

import pytest

from pyro_assets.rules.config import SeriesConfig, parse_config
from pyro_assets.rules.in_force import check_text, check_value, merge_rules, plan_edits, rule_body
from pyro_assets.rules.language import Rule
from pyro_assets.rules.stored import RuleVersion

CONFIG = parse_config("rules: [{name: filed, functions: [main.filed], by: [pod]}]")


def rule(name: str, *functions: str) -> Rule:
    return Rule.model_validate({"name": name, "functions": list(functions)})


def stored(*rules: Rule) -> list[RuleVersion]:
    return [RuleVersion(one.name, 3, rule_body(one), False, "a", "", 1) for one in rules]


IN_FORCE = merge_rules(CONFIG, stored(rule("kept", "main.kept")))


def test_a_rule_that_is_fine():
    found = check_value({"name": "fresh", "functions": ["main.new"]}, IN_FORCE)
    assert (found.rule, found.problems) == (rule("fresh", "main.new"), ())


def test_a_rule_may_be_edited_into_what_only_it_gave():
    assert check_value({"name": "kept", "functions": ["main.kept", "main.more"]}, IN_FORCE).problems == ()


@pytest.mark.parametrize(
    ("value", "field", "why"),
    [
        ({"name": "x", "functions": ["main.kept"]}, "name", "must give the same series as rule kept;"),
        ({"name": "filed", "functions": ["a"]}, "name", "a rule of the file has this name"),
        ({"name": "x", "stack": ["a", "..."]}, "stack", "begins or ends with a gap"),
        ({"name": "x", "functions": [{"regex": "("}]}, "functions[0]", "missing )"),
        ({"name": "x", "labels": {"tenant": "a"}}, "labels.tenant", "reserved"),
        ({"name": "x", "nmae": 1}, "nmae", "did you mean name?"),
        ({"functions": ["a"]}, "name", "missing"),
    ],
)
def test_a_problem_is_at_its_field(value: dict, field: str, why: str):
    [problem] = check_value(value, IN_FORCE).problems
    assert (problem.field, problem.line) == (field, 0)
    assert why in problem.why


def test_a_text_has_lines_and_one_rule():
    found = check_text("rules:\n- name: x\n  by: [function]\n  max_series: 0\n", IN_FORCE)
    assert [(one.field, one.line) for one in found.problems] == [("max_series", 4)]
    for text in ("rules: []", "rules: [{name: a}, {name: b, selector: '{x=\"1\"}'}]", "functions: {a: '{}'}", ""):
        [problem] = check_text(text, IN_FORCE).problems
        assert "write one below `rules:` and nothing else" in problem.why


def test_what_is_no_json_is_a_problem():
    [problem] = check_value({"name": object()}, IN_FORCE).problems
    assert "is no JSON" in problem.why


def test_a_plan_names_what_changes_and_leaves_what_is_equal():
    known = stored(rule("same", "a"), rule("other", "b"), rule("gone", "c"))
    plan = plan_edits([rule("same", "a"), rule("other", "x"), rule("fresh", "y")], known, CONFIG, prune=True)
    assert plan.changes == (("other", "change"), ("fresh", "create"), ("gone", "delete"))
    assert [(edit.name, edit.seen_version, edit.body is None) for edit in plan.edits] == [
        ("other", 3, False), ("fresh", 0, False), ("gone", 3, True)
    ]  # fmt: skip
    assert plan.problems == ()
    assert plan_edits([rule("same", "a")], known, CONFIG).edits == ()


def test_words_of_addresses_are_no_names_of_rules_that_are_edited():
    assert [one.field for one in check_value({"name": "preview", "functions": ["a"]}, IN_FORCE).problems] == ["name"]
    assert (
        "preview: name 'preview' is a word of the pages' addresses"
        in plan_edits([rule("preview", "a")], [], CONFIG).problems[0]
    )
    kept = stored(rule("preview", "a"))
    assert plan_edits([rule("preview", "a")], kept, CONFIG).problems == ()  # it is there already, and stays as it is


def test_a_plan_tells_of_collisions():
    plan = plan_edits([rule("filed", "b")], [], CONFIG)
    assert plan.problems[0].startswith("filed: name 'filed' exists already as rule filed")
    with_ledger = plan_edits([rule("fresh", "main.kept")], stored(rule("kept", "main.kept")), SeriesConfig())
    assert "rule kept of the ledger would give no series" in with_ledger.problems[0]
    twice = plan_edits([rule("one", "a"), rule("two", "a")], [], SeriesConfig())
    assert "must give the same series as rule one" in twice.problems[0]
