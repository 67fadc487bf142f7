"""An archive and a ledger as this version writes them, small, to be kept and read by every later one.

`python -m tests.archive.writing FOLDER/VERSION` makes what is then put into `written` for a release, with its passport.
Programs, times and rules are made up; what later versions must do with it is said by `test_written.py`.
"""

import hashlib
import shutil
import sqlite3
import sys
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from typing import Final

from pyro_assets.app import App, open_app
from pyro_assets.archive.publish import publish
from pyro_assets.archive.retain import Keep
from pyro_assets.generator.fleet import SERVICES
from pyro_assets.generator.generate import generate_past
from pyro_assets.generator.manifest import ManifestWriter
from pyro_assets.generator.segments import Recipe, SegmentMaker
from pyro_assets.operations import runs, sending, ticks, upkeep
from pyro_assets.operations.decide import decide
from pyro_assets.rules.config import parse_config
from pyro_assets.rules.in_force import plan_edits
from pyro_assets.rules.stored import StoredRules
from pyro_assets.settings import Settings
from pyro_assets.storage.bucket import open_bucket
from pyro_assets.storage.keys import HOUR_MS, hour_start_ms
from pyro_assets.storage.ulid import ulid_time_ms
from tests.golden import passport
from tests.support.cli_runner import run
from tests.support.exports import scripted
from tests.support.scripted_server import scripted_server

#: An hour whose blocks and rows are removed, one whose series enter the table, one whose series stay files of jobs.
HOURS: Final = ("2026-11-20-09:00", "2026-11-25-09:00", "2026-11-25-10:00")
RULES: Final = """\
dimensions: {selectors: ["{}"]}
functions: {"runtime.gcDrain": "{}"}
"""
#: A rule of the ledger, in two versions.
RULE: Final = """\
rules:
- {name: memory, functions: [{glob: "runtime.*"}], by: [service_name], description: "version %d"}
"""
BUCKET, ARCHIVE, LEDGER, PASSPORT = "bucket", "archive", "ledger.sql", "PASSPORT.md"
_PASSPORT: Final = """\
# Written by release {version}

* **Origin.** `python -m tests.archive.writing FOLDER/{version}` by the release of that number, then moved
  here: segments by the project's own generator, everything else by the pipeline. Nothing of anybody else's is in it.
* **Content.** `bucket`: segments of the hours {hours[1]} (one cut off, one deleted before it was read) and
  {hours[2]}. `archive`: of {hours[0]} commit record, receipt and what retention leaves;
  of {hours[1]} blocks, a block of the hour, and series in the table; of {hours[2]}
  blocks, and series as files; a rule in three versions; a decision. `ledger.sql`: the ledger, dumped.
* **What it proves.** Later versions open, compare, derive again and rebuild all of it, to the same series.
* **Licence.** As the rest of this repository.
* **How to renew.** Never; the next release adds a folder of its own.

{series} series, SHA-256 of their lines: {digest}

| file | bytes | sha256 |
|---|---|---|
{files}
"""


def opened(folder: Path, ledger: Path, now_ms: list[int]) -> App:
    """The app over a folder like this, at a time."""
    return open_app(
        str(folder / BUCKET),
        str(folder / ARCHIVE),
        str(ledger),
        settings=Settings(start_date="2026-01-01-00:00"),
        config=parse_config(RULES, "rules"),
        clock=lambda: now_ms[0],
    )


def write(folder: Path) -> None:
    """Fills an empty folder."""
    folder.mkdir(parents=True)
    now_ms, ledger = [0], folder / "ledger.db"
    recipe = Recipe(seed=7, shards=1, uploads=1, retry_share=0.2, services=SERVICES[-2:])
    maker = SegmentMaker(recipe)
    manifest = ManifestWriter(folder / "manifest.jsonl", recipe.seed, recipe.functions)
    (folder / BUCKET).mkdir()
    with closing(manifest), scripted_server() as server:
        receiver = scripted(server, "local", start=HOURS[0])
        for number, hour in enumerate(HOURS):
            begin_ms = hour_start_ms(hour)
            end_ms = begin_ms + HOUR_MS
            bucket = open_bucket(str(folder / BUCKET), True)
            generate_past(maker, bucket, manifest, start_ms=begin_ms, end_ms=end_ms, rate=0.00095)
            now_ms[0] = end_ms + 600_000
            with opened(folder, ledger, now_ms) as base:
                plan = plan_edits(
                    parse_config(RULE % number, "rule").rules,
                    StoredRules(base.ledger).rules(),
                    parse_config("", "none"),
                )
                StoredRules(base.ledger).edit_rules(plan.edits, author="tests", why="made up", now_ms=now_ms[0])
            with opened(folder, ledger, now_ms) as base:
                app = replace(base, receivers=lambda: (receiver,))
                _work(folder, app, hour)
                if number == 1:
                    now_ms[0] += 600_000
                    upkeep.merge_series(app)
                    upkeep.compact_hours(app, [hour])
                    upkeep.retain(app, Keep(blocks=4, series=4, ledger=4), apply=True)
                    publish(app.archive, open_bucket(str(folder / "copy"), True), begin_ms, end_ms)
    with closing(sqlite3.connect(ledger)) as database:
        (folder / LEDGER).write_text("\n".join([*database.iterdump(), ""]), "utf-8")
    # As Pyroscope's own retention would: what is committed needs its segments no more.
    for path in list((folder / BUCKET).rglob("block.bin")):
        if ulid_time_ms(path.parent.name) < hour_start_ms(HOURS[1]):
            shutil.rmtree(path.parent)
    for left in list(folder.iterdir()):
        if left.name not in (BUCKET, ARCHIVE, LEDGER):
            shutil.rmtree(left) if left.is_dir() else left.unlink()


def series_of(folder: Path) -> list[str]:
    """The series of an archive as `pyro-assets series` prints them, a line each, in a fixed order."""
    result = run("series", "--archive-url", folder / ARCHIVE, "--json")
    assert result.exit_code == 0, result.output
    return sorted(result.stdout.splitlines())


def digest_of(lines: list[str]) -> str:
    """What stands in the passport for them."""
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def _work(folder: Path, app: App, hour: str) -> None:
    """One segment is cut off, one vanishes before it is read, a person lets go of the first."""
    segments = sorted((folder / BUCKET / "segments" / "1" / "anonymous").rglob("block.bin"))
    of_hour = [path for path in segments if path.stat().st_size]
    if hour == HOURS[1]:
        broken, gone = of_hour[-1], of_hour[-2]
        broken.write_bytes(broken.read_bytes()[:-100])
        ticks.tick(app)
        gone.unlink()
    else:
        ticks.tick(app)
    ticks.list_hours(app, [hour])
    runs.run(app, [hour], run_id=f"run-{hour}", asked=True)
    sending.export(app, [hour])
    if hour == HOURS[1]:
        key = broken.relative_to(folder / BUCKET).as_posix()
        decide(app.ledger, app.archive, "forget", key, app.clock(), author="tests", why="made up")


def main() -> None:
    """Write a folder and its passport."""
    (folder,) = map(Path, sys.argv[1:])
    write(folder)
    lines = series_of(folder)
    files = "\n".join(f"| `{name}` | {size} | {digest} |" for name, (size, digest) in passport.files(folder).items())
    text = _PASSPORT.format(version=folder.name, hours=HOURS, series=len(lines), digest=digest_of(lines), files=files)
    (folder / PASSPORT).write_text(text, "utf-8")


if __name__ == "__main__":
    main()
