"""Lags: which jobs count in a span of time and in an hour, figures by nearest rank, buckets, and their indexes."""

import pytest
from ledgers import HOUR, KINDS, NOW_MS, claimed, compaction, derivation, planned
from sqlalchemy import text

from pyro_assets.ledger.lag import LAG_BOUNDS_MS, STAGES, LagFigures, figures_of
from pyro_assets.ledger.ledger import Ledger
from pyro_assets.ledger.receipt import Receipt


def exported(ledger: Ledger, shard: int, step_ms: int) -> None:
    """A job whose first source is 30 s old at NOW_MS; each stage takes it `step_ms` more."""
    job = claimed(ledger, planned(ledger, shard=shard))
    ledger.commit_compacted(job, compaction(), NOW_MS + step_ms)
    ledger.commit_derived(job, derivation(), NOW_MS + 2 * step_ms, kinds=KINDS)
    sent = [
        Receipt(job.id, kind, "r", "sent", samples=11, accepted=11, file_ms=NOW_MS + 2 * step_ms)
        for kind in sorted(KINDS)
    ]
    ledger.put_receipts(sent, NOW_MS + 3 * step_ms, wanted_by=["r"])


def test_jobs_count_when_they_reach_a_stage(ledger: Ledger):
    for shard, step_ms in ((1, 1_000), (2, 2_000), (3, 9_000)):
        exported(ledger, shard, step_ms)
    everything = ledger.lag(0, NOW_MS + 10**9)
    assert everything == ledger.hour_lag(HOUR)
    assert [everything[stage].count for stage in STAGES] == [3, 3, 3]
    lag = everything["exported"]
    assert (lag.p50_ms, lag.p95_ms, lag.max_ms, lag.sum_ms) == (36_000, 57_000, 57_000, 33_000 + 36_000 + 57_000)
    assert dict(zip(LAG_BOUNDS_MS, lag.buckets, strict=False))[45_000] == 2
    assert dict(zip(LAG_BOUNDS_MS, lag.buckets, strict=False))[60_000] == 1
    # Half open: what was reached at the end itself belongs to the next span.
    assert [ledger.lag(NOW_MS + 2_000, until)["compacted"].count for until in (NOW_MS + 9_000, NOW_MS + 9_001)] == [
        1,
        2,
    ]
    assert ledger.lag(NOW_MS + 27_001, NOW_MS + 10**9)["exported"] == LagFigures()
    assert ledger.hour_lag("2026-11-25-12:00") == dict.fromkeys(STAGES, LagFigures())


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
    with sqlite_ledger._read() as connection:
        plan = "\n".join(row[-1] for row in connection.execute(text(f"EXPLAIN QUERY PLAN {query}")))
    assert f"ix_jobs_{stage}" in plan
