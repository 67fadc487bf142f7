"""The second half of a job: columns to series files in the archive.

Add what must be written before a job counts as derived here. The columns are those of the compaction where it was just
done, else the archive's level-1 blocks are read: both give the same series.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from pyro_assets.block.checksum import check_crc, crc32c
from pyro_assets.errors import RemovedByRetention, Where
from pyro_assets.ledger.records import Derivation, Job, Output, SeriesFile
from pyro_assets.ledger.rule_use import RuleMark
from pyro_assets.ledger.upkeep import PlacedFile
from pyro_assets.pipeline.engine import Engine
from pyro_assets.pipeline.file_notes import notes_of
from pyro_assets.pipeline.series_files import SeriesFiles
from pyro_assets.storage.interface import Bucket, ObjectInfo
from pyro_assets.storage.keys import series_key

if TYPE_CHECKING:
    from pyro_assets.block.columns import BlockColumns
    from pyro_assets.block.reader import RawObject
    from pyro_assets.series.config import SeriesConfig
    from pyro_assets.series.derive import Derived


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
        elif not job.outputs:
            nothing = tuple(SeriesFile(kind, None, 0, 0, work.config_hash) for kind in sorted(kinds))
            done = Derivation(nothing, work.config_hash)
        else:
            done = self._derive(work, kinds, still_ours)
        return replace(done, seconds=time.perf_counter() - begun)

    def _derive(self, work: "_Work", kinds: frozenset[str], still_ours: Callable[[], None]) -> Derivation:
        derived = self._series(work, work.config, kinds)
        files = [SeriesFile(kind, work.key(kind), 0, 0, work.config_hash) for kind in sorted(kinds)]
        written = [self._bytes(file, derived.frames[file.kind]) for file in files]
        still_ours()
        for file, data in written:
            self.archive.replace(work.key(file.kind), data)
        facts = derived.facts.to_dict()
        return Derivation(
            files=tuple(file for file, _ in written),
            config_hash=work.config_hash,
            facts={name: count for name, count in facts.items() if isinstance(count, int) and count},
            examples=tuple(derived.facts.examples),
        )

    def _put_in(self, work: "_Work", still_ours: Callable[[], None]) -> Derivation:
        """Puts the series of some rules in the place of what the job had of them; the others' rows stay."""
        from pyro_assets.series.choice import only

        ids = tuple(mark.rule for mark in self.rules)
        files = [self._noted(file, work.config_hash) for file in work.job.files]
        if not work.job.outputs:
            return Derivation(tuple(replace(file, is_changed=False) for file in files), work.config_hash, ids)
        # Nobody moves the files of a job that is held, so the ledger need not be asked where they are.
        reader = SeriesFiles(self.archive)
        before = {file.kind: reader.own_file(_placed(file, work.job)) for file in work.job.files}
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
        from pyro_assets.series.job_info import JobInfo

        job, columns = work.job, work.columns
        if columns is None:
            columns = read_outputs(self.archive, self.engine, job)
        return self.engine.derive(
            columns, JobInfo(job.id, job.shard, job.timestamp_ms, job.instance or ""), config, kinds
        )

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


def _placed(file: SeriesFile, job: Job) -> PlacedFile:
    if file.key is None:
        raise RemovedByRetention(
            f"the series of job {job.id} of {job.hour} were removed by retention, so no rule can be put among them; a "
            "backfill of all its series makes them anew while its level-1 blocks are there"
        )
    return PlacedFile(file.kind, job.id, file.key, file.rows, file.size_bytes, file.crc32c)


def read_outputs(archive: Bucket, engine: Engine, job: Job) -> "BlockColumns":
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


def read_committed(archive: Bucket, outputs: Sequence[Output]) -> "list[RawObject]":
    """The bytes of committed blocks, in order.

    Raises:
        StorageError: one is missing or does not have its size, or the archive does not answer.
        ChecksumMismatch: one is not what was committed.
    """
    from pyro_assets.block.reader import RawObject

    found = archive.get_many([ObjectInfo(output.key, output.size_bytes) for output in outputs])
    objects = []
    for output, data in zip(outputs, found, strict=True):
        if isinstance(data, Exception):
            raise data
        check_crc(data, output.crc32c, "the committed object", Where(output.key))
        objects.append(RawObject(output.key, data))
    return objects
