"""The second half of a job: columns to series files in the archive.

Here, too:
* series of jobs from the archive, wherever they are: in a file of their own, or in the merged one of their hour;
* what a file of series says of the rules it was made with, so that a lost ledger is told by the files themselves;
* the functions of compaction and series that a job calls, gathered so that tests can put others in their place.

Add what must be written before a job counts as derived here. The columns are those of the compaction where it was just
done, else the archive's level-1 blocks are read: both give the same series.
"""

import json
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Final

from pyro_assets.errors import DamagedSeries, ObjectMissing, RemovedByRetention, SeriesError, Where
from pyro_assets.ledger.database import Ledger
from pyro_assets.ledger.files import FileRecords
from pyro_assets.ledger.records import Derivation, Job, Output, SeriesFile
from pyro_assets.rules.stored import RuleMark
from pyro_assets.storage.checksum import check_crc, crc32c
from pyro_assets.storage.interface import Bucket, ReadOnlyBucket
from pyro_assets.storage.keys import parse_series_name, series_key

if TYPE_CHECKING:
    from types import ModuleType

    from pyro_assets.block.columns import I64, BlockColumns
    from pyro_assets.block.reader import RawObject, ReadResult
    from pyro_assets.compaction.compact import Compacted
    from pyro_assets.compaction.together import CompactedJobs
    from pyro_assets.jobs.compact import Summary
    from pyro_assets.rules.config import SeriesConfig
    from pyro_assets.series.derive import Derived
    from pyro_assets.series.facts import JobInfo
    from pyro_assets.series.files import JobSeries, MergedFile

#: Merged files that are kept open: one of each kind.
_OPEN_FILES = 2
#: A file moves at most once in a while; whoever does not find it so often has lost it.
_TRIES = 3


@dataclass(slots=True)
class SeriesFiles:
    """Reads series of jobs. Keeps the last merged files, since jobs are mostly read in the order of time.

    Attributes:
        archive: where the files lie.
        ledger: knows where they are now; not needed by a worker that holds the job, because nobody moves its files.
    """

    archive: ReadOnlyBucket
    ledger: Ledger | None = None
    _merged: "dict[str, MergedFile]" = field(default_factory=dict)

    def rows(self, file: SeriesFile) -> "JobSeries":
        """The series of a job as rows, with what their file says of itself; see `read`."""
        from pyro_assets.series.files import read_job_series

        found = self.read(file)
        return read_job_series(found, file.job_id, file.key) if isinstance(found, bytes) else found

    def own_file(self, file: SeriesFile) -> bytes:
        """The series of a job as a file of its own; see `read`."""
        from pyro_assets.series.files import series_to_parquet, to_polars

        found = self.read(file)
        if isinstance(found, bytes):
            return found
        return series_to_parquet(to_polars(found.table), found.metadata)

    def read(self, file: SeriesFile) -> "bytes | JobSeries":
        """The series of a job as they lie there: a file of its own, or its rows of one that it shares.

        Args:
            file: what the ledger knows of them.

        Raises:
            ObjectMissing: they are nowhere.
            DamagedSeries: they are not what was written.
            StorageError, SeriesError: the file cannot be read.
        """
        for _ in range(_TRIES - 1):
            try:
                return self._read_at(file)
            except (ObjectMissing, DamagedSeries):
                place = (
                    FileRecords(self.ledger).placed_file(file.job_id, file.kind) if self.ledger is not None else None
                )
                if place is None or (place.key, place.crc32c) == (file.key, file.crc32c):
                    raise
                file = place
        return self._read_at(file)

    def _read_at(self, file: SeriesFile) -> "bytes | JobSeries":
        if parse_series_name(file.key)[0]:
            return self._bytes(file)
        from pyro_assets.series.files import MergedFile

        if file.key not in self._merged:
            opened = MergedFile(self._bytes(file), file.key)
            while len(self._merged) >= _OPEN_FILES:
                del self._merged[next(iter(self._merged))]
            self._merged[file.key] = opened
        return self._merged[file.key].read(file.job_id)

    def _bytes(self, file: SeriesFile) -> bytes:
        data = self.archive.read(file.key)
        if self.ledger is None:
            from pyro_assets.series.files import check_seal

            # A derivation of this job that was killed may have written a file of which the ledger never heard.
            if check_seal(data, file.key):
                return data
        return check_file(data, file)


def check_file(data: bytes, file: SeriesFile) -> bytes:
    """The bytes of a file, which must be those that the ledger recorded; without a record, those of the file's seal.

    Raises:
        DamagedSeries: they are others.
    """
    if len(data) != file.size_bytes:
        raise DamagedSeries(file.key, f"has {len(data):,} bytes and was written with {file.size_bytes:,}")
    if file.crc32c is None:
        from pyro_assets.series.files import check_seal

        check_seal(data, file.key)
    elif (actual := crc32c(data)) != file.crc32c:
        raise DamagedSeries(file.key, f"has the CRC-32C {actual:08x} and was written with {file.crc32c:08x}")
    return data


#: The snapshot of rules that the file was derived with, see `rule_records`.
_SNAPSHOT: Final = "pyro_assets.rules"
#: JSON: rules whose series were put in since, each with its hash and the snapshot it was in.
_LATER: Final = "pyro_assets.later"


def notes_of(file: SeriesFile) -> dict[str, str]:
    """What is noted in a file.

    >>> sorted(notes_of(SeriesFile("dimension", "job", "key", config_hash="ab12")).items())
    [('pyro_assets.rules', 'ab12')]
    """
    notes = {_SNAPSHOT: file.config_hash} if file.config_hash else {}
    if file.later:
        notes[_LATER] = json.dumps(dict(file.later), sort_keys=True)
    return notes


def with_notes(file: SeriesFile, notes: Mapping[str, str]) -> SeriesFile:
    """A file as its notes tell it.

    Raises:
        SeriesError: a note is damaged.
    """
    try:
        found = json.loads(notes.get(_LATER, "{}"))
        later = {str(rule): (str(version), str(snapshot)) for rule, (version, snapshot) in found.items()}
    except (ValueError, AttributeError, TypeError) as error:
        raise SeriesError(f"the notes of {file.key} are damaged; derive its job again, which writes it anew") from error
    return replace(file, config_hash=notes.get(_SNAPSHOT), later=later)


def _compact(objects: "Sequence[RawObject]", dedup: Any, most_bytes: int = 0) -> "Compacted":
    from pyro_assets.compaction.compact import compact

    return compact(objects, dedup=dedup, most_bytes=most_bytes)


def _compact_rest(
    objects: "Sequence[RawObject]", known: "Sequence[RawObject]", dedup: Any, same_level: bool, most_bytes: int = 0
) -> "Compacted":
    from pyro_assets.compaction.rest import compact_rest

    return compact_rest(objects, known, dedup=dedup, same_level=same_level, most_bytes=most_bytes)


def _compact_jobs(jobs: "Sequence[Sequence[RawObject]]", dedup: Any, most_bytes: int = 0) -> "CompactedJobs":
    from pyro_assets.compaction.together import compact_jobs

    return compact_jobs(jobs, dedup=dedup, most_bytes=most_bytes)


def _derive_jobs(
    columns: "BlockColumns",
    job_of_dataset: "I64",
    jobs: "Sequence[JobInfo]",
    config: "SeriesConfig",
    kinds: frozenset[str],
) -> "list[Derived]":
    derived: list[Derived] = _series().derive_jobs(columns, job_of_dataset, jobs, config, kinds)
    return derived


def _series() -> "ModuleType":
    from pyro_assets.series import derive

    return derive


def _read_blocks(objects: "Sequence[RawObject]") -> "ReadResult":
    from pyro_assets.block.reader import read_blocks

    return read_blocks(objects)


def _summarise(columns: "BlockColumns") -> "Summary":
    from pyro_assets.jobs.compact import summarise

    return summarise(columns)


def _summarise_jobs(columns: "BlockColumns", job_of_dataset: "I64", jobs: int) -> "list[Summary]":
    from pyro_assets.jobs.compact import summarise_jobs

    return summarise_jobs(columns, job_of_dataset, jobs)


def _derive(columns: "BlockColumns", job: "JobInfo", config: "SeriesConfig", kinds: frozenset[str]) -> "Derived":
    derived: Derived = _series().derive(columns, job, config, kinds)
    return derived


def _series_to_parquet(frame: Any, notes: Mapping[str, str]) -> bytes:
    from pyro_assets.series.files import series_to_parquet

    return series_to_parquet(frame, notes)


def _replace_rules(
    before: Mapping[str, bytes], derived: "Derived", ids: Collection[str]
) -> tuple[dict[str, Any], set[str]]:
    from pyro_assets.series.files import parquet_to_series, replace_rules

    frames = {kind: parquet_to_series(data, f"the file of {kind} series") for kind, data in before.items()}
    merged, refused = replace_rules(frames, derived.frames, ids)
    _series().note_refused(refused, derived.facts)
    return merged, {kind for kind, frame in frames.items() if not frame.equals(merged[kind])}


@dataclass(frozen=True, slots=True)
class Engine:
    """What turns bytes into blocks and series; see the functions of the same names.

    Attributes:
        compact: (objects, dedup) -> Compacted.
        compact_rest: (objects, known objects, dedup, whether to keep the level) -> Compacted.
        read_blocks: objects -> ReadResult.
        summarise: columns -> Summary.
        derive: (columns, job, config, kinds) -> Derived.
        series_to_parquet: (frame, notes) -> bytes.
        compact_jobs, summarise_jobs, derive_jobs: the same for several jobs at once; None: jobs are done one by one.
        replace_rules: (files by kind, what was derived of some rules, their ids) -> all frames, and the kinds that
            changed; its facts get what other rules have given already.
    """

    compact: "Callable[[Sequence[RawObject], str], Compacted]" = _compact
    compact_rest: "Callable[[Sequence[RawObject], Sequence[RawObject], str, bool], Compacted]" = _compact_rest
    read_blocks: "Callable[[Sequence[RawObject]], ReadResult]" = _read_blocks
    summarise: "Callable[[BlockColumns], Summary]" = _summarise
    derive: "Callable[[BlockColumns, JobInfo, SeriesConfig, frozenset[str]], Derived]" = _derive
    series_to_parquet: Callable[[Any, Mapping[str, str]], bytes] = _series_to_parquet
    compact_jobs: "Callable[[Sequence[Sequence[RawObject]], str], CompactedJobs] | None" = None
    summarise_jobs: "Callable[[BlockColumns, I64, int], list[Summary]]" = _summarise_jobs
    derive_jobs: "Callable[..., list[Derived]] | None" = None
    replace_rules: "Callable[[Mapping[str, bytes], Derived, Collection[str]], tuple[dict[str, Any], set[str]]]" = (
        _replace_rules
    )


def within(engine: Engine, most_bytes: int) -> Engine:
    """The product's own engine, for jobs that need at most so much memory for symbols; another one as it is."""
    if engine != Engine():
        return engine
    return replace(
        engine,
        compact=partial(_compact, most_bytes=most_bytes),
        compact_rest=partial(_compact_rest, most_bytes=most_bytes),
        compact_jobs=partial(_compact_jobs, most_bytes=most_bytes),
        derive_jobs=_derive_jobs,
    )


#: Facts that a rule has alone; the others are of the whole job.
_OF_RULES: Final = (
    "limited_rules", "dropped_series", "conflicting_series", "other_units", "overflowing_series", "refused_rules"
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Deriver:
    """Does the second half of jobs.

    Attributes:
        config: the rules in force; config_hash: its hash, which takes longer than a small job.
        rules: only the series of these are made, and put among the others of jobs that are derived; none for all.
    """

    archive: Bucket
    engine: Engine
    config: "SeriesConfig"
    config_hash: str
    rules: tuple[RuleMark, ...] = ()

    def derive(
        self,
        job: Job,
        columns: "BlockColumns | None",
        kinds: frozenset[str],
        still_ours: Callable[[], None],
        config: "SeriesConfig | None" = None,
    ) -> Derivation:
        """Derives the series of a committed job and writes them, each kind's file whole or not at all.

        Files of an earlier derivation are replaced: the same configuration gives the same bytes, another one is the
        backfill of a rule.

        Args:
            job: a claimed and committed job.
            columns: what its level-1 blocks hold, if that is in memory.
            kinds: kinds of series to derive.
            still_ours: raises LeaseLost when it is not; called before anything is replaced.
            config: what this job is derived with, where that is not what is in force.

        Raises:
            StorageError, BlockError: the archive is damaged or does not answer.
            SeriesError: no series can be made of the job's values.
        """
        begun = time.perf_counter()
        work = _Work(job, columns, config or self.config, config.hash if config is not None else self.config_hash)
        if self.rules:
            done = self._put_in(work, still_ours)
        else:
            derived = self._series(work, work.config, kinds) if job.outputs else None
            done, files = self._written(work, derived, kinds)
            still_ours()
            self.archive.replace_many(files)
        return replace(done, seconds=time.perf_counter() - begun)

    def derive_jobs(
        self, jobs: Sequence[Job], made: "CompactedJobs", kinds: frozenset[str], still_ours: Callable[[], None]
    ) -> list[Derivation] | None:
        """The same for several jobs that were compacted at once, with the rules in force; None where that cannot be."""
        if self.rules or self.engine.derive_jobs is None:
            return None
        begun = time.perf_counter()
        infos = [_info(job) for job in jobs]
        derived = self.engine.derive_jobs(made.columns, made.job_of_dataset, infos, self.config, kinds)
        done = []
        files: dict[str, bytes] = {}
        for job, own in zip(jobs, derived, strict=True):
            derivation, written = self._written(_Work(job, None, self.config, self.config_hash), own, kinds)
            done.append(derivation)
            files |= written
        still_ours()
        self.archive.replace_many(files)
        return [replace(one, seconds=(time.perf_counter() - begun) / len(jobs)) for one in done]

    def _written(
        self, work: "_Work", derived: "Derived | None", kinds: frozenset[str]
    ) -> tuple[Derivation, dict[str, bytes]]:
        """What a job's series came to, and its files by key."""
        if derived is None or not work.job.outputs:
            return Derivation(tuple(work.file(kind, "") for kind in sorted(kinds)), work.config_hash), {}
        written = [self._bytes(work.file(kind, work.key(kind)), derived.frames[kind]) for kind in sorted(kinds)]
        facts = derived.facts.to_dict()
        derivation = Derivation(
            files=tuple(file for file, _ in written),
            config_hash=work.config_hash,
            facts={name: count for name, count in facts.items() if isinstance(count, int) and count},
            examples=tuple(derived.facts.examples),
        )
        return derivation, {work.key(file.kind): data for file, data in written}

    def _put_in(self, work: "_Work", still_ours: Callable[[], None]) -> Derivation:
        """Puts the series of some rules in the place of what the job had of them; the others' rows stay."""
        from pyro_assets.rules.choice import only

        ids = tuple(mark.rule for mark in self.rules)
        files = [self._noted(file, work.config_hash) for file in work.job.files]
        if not work.job.outputs:
            return Derivation(tuple(replace(file, is_changed=False) for file in files), work.config_hash, ids)
        # Nobody moves the files of a job that is held, so the ledger need not be asked where they are.
        reader = SeriesFiles(self.archive)
        if not all(file.key for file in work.job.files):
            raise RemovedByRetention(
                f"the series of job {work.job.id} of {work.job.hour} were removed by retention, so no rule can be put "
                "among them; a backfill of all its series makes them anew while its level-1 blocks are there"
            )
        before = {file.kind: reader.own_file(file) for file in work.job.files}
        derived = self._series(work, only(work.config, ids), frozenset(before))
        merged, changed = self.engine.replace_rules(before, derived, ids)
        written = [
            # A job whose series were merged with others' has a file of its own again.
            self._bytes(replace(file, key=work.key(file.kind), is_changed=file.kind in changed), merged[file.kind])
            for file, known in zip(files, work.job.files, strict=True)
            if file.kind in changed or file.later != known.later
        ]
        still_ours()
        for file, data in written:
            self.archive.replace(work.key(file.kind), data)
        facts = {name: count for name in _OF_RULES if (count := getattr(derived.facts, name))}
        found = derived.facts
        examples = tuple(found.examples) if found.conflicting_series or found.unmade else ()
        return Derivation(tuple(file for file, _ in written), work.config_hash, ids, facts, examples)

    def _series(self, work: "_Work", config: "SeriesConfig", kinds: frozenset[str]) -> "Derived":
        job, columns = work.job, work.columns
        if columns is None:
            columns = read_outputs(self.archive, self.engine, job)
        return self.engine.derive(columns, _info(job), config, kinds)

    def _noted(self, file: SeriesFile, config_hash: str) -> SeriesFile:
        later = {mark.rule: (mark.hash, config_hash) for mark in self.rules if mark.kind == file.kind}
        return replace(file, later={**file.later, **later})

    def _bytes(self, file: SeriesFile, frame: Any) -> tuple[SeriesFile, bytes]:
        data = self.engine.series_to_parquet(frame, notes_of(file))
        return replace(file, rows=len(frame), size_bytes=len(data), crc32c=crc32c(data)), data


@dataclass(frozen=True, slots=True)
class _Work:
    """A job and what it is derived with."""

    job: Job
    columns: "BlockColumns | None"
    config: "SeriesConfig"
    config_hash: str

    def key(self, kind: str) -> str:
        """Where the job's series of a kind lie."""
        return series_key(kind, self.job.hour, self.job.id, self.job.series_number or 0)

    def file(self, kind: str, key: str) -> SeriesFile:
        """A file of the job, with nothing in it."""
        return SeriesFile(kind, self.job.id, key, config_hash=self.config_hash)


def _info(job: Job) -> "JobInfo":
    from pyro_assets.series.facts import JobInfo

    return JobInfo(job.id, job.shard, job.timestamp_ms, job.instance or "")


def read_outputs(archive: ReadOnlyBucket, engine: Engine, job: Job) -> "BlockColumns":
    """Reads the level-1 blocks of a committed job back.

    Raises:
        StorageError: one is missing or does not have its size, or the archive does not answer.
        BlockError: one does not hold what was committed.
    """
    if job.blocks_removed:
        raise RemovedByRetention(
            f"the level-1 blocks of job {job.id} of {job.hour} were removed by retention: its series stay as they are"
        )
    read = engine.read_blocks(read_committed(archive, job.outputs))
    if read.set_aside:
        raise read.set_aside[0][1]
    return read.columns


def read_committed(archive: ReadOnlyBucket, outputs: Sequence[Output]) -> "list[RawObject]":
    """The bytes of committed blocks, in order.

    Raises:
        StorageError: one is missing or does not have its size, or the archive does not answer.
        ChecksumMismatch: one is not what was committed.
    """
    from pyro_assets.block.reader import RawObject

    found = archive.get_many(outputs)
    objects = []
    for output, data in zip(outputs, found, strict=True):
        if isinstance(data, Exception):
            raise data
        check_crc(data, output.crc32c, "the committed object", Where(output.key))
        objects.append(RawObject(output.key, data))
    return objects
