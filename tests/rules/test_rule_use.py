"""Which jobs have which version of a rule: by their snapshot, or by what was put in since."""

from pyro_assets.jobs.claims import Claims
from pyro_assets.jobs.loading import JobRecords
from pyro_assets.ledger.database import Ledger
from pyro_assets.ledger.records import Derivation, SeriesFile
from pyro_assets.rules.stored import RuleEdit, RuleMark, RuleUse, Snapshot, StoredRules
from tests.support.ledgers import HOUR, KINDS, NOW_MS, claimed, compacted, planned

#: Characters that patterns of databases know.
NAME = "a_b%c\\d"


def derived(ledger: Ledger, shard: int, config_hash: str, later: dict[str, tuple[str, str]]) -> str:
    job_id = planned(ledger, shard=shard)
    job = claimed(ledger, job_id)
    Claims(ledger).commit_compacted(job, compacted(job), NOW_MS)
    files = (
        SeriesFile("dimension", job.id, "x", 1, 1, config_hash=config_hash),
        SeriesFile("function", job.id, "y", 1, 1, config_hash=config_hash, later=later),
    )
    Claims(ledger).commit_derived(
        JobRecords(ledger).look_up(job_id)[0], Derivation(files, config_hash), NOW_MS, kinds=KINDS
    )
    return job_id


def test_a_rule_is_known_by_id_and_hash(ledger: Ledger) -> None:
    RuleUse(ledger).add_snapshot(Snapshot("s1", {NAME: "h1", "other": "h9"}, "{}", 1))
    RuleUse(ledger).add_snapshot(Snapshot("s2", {NAME: "h2"}, "{}", 2))
    RuleUse(ledger).add_snapshot(Snapshot("s2", {}, "different", 3))
    assert RuleUse(ledger).rule_snapshot("s2") == Snapshot("s2", {NAME: "h2"}, "{}", 2)
    assert RuleUse(ledger).rule_snapshot("s3") is None
    first = derived(ledger, 1, "s1", {})
    second = derived(ledger, 2, "s2", {})
    put_in = derived(ledger, 3, "s1", {NAME: ("h2", "s2")})
    unknown = derived(ledger, 4, "lost", {})
    mark = RuleMark(NAME, "function", "h2")
    assert RuleUse(ledger).jobs_lacking_rules(HOUR, [mark]) == [first, unknown]
    assert RuleUse(ledger).rule_progress(HOUR, mark) == (2, 4)
    assert RuleUse(ledger).jobs_lacking_rules(HOUR, [RuleMark(NAME, "function", "h1")]) == [second, put_in, unknown]
    assert RuleUse(ledger).jobs_lacking_rules(HOUR, [RuleMark(NAME.replace("_", "x"), "function", "h2")]) == [
        first,
        second,
        put_in,
        unknown,
    ]
    assert RuleUse(ledger).jobs_lacking_rules(HOUR, [mark, RuleMark("other", "function", "h9")]) == [
        first,
        second,
        unknown,
    ]
    assert RuleUse(ledger).jobs_lacking_rules("2026-11-25-14:00", [mark]) == []
    assert RuleUse(ledger).snapshots_of_hour(HOUR) == {"lost": 2, "s1": 4, "s2": 2}


def test_versions_are_kept_once_and_restored(ledger: Ledger) -> None:
    assert StoredRules(ledger).unkept_rule_versions() == (0, [])
    StoredRules(ledger).edit_rules([RuleEdit("a", "{}", 0)], author="ann", why="é", now_ms=5)
    count, versions = StoredRules(ledger).unkept_rule_versions()
    assert (count, [one.name for one in versions]) == (1, ["a"])
    StoredRules(ledger).mark_rule_versions_kept(count)
    assert StoredRules(ledger).unkept_rule_versions() == (1, [])
    StoredRules(ledger).restore_rule_versions(versions)
    assert StoredRules(ledger).rule_history("a") == versions
