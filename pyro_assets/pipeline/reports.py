"""What ticks, runs, hours and checks say of themselves: plain values for metadata, tables and JSON.

Add a field when a person or a check needs to see it; computing it belongs to the module that knows it. Times are Unix
milliseconds, hours are partition keys ("2026-11-25-13:00", UTC).
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from pyro_assets.ledger.lag import LagFigures, Stage
from pyro_assets.ledger.receipt import words_of_refusals


@dataclass(frozen=True, slots=True)
class HourArrivals:
    """Sources of one hour that a tick saw for the first time."""

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
        arrivals: hour -> sources first seen by this tick, oldest hour first; hours without any are absent.
        planned_jobs: jobs that this tick planned.
        due: hour -> jobs that a run could take now, oldest hour first. Empty: request no run.
        lanes: the same for each lane where there are several, else empty.
        leased_jobs: jobs that some worker has now.
        waiting_sources: sources that belong to no job yet (too few and too young).
        unfinished_jobs: jobs not derived yet, whether due, leased or waiting for another try.
        oldest_pending_ms: creation time of the oldest source that is not derived yet; None if there is none.
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


@dataclass(frozen=True, slots=True)
class Lag:
    """First segment created -> derived, over the jobs of an hour, in seconds."""

    jobs: int
    p50_seconds: float
    p95_seconds: float
    max_seconds: float


@dataclass(slots=True)
class RunCounts:
    """What one run did for one hour.

    Attributes:
        compacted: jobs whose level-1 blocks it committed.
        derived: jobs whose series it committed.
        failed: attempts that failed; `errors` has the first messages.
        busy: jobs that another worker has or took meanwhile.
        left: jobs it did not get to before its deadline.
        removed: jobs whose series stay as they are, because retention removed their level-1 blocks or rows.
        seconds: time spent on the jobs of this hour.
    """

    compacted: int = 0
    derived: int = 0
    failed: int = 0
    busy: int = 0
    left: int = 0
    removed: int = 0
    seconds: float = 0.0
    errors: list[str] = field(default_factory=list)

    @property
    def nothing_to_do(self) -> bool:
        """Whether the hour had no work for this run."""
        return not (self.compacted or self.derived or self.failed or self.busy or self.left)

    @property
    def summary(self) -> str:
        """One sentence for people.

        >>> RunCounts().summary, RunCounts(compacted=2, derived=2, left=1).summary
        ('nothing to do', 'compacted 2 jobs, derived 2 jobs, left 1 for the next run')
        """
        kept = f"{self.removed} jobs stay as they are: retention removed their blocks or rows"
        if self.nothing_to_do:
            return f"nothing to do; {kept}" if self.removed else "nothing to do"
        parts = [f"compacted {self.compacted} jobs"] if self.compacted else []
        parts += [f"derived {self.derived} jobs"] if self.derived else []
        parts += [f"{self.failed} failed"] if self.failed else []
        parts += [f"{self.busy} are another worker's"] if self.busy else []
        parts += [f"left {self.left} for the next run"] if self.left else []
        parts += [kept] if self.removed else []
        return ", ".join(parts)


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
class RuleProgress:
    """How far the backfill of a rule is in an hour: `done` of `total` derived jobs have its series in this version."""

    rule: str
    hash: str
    done: int
    total: int


@dataclass(frozen=True, slots=True)
class RulesReport:
    """The rules of a run.

    Attributes:
        hash: of the snapshot.
        from_file, from_ledger: how many rules are in force.
        left_out: rules that give no series, and why.
        backfill: of the rules that the run is restricted to.
    """

    hash: str
    from_file: int = 0
    from_ledger: int = 0
    left_out: tuple[tuple[str, str], ...] = ()
    backfill: tuple[RuleProgress, ...] = ()


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


@dataclass(frozen=True, slots=True)
class Difference:
    """A total that is not what it must be; empty names where the whole job is meant."""

    job_id: str
    tenant: str
    service: str
    profile_type: str
    what: str
    expected: int
    actual: int

    def __str__(self) -> str:
        place = "/".join(part for part in (self.job_id, self.tenant, self.service, self.profile_type) if part)
        return f"job {place}: {self.what}: expected {self.expected}, found {self.actual}"


@dataclass(frozen=True, slots=True)
class VerifyReport:
    """Whether the level-1 objects of an hour, as read back, hold what their sources held.

    Attributes:
        hour: the partition key.
        checked: jobs compared now; before: jobs that an earlier check compared and found equal.
        unverifiable: jobs whose sources are gone; their level-1 objects were still compared with the job's counts.
        left: jobs that the deadline left for the next check.
        totals: (tenant, service, profile type) groups compared.
        differences: what is not equal, the first 100.
        seconds: how long it took.
    """

    hour: str
    checked: int = 0
    before: int = 0
    unverifiable: int = 0
    left: int = 0
    totals: int = 0
    differences: tuple[Difference, ...] = ()
    seconds: float = 0.0

    @property
    def equal(self) -> bool:
        """Whether every total that could be compared is equal."""
        return not self.differences

    def to_dict(self) -> dict[str, Any]:
        """As plain values for JSON."""
        return asdict(self) | {"equal": self.equal}


@dataclass(frozen=True, slots=True)
class Progress:
    """Told after every job of a run: `done` of `total` jobs, the last one's id and hour."""

    done: int
    total: int
    job_id: str
    hour: str


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
