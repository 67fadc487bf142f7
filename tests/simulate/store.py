"""The source that the stream lands in and the archive that keeps nothing, behind the interfaces of real buckets.

Add a fault of a bucket here. Neither holds an object: listings and contents are computed when they are asked for.
"""

import heapq
from collections.abc import Callable, Iterator, Sequence
from functools import cache

from pyro_assets.errors import ObjectMissing, StorageError, StorageUnavailable
from pyro_assets.storage.interface import Bucket, Folder, ObjectInfo, ReadOnlyBucket, Stored
from pyro_assets.storage.keys import COMMITS, HOUR_MS, SEGMENTS, parse_block_key, segment_key
from pyro_assets.storage.ulid import is_ulid, ulid_time_ms
from tests.simulate.stream import START_MS, Segment, Stream

SIZE_BYTES = 64
#: One listing of so many is refused.
_THROTTLED_EVERY = 499
#: A shard's folder is there so long after its last segment.
_GONE_AFTER_MS = 2 * HOUR_MS


class StreamBucket(ReadOnlyBucket):
    """Lists what has landed until now.

    Attributes:
        requests: listings so far; keys: lines in their answers; throttled: listings that were refused.
    """

    def __init__(self, stream: Stream, clock: Callable[[], int]) -> None:
        super().__init__("simulated://source")
        self.requests = self.keys = self.throttled = 0
        self.is_throttling = True
        self._stream = stream
        self._clock = clock
        self._skewed = cache(self._all_skewed)

    def list_folder(self, prefix: str) -> Folder:
        """See `ReadOnlyBucket.list_folder`."""
        self._asked()
        if prefix != f"{SEGMENTS}/":
            return Folder((), ())
        now_ms = self._clock()
        there = []
        for shard in range(self._stream.shards):
            begin_ms, end_ms = self._stream.span(shard)
            is_last = end_ms == self._stream.end_ms
            if begin_ms <= now_ms and (is_last or now_ms < end_ms + _GONE_AFTER_MS):
                there.append(str(shard))
        return Folder(tuple(sorted(there)), ())

    def list_after(self, prefix: str, start_after: str = "", limit: int = 1000) -> list[ObjectInfo]:
        """See `ReadOnlyBucket.list_after`."""
        self._asked()
        shard = int(prefix.split("/")[1])
        now_ms, found = self._clock(), []
        for segment in heapq.merge(self._regular(shard, start_after, now_ms), self._skewed(shard), key=_ulid):
            key = segment_key(shard, segment.ulid)
            if segment.appears_ms <= now_ms and key > start_after:
                found.append(ObjectInfo(key, SIZE_BYTES))
                if len(found) == limit:
                    break
        self.keys += len(found)
        return found

    def get_many(self, objects: Sequence[Stored]) -> list[bytes | StorageError]:
        """See `ReadOnlyBucket.get_many`."""
        return [self.read(item.key) for item in objects]

    def read(self, key: str) -> bytes:
        """See `ReadOnlyBucket.read`."""
        return parse_block_key(key).ulid.ljust(SIZE_BYTES).encode()

    def get_range(self, key: str, start: int, length: int) -> bytes:
        """See `ReadOnlyBucket.get_range`."""
        return self.read(key)[start : start + length]

    def size(self, key: str) -> int:
        """See `ReadOnlyBucket.size`."""
        return SIZE_BYTES

    def all_keys(self) -> Iterator[tuple[str, bool]]:
        """Every key of the whole stream, and whether it will ever be in a partition."""
        for shard in range(self._stream.shards):
            for number in range(self._stream.count(shard)):
                segment = self._stream.segment(shard, number)
                yield segment_key(shard, segment.ulid), ulid_time_ms(segment.ulid) >= START_MS

    def _regular(self, shard: int, start_after: str, now_ms: int) -> Iterator[Segment]:
        after = start_after.removeprefix(segment_key(shard, "").removesuffix("/block.bin")).split("/")[0][:26]
        number = self._stream.first_possible(shard, ulid_time_ms(after)) if is_ulid(after) else 0
        for position in range(number, self._stream.count(shard)):
            if self._stream.is_skewed(shard, position):
                continue
            segment = self._stream.segment(shard, position)
            if segment.created_ms > now_ms:
                return
            yield segment

    def _all_skewed(self, shard: int) -> list[Segment]:
        found = [self._stream.segment(shard, number) for number in self._stream.skewed(shard)]
        return sorted(found, key=_ulid)

    def _asked(self) -> None:
        self.requests += 1
        if self.is_throttling and self.requests % _THROTTLED_EVERY == 0:
            self.throttled += 1
            raise StorageUnavailable("503 SlowDown: please reduce your request rate")


class CountingArchive(Bucket):
    """Takes everything and keeps only counts: what a run writes is never read again here."""

    def __init__(self) -> None:
        super().__init__("simulated://archive")
        self.commits = self.objects = self.bytes = 0

    def create(self, key: str, data: bytes) -> bool:
        """See `Bucket.create`."""
        self.commits += key.startswith(COMMITS)
        self.replace(key, data)
        return True

    def replace(self, key: str, data: bytes) -> None:
        """See `Bucket.replace`."""
        self.objects += 1
        self.bytes += len(data)

    def remove(self, keys: Sequence[str]) -> None:
        """See `Bucket.remove`."""

    def read(self, key: str) -> bytes:
        """See `ReadOnlyBucket.read`."""
        raise ObjectMissing(f"{key} was not kept", key=key)

    def get_range(self, key: str, start: int, length: int) -> bytes:
        """See `ReadOnlyBucket.get_range`."""
        return self.read(key)

    def size(self, key: str) -> int:
        """See `ReadOnlyBucket.size`."""
        return len(self.read(key))

    def list_after(self, prefix: str, start_after: str = "", limit: int = 1000) -> list[ObjectInfo]:
        """See `ReadOnlyBucket.list_after`."""
        return []

    def list_folder(self, prefix: str) -> Folder:
        """See `ReadOnlyBucket.list_folder`."""
        return Folder((), ())


def _ulid(segment: Segment) -> str:
    return segment.ulid
