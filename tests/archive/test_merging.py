"""The series of an hour enter the table: no reader sees one twice or misses one, whatever happens in between."""

import contextlib
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from pyro_assets.archive.merge import MergeReport, hours_to_merge, merge_hours
from pyro_assets.archive.rebuild import rebuild
from pyro_assets.archive.rows import SourceRows
from pyro_assets.errors import ObjectMissing
from pyro_assets.export.receipt import Receipt
from pyro_assets.export.receipts import ReceiptRecords
from pyro_assets.export.samples import samples_of
from pyro_assets.jobs.claims import Claims
from pyro_assets.jobs.derive import SeriesFiles
from pyro_assets.ledger.files import FileRecords
from pyro_assets.ledger.upkeep import Merged, MergeOrder, UpkeepRecords, next_series_number
from pyro_assets.operations import runs, upkeep
from pyro_assets.planning.due import DueJobs
from pyro_assets.planning.plan import Planner
from pyro_assets.planning.sources import SourceRecords
from pyro_assets.series.frame import SCHEMA
from pyro_assets.storage.bucket import open_bucket
from pyro_assets.storage.checksum import crc32c
from pyro_assets.storage.keys import hour_path
from tests.support import fakes
from tests.support.ledgers import ledger_file
from tests.support.parquet_world import OVER_MS, ParquetWorld, an_hour
from tests.support.s3_server import s3, s3_endpoint
from tests.support.worlds import HOUR, SETTINGS, FaultyLedger

__all__ = ["s3", "s3_endpoint"]

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


def pieces(number: int, hour: str = "2026-11-25T13") -> list[str]:
    """Names of an hour's files in the table."""
    return [f"kind={kind}/hour={hour}/{number:06d}-0000.parquet" for kind in ("dimension", "function")]


def test_an_hour_that_is_over_enters_the_table(world: ParquetWorld):
    values = an_hour(world)
    before = {row[0]: row[1] for row in written(world)}
    report = merge(world)
    assert (report.hours, report.files_before, report.files_after, report.busy) == ({HOUR: 8}, 8, 2, [])
    assert world.in_table() == pieces(1)
    assert world.names() == world.names("function") == []
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
        found.append(world._below("series_table/"))
        world.ledger.close()
    assert len(found[0]) == 2
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
    assert len([name for name in world.names() if "-000001" in name]) == 4
    # Whoever has no ledger sees it when its hour is replaced.
    assert (world.values(), world.ledger_values()) == (values, changed)
    world.clock.forward(300)
    assert merge(world).hours == {HOUR: 8}
    assert (world.names(), world.in_table()) == ([], pieces(2))
    assert world.values() == world.ledger_values() == changed


def test_a_late_job_joins_the_others(world: ParquetWorld):
    values = an_hour(world)
    merge(world)
    late = world.segment(-900, "acme 99")
    SourceRecords(world.ledger).record_sources([runs.found(world.pipeline, late)], {}, world.clock(), policy())
    world.clock.forward(300)
    Planner(world.ledger).plan(world.clock(), policy())
    runs.run(world.pipeline, [HOUR], run_id="run")
    assert len(world.names()) == 1
    assert world.values() == values
    assert len(world.ledger_values()) == len(values) + 1
    world.clock.forward(300)
    merge(world)
    assert (world.names(), world.in_table()) == ([], pieces(2))
    assert world.values() == world.ledger_values()
    assert len(world.values()) == len(values) + 1


def test_a_job_that_made_nothing_and_one_that_was_lost_do_not_matter(world: ParquetWorld):
    for number in range(3):
        world.segment(-60 + number, "broken", shard=9)
    an_hour(world, 2)
    merge(world)
    assert world.in_table() == pieces(1)
    assert len(world.values()) == len(world.ledger_values()) == 4


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
            before, values = values, [(*row[:3], row[3] + 1000) for row in values]
            assert world.ledger_values() == values, step
            assert world.values() == (before if world.in_table() else values), step
            world.clock.forward(300)
        merge(world)
        assert world.names() == world.names("function") == [], step
        assert len(world.in_table()) == 2, step
        assert world.values() == world.ledger_values() == values, step
        world.ledger.close()
        if finished:
            return
    pytest.fail("the merge has more steps than were tried")


def test_a_reader_between_the_steps_finds_what_moved(world: ParquetWorld):
    """Whoever asked the ledger before the merge reads after it."""
    values = an_hour(world)
    asked = FileRecords(world.ledger).files_between(0, 2**60)
    merge(world)
    reader = SeriesFiles(world.archive, world.ledger)
    rows = sum(len(samples_of(reader, file)) for _, file in asked)
    assert rows == 2 * len(values)
    # Twice merged, and a file that is nowhere.
    world.clock.forward(300)
    again(world, "other")
    world.clock.forward(300)
    merge(world)
    _, file = asked[0]
    assert len(samples_of(SeriesFiles(world.archive, world.ledger), file))
    world.archive.objects = {key: data for key, data in world.archive.objects.items() if "series_table" not in key}
    with pytest.raises(ObjectMissing):
        samples_of(SeriesFiles(world.archive, world.ledger), file)


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
    assert (world.names(), world.in_table()) == ([], pieces(2))


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
    assert (world.names(), world.in_table()) == ([], pieces(2))


def test_hours_for_which_there_is_no_time_are_left(world: ParquetWorld):
    an_hour(world)
    report = merge_hours(world.archive, world.ledger, world.clock(), SETTLE_MS, deadline_monotonic=0.0)
    assert (report.hours, report.left) == ({}, 1)


def test_a_lone_job_enters_the_table_too(world: ParquetWorld):
    values = an_hour(world, 1, shards=1)
    assert merge(world).hours == {HOUR: 2}
    assert (world.names(), world.in_table()) == ([], pieces(1))
    assert hours_to_merge(world.ledger, world.clock(), SETTLE_MS) == []
    assert world.values() == world.ledger_values() == values


def test_a_large_hour_is_merged_in_pieces(world: ParquetWorld, monkeypatch: pytest.MonkeyPatch):
    """Each of whole jobs, oldest first; they are read, replaced and rebuilt as one is."""
    from pyro_assets.series import files as module

    monkeypatch.setattr(module.write_pieces, "__defaults__", (4,))
    values = an_hour(world)
    report = merge(world)
    assert (report.files_before, report.files_after) == (8, 4)
    assert [name.rpartition("/")[2] for name in world.in_table()] == ["000001-0000.parquet", "000001-0001.parquet"] * 2
    assert world.values() == world.ledger_values() == values
    world.clock.forward(300)
    again(world, "other")
    world.clock.forward(300)
    assert merge(world).hours == {HOUR: 8}
    values = [(*row[:3], row[3] + 1000) for row in values]
    assert len(world.in_table()) == 4
    world.ledger.close()
    world.ledger = FaultyLedger.open(str(world.folder / "new.db"))
    world.pipeline = world.open()
    assert rebuild(world.ledger, world.archive, world.clock()).damaged_series == []
    assert world.values() == world.ledger_values() == values


def merged_before_there_was_a_table(world: ParquetWorld) -> None:
    """The hour's files as an older version has merged them."""
    for kind in ("dimension", "function"):
        files = [file for _, file in FileRecords(world.ledger).files_between(0, 2**60) if file.kind == kind]
        reader = SeriesFiles(world.archive, world.ledger)
        parts = [reader.rows(file) for file in files]
        sink = pa.BufferOutputStream()
        with pq.ParquetWriter(sink, SCHEMA, store_schema=False) as writer:
            writer.write_table(pa.concat_tables([part.table for part in parts]))
            jobs = [[part.job, part.table.num_rows, number] for number, part in enumerate(parts)]
            named = {"jobs": jobs, "metadata": [dict(part.metadata) for part in parts]}
            writer.add_key_value_metadata({"pyro_assets.jobs": json.dumps(named)})
        key = f"series/kind={kind}/hour={hour_path(HOUR)}/merged-000001.parquet"
        world.archive.replace(key, bytes(sink.getvalue()))
        size_bytes = world.archive.size(key)
        merged = Merged(kind, key, size_bytes, crc32c(world.archive.read(key)), {f.job_id: f.key for f in files})
        with world.ledger.write() as connection:
            if kind == "dimension":
                assert next_series_number(connection, HOUR) == 1
        order = MergeOrder(HOUR, 1, (), True)
        assert UpkeepRecords(world.ledger).finish_merge(order, [merged])
        world.archive.remove([file.key for file in files])


@pytest.mark.parametrize("ledger", ["as it was", "lost", "without rows", "without rows and a late job"])
def test_hours_merged_before_there_was_a_table_move_into_it(world: ParquetWorld, ledger: str):
    values = an_hour(world)
    merged_before_there_was_a_table(world)
    assert world.names() == ["merged-000001.parquet"]
    assert world.values() == world.ledger_values() == values
    if ledger == "lost":
        world.ledger.close()
        world.ledger = FaultyLedger.open(str(world.folder / "new.db"))
        world.pipeline = world.open()
        rebuild(world.ledger, world.archive, world.clock())
        assert world.values() == world.ledger_values() == values
    if "without rows" in ledger:
        with world.ledger.write() as connection:
            connection.exec_driver_sql("UPDATE hour_upkeep SET table_ms = NULL")
        assert SourceRows(world.ledger).collapse(HOUR, world.clock(), {}, has_table=False)
    if "late" in ledger:
        late = world.segment(-900, "acme 99", salt=9)
        SourceRecords(world.ledger).record_sources([runs.found(world.pipeline, late)], {}, world.clock(), policy())
        world.clock.forward(300)
        Planner(world.ledger).plan(world.clock(), policy())
        runs.run(world.pipeline, [HOUR], run_id="run")
        values = sorted([*values, *world.ledger_values()])
        assert len(values) == 9
    world.clock.forward(300)
    assert list(merge(world).hours) == [HOUR]
    assert world.names() == []
    assert len(world.in_table()) == 2
    assert world.values() == values
    assert hours_to_merge(world.ledger, world.clock(), SETTLE_MS) == []
    world.ledger.close()
    world.ledger = FaultyLedger.open(str(world.folder / "newest.db"))
    world.pipeline = world.open()
    rebuild(world.ledger, world.archive, world.clock())
    assert world.ledger_values() == values


def test_an_archive_that_can_have_no_table_keeps_files_of_jobs(world: ParquetWorld):
    values = an_hour(world)
    other = fakes.MemoryBucket(dict(world.archive.objects))
    report = merge_hours(other, world.ledger, world.clock(), SETTLE_MS)
    assert (report.hours, report.busy, report.left) == ({}, [], 0)
    assert "memory://" in report.why_not
    assert other.objects == world.archive.objects
    assert world.ledger_values() == values


@pytest.mark.service
def test_an_hour_enters_a_table_on_s3(world: ParquetWorld, s3: str):
    values = an_hour(world)
    archive = open_bucket(s3, True)
    for key, data in world.archive.objects.items():
        archive.replace(key, data)
    assert merge_hours(archive, world.ledger, world.clock(), SETTLE_MS).hours == {HOUR: 8}
    place = archive.delta_place("series_table")
    frame = (
        pl.scan_delta(place.url, storage_options=dict(place.options)).filter(pl.col("kind") == "dimension").collect()
    )
    assert sorted(frame.select("job", "tenant", "timestamp_ms", "value").rows()) == values
    assert archive.list_after("series/") == []
    reader = SeriesFiles(archive, world.ledger)
    files = [file for _, file in FileRecords(world.ledger).files_between(0, 2**60)]
    assert sum(len(samples_of(reader, file)) for file in files) == 2 * len(values)


def test_a_table_whose_log_is_lost_gets_a_new_one(world: ParquetWorld):
    """Files are named by the ledger; the scrub finds that the table does not, and the next merge puts them there."""
    values = an_hour(world)
    merge(world)
    shutil.rmtree(world.archive.folder / "series_table" / "_delta_log")
    assert (world.in_table(), world.ledger_values()) == ([], values)
    found = upkeep.scrub(world.pipeline, hours=[HOUR])
    assert {one.kind for one in found.damaged} == {"series"}
    assert "is not named by the log of the table" in found.damaged[0].message
    assert merge(world).hours == {HOUR: 2}
    assert world.values() == world.ledger_values() == values
    assert upkeep.scrub(world.pipeline, hours=[HOUR]).damaged == []


@pytest.mark.parametrize("what", ["archive", "ledger"])
def test_killed_and_the_database_lost(tmp_path: Path, what: str):
    """Wherever a merge dies, the archive alone gives the same series, before and after it is merged again."""
    begun = ParquetWorld(tmp_path)
    values = an_hour(begun)
    merge(begun)
    begun.clock.forward(300)
    again(begun, "other")  # the table and files beside it
    before, values = values, [(*row[:3], row[3] + 1000) for row in values]
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
        assert world.ledger_values() == values, step
        assert world.values() in (before, values), step
        world.clock.forward(300)
        merge(world)
        assert (world.names(), len(world.in_table())) == ([], 2)
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
