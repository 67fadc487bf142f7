"""Claims and commits: one worker at a time, nothing from one that lost its lease, retries, quarantine."""

import threading
from dataclasses import replace

import pytest

from pyro_assets.errors import LeaseLost
from pyro_assets.jobs.claims import Claims
from pyro_assets.jobs.loading import JobRecords
from pyro_assets.jobs.quarantine import QuarantineRecords
from pyro_assets.ledger.database import Ledger
from pyro_assets.ledger.hours import HourRecords, ServiceSamples, SetAside
from pyro_assets.ledger.lag import LagRecords
from pyro_assets.ledger.records import Failure, JobSource, Lane
from pyro_assets.ledger.schema import COMMITTED_STATES
from pyro_assets.planning.due import DueJobs
from tests.support.ledgers import (
    HOUR,
    KINDS,
    LEASE_MS,
    NOW_MS,
    OUTPUT,
    RETRY,
    claim,
    claimed,
    compacted,
    derivation,
    found,
    planned,
)

BROKEN = Failure("ChecksumMismatch", "CRC of the series", "tsdb", 17)


def test_a_claimed_job_has_its_sources_in_order(ledger: Ledger) -> None:
    job = claimed(ledger, planned(ledger))
    assert [source.key for source in job.sources] == [found(second).block.key for second in (-30, -20, -10)]
    assert (job.state, job.hour, job.shard, job.timestamp_ms) == ("planned", HOUR, 4, NOW_MS - 30_000)
    assert (job.mode, job.dedup, job.attempts, job.fence, job.committed) == ("own", "exact", 1, 1, False)


def test_a_leased_job_is_nobody_elses_until_the_lease_runs_out(ledger: Ledger) -> None:
    identity = planned(ledger)
    claimed(ledger, identity, "one")
    assert claim(ledger, identity, "two") is None
    assert DueJobs(ledger).due_hours(NOW_MS, KINDS) == {}
    assert claim(ledger, identity, "two", NOW_MS + LEASE_MS - 1) is None
    assert DueJobs(ledger).due_hours(NOW_MS + LEASE_MS, KINDS) == {HOUR: 1}
    assert claimed(ledger, identity, "two", NOW_MS + LEASE_MS).fence == 2


def test_a_heartbeat_keeps_the_job(ledger: Ledger) -> None:
    identity = planned(ledger)
    job = claimed(ledger, identity)
    Claims(ledger).heartbeat(job, NOW_MS + 50_000, LEASE_MS)
    assert claim(ledger, identity, "two", NOW_MS + LEASE_MS) is None
    assert claim(ledger, identity, "two", NOW_MS + 50_000 + LEASE_MS) is not None


def test_a_worker_that_lost_its_lease_commits_nothing(ledger: Ledger) -> None:
    identity = planned(ledger)
    slow = claimed(ledger, identity, "run")
    # Even the same run may have claimed it anew.
    claimed(ledger, identity, "run", NOW_MS + LEASE_MS)
    for attempt in (
        lambda: Claims(ledger).heartbeat(slow, NOW_MS, LEASE_MS),
        lambda: Claims(ledger).commit_compacted(slow, compacted(slow), NOW_MS),
        lambda: Claims(ledger).commit_derived(slow, derivation(slow), NOW_MS, kinds=KINDS),
        lambda: Claims(ledger).release(slow),
        lambda: Claims(ledger).fail(slow, BROKEN, NOW_MS, RETRY),
    ):
        with pytest.raises(LeaseLost, match=identity):
            attempt()
    status = HourRecords(ledger).hour_status(HOUR)
    assert (status.jobs_by_state, status.blocks, status.series) == ({"planned": 1}, 0, {})


def test_a_lease_that_ran_out_but_was_not_taken_still_commits(ledger: Ledger) -> None:
    job = claimed(ledger, planned(ledger))
    assert Claims(ledger).commit_compacted(job, compacted(job), NOW_MS + 10 * LEASE_MS) == "compacted"


def test_from_planned_to_derived(ledger: Ledger) -> None:
    identity = planned(ledger)
    job = claimed(ledger, identity)
    Claims(ledger).commit_compacted(job, compacted(job), NOW_MS + 1_000, 0.5)
    assert HourRecords(ledger).hour_status(HOUR).pending == 3
    Claims(ledger).commit_derived(job, derivation(job), NOW_MS + 2_000, kinds=KINDS)
    status = HourRecords(ledger).hour_status(HOUR)
    assert status.jobs_by_state == {"derived": 1}
    assert status.sources_by_state == {"done": 3}
    assert (status.pending, status.undone_jobs, status.oldest_pending_ms) == (0, 0, None)
    assert (status.blocks, status.bytes_in, status.bytes_out) == (1, 30, 100)
    assert (status.profiles, status.samples, status.duplicates, status.conflicts) == (5, 50, 1, 2)
    assert status.series == {"dimension": 11, "function": 11}
    assert LagRecords(ledger).hour_lag(HOUR)["derived"].p50_ms == 32_000
    assert status.services == (ServiceSamples("acme", "web", 50, 5),)
    assert status.facts == {"dangling": 3, "negative_samples": 4}
    assert status.examples == ("a collision",)
    assert status.job_seconds == 0.75
    seen, duplicates = JobRecords(ledger).look_up(identity)
    assert (seen.outputs, seen.kinds, seen.config_hash, duplicates) == ((OUTPUT,), KINDS, "hash", 1)
    assert claim(ledger, identity) is None


def test_one_kind_alone_does_not_make_it_derived(ledger: Ledger) -> None:
    identity = planned(ledger)
    job = claimed(ledger, identity)
    Claims(ledger).commit_compacted(job, compacted(job), NOW_MS)
    Claims(ledger).commit_derived(job, derivation(job, "dimension"), NOW_MS, kinds=KINDS)
    assert HourRecords(ledger).hour_status(HOUR).jobs_by_state == {"compacted": 1}
    assert DueJobs(ledger).due_jobs(HOUR, NOW_MS, kinds=["dimension"]) == []
    assert DueJobs(ledger).due_jobs(HOUR, NOW_MS, kinds=KINDS) == [identity]
    job = claimed(ledger, identity)
    assert (job.kinds, job.committed) == ({"dimension"}, True)
    Claims(ledger).commit_derived(job, derivation(job, "function"), NOW_MS, kinds=KINDS)
    assert HourRecords(ledger).hour_status(HOUR).jobs_by_state == {"derived": 1}


def test_a_backfill_replaces_files_and_keeps_the_first_time(ledger: Ledger) -> None:
    identity = planned(ledger)
    job = claimed(ledger, identity)
    Claims(ledger).commit_compacted(job, compacted(job), NOW_MS)
    Claims(ledger).commit_derived(job, derivation(job), NOW_MS, kinds=KINDS)
    again = Claims(ledger).claim(identity, "backfill", NOW_MS + 900_000, LEASE_MS, RETRY, states=COMMITTED_STATES)
    assert again is not None
    Claims(ledger).commit_derived(
        again, derivation(again, "function", config_hash="new"), NOW_MS + 900_000, kinds=KINDS
    )
    seen, _ = JobRecords(ledger).look_up(identity)
    assert (seen.config_hash, seen.state) == ("new", "derived")
    assert LagRecords(ledger).hour_lag(HOUR)["derived"].max_ms == 30_000


def test_sources_that_no_output_holds(ledger: Ledger) -> None:
    identity = planned(ledger)
    job = claimed(ledger, identity)
    first, second, third = (source.key for source in job.sources)
    done = replace(
        compacted(job),
        sources=(
            JobSource(first, job.sources[0].size_bytes, "set_aside", "broken", BROKEN),
            JobSource(second, job.sources[1].size_bytes, "lost", "gone"),
            JobSource(third, 77, "done"),
        ),
    )
    assert Claims(ledger).commit_compacted(job, done, NOW_MS) == "compacted"
    status = HourRecords(ledger).hour_status(HOUR)
    assert status.sources_by_state == {"set_aside": 1, "lost": 1, "done": 1}
    assert status.set_aside == (SetAside(first, "set_aside", "broken"), SetAside(second, "lost", "gone"))
    assert JobRecords(ledger).look_up(identity)[0].sources[2].size_bytes == 77
    (kept,) = QuarantineRecords(ledger).kept_failures(HOUR)
    assert (kept.subject, kept.subject_id, kept.failure, kept.given_up) == ("source", first, BROKEN, True)


def test_a_job_whose_sources_are_all_gone_is_lost(ledger: Ledger) -> None:
    identity = planned(ledger)
    job = claimed(ledger, identity)
    done = replace(compacted(job), outputs=(), sources=tuple(replace(one, state="lost") for one in job.sources))
    assert Claims(ledger).commit_compacted(job, done, NOW_MS) == "lost"
    status = HourRecords(ledger).hour_status(HOUR)
    assert (status.jobs_by_state, status.pending, status.undone_jobs) == ({"lost": 1}, 0, 0)
    assert DueJobs(ledger).due_hours(NOW_MS + LEASE_MS, KINDS) == {}


def test_failures_are_retried_with_growing_delays_and_then_given_up(ledger: Ledger) -> None:
    identity = planned(ledger)
    now_ms = NOW_MS
    for delay_ms in (1_000, 2_000):
        assert not Claims(ledger).fail(claimed(ledger, identity, now_ms=now_ms), BROKEN, now_ms, RETRY)
        assert claim(ledger, identity, now_ms=now_ms + delay_ms - 1) is None
        now_ms += delay_ms
    (kept,) = QuarantineRecords(ledger).kept_failures(HOUR)
    assert (kept.failures, kept.given_up) == (2, False)
    assert Claims(ledger).fail(claimed(ledger, identity, now_ms=now_ms), BROKEN, now_ms, RETRY)
    status = HourRecords(ledger).hour_status(HOUR)
    assert (status.jobs_by_state, status.sources_by_state) == ({"quarantined": 1}, {"quarantined": 3})
    assert status.undone_jobs == 1
    assert status.set_aside[0].reason == "ChecksumMismatch: CRC of the series"
    (kept,) = QuarantineRecords(ledger).kept_failures()
    assert (kept.failures, kept.given_up, kept.first_failed_ms, kept.last_failed_ms) == (3, True, NOW_MS, now_ms)
    assert claim(ledger, identity, now_ms=now_ms * 2) is None


def test_an_outage_is_retried_for_ever(ledger: Ledger) -> None:
    identity = planned(ledger)
    for attempt in range(20):
        job = claimed(ledger, identity, now_ms=NOW_MS + attempt * 1_000)
        assert not Claims(ledger).fail(job, BROKEN, NOW_MS + attempt * 1_000, RETRY, counts=False)
    assert HourRecords(ledger).hour_status(HOUR).jobs_by_state == {"planned": 1}


def test_a_job_that_kills_its_workers_is_given_up(ledger: Ledger) -> None:
    identity = planned(ledger)
    for attempt in range(RETRY.max_attempts):
        claimed(ledger, identity, now_ms=NOW_MS + attempt * LEASE_MS)
    assert claim(ledger, identity, now_ms=NOW_MS + RETRY.max_attempts * LEASE_MS) is None
    assert HourRecords(ledger).hour_status(HOUR).jobs_by_state == {"quarantined": 1}
    assert QuarantineRecords(ledger).kept_failures(HOUR)[0].failure.cause == "WorkerDied"


def test_a_job_whose_worker_did_not_come_back_is_to_be_isolated(ledger: Ledger) -> None:
    identity = planned(ledger)
    job = claimed(ledger, identity)
    assert not job.isolate
    now_ms = NOW_MS + LEASE_MS
    job = claimed(ledger, identity, now_ms=now_ms)
    assert job.isolate, "of the first worker nothing was heard"
    Claims(ledger).release(job, undone=True)
    job = claimed(ledger, identity, now_ms=now_ms)
    assert job.isolate, "that it was given back untried says nothing of it"
    Claims(ledger).commit_compacted(job, compacted(job), now_ms)
    Claims(ledger).fail(replace(job, committed=True), Failure("LimitExceeded", "600 s"), now_ms, RETRY)
    assert claimed(ledger, identity, now_ms=now_ms * 2).isolate


@pytest.mark.parametrize("counts", [True, False])
def test_a_job_that_failed_in_order_is_not_isolated(ledger: Ledger, counts: bool) -> None:
    identity = planned(ledger)
    Claims(ledger).fail(claimed(ledger, identity), BROKEN, NOW_MS, RETRY, counts=counts)
    assert not claimed(ledger, identity, now_ms=NOW_MS * 2).isolate


def test_the_parts_of_a_job_that_ended_its_process_are_isolated(ledger: Ledger) -> None:
    job = claimed(ledger, planned(ledger))
    parts = Claims(ledger).split(job, NOW_MS, Failure("LimitExceeded", "600 s"))
    assert [claimed(ledger, part).isolate for part in parts] == [True, True]


def test_a_source_that_is_split_off_is_alone_and_keeps_the_failure(ledger: Ledger) -> None:
    job = claimed(ledger, planned(ledger))
    keys = [source.key for source in job.sources]
    parts = Claims(ledger).split(job, NOW_MS, BROKEN, apart=[keys[1]])
    taken = [claimed(ledger, part) for part in parts]
    assert [[source.key for source in part.sources] for part in taken] == [[keys[0], keys[2]], [keys[1]]]
    assert not any(part.isolate for part in taken)
    assert [(kept.subject_id, kept.failure) for kept in QuarantineRecords(ledger).kept_failures()] == [
        (parts[1], BROKEN)
    ]


def test_progress_forgives_failures(ledger: Ledger) -> None:
    identity = planned(ledger)
    Claims(ledger).fail(claimed(ledger, identity), BROKEN, NOW_MS, RETRY)
    job = claimed(ledger, identity, now_ms=NOW_MS + 1_000)
    Claims(ledger).commit_compacted(job, compacted(job), NOW_MS)
    assert QuarantineRecords(ledger).kept_failures() == []
    # A failed derivation leaves the compaction committed, with tries of its own.
    for attempt in range(RETRY.max_attempts):
        if attempt:
            job = claimed(ledger, identity, now_ms=NOW_MS + attempt * 60_000)
        assert Claims(ledger).fail(job, BROKEN, NOW_MS, RETRY) == (attempt == RETRY.max_attempts - 1)
    status = HourRecords(ledger).hour_status(HOUR)
    assert (status.jobs_by_state, status.blocks) == ({"quarantined": 1}, 1)
    assert status.sources_by_state == {"done": 3}
    # The backfill of a better rule brings it back.
    assert DueJobs(ledger).committed_jobs(HOUR) == [identity]
    job = Claims(ledger).claim(identity, "b", NOW_MS * 2, LEASE_MS, RETRY, states=COMMITTED_STATES)
    assert job is not None
    Claims(ledger).commit_derived(job, derivation(job), NOW_MS, kinds=KINDS)
    assert HourRecords(ledger).hour_status(HOUR).jobs_by_state == {"derived": 1}
    assert QuarantineRecords(ledger).kept_failures() == []


def test_released_jobs_are_due_again(ledger: Ledger) -> None:
    identity = planned(ledger)
    Claims(ledger).release(claimed(ledger, identity), undone=True)
    assert claimed(ledger, identity).attempts == 1


def test_lanes_share_the_shards(ledger: Ledger) -> None:
    ids = {shard: planned(ledger, (-30 - shard,), shard) for shard in range(5)}
    seen = [DueJobs(ledger).due_jobs(HOUR, NOW_MS, kinds=KINDS, lane=Lane(index, 2)) for index in range(2)]
    assert sorted(seen[0] + seen[1]) == sorted(ids.values())
    assert {JobRecords(ledger).look_up(identity)[0].shard for identity in seen[1]} == {1, 3}
    assert DueJobs(ledger).due_hours(NOW_MS, KINDS, Lane(0, 2)) == {HOUR: 3}
    assert DueJobs(ledger).due_hours(NOW_MS, KINDS, None, HOUR) == {HOUR: 5}
    assert DueJobs(ledger).due_hours(NOW_MS, KINDS, None, "2026-11-25-14:00") == {}
    assert DueJobs(ledger).backlog(NOW_MS, KINDS, Lane(1, 2)).unfinished == 2


def test_workers_at_the_same_time_get_every_job_once(ledger_url: str, ledger: Ledger) -> None:
    ids = [planned(ledger, (-900 + number,), number) for number in range(20)]
    got: list[tuple[str, str]] = []

    def work(run_id: str) -> None:
        own = Ledger.open(ledger_url)
        for identity in ids:
            job = claim(own, identity, run_id)
            if job is not None:
                got.append((identity, run_id))
                Claims(own).commit_compacted(job, replace(compacted(job), outputs=()), NOW_MS)
                Claims(own).commit_derived(job, derivation(job), NOW_MS, kinds=KINDS)
        own.close()

    threads = [threading.Thread(target=work, args=(f"run{number}",)) for number in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(identity for identity, _ in got) == sorted(ids)
    assert HourRecords(ledger).hour_status(HOUR).jobs_by_state == {"derived": 20}
