"""What upkeep marks in the ledger, on every kind of database: merged files, removed blocks and series, rows that go."""

from ledgers import HOUR, HOUR_START_MS, KINDS, NOW_MS, POLICY, RETRY, claimed, compaction, derivation, found, record

from pyro_assets.ledger.ledger import Ledger
from pyro_assets.ledger.upkeep import Merged
from pyro_assets.storage.keys import HOUR_MS

LATER_MS = HOUR_START_MS + 2 * HOUR_MS
STATES = ("derived",)


def jobs_done(ledger: Ledger) -> list[str]:
    """Two jobs of an hour, derived."""
    record(ledger, [found(second, shard) for second in (-30, -20, -10) for shard in (4, 5)])
    assert ledger.plan(NOW_MS, POLICY) == 2
    done = ledger.due_jobs(HOUR, NOW_MS, kinds=KINDS)
    for job_id in done:
        job = claimed(ledger, job_id)
        ledger.commit_compacted(job, compaction(), NOW_MS)
        ledger.commit_derived(job, derivation(), NOW_MS, kinds=KINDS)
    return done


def merge(ledger: Ledger) -> bool:
    order = ledger.begin_merge(HOUR, LATER_MS, 60_000)
    assert order is not None
    files = [
        Merged(kind, f"merged/{kind}", 900, 7, {file.job_id: file.key for file in order.files if file.kind == kind})
        for kind in sorted(KINDS)
    ]
    is_done = ledger.finish_merge(order, files)
    ledger.mark_merged(order, LATER_MS)
    return is_done


def give_own_files(ledger: Ledger, done: list[str]) -> None:
    """`derivation` names the same files for every job."""
    with ledger._write() as connection:
        for job_id in done:
            connection.exec_driver_sql(f"UPDATE series_files SET key = key || '{job_id}' WHERE job_id = '{job_id}'")


def test_merged(ledger: Ledger) -> None:
    done = jobs_done(ledger)
    give_own_files(ledger, done)
    assert ledger.hours_before("9999") == [HOUR]
    assert ledger.upkeep_states() == {}
    assert merge(ledger)
    state = ledger.upkeep_states([HOUR])[HOUR]
    assert (state.series_number, state.merged_ms) == (1, LATER_MS)
    place = ledger.placed_file(done[0], "dimension")
    assert place is not None
    assert (place.key, place.rows, place.size_bytes) == ("merged/dimension", 11, 900)
    growth = ledger.growth(HOUR, "9999")
    assert (growth.sources, growth.block_bytes, growth.series_bytes) == (6, 200, 1800)
    # A job that is done again takes the mark back.
    job = ledger.claim(done[0], "run", LATER_MS, 1000, RETRY, states=STATES)
    assert job is not None
    assert job.series_number == 1
    assert ledger.begin_merge(HOUR, LATER_MS, 60_000) is None
    ledger.commit_derived(job, derivation("dimension"), LATER_MS, kinds=KINDS)
    assert ledger.upkeep_states([HOUR])[HOUR].merged_ms is None
    assert ledger.begin_merge(HOUR, LATER_MS, 60_000) is None  # just written


def test_a_merge_that_was_overtaken_changes_nothing(ledger: Ledger) -> None:
    give_own_files(ledger, jobs_done(ledger))
    slow = ledger.begin_merge(HOUR, LATER_MS, 60_000)
    assert slow is not None
    assert merge(ledger)
    assert not ledger.finish_merge(slow, [Merged("dimension", "slow", 1, 7, {file.job_id: "x" for file in slow.files})])


def test_blocks_series_and_rows(ledger: Ledger) -> None:
    done = jobs_done(ledger)
    give_own_files(ledger, done)
    assert ledger.expired_blocks(HOUR, LATER_MS, {"r": 0}).kept == {"a receiver lacks samples": 2}
    blocks = ledger.expired_blocks(HOUR, LATER_MS, {"r": LATER_MS})
    assert (sorted(blocks.jobs), len(blocks.keys), blocks.size_bytes) == (sorted(done), 2, 200)
    assert len(ledger.mark_blocks_removed(HOUR, LATER_MS, {})) == 2
    ledger.finish_blocks(HOUR, LATER_MS)
    assert ledger.committed_jobs(HOUR) == []
    assert ledger.jobs_removed_in([HOUR]) == {HOUR: 2}
    series = ledger.expired_series(HOUR, LATER_MS, {})
    assert (len(series.keys), series.kept) == (4, "")
    assert ledger.expired_rows(HOUR, LATER_MS, {}).kept == "its files of series are not merged"
    assert ledger.mark_series_removed(series, LATER_MS, {}) == 1
    assert ledger.mark_series_removed(series, LATER_MS, {}) is None
    ledger.finish_series(HOUR, LATER_MS)
    assert ledger.removed_in(HOUR_START_MS, HOUR_START_MS + 1) == [HOUR]
    assert ledger.removed_in(HOUR_START_MS + HOUR_MS, LATER_MS) == []
    before = ledger.hour_status(HOUR)
    rows = ledger.expired_rows(HOUR, LATER_MS, {})
    assert (rows.sources, rows.jobs, rows.kept) == (6, 2, "")
    assert ledger.collapse(HOUR, LATER_MS, {})
    assert ledger.hours_before("9999") == []
    assert ledger.has_jobs()
    after = ledger.hour_status(HOUR)
    assert (after.samples, after.services, after.series) == (before.samples, before.services, before.series)
    # Known ones are known; a late one is new, and gets a timestamp of its own.
    late = found(-30, 4, salt=7)
    known = [found(second, shard) for second in (-30, -20, -10) for shard in (4, 5)]
    recorded = ledger.record_sources([*known, late], {}, LATER_MS, POLICY)
    assert [item.block.key for item in recorded.new] == [late.block.key]
    assert ledger.plan(LATER_MS, POLICY) == 1
    [job_id] = ledger.due_jobs(HOUR, LATER_MS, kinds=KINDS)
    assert ledger.look_up(job_id)[0].timestamp_ms == NOW_MS - 30_000 + 1
    ledger.uncollapse(HOUR)
    assert ledger.upkeep_states([HOUR])[HOUR].collapsed_ms is None
