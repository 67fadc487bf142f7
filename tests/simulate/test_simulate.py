"""The simulation runs, on both databases, loses and doubles nothing, and says so when a target is missed."""

import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.simulate.__main__ import main
from tests.support.postgres_server import PostgresServer

Command = Callable[..., tuple[Any, dict[str, Any]]]
ROOT = Path(__file__).parent.parent.parent


def simulate(folder: Path, *arguments: str) -> tuple[int, dict[str, Any]]:
    path = folder / "figures.json"
    done = subprocess.run(
        [sys.executable, "-m", "tests.simulate", "--json", str(path), *arguments],
        cwd=ROOT,
        env=os.environ | {"PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
    )
    assert path.exists(), done.stderr
    assert json.loads(done.stdout) == json.loads(path.read_text())
    return done.returncode, json.loads(done.stdout)


def check(figures: dict[str, Any], segments: int) -> None:
    """What no machine may change; times are for `make simulate`, on a machine that does nothing else."""
    assert figures["lost_or_doubled"] == []
    assert figures["rows"]["sources"] == segments
    assert figures["rows"]["job_sources"] == figures["sources"] < segments
    assert figures["throttled"] > 0
    assert figures["live_tick"]["max_requests"] <= 1 + 2 * figures["shards"]


@pytest.mark.service
def test_six_thousand_segments_on_postgres(postgres: PostgresServer, postgres_url: str, tmp_path: Path) -> None:
    _, figures = simulate(tmp_path, "--segments", "6000", "--shards", "16", "--hours", "3", "--ledger", postgres_url)
    check(figures, 6_000)
    assert figures["ledger"] == "postgresql"


@pytest.fixture
def here(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Command:
    """The command in this process, which has imported Dagster already."""

    def call(*arguments: str) -> tuple[Any, dict[str, Any]]:
        monkeypatch.setattr(sys, "argv", ["simulate", *arguments])
        with pytest.raises(SystemExit) as ended:
            main()
        return ended.value.code, json.loads(capsys.readouterr().out)

    return call


def test_six_thousand_segments_on_sqlite(here: Command) -> None:
    _, figures = here("--segments", "6000", "--shards", "16", "--hours", "3")
    check(figures, 6_000)


def test_a_ledger_that_differs_is_a_failure(here: Command, tmp_path: Path) -> None:
    small = ("--shards", "4", "--hours", "1", "--ledger", str(tmp_path / "ledger.db"))
    _, figures = here("--segments", "64", *small)
    assert figures["lost_or_doubled"] == []
    # The sources of another stream are there already.
    status, figures = here("--segments", "80", *small)
    assert status == 1
    assert figures["lost_or_doubled"] != []
    assert set(figures["lost_or_doubled"]) <= set(figures["missed"])
