"""`quarantine` lists what is missing and why, and lets people decide."""

import json
from pathlib import Path

from pyro_assets.ledger.database import Ledger
from pyro_assets.ledger.decisions import DecisionRecords
from tests.support import golden_bucket
from tests.support.cli_runner import fails, places, run

GOLDEN = golden_bucket.committed()


def broken_source(folder: Path) -> str:
    """A bucket with one job, of which one source is broken; it was run. Returns that source's key."""
    for key in GOLDEN.jobs[0]:
        target = folder / "bucket" / key
        target.parent.mkdir(parents=True)
        data = GOLDEN.read(key)
        target.write_bytes(data[:-5] if key == GOLDEN.jobs[0][0] else data)
    assert run("run", "--source-url", folder / "bucket", *places(folder)).exit_code == 1
    return GOLDEN.jobs[0][0]


def test_a_source_set_aside_from_list_to_done(tmp_path: Path):
    ledger = places(tmp_path)[2:]
    assert "nothing was given up" in run("quarantine", "list", *ledger).stdout
    key = broken_source(tmp_path)
    table = run("quarantine", "list", *ledger).stdout
    assert key in table
    assert "set_aside" in table
    [source] = json.loads(run("quarantine", "list", "--json", *ledger).stdout)["sources"]
    assert (source["key"], source["state"]) == (key, "set_aside")
    shown = run("quarantine", "show", key, *ledger).stdout
    assert f"cause: {source['cause']}" in shown
    assert json.loads(run("quarantine", "show", key, "--json", *ledger).stdout)["message"] == source["message"]
    # The object is restored.
    (tmp_path / "bucket" / key).write_bytes(GOLDEN.read(key))
    how = ("--author", "ann", "--why", "restored")
    assert run("quarantine", "retry", key, *places(tmp_path), *how).stdout == f"{key}: waits for the next run\n"
    again = run("run", "--source-url", tmp_path / "bucket", *places(tmp_path), "--json")
    assert again.exit_code == 0, again.output
    assert "nothing was given up" in run("quarantine", "list", *ledger).stdout
    opened = Ledger.open(ledger[-1])
    [decision] = DecisionRecords(opened).past_decisions()
    opened.close()
    assert (decision.action, decision.subject, decision.author, decision.why) == ("retry", key, "ann", "restored")


def test_forgetting_a_source(tmp_path: Path):
    key = broken_source(tmp_path)
    assert "no longer listed" in run("quarantine", "forget", key, *places(tmp_path)).stdout
    assert "nothing was given up" in run("quarantine", "list", *places(tmp_path)[2:]).stdout
    assert "set_aside, forgotten" in run("quarantine", "list", "--all", *places(tmp_path)[2:]).stdout


def test_names_that_are_unknown(tmp_path: Path):
    ledger = places(tmp_path)[2:]
    fails(run("quarantine", "show", "nojob", *ledger), "nojob")
    fails(run("quarantine", "show", "segments/1/x", *ledger), "segments/1/x")
    fails(run("quarantine", "retry", "nojob", *places(tmp_path)), "nojob", "unknown")
    fails(run("quarantine", "forget", "nojob", *places(tmp_path)), "nojob")
    fails(run("quarantine", "release", "nojob", *places(tmp_path)), "nojob")
