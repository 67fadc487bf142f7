"""Ticks as a table of cases: what they find, plan, report and leave for the next one."""

import pytest

from pyro_assets.errors import SettingsError, StorageUnavailable
from pyro_assets.ledger.hours import HourRecords
from pyro_assets.ledger.records import Lane, lane_of_shard
from pyro_assets.operations import ticks
from pyro_assets.planning.due import DueJobs
from pyro_assets.planning.report import HourArrivals
from pyro_assets.settings import Settings
from tests.support.ledgers import HOUR, NOW_MS, claimed
from tests.support.worlds import SETTINGS, World


@pytest.mark.parametrize(
    ("seconds", "arrivals", "jobs", "waiting"),
    [
        pytest.param([], 0, 0, 0, id="nothing"),
        pytest.param([-1], 1, 0, 1, id="too young"),
        pytest.param([-6], 1, 1, 0, id="old enough"),
        pytest.param([-3, -2, -1], 3, 1, 0, id="enough"),
        pytest.param([-900, -800, -700, -600, -1], 5, 2, 0, id="a backlog"),
    ],
)
def test_finds_and_plans(world: World, seconds: list[float], arrivals: int, jobs: int, waiting: int) -> None:
    for second in seconds:
        world.segment(second)
    report = ticks.tick(world.pipeline)
    assert sum(hour.objects for hour in report.arrivals.values()) == arrivals
    assert (report.planned_jobs, report.due, report.waiting_sources) == (jobs, {HOUR: jobs} if jobs else {}, waiting)
    assert report.unfinished_jobs == jobs
    assert report.oldest_pending_ms == (NOW_MS + seconds[0] * 1000 if seconds else None)
    again = ticks.tick(world.pipeline)
    assert (again.arrivals, again.planned_jobs, again.due) == ({}, 0, report.due)


def test_reports_what_landed_per_hour(world: World) -> None:
    world.segment(-2_000, "a 1", shard=1)
    world.segment(-9, "a 12", shard=1)
    world.segment(-8, "a 123", shard=2)
    report = ticks.tick(world.pipeline)
    assert list(report.arrivals) == ["2026-11-25-12:00", HOUR]
    assert report.arrivals[HOUR] == HourArrivals(2, 9, 2, NOW_MS - 9_000, NOW_MS - 8_000)
    assert report.arrivals[HOUR].oldest_age_seconds(NOW_MS) == 9
    assert report.to_dict()["due"] == {"2026-11-25-12:00": 1, HOUR: 2}


def test_what_a_live_run_saw_since_the_last_tick_is_told_once(world: World) -> None:
    world.segment(-9)
    before = ticks.tick(world.pipeline).now_ms
    world.clock.forward(1)
    world.segment(-2, shard=1)
    world.segment(-1, shard=2)
    assert ticks.look(world.pipeline, [HOUR], Lane(lane_of_shard(1, 7), 7)) == 1
    assert ticks.look(world.pipeline, ["2026-11-25-12:00"]) == 0
    report = ticks.tick(world.pipeline, since_ms=before)
    assert report.arrivals[HOUR] == HourArrivals(2, 12, 2, NOW_MS - 2_000, NOW_MS - 1_000)
    assert ticks.tick(world.pipeline, since_ms=report.now_ms).arrivals == {}
    assert ticks.tick(world.pipeline).arrivals == {}


def test_the_age_rule_fires_without_an_arrival(world: World) -> None:
    world.segment(-1)
    assert ticks.tick(world.pipeline).due == {}
    world.clock.forward(4)
    assert ticks.tick(world.pipeline).due == {HOUR: 1}


def test_a_late_key_behind_the_cursor_is_found(world: World) -> None:
    world.segment(-6)
    world.tick_and_run()
    world.segment(-40, "acme 7")
    report = ticks.tick(world.pipeline)
    assert report.arrivals[HOUR].objects == 1
    world.tick_and_run()
    assert world.archived_values() == world.source_values()


def test_a_failed_listing_is_reported_and_made_up_for(world: World) -> None:
    world.segment(-6, shard=4)
    world.segment(-6, shard=5)

    def fault(method: str, key: str) -> None:
        if key.startswith("segments/5/"):
            raise StorageUnavailable("503 SlowDown", key=key)

    world.source.before = fault
    report = ticks.tick(world.pipeline)
    assert (report.failures, report.planned_jobs) == (("503 SlowDown",), 1)
    world.source.before = None
    assert ticks.tick(world.pipeline).arrivals[HOUR].objects == 1


def test_odd_keys_and_times_are_counted(world: World) -> None:
    world.segment(-6)
    world.segment(3 * 3600)
    world.segment(-10 * 365 * 86_400)
    world.source.objects["segments/4/anonymous/what/block.bin"] = b""
    report = ticks.tick(world.pipeline)
    assert (report.out_of_range, report.not_block_keys) == (2, 1)
    assert report.not_block_examples == ("segments/4/anonymous/what/block.bin",)
    assert list(report.arrivals) == [HOUR]
    assert HourRecords(world.pipeline.ledger).hours() == [HOUR]


def test_a_large_backlog_comes_in_slices(world: World) -> None:
    for second in range(300):
        world.segment(-900 + second)
    small = world.open(settings=SETTINGS.model_copy(update={"tick_keys": 100, "list_page_keys": 50}))
    reports = [ticks.tick(small) for _ in range(5)]
    assert [report.truncated for report in reports] == [True, True, False, False, False]
    assert sum(report.planned_jobs for report in reports) >= 100
    assert HourRecords(world.ledger).hour_status(HOUR).sources_by_state == {"planned": 300}


def test_leased_jobs_are_not_due(world: World) -> None:
    world.segment(-6)
    report = ticks.tick(world.pipeline)
    (identity,) = DueJobs(world.ledger).due_jobs(HOUR, NOW_MS, kinds=["dimension"])
    assert report.due == {HOUR: 1}
    claimed(world.ledger, identity)
    report = ticks.tick(world.pipeline)
    assert (report.due, report.leased_jobs, report.unfinished_jobs) == ({}, 1, 1)


def test_settings_that_cannot_be_are_refused() -> None:
    for wrong in (
        {"compaction": "both"},
        {"dedup": "some"},
        {"start_date": "yesterday"},
        {"job_blocks": 0},
        {"lookback_ms": -1},
    ):
        with pytest.raises(SettingsError, match=f"(?i){next(iter(wrong))} is "):
            Settings(**wrong)
