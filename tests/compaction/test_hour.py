"""The blocks of jobs as one: nothing is lost or left out, and a summary adds up to the same; always the same bytes."""

from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyro_assets.block.columns import BlockColumns, Bool
from pyro_assets.block.reader import RawObject, read_blocks
from pyro_assets.block.tsdb.labels import profile_type
from pyro_assets.compaction.compact import compact
from pyro_assets.compaction.hour import HourBlock, compact_hour, marks_of, merge_summaries
from pyro_assets.errors import TooLarge
from tests.oracle import decoder as slow_decoder
from tests.support import strategies
from tests.support.column_facts import stacks_of


def every_other(columns: BlockColumns) -> Bool:
    """Which rows are the last ones does not matter here, as long as it is the rows' own."""
    return columns.rows.time_ns % 2 == 0


def level1(job: list, tenant: bytes = b"acme") -> list[RawObject]:
    """The blocks of a tenant, each source compacted as a job of its own."""
    blocks = [block for model in job for block in compact([strategies.raw_object(model)]).blocks]
    return [RawObject(f"blocks/4/x/{one.id}/block.bin", one.data) for one in blocks if one.tenant == tenant]


def make(blocks: list[RawObject], **how: int) -> HourBlock:
    return compact_hour(blocks, [1000 * number for number in range(len(blocks))], every_other, **how)


def sums_of(data: bytes) -> tuple[Counter, Counter]:
    """Of a summary: values by labels, kind of rows and stack; profiles with what is told of them."""
    columns = read_blocks([RawObject("blocks/4/x/summary/block.bin", data)], isolate=False).columns
    rows, stacks = columns.rows, stacks_of(columns.symbols)
    sums: Counter = Counter()
    profiles: Counter = Counter()
    for row, mark in enumerate(marks_of(rows)):
        labels, begin, end = columns.series.labels[rows.series[row]], *rows.sample_start[row : row + 2]
        for sample in range(begin, end):
            assert mark["is_sum"]
            sums[labels, int(mark["is_last"]), stacks[rows.stack[sample]]] += int(rows.value[sample])
        if not mark["is_sum"]:
            told = (int(mark["job_ms"]), int(mark["samples"]), int(mark["is_last"]))
            profiles[labels, int(rows.time_ns[row]), int(rows.total_value[row]), told] += 1
        else:
            assert rows.total_value[row] == 0
    return sums, profiles


def expected_of(blocks: list[RawObject]) -> tuple[Counter, Counter]:
    sums: Counter = Counter()
    profiles: Counter = Counter()
    for number, raw in enumerate(blocks):
        columns = read_blocks([raw], isolate=False).columns
        rows, stacks = columns.rows, stacks_of(columns.symbols)
        for row in range(len(rows.time_ns)):
            labels, begin, end = columns.series.labels[rows.series[row]], *rows.sample_start[row : row + 2]
            is_last = int(every_other(columns)[row])
            for sample in range(begin, end):
                sums[labels, is_last, stacks[rows.stack[sample]]] += int(rows.value[sample])
            told = (1000 * number, int(end - begin), is_last)
            profiles[labels, int(rows.time_ns[row]), int(rows.total_value[row]), told] += 1
    return sums, profiles


def same(found: tuple[Counter, Counter], expected: tuple[Counter, Counter]) -> None:
    # A counter compares a key with the value 0 like one that is not there.
    for one, other in zip(found, expected, strict=True):
        assert dict(one) == dict(other)


@given(job=strategies.jobs())
def test_every_profile_of_every_job_is_there_once(job):
    blocks = level1(job)
    if not blocks:
        return
    made = make(blocks)
    decoded = [slow_decoder.decode_object(one.data) for one in blocks]
    assert Counter(slow_decoder.facts_of([slow_decoder.decode_object(made.block.data)])) == Counter(
        slow_decoder.facts_of(decoded)
    )
    found = slow_decoder.decode_object(made.block.data)
    count = sum(len(dataset.profiles) for block in decoded for dataset in block.datasets)
    assert sum(len(dataset.profiles) for dataset in found.datasets) == count
    assert made.block.meta.level == 2
    same(sums_of(made.summary.data), expected_of(blocks))


@given(job=strategies.jobs(), cut=st.integers(0, 3))
def test_summaries_of_parts_are_that_of_all(job, cut):
    blocks = level1(job)
    parts = [blocks[begin:end] for begin, end in pairwise([0, min(cut, len(blocks)), len(blocks)]) if begin < end]
    if not parts:
        return
    job_ms = {one.object_key: 1000 * number for number, one in enumerate(blocks)}
    made = [compact_hour(part, [job_ms[one.object_key] for one in part], every_other) for part in parts]
    merged = merge_summaries([RawObject(f"blocks/4/x/{one.block.id}/block.bin", one.summary.data) for one in made])
    same(sums_of(merged.data), expected_of(blocks))
    assert (merged.id, merged.meta.level) == (made[0].block.id, 2)


@given(job=strategies.jobs())
def test_the_same_blocks_give_the_same_bytes(job):
    blocks = level1(job)
    if blocks:
        one, other = make(blocks), make(blocks)
        assert (one.block.data, one.summary.data) == (other.block.data, other.summary.data)


def test_a_profile_that_two_jobs_have_counts_twice():
    model = strategies.plain_object()
    (block,) = compact([strategies.raw_object(model)]).blocks
    raw = RawObject(f"blocks/4/x/{block.id}/block.bin", block.data)
    once, twice = (expected_of([raw] * times)[0] for times in (1, 2))
    sums, profiles = sums_of(make([raw, raw]).summary.data)
    assert sums == twice == Counter({key: 2 * value for key, value in once.items()})
    assert {told[0] for *_, told in profiles} == {0, 1000}


def test_what_needs_too_much_memory_is_refused():
    blocks = level1([strategies.plain_object(), strategies.plain_object()])
    with pytest.raises(TooLarge):
        make(blocks, most_bytes=1)


def test_a_summary_is_a_block_like_others():
    blocks = level1([strategies.rich_object()])
    made = make(blocks)
    columns = read_blocks([RawObject("blocks/4/x/y/block.bin", made.summary.data)], isolate=False).columns
    assert (np.diff(columns.rows.series) >= 0).all()
    assert {profile_type(one) for one in columns.series.labels} == {
        profile_type(one) for one in made.sources.series.labels
    }
    slow_decoder.metadata_of(made.summary.data)
