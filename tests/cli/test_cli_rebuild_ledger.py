"""`rebuild-ledger` puts a lost ledger back, with real blocks and series."""

import json
from pathlib import Path

from tests.support import golden_bucket
from tests.support.cli_runner import fails, places, run

GOLDEN = golden_bucket.committed()


def test_lost_and_rebuilt(tmp_path: Path):
    options = ["--source-url", GOLDEN.root, *places(tmp_path)]
    assert run("run", *options).exit_code == 0
    fails(run("rebuild-ledger", *places(tmp_path)), "not lost")
    (tmp_path / "ledger.db").rename(tmp_path / "lost.db")
    fails(run("run", *options), "rebuild-ledger")
    report = json.loads(run("rebuild-ledger", *places(tmp_path), "--json").stdout)
    assert report["jobs"] == report["records"] > 0
    assert report["series_files"] == 2 * report["jobs"]
    assert "nothing to do" in run("run", *options).stdout


def test_a_damaged_record(tmp_path: Path):
    assert run("run", "--source-url", GOLDEN.root, *places(tmp_path)).exit_code == 0
    (tmp_path / "ledger.db").unlink()
    record = next((tmp_path / "archive" / "commits").rglob("*.json"))
    record.write_bytes(b"{")
    fails(run("rebuild-ledger", *places(tmp_path)), "1 records are damaged", "--skip-damaged")
    assert run("rebuild-ledger", "--skip-damaged", *places(tmp_path)).exit_code == 0
