"""What a person decides of jobs given up, where the archive has a say.

Add a decision here when a commit record must be looked at or written; one that changes the ledger alone stands in
`ledger.pardons`. The archive's records are what a lost ledger is rebuilt from, so no decision may contradict them.
"""

import os
from typing import Final, Literal, get_args

from pyro_assets.errors import LedgerError, ObjectConflict, ObjectMissing
from pyro_assets.ledger.claims import Retry
from pyro_assets.ledger.decisions import Decision
from pyro_assets.ledger.ledger import Ledger
from pyro_assets.ledger.records import Derivation, Failure, Job, SeriesFile
from pyro_assets.pipeline.record import CommitRecord, RecordedSource, parse_record, record_key
from pyro_assets.pipeline.settings import KINDS
from pyro_assets.pipeline.verdict_records import keep_decision
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
            ledger.retry_source(name)
        else:
            ledger.retry_job(name, now_ms)
        done = "waits for the next run"
    elif action == "release":
        if is_source:
            raise LedgerError(f"{name} is a source: only jobs are released into smaller ones; retry or forget it")
        made = release_job(ledger, archive, name, now_ms, parts)
        done = f"split into {len(made)} jobs: {' '.join(made)}"
    elif is_source:
        ledger.acknowledge_source(name, now_ms)
        done = "no longer listed"
    else:
        count = forget_job(ledger, archive, name, now_ms, f"person-{now_ms:x}-{os.getpid()}")
        done = f"ended; {count:,} sources are left out for good"
    decision = Decision(now_ms, author, action, name, why)
    # Called again after a failure here, it is decided and written again.
    keep_decision(archive, decision)
    ledger.note_decision(decision)
    return done


def release_job(ledger: Ledger, archive: Bucket, job_id: str, now_ms: int, parts: int | None = None) -> list[str]:
    """Puts the sources of a job that was given up into smaller jobs, so that one bad source holds up no other.

    Returns:
        Ids of the smaller jobs.

    Raises:
        LedgerError: there is no such job, it is committed, held by a worker, or has a single source.
    """
    job, _ = ledger.look_up(job_id)
    if _record_of(archive, job) is not None:
        raise LedgerError(
            f"job {job_id} has a commit record in the archive: its blocks are there, smaller jobs would double them; "
            "retry it instead"
        )
    return ledger.split_job(job_id, now_ms, parts)


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
    failure = next((kept.failure for kept in ledger.kept_failures(limit=100_000) if kept.subject_id == job_id), None)
    job = ledger.claim(job_id, run_id, now_ms, _LEASE_MS, Retry(), states=("quarantined",))
    if job is None:
        raise LedgerError(f"job {job_id} was not given up, or a worker has it: only what was given up is forgotten")
    outputs = job.outputs
    set_aside: list[str] = []
    if not job.committed:
        record = _without_outputs(job, failure)
        try:
            archive.create(record.key, record.to_bytes())
        except ObjectConflict:
            record = parse_record(archive.read(record.key), record.key)
        ledger.commit_compacted(job, record.compaction(0.0), now_ms)
        outputs = record.outputs
        set_aside = [source.key for source in record.sources if source.state == "set_aside"]
    if outputs and not job.committed:
        # A worker had come as far as the record: what is left of the job is done by the next run.
        ledger.release(job)
        return len(set_aside)
    nothing = tuple(SeriesFile(kind, None, 0, 0) for kind in sorted(KINDS - job.kinds))
    ledger.commit_derived(job, Derivation(nothing, job.config_hash or ""), now_ms, kinds=KINDS)
    for key in set_aside:
        ledger.acknowledge_source(key, now_ms)
    return len(set_aside)


def _record_of(archive: Bucket, job: Job) -> CommitRecord | None:
    key = record_key(job)
    try:
        return parse_record(archive.read(key), key)
    except ObjectMissing:
        return None


def _without_outputs(job: Job, failure: Failure | None) -> CommitRecord:
    why = f"its job was given up{f' ({failure.cause}: {failure.message})' if failure else ''} and forgotten by a person"
    return CommitRecord(
        job=job.id,
        mode=job.mode,
        dedup=job.dedup,
        kind=job.kind,
        shard=job.shard,
        tenant=job.tenant,
        hour=job.hour,
        timestamp_ms=job.timestamp_ms,
        instance=None,
        sources=tuple(RecordedSource(source.key, source.size_bytes, "set_aside", why) for source in job.sources),
        outputs=(),
    )
