"""Which jobs a run does first: what has just landed, then the backlog in the order that the settings say.

Add a rule of order here. A run looks again every few seconds, so that a backlog of hours does not delay what lands
meanwhile; which hours a run may touch, and how a job is done, is decided elsewhere.
"""

import time
from collections.abc import Callable, Collection, Sequence
from typing import Final

from pyro_assets.ledger.ledger import Lane, Ledger
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
        due = self._ledger.due_hours(now_ms, self._kinds, self._lane, min(self._hours, default=""))
        backlog = [
            (hour, job_id)
            for hour in sorted(self._hours & set(due), reverse=self._newest_first)
            for job_id in self._ledger.due_jobs(hour, now_ms, kinds=self._kinds, lane=self._lane)
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
            for job_id in self._ledger.due_jobs(
                hour, now_ms, kinds=self._kinds, lane=self._lane, since_ms=now_ms - EDGE_MS
            )
            if job_id not in self._seen
        ]
        self._seen.update(job_id for _, job_id in found)
        return found
