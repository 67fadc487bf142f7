"""How weeks of hours stand, what people decided, and files of series, newest first: on SQLite and Postgres."""

from ledgers import HOUR, KINDS, NOW_MS, claimed, compaction, derivation, planned, record
from ledgers import found as block

from pyro_assets.ledger.decisions import Decision
from pyro_assets.ledger.figures import to_json
from pyro_assets.ledger.ledger import Ledger
from pyro_assets.ledger.schema import hour_upkeep
from pyro_assets.ledger.upkeep import ensure_row

LATER = "2026-11-25-14:00"
DAY = ("2026-11-25-00:00", "2026-11-26-00:00")


def derived(ledger: Ledger, shard: int = 4) -> str:
    identity = planned(ledger, shard=shard)
    job = claimed(ledger, identity)
    ledger.commit_compacted(job, compaction(0.5), NOW_MS + 1_000)
    ledger.commit_derived(job, derivation(), NOW_MS + 2_000, kinds=KINDS)
    return identity


def test_counts_of_hours(ledger: Ledger):
    assert ledger.hour_counts(*DAY) == {}
    derived(ledger)
    planned(ledger, shard=5)
    record(ledger, [block(1900), block(1901)])
    counts = ledger.hour_counts(*DAY)
    assert list(counts) == [HOUR, LATER]
    assert (counts[HOUR].jobs, counts[HOUR].sources) == ({"derived": 1, "planned": 1}, {})
    assert (counts[HOUR].open_jobs, counts[HOUR].done_jobs) == (1, 1)
    assert counts[LATER].sources == {"pending": 2}
    # The end is not included.
    assert list(ledger.hour_counts(DAY[0], LATER)) == [HOUR]
    assert list(ledger.hour_counts(LATER, DAY[1])) == [LATER]


def test_what_was_taken_off_the_list_is_not_counted(ledger: Ledger):
    record(ledger, [block(0)])
    key = block(0).block.key
    with ledger._write() as connection:
        connection.exec_driver_sql("UPDATE sources SET state = 'lost'")
    assert ledger.hour_counts(*DAY)[HOUR].sources == {"lost": 1}
    ledger.acknowledge_source(key, NOW_MS)
    assert ledger.hour_counts(*DAY) == {}


def test_costs(ledger: Ledger):
    derived(ledger)
    derived(ledger, shard=5)
    planned(ledger, shard=6)
    record(ledger, [block(3600)])
    cost = ledger.hours_cost([HOUR, LATER])
    assert (cost.jobs, cost.derived, cost.measured, cost.undone, cost.waiting) == (2, 2, 2, 1, 1)
    assert (cost.derive_seconds, cost.compact_seconds) == (0.5, 1.0)
    assert ledger.hours_cost([LATER]).jobs == 0


def test_how_far_series_were_written(ledger: Ledger):
    derived(ledger)
    since_ms = NOW_MS + 2_000
    assert ledger.written_since([HOUR], sorted(KINDS), since_ms) == (1, 1)
    assert ledger.written_since([HOUR], sorted(KINDS), since_ms + 1) == (0, 1)
    assert ledger.written_since([LATER], ["function"], 0) == (0, 0)


def test_files_newest_first(ledger: Ledger):
    first, second = derived(ledger), derived(ledger, shard=5)
    found = ledger.newest_series_files(0, NOW_MS)
    assert [(job, file.kind) for _, job, file in found] == [
        (first, "dimension"),
        (first, "function"),
        (second, "dimension"),
        (second, "function"),
    ]
    assert len(ledger.newest_series_files(0, NOW_MS, kind="function")) == 2
    assert len(ledger.newest_series_files(0, NOW_MS, limit=3)) == 3
    time_ms = found[0][0]
    assert ledger.newest_series_files(time_ms + 1, NOW_MS) == []
    assert ledger.newest_series_files(0, time_ms) == []
    shown = ledger.shown_job(first)
    assert shown is not None
    assert (shown.job.id, shown.derived_ms, shown.exported_ms, len(shown.files)) == (first, NOW_MS + 2_000, None, 2)
    assert ledger.shown_job("none") is None


def test_decisions(ledger: Ledger):
    made = [Decision(NOW_MS + n, "ann", "retry", subject, "why\n'\"") for n, subject in enumerate(["a", "b", "a"])]
    for decision in made:
        ledger.note_decision(decision)
    assert ledger.past_decisions() == made[::-1]
    assert ledger.past_decisions(subject="a") == [made[2], made[0]]
    assert ledger.past_decisions(limit=1) == [made[2]]


def test_what_retention_removed(ledger: Ledger):
    derived(ledger)
    derived(ledger, shard=5)
    with ledger._write() as connection:
        connection.exec_driver_sql("UPDATE jobs SET blocks_removed_ms = 1 WHERE shard = 5")
    cost = ledger.hours_cost([HOUR])
    assert (cost.jobs, cost.without_blocks, cost.measured) == (1, 1, 1)
    assert ledger.written_since([HOUR], sorted(KINDS), 0) == (1, 1)
    assert ledger.hour_counts(*DAY)[HOUR].jobs == {"derived": 2}


def test_hours_whose_rows_were_removed_are_counted_as_they_were(ledger: Ledger):
    derived(ledger)
    figures = to_json(ledger.hour_status(HOUR))
    with ledger._write() as connection:
        ensure_row(connection, HOUR)
        connection.execute(hour_upkeep.update().values(figures=figures, collapsed_ms=1))
    # One job before, and one of a source that came since.
    assert ledger.hour_counts(*DAY)[HOUR].jobs == {"derived": 2}
