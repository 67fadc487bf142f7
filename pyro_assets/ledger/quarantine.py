"""Failures kept for people: what was given up or is being retried, why, how often, since when.

Add what a person needs to decide here; deciding when to give up belongs to `claims`.
"""

from dataclasses import dataclass

from sqlalchemy import Connection, or_, select

from pyro_assets.ledger.database import Database
from pyro_assets.ledger.records import Failure, Job
from pyro_assets.ledger.schema import job_sources, jobs, quarantine, sources


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


class Quarantine(Database):
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
        with self._read() as connection:
            return [
                Kept(
                    subject=row.subject,
                    subject_id=row.subject_id,
                    job_id=row.job_id,
                    hour=row.hour,
                    failure=Failure(row.cause, row.message, row.section, row.offset),
                    failures=row.failures,
                    first_failed_ms=row.first_failed_ms,
                    last_failed_ms=row.last_failed_ms,
                    given_up=bool(row.given_up),
                )
                for row in connection.execute(query)
            ]

    def last_words(self, run_id: str) -> str:
        """Why a run's process ended over a job, as `watch` noted it; "" where nothing is known."""
        query = (
            select(quarantine.c.message)
            .join(jobs, jobs.c.id == quarantine.c.subject_id)
            .where(quarantine.c.subject == "job", quarantine.c.cause == "LimitExceeded", jobs.c.run_id == run_id)
        )
        with self._read() as connection:
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
    job: Job,
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
            cause=failure.cause,
            message=failure.message,
            section=failure.section,
            offset=failure.offset,
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
