"""Past hours and live segments: when they are made, in which order things become visible, how they end."""

import threading
import time
from pathlib import Path

import pytest

from pyro_assets.generator import generate as module
from pyro_assets.generator.generate import Produced, generate_live, generate_past, past_slots
from pyro_assets.generator.manifest import Manifest, ManifestWriter, read_manifest
from pyro_assets.generator.segments import Recipe, SegmentMaker
from pyro_assets.storage.bucket import open_bucket
from pyro_assets.storage.interface import Bucket
from pyro_assets.storage.keys import parse_block_key

START_MS = 1_795_600_000_000
RECIPE = Recipe(shards=2, uploads=1)


def keys(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("block.bin"))


def past(folder: Path, start_ms: int, end_ms: int, rate: float = 0.05) -> tuple[Produced, Manifest]:
    writer = ManifestWriter(folder / "manifest", RECIPE.seed, RECIPE.functions)
    produced = generate_past(
        SegmentMaker(RECIPE),
        open_bucket(str(folder / "bucket"), writable=True),
        writer,
        start_ms=start_ms,
        end_ms=end_ms,
        rate=rate,
    )
    writer.close()
    return produced, read_manifest(folder / "manifest")


def test_a_past_span_is_filled_at_its_rate(tmp_path: Path):
    produced, manifest = past(tmp_path, START_MS, START_MS + 200_000)
    assert produced.segments == len(manifest.segments) == 20
    assert keys(tmp_path / "bucket") == sorted(entry.key for entry in manifest.segments)
    assert all(START_MS <= entry.created_ms < START_MS + 200_000 for entry in manifest.segments)
    assert {parse_block_key(entry.key).shard for entry in manifest.segments} == {1, 2}
    assert produced.size_bytes == sum(path.stat().st_size for path in (tmp_path / "bucket").rglob("block.bin"))
    assert sum(produced.hours.values()) == 20


def test_the_same_span_again_changes_nothing(tmp_path: Path):
    past(tmp_path, START_MS, START_MS + 100_000)
    before = {key: (tmp_path / "bucket" / key).read_bytes() for key in keys(tmp_path / "bucket")}
    past(tmp_path, START_MS, START_MS + 100_000)
    assert {key: (tmp_path / "bucket" / key).read_bytes() for key in keys(tmp_path / "bucket")} == before


def test_adjoining_spans_are_one_span():
    middle_ms, end_ms = START_MS + 123_456, START_MS + 300_000
    both = [*past_slots(1, 3, START_MS, middle_ms, 0.1), *past_slots(1, 3, middle_ms, end_ms, 0.1)]
    assert both == list(past_slots(1, 3, START_MS, end_ms, 0.1))
    assert len(both) == 90


@pytest.mark.parametrize("rate", [0.013, 1.0, 7.5])
def test_times_of_a_shard_ascend(rate: float):
    times = [created_ms for shard, _, created_ms in past_slots(1, 2, START_MS, START_MS + 60_000, rate) if shard == 1]
    assert times == sorted(set(times))


def test_a_stop_ends_the_past(tmp_path: Path):
    stop = threading.Event()
    stop.set()
    writer = ManifestWriter(tmp_path / "m", RECIPE.seed, RECIPE.functions)
    bucket = open_bucket(str(tmp_path / "bucket"), writable=True)
    produced = generate_past(
        SegmentMaker(RECIPE), bucket, writer, start_ms=START_MS, end_ms=START_MS + 10**6, rate=1, stop=stop
    )
    writer.close()
    assert produced.segments == 0


def live(folder: Path, seconds: float | None, stop: threading.Event | None = None, late_share: float = 0) -> Produced:
    writer = ManifestWriter(folder / "manifest", RECIPE.seed, RECIPE.functions)
    try:
        return generate_live(
            SegmentMaker(RECIPE),
            open_bucket(str(folder / "bucket"), writable=True),
            writer,
            rate=4,
            seconds=seconds,
            stop=stop or threading.Event(),
            late_share=late_share,
        )
    finally:
        writer.close()


def test_live_segments_are_created_now(tmp_path: Path):
    before_ms = time.time_ns() // 1_000_000
    produced = live(tmp_path, 1.0)
    after_ms = time.time_ns() // 1_000_000
    manifest = read_manifest(tmp_path / "manifest")
    assert 2 <= produced.segments == len(manifest.segments) <= 8
    assert all(before_ms <= entry.created_ms <= after_ms for entry in manifest.segments)
    assert keys(tmp_path / "bucket") == sorted(entry.key for entry in manifest.segments)
    assert produced.late == 0


def test_late_segments_land_all_the_same(tmp_path: Path):
    produced = live(tmp_path, 0.8, late_share=1.0)
    assert produced.late == produced.segments == len(keys(tmp_path / "bucket")) > 0


def test_a_stop_ends_live_segments(tmp_path: Path):
    stop = threading.Event()
    threading.Timer(0.5, stop.set).start()
    begun = time.monotonic()
    live(tmp_path, None, stop)
    assert time.monotonic() - begun < 5


def test_a_segment_is_in_the_manifest_before_it_is_in_the_bucket(tmp_path: Path):
    """So a process that is killed leaves no segment that the manifest does not know."""
    path = tmp_path / "manifest"

    class Failing(type(open_bucket(str(tmp_path), writable=True))):  # type: ignore[misc]
        def create(self, key: str, data: bytes) -> bool:
            assert read_manifest(path).segments[-1].key == key
            raise KeyboardInterrupt

    bucket: Bucket = Failing(str(tmp_path / "bucket"))
    writer = ManifestWriter(path, RECIPE.seed, RECIPE.functions)
    with pytest.raises(KeyboardInterrupt):
        generate_past(SegmentMaker(RECIPE), bucket, writer, start_ms=START_MS, end_ms=START_MS + 100_000, rate=0.1)
    writer.close()
    assert keys(tmp_path) == []


def test_runs_add_up():
    total = Produced(1, 10, 5, 0, 0.5, {0: 1})
    total.add(Produced(2, 20, 6, 1, 0.25, {0: 1, 3_600_000: 1}))
    assert total == Produced(3, 30, 11, 1, 0.75, {0: 2, 3_600_000: 1})


def test_the_manifest_is_synced_in_groups():
    assert module._SYNC_EVERY > 1
