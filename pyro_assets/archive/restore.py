"""Putting back what a lost ledger knew, from what commit records of the archive say.

Here, too:
* losses and acknowledgements, of which `planning.verdicts` wrote records.

Add a column here when `commit_compacted` or `commit_derived` writes it and a record has it. Reading the archive is the
pipeline's part; times of the work itself are in no record, so restored jobs look as if they were done at once.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from sqlalchemy import Connection, select

from pyro_assets.errors import BadRecord, LedgerError
from pyro_assets.jobs.loading import JobRecords, compacted_columns, output_rows
from pyro_assets.jobs.quarantine import Pardons, note_failure
from pyro_assets.jobs.record import CommitRecord
from pyro_assets.ledger.database import Ledger, Queries, fact, put_fact
from pyro_assets.ledger.decisions import Decision, DecisionRecords
from pyro_assets.ledger.records import JobSource, SeriesFile
from pyro_assets.ledger.schema import (
    JobState,
    collapsed_sources,
    job_sources,
    jobs,
    outputs,
    quarantine,
    series_files,
    sources,
)
from pyro_assets.planning.listing import FoundBlock
from pyro_assets.planning.policy import Policy
from pyro_assets.planning.sources import SourceRecords, chunks, known_jobs
from pyro_assets.storage.interface import ReadOnlyBucket
from pyro_assets.storage.keys import VERDICTS, BlockKey, parse_block_key
from pyro_assets.storage.sealed_json import from_bytes, parsing

_REBUILDING: Final = "rebuilding"


@dataclass(frozen=True, slots=True)
class RestoredJob:
    """A job as its record and its series files tell it.

    Attributes:
        record: the record; blocks: what the keys of its sources say, in their order.
        state: the furthest that the archive proves.
        files: its series.
    """

    record: CommitRecord
    blocks: tuple[BlockKey, ...]
    state: JobState
    files: tuple[SeriesFile, ...]


class Restorer(Queries):
    """The part of the ledger that can be put back."""

    def has_jobs(self) -> bool:
        """Whether any job was ever planned, those whose rows retention removed among them."""
        with self.ledger.read() as connection:
            if connection.execute(select(jobs.c.id).limit(1)).first() is not None:
                return True
            return connection.execute(select(collapsed_sources.c.hour).limit(1)).first() is not None

    def is_rebuilding(self) -> bool:
        """Whether a rebuild was begun and not ended: until then nothing may be planned."""
        with self.ledger.read() as connection:
            return fact(connection, _REBUILDING) is not None

    def mark_rebuilding(self, now_ms: int, *, rebuilding: bool) -> None:
        """Notes that a rebuild begins or has ended."""
        with self.ledger.write(planning=True) as connection:
            put_fact(connection, _REBUILDING, str(now_ms) if rebuilding else None, now_ms)

    def restore(self, restored: Sequence[RestoredJob], now_ms: int) -> int:
        """Writes jobs with their sources, outputs and files; those that are there already stay as they are.

        A source that two records name was tried again by a person: it belongs to the job in which it was done.

        Returns:
            How many jobs were written.
        """
        written = 0
        with self.ledger.write(planning=True) as connection:
            known = known_jobs(connection, [job.record.id for job in restored])
            for job in restored:
                if job.record.id not in known:
                    _restore(connection, job, now_ms)
                    written += 1
        return written


def _restore(connection: Connection, job: RestoredJob, now_ms: int) -> None:
    record = job.record
    created = [block.created_ms for block in job.blocks] or [record.timestamp_ms]
    connection.execute(
        jobs.insert().values(
            **record.identity(),
            sources=len(record.sources),
            bytes_in=sum(source.size_bytes for source in record.sources),
            first_created_ms=min(created),
            last_created_ms=max(created),
            planned_ms=max(created),
            state=job.state,
            compacted_ms=max(created),
            derived_ms=max(created) if job.state == "derived" else None,
            config_hash=next((file.config_hash for file in job.files), None),
            **compacted_columns(record),
        )
    )
    _restore_sources(connection, job, now_ms)
    if record.outputs:
        connection.execute(outputs.insert(), output_rows(record))
    if job.files:
        connection.execute(series_files.insert(), [file.to_row(now_ms) for file in job.files])


def _restore_sources(connection: Connection, job: RestoredJob, now_ms: int) -> None:
    record = job.record
    there: dict[str, Mapping[str, Any]] = {}
    for chunk in chunks([source.key for source in record.sources]):
        rows = connection.execute(
            select(sources.c.key, sources.c.id, sources.c.state, job_sources.c.job_id)
            .outerjoin(job_sources, job_sources.c.source_id == sources.c.id)
            .where(sources.c.key.in_(chunk))
        )
        there |= {row.key: row._mapping for row in rows}
    for position, (source, block) in enumerate(zip(record.sources, job.blocks, strict=True)):
        before = there.get(source.key)
        if before is not None and before["job_id"] is not None:
            if before["state"] == "done" or source.state != "done":
                continue
            connection.execute(job_sources.delete().where(job_sources.c.source_id == before["id"]))
        if before is not None:
            source_id = before["id"]
            connection.execute(
                sources.update().where(sources.c.id == source_id).values(state=source.state, reason=source.reason)
            )
            connection.execute(
                quarantine.delete().where(quarantine.c.subject == "source", quarantine.c.subject_id == source.key)
            )
        else:
            made = connection.execute(sources.insert().values(_source_row(source, block, record.tenant)))
            (source_id,) = made.inserted_primary_key or (None,)
        connection.execute(job_sources.insert().values(source_id=source_id, job_id=record.id, position=position))
        if source.failure is not None:
            note_failure(connection, "source", source.key, record, source.failure, now_ms, given_up=True)


def _source_row(source: JobSource, block: BlockKey, tenant: str) -> dict[str, object]:
    return {
        "key": block.key,
        "kind": block.level_kind,
        "shard": block.shard,
        "tenant": tenant,
        "ulid": block.ulid,
        "hour": block.hour,
        "created_ms": block.created_ms,
        "size_bytes": source.size_bytes,
        "first_seen_ms": block.created_ms,
        "state": source.state,
        "reason": source.reason,
    }


_WHAT: Final = "a record of a verdict"
_REMEDY: Final = "restore it from a copy of the archive; or remove it, and decide again"
_Verdict = TypeVar("_Verdict")


def restore_verdicts(ledger: Ledger, archive: ReadOnlyBucket, damaged: list[str]) -> int:
    """Puts losses and acknowledgements back into a ledger that has its jobs again; returns how many decisions.

    Args:
        ledger: where to put them.
        archive: the one that belongs to it.
        damaged: gets one sentence for each record that is left out because it does not parse.

    Raises:
        StorageError: the archive does not answer.
    """
    for found, reason, at_ms in _read(archive, "lost", _loss, damaged):
        SourceRecords(ledger).record_lost([found], reason, at_ms, Policy(start_ms=0))
    decided = _read(archive, "decided", lambda plain: Decision(**plain), damaged)
    for decision in sorted(decided, key=lambda one: one.at_ms):
        if decision not in DecisionRecords(ledger).past_decisions(subject=decision.subject):
            DecisionRecords(ledger).note_decision(decision)
        if decision.action == "forget":
            for key in _sources_of(ledger, decision.subject):
                Pardons(ledger).acknowledge_source(key, decision.at_ms)
    return len(decided)


def _sources_of(ledger: Ledger, subject: str) -> list[str]:
    """The sources that were taken off the list with a source or a job, as far as they still are in no output."""
    if "/" in subject:
        found = Pardons(ledger).unheld_source(subject)
        return [subject] if found is not None and found.state != "quarantined" else []
    try:
        job, _ = JobRecords(ledger).look_up(subject)
    except LedgerError:
        return []
    there = [Pardons(ledger).unheld_source(source.key) for source in job.sources]
    return [one.key for one in there if one is not None and one.state == "set_aside"]


def _loss(plain: dict[str, Any]) -> tuple[FoundBlock, str, int]:
    return FoundBlock(parse_block_key(plain["key"]), plain["size_bytes"]), plain["reason"], plain["at_ms"]


def _read(
    archive: ReadOnlyBucket, folder: str, make: Callable[[dict[str, Any]], _Verdict], damaged: list[str]
) -> list[_Verdict]:
    found = []
    for key, data in archive.read_all(f"{VERDICTS}/{folder}/"):
        try:
            with parsing(key, _WHAT, _REMEDY):
                found.append(make(from_bytes(data, key, _WHAT, _REMEDY)))
        except BadRecord as error:
            damaged.append(str(error))
    return found
