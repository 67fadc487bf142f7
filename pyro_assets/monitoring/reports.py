"""What ticks, runs, hours and checks say of themselves: plain values for metadata, tables and JSON.

Add a field when a person or a check needs to see it; computing it belongs to the module that knows it. Times are Unix
milliseconds, hours are partition keys ("2026-11-25-13:00", UTC).
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from pyro_assets.export.receipt import words_of_refusals
from pyro_assets.jobs.counts import RunCounts
from pyro_assets.ledger.lag import LagFigures, Stage
from pyro_assets.rules.report import RulesReport


@dataclass(frozen=True, slots=True)
class Lag:
    """First segment created -> derived, over the jobs of an hour, in seconds."""

    jobs: int
    p50_seconds: float
    p95_seconds: float
    max_seconds: float


@dataclass(frozen=True, slots=True)
class SetAside:
    """A source that is in no output, and why; `state` is set_aside, lost or quarantined."""

    key: str
    state: str
    reason: str


@dataclass(frozen=True, slots=True)
class ServiceSamples:
    """Samples of one service in an hour; unsymbolised: the innermost frame has no function."""

    tenant: str
    service: str
    samples: int
    unsymbolised: int

    @property
    def unsymbolised_share(self) -> float:
        """0 to 1."""
        return self.unsymbolised / self.samples if self.samples else 0.0


@dataclass(frozen=True, slots=True)
class ExportReport:
    """What one receiver has of an hour.

    Attributes:
        receiver: its name.
        jobs: that have a closed receipt; pending: that lack one; changed: whose samples changed after they were sent.
        samples: in the receipts; accepted, refused: what became of them.
        reasons: why samples were refused -> how many; tenants: the same by tenant.
        examples: the first refusals and changes in words.
        bytes, requests, retries, seconds: what sending cost.
        lag: first segment created -> accepted; None while nothing is.
        paused: it is paused.
        error: why sending stopped last, "" when it went well.
        owed: tenant (as the receiver knows it) -> jobs of the hour that wait for it alone.
        held: tenant -> why nothing is sent to it right now.
    """

    receiver: str
    jobs: int = 0
    pending: int = 0
    changed: int = 0
    samples: int = 0
    accepted: int = 0
    refused: int = 0
    reasons: dict[str, int] = field(default_factory=dict)
    tenants: dict[str, dict[str, int]] = field(default_factory=dict)
    examples: tuple[str, ...] = ()
    bytes: int = 0
    requests: int = 0
    retries: int = 0
    seconds: float = 0.0
    lag: Lag | None = None
    paused: bool = False
    error: str = ""
    owed: dict[str, int] = field(default_factory=dict)
    held: dict[str, str] = field(default_factory=dict)

    @property
    def waits(self) -> bool:
        """Whether what is pending is no failure: the receiver is paused, or all tenants that lack something are."""
        is_owed = bool(self.owed) and sum(self.owed.values()) >= self.pending
        return self.paused or (is_owed and all(self.held.get(tenant) == "paused" for tenant in self.owed))

    @property
    def refused_words(self) -> str:
        """Refusals by tenant and reason; "" where nobody noted the tenants."""
        return words_of_refusals(self.tenants)


@dataclass(frozen=True, slots=True)
class HourReport:
    """Everything known of one hour.

    Attributes:
        hour: the partition key.
        segments: sources known (level-1 blocks in observe mode); shards: in how many shards.
        sources_by_state: pending, planned, done, set_aside, lost, quarantined, out_of_range -> count.
        jobs_by_state: planned, compacted, derived, exported, lost, split, quarantined -> count.
        blocks: level-1 blocks committed.
        bytes_in, bytes_out: of the sources of committed jobs, of their level-1 blocks.
        profiles, samples: in the level-1 blocks (rows: one per profile and sample type).
        duplicates, conflicts: as compaction counted them.
        series: kind -> rows of the series files.
        job_seconds: sum over the jobs, compaction and derivation.
        oldest_ms, newest_ms: first and last profile of the committed jobs.
        lag: first segment created -> derived, None while no job is derived.
        lags: the same and the others by stage, as histograms; lags_lately: of whatever was done in the last five
            minutes, empty for an hour that is over.
        asked: of jobs that a person asked for (a backfill), by stage: from the run's begin until they reached it. They
            have no lag.
        pending: sources that are not in a derived job yet; undone_jobs: jobs not derived yet.
        oldest_pending_ms: creation time of the oldest pending source.
        set_aside: the first of the sources that no output holds (`set_aside_total` counts all).
        services: samples and unsymbolised ones per tenant and service.
        facts: name -> count of what was odd: dangling, total_mismatches, negative_samples, rounded_values, ...
        examples: the first of these in words.
        listed_ms: when its last whole listing began after it was over; None where nobody looked since.
        left_out: state -> sources that no output holds and nobody acknowledged.
        complete: the hour is over, was listed as a whole since, and nothing is pending or left out.
        exports: what each receiver has of it; exported_lag: first segment created -> accepted, over all receivers.
        run: what the run that returned this report did; all zero from `hour_report`.
        rules: that the pipeline has in force, None where it was opened without.
        snapshots: snapshot of rules -> files of series that were derived with it; "" where that is not known.
    """

    hour: str
    segments: int = 0
    shards: int = 0
    sources_by_state: dict[str, int] = field(default_factory=dict)
    jobs_by_state: dict[str, int] = field(default_factory=dict)
    blocks: int = 0
    bytes_in: int = 0
    bytes_out: int = 0
    profiles: int = 0
    samples: int = 0
    duplicates: int = 0
    conflicts: int = 0
    series: dict[str, int] = field(default_factory=dict)
    job_seconds: float = 0.0
    oldest_ms: int | None = None
    newest_ms: int | None = None
    lag: Lag | None = None
    lags: Mapping[Stage, LagFigures] = field(default_factory=dict)
    lags_lately: Mapping[Stage, LagFigures] = field(default_factory=dict)
    asked: Mapping[Stage, LagFigures] = field(default_factory=dict)
    pending: int = 0
    undone_jobs: int = 0
    oldest_pending_ms: int | None = None
    set_aside_total: int = 0
    set_aside: tuple[SetAside, ...] = ()
    services: tuple[ServiceSamples, ...] = ()
    facts: dict[str, int] = field(default_factory=dict)
    examples: tuple[str, ...] = ()
    listed_ms: int | None = None
    left_out: dict[str, int] = field(default_factory=dict)
    complete: bool = False
    exports: tuple[ExportReport, ...] = ()
    exported_lag: Lag | None = None
    run: RunCounts = field(default_factory=RunCounts)
    rules: RulesReport | None = None
    snapshots: dict[str, int] = field(default_factory=dict)

    def oldest_pending_age_seconds(self, now_ms: int) -> float | None:
        """Age of the oldest pending source, None if there is none."""
        return None if self.oldest_pending_ms is None else max(now_ms - self.oldest_pending_ms, 0) / 1000

    def to_dict(self) -> dict[str, Any]:
        """As plain values for JSON, with the run's summary."""
        return asdict(self) | {"summary": self.run.summary}


def total_run(reports: Mapping[str, HourReport]) -> RunCounts:
    """What a run did over all its hours."""
    total = RunCounts()
    for report in reports.values():
        run = report.run
        total.compacted += run.compacted
        total.derived += run.derived
        total.failed += run.failed
        total.busy += run.busy
        total.left += run.left
        total.removed += run.removed
        total.seconds += run.seconds
        total.errors += run.errors
    return total
