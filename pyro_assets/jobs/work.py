"""One job from claim to commit: blocks, commit record and series into the archive, then all of it into the ledger.

Any crash may interrupt that order, whichever process computes; what is in the archive and not in the ledger is found by
the next attempt. Add a step of the job here, with what repairs it; how a step does its work stands in `compact` and
`derive`. Doing a job again gives the same bytes, so nothing here asks how far an earlier attempt came, beyond what is
committed.
"""

import os
import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import TYPE_CHECKING

from pyro_assets.errors import (
    LeaseLost,
    LedgerUnavailable,
    ObjectChanged,
    ObjectUnreadable,
    StorageError,
    StorageUnavailable,
    TooLarge,
)
from pyro_assets.jobs.claims import Claims, Retry
from pyro_assets.jobs.compact import Compactor, HigherLevel, failure_of
from pyro_assets.jobs.counts import Trust
from pyro_assets.jobs.derive import Deriver
from pyro_assets.jobs.pool import NO_LIMITS, Died, Limits, keep_freed_memory, limited
from pyro_assets.jobs.record import CommitRecord
from pyro_assets.ledger.database import Ledger
from pyro_assets.ledger.records import Derivation, Failure, Job
from pyro_assets.settings import KINDS

if TYPE_CHECKING:
    from pyro_assets.block.columns import BlockColumns
    from pyro_assets.rules.config import SeriesConfig


@dataclass(frozen=True, slots=True)
class Task:
    """A claimed job and the kinds of series to derive; `config` where it is not derived with what is in force."""

    job: Job
    kinds: frozenset[str]
    config: "SeriesConfig | None" = None


@dataclass(slots=True)
class Answer:
    """What became of a task, before the ledger knows.

    Attributes:
        record: in the archive, of a job that was not committed; compact_seconds: how long that took.
        derived: its series, in the archive.
        failure: why it ended early; counts: whether that says something of the job; of_program: whether it looks like
            a fault of the program; exception: the same where this process has it; unreadable: the same where the
            bucket does not give out some sources.
        too_large: nothing was done: its sources need too much memory together.
        higher: nothing was done yet: it is a block of a higher level.
        seconds: how long all of it took.
    """

    record: CommitRecord | None = None
    compact_seconds: float = 0.0
    derived: Derivation | None = None
    failure: Failure | None = None
    counts: bool = True
    of_program: bool = False
    exception: Exception | None = None
    unreadable: ObjectUnreadable | None = None
    too_large: TooLarge | None = None
    higher: HigherLevel | None = None
    seconds: float = 0.0

    def fail(self, error: Exception) -> None:
        """Notes why it ended early."""
        self.failure = failure_of(error)
        self.counts = counts(error)
        self.of_program = is_of_program(error)
        self.exception = error
        self.unreadable = error if isinstance(error, ObjectUnreadable) else None
        self.too_large = error if isinstance(error, TooLarge) else None


def serve(state: tuple[Compactor, Deriver | None]) -> Callable[[Task], Answer]:
    """Makes a process of a pool ready to compute tasks."""
    # Ctrl-C reaches every process of a terminal: the parent decides what becomes of jobs.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    keep_freed_memory()
    import pyarrow as pa

    # Every core has a process already. Polars looks once, when it is first imported.
    pa.set_cpu_count(1)
    os.putenv("POLARS_MAX_THREADS", "1")

    def answer(task: Task) -> Answer:
        # Not every exception comes through a pipe; the parent renews the lease meanwhile.
        return replace(compute(task, *state, lambda: None), exception=None)

    return answer


def compute(task: Task, compactor: Compactor, deriver: Deriver | None, still_ours: Callable[[], None]) -> Answer:
    """Does the computing of one job; failures are part of the answer, together with what was done before them.

    Args:
        task: what to do.
        compactor: does its first half.
        deriver: does its second half.
        still_ours: raises LeaseLost when the job is not; called before anything is replaced.

    Raises:
        LedgerUnavailable: `still_ours` cannot be answered.
    """
    answer, begun = Answer(), time.perf_counter()
    try:
        _compute(task, compactor, deriver, still_ours, answer)
    except LedgerUnavailable:
        raise
    # Whatever a job does must not stop the others; it is recorded when the answer is settled.
    except Exception as error:  # noqa: BLE001
        answer.fail(error)
    answer.seconds = time.perf_counter() - begun
    return answer


def counts(error: BaseException) -> bool:
    """Whether a failure says something of the job, which a bucket that does not answer, or is written to, does not."""
    return not isinstance(error, StorageUnavailable | ObjectChanged)


def is_of_program(error: BaseException) -> bool:
    """Whether an error looks like a fault of the program or its installation, and not of what a job holds.

    >>> is_of_program(ModuleNotFoundError("no module")), is_of_program(ValueError("bad value"))
    (True, False)
    """
    return isinstance(error, ImportError | NameError | AttributeError | TypeError | SyntaxError | NotImplementedError)


def _compute(
    task: Task, compactor: Compactor, deriver: Deriver | None, still_ours: Callable[[], None], answer: Answer
) -> None:
    job = task.job
    columns: BlockColumns | None = None
    if not job.committed:
        begun = time.perf_counter()
        compacted = compactor.compact(job, still_ours)
        if isinstance(compacted, HigherLevel):
            answer.higher = compacted
            return
        answer.compact_seconds = time.perf_counter() - begun
        answer.record, columns = compacted.record, compacted.columns
        done = compacted.record
        job = replace(job, committed=True, outputs=done.outputs, instance=done.instance)
    if task.kinds and deriver is not None:
        answer.derived = deriver.derive(job, columns, task.kinds, still_ours, task.config)


class Outcome(Enum):
    """How an attempt ended."""

    DONE = "done"
    FAILED = "failed"
    BUSY = "busy"
    SUSPECT = "suspect"
    LATER = "later"


@dataclass(slots=True)
class Attempt:
    """What one attempt at a job did.

    Attributes:
        outcome: DONE: what was asked for is committed; FAILED: see `error`; BUSY: another worker has the job;
            LATER: it is a block of a higher level, and its turn comes after lower ones; SUSPECT: the program may be at
            fault, so nothing is recorded yet and the job is still claimed: see `Suspects`.
        compacted, derived: what this attempt committed, whatever came after.
        error: one sentence.
        failure, exception: of a suspect; an exception of another process stays there.
        parts: ids of the smaller jobs that it was split into; if it is DONE, because it was too large for one.
    """

    outcome: Outcome
    compacted: bool = False
    derived: bool = False
    error: str = ""
    failure: Failure | None = None
    exception: Exception | None = None
    parts: tuple[str, ...] = ()


class Leases:
    """The jobs that a run holds. Leases are renewed by another thread, and never after a job was let go."""

    def __init__(self) -> None:
        self._jobs: dict[str, Job] = {}
        self._lock = threading.Lock()

    def hold(self, job: Job) -> None:
        """Lets the lease of a claimed job be renewed from now on."""
        with self._lock:
            self._jobs[job.id] = job

    def let_go(self, job: Job) -> None:
        """Ends that; whoever commits a job or gives it back does this first."""
        with self._lock:
            self._jobs.pop(job.id, None)

    def each(self, act: Callable[[Job], None]) -> None:
        """Does something for each job while none can be let go."""
        with self._lock:
            for job in self._jobs.values():
                act(job)


@dataclass(frozen=True, slots=True)
class Worker:
    """Does jobs under leases: `task`, `compute`, `settle`.

    Attributes:
        ledger: where jobs are claimed and committed.
        compactor, deriver: the halves of a job.
        run_id: who holds the leases.
        lease_ms: how long without a word until another worker may take over.
        retry: what becomes of a job that fails.
        clock: Unix milliseconds.
        processes: so many compute at the same time where there is enough to do; 1: this process alone.
        limits: what a job may use. More memory can only be kept from other processes: with that limit they compute all
            jobs. More time ends this process, see `jobs.pool`, and the next run has the job computed in another one.
        pool_after_seconds: processes are started when this process alone would need so long for what is left.
        config_for: what a job is derived with where that is not what is in force, see `RuleKeeper`.
        trust: shared by all workers of a process.
        asked_ms: when the run began, where a person asked for it.
    """

    ledger: Ledger
    compactor: Compactor
    deriver: Deriver | None
    run_id: str
    lease_ms: int
    retry: Retry
    clock: Callable[[], int]
    processes: int = 1
    limits: Limits = NO_LIMITS
    pool_after_seconds: float = 3.0
    config_for: Callable[[Job], "SeriesConfig | None"] | None = None
    trust: Trust = field(default_factory=Trust)
    asked_ms: int | None = None

    def task(self, job: Job, kinds: frozenset[str]) -> Task | Attempt:
        """A claimed job made ready to be computed; an attempt that failed where that was not possible.

        Args:
            job: as claimed; if it is committed already, only its series are derived, from the archive.
            kinds: kinds of series to derive (again); none: the job is only compacted.

        Raises:
            LedgerUnavailable: nothing can be recorded now; the job is given back, or its lease runs out by itself.
        """
        try:
            return Task(job, kinds, self.config_for(job) if kinds and self.config_for is not None else None)
        except StorageError as error:
            return self._failed(job, Attempt(Outcome.DONE), error)
        except LedgerUnavailable:
            self.give_back([job])
            raise

    def compute(self, task: Task) -> Answer:
        """Computes a task in this process.

        Raises:
            LedgerUnavailable: nothing can be recorded now; the job is given back, or its lease runs out by itself.
        """
        job, renewed_ms = task.job, self.clock()

        def still_ours() -> None:
            """Renews the lease when it may run out; until then nobody else can have taken the job."""
            nonlocal renewed_ms
            now_ms = self.clock()
            if now_ms - renewed_ms >= self.lease_ms // 2:
                Claims(self.ledger).heartbeat(job, now_ms, self.lease_ms)
                renewed_ms = now_ms

        try:
            with limited(self.ledger, job, self.limits.seconds, self.retry):
                return compute(task, self.compactor, self.deriver, still_ours)
        except (LedgerUnavailable, KeyboardInterrupt, SystemExit):
            # A database that is full may still take this: its being full must not count as the job's failure.
            self.give_back([job])
            raise

    def settle(self, task: Task, answer: Answer | Died) -> Attempt:
        """Commits what was computed of a claimed job.

        Returns:
            What came of it; failures are in the ledger, to be tried again.

        Raises:
            LedgerUnavailable: nothing can be recorded now; the job is given back, or its lease runs out by itself.
        """
        job, attempt = task.job, Attempt(Outcome.DONE)
        if isinstance(answer, Died):
            failure = Failure("LimitExceeded" if answer.limit else "WorkerDied", answer.reason)
            # A process may be killed for no fault of its job, once.
            if not job.committed and (answer.limit or job.attempts > 1):
                # A single source has two chances: the machine may have been slow, or its memory short.
                return self._reduce(job, attempt, failure, is_last=job.attempts > 1)
            return self._note_failure(job, attempt, failure, counts=True)
        try:
            if answer.higher is not None:
                self._note_level(job, attempt, answer.higher)
                return attempt
            if answer.record is not None:
                done = answer.record.compaction(answer.compact_seconds)
                state = Claims(self.ledger).commit_compacted(job, done, self.clock())
                attempt.compacted = True
                if state == "lost":
                    return attempt
                job = replace(job, committed=True, outputs=done.outputs, instance=done.instance)
            if answer.failure is not None:
                return self._blamed(job, attempt, answer, answer.failure)
            if answer.derived is None:
                Claims(self.ledger).release(job)
                return attempt
            Claims(self.ledger).commit_derived(job, answer.derived, self.clock(), kinds=KINDS)
            attempt.derived = True
        except LeaseLost as error:
            return replace(attempt, outcome=Outcome.BUSY, error=str(error))
        except LedgerUnavailable:
            self.give_back([job])
            raise
        return attempt

    def give_back(self, jobs: Iterable[Job]) -> None:
        """Releases claimed jobs as if they had not been tried."""
        for job in jobs:
            self._quietly(lambda job=job: Claims(self.ledger).release(job, undone=True))  # type: ignore[misc]

    @contextmanager
    def keeping(self) -> "Iterator[Leases]":
        """Renews leases while a block runs, of the jobs that are held there."""
        leases, over = Leases(), threading.Event()

        def keep() -> None:
            while not over.wait(self.lease_ms / 4000):
                leases.each(lambda job: self._quietly(lambda: self._renew(job)))

        thread = threading.Thread(target=keep, name="leases", daemon=True)
        thread.start()
        try:
            yield leases
        finally:
            over.set()
            thread.join()

    def _renew(self, job: Job) -> None:
        # One that is lost shows when it is settled.
        Claims(self.ledger).heartbeat(job, self.clock(), self.lease_ms)

    def _note_level(self, job: Job, attempt: Attempt, higher: HigherLevel) -> None:
        Claims(self.ledger).note_level(job, higher.level, higher.oldest_ms, higher.newest_ms)
        attempt.outcome = Outcome.LATER

    def _set_apart(self, job: Job, attempt: Attempt, error: ObjectUnreadable) -> Attempt:
        """Splits sources that are not given out from the others, which go on; alone they have attempts of their own."""
        if not {source.key for source in job.sources}.issuperset(error.keys):
            # It is the archive that does not give out a block: no source is to blame.
            return self._note_failure(job, attempt, failure_of(error), counts=counts(error))
        is_last = job.attempts >= self.retry.max_attempts
        # What may pass is waited for.
        if error.may_pass and not is_last:
            return self._note_failure(job, attempt, failure_of(error), counts=True)
        return self._reduce(job, attempt, failure_of(error), error.keys, is_last=is_last)

    def _reduce(
        self, job: Job, attempt: Attempt, failure: Failure, apart: Sequence[str] = (), *, is_last: bool
    ) -> Attempt:
        """Splits a job, which a source of it spoils, down to that one alone, which is set aside by its last attempt.

        Args:
            job: is not committed.
            attempt: of it.
            failure: why.
            apart: keys that each get a job of their own; without any it is halved.
            is_last: a single source is set aside.
        """
        try:
            committed = self.compactor.committed(job)
            if committed is None and len(job.sources) > 1:
                parts = tuple(Claims(self.ledger).split(job, self.clock(), failure, apart))
                text = f"{_text(job, failure)} (split into {len(parts)} smaller jobs)"
                return replace(attempt, outcome=Outcome.FAILED, error=text, parts=parts)
            if committed is None and is_last:
                committed = self.compactor.set_aside(job, failure)
            if committed is None:
                return self._note_failure(job, attempt, failure, counts=True)
            done = committed.compaction(0.0)
            Claims(self.ledger).commit_compacted(job, done, self.clock())
            attempt.compacted = True
            if done.outputs:
                # It came as far as its record: smaller jobs would double its blocks.
                return self._note_failure(job, attempt, failure, counts=True)
            # What is left of it, series of nothing, comes with the next look at what is due.
            Claims(self.ledger).release(replace(job, committed=True))
        except LeaseLost as error:
            return replace(attempt, outcome=Outcome.BUSY, error=str(error))
        except StorageError as error:
            return self._failed(job, attempt, error)
        return replace(attempt, outcome=Outcome.FAILED, error=f"{_text(job, failure)} (its source is set aside)")

    def blame(self, job: Job, attempt: Attempt) -> Attempt:
        """Records the failure of a suspect as the job's own: tried again, later each time, and never given up."""
        assert attempt.failure is not None, "only of suspects"  # noqa: S101
        return self._note_failure(job, attempt, attempt.failure, counts=False, grows=True)

    def _cut(self, job: Job, attempt: Attempt, error: TooLarge) -> Attempt:
        """Deals sources that need too much memory together to as many jobs as that takes: nothing has failed."""
        parts = -(-error.needed_bytes // error.most_bytes)
        try:
            return replace(attempt, parts=tuple(Claims(self.ledger).split(job, self.clock(), None, parts=parts)))
        except LeaseLost as lost:
            return replace(attempt, outcome=Outcome.BUSY, error=str(lost))

    def _failed(self, job: Job, attempt: Attempt, error: Exception) -> Attempt:
        answer = Answer()
        answer.fail(error)
        return self._blamed(job, attempt, answer, failure_of(error))

    def _blamed(self, job: Job, attempt: Attempt, answer: Answer, failure: Failure) -> Attempt:
        if answer.too_large is not None and not job.committed:
            return self._cut(job, attempt, answer.too_large)
        if answer.unreadable is not None and not job.committed:
            return self._set_apart(job, attempt, answer.unreadable)
        if answer.of_program:
            text = _text(job, failure)
            return replace(attempt, outcome=Outcome.SUSPECT, error=text, failure=failure, exception=answer.exception)
        return self._note_failure(job, attempt, failure, counts=answer.counts)

    def _note_failure(
        self, job: Job, attempt: Attempt, failure: Failure, *, counts: bool, grows: bool = False
    ) -> Attempt:
        text = _text(job, failure)
        try:
            given_up = Claims(self.ledger).fail(job, failure, self.clock(), self.retry, counts=counts, grows=grows)
        except LeaseLost:
            return replace(attempt, outcome=Outcome.BUSY, error=text)
        if given_up:
            text += f" (given up after {self.retry.max_attempts} attempts: quarantined)"
        return replace(attempt, outcome=Outcome.FAILED, error=text)

    def _quietly(self, action: Callable[[], None]) -> None:
        """Does what is nice to do on the way out, where a failure must not hide why we leave."""
        try:
            action()
        except (LeaseLost, LedgerUnavailable):
            return


def _text(job: Job, failure: Failure) -> str:
    return f"job {job.id} of {job.hour}, shard {job.shard}: {failure.cause}: {failure.message}"
