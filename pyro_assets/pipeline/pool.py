"""Processes that do the computing of jobs, so that a run uses all cores; claims and commits stay with their parent.

Add what a parent must know of its processes here; what is done inside one is `computing`'s. Processes are spawned, not
forked: Arrow and Polars have threads, which a fork would leave locked.
"""

import contextlib
import multiprocessing
import os
import time
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from multiprocessing.connection import Connection, wait
from multiprocessing.context import SpawnProcess
from multiprocessing.reduction import ForkingPickler
from pathlib import Path
from typing import Any, Final, Self

#: A process has so many tasks at a time: the next one lies in its pipe already when it is done with one.
_TASKS: Final = 2
#: What is larger is sent when it is needed, or pipe and answer could wait for each other.
_AHEAD_BYTES: Final = 32 << 10


@dataclass(frozen=True, slots=True)
class Limits:
    """What one task may use; 0 means no limit.

    Attributes:
        seconds: wall time.
        memory_bytes: resident memory of its process, looked at a few times a second (on Linux).
    """

    seconds: float = 0.0
    memory_bytes: int = 0


NO_LIMITS: Final = Limits()


@dataclass(frozen=True, slots=True)
class Died:
    """A task whose process ended before it answered, after so long.

    `limit` names the limit that it exceeded, "" for none.
    """

    reason: str
    limit: str = ""
    seconds: float = field(default=0.0, compare=False)


@dataclass(slots=True)
class _Slot:
    """One process, its tasks (it is at the first one, since `begun`), and those of them that were not sent yet."""

    process: SpawnProcess
    connection: Connection
    tasks: deque[Any] = field(default_factory=deque)
    unsent: deque[memoryview] = field(default_factory=deque)
    begun: float = 0.0
    is_up: bool = False


class Pool:
    """Some processes, each with a task and the next one, so that none waits for the parent. A context manager.

    Args:
        serve: a module's function `(connection, state)` that answers tasks until the connection ends.
        state: what it needs; pickled once for each process.
        processes: how many.
        limits: of each task.
    """

    def __init__(
        self,
        serve: Callable[[Connection, Any], None],
        state: Any,
        processes: int,
        limits: Limits = NO_LIMITS,
    ) -> None:
        self._serve = serve
        self._state = state
        self._limits = limits
        self._context = multiprocessing.get_context("spawn")
        self._slots = [self._start() for _ in range(processes)]

    @property
    def has_room(self) -> bool:
        """Whether some process takes another task."""
        return any(len(slot.tasks) < _TASKS for slot in self._slots)

    @property
    def tasks(self) -> list[Any]:
        """What the processes are at, and have before them."""
        return [task for slot in self._slots for task in slot.tasks]

    def come_up(self, timeout_seconds: float) -> bool:
        """Waits for all processes; False where one does not start (its main module cannot be imported again)."""
        end = time.monotonic() + timeout_seconds
        for slot in self._slots:
            if not slot.is_up and not slot.connection.poll(max(0.0, end - time.monotonic())):
                return False
            try:
                slot.is_up = slot.is_up or slot.connection.recv() is None
            except (EOFError, OSError):
                return False
        return True

    def submit(self, task: Any) -> None:
        """Gives a task to the process that has fewest; call it where there is room."""
        slot = min(self._slots, key=lambda slot: len(slot.tasks))
        self._give(slot, task)

    def wait(self, timeout_seconds: float) -> list[tuple[Any, Any]]:
        """Tasks that were answered or whose process died, with the answer or `Died`; empty when time is up."""
        end = time.monotonic() + timeout_seconds
        while True:
            busy = [slot for slot in self._slots if slot.tasks]
            step = min(0.25, self._limits.seconds or 0.25) if self._limits != NO_LIMITS else timeout_seconds
            left = max(0.0, min(step, end - time.monotonic()))
            ready = set(wait([slot.connection for slot in busy], left))
            done = [found for slot in busy if slot.connection in ready and (found := self._answer(slot))]
            done += [self._end(slot, over) for slot in busy if slot.tasks and (over := self._over(slot))]
            if done or time.monotonic() >= end:
                return done

    def close(self) -> None:
        """Ends all processes; what they are at is lost."""
        for slot in self._slots:
            slot.connection.close()
            # One that never came up may hang before it looks at its connection.
            if slot.tasks or not slot.is_up:
                slot.process.kill()
        for slot in self._slots:
            slot.process.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _start(self) -> _Slot:
        ours, theirs = self._context.Pipe()
        process = self._context.Process(target=_run, args=(self._serve, theirs, self._state), daemon=True)
        process.start()
        # Only the child has its end now: the parent sees an end of file when it dies.
        theirs.close()
        return _Slot(process, ours)

    def _answer(self, slot: _Slot) -> tuple[Any, Any] | None:
        try:
            answer = slot.connection.recv()
        except (EOFError, OSError):
            slot.process.join()
            spent = time.monotonic() - slot.begun
            return self._end(slot, Died(f"its process ended with exit code {slot.process.exitcode}", "", spent))
        if not slot.is_up:
            # It says that it is there. Its task has waited for it in the pipe, and begins now.
            slot.is_up, slot.begun = True, time.monotonic()
            return None
        slot.begun = time.monotonic()
        task = slot.tasks.popleft()
        if slot.unsent:
            self._send(slot, slot.unsent.popleft())
        return task, answer

    def _over(self, slot: _Slot) -> Died | None:
        limits = self._limits
        if not slot.is_up:
            return None
        spent = time.monotonic() - slot.begun
        if limits.seconds and spent > limits.seconds:
            return Died(f"it took more than {limits.seconds:g} s", "time", spent)
        if limits.memory_bytes and (used := _resident_bytes(slot.process.pid)) > limits.memory_bytes:
            reason = f"its process used {used >> 20} MiB, more than {limits.memory_bytes >> 20}"
            return Died(reason, "memory", spent)
        return None

    def _end(self, slot: _Slot, died: Died) -> tuple[Any, Any]:
        """Puts a new process in the place of one that died or must."""
        slot.process.kill()
        slot.process.join()
        slot.connection.close()
        task, *others = slot.tasks
        slot.tasks.clear()
        position = self._slots.index(slot)
        self._slots[position] = self._start()
        for other in others:
            self._give(self._slots[position], other)
        return task, died

    def _give(self, slot: _Slot, task: Any) -> None:
        pickled = ForkingPickler.dumps(task)
        if slot.tasks and len(pickled) > _AHEAD_BYTES:
            slot.unsent.append(pickled)
        else:
            slot.begun = slot.begun if slot.tasks else time.monotonic()
            self._send(slot, pickled)
        slot.tasks.append(task)

    def _send(self, slot: _Slot, pickled: memoryview) -> None:
        try:
            slot.connection.send_bytes(pickled)
        except OSError:
            return  # it died while it was idle: `wait` finds out


def _run(serve: Callable[[Connection, Any], None], connection: Connection, state: Any) -> None:
    """What a process does: says that it is there, then serves."""
    with contextlib.suppress(OSError):
        connection.send(None)
        serve(connection, state)


def may_spawn() -> bool:
    """Whether this process may have children at all."""
    return not multiprocessing.current_process().daemon


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _resident_bytes(pid: int | None) -> int:
    try:
        pages: Sequence[str] = Path(f"/proc/{pid}/statm").read_text("ascii").split()
        return int(pages[1]) * os.sysconf("SC_PAGE_SIZE")
    except (OSError, IndexError, ValueError):
        return 0
