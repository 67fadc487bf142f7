"""Segments into a bucket: past hours at once, or live at a rate in several shards.

Add a way of pacing here; what is in a segment is the business of `segments.py`. Every segment is in the manifest
before it is in the bucket, and in the bucket whole or not at all.
"""

import heapq
import threading
import time
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from pyro_assets.generator.load import rng
from pyro_assets.generator.manifest import ManifestWriter
from pyro_assets.generator.segments import Segment, SegmentMaker
from pyro_assets.storage.interface import Bucket

#: Past segments are made durable in the manifest in groups of this many.
_SYNC_EVERY = 64


@dataclass(slots=True)
class Produced:
    """What a run of the generator made; `hours` counts segments by hour of creation (Unix ms of its start)."""

    segments: int = 0
    size_bytes: int = 0
    rows: int = 0
    late: int = 0
    seconds: float = 0.0
    hours: dict[int, int] = field(default_factory=dict)

    def add(self, other: "Produced") -> None:
        """Adds what another run made."""
        self.segments += other.segments
        self.size_bytes += other.size_bytes
        self.rows += other.rows
        self.late += other.late
        self.seconds += other.seconds
        for hour_ms, segments in other.hours.items():
            self.hours[hour_ms] = self.hours.get(hour_ms, 0) + segments


Progress = Callable[[Produced], None]


def generate_past(
    maker: SegmentMaker,
    bucket: Bucket,
    manifest: ManifestWriter,
    *,
    start_ms: int,
    end_ms: int,
    rate: float,
    stop: threading.Event | None = None,
    progress: Progress | None = None,
) -> Produced:
    """Makes all segments of start_ms:end_ms (Unix ms, end exclusive) at once.

    `rate` is segments per second of that time and shard. Equal arguments give equal objects; an object that is there
    already is left as it is. Setting `stop` ends it early.
    """
    begun = time.monotonic()
    produced = Produced()
    for shard, slot, created_ms in past_slots(maker.recipe.seed, maker.recipe.shards, start_ms, end_ms, rate):
        if stop is not None and stop.is_set():
            break
        segment = maker.make(shard, slot, created_ms)
        if segment is None:
            continue
        manifest.append(segment.entry)
        if produced.segments % _SYNC_EVERY == 0:
            manifest.sync()
        bucket.create(segment.entry.key, segment.data)
        _count(produced, segment, begun)
        if progress:
            progress(produced)
    manifest.sync()
    return produced


def past_slots(seed: int, shards: int, start_ms: int, end_ms: int, rate: float) -> Iterator[tuple[int, int, int]]:
    """(shard, slot number, creation time in Unix ms), in the order of time.

    Slots stand still in absolute time, so that two adjoining spans make what one span over both makes.

    >>> len(list(past_slots(1, 2, 0, 60_000, rate=0.5)))
    60
    """
    period_ms = 1000 / rate
    slots = []
    for shard in range(1, shards + 1):
        for slot in range(int(start_ms / period_ms) - 1, int(end_ms / period_ms) + 1):
            jitter = rng(seed, "slot", shard, slot).random() * 0.8
            created_ms = int((slot + jitter) * period_ms)
            if start_ms <= created_ms < end_ms:
                slots.append((created_ms, shard, slot))
    return ((shard, slot, created_ms) for created_ms, shard, slot in sorted(slots))


def generate_live(
    maker: SegmentMaker,
    bucket: Bucket,
    manifest: ManifestWriter,
    *,
    rate: float,
    seconds: float | None,
    stop: threading.Event,
    late_share: float = 0.0,
) -> Produced:
    """Makes segments as time passes, until `seconds` are over (None: for ever) or `stop` is set.

    Args:
        maker: what to make.
        bucket: where to.
        manifest: what records it.
        rate: segments per second and shard; when the machine is too slow, fewer are made.
        seconds: how long.
        stop: ends it early; what was begun is finished.
        late_share: how often (0 to 1) an upload takes some seconds, so that its key sorts before ones already there.
    """
    begun = time.monotonic()
    deadline = begun + seconds if seconds is not None else float("inf")
    produced = Produced()
    shards, period = maker.recipe.shards, 1 / rate
    due = [(begun + period * shard / shards, shard) for shard in range(1, shards + 1)]
    late: list[tuple[float, str, Segment]] = []
    while not stop.is_set():
        at, shard = due[0]
        while late and late[0][0] <= min(time.monotonic(), at):
            _land(heapq.heappop(late)[2], bucket, produced, begun)
        now = time.monotonic()
        if max(at, now) >= deadline:
            break
        if at > now:
            stop.wait(min(at - now, 0.25))
            continue
        # A shard that fell behind goes on from now: segments are made by the clock, not made up for.
        heapq.heapreplace(due, (max(at + period, now), shard))
        created_ms = time.time_ns() // 1_000_000
        segment = maker.make(shard, int(created_ms / 1000 * rate), created_ms)
        if segment is None:
            continue
        manifest.append(segment.entry)
        if zlib.crc32(segment.entry.ulid.encode()) / 2**32 < late_share:
            produced.late += 1
            heapq.heappush(late, (now + 1 + produced.late % 3, segment.entry.key, segment))
        else:
            _land(segment, bucket, produced, begun)
    for _, _, segment in sorted(late, key=lambda item: item[:2]):
        _land(segment, bucket, produced, begun)
    manifest.sync()
    return produced


def _land(segment: Segment, bucket: Bucket, produced: Produced, begun: float) -> None:
    bucket.create(segment.entry.key, segment.data)
    _count(produced, segment, begun)


def _count(produced: Produced, segment: Segment, begun: float) -> None:
    produced.segments += 1
    produced.size_bytes += len(segment.data)
    produced.rows += len(segment.entry.rows)
    hour_ms = segment.entry.created_ms // 3_600_000 * 3_600_000
    produced.hours[hour_ms] = produced.hours.get(hour_ms, 0) + 1
    produced.seconds = time.monotonic() - begun
