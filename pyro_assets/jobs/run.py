"""Runs: which jobs of which hours, in which order, until when; and what each hour came to.

Here, too:
* which jobs a run does first: what has just landed, then the backlog in the order that the settings say;
* whether a failure that looks like the program's is the program's, or that of one job which brings it about.

Add what concerns several jobs at once here; a single job is `work`'s.
"""

import math
import time
from collections import deque
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from pyro_assets.errors import ProgramError
from pyro_assets.jobs.claims import Claims
from pyro_assets.jobs.counts import Progress, RunCounts
from pyro_assets.jobs.pool import NO_LIMITS, Died, Pool, keep_freed_memory, may_spawn
from pyro_assets.jobs.work import Answer, Attempt, Leases, Outcome, Task, Worker, serve
from pyro_assets.ledger.database import Ledger
from pyro_assets.ledger.records import Job, Lane
from pyro_assets.ledger.schema import COMMITTED_STATES, OPEN_STATES
from pyro_assets.planning.due import DueJobs
from pyro_assets.rules.stored import RuleMark, RuleUse
from pyro_assets.storage.keys import hour_of

#: What was created so long ago has landed just now: a job's age, the time of a run to start, and some more.
EDGE_MS: Final = 120_000
#: A look costs a millisecond or two.
_LOOK_SECONDS: Final = 2.0
Listed = tuple[str, str]


class Agenda:
    """The due jobs of some hours, as (hour, id).

    Args:
        ledger: says what is due.
        hours: partition keys, the only ones that are touched.
        kinds: a job that lacks one of these kinds of series has work to do.
        lane: only jobs of these shards.
        clock: Unix milliseconds.
        newest_first: the backlog begins with the latest hour instead of the oldest.
        monotonic: seconds, tells when to look again.
    """

    def __init__(
        self,
        ledger: Ledger,
        hours: Sequence[str],
        kinds: Collection[str],
        lane: Lane | None,
        clock: Callable[[], int],
        *,
        newest_first: bool = False,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._ledger = ledger
        self._hours = frozenset(hours)
        self._kinds = kinds
        self._lane = lane
        self._clock = clock
        self._newest_first = newest_first
        self._monotonic = monotonic
        self._seen: set[str] = set()
        self._looked = monotonic()

    def listed(self) -> list[Listed]:
        """All that is due now, in the order in which it is to be done."""
        edge = self._edge()
        now_ms = self._clock()
        # A backfill names thousands of hours, of which few have work.
        due = DueJobs(self._ledger).due_hours(now_ms, self._kinds, self._lane, min(self._hours, default=""))
        backlog = [
            (hour, job_id)
            for hour in sorted(self._hours & set(due), reverse=self._newest_first)
            for job_id in DueJobs(self._ledger).due_jobs(hour, now_ms, kinds=self._kinds, lane=self._lane)
            if job_id not in self._seen
        ]
        self._seen.update(job_id for _, job_id in backlog)
        return edge + backlog

    def landed(self) -> list[Listed]:
        """What became due at the live edge since it was last asked; it goes before all that is left."""
        now = self._monotonic()
        if now - self._looked < _LOOK_SECONDS:
            return []
        self._looked = now
        return self._edge()

    def _edge(self) -> list[Listed]:
        now_ms = self._clock()
        hours = sorted({hour_of(now_ms - EDGE_MS), hour_of(now_ms)} & self._hours)
        found = [
            (hour, job_id)
            for hour in hours
            for job_id in DueJobs(self._ledger).due_jobs(
                hour, now_ms, kinds=self._kinds, lane=self._lane, since_ms=now_ms - EDGE_MS
            )
            if job_id not in self._seen
        ]
        self._seen.update(job_id for _, job_id in found)
        return found


#: So many jobs in a row, with none that was done, and the program is at fault.
_ENOUGH: Final = 3


class Suspects:
    """The jobs of a run whose failures are not judged yet; they are claimed until then.

    Args:
        worker: has claimed them.
        note: told of every attempt that is judged, with its job and its seconds.
    """

    def __init__(self, worker: Worker, note: Callable[[Job, Attempt, float], None]) -> None:
        self._worker, self._note = worker, note
        self._held: list[tuple[Job, Attempt, float]] = []

    def judge(self, job: Job, attempt: Attempt, seconds: float) -> None:
        """Takes an attempt.

        Raises:
            ProgramError: nothing works; no job is touched.
        """
        if attempt.outcome is Outcome.SUSPECT:
            self._held.append((job, attempt, seconds))
        else:
            self._note(job, attempt, seconds)
            self._worker.trust.works = self._worker.trust.works or attempt.outcome is Outcome.DONE
        if self._worker.trust.works:
            for other, failed, spent in self._held:
                self._note(other, self._worker.blame(other, failed), spent)
            self._held = []
        elif len(self._held) >= _ENOUGH:
            self.end()

    def end(self) -> None:
        """Judges what is left when there is no further job.

        Raises:
            ProgramError: nothing works; no job is touched.
        """
        if not self._held:
            return
        held, self._held = self._held, []
        self._worker.give_back(job for job, _, _ in held)
        _, first, _ = held[0]
        raise ProgramError(
            f"{len(held)} of {len(held)} jobs failed in a way that is no fault of theirs; the first: {first.error}. "
            "Something in this installation is missing or does not fit (`pyro-assets doctor` looks at versions); "
            "repair it: no job was touched, and the next run takes them all"
        ) from first.exception


#: So many messages of failed jobs are kept of an hour.
_MAX_ERRORS: Final = 20
#: A process must be there after this time.
_START_SECONDS: Final = 60.0
#: How long a look at the processes waits for an answer, at most.
_WAIT_SECONDS: Final = 0.5


@dataclass(frozen=True, slots=True)
class Order:
    """What a run is to do.

    Attributes:
        compact: do planned jobs; otherwise derive the series of committed ones again.
        kinds: kinds of series.
        rules: of committed jobs, only the series of these rules, and only where they are not done yet; none for all.
        lane: the share of the shards, None for all.
        deadline_monotonic: no job is begun after this `time.monotonic()`.
        progress: called after each job.
        newest_first: a backlog begins with the latest hour.
    """

    compact: bool
    kinds: frozenset[str]
    rules: tuple[RuleMark, ...] = ()
    lane: Lane | None = None
    deadline_monotonic: float | None = None
    progress: Callable[[Progress], None] | None = None
    newest_first: bool = False


def run_hours(ledger: Ledger, worker: Worker, hours: Sequence[str], order: Order) -> dict[str, RunCounts]:
    """Does what is due in these hours when it starts, and what lands meanwhile, in the order of an `Agenda`.

    Returns:
        Counts for each of the hours.

    Raises:
        LedgerUnavailable: what was done until then is committed.
    """
    if not order.compact:
        listed = list(_committed(ledger, sorted(set(hours)), order))
        counts = run_jobs(worker, listed, order) if listed else {}
        for hour, removed in DueJobs(ledger).jobs_removed_in(hours).items():
            counts.setdefault(hour, RunCounts()).removed = removed
        return counts
    agenda = Agenda(ledger, hours, order.kinds, order.lane, worker.clock, newest_first=order.newest_first)
    listed = agenda.listed()
    return run_jobs(worker, listed, order, agenda.landed) if listed else {}


def run_jobs(
    worker: Worker, listed: Sequence[Listed], order: Order, landed: Callable[[], list[Listed]] = list
) -> dict[str, RunCounts]:
    """Does these jobs, given as (hour, id), in their order; in several processes when that takes long enough.

    Args:
        worker: does them.
        listed: (hour, id) of each.
        order: what to do.
        landed: asked before each job for others that go before those that are left.

    Raises:
        LedgerUnavailable: what was done until then is committed.
        ProgramError: the program is at fault; no job was touched.
    """
    keep_freed_memory()
    tally = _Tally(worker, order, len(listed))
    with worker.keeping() as leases:
        _run_jobs(worker, list(listed), order, tally, landed, leases)
    tally.suspects.end()
    return tally.counts


def _run_jobs(
    worker: Worker,
    listed: list[Listed],
    order: Order,
    tally: "_Tally",
    landed: Callable[[], list[Listed]],
    leases: Leases,
) -> None:
    begun, may_pool, alone = time.perf_counter(), True, set[str]()
    for position, (hour, job_id) in enumerate(listed):
        if tally.is_over(hour):
            continue
        more = landed()
        listed[position + 1 : position + 1] = more
        tally.expect(len(more))
        left = len(listed) - position
        # What the first ones took tells what the others will; a process takes a second to start.
        needs = math.inf if position == 0 else (time.perf_counter() - begun) / position * left
        if may_pool and (job_id in alone or _wants_pool(worker, left, needs)):
            if run_pooled(worker, listed[position:], order, tally, landed, leases):
                return
            may_pool = False
        started = time.perf_counter()
        task = _claim(worker, job_id, order, leases)
        if isinstance(task, Task) and task.job.isolate and may_pool and worker.limits != NO_LIMITS:
            # After all others, in a process that may end.
            leases.let_go(task.job)
            worker.give_back([task.job])
            listed.append((hour, job_id))
            alone.add(job_id)
        elif isinstance(task, Task):
            answer = worker.compute(task)
            listed += _settle(worker, task, answer, tally, leases, time.perf_counter() - started)
        else:
            tally.note(hour, job_id, task, time.perf_counter() - started)


def _settle(
    worker: Worker, task: Task, answer: Answer | Died, tally: "_Tally", leases: Leases, seconds: float
) -> list[Listed]:
    """Commits what was computed of a job; the jobs that come after all others because of it."""
    leases.let_go(task.job)
    attempt = worker.settle(task, answer)
    if attempt.outcome is Outcome.LATER:
        return [(task.job.hour, task.job.id)]
    tally.expect(len(attempt.parts))
    tally.suspects.judge(task.job, attempt, seconds)
    return [(task.job.hour, part) for part in attempt.parts]


def run_pooled(
    worker: Worker,
    listed: Sequence[Listed],
    order: Order,
    tally: "_Tally",
    landed: Callable[[], list[Listed]],
    leases: Leases,
) -> bool:
    """Does jobs in several processes, claimed and committed by this one.

    Returns:
        False if processes cannot be started here; nothing was done then.

    Raises:
        LedgerUnavailable: what was done until then is committed.
    """
    if not may_spawn():
        return False
    state = (worker.compactor, worker.deriver)
    with Pool(serve, state, min(worker.processes, len(listed)), worker.limits) as pool:
        if not pool.come_up(_START_SECONDS):
            return False
        queue = _Queue(worker, order, tally, deque(listed), landed, leases)
        answered: deque[tuple[Task, Answer | Died]] = deque()
        try:
            while queue.fill(pool) or pool.tasks:
                queue.claim_ahead(worker.processes)
                answered.extend(pool.wait(_WAIT_SECONDS) if pool.tasks else [])
                # First work for the processes, then commits: these take this process alone.
                queue.fill(pool)
                while answered:
                    task, answer = answered.popleft()
                    queue.waiting += _settle(worker, task, answer, tally, leases, answer.seconds / worker.processes)
        except (KeyboardInterrupt, SystemExit, ProgramError):
            # What was answered and not looked at is with no process any more.
            for task in [*(task for task, _ in answered), *pool.tasks, *queue.claimed]:
                leases.let_go(task.job)
                worker.give_back([task.job])
            raise
    return True


class _Queue:
    """Jobs on their way to processes: some are claimed before they are needed, so that no process waits for that."""

    def __init__(
        self,
        worker: Worker,
        order: Order,
        tally: "_Tally",
        waiting: deque[Listed],
        landed: Callable[[], list[Listed]],
        leases: Leases,
    ) -> None:
        self.claimed: deque[Task] = deque()
        self.waiting = waiting
        self._worker = worker
        self._order = order
        self._tally = tally
        self._landed = landed
        self._leases = leases

    def fill(self, pool: Pool) -> bool:
        """Gives jobs to processes that take some; False when there are none any more."""
        while pool.has_room and self.claim_ahead(1):
            pool.submit(self.claimed.popleft())
        return bool(self.claimed or self.waiting)

    def claim_ahead(self, number: int) -> bool:
        """Claims jobs until there are so many; False when there is none."""
        more = self._landed()
        self.waiting.extendleft(reversed(more))
        self._tally.expect(len(more))
        while self.waiting and len(self.claimed) < number:
            hour, job_id = self.waiting.popleft()
            if self._tally.is_over(hour):
                continue
            task = _claim(self._worker, job_id, self._order, self._leases)
            if isinstance(task, Task):
                self.claimed.append(task)
            else:
                self._tally.note(hour, job_id, task, 0.0)
        return bool(self.claimed)


def _wants_pool(worker: Worker, left: int, needs_seconds: float) -> bool:
    if worker.limits.memory_bytes:
        return True
    return worker.processes > 1 and left > worker.processes and worker.pool_after_seconds < needs_seconds < math.inf


def _claim(worker: Worker, job_id: str, order: Order, leases: Leases) -> Task | Attempt | None:
    """Takes a job: what to compute of it, what came of it where that is impossible, or None where another has it."""
    states = OPEN_STATES if order.compact else COMMITTED_STATES
    ledger, now_ms, asked_ms = worker.ledger, worker.clock(), worker.asked_ms
    job = Claims(ledger).claim(
        job_id, worker.run_id, now_ms, worker.lease_ms, worker.retry, states=states, asked_ms=asked_ms
    )
    if job is None:
        return None
    # Of an open job only what it lacks; of a backfilled one what was asked for.
    task = worker.task(job, order.kinds - job.kinds if order.compact else order.kinds)
    if isinstance(task, Task):
        leases.hold(job)
    return task


class _Tally:
    """What a run did so far, by hour."""

    def __init__(self, worker: Worker, order: Order, total: int) -> None:
        self.counts: dict[str, RunCounts] = {}
        self.suspects = Suspects(worker, lambda job, attempt, seconds: self.note(job.hour, job.id, attempt, seconds))
        self._order = order
        self._total = total
        self._done = 0

    def expect(self, more: int) -> None:
        """Counts jobs that joined those that were listed."""
        self._total += more

    def is_over(self, hour: str) -> bool:
        """Whether there is no time for another job of this hour, which then is left."""
        deadline = self._order.deadline_monotonic
        over = deadline is not None and time.monotonic() >= deadline
        self.counts.setdefault(hour, RunCounts()).left += over
        self._done += over
        return over

    def note(self, hour: str, job_id: str, attempt: Attempt | None, seconds: float) -> None:
        """Counts an attempt; None for a job that somebody else has."""
        count = self.counts.setdefault(hour, RunCounts())
        if attempt is None:
            count.busy += 1
        else:
            count.compacted += attempt.compacted
            count.derived += attempt.derived
            count.failed += attempt.outcome is Outcome.FAILED
            count.busy += attempt.outcome is Outcome.BUSY
            if attempt.error and len(count.errors) < _MAX_ERRORS:
                count.errors.append(attempt.error)
        count.seconds += seconds
        self._done += 1
        if self._order.progress is not None:
            self._order.progress(Progress(self._done, self._total, job_id, hour))


def _committed(ledger: Ledger, hours: Sequence[str], order: Order) -> Iterator[Listed]:
    for hour in hours:
        if order.rules:
            ids = RuleUse(ledger).jobs_lacking_rules(hour, order.rules, order.lane)
        else:
            ids = DueJobs(ledger).committed_jobs(hour, order.lane)
        yield from ((hour, job_id) for job_id in ids)
