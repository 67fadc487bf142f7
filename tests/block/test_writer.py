"""Whole objects that we write: the slow decoder, which accepts no deviation, finds in them what was put in."""

from collections import Counter

from hypothesis import given

from pyro_assets.block.reader import RawObject, read_blocks
from pyro_assets.block.writer import BlockIdentity, write_segment
from tests.oracle import decoder as slow_decoder
from tests.support import strategies


@given(job=strategies.jobs(max_objects=1))
def test_a_segment_holds_what_was_put_in(job):
    model = job[0]
    block = slow_decoder.decode_object(strategies.raw_object(model).data)
    assert (block.id.decode(), block.shard, block.level, block.tenant) == (model.ulid, model.shard, 0, b"")
    datasets = [dataset for dataset in block.datasets if dataset.format == 0]
    assert [(d.tenant, d.name) for d in datasets] == [(d.tenant, d.name) for d in model.datasets]
    assert strategies.profile_counts(datasets) == strategies.profile_counts(model.datasets)
    assert Counter(block.facts()) == Counter(model.facts())
    for dataset, expected in zip(datasets, model.datasets, strict=True):
        assert [p.id for p in dataset.profiles] == [p.id for p in expected.profiles]
        assert dataset.label_sets == expected.label_sets


@given(job=strategies.jobs(max_objects=1))
def test_every_tenant_of_a_segment_has_its_dataset_index(job):
    block = slow_decoder.decode_object(strategies.raw_object(job[0]).data)
    for tenant in {dataset.tenant for dataset in block.datasets}:
        own = [(i, d) for i, d in enumerate(block.datasets) if d.tenant == tenant]
        *datasets, (_, index) = own
        assert [d.format for _, d in own] == [0] * len(datasets) + [1]
        expected = Counter((one.labels, one.fingerprint, i) for i, d in datasets for one in d.series)
        assert Counter((one.labels, one.fingerprint, one.chunks[0][2]) for one in index.series) == expected
        assert index.min_time_ms == min(d.min_time_ms for _, d in datasets)
        assert index.max_time_ms == max(d.max_time_ms for _, d in datasets)


@given(job=strategies.jobs(max_objects=1))
def test_equal_columns_give_equal_bytes(job):
    assert strategies.raw_object(job[0]).data == strategies.raw_object(job[0]).data


@given(job=strategies.jobs(max_objects=1))
def test_reading_and_writing_again_keeps_every_section(job):
    first = strategies.raw_object(job[0])
    columns = read_blocks([first], isolate=False).columns
    again = write_segment(columns, BlockIdentity(job[0].ulid, job[0].shard, 0))
    one, other = slow_decoder.decode_object(first.data), slow_decoder.decode_object(again.data)
    assert Counter(one.facts()) == Counter(other.facts())
    third = write_segment(
        read_blocks([RawObject(first.object_key, again.data)], isolate=False).columns,
        BlockIdentity(job[0].ulid, job[0].shard, 0),
    )
    assert third.data == again.data


def test_who_created_a_segment_is_written():
    model = strategies.ModelObject(strategies.ulid(1_700_000_000_000, 1), 3, ())
    written = write_segment(strategies.columns_of(model), BlockIdentity(model.ulid, 3, 0, b"host-1"))
    block = slow_decoder.decode_object(written.data)
    assert block.created_by == b"host-1"
    assert block.datasets == ()
    assert written.meta.size == len(written.data)
