"""Columns to whole objects: level-0 segments with all tenants of a shard, and blocks of one tenant.

Add what concerns a whole object here; each section's bytes are written beside their reader. Datasets must be sorted
by (tenant, name), and each dataset's series, units and rows must be contiguous, as `BlockColumns` has them.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from pyro_assets.block.columns import I64, BlockColumns, ProfileRows
from pyro_assets.block.metadata import FORMAT_INDEX, FORMAT_PROFILES, INDEX_LABELS, BlockMeta, Dataset
from pyro_assets.block.object import seal_object
from pyro_assets.block.parquet.rows import write_profiles
from pyro_assets.block.symbols.writer import write_symbols
from pyro_assets.block.tsdb.dataset_index import write_dataset_index
from pyro_assets.block.tsdb.writer import write_index


@dataclass(frozen=True, slots=True)
class BlockIdentity:
    """What an object says of itself: ULID, shard, compaction level, and (level 0) who created it.

    `string_table`: strings that the metadata numbers first, see `BlockMeta`.
    """

    id: str
    shard: int
    level: int
    created_by: bytes = b""
    string_table: tuple[bytes, ...] = ()


@dataclass(frozen=True, slots=True)
class WrittenBlock:
    """One finished object. `tenant` is empty at level 0, whose objects hold several."""

    tenant: bytes
    id: str
    data: bytes
    meta: BlockMeta


def write_segment(columns: BlockColumns, identity: BlockIdentity) -> WrittenBlock:
    """One object with the datasets of all tenants, each tenant's followed by its dataset index.

    Raises:
        Unwritable: the columns hold what the format cannot express.
    """
    sections = _write_sections(columns)
    return _assemble(columns, sections, range(len(columns.datasets)), identity, b"")


def write_tenant_blocks(columns: BlockColumns, identities: dict[bytes, BlockIdentity]) -> list[WrittenBlock]:
    """One object per tenant.

    Args:
        columns: datasets of all tenants.
        identities: by tenant.

    Raises:
        Unwritable: the columns hold what the format cannot express.
    """
    (blocks,) = write_job_blocks(columns, [0] * len(columns.datasets), [identities])
    return blocks


def write_job_blocks(
    columns: BlockColumns, job_of_dataset: Sequence[int], identities: Sequence[dict[bytes, BlockIdentity]]
) -> list[list[WrittenBlock]]:
    """One object per job and tenant, those of each job as it gives them alone.

    Args:
        columns: datasets of all jobs, sorted by job first.
        job_of_dataset: the job of each.
        identities: by tenant, of each job.

    Raises:
        Unwritable: the columns hold what the format cannot express.
    """
    sections = _write_sections(columns)
    places: dict[tuple[int, bytes], list[int]] = {}
    for position, (job, dataset) in enumerate(zip(job_of_dataset, columns.datasets, strict=True)):
        places.setdefault((job, dataset.tenant), []).append(position)
    blocks: list[list[WrittenBlock]] = [[] for _ in identities]
    for (job, tenant), positions in places.items():
        blocks[job].append(_assemble(columns, sections, positions, identities[job][tenant], tenant))
    return blocks


def _write_sections(columns: BlockColumns) -> list[tuple[bytes, bytes, bytes]]:
    """Profiles, TSDB index and symbols of each dataset."""
    series = columns.series
    profiles = write_profiles(relative_rows(columns))
    symbols = write_symbols(columns.symbols, len(columns.datasets), _stacks_in_use(columns))
    index = []
    for begin, end in zip(series.dataset_start[:-1].tolist(), series.dataset_start[1:].tolist(), strict=True):
        part = slice(begin, end)
        index.append(
            write_index(
                series.labels[part],
                series.fingerprint[part],
                np.arange(end - begin, dtype=np.int64),
                series.min_time_ns[part],
                series.max_time_ns[part],
            )
        )
    return list(zip(profiles, index, symbols, strict=True))


def _stacks_in_use(columns: BlockColumns) -> I64:
    """How many distinct stacks the profiles of each unit have, which a chunk's header tells."""
    start = columns.symbols.node_start
    used = np.zeros(start[-1] + 1, dtype=np.int64)
    used[columns.rows.stack + 1] = 1
    before: I64 = np.cumsum(used, dtype=np.int64)
    return before.take(start[1:]) - before.take(start[:-1])


def relative_rows(columns: BlockColumns) -> ProfileRows:
    """Rows with SeriesIndex and StacktraceID as they are stored: counted from 0 in each dataset and partition."""
    rows, symbols = columns.rows, columns.symbols
    count = np.diff(rows.sample_start)
    series_base = np.repeat(columns.series.dataset_start[:-1], np.diff(rows.dataset_start))
    node_base = (
        symbols.node_start.take(np.maximum(rows.unit, 0)) if len(symbols.unit_dataset) else np.zeros_like(rows.unit)
    )
    return replace(rows, series=rows.series - series_base, stack=rows.stack - np.repeat(node_base, count))


def _assemble(
    columns: BlockColumns,
    sections: list[tuple[bytes, bytes, bytes]],
    positions: Sequence[int],
    identity: BlockIdentity,
    tenant: bytes,
) -> WrittenBlock:
    body: list[bytes] = []
    size = 0
    datasets: list[Dataset] = []

    def append(parts: Sequence[bytes]) -> tuple[tuple[int, ...], int]:
        nonlocal size
        begin, table = size, []
        for part in parts:
            table.append(size)
            body.append(part)
            size += len(part)
        return tuple(table), size - begin

    first_of_tenant = 0
    for number, position in enumerate(positions):
        info = columns.datasets[position]
        table, length = append(sections[position])
        datasets.append(
            Dataset(
                tenant=info.tenant,
                name=info.name,
                min_time_ms=info.min_time_ms,
                max_time_ms=info.max_time_ms,
                toc=table,
                size=length,
                label_sets=info.label_sets,
                format=FORMAT_PROFILES,
            )
        )
        is_last = number + 1 == len(positions) or columns.datasets[positions[number + 1]].tenant != info.tenant
        if not is_last:
            continue
        own = list(positions[first_of_tenant : number + 1])
        place = {column: len(datasets) - len(own) + i for i, column in enumerate(own)}
        table, length = append([write_dataset_index(columns.series, own, [place[column] for column in own])])
        datasets.append(
            Dataset(
                tenant=info.tenant,
                name=b"",
                min_time_ms=min(columns.datasets[column].min_time_ms for column in own),
                max_time_ms=max(columns.datasets[column].max_time_ms for column in own),
                toc=table,
                size=length,
                label_sets=(INDEX_LABELS,),
                format=FORMAT_INDEX,
            )
        )
        first_of_tenant = number + 1
    meta = BlockMeta(
        id=identity.id,
        shard=identity.shard,
        level=identity.level,
        tenant=tenant,
        min_time_ms=min((dataset.min_time_ms for dataset in datasets), default=0),
        max_time_ms=max((dataset.max_time_ms for dataset in datasets), default=0),
        created_by=identity.created_by,
        metadata_offset=size,
        datasets=datasets,
        string_table=identity.string_table,
    )
    data = seal_object(body, meta)
    return WrittenBlock(tenant, identity.id, data, replace(meta, size=len(data)))
