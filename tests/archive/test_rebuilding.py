"""The database is deleted at any moment, rebuilt from the archive, and all goes on: nothing lost, nothing doubled."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from pyro_assets.archive.rebuild import rebuild
from pyro_assets.archive.restore import Restorer
from pyro_assets.errors import RebuildNeeded, SettingsError, ValueOverflow
from pyro_assets.jobs.quarantine import Pardons
from pyro_assets.ledger.decisions import DecisionRecords
from pyro_assets.operations import runs, ticks
from pyro_assets.operations.decide import decide, left_out
from pyro_assets.storage.keys import block_key
from pyro_assets.storage.ulid import make_ulid
from tests.support import fakes
from tests.support.ledger_content import content
from tests.support.ledgers import NOW_MS, ledger_file
from tests.support.parquet_world import ParquetWorld
from tests.support.worlds import HOUR, FaultyLedger, World


@pytest.fixture
def world(tmp_path: Path) -> Iterator[ParquetWorld]:
    made = ParquetWorld(tmp_path)
    yield made
    made.ledger.close()


def lose(world: World, tmp_path: Path, number: int = 0) -> None:
    """Another, empty database in place of the ledger."""
    world.ledger.close()
    world.ledger = FaultyLedger.open(ledger_file(tmp_path / f"new{number}.db"))
    world.pipeline = world.open()


def a_bit_of_everything(world: World) -> None:
    for second in range(12):
        world.segment(-60 + second, f"acme {second}\nbeta 1", shard=second % 2)
    world.segment(-40, "broken", shard=2)
    world.segment(-39, "acme 3", shard=2)
    lost = world.segment(-38, "acme 3", shard=3)
    ticks.tick(world.pipeline)
    del world.source.objects[lost]
    world.tick_and_run()


def test_the_rebuilt_ledger_equals_the_lost_one(world: World, tmp_path: Path) -> None:
    a_bit_of_everything(world)
    before, reports = content(world.ledger), runs.hour_report(world.pipeline, HOUR)
    lose(world, tmp_path)
    report = rebuild(world.ledger, world.archive, world.clock())
    assert (report.records, report.jobs, report.sources, report.damaged) == (6, 6, 15, [])
    assert content(world.ledger) == before
    after = runs.hour_report(world.pipeline, HOUR)
    for name in ("segments", "blocks", "profiles", "samples", "duplicates", "jobs_by_state", "sources_by_state"):
        assert getattr(after, name) == getattr(reports, name)
    # Nothing is left to do, and nothing is done twice.
    archive = dict(world.archive.objects)
    assert world.tick_and_run().run.summary == "nothing to do"
    assert world.archive.objects == archive


def test_nothing_is_planned_with_a_ledger_that_is_lost(world: World, tmp_path: Path) -> None:
    a_bit_of_everything(world)
    world.segment(-5)
    lose(world, tmp_path)
    with pytest.raises(RebuildNeeded, match="rebuild-ledger"):
        ticks.tick(world.pipeline)
    rebuild(world.ledger, world.archive, world.clock())
    world.clock.forward(10)
    assert world.tick_and_run().run.derived == 1


@pytest.mark.parametrize("kill_at", range(0, 30, 2))
def test_the_database_is_deleted_at_any_moment(world: ParquetWorld, tmp_path: Path, kill_at: int) -> None:
    """A first run dies somewhere and its database with it; then another one, after the rebuild."""
    for second in range(12):
        world.segment(-60 + second, f"acme {second}", shard=second % 2)
    for number in range(2):
        world.ledger.kill_at = world.ledger.writes + kill_at // (number + 1)
        try:
            world.tick_and_run()
            world.tick_and_run()
        except fakes.Killed:
            pass
        lose(world, tmp_path, number)
        rebuild(world.ledger, world.archive, world.clock())
        world.clock.forward(10)
    while world.tick_and_run().run.derived:
        world.clock.forward(10)
    assert world.archived_values() == world.source_values()
    named = [source["key"] for record in world.records() for source in record["sources"]]
    assert sorted(named) == sorted(world.source.objects)
    assert sum(value for *_, value in world.values()) == sum(value for _, value in world.source_values())


def test_an_interrupted_rebuild_goes_on_and_holds_up_ticks(
    world: World, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    a_bit_of_everything(world)
    before = content(world.ledger)
    lose(world, tmp_path)
    monkeypatch.setattr("pyro_assets.archive.rebuild._TOGETHER", 2)
    world.ledger.kill_at = world.ledger.writes + 8
    with pytest.raises(fakes.Killed):
        rebuild(world.ledger, world.archive, world.clock())
    world.ledger.kill_at = None
    assert Restorer(world.ledger).has_jobs()
    with pytest.raises(RebuildNeeded, match="interrupted"):
        ticks.tick(world.pipeline)
    rebuild(world.ledger, world.archive, world.clock())
    assert content(world.ledger) == before


def test_a_ledger_in_use_is_not_rebuilt(world: World) -> None:
    a_bit_of_everything(world)
    with pytest.raises(SettingsError, match="not lost"):
        rebuild(world.ledger, world.archive, world.clock())


def test_a_damaged_record_is_named_and_holds_up_planning_until_a_person_decides(world: World, tmp_path: Path) -> None:
    a_bit_of_everything(world)
    key = next(key for key in world.archive.objects if key.startswith("commits/"))
    good = world.archive.objects[key]
    world.archive.objects[key] = good[:-10]
    lose(world, tmp_path)
    [sentence] = rebuild(world.ledger, world.archive, world.clock()).damaged
    assert key in sentence
    with pytest.raises(RebuildNeeded):
        ticks.tick(world.pipeline)
    world.archive.objects[key] = good
    assert rebuild(world.ledger, world.archive, world.clock()).jobs == 1
    ticks.tick(world.pipeline)


def test_a_source_that_was_tried_again_belongs_to_its_second_job(world: World, tmp_path: Path) -> None:
    world.segment(-30, "acme 1")
    broken = world.segment(-29, "broken")
    world.segment(-28, "acme 3")
    world.tick_and_run()
    world.source.objects[broken] = b"acme 2"
    Pardons(world.ledger).retry_source(broken)
    world.tick_and_run()
    before = content(world.ledger)
    lose(world, tmp_path)
    rebuild(world.ledger, world.archive, world.clock())
    assert content(world.ledger) == before


def test_losses_and_what_people_acknowledged_survive_a_rebuild(world: World, tmp_path: Path) -> None:
    a_bit_of_everything(world)
    (broken,) = (one.key for one in Pardons(world.ledger).unheld_sources() if one.state == "set_aside")
    decide(world.ledger, world.archive, "forget", broken, world.clock(), author="ann", why="a disk died")
    # What was deleted before any tick saw it is in no job and no commit record.
    world.source.objects.clear()
    gone = block_key(0, "acme", make_ulid(NOW_MS + 30_000, bytes(10)))
    world.source.objects[gone] = b"level 1\nacme 5"
    world.clock.forward(600)
    world.segment(590, shard=0)
    world.tick_and_run()
    before = (
        Pardons(world.ledger).count_unheld(),
        DecisionRecords(world.ledger).past_decisions(),
        left_out(world.pipeline.ledger),
    )
    assert before[0] == {"lost": 2}
    lose(world, tmp_path)
    for _ in range(2):
        # Interrupted at the very end, it is called again.
        Restorer(world.ledger).mark_rebuilding(world.clock(), rebuilding=True)
        assert rebuild(world.ledger, world.archive, world.clock()).decisions == 1
    after = (
        Pardons(world.ledger).count_unheld(),
        DecisionRecords(world.ledger).past_decisions(),
        left_out(world.pipeline.ledger),
    )
    assert after[:2] == before[:2]
    assert [item.name for item in after[2].items] == [item.name for item in before[2].items]
    assert runs.hour_report(world.pipeline, HOUR).left_out == {"lost": 2}


def test_a_job_that_was_forgotten_stays_forgotten_after_a_rebuild(world: World, tmp_path: Path) -> None:
    world.segment(-30)
    world.engine.fail["compact"] = ValueOverflow("too large")
    for _ in range(4):
        world.tick_and_run()
        world.clock.forward(1000)
    assert left_out(world.pipeline.ledger).given_up == 1
    (item,) = left_out(world.pipeline.ledger).items
    decide(world.ledger, world.archive, "forget", item.name, world.clock(), author="ann")
    assert left_out(world.pipeline.ledger).items == ()
    lose(world, tmp_path)
    rebuild(world.ledger, world.archive, world.clock())
    assert (left_out(world.pipeline.ledger).items, runs.hour_report(world.pipeline, HOUR).left_out) == ((), {})


@pytest.mark.parametrize("spoil", [lambda data: data.replace(b"ann", b"amn"), lambda _: b"[1]", lambda _: b""])
def test_a_damaged_acknowledgement_is_named_and_costs_no_other(
    world: World, tmp_path: Path, spoil: Callable[[bytes], bytes]
) -> None:
    a_bit_of_everything(world)
    (broken,) = (one.key for one in Pardons(world.ledger).unheld_sources() if one.state == "set_aside")
    decide(world.ledger, world.archive, "forget", broken, world.clock(), author="ann", why="a disk died")
    (key,) = (key for key in world.archive.objects if key.startswith("verdicts/decided/"))
    (lost,) = (one.key for one in Pardons(world.ledger).unheld_sources() if one.state == "lost")
    decide(world.ledger, world.archive, "forget", lost, world.clock(), author="ann", why="it was deleted")
    world.archive.objects[key] = spoil(world.archive.objects[key])
    lose(world, tmp_path)
    report = rebuild(world.ledger, world.archive, world.clock())
    (why,) = report.damaged
    assert key in why
    assert why.endswith("or remove it, and decide again")
    assert report.decisions == 1
    assert [one.key for one in Pardons(world.ledger).unheld_sources()] == [broken]
