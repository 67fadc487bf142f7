"""The settings of a pipeline, with the reason for each default.

Add a setting here when a person may need another value; where it comes from (environment, Dagster, command line) is
the business of `resources`.
"""

from dataclasses import dataclass
from typing import Final, Literal, get_args

from pyro_assets.errors import SettingsError
from pyro_assets.storage.keys import hour_start_ms

Mode = Literal["own", "observe"]
Dedup = Literal["exact", "original"]
Backlog = Literal["oldest", "newest"]
#: Kinds of series that a job must have to be derived.
KINDS: Final = frozenset({"dimension", "function"})


@dataclass(frozen=True, slots=True)
class Settings:
    """How to plan, run and retry.

    Attributes:
        mode: "own" compacts segments; "observe" takes Pyroscope's own level-1 blocks.
        dedup: "exact" drops a profile only if its samples are equal too; "original" drops what the original drops.
        start_hour: the first partition; what was created before is `out_of_range`.
        future_ms: a source created later than this after now is `out_of_range` (a clock far off).
        max_blocks: a job has at most so many sources.
        max_bytes: a job has at most so many bytes, unless a single source is larger; one whose symbols need more than
            four times as much memory (64 MiB at least) is cut when it is done.
        max_age_ms: the oldest source waits at most so long for others.
        lookback_ms: uploads may appear so much later than their key says; the window is listed at every tick.
        list_page_keys: keys in one request.
        tick_keys: keys beyond the cursor that a tick takes at most, over all shards: bounds its time and memory.
        lease_ms: a worker that does not say anything for so long has lost its job.
        max_attempts: a job that failed so often is quarantined.
        retry_base_ms, retry_cap_ms: the first delay after a failure, doubled each time up to the cap.
        order: the hour of a backlog that runs begin with. What has just landed goes before it either way.
        lanes: live runs at the same time, each with its share of the shards; may be changed at any restart.
        workers: processes that compute jobs at the same time, once a run has work for several seconds; 1: none beside
            the run's own.
        job_seconds: a job that takes longer ends its process; where that is the run's own, the next run has the job
            computed in another one, which may be ended, and splits it into smaller ones. 0: no limit. Hundreds of
            times what the largest job needs.
        job_memory_bytes: a job that takes more is stopped and split, too; 0: no limit. With it every job is computed
            in a process of its own kind, because only such a one can be looked at and stopped.
        settle_ms: an hour may be called complete so long after its end (late uploads, look-back).
    """

    mode: Mode = "own"
    dedup: Dedup = "exact"
    start_hour: str = "2024-01-01-00:00"
    future_ms: int = 3_600_000
    max_blocks: int = 20
    max_bytes: int = 64 << 20
    max_age_ms: int = 5_000
    lookback_ms: int = 60_000
    list_page_keys: int = 1_000
    tick_keys: int = 20_000
    lease_ms: int = 60_000
    max_attempts: int = 5
    retry_base_ms: int = 5_000
    retry_cap_ms: int = 300_000
    settle_ms: int = 120_000
    order: Backlog = "oldest"
    lanes: int = 1
    workers: int = 1
    job_seconds: float = 600.0
    job_memory_bytes: int = 0

    def __post_init__(self) -> None:
        if self.mode not in get_args(Mode):
            raise SettingsError(f"mode {self.mode!r} is unknown; choose own or observe")
        if self.dedup not in get_args(Dedup):
            raise SettingsError(f"dedup {self.dedup!r} is unknown; choose exact or original")
        if self.order not in get_args(Backlog):
            raise SettingsError(f"order {self.order!r} is unknown; choose oldest or newest")
        try:
            hour_start_ms(self.start_hour)
        except ValueError:
            raise SettingsError(f"start_hour {self.start_hour!r} is no hour such as 2026-11-25-09:00") from None
        for name in _POSITIVE:
            if getattr(self, name) < 1:
                raise SettingsError(f"{name} is {getattr(self, name)}; it must be at least 1")
        for name in _NOT_NEGATIVE:
            if getattr(self, name) < 0:
                raise SettingsError(f"{name} is {getattr(self, name)}; it cannot be negative")

    @property
    def window_ms(self) -> int:
        """How long before a cursor ticks list again: Pyroscope's blocks come later after their time than segments."""
        return self.lookback_ms if self.mode == "own" else max(self.lookback_ms, _OBSERVED_LOOKBACK_MS)

    @property
    def most_memory_bytes(self) -> int:
        """What the symbols of a job's sources may need together; most segments need five to nine times their bytes."""
        return max(4 * self.max_bytes, _LEAST_MEMORY_BYTES)

    @property
    def start_ms(self) -> int:
        """The first millisecond of the first partition."""
        return hour_start_ms(self.start_hour)


#: A level-1 block appears when its segments are half a minute old, and later where compaction is behind.
_OBSERVED_LOOKBACK_MS: Final = 600_000
#: What a process takes before it has read anything, about; to cut jobs below that gains nothing.
_LEAST_MEMORY_BYTES: Final = 64 << 20
_POSITIVE: Final = (
    "max_blocks",
    "max_bytes",
    "list_page_keys",
    "tick_keys",
    "lease_ms",
    "max_attempts",
    "retry_base_ms",
    "retry_cap_ms",
    "lanes",
    "workers",
)
_NOT_NEGATIVE: Final = ("future_ms", "max_age_ms", "lookback_ms", "settle_ms", "job_seconds", "job_memory_bytes")
