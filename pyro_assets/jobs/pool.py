"""Processes that do the computing of jobs, so that a run uses all cores; claims and commits stay with their parent.

Here, too:
* how the C library keeps memory that arrays gave back;
* the time limit of jobs that a run computes itself: it holds whatever the interpreter is stuck in.

Add what a parent must know of its processes here; what is done inside one is `work`'s. Each process is an executor of
its own, because an executor gives up all its tasks when one of its processes ends. Processes are spawned, not forked:
Arrow and Polars have threads, which a fork would leave locked.
"""

import atexit
import contextlib
import ctypes
import faulthandler
import json
import multiprocessing
import os
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, BrokenExecutor, Future, ProcessPoolExecutor, wait
from dataclasses import asdict, dataclass, field, replace
from functools import cache
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, Final, Self

from pyro_assets.errors import PyroAssetsError
from pyro_assets.jobs.claims import Claims, Retry
from pyro_assets.jobs.loading import JobRecords
from pyro_assets.ledger.database import Ledger
from pyro_assets.ledger.records import Failure, Job

#: A process has so many tasks at a time: the next one lies in its pipe already when it is done with one.
_TASKS: Final = 2


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
    """One process and its tasks; it is at the first one since `begun`, which is None until it has come up."""

    executor: ProcessPoolExecutor
    process: BaseProcess
    up: Future[None]
    tasks: deque[tuple[Any, Future[Any]]] = field(default_factory=deque)
    begun: float | None = None


class Pool:
    """Some processes, each with a task and the next one, so that none waits for the parent. A context manager.

    Args:
        serve: a module's function that takes `state` and returns what answers a task.
        state: pickled once for each process.
        processes: how many.
        limits: of each task.
    """

    def __init__(
        self, serve: Callable[[Any], Callable[[Any], Any]], state: Any, processes: int, limits: Limits = NO_LIMITS
    ) -> None:
        self._begin = serve, state
        self._limits = limits
        self._slots = [self._start() for _ in range(processes)]

    @property
    def has_room(self) -> bool:
        """Whether some process takes another task."""
        return any(len(slot.tasks) < _TASKS for slot in self._slots)

    @property
    def tasks(self) -> list[Any]:
        """What the processes are at, and have before them."""
        return [task for slot in self._slots for task, _ in slot.tasks]

    def come_up(self, timeout_seconds: float) -> bool:
        """Waits for all processes; False where one does not start (its main module cannot be imported again)."""
        done, waiting = wait([slot.up for slot in self._slots], timeout_seconds)
        return not waiting and all(future.exception() is None for future in done)

    def submit(self, task: Any) -> None:
        """Gives a task to the process that has fewest; call it where there is room."""
        self._give(min(range(len(self._slots)), key=lambda number: len(self._slots[number].tasks)), task)

    def wait(self, timeout_seconds: float) -> list[tuple[Any, Any]]:
        """Tasks that were answered or whose process died, with the answer or `Died`; empty when time is up."""
        end = time.monotonic() + timeout_seconds
        while True:
            done = [found for number in range(len(self._slots)) for found in self._look(number)]
            left = end - time.monotonic()
            if done or left <= 0:
                return done
            step = min(0.25, self._limits.seconds or 0.25) if self._limits != NO_LIMITS else left
            first = [slot.up if slot.begun is None else slot.tasks[0][1] for slot in self._slots if slot.tasks]
            wait(first, min(step, left), FIRST_COMPLETED)

    def close(self) -> None:
        """Ends all processes; what they are at is lost."""
        for slot in self._slots:
            # One that never came up may hang before it looks for tasks.
            if slot.tasks or not slot.up.done():
                slot.process.kill()
        for slot in self._slots:
            slot.executor.shutdown(cancel_futures=True)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _start(self) -> _Slot:
        executor = ProcessPoolExecutor(1, multiprocessing.get_context("spawn"), _begin, self._begin)
        up = executor.submit(_is_up)
        # From Python 3.14 on `kill_workers` does without.
        (process,) = executor._processes.values()
        return _Slot(executor, process, up)

    def _look(self, number: int) -> Iterator[tuple[Any, Any]]:
        """Takes what a process has answered; puts a new one in its place where it died or must."""
        slot = self._slots[number]
        if slot.begun is None and slot.up.done():
            slot.begun = time.monotonic()
        while slot.tasks and slot.tasks[0][1].done():
            task, future = slot.tasks[0]
            error = future.exception()
            if isinstance(error, BrokenExecutor):
                slot.executor.shutdown()
                yield self._end(number, f"its process ended with exit code {slot.process.exitcode}")
                return
            slot.tasks.popleft()
            slot.begun = time.monotonic()
            yield task, future.result() if error is None else Died(f"its process gave no answer: {error!r}")
        if slot.tasks and slot.begun is not None:
            limits = self._limits
            if limits.seconds and time.monotonic() - slot.begun > limits.seconds:
                yield self._end(number, f"it took more than {limits.seconds:g} s", "time")
            elif limits.memory_bytes and (used := _resident_bytes(slot.process.pid)) > limits.memory_bytes:
                reason = f"its process used {used >> 20} MiB, more than {limits.memory_bytes >> 20}"
                yield self._end(number, reason, "memory")

    def _end(self, number: int, reason: str, limit: str = "") -> tuple[Any, Died]:
        """Puts a new process in the place of one, and gives it what the other had not begun."""
        slot = self._slots[number]
        slot.process.kill()
        slot.executor.shutdown(cancel_futures=True)
        self._slots[number] = self._start()
        (task, _), *others = slot.tasks
        for other, _ in others:
            self._give(number, other)
        return task, Died(reason, limit, time.monotonic() - (slot.begun or time.monotonic()))

    def _give(self, number: int, task: Any) -> None:
        slot = self._slots[number]
        try:
            future = slot.executor.submit(_answer, task)
        except BrokenExecutor:
            # It died while it was idle.
            slot.executor.shutdown()
            slot = self._slots[number] = self._start()
            future = slot.executor.submit(_answer, task)
        if not slot.tasks and slot.begun is not None:
            slot.begun = time.monotonic()
        slot.tasks.append((task, future))


#: What answers tasks, in a process of a pool.
_serving: Callable[[Any], Any]


def _begin(serve: Callable[[Any], Callable[[Any], Any]], state: Any) -> None:
    """What a process does first."""
    global _serving
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _serving = serve(state)


def _is_up() -> None:
    """The first task."""


def _answer(task: Any) -> Any:
    return _serving(task)


def _end_with_parent() -> None:
    """Ends this process when its parent is gone: its queue would never say so."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


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


# Names and numbers of glibc's malloc.h.
_M_TRIM_THRESHOLD: Final = -1
_M_MMAP_THRESHOLD: Final = -3
#: The largest threshold that glibc takes on 64-bit machines.
_MMAP_THRESHOLD_BYTES: Final = 32 << 20
#: What a process may keep between jobs.
_KEPT_BYTES: Final = 256 << 20


@cache
def keep_freed_memory() -> bool:
    """Let this process reuse freed memory up to 256 MiB instead of returning it to the system after every array.

    Arrow takes its memory from there, too, where it is not loaded yet: with pools of their own, what NumPy freed is
    none for Arrow, and a job of many symbols takes a quarter more.

    Returns:
        Whether it could be set; False where the C library is not glibc, which changes nothing but the speed.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (AttributeError, OSError, TypeError):
        return False
    os.putenv("ARROW_DEFAULT_MEMORY_POOL", "system")
    return bool(mallopt(_M_MMAP_THRESHOLD, _MMAP_THRESHOLD_BYTES)) and bool(mallopt(_M_TRIM_THRESHOLD, _KEPT_BYTES))


_STDERR: Final = 2
#: Imports nothing of ours until there is something to tell, and finds this module wherever this process has found it.
_PROGRAM: Final = """
import sys, time
note = b""
for note in sys.stdin.buffer:
    pass
if note.startswith(b"{"):
    ended = time.monotonic()
    sys.path[:] = sys.argv[1:]
    from pyro_assets.jobs.pool import tell_of_last
    tell_of_last(note, ended)
"""
#: Starting the second process anew, and telling it of jobs, is one thread's at a time.
_LOCK: Final = threading.Lock()
_teller: subprocess.Popen[bytes] | None = None


@contextlib.contextmanager
def limited(ledger: Ledger, jobs: Sequence[Job], seconds: float, retry: Retry) -> Iterator[None]:
    """Ends this process, with status 1 and its stacks on stderr, if the block takes longer; 0 seconds: no limit.

    Not for blocks that are inside of each other, or in several threads: the process has one such timer, and the last
    one that was set counts.

    Args:
        ledger: has the jobs.
        jobs: as this process claimed them; which of several it was shows when each is alone.
        seconds: wall time.
        retry: when they are tried again.
    """
    if not seconds:
        yield
        return
    note = {"seconds": seconds, "begun": time.monotonic(), "ledger": ledger.url, "retry": asdict(retry)}
    held = [{"id": job.id, "hour": job.hour, "shard": job.shard, "fence": job.fence} for job in jobs]
    _tell(note | {"jobs": held, "run_id": jobs[0].run_id})
    faulthandler.dump_traceback_later(seconds, exit=True, file=_STDERR)
    try:
        yield
    finally:
        faulthandler.cancel_dump_traceback_later()
        _tell(None)


def _tell(note: dict[str, Any] | None) -> None:
    """Tells the second process what this one is at; the limit holds without it, too."""
    # One for all runs of a process: each start would be lag.
    global _teller
    with _LOCK, contextlib.suppress(OSError):
        if _teller is None:
            _teller = subprocess.Popen(  # noqa: S603 - our own program
                [sys.executable, "-c", _PROGRAM, *sys.path],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                bufsize=0,
                # Ctrl-C and a supervisor's signals are for those who work: it ends when its pipe does.
                start_new_session=True,
            )
            atexit.register(_teller.__exit__, None, None, None)
        assert _teller.stdin is not None  # noqa: S101 - made with a pipe
        _teller.stdin.write(json.dumps(note).encode() + b"\n")


def _tell_the_end(note: dict[str, Any]) -> None:
    """Says that a job took its run with it, and notes it in the ledger."""
    run_id, limit = note["run_id"], f"it took more than {note['seconds']:g} s"
    first, *others = note["jobs"]
    where = f"job {first['id']} of {first['hour']}, shard {first['shard']}"
    beside = f", or one of {len(others)} jobs at the same time" if others else ""
    sys.stderr.write(
        f"Error: {where}{beside}: {limit} (PYRO_ASSETS_JOB_SECONDS), so the run {run_id} was ended; its stacks stand "
        "above. What it had done is committed. The next run does all other jobs, then this one in a process of its own "
        "that finds which source is to blame; `pyro-assets quarantine list --all` shows what came of it\n"
    )
    failure = Failure("LimitExceeded", f"{limit}, and the run {run_id} was ended with it")
    try:
        ledger = Ledger.open(note["ledger"])
        try:
            for one in note["jobs"]:
                job, _ = JobRecords(ledger).look_up(one["id"])
                held = replace(job, fence=one["fence"], run_id=run_id)
                Claims(ledger).fail(held, failure, time.time_ns() // 1_000_000, Retry(**note["retry"]))
        finally:
            ledger.close()
    except PyroAssetsError as error:
        sys.stderr.write(f"The ledger does not know of it, beyond that the job was begun: {error}\n")


def tell_of_last(line: bytes, ended: float) -> None:
    """What the second process does when the first one is gone: tells of its last job if that took too long."""
    note = json.loads(line)
    if ended - note["begun"] >= note["seconds"]:
        _tell_the_end(note)
