"""Whole objects to columns: everything the slow decoder finds, and broken objects set aside one by one."""

from collections import Counter

import numpy as np
import pytest
from hypothesis import given

from pyro_assets.block.reader import RawObject, read_blocks
from pyro_assets.block.writer import BlockIdentity, write_segment
from pyro_assets.errors import BlockError, ChecksumMismatch, Truncated
from tests.oracle import decoder as slow_decoder
from tests.support import golden_bucket, strategies
from tests.support.column_facts import datasets_of, facts_of_columns

GOLDEN = golden_bucket.committed()


@given(job=strategies.jobs())
def test_columns_hold_what_the_objects_say(job):
    result = read_blocks([strategies.raw_object(model) for model in job], isolate=False)
    assert [meta.id for meta in result.metas if meta] == [model.ulid for model in job]
    expected = sorted(
        (dataset.tenant, dataset.name, source) for source, model in enumerate(job) for dataset in model.datasets
    )
    assert [(d.tenant, d.name, d.source) for d in result.columns.datasets] == expected
    models = [dataset for model in job for dataset in model.datasets]
    assert strategies.profile_counts(datasets_of(result.columns)) == strategies.profile_counts(models)
    assert result.columns.facts["total_mismatches"] == 0


@pytest.mark.parametrize("number", range(len(GOLDEN.jobs)))
def test_real_segments_read_like_the_slow_decoder_reads_them(number):
    job = GOLDEN.jobs[number]
    result = read_blocks([RawObject(key, GOLDEN.read(key)) for key in job], isolate=False)
    expected = Counter(slow_decoder.facts_of(GOLDEN.decoded_sources(job)))
    assert Counter(facts_of_columns(result.columns)) == expected
    assert result.columns.facts == {"dangling": 0, "total_mismatches": 0}


@pytest.mark.parametrize("key", [key for job in GOLDEN.jobs for key in GOLDEN.level1_keys(job)])
def test_the_originals_blocks_read_like_the_slow_decoder_reads_them(key):
    result = read_blocks([RawObject(key, GOLDEN.read(key))], isolate=False)
    block = slow_decoder.decode_object(GOLDEN.read(key), ascending=False)
    assert strategies.profile_counts(datasets_of(result.columns)) == strategies.profile_counts(block.datasets)


def test_broken_objects_are_set_aside_and_their_neighbours_unharmed():
    keys = GOLDEN.jobs[0][:5]
    objects = [RawObject(key, GOLDEN.read(key)) for key in keys]
    damaged = bytearray(objects[1].data)
    damaged[len(damaged) // 2] ^= 1
    broken = [
        objects[0],
        RawObject(keys[1], bytes(damaged)),
        objects[2],
        RawObject(keys[3], b""),
        objects[4],
    ]
    result = read_blocks(broken)
    assert [position for position, _ in result.set_aside] == [1, 3]
    assert isinstance(result.set_aside[0][1], BlockError)
    assert isinstance(result.set_aside[1][1], Truncated)
    assert [meta is None for meta in result.metas] == [False, True, False, True, False]
    good = read_blocks([objects[0], objects[2], objects[4]])
    assert Counter(facts_of_columns(result.columns)) == Counter(facts_of_columns(good.columns))
    assert {dataset.source for dataset in result.columns.datasets} == {0, 2, 4}


def test_without_isolation_the_error_names_object_dataset_and_section():
    key = GOLDEN.jobs[0][0]
    data = bytearray(GOLDEN.read(key))
    symbols_at = read_blocks([RawObject(key, bytes(data))]).metas[0].datasets[0].toc[2]
    data[symbols_at + 40] ^= 0x10
    with pytest.raises(ChecksumMismatch) as caught:
        read_blocks([RawObject(key, bytes(data))], isolate=False)
    where = caught.value.where
    assert (where.object_key, where.section) == (key, "symbols")
    assert where.dataset
    assert key in str(caught.value)


def test_no_objects_give_empty_columns():
    result = read_blocks([])
    assert result.columns.datasets == []
    assert len(result.columns.rows.time_ns) == 0
    np.testing.assert_array_equal(result.columns.rows.dataset_start, [0])


def test_a_total_that_its_samples_contradict_is_counted_not_refused():
    model = strategies.rich_object()
    columns = strategies.columns_of(model)
    columns.rows.total_value = columns.rows.total_value + 1
    written = write_segment(columns, BlockIdentity(model.ulid, model.shard, 0))
    result = read_blocks([RawObject(model.key, written.data)], isolate=False)
    assert result.columns.facts["total_mismatches"] == len(columns.rows.total_value)
