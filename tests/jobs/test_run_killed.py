"""Kill -9 after every step of a job, from sources to receiver, then run again: the samples of one clean run."""

import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import killed_run, servers
from tests.support.exports import NOW_MS, Held, expected, got, opened
from tests.support.forks import Forks
from tests.support.scripted_server import Reply, Request, scripted_server

#: What a crash of the first job can come after, in order, and of the first export.
BOUNDARIES = [
    "claim_all",
    "wrote rules",
    "wrote blocks",
    "wrote commits",
    "wrote series",
    "commit",
    "open_receipts",
    "request",
    "wrote receipts",
    "put_receipts",
]
#: The lease of a killed run is over then.
LATER_MS = NOW_MS + 120_000


@pytest.fixture(scope="module")
def forks() -> Iterator[Forks]:
    with Forks(killed_run.__file__) as forks:
        yield forks


@pytest.fixture(scope="module")
def clean_run(tmp_path_factory: pytest.TempPathFactory, forks: Forks) -> tuple[list[str], Held]:
    """The steps of a run that is not killed, and what its receiver got."""
    folder = tmp_path_factory.mktemp("clean")
    with scripted_server() as server:
        status, shown, why = forks.run(folder, f"{server.url}/api/v1/write", "prometheus", 10**9)
        assert status == 0, why
        steps = shown.splitlines()
        clean = got(server)
    assert clean == expected(folder)
    return steps, clean


def kill(forks: Forks, folder: Path, url: str, steps: list[str], at: int) -> None:
    status, shown, why = forks.run(folder, url, "prometheus", at)
    assert status == -signal.SIGKILL, why
    assert shown.splitlines() == steps[: at + 1]


def test_killed_after_each_step_of_a_job_and_run_again(tmp_path: Path, forks: Forks, clean_run: tuple[list[str], Held]):
    steps, clean = clean_run
    assert list(dict.fromkeys(steps)) == BOUNDARIES
    # After the first of each kind: with several blocks or files, some are not written. After the last file, all are.
    points = [*map(steps.index, BOUNDARIES), steps.index("wrote commits") - 1, steps.index("commit") - 1]
    for at in sorted(set(points)):
        folder = tmp_path / str(at)
        with scripted_server() as server:
            url = f"{server.url}/api/v1/write"
            kill(forks, folder, url, steps, at)
            # A job whose worker died gets a process of its own where there is a limit: once is enough.
            limit = {} if at == min(points) else {"job_seconds": 0.0}
            receiver = killed_run.receiver(url, "prometheus")
            with opened(folder, receiver, now_ms=LATER_MS, **limit) as pipeline:
                killed_run.do_everything(pipeline)
            # Some samples twice, none with another value, and none beside those of a clean run.
            assert {labels: sorted(set(samples)) for labels, samples in got(server).items()} == clean


def test_killed_while_its_request_is_being_answered(tmp_path: Path, clean_run: tuple[list[str], Held]):
    def answer(_: Request) -> Reply:
        if not server.requests[1:]:
            program.kill()
            program.wait()
        return Reply(204)

    with scripted_server(default=answer) as server:
        url = f"{server.url}/api/v1/write"
        arguments = [sys.executable, killed_run.__file__, tmp_path, url, "prometheus", str(10**9)]
        program = subprocess.Popen(arguments, stdout=subprocess.DEVNULL)
        assert program.wait(60) == -signal.SIGKILL
        with opened(tmp_path, killed_run.receiver(url, "prometheus"), now_ms=LATER_MS) as pipeline:
            killed_run.do_everything(pipeline)
        assert {labels: sorted(set(samples)) for labels, samples in got(server).items()} == clean_run[1]


@pytest.mark.service
def test_a_real_receiver_holds_what_one_clean_run_gives(
    tmp_path: Path, forks: Forks, clean_run: tuple[list[str], Held]
):
    steps, clean = clean_run
    begin_ms = min(time for samples in clean.values() for time, _ in samples)
    end_ms = max(time for samples in clean.values() for time, _ in samples) + 1
    for name in ("commit", "wrote series", "request"):
        folder, at = tmp_path / name.replace(" ", "_"), steps.index(name)
        with servers.prometheus(folder / "tsdb", window="3650d") as server:
            kill(forks, folder, server.write_url, steps, at)
            with opened(folder, killed_run.receiver(server.write_url, "prometheus"), now_ms=LATER_MS) as pipeline:
                # It raises where a sample was refused, as a conflicting one is.
                killed_run.do_everything(pipeline)
            held = server.samples('{__name__=~".+"}', begin_ms, end_ms)
        assert {
            labels: sorted((time, float(value)) for time, value in samples) for labels, samples in held.items()
        } == clean
