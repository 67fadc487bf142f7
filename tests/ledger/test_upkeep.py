"""What upkeep marks in the ledger, on every kind of database: merged files, removed blocks and series, rows that go."""

from pyro_assets.archive.expire import ExpiryRecords
from pyro_assets.archive.restore import Restorer
from pyro_assets.archive.rows import SourceRows
from pyro_assets.jobs.claims import Claims
from pyro_assets.jobs.loading import JobRecords
from pyro_assets.ledger.database import Ledger
from pyro_assets.ledger.files import FileRecords
from pyro_assets.ledger.hours import HourRecords
from pyro_assets.ledger.upkeep import Merged, UpkeepRecords
from pyro_assets.planning.due import DueJobs
from pyro_assets.planning.plan import Planner
from pyro_assets.planning.sources import SourceRecords
from pyro_assets.storage.keys import HOUR_MS
from tests.support.ledgers import (
    HOUR,
    HOUR_START_MS,
    KINDS,
    NOW_MS,
    POLICY,
    RETRY,
    claimed,
    compacted,
    derivation,
    found,
    record,
)

LATER_MS = HOUR_START_MS + 2 * HOUR_MS
STATES = ("derived",)


def jobs_done(ledger: Ledger) -> list[str]:
    """Two jobs of an hour, derived."""
    record(ledger, [found(second, shard) for second in (-30, -20, -10) for shard in (4, 5)])
    assert Planner(ledger).plan(NOW_MS, POLICY) == 2
    done = DueJobs(ledger).due_jobs(HOUR, NOW_MS, kinds=KINDS)
    for job_id in done:
        job = claimed(ledger, job_id)
        Claims(ledger).commit_compacted(job, compacted(job), NOW_MS)
        Claims(ledger).commit_derived(job, derivation(job), NOW_MS, kinds=KINDS)
    return done


def merge(ledger: Ledger) -> bool:
    order = UpkeepRecords(ledger).begin_merge(HOUR, LATER_MS, 60_000, ())
    assert order is not None
    files = [
        Merged(
            kind, f"series_table/{kind}", 900, 7, {file.job_id: file.key for file in order.files if file.kind == kind}
        )
        for kind in sorted(KINDS)
    ]
    is_done = UpkeepRecords(ledger).finish_merge(order, files)
    UpkeepRecords(ledger).mark_merged(order, LATER_MS)
    return is_done


def give_own_files(ledger: Ledger, done: list[str]) -> None:
    """`derivation` names the same files for every job."""
    with ledger.write() as connection:
        for job_id in done:
            connection.exec_driver_sql(f"UPDATE series_files SET key = key || '{job_id}' WHERE job_id = '{job_id}'")


def test_merged(ledger: Ledger) -> None:
    done = jobs_done(ledger)
    give_own_files(ledger, done)
    assert UpkeepRecords(ledger).hours_before("9999") == [HOUR]
    assert UpkeepRecords(ledger).upkeep_states() == {}
    assert merge(ledger)
    state = UpkeepRecords(ledger).upkeep_states([HOUR])[HOUR]
    assert (state.series_number, state.table_ms) == (1, LATER_MS)
    place = FileRecords(ledger).placed_file(done[0], "dimension")
    assert place is not None
    assert (place.key, place.rows, place.size_bytes) == ("series_table/dimension", 11, 900)
    growth = UpkeepRecords(ledger).growth(HOUR, "9999")
    assert (growth.sources, growth.block_bytes, growth.series_bytes) == (6, 200, 1800)
    # A job that is done again takes the mark back.
    job = Claims(ledger).claim(done[0], "run", LATER_MS, 1000, RETRY, states=STATES)
    assert job is not None
    assert job.series_number == 1
    assert UpkeepRecords(ledger).begin_merge(HOUR, LATER_MS, 60_000, ()) is None
    Claims(ledger).commit_derived(job, derivation(job, "dimension"), LATER_MS, kinds=KINDS)
    assert UpkeepRecords(ledger).upkeep_states([HOUR])[HOUR].table_ms is None
    assert UpkeepRecords(ledger).begin_merge(HOUR, LATER_MS, 60_000, ()) is None  # just written


def test_a_merge_that_was_overtaken_changes_nothing(ledger: Ledger) -> None:
    give_own_files(ledger, jobs_done(ledger))
    slow = UpkeepRecords(ledger).begin_merge(HOUR, LATER_MS, 60_000, ())
    assert slow is not None
    assert merge(ledger)
    assert not UpkeepRecords(ledger).finish_merge(
        slow, [Merged("dimension", "slow", 1, 7, {file.job_id: "x" for file in slow.files})]
    )


def test_blocks_series_and_rows(ledger: Ledger) -> None:
    done = jobs_done(ledger)
    give_own_files(ledger, done)
    assert ExpiryRecords(ledger).expired_blocks(HOUR, LATER_MS, {"r": 0}).kept == {"a receiver lacks samples": 2}
    blocks = ExpiryRecords(ledger).expired_blocks(HOUR, LATER_MS, {"r": LATER_MS})
    assert (sorted(blocks.jobs), len(blocks.keys), blocks.size_bytes) == (sorted(done), 2, 200)
    assert len(ExpiryRecords(ledger).mark_blocks_removed(HOUR, LATER_MS, {})) == 2
    ExpiryRecords(ledger).finish_blocks(HOUR, LATER_MS)
    assert DueJobs(ledger).committed_jobs(HOUR) == []
    assert DueJobs(ledger).jobs_removed_in([HOUR]) == {HOUR: 2}
    series = ExpiryRecords(ledger).expired_series(HOUR, LATER_MS, {})
    assert (len(series.keys), series.kept) == (4, "")
    assert SourceRows(ledger).expired_rows(HOUR, LATER_MS, {}).kept == "its series are not in the table yet"
    assert ExpiryRecords(ledger).mark_series_removed(series, LATER_MS, {}) == 1
    assert ExpiryRecords(ledger).mark_series_removed(series, LATER_MS, {}) is None
    ExpiryRecords(ledger).finish_series(HOUR, LATER_MS)
    assert FileRecords(ledger).removed_in(HOUR_START_MS, HOUR_START_MS + 1) == [HOUR]
    assert FileRecords(ledger).removed_in(HOUR_START_MS + HOUR_MS, LATER_MS) == []
    before = HourRecords(ledger).hour_status(HOUR)
    rows = SourceRows(ledger).expired_rows(HOUR, LATER_MS, {})
    assert (rows.sources, rows.jobs, rows.kept) == (6, 2, "")
    assert SourceRows(ledger).collapse(HOUR, LATER_MS, {})
    assert UpkeepRecords(ledger).hours_before("9999") == []
    assert Restorer(ledger).has_jobs()
    after = HourRecords(ledger).hour_status(HOUR)
    assert (after.samples, after.services, after.series) == (before.samples, before.services, before.series)
    # Known ones are known; a late one is new, and gets a timestamp of its own.
    late = found(-30, 4, salt=7)
    known = [found(second, shard) for second in (-30, -20, -10) for shard in (4, 5)]
    recorded = SourceRecords(ledger).record_sources([*known, late], {}, LATER_MS, POLICY)
    assert [item.block.key for item in recorded.new] == [late.block.key]
    assert Planner(ledger).plan(LATER_MS, POLICY) == 1
    [job_id] = DueJobs(ledger).due_jobs(HOUR, LATER_MS, kinds=KINDS)
    assert JobRecords(ledger).look_up(job_id)[0].timestamp_ms == NOW_MS - 30_000 + 1
    SourceRows(ledger).uncollapse(HOUR)
    assert UpkeepRecords(ledger).upkeep_states([HOUR])[HOUR].collapsed_ms is None
