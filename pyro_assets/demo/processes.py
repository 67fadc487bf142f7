"""Processes as a group: started with a log each, watched, and ended together, with everything that they started.

Add what concerns any process; which ones there are stands in `services.py`.
"""

import contextlib
import ctypes
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Final

from pyro_assets.errors import PyroAssetsError

_TAIL_LINES: Final = 15
#: The kernel needs a moment to take a large process's memory apart.
_KILL_SECONDS: Final = 10.0
_PR_SET_PDEATHSIG: Final = 1


class ProcessEndedError(PyroAssetsError):
    """A process that should be running has ended; `log` says more."""

    def __init__(self, name: str, status: int, log: Path) -> None:
        self.name, self.status, self.log = name, status, log
        super().__init__(f"{name} ended with status {status}; the end of {log}:\n{tail(log)}")


class Processes:
    """The processes of one demo, each the leader of its own process group.

    Args:
        logs: an existing folder; the output of process `name` goes to `{name}.log` there.
        environment: what all of them get.
    """

    def __init__(self, logs: Path, environment: Mapping[str, str]) -> None:
        self._logs, self._environment = logs, dict(environment)
        self._running: dict[str, subprocess.Popen[bytes]] = {}

    def tell(self, variables: Mapping[str, str]) -> None:
        """Further variables for what is started from now on."""
        self._environment.update(variables)

    def start(self, name: str, arguments: Sequence[str | Path], cwd: Path) -> None:
        """Start a process; it keeps running until `stop`, `stop_all` or its own end."""
        with self.log(name).open("ab") as log:
            self._running[name] = subprocess.Popen(  # noqa: S603 - the arguments are our own
                [os.fspath(argument) for argument in arguments],
                cwd=cwd,
                env=self._environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                # A group of its own: Ctrl-C in the terminal reaches the demo only, which ends the group in order.
                start_new_session=True,
                preexec_fn=_end_with_parent if sys.platform == "linux" else None,
            )

    def run(self, name: str, arguments: Sequence[str | Path], cwd: Path) -> None:
        """Run a process to its end.

        Raises:
            ProcessEndedError: its status is not 0.
        """
        self.start(name, arguments, cwd)
        status = self._running[name].wait()
        del self._running[name]
        if status:
            raise ProcessEndedError(name, status, self.log(name))

    def log(self, name: str) -> Path:
        """The file with the process's output."""
        return self._logs / f"{name}.log"

    def pid(self, name: str) -> int:
        """The id of a running process, which is its group's too."""
        return self._running[name].pid

    def has_ended(self, name: str) -> bool:
        """Whether a process that was started has ended; it may be started again."""
        return self._running[name].poll() is not None

    def check(self) -> None:
        """Raise `ProcessEndedError` for a process that has ended without being asked to."""
        for name, process in self._running.items():
            if (status := process.poll()) is not None:
                raise ProcessEndedError(name, status, self.log(name))

    def wait_until(self, ready: Callable[[], bool], what: str, timeout_seconds: float) -> None:
        """Poll `ready` until it is true, watching the processes meanwhile.

        Raises:
            ProcessEndedError: one ended first.
            PyroAssetsError: the time is over.
        """
        end = time.monotonic() + timeout_seconds
        while not ready():
            self.check()
            if time.monotonic() > end:
                raise PyroAssetsError(f"{what}: not within {timeout_seconds:.0f} s; the logs are in {self._logs}")
            time.sleep(0.2)

    def stop(self, name: str, grace_seconds: float = 10.0) -> None:
        """End a process and its group: asked first, killed after the grace."""
        process = self._running.pop(name, None)
        if process is None:
            return
        _signal_group(process.pid, signal.SIGTERM)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(grace_seconds)
        # Children (a run that was on its way) may outlive their leader.
        _signal_group(process.pid, signal.SIGKILL)
        process.wait()
        # A kill is only asked for: who is told that all has ended may count on it.
        end = time.monotonic() + _KILL_SECONDS
        while _group_lives(process.pid) and time.monotonic() < end:
            time.sleep(0.02)

    def stop_all(self, grace_seconds: float = 10.0) -> None:
        """End everything, the last started first; all are asked at once so that the graces overlap."""
        for process in self._running.values():
            _signal_group(process.pid, signal.SIGTERM)
        for name in reversed(list(self._running)):
            self.stop(name, grace_seconds)


def free_port(preferred: int, *, attempts: int = 200) -> int:
    """The first port from `preferred` on that nobody listens on (on this machine's own address).

    Not guaranteed: that it is still free when it is used.
    """
    for port in range(preferred, preferred + attempts):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with contextlib.suppress(OSError):
                probe.bind(("127.0.0.1", port))
                return port
    raise PyroAssetsError(f"no port from {preferred} to {preferred + attempts - 1} is free")


def listens(port: int) -> bool:
    """Whether somebody accepts connections on this machine's port."""
    try:
        socket.create_connection(("127.0.0.1", port), timeout=1).close()
    except OSError:
        return False
    return True


def tail(log: Path, lines: int = _TAIL_LINES) -> str:
    """The last lines of a log, indented."""
    try:
        text = log.read_text("utf-8", errors="replace")
    except OSError:
        return "  (no log)"
    return "\n".join(f"  {line}" for line in text.splitlines()[-lines:]) or "  (nothing)"


def _signal_group(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, number)


def _group_lives(group: int) -> bool:
    """Whether a process of the group still runs; one that ended and that nobody waits for does not count."""
    if not Path("/proc/self/stat").exists():
        try:
            os.killpg(group, 0)
        except (ProcessLookupError, PermissionError):
            return False
        return True
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            state, _, of_group = stat.read_text().rpartition(")")[2].split()[:3]
            if int(of_group) == group and state not in "ZX":
                return True
    return False


def _end_with_parent() -> None:
    # What ignores or blocks a signal hands that on to what it starts; these must end when they are asked to.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_SETMASK, ())
    # A demo that is killed outright (kill -9) cannot end its children; the kernel then asks them to.
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
