"""Rot: what vanished or changed in the archive is found before somebody needs it, and the remedy puts it back."""

import random
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import polars as pl
import pytest

from pyro_assets.app import App
from pyro_assets.archive.rebuild import rebuild
from pyro_assets.archive.retain import Keep
from pyro_assets.archive.scrub import NIGHTS, scrub
from pyro_assets.archive.scrubs import DAMAGE_KINDS, ScrubRecords
from pyro_assets.block.reader import RawObject, read_blocks
from pyro_assets.errors import BadRecord, DamagedSeries, PyroAssetsError, StorageUnavailable
from pyro_assets.explore.read import ArchivedJobs
from pyro_assets.explore.scan import Asked
from pyro_assets.explore.series import SeriesReader
from pyro_assets.export.receipt import parse_receipts
from pyro_assets.export.samples import open_series
from pyro_assets.jobs.derive import read_committed
from pyro_assets.jobs.loading import JobRecords
from pyro_assets.jobs.record import parse_record
from pyro_assets.ledger.files import FileRecords
from pyro_assets.ledger.hours import HourRecords
from pyro_assets.operations import runs, sending, ticks, upkeep
from pyro_assets.operations.runs import SERIES_STEPS
from pyro_assets.planning.due import DueJobs
from pyro_assets.rules.stored import RuleEdit, StoredRules
from pyro_assets.series.files import MergedFile, parquet_to_series, read_job_series, series_to_parquet, write_pieces
from pyro_assets.settings import KINDS
from pyro_assets.storage.keys import HOUR_MS, hour_of, parse_series_name
from tests.support import exports
from tests.support.ledgers import HOUR_START_MS
from tests.support.parquet_world import ParquetWorld, an_hour
from tests.support.scripted_server import scripted_server
from tests.support.worlds import HOUR

WEEK_MS = 7 * 24 * HOUR_MS
PREFIXES = {
    "block": "blocks/",
    "record": "commits/",
    "series": "series/",
    "receipt": "receipts/",
    "retention": "retention/",
    "rules": "rules/",
}


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three real jobs, sent and a week old, with every kind of object in the archive."""
    folder = tmp_path_factory.mktemp("done")
    with scripted_server() as server, exports.opened(folder, exports.scripted(server)) as pipeline:
        StoredRules(pipeline.ledger).edit_rules([RuleEdit("mine", "{}", 0)], author="ann", why="", now_ms=7)
        exports.derive(pipeline)
        for counts in sending.export(pipeline).values():
            assert not counts.error
    return folder


def aged(folder: Path) -> App:
    return exports.opened(folder, now_ms=exports.NOW_MS + WEEK_MS)


@pytest.fixture
def place(done: Path, tmp_path: Path) -> Path:
    shutil.copytree(done, tmp_path / "place")
    return tmp_path / "place"


def objects(folder: Path, kind: str = "") -> dict[str, bytes]:
    root = folder / "archive"
    found = {path.relative_to(root).as_posix(): path.read_bytes() for path in sorted(root.rglob("*")) if path.is_file()}
    return {key: data for key, data in found.items() if key.startswith(PREFIXES.get(kind, ""))}


def flip(path: Path, bit: int) -> None:
    data = bytearray(path.read_bytes())
    data[bit // 8 % len(data)] ^= 1 << bit % 8
    path.write_bytes(data)


def test_an_archive_that_is_as_it_was_written_has_no_damage(place: Path) -> None:
    with aged(place) as pipeline:
        report = upkeep.scrub(pipeline)
        assert (report.damaged, report.failures, report.left) == ([], [], 0)
        assert report.objects >= sum(key.startswith(("blocks", "commits", "series")) for key in objects(place))
        assert report.bytes > 100_000
        assert ScrubRecords(pipeline.ledger).count_damaged() == dict.fromkeys(DAMAGE_KINDS, 0)


@pytest.mark.parametrize("how", ["changed", "cut", "vanished"])
@pytest.mark.parametrize("kind", ["block", "record", "series", "receipt", "rules"])
def test_what_vanished_or_changed_is_found_and_put_back(place: Path, kind: str, how: str) -> None:
    before = objects(place)
    key = random.Random(f"{kind} {how}").choice(list(objects(place, kind)))
    path = place / "archive" / key
    if how == "changed":
        flip(path, 8 * (path.stat().st_size // 3))
    elif how == "cut":
        path.write_bytes(path.read_bytes()[:-1])
    else:
        path.unlink()
    with aged(place) as pipeline:
        [found] = upkeep.scrub(pipeline).damaged
        assert found.kind == kind
        assert key.startswith(found.key)
        assert found.key in found.message
        assert [one.key for one in ScrubRecords(pipeline.ledger).damaged()] == [found.key]
        [repaired] = runs.repair(pipeline, [found], run_id="repair")
        assert repaired.why_not == ""
        assert ScrubRecords(pipeline.ledger).damaged() == []
        assert upkeep.scrub(pipeline).damaged == []
    after = objects(place)
    if kind == "receipt":  # written anew, with the time of now
        assert len(after) == len(before)
    else:
        assert after == before


def test_a_record_of_retention_that_rotted_is_found_and_put_back(place: Path) -> None:
    with aged(place) as pipeline:
        assert upkeep.retain(pipeline, Keep(blocks=1), apply=True).expired
        before = objects(place)
        [key] = objects(place, "retention")
        assert upkeep.scrub(pipeline).damaged == []
        for spoil in (lambda path: flip(path, 100), Path.unlink):
            spoil(place / "archive" / key)
            [found] = upkeep.scrub(pipeline).damaged
            assert (found.kind, found.key) == ("retention", key)
            assert [one.why_not for one in runs.repair(pipeline, [found], run_id="repair")] == [""]
            assert objects(place) == before


def test_series_without_blocks_and_blocks_without_sources_stay_damaged_with_the_reason(place: Path) -> None:
    block, series = min(objects(place, "block")), min(objects(place, "series"))
    flip(place / "archive" / block, 8000)
    (place / "no_source" / "segments").mkdir(parents=True)
    with exports.opened(place, golden=replace(exports.GOLDEN, root=place / "no_source")) as pipeline:
        pipeline = replace(pipeline, clock=lambda: exports.NOW_MS + WEEK_MS)
        [repaired] = runs.repair(pipeline, upkeep.scrub(pipeline).damaged, run_id="repair")
        assert "sources" in repaired.why_not
        assert "are gone" in repaired.why_not
        assert [one.key for one in ScrubRecords(pipeline.ledger).damaged()] == [block]
        assert upkeep.retain(pipeline, Keep(blocks=1), apply=True).expired
        flip(place / "archive" / series, 8000)
        [repaired] = runs.repair(pipeline, upkeep.scrub(pipeline).damaged, run_id="repair")
        assert "retention" in repaired.why_not
        assert [one.key for one in ScrubRecords(pipeline.ledger).damaged()] == [series]


def test_hundreds_of_flipped_bits_are_never_read_as_other_values(done: Path) -> None:
    chance = random.Random(7)
    with aged(done) as pipeline:
        outputs = {
            one.key: one for job in ArchivedJobs(pipeline.ledger).archived_jobs([exports.HOUR]) for one in job.outputs
        }
    found = {kind: sorted(objects(done, kind).items()) for kind in PREFIXES}
    of_job = {parse_series_name(key)[0]: data for key, data in found["series"] if "dimension" in key}
    (piece,) = write_pieces(read_job_series(data, job) for job, data in of_job.items())
    found["merged"] = [("merged", piece.data)]
    good = {job: MergedFile(piece.data).read(job) for job in of_job}
    checked = 0
    for kind, flips in (("series", 400), ("merged", 100), ("record", 200), ("receipt", 100), ("block", 100)):
        files = found[kind]
        for number in range(flips):
            key, data = files[number % len(files)]
            bad = bytearray(data)
            # One flip in four hits the end, where footers and checksums are.
            bit = chance.randrange(8 * len(data) if number % 4 else 8 * min(800, len(data)))
            bad[-1 - bit // 8] ^= 1 << bit % 8
            try:
                if kind == "series":
                    same = parquet_to_series(bytes(bad), key).equals(parquet_to_series(data, key))
                    open_series(bytes(bad), key)
                elif kind == "merged":
                    merged = MergedFile(bytes(bad), key)
                    same = all(merged.read(job) == part for job, part in good.items())
                elif kind == "record":
                    same = parse_record(bytes(bad), key) == parse_record(data, key)
                elif kind == "receipt":
                    same = parse_receipts(bytes(bad), key, "j", "r") == parse_receipts(data, key, "j", "r")
                else:
                    check_block(bytes(bad), outputs[key])
                    same = False
            except (DamagedSeries, BadRecord) as error:
                assert key in str(error)
                checked += 1
            except PyroAssetsError as error:
                assert kind == "block", error
                checked += 1
            else:
                assert same, (key, bit)
    assert checked > 880


def test_a_damaged_file_of_series_costs_only_itself(place: Path) -> None:
    with aged(place) as pipeline:
        files = [file for _, file in FileRecords(pipeline.ledger).files_between(0, 2**60)]
    bad = files[0]
    path = place / "archive" / bad.key
    good = path.read_bytes()
    flip(path, 8 * (len(good) // 2))
    others = sum(file.rows for file in files) - bad.rows
    with scripted_server() as server, exports.opened(place, exports.scripted(server, "late")) as pipeline:
        counts = sending.export(pipeline, [exports.HOUR])["late"]
        # The job's other kind waits with it, every other job is there.
        assert (counts.jobs, bad.key in counts.error, "derive its job again" in counts.error) == (2, True, True)
        report = sending.write_files(pipeline, None, place / "out", "openmetrics", 0, 2**60)
        assert (report.samples, [bad.key in why for why in report.unreadable]) == (others, [True])
        shown = SeriesReader(pipeline.archive, pipeline.ledger).metrics(Asked(0, 2**60))
        assert [bad.key in why for why in shown.extent.unreadable] == [True]
        assert sum(one.samples for one in shown.rows) == others
        # A rule cannot be put into it, and the remedy works.
        assert runs.run(pipeline, [exports.HOUR], SERIES_STEPS, run_id="again")[exports.HOUR].run.derived == 3
        assert path.read_bytes() == good
        assert sending.export(pipeline, [exports.HOUR])["late"].error == ""
        assert sum(map(len, exports.got(server).values())) == others + bad.rows


def test_a_damaged_receipt_costs_only_its_job(place: Path) -> None:
    key = min(objects(place, "receipt"))
    flip(place / "archive" / key, 800)
    with scripted_server() as server, exports.opened(place, exports.scripted(server), ledger="new.db") as pipeline:
        rebuild(pipeline.ledger, pipeline.archive, exports.NOW_MS)
        counts = sending.export(pipeline)["r"]
        assert counts.jobs == 2
        assert key in counts.error
        assert not counts.fatal
        assert exports.got(server) == {}


def test_a_value_that_is_not_its_integer_is_rot(done: Path) -> None:
    key, data = next(iter(objects(done, "series").items()))
    frame = parquet_to_series(data, key)
    wrong = frame.with_columns(value=pl.col("value") + pl.when(pl.int_range(pl.len()) == 3).then(1.0).otherwise(0.0))
    with pytest.raises(DamagedSeries, match="for the same sample, the integer"):
        open_series(series_to_parquet(wrong), key)
    means = frame.with_columns(value_int=pl.lit(None, pl.Int64))
    assert len(open_series(series_to_parquet(means), key)) == len(frame)


def check_block(data: bytes, output: object) -> None:
    class One:
        def get_many(self, _infos: object) -> list[bytes]:
            return [data]

    read_committed(One(), [output])  # type: ignore[arg-type, list-item]


def test_pages_have_checksums_that_any_reader_of_parquet_can_verify(done: Path) -> None:
    import pyarrow as pa
    import pyarrow.parquet as pq

    data = bytearray(next(iter(objects(done, "series").values())))
    column = pq.read_metadata(pa.BufferReader(bytes(data))).row_group(0).column(4)
    begin = column.dictionary_page_offset or column.data_page_offset
    data[begin + column.total_compressed_size - 1] ^= 1
    with pytest.raises(OSError, match="CRC"):
        pq.ParquetFile(pa.BufferReader(bytes(data)), page_checksum_verification=True).read()


def test_files_from_before_checksums_are_read_and_guarded_from_the_first_scrub_on(place: Path) -> None:
    import pyarrow.parquet as pq

    path = place / "archive" / min(objects(place, "series"))
    table = pq.read_table(path, partitioning=None)
    pq.write_table(table.replace_schema_metadata(None), path, store_schema=False)
    key = path.relative_to(place / "archive").as_posix()
    with aged(place) as pipeline:
        with pipeline.ledger.write() as connection:
            values = f"size_bytes = {path.stat().st_size}, crc32c = NULL"
            connection.exec_driver_sql(f"UPDATE series_files SET {values} WHERE key = '{key}'")
        assert len(open_series(path.read_bytes(), key)) == table.num_rows
        assert upkeep.scrub(pipeline).damaged == []
        flip(path, 8 * (path.stat().st_size // 2))
        [found] = upkeep.scrub(pipeline).damaged
        assert "CRC-32C" in found.message


def test_other_bytes_of_the_same_profiles_are_taken_where_another_version_compacts_again(place: Path) -> None:
    key = min(objects(place, "block"))
    (place / "archive" / key).unlink()
    with aged(place) as pipeline:
        job = ScrubRecords(pipeline.ledger).job_of_block(key)
        assert job is not None
        other = tuple(replace(one, crc32c=1) for one in JobRecords(pipeline.ledger).look_up(job)[0].outputs)
        ScrubRecords(pipeline.ledger).replace_outputs(job, other)
        found = [one for one in upkeep.scrub(pipeline).damaged if one.kind == "block"]
        done = runs.repair(pipeline, [one for one in found if one.key == key], run_id="repair")
        assert [one.why_not for one in done] == [""]
        assert key not in {one.key for one in ScrubRecords(pipeline.ledger).damaged()}
        [record] = [
            one for one in map(parse_record, objects(place, "record").values(), objects(place)) if one.id == job
        ]
        assert record.outputs == JobRecords(pipeline.ledger).look_up(job)[0].outputs
        data = (place / "archive" / key).read_bytes()
        assert not read_blocks([RawObject(key, data)]).set_aside


@pytest.fixture
def world(tmp_path: Path) -> Iterator[ParquetWorld]:
    made = ParquetWorld(tmp_path)
    yield made
    made.ledger.close()


def many_hours(world: ParquetWorld, hours: int) -> list[str]:
    for number in range(hours):
        world.segment(-3600 * number, f"acme {number}")
    world.clock.forward(10)
    ticks.tick(world.pipeline)
    names = HourRecords(world.pipeline.ledger).hours()
    runs.run(world.pipeline, names, run_id="run")
    world.clock.now_ms = HOUR_START_MS + WEEK_MS
    return names


def test_a_night_looks_at_its_share_and_the_oldest_check_comes_first(world: ParquetWorld) -> None:
    hours = many_hours(world, 2 * NIGHTS)
    seen = []
    for _ in range(NIGHTS):
        seen += upkeep.scrub(world.pipeline).hours
        world.clock.forward(24 * 3600)
    assert seen == hours
    assert upkeep.scrub(world.pipeline).hours == hours[:2]
    # What is damaged comes before everything else, until it is not.
    bad = hours[40]
    key = next(key for key in world.archive.objects if key.startswith("commits/") and hour_path_of(bad) in key)
    good = world.archive.objects[key]
    world.archive.objects[key] = good[:-5]
    assert upkeep.scrub(world.pipeline, hours=[bad]).damaged
    world.archive.objects[key] = good
    assert upkeep.scrub(world.pipeline).hours == [bad, hours[2]]
    assert ScrubRecords(world.ledger).damaged() == []


def hour_path_of(hour: str) -> str:
    return f"/{hour[:10]}T{hour[11:13]}/"


def test_no_hour_is_begun_after_the_deadline_and_none_is_forgotten(world: ParquetWorld) -> None:
    hours = many_hours(world, 3)
    report = upkeep.scrub(world.pipeline, hours=hours, deadline_monotonic=0.0)
    assert (report.hours, report.left, report.objects) == ([], 3, 0)
    assert upkeep.scrub(world.pipeline, hours=hours).hours == hours


def test_an_archive_that_does_not_answer_is_no_damage(world: ParquetWorld) -> None:
    hours = many_hours(world, 2)

    def down(_method: str, key: str) -> None:
        if hour_path_of(hours[0]) in f"{key}/":
            raise StorageUnavailable("503", key=key)

    world.archive.before = down
    report = upkeep.scrub(world.pipeline, hours=hours)
    assert (report.hours, report.damaged, len(report.failures)) == ([hours[1]], [], 1)
    world.archive.before = None
    assert upkeep.scrub(world.pipeline).hours == [hours[0]]


def test_files_that_upkeep_moves_meanwhile_are_no_damage(world: ParquetWorld) -> None:
    an_hour(world)
    moved = []

    def move(method: str, key: str) -> None:
        if method == "read" and key.startswith("series/") and not moved:
            moved.append(key)
            assert upkeep.merge_series(world.pipeline).hours

    world.archive.before = move
    assert scrub(world.archive, world.ledger, world.clock, 0, hours=[HOUR]).damaged == []
    assert moved


def test_one_damaged_file_holds_up_the_merge_of_no_other_hour(world: ParquetWorld) -> None:
    hours = many_hours(world, 2)
    for number in range(2):
        world.segment(-3600 * number - 9, "acme 9", shard=5)
    world.clock.now_ms = HOUR_START_MS + WEEK_MS
    ticks.tick(world.pipeline)
    runs.run(world.pipeline, hours, run_id="run")
    world.clock.forward(24 * 3600)
    bad = next(key for key in world.archive.objects if key.startswith("series/") and hour_path_of(hours[0])[1:] in key)
    world.archive.objects[bad] = world.archive.objects[bad][:-1]
    report = upkeep.merge_series(world.pipeline)
    assert len(report.hours) == len(report.damaged) == 1
    assert bad in report.damaged[0]
    assert "derive its job again" in report.damaged[0]
    # Derived again, it is merged.
    runs.repair(world.pipeline, upkeep.scrub(world.pipeline, hours=hours).damaged, run_id="repair")
    world.clock.forward(24 * 3600)
    assert len(upkeep.merge_series(world.pipeline).hours) == 1
    assert world.ledger_values() == world.values()


def test_a_rebuilt_ledger_derives_rotten_series_again_and_knows_all_checksums(
    world: ParquetWorld, tmp_path: Path
) -> None:
    values = an_hour(world)
    key = next(key for key in world.archive.objects if key.startswith("series/"))
    good = world.archive.objects[key]
    world.archive.objects[key] = good[:500] + bytes([good[500] ^ 1]) + good[501:]
    world.ledger.close()
    world.ledger = type(world.ledger).open(str(tmp_path / "new.db"))
    world.pipeline = world.open()
    report = rebuild(world.ledger, world.archive, world.clock())
    assert [key in sentence for sentence in report.damaged_series] == [True]
    assert report.damaged == []
    assert world.tick_and_run().run.derived == 1
    assert world.archive.objects[key] == good
    assert world.values() == values
    files = [
        file
        for job in DueJobs(world.ledger).committed_jobs(HOUR)
        for file in JobRecords(world.ledger).look_up(job)[0].files
    ]
    assert {file.kind for file in files} == KINDS
    assert all(file.crc32c is not None for file in files)
    assert upkeep.scrub(world.pipeline, hours=[HOUR]).damaged == []


def test_an_hour_whose_rows_are_gone_is_looked_at_by_its_records(world: ParquetWorld) -> None:
    an_hour(world)
    world.clock.forward(48 * 3600)
    upkeep.merge_series(world.pipeline)
    upkeep.retain(world.pipeline, Keep(ledger=1), apply=True)
    assert not DueJobs(world.ledger).committed_jobs(HOUR)
    assert upkeep.scrub(world.pipeline).damaged == []
    for kind, prefix in (("block", "blocks/"), ("record", "commits/"), ("series", "series_table/")):
        key = next(key for key in world.archive.objects if key.startswith(prefix))
        good = world.archive.objects[key]
        world.archive.objects[key] = good[:-1]
        found = upkeep.scrub(world.pipeline, hours=[HOUR]).damaged
        assert (kind, key) in {(one.kind, one.key) for one in found}
        world.archive.objects[key] = good
    assert upkeep.scrub(world.pipeline, hours=[hour_of(HOUR_START_MS)]).damaged == []
