"""Rules in the original's form: which are shown, which can be changed, and that they are the same on our pages."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pyro_assets.errors import BadQuery, NothingFound, StaleRule
from pyro_assets.explore.pyroscope.messages import rules_pb2
from pyro_assets.explore.pyroscope.messages.types_pb2 import LabelPair
from pyro_assets.explore.pyroscope.recording_rules import Book, RecordingRules, id_of
from pyro_assets.ledger.database import Ledger
from pyro_assets.rules.config import SeriesConfig, parse_config
from pyro_assets.rules.in_force import RulesInForce, merge_rules, read_body, rule_body
from pyro_assets.rules.language import Rule
from pyro_assets.rules.stored import RuleEdit, RuleVersion, StoredRules

CPU = "process_cpu:cpu:nanoseconds:cpu:nanoseconds"
INUSE = "memory:inuse_space:bytes:space:bytes"
OF_CPU = f'{{__profile_type__="{CPU}"}}'


class World:
    """A ledger, and a file."""

    def __init__(self, folder: Path) -> None:
        self.ledger = Ledger.open(str(folder / "ledger.db"))
        self.config = SeriesConfig()
        self.service = RecordingRules(self.in_force, self.edit)

    def in_force(self) -> RulesInForce:
        return merge_rules(self.config, StoredRules(self.ledger).rules())

    def edit(self, edit: RuleEdit, author: str, why: str) -> RuleVersion:
        return StoredRules(self.ledger).edit_rules([edit], author=author, why=why, now_ms=1)[0]

    def save(self, **fields: Any) -> None:
        """A rule as a page saves it."""
        [rule] = parse_config(json.dumps({"rules": [fields]})).rules
        self.edit(RuleEdit(rule.name, rule_body(rule), 0), "somebody", "")

    def rule(self, name: str) -> Rule:
        [found] = [one for one in StoredRules(self.ledger).rules() if one.name == name]
        return read_body(name, found.body)

    def upsert(self, tenant: str = "acme", **fields: Any) -> rules_pb2.RecordingRule:
        given = {"metric_name": "profiles_recorded_cpu", "matchers": [OF_CPU]} | fields
        return self.service.upsert(rules_pb2.UpsertRecordingRuleRequest(**given), tenant, "ann")

    def delete(self, rule_id: str, tenant: str = "acme") -> None:
        self.service.delete(rules_pb2.DeleteRecordingRuleRequest(id=rule_id), tenant, "ann")

    def book(self, tenant: str = "acme") -> Book:
        return self.service.list(tenant)


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    made = World(tmp_path)
    yield made
    made.ledger.close()


def of_function(name: str) -> rules_pb2.StacktraceFilter:
    return rules_pb2.StacktraceFilter(function_name=rules_pb2.StacktraceFilterFunctionName(function_name=name))


def test_a_rule_made_in_the_form_is_a_rule_of_ours(world: World):
    made = world.upsert(
        matchers=[OF_CPU, '{service_name=~".+", pod!="a\\"b"}'],
        group_by=["service_name", "pod"],
        external_labels=[LabelPair(name="team", value="x")],
        stacktrace_filter=of_function("runtime.mallocgc"),
    )
    rule = world.rule("cpu")
    assert rule.metric == "profiles_recorded_cpu"
    assert (rule.by, rule.labels, rule.tenants) == (["service_name", "pod"], {"team": "x"}, ["acme"])
    assert [one.exact for one in rule.functions] == ["runtime.mallocgc"]
    assert (rule.combine, rule.aggregate) == (True, "sum")
    assert made.matchers == [OF_CPU, '{service_name=~".+"}', '{pod!="a\\"b"}']
    assert (made.id, made.generation, made.provisioned) == (id_of("cpu"), 1, False)
    assert made.profile_type == CPU
    assert [one.form for one in world.book().listed] == [made]
    assert world.book("globex").listed == ()
    [version] = StoredRules(world.ledger).rule_history("cpu")
    assert (version.author, version.why) == ("ann", "made in the form for recording rules")


def test_a_name_that_is_taken_gets_a_number(world: World):
    made = [world.upsert(), world.upsert(tenant="globex")]
    assert [one.name for one in StoredRules(world.ledger).rules()] == ["cpu", "cpu-2"]
    assert [one.id for one in made] == [id_of("cpu"), id_of("cpu-2")]


def test_what_the_form_does_not_have_stays_when_it_changes_a_rule(world: World):
    world.save(
        name="mine", selector=OF_CPU, by=["pod"], metric="profiles_recorded_mine", aggregate="sum",
        tenants=["acme"], description="for the team", max_series=7, overflow="keep_largest",
    )  # fmt: skip
    [listed] = world.book().listed
    changed = world.upsert(id=listed.form.id, generation=1, metric_name="profiles_recorded_mine", group_by=["zone"])
    assert (changed.generation, changed.group_by) == (2, ["zone"])
    rule = world.rule("mine")
    assert (rule.by, rule.description, rule.max_series, rule.overflow) == (["zone"], "for the team", 7, "keep_largest")


def test_only_the_newest_generation_can_be_changed(world: World):
    made = world.upsert()
    world.upsert(id=made.id, generation=1, group_by=["pod"])
    for generation in (0, 1, 3):
        with pytest.raises(StaleRule, match="conflicting update, please try again"):
            world.upsert(id=made.id, generation=generation)
    # A page that changes it counts too.
    world.edit(RuleEdit("cpu", rule_body(world.rule("cpu")), 2), "somebody", "")
    with pytest.raises(StaleRule):
        world.upsert(id=made.id, generation=2)
    assert world.upsert(id=made.id, generation=3).generation == 4


def test_a_deleted_rule_is_gone_and_its_history_stays(world: World):
    made = world.upsert()
    world.delete(made.id)
    assert world.book().listed == ()
    with pytest.raises(NothingFound, match="no rule with ID="):
        world.delete(made.id)
    with pytest.raises(NothingFound, match="no rule with id="):
        world.upsert(id=made.id, generation=1)
    assert [one.deleted for one in StoredRules(world.ledger).rule_history("cpu")] == [True, False]
    assert world.upsert().generation == 3


def test_rules_of_the_file_are_read_only(world: World):
    recorded = {"id": "abc", "metric_name": "profiles_recorded_a", "matchers": [OF_CPU], "group_by": ["pod"]}
    recorded["stacktrace_filter"] = {"function_name": {"function_name": "main.main"}}
    ours = {"name": "b", "profile_types": [CPU], "by": [], "aggregate": "sum"}
    world.config = parse_config(json.dumps({"recording_rules": [recorded | {"tenants": ["acme"]}], "rules": [ours]}))
    first, second = [one.form for one in world.book().listed]
    assert (first.id, first.profile_type, first.provisioned) == ("abc", CPU, True)
    assert first.stacktrace_filter.function_name.function_name == "main.main"
    assert (second.metric_name, second.matchers, second.provisioned) == (
        "pyroscope_exported_metrics_process_cpu_cpu_nanoseconds_cpu_nanoseconds", [OF_CPU], True,
    )  # fmt: skip
    assert [one.form.id for one in world.book("globex").listed] == [second.id]
    for rule_id in (first.id, second.id):
        with pytest.raises(BadQuery, match="is provisioned: it stands in the file"):
            world.upsert(id=rule_id, generation=1)
        with pytest.raises(BadQuery, match="is provisioned"):
            world.delete(rule_id)


def test_a_rule_of_several_tenants_is_read_only_for_each(world: World):
    world.save(name="every", selector=OF_CPU, by=["pod"], aggregate="sum")
    world.save(name="two", selector=OF_CPU, by=["zone"], aggregate="sum", tenants=["acme", "globex"])
    assert [(one.form.provisioned, one.form.generation) for one in world.book().listed] == [(True, 1), (True, 1)]
    assert len(world.book("initech").listed) == 1
    for name in ("every", "two"):
        with pytest.raises(BadQuery, match=f"/rules/show/{name}"):
            world.upsert(id=id_of(name), generation=1)
        with pytest.raises(BadQuery, match="other tenants"):
            world.delete(id_of(name))


@pytest.mark.parametrize(
    "fields",
    [
        {"functions": ["a"]},
        {"functions": ["a", "b"], "combine": True},
        {"functions": [{"glob": "a*"}], "combine": True},
        {"functions": ["a"], "combine": True, "match": "self"},
        {"functions": ["a"], "combine": True, "exclude": ["b"]},
        {"stack": "a;b"},
        {"by": None, "without": ["pod"]},
        {"by": None},
        {"aggregate": "max"},
        {"unit": "seconds"},
        {"enabled": False},
        {"selector": "{}"},
        {"selector": '{__profile_type__=~"a.*"}'},
        {"selector": "{}", "profile_types": ["cpu"]},
        {"selector": "{}", "profile_types": [CPU, INUSE]},
        {"selector": "{}", "profile_types": ["process_cpu:cpu:*:cpu:nanoseconds"]},
        {"selector": "{}", "profile_types": [INUSE], "aggregate": None},
    ],
    ids=lambda fields: "-".join(fields),
)
def test_what_the_form_cannot_say_is_left_out_and_counted(world: World, fields: dict[str, Any]):
    given = {"name": "r", "selector": OF_CPU, "by": ["pod"], "aggregate": "sum"} | fields
    world.save(**{name: value for name, value in given.items() if value is not None})
    book = world.book()
    assert (len(book.listed), book.left_out) == (0, 1)
    world.save(name="fine", selector=OF_CPU, by=[], aggregate="sum")
    assert (len(world.book().listed), world.book().left_out) == (1, 1)


def test_of_a_flow_the_sum_is_what_a_rule_without_an_aggregate_counts(world: World):
    world.save(name="r", profile_types=[CPU], by=["pod"])
    assert [one.form.matchers for one in world.book().listed] == [[OF_CPU]]


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"metric_name": "bad name"}, 'metric_name "bad name" is invalid: invalid metric name: bad name'),
        ({"metric_name": "cpu"}, "it must start with profiles_recorded_"),
        ({"matchers": []}, 'matchers must contain a "__profile_type__" matcher'),
        ({"matchers": ["{}", "{"]}, '"{" is invalid: 1:2: parse error: unexpected end of input inside braces\n'),
        ({"matchers": [OF_CPU, OF_CPU]}, "exactly one"),
        ({"matchers": [OF_CPU.replace("=", "=~")]}, "equality"),
        ({"id": "a-1"}, "must match"),
        ({"stacktrace_filter": rules_pb2.StacktraceFilter()}, "must name a function"),
        ({"group_by": ["__name__"]}, "by[0]"),
        ({"external_labels": [LabelPair(name="a b", value="c")]}, "a b"),
    ],
)
def test_what_is_refused_says_why(world: World, fields: dict[str, Any], words: str):
    with pytest.raises(BadQuery) as caught:
        world.upsert(**fields)
    assert str(caught.value).startswith("invalid request: ")
    assert words in str(caught.value)
    assert StoredRules(world.ledger).rules() == []


def test_ids_that_are_missing_or_unknown(world: World):
    with pytest.raises(BadQuery, match="id is required"):
        world.service.get(rules_pb2.GetRecordingRuleRequest(), "acme")
    with pytest.raises(NothingFound, match="no rule with id='nosuch' found"):
        world.service.get(rules_pb2.GetRecordingRuleRequest(id="nosuch"), "acme")
    made = world.upsert()
    assert world.service.get(rules_pb2.GetRecordingRuleRequest(id=made.id), "acme") == made
    with pytest.raises(NothingFound):
        world.service.get(rules_pb2.GetRecordingRuleRequest(id=made.id), "globex")
