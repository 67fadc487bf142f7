"""Claims and commits: a worker holds a job by a lease, and its fence makes sure that it still does when it commits.

Add a transition between a job's states here, guarded by `_holding`. Which jobs are worth claiming is in `planning.due`;
what is done to a job in between belongs to the pipeline.
"""

import json
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import BigInteger, Connection, and_, bindparam, case, func, select

from pyro_assets.errors import LeaseLost
from pyro_assets.jobs.loading import compacted_columns, job_of, output_rows
from pyro_assets.jobs.quarantine import forgive, give_up, note_failure, split_sources
from pyro_assets.jobs.record import CommitRecord
from pyro_assets.ledger.database import Queries
from pyro_assets.ledger.records import Derivation, Failure, Job
from pyro_assets.ledger.schema import (
    OPEN_STATES,
    JobState,
    job_sources,
    jobs,
    outputs,
    quarantine,
    series_files,
    sources,
)
from pyro_assets.ledger.upkeep import note_work
from pyro_assets.planning.observed import has_lower, may_begin


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


class Claims(Queries):
    """The part of the ledger that workers use."""

    def claim(
        self,
        job_id: str,
        run_id: str,
        now_ms: int,
        lease_ms: int,
        retry: Retry,
        *,
        states: Sequence[JobState],
        asked_ms: int | None = None,
    ) -> Job | None:
        """Takes a job that is in one of these states and that nobody has.

        A job whose workers died `retry.max_attempts` times without a word is quarantined instead. `asked_ms`: when the
        run began, where a person asked for it; what it does of a job that is not done is no lag then.

        Returns:
            The job, or None when another worker has it, it waits for another try, or its state is another one.
        """
        (job,) = self.claim_all([job_id], run_id, now_ms, lease_ms, retry, states=states, asked_ms=asked_ms)
        return job

    def claim_all(
        self,
        job_ids: Sequence[str],
        run_id: str,
        now_ms: int,
        lease_ms: int,
        retry: Retry,
        *,
        states: Sequence[JobState],
        asked_ms: int | None = None,
    ) -> list[Job | None]:
        """The same for each of some jobs, by one transaction."""
        values = {
            "states": list(states),
            "at_ms": now_ms,
            "run_id": run_id,
            "asked_ms": asked_ms,
            "lease_expires_ms": now_ms + lease_ms,
        }
        found: dict[str, Job | None] = {}
        with self.ledger.write() as connection:
            # All take jobs in one order: two workers do not wait for each other.
            for job_id in sorted(job_ids):
                # One statement decides: of two workers, the second finds the lease taken.
                row = connection.execute(_CLAIM, values | {"job_id": job_id}).first()
                found[job_id] = None if row is None else self._claimed(connection, row, retry, now_ms)
        return [found[job_id] for job_id in job_ids]

    def _claimed(self, connection: Connection, row: Any, retry: Retry, now_ms: int) -> Job | None:
        if row.level is not None and row.state == "planned" and row.attempts == 1:
            # Once more, with planners kept out: no block that it may hold can be planned and begun meanwhile.
            self.ledger.lock_planning(connection)
            if has_lower(connection, row.id):
                free = jobs.update().where(_THIS).values(attempts=0, lease_expires_ms=0)
                connection.execute(free, {"job_id": row.id})
                return None
        job = job_of(connection, row, failed=row.cause is not None, isolate=_may_end_its_process(row))
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
        with self._holding(job, {"lease_expires_ms": now_ms + lease_ms}):
            pass

    def release(self, job: Job, *, undone: bool = False) -> None:
        """Gives the job back after it got further; with `undone`, as if it had not been tried.

        Raises:
            LeaseLost: another worker has the job.
        """
        with self._holding(job, {"lease_expires_ms": 0} if undone else _FREE) as connection:
            if undone:
                less = jobs.c.attempts - 1
                connection.execute(jobs.update().where(jobs.c.id == job.id).values(attempts=less))

    def note_level(self, job: Job, level: int, oldest_ms: int, newest_ms: int) -> None:
        """Notes that a claimed block is of a level above 1, and gives it back: it may have to wait for others.

        Args:
            job: as claimed.
            level: its compaction level.
            oldest_ms: its first profile.
            newest_ms: its last profile.

        Raises:
            LeaseLost: another worker has the job.
        """
        values = {"level": level, "oldest_ms": oldest_ms, "newest_ms": newest_ms, "lease_expires_ms": 0, "attempts": 0}
        with self._holding(job, values):
            pass

    def commit_compacted(self, job: Job, done: CommitRecord, now_ms: int, seconds: float = 0.0) -> JobState:
        """Commits a job's level-1 blocks and what became of its sources.

        Returns:
            "compacted", the lease goes on; or "lost" when all its sources are, and nobody has the job any more.

        Raises:
            LeaseLost: another worker has the job; nothing was committed.
        """
        with self.ledger.write() as connection:
            return _commit_compacted(connection, job, done, now_ms, seconds)

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
        with self.ledger.write() as connection:
            _commit_derived(connection, job, done, now_ms, kinds)

    def commit(
        self, commits: "Sequence[Commit]", now_ms: int, *, kinds: frozenset[str]
    ) -> "list[JobState | LeaseLost | None]":
        """Commits what was made of some jobs, by one transaction; one that another worker has stops no other.

        Args:
            commits: of different jobs.
            now_ms: Unix milliseconds.
            kinds: see `commit_derived`.

        Returns:
            For each what `commit_compacted` gives, None where nothing was compacted; or that the lease is lost.
        """
        found: dict[str, JobState | LeaseLost | None] = {}
        with self.ledger.write() as connection:
            for one in sorted(commits, key=lambda one: (one.job.hour, one.job.id)):
                try:
                    found[one.job.id] = _commit(connection, one, now_ms, kinds)
                except LeaseLost as lost:
                    # It is the first thing that a commit asks.
                    found[one.job.id] = lost
        return [found[one.job.id] for one in commits]

    def mark_verified(self, job_id: str, now_ms: int) -> None:
        """Notes that a job's level-1 blocks were read back and found equal to its sources."""
        with self.ledger.write() as connection:
            connection.execute(jobs.update().where(jobs.c.id == job_id).values(verified_ms=now_ms))

    def fail(
        self, job: Job, failure: Failure, now_ms: int, retry: Retry, *, counts: bool = True, grows: bool = False
    ) -> bool:
        """Gives a failed job back, to be tried again later, or gives it up after `retry.max_attempts`.

        Args:
            job: as claimed.
            failure: why.
            now_ms: Unix milliseconds.
            retry: how long to wait.
            counts: False for failures that say nothing of the job (the bucket does not answer): these are retried
                for ever.
            grows: the delay grows with every failure, also with those that do not count.

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
            failures = note_failure(connection, "job", job.id, job, failure, now_ms, given_up=False)
            times = failures if grows and not counts else attempts
            connection.execute(
                jobs.update()
                .where(jobs.c.id == job.id)
                .values(
                    lease_expires_ms=0,
                    next_attempt_ms=now_ms + retry.delay_ms(times),
                    attempts=attempts if counts else max(attempts - 1, 0),
                )
            )
        return False

    def split(
        self, job: Job, now_ms: int, failure: Failure | None, apart: Collection[str] = (), parts: int = 2
    ) -> list[str]:
        """Puts the sources of a claimed job that is not committed into smaller ones, because one of them spoils it.

        Args:
            job: as claimed.
            now_ms: Unix milliseconds.
            failure: why; kept of those parts that may fail in the same way. None: it did not fail, it is too large.
            apart: keys that each get a job of their own; without any all are dealt to so many parts.
            parts: at most as many as it has sources.

        Returns:
            Their ids.

        Raises:
            LeaseLost: another worker has the job.
            LedgerError: it has a single source.
        """
        with self._holding(job) as connection:
            row = connection.execute(select(jobs).where(jobs.c.id == job.id)).one()
            return split_sources(connection, row, now_ms, parts, apart, failure)

    @contextmanager
    def _holding(self, job: Job, values: Mapping[str, object] | None = None) -> Iterator[Connection]:
        """A transaction that only goes on while the job is this worker's, and sets columns of it."""
        with self.ledger.write() as connection:
            _hold(connection, job, values)
            yield connection


_FREE: Final = {"lease_expires_ms": 0, "attempts": 0}
# Statements of every job are made once: making one takes longer than running it.
_THIS: Final = jobs.c.id == bindparam("job_id")
_HELD: Final = jobs.update().where(
    _THIS, jobs.c.fence == bindparam("held_fence"), jobs.c.run_id == bindparam("held_by")
)
_KEPT: Final = (quarantine.c.subject == "job") & (quarantine.c.subject_id == jobs.c.id)
_KEPT_COLUMNS: Final = (quarantine.c.cause, quarantine.c.failures)
_CLAIM: Final = (
    jobs.update()
    .where(
        _THIS,
        jobs.c.state.in_(bindparam("states", expanding=True)),
        jobs.c.lease_expires_ms <= bindparam("at_ms"),
        jobs.c.next_attempt_ms <= bindparam("at_ms"),
        may_begin(),
    )
    .values(
        run_id=bindparam("run_id"),
        lease_expires_ms=bindparam("lease_expires_ms"),
        fence=jobs.c.fence + 1,
        attempts=jobs.c.attempts + 1,
        asked_ms=case(
            (jobs.c.state.in_(OPEN_STATES), bindparam("asked_ms", type_=BigInteger())), else_=jobs.c.asked_ms
        ),
    )
    .returning(
        *jobs.c,
        *(select(column).where(_KEPT).scalar_subquery().label(column.name) for column in _KEPT_COLUMNS),
    )
)
#: A backfill does not change when the series were first there, nor undo an export.
_DERIVED: Final = (
    jobs.update()
    .where(_THIS)
    .values(
        derived_ms=func.coalesce(jobs.c.derived_ms, bindparam("at_ms")),
        state=case((jobs.c.state.in_(("compacted", "quarantined")), "derived"), else_=jobs.c.state),
    )
)
_SOURCES_DONE: Final = (
    sources.update()
    .where(sources.c.id.in_(select(job_sources.c.source_id).where(job_sources.c.job_id == bindparam("job_id"))))
    .values(state="done", reason=None)
)
#: Failures that took the process of their job with them.
SUDDEN: Final = ("LimitExceeded", "WorkerDied")


def _may_end_its_process(row: Any) -> bool:
    """See `Job.isolate`; an attempt without a failure that was kept of it is one whose worker did not come back."""
    return row.cause in SUDDEN or row.attempts - 1 > (row.failures or 0)


@dataclass(frozen=True, slots=True)
class Commit:
    """What was made of a claimed job; with neither series nor `goes_on` it is given back."""

    job: Job
    compacted: CommitRecord | None = None
    compact_seconds: float = 0.0
    derived: Derivation | None = None
    goes_on: bool = False


def _hold(connection: Connection, job: Job, values: Mapping[str, object] | None = None) -> None:
    """Sets columns of a job while it is this worker's.

    Raises:
        LeaseLost: it is not.
    """
    # An update rather than a look: it keeps others out until the end of the transaction.
    held = connection.execute(
        _HELD,
        {"job_id": job.id, "held_fence": job.fence, "held_by": job.run_id, **(values or {"fence": job.fence})},
    )
    if held.rowcount != 1:
        raise LeaseLost(f"job {job.id} went to another worker while run {job.run_id} had it; its work stands")


def _commit(connection: Connection, one: Commit, now_ms: int, kinds: frozenset[str]) -> JobState | None:
    job, state = one.job, None
    if one.compacted is not None:
        state = _commit_compacted(connection, job, one.compacted, now_ms, one.compact_seconds)
        if state == "lost":
            return state
        job = one.compacted.committed(job)
    if one.derived is not None:
        _commit_derived(connection, job, one.derived, now_ms, kinds)
    elif not one.goes_on:
        _hold(connection, job, _FREE)
    return state


def _commit_compacted(connection: Connection, job: Job, done: CommitRecord, now_ms: int, seconds: float) -> JobState:
    state: JobState = "lost" if done.is_lost else "compacted"
    values = {
        "state": state,
        "attempts": 1,
        "compacted_ms": now_ms,
        "verified_ms": None,
        "compact_seconds": seconds,
        **compacted_columns(done),
    }
    _hold(connection, job, values | {"lease_expires_ms": 0} if done.is_lost else values)
    if job.committed:
        connection.execute(outputs.delete().where(outputs.c.job_id == job.id))
    if done.outputs:
        connection.execute(outputs.insert(), output_rows(done))
    _commit_sources(connection, job, done, now_ms)
    if job.level is not None and done.newest_ms is not None:
        _find_again(connection, job, done.newest_ms)
    if job.failed:
        forgive(connection, job.id)
    if job.series_number is not None:
        note_work(connection, job.hour, "compacted")
    return state


def _commit_derived(connection: Connection, job: Job, done: Derivation, now_ms: int, kinds: frozenset[str]) -> None:
    values: dict[str, Any] = {"attempts": 0, "next_attempt_ms": 0, "lease_expires_ms": 0}
    facts = {**done.facts, **({"examples": done.examples} if done.examples else {})}
    if done.rules is None:
        values["config_hash"] = done.config_hash
        values["derive_seconds"] = done.seconds
        values["derive_facts"] = json.dumps(facts) if facts else None
    # While the fence holds, nobody but this worker adds kinds.
    derived = kinds <= job.kinds | {file.kind for file in done.files}
    _hold(connection, job, values)
    _put_files(connection, job, done, now_ms)
    if done.rules is not None:
        facts = _with_facts(connection, job, done)
        connection.execute(
            jobs.update().where(jobs.c.id == job.id).values(derive_facts=json.dumps(facts) if facts else None)
        )
    if derived:
        connection.execute(_DERIVED, {"job_id": job.id, "at_ms": now_ms})
        if job.failed:
            forgive(connection, job.id)
    if job.series_number is not None:
        note_work(connection, job.hour, "derived")


def _put_files(connection: Connection, job: Job, done: Derivation, now_ms: int) -> None:
    """Files in place of those of the same kinds; receivers look again at what was written anew."""
    before = {file.kind: file.written_ms for file in job.files}
    rows = [file.to_row(now_ms if file.is_changed else before[file.kind]) for file in done.files]
    if before:
        same = and_(series_files.c.job_id == job.id, series_files.c.kind.in_([file.kind for file in done.files]))
        connection.execute(series_files.delete().where(same))
    if rows:
        connection.execute(series_files.insert(), rows)


def _with_facts(connection: Connection, job: Job, done: Derivation) -> dict[str, Any]:
    """The facts of a job's derivation with those of some rules, which replace what was known of these rules."""
    found = connection.execute(select(jobs.c.derive_facts).where(jobs.c.id == job.id)).scalar()
    facts: dict[str, Any] = json.loads(found or "{}")
    own = f" ({', '.join(done.rules or ())})"
    facts = {name: value for name, value in facts.items() if not name.endswith(own)}
    facts |= {name + own: count for name, count in done.facts.items()}
    if done.examples:
        facts["examples"] = list(dict.fromkeys([*facts.get("examples", ()), *done.examples]))
    return facts


def _commit_sources(connection: Connection, job: Job, done: CommitRecord, now_ms: int) -> None:
    connection.execute(_SOURCES_DONE, {"job_id": job.id})
    listed = {source.key: source.size_bytes for source in job.sources}
    for source in done.sources:
        if source.state != "done" or source.size_bytes != listed.get(source.key):
            connection.execute(
                sources.update()
                .where(sources.c.key == source.key)
                .values(state=source.state, reason=source.reason, size_bytes=source.size_bytes)
            )
        if source.failure is not None:
            note_failure(connection, "source", source.key, job, source.failure, now_ms, given_up=True)


def _find_again(connection: Connection, job: Job, newest_ms: int) -> None:
    """Takes lost blocks off the losses whose profiles this block of a higher level had.

    Pyroscope deletes a block only once it is in one of the next level, which begins with its oldest source: so what is
    lost between the beginning of this one and its last profile was in it, and some of it was in no job.
    """
    (source,) = job.sources
    connection.execute(
        sources.update()
        .where(
            sources.c.state == "lost",
            sources.c.kind == "blocks",
            sources.c.shard == job.shard,
            sources.c.tenant == job.tenant,
            sources.c.created_ms.between(source.created_ms, newest_ms),
        )
        .values(state="done", reason=f"it was gone; its profiles were recovered from {source.key}")
    )
