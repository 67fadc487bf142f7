"""The committed golden data is there, complete and unchanged; the slow code agrees with what was recorded."""

import importlib.util
from collections import Counter
from pathlib import Path

import pytest

from tests.oracle import decoder as slow_decoder
from tests.oracle import series as slow_series
from tests.support import golden_bucket, pyroscope_exchanges

_spec = importlib.util.spec_from_file_location("passport", Path(__file__).parent / "passport.py")
assert _spec is not None
assert _spec.loader is not None
passport = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(passport)


@pytest.mark.parametrize("data", [passport.DATA, pyroscope_exchanges.GOLDEN], ids=lambda data: data.name)
def test_every_file_is_as_its_passport_says(data: Path):
    assert passport.files(data) == passport.checksums(data) != {}


def test_the_data_stays_small_enough_to_commit():
    assert sum(size for size, _ in passport.files().values()) < 1_800_000


def test_jobs_name_only_files_that_are_there_and_none_is_left_over():
    bucket = golden_bucket.committed()
    named = {key for job in bucket.jobs for key in [*job, *bucket.level1_keys(job)]}
    there = {path.relative_to(bucket.root).as_posix() for path in bucket.root.rglob("block.bin")}
    assert named == there
    assert len(bucket.jobs) == 3
    assert {bucket.shard(job) for job in bucket.jobs} == {1, 2, 4}
    assert set(bucket.recorded) == {bucket.timestamp_ms(job) for job in bucket.jobs}


def test_the_slow_decoder_finds_the_same_facts_in_segments_and_in_the_originals_blocks():
    bucket = golden_bucket.committed()
    for job in bucket.jobs:
        sources = Counter(slow_decoder.facts_of(bucket.decoded_sources(job)))
        blocks = Counter(
            slow_decoder.facts_of(
                slow_decoder.decode_object(bucket.read(key), ascending=False) for key in bucket.level1_keys(job)
            )
        )
        assert sources == blocks


def test_the_slow_evaluation_gives_exactly_what_was_recorded():
    bucket = golden_bucket.committed()
    for job in bucket.jobs:
        blocks = bucket.decoded_sources(job)
        merged = slow_series.merge(blocks, "original")
        values = slow_series.recorded(merged.rows, bucket.rules, slow_series.instance_of(blocks[0]))
        assert values == bucket.recorded[bucket.timestamp_ms(job)]


def test_the_data_covers_what_the_passport_promises():
    bucket = golden_bucket.committed()
    profiles = [
        profile
        for job in bucket.jobs
        for block in bucket.decoded_sources(job)
        for dataset in block.datasets
        for profile in dataset.profiles
    ]
    names = {name for profile in profiles for name, _ in profile.labels}
    types = {dict(profile.labels)[b"__profile_type__"] for profile in profiles}
    assert {b"service.version", b"vehicle", b"pod", b"region"} <= names
    assert {t for t in types if b"inuse" in t or b"goroutine" in t}
    assert len(types) == 9
