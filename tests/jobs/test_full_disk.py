"""No room: a clean stop that says so, nothing half-written, no attempt counted; with room it goes on by itself."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from sqlalchemy import event

from pyro_assets.errors import LedgerUnavailable, StorageUnavailable
from pyro_assets.jobs.quarantine import QuarantineRecords
from pyro_assets.operations import runs, ticks
from tests.support import full_disk
from tests.support.exports import derive, opened
from tests.support.ledgers import HOUR
from tests.support.worlds import World

#: Mounts a small disk where only this process sees it.
MOUNT = 'mount -t tmpfs -o size="$1" none "$2" && shift 2 && exec "$@"'


def on_a_small_disk(small: Path, size: str, *command: str) -> subprocess.CompletedProcess[str]:
    shell = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", MOUNT, "sh", size, str(small), *command]
    return subprocess.run(shell, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(("name", "size", "words"), [("archive", "900k", "No space left"), ("ledger", "900k", "full")])
def test_a_disk_that_is_full_and_then_is_not(tmp_path: Path, name: str, size: str, words: str):
    if shutil.which("unshare") is None or on_a_small_disk(tmp_path, "1m", "true").returncode:
        pytest.skip("no file system may be mounted here")
    (tmp_path / "clean").mkdir()
    with opened(tmp_path / "clean") as pipeline:
        derive(pipeline)
    expected = full_disk.objects(tmp_path / "clean")
    small = tmp_path / "full" / name
    small.mkdir(parents=True)
    ledger = "ledger/ledger.db" if name == "ledger" else "ledger.db"
    program = [sys.executable, full_disk.__file__, str(tmp_path / "full"), str(small), ledger]
    done = on_a_small_disk(small, size, *program)
    assert done.returncode == 0, done.stdout + done.stderr
    *attempts, last = done.stdout.splitlines()
    assert json.loads(last) == expected
    stopped = [line for line in attempts if words in line]
    assert len(stopped) >= 3, attempts
    assert all("room" in line or "No space left" in line for line in stopped)


def test_a_ledger_without_room_counts_no_attempt(world: World):
    """The database may not grow: claims still fit, commits do not; often enough to give a job up, were it counted."""
    for number in range(3):
        world.segment(-60 + number, f"acme {number}\n" + "\n".join(f"tenant{n} 1" for n in range(1000)))
    ticks.tick(world.pipeline)
    with world.ledger._engine.connect() as connection:
        pages = connection.exec_driver_sql("PRAGMA page_count").scalar()

    @event.listens_for(world.ledger._engine, "connect")
    def no_growth(connection: object, _record: object) -> None:
        connection.execute(f"PRAGMA max_page_count = {pages}")  # type: ignore[attr-defined]

    world.ledger._engine.dispose()
    for _ in range(2 * world.settings.max_attempts):
        with pytest.raises(LedgerUnavailable, match=r"full.*room.*nothing was lost"):
            runs.run(world.pipeline, [HOUR], run_id="run")
        world.clock.forward(61)
    event.remove(world.ledger._engine, "connect", no_growth)
    world.ledger._engine.dispose()
    report = world.tick_and_run()
    assert (report.run.derived, report.run.failed) == (1, 0)
    assert world.archived_values() == world.source_values()
    assert QuarantineRecords(world.ledger).kept_failures() == []


@pytest.mark.parametrize("prefix", ["blocks/", "commits/", "series/"])
def test_a_bucket_over_its_quota_counts_no_attempt(world: World, prefix: str):
    for number in range(3):
        world.segment(-60 + number, f"acme {number}")

    def quota(method: str, key: str) -> None:
        if method in ("create", "replace") and key.startswith(prefix):
            raise StorageUnavailable(f"{key}: QuotaExceeded: the bucket is full", key=key)

    world.archive.before = quota
    for _ in range(2 * world.settings.max_attempts):
        report = world.tick_and_run()
        assert report.run.failed == 1
        assert "QuotaExceeded" in report.run.errors[0]
        world.clock.forward(600)
    assert not world._below(prefix)
    world.archive.before = None
    assert world.tick_and_run().run.failed == 0
    assert world.archived_values() == world.source_values()
    assert QuarantineRecords(world.ledger).kept_failures() == []
