"""Lanes: several runs at once, each with its share of the shards, and what becomes of a change of their number."""

import json
import shutil
import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from pyro_assets.app import App, open_app
from pyro_assets.errors import SettingsError
from pyro_assets.ledger.hours import HourRecords
from pyro_assets.ledger.records import Lane
from pyro_assets.operations import runs, sending, ticks
from pyro_assets.planning.due import DueJobs
from pyro_assets.rules.config import SeriesConfig
from pyro_assets.settings import KINDS, Settings
from tests.support import golden_bucket
from tests.support.exports import scripted
from tests.support.ledgers import HOUR
from tests.support.scripted_server import scripted_server
from tests.support.worlds import World

GOLDEN = golden_bucket.committed()
SHARDS = (1, 2, 3, 4, 5, 6)


def bucket_of(folder: Path) -> Path:
    """The golden segments, once in each of some shards: readers take a block's shard from its key."""
    root = folder / "bucket"
    for job in GOLDEN.jobs:
        for key in job:
            kind, _, *rest = key.split("/")
            for shard in SHARDS:
                path = root / kind / str(shard) / Path(*rest)
                path.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(GOLDEN.root / key, path)
    return root


def opened(bucket: Path, folder: Path, lanes: int = 1) -> App:
    settings = Settings(lanes=lanes, job_age_seconds=0)
    return open_app(
        str(bucket), str(folder / "archive"), str(folder / "ledger.db"), settings=settings, config=SeriesConfig()
    )


def at_once(bucket: Path, folder: Path, lanes: Sequence[Lane]) -> dict[str, int]:
    """Runs of these lanes at the same time; jobs by state of the bucket's hours afterwards, and what was done."""
    done: list[int] = []
    with opened(bucket, folder) as pipeline:
        ticks.tick(pipeline)
        hours = HourRecords(pipeline.ledger).hours()

    def work(number: int, lane: Lane) -> None:
        with opened(bucket, folder) as mine:
            done.extend(
                report.run.derived for report in runs.run(mine, hours, run_id=f"run{number}", lane=lane).values()
            )

    threads = [threading.Thread(target=work, args=item) for item in enumerate(lanes)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with opened(bucket, folder) as pipeline:
        reports = [runs.hour_report(pipeline, hour) for hour in hours]
        assert not any(report.pending or report.undone_jobs for report in reports)
        states = {state: count for report in reports for state, count in report.jobs_by_state.items()}
    return states | {"done": sum(done)}


def objects(folder: Path) -> dict[str, bytes]:
    root = folder / "archive"
    return {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}


@pytest.mark.parametrize(
    "lanes",
    [
        [Lane(0, 2), Lane(1, 2)],
        # The number of lanes changed while runs of before were there: they overlap, and claims keep them apart.
        [Lane(0, 2), Lane(1, 2), Lane(0, 3), Lane(2, 3), Lane(1, 3), Lane()],
    ],
    ids=["two", "changed"],
)
def test_lanes_at_once_do_everything_once(tmp_path: Path, lanes: list[Lane]):
    bucket = bucket_of(tmp_path)
    one = at_once(bucket, tmp_path / "one", [Lane()])
    several = at_once(bucket, tmp_path / "several", lanes)
    assert several == one
    assert one["done"] == one["derived"] >= len(SHARDS)
    assert objects(tmp_path / "several") == objects(tmp_path / "one")
    records = [json.loads(data) for key, data in objects(tmp_path / "several").items() if key.startswith("commits/")]
    sources = [source["key"] for record in records for source in record["sources"]]
    assert sorted(sources) == sorted(str(path.relative_to(bucket)) for path in bucket.rglob("block.bin"))


def test_a_tick_says_what_is_due_in_each_lane(tmp_path: Path):
    world = World(tmp_path, Settings(lanes=3, job_blocks=1))
    for shard in range(1, 13):
        world.segment(-30, shard=shard)
    tick = ticks.tick(world.pipeline)
    assert tick.due == {HOUR: 12}
    assert [lane[HOUR] for lane in tick.lanes] == [4, 4, 4]
    due, now_ms = DueJobs(world.ledger), world.clock()
    assert [due.due_hours(now_ms, KINDS, Lane(index, 3)) for index in range(3)] == list(tick.lanes)
    runs.run(world.pipeline, [HOUR], run_id="run", lane=Lane(1, 3))
    assert ticks.tick(world.pipeline).lanes == ({HOUR: 4}, {}, {HOUR: 4})
    assert ticks.tick(World(tmp_path / "single").pipeline).lanes == ()
    world.ledger.close()


def test_a_lane_sends_its_shards_only(tmp_path: Path):
    bucket = bucket_of(tmp_path)
    jobs = at_once(bucket, tmp_path, [Lane()])
    with scripted_server() as server, opened(bucket, tmp_path, lanes=2) as pipeline:
        receivers = (scripted(server),)
        pipeline = replace(pipeline, receivers=lambda: receivers)
        hours = HourRecords(pipeline.ledger).hours()
        sent = []
        for index in range(2):
            waiting = sum(sum(lane.values()) for lane in ticks.tick(pipeline).lanes)
            counts = sending.exporter(pipeline, hours, explicit=False, lane=Lane(index, 2)).finish()["r"]
            assert counts.error == ""
            sent.append(counts.jobs)
            assert waiting - sum(sum(lane.values()) for lane in ticks.tick(pipeline).lanes) == counts.jobs
    assert sum(sent) == jobs["derived"]
    assert all(sent)


@pytest.mark.parametrize("lanes", [0, -1])
def test_a_number_of_lanes_that_cannot_be(lanes: int):
    with pytest.raises(SettingsError, match=r"LANES is .*1 or more"):
        Settings(lanes=lanes)
