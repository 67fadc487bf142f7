"""Compaction of several jobs at once: each one's blocks are, byte for byte, what `compact` makes of it alone.

A small job costs by the number of calls, not by its profiles, so several share them: the job is one more column that
datasets are sorted and kept apart by. Add what must be told job by job here; the steps are `compact`'s. What is broken
in one job is found by doing the jobs alone.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pyro_assets.block.columns import I64, BlockColumns
from pyro_assets.block.metadata import BlockMeta
from pyro_assets.block.reader import RawObject, read_blocks, rows_whose_total_differs
from pyro_assets.block.writer import WrittenBlock, write_job_blocks
from pyro_assets.compaction.compact import identify, in_job_order, merge
from pyro_assets.compaction.rows import Dedup


@dataclass(frozen=True, slots=True)
class JobBlocks:
    """What one of the jobs became; see `Compacted`. `metas`: by key."""

    blocks: list[WrittenBlock]
    metas: dict[str, BlockMeta]
    duplicates: int
    conflicts: int
    facts: dict[str, int]


@dataclass(frozen=True, slots=True)
class CompactedJobs:
    """What the jobs became.

    Attributes:
        columns: what all their blocks hold; datasets sorted by (job, tenant, name).
        job_of_dataset: int64[datasets], positions in `jobs`.
        jobs: in the order given.
    """

    columns: BlockColumns
    job_of_dataset: I64
    jobs: list[JobBlocks]


def compact_jobs(jobs: Sequence[Sequence[RawObject]], *, dedup: Dedup = "exact", most_bytes: int = 0) -> CompactedJobs:
    """Compact jobs, each of which has objects of one shard and one level, in any order.

    Args:
        jobs: their objects.
        dedup: see `compact`.
        most_bytes: of memory that all of them together may need; 0: any.

    Raises:
        BlockError: an object is broken, or the blocks of a job cannot be written.
        TooLarge: they need more memory.
    """
    objects = [item for job in jobs for item in in_job_order(job)]
    job_of_object = [number for number, job in enumerate(jobs) for _ in job]
    read = read_blocks(objects, isolate=False, most_bytes=most_bytes, job_of_object=job_of_object)
    source_jobs = [job_of_object[dataset.source] for dataset in read.columns.datasets]
    dangling, mismatches = _odd(read.columns, source_jobs, len(jobs))
    before = _rows_of_jobs(read.columns, source_jobs, len(jobs))
    merged = merge(read.columns, dedup, source_jobs)
    names = zip(source_jobs, read.columns.datasets, strict=True)
    out_jobs = [job for job, _, _ in dict.fromkeys((job, one.tenant, one.name) for job, one in names)]
    metas: list[dict[str, BlockMeta]] = [{} for _ in jobs]
    for number, item, meta in zip(job_of_object, objects, read.metas, strict=True):
        if meta is not None:
            metas[number][item.object_key] = meta
    tenants: list[set[bytes]] = [set() for _ in jobs]
    for number, dataset in zip(out_jobs, merged.columns.datasets, strict=True):
        tenants[number].add(dataset.tenant)
    identities = [
        {tenant: identify([*own.values()], tenant) for tenant in its} for own, its in zip(metas, tenants, strict=True)
    ]
    blocks = write_job_blocks(merged.columns, out_jobs, identities)
    after = _rows_of_jobs(merged.columns, out_jobs, len(jobs))
    conflicts = _conflicts(merged.columns, out_jobs, len(jobs)) if merged.conflicts else [0] * len(jobs)
    return CompactedJobs(
        merged.columns,
        np.array(out_jobs, dtype=np.int64),
        [
            JobBlocks(
                blocks[number],
                metas[number],
                before[number] - after[number],
                conflicts[number],
                {"dangling": dangling[number], "total_mismatches": mismatches[number]},
            )
            for number in range(len(jobs))
        ],
    )


def _rows_of_jobs(columns: BlockColumns, jobs: Sequence[int], count: int) -> list[int]:
    rows: list[int] = np.bincount(_of_rows(columns, jobs), minlength=count).tolist()
    return rows


def _of_rows(columns: BlockColumns, jobs: Sequence[int]) -> I64:
    """The job of each row."""
    return np.repeat(np.array(jobs, dtype=np.int64), np.diff(columns.rows.dataset_start))


def _odd(columns: BlockColumns, jobs: Sequence[int], count: int) -> tuple[list[int], list[int]]:
    """Dangling references and rows with another total than their samples', by job; see `block.reader.link`."""
    none = [0] * count
    dangling = none
    if columns.facts["dangling"]:
        unit_job = np.array(jobs, dtype=np.int64).take(columns.symbols.unit_dataset)
        dangling = np.bincount(unit_job, weights=columns.symbols.dangling, minlength=count).astype(int).tolist()
    if not columns.facts["total_mismatches"]:
        return dangling, none
    differs = rows_whose_total_differs(columns.rows)
    return dangling, np.bincount(_of_rows(columns, jobs)[differs], minlength=count).tolist()


def _conflicts(columns: BlockColumns, jobs: Sequence[int], count: int) -> list[int]:
    """Rows that share series and time with the one before them; merged rows are in that order."""
    rows = columns.rows
    again = np.flatnonzero((rows.series[1:] == rows.series[:-1]) & (rows.time_ns[1:] == rows.time_ns[:-1])) + 1
    conflicts: list[int] = np.bincount(_of_rows(columns, jobs).take(again), minlength=count).tolist()
    return conflicts
