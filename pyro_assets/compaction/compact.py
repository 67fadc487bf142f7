"""Compaction of one job: level-0 objects in, merged columns and one finished block per tenant out.

Add the order of the steps here; each step has its own module. No storage, no clock, no randomness: equal input gives
equal bytes, and the order in which the objects are listed does not matter.
"""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from pyro_assets.block.columns import I64, BlockColumns, DatasetInfo, ProfileRows, SeriesTable, starts
from pyro_assets.block.metadata import BlockMeta, merged_string_table
from pyro_assets.block.reader import RawObject, read_blocks
from pyro_assets.block.writer import BlockIdentity, WrittenBlock, write_tenant_blocks
from pyro_assets.compaction.rows import (
    Dedup,
    Deduplicated,
    SeriesOrder,
    drop_copies,
    drop_neighbours,
    first_seen,
    order_rows,
    order_series,
    take_rows,
)
from pyro_assets.compaction.symbols import merge_symbols, prune_symbols
from pyro_assets.errors import BlockError, Unwritable, Where
from pyro_assets.storage.ulid import make_ulid, ulid_time_ms


@dataclass(slots=True)
class Compacted:
    """What a job became.

    Attributes:
        columns: merged columns, datasets sorted by (tenant, name); what `blocks` hold.
        blocks: one finished block per tenant, sorted by tenant.
        metas: metadata of each object in the order given, None where it was set aside.
        set_aside: (position in the order given, error) of each object that could not be read, or that makes the rest
            unwritable.
        known: profiles that were left out because other blocks hold them.
        duplicates: profiles that were copies of a kept one.
        conflicts: kept profiles that share series and time with another, with other samples.
        facts: counts: profiles_in, samples_in, profiles, samples, dangling, total_mismatches.
    """

    columns: BlockColumns
    blocks: list[WrittenBlock]
    metas: list[BlockMeta | None]
    set_aside: list[tuple[int, BlockError]] = field(default_factory=list)
    known: int = 0
    duplicates: int = 0
    conflicts: int = 0
    facts: dict[str, int] = field(default_factory=dict)


def compact(objects: Sequence[RawObject], *, dedup: Dedup = "exact", most_bytes: int = 0) -> Compacted:
    """Compact the objects of one job.

    Args:
        objects: objects of one shard and one level, in any order; those that are broken, or that make what all become
            unwritable, are set aside.
        dedup: "exact" drops copies only; "original" drops neighbours of equal fingerprint and time in datasets with
            two or more sources, whatever they contain.
        most_bytes: of memory that several objects together may need; 0: any.

    Raises:
        TooLarge: they need more: compact them in parts.
    """
    return without_unwritable(objects, lambda chosen: _compact(chosen, dedup, most_bytes))


def without_unwritable(objects: Sequence[RawObject], make: Callable[[Sequence[RawObject]], Compacted]) -> Compacted:
    """Make blocks of objects; if they cannot be written, of those that can be written together.

    Args:
        objects: in any order.
        make: makes blocks of objects in job order.

    Returns:
        What was made; `metas` and `set_aside` are by position in `objects`.
    """
    kept = _job_order(objects)
    refused: list[tuple[int, BlockError]] = []
    try:
        made = make([objects[position] for position in kept])
    except Unwritable:
        # The result does not tell whose fault it is, so each is added to those before it.
        listed, kept = kept, []
        for position in listed:
            try:
                make([objects[one] for one in (*kept, position)])
                kept.append(position)
            except Unwritable as error:
                refused.append((position, _of_source(error, objects[position].object_key)))
        made = make([objects[position] for position in kept])
    metas: list[BlockMeta | None] = [None] * len(objects)
    for position, meta in zip(kept, made.metas, strict=True):
        metas[position] = meta
    set_aside = [*((kept[position], error) for position, error in made.set_aside), *refused]
    return replace(made, metas=metas, set_aside=set_aside)


def in_job_order(objects: Sequence[RawObject]) -> list[RawObject]:
    """The sources of a job by ULID, then by key."""
    return [objects[position] for position in _job_order(objects)]


def _job_order(objects: Sequence[RawObject]) -> list[int]:
    return sorted(range(len(objects)), key=lambda position: (_name(objects[position]), position))


def _of_source(error: Unwritable, object_key: str) -> Unwritable:
    where = Where(object_key, error.where.section, error.where.dataset)
    what = f"with this source the job's blocks cannot be written: {error.what}"
    return Unwritable(what, where, expected=error.expected, actual=error.actual, remedy=BlockError.remedy)


def _compact(objects: Sequence[RawObject], dedup: Dedup, most_bytes: int) -> Compacted:
    read = read_blocks(objects, most_bytes=most_bytes)
    merged = merge(read.columns, dedup)
    sources = [meta for meta in read.metas if meta is not None]
    tenants = sorted({dataset.tenant for dataset in merged.columns.datasets})
    blocks = write_tenant_blocks(merged.columns, {tenant: identify(sources, tenant) for tenant in tenants})
    facts = dict(
        read.columns.facts,
        profiles_in=len(read.columns.rows.time_ns),
        samples_in=len(read.columns.rows.value),
        profiles=len(merged.columns.rows.time_ns),
        samples=len(merged.columns.rows.value),
    )
    return Compacted(
        columns=merged.columns,
        blocks=blocks,
        metas=read.metas,
        set_aside=read.set_aside,
        duplicates=merged.duplicates,
        conflicts=merged.conflicts,
        facts=facts,
    )


@dataclass(frozen=True, slots=True)
class MergedColumns:
    """Datasets that were merged.

    Attributes:
        columns: one dataset per tenant and name.
        order: int64[rows], the row of the sources that each row was.
        duplicates, conflicts: see `Compacted`.
    """

    columns: BlockColumns
    order: I64
    duplicates: int
    conflicts: int


def merge(columns: BlockColumns, dedup: Dedup | None, job_of_dataset: Sequence[int] = ()) -> MergedColumns:
    """Merge datasets of equal tenant and name.

    Args:
        columns: datasets sorted by (tenant, name, source), as `read_blocks` returns them.
        dedup: see `compact`; None keeps every profile, as those of different jobs count each.
        job_of_dataset: sorts datasets before all else, and keeps those of different jobs apart.
    """
    rows, series = columns.rows, columns.series
    jobs = job_of_dataset or [0] * len(columns.datasets)
    sources: dict[tuple[int, bytes, bytes], list[DatasetInfo]] = {}
    for job, dataset in zip(jobs, columns.datasets, strict=True):
        sources.setdefault((job, dataset.tenant, dataset.name), []).append(dataset)
    outputs = list(sources.values())
    sizes = np.array([len(group) for group in outputs], dtype=np.int64)
    output_of_dataset = np.repeat(np.arange(len(outputs), dtype=np.int64), sizes)
    symbols = merge_symbols(columns.symbols, output_of_dataset)
    stack = symbols.node_code.take(rows.stack)
    ordered = order_series(series, output_of_dataset)
    rank = ordered.rank.take(rows.series)
    output = np.repeat(output_of_dataset, np.diff(rows.dataset_start))
    order = order_rows(rank, rows.time_ns)
    if dedup is None:
        kept = Deduplicated(order, 0, 0)
    elif dedup == "original":
        fingerprint = series.fingerprint.view(np.int64).take(rows.series)
        kept = drop_neighbours(fingerprint, rows.time_ns, order, output, sizes)
    else:
        kept = drop_copies(rows, rank, stack, order)
    row_start = starts(np.bincount(output.take(kept.kept), minlength=len(outputs)))
    unit = np.append(symbols.unit_code, np.int64(-1)).take(rows.unit)
    merged_rows = take_rows(replace(rows, series=rank, unit=unit), kept.kept, stack, row_start)
    tables, node_row = prune_symbols(symbols.tables, merged_rows.stack)
    if node_row is not None:
        merged_rows.stack = node_row.take(merged_rows.stack)
    merged_series = _merge_series(series, ordered, merged_rows, len(outputs))
    datasets = [_merged_dataset(group) for group in outputs]
    return MergedColumns(
        BlockColumns(datasets, merged_series, merged_rows, tables), kept.kept, kept.duplicates, kept.conflicts
    )


def _merge_series(series: SeriesTable, ordered: SeriesOrder, rows: ProfileRows, outputs: int) -> SeriesTable:
    """Series that have rows, with their first and last times; `rows.series` is renumbered to match.

    Rows are contiguous by series and ascending in time.
    """
    begins = np.ones(len(rows.series), dtype=np.bool_)
    begins[1:] = rows.series[1:] != rows.series[:-1]
    begin = np.flatnonzero(begins)
    end = np.append(begin[1:], len(rows.series))[: len(begin)] - 1  # of no rows there is no last one
    rank = rows.series.take(begin)
    rows.series = np.cumsum(begins, dtype=np.int64) - 1
    start = starts(np.bincount(ordered.output.take(rank), minlength=outputs))
    return SeriesTable(
        dataset_start=start,
        fingerprint=series.fingerprint.take(ordered.first.take(rank)),
        labels=[ordered.labels[position] for position in rank.tolist()],
        series_index=np.arange(len(rank), dtype=np.int64) - np.repeat(start[:-1], np.diff(start)),
        min_time_ns=rows.time_ns.take(begin),
        max_time_ns=rows.time_ns.take(end),
    )


def _merged_dataset(sources: list[DatasetInfo]) -> DatasetInfo:
    return DatasetInfo(
        source=0,
        tenant=sources[0].tenant,
        name=sources[0].name,
        min_time_ms=min(source.min_time_ms for source in sources),
        max_time_ms=max(source.max_time_ms for source in sources),
        label_sets=first_seen([source.label_sets for source in sources]),
    )


def identify(sources: Sequence[BlockMeta], tenant: bytes) -> BlockIdentity:
    """Identity of a tenant's block: time of the first source, 80 bits derived from all sources and the tenant.

    Two jobs with the same sources therefore write the same path, and no two tenants share an id.
    """
    first = min(sources, key=lambda meta: meta.id)
    digest = hashlib.sha256(tenant)
    for meta in sources:
        digest.update(f"\n{meta.id} {meta.level}".encode())
    level = max(meta.level for meta in sources) + 1
    return BlockIdentity(
        id=make_ulid(ulid_time_ms(first.id), digest.digest()[:10]),
        shard=first.shard,
        level=level,
        string_table=merged_string_table(sources, tenant),
    )


def _name(item: RawObject) -> tuple[str, str]:
    """ULID (the last folder of the key) and key: the order of a job's sources."""
    parts = item.object_key.rsplit("/", 2)
    return (item.meta.id if item.meta is not None else parts[-2] if len(parts) == 3 else "", item.object_key)
