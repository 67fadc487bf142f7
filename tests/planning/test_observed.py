"""Who waits for whom in observe mode, whose blocks a job is compared with, and the mode in force; on both databases."""

from dataclasses import replace

import pytest

from pyro_assets.errors import LeaseLost, SettingsError
from pyro_assets.jobs.claims import Claims
from pyro_assets.jobs.loading import JobRecords
from pyro_assets.jobs.quarantine import Pardons
from pyro_assets.ledger.database import Ledger
from pyro_assets.ledger.lag import LagRecords
from pyro_assets.ledger.schema import hour_upkeep
from pyro_assets.planning.due import DueJobs
from pyro_assets.planning.modes import Modes
from pyro_assets.planning.plan import Planner
from pyro_assets.planning.policy import MARGIN_MS, job_id
from pyro_assets.planning.sources import SourceRecords
from tests.support.ledgers import (
    HOUR,
    KINDS,
    NOW_MS,
    OUTPUT,
    POLICY,
    claim,
    claimed,
    compacted,
    derivation,
    found,
    record,
)

OBSERVE = replace(POLICY, mode="observe")


def block(ledger: Ledger, seconds: float, salt: int = 0, tenant: str = "acme") -> str:
    """The id of a planned job of one block."""
    item = found(seconds, salt=salt, tenant=tenant)
    record(ledger, [item], policy=OBSERVE)
    Planner(ledger).plan(NOW_MS, OBSERVE)
    return job_id("observe", "exact", [item.block.key])


def due(ledger: Ledger) -> set[str]:
    return set(DueJobs(ledger).due_jobs(HOUR, NOW_MS, kinds=KINDS))


def done(ledger: Ledger, identity: str, name: str, tenant: str = "acme") -> None:
    """Commits a job with one block, and its series."""
    job = claimed(ledger, identity)
    made = replace(compacted(job), outputs=(replace(OUTPUT, key=f"blocks/4/{tenant}/{name}/block.bin"),))
    Claims(ledger).commit_compacted(job, made, NOW_MS)
    Claims(ledger).commit_derived(job, derivation(job), NOW_MS, kinds=KINDS)


def test_a_higher_level_waits_for_lower_ones_and_these_for_one_that_has_begun(ledger: Ledger) -> None:
    higher, lower = block(ledger, -60, salt=9), block(ledger, -50)
    other_tenant = block(ledger, -50, tenant="globex")
    assert due(ledger) == {higher, lower, other_tenant}
    job = claimed(ledger, higher)
    Claims(ledger).note_level(job, 2, NOW_MS - 60_000, NOW_MS)
    with pytest.raises(LeaseLost):
        Claims(ledger).commit_compacted(replace(job, fence=job.fence + 1), compacted(job), NOW_MS)
    assert due(ledger) == {lower, other_tenant}
    assert claim(ledger, higher) is None
    done(ledger, lower, "lower")
    assert higher in due(ledger)
    job = claimed(ledger, higher)
    assert (job.level, [output.key for output in job.known]) == (2, ["blocks/4/acme/lower/block.bin"])
    # It has begun: what may be in it waits, what is younger than its discovery does not.
    late, young = block(ledger, -40), block(ledger, 10)
    assert claim(ledger, late) is None
    assert young in due(ledger)
    recovered = replace(compacted(job), facts={"recovered_profiles": 5, "known_profiles": 3})
    Claims(ledger).commit_compacted(job, recovered, NOW_MS)
    assert [output.key for output in claimed(ledger, late).known] == ["blocks/4/acme/x/block.bin"]
    looked_up, _ = JobRecords(ledger).look_up(higher)
    assert (looked_up.level, looked_up.compares, looked_up.known) == (2, True, ())


def test_a_higher_level_is_no_waiting_work_and_no_lag(ledger: Ledger) -> None:
    block(ledger, -500, tenant="acme")
    # Until somebody opened it, it is a block like any other, which waits since it was seen.
    backlog = DueJobs(ledger).backlog(NOW_MS + 4_000, KINDS)
    assert (backlog.unfinished, backlog.oldest_ms) == (1, NOW_MS)
    (identity,) = due(ledger)
    Claims(ledger).note_level(claimed(ledger, identity), 2, NOW_MS - 600_000, NOW_MS)
    backlog = DueJobs(ledger).backlog(NOW_MS + 4_000, KINDS)
    assert (backlog.unfinished, backlog.oldest_ms) == (0, None)
    # It is done all the same.
    assert sum(backlog.due.values()) == 1
    done(ledger, identity, "higher")
    lags = LagRecords(ledger).lag(NOW_MS - 1, NOW_MS + 60_000)
    assert {stage: figures.count for stage, figures in lags.items()} == {"compacted": 0, "derived": 0, "exported": 0}
    asked = LagRecords(ledger).lag(NOW_MS - 1, NOW_MS + 60_000, asked=True)
    assert sum(figures.count for figures in asked.values()) == 0
    (step,) = LagRecords(ledger).over_time("compacted", NOW_MS - 1, NOW_MS + 59_999, 60_000)
    assert (step.jobs, step.pending) == (0, 0)


def test_what_is_compared_near_a_change_of_modes(ledger: Ledger) -> None:
    record(ledger, [found(second) for second in (-60, -50, -40)])
    assert Planner(ledger).plan(NOW_MS, Modes(ledger).enter_mode(POLICY, NOW_MS)) == 1
    own = job_id("own", "exact", [found(second).block.key for second in (-60, -50, -40)])
    with pytest.raises(SettingsError, match=f"1 jobs of own mode are not done, the first of hour {HOUR}"):
        Modes(ledger).enter_mode(OBSERVE, NOW_MS)
    done(ledger, own, "own")
    record(ledger, [found(-30)])
    policy = Modes(ledger).enter_mode(OBSERVE, NOW_MS)
    assert dict(policy.bounds) == {4: NOW_MS - 40_000}
    # What waited for the other mode is forgotten; what is much older is the other mode's.
    assert DueJobs(ledger).backlog(NOW_MS, KINDS).waiting == 0
    old, near = found(-41 - MARGIN_MS / 1000, tenant="acme"), found(-45, tenant="acme")
    assert SourceRecords(ledger).record_sources([old, near], {}, NOW_MS, policy).new == (near,)
    Planner(ledger).plan(NOW_MS, OBSERVE)
    job = claimed(ledger, job_id("observe", "exact", [near.block.key]))
    assert (job.compares, [output.key for output in job.known]) == (True, ["blocks/4/acme/own/block.bin"])
    far = found(MARGIN_MS / 1000, tenant="acme")
    SourceRecords(ledger).record_sources([far], {}, NOW_MS, policy)
    # Live runs plan too, and know of the change by the ledger alone.
    Planner(ledger).plan(NOW_MS, OBSERVE)
    assert not claimed(ledger, job_id("observe", "exact", [far.block.key])).compares


def test_losses_that_no_listing_showed_are_recorded_once(ledger: Ledger) -> None:
    gone = [found(-50, tenant="acme"), found(-40, tenant="globex")]
    assert SourceRecords(ledger).record_lost(gone, "deleted", NOW_MS, POLICY) == 2
    assert SourceRecords(ledger).record_lost(gone, "deleted", NOW_MS, POLICY) == 0
    assert Pardons(ledger).count_unheld() == {"lost": 2}
    assert [source.reason for source in Pardons(ledger).unheld_sources()] == ["deleted", "deleted"]


def test_blocks_of_hours_that_retention_emptied_are_left_alone(ledger: Ledger) -> None:
    # A higher level of such an hour could not be compared with what was done then.
    with ledger.write() as connection:
        connection.execute(hour_upkeep.insert().values(hour=HOUR, series_number=0, blocks_removed_ms=NOW_MS))
    assert SourceRecords(ledger).record_sources([found(-60, tenant="acme")], {}, NOW_MS, OBSERVE).new == ()
    later = found(3_600, tenant="acme")
    assert SourceRecords(ledger).record_sources([later], {}, NOW_MS, OBSERVE).new == (later,)
