"""What is old goes where a person said so; nothing is done twice, missed or asked for afterwards, whatever happens."""

import contextlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pyro_assets.archive.merge import merge_hours
from pyro_assets.archive.publish import publish
from pyro_assets.archive.rebuild import put_back, rebuild
from pyro_assets.archive.retain import DAY_MS, Keep, RetentionReport, retain
from pyro_assets.errors import JobConflict, RemovedByRetention, SettingsError
from pyro_assets.export.receipt import Receipt
from pyro_assets.export.receipts import ReceiptRecords
from pyro_assets.export.reconcile import files_between
from pyro_assets.jobs.loading import JobRecords
from pyro_assets.jobs.quarantine import Pardons
from pyro_assets.ledger.upkeep import UpkeepRecords
from pyro_assets.operations import runs, ticks
from pyro_assets.planning.plan import Planner
from pyro_assets.planning.sources import SourceRecords
from pyro_assets.planning.sweep import rescan
from pyro_assets.storage.keys import HOUR_MS
from pyro_assets.storage.ulid import make_ulid
from tests.support import fakes
from tests.support.ledger_content import content
from tests.support.ledgers import HOUR_START_MS, NOW_MS, ledger_file
from tests.support.parquet_world import ParquetWorld
from tests.support.worlds import HOUR, SETTINGS, FaultyLedger

SERIES = frozenset({"dimension_series", "function_series"})
ALL = Keep(blocks=1, series=1, ledger=1)
FAR_MS = 2**48


@pytest.fixture
def world(tmp_path: Path) -> Iterator[ParquetWorld]:
    made = ParquetWorld(tmp_path)
    yield made
    made.ledger.close()


def an_old_hour(world: ParquetWorld) -> None:
    """Some jobs of an hour, merged, two days ago."""
    for number in range(12):
        world.segment(-60 + number, f"acme {number}\nbeta 1", shard=number % 2)
    world.clock.forward(10)
    world.tick_and_run()
    world.clock.now_ms = HOUR_START_MS + 2 * DAY_MS + HOUR_MS
    merge_hours(world.archive, world.ledger, world.clock(), SETTINGS.settle_ms)


def apply(world: ParquetWorld, keep: Keep = ALL, *, dry: bool = False, **scopes: int) -> RetentionReport:
    return retain(world.archive, world.ledger, keep, scopes, world.clock(), apply=not dry)


def gone(report: RetentionReport) -> dict[str, int]:
    """What -> objects or rows."""
    found: dict[str, int] = {}
    for one in report.expired:
        found[one.what] = found.get(one.what, 0) + (one.objects or one.rows)
    return found


def policy() -> Any:
    from pyro_assets.planning.tick import policy_of

    return policy_of(SETTINGS)


def test_nothing_goes_by_default(world: ParquetWorld):
    an_old_hour(world)
    assert not Keep().anything_goes
    objects = dict(world.archive.objects)
    assert gone(apply(world, Keep())) == {}
    assert world.archive.objects == objects
    with pytest.raises(SettingsError, match=r"blocks would be kept for 0\.5 days"):
        Keep(blocks=0.5)


def test_a_dry_run_lists_what_the_real_one_removes(world: ParquetWorld):
    an_old_hour(world)
    objects, writes = dict(world.archive.objects), world.ledger.writes
    listed = apply(world, dry=True)
    assert gone(listed) == {"blocks": 8, "series": 2, "ledger": 12 + 4}
    assert (world.archive.objects, world.ledger.writes) == (objects, writes)
    done = apply(world)
    assert done.expired == listed.expired
    assert world.top_folders() - {"rules"} == {"commits", "retention"}
    assert gone(apply(world)) == {}


@pytest.mark.parametrize("keep", [Keep(blocks=3), Keep(series=3), Keep(ledger=3)])
def test_what_is_young_stays(world: ParquetWorld, keep: Keep):
    an_old_hour(world)
    objects = dict(world.archive.objects)
    assert gone(apply(world, keep)) == {}
    assert world.archive.objects == objects


def test_what_a_receiver_lacks_stays_until_it_has_it(world: ParquetWorld):
    an_old_hour(world)
    report = apply(world, r=0)
    assert gone(report) == {}
    assert report.kept == {"blocks: a receiver lacks samples": 4, "series: a receiver lacks samples": 1,
                           "ledger: a receiver lacks samples": 1}  # fmt: skip
    # One that starts later does not count.
    assert gone(apply(world, dry=True, r=world.clock())) == {"blocks": 8, "series": 2, "ledger": 16}
    for due in ReceiptRecords(world.ledger).export_due("r", [HOUR]):
        for file in due.files:
            sent = Receipt(due.job_id, file.kind, "r", "sent", samples=file.rows, file_ms=file.written_ms)
            ReceiptRecords(world.ledger).put_receipts([sent], world.clock(), wanted_by=["r"])
    assert gone(apply(world, r=0)) == {"blocks": 8, "series": 2, "ledger": 16}


def test_an_hour_with_something_open_stays(world: ParquetWorld):
    an_old_hour(world)
    late = world.segment(-900, "acme 5")
    SourceRecords(world.ledger).record_sources([runs.found(world.pipeline, late)], {}, world.clock(), policy())
    Planner(world.ledger).plan(world.clock(), policy())
    report = apply(world)
    assert gone(report) == {"blocks": 8}
    assert report.kept == {
        "blocks: a job is open, held or given up": 1,
        "series: a job is open, held or given up": 1,
        "ledger: a job is open, held or given up": 1,
    }
    world.clock.forward(10)
    runs.run(world.pipeline, [HOUR], run_id="run")
    # The late job's blocks go with the next call, as do the others when its file is merged.
    world.clock.forward(300)
    assert gone(apply(world, Keep(blocks=1))) == {"blocks": 9}
    assert not [key for key in world.archive.objects if key.startswith("blocks/")]


def test_sources_that_nobody_acknowledged_keep_their_rows(world: ParquetWorld):
    broken = world.segment(-70, "broken", shard=1)
    an_old_hour(world)
    assert apply(world, Keep(ledger=1)).kept == {"ledger: a source that was set aside or lost is not acknowledged": 1}
    Pardons(world.ledger).acknowledge_source(broken, world.clock())
    assert gone(apply(world, Keep(ledger=1))) == {"ledger": 13 + 5}


def test_without_blocks_series_stay_as_they_are_and_nobody_fails(world: ParquetWorld, tmp_path: Path):
    an_old_hour(world)
    values = world.ledger_values()
    apply(world, Keep(blocks=1))
    report = runs.run(world.open("other"), [HOUR], SERIES, run_id="backfill")[HOUR]
    assert (report.run.failed, report.run.derived, report.run.removed) == (0, 0, 4)
    assert "4 jobs stay as they are: retention removed their blocks" in report.run.summary
    assert world.ledger_values() == world.values() == values
    verified = runs.verify_hour(world.pipeline, HOUR, again=True)
    assert (verified.checked, verified.differences) == (0, ())
    job, _ = JobRecords(world.ledger).look_up(values[0][0])
    deriver = runs.worker_of(world.pipeline, "x", frozenset({"dimension"})).deriver
    with pytest.raises(RemovedByRetention, match="removed by retention"):
        deriver.derive(job, None, frozenset({"dimension"}), lambda: None)
    target = fakes.MemoryBucket()
    published = publish(world.archive, target, 0, FAR_MS)
    assert (published.jobs, published.removed, target.objects) == (0, 4, {})


def test_without_series_whoever_asks_for_them_is_told(world: ParquetWorld):
    an_old_hour(world)
    apply(world, Keep(series=1))
    assert world.values() == []
    assert ReceiptRecords(world.ledger).export_due("new", [HOUR]) == []
    begin_ms = HOUR_START_MS
    with pytest.raises(RemovedByRetention, match=f"1 hours of this span, from {HOUR}"):
        files_between(world.ledger, begin_ms, begin_ms + HOUR_MS)
    assert files_between(world.ledger, begin_ms + HOUR_MS, begin_ms + 2 * HOUR_MS) == []
    # The figures stay, and a backfill makes the series anew from the blocks.
    assert runs.hour_report(world.pipeline, HOUR).series == {"dimension": 8, "function": 8}
    runs.run(world.open(), [HOUR], SERIES, run_id="backfill")
    assert len(world.values()) == len(world.ledger_values()) == 8
    assert files_between(world.ledger, begin_ms, begin_ms + HOUR_MS)
    assert not [name for name in world.names() if "-000002" not in name]
    world.clock.forward(300)
    merge_hours(world.archive, world.ledger, world.clock(), SETTINGS.settle_ms)
    assert [name.rpartition("/")[2] for name in world.in_table()] == ["000003-0000.parquet"] * 2
    assert gone(apply(world, Keep(series=1))) == {"series": 2}


def test_rows_that_are_gone_are_not_done_again(world: ParquetWorld):
    an_old_hour(world)
    before = runs.hour_report(world.pipeline, HOUR)
    cursors = SourceRecords(world.ledger).cursors()
    apply(world, Keep(ledger=1))
    assert UpkeepRecords(world.ledger).hours_before("9999") == []
    # Ticks with lost cursors, rescans and exact runs.
    SourceRecords(world.ledger).drop_cursors("live")
    ticks.tick(world.pipeline)
    assert SourceRecords(world.ledger).cursors() == cursors
    assert rescan(world.source, world.ledger, SETTINGS, 0, FAR_MS, world.clock()).new == {}
    assert world.tick_and_run().run.summary == "nothing to do"
    assert len(world.records()) == 4
    assert runs.run(world.open("other"), [HOUR], SERIES, run_id="backfill")[HOUR].run.removed == 4
    with pytest.raises(JobConflict, match="retention removed its row"):
        runs.run_exact(world.pipeline, [sorted(world.source.objects)[:3]], run_id="run")
    # What people see stays.
    after = runs.hour_report(world.pipeline, HOUR)
    for name in (
        "segments",
        "shards",
        "blocks",
        "profiles",
        "samples",
        "bytes_in",
        "series",
        "jobs_by_state",
        "services",
    ):
        assert getattr(after, name) == getattr(before, name), name
    with pytest.raises(RemovedByRetention):
        files_between(world.ledger, HOUR_START_MS, HOUR_START_MS + 1)


def test_a_late_source_of_an_hour_without_rows_is_done_once(world: ParquetWorld):
    an_old_hour(world)
    apply(world, Keep(ledger=1))
    taken_ms = {row[2] for row in world.values()}
    late = [world.segment(-60 + number, "acme 7", shard=number % 2, salt=9) for number in range(2)]
    assert rescan(world.source, world.ledger, SETTINGS, 0, FAR_MS, world.clock()).new == {HOUR: 2}
    runs.run(world.pipeline, [HOUR], run_id="run")
    assert {world.state_of(key) for key in late} == {"done"}
    assert world.archived_values() == world.source_values()
    # Not at the time of a job whose row is gone: to a receiver that would be the same sample.
    assert len({row[2] for row in world.ledger_values()} - taken_ms) == 2
    report = runs.hour_report(world.pipeline, HOUR)
    assert (report.segments, report.blocks) == (14, 8 + 2)
    world.clock.forward(300)
    assert apply(world, Keep(ledger=1)).kept == {"ledger: its series are not in the table yet": 1}
    late_values, values = world.ledger_values(), world.values()
    merge_hours(world.archive, world.ledger, world.clock(), SETTINGS.settle_ms)
    # Those of the jobs without rows are still there.
    assert world.values() == sorted([*values, *late_values])
    assert gone(apply(world, Keep(ledger=1))) == {"ledger": 4}
    assert rescan(world.source, world.ledger, SETTINGS, 0, FAR_MS, world.clock()).new == {}
    assert runs.hour_report(world.pipeline, HOUR).segments == 14


def test_rows_come_back_from_the_archive(world: ParquetWorld):
    an_old_hour(world)
    before, values = content(world.ledger), world.ledger_values()
    apply(world, Keep(ledger=1))
    assert put_back(world.ledger, world.archive, HOUR_START_MS + HOUR_MS, FAR_MS, world.clock()).jobs == 0
    report = put_back(world.ledger, world.archive, HOUR_START_MS, HOUR_START_MS + 1, world.clock())
    assert (report.jobs, report.sources) == (4, 12)
    assert content(world.ledger) == before
    assert world.ledger_values() == values
    assert runs.hour_report(world.pipeline, HOUR).segments == 12
    assert rescan(world.source, world.ledger, SETTINGS, 0, FAR_MS, world.clock()).new == {}


@pytest.mark.parametrize("keep", [Keep(), Keep(blocks=1), Keep(series=1), Keep(blocks=1, series=1), ALL])
def test_a_rebuilt_ledger_misses_nothing_that_was_removed_on_purpose(world: ParquetWorld, tmp_path: Path, keep: Keep):
    an_old_hour(world)
    apply(world, keep)
    values, objects = world.values(), dict(world.archive.objects)
    world.ledger.close()
    world.ledger = FaultyLedger.open(ledger_file(tmp_path / "new.db"))
    world.pipeline = world.open()
    report = rebuild(world.ledger, world.archive, world.clock())
    assert (report.jobs, report.damaged) == (4, [])
    assert world.ledger_values() == values
    assert world.tick_and_run().run.summary == "nothing to do"
    backfill = runs.run(world.open("other"), [HOUR], SERIES, run_id="backfill")[HOUR]
    assert backfill.run.failed == 0
    assert backfill.run.derived == (0 if keep.blocks else 4)
    if keep.blocks:
        assert world.archive.objects == objects | {k: v for k, v in world.archive.objects.items() if "rules" in k}
    # Retention goes on where it was, and finds nothing new but rows.
    if keep.anything_goes and keep.blocks:
        assert set(gone(apply(world, replace(keep, ledger=0)))) <= {"blocks"}
        assert not [key for key in world.archive.objects if key.startswith("blocks/")]


def everything_fits(world: ParquetWorld) -> None:
    """No reader misses anything, and nothing of the source is done twice."""
    assert world.values() == world.ledger_values() or not world.ledger_values()
    assert rescan(world.source, world.ledger, SETTINGS, 0, FAR_MS, world.clock()).new == {}
    assert runs.run(world.open("other"), [HOUR], SERIES, run_id="backfill")[HOUR].run.failed == 0


def killed_in_the_archive(world: ParquetWorld, step: int) -> None:
    calls = iter(range(10_000))

    def die(method: str, key: str) -> None:
        if next(calls) == step:
            raise fakes.Killed(f"{method} {key}")

    world.archive.before = die


def killed_in_the_ledger(world: ParquetWorld, step: int) -> None:
    world.ledger.kill_at = world.ledger.writes + step


@pytest.mark.parametrize("kill", [killed_in_the_archive, killed_in_the_ledger])
def test_killed_after_every_step(tmp_path: Path, kill: Callable[[ParquetWorld, int], None]):
    begun = ParquetWorld(tmp_path)
    an_old_hour(begun)
    for step in range(60):
        world = begun.copy(tmp_path / str(step))
        kill(world, step)
        finished = False
        try:
            apply(world)
            finished = True
        except fakes.Killed:
            pass
        world.archive.before = world.ledger.kill_at = None
        listed = apply(world, dry=True)
        assert listed.kept == {}
        apply(world)
        assert world.top_folders() <= {"commits", "retention", "rules"}, step
        assert gone(apply(world)) == {}
        everything_fits(world)
        world.ledger.close()
        if finished:
            return
    pytest.fail("retention has more steps than were tried")


def test_killed_between_and_the_database_lost(tmp_path: Path):
    """The archive alone must tell what is gone, wherever the process died."""
    begun = ParquetWorld(tmp_path)
    an_old_hour(begun)
    for step in range(0, 40, 3):
        world = begun.copy(tmp_path / str(step))
        killed_in_the_archive(world, step)
        with contextlib.suppress(fakes.Killed):
            apply(world, Keep(blocks=1, series=1))
        world.archive.before = None
        world.ledger.close()
        world.ledger = FaultyLedger.open(ledger_file(world.folder / "new.db"))
        world.pipeline = world.open()
        rebuild(world.ledger, world.archive, world.clock())
        assert world.values() == world.ledger_values()
        assert world.tick_and_run().run.failed == 0
        everything_fits(world)
        world.ledger.close()


def test_what_crashed_writers_left_goes_too(world: ParquetWorld):
    an_old_hour(world)
    block = next(key for key in world.archive.objects if key.startswith("blocks/0/acme/")).split("/")
    orphans = []
    for hours in (0, 47):  # the second is too young
        block[3] = make_ulid(NOW_MS + hours * HOUR_MS, b"orphan0000")
        orphans.append("/".join(block))
        world.archive.objects[orphans[-1]] = b"left by a crash"
    objects = dict(world.archive.objects)
    assert gone(apply(world, Keep(temporary=1), dry=True)) == {"temporary": 1}
    assert gone(apply(world, Keep(temporary=1))) == {"temporary": 1}
    assert set(objects) - set(world.archive.objects) == {orphans[0]}
    assert gone(apply(world, Keep(temporary=1))) == {}
    # Blocks of jobs whose rows are gone are not what they seem.
    apply(world, Keep(ledger=1))
    assert gone(apply(world, Keep(temporary=1))) == {}
    assert len(world.blocks()) == 8 + 1


def test_a_block_that_only_the_archive_knows_is_no_orphan(world: ParquetWorld):
    """A job that was committed to the archive and not to the ledger: its blocks are not left over."""
    for number in range(3):
        world.segment(-60 + number, f"acme {number}")
    world.clock.forward(10)
    world.ledger.kill_at = world.ledger.writes + 14  # after the record, before the commit
    with contextlib.suppress(fakes.Killed):
        world.tick_and_run()
    world.ledger.kill_at = None
    assert len(world.records()) == len(world.blocks()) == 1
    world.clock.now_ms += 2 * DAY_MS
    assert gone(apply(world, Keep(temporary=1))) == {}
    # Even if the ledger takes the hour for finished.
    with world.ledger.write() as connection:
        connection.exec_driver_sql("UPDATE jobs SET state = 'derived', lease_expires_ms = 0")
    assert gone(apply(world, Keep(temporary=1))) == {}
    assert len(world.blocks()) == 1
