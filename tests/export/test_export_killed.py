"""Kill -9 at every step of an export, then run again: the receiver has the values of one clean run.

And for receivers that do not fulfil the conditions of that promise: exactly what is promised instead.
"""

import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from pyro_assets.export.remote_write.probe import check_receiver
from pyro_assets.operations import runs, sending
from pyro_assets.receivers.model import Receiver
from pyro_assets.storage.keys import HOUR_MS, hour_start_ms
from tests.support import killed_export, servers
from tests.support.exports import GOLDEN, HOUR, Held, derive, expected, got, opened, scripted
from tests.support.forks import Forks
from tests.support.scripted_server import Reply, Request, scripted_server
from tests.support.servers import PROMETHEUS_VERSIONS, Server

PROGRAM = killed_export.__file__
#: Of the first job every step, later some.
STEPS = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 13, 18, 27]
BEGIN_MS = hour_start_ms(HOUR)
WINDOWS = {"prometheus": "3650d", "default": None, "short": "1s"}
#: The last request was answered, and neither ledger nor archive knows.
BEFORE_RECEIPT = 5


@pytest.fixture(scope="module")
def forks() -> Iterator[Forks]:
    with Forks(PROGRAM) as forks:
        yield forks


def killed(forks: Forks, folder: Path, url: str, at: int, kind: str = "prometheus") -> None:
    status, *shown = forks.run(folder, url, at, kind)
    assert status == -signal.SIGKILL, shown


@pytest.fixture(scope="module")
def steps_of(forks: Forks, tmp_path_factory: pytest.TempPathFactory) -> Callable[..., int]:
    """How many steps an export of some jobs has that is not killed."""

    @cache
    def count(kind: str, *jobs: tuple[str, ...]) -> int:
        folder = tmp_path_factory.mktemp("count")
        with scripted_server() as server:
            with opened(folder) as pipeline:
                runs.run_exact(pipeline, jobs, run_id="run")
            status, steps, why = forks.run(folder, server.url, 10**9, kind)
        assert status == 0, why
        return int(steps)

    return count


@contextmanager
def running(folder: Path, kind: str, version: str = "prometheus") -> Iterator[Server]:
    if kind in WINDOWS:
        with servers.prometheus(folder / "tsdb", version=version, window=WINDOWS[kind]) as server:
            yield server
    else:
        with servers.victoriametrics(folder / "vm", dedup=kind == "victoriametrics") as server:
            yield server


def receiver(server: Server, kind: str) -> Receiver:
    return Receiver(name="r", url=server.write_url, start=HOUR, **killed_export.KINDS[kind])


def held(server: Server) -> Held:
    server.flush()
    found = server.samples('{__name__=~".+"}', BEGIN_MS, BEGIN_MS + HOUR_MS)
    return {labels: sorted((time, float(value)) for time, value in values) for labels, values in found.items()}


def pairs(samples: Held) -> list[Any]:
    return sorted((labels, *one) for labels, values in samples.items() for one in values)


def test_killed_anywhere_and_run_again(tmp_path: Path, forks: Forks):
    for at in STEPS:
        folder = tmp_path / str(at)
        with scripted_server() as server, opened(folder, scripted(server)) as pipeline:
            derive(pipeline)
            killed(forks, folder, server.url, at)
            done = sending.export(pipeline, [HOUR])["r"]
            assert done.error == ""
            seen = got(server)
            # It may have seen a sample twice, but never with another value.
            assert {labels: sorted(set(samples)) for labels, samples in seen.items()} == expected(folder)
            (report,) = runs.hour_report(pipeline, HOUR).exports
            assert (report.pending, report.accepted) == (0, sum(map(len, expected(folder).values())))
            requests = len(server.requests)
            assert sending.export(pipeline, [HOUR])["r"].requests == 0
            assert len(server.requests) == requests


@pytest.mark.parametrize("at", [1, 3])
def test_killed_while_a_request_is_being_answered(tmp_path: Path, at: int):
    running: list[subprocess.Popen[bytes]] = []
    started = threading.Event()

    def answer(_: Request) -> Reply:
        started.wait(60)
        if len(server.requests) == at:
            running[0].kill()
            running[0].wait()
        return Reply(204)

    with scripted_server(default=answer) as server, opened(tmp_path, scripted(server)) as pipeline:
        derive(pipeline)
        program = [sys.executable, PROGRAM, str(tmp_path), server.url, str(10**9), "prometheus"]
        running.append(subprocess.Popen(program, stdout=subprocess.DEVNULL))
        started.set()
        assert running[0].wait(60) == -signal.SIGKILL
        assert len(server.requests) == at
        server.default = 204
        assert sending.export(pipeline, [HOUR])["r"].error == ""
        assert {labels: sorted(set(samples)) for labels, samples in got(server).items()} == expected(tmp_path)
        (report,) = runs.hour_report(pipeline, HOUR).exports
        assert (report.pending, report.accepted) == (0, sum(map(len, expected(tmp_path).values())))


#: Where nothing comes late, a Prometheus without a window gets everything once too: times ascend, also after a crash.
@pytest.mark.service
@pytest.mark.parametrize("at", [3, 6, 12])
@pytest.mark.parametrize("kind", ["prometheus", "default", "short", "victoriametrics"])
def test_a_real_receiver_ends_with_the_values_of_one_clean_run(tmp_path: Path, forks: Forks, kind: str, at: int):
    with running(tmp_path, kind) as server, opened(tmp_path, receiver(server, kind)) as pipeline:
        derive(pipeline)
        killed(forks, tmp_path, server.url, at, kind)
        done = sending.export(pipeline, [HOUR])["r"]
        assert (done.error, done.refused.total()) == ("", 0)
        assert held(server) == expected(tmp_path)
        found = sending.reconcile(pipeline, "r", BEGIN_MS, BEGIN_MS + HOUR_MS)
        assert found.is_equal
        assert found.equal == sum(map(len, expected(tmp_path).values()))


@pytest.mark.service
@pytest.mark.parametrize("version", PROMETHEUS_VERSIONS)
@pytest.mark.parametrize("kind", ["prometheus", "default", "short"])
def test_what_comes_late_after_a_crash_is_refused_counted_and_shown_without_a_window(
    tmp_path: Path, forks: Forks, steps_of: Callable[..., int], kind: str, version: str
):
    """The first and last job are sent and the process is killed before it says so; then the middle one is derived."""
    # Of one shard, so that they have series in common.
    sources = GOLDEN.jobs[0]
    first, late, last = sources[:6], sources[6:12], sources[12:]
    at = steps_of(kind, tuple(first), tuple(last)) - BEFORE_RECEIPT
    with running(tmp_path, kind, version) as server, opened(tmp_path, receiver(server, kind)) as pipeline:
        runs.run_exact(pipeline, [first, last], run_id="run")
        killed(forks, tmp_path, server.url, at, kind)
        assert held(server) == expected(tmp_path)
        begin_ms, end_ms = sorted({time for values in held(server).values() for time, _ in values})
        runs.run_exact(pipeline, [late], run_id="late")
        done = sending.export(pipeline, [HOUR])["r"]
        assert done.error == ""

        everything = expected(tmp_path)
        # Of the late job a series that has a newer sample already; others are new to the receiver and welcome.
        lost = {
            labels: [one for one in values if begin_ms < one[0] < end_ms == values[-1][0]]
            for labels, values in everything.items()
        }
        lost = {labels: values for labels, values in lost.items() if values and kind != "prometheus"}
        count = len(pairs(lost))
        assert (count == 0) == (kind == "prometheus")
        assert pairs(held(server)) == sorted(set(pairs(everything)) - set(pairs(lost)))
        reason = {"default": "out_of_order", "short": "too_old"}.get(kind, "")
        assert dict(done.refused) == ({reason: count} if count else {})
        (report,) = runs.hour_report(pipeline, HOUR).exports
        assert (report.pending, report.refused) == (0, count)
        assert report.accepted == len(pairs(everything)) - count
        found = sending.reconcile(pipeline, "r", BEGIN_MS, BEGIN_MS + HOUR_MS)
        assert (found.total("missing"), found.counts.total()) == (count, count)
        assert found.equal == len(pairs(everything)) - count
        # Not retried for ever, and offered as a file.
        assert sending.export(pipeline, [HOUR])["r"].requests == 0
        warnings = " ".join(check_receiver(receiver(server, kind), {}).warnings)
        word = {"default": "no out_of_order_window is declared", "short": "of 1s is short"}.get(kind)
        assert word in warnings if word else not warnings


@pytest.mark.service
@pytest.mark.parametrize("kind", ["victoriametrics", "without dedup"])
def test_what_was_sent_before_a_crash_is_doubled_and_shown_without_deduplication(
    tmp_path: Path, forks: Forks, steps_of: Callable[..., int], kind: str
):
    first, *_ = GOLDEN.jobs
    at = steps_of(kind, tuple(first)) - BEFORE_RECEIPT
    with running(tmp_path, kind) as server, opened(tmp_path, receiver(server, kind)) as pipeline:
        derive(pipeline)
        killed(forks, tmp_path, server.url, at, kind)
        before = held(server)
        assert 0 < len(pairs(before)) < len(pairs(expected(tmp_path)))
        done = sending.export(pipeline, [HOUR])["r"]
        assert (done.error, done.refused.total()) == ("", 0)
        doubled = [] if kind == "victoriametrics" else pairs(before)
        assert pairs(held(server)) == sorted(pairs(expected(tmp_path)) + doubled)
        found = sending.reconcile(pipeline, "r", BEGIN_MS, BEGIN_MS + HOUR_MS)
        assert (found.total("doubled"), found.counts.total()) == (len(doubled), len(doubled))
        assert found.equal == len(pairs(expected(tmp_path)))
        warnings = " ".join(check_receiver(receiver(server, kind), {}).warnings)
        assert "a sample that has to be sent twice counts twice" in warnings if doubled else not warnings
