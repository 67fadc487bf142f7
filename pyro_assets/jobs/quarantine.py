"""Failures kept for people: what was given up or is being retried, why, how often, since when.

Here, too:
* what a person decides of things given up: try again, in smaller jobs, or be content.

Add what a person needs to decide here; deciding when to give up belongs to `claims`.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, Row, Select, func, or_, select

from pyro_assets.errors import LedgerError
from pyro_assets.jobs.loading import load_job
from pyro_assets.ledger.database import Queries
from pyro_assets.ledger.records import Failure, Job, JobIdentity, plain
from pyro_assets.ledger.schema import UNHELD_STATES, job_sources, jobs, quarantine, sources
from pyro_assets.planning.plan import insert_parts
from pyro_assets.planning.policy import Policy


@dataclass(frozen=True, slots=True)
class Kept:
    """A failure that was kept.

    Attributes:
        subject: "job" or "source"; subject_id: the job's id or the source's key.
        job_id, hour: where it happened.
        failure: the last error.
        failures: how many there were; first_failed_ms, last_failed_ms: when.
        given_up: False while it is still being retried.
    """

    subject: str
    subject_id: str
    job_id: str
    hour: str
    failure: Failure
    failures: int
    first_failed_ms: int
    last_failed_ms: int
    given_up: bool


class QuarantineRecords(Queries):
    """The part of the ledger that remembers failures."""

    def kept_failures(self, hour: str | None = None, limit: int = 1000) -> list[Kept]:
        """Failures of an hour, or of all, the first ones first; without sources that a person took off the list."""
        # A job that a person let be tried again is on the list until it got further.
        listed = or_(quarantine.c.subject == "job", quarantine.c.released_ms.is_(None))
        query = (
            select(quarantine)
            .where(listed)
            .order_by(quarantine.c.first_failed_ms, quarantine.c.subject_id)
            .limit(limit)
        )
        if hour is not None:
            query = query.where(quarantine.c.hour == hour)
        with self.ledger.read() as connection:
            return [
                Kept(
                    subject=row.subject,
                    subject_id=row.subject_id,
                    job_id=row.job_id,
                    hour=row.hour,
                    failure=Failure.from_row(row),
                    failures=row.failures,
                    first_failed_ms=row.first_failed_ms,
                    last_failed_ms=row.last_failed_ms,
                    given_up=bool(row.given_up),
                )
                for row in connection.execute(query)
            ]

    def quarantined(self) -> dict[str, int]:
        """Subject ("job" or "source") -> how many are given up and not released."""
        with self.ledger.read() as connection:
            rows = connection.execute(
                select(quarantine.c.subject, func.count())
                .where(quarantine.c.given_up == 1, quarantine.c.released_ms.is_(None))
                .group_by(quarantine.c.subject)
            )
            return {"job": 0, "source": 0} | {row[0]: row[1] for row in rows}

    def last_words(self, run_id: str) -> str:
        """Why a run's process ended over a job, as `pool` noted it; "" where nothing is known."""
        query = (
            select(quarantine.c.message)
            .join(jobs, jobs.c.id == quarantine.c.subject_id)
            .where(quarantine.c.subject == "job", quarantine.c.cause == "LimitExceeded", jobs.c.run_id == run_id)
        )
        with self.ledger.read() as connection:
            return connection.execute(query).scalar() or ""


def give_up(connection: Connection, job: Job, failure: Failure, now_ms: int) -> None:
    """Quarantines a job, and its sources unless their level-1 blocks are committed."""
    connection.execute(jobs.update().where(jobs.c.id == job.id).values(state="quarantined", lease_expires_ms=0))
    if not job.committed:
        of_job = select(job_sources.c.source_id).where(job_sources.c.job_id == job.id)
        connection.execute(
            sources.update()
            .where(sources.c.id.in_(of_job), sources.c.state == "planned")
            .values(state="quarantined", reason=f"{failure.cause}: {failure.message}")
        )
    note_failure(connection, "job", job.id, job, failure, now_ms, given_up=True)


def note_failure(
    connection: Connection,
    subject: str,
    subject_id: str,
    job: JobIdentity,
    failure: Failure,
    now_ms: int,
    *,
    given_up: bool,
) -> int:
    """Keeps a failure for people: the last error, and when the first one was; returns how many there were."""
    same = (quarantine.c.subject == subject) & (quarantine.c.subject_id == subject_id)
    before = connection.execute(select(quarantine.c.failures, quarantine.c.first_failed_ms).where(same)).first()
    failures = before.failures + 1 if before else 1
    connection.execute(quarantine.delete().where(same))
    connection.execute(
        quarantine.insert().values(
            subject=subject,
            subject_id=subject_id,
            job_id=job.id,
            hour=job.hour,
            **plain(failure),
            failures=failures,
            first_failed_ms=before.first_failed_ms if before else now_ms,
            last_failed_ms=now_ms,
            given_up=int(given_up),
        )
    )
    return failures


def forgive(connection: Connection, job_id: str) -> None:
    """Forgets failures of a job that has got further since."""
    connection.execute(quarantine.delete().where(quarantine.c.subject == "job", quarantine.c.subject_id == job_id))


@dataclass(frozen=True, slots=True)
class UnheldSource:
    """A source that no output holds, and which nobody has acknowledged unless `acknowledged`.

    Attributes:
        key, state, hour, reason: as the ledger has them; the state is set_aside, lost or quarantined.
        job_id: the job it is in, "" for none.
        failure: the error, None where there was none (it was gone).
        first_failed_ms, last_failed_ms: when; of lost sources, when their job was committed.
    """

    key: str
    state: str
    hour: str
    reason: str
    job_id: str
    failure: Failure | None
    first_failed_ms: int | None
    last_failed_ms: int | None
    acknowledged: bool


class Pardons(Queries):
    """The part of the ledger where people decide."""

    def unheld_sources(
        self, hour: str | None = None, *, acknowledged: bool = False, limit: int = 1000
    ) -> list[UnheldSource]:
        """Sources set aside or lost, in key order; those of a quarantined job are listed with it, not here.

        Args:
            hour: partition key; None for all.
            acknowledged: also those that a person has taken off the list.
            limit: at most so many.
        """
        query = _unheld().where(sources.c.state.in_(("set_aside", "lost"))).order_by(sources.c.key).limit(limit)
        if hour is not None:
            query = query.where(sources.c.hour == hour)
        if not acknowledged:
            query = query.where(quarantine.c.released_ms.is_(None))
        with self.ledger.read() as connection:
            return [_unheld_source(row) for row in connection.execute(query)]

    def unheld_source(self, key: str) -> UnheldSource | None:
        """The source of this key if no output holds it."""
        query = _unheld().where(sources.c.key == key, sources.c.state.in_(UNHELD_STATES))
        with self.ledger.read() as connection:
            row = connection.execute(query).first()
            return None if row is None else _unheld_source(row)

    def count_unheld(self, hour: str | None = None) -> dict[str, int]:
        """State -> sources in it that no person has acknowledged, for the states that mean something is missing.

        Of an hour (partition key), or of all.
        """
        joined = sources.outerjoin(quarantine, _same_source())
        query = (
            select(sources.c.state, func.count())
            .select_from(joined)
            .where(sources.c.state.in_(UNHELD_STATES), quarantine.c.released_ms.is_(None))
            .group_by(sources.c.state)
        )
        if hour is not None:
            query = query.where(sources.c.hour == hour)
        with self.ledger.read() as connection:
            return {row[0]: row[1] for row in connection.execute(query)}

    def retry_job(self, job_id: str, now_ms: int) -> None:
        """Lets a job that was given up be tried again, as often as a new one.

        Raises:
            LedgerError: there is no such job, or it was not given up.
        """
        with self.ledger.write(planning=True) as connection:
            job = _given_up(connection, job_id)
            state = "compacted" if job.committed else "planned"
            connection.execute(
                jobs.update()
                .where(jobs.c.id == job_id)
                .values(state=state, attempts=0, next_attempt_ms=0, lease_expires_ms=0)
            )
            of_job = select(job_sources.c.source_id).where(job_sources.c.job_id == job_id)
            connection.execute(
                sources.update()
                .where(sources.c.id.in_(of_job), sources.c.state == "quarantined")
                .values(state="planned", reason=None)
            )
            connection.execute(
                quarantine.update()
                .where(quarantine.c.subject == "job", quarantine.c.subject_id == job_id)
                .values(given_up=0, released_ms=now_ms)
            )

    def retry_source(self, key: str) -> None:
        """Lets a source that was set aside or lost wait for a new job; its old one stays as it is.

        Raises:
            LedgerError: it is unknown, or neither set aside nor lost.
        """
        with self.ledger.write(planning=True) as connection:
            row = connection.execute(select(sources.c.id, sources.c.state).where(sources.c.key == key)).first()
            if row is None or row.state not in ("set_aside", "lost"):
                raise LedgerError(
                    f"{key} is {row.state if row else 'unknown'}: only what is set aside or lost is retried"
                )
            connection.execute(job_sources.delete().where(job_sources.c.source_id == row.id))
            connection.execute(sources.update().where(sources.c.id == row.id).values(state="pending", reason=None))
            _forget_source(connection, key)

    def split_job(self, job_id: str, now_ms: int, parts: int | None = None) -> list[str]:
        """Puts the sources of a job that is not committed into smaller jobs, which are tried on their own.

        Args:
            job_id: given up or open, and held by nobody.
            now_ms: Unix milliseconds.
            parts: how many; None for one of each source.

        Returns:
            Ids of the smaller jobs, in the order of their sources.

        Raises:
            LedgerError: it is committed, held by a worker, or has a single source.
        """
        with self.ledger.write(planning=True) as connection:
            row = connection.execute(select(jobs).where(jobs.c.id == job_id)).first()
            if row is None:
                raise LedgerError(f"the ledger has no job {job_id}")
            held = row.state == "planned" and row.lease_expires_ms > now_ms
            if row.state not in ("planned", "quarantined") or row.compacted_ms is not None or held:
                raise LedgerError(f"job {job_id} cannot be split: it is {row.state}{' and held by a worker' * held}")
            return split_sources(connection, row, now_ms, parts)

    def acknowledge_source(self, key: str, now_ms: int) -> None:
        """Takes a source that is set aside or lost off the list; it stays where it is.

        Raises:
            LedgerError: it is unknown, or neither set aside nor lost.
        """
        found = self.unheld_source(key)
        if found is None or found.state == "quarantined":
            raise LedgerError(f"{key} is neither set aside nor lost")
        failure = found.failure or Failure("Lost" if found.state == "lost" else "SetAside", found.reason)
        same = (quarantine.c.subject == "source") & (quarantine.c.subject_id == key)
        with self.ledger.write() as connection:
            known = connection.execute(select(quarantine.c.subject_id).where(same)).first()
            if known is None:
                connection.execute(
                    quarantine.insert().values(
                        subject="source",
                        subject_id=key,
                        job_id=found.job_id or None,
                        hour=found.hour,
                        **plain(failure),
                        failures=1,
                        first_failed_ms=found.first_failed_ms or now_ms,
                        last_failed_ms=found.last_failed_ms or now_ms,
                        given_up=1,
                    )
                )
            connection.execute(quarantine.update().where(same).values(released_ms=now_ms))


def split_sources(
    connection: Connection,
    job: Row[Any],
    now_ms: int,
    parts: int | None,
    apart: Collection[str] = (),
    failure: Failure | None = None,
) -> list[str]:
    """Splits a job inside the caller's transaction; see `Pardons.split_job` and `Claims.split`."""
    links = connection.execute(
        select(sources)
        .join(job_sources, job_sources.c.source_id == sources.c.id)
        .where(job_sources.c.job_id == job.id)
        .order_by(job_sources.c.position)
    ).all()
    if len(links) < 2:
        raise LedgerError(f"job {job.id} has a single source, which cannot be split")
    connection.execute(job_sources.delete().where(job_sources.c.job_id == job.id))
    connection.execute(jobs.update().where(jobs.c.id == job.id).values(state="split", lease_expires_ms=0))
    of_job = (quarantine.c.subject == "job") & (quarantine.c.subject_id == job.id)
    kept = connection.execute(select(quarantine).where(of_job)).first()
    if failure is None and kept is not None:
        failure = Failure.from_row(kept)
    connection.execute(quarantine.delete().where(of_job))
    pieces: list[Sequence[Row[Any]]]
    if apart:
        others = [link for link in links if link.key not in apart]
        pieces = [piece for piece in (others, *([link] for link in links if link.key in apart)) if piece]
    else:
        size = -(-len(links) // min(parts or len(links), len(links)))
        pieces = [links[start : start + size] for start in range(0, len(links), size)]
    ids = insert_parts(connection, job, pieces, now_ms, Policy(mode=job.mode, dedup=job.dedup))
    for part, piece in zip(ids, pieces, strict=True):
        if failure is not None and (not apart or piece[0].key in apart):
            note_failure(connection, "job", part, load_job(connection, part), failure, now_ms, given_up=False)
    return ids


def _given_up(connection: Connection, job_id: str) -> Job:
    state = connection.execute(select(jobs.c.state).where(jobs.c.id == job_id)).scalar()
    if state != "quarantined":
        raise LedgerError(f"job {job_id} is {state or 'unknown'}: only what was given up can be tried again")
    return load_job(connection, job_id)


def _forget_source(connection: Connection, key: str) -> None:
    connection.execute(quarantine.delete().where(quarantine.c.subject == "source", quarantine.c.subject_id == key))


def _same_source() -> ColumnElement[bool]:
    return (quarantine.c.subject == "source") & (quarantine.c.subject_id == sources.c.key)


def _unheld() -> Select[Any]:
    joined = (
        sources.outerjoin(quarantine, _same_source())
        .outerjoin(job_sources, job_sources.c.source_id == sources.c.id)
        .outerjoin(jobs, jobs.c.id == job_sources.c.job_id)
    )
    return select(
        sources.c.key,
        sources.c.state,
        sources.c.hour,
        sources.c.reason,
        job_sources.c.job_id,
        jobs.c.compacted_ms,
        quarantine.c.cause,
        quarantine.c.message,
        quarantine.c.section,
        quarantine.c.offset,
        quarantine.c.first_failed_ms,
        quarantine.c.last_failed_ms,
        quarantine.c.released_ms,
    ).select_from(joined)


def _unheld_source(row: Row[Any]) -> UnheldSource:
    return UnheldSource(
        key=row.key,
        state=row.state,
        hour=row.hour,
        reason=row.reason or "",
        job_id=row.job_id or "",
        failure=None if row.cause is None else Failure.from_row(row),
        first_failed_ms=row.compacted_ms if row.first_failed_ms is None else row.first_failed_ms,
        last_failed_ms=row.compacted_ms if row.last_failed_ms is None else row.last_failed_ms,
        acknowledged=row.released_ms is not None,
    )
