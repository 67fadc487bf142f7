"""The level-1 blocks of an hour that is over become one block for each tenant and shard, with a summary for questions.

The order is: blocks and summary, read back and compared with the jobs' -> record in the archive -> ledger -> what was
replaced goes. Until the ledger knows of a unit its jobs count by their own blocks, from then on by the unit. Equal jobs
give equal bytes, so a crash leaves nothing that the next call does not write again, or remove. A job that comes later
replaces the unit; where level-1 blocks are gone already, it becomes a unit beside it.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import numpy as np

from pyro_assets.archive.units import RECORD, record_bytes
from pyro_assets.block.columns import I64, BlockColumns, Bool, Labels, part_sums
from pyro_assets.block.reader import RawObject, read_blocks
from pyro_assets.compaction.hour import HourBlock, compact_hour, marks_of, merge_summaries
from pyro_assets.errors import BlockError, StorageError, StorageUnavailable, TooLarge, Unequal
from pyro_assets.jobs.derive import read_committed
from pyro_assets.ledger.database import Ledger
from pyro_assets.ledger.hour_blocks import HourBlockRecords, HourObject, HourOrder, HourUnit, LevelOne, ObjectKind
from pyro_assets.series.profiles import find_profiles, run
from pyro_assets.storage.checksum import crc32c
from pyro_assets.storage.interface import Bucket
from pyro_assets.storage.keys import HOUR_BLOCKS, hour_blocks_prefix, hour_path

#: Level-1 blocks that are compacted together, in bytes, and what their symbols may need of memory: larger hours become
#: several blocks. Constants, for what they say is in the bytes.
_TOGETHER_BYTES: Final = 16 << 20
_MOST_MEMORY_BYTES: Final = 512 << 20


@dataclass(slots=True)
class HourCompaction:
    """What was compacted of an hour.

    Attributes:
        units: that were made; jobs, blocks, size_before_bytes: what they were made of.
        size_after_bytes: of their blocks; summary_bytes: of their summaries.
        profiles: in them.
        is_done: nothing of the hour is left to be compacted; False where it is not at rest, or something is damaged.
        damaged: why jobs are left as they are.
        seconds: how long it took.
    """

    hour: str
    units: int = 0
    jobs: int = 0
    blocks: int = 0
    size_before_bytes: int = 0
    size_after_bytes: int = 0
    summary_bytes: int = 0
    profiles: int = 0
    is_done: bool = False
    damaged: list[str] = field(default_factory=list)
    seconds: float = 0.0


def compact_hour_blocks(archive: Bucket, ledger: Ledger, hour: str, now_ms: int) -> HourCompaction:
    """Compacts what is not compacted yet of an hour; of one that is done it costs a look-up.

    Raises:
        StorageUnavailable: the archive does not answer; what was begun is done again by the next call.
        LedgerUnavailable: the same.
    """
    begun = time.perf_counter()
    report = HourCompaction(hour)
    orders = HourBlockRecords(ledger).orders(hour, now_ms)
    for order in orders or ():
        try:
            _compact(archive, ledger, order, report)
        except StorageUnavailable:
            raise
        except (StorageError, BlockError, Unequal) as error:
            # These jobs count by their own blocks; the others of the hour are not their business.
            report.damaged.append(f"{order.tenant} in shard {order.shard}: {error}")
    if orders is not None and _tidy(archive, ledger, hour, report) and not report.damaged:
        report.is_done = HourBlockRecords(ledger).mark_done(hour, now_ms)
    report.seconds = time.perf_counter() - begun
    return report


def _compact(archive: Bucket, ledger: Ledger, order: HourOrder, report: HourCompaction) -> None:
    gone = {one.job for one in order.blocks if not one.is_there}
    kept = [unit for unit in order.units if gone & set(unit.jobs)]
    held = {job for unit in kept for job in unit.jobs}
    blocks = [one for one in order.blocks if one.is_there and one.job not in held]
    unit = _Maker(archive, order).make(blocks)
    units = [*kept, unit]
    prefix = hour_blocks_prefix(order.hour, order.shard, order.tenant)
    archive.replace(prefix + RECORD, record_bytes(units))
    if not HourBlockRecords(ledger).commit(order, units):
        return
    report.units += 1
    report.jobs += len(unit.jobs)
    report.blocks += len(blocks)
    report.size_before_bytes += sum(one.output.size_bytes for one in blocks)
    report.size_after_bytes += sum(one.size_bytes for one in unit.of_kind("block"))
    report.summary_bytes += sum(one.size_bytes for one in unit.of_kind("summary"))
    report.profiles += unit.profiles


def _tidy(archive: Bucket, ledger: Ledger, hour: str, report: HourCompaction) -> bool:
    """Removes what no unit of an hour has; False where a unit lacks an object, and is forgotten if it can be."""
    units = HourBlockRecords(ledger).units(hour)
    records = {f"{hour_blocks_prefix(one.hour, one.shard, one.tenant)}{RECORD}" for one in units}
    objects = {one.key for unit in units for one in unit.objects}
    listed = {item.key for page in archive.pages(f"{HOUR_BLOCKS}/{hour_path(hour)}/") for item in page}
    if not objects <= listed:
        # Another process was at the same hour, or somebody removed them: the jobs' own blocks count, as before.
        forgotten = HourBlockRecords(ledger).forget_if_there(hour)
        remedy = "blocks of the hour are made again by the next run" if forgotten else "restore it from a copy"
        report.damaged.append(f"{min(objects - listed)} is missing: {remedy}")
        return False
    archive.remove(sorted(listed - objects - records))
    return True


@dataclass(slots=True)
class _Maker:
    """Writes and checks the objects of one unit; so much is in memory as is compacted together."""

    archive: Bucket
    order: HourOrder
    profiles: int = 0
    samples: int = 0
    ends_ns: list[int] = field(default_factory=list)
    objects: list[HourObject] = field(default_factory=list)
    _groups: dict[tuple[bytes, Labels], int] = field(default_factory=dict)
    _sums: dict[int, list[int]] = field(default_factory=dict)
    _summaries: list[RawObject] = field(default_factory=list)

    def make(self, blocks: Sequence[LevelOne]) -> HourUnit:
        for part in _parts(blocks):
            read = read_committed(self.archive, [one.output for one in part])
            for made, job_ms in _made(read, [one.job_ms for one in part]):
                self._add(made, job_ms)
                if len(self._summaries) > 1 and sum(len(one.data) for one in self._summaries) > _TOGETHER_BYTES:
                    self._fold()
        while len(self._summaries) > 1:
            self._fold()
        for one in self._summaries:
            self._write("summary", one.object_key, bytes(one.data))
        self._check_summaries()
        return HourUnit(
            self.order.hour,
            self.order.shard,
            self.order.tenant,
            tuple(dict.fromkeys(one.job for one in blocks)),
            blocks[0].job_ms,
            self.profiles,
            self.samples,
            min(self.ends_ns) // 1_000_000,
            max(self.ends_ns) // 1_000_000,
            tuple(self.objects),
        )

    def _fold(self) -> None:
        """Makes one of the summaries so far; one that is large already is left as it is."""
        first = self._summaries[0]
        if len(first.data) > _TOGETHER_BYTES:
            self._write("summary", first.object_key, bytes(first.data))
            del self._summaries[0]
        else:
            merged = merge_summaries(self._summaries)
            self._summaries = [RawObject(merged.id, merged.data)]

    def _add(self, made: HourBlock, job_ms: Sequence[int]) -> None:
        """Writes a block, reads it back, and compares it with the jobs' blocks, profile by profile."""
        key = self._write("block", made.block.id, made.block.data)
        block = self._read(key, len(made.block.data))
        sources, found = (_rows(columns, self._groups) for columns in (made.sources, block))
        orders = np.lexsort(sources), np.lexsort(found)
        if not all(np.array_equal(a.take(orders[0]), b.take(orders[1])) for a, b in zip(sources, found, strict=True)):
            raise Unequal(f"{key} has other profiles than the blocks of its jobs, so it does not count")
        rows = made.sources.rows
        of_dataset = np.array([job_ms[one.source] for one in made.sources.datasets], dtype=np.int64)
        told = np.repeat(of_dataset, np.diff(rows.dataset_start)), np.diff(rows.sample_start)
        _add_up(self._sums, sources[0], [*sources[1:], *told, np.ones_like(rows.time_ns)])
        self.profiles += len(rows.time_ns)
        self.samples += len(rows.value)
        self.ends_ns += [int(rows.time_ns.min()), int(rows.time_ns.max())]
        self._summaries.append(RawObject(made.summary.id, made.summary.data))

    def _check_summaries(self) -> None:
        """Reads summaries back and compares, for each series, what they add up to with what the jobs' blocks do."""
        sums: dict[int, list[int]] = {}
        for one in self.objects:
            if one.kind == "summary":
                columns = self._read(one.key, one.size_bytes)
                marks = marks_of(columns.rows)
                is_profile = marks["is_sum"] == 0
                group, time_ns, total, measured = _rows(columns, self._groups)
                told = marks["job_ms"], marks["samples"], is_profile
                _add_up(sums, group, [time_ns * is_profile, total, measured, *told])
        if sums != self._sums:
            raise Unequal(
                f"the summary {self.objects[-1].key} adds up to something else than the blocks of its jobs, so it does "
                "not count"
            )

    def _read(self, key: str, size_bytes: int) -> BlockColumns:
        return read_blocks([RawObject(key, self.archive.get(key, size_bytes))], isolate=False).columns

    def _write(self, kind: ObjectKind, block_id: str, data: bytes) -> str:
        key = f"{hour_blocks_prefix(self.order.hour, self.order.shard, self.order.tenant)}{block_id}/{kind}.bin"
        self.archive.replace(key, data)
        self.objects.append(HourObject(kind, block_id, key, len(data), crc32c(data)))
        return key


def _parts(blocks: Sequence[LevelOne]) -> Iterator[Sequence[LevelOne]]:
    begin, size = 0, 0
    for end, one in enumerate(blocks):
        if end > begin and size + one.output.size_bytes > _TOGETHER_BYTES:
            yield blocks[begin:end]
            begin, size = end, 0
        size += one.output.size_bytes
    yield blocks[begin:]


def _made(objects: Sequence[RawObject], job_ms: Sequence[int]) -> Iterator[tuple[HourBlock, Sequence[int]]]:
    """Blocks of these, with the timestamps of the jobs in each."""
    try:
        made = compact_hour(objects, job_ms, _last_rows, most_bytes=_MOST_MEMORY_BYTES)
    except TooLarge:
        half = len(objects) // 2
        yield from _made(objects[:half], job_ms[:half])
        yield from _made(objects[half:], job_ms[half:])
        return
    yield made, job_ms


def _last_rows(columns: BlockColumns) -> Bool:
    """Rows of the last profile of each target and object, see `series.profiles`."""
    scopes: dict[tuple[int, bytes, bytes], int] = {}
    own = [scopes.setdefault((one.source, one.tenant, one.name), len(scopes)) for one in columns.datasets]
    scope = np.repeat(np.array(own, dtype=np.int64), np.diff(columns.series.dataset_start))
    query = find_profiles(columns.rows, columns.series.labels, scope, np.ones(len(scope), dtype=np.bool_))
    return run(query)["is_last"].to_numpy()


def _rows(columns: BlockColumns, groups: dict[tuple[bytes, Labels], int]) -> tuple[I64, I64, I64, I64]:
    """int64[n] each: number of service and labels, time, total as the profile tells it, and sum of its samples."""
    rows, series = columns.rows, columns.series
    names = [one.name for one in columns.datasets]
    of_entry = np.repeat(np.arange(len(names)), np.diff(series.dataset_start)).tolist()
    numbers = [
        groups.setdefault((names[dataset], labels), len(groups))
        for dataset, labels in zip(of_entry, series.labels, strict=True)
    ]
    measured = part_sums(rows.value, rows.sample_start)
    return np.array(numbers, dtype=np.int64).take(rows.series), rows.time_ns, rows.total_value, measured


def _add_up(sums: dict[int, list[int]], group: I64, columns: Sequence[Any]) -> None:
    """Adds sums of columns, modulo 2**64, to those of each group."""
    distinct, place = np.unique(group, return_inverse=True)
    table = np.zeros((len(distinct), len(columns)), dtype=np.int64)
    for number, column in enumerate(columns):
        np.add.at(table[:, number], place, column.astype(np.int64))
    for one, added in zip(distinct.tolist(), table.tolist(), strict=True):
        before = sums.get(one, [0] * len(columns))
        sums[one] = [(x + y) % 2**64 for x, y in zip(before, added, strict=True)]
