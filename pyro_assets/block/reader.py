"""Whole objects to columns: every section of every dataset of many objects, decoded together.

Add checks that need several sections here; each section's own bytes are read beside their writer. Objects that do
not hold what the format demands are set aside one by one, and their neighbours are read as if they were not there.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Final

import numpy as np

from pyro_assets.block.columns import I64, BlockColumns, Bool, DatasetInfo, ProfileRows, SeriesTable, SymbolTables
from pyro_assets.block.metadata import BlockMeta
from pyro_assets.block.object import dataset_sections, parse_object
from pyro_assets.block.parquet.rows import read_profiles
from pyro_assets.block.symbols.reader import read_symbols
from pyro_assets.block.tsdb.reader import read_series
from pyro_assets.errors import BadIndex, BadMetadata, BlockError, Where
from pyro_assets.storage.keys import SEGMENTS
from pyro_assets.storage.ulid import is_ulid

#: What is made of a block has the next level, which must fit 32 bits.
_HIGHEST_LEVEL: Final = (1 << 32) - 2


@dataclass(frozen=True, slots=True)
class RawObject:
    """The bytes of one object; `meta` for blocks from before footers, whose metadata lies elsewhere."""

    object_key: str
    data: bytes | memoryview
    meta: BlockMeta | None = None


@dataclass(slots=True)
class ReadResult:
    """Columns of the objects that could be read.

    Attributes:
        columns: datasets sorted by (tenant, name), then by position of the object in the list.
        metas: metadata of each object, None where it was set aside.
        set_aside: (position in the list, error) of each object that could not be read.
    """

    columns: BlockColumns
    metas: list[BlockMeta | None]
    set_aside: list[tuple[int, BlockError]] = field(default_factory=list)


def read_blocks(
    objects: Sequence[RawObject], *, isolate: bool = True, most_bytes: int = 0, job_of_object: Sequence[int] = ()
) -> ReadResult:
    """Read all format-0 datasets of many objects.

    Args:
        objects: the objects, whole.
        isolate: set broken objects aside; otherwise the first error is raised.
        most_bytes: of memory that several objects together may need; 0: any.
        job_of_object: sorts datasets before all else, where objects of several jobs are read; not while isolating.

    Raises:
        BlockError: an object is broken and `isolate` is off.
        TooLarge: they need more memory than `most_bytes`.
    """
    if len(objects) == 1:
        most_bytes = 0
    try:
        return _read_together(objects, most_bytes, job_of_object)
    except BlockError:
        if not isolate:
            raise
    # Decoding is done for all objects at once, so an error is attributed by reading each object alone.
    set_aside = []
    good = []
    for position, item in enumerate(objects):
        try:
            _read_together([item])
            good.append(position)
        except BlockError as error:
            set_aside.append((position, error))
    result = _read_together([objects[position] for position in good], most_bytes)
    metas: list[BlockMeta | None] = [None] * len(objects)
    for position, meta in zip(good, result.metas, strict=True):
        metas[position] = meta
    datasets = [replace(dataset, source=good[dataset.source]) for dataset in result.columns.datasets]
    return ReadResult(replace(result.columns, datasets=datasets), metas, set_aside)


def _read_together(objects: Sequence[RawObject], most_bytes: int = 0, job_of_object: Sequence[int] = ()) -> ReadResult:
    metas = [parse_object(item.data, item.object_key, item.meta) for item in objects]
    for item, meta in zip(objects, metas, strict=True):
        _check_claims(meta, item.object_key)
    places = sorted(
        (job_of_object[source] if job_of_object else 0, dataset.tenant, dataset.name, source, position)
        for source, meta in enumerate(metas)
        for position, dataset in enumerate(meta.datasets)
        if dataset.format == 0
    )
    infos: list[DatasetInfo] = []
    names: list[tuple[str, str]] = []
    profiles, tsdb, symbols = [], [], []
    for _, tenant, name, source, position in places:
        dataset = metas[source].datasets[position]
        sections = dataset_sections(objects[source].data, metas[source], position)
        profiles.append(sections.profiles)
        tsdb.append(sections.tsdb)
        symbols.append(sections.symbols)
        infos.append(DatasetInfo(source, tenant, name, dataset.min_time_ms, dataset.max_time_ms, dataset.label_sets))
        names.append((objects[source].object_key, name.decode(errors="backslashreplace")))

    def wheres(section: str) -> list[Where]:
        return [Where(key, section, name) for key, name in names]

    in_profiles = wheres("profiles")
    columns = link(
        infos,
        read_series(tsdb, wheres("tsdb")),
        read_profiles(profiles, in_profiles),
        read_symbols(symbols, wheres("symbols"), most_bytes=most_bytes),
        in_profiles,
    )
    return ReadResult(columns, list(metas))


def _check_claims(meta: BlockMeta, object_key: str) -> None:
    """Check what an object says of itself and what is made of it says on: one lie must not spoil a whole job."""
    where = Where(object_key, "metadata")
    if not is_ulid(meta.id):
        raise BadMetadata("the block's id is no ULID", where, expected="a ULID", actual=repr(meta.id))
    highest = 0 if object_key.startswith(f"{SEGMENTS}/") else _HIGHEST_LEVEL
    if meta.level > highest:
        raise BadMetadata("compaction level", where, expected=f"at most {highest}", actual=meta.level)


def link(
    datasets: list[DatasetInfo],
    series: SeriesTable,
    rows: ProfileRows,
    symbols: SymbolTables,
    wheres: Sequence[Where],
) -> BlockColumns:
    """Turn the references between sections into absolute rows.

    Args:
        datasets: d datasets.
        series: their series.
        rows: their profiles as stored: `series` is SeriesIndex, `stack` StacktraceID, `unit` unset.
        symbols: their symbols.
        wheres: d places, for errors.

    Raises:
        BadIndex: a SeriesIndex, StacktracePartition or StacktraceID that refers to nothing.
    """
    dataset = np.repeat(np.arange(len(datasets), dtype=np.int64), np.diff(rows.dataset_start))
    entry = _series_of_rows(series, rows, dataset, wheres)
    unit = _unit_of_rows(symbols, rows, dataset, wheres)
    count = np.diff(rows.sample_start)
    # A row without samples may name a partition that does not exist; it then has no unit and needs none.
    begin = symbols.node_start.take(np.maximum(unit, 0)) if len(symbols.unit_dataset) else np.zeros_like(unit)
    nodes = np.diff(symbols.node_start).take(np.maximum(unit, 0)) if len(symbols.unit_dataset) else np.zeros_like(unit)
    beyond = (rows.stack < 0) | (rows.stack >= np.repeat(nodes, count))
    if beyond.any():
        sample = int(np.flatnonzero(beyond)[0])
        row = int(np.searchsorted(rows.sample_start, sample, side="right")) - 1
        raise BadIndex(
            "StacktraceID refers to no stack trace",
            wheres[int(dataset[row])],
            expected=f"below {int(nodes[row])}",
            actual=int(rows.stack.view(np.uint64)[sample]),
        )
    linked = replace(rows, series=entry, unit=unit, stack=rows.stack + np.repeat(begin, count))
    mismatches = int(rows_whose_total_differs(linked).sum())
    facts = {"dangling": int(symbols.dangling.sum()), "total_mismatches": mismatches}
    return BlockColumns(datasets, series, linked, symbols, facts)


def _series_of_rows(series: SeriesTable, rows: ProfileRows, dataset: I64, wheres: Sequence[Where]) -> I64:
    entry_dataset = np.repeat(np.arange(len(wheres), dtype=np.int64), np.diff(series.dataset_start))
    # SeriesIndex is a 32-bit column, so (dataset, index) fits one word.
    key = (entry_dataset << 32) | series.series_index
    order = np.argsort(key, kind="stable")
    sorted_key = key.take(order)
    wanted = (dataset << 32) | rows.series
    place = np.searchsorted(sorted_key, wanted)
    found = (
        sorted_key.take(np.minimum(place, len(key) - 1)) == wanted if len(key) else np.zeros(len(wanted), dtype=bool)
    )
    if not found.all():
        row = int(np.flatnonzero(~found)[0])
        raise BadIndex(
            "SeriesIndex refers to no series of the TSDB index",
            wheres[int(dataset[row])],
            expected=f"one of {int(np.diff(series.dataset_start)[dataset[row]])} series",
            actual=int(rows.series[row]),
        )
    return order.take(place)


def _unit_of_rows(symbols: SymbolTables, rows: ProfileRows, dataset: I64, wheres: Sequence[Where]) -> I64:
    only_partition_0 = not symbols.unit_partition.any() and not rows.partition.any()
    if only_partition_0 and np.array_equal(symbols.unit_dataset, np.arange(len(wheres), dtype=np.int64)):
        return dataset  # one partition 0 a dataset, as all blocks since 2025 have
    known = {
        key: unit
        for unit, key in enumerate(zip(symbols.unit_dataset.tolist(), symbols.unit_partition.tolist(), strict=True))
    }
    pairs = np.stack([dataset.view(np.uint64), rows.partition], axis=1)
    distinct, code = np.unique(pairs, axis=0, return_inverse=True)
    unit_of_pair = np.array([known.get((int(d), int(p)), -1) for d, p in distinct], dtype=np.int64)
    unit = unit_of_pair.take(code.reshape(-1))
    lost = (unit < 0) & (np.diff(rows.sample_start) > 0)
    if lost.any():
        row = int(np.flatnonzero(lost)[0])
        raise BadIndex(
            "StacktracePartition refers to no partition of the symbols",
            wheres[int(dataset[row])],
            expected=f"one of {sorted(p for d, p in known if d == dataset[row])[:8]}",
            actual=int(rows.partition[row]),
        )
    return unit


def rows_whose_total_differs(rows: ProfileRows) -> Bool:
    """bool[n]: rows that claim another total than their samples have (both modulo 2**64, as they are stored)."""
    running = np.zeros(len(rows.value) + 1, dtype=np.int64)
    np.cumsum(rows.value, out=running[1:])
    total = running.take(rows.sample_start[1:]) - running.take(rows.sample_start[:-1])
    differs: Bool = total != rows.total_value
    return differs
