"""How weeks of hours stand, what people decided, and files of series, newest first: on SQLite and Postgres."""

from pyro_assets.jobs.claims import Claims
from pyro_assets.jobs.loading import JobRecords
from pyro_assets.jobs.quarantine import Pardons
from pyro_assets.ledger.calendar import HourCalendar
from pyro_assets.ledger.database import Ledger
from pyro_assets.ledger.decisions import Decision, DecisionRecords
from pyro_assets.ledger.files import FileRecords
from pyro_assets.ledger.hours import HourRecords, to_json
from pyro_assets.ledger.schema import hour_upkeep
from pyro_assets.ledger.upkeep import ensure_row
from tests.support.ledgers import HOUR, KINDS, NOW_MS, claimed, compacted, derivation, planned, record
from tests.support.ledgers import found as block

LATER = "2026-11-25-14:00"
DAY = ("2026-11-25-00:00", "2026-11-26-00:00")


def derived(ledger: Ledger, shard: int = 4) -> str:
    identity = planned(ledger, shard=shard)
    job = claimed(ledger, identity)
    Claims(ledger).commit_compacted(job, compacted(job), NOW_MS + 1_000, 0.5)
    Claims(ledger).commit_derived(job, derivation(job), NOW_MS + 2_000, kinds=KINDS)
    return identity


def test_counts_of_hours(ledger: Ledger):
    assert HourCalendar(ledger).hour_counts(*DAY) == {}
    derived(ledger)
    planned(ledger, shard=5)
    record(ledger, [block(1900), block(1901)])
    counts = HourCalendar(ledger).hour_counts(*DAY)
    assert list(counts) == [HOUR, LATER]
    assert (counts[HOUR].jobs, counts[HOUR].sources) == ({"derived": 1, "planned": 1}, {})
    assert (counts[HOUR].open_jobs, counts[HOUR].done_jobs) == (1, 1)
    assert counts[LATER].sources == {"pending": 2}
    # The end is not included.
    assert list(HourCalendar(ledger).hour_counts(DAY[0], LATER)) == [HOUR]
    assert list(HourCalendar(ledger).hour_counts(LATER, DAY[1])) == [LATER]


def test_what_was_taken_off_the_list_is_not_counted(ledger: Ledger):
    record(ledger, [block(0)])
    key = block(0).block.key
    with ledger.write() as connection:
        connection.exec_driver_sql("UPDATE sources SET state = 'lost'")
    assert HourCalendar(ledger).hour_counts(*DAY)[HOUR].sources == {"lost": 1}
    Pardons(ledger).acknowledge_source(key, NOW_MS)
    assert HourCalendar(ledger).hour_counts(*DAY) == {}


def test_costs(ledger: Ledger):
    derived(ledger)
    derived(ledger, shard=5)
    planned(ledger, shard=6)
    record(ledger, [block(3600)])
    cost = HourCalendar(ledger).hours_cost([HOUR, LATER])
    assert (cost.jobs, cost.derived, cost.measured, cost.undone, cost.waiting) == (2, 2, 2, 1, 1)
    assert (cost.derive_seconds, cost.compact_seconds) == (0.5, 1.0)
    assert HourCalendar(ledger).hours_cost([LATER]).jobs == 0


def test_how_far_series_were_written(ledger: Ledger):
    derived(ledger)
    since_ms = NOW_MS + 2_000
    assert HourCalendar(ledger).written_since([HOUR], sorted(KINDS), since_ms) == (1, 1)
    assert HourCalendar(ledger).written_since([HOUR], sorted(KINDS), since_ms + 1) == (0, 1)
    assert HourCalendar(ledger).written_since([LATER], ["function"], 0) == (0, 0)


def test_files_newest_first(ledger: Ledger):
    first, second = derived(ledger), derived(ledger, shard=5)
    found = FileRecords(ledger).files_between(0, NOW_MS, newest=9)
    assert [(file.job_id, file.kind) for _, file in found] == [
        (first, "dimension"),
        (first, "function"),
        (second, "dimension"),
        (second, "function"),
    ]
    assert len(FileRecords(ledger).files_between(0, NOW_MS, newest=9, kind="function")) == 2
    assert len(FileRecords(ledger).files_between(0, NOW_MS, newest=3)) == 3
    time_ms = found[0][0]
    assert FileRecords(ledger).files_between(time_ms + 1, NOW_MS, newest=9) == []
    assert FileRecords(ledger).files_between(0, time_ms, newest=9) == []
    shown = JobRecords(ledger).shown_job(first)
    assert shown is not None
    assert (shown.job.id, shown.derived_ms, shown.exported_ms, len(shown.job.files)) == (first, NOW_MS + 2_000, None, 2)
    assert JobRecords(ledger).shown_job("none") is None


def test_decisions(ledger: Ledger):
    made = [Decision(NOW_MS + n, "ann", "retry", subject, "why\n'\"") for n, subject in enumerate(["a", "b", "a"])]
    for decision in made:
        DecisionRecords(ledger).note_decision(decision)
    assert DecisionRecords(ledger).past_decisions() == made[::-1]
    assert DecisionRecords(ledger).past_decisions(subject="a") == [made[2], made[0]]
    assert DecisionRecords(ledger).past_decisions(limit=1) == [made[2]]


def test_what_retention_removed(ledger: Ledger):
    derived(ledger)
    derived(ledger, shard=5)
    with ledger.write() as connection:
        connection.exec_driver_sql("UPDATE jobs SET blocks_removed_ms = 1 WHERE shard = 5")
    cost = HourCalendar(ledger).hours_cost([HOUR])
    assert (cost.jobs, cost.without_blocks, cost.measured) == (1, 1, 1)
    assert HourCalendar(ledger).written_since([HOUR], sorted(KINDS), 0) == (1, 1)
    assert HourCalendar(ledger).hour_counts(*DAY)[HOUR].jobs == {"derived": 2}


def test_hours_whose_rows_were_removed_are_counted_as_they_were(ledger: Ledger):
    derived(ledger)
    figures = to_json(HourRecords(ledger).hour_status(HOUR))
    with ledger.write() as connection:
        ensure_row(connection, HOUR)
        connection.execute(hour_upkeep.update().values(figures=figures, collapsed_ms=1))
    # One job before, and one of a source that came since.
    assert HourCalendar(ledger).hour_counts(*DAY)[HOUR].jobs == {"derived": 2}
