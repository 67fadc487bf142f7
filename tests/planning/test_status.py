"""What is due and pending, and what an hour comes to when nothing is there."""

from pyro_assets.jobs.claims import Claims
from pyro_assets.ledger.database import Ledger
from pyro_assets.ledger.hours import HourRecords, HourStatus
from pyro_assets.planning.due import DueJobs
from pyro_assets.planning.plan import Planner
from tests.support.ledgers import HOUR, KINDS, LEASE_MS, NOW_MS, POLICY, claimed, compacted, found, planned, record


def test_an_empty_ledger(ledger: Ledger) -> None:
    backlog = DueJobs(ledger).backlog(NOW_MS, KINDS)
    assert (backlog.due, backlog.leased, backlog.unfinished, backlog.waiting, backlog.oldest_ms) == ({}, 0, 0, 0, None)
    assert HourRecords(ledger).hours() == []
    assert HourRecords(ledger).hour_status(HOUR) == HourStatus(HOUR)


def test_backlog(ledger: Ledger) -> None:
    record(ledger, [found(-1)])
    assert DueJobs(ledger).backlog(NOW_MS, KINDS).waiting == 1
    assert DueJobs(ledger).backlog(NOW_MS, KINDS).oldest_ms == NOW_MS - 1_000
    first = planned(ledger, (-3_000, -2_990), 1)
    planned(ledger, (-60,), 2)
    backlog = DueJobs(ledger).backlog(NOW_MS, KINDS)
    assert backlog.due == {"2026-11-25-12:00": 1, HOUR: 1}
    assert list(backlog.due) == sorted(backlog.due)
    assert (backlog.leased, backlog.unfinished, backlog.oldest_ms) == (0, 2, NOW_MS - 3_000_000)
    job = claimed(ledger, first)
    backlog = DueJobs(ledger).backlog(NOW_MS, KINDS)
    assert (backlog.due, backlog.leased, backlog.unfinished) == ({HOUR: 1}, 1, 2)
    Claims(ledger).commit_compacted(job, compacted(job), NOW_MS)
    assert DueJobs(ledger).backlog(NOW_MS + LEASE_MS, KINDS).due == {"2026-11-25-12:00": 1, HOUR: 1}
    # A run that only compacts has nothing to do there.
    assert DueJobs(ledger).due_hours(NOW_MS + LEASE_MS, []) == {HOUR: 1}


def test_checks_look_at_each_job_once(ledger: Ledger) -> None:
    identity = planned(ledger)
    assert DueJobs(ledger).unverified_jobs(HOUR, again=False) == ([], 0)
    job = claimed(ledger, identity)
    Claims(ledger).commit_compacted(job, compacted(job), NOW_MS)
    assert DueJobs(ledger).unverified_jobs(HOUR, again=False) == ([identity], 0)
    Claims(ledger).mark_verified(identity, NOW_MS)
    assert DueJobs(ledger).unverified_jobs(HOUR, again=False) == ([], 1)
    assert DueJobs(ledger).unverified_jobs(HOUR, again=True) == ([identity], 0)


def test_pending_counts_what_is_in_no_derived_job(ledger: Ledger) -> None:
    planned(ledger)
    record(ledger, [found(-1), found(-2)])
    assert Planner(ledger).plan(NOW_MS, POLICY) == 0
    status = HourRecords(ledger).hour_status(HOUR)
    assert (status.pending, status.undone_jobs, status.shards) == (5, 1, 1)
    assert status.oldest_pending_ms == NOW_MS - 30_000
