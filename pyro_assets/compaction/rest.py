"""What is left of a block when the profiles that other blocks hold are taken out of it.

A profile is the same wherever it was copied to: compaction, Pyroscope's own too, keeps its id, time and series. Used
where two compactions may have had the same segments: higher levels in observe mode, and a change of modes.
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from pyro_assets.block.columns import BlockColumns, Bool
from pyro_assets.block.metadata import FORMAT_PROFILES, BlockMeta
from pyro_assets.block.reader import RawObject, ReadResult, read_blocks
from pyro_assets.block.writer import BlockIdentity, write_tenant_blocks
from pyro_assets.compaction.compact import Compacted, identify, merge, without_unwritable
from pyro_assets.compaction.rows import Dedup, take_rows

#: Fingerprint, time and the id's two halves.
_KEY_BYTES = 32


def compact_rest(
    objects: Sequence[RawObject],
    known: Sequence[RawObject],
    *,
    dedup: Dedup = "exact",
    same_level: bool = False,
    most_bytes: int = 0,
) -> Compacted:
    """Compact what the objects hold beyond the known blocks; see `compact`. How many profiles these have is `known`.

    Args:
        objects: objects of one shard and one level, in job order.
        known: blocks whose profiles are left out.
        dedup: see `compact`.
        most_bytes: see `compact`.
        same_level: what is written keeps the level of its source instead of the next one.

    Raises:
        BlockError: a known block is broken.
        TooLarge: see `compact`.
    """
    there = read_blocks(known, isolate=False).columns
    return without_unwritable(
        objects, lambda chosen: _compact_rest(chosen, there, dedup, same_level=same_level, most_bytes=most_bytes)
    )


def _compact_rest(
    objects: Sequence[RawObject], there: BlockColumns, dedup: Dedup, *, same_level: bool, most_bytes: int
) -> Compacted:
    read, dropped = _read_rest(objects, there, most_bytes)
    result = Compacted(read.columns, [], read.metas, read.set_aside, dropped)
    if len(read.columns.rows.time_ns):
        merged = merge(read.columns, dedup)
        result.columns, result.duplicates, result.conflicts = merged.columns, merged.duplicates, merged.conflicts
        sources = [meta for meta in read.metas if meta is not None]
        tenants = sorted({dataset.tenant for dataset in result.columns.datasets})
        identities = {tenant: _identity(sources, tenant, same_level=same_level) for tenant in tenants}
        result.blocks = write_tenant_blocks(result.columns, identities)
        result.facts = dict(read.columns.facts)
    return result


def unknown_rows(columns: BlockColumns, known: BlockColumns) -> Bool:
    """bool[n]: the profiles that `known` does not hold."""
    return ~np.isin(_keys(columns), _keys(known))


def _read_rest(objects: Sequence[RawObject], known: BlockColumns, most_bytes: int) -> tuple[ReadResult, int]:
    read = read_blocks(objects, most_bytes=most_bytes)
    fresh = unknown_rows(read.columns, known)
    dropped = len(fresh) - int(fresh.sum())
    if not dropped:
        return read, 0
    # Read again without the datasets of which nothing is left: a block has none without profiles.
    start = read.columns.rows.dataset_start
    running = np.append(0, np.cumsum(fresh))
    left = running.take(start[1:]) > running.take(start[:-1])
    wanted = [set() for _ in objects]  # type: list[set[tuple[bytes, bytes]]]
    for dataset, is_left in zip(read.columns.datasets, left.tolist(), strict=True):
        if is_left:
            wanted[dataset.source].add((dataset.tenant, dataset.name))
    again = read_blocks(
        [
            item if meta is None else RawObject(item.object_key, item.data, _only(meta, names))
            for item, meta, names in zip(objects, read.metas, wanted, strict=True)
        ]
    )
    columns = again.columns
    fresh = unknown_rows(columns, known)
    of_dataset = np.append(0, np.cumsum(fresh)).take(columns.rows.dataset_start)
    rows = take_rows(columns.rows, np.flatnonzero(fresh), columns.rows.stack, of_dataset)
    return ReadResult(replace(columns, rows=rows), read.metas, read.set_aside), dropped


def _only(meta: BlockMeta, names: set[tuple[bytes, bytes]]) -> BlockMeta:
    datasets = [one for one in meta.datasets if one.format == FORMAT_PROFILES and (one.tenant, one.name) in names]
    return replace(meta, datasets=datasets)


def _identity(sources: Sequence[BlockMeta], tenant: bytes, *, same_level: bool) -> BlockIdentity:
    identity = identify(sources, tenant)
    return replace(identity, level=sources[0].level) if same_level else identity


def _keys(columns: BlockColumns) -> np.ndarray[tuple[int, ...], np.dtype[np.void]]:
    rows = columns.rows
    table = np.empty((len(rows.time_ns), 4), dtype=np.int64)
    table[:, 0] = columns.series.fingerprint.view(np.int64).take(rows.series)
    table[:, 1] = rows.time_ns
    table[:, 2:] = np.ascontiguousarray(rows.id).view(np.int64).reshape(-1, 2)
    return table.view(f"V{_KEY_BYTES}").reshape(-1)
