"""`python -m tests.bench.pool`: how much quicker a backfill is with several processes, on real jobs repeated.

Copies the bucket's segments under shifted times and other shards until there are enough jobs, then does all of them
with one process and with each number asked for, from an empty archive and ledger, everything included. Prints jobs a
second and the ratio, and what the ratio were by CPU time, which counts on a machine that others use (`--cpu`); exits 1
when it is below what is required.
"""

import argparse
import json
import os
import sys
import tempfile
from hashlib import sha256
from pathlib import Path

from pyro_assets.app import open_app
from pyro_assets.jobs.pool import cores
from pyro_assets.operations import runs
from pyro_assets.rules.config import parse_config
from pyro_assets.settings import Settings
from tests.bench.spent import Spent, spending
from tests.bench.work import find_sets

REQUIRED = 1.7


def repeat(source: Path, target: Path, copies: int) -> list[list[str]]:
    """Links a bucket's segments into other shards, `copies` times; the jobs of all of them.

    Readers take a block's shard from its key, so the same bytes may stand in several.
    """
    jobs = []
    for copy in range(copies):
        for job in json.loads((source / "jobs.json").read_text()):
            keys = []
            for key in job:
                kind, shard, *rest = key.split("/")
                keys.append("/".join((kind, str(int(shard) + 100 * copy), *rest)))
                path = target / keys[-1]
                path.parent.mkdir(parents=True)
                os.link(source / key, path)
            jobs.append(keys)
    return jobs


def digest(archive: Path) -> str:
    """Of all objects of an archive and their keys."""
    total = sha256()
    for path in sorted(archive.rglob("*")):
        if path.is_file():
            total.update(str(path.relative_to(archive)).encode() + path.read_bytes())
    return total.hexdigest()


def run(bucket: Path, folder: Path, jobs: list[list[str]], rules: str, workers: int) -> tuple[Spent, str]:
    """What all jobs took, and what came out."""
    folder.mkdir()
    with (
        spending() as spent,
        open_app(
            str(bucket),
            str(folder / "archive"),
            str(folder / "ledger.db"),
            settings=Settings(workers=workers),
            config=parse_config(rules, "rules.json"),
        ) as pipeline,
    ):
        reports = runs.run_exact(pipeline, jobs, run_id="bench")
    assert sum(report.run.derived for report in reports.values()) == len(jobs)
    return spent, digest(folder / "archive")


def main() -> int:
    """Measures and prints."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--copies", type=int, default=60)
    parser.add_argument("--workers", type=int, nargs="*", default=[2])
    parser.add_argument("--cpu", action="store_true", help="judge by CPU time")
    parser.add_argument("--folder", help="where to work; on the file system of the data, or it is copied")
    options = parser.parse_args()
    source = find_sets()["bucket-2026"]
    rules = (source / "rules.json").read_text()
    with tempfile.TemporaryDirectory(dir=options.folder) as name:
        folder = Path(name)
        jobs = repeat(source, folder / "bucket", options.copies)
        one, expected = run(folder / "bucket", folder / "one", jobs, rules, 1)
        print(f"{len(jobs)} jobs, 1 process: {one.wall:.2f} s, {len(jobs) / one.wall:.1f} jobs/s; CPU {one.cpu:.2f} s")
        worst = 99.0
        for workers in options.workers:
            several, found = run(folder / "bucket", folder / str(workers), jobs, rules, workers)
            assert found == expected, "other bytes came out"
            ratio, free = one.wall / several.wall, one.cpu / several.on_free_cores(workers, cores())
            worst = min(worst, free if options.cpu else ratio)
            print(f"{len(jobs)} jobs, {workers} processes: {several.wall:.2f} s, {ratio:.2f} times, equal bytes")
            print(f"CPU {several.own:.2f} s and {several.children:.2f} s: {free:.2f} times where the cores are free")
    return int(worst < REQUIRED)


if __name__ == "__main__":
    sys.exit(main())
