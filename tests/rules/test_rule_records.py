"""Rules in the archive: every version that was ever saved, and what each run had in force."""

import json
from pathlib import Path

import pytest

from pyro_assets.archive.rebuild import rebuild
from pyro_assets.errors import RebuildNeeded, StorageUnavailable
from pyro_assets.ledger.database import Ledger
from pyro_assets.operations import runs, ticks
from pyro_assets.rules.archive import keep_versions, restore_rules
from pyro_assets.rules.choice import config_text, rule_hashes
from pyro_assets.rules.config import parse_config
from pyro_assets.rules.stored import RuleEdit, RuleUse, RuleVersion, StoredRules
from pyro_assets.storage.keys import RULES
from tests.support import fakes
from tests.support.ledgers import HOUR
from tests.support.worlds import FaultyLedger, World


def edit(ledger: Ledger, name: str, body: str | None, seen: int, who: str = "ann", now_ms: int = 7) -> None:
    StoredRules(ledger).edit_rules([RuleEdit(name, body, seen)], author=who, why=f"{who} says so: é", now_ms=now_ms)


def history(ledger: Ledger) -> dict[str, list[RuleVersion]]:
    return {name: StoredRules(ledger).rule_history(name) for name in ("a", "b", "gone")}


def lose(world: World, tmp_path: Path) -> None:
    world.ledger.close()
    world.ledger = FaultyLedger.open(str(tmp_path / "new.db"))
    world.pipeline = world.open()


def test_rules_and_their_history_survive_the_database(world: World, tmp_path: Path) -> None:
    world.segment(-30)
    world.tick_and_run()
    edit(world.ledger, "a", '{"name": "a"}', 0)
    edit(world.ledger, "gone", '{"name": "gone"}', 0)
    ticks.tick(world.pipeline)
    edit(world.ledger, "gone", None, 1, "ben", 8)
    edit(world.ledger, "b", '{"name": "b"}', 0, "carl", 9)
    edit(world.ledger, "a", '{"by": [], "name": "a"}', 1, "ben", 10)
    ticks.tick(world.pipeline)
    before, rules = history(world.ledger), StoredRules(world.ledger).rules()
    snapshots = RuleUse(world.ledger).rule_snapshot("hash-plain")
    written = len(world.archive.objects)
    calls = len(world.archive.calls)
    ticks.tick(world.pipeline)
    assert (len(world.archive.objects), len(world.archive.calls)) == (written, calls)
    lose(world, tmp_path)
    report = rebuild(world.ledger, world.archive, world.clock())
    assert (report.rules, report.damaged) == (5 + 1, [])
    assert (history(world.ledger), StoredRules(world.ledger).rules()) == (before, rules)
    after = RuleUse(world.ledger).rule_snapshot("hash-plain")
    assert snapshots is not None
    assert after is not None
    assert (after.rules, after.body) == (snapshots.rules, snapshots.body)
    # History goes on where it was.
    edit(world.ledger, "gone", '{"name": "gone"}', 0)
    assert [one.version for one in StoredRules(world.ledger).rule_history("gone")] == [3, 2, 1]
    ticks.tick(world.pipeline)
    assert len([key for key in world.archive.objects if key.startswith("rules/versions/gone/")]) == 3


def test_a_snapshot_says_what_a_job_was_made_with(world: World) -> None:
    world.segment(-30)
    report = world.tick_and_run()
    assert report.snapshots == {"hash-plain": 2}
    [key] = [key for key in world.archive.objects if key.startswith("rules/snapshots/")]
    assert key == "rules/snapshots/hash-plain.json"
    world.segment(-20)
    world.clock.forward(10)
    assert world.tick_and_run(world.open("better")).snapshots == {"hash-better": 2, "hash-plain": 2}


def test_a_configuration_reads_back_to_the_same_rules() -> None:
    text = """
functions: {foo: '{a="b"}'}
recording_rules: [{id: r, metric_name: m, stacktrace_filter: {function_name: {function_name: f}}}]
rules:
- {name: x, description: for people, functions: [{glob: "a.*"}], top_k: 2, resolved: [a.b], unit: seconds}
- {name: off, enabled: false, by: [pod]}
"""
    config = parse_config(text)
    again = parse_config(config_text(config))
    assert again.hash == config.hash
    assert rule_hashes(again) == rule_hashes(config)
    assert set(rule_hashes(config)) == {"dimensions", "function:foo", "r", "x"}
    # What is for people, and lists that jobs keep, make no other rule; anything else does.
    same = parse_config(text.replace("for people", "other words").replace("a.b", "a.c"))
    assert rule_hashes(same) == rule_hashes(config)
    other = rule_hashes(parse_config(text.replace("top_k: 2", "top_k: 3") + "gauges: [cpu]\n"))
    assert not set(other.values()) & set(rule_hashes(config).values())


def test_an_archive_that_does_not_answer_holds_up_neither_tick_nor_edits(world: World) -> None:
    world.segment(-30)
    world.tick_and_run()
    edit(world.ledger, "a", '{"name": "a"}', 0)

    def down(method: str, key: str) -> None:
        if key.startswith(RULES):
            raise StorageUnavailable("the archive is away")

    world.archive.before = down
    assert "rules are not kept in the archive: the archive is away" in ticks.tick(world.pipeline).failures
    world.segment(-10)
    world.clock.forward(10)
    # Without the record of what it was made with, no job is derived: it is tried again.
    report = world.tick_and_run(world.open("better"))
    assert (report.run.failed, report.run.derived) == (1, 0)
    world.archive.before = None
    world.clock.forward(600)
    assert world.tick_and_run(world.open("better")).run.derived == 1
    assert len([key for key in world.archive.objects if key.startswith("rules/versions/")]) == 1


def test_two_ledgers_of_one_archive_overwrite_nothing(world: World, tmp_path: Path) -> None:
    other = Ledger.open(str(tmp_path / "other.db"))
    edit(world.ledger, "a", '{"name": "a"}', 0)
    edit(other, "a", '{"name": "a", "by": []}', 0, "ben", 99)
    assert (keep_versions(world.ledger, world.archive), keep_versions(other, world.archive)) == (1, 1)
    new = Ledger.open(str(tmp_path / "new.db"))
    assert restore_rules(new, world.archive, 1) == 2
    assert [one.author for one in StoredRules(new).rule_history("a")] == ["ben"]
    assert restore_rules(new, world.archive, 1) == 2
    other.close()
    new.close()


def test_a_damaged_record_of_rules_is_named(world: World, tmp_path: Path) -> None:
    world.segment(-30)
    world.tick_and_run()
    edit(world.ledger, "a", '{"name": "a"}', 0)
    ticks.tick(world.pipeline)
    lose(world, tmp_path)
    keys = [key for key in world.archive.objects if key.startswith("rules/")]
    assert len(keys) == 2
    for key in keys:
        good = world.archive.objects[key]
        for bad in (b"", b"[]", b"{}", good[:-9], good.replace(b'"record":2', b'"record":9'), b'{"record":1,"x":1}'):
            world.archive.objects[key] = bad
            [sentence] = rebuild(world.ledger, world.archive, world.clock()).damaged
            assert key in sentence
        with pytest.raises(RebuildNeeded):
            ticks.tick(world.pipeline)
        world.archive.objects[key] = good
    assert not rebuild(world.ledger, world.archive, world.clock()).damaged
    ticks.tick(world.pipeline)
    assert [one.name for one in StoredRules(world.ledger).rules()] == ["a"]


def test_a_crash_between_archive_and_ledger_keeps_everything(tmp_path: Path) -> None:
    for at in range(8):
        folder = tmp_path / str(at)
        folder.mkdir()
        world = World(folder)
        edit(world.ledger, "a", '{"name": "a"}', 0)
        world.segment(-30)
        world.ledger.kill_at = world.ledger.writes + at
        try:
            world.tick_and_run()
        except fakes.Killed:
            world.ledger.kill_at = None
            world.clock.forward(120)
            world.tick_and_run()
        records = [key for key in world.archive.objects if key.startswith("rules/")]
        assert len(records) == 2
        assert all(json.loads(world.archive.objects[key]) for key in records)
        assert StoredRules(world.ledger).unkept_rule_versions() == (1, [])
        assert RuleUse(world.ledger).rule_snapshot("hash-plain") is not None
        assert runs.hour_report(world.pipeline, HOUR).jobs_by_state == {"derived": 1}
        world.ledger.close()
