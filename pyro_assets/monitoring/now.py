"""How everything is right now, for people: how late, what waits, what was given up, how receivers are.

Here, too:
* what is wrong now, and what to do: the conditions of `resources/observability/alerts.yaml`, asked of the ledger.

Add a figure here when a person should see it at a glance, with what to do where it is wrong. Each costs what happened
lately, not what the ledger holds.
"""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

from pyro_assets.app import App
from pyro_assets.archive.scrubs import ScrubRecords
from pyro_assets.errors import ConfigError
from pyro_assets.export.receipt import Refused, add_refusals, words_of_refusals
from pyro_assets.export.receipts import ReceiptRecords
from pyro_assets.export.states import ReceiverRecords, ReceiverState, receiver_starts
from pyro_assets.jobs.quarantine import Pardons, QuarantineRecords
from pyro_assets.ledger.lag import LagFigures, LagRecords, Stage
from pyro_assets.monitoring.hour import lag_of
from pyro_assets.planning.due import Backlog, DueJobs
from pyro_assets.settings import KINDS
from pyro_assets.storage.keys import HOUR_MS

#: Name of a span -> its length; the first is what alerts look at.
SPANS_MS: Final[Mapping[str, int]] = {"last 10 minutes": 600_000, "last hour": HOUR_MS}


@dataclass(frozen=True, slots=True)
class ReceiverNow:
    """A receiver as it is.

    Attributes:
        name, kind, url: as configured.
        state: what the ledger remembers.
        pending: jobs that it lacks since its start; oldest_hour: the first of their hours, "" without any.
        accepted, refused: samples in the last hour; reasons: why they were refused -> how many; refused_words: the
            same by tenant.
        owed: tenant (as the receiver knows it) -> jobs that wait for it alone.
        lag_p95_seconds: first segment created -> accepted, over the last ten minutes; None without any.
    """

    name: str
    kind: str
    url: str
    state: ReceiverState
    pending: int = 0
    oldest_hour: str = ""
    accepted: int = 0
    refused: int = 0
    reasons: Mapping[str, int] = field(default_factory=dict)
    refused_words: str = ""
    owed: Mapping[str, int] = field(default_factory=dict)
    lag_p95_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Overview:
    """Everything at a glance.

    Attributes:
        now_ms: when.
        lags: span -> stage -> how late the jobs were that reached it in that span.
        backlog: what is not done.
        given_up: jobs that failed too often; unheld: state -> sources that no output holds and nobody acknowledged.
        receivers: by name; receivers_problem: why their file is refused, "" where it is not.
        damaged: objects of the archive that changed or vanished.
    """

    now_ms: int
    lags: Mapping[str, Mapping[Stage, LagFigures]]
    backlog: Backlog
    given_up: int
    unheld: Mapping[str, int]
    receivers: tuple[ReceiverNow, ...]
    receivers_problem: str
    damaged: int = 0

    @property
    def oldest_pending_seconds(self) -> float | None:
        """Age of the oldest segment without series, None without any."""
        oldest_ms = self.backlog.oldest_ms
        return None if oldest_ms is None else max(0, self.now_ms - oldest_ms) / 1000


def look(pipeline: App, now_ms: int) -> Overview:
    """Looks at everything.

    Raises:
        LedgerUnavailable: nothing is known right now.
    """
    ledger = pipeline.ledger
    try:
        receivers, problem = _receivers(pipeline, now_ms), ""
    except ConfigError as error:
        receivers, problem = (), str(error)
    return Overview(
        now_ms=now_ms,
        lags={name: LagRecords(ledger).lag(now_ms - span_ms, now_ms + 1) for name, span_ms in SPANS_MS.items()},
        backlog=DueJobs(ledger).backlog(now_ms, KINDS),
        given_up=QuarantineRecords(ledger).quarantined()["job"],
        unheld=Pardons(ledger).count_unheld(),
        receivers=receivers,
        receivers_problem=problem,
        damaged=sum(ScrubRecords(ledger).count_damaged().values()),
    )


def _receivers(pipeline: App, now_ms: int) -> tuple[ReceiverNow, ...]:
    ledger, found = pipeline.ledger, []
    lately_ms = now_ms - next(iter(SPANS_MS.values()))
    accepted: Counter[str] = Counter()
    refusals: dict[str, Refused] = {}
    reasons: dict[str, Counter[str]] = {}
    lags: dict[str, dict[str, int]] = {}
    for receipt, created_ms in ReceiverRecords(ledger).closed_between(now_ms - HOUR_MS, now_ms):
        accepted[receipt.receiver] += receipt.accepted
        reasons.setdefault(receipt.receiver, Counter()).update(receipt.reasons)
        add_refusals(refusals.setdefault(receipt.receiver, {}), receipt.tenants)
        is_late = receipt.accepted and receipt.first_ms is not None and receipt.first_ms > lately_ms
        if is_late and receipt.first_ms is not None and created_ms is not None:
            lags.setdefault(receipt.receiver, {})[receipt.job_id] = receipt.first_ms - created_ms
    starts = receiver_starts(pipeline)
    for receiver in pipeline.receivers():
        due = ReceiptRecords(ledger).export_due_hours(receiver.name, since_ms=starts[receiver.name])
        late = lag_of(list(lags.get(receiver.name, {}).values()))
        refused = reasons.get(receiver.name, Counter())
        found.append(
            ReceiverNow(
                name=receiver.name,
                kind=receiver.kind,
                url=receiver.url,
                state=ReceiverRecords(ledger).receiver_state(receiver.name),
                pending=sum(due.values()),
                oldest_hour=next(iter(due), ""),
                accepted=accepted[receiver.name],
                refused=refused.total(),
                reasons=dict(sorted(refused.items())),
                refused_words=words_of_refusals(refusals.get(receiver.name, {})),
                owed=ReceiptRecords(ledger).owed_tenants(receiver.name),
                lag_p95_seconds=None if late is None else late.p95_seconds,
            )
        )
    return tuple(found)


Severity = Literal["critical", "warning"]
LAG_SECONDS: Final = 60.0
STALLED_SECONDS: Final = 300.0
#: Alert rules that only a Prometheus can evaluate: nobody is asked where nobody answers.
ELSEWHERE: Final = frozenset({"PyroAssetsAbsent"})
#: What no metric tells.
ONLY_HERE: Final = frozenset({"PyroAssetsReceivers"})
SEVERITIES: Final[dict[str, Severity]] = {
    "PyroAssetsReceiverDown": "critical",
    "PyroAssetsStalled": "critical",
    "PyroAssetsLost": "critical",
    "PyroAssetsReceivers": "critical",
    "PyroAssetsRot": "critical",
    "PyroAssetsLag": "warning",
    "PyroAssetsTenantHeld": "warning",
    "PyroAssetsQuarantine": "warning",
    "PyroAssetsRefusals": "warning",
}


@dataclass(frozen=True, slots=True)
class Alert:
    """Something that is wrong; `page` is where it is shown and can be decided."""

    name: str
    summary: str
    remedy: str
    page: str

    @property
    def severity(self) -> Severity:
        """critical: what is lost or late grows until somebody acts."""
        return SEVERITIES[self.name]


def alerts(now: Overview) -> tuple[Alert, ...]:
    """All conditions that hold, critical ones first."""
    found = [*_work(now), *_receiver_alerts(now)]
    return tuple(sorted(found, key=lambda alert: (alert.severity, list(SEVERITIES).index(alert.name))))


def _work(now: Overview) -> Iterator[Alert]:
    age = now.oldest_pending_seconds
    if age is not None and age > STALLED_SECONDS:
        yield Alert(
            "PyroAssetsStalled",
            f"the oldest segment has waited {age / 60:,.0f} minutes for its series",
            "Turn on the sensor segments_landed and look at its live runs in Dagster; hours from before its first tick "
            "wait for a backfill. Nothing is lost while the bucket keeps its segments.",
            "/backfills",
        )
    if now.unheld.get("lost"):
        yield Alert(
            "PyroAssetsLost",
            f"{_were(now.unheld['lost'], 'segment')} deleted before being read: those profiles are lost",
            "Find out who deletes them: a Pyroscope that compacts this bucket needs the mode observe, or a longer "
            "deletion delay. Restored segments can be retried; forget those that are gone for good.",
            "/quarantine",
        )
    if now.given_up:
        yield Alert(
            "PyroAssetsQuarantine",
            f"{_were(now.given_up, 'job')} given up",
            "Read why; retry when the cause is gone, release where one segment spoils a job, forget what cannot be "
            "done. Everything beside them goes on.",
            "/quarantine",
        )
    if now.unheld.get("set_aside"):
        yield Alert(
            "PyroAssetsQuarantine",
            f"{_were(now.unheld['set_aside'], 'segment')} set aside, because reading failed",
            "Compare them with Pyroscope (pyro-assets verify KEY); retry those that are whole again, forget the rest.",
            "/quarantine",
        )
    if now.damaged:
        yield Alert(
            "PyroAssetsRot",
            f"{now.damaged:,} objects of the archive changed or vanished",
            "Call pyro-assets verify --archive --repair: records are written again, blocks compacted again while their "
            "sources live, series derived again. Restore the rest from a copy of the archive.",
            "/status",
        )


def _receiver_alerts(now: Overview) -> Iterator[Alert]:
    if now.receivers_problem:
        yield Alert(
            "PyroAssetsReceivers",
            f"nothing is sent: {now.receivers_problem}",
            "Correct the file of receivers; it is read again by the next run, and by these pages when they are "
            "started anew.",
            "/status#receivers",
        )
    for receiver in now.receivers:
        if receiver.lag_p95_seconds is not None and receiver.lag_p95_seconds > LAG_SECONDS:
            yield Alert(
                "PyroAssetsLag",
                f"series reach {receiver.name} {receiver.lag_p95_seconds:,.0f} s after their first segment (p95)",
                "Look at the live runs in Dagster (tag lane, live or live-0…) and at what is pending; a receiver that "
                "answers slowly shows in its retries.",
                "/status#lag",
            )
        if receiver.state.error and receiver.state.paused_ms is None:
            yield Alert(
                "PyroAssetsReceiverDown",
                f"{receiver.name} takes no samples: {receiver.state.error}",
                f"Call pyro-assets receivers check {receiver.name}; what it lacks stays pending and is "
                "sent when it is back.",
                "/status#receivers",
            )
        failing = {tenant: state.error for tenant, state in receiver.state.tenants.items() if state.error}
        if failing and receiver.state.paused_ms is None:
            first = next(iter(failing))
            more = f" (and of {len(failing) - 1} more tenants)" if len(failing) > 1 else ""
            yield Alert(
                "PyroAssetsTenantHeld",
                f"{receiver.name} takes no samples of tenant {first!r}{more}: {failing[first]}",
                f"Raise its limits or permissions there; pyro-assets receivers check {receiver.name} asks all tenants. "
                "Others get theirs meanwhile, and what this one is owed is sent when it is taken.",
                "/status#receivers",
            )
        if receiver.refused:
            reasons = ", ".join(f"{count:,} {reason}" for reason, count in receiver.reasons.items())
            yield Alert(
                "PyroAssetsRefusals",
                f"{receiver.name} refused samples in the last hour: {receiver.refused_words or reasons}",
                "The check no_sample_is_refused of exported_series shows the first of them. What is too old can be "
                "written as files: pyro-assets export --format openmetrics.",
                "/status#receivers",
            )


def _were(count: int, noun: str) -> str:
    """A count and its verb."""
    return f"{count:,} {noun} was" if count == 1 else f"{count:,} {noun}s were"
