"""What lands in a bucket over some hours, as arithmetic: the n-th segment of a shard is computed, never remembered.

Add another oddity of real buckets here: late uploads, clocks that are wrong, shards that come and go. Listing what
has landed until a moment is the store's part.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import blake2b
from typing import Final

from pyro_assets.storage.keys import HOUR_MS, hour_start_ms
from pyro_assets.storage.ulid import make_ulid

START_HOUR: Final = "2026-11-22-00:00"
START_MS: Final = hour_start_ms(START_HOUR)
_YEAR_MS: Final = 365 * 24 * HOUR_MS
#: What a clock that is wrong adds to the time of creation.
SKEWS_MS: Final = (-2 * _YEAR_MS, 20 * 60_000, 26 * HOUR_MS)
#: From creation to the end of the upload, for almost all.
_UPLOAD_MS: Final = 200
#: One segment of so many is late by less than a minute, one of so many by hours.
_LATE, _VERY_LATE = 500, 2000


@dataclass(frozen=True, slots=True)
class Segment:
    """A segment: its ULID, when it was really created, and when it is there to be listed (Unix ms)."""

    ulid: str
    created_ms: int
    appears_ms: int


@dataclass(frozen=True, slots=True)
class Stream:
    """`segments` of `shards` over `hours`, evenly; the last shards begin late, the first ones end early."""

    segments: int
    shards: int
    hours: int

    @property
    def duration_ms(self) -> int:
        """From the first segment to the end of the last hour."""
        return self.hours * HOUR_MS

    @property
    def end_ms(self) -> int:
        """The first millisecond in which nothing is created any more."""
        return START_MS + self.duration_ms

    def count(self, shard: int) -> int:
        """Segments of a shard."""
        return self.segments // self.shards + (shard < self.segments % self.shards)

    def span(self, shard: int) -> tuple[int, int]:
        """When a shard's segments are created, [begin, end) in Unix ms."""
        begin_ms, end_ms = START_MS, self.end_ms
        if shard >= self.shards - self._few:
            begin_ms += self.duration_ms // 4
        elif self.ends_early(shard):
            end_ms -= self.duration_ms // 4
        return begin_ms, end_ms

    def ends_early(self, shard: int) -> bool:
        """Whether a shard's folder vanishes on the way, so that it has nothing that only a slow sweep can find."""
        return shard < self._few

    @property
    def _few(self) -> int:
        return max(self.shards // 16, 1)

    def first_possible(self, shard: int, time_ms: int) -> int:
        """The number of the first segment that may have been created at that time or later."""
        begin_ms, end_ms = self.span(shard)
        return max((time_ms - begin_ms) * self.count(shard) // (end_ms - begin_ms) - 1, 0)

    def segment(self, shard: int, number: int) -> Segment:
        """The n-th segment of a shard; times grow with n, apart from the ULIDs of clocks that are wrong."""
        noise = blake2b(b"%d/%d" % (shard, number), digest_size=16).digest()
        begin_ms, end_ms = self.span(shard)
        # Evenly, and somewhere in its share of the time.
        share = number * 65_536 + int.from_bytes(noise[10:12])
        created_ms = begin_ms + share * (end_ms - begin_ms) // (self.count(shard) * 65_536)
        late = int.from_bytes(noise[12:14])
        delay_ms = _UPLOAD_MS
        if late % _LATE == 0:
            delay_ms = 20_000 + late % 25_000
        elif late % _VERY_LATE == 1 and not self.ends_early(shard):
            delay_ms = min(3 * HOUR_MS, self.duration_ms // 6)
        clock_ms = created_ms + (self.skew_ms(number) if self.is_skewed(shard, number) else 0)
        return Segment(make_ulid(clock_ms, noise[:10]), created_ms, created_ms + delay_ms)

    def is_skewed(self, shard: int, number: int) -> bool:
        """Whether this segment was written by a machine whose clock is wrong."""
        every = self._skew_every(shard)
        return number % every == shard % every and not self.ends_early(shard)

    def skew_ms(self, number: int) -> int:
        """By how much that clock is wrong."""
        return SKEWS_MS[number % len(SKEWS_MS)]

    def skewed(self, shard: int) -> Iterator[int]:
        """The numbers of such segments: a few of each shard."""
        every = self._skew_every(shard)
        return iter(() if self.ends_early(shard) else range(shard % every, self.count(shard), every))

    def _skew_every(self, shard: int) -> int:
        return max(self.count(shard) // 4, 40) | 1
