"""What is wrong now, and what to do: the conditions of `resources/observability/alerts.yaml`, asked of the ledger.

For people without a Prometheus that scrapes us, and beside one. Names and limits are those of that file, and a test
keeps them equal; its `for:` cannot be had here, where only this moment is seen. Add a condition in both places.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final, Literal

from pyro_assets.pipeline.overview import Overview

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
    found = [*_work(now), *_receivers(now)]
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


def _receivers(now: Overview) -> Iterator[Alert]:
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
