"""Compaction as a whole, on made-up jobs: what it keeps, counts and promises, against the slow evaluation."""

import pickle
import random
from collections import Counter
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyro_assets.block.reader import RawObject
from pyro_assets.compaction.compact import Compacted, compact, without_unwritable
from pyro_assets.errors import BadMetadata, TooLarge, Unwritable, Where
from pyro_assets.storage.ulid import make_ulid, ulid_time_ms
from tests.oracle import decoder as slow_decoder
from tests.oracle import series as slow_series
from tests.oracle.values import Block
from tests.support import mutations, strategies
from tests.support.column_facts import facts_of_columns

DEDUP = pytest.mark.parametrize("dedup", ["exact", "original"])


def decode(result: Compacted) -> list[Block]:
    return [slow_decoder.decode_object(block.data) for block in result.blocks]


def identity(tenant: bytes, service: bytes, profile: slow_decoder.Profile) -> tuple:
    """A profile without regard to the order of its samples."""
    return (tenant, service, profile._replace(samples=frozenset(Counter(profile.samples).items())))


@DEDUP
@given(job=strategies.jobs())
def test_it_keeps_and_counts_what_the_slow_evaluation_does(dedup, job):
    raw = [strategies.raw_object(model) for model in job]
    sources = [slow_decoder.decode_object(item.data) for item in raw]
    expected = slow_series.merge(sources, dedup)
    result = compact(raw, dedup=dedup)
    assert not result.set_aside
    found = [
        identity(dataset.tenant, dataset.name, profile)
        for block in decode(result)
        for dataset in block.datasets
        for profile in dataset.profiles
    ]
    # The rows themselves and their order: labels, time, source.
    assert found == [identity(row.tenant, row.service, row.profile) for row in expected.rows]
    assert result.duplicates == expected.duplicates
    if dedup == "exact":
        assert result.conflicts == expected.conflicts
    assert result.facts["profiles_in"] == sum(len(d.profiles) for b in sources for d in b.datasets)
    assert result.facts["profiles"] == len(expected.rows)


@given(job=strategies.jobs())
def test_without_copies_the_facts_are_those_of_the_sources(job):
    distinct, seen = [], set()
    for model in job:
        datasets = []
        for dataset in model.datasets:
            profiles = []
            for profile in dataset.profiles:
                key = (dataset.tenant, dataset.name, profile.labels, profile.time_ns)
                if key not in seen:
                    profiles.append(profile)
                seen.add(key)
            datasets.append(strategies.ModelDataset(dataset.tenant, dataset.name, tuple(profiles)))
        distinct.append(strategies.ModelObject(model.ulid, model.shard, tuple(datasets), model.seed))
    expected = Counter(fact for model in distinct for fact in model.facts())
    for dedup in ("exact", "original"):
        result = compact([strategies.raw_object(model) for model in distinct], dedup=dedup)
        assert (result.duplicates, result.conflicts) == (0, 0)
        assert Counter(slow_decoder.facts_of(decode(result))) == expected


@given(job=strategies.jobs())
def test_columns_and_blocks_say_the_same(job):
    result = compact([strategies.raw_object(model) for model in job])
    assert Counter(facts_of_columns(result.columns)) == Counter(slow_decoder.facts_of(decode(result)))


@DEDUP
@given(job=strategies.jobs(), seed=st.integers(0, 1000))
def test_the_order_of_listing_does_not_matter(dedup, job, seed):
    raw = [strategies.raw_object(model) for model in job]
    shuffled = list(raw)
    random.Random(seed).shuffle(shuffled)
    one, other = compact(raw, dedup=dedup), compact(shuffled, dedup=dedup)
    assert [block.data for block in one.blocks] == [block.data for block in other.blocks]
    assert [block.id for block in one.blocks] == [block.id for block in other.blocks]
    ids = [meta.id for meta in other.metas if meta]
    assert ids == [item.object_key.split("/")[3] for item in shuffled]


@given(job=strategies.jobs())
def test_compacting_twice_gives_the_same_bytes(job):
    raw = [strategies.raw_object(model) for model in job]
    one, other = compact(raw), compact([RawObject(item.object_key, bytes(item.data)) for item in raw])
    assert [block.data for block in one.blocks] == [block.data for block in other.blocks]


@DEDUP
@given(job=strategies.jobs())
def test_compacting_the_result_changes_nothing(dedup, job):
    first = compact([strategies.raw_object(model) for model in job], dedup=dedup)
    for block in first.blocks:
        key = f"blocks/{block.meta.shard}/{block.tenant.decode(errors='replace')}/{block.id}/block.bin"
        again = compact([RawObject(key, block.data)], dedup=dedup)
        assert again.duplicates == (0 if dedup == "exact" else again.duplicates)
        before, after = slow_decoder.decode_object(block.data), decode(again)[0]
        assert after.level == before.level + 1
        rows = [[identity(d.tenant, d.name, p) for d in one.datasets for p in d.profiles] for one in (before, after)]
        assert rows[0] == rows[1]
        # The bytes of every section are settled after one compaction.
        assert [d.sections for d in before.datasets] == [d.sections for d in after.datasets]


@given(job=strategies.jobs())
def test_ids_follow_from_sources_and_tenant_alone(job):
    raw = [strategies.raw_object(model) for model in job]
    blocks = compact(raw).blocks
    assert len({block.id for block in blocks}) == len(blocks)
    assert {block.tenant for block in blocks} == {d.tenant for model in job for d in model.datasets}
    for block in blocks:
        assert ulid_time_ms(block.id) == ulid_time_ms(job[0].ulid)
        assert (block.meta.shard, block.meta.level) == (job[0].shard, 1)
    assert [b.id for b in compact(raw, dedup="original").blocks] == [b.id for b in blocks]
    if len(job) > 1:
        fewer = compact(raw[:1]).blocks
        assert not {block.id for block in fewer} & {block.id for block in blocks}


@given(job=strategies.jobs())
def test_symbols_are_distinct_and_all_in_use(job):
    for block in decode(compact([strategies.raw_object(model) for model in job])):
        for dataset in block.datasets:
            for number, partition in dataset.partitions.items():
                assert len(set(partition.strings)) == len(partition.strings)
                assert len(set(partition.functions)) == len(partition.functions)
                assert len(set(partition.mappings)) == len(partition.mappings)
                assert len(set(partition.locations)) == len(partition.locations)
                assert len(set(partition.nodes)) == len(partition.nodes)
                used = {
                    sample.stack
                    for profile in dataset.profiles
                    if profile.partition == number
                    for sample in profile.samples
                }
                frames = {frame for stack in used for frame in stack}
                lines = {line[:4] for frame in frames for line in frame.lines}
                texts = {text for line in lines for text in line[:3]}
                texts |= {text for frame in frames for text in (frame.mapping or ())[:2]}
                assert set(partition.locations) == frames
                assert set(partition.mappings) == {frame.mapping for frame in frames} - {None}
                assert set(partition.functions) <= lines
                assert set(partition.strings) - {b""} <= texts


@given(job=strategies.jobs())
def test_metadata_and_dataset_index_describe_the_block(job):
    result = compact([strategies.raw_object(model) for model in job])
    for block, written in zip(decode(result), result.blocks, strict=True):
        assert block.id.decode() == written.id
        assert block.tenant == written.tenant
        assert block.string_table[:2] == ((b"", block.tenant) if block.tenant else (b"",))
        *datasets, index = block.datasets
        assert [d.name for d in datasets] == sorted({d.name for d in datasets})
        assert index.format == 1
        assert (index.tenant, index.name) == (block.tenant, b"")
        assert index.label_sets == (((b"__tenant_dataset__", b"dataset_tsdb_index"),),)
        bounds = [(d.min_time_ms, d.max_time_ms) for d in datasets]
        assert (index.min_time_ms, index.max_time_ms) == (min(b[0] for b in bounds), max(b[1] for b in bounds))
        assert (block.min_time_ms, block.max_time_ms) == (index.min_time_ms, index.max_time_ms)
        listed = Counter((one.labels, chunk[2]) for one in index.series for chunk in one.chunks)
        assert listed == Counter((one.labels, i) for i, d in enumerate(datasets) for one in d.series)


def test_a_broken_source_is_set_aside_and_the_others_are_compacted():
    models = [strategies.plain_object(number) for number in range(3)]
    raw = [strategies.raw_object(model) for model in models]
    broken = RawObject(raw[1].object_key, raw[1].data[:-1])
    result = compact([raw[0], broken, raw[2]])
    assert [position for position, _ in result.set_aside] == [1]
    assert result.set_aside[0][1].where.object_key == broken.object_key
    expected = compact([raw[0], raw[2]])
    assert [block.data for block in result.blocks] == [block.data for block in expected.blocks]
    assert [meta is None for meta in result.metas] == [False, True, False]


@pytest.mark.parametrize("level", [1, (1 << 32) - 1])
def test_a_segment_that_claims_another_level_is_set_aside_and_19_go_on(level):
    raw = [strategies.raw_object(strategies.plain_object(number)) for number in range(20)]
    lying = replace(raw[7], data=mutations.with_metadata(raw[7].data, lambda meta: meta.update(compaction_level=level)))
    result = compact([*raw[:7], lying, *raw[8:]])
    assert [position for position, _ in result.set_aside] == [7]
    assert isinstance(result.set_aside[0][1], BadMetadata)
    assert [block.meta.level for block in result.blocks] == [1]
    assert [block.data for block in result.blocks] == [block.data for block in compact([*raw[:7], *raw[8:]]).blocks]


def test_a_block_whose_level_has_no_next_one_is_set_aside():
    (block,) = compact([strategies.raw_object(strategies.plain_object())]).blocks
    data = mutations.with_metadata(block.data, lambda meta: meta.update(compaction_level=(1 << 32) - 1))
    assert [type(error) for _, error in compact([RawObject("blocks/1/t/x/block.bin", data)]).set_aside] == [BadMetadata]


def test_of_valid_sources_whose_blocks_cannot_be_written_those_to_blame_are_set_aside():
    raw = [strategies.raw_object(strategies.plain_object(number)) for number in range(5)]
    keys = [one.object_key for one in raw]
    bad, pair = keys[1], {keys[2], keys[4]}  # one alone, and two that do not go together

    def make(chosen):
        names = {one.object_key for one in chosen}
        if bad in names or pair <= names:
            raise Unwritable("string is too long", Where(section="symbols"), expected=1, actual=2)
        return compact(chosen)

    result = without_unwritable(raw, make)
    assert [position for position, _ in result.set_aside] == [1, 4]
    assert [meta is None for meta in result.metas] == [False, True, False, False, True]
    for position, error in result.set_aside:
        assert error.where == Where(keys[position], "symbols")
        assert "string is too long" in str(error) and "the source is set aside" in str(error)
    wanted = compact([raw[position] for position in (0, 2, 3)])
    assert [block.data for block in result.blocks] == [block.data for block in wanted.blocks]


def test_nothing_readable_gives_no_block():
    result = compact([RawObject("segments/1/anonymous/01M891VPM4XX31MPMZXPGM0RMZ/block.bin", b"")])
    assert result.blocks == []
    assert len(result.set_aside) == 1
    assert compact([]).blocks == []


# --- Duplicates, one case each ----------------------------------------------------------------------------------


def job_of(*sources: list[tuple[int, int]]) -> list[RawObject]:
    """Objects of one series: a list of (time_ns, value) for each source; equal pairs are equal profiles."""
    labels = strategies.labels_of(b"checkout", strategies.CPU)
    stack = strategies.stack_of(b"main.main", b"main.work")
    objects = []
    for number, pairs in enumerate(sources):
        profiles = tuple(
            strategies.profile_of(labels, time_ns, [slow_decoder.Sample(stack, value, None, None, ())], number=i)
            for i, (time_ns, value) in enumerate(pairs)
        )
        dataset = strategies.ModelDataset(b"acme", b"checkout", profiles)
        ulid = strategies.ulid(1_700_000_000_000 + number, number)
        objects.append(strategies.raw_object(strategies.ModelObject(ulid, 1, (dataset,))))
    return objects


@pytest.mark.parametrize(
    ("sources", "exact", "original"),
    [
        # A retried push: the same profile in two sources.
        ([[(5, 7)], [(5, 7)]], ([7], 1, 0), ([7], 1)),
        # Twice in a lone source: the original does not look.
        ([[(5, 7), (5, 7)]], ([7], 1, 0), ([7, 7], 0)),
        # Twice within one of two sources: the original does look.
        ([[(5, 7), (5, 7)], [(6, 1)]], ([7, 1], 1, 0), ([7, 1], 1)),
        # Two threads of one upload: the original loses one of them.
        ([[(5, 7)], [(5, 8)]], ([7, 8], 0, 1), ([7], 1)),
        # Copies that have another profile between them are found.
        ([[(5, 7)], [(5, 8)], [(5, 7)]], ([7, 8], 1, 1), ([7], 2)),
        # Other times are other profiles.
        ([[(5, 7)], [(6, 7)]], ([7, 7], 0, 0), ([7, 7], 0)),
    ],
)
def test_duplicates_and_conflicts(sources, exact, original):
    result = compact(job_of(*sources), dedup="exact")
    assert (result.columns.rows.value.tolist(), result.duplicates, result.conflicts) == exact
    result = compact(job_of(*sources), dedup="original")
    assert (result.columns.rows.value.tolist(), result.duplicates) == original


def test_span_ids_tell_profiles_apart():
    labels = strategies.labels_of(b"checkout", strategies.CPU)
    stack = strategies.stack_of(b"main.main")
    profiles = tuple(
        strategies.profile_of(labels, 5, [slow_decoder.Sample(stack, 1, span, None, ())], number=number)
        for number, span in enumerate((None, 0, 1, 1))
    )
    model = strategies.ModelObject(strategies.ulid(1, 1), 1, (strategies.ModelDataset(b"acme", b"checkout", profiles),))
    result = compact([strategies.raw_object(model)])
    assert (result.duplicates, result.conflicts) == (1, 2)
    assert result.columns.rows.span_id.to_pylist() == [None, 0, 1]


def test_samples_in_another_order_are_the_same_profile():
    labels = strategies.labels_of(b"checkout", strategies.CPU)
    samples = [
        slow_decoder.Sample(strategies.stack_of(name), value, None, None, ())
        for name, value in ((b"a", 1), (b"b", 2), (b"c", 3))
    ]
    objects = []
    for number, order in enumerate((samples, samples[::-1])):
        # The tables of the second object are arranged another way, so that stack ids differ too.
        profile = strategies.profile_of(labels, 5, order, number=number)
        dataset = strategies.ModelDataset(b"acme", b"checkout", (profile,))
        objects.append(
            strategies.raw_object(strategies.ModelObject(strategies.ulid(number, number), 1, (dataset,), seed=number))
        )
    assert compact(objects).duplicates == 1


def test_objects_that_need_too_much_together_are_refused_before_they_are_decoded():
    one = strategies.raw_object(strategies.plain_object())
    two = strategies.raw_object(replace(strategies.plain_object(), ulid=make_ulid(1, bytes(10))))
    with pytest.raises(TooLarge, match=r"need \d+ MiB of memory together, more than 0 MiB") as alone:
        compact([one, one], most_bytes=1)
    assert str(pickle.loads(pickle.dumps(alone.value))) == str(alone.value)
    needed = alone.value.needed_bytes
    assert needed > 0
    with pytest.raises(TooLarge) as together:
        compact([one, two, one], most_bytes=needed)
    assert together.value.needed_bytes == needed * 3 // 2
    # As much as that is allowed, and one object alone needs what it needs.
    assert compact([one, two], most_bytes=needed).blocks == compact([one, two]).blocks
    assert compact([one], most_bytes=1).blocks == compact([one]).blocks
