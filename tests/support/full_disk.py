"""A program that does the golden jobs while its archive or ledger lies on a small disk that is full, then has room.

`python full_disk.py FOLDER SMALL LEDGER`: SMALL is the folder on that disk, LEDGER the ledger's path below FOLDER. The
last line on stdout is what the archive holds at the end: key -> hash of the bytes.
"""

import json
import os
import shutil
import sys
from hashlib import sha256
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2]))

from pyro_assets.app import App
from pyro_assets.errors import LedgerUnavailable
from pyro_assets.jobs.quarantine import QuarantineRecords
from pyro_assets.operations import runs
from tests.support.exports import GOLDEN, HOUR, NOW_MS, opened

#: Bytes that are left on the disk, one attempt each: more attempts than a job has.
FREE = (0, 4_096, 20_000, 50_000, 90_000, 130_000, 200_000)


def fill(small: Path, free_bytes: int) -> None:
    """Leaves so much room on the disk."""
    (small / "filler").unlink(missing_ok=True)
    usable = shutil.disk_usage(small).free
    with (small / "filler").open("wb") as file:
        os.posix_fallocate(file.fileno(), 0, max(usable - free_bytes, 1))


def objects(folder: Path) -> dict[str, str]:
    """Every object of the archive that a reader sees."""
    from pyro_assets.storage.bucket import open_bucket

    archive = open_bucket(str(folder / "archive"))
    keys = [item.key for item in archive.list_after("", limit=10_000) if item.key != "filler"]
    return {key: sha256(archive.read(key)).hexdigest() for key in keys}


def attempt(pipeline: App) -> str:
    """Does the jobs; returns why that stopped, "" where it did not."""
    try:
        reports = runs.run_exact(pipeline, GOLDEN.jobs, run_id="run")
    except LedgerUnavailable as error:
        return str(error)
    return "; ".join(error for report in reports.values() for error in report.run.errors)


def main(folder: Path, small: Path, ledger: str) -> None:
    with opened(folder, ledger=ledger):
        pass  # the tables are there before the disk is full
    for number, free_bytes in enumerate(FREE):
        fill(small, free_bytes)
        # Leases and delays of the attempt before are over.
        try:
            with opened(folder, ledger=ledger, now_ms=NOW_MS + number * 600_000) as pipeline:
                why = attempt(pipeline)
        except LedgerUnavailable as error:
            why = str(error)
        print(f"{free_bytes}: {why}")
    (small / "filler").unlink()
    with opened(folder, ledger=ledger, now_ms=NOW_MS + len(FREE) * 600_000) as pipeline:
        why = attempt(pipeline)
        assert not why, why
        report = runs.hour_report(pipeline, HOUR)
        assert set(report.jobs_by_state) == {"derived"}, report.jobs_by_state
        assert QuarantineRecords(pipeline.ledger).kept_failures() == []
    print(json.dumps(objects(folder)))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])
