"""Real objects that may not be committed, through the real reader: every checksum, every row, every sample."""

import json
from collections import Counter
from pathlib import Path

import pytest

from pyro_assets.block.metadata import metadata_from_dict
from pyro_assets.block.reader import RawObject, read_blocks
from tests.oracle import decoder as slow_decoder
from tests.support import golden_bucket, strategies
from tests.support.column_facts import datasets_of, facts_of_columns


def test_blocks_of_2025_read_like_the_slow_decoder_reads_them(shared_data: Path):
    paths = sorted((shared_data / "blocks-2025").rglob("block.bin"))
    assert len(paths) == 6
    samples = 0
    for path in paths:
        columns = read_blocks([RawObject(str(path), path.read_bytes())], isolate=False).columns
        block = slow_decoder.decode_object(path.read_bytes(), ascending=False)
        datasets = datasets_of(columns)
        assert strategies.profile_counts(datasets) == strategies.profile_counts(block.datasets)
        assert columns.facts == {"dangling": 0, "total_mismatches": 0}
        samples += len(columns.rows.value)
    assert samples == 441_701


def test_segments_from_before_footers_read_with_metadata_from_outside(shared_data: Path):
    folder = shared_data / "segments-2024"
    metas = {meta["id"]: meta for meta in json.loads((folder / "metas.json").read_text())}
    assert len(metas) == 10
    for ulid, meta in metas.items():
        data = (folder / ulid / "block.bin").read_bytes()
        result = read_blocks([RawObject(ulid, data, metadata_from_dict(meta))], isolate=False)
        block = slow_decoder.decode_object(data, meta)
        assert Counter(facts_of_columns(result.columns)) == Counter(block.facts())
        assert len(result.columns.datasets) == len(block.datasets)


# Every night all, every time one in four.
@pytest.mark.parametrize("step", [4, pytest.param(1, marks=pytest.mark.nightly)])
def test_all_segments_of_the_bucket_read_like_the_slow_decoder_reads_them(bucket_2026: Path, step: int):
    keys = sorted(path.relative_to(bucket_2026).as_posix() for path in bucket_2026.glob("segments/*/*/*/block.bin"))
    assert len(keys) == 342
    bucket = golden_bucket.GoldenBucket(bucket_2026)
    keys = keys[::step]
    for start in range(0, len(keys), 40):
        part = keys[start : start + 40]
        columns = read_blocks([RawObject(key, bucket.read(key)) for key in part], isolate=False).columns
        expected = Counter(slow_decoder.facts_of(slow_decoder.decode_object(bucket.read(key)) for key in part))
        assert Counter(facts_of_columns(columns)) == expected
