"""What a tick found and planned: plain values for metadata, tables and JSON. Times are Unix milliseconds."""

from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class HourArrivals:
    """Sources of one hour that were seen for the first time."""

    objects: int
    size_bytes: int
    shards: int
    oldest_created_ms: int
    newest_created_ms: int

    def oldest_age_seconds(self, now_ms: int) -> float:
        """Age of the oldest of them."""
        return max(now_ms - self.oldest_created_ms, 0) / 1000


@dataclass(frozen=True, slots=True)
class TickReport:
    """What a tick found and planned.

    Attributes:
        now_ms: when.
        arrivals: hour -> sources first seen since the tick before, oldest hour first; hours without any are absent.
        planned_jobs: jobs that this tick planned.
        due: hour -> jobs that a run could take now, oldest hour first. Empty: request no run.
        lanes: the same for each lane where there are several, else empty.
        leased_jobs: jobs that some worker has now.
        waiting_sources: sources that belong to no job yet (too few and too young).
        unfinished_jobs: jobs not derived yet, whether due, leased or waiting for another try.
        oldest_pending_ms: since when the oldest source waits that is not derived yet; None if there is none.
        out_of_range: new sources outside the partitions.
        not_block_keys: keys in the listing that name no block, with some examples in `not_block_examples`.
        truncated: more was there than a tick takes; the next one goes on.
        failures: listings that failed, one sentence each; what they hide comes with a later tick.
        others: other configurations at work on the same ledger, a sentence each.
        source_problem: why the source cannot be Pyroscope's bucket; "" where it can.
        seconds: how long the tick took.
    """

    now_ms: int
    arrivals: dict[str, HourArrivals] = field(default_factory=dict)
    planned_jobs: int = 0
    due: dict[str, int] = field(default_factory=dict)
    lanes: tuple[dict[str, int], ...] = ()
    leased_jobs: int = 0
    waiting_sources: int = 0
    unfinished_jobs: int = 0
    oldest_pending_ms: int | None = None
    out_of_range: int = 0
    not_block_keys: int = 0
    not_block_examples: tuple[str, ...] = ()
    truncated: bool = False
    failures: tuple[str, ...] = ()
    others: tuple[str, ...] = ()
    source_problem: str = ""
    seconds: float = 0.0

    def to_dict(self) -> dict[str, Any]:
        """As plain values for JSON."""
        return asdict(self)
