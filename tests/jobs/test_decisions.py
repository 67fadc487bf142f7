"""What people decide of jobs and sources that were given up: nothing is lost, nothing doubled."""

import pytest

from pyro_assets.errors import LedgerError
from pyro_assets.jobs.loading import JobRecords
from pyro_assets.jobs.quarantine import Pardons, QuarantineRecords
from pyro_assets.operations import runs, ticks
from pyro_assets.operations.decide import forget_job, release_job
from tests.support.worlds import HOUR, World


def given_up(world: World) -> str:
    """The id of a job of three sources that failed until it was given up."""
    for second in (-30, -29, -28):
        world.segment(second, f"acme {-second}")
    world.engine.fail["compact"] = ValueError("poison")
    for _ in range(world.settings.max_attempts):
        world.tick_and_run()
        world.clock.forward(600)
    del world.engine.fail["compact"]
    [kept] = QuarantineRecords(world.ledger).kept_failures()
    assert kept.given_up
    return kept.subject_id


def test_a_job_is_tried_again(world: World) -> None:
    job_id = given_up(world)
    Pardons(world.ledger).retry_job(job_id, world.clock())
    assert QuarantineRecords(world.ledger).kept_failures()[0].given_up is False
    report = world.tick_and_run()
    assert report.jobs_by_state == {"derived": 1}
    assert world.archived_values() == world.source_values()
    assert QuarantineRecords(world.ledger).kept_failures() == []
    with pytest.raises(LedgerError, match="only what was given up"):
        Pardons(world.ledger).retry_job(job_id, world.clock())


def test_a_job_whose_series_failed_goes_on_from_its_blocks(world: World) -> None:
    for second in (-30, -29, -28):
        world.segment(second)
    world.engine.fail["derive"] = ValueError("poison")
    for _ in range(world.settings.max_attempts):
        world.tick_and_run()
        world.clock.forward(600)
    del world.engine.fail["derive"]
    [kept] = QuarantineRecords(world.ledger).kept_failures()
    Pardons(world.ledger).retry_job(kept.subject_id, world.clock())
    assert world.tick_and_run().jobs_by_state == {"derived": 1}
    assert world.engine.calls.count("compact") == 1


def test_a_released_job_becomes_smaller_ones(world: World) -> None:
    job_id = given_up(world)
    made = release_job(world.ledger, world.archive, job_id, world.clock())
    assert len(made) == 3
    report = world.tick_and_run()
    assert report.jobs_by_state == {"derived": 3, "split": 1}
    assert report.undone_jobs == 0
    assert world.archived_values() == world.source_values()
    with pytest.raises(LedgerError, match="cannot be split"):
        release_job(world.ledger, world.archive, job_id, world.clock())
    with pytest.raises(LedgerError, match="commit record in the archive"):
        release_job(world.ledger, world.archive, made[0], world.clock())


def test_a_released_job_in_parts(world: World) -> None:
    made = release_job(world.ledger, world.archive, given_up(world), world.clock(), parts=2)
    assert [len(JobRecords(world.ledger).look_up(one)[0].sources) for one in made] == [2, 1]


def test_a_job_with_a_single_source_cannot_be_released(world: World) -> None:
    [first, *_] = release_job(world.ledger, world.archive, given_up(world), world.clock())
    with pytest.raises(LedgerError, match="single source"):
        release_job(world.ledger, world.archive, first, world.clock())


def test_a_forgotten_job_is_ended_in_the_archive_too(world: World) -> None:
    job_id = given_up(world)
    assert forget_job(world.ledger, world.archive, job_id, world.clock(), "cli") == 3
    [record] = world.records()
    assert [source["state"] for source in record["sources"]] == ["set_aside"] * 3
    assert "ValueError: poison" in record["sources"][0]["reason"]
    report = runs.hour_report(world.pipeline, HOUR)
    assert (report.jobs_by_state, report.sources_by_state) == ({"derived": 1}, {"set_aside": 3})
    assert (QuarantineRecords(world.ledger).kept_failures(), Pardons(world.ledger).unheld_sources()) == ([], [])
    assert len(Pardons(world.ledger).unheld_sources(acknowledged=True)) == 3
    with pytest.raises(LedgerError, match="was not given up"):
        forget_job(world.ledger, world.archive, job_id, world.clock(), "cli")


def test_sources_that_came_back_make_a_new_job_whatever_they_were_in(world: World) -> None:
    """All sources of a job were gone, then are there again: a job of the same sources, under another id."""
    keys = [world.segment(second) for second in (-30, -29, -28)]
    gone = {key: world.source.objects.pop(key) for key in keys}
    world.source.objects |= gone
    ticks.tick(world.pipeline)
    for key in keys:
        del world.source.objects[key]
    assert world.tick_and_run().jobs_by_state == {"lost": 1}
    assert [one.state for one in Pardons(world.ledger).unheld_sources()] == ["lost"] * 3
    assert Pardons(world.ledger).count_unheld() == {"lost": 3}
    world.source.objects |= gone
    for key in keys:
        Pardons(world.ledger).retry_source(key)
    report = world.tick_and_run()
    assert report.jobs_by_state == {"lost": 1, "derived": 1}
    assert world.archived_values() == world.source_values()


def test_a_source_set_aside_is_tried_again_and_its_old_job_stays(world: World) -> None:
    world.segment(-30, "acme 1")
    broken = world.segment(-29, "broken")
    world.segment(-28, "acme 3")
    world.tick_and_run()
    [unheld] = Pardons(world.ledger).unheld_sources()
    assert (unheld.key, unheld.state) == (broken, "set_aside")
    assert unheld.failure is not None
    assert unheld.failure.cause == "ChecksumMismatch"
    world.source.objects[broken] = b"acme 2"
    Pardons(world.ledger).retry_source(broken)
    assert Pardons(world.ledger).unheld_sources() == []
    assert world.tick_and_run().jobs_by_state == {"derived": 2}
    assert world.archived_values() == world.source_values()


def test_a_source_may_be_taken_off_the_list(world: World) -> None:
    broken = world.segment(-30, "broken")
    world.tick_and_run()
    Pardons(world.ledger).acknowledge_source(broken, world.clock())
    assert Pardons(world.ledger).unheld_sources() == []
    assert Pardons(world.ledger).count_unheld() == {}
    for name in (broken.replace("4", "5"), ""):
        with pytest.raises(LedgerError, match="neither"):
            Pardons(world.ledger).acknowledge_source(name, world.clock())
        with pytest.raises(LedgerError, match="unknown"):
            Pardons(world.ledger).retry_source(name)
