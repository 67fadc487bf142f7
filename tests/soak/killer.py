"""Kills what a deployment consists of, at random moments, and starts it again as a supervisor would.

Only processes that this soak started are touched: they carry its DAGSTER_HOME in their environment.
"""

import os
import random
import signal
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from pyro_assets.demo.processes import Processes

#: Which of the code server, the daemon and the runs die together.
KINDS = (("run",), ("code-server",), ("daemon",), ("run",), ("code-server", "daemon", "run"))


@dataclass
class Killer:
    """Kills now and then, and starts what is not there.

    Attributes:
        processes: what was started.
        starts: name -> starts it; in this order.
        home: DAGSTER_HOME of all of them.
        dice: when and what.
        every_seconds: shortest and longest time between two kills; empty: nothing is killed.
        kinds: what dies together; names of `starts`, and "run".
        kills: what was killed so far.
    """

    processes: Processes
    starts: Mapping[str, Callable[[], None]]
    home: Path
    dice: random.Random
    every_seconds: tuple[float, float] | None
    kinds: Sequence[tuple[str, ...]] = KINDS
    kills: Counter[str] = field(default_factory=Counter)
    times: list[float] = field(default_factory=list)
    _next: float = 0.0
    _down_until: float = 0.0
    _plan: list[tuple[str, ...]] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._next = self._later()

    def look(self) -> None:
        """What is to be done now; call it a few times a second."""
        now = time.monotonic()
        if self.every_seconds is not None and now >= self._next:
            # Every kind comes once before one comes twice.
            self._plan = self._plan or self.dice.sample(self.kinds, len(self.kinds))
            if self._kill(self._plan[-1]):
                self._plan.pop()
                self._next = self._later()
                # A supervisor waits a little before it starts something again.
                self._down_until = now + self.dice.uniform(0.2, 2.0)
        if now >= self._down_until:
            self.restart()

    def restart(self) -> None:
        """Starts what is not there."""
        for name, start in self.starts.items():
            if self.processes.has_ended(name):
                start()

    def _kill(self, names: Sequence[str]) -> bool:
        runs = runs_of(self.home) if "run" in names else []
        if "run" in names and not runs:
            return False  # a moment later there will be one
        if any(self.processes.has_ended(name) for name in names if name != "run"):
            return False
        pids = [self.processes.pid(name) for name in names if name != "run"]
        # A Celery worker's processes die with it: it is the machine that dies.
        pids += [child for pid in pids if pid in groups_of_workers(self.home) for child in in_group(pid)]
        kill([*pids, *runs])
        self.kills["+".join(names)] += 1
        self.times.append(time.time())
        return True

    def _later(self) -> float:
        return time.monotonic() + (self.dice.uniform(*self.every_seconds) if self.every_seconds else 0)


def end_orphans(home: Path) -> None:
    """Ends runs whose code server was killed and that went on without it."""
    kill(ours(home))


def kill(pids: Sequence[int]) -> None:
    """SIGKILL, all at once."""
    for pid in pids:
        try:
            os.kill(pid, signal.SIGKILL)
        except ProcessLookupError:
            continue


def ours(home: Path) -> list[int]:
    """Processes of this user with this DAGSTER_HOME."""
    wanted = f"DAGSTER_HOME={home}".encode()
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if wanted in (folder / "environ").read_bytes().split(b"\0"):
                found.append(int(folder.name))
        except OSError:
            continue
    return [pid for pid in found if pid != os.getpid()]


def groups_of_workers(home: Path) -> set[int]:
    """Process groups of Celery workers."""
    return {os.getpgid(pid) for pid in ours(home) if b"dagster_celery.app" in _command(pid)}


def in_group(group: int) -> list[int]:
    """Processes of a group."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if os.getpgid(int(folder.name)) == group:
                found.append(int(folder.name))
        except ProcessLookupError:
            continue
    return found


def _command(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return b""


def runs_of(home: Path) -> list[int]:
    """Processes in which a run is executed: children that the code server spawned."""
    return [pid for pid in ours(home) if b"spawn_main" in _command(pid)]
