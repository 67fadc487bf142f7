"""The blocks of an hour's jobs as one block, and its summary: all that is asked of whole hours, in few bytes.

A summary is a block too. It has every profile, without stacks, and of every series one row more with the sums of its
samples: what is added up over samples, or over totals of profiles, comes to the same as from the jobs' blocks. The ids
of its rows are marks, which tell what a row is and what is counted by job. Add a mark when a question of whole hours
needs it. No profile is compared with another one or left out: those of different jobs count each.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from pyro_assets.block.columns import I64, BlockColumns, Bool, ProfileRows, starts
from pyro_assets.block.metadata import BlockMeta
from pyro_assets.block.reader import RawObject, read_blocks
from pyro_assets.block.writer import BlockIdentity, WrittenBlock, write_tenant_blocks
from pyro_assets.compaction.compact import identify, merge
from pyro_assets.errors import Unwritable, Where

#: The id of a row of a summary. `job_ms`: the timestamp of the profile's job; `samples`: how many the profile had;
#: `is_sum`: no profile, but the sum of some; `is_last`: the last profile of a target and job, see `series.profiles`.
MARK: Final = np.dtype([("job_ms", "<i8"), ("samples", "<u4"), ("is_sum", "u1"), ("is_last", "u1"), ("free", "<u2")])
Marks = npt.NDArray[np.void]
#: Sums below this in floating point fit 64 bits whatever was rounded.
_SAFE: Final = float(2**62)


@dataclass(frozen=True, slots=True)
class HourBlock:
    """What some jobs of an hour became.

    Attributes:
        block: all their profiles; summary: see the module.
        sources: their rows as they were read.
    """

    block: WrittenBlock
    summary: WrittenBlock
    sources: BlockColumns


def compact_hour(
    objects: Sequence[RawObject],
    job_ms: Sequence[int],
    find_last: Callable[[BlockColumns], Bool],
    *,
    most_bytes: int = 0,
) -> HourBlock:
    """Compact the blocks of one tenant and shard, none of which is left out.

    Args:
        objects: in the order of their jobs.
        job_ms: timestamp of the job of each.
        find_last: which rows are the last profiles of their targets, within one object.
        most_bytes: of memory that several objects together may need; 0: any.

    Raises:
        TooLarge: they need more: compact them in parts.
        BlockError: one is broken, or the result cannot be written.
    """
    read = read_blocks(objects, isolate=False, most_bytes=most_bytes)
    columns, metas = read.columns, [meta for meta in read.metas if meta is not None]
    marks = np.zeros(len(columns.rows.time_ns), dtype=MARK)
    marks["job_ms"] = np.repeat(
        np.array([job_ms[one.source] for one in columns.datasets], dtype=np.int64), np.diff(columns.rows.dataset_start)
    )
    marks["samples"] = np.diff(columns.rows.sample_start)
    marks["is_last"] = find_last(columns)
    merged = merge(columns, None)
    identity = identify(metas, metas[0].tenant)
    block = _write(merged.columns, identity)
    return HourBlock(block, _write(summarise(merged.columns, marks.take(merged.order)), identity), columns)


def merge_summaries(objects: Sequence[RawObject]) -> WrittenBlock:
    """Summaries of parts of an hour as one; it has the id of the first.

    Raises:
        BlockError: one is broken, or the result cannot be written.
    """
    read = read_blocks(objects, isolate=False)
    metas = [meta for meta in read.metas if meta is not None]
    merged = merge(read.columns, None).columns
    return _write(summarise(merged, marks_of(merged.rows)), _again(metas[0], identify(metas, metas[0].tenant)))


def _again(first: BlockMeta, identity: BlockIdentity) -> BlockIdentity:
    return replace(identity, id=first.id, level=first.level)


def _write(columns: BlockColumns, identity: BlockIdentity) -> WrittenBlock:
    tenants = {one.tenant for one in columns.datasets}
    if len(tenants) != 1:
        raise Unwritable("blocks of several tenants as one", Where(identity.id), expected=1, actual=len(tenants))
    return write_tenant_blocks(columns, dict.fromkeys(tenants, identity))[0]


def marks_of(rows: ProfileRows) -> Marks:
    """The marks of a summary's rows."""
    found: Marks = np.ascontiguousarray(rows.id).view(MARK).reshape(-1)
    return found


def summarise(columns: BlockColumns, marks: Marks) -> BlockColumns:
    """The summary of columns.

    Args:
        columns: rows by series and time; profiles, or rows of summaries.
        marks: of each row.
    """
    rows = columns.rows
    group, is_alone = _groups(rows, marks)
    count = np.diff(rows.sample_start)
    of_sample = np.repeat(group, count)
    order = np.lexsort((rows.stack, of_sample))
    of_sample, stack = of_sample.take(order), rows.stack.take(order)
    begins = np.repeat(is_alone, count).take(order)
    begins[:1] = True
    begins[1:] |= (of_sample[1:] != of_sample[:-1]) | (stack[1:] != stack[:-1])
    begin = np.flatnonzero(begins)
    value = np.add.reduceat(rows.value.take(order), begin) if len(begin) else rows.value[:0]
    distinct, first = np.unique(group, return_index=True)
    sizes = np.bincount(np.searchsorted(distinct, of_sample.take(begin)), minlength=len(distinct))
    # A group without samples, as of profiles that have none, has nothing to add up.
    sums, points = first.compress(sizes > 0), np.flatnonzero(marks["is_sum"] == 0)
    sum_marks = np.zeros(len(sums), dtype=MARK)
    sum_marks["is_sum"], sum_marks["is_last"] = 1, marks["is_last"].take(sums)
    taken = np.concatenate([sums, points])
    # The first row of a series has its first time, which its sums get: rows stay in the order of time.
    oldest = np.searchsorted(rows.series, rows.series.take(sums))
    time_ns = np.concatenate([rows.time_ns.take(oldest), rows.time_ns.take(points)])
    place = np.lexsort((np.arange(len(taken)), time_ns, np.arange(len(taken)) >= len(sums), rows.series.take(taken)))
    lengths = np.concatenate([sizes.compress(sizes > 0), np.zeros(len(points), np.int64)]).take(place)
    all_marks = np.concatenate([sum_marks, marks.take(points)]).take(place)
    taken = taken.take(place)
    # Groups are numbered in the order of their rows' series, so that sums lie as their rows do.
    return replace(
        columns,
        rows=ProfileRows(
            dataset_start=starts(np.bincount(_dataset_of(rows).take(taken), minlength=len(columns.datasets))),
            id=np.ascontiguousarray(all_marks).view(np.uint8).reshape(-1, MARK.itemsize),
            series=rows.series.take(taken),
            partition=rows.partition.take(taken),
            unit=rows.unit.take(taken),
            total_value=np.where(all_marks["is_sum"] == 1, 0, rows.total_value.take(taken)),
            time_ns=time_ns.take(place),
            sample_start=starts(lengths),
            stack=stack.take(begin),
            value=value,
        ),
    )


def _groups(rows: ProfileRows, marks: Marks) -> tuple[I64, Bool]:
    """int64[n], ascending by series: what is added up together; and bool[n]: rows whose samples may not be.

    These are of series with sums that may not fit 64 bits.
    """
    running = np.zeros(len(rows.value) + 1)
    np.cumsum(np.abs(rows.value.astype(np.float64)), out=running[1:])
    size = running.take(rows.sample_start[1:]) - running.take(rows.sample_start[:-1])
    is_large = np.bincount(rows.series, size, minlength=1) >= _SAFE
    is_alone = is_large.take(rows.series)
    keys: list[Any] = [np.where(is_alone, np.arange(len(size)), -1), marks["is_last"], rows.unit, rows.series]
    order = np.lexsort(keys)
    differs = np.zeros(len(order), dtype=np.bool_)
    for key in keys:
        in_order = key.take(order)
        differs[1:] |= in_order[1:] != in_order[:-1]
    group = np.empty(len(order), dtype=np.int64)
    group[order] = np.cumsum(differs)
    return group, is_alone


def _dataset_of(rows: ProfileRows) -> I64:
    return np.repeat(np.arange(len(rows.dataset_start) - 1, dtype=np.int64), np.diff(rows.dataset_start))
