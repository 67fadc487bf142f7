"""The blocks of an hour become one: whoever asks finds every job once, whatever happens in between."""

import contextlib
import json
import shutil
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from pyro_assets.archive import hours
from pyro_assets.archive.hours import HourCompaction, compact_hour_blocks
from pyro_assets.archive.rebuild import rebuild
from pyro_assets.archive.repair import Repairer
from pyro_assets.archive.retain import DAY_MS, Keep, retain
from pyro_assets.archive.scrub import scrub
from pyro_assets.archive.units import hours_to_compact, read_units
from pyro_assets.block.columns import BlockColumns
from pyro_assets.block.reader import RawObject, read_blocks
from pyro_assets.ledger.hour_blocks import HourBlockRecords, HourUnit
from pyro_assets.ledger.hours import HourRecords
from pyro_assets.storage.keys import HOUR_MS, hour_start_ms
from tests.support import fakes, golden_bucket
from tests.support.cli_runner import places, run
from tests.support.worlds import FaultyLedger

GOLDEN = golden_bucket.committed()


class Hours:
    """Real jobs in an archive in memory; `job_of` is where a sample is from."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.ledger = FaultyLedger.open(f"{folder / 'ledger.db'}")
        self.archive = fakes.MemoryBucket(url="memory://archive")
        self.load()
        self.hour = HourRecords(self.ledger).hours()[0]
        self.now_ms = hour_start_ms(self.hour) + 2 * HOUR_MS

    def load(self) -> None:
        """Puts what the folder holds into the archive."""
        root = self.folder / "archive"
        self.archive.objects |= {
            path.relative_to(root).as_posix(): path.read_bytes() for path in root.rglob("*") if path.is_file()
        }

    def copy(self, folder: Path) -> "Hours":
        shutil.copytree(self.folder, folder)
        return Hours(folder)

    def compact(self) -> HourCompaction:
        return compact_hour_blocks(self.archive, self.ledger, self.hour, self.now_ms)

    def units(self) -> list[HourUnit]:
        return HourBlockRecords(self.ledger).units(self.hour)

    def read(self) -> Counter[Any]:
        """Profiles with their tenants as a reader finds them who follows the ledger: from units, or by job."""
        with self.ledger.read() as connection:
            keys = list(connection.exec_driver_sql("SELECT key FROM outputs WHERE hour_unit IS NULL").scalars())
        keys += [one.key for unit in self.units() for one in unit.of_kind("block")]
        return profiles_of(self.archive.objects[key] for key in keys)

    def level1(self) -> Counter[Any]:
        """The same of all jobs' own blocks."""
        return profiles_of(data for key, data in self.archive.objects.items() if key.startswith("blocks/"))

    def made(self) -> dict[str, bytes]:
        return {key: data for key, data in self.archive.objects.items() if key.startswith("hour_blocks/")}


def profiles_of(blocks: Any) -> Counter[Any]:
    objects = [RawObject(f"blocks/1/x/{number}/block.bin", data) for number, data in enumerate(blocks)]
    columns: BlockColumns = read_blocks(objects, isolate=False).columns
    rows = columns.rows
    tenants = [one.tenant for one in columns.datasets for _ in range(1)]
    bounds = zip(tenants, rows.dataset_start[:-1].tolist(), rows.dataset_start[1:].tolist(), strict=True)
    return Counter(
        (tenant, columns.series.labels[rows.series[row]], int(rows.time_ns[row]), int(rows.total_value[row]))
        for tenant, begin, end in bounds
        for row in range(begin, end)
    )


def do(folder: Path, jobs: list[list[str]]) -> None:
    """Has some jobs done by the command line."""
    (folder / "jobs.json").write_text(json.dumps(jobs))
    result = run("run", "--jobs", folder / "jobs.json", "--source-url", GOLDEN.root, *places(folder))
    assert result.exit_code == 0, result.output


#: The sources of every job in four, so that there are several jobs of a shard and tenant.
JOBS = [job[begin::4] for job in GOLDEN.jobs for begin in range(4)]


@pytest.fixture(scope="module")
def done(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An archive of jobs, and the same without those that come last."""
    folder = tmp_path_factory.mktemp("hours")
    do(folder, JOBS[:-1])
    return folder


@pytest.fixture
def world(done: Path, tmp_path: Path) -> Iterator[Hours]:
    shutil.copytree(done, tmp_path / "world")
    made = Hours(tmp_path / "world")
    yield made
    made.ledger.close()


def test_an_hour_that_is_over_becomes_blocks_of_its_tenants_and_shards(world: Hours):
    expected = world.level1()
    assert hours_to_compact(world.ledger, world.now_ms, 0) == [world.hour]
    report = world.compact()
    assert (report.is_done, report.damaged, report.profiles) == (True, [], sum(expected.values()))
    units = world.units()
    assert report.units == len(units) == len({(unit.shard, unit.tenant) for unit in units})
    assert max(len(unit.jobs) for unit in units) == 3
    assert [len(unit.objects) for unit in units] == [2] * len(units)
    assert world.read() == expected
    assert sum(len(unit.jobs) for unit in units) == report.blocks
    assert report.size_after_bytes < report.size_before_bytes
    # What is done is not done again.
    objects = dict(world.archive.objects)
    assert hours_to_compact(world.ledger, world.now_ms, 0) == []
    assert world.compact().units == 0
    assert world.archive.objects == objects


def test_a_job_that_comes_later_replaces_the_blocks_of_its_hour(world: Hours, done: Path, tmp_path: Path):
    world.compact()
    before = world.made()
    do(world.folder, JOBS[-1:])
    world.load()
    expected = world.level1()
    # It counts at once, by itself.
    assert world.read() == expected
    assert hours_to_compact(world.ledger, world.now_ms, 0) == [world.hour]
    report = world.compact()
    assert report.is_done
    assert 0 < report.units < len(world.units())
    assert world.read() == expected
    # Nothing is left of what was replaced, and all is as if the job had been there from the beginning.
    assert len(world.made()) == len(before)
    other = tmp_path / "other"
    shutil.copytree(done, other)
    do(other, JOBS[-1:])
    together = Hours(other)
    together.compact()
    assert together.made() == world.made()
    together.ledger.close()


def test_where_blocks_of_jobs_are_gone_a_later_job_gets_a_unit_of_its_own(world: Hours):
    world.compact()
    before = set(world.units())
    with world.ledger.write() as connection:
        connection.exec_driver_sql("UPDATE jobs SET blocks_removed_ms = 1")
    do(world.folder, JOBS[-1:])
    early = [key for key in world.archive.objects if key.startswith("blocks/")]
    world.load()
    expected = world.level1()
    for key in early:
        del world.archive.objects[key]
    assert world.compact().is_done
    assert before < set(world.units())
    assert world.read() == expected
    assert set(read_units(world.archive, world.hour)) == set(world.units())


def test_an_hour_that_is_not_at_rest_is_left(world: Hours):
    with world.ledger.write() as connection:
        connection.exec_driver_sql("UPDATE jobs SET state = 'compacted' WHERE id = (SELECT min(id) FROM jobs)")
    report = world.compact()
    assert (report.units, report.is_done, world.made()) == (0, False, {})


def test_a_damaged_block_holds_up_its_own_tenant_and_shard_only(world: Hours):
    key = min(key for key in world.archive.objects if key.startswith("blocks/"))
    good = world.archive.objects[key]
    world.archive.objects[key] = good[:-1] + bytes([good[-1] ^ 1])
    report = world.compact()
    assert not report.is_done
    assert key in report.damaged[0]
    assert len(report.damaged) == 1
    assert world.units()
    assert hours_to_compact(world.ledger, world.now_ms, 0) == [world.hour]
    world.archive.objects[key] = good
    assert world.compact().is_done
    assert world.read() == world.level1()


def test_what_is_read_back_otherwise_does_not_count(world: Hours, monkeypatch: pytest.MonkeyPatch):
    real = hours.compact_hour

    def forgetful(objects: Any, job_ms: Any, *arguments: Any, **how: Any) -> Any:
        made = real(objects, job_ms, *arguments, **how)
        return replace(real(objects[:1], job_ms[:1], *arguments, **how), sources=made.sources)

    monkeypatch.setattr(hours, "compact_hour", forgetful)
    report = world.compact()
    assert "other profiles" in report.damaged[0]
    assert world.read() == world.level1()
    monkeypatch.setattr(hours, "compact_hour", real)
    monkeypatch.setattr(hours, "merge_summaries", lambda summaries: RawBlock(summaries[0]))
    monkeypatch.setattr(hours, "_TOGETHER_BYTES", 30_000)
    report = world.compact()
    assert "adds up to something else" in report.damaged[0]


class RawBlock:
    """What a merge would give that forgets all but the first."""

    def __init__(self, raw: RawObject) -> None:
        self.id, self.data = raw.object_key, raw.data


@pytest.mark.parametrize("bound", ["bytes", "memory"])
def test_a_large_hour_becomes_several_blocks(world: Hours, monkeypatch: pytest.MonkeyPatch, bound: str):
    expected = world.level1()
    monkeypatch.setattr(hours, "_TOGETHER_BYTES", 1 if bound == "bytes" else 1 << 20)
    if bound == "memory":
        monkeypatch.setattr(hours, "_MOST_MEMORY_BYTES", 1)
    report = world.compact()
    assert report.is_done
    (unit, *_) = world.units()
    assert len(unit.of_kind("block")) == len(unit.jobs) > 1
    # Summaries are put together until one is large.
    assert len(unit.of_kind("summary")) == (len(unit.jobs) if bound == "bytes" else 1)
    assert world.read() == expected


@pytest.mark.parametrize("what", ["archive", "ledger"])
def test_killed_after_every_step(world: Hours, tmp_path: Path, what: str):
    expected = world.level1()
    reference = world.copy(tmp_path / "reference")
    reference.compact()
    finished = False
    for step in range(0, 400, 3):
        # In the world itself: what one death left is there for the next.
        calls = iter(range(10_000))

        def die(method: str, key: str, calls: Any = calls, step: int = step) -> None:
            if method not in ("read", "get_range", "list_after") and next(calls) == step % 25:
                raise fakes.Killed(f"{method} {key}")

        if what == "archive":
            world.archive.before = die
        else:
            world.ledger.kill_at = world.ledger.writes + step % 11
        with contextlib.suppress(fakes.Killed):
            finished = world.compact().is_done
        world.archive.before = world.ledger.kill_at = None
        assert world.read() == expected, step
        if finished:
            break
    assert finished
    assert world.made() == reference.made()
    assert list(map(repr, world.units())) == list(map(repr, reference.units()))
    reference.ledger.close()


def test_a_lost_ledger_is_told_by_the_records(world: Hours, tmp_path: Path):
    world.compact()
    before = sorted(map(repr, world.units()))
    world.ledger.close()
    world.ledger = FaultyLedger.open(f"{tmp_path / 'new.db'}")
    rebuild(world.ledger, world.archive, world.now_ms)
    assert sorted(map(repr, world.units())) == before
    assert world.read() == world.level1()
    objects = dict(world.archive.objects)
    assert world.compact().units == 0
    assert world.archive.objects == objects


def test_a_damaged_record_costs_a_compaction(world: Hours, tmp_path: Path):
    world.compact()
    made = world.made()
    key = min(key for key in made if key.endswith("/record.json"))
    world.archive.objects[key] = made[key].replace(b"objects", b"objectz")
    world.ledger.close()
    world.ledger = FaultyLedger.open(f"{tmp_path / 'new.db'}")
    report = rebuild(world.ledger, world.archive, world.now_ms)
    assert key in report.damaged_series[-1]
    assert world.read() == world.level1()
    assert world.compact().is_done
    assert world.made() == made


def retained(world: Hours, days: int, **keep: float) -> dict[str, int]:
    now_ms = world.now_ms + days * DAY_MS
    report = retain(world.archive, world.ledger, Keep(**keep), {}, now_ms, apply=True)
    return {one.what: one.objects for one in report.expired}


def test_level1_blocks_may_go_earlier_where_the_hour_has_its_own(world: Hours):
    expected = world.level1()
    count = sum(key.startswith("blocks/") for key in world.archive.objects)
    # Without blocks of the hour they stay.
    assert retained(world, 3, level1=2) == {}
    world.compact()
    made = world.made()
    assert retained(world, 1, level1=2) == {}
    assert retained(world, 3, level1=2) == {"blocks": count}
    assert sum(world.level1().values()) == 0
    assert profiles_of(data for key, data in made.items() if key.endswith("/block.bin")) == expected
    assert world.made() == made
    objects = len(HourBlockRecords(world.ledger).objects(world.hour))
    assert retained(world, 9, level1=2, blocks=10) == {}
    assert retained(world, 11, level1=2, blocks=10) == {"hour blocks": objects}
    assert (world.made(), world.units()) == ({}, [])
    assert retained(world, 12, level1=2, blocks=10) == {}


def test_blocks_of_an_hour_go_with_those_of_its_jobs(world: Hours):
    world.compact()
    objects = len(HourBlockRecords(world.ledger).objects(world.hour))
    found = retained(world, 3, blocks=2)
    assert found["hour blocks"] == objects
    assert world.made() == {}
    assert world.compact().is_done
    assert world.made() == {}


@pytest.mark.parametrize("what", ["archive", "ledger"])
def test_retention_killed_after_every_step(world: Hours, what: str):
    world.compact()
    for step in range(40):
        calls = iter(range(10_000))

        def die(method: str, key: str, calls: Any = calls, step: int = step) -> None:
            if method in ("remove", "replace") and next(calls) == step // 2:
                raise fakes.Killed(f"{method} {key}")

        if what == "archive":
            world.archive.before = die
        else:
            world.ledger.kill_at = world.ledger.writes + step % 9
        with contextlib.suppress(fakes.Killed):
            retained(world, 3, blocks=2)
        world.archive.before = world.ledger.kill_at = None
        # Whatever the ledger names is there.
        named = {one.key for unit in world.units() for one in unit.objects}
        assert named <= set(world.archive.objects), step
    retained(world, 3, blocks=2)
    assert world.made() == {}
    assert HourBlockRecords(world.ledger).objects(world.hour) == []


def test_an_object_that_vanished_is_made_again(world: Hours):
    expected = world.level1()
    world.compact()
    made = world.made()
    key = min(key for key in made if key.endswith("/summary.bin"))
    world.archive.objects[key] = made[key][:-1] + b"?"
    report = scrub(world.archive, world.ledger, lambda: world.now_ms, 0)
    assert [(one.kind, one.key) for one in report.damaged] == [("hour", key)]
    repairer = Repairer(world.archive, world.ledger, Any, Any, lambda: world.now_ms)
    assert [one.why_not for one in repairer.repair(report.damaged)] == [""]
    assert (world.made(), world.read()) == (made, expected)
    del world.archive.objects[key]
    with world.ledger.write() as connection:
        connection.exec_driver_sql("UPDATE hour_upkeep SET hour_blocks_ms = NULL")
    assert key in world.compact().damaged[0]
    assert world.compact().is_done
    assert (world.made(), world.read()) == (made, expected)
