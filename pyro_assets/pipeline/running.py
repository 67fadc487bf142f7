"""Runs: which jobs of which hours, in which order, until when; and what each hour came to.

Add what concerns several jobs at once here; a single job is `work`'s.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from pyro_assets.ledger.claims import COMMITTED_STATES
from pyro_assets.ledger.ledger import Lane, Ledger
from pyro_assets.ledger.schema import OPEN_STATES
from pyro_assets.pipeline.allocator import keep_freed_memory
from pyro_assets.pipeline.reports import Progress, RunCounts
from pyro_assets.pipeline.work import Outcome, Worker

#: So many messages of failed jobs are kept of an hour.
_MAX_ERRORS = 20


@dataclass(frozen=True, slots=True)
class Order:
    """What a run is to do.

    Attributes:
        compact: do planned jobs; otherwise derive the series of committed ones again.
        kinds: kinds of series.
        lane: the share of the shards, None for all.
        deadline_monotonic: no job is begun after this `time.monotonic()`.
        progress: called after each job.
    """

    compact: bool
    kinds: frozenset[str]
    lane: Lane | None = None
    deadline_monotonic: float | None = None
    progress: Callable[[Progress], None] | None = None


def run_hours(ledger: Ledger, worker: Worker, hours: Sequence[str], order: Order) -> dict[str, RunCounts]:
    """Does what is due in these hours when it starts, oldest first.

    Returns:
        Counts for each of the hours.

    Raises:
        LedgerUnavailable: what was done until then is committed.
    """
    listed = list(_listed(ledger, worker, sorted(set(hours)), order))
    return run_jobs(worker, listed, order) if listed else {}


def run_jobs(worker: Worker, listed: Sequence[tuple[str, str]], order: Order) -> dict[str, RunCounts]:
    """Does these jobs, given as (hour, id), in their order.

    Raises:
        LedgerUnavailable: what was done until then is committed.
    """
    keep_freed_memory()
    counts: dict[str, RunCounts] = {}
    states = OPEN_STATES if order.compact else COMMITTED_STATES
    for done, (hour, job_id) in enumerate(listed, 1):
        count = counts.setdefault(hour, RunCounts())
        if order.deadline_monotonic is not None and time.monotonic() >= order.deadline_monotonic:
            count.left += 1
            continue
        begun = time.perf_counter()
        job = worker.ledger.claim(job_id, worker.run_id, worker.clock(), worker.lease_ms, worker.retry, states=states)
        if job is None:
            count.busy += 1
        else:
            # Of an open job only what it lacks; of a backfilled one what was asked for.
            attempt = worker.do(job, order.kinds - job.kinds if order.compact else order.kinds)
            count.compacted += attempt.compacted
            count.derived += attempt.derived
            count.failed += attempt.outcome is Outcome.FAILED
            count.busy += attempt.outcome is Outcome.BUSY
            if attempt.error and len(count.errors) < _MAX_ERRORS:
                count.errors.append(attempt.error)
        count.seconds += time.perf_counter() - begun
        if order.progress is not None:
            order.progress(Progress(done, len(listed), job_id, hour))
    return counts


def _listed(ledger: Ledger, worker: Worker, hours: Sequence[str], order: Order) -> Iterator[tuple[str, str]]:
    now_ms = worker.clock()
    if order.compact:
        # A backfill names thousands of hours, of which few have work.
        due = ledger.due_hours(now_ms, order.kinds, order.lane)
        hours = [hour for hour in hours if hour in due]
    for hour in hours:
        if order.compact:
            ids = ledger.due_jobs(hour, now_ms, kinds=order.kinds, lane=order.lane)
        else:
            ids = ledger.committed_jobs(hour, order.lane)
        yield from ((hour, job_id) for job_id in ids)
