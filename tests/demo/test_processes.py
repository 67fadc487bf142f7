"""Processes of the demo: started, watched, ended with their children, also when the demo itself is killed."""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

from pyro_assets.demo.processes import ProcessEndedError, Processes, free_port, listens, tail
from pyro_assets.errors import PyroAssetsError

SLEEP = [sys.executable, "-c", "import time; time.sleep(60)"]
#: Starts a child in its own group, writes its id and ignores a polite end.
STUBBORN = """
import pathlib, signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
pathlib.Path(sys.argv[1]).write_text(str(child.pid))
time.sleep(60)
"""


def gone(pid: int) -> bool:
    """Whether the process has ended (a zombie that nobody has collected counts as ended)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except FileNotFoundError:
        return True


def eventually(condition, seconds: float = 10.0) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.05)
    return False


@pytest.fixture
def processes(tmp_path: Path):
    group = Processes(tmp_path, os.environ)
    yield group
    group.stop_all(0.2)


def test_stop_all_ends_what_it_started_and_their_children(processes: Processes, tmp_path: Path):
    processes.start("sleeper", SLEEP, tmp_path)
    processes.start("stubborn", [sys.executable, "-c", STUBBORN, tmp_path / "child"], tmp_path)
    assert eventually(lambda: (tmp_path / "child").is_file() and (tmp_path / "child").read_text())
    pids = [processes.pid("sleeper"), processes.pid("stubborn"), int((tmp_path / "child").read_text())]
    assert not any(map(gone, pids))
    processes.stop_all(0.5)
    # At once: a kill that was only asked for would leave the child for a moment.
    assert all(map(gone, pids))
    processes.check()  # what was stopped on purpose is not missed


def test_a_process_that_ends_by_itself_is_reported_with_the_end_of_its_log(processes: Processes, tmp_path: Path):
    processes.start("short", [sys.executable, "-c", "print('so it goes'); raise SystemExit(3)"], tmp_path)
    with pytest.raises(ProcessEndedError, match=r"(?s)short ended with status 3.*so it goes"):
        processes.wait_until(lambda: False, "never", 10)


def test_run_reports_a_failure(processes: Processes, tmp_path: Path):
    processes.run("fine", [sys.executable, "-c", "pass"], tmp_path)
    with pytest.raises(ProcessEndedError, match="status 4"):
        processes.run("failing", [sys.executable, "-c", "raise SystemExit(4)"], tmp_path)


def test_waiting_ends(processes: Processes, tmp_path: Path):
    with pytest.raises(PyroAssetsError, match="the moon: not within"):
        processes.wait_until(lambda: False, "the moon", 0.3)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells children of their parent's end")
def test_children_end_with_a_demo_that_is_killed(tmp_path: Path):
    # Whoever starts the demo may ignore the signal, or have it blocked.
    script = f"""
import os, pathlib, signal, time
from pyro_assets.demo.processes import Processes
signal.signal(signal.SIGTERM, signal.SIG_IGN)
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
group = Processes(pathlib.Path({str(tmp_path)!r}), os.environ)
group.start("sleeper", {SLEEP!r}, pathlib.Path({str(tmp_path)!r}))
print(group.pid("sleeper"), flush=True)
time.sleep(60)
"""
    with subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) as demo:
        child = int(demo.stdout.readline())
        assert not gone(child)
        demo.send_signal(signal.SIGKILL)
    assert eventually(lambda: gone(child)), Path(f"/proc/{child}/status").read_text()


def test_a_port_in_use_gives_the_next_free_one():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        assert listens(port)
        assert free_port(port) > port
        with pytest.raises(PyroAssetsError, match="no port from"):
            free_port(port, attempts=1)
    assert not listens(port)


def test_tail_of_a_log(tmp_path: Path):
    log = tmp_path / "x.log"
    assert tail(log) == "  (no log)"
    log.write_text("\n".join(str(line) for line in range(100)))
    assert tail(log, 2) == "  98\n  99"


def test_later_variables_reach_what_is_started_later(tmp_path: Path):
    processes = Processes(tmp_path, {"FIRST": "1"})
    processes.tell({"SECOND": "2"})
    processes.run(
        "show", [sys.executable, "-c", "import os; print(os.environ['FIRST'], os.environ['SECOND'])"], tmp_path
    )
    assert processes.log("show").read_text() == "1 2\n"
