"""Rules with `top_k`: lists are renewed where they changed, and a past job keeps the list that it was derived with."""

from pathlib import Path
from typing import Any

import pytest

from pyro_assets.explore.preview import resolve_rule, rules_to_resolve
from pyro_assets.operations import runs, ticks, upkeep
from pyro_assets.operations.runs import SERIES_STEPS
from pyro_assets.rules.language import Rule
from pyro_assets.rules.patterns import Pattern
from pyro_assets.rules.stored import RuleEdit, StoredRules
from tests.support.exports import HOUR
from tests.support.rule_places import FILE, GOLDEN, Place

TOP = Rule(name="top", functions=[Pattern(glob="*")], match="self", profile_types=["cpu"], by=[], top_k=2)
OTHER = Rule(name="other", functions=[Pattern(glob="main.*")], by=[])


def with_list(*names: str, **changes: Any) -> Rule:
    return TOP.model_copy(update={"resolved": list(names), **changes})


def functions(place: Place) -> list[str]:
    rows = [row for _, rows in place.rows("top") for row in rows]
    return sorted({label["value"] for row in rows for label in row["labels"] if label["name"] == "function"})


def all_again(place: Place) -> None:
    report = runs.run(place.pipeline(), [HOUR], SERIES_STEPS, run_id="again")[HOUR]
    assert report.run.derived == len(GOLDEN.jobs)


def two_lists(place: Place) -> tuple[list[str], list[str]]:
    """Two lists of functions that are all there."""
    place.save(Rule(name="every", functions=[Pattern(glob="*")], match="self", profile_types=["cpu"], by=[]))
    place.live()
    rows = [row for _, rows in place.rows("every") for row in rows]
    found = sorted({label["value"] for row in rows for label in row["labels"] if label["name"] == "function"})
    return found[:2], found[2:4]


def test_a_list_is_saved_only_where_it_changed(tmp_path: Path) -> None:
    place = Place(tmp_path)
    place.save(TOP, OTHER, TOP.model_copy(update={"name": "off", "enabled": False}))
    place.live()
    place.clock.forward(3600)
    assert upkeep.has_rules_to_resolve(place.pipeline())
    [first] = upkeep.resolve_rules(place.pipeline())
    assert (first.name, first.version, len(first.functions), first.went) == ("top", 2, 2, ())
    [newest, _] = StoredRules(place.ledger).rule_history("top")
    assert newest.author == "schedule"
    assert f"resolved over 3 of 3 jobs of {HOUR}: new {', '.join(first.functions)}" in newest.why
    # The same list in another order is no other list.
    place.save(with_list(*reversed(first.functions)))
    [same] = upkeep.resolve_rules(place.pipeline())
    assert (same.version, same.problem) == (0, "")
    place.save(with_list("main.gone", first.functions[0]))
    [changed] = upkeep.resolve_rules(place.pipeline())
    assert (changed.came, changed.went) == (first.functions[1:], ("main.gone",))
    assert StoredRules(place.ledger).rule_history("top")[0].why.endswith(f": new {first.functions[1]}; gone main.gone")
    assert [len(StoredRules(place.ledger).rule_history(name)) for name in ("off", "other")] == [1, 1]


def test_what_is_not_found_or_was_edited_meanwhile_stays(tmp_path: Path) -> None:
    place = Place(tmp_path)
    place.save(with_list("a", selector='{service_name="none"}'))
    place.live()
    place.clock.forward(3600)
    [found] = upkeep.resolve_rules(place.pipeline())
    assert found.summary == "top: no function found, stays as it is"
    place.save(TOP)
    [stale] = rules_to_resolve(place.ledger, place.pipeline().config or FILE)
    place.save(with_list("b"))
    result = resolve_rule(place.ledger, place.archive, stale, FILE, place.clock(), author="x")
    assert "was changed meanwhile" in result.problem
    StoredRules(place.ledger).edit_rules([RuleEdit("top", None, 3)], author="x", why="", now_ms=1)
    assert not upkeep.has_rules_to_resolve(place.pipeline())
    # The file's rule is not the ledger's to renew.
    assert not upkeep.has_rules_to_resolve(place.pipeline(FILE.model_copy(update={"rules": [TOP]})))


@pytest.mark.parametrize("lost", [False, True])
def test_a_past_job_keeps_its_list(tmp_path: Path, lost: bool) -> None:
    before, after = two_lists(Place(tmp_path / "look"))
    place = Place(tmp_path / "place")
    place.save(with_list(*before), OTHER)
    place.live()
    live, files = place.rows(), place.files()
    assert functions(place) == before
    place.save(with_list(*after))
    if lost:
        ticks.tick(place.pipeline())
        place.lose_ledger()
    assert place.backfill("top").run.nothing_to_do
    assert place.files() == files
    # Deriving everything again gives what live gave, and goes on to.
    for _ in range(2):
        all_again(place)
        assert place.rows() == live
    # Another rule that changed does so, and this one keeps its list.
    place.save(OTHER.model_copy(update={"match": "self"}))
    all_again(place)
    assert functions(place) == before
    assert place.rows("other") != [(key, [row for row in rows if row["rule"] == "other"]) for key, rows in live]
    # Edited otherwise, it is another rule, with the list in force.
    place.save(with_list(*after, labels={"team": "a"}))
    assert place.backfill("top").run.derived == len(GOLDEN.jobs)
    assert functions(place) == after


@pytest.mark.parametrize("lost", [False, True])
def test_a_rule_that_was_not_there_gets_the_list_in_force_and_keeps_it(tmp_path: Path, lost: bool) -> None:
    before, after = two_lists(Place(tmp_path / "look"))
    place = Place(tmp_path / "place")
    place.save(OTHER)
    place.live()
    place.save(with_list(*before))
    place.backfill("top")
    assert functions(place) == before
    rows = place.rows()
    place.save(with_list(*after))
    if lost:
        ticks.tick(place.pipeline())
        place.lose_ledger()
    assert place.backfill("top").run.nothing_to_do
    all_again(place)
    assert place.rows() == rows
