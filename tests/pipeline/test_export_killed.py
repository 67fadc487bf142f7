"""Kill -9 at every step of an export, then run again: the receiver has the values of one clean run."""

import signal
import subprocess
import sys
from pathlib import Path

import killed_export
import pytest
import servers
from exports import HOUR, derive, expected, got, opened, scripted
from scripted_server import scripted_server

PROGRAM = killed_export.__file__
#: Of the first job every step, later some.
STEPS = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 13, 18, 27]


def killed(folder: Path, url: str, at: int, kind: str = "prometheus") -> None:
    result = subprocess.run([sys.executable, PROGRAM, folder, url, str(at), kind], capture_output=True, check=False)
    assert result.returncode == -signal.SIGKILL, (result.stdout, result.stderr)


def test_killed_anywhere_and_run_again(tmp_path: Path):
    for at in STEPS:
        folder = tmp_path / str(at)
        with scripted_server() as server, opened(folder, scripted(server)) as pipeline:
            derive(pipeline)
            killed(folder, server.url, at)
            done = pipeline.export([HOUR])["r"]
            assert done.error == ""
            seen = got(server)
            # It may have seen a sample twice, but never with another value.
            assert {labels: sorted(set(samples)) for labels, samples in seen.items()} == expected(folder)
            (report,) = pipeline.hour_report(HOUR).exports
            assert (report.pending, report.accepted) == (0, sum(map(len, expected(folder).values())))
            requests = len(server.requests)
            assert pipeline.export([HOUR])["r"].requests == 0
            assert len(server.requests) == requests


@pytest.mark.service
@pytest.mark.parametrize("at", [3, 6, 12])
@pytest.mark.parametrize("kind", ["prometheus", "victoriametrics"])
def test_a_real_receiver_ends_with_the_values_of_one_clean_run(tmp_path: Path, kind: str, at: int):
    running = (
        servers.prometheus(tmp_path / "tsdb", window="3650d")
        if kind == "prometheus"
        else servers.victoriametrics(tmp_path / "vm")
    )
    fields = {} if kind == "prometheus" else {"dedup": True, "retention": "10y", "out_of_order_window": None}
    with running as server, opened(tmp_path, scripted(server, kind=kind, **fields)) as pipeline:
        derive(pipeline)
        killed(tmp_path, server.url, at, kind)
        assert pipeline.export([HOUR])["r"].error == ""
        server.flush()
        found = pipeline.reconcile("r", *hour_ms())
        assert found.is_equal
        assert found.equal == sum(map(len, expected(tmp_path).values()))


def hour_ms() -> tuple[int, int]:
    from pyro_assets.storage.keys import HOUR_MS, hour_start_ms

    return hour_start_ms(HOUR), hour_start_ms(HOUR) + HOUR_MS
