"""Lags: which jobs count in a span of time and in an hour, figures by nearest rank, buckets, and their indexes."""

import pytest
from sqlalchemy import text

from pyro_assets.export.receipt import Receipt
from pyro_assets.export.receipts import ReceiptRecords
from pyro_assets.export.states import ReceiverRecords
from pyro_assets.jobs.claims import Claims
from pyro_assets.ledger.database import Ledger
from pyro_assets.ledger.lag import LAG_BOUNDS_MS, STAGES, LagFigures, LagRecords, figures_of
from pyro_assets.ledger.schema import OPEN_STATES
from tests.support.ledgers import HOUR, KINDS, LEASE_MS, NOW_MS, RETRY, claimed, compacted, derivation, planned


def exported(ledger: Ledger, shard: int, step_ms: int) -> None:
    """A job whose first source is 30 s old at NOW_MS; each stage takes it `step_ms` more."""
    job = claimed(ledger, planned(ledger, shard=shard))
    Claims(ledger).commit_compacted(job, compacted(job), NOW_MS + step_ms)
    Claims(ledger).commit_derived(job, derivation(job), NOW_MS + 2 * step_ms, kinds=KINDS)
    sent = [
        Receipt(job.id, kind, "r", "sent", samples=11, accepted=11, file_ms=NOW_MS + 2 * step_ms)
        for kind in sorted(KINDS)
    ]
    ReceiptRecords(ledger).put_receipts(sent, NOW_MS + 3 * step_ms, wanted_by=["r"])


def test_jobs_count_when_they_reach_a_stage(ledger: Ledger):
    for shard, step_ms in ((1, 1_000), (2, 2_000), (3, 9_000)):
        exported(ledger, shard, step_ms)
    everything = LagRecords(ledger).lag(0, NOW_MS + 10**9)
    assert everything == LagRecords(ledger).hour_lag(HOUR)
    assert [everything[stage].count for stage in STAGES] == [3, 3, 3]
    lag = everything["exported"]
    assert (lag.p50_ms, lag.p95_ms, lag.max_ms, lag.sum_ms) == (36_000, 57_000, 57_000, 33_000 + 36_000 + 57_000)
    assert dict(zip(LAG_BOUNDS_MS, lag.buckets, strict=False))[45_000] == 2
    assert dict(zip(LAG_BOUNDS_MS, lag.buckets, strict=False))[60_000] == 1
    # Half open: what was reached at the end itself belongs to the next span.
    assert [
        LagRecords(ledger).lag(NOW_MS + 2_000, until)["compacted"].count for until in (NOW_MS + 9_000, NOW_MS + 9_001)
    ] == [
        1,
        2,
    ]
    assert LagRecords(ledger).lag(NOW_MS + 27_001, NOW_MS + 10**9)["exported"] == LagFigures()
    assert LagRecords(ledger).hour_lag("2026-11-25-12:00") == dict.fromkeys(STAGES, LagFigures())


def test_stages_over_time(ledger: Ledger):
    for shard, step_ms in ((1, 1_000), (2, 2_000), (3, 9_000)):
        exported(ledger, shard, step_ms)
    begin_ms = NOW_MS - 40_000
    steps = LagRecords(ledger).over_time("derived", begin_ms, NOW_MS + 20_000, 10_000)
    assert [one.begin_ms - begin_ms for one in steps] == list(range(0, 60_000, 10_000))
    # All begin at 30 s before NOW_MS; two are derived at 2 and 4 s after it, the third at 18 s.
    assert [one.jobs for one in steps] == [0, 0, 0, 0, 2, 1]
    assert [one.pending for one in steps] == [0, 3, 3, 3, 1, 0]
    assert [one.lag.p95_ms for one in steps] == [0, 0, 0, 0, 34_000, 48_000]
    assert sum(one.size_bytes for one in steps) > 0
    # What came before the span and is not done is pending from its begin on.
    assert LagRecords(ledger).over_time("derived", NOW_MS - 20_000, NOW_MS, 10_000)[0].pending == 3


def test_what_a_person_asked_for_has_no_lag_but_a_duration_of_its_own(ledger: Ledger):
    exported(ledger, 1, 1_000)
    identity = planned(ledger, shard=2)
    year_ms = NOW_MS + 365 * 86_400_000
    job = Claims(ledger).claim(
        identity, "backfill", year_ms, LEASE_MS, RETRY, states=OPEN_STATES, asked_ms=year_ms - 5_000
    )
    assert job is not None
    Claims(ledger).commit_compacted(job, compacted(job), year_ms)
    Claims(ledger).commit_derived(job, derivation(job), year_ms + 1_000, kinds=KINDS)
    sent = [
        Receipt(job.id, kind, "r", "sent", samples=11, accepted=11, file_ms=year_ms + 1_000) for kind in sorted(KINDS)
    ]
    ReceiptRecords(ledger).put_receipts(sent, year_ms + 2_000, wanted_by=["r"])
    assert [LagRecords(ledger).hour_lag(HOUR)[stage].count for stage in STAGES] == [1, 1, 1]
    assert LagRecords(ledger).lag(year_ms, year_ms + 10_000) == dict.fromkeys(STAGES, LagFigures())
    assert [figures.max_ms for figures in LagRecords(ledger).hour_lag(HOUR, asked=True).values()] == [
        5_000,
        6_000,
        7_000,
    ]
    assert LagRecords(ledger).lag(year_ms, year_ms + 10_000, asked=True) == LagRecords(ledger).hour_lag(
        HOUR, asked=True
    )
    assert {
        (one.job_id, created) for one, created in ReceiverRecords(ledger).closed_between(year_ms, year_ms + 10_000)
    } == {(identity, None)}
    assert ReceiptRecords(ledger).receiver_hours(HOUR, {})["r"].lags_ms == [33_000]


def test_an_export_that_a_person_asked_for_leaves_the_lag_of_live_work_as_it_was(ledger: Ledger):
    job = claimed(ledger, planned(ledger))
    Claims(ledger).commit_compacted(job, compacted(job), NOW_MS + 1_000)
    Claims(ledger).commit_derived(job, derivation(job), NOW_MS + 2_000, kinds=KINDS)
    later_ms = NOW_MS + 10**9
    sent = [
        Receipt(job.id, kind, "r", "sent", samples=11, accepted=11, file_ms=NOW_MS + 2_000) for kind in sorted(KINDS)
    ]
    ReceiptRecords(ledger).put_receipts(sent, later_ms, wanted_by=["r"], asked_ms=later_ms - 3_000)
    lag = LagRecords(ledger).hour_lag(HOUR)
    assert [lag[stage].max_ms for stage in STAGES] == [31_000, 32_000, 0]
    assert [figures.max_ms for figures in LagRecords(ledger).hour_lag(HOUR, asked=True).values()] == [0, 0, 3_000]


def test_a_job_that_a_live_run_does_after_a_backfill_gave_it_back_is_live(ledger: Ledger):
    identity = planned(ledger)
    job = Claims(ledger).claim(identity, "backfill", NOW_MS, LEASE_MS, RETRY, states=OPEN_STATES, asked_ms=NOW_MS)
    assert job is not None
    Claims(ledger).release(job)
    job = claimed(ledger, identity)
    Claims(ledger).commit_compacted(job, compacted(job), NOW_MS + 1_000)
    assert LagRecords(ledger).hour_lag(HOUR)["compacted"].max_ms == 31_000


@pytest.mark.parametrize("count", [1, 2, 19, 20, 21, 100])
def test_percentiles_are_those_of_a_sorted_list(count: int):
    figures = figures_of([(lag_ms, 1) for lag_ms in range(1, count + 1)])
    assert (figures.count, figures.p50_ms, figures.max_ms) == (count, -(-count // 2), count)
    assert figures.p95_ms == -(-count * 95 // 100)
    assert sum(figures.buckets) == count


def test_a_bound_belongs_to_its_bucket():
    buckets = figures_of([(bound_ms, 1) for bound_ms in LAG_BOUNDS_MS] + [(LAG_BOUNDS_MS[-1] + 1, 1)]).buckets
    assert set(buckets) == {1}


@pytest.mark.parametrize("stage", STAGES)
def test_a_span_of_time_is_found_by_an_index(sqlite_ledger: Ledger, stage: str):
    query = f"SELECT count(*) FROM jobs WHERE {stage}_ms >= 5 AND {stage}_ms < 9"
    with sqlite_ledger.read() as connection:
        plan = "\n".join(row[-1] for row in connection.execute(text(f"EXPLAIN QUERY PLAN {query}")))
    assert f"ix_jobs_{stage}" in plan
