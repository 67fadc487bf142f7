"""Which jobs have which version of a rule: by their snapshot, or by what was put in since."""

from ledgers import HOUR, KINDS, NOW_MS, claimed, compaction, planned

from pyro_assets.ledger.ledger import Ledger
from pyro_assets.ledger.records import Derivation, SeriesFile
from pyro_assets.ledger.rule_use import RuleMark, Snapshot
from pyro_assets.ledger.rules import RuleEdit

#: Characters that patterns of databases know.
NAME = "a_b%c\\d"


def derived(ledger: Ledger, shard: int, config_hash: str, later: dict[str, tuple[str, str]]) -> str:
    job_id = planned(ledger, shard=shard)
    job = claimed(ledger, job_id)
    ledger.commit_compacted(job, compaction(), NOW_MS)
    files = (
        SeriesFile("dimension", "x", 1, 1, config_hash),
        SeriesFile("function", "y", 1, 1, config_hash, later),
    )
    ledger.commit_derived(ledger.look_up(job_id)[0], Derivation(files, config_hash), NOW_MS, kinds=KINDS)
    return job_id


def test_a_rule_is_known_by_id_and_hash(ledger: Ledger) -> None:
    ledger.add_snapshot(Snapshot("s1", {NAME: "h1", "other": "h9"}, "{}", 1))
    ledger.add_snapshot(Snapshot("s2", {NAME: "h2"}, "{}", 2))
    ledger.add_snapshot(Snapshot("s2", {}, "different", 3))
    assert ledger.rule_snapshot("s2") == Snapshot("s2", {NAME: "h2"}, "{}", 2)
    assert ledger.rule_snapshot("s3") is None
    first = derived(ledger, 1, "s1", {})
    second = derived(ledger, 2, "s2", {})
    put_in = derived(ledger, 3, "s1", {NAME: ("h2", "s2")})
    unknown = derived(ledger, 4, "lost", {})
    mark = RuleMark(NAME, "function", "h2")
    assert ledger.jobs_lacking_rules(HOUR, [mark]) == [first, unknown]
    assert ledger.rule_progress(HOUR, mark) == (2, 4)
    assert ledger.jobs_lacking_rules(HOUR, [RuleMark(NAME, "function", "h1")]) == [second, put_in, unknown]
    assert ledger.jobs_lacking_rules(HOUR, [RuleMark(NAME.replace("_", "x"), "function", "h2")]) == [
        first,
        second,
        put_in,
        unknown,
    ]
    assert ledger.jobs_lacking_rules(HOUR, [mark, RuleMark("other", "function", "h9")]) == [first, second, unknown]
    assert ledger.jobs_lacking_rules("2026-11-25-14:00", [mark]) == []
    assert ledger.snapshots_of_hour(HOUR) == {"lost": 2, "s1": 4, "s2": 2}


def test_versions_are_kept_once_and_restored(ledger: Ledger) -> None:
    assert ledger.unkept_rule_versions() == (0, [])
    ledger.edit_rules([RuleEdit("a", "{}", 0)], author="ann", why="é", now_ms=5)
    count, versions = ledger.unkept_rule_versions()
    assert (count, [one.name for one in versions]) == (1, ["a"])
    ledger.mark_rule_versions_kept(count)
    assert ledger.unkept_rule_versions() == (1, [])
    ledger.restore_rule_versions(versions)
    assert ledger.rule_history("a") == versions
