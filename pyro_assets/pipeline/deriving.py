"""The second half of a job: columns to series files in the archive.

Add what must be written before a job counts as derived here. The columns are those of the compaction where it was just
done, else the archive's level-1 blocks are read: both give the same series.
"""

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from pyro_assets.block.checksum import check_crc
from pyro_assets.errors import Where
from pyro_assets.ledger.records import Derivation, Job, SeriesFile
from pyro_assets.pipeline.engine import Engine
from pyro_assets.storage.interface import Bucket, ObjectInfo
from pyro_assets.storage.keys import series_key

if TYPE_CHECKING:
    from pyro_assets.block.columns import BlockColumns
    from pyro_assets.series.config import SeriesConfig


@dataclass(frozen=True, slots=True)
class Deriver:
    """Does the second half of jobs."""

    archive: Bucket
    engine: Engine
    config: "SeriesConfig"

    def derive(
        self, job: Job, columns: "BlockColumns | None", kinds: frozenset[str], still_ours: Callable[[], None]
    ) -> Derivation:
        """Derives the series of a committed job and writes them, each kind's file whole or not at all.

        Files of an earlier derivation are replaced: the same configuration gives the same bytes, another one is the
        backfill of a rule.

        Args:
            job: a claimed and committed job.
            columns: what its level-1 blocks hold, if that is in memory.
            kinds: kinds of series to derive.
            still_ours: raises LeaseLost when it is not; called before anything is replaced.

        Raises:
            StorageError, BlockError: the archive is damaged or does not answer.
            SeriesError: no series can be made of the job's values.
        """
        begun = time.perf_counter()
        if not job.outputs:
            nothing = tuple(SeriesFile(kind, None, 0, 0) for kind in sorted(kinds))
            return Derivation(nothing, self.config.hash, seconds=time.perf_counter() - begun)
        from pyro_assets.series.derive import JobInfo

        if columns is None:
            columns = read_outputs(self.archive, self.engine, job)
        info = JobInfo(job.id, job.shard, job.timestamp_ms, job.instance or "")
        derived = self.engine.derive(columns, info, self.config, kinds)
        written = {kind: self.engine.series_to_parquet(derived.frames[kind]) for kind in sorted(kinds)}
        still_ours()
        files = []
        for kind, data in written.items():
            key = series_key(kind, job.hour, job.id)
            self.archive.replace(key, data)
            files.append(SeriesFile(kind, key, len(derived.frames[kind]), len(data)))
        facts = derived.facts.to_dict()
        return Derivation(
            files=tuple(files),
            config_hash=self.config.hash,
            facts={name: count for name, count in facts.items() if isinstance(count, int) and count},
            examples=tuple(facts.get("collision_examples", ())),
            seconds=time.perf_counter() - begun,
        )


def read_outputs(archive: Bucket, engine: Engine, job: Job) -> "BlockColumns":
    """Reads the level-1 blocks of a committed job back.

    Raises:
        StorageError: one is missing or does not have its size, or the archive does not answer.
        BlockError: one does not hold what was committed.
    """
    from pyro_assets.block.reader import RawObject

    found = archive.get_many([ObjectInfo(output.key, output.size_bytes) for output in job.outputs])
    objects = []
    for output, data in zip(job.outputs, found, strict=True):
        if isinstance(data, Exception):
            raise data
        check_crc(data, output.crc32c, "the committed object", Where(output.key))
        objects.append(RawObject(output.key, data))
    read = engine.read_blocks(objects)
    if read.set_aside:
        raise read.set_aside[0][1]
    return read.columns
