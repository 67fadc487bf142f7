"""Rules in the ledger: versions, deletions, edits that others overtook."""

import pytest
from sqlalchemy import create_engine, text

from pyro_assets.errors import StaleRule
from pyro_assets.ledger.database import Ledger, parse_ledger_url
from pyro_assets.rules.stored import RuleEdit, RuleVersion, StoredRules


def edit(ledger: Ledger, name: str, body: str | None, seen: int, author: str = "ann", now_ms: int = 1) -> RuleVersion:
    return StoredRules(ledger).edit_rules([RuleEdit(name, body, seen)], author=author, why="because", now_ms=now_ms)[0]


def test_versions_deletion_and_return(ledger: Ledger):
    assert StoredRules(ledger).rules() == StoredRules(ledger).rule_history("a") == []
    first = edit(ledger, "a", "{}", 0)
    assert first == RuleVersion("a", 1, "{}", False, "ann", "because", 1)
    edit(ledger, "b", "{}", 0)
    second = edit(ledger, "a", '{"x": 1}', 1, now_ms=2)
    assert [(one.name, one.version) for one in StoredRules(ledger).rules()] == [("a", 2), ("b", 1)]
    gone = edit(ledger, "a", None, 2, now_ms=3)
    assert (gone.deleted, gone.version, gone.body) == (True, 3, second.body)
    assert [one.name for one in StoredRules(ledger).rules()] == ["b"]
    back = edit(ledger, "a", second.body, 0, now_ms=4)
    assert StoredRules(ledger).rule_history("a") == [back, gone, second, first]


def test_an_edit_of_an_older_version_is_refused_and_shows_the_newer(ledger: Ledger):
    edit(ledger, "a", "1", 0)
    edit(ledger, "a", "2", 1, author="ben")
    with pytest.raises(StaleRule, match="ben made version 2, this edit was made from version 1") as caught:
        edit(ledger, "a", "3", 1)
    assert caught.value.current.body == "2"
    with pytest.raises(StaleRule, match="made from no such rule"):
        edit(ledger, "a", "3", 0)
    with pytest.raises(StaleRule, match="does not exist"):
        edit(ledger, "b", None, 0)
    edit(ledger, "a", None, 2)
    with pytest.raises(StaleRule, match="any more"):
        edit(ledger, "a", "3", 2)
    assert len(StoredRules(ledger).rule_history("a")) == 3


def test_edits_are_made_together_or_not_at_all(ledger: Ledger):
    edits = [RuleEdit("a", "1", 0), RuleEdit("b", "1", 7)]
    with pytest.raises(StaleRule):
        StoredRules(ledger).edit_rules(edits, author="ann", why="", now_ms=1)
    assert StoredRules(ledger).rules() == []
    assert len(StoredRules(ledger).edit_rules([edits[0], RuleEdit("a", "2", 1)], author="ann", why="", now_ms=1)) == 2
    assert StoredRules(ledger).rules()[0].body == "2"


def test_an_older_ledger_gets_the_table(ledger_url: str):
    Ledger.open(ledger_url).close()
    engine = create_engine(parse_ledger_url(ledger_url))
    with engine.begin() as connection:
        connection.execute(text("DROP TABLE rule_versions"))
        connection.execute(text("UPDATE schema_version SET version = 2"))
    engine.dispose()
    opened = Ledger.open(ledger_url)
    assert edit(opened, "a", "1", 0).version == 1
    opened.close()
