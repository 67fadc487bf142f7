"""Files of an hour become one: no reader sees a series twice or misses one, whatever happens in between."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from pyro_assets.archive.merge import MergeReport, hours_to_merge, merge_hours
from pyro_assets.archive.rebuild import rebuild
from pyro_assets.errors import ObjectMissing
from pyro_assets.export.receipt import Receipt
from pyro_assets.export.receipts import ReceiptRecords
from pyro_assets.jobs.claims import Claims
from pyro_assets.jobs.derive import SeriesFiles
from pyro_assets.operations import runs
from pyro_assets.planning.due import DueJobs
from pyro_assets.planning.plan import Planner
from pyro_assets.planning.sources import SourceRecords
from tests.support import fakes
from tests.support.ledgers import ledger_file
from tests.support.parquet_world import OVER_MS, ParquetWorld, an_hour
from tests.support.worlds import HOUR, SETTINGS, FaultyLedger

SETTLE_MS = SETTINGS.settle_ms
SERIES = frozenset({"dimension_series", "function_series"})


@pytest.fixture
def world(tmp_path: Path) -> Iterator[ParquetWorld]:
    made = ParquetWorld(tmp_path)
    yield made
    made.ledger.close()


def merge(world: ParquetWorld) -> MergeReport:
    return merge_hours(world.archive, world.ledger, world.clock(), SETTLE_MS)


def again(world: ParquetWorld, config: str) -> None:
    """The series of the hour are derived again, with other values for config "other"."""
    report = runs.run(world.open(config), [HOUR], SERIES, run_id="backfill")[HOUR]
    assert not report.run.failed
    assert report.run.derived


def test_an_hour_that_is_over_becomes_one_file_per_kind(world: ParquetWorld):
    values = an_hour(world)
    before = {row[0]: row[1] for row in written(world)}
    report = merge(world)
    assert (report.hours, report.files_before, report.files_after, report.busy) == ({HOUR: 8}, 8, 2, [])
    for kind in ("dimension", "function"):
        assert world.names(kind) == ["merged-000001.parquet"]
    assert world.values() == world.ledger_values() == values
    # To receivers nothing is new.
    assert {row[0]: row[1] for row in written(world)} == before
    data = dict(world.archive.objects)
    assert merge(world).hours == {}
    assert hours_to_merge(world.ledger, world.clock(), SETTLE_MS) == []
    assert world.archive.objects == data


def written(world: ParquetWorld) -> list[tuple[str, int]]:
    with world.ledger.read() as connection:
        rows = connection.exec_driver_sql("SELECT job_id || kind, written_ms FROM series_files")
        return [(row[0], row[1]) for row in rows]


def test_the_same_hour_gives_the_same_bytes(tmp_path: Path):
    found = []
    for number in range(2):
        (tmp_path / str(number)).mkdir()
        world = ParquetWorld(tmp_path / str(number))
        an_hour(world)
        merge(world)
        found.append(world._below("series/"))
        world.ledger.close()
    assert found[0] == found[1]


def test_nothing_is_sent_again(world: ParquetWorld):
    an_hour(world)
    closed = [
        Receipt(due.job_id, file.kind, "r", "sent", samples=file.rows, file_ms=file.written_ms)
        for due in ReceiptRecords(world.ledger).export_due("r", [HOUR])
        for file in due.files
    ]
    for receipt in closed:
        ReceiptRecords(world.ledger).put_receipts([receipt], world.clock())
    assert ReceiptRecords(world.ledger).export_due("r", [HOUR]) == []
    merge(world)
    assert ReceiptRecords(world.ledger).export_due("r", [HOUR]) == []
    assert len(ReceiptRecords(world.ledger).export_due("other", [HOUR])) == 4


@pytest.mark.parametrize(
    "busy",
    ["running hour", "just derived", "open job", "held job", "waiting source"],
)
def test_an_hour_that_is_not_at_rest_is_left(world: ParquetWorld, busy: str):
    an_hour(world)
    if busy == "running hour":
        world.clock.now_ms = OVER_MS - 1
        assert hours_to_merge(world.ledger, world.clock(), SETTLE_MS) == []
        return
    if busy == "just derived":
        again(world, "plain")
    elif busy == "held job":
        job_id = DueJobs(world.ledger).committed_jobs(HOUR)[0]
        retry = runs.worker_of(world.pipeline, "x", frozenset()).retry
        assert Claims(world.ledger).claim(job_id, "run", world.clock(), 60_000, retry, states=["derived"])
    else:
        world.segment(-900, "acme 5")
        SourceRecords(world.ledger).record_sources(
            [runs.found(world.pipeline, key) for key in world.source.objects], {}, world.clock(), policy()
        )
        if busy == "open job":
            assert Planner(world.ledger).plan(world.clock(), policy())
    objects = dict(world.archive.objects)
    report = merge(world)
    assert (report.hours, report.busy) == ({}, [HOUR])
    assert world.archive.objects == objects
    if busy == "waiting source":
        return
    world.clock.forward(300)
    if busy == "open job":
        runs.run(world.pipeline, [HOUR], run_id="run")
        world.clock.forward(300)
    assert list(merge(world).hours) == [HOUR]


def policy() -> Any:
    from pyro_assets.planning.tick import policy_of

    return policy_of(SETTINGS.model_copy(update={"start_date": "2020-01-01-00:00"}))


def test_a_job_that_is_derived_again_counts_once_and_is_merged_later(world: ParquetWorld):
    values = an_hour(world)
    merge(world)
    world.clock.forward(300)
    again(world, "other")
    changed = [(*row[:3], row[3] + 1000) for row in values]
    assert [name for name in world.names() if "-000001" in name and "merged" not in name]
    assert world.values() == world.ledger_values() == changed
    world.clock.forward(300)
    assert merge(world).hours == {HOUR: 8}
    assert world.names() == ["merged-000002.parquet"]
    assert world.values() == world.ledger_values() == changed


def test_a_late_job_joins_the_others(world: ParquetWorld):
    values = an_hour(world)
    merge(world)
    late = world.segment(-900, "acme 99")
    SourceRecords(world.ledger).record_sources([runs.found(world.pipeline, late)], {}, world.clock(), policy())
    world.clock.forward(300)
    Planner(world.ledger).plan(world.clock(), policy())
    runs.run(world.pipeline, [HOUR], run_id="run")
    assert len(world.names()) == 2
    assert world.values() == world.ledger_values()
    assert len(world.values()) == len(values) + 1
    world.clock.forward(300)
    merge(world)
    assert world.names() == ["merged-000002.parquet"]
    assert world.values() == world.ledger_values()
    assert len(world.values()) == len(values) + 1


def test_a_job_that_made_nothing_and_one_that_was_lost_do_not_matter(world: ParquetWorld):
    for number in range(3):
        world.segment(-60 + number, "broken", shard=9)
    an_hour(world, 2)
    merge(world)
    assert world.names() == ["merged-000001.parquet"]
    assert len(world.ledger_values()) == 4


STEPS = 40


@pytest.mark.parametrize("what", ["archive", "ledger"])
@pytest.mark.parametrize("then", ["merge", "derive again"])
def test_killed_after_every_step(tmp_path: Path, what: str, then: str):
    """At every call of archive or ledger the process dies; every reader sees every series once, before and after."""
    finished = False
    begun = ParquetWorld(tmp_path)
    before = an_hour(begun)
    for step in range(STEPS):
        world, values = begun.copy(tmp_path / str(step)), before
        calls = iter(range(10_000))

        def die(method: str, key: str, calls: Any = calls, step: int = step) -> None:
            if next(calls) == step:
                raise fakes.Killed(f"{method} {key}")

        if what == "archive":
            world.archive.before = die
        else:
            world.ledger.kill_at = world.ledger.writes + step
        try:
            merge(world)
            finished = True
        except fakes.Killed:
            pass
        world.archive.before = world.ledger.kill_at = None
        assert world.values() == world.ledger_values() == values, step
        world.clock.forward(300)
        if then == "derive again":
            again(world, "other")
            values = [(*row[:3], row[3] + 1000) for row in values]
            assert world.values() == world.ledger_values() == values, step
            world.clock.forward(300)
        merge(world)
        assert len(world.names()) == len(world.names("function")) == 1
        assert world.values() == world.ledger_values() == values, step
        world.ledger.close()
        if finished:
            return
    pytest.fail("the merge has more steps than were tried")


def test_a_reader_between_the_steps_finds_what_moved(world: ParquetWorld):
    """Whoever asked the ledger before the merge reads after it."""
    values = an_hour(world)
    asked = ReceiptRecords(world.ledger).series_files_of(0, 2**60)
    merge(world)
    reader = SeriesFiles(world.archive, world.ledger)
    rows = sum(len(reader.samples(file)) for _, file in asked)
    assert rows == 2 * len(values)
    # Twice merged, and a file that is nowhere.
    world.clock.forward(300)
    again(world, "other")
    world.clock.forward(300)
    merge(world)
    _, file = asked[0]
    assert len(SeriesFiles(world.archive, world.ledger).samples(file))
    world.archive.objects = {key: data for key, data in world.archive.objects.items() if "merged" not in key}
    with pytest.raises(ObjectMissing):
        SeriesFiles(world.archive, world.ledger).samples(file)


def test_two_merges_at_once(world: ParquetWorld):
    """Another process merges the hour while this one writes; the slower one changes nothing."""
    values = an_hour(world)

    def faster(method: str, key: str) -> None:
        if method == "replace" and "kind=function" in key:
            world.archive.before = None
            merge(world)

    world.archive.before = faster
    merge(world)
    world.clock.forward(300)
    merge(world)
    assert world.values() == world.ledger_values() == values
    assert len(world.names()) == 1


def test_a_worker_that_lost_its_lease_cannot_bring_an_old_file_back(world: ParquetWorld):
    values = an_hour(world)
    names = [key for key in world.archive.objects if key.startswith("series/")]
    old = {key: world.archive.objects[key] for key in names}
    merge(world)
    world.archive.objects |= old  # it writes although nobody waits for it
    assert world.values() == world.ledger_values() == values
    world.clock.forward(300)
    again(world, "plain")
    world.clock.forward(300)
    merge(world)
    assert len(world.names()) == 1


def test_hours_for_which_there_is_no_time_are_left(world: ParquetWorld):
    an_hour(world)
    report = merge_hours(world.archive, world.ledger, world.clock(), SETTLE_MS, deadline_monotonic=0.0)
    assert (report.hours, report.left) == ({}, 1)


def test_one_file_is_not_merged(world: ParquetWorld):
    values = an_hour(world, 1, shards=1)
    names = world.names()
    assert merge(world).hours == {}
    assert hours_to_merge(world.ledger, world.clock(), SETTLE_MS) == []
    assert world.names() == names
    # With a second one it is.
    late = world.segment(-900, "acme 99")
    SourceRecords(world.ledger).record_sources([runs.found(world.pipeline, late)], {}, world.clock(), policy())
    world.clock.forward(300)
    Planner(world.ledger).plan(world.clock(), policy())
    runs.run(world.pipeline, [HOUR], run_id="run")
    world.clock.forward(300)
    assert merge(world).hours == {HOUR: 4}
    assert world.names() == ["merged-000001.parquet"]
    assert len(world.ledger_values()) == len(values) + 1


@pytest.mark.parametrize("what", ["archive", "ledger"])
def test_killed_and_the_database_lost(tmp_path: Path, what: str):
    """Wherever a merge dies, the archive alone gives the same series, before and after it is merged again."""
    begun = ParquetWorld(tmp_path)
    values = an_hour(begun)
    merge(begun)
    begun.clock.forward(300)
    again(begun, "other")  # a merged file and files beside it
    values = [(*row[:3], row[3] + 1000) for row in values]
    begun.clock.forward(300)
    for step in range(STEPS):
        world = begun.copy(tmp_path / str(step))
        died = kill_at(world, what, step)
        with contextlib.suppress(fakes.Killed):
            merge(world)
        finished = not died()
        world.ledger.close()
        world.ledger = FaultyLedger.open(ledger_file(world.folder / "new.db"))
        world.pipeline = world.open()
        assert rebuild(world.ledger, world.archive, world.clock()).jobs == 4
        assert world.values() == world.ledger_values() == values, step
        world.clock.forward(300)
        merge(world)
        assert len(world.names()) == 1
        assert world.values() == world.ledger_values() == values, step
        world.ledger.close()
        if finished:
            return
    pytest.fail("the merge has more steps than were tried")


def kill_at(world: ParquetWorld, what: str, step: int) -> Callable[[], bool]:
    """Lets the process die at the n-th call; returns whether it did."""
    calls = iter(range(10_000))
    died = []

    def die(method: str, key: str) -> None:
        if next(calls) == step:
            died.append(key)
            raise fakes.Killed(f"{method} {key}")

    begun = world.ledger.writes
    if what == "archive":
        world.archive.before = die
    else:
        world.ledger.kill_at = begun + step

    def has_died() -> bool:
        world.archive.before = world.ledger.kill_at = None
        return bool(died) or (what == "ledger" and world.ledger.writes > begun + step)

    return has_died
