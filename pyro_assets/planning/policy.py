"""When sources become a job: pure rules, without database or clock.

Add rules of grouping here; writing the jobs is the planner's part.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Final

from pyro_assets.storage.keys import LevelKind

#: Pyroscope's jobs take segments of half a minute, or some minutes where it is late: so far reaches a neighbour.
MARGIN_MS: Final = 600_000


def kind_of_mode(mode: str) -> LevelKind:
    """What a mode makes jobs of."""
    return "segments" if mode == "own" else "blocks"


@dataclass(frozen=True, slots=True)
class Policy:
    """Which sources make a job and how it will be done.

    Attributes:
        mode: "own", or "observe", where each source is a job; dedup: "exact" or "original". Part of a job's identity.
        max_blocks: at most so many sources.
        max_bytes: at most so many bytes, unless a single source is larger.
        max_age_ms: the oldest source waits at most so long.
        start_ms, future_ms: sources created before the one, or more than the other after now, are out of range.
        bounds: shard -> creation time of the last source that the other mode had, see `modes`.
    """

    mode: str = "own"
    dedup: str = "exact"
    max_blocks: int = 20
    max_bytes: int = 64 << 20
    max_age_ms: int = 4_000
    start_ms: int = 0
    future_ms: int = 3_600_000
    bounds: Mapping[int, int] = field(default_factory=dict)

    def is_after_change(self, shard: int, created_ms: int) -> bool:
        """Whether a source may hold what the other mode, before the last change, did not have."""
        return not self.bounds or created_ms >= self.bounds.get(shard, 0) - MARGIN_MS

    def is_near_change(self, shard: int, created_ms: int) -> bool:
        """Whether a source may hold what the other mode has."""
        return shard in self.bounds and created_ms <= self.bounds[shard] + MARGIN_MS

    def in_range(self, created_ms: int, now_ms: int) -> bool:
        """Whether a source created then belongs to a partition."""
        return self.start_ms <= created_ms <= now_ms + self.future_ms


@dataclass(frozen=True, slots=True)
class Waiting:
    """A source that is in no job yet."""

    id: int
    key: str
    created_ms: int
    first_seen_ms: int
    size_bytes: int


def cut(waiting: Sequence[Waiting], policy: Policy, now_ms: int, *, more: bool = False) -> list[list[Waiting]]:
    """Cuts the waiting sources of one shard and hour into jobs.

    A job is full with `max_blocks` sources, or when the next one would exceed `max_bytes`. The rest becomes a job when
    its oldest source is `max_age_ms` old: by the time in its ULID, so that an old backlog is taken at once, or since
    it was first seen, so that a clock that runs ahead delays nothing.

    Args:
        waiting: sorted by ULID.
        policy: the limits.
        now_ms: Unix milliseconds.
        more: there are more sources than were given, so the rest waits for them.

    Returns:
        The jobs; sources that must go on waiting are in none.
    """
    limit = policy.max_blocks if policy.mode == "own" else 1
    jobs: list[list[Waiting]] = []
    current: list[Waiting] = []
    size_bytes = 0
    for source in waiting:
        if current and (len(current) == limit or size_bytes + source.size_bytes > policy.max_bytes):
            jobs.append(current)
            current, size_bytes = [], 0
        current.append(source)
        size_bytes += source.size_bytes
    full = len(current) >= limit or size_bytes >= policy.max_bytes
    if current and (full or (not more and _age_ms(current, now_ms) >= policy.max_age_ms)):
        jobs.append(current)
    return jobs


def job_id(mode: str, dedup: str, keys: Sequence[str]) -> str:
    """A job's id: 32 hexadecimal digits of the SHA-256 over how it is done and its sources in their order."""
    return sha256("\n".join((mode, dedup, *keys)).encode(errors="surrogateescape")).hexdigest()[:32]


def _age_ms(sources: Sequence[Waiting], now_ms: int) -> int:
    return now_ms - min(min(source.created_ms, source.first_seen_ms) for source in sources)
