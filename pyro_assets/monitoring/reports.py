"""Reports of hours and exports: plain values for metadata, tables and JSON.

Add a field when a person or a check needs to see it; computing it belongs to the module that knows it. Times are Unix
milliseconds, hours are partition keys ("2026-11-25-13:00", UTC).
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any

from pyro_assets.export.receipt import words_of_refusals
from pyro_assets.jobs.counts import RunCounts
from pyro_assets.ledger.hours import HourStatus
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
class ExportReport:
    """The export of an hour to one receiver.

    Attributes:
        receiver: its name.
        jobs: that have a closed receipt; pending: that lack one; changed: whose samples changed after they were sent.
        samples: in the receipts; accepted, refused: of these.
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


@dataclass(slots=True)
class HourReport(HourStatus):
    """Everything known of one hour: the ledger's sums, and what follows from them.

    Attributes:
        segments: sources known (level-1 blocks in observe mode), those outside the partitions left out.
        lag: first segment created -> derived, None while no job is derived.
        lags: the same and the others by stage, as histograms; lags_lately: of the jobs of any hour that reached a stage
            in the last five minutes, empty for an hour that is over.
        asked: of jobs that a person asked for (a backfill), by stage: from the run's begin until they reached it. They
            have no lag.
        left_out: state -> sources that no output holds and nobody acknowledged.
        complete: the hour is over, was listed as a whole since, and nothing is pending or left out.
        exports: what each receiver has of it; exported_lag: first segment created -> accepted, over all receivers.
        run: what the run that returned this report did; all zero from `hour_report`.
        rules: that are in force, None where the report was made without.
        snapshots: snapshot of rules -> files of series that were derived with it; "" where that is not known.
    """

    segments: int = 0
    lag: Lag | None = None
    lags: Mapping[Stage, LagFigures] = field(default_factory=dict)
    lags_lately: Mapping[Stage, LagFigures] = field(default_factory=dict)
    asked: Mapping[Stage, LagFigures] = field(default_factory=dict)
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
    """The counts of a run over all its hours."""
    total = RunCounts()
    for report in reports.values():
        for one in fields(RunCounts):
            setattr(total, one.name, getattr(total, one.name) + getattr(report.run, one.name))
    return total
