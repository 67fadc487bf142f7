"""Uploads that came too late for ticks are found on demand and by the slow sweep, once, whatever happens between."""

from dataclasses import replace

import pytest
from worlds import HOUR, NOW_MS, SETTINGS, World

from pyro_assets.errors import StorageUnavailable
from pyro_assets.pipeline.rescanning import SWEEP, rescan, sweep

FAR_MS = 2**48


def states(world: World) -> dict[str, int]:
    return world.ledger.hour_status(HOUR).sources_by_state


def test_a_late_upload_is_found_in_its_span_only(world: World) -> None:
    world.segment(-6)
    world.tick_and_run()
    late = world.segment(-900)
    world.pipeline.tick()
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
    report = rescan(world.source, world.ledger, replace(SETTINGS, list_page_keys=10), 0, FAR_MS, NOW_MS)
    assert (report.listed, report.new) == (250, {HOUR: 250})
    assert states(world) == {"planned": 250}


def test_a_rescan_moves_no_cursor(world: World) -> None:
    world.segment(-900)
    world.pipeline.tick()
    before = world.ledger.cursors()
    rescan(world.source, world.ledger, SETTINGS, 0, FAR_MS, NOW_MS)
    assert world.ledger.cursors() == before


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
    settings = replace(SETTINGS, list_page_keys=5)
    for number in range(40):
        world.segment(-1500 + number, shard=number % 2)
        world.segment(-10 + number / 10, shard=number % 2)
    # Ticks have seen the newest ones only.
    world.pipeline.tick()
    late = [world.segment(-1600 + number, shard=number % 2, salt=1) for number in range(20)]
    world.pipeline.tick()
    reports = [sweep(world.source, world.ledger, settings, NOW_MS, max_keys)]
    while not reports[-1].finished:
        reports.append(sweep(world.source, world.ledger, settings, NOW_MS, max_keys))
        assert len(reports) < 100
    assert sum(sum(report.new.values()) for report in reports) == 20
    assert all(report.listed <= max_keys + 5 for report in reports)
    assert {world.state_of(key) for key in late} == {"planned"}
    assert world.ledger.cursors(SWEEP) == {}
    # The next round finds what came since.
    world.segment(-1700, shard=1)
    assert sweep(world.source, world.ledger, settings, NOW_MS, 10_000).new == {HOUR: 1}


def test_a_sweep_that_fails_goes_on_later(world: World) -> None:
    for number in range(10):
        world.segment(-1500 + number)
    world.pipeline.tick()
    world.segment(-1600)

    def fault(method: str, key: str) -> None:
        if method == "list_after":
            raise StorageUnavailable("503 SlowDown", key=key)

    world.source.before = fault
    report = sweep(world.source, world.ledger, SETTINGS, NOW_MS, 1000)
    assert (report.failures, report.finished) == (["503 SlowDown"], False)
    world.source.before = None
    assert sweep(world.source, world.ledger, SETTINGS, NOW_MS, 1000).new == {HOUR: 1}
