"""What is in no output, jobs and sources alike, for people who decide what becomes of it.

Here, too:
* what a person decides of jobs given up, where the archive has a say.

Add what they need to know here; giving up is decided by `claims`.
"""

import os
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal, get_args

from pyro_assets.errors import LedgerError
from pyro_assets.jobs.claims import Claims, Retry
from pyro_assets.jobs.loading import JobRecords
from pyro_assets.jobs.quarantine import Kept, Pardons, QuarantineRecords, UnheldSource
from pyro_assets.jobs.record import CommitRecord, find_record, write_record
from pyro_assets.ledger.database import Ledger
from pyro_assets.ledger.decisions import Decision, DecisionRecords
from pyro_assets.ledger.records import Derivation, Failure, Job, SeriesFile
from pyro_assets.planning.verdicts import keep_decision
from pyro_assets.settings import KINDS
from pyro_assets.storage.interface import Bucket

#: retry: try again; release: put a job's sources into smaller jobs; forget: leave it out for good.
Action = Literal["retry", "release", "forget"]
ACTIONS: Final[tuple[Action, ...]] = get_args(Action)
_LEASE_MS = 60_000


def decide(
    ledger: Ledger,
    archive: Bucket,
    action: Action,
    name: str,
    now_ms: int,
    *,
    author: str,
    why: str = "",
    parts: int | None = None,
) -> str:
    """Does what a person decided of a job (by its id) or a source (by its key), and remembers who and why.

    Args:
        ledger: knows jobs and sources.
        archive: has their commit records.
        action: what is to become of it; sources are not released.
        name: the job's id or the source's key.
        now_ms: Unix milliseconds.
        author: who, for the record.
        why: for the record.
        parts: of a released job; by default as many as it has sources.

    Returns:
        What happened, in words.

    Raises:
        LedgerError: it cannot be decided like that; nothing was changed.
        StorageError: the archive does not answer; call it again.
    """
    is_source = "/" in name
    if action == "retry":
        if is_source:
            Pardons(ledger).retry_source(name)
        else:
            Pardons(ledger).retry_job(name, now_ms)
        done = "waits for the next run"
    elif action == "release":
        if is_source:
            raise LedgerError(f"{name} is a source: only jobs are released into smaller ones; retry or forget it")
        made = release_job(ledger, archive, name, now_ms, parts)
        done = f"split into {len(made)} jobs: {' '.join(made)}"
    elif is_source:
        Pardons(ledger).acknowledge_source(name, now_ms)
        done = "no longer listed"
    else:
        count = forget_job(ledger, archive, name, now_ms, f"person-{now_ms:x}-{os.getpid()}")
        done = f"ended; {count:,} sources are left out for good"
    decision = Decision(now_ms, author, action, name, why)
    # Called again after a failure here, it is decided and written again.
    keep_decision(archive, decision)
    DecisionRecords(ledger).note_decision(decision)
    return done


def release_job(ledger: Ledger, archive: Bucket, job_id: str, now_ms: int, parts: int | None = None) -> list[str]:
    """Puts the sources of a job that was given up into smaller jobs, so that one bad source holds up no other.

    Returns:
        Ids of the smaller jobs.

    Raises:
        LedgerError: there is no such job, it is committed, held by a worker, or has a single source.
    """
    job, _ = JobRecords(ledger).look_up(job_id)
    if find_record(archive, job) is not None:
        raise LedgerError(
            f"job {job_id} has a commit record in the archive: its blocks are there, smaller jobs would double them; "
            "retry it instead"
        )
    return Pardons(ledger).split_job(job_id, now_ms, parts)


def forget_job(ledger: Ledger, archive: Bucket, job_id: str, now_ms: int, run_id: str) -> int:
    """Ends a job that was given up: what it could not do is left out for good, and no longer listed.

    A job without level-1 blocks gets a commit record that sets all its sources aside, so that a rebuilt ledger knows
    the decision. One whose series could not be derived keeps its blocks, and counts as derived to nothing; a backfill
    of its hour still tries it.

    Returns:
        How many sources were set aside.

    Raises:
        LedgerError: there is no such job, it was not given up, or a worker has it.
        StorageError: the record could not be written; nothing was changed.
    """
    failure = next(
        (kept.failure for kept in QuarantineRecords(ledger).kept_failures(limit=100_000) if kept.subject_id == job_id),
        None,
    )
    job = Claims(ledger).claim(job_id, run_id, now_ms, _LEASE_MS, Retry(), states=("quarantined",))
    if job is None:
        raise LedgerError(f"job {job_id} was not given up, or a worker has it: only what was given up is forgotten")
    outputs = job.outputs
    set_aside: list[str] = []
    if not job.committed:
        record = write_record(archive, _without_outputs(job, failure))
        Claims(ledger).commit_compacted(job, record, now_ms)
        outputs = record.outputs
        set_aside = [source.key for source in record.sources if source.state == "set_aside"]
    if outputs and not job.committed:
        # A worker had come as far as the record: what is left of the job is done by the next run.
        Claims(ledger).release(job)
        return len(set_aside)
    nothing = tuple(SeriesFile(kind, job.id, "") for kind in sorted(KINDS - job.kinds))
    Claims(ledger).commit_derived(job, Derivation(nothing, job.config_hash or ""), now_ms, kinds=KINDS)
    for key in set_aside:
        Pardons(ledger).acknowledge_source(key, now_ms)
    return len(set_aside)


def _without_outputs(job: Job, failure: Failure | None) -> CommitRecord:
    why = f"its job was given up{f' ({failure.cause}: {failure.message})' if failure else ''} and forgotten by a person"
    sources = tuple(replace(source, state="set_aside", reason=why) for source in job.sources)
    return CommitRecord.of(job, sources=sources)


_MOST_KEPT: Final = 100_000


@dataclass(frozen=True, slots=True)
class Item:
    """Something that is in no output.

    Attributes:
        name: the job's id, or the source's key.
        subject: "job" or "source"; state: given up, retried, set_aside or lost.
        hour: partition key.
        failure: the last error, None where there was none (a source that was gone); reason: in words.
        failures: how many there were, None of sources; first_ms, last_ms: when.
        job_id: the job, "" for none.
        acknowledged: a person took it off the list.
    """

    name: str
    subject: str
    state: str
    hour: str
    failure: Failure | None
    reason: str
    failures: int | None
    first_ms: int | None
    last_ms: int | None
    job_id: str
    acknowledged: bool = False

    @property
    def actions(self) -> tuple[Action, ...]:
        """What can be decided of it."""
        if self.state == "retried":
            return ()
        if self.subject == "job":
            return ACTIONS
        return ("retry",) if self.acknowledged else ("retry", "forget")


def listed(ledger: Ledger, hour: str | None, *, everything: bool = False) -> list[Item]:
    """What is in no output, the first failures first.

    Args:
        ledger: is asked.
        hour: partition key; None for all.
        everything: also what is still being retried, and what was forgotten.
    """
    kept = [one for one in QuarantineRecords(ledger).kept_failures(hour, _MOST_KEPT) if one.subject == "job"]
    items = [_of_job(one) for one in kept if everything or one.given_up]
    items += [
        _of_source(one) for one in Pardons(ledger).unheld_sources(hour, acknowledged=everything, limit=_MOST_KEPT)
    ]
    return sorted(items, key=lambda item: (item.first_ms or 0, item.name))


@dataclass(frozen=True, slots=True)
class LeftOut:
    """What nobody has acknowledged, of all hours: lost or set-aside sources and jobs given up; `items`: the first."""

    lost: int = 0
    set_aside: int = 0
    given_up: int = 0
    items: tuple[Item, ...] = ()


def left_out(ledger: Ledger, most: int = 50) -> LeftOut:
    """What is in no output, in numbers, and the first of it; costs next to nothing where that is nothing."""
    sources, jobs = Pardons(ledger).count_unheld(), QuarantineRecords(ledger).quarantined()["job"]
    lost, set_aside = sources.get("lost", 0), sources.get("set_aside", 0)
    if not (lost or set_aside or jobs):
        return LeftOut()
    items = [
        _of_job(one)
        for one in QuarantineRecords(ledger).kept_failures(limit=most)
        if one.subject == "job" and one.given_up
    ]
    items += [_of_source(one) for one in Pardons(ledger).unheld_sources(limit=most)]
    return LeftOut(lost, set_aside, jobs, tuple(items[:most]))


def find(ledger: Ledger, names: Sequence[str]) -> list[Item]:
    """Those of these names that are in no output; whatever became of the others, they are not among them."""
    found = []
    wanted = {name for name in names if "/" not in name}
    if wanted:
        found += [
            _of_job(kept)
            for kept in QuarantineRecords(ledger).kept_failures(None, _MOST_KEPT)
            if kept.subject_id in wanted
        ]
    for name in names:
        source = Pardons(ledger).unheld_source(name) if "/" in name else None
        if source is not None:
            found.append(_of_source(source))
    return found


def _of_job(kept: Kept) -> Item:
    return Item(
        name=kept.subject_id,
        subject="job",
        state="given up" if kept.given_up else "retried",
        hour=kept.hour,
        failure=kept.failure,
        reason=kept.failure.message,
        failures=kept.failures,
        first_ms=kept.first_failed_ms,
        last_ms=kept.last_failed_ms,
        job_id=kept.job_id,
    )


def _of_source(source: UnheldSource) -> Item:
    return Item(
        name=source.key,
        subject="source",
        state=source.state,
        hour=source.hour,
        failure=source.failure,
        reason=source.failure.message if source.failure else source.reason,
        failures=None,
        first_ms=source.first_failed_ms,
        last_ms=source.last_failed_ms,
        job_id=source.job_id,
        acknowledged=source.acknowledged,
    )
