"""What becomes of claimed jobs: they are computed under leases, and all of it is committed to the ledger.

A job is claimed, computed (blocks, commit record and series files go into the archive) and settled, which tells the
ledger. Any crash may interrupt that order, whichever process computes; what is in the archive and not in the ledger is
found by the next attempt. Doing a job again gives the same bytes, so nothing here asks how far an earlier attempt came,
beyond what is committed. Add what follows from a kind of failure here; computing is `compute`'s.
"""

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from enum import Enum
from typing import TYPE_CHECKING

from pyro_assets.errors import JobConflict, LeaseLost, LedgerUnavailable, ObjectUnreadable, StorageError, TooLarge
from pyro_assets.jobs.claims import Claims, Commit, Retry
from pyro_assets.jobs.compact import Compactor, HigherLevel, failure_of
from pyro_assets.jobs.compute import Answer, Task, compute_pass, counts
from pyro_assets.jobs.counts import Trust
from pyro_assets.jobs.derive import Deriver
from pyro_assets.jobs.pool import NO_LIMITS, Died, Limits, limited
from pyro_assets.jobs.record import find_record
from pyro_assets.ledger.database import Ledger
from pyro_assets.ledger.records import Failure, Job
from pyro_assets.ledger.schema import JobState
from pyro_assets.settings import KINDS

if TYPE_CHECKING:
    from pyro_assets.rules.config import SeriesConfig


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

    def compute(self, tasks: Sequence[Task]) -> list[Answer]:
        """Computes a pass in this process.

        Raises:
            LedgerUnavailable: nothing can be recorded now; the jobs are given back, or their leases run out.
        """
        jobs = [task.job for task in tasks]
        renewed_ms = dict.fromkeys((job.id for job in jobs), self.clock())

        def still_ours(job: Job) -> None:
            """Renews the lease when it may run out; until then nobody else can have taken the job."""
            now_ms = self.clock()
            if now_ms - renewed_ms[job.id] >= self.lease_ms // 2:
                Claims(self.ledger).heartbeat(job, now_ms, self.lease_ms)
                renewed_ms[job.id] = now_ms

        try:
            with limited(self.ledger, jobs, self.limits.seconds, self.retry):
                return compute_pass(tasks, self.compactor, self.deriver, still_ours)
        except (LedgerUnavailable, KeyboardInterrupt, SystemExit):
            # A database that is full may still take this: its being full must not count as the job's failure.
            self.give_back(jobs)
            raise

    def settle(self, tasks: Sequence[Task], answers: Sequence[Answer | Died]) -> list[Attempt]:
        """Commits what was computed of claimed jobs, by one transaction.

        Returns:
            What came of each; failures are in the ledger, to be tried again.

        Raises:
            LedgerUnavailable: nothing can be recorded now; the jobs are given back, or their leases run out.
        """
        pairs = list(zip(tasks, answers, strict=True))
        commits = {task.job.id: made for task, answer in pairs if (made := _commit_of(task.job, answer))}
        states: dict[str, JobState | LeaseLost | None] = {}
        try:
            if commits:
                found = Claims(self.ledger).commit([*commits.values()], self.clock(), kinds=KINDS)
                states = dict(zip(commits, found, strict=True))
            return [self._settled(task.job, answer, states.get(task.job.id)) for task, answer in pairs]
        except JobConflict as error:
            if len(pairs) == 1:
                return [self._failed(tasks[0].job, Attempt(Outcome.DONE), error)]
            return [attempt for task, answer in pairs for attempt in self.settle([task], [answer])]
        except LedgerUnavailable:
            self.give_back(task.job for task in tasks)
            raise

    def _settled(self, job: Job, answer: Answer | Died, state: JobState | LeaseLost | None) -> Attempt:
        attempt = Attempt(Outcome.DONE)
        if isinstance(answer, Died):
            failure = Failure("LimitExceeded" if answer.limit else "WorkerDied", answer.reason)
            # A process may be killed for no fault of its job, once.
            if not job.committed and (answer.limit or job.attempts > 1):
                # A single source has two chances: the machine may have been slow, or its memory short.
                return self._reduce(job, attempt, failure, is_last=job.attempts > 1)
            return self._note_failure(job, attempt, failure, counts=True)
        if isinstance(state, LeaseLost):
            return Attempt(Outcome.BUSY, error=str(state))
        if answer.higher is not None:
            return self._note_level(job, answer.higher)
        attempt.compacted = answer.record is not None
        attempt.derived = answer.derived is not None and state != "lost"
        if answer.failure is None or state == "lost":
            return attempt
        return self._blamed(replace(job, committed=job.committed or attempt.compacted), attempt, answer, answer.failure)

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

    def _note_level(self, job: Job, higher: HigherLevel) -> Attempt:
        try:
            Claims(self.ledger).note_level(job, higher.level, higher.oldest_ms, higher.newest_ms)
        except LeaseLost as error:
            return Attempt(Outcome.BUSY, error=str(error))
        return Attempt(Outcome.LATER)

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
            committed = find_record(self.compactor.archive, job)
            if committed is None and len(job.sources) > 1:
                parts = tuple(Claims(self.ledger).split(job, self.clock(), failure, apart))
                text = f"{_text(job, failure)} (split into {len(parts)} smaller jobs)"
                return replace(attempt, outcome=Outcome.FAILED, error=text, parts=parts)
            if committed is None and is_last:
                committed = self.compactor.set_aside(job, failure)
            if committed is None:
                return self._note_failure(job, attempt, failure, counts=True)
            Claims(self.ledger).commit_compacted(job, committed, self.clock())
            attempt.compacted = True
            if committed.outputs:
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


def _commit_of(job: Job, answer: Answer | Died) -> Commit | None:
    """What the ledger is to know of an answer; None where nothing was made."""
    if isinstance(answer, Died) or answer.higher is not None:
        return None
    if answer.failure is not None and answer.record is None:
        return None
    goes_on = answer.failure is not None
    return Commit(job, answer.record, answer.compact_seconds, answer.derived, goes_on)
