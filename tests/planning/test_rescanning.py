"""Uploads that came too late for ticks are found on demand and by the slow sweep, once, whatever happens between."""

import pytest

from pyro_assets.errors import StorageUnavailable
from pyro_assets.ledger.hours import HourRecords
from pyro_assets.operations import runs, ticks
from pyro_assets.planning.listed_hours import ListedHours
from pyro_assets.planning.sources import SourceRecords
from pyro_assets.planning.sweep import SWEEP, list_hours, rescan, sweep
from tests.support.worlds import HOUR, NOW_MS, SETTINGS, World

FAR_MS = 2**48


def states(world: World) -> dict[str, int]:
    return HourRecords(world.ledger).hour_status(HOUR).sources_by_state


def test_a_late_upload_is_found_in_its_span_only(world: World) -> None:
    world.segment(-6)
    world.tick_and_run()
    late = world.segment(-900)
    ticks.tick(world.pipeline)
    assert world.archived_values() == [(b"acme", 5)]
    created = NOW_MS - 900_000
    for begin, end in ((0, created), (created + 1, FAR_MS)):
        assert rescan(world.source, world.ledger, SETTINGS, begin, end, NOW_MS).new == {}
    report = rescan(world.source, world.ledger, SETTINGS, created, created + 1, NOW_MS)
    assert (report.new, report.planned_jobs, report.finished) == ({HOUR: 1}, 1, True)
    world.tick_and_run()
    assert world.state_of(late) == "done"
    assert rescan(world.source, world.ledger, SETTINGS, 0, FAR_MS, NOW_MS).new == {}
    assert len(world.archived_values()) == 2


def test_every_page_and_every_shard(world: World) -> None:
    for number in range(250):
        world.segment(-1500 + number, shard=number % 3)
    report = rescan(world.source, world.ledger, SETTINGS.model_copy(update={"list_page_keys": 10}), 0, FAR_MS, NOW_MS)
    assert (report.listed, report.new) == (250, {HOUR: 250})
    assert states(world) == {"planned": 250}


def test_a_rescan_moves_no_cursor(world: World) -> None:
    world.segment(-900)
    ticks.tick(world.pipeline)
    before = SourceRecords(world.ledger).cursors()
    rescan(world.source, world.ledger, SETTINGS, 0, FAR_MS, NOW_MS)
    assert SourceRecords(world.ledger).cursors() == before


def test_a_listing_that_fails_is_named_and_the_others_are_done(world: World) -> None:
    world.segment(-900, shard=4)
    world.segment(-900, shard=5)

    def fault(method: str, key: str) -> None:
        if method == "list_after" and key.startswith("segments/4/"):
            raise StorageUnavailable("503 SlowDown", key=key)

    world.source.before = fault
    report = rescan(world.source, world.ledger, SETTINGS, 0, FAR_MS, NOW_MS)
    assert (report.failures, report.finished, report.new) == (["503 SlowDown"], False, {HOUR: 1})


@pytest.mark.parametrize("max_keys", [1, 7, 1000])
def test_a_sweep_goes_on_where_it_was_and_begins_again(world: World, max_keys: int) -> None:
    settings = SETTINGS.model_copy(update={"list_page_keys": 5})
    for number in range(40):
        world.segment(-1500 + number, shard=number % 2)
        world.segment(-10 + number / 10, shard=number % 2)
    # Ticks have seen the newest ones only.
    ticks.tick(world.pipeline)
    late = [world.segment(-1600 + number, shard=number % 2, salt=1) for number in range(20)]
    ticks.tick(world.pipeline)
    reports = [sweep(world.source, world.ledger, settings, NOW_MS, max_keys)]
    while not reports[-1].finished:
        reports.append(sweep(world.source, world.ledger, settings, NOW_MS, max_keys))
        assert len(reports) < 100
    assert sum(sum(report.new.values()) for report in reports) == 20
    assert all(report.listed <= max_keys + 5 for report in reports)
    assert {world.state_of(key) for key in late} == {"planned"}
    assert SourceRecords(world.ledger).cursors(SWEEP) == {}
    # The next round finds what came since.
    world.segment(-1700, shard=1)
    assert sweep(world.source, world.ledger, settings, NOW_MS, 10_000).new == {HOUR: 1}


def test_a_sweep_that_fails_goes_on_later(world: World) -> None:
    for number in range(10):
        world.segment(-1500 + number)
    ticks.tick(world.pipeline)
    world.segment(-1600)

    def fault(method: str, key: str) -> None:
        if method == "list_after":
            raise StorageUnavailable("503 SlowDown", key=key)

    world.source.before = fault
    report = sweep(world.source, world.ledger, SETTINGS, NOW_MS, 1000)
    assert (report.failures, report.finished) == (["503 SlowDown"], False)
    world.source.before = None
    assert sweep(world.source, world.ledger, SETTINGS, NOW_MS, 1000).new == {HOUR: 1}


#: The hour and the time of late uploads are over.
OVER_MS = NOW_MS + 1_920_000


def throttled_at(world: World, folder: str) -> None:
    def fault(method: str, key: str) -> None:
        if method == "list_after" and key.startswith(folder):
            raise StorageUnavailable("503 SlowDown", key=key)

    world.source.before = fault


def test_an_hour_that_ticks_have_passed_by_is_found_by_listing_it(world: World) -> None:
    """282 segments were there, and a run of their hour read none of them and was green."""
    for shard in range(3):
        world.segment(3_000, shard=shard)
    world.clock.forward(3_010)
    ticks.tick(world.pipeline)
    late = [world.segment(second, shard=second % 3) for second in range(-1_400, 1_400, 50)]
    ticks.tick(world.pipeline)
    assert (runs.hour_report(world.pipeline, HOUR).segments, runs.hour_report(world.pipeline, HOUR).complete) == (
        0,
        False,
    )
    report = ticks.list_hours(world.pipeline, [HOUR])
    assert (report.new, report.finished, report.failures) == ({HOUR: 56}, True, [])
    done = runs.run(world.pipeline, [HOUR], run_id="run")[HOUR]
    assert (done.segments, done.sources_by_state, done.complete) == (56, {"done": 56}, True)
    assert {world.state_of(key) for key in late} == {"done"}
    # Each key once, and none of the hours beside it.
    assert (report.listed, ticks.list_hours(world.pipeline, [HOUR]).new) == (56, {})


def test_an_hour_that_is_not_over_counts_as_listed_by_nothing(world: World) -> None:
    world.segment(-30)
    assert list_hours(world.source, world.ledger, SETTINGS, [HOUR], OVER_MS - 1).finished
    assert ListedHours(world.ledger).listed_hours() == set()
    assert list_hours(world.source, world.ledger, SETTINGS, [HOUR], OVER_MS).finished
    assert ListedHours(world.ledger).listed_hours() == {HOUR}


def test_a_listing_that_fails_leaves_its_hour_unlisted_and_is_gone_on_with(world: World) -> None:
    settings = SETTINGS.model_copy(update={"list_page_keys": 5})
    for number in range(40):
        world.segment(-1500 + number, shard=number % 4)
    throttled_at(world, "segments/2/")
    report = list_hours(world.source, world.ledger, settings, [HOUR], OVER_MS)
    assert (report.failures, report.finished, report.new) == (["503 SlowDown"], False, {HOUR: 30})
    assert ListedHours(world.ledger).listed_hours() == set()
    world.source.before = None
    again = list_hours(world.source, world.ledger, settings, [HOUR], OVER_MS + 1)
    # The folders that were listed are not listed again.
    assert (again.listed, again.new, again.finished) == (10, {HOUR: 10}, True)
    assert ListedHours(world.ledger).listed_hours() == {HOUR}
    assert HourRecords(world.ledger).hour_status(HOUR).listed_ms == OVER_MS
    assert SourceRecords(world.ledger).cursors(HOUR) == {}


def test_a_listing_without_time_goes_on_page_by_page(world: World) -> None:
    settings = SETTINGS.model_copy(update={"list_page_keys": 7})
    for number in range(30):
        world.segment(-1500 + number, shard=number % 2)
    listed = 0
    for _ in range(20):
        report = list_hours(world.source, world.ledger, settings, [HOUR], OVER_MS, deadline_monotonic=0.0)
        listed += report.listed
        if report.finished:
            break
        assert ListedHours(world.ledger).listed_hours() == set()
    assert (listed, states(world), ListedHours(world.ledger).listed_hours()) == (30, {"planned": 30}, {HOUR})


def test_what_an_interrupted_listing_saw_long_ago_is_looked_at_again(world: World) -> None:
    world.segment(-1500, shard=1)
    world.segment(-1500, shard=2)
    throttled_at(world, "segments/2/")
    list_hours(world.source, world.ledger, SETTINGS, [HOUR], OVER_MS)
    world.source.before = None
    late = world.segment(-1400, shard=1)
    assert list_hours(world.source, world.ledger, SETTINGS, [HOUR], OVER_MS + 3_600_001).finished
    assert world.state_of(late) == "planned"


def test_a_rescan_counts_as_a_listing_of_the_whole_hours_in_it(world: World) -> None:
    world.segment(-30)
    world.segment(3_600)
    rescan(world.source, world.ledger, SETTINGS, NOW_MS - 60_000, FAR_MS, OVER_MS + 7_200_000)
    assert ListedHours(world.ledger).listed_hours() == {"2026-11-25-14:00"}
    rescan(world.source, world.ledger, SETTINGS, 0, FAR_MS, OVER_MS + 7_200_000)
    assert ListedHours(world.ledger).listed_hours() == {HOUR, "2026-11-25-14:00"}


@pytest.mark.parametrize("objects", [{}, {"blocs/4/acme/x/block.bin": b"", "readme": b""}])
def test_a_bucket_that_is_not_pyroscopes_is_said_and_lists_no_hour(world: World, objects: dict[str, bytes]) -> None:
    world.source.objects.update(objects)
    there = "only blocs/, readme" if objects else "it is empty or does not exist"
    said = f"the source memory://source has neither segments/ nor blocks/ ({there}): name Pyroscope's bucket"
    assert ticks.tick(world.pipeline).source_problem.startswith(said)
    report = list_hours(world.source, world.ledger, SETTINGS, [HOUR], OVER_MS)
    assert [failure.startswith(said) for failure in report.failures] == [True]
    assert ListedHours(world.ledger).listed_hours() == set()
    world.source.objects["blocks/4/acme/01ARZ3NDEKTSV4RRFFQ69G5FAV/block.bin"] = b""
    assert ticks.tick(world.pipeline).source_problem == ""
