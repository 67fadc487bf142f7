"""Runs: which jobs of which hours, in which order, until when; and what each hour came to.

Here, too:
* which jobs a run does first: what has just landed, then the backlog in the order that the settings say;
* whether a failure that looks like the program's is the program's, or that of one job which brings it about.

Add what concerns several jobs at once here; a single job is `work`'s.
"""

import gc
import math
import time
from collections import deque
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Final

from pyro_assets.errors import LedgerUnavailable, ProgramError
from pyro_assets.jobs.claims import Claims
from pyro_assets.jobs.compute import MOST_TOGETHER, Answer, Task, passes, serve
from pyro_assets.jobs.counts import Progress, RunCounts
from pyro_assets.jobs.pool import NO_LIMITS, Died, Pool, keep_freed_memory, may_spawn
from pyro_assets.jobs.work import Attempt, Leases, Outcome, Worker
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
#: Where nothing can be done before, a process must be there after this time.
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
        queue = _Queue(worker, order, tally, deque(listed), landed, leases)
        try:
            _run_alone(worker, queue)
        except (KeyboardInterrupt, SystemExit, LedgerUnavailable, ProgramError):
            queue.give_back(queue.ready)
            raise
    tally.suspects.end()
    return tally.counts


def _run_alone(worker: Worker, queue: "_Queue") -> None:
    """Does jobs in this process, as long as others are not worth their start."""
    begun, done, may_pool, isolated = time.perf_counter(), 0, True, set[str]()
    while queue.ready or queue.waiting:
        queue.claim_landed()
        if not queue.ready:
            left = len(queue.waiting)
            # What the first ones took tells what the others will.
            needs = (time.perf_counter() - begun) / done * left if done else math.inf
            is_isolated = queue.waiting[0][1] in isolated
            if may_pool and (is_isolated or _wants_pool(worker, left, needs)):
                if run_pooled(worker, queue, takes_part=not (is_isolated or worker.limits.memory_bytes)):
                    return
                may_pool = False
            queue.claim()
            continue
        if queue.ready[0][0].job.isolate and may_pool and worker.limits != NO_LIMITS:
            # After all others, in a process that may end.
            tasks = queue.ready.popleft()
            queue.give_back([tasks])
            job = tasks[0].job
            queue.waiting.append((job.hour, job.id))
            isolated.add(job.id)
            continue
        done += queue.compute()
        _forget_what_stays()


@cache
def _forget_what_stays() -> None:
    """Lets the garbage collector look at new objects only: to look at all that was imported takes 70 ms each time."""
    gc.freeze()


def run_pooled(worker: Worker, queue: "_Queue", *, takes_part: bool) -> bool:
    """Does jobs in several processes, claimed and committed by this one.

    Args:
        worker: says in how many.
        queue: the jobs.
        takes_part: this process is one of them: it goes on with the jobs while the others start, and beside them.

    Returns:
        False if processes cannot be started here; nothing was done then.

    Raises:
        LedgerUnavailable: what was done until then is committed.
    """
    if not may_spawn():
        return False
    state = (worker.compactor, worker.deriver)
    with Pool(serve, state, min(worker.processes - takes_part, len(queue.waiting)), worker.limits) as pool:
        is_up = not takes_part and pool.come_up(_START_SECONDS)
        if not (takes_part or is_up):
            return False
        answered: deque[tuple[list[Task], list[Answer] | Died]] = deque()
        try:
            while queue.claim_ahead(worker.processes) or pool.tasks:
                is_up = is_up or pool.come_up(0.0)
                if is_up:
                    # First work for the processes: what follows takes this process alone.
                    queue.fill(pool)
                computes = takes_part and queue.claim_ahead(1) and not queue.ready[0][0].job.isolate
                is_up = is_up or (not computes and pool.come_up(_START_SECONDS))
                if computes or not is_up:
                    queue.compute()
                answered.extend(pool.wait(0.0 if computes else _WAIT_SECONDS) if pool.tasks else [])
                if is_up:
                    queue.fill(pool)
                while answered:
                    tasks, answers = answered.popleft()
                    if isinstance(answers, Died) and len(tasks) > 1:
                        # Which of them it was shows when each is alone, and not in this process.
                        alone = [replace(task, job=replace(task.job, isolate=True)) for task in tasks]
                        queue.ready.extend([task] for task in alone)
                    elif isinstance(answers, Died):
                        queue.settle(tasks, [answers], answers.seconds / worker.processes)
                    else:
                        seconds = sum(answer.seconds for answer in answers)
                        queue.settle(tasks, answers, seconds / worker.processes)
        except (KeyboardInterrupt, SystemExit, LedgerUnavailable, ProgramError):
            # What was answered and not looked at is with no process any more.
            queue.give_back([*(tasks for tasks, _ in answered), *pool.tasks])
            raise
    return True


class _Queue:
    """Jobs on their way: listed, claimed and put into passes, settled.

    Attributes:
        waiting: not claimed yet.
        ready: passes of claimed jobs. Some are claimed before they are needed, so that no process waits for that.
    """

    def __init__(
        self,
        worker: Worker,
        order: Order,
        tally: "_Tally",
        waiting: deque[Listed],
        landed: Callable[[], list[Listed]],
        leases: Leases,
    ) -> None:
        self.waiting = waiting
        self.ready: deque[list[Task]] = deque()
        self._worker = worker
        self._order = order
        self._tally = tally
        self._landed = landed
        self._leases = leases
        # What is committed already is read from its own blocks, job by job.
        can_share = order.compact and worker.compactor.engine.compact_jobs is not None
        self._together = MOST_TOGETHER if can_share else 1

    def fill(self, pool: Pool) -> bool:
        """Gives passes to processes that take some; False when there are none any more."""
        while pool.has_room and self.claim_ahead(1):
            pool.submit(self.ready.popleft())
        return bool(self.ready or self.waiting)

    def claim_ahead(self, number: int) -> bool:
        """Claims jobs until so many passes are ready; False when there is none."""
        self.claim_landed()
        while self.waiting and len(self.ready) < number:
            # The last ones are dealt evenly.
            self.claim(-(-len(self.waiting) // (2 * self._worker.processes)))
        return bool(self.ready)

    def claim_landed(self) -> None:
        """Claims what has just landed: it goes before all others."""
        more = self._landed()
        self._tally.expect(len(more))
        self.ready.extendleft(reversed(self._claimed(more)))

    def claim(self, most: int = MOST_TOGETHER) -> None:
        """Claims jobs for a pass, at most so many."""
        listed: list[Listed] = []
        while self.waiting and len(listed) < min(most, self._together):
            listed.append(self.waiting.popleft())
        made = self._claimed(listed)
        if made and self._together > 1:
            # Large jobs are alone: those that this process does not come to soon are left for others.
            self._together = min(MOST_TOGETHER, 2 * max(len(tasks) for tasks in made))
        self.ready.extend(made)

    def _claimed(self, listed: Sequence[Listed]) -> list[list[Task]]:
        worker = self._worker
        listed = [(hour, job_id) for hour, job_id in listed if not self._tally.is_over(hour)]
        if not listed:
            return []
        claimed = Claims(worker.ledger).claim_all(
            [job_id for _, job_id in listed],
            worker.run_id,
            worker.clock(),
            worker.lease_ms,
            worker.retry,
            states=OPEN_STATES if self._order.compact else COMMITTED_STATES,
            asked_ms=worker.asked_ms,
        )
        tasks = []
        for (hour, job_id), job in zip(listed, claimed, strict=True):
            task = None if job is None else self._task(job)
            if isinstance(task, Task):
                tasks.append(task)
            else:
                self._tally.note(hour, job_id, task, 0.0)
        return list(passes(tasks, worker.compactor))

    def _task(self, job: Job) -> Task | Attempt:
        # Of an open job only what it lacks; of a backfilled one what was asked for.
        kinds = self._order.kinds - job.kinds if self._order.compact else self._order.kinds
        task = self._worker.task(job, kinds)
        if isinstance(task, Task):
            self._leases.hold(job)
        return task

    def compute(self) -> int:
        """Does the next pass in this process; returns how many jobs that were."""
        started = time.perf_counter()
        tasks = self.ready.popleft()
        answers = self._worker.compute(tasks)
        self.settle(tasks, answers, time.perf_counter() - started)
        return len(tasks)

    def settle(self, tasks: Sequence[Task], answers: Sequence[Answer | Died], seconds: float) -> None:
        """Commits a pass, which took so long; what is left of its jobs comes after all others."""
        for task in tasks:
            self._leases.let_go(task.job)
        for task, attempt in zip(tasks, self._worker.settle(tasks, answers), strict=True):
            hour = task.job.hour
            if attempt.outcome is Outcome.LATER:
                self.waiting.append((hour, task.job.id))
                continue
            self.waiting.extend((hour, part) for part in attempt.parts)
            self._tally.expect(len(attempt.parts))
            self._tally.suspects.judge(task.job, attempt, seconds / len(tasks))

    def give_back(self, passes: Iterable[Sequence[Task]]) -> None:
        """Lets claimed jobs go as if they had not been tried."""
        for task in [task for tasks in passes for task in tasks]:
            self._leases.let_go(task.job)
            self._worker.give_back([task.job])


def _wants_pool(worker: Worker, left: int, needs_seconds: float) -> bool:
    if worker.limits.memory_bytes:
        return True
    return worker.processes > 1 and left > worker.processes and worker.pool_after_seconds < needs_seconds < math.inf


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
