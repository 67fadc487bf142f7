"""What is known of an hour, for people: the ledger's sums as a report.

Add a figure here when the ledger knows it and a person should see it.
"""

from collections.abc import Mapping, Sequence
from typing import Final

from pyro_assets.export.receipts import ReceiptRecords
from pyro_assets.export.states import ReceiverRecords
from pyro_assets.jobs.counts import RunCounts
from pyro_assets.jobs.quarantine import Pardons
from pyro_assets.ledger.database import Ledger
from pyro_assets.ledger.hours import HourRecords
from pyro_assets.ledger.lag import LagFigures, LagRecords
from pyro_assets.monitoring.reports import ExportReport, HourReport, Lag, ServiceSamples, SetAside
from pyro_assets.planning.spans import over_since_ms
from pyro_assets.rules.report import RulesReport
from pyro_assets.rules.stored import RuleUse

#: What "lately" means where a running hour's lag is shown.
LATELY_MS: Final = 300_000


def report_hour(
    ledger: Ledger,
    hour: str,
    now_ms: int,
    settle_ms: int,
    run: RunCounts | None = None,
    scopes: Mapping[str, int] | None = None,
    rules: RulesReport | None = None,
) -> HourReport:
    """Sums up an hour.

    Args:
        ledger: where from.
        hour: partition key.
        now_ms: Unix milliseconds.
        settle_ms: the hour may be complete so long after its end.
        run: what a run did there.
        scopes: receiver -> the time from which on it gets samples, Unix ms.
        rules: that are in force.
    """
    status = HourRecords(ledger).hour_status(hour)
    lags = LagRecords(ledger).hour_lag(hour)
    left_out = Pardons(ledger).count_unheld(hour) if status.unheld_total else {}
    exports, exported_lag = _exports(ledger, hour, scopes or {})
    is_over = over_since_ms(hour, settle_ms) <= now_ms
    return HourReport(
        hour=hour,
        segments=sum(count for state, count in status.sources_by_state.items() if state != "out_of_range"),
        shards=status.shards,
        sources_by_state=status.sources_by_state,
        jobs_by_state=status.jobs_by_state,
        blocks=status.blocks,
        bytes_in=status.bytes_in,
        bytes_out=status.bytes_out,
        profiles=status.profiles,
        samples=status.samples,
        duplicates=status.duplicates,
        conflicts=status.conflicts,
        series=status.series,
        job_seconds=status.job_seconds,
        oldest_ms=status.oldest_ms,
        newest_ms=status.newest_ms,
        lag=_in_seconds(lags["derived"]),
        lags=lags,
        asked=LagRecords(ledger).hour_asked(hour),
        lags_lately={} if is_over else LagRecords(ledger).lag(now_ms - LATELY_MS, now_ms + 1),
        pending=status.pending,
        undone_jobs=status.undone_jobs,
        oldest_pending_ms=status.oldest_pending_ms,
        set_aside_total=status.unheld_total,
        set_aside=tuple(SetAside(*item) for item in status.unheld),
        services=tuple(ServiceSamples(*names, *counts) for names, counts in status.services.items()),
        facts=status.facts,
        examples=tuple(status.examples),
        listed_ms=status.listed_ms,
        left_out=left_out,
        complete=is_over
        and status.listed_ms is not None
        and not left_out
        and not status.pending
        and not status.undone_jobs,
        exports=exports,
        exported_lag=exported_lag,
        run=run if run is not None else RunCounts(),
        rules=rules,
        snapshots=RuleUse(ledger).snapshots_of_hour(hour),
    )


def _exports(ledger: Ledger, hour: str, scopes: Mapping[str, int]) -> tuple[tuple[ExportReport, ...], Lag | None]:
    reports, lags_ms = [], []
    for name, status in ReceiptRecords(ledger).receiver_hours(hour, dict(scopes)).items():
        state = ReceiverRecords(ledger).receiver_state(name)
        lags_ms += status.lags_ms
        reports.append(
            ExportReport(
                receiver=name,
                jobs=status.jobs,
                pending=status.pending,
                changed=status.changed,
                samples=status.samples,
                accepted=status.accepted,
                refused=status.refused,
                reasons=dict(sorted(status.reasons.items())),
                tenants={tenant: dict(reasons) for tenant, reasons in sorted(status.tenants.items())},
                examples=tuple(status.examples),
                bytes=status.bytes,
                requests=status.requests,
                retries=status.retries,
                seconds=status.seconds,
                lag=lag_of(status.lags_ms),
                paused=state.paused_ms is not None,
                error=state.error,
                owed=dict(sorted(status.owed.items())),
                held=state.held_words,
            )
        )
    return tuple(reports), lag_of(lags_ms)


def _in_seconds(figures: LagFigures) -> Lag | None:
    if not figures.count:
        return None
    return Lag(figures.count, figures.p50_ms / 1000, figures.p95_ms / 1000, figures.max_ms / 1000)


def lag_of(lags_ms: Sequence[int]) -> Lag | None:
    """Percentiles by nearest rank, None without any.

    >>> lag_of([1000, 3000, 2000])
    Lag(jobs=3, p50_seconds=2.0, p95_seconds=3.0, max_seconds=3.0)
    """
    if not lags_ms:
        return None
    ordered = sorted(lags_ms)
    p50, p95 = (ordered[-(-len(ordered) * percent // 100) - 1] / 1000 for percent in (50, 95))
    return Lag(len(ordered), p50, p95, ordered[-1] / 1000)
