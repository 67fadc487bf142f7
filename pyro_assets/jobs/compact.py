"""The first half of a job: sources to level-1 blocks and a commit record in the archive.

Here, too:
* the same for several small jobs at once, which share what costs by the call;
* counts over the columns of a job, for its record and reports.

Add what must be written before a job counts as compacted here; the ledger and series are `work`'s. Equal sources give
equal blocks and records, so doing this again repairs whatever a crash left.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from pyro_assets.block.columns import I64, BlockColumns
from pyro_assets.errors import BadRecord, BlockError, ObjectConflict, ObjectMissing
from pyro_assets.jobs.derive import Engine, read_committed
from pyro_assets.jobs.record import CommitRecord, find_record, write_record
from pyro_assets.jobs.sources import ReadSources, read_sources
from pyro_assets.ledger.records import Failure, Job, JobSource, Output
from pyro_assets.series.facts import count_services
from pyro_assets.storage.checksum import crc32c
from pyro_assets.storage.interface import Bucket, ReadOnlyBucket
from pyro_assets.storage.keys import block_key, parse_block_key
from pyro_assets.storage.shown import printable

if TYPE_CHECKING:
    from pyro_assets.block.metadata import BlockMeta
    from pyro_assets.block.reader import RawObject, ReadResult
    from pyro_assets.compaction.compact import Compacted
    from pyro_assets.compaction.together import CompactedJobs

_NS_PER_MS = 1_000_000


@dataclass(frozen=True, slots=True)
class Summary:
    """What columns hold.

    Attributes:
        tenants: tenant -> (profiles, samples); a profile is a row, one per upload and sample type.
        services: (tenant, service, samples, unsymbolised samples), names printable.
        oldest_ms, newest_ms: first and last profile, None without any.
    """

    tenants: dict[bytes, tuple[int, int]]
    services: tuple[tuple[str, str, int, int], ...] = ()
    oldest_ms: int | None = None
    newest_ms: int | None = None

    @property
    def profiles(self) -> int:
        """Of all tenants."""
        return sum(profiles for profiles, _ in self.tenants.values())

    @property
    def samples(self) -> int:
        """Of all tenants."""
        return sum(samples for _, samples in self.tenants.values())


def summarise(columns: BlockColumns) -> Summary:
    """Counts what columns hold."""
    return summarise_jobs(columns, np.zeros(len(columns.datasets), dtype=np.int64), 1)[0]


def summarise_jobs(columns: BlockColumns, job_of_dataset: I64, jobs: int) -> list[Summary]:
    """The same for each of some jobs, whose datasets are side by side."""
    rows = columns.rows
    tenants: list[dict[bytes, tuple[int, int]]] = [{} for _ in range(jobs)]
    row_counts = np.diff(rows.dataset_start).tolist()
    sample_counts = np.diff(rows.sample_start.take(rows.dataset_start)).tolist()
    numbers = job_of_dataset.tolist()
    for job, dataset, profiles, samples in zip(numbers, columns.datasets, row_counts, sample_counts, strict=True):
        before = tenants[job].get(dataset.tenant, (0, 0))
        tenants[job][dataset.tenant] = (before[0] + profiles, before[1] + samples)
    bounds = rows.dataset_start.take(np.searchsorted(job_of_dataset, np.arange(jobs + 1))).tolist()
    summaries = []
    services = count_services(columns, job_of_dataset, jobs)
    for own, its, begin, end in zip(tenants, services, bounds[:-1], bounds[1:], strict=True):
        times = rows.time_ns[begin:end]
        summaries.append(
            Summary(
                tenants=own,
                services=tuple((s.tenant, s.service, s.samples, s.unsymbolised_samples) for s in its),
                oldest_ms=int(times.min()) // _NS_PER_MS if len(times) else None,
                newest_ms=int(times.max()) // _NS_PER_MS if len(times) else None,
            )
        )
    return summaries


#: Compaction level of the blocks that observe mode takes: those that replaced segments.
_OBSERVED_LEVEL = 1
#: Compacted blocks do not say who made their segments; in every segment the host's name follows the empty string.
_SEGMENTS_CREATED_BY = 1


@dataclass(slots=True)
class CompactedJob:
    """A job whose level-1 blocks and record are in the archive.

    Attributes:
        record: what was committed.
        columns: what the level-1 blocks hold, if that is in memory.
    """

    record: CommitRecord
    columns: "BlockColumns | None" = None


@dataclass(frozen=True, slots=True)
class HigherLevel:
    """A block that Pyroscope made of other blocks, and the time of its first and last profile."""

    level: int
    oldest_ms: int
    newest_ms: int


@dataclass(slots=True)
class _Made:
    """What the sources became, before it is written."""

    blocks: list[tuple[bytes, str, bytes]]  # tenant, block id, bytes
    columns: "BlockColumns"
    metas: "dict[str, BlockMeta | None]"
    broken: dict[str, Failure]
    duplicates: int = 0
    conflicts: int = 0
    facts: dict[str, int] | None = None


@dataclass(frozen=True, slots=True)
class Compactor:
    """Does the first half of jobs."""

    source: ReadOnlyBucket
    archive: Bucket
    engine: Engine

    def compact(self, job: Job, still_ours: Callable[[], None]) -> CompactedJob | HigherLevel:
        """Reads a job's sources, writes its level-1 blocks, then its commit record.

        A block of a higher level than was known is only looked at: what other jobs have of it is not known yet.

        A record that is there already wins: it was committed, and what is committed is never overwritten. Blocks
        without a record are leftovers of a crash and may be replaced.

        Args:
            job: a claimed job that is not committed.
            still_ours: raises LeaseLost when it is not; called before anything is replaced.

        Raises:
            StorageError: the source or the archive does not do what was asked.
            LeaseLost: see `still_ours`.
        """
        if job.attempts > 1:
            # An earlier attempt may have come as far as the record.
            committed = find_record(self.archive, job)
            if committed is not None:
                return CompactedJob(committed)
        read = read_sources(self.source, job.sources)
        made = self._make(job, read) if read.data else None
        if isinstance(made, HigherLevel):
            return made
        record, blocks = self._record(job, read, made)
        for output, data in zip(record.outputs, blocks, strict=True):
            try:
                self.archive.create(output.key, data)
            except ObjectConflict:
                committed = find_record(self.archive, job)
                if committed is not None:
                    return CompactedJob(committed)
                still_ours()
                self.archive.replace(output.key, data)
        there = write_record(self.archive, record)
        return CompactedJob(there, made.columns if made is not None and there is record else None)

    def compact_jobs(self, jobs: Sequence[Job]) -> "tuple[list[CommitRecord], CompactedJobs] | None":
        """The same for several jobs at once, whose engine can do that; each one's objects are as it gives them alone.

        Args:
            jobs: claimed for the first time, in own mode, with profiles that no other job has.

        Returns:
            Their records, and their columns; None where one of them has to be looked at alone.

        Raises:
            StorageError, BlockError, TooLarge: the same.
        """
        read = read_sources(self.source, [source for job in jobs for source in job.sources])
        if read.lost or self.engine.compact_jobs is None:
            return None
        own = [ReadSources({source.key: read.data[source.key] for source in job.sources}) for job in jobs]
        done = self.engine.compact_jobs([_raw(one.data) for one in own], jobs[0].dedup)
        summaries = self.engine.summarise_jobs(done.columns, done.job_of_dataset, len(jobs))
        records = []
        blocks: dict[str, bytes] = {}
        for job, its, one, summary in zip(jobs, own, done.jobs, summaries, strict=True):
            made = _Made(
                [(block.tenant, block.id, block.data) for block in one.blocks],
                done.columns,
                {**one.metas},
                {},
                one.duplicates,
                one.conflicts,
                {name: one.facts[name] for name in _ODD if one.facts.get(name)},
            )
            record, data = self._record(job, its, made, summary)
            records.append(record)
            blocks |= {output.key: block for output, block in zip(record.outputs, data, strict=True)}
        try:
            self.archive.create_many(blocks)
            self.archive.create_many({record.record_key: record.to_bytes() for record in records})
        except ObjectConflict:
            return None
        return records, done

    def set_aside(self, job: Job, failure: Failure) -> CommitRecord:
        """Commits a job without outputs: all its sources are set aside for this reason.

        Returns:
            The record that is in the archive, another one if the job was committed before.

        Raises:
            StorageError: the archive does not answer.
        """
        sources = tuple(_set_aside(one, failure) for one in job.sources)
        return write_record(self.archive, CommitRecord.of(job, sources=sources))

    def again(self, job: Job) -> tuple[CommitRecord, dict[str, bytes]]:
        """What the sources of a committed job give now: its record, and its blocks by key. Nothing is written.

        Raises:
            ObjectMissing: a source is gone, so its blocks cannot be made again.
            BadRecord: they give other blocks, or other profiles, than were committed.
            StorageError: the source does not do what was asked.
        """
        job = replace(job, sources=tuple(source for source in job.sources if source.state == "done"))
        read = read_sources(self.source, job.sources)
        if read.lost:
            raise ObjectMissing(
                f"{len(read.lost)} of {len(job.sources)} sources of job {job.id} are gone, {read.lost[0]} first: its "
                "blocks cannot be compacted again; restore them from a copy of the archive",
                key=read.lost[0],
            )
        made = self._make(job, read)
        if isinstance(made, HigherLevel):
            raise BadRecord(f"job {job.id} is now a block of level {made.level}; restore its blocks from a copy")
        record, blocks = self._record(job, read, made)
        if [_identity(one) for one in record.outputs] != [_identity(one) for one in job.outputs]:
            raise BadRecord(
                f"the sources of job {job.id} give other blocks than were committed; restore these from a copy"
            )
        return record, {output.key: data for output, data in zip(record.outputs, blocks, strict=True)}

    def _make(self, job: Job, read: ReadSources) -> _Made | HigherLevel:
        make = self._merged if job.mode == "own" else self._observed
        made = make(job, read.data)
        if isinstance(made, _Made) and made.broken:
            # What cannot be read is read once more before that counts: the fault may have been the transport's.
            again = read_sources(self.source, [source for source in job.sources if source.key in made.broken])
            if any(data != read.data[key] for key, data in again.data.items()):
                read.data |= again.data
                made = make(job, read.data)
        return made

    def _merged(self, job: Job, data: dict[str, bytes]) -> _Made:
        keys = list(data)
        objects = _raw(data)
        if job.known:
            done = self.engine.compact_rest(objects, read_committed(self.archive, job.known), job.dedup, False)
        else:
            done = self.engine.compact(objects, job.dedup)
        return _Made(
            blocks=[(block.tenant, block.id, block.data) for block in done.blocks],
            columns=done.columns,
            metas=dict(zip(keys, done.metas, strict=True)),
            broken={keys[position]: failure_of(error) for position, error in done.set_aside},
            duplicates=done.duplicates,
            conflicts=done.conflicts,
            facts={name: done.facts[name] for name in _ODD if done.facts.get(name)} | _known_fact(done.known),
        )

    def _observed(self, job: Job, data: dict[str, bytes]) -> _Made | HigherLevel:
        """A block that Pyroscope made: copied as it is, so that it outlives Pyroscope's retention.

        Of what other jobs have already, only the rest counts: usually nothing of a higher level.
        """
        ((key, content),) = data.items()
        known = 0
        read: Compacted | ReadResult
        if job.known:
            # Of a single source the original drops nothing.
            others = read_committed(self.archive, job.known)
            read = rest = self.engine.compact_rest(_raw(data), others, "original", True)
            known = rest.known
            blocks = [(block.tenant, block.id, block.data) for block in rest.blocks]
        else:
            read, blocks = self.engine.read_blocks(_raw(data)), []
        meta = read.metas[0]
        made = _Made([], read.columns, {key: meta}, {}, facts=_known_fact(known))
        if meta is None:
            made.broken[key] = failure_of(read.set_aside[0][1])
        elif meta.level < _OBSERVED_LEVEL:
            reason = f"its compaction level is {meta.level}; observe mode takes what Pyroscope compacted"
            made.broken[key] = Failure("OtherLevel", reason)
        elif meta.level > _OBSERVED_LEVEL and job.level is None:
            # Of its profiles, not of its metadata, which may say anything: what others have of it is sought by time.
            own = self.engine.summarise(read.columns)
            return HigherLevel(meta.level, own.oldest_ms or 0, own.newest_ms or 0)
        else:
            made.blocks = blocks if known else [(meta.tenant, parse_block_key(key).ulid, content)]
        return made

    def _record(
        self, job: Job, read: ReadSources, made: _Made | None, summary: Summary | None = None
    ) -> tuple[CommitRecord, list[bytes]]:
        if made is None or not made.blocks:
            summary = Summary({})
        elif summary is None:
            summary = self.engine.summarise(made.columns)
        metas = made.metas if made is not None else {}
        broken = made.broken if made is not None else {}
        first = next((meta for key in read.data if (meta := metas.get(key)) is not None), None)
        blocks = made.blocks if made is not None else []
        record = CommitRecord.of(
            job,
            instance=None if first is None else _instance(job, first),
            sources=tuple(_recorded(source, read, broken) for source in job.sources),
            outputs=tuple(_output(job, *block, summary) for block in blocks),
            profiles=summary.profiles,
            samples=summary.samples,
            duplicates=made.duplicates if made is not None else 0,
            conflicts=made.conflicts if made is not None else 0,
            oldest_ms=summary.oldest_ms,
            newest_ms=summary.newest_ms,
            services=summary.services,
            facts=_facts(job, made, summary) if made is not None else {},
        )
        return record, [data for _, _, data in blocks]


def _facts(job: Job, made: _Made, summary: Summary) -> dict[str, int]:
    recovered = {"recovered_profiles": summary.profiles} if job.level is not None and summary.profiles else {}
    return (made.facts or {}) | recovered


def _known_fact(known: int) -> dict[str, int]:
    """How many profiles were left out because other jobs have them."""
    return {"known_profiles": known} if known else {}


#: Facts of a compaction that mean that something is odd; the others are counts that have their own place.
_ODD = ("dangling", "total_mismatches")


def failure_of(error: BaseException) -> Failure:
    """An error as the ledger keeps it."""
    message = str(error).replace("\0", "\\x00") or type(error).__name__
    if isinstance(error, BlockError):
        offset = error.offset if error.offset >= 0 else None
        return Failure(type(error).__name__, message, error.where.section, offset)
    return Failure(type(error).__name__, message)


def _raw(data: Mapping[str, bytes]) -> "list[RawObject]":
    from pyro_assets.block.reader import RawObject

    return [RawObject(key, content) for key, content in data.items()]


def _recorded(source: JobSource, read: ReadSources, broken: Mapping[str, Failure]) -> JobSource:
    if source.key not in read.data:
        return replace(source, state="lost", reason="it was gone from the bucket before it was read")
    there = JobSource(source.key, len(read.data[source.key]), "done")
    failure = broken.get(source.key)
    return there if failure is None else _set_aside(there, failure)


def _set_aside(source: JobSource, failure: Failure) -> JobSource:
    return replace(source, state="set_aside", reason=f"{failure.cause}: {failure.message}", failure=failure)


def _output(job: Job, tenant: bytes, block_id: str, data: bytes, summary: Summary) -> Output:
    profiles, samples = summary.tenants.get(tenant, (0, 0))
    return Output(
        tenant=printable(tenant),
        block_id=block_id,
        key=block_key(job.shard, tenant, block_id),
        size_bytes=len(data),
        crc32c=crc32c(data),
        profiles=profiles,
        samples=samples,
    )


def _identity(output: Output) -> tuple[str, int, int]:
    """What another version of the program must give as well, though its bytes may differ."""
    return output.key, output.profiles, output.samples


def _instance(job: Job, first: "BlockMeta") -> str:
    from pyro_assets.series.derive import instance_hash

    return instance_hash(job.shard, first.created_by_index if job.mode == "own" else _SEGMENTS_CREATED_BY)
