"""Claims and commits: a worker holds a job by a lease, and its fence makes sure that it still does when it commits.

Add a transition between a job's states here, guarded by `_holding`. Which jobs are worth claiming is in `status`; what
is done to a job in between belongs to the pipeline.
"""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection, case, select

from pyro_assets.errors import LeaseLost
from pyro_assets.ledger.database import Database
from pyro_assets.ledger.loading import compacted_columns, load_job, output_row
from pyro_assets.ledger.pardons import split_sources
from pyro_assets.ledger.quarantine import forgive, give_up, note_failure
from pyro_assets.ledger.records import Compaction, Derivation, Failure, Job
from pyro_assets.ledger.schema import JobState, job_sources, jobs, outputs, series_files, sources

#: What a rule's backfill may claim, beside the open jobs: everything that has level-1 blocks.
COMMITTED_STATES: Final[tuple[JobState, ...]] = ("compacted", "derived", "exported", "quarantined")


@dataclass(frozen=True, slots=True)
class Retry:
    """When a failed job is tried again: after `base_ms`, doubled each time up to `cap_ms`, `max_attempts` times."""

    max_attempts: int = 5
    base_ms: int = 5_000
    cap_ms: int = 300_000

    def delay_ms(self, attempts: int) -> int:
        """How long to wait after so many attempts.

        >>> [Retry().delay_ms(attempts) for attempts in (1, 2, 3, 100)]
        [5000, 10000, 20000, 300000]
        """
        return min(self.base_ms << min(attempts - 1, 30), self.cap_ms)


class Claims(Database):
    """The part of the ledger that workers use."""

    def claim(
        self, job_id: str, run_id: str, now_ms: int, lease_ms: int, retry: Retry, *, states: Sequence[JobState]
    ) -> Job | None:
        """Takes a job that is in one of these states and that nobody has.

        A job whose workers died `retry.max_attempts` times without a word is quarantined instead.

        Returns:
            The job, or None when another worker has it, it waits for another try, or its state is another one.
        """
        with self._write() as connection:
            # One statement decides: of two workers, the second finds the lease taken.
            changed = connection.execute(
                jobs.update()
                .where(
                    jobs.c.id == job_id,
                    jobs.c.state.in_(states),
                    jobs.c.lease_expires_ms <= now_ms,
                    jobs.c.next_attempt_ms <= now_ms,
                )
                .values(
                    run_id=run_id,
                    fence=jobs.c.fence + 1,
                    lease_expires_ms=now_ms + lease_ms,
                    attempts=jobs.c.attempts + 1,
                )
            )
            if changed.rowcount != 1:
                return None
            job = load_job(connection, job_id)
            if job.attempts > retry.max_attempts and job.state in ("planned", "compacted"):
                died = Failure("WorkerDied", f"{retry.max_attempts} workers began this job and did not come back")
                give_up(connection, job, died, now_ms)
                return None
            return job

    def heartbeat(self, job: Job, now_ms: int, lease_ms: int) -> None:
        """Renews the lease.

        Raises:
            LeaseLost: another worker has the job.
        """
        with self._holding(job) as connection:
            connection.execute(jobs.update().where(jobs.c.id == job.id).values(lease_expires_ms=now_ms + lease_ms))

    def release(self, job: Job, *, undone: bool = False) -> None:
        """Gives the job back after it got further; with `undone`, as if it had not been tried.

        Raises:
            LeaseLost: another worker has the job.
        """
        with self._holding(job) as connection:
            attempts = jobs.c.attempts - 1 if undone else 0
            connection.execute(jobs.update().where(jobs.c.id == job.id).values(lease_expires_ms=0, attempts=attempts))

    def commit_compacted(self, job: Job, done: Compaction, now_ms: int) -> JobState:
        """Commits a job's level-1 blocks and what became of its sources.

        Returns:
            "compacted", the lease goes on; or "lost" when all its sources are, and nobody has the job any more.

        Raises:
            LeaseLost: another worker has the job; nothing was committed.
        """
        lost = bool(job.sources) and all(done.sources.get(source.key) == "lost" for source in job.sources)
        state: JobState = "lost" if lost else "compacted"
        with self._holding(job) as connection:
            connection.execute(
                jobs.update()
                .where(jobs.c.id == job.id)
                .values(
                    state=state,
                    attempts=1,
                    lease_expires_ms=0 if lost else jobs.c.lease_expires_ms,
                    compacted_ms=now_ms,
                    verified_ms=None,
                    compact_seconds=done.seconds,
                    **compacted_columns(done),
                )
            )
            connection.execute(outputs.delete().where(outputs.c.job_id == job.id))
            rows = [output_row(job.id, position, output) for position, output in enumerate(done.outputs)]
            if rows:
                connection.execute(outputs.insert(), rows)
            _commit_sources(connection, job, done, now_ms)
            forgive(connection, job.id)
        return state

    def commit_derived(self, job: Job, done: Derivation, now_ms: int, *, kinds: frozenset[str]) -> None:
        """Commits series files, replacing those of the same kinds, and gives the job back.

        Args:
            job: a job whose level-1 blocks are committed.
            done: what was written.
            now_ms: Unix milliseconds.
            kinds: all kinds that a derived job has: it is derived once it has them.

        Raises:
            LeaseLost: another worker has the job; nothing was committed.
        """
        with self._holding(job) as connection:
            for file in done.files:
                same = (series_files.c.job_id == job.id) & (series_files.c.kind == file.kind)
                connection.execute(series_files.delete().where(same))
                connection.execute(
                    series_files.insert().values(
                        job_id=job.id,
                        kind=file.kind,
                        key=file.key,
                        rows=file.rows,
                        size_bytes=file.size_bytes,
                        config_hash=done.config_hash,
                        written_ms=now_ms,
                    )
                )
            has = set(connection.execute(select(series_files.c.kind).where(series_files.c.job_id == job.id)).scalars())
            derived = kinds <= has
            facts = {**done.facts, **({"examples": done.examples} if done.examples else {})}
            values: dict[str, Any] = {
                "attempts": 0,
                "next_attempt_ms": 0,
                "lease_expires_ms": 0,
                "config_hash": done.config_hash,
                "derive_seconds": done.seconds,
                "derive_facts": json.dumps(facts) if facts else None,
            }
            if derived:
                # A backfill does not change when the series were first there, nor undo an export.
                values["derived_ms"] = case((jobs.c.derived_ms.is_(None), now_ms), else_=jobs.c.derived_ms)
                values["state"] = case((jobs.c.state.in_(("compacted", "quarantined")), "derived"), else_=jobs.c.state)
            connection.execute(jobs.update().where(jobs.c.id == job.id).values(values))
            if derived:
                forgive(connection, job.id)

    def mark_verified(self, job_id: str, now_ms: int) -> None:
        """Notes that a job's level-1 blocks were read back and found equal to its sources."""
        with self._write() as connection:
            connection.execute(jobs.update().where(jobs.c.id == job_id).values(verified_ms=now_ms))

    def fail(self, job: Job, failure: Failure, now_ms: int, retry: Retry, *, counts: bool = True) -> bool:
        """Gives a failed job back, to be tried again later, or gives it up after `retry.max_attempts`.

        Args:
            job: as claimed.
            failure: why.
            now_ms: Unix milliseconds.
            retry: how long to wait.
            counts: False for failures that say nothing of the job (the bucket does not answer): these are retried
                for ever.

        Returns:
            Whether it was given up.

        Raises:
            LeaseLost: another worker has the job.
        """
        with self._holding(job) as connection:
            # The claim's own count may be stale: a commit in between starts it anew.
            attempts, state = connection.execute(select(jobs.c.attempts, jobs.c.state).where(jobs.c.id == job.id)).one()
            if counts and attempts >= retry.max_attempts and state in ("planned", "compacted"):
                give_up(connection, job, failure, now_ms)
                return True
            connection.execute(
                jobs.update()
                .where(jobs.c.id == job.id)
                .values(
                    lease_expires_ms=0,
                    next_attempt_ms=now_ms + retry.delay_ms(attempts),
                    attempts=attempts if counts else max(attempts - 1, 0),
                )
            )
            note_failure(connection, "job", job.id, job, failure, now_ms, given_up=False)
        return False

    def split(self, job: Job, now_ms: int) -> list[str]:
        """Puts the sources of a claimed job that is not committed into two smaller ones: it was too large to be done.

        Returns:
            Their ids.

        Raises:
            LeaseLost: another worker has the job.
            LedgerError: it has a single source.
        """
        with self._holding(job) as connection:
            row = connection.execute(select(jobs).where(jobs.c.id == job.id)).one()
            return split_sources(connection, row, now_ms, 2)

    @contextmanager
    def _holding(self, job: Job) -> Iterator[Connection]:
        """A transaction that only goes on while the job is this worker's."""
        with self._write() as connection:
            # An update rather than a look: it keeps others out until the end of the transaction.
            held = connection.execute(
                jobs.update()
                .where(jobs.c.id == job.id, jobs.c.fence == job.fence, jobs.c.run_id == job.run_id)
                .values(fence=job.fence)
            )
            if held.rowcount != 1:
                raise LeaseLost(f"job {job.id} went to another worker while run {job.run_id} had it; its work stands")
            yield connection


def _commit_sources(connection: Connection, job: Job, done: Compaction, now_ms: int) -> None:
    of_job = select(job_sources.c.source_id).where(job_sources.c.job_id == job.id)
    connection.execute(sources.update().where(sources.c.id.in_(of_job)).values(state="done", reason=None))
    for key, state in done.sources.items():
        connection.execute(
            sources.update().where(sources.c.key == key).values(state=state, reason=done.reasons.get(key))
        )
    listed = {source.key: source.size_bytes for source in job.sources}
    for key, size_bytes in done.sizes.items():
        if size_bytes == listed.get(key):
            continue
        connection.execute(sources.update().where(sources.c.key == key).values(size_bytes=size_bytes))
    for key, failure in done.failures.items():
        note_failure(connection, "source", key, job, failure, now_ms, given_up=True)
