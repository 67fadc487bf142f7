"""Profile rows of a job: their order, their duplicates, and their samples on the merged tree.

Add what makes two profiles the same here; symbols are merged in `symbols`. Rows arrive in the order (output dataset,
source, row) and leave in the order (output dataset, labels, time, source).
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import pyarrow as pa

from pyro_assets.block.columns import I64, Labels, ProfileRows, SeriesTable
from pyro_assets.compaction.arrays import (
    Distinct,
    Numbering,
    distinct_rows,
    gather_ranges,
    hash_columns,
    mix,
    number_by_hash,
    number_exactly,
    number_ragged,
    verified,
)

#: "exact": equal series, time and samples are one profile. "original": equal fingerprint and time of neighbours.
Dedup = Literal["exact", "original"]


@dataclass(frozen=True, slots=True)
class SeriesOrder:
    """Distinct label sets of every output dataset in the order in which they are written.

    Attributes:
        rank: int64[s], the merged series of each source entry; ranks of an output are contiguous.
        labels: one label set per rank.
        first: int64[k], the first source entry of each rank (its fingerprint is copied).
        output: int64[k], the output dataset of each rank.
    """

    rank: I64
    labels: list[Labels]
    first: I64
    output: I64


def order_series(series: SeriesTable, output_of_dataset: I64) -> SeriesOrder:
    """Number the label sets of each output: pairs compared bytewise in stored order, a prefix first."""
    output = np.repeat(output_of_dataset, np.diff(series.dataset_start)).tolist()
    first: dict[tuple[int, Labels], int] = {}
    keys = list(zip(output, series.labels, strict=True))
    for entry, key in enumerate(keys):
        first.setdefault(key, entry)
    ordered = sorted(first)
    rank = {key: position for position, key in enumerate(ordered)}
    return SeriesOrder(
        rank=np.array([rank[key] for key in keys], dtype=np.int64),
        labels=[labels for _, labels in ordered],
        first=np.array([first[key] for key in ordered], dtype=np.int64),
        output=np.array([output_dataset for output_dataset, _ in ordered], dtype=np.int64),
    )


def take_rows(rows: ProfileRows, order: I64, stack: I64, row_of_dataset: I64) -> ProfileRows:
    """Rows in another order, with their samples on the merged tree, ascending by stack within each row.

    Args:
        rows: the sources' rows.
        order: int64[k], the rows wanted.
        stack: int64[m], merged node of each source sample.
        row_of_dataset: int64[d + 1], where the rows of each output dataset begin in `order`.
    """
    sample_start, position = gather_ranges(rows.sample_start, order)
    row = np.repeat(np.arange(len(order), dtype=np.int64), np.diff(sample_start))
    sample = position.take(_by_stack(row, stack.take(position)))
    wanted = pa.array(sample)
    kept = pa.array(order)

    def samples(column: Any) -> Any:
        return None if column is None else column.take(wanted)

    def profiles(column: Any) -> Any:
        return None if column is None else column.take(kept)

    return ProfileRows(
        dataset_start=row_of_dataset,
        id=rows.id.take(order, axis=0),
        series=rows.series.take(order),
        partition=rows.partition.take(order),
        unit=rows.unit.take(order),
        total_value=rows.total_value.take(order),
        time_ns=rows.time_ns.take(order),
        sample_start=sample_start,
        stack=stack.take(sample),
        value=rows.value.take(sample),
        span_id=samples(rows.span_id),
        trace_id=samples(rows.trace_id),
        sample_labels=samples(rows.sample_labels),
        drop_frames=profiles(rows.drop_frames),
        keep_frames=profiles(rows.keep_frames),
        duration_ns=profiles(rows.duration_ns),
        period=profiles(rows.period),
        default_sample_type=profiles(rows.default_sample_type),
        comments=profiles(rows.comments),
        annotations=profiles(rows.annotations),
    )


def _by_stack(row: I64, stack: I64) -> I64:
    """Order of samples by (row, stack, position): a radix sort of the packed words, 16 bits a pass.

    NumPy sorts 16-bit integers by counting, several times faster than a comparison sort of whole words.
    """
    count = len(row)
    if not count:
        return row
    stack_bits = max(int(stack.max()), 1).bit_length()
    bits = stack_bits + max(int(row[-1]), 1).bit_length()
    if bits > 63:
        return np.lexsort((stack, row))
    packed = (row << stack_bits) | stack
    order = np.argsort(packed.astype(np.uint16), kind="stable")
    for shift in range(16, bits, 16):
        digit = (packed >> shift).astype(np.uint16).take(order)
        order = order.take(np.argsort(digit, kind="stable"))
    return order


@dataclass(frozen=True, slots=True)
class Deduplicated:
    """Which rows stay, in their order, and how many were copies or differed under one series and time."""

    kept: I64
    duplicates: int
    conflicts: int


def order_rows(rank: I64, time_ns: I64) -> I64:
    """Rows by (series rank, time, source): the sort is stable and rows arrive by source."""
    return np.lexsort((time_ns, rank))


def drop_neighbours(fingerprint: I64, time_ns: I64, order: I64, output: I64, sources: I64) -> Deduplicated:
    """The original's way: a row with fingerprint and time of the row before it goes, whatever it contains.

    Args:
        fingerprint: uint64[n] seen as int64, of each row's series.
        time_ns: int64[n].
        order: int64[n], rows in merged order.
        output: int64[n], output dataset of each row.
        sources: int64[o], how many source datasets each output has; those with one are left as they are.
    """
    fingerprint, time_ns, output = fingerprint.take(order), time_ns.take(order), output.take(order)
    same = np.zeros(len(order), dtype=np.bool_)
    same[1:] = (
        (fingerprint[1:] == fingerprint[:-1])
        & (time_ns[1:] == time_ns[:-1])
        & (output[1:] == output[:-1])
        & (sources.take(output[1:]) > 1)
    )
    return Deduplicated(order[~same], int(same.sum()), 0)


def drop_copies(
    rows: ProfileRows, rank: I64, stack: I64, order: I64, number: Numbering = number_by_hash
) -> Deduplicated:
    """Ours: equal series, time and samples are one profile; other samples at the same time are all kept.

    Only rows that share series and time with a neighbour are looked at, so a job without any costs one comparison.
    Stacks of different partitions are not compared: a partition belongs to a program, a retried upload is in the same.

    Args:
        rows: the sources' rows.
        rank: int64[n], merged series of each row.
        stack: int64[m], merged node of each sample.
        order: int64[n], rows in merged order.
        number: see `distinct_rows`.
    """
    series, time_ns = rank.take(order), rows.time_ns.take(order)
    same = (series[1:] == series[:-1]) & (time_ns[1:] == time_ns[:-1])
    if not same.any():
        return Deduplicated(order, 0, 0)
    group = np.zeros(len(order), dtype=np.int64)
    group[1:] = np.cumsum(~same)
    in_company = np.zeros(len(order), dtype=np.bool_)
    in_company[1:] |= same
    in_company[:-1] |= same
    place = np.flatnonzero(in_company)  # positions in `order`
    candidates = order.take(place)
    content = _contents(rows, candidates, stack, number)
    # One class per (group, content); the first of each in merged order stays.
    first = distinct_rows([group.take(place), content], number).first
    stays = np.ones(len(order), dtype=np.bool_)
    stays[place] = False
    stays[place.take(first)] = True
    duplicates = len(place) - len(first)
    conflicts = len(first) - len(np.unique(group.take(place)))
    return Deduplicated(order[stays], duplicates, conflicts)


def _contents(rows: ProfileRows, candidates: I64, stack: I64, number: Numbering) -> I64:
    """A number per candidate row, equal where the rows have the same multiset of samples; exact.

    Samples are put in one canonical order inside each row; then rows are compared by length, and column by column.
    """
    start, position = gather_ranges(rows.sample_start, candidates)
    columns: list[I64] = [stack.take(position), rows.value.take(position)]
    columns += [
        _codes(column, position) for column in (rows.span_id, rows.trace_id, rows.sample_labels) if column is not None
    ]
    count = np.diff(start)
    row = np.repeat(np.arange(len(candidates), dtype=np.int64), count)
    canonical = np.lexsort((*reversed(columns), row))
    columns = [column.take(canonical) for column in columns]
    hashed = np.zeros(len(candidates), dtype=np.uint64)
    ordinal = np.arange(len(row), dtype=np.int64) - np.repeat(start[:-1], count)
    if len(row):
        weight = hash_columns([ordinal, *columns])
        has_samples = np.flatnonzero(count)
        hashed[has_samples] = np.add.reduceat(weight, start[:-1].take(has_samples))
    hashed = mix(hashed, count)

    def is_exact(classes: Distinct) -> bool:
        twin_row = classes.first.take(classes.codes)
        if not np.array_equal(count.take(twin_row), count):
            return False
        twin = ordinal + start.take(twin_row).take(row)
        return all(np.array_equal(column.take(twin), column) for column in columns)

    def number_again() -> Distinct:
        return number_exactly([number_ragged(start, columns)])

    return verified(number(hashed), is_exact, number_again).codes


def _codes(column: Any, position: I64) -> I64:
    """A number per value of an Arrow column, null included (nested values by their Python form: they are rare)."""
    values = column.take(pa.array(position))
    if pa.types.is_list(values.type) or pa.types.is_large_list(values.type):
        seen: dict[str, int] = {}
        return np.array([seen.setdefault(repr(value), len(seen)) for value in values.to_pylist()], dtype=np.int64)
    codes = values.dictionary_encode().indices.fill_null(-1)
    return np.asarray(codes.to_numpy(zero_copy_only=False), dtype=np.int64)


def first_seen(label_sets: Sequence[tuple[Labels, ...]]) -> tuple[Labels, ...]:
    """Distinct label sets of several datasets, in first-seen order."""
    return tuple(dict.fromkeys(labels for sets in label_sets for labels in sets))
