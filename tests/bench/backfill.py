"""`python -m tests.bench.backfill` (`make estimate`): how long a day of one shard takes to backfill, from one hour.

Makes an hour of one shard with the generator (7,200 segments of 22 kB, two a second), lets a tick find and plan them,
and does all jobs with a process for each core: blocks, dimension series and five functions. A day is 24 of these hours
one after the other, since jobs and hours do not depend on each other.
"""

import argparse
import sys
import tempfile
import threading
import time
from pathlib import Path

from pyro_assets.app import open_app
from pyro_assets.demo.layout import FUNCTIONS
from pyro_assets.generator.generate import generate_past
from pyro_assets.generator.manifest import ManifestWriter
from pyro_assets.generator.segments import Recipe, SegmentMaker
from pyro_assets.jobs.pool import cores
from pyro_assets.operations import runs, ticks
from pyro_assets.rules.config import parse_config
from pyro_assets.settings import Settings
from pyro_assets.storage.bucket import open_bucket
from pyro_assets.storage.keys import HOUR_MS, hour_of, hour_start_ms
from tests.bench.spent import Spent, spending

_DAY_HOURS = 24


def main() -> int:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--minutes", type=float, default=60.0, help="measure a part of the hour")
    parser.add_argument("--rate", type=float, default=2.0, help="segments per second")
    parser.add_argument("--workers", type=int, default=cores())
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        end_ms = hour_start_ms(hour_of(time.time_ns() // 1_000_000))
        start_ms = end_ms - HOUR_MS
        made, size_bytes = make(folder, start_ms, start_ms + round(options.minutes * 60_000), options.rate)
        print(f"{made} segments of {size_bytes / made / 1000:.1f} kB, one shard; {options.workers} processes")
        planning, work, jobs = run(folder, hour_of(start_ms), options.workers)
    share = options.minutes / 60
    print(f"finding and planning: {planning.wall:.1f} s")
    print(f"{jobs} jobs: {work.wall:.1f} s, {made / work.wall:.0f} segments/s")
    free = planning.own + work.on_free_cores(options.workers, cores())
    print(f"CPU: run {work.own:.1f} s, its processes {work.children:.1f} s: {free:.1f} s where the cores are free")
    for text, hour in (("measured", (planning.wall + work.wall) / share), ("free cores", free / share)):
        minutes = hour * _DAY_HOURS / 60
        print(f"a day of one shard ({made / share * _DAY_HOURS:,.0f} segments), {text}: {minutes:.1f} min")
    return 0


def make(folder: Path, start_ms: int, end_ms: int, rate: float) -> tuple[int, int]:
    """Fills a bucket; segments and bytes."""
    recipe = Recipe(seed=7, shards=1)
    manifest = ManifestWriter(folder / "manifest.jsonl", recipe.seed, list(FUNCTIONS))
    bucket = open_bucket(str(folder / "bucket"), True)
    made = generate_past(
        SegmentMaker(recipe), bucket, manifest, start_ms=start_ms, end_ms=end_ms, rate=rate, stop=threading.Event()
    )
    return made.segments, made.size_bytes


def run(folder: Path, hour: str, workers: int) -> tuple[Spent, Spent, int]:
    """What ticks and the run took, and the number of jobs."""
    config = parse_config(f"functions: {dict(FUNCTIONS)!r}", "series.yaml")
    settings = Settings(workers=workers)
    urls = (str(folder / "bucket"), str(folder / "archive"), str(folder / "ledger.db"))
    with open_app(*urls, settings=settings, config=config) as pipeline:
        with spending() as planning:
            while ticks.tick(pipeline).truncated:
                continue
        with spending() as work:
            report = runs.run(pipeline, [hour], run_id="bench")[hour]
    assert not report.run.errors
    assert report.pending == 0
    return planning, work, report.run.derived


if __name__ == "__main__":
    sys.exit(main())
