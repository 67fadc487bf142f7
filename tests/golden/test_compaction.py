"""Real jobs through the real code: blocks with the facts of their sources and of the original's blocks."""

import json
from collections import Counter
from pathlib import Path

import pytest

from pyro_assets.block.metadata import metadata_from_dict
from pyro_assets.block.reader import RawObject
from pyro_assets.compaction.compact import Compacted, compact
from tests.oracle import decoder as slow_decoder
from tests.oracle.values import Block
from tests.support import golden_bucket, strategies

COMMITTED = golden_bucket.committed()


def compacted(bucket: golden_bucket.GoldenBucket, job: list[str], dedup: str = "original") -> Compacted:
    return compact([RawObject(key, data) for key, data in bucket.sources(job)], dedup=dedup)


def originals(bucket: golden_bucket.GoldenBucket, job: list[str]) -> dict[bytes, Block]:
    """The original's level-1 blocks by tenant."""
    blocks = [slow_decoder.decode_object(bucket.read(key), ascending=False) for key in bucket.level1_keys(job)]
    return {block.tenant: block for block in blocks}


def compare_with_original(bucket: golden_bucket.GoldenBucket, job: list[str]) -> None:
    """Everything that our blocks must have in common with the original's."""
    result = compacted(bucket, job)
    assert not result.set_aside
    assert (result.duplicates, result.conflicts) == (0, 0)
    ours = {block.tenant: slow_decoder.decode_object(block.data) for block in result.blocks}
    theirs = originals(bucket, job)
    assert set(ours) == set(theirs)
    sources = Counter(slow_decoder.facts_of(bucket.decoded_sources(job)))
    assert Counter(slow_decoder.facts_of(ours.values())) == sources
    for tenant, one in ours.items():
        other = theirs[tenant]
        assert Counter(one.facts()) == Counter(other.facts())
        assert strategies.profile_counts(one.datasets) == strategies.profile_counts(other.datasets)
        for name in ("shard", "level", "min_time_ms", "max_time_ms", "format_version", "string_table"):
            assert getattr(one, name) == getattr(other, name), name
        assert one.id[:10] == other.id[:10]
        for mine, real in zip(one.datasets, other.datasets, strict=True):
            for name in ("tenant", "name", "min_time_ms", "max_time_ms", "label_sets", "format"):
                assert getattr(mine, name) == getattr(real, name), name
            assert [p._replace(samples=()) for p in mine.profiles] == [p._replace(samples=()) for p in real.profiles]
            # The TSDB section of a dataset, or the whole of a dataset index.
            index = 0 if real.format == 1 else 1
            assert mine.sections[index] == real.sections[index]


@pytest.mark.parametrize("number", range(len(COMMITTED.jobs)))
def test_committed_jobs_compact_as_the_original_did(number):
    compare_with_original(COMMITTED, COMMITTED.jobs[number])


@pytest.mark.parametrize("number", range(len(COMMITTED.jobs)))
def test_exact_and_original_agree_where_nothing_is_equal(number):
    job = COMMITTED.jobs[number]
    one, other = (compacted(COMMITTED, job, dedup).blocks for dedup in ("exact", "original"))
    assert [block.data for block in one] == [block.data for block in other]


# The slow decoder takes its time: every night all, every time one in four, of which each shard and tenant has some.
@pytest.mark.parametrize("step", [4, pytest.param(1, marks=pytest.mark.nightly)])
def test_all_jobs_of_the_bucket_compact_as_the_original_did(bucket_2026: Path, step: int):
    bucket = golden_bucket.GoldenBucket(bucket_2026)
    assert len(bucket.jobs) == 18
    assert sum(len(bucket.level1_keys(job)) for job in bucket.jobs) == 31
    assert {bucket.shard(job) for job in bucket.jobs[::step]} == {bucket.shard(job) for job in bucket.jobs}
    for job in bucket.jobs[::step]:
        compare_with_original(bucket, job)


@pytest.mark.nightly
def test_blocks_of_a_whole_bucket_hold_its_facts(bucket_2026: Path):
    bucket = golden_bucket.GoldenBucket(bucket_2026)
    blocks = [
        slow_decoder.decode_object(block.data)
        for job in bucket.jobs
        for block in compacted(bucket, job, "exact").blocks
    ]
    samples = sum(len(p.samples) for block in blocks for d in block.datasets for p in d.profiles)
    profiles = sum(len(d.profiles) for block in blocks for d in block.datasets)
    # One fact for every profile and one for each of its samples.
    assert samples + profiles == 140_278


@pytest.mark.parametrize(
    ("number", "sources"), [(0, 5), *(pytest.param(number, 20, marks=pytest.mark.nightly) for number in (0, 1))]
)
def test_large_jobs_keep_their_facts(shared_data: Path, number: int, sources: int):
    bucket = golden_bucket.GoldenBucket(shared_data / "large-2026")
    job = bucket.jobs[number][:sources]
    assert len(job) == sources
    result = compacted(bucket, job, "exact")
    ours = [slow_decoder.decode_object(block.data) for block in result.blocks]
    sources = bucket.decoded_sources(job)
    assert Counter(slow_decoder.facts_of(ours)) == Counter(slow_decoder.facts_of(sources))
    datasets = [dataset for block in sources for dataset in block.datasets]
    ours_datasets = [dataset for block in ours for dataset in block.datasets]
    assert strategies.profile_counts(ours_datasets) == strategies.profile_counts(datasets)


def test_blocks_without_footers_compact_with_metadata_from_outside(shared_data: Path):
    folder = shared_data / "segments-2024"
    metas = {meta["id"]: meta for meta in json.loads((folder / "metas.json").read_text())}
    raw = [
        RawObject(f"{ulid}", (folder / ulid / "block.bin").read_bytes(), metadata_from_dict(meta))
        for ulid, meta in sorted(metas.items())
    ]
    result = compact(raw, dedup="original")
    assert not result.set_aside
    sources = [slow_decoder.decode_object(item.data, metas[item.object_key]) for item in raw]
    ours = [slow_decoder.decode_object(block.data) for block in result.blocks]
    assert Counter(slow_decoder.facts_of(ours)) == Counter(slow_decoder.facts_of(sources))


@pytest.mark.parametrize("max_bytes", [300_000, pytest.param(1_000_000, marks=pytest.mark.nightly)])
def test_blocks_of_2025_compact_further_without_a_difference(shared_data: Path, max_bytes: int):
    paths = sorted((shared_data / "blocks-2025").rglob("block.bin"))
    chosen = [path for path in paths if path.stat().st_size <= max_bytes]
    assert len(chosen) >= len(paths) - 1
    for path in chosen:
        result = compact([RawObject(f"blocks/4/anonymous/{path.parent.name}/block.bin", path.read_bytes())])
        assert not result.set_aside
        assert (result.duplicates, result.conflicts) == (0, 0)
        source = slow_decoder.decode_object(path.read_bytes(), ascending=False)
        (ours,) = (slow_decoder.decode_object(block.data) for block in result.blocks)
        assert strategies.profile_counts(ours.datasets) == strategies.profile_counts(source.datasets)
