"""The report of an hour for people, from the ledger's sums.

Add a figure here when the ledger knows it and a person should see it.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Final

from pyro_assets.export.receipts import ReceiptRecords
from pyro_assets.export.states import ReceiverRecords
from pyro_assets.jobs.counts import RunCounts
from pyro_assets.jobs.quarantine import Pardons
from pyro_assets.ledger.database import Ledger
from pyro_assets.ledger.hours import HourRecords
from pyro_assets.ledger.lag import LagFigures, LagRecords, figures_of
from pyro_assets.monitoring.reports import ExportReport, HourReport, Lag
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
    left_out = Pardons(ledger).count_unheld(hour) if status.set_aside_total else {}
    exports, exported_lag = _exports(ledger, hour, scopes or {})
    is_over = over_since_ms(hour, settle_ms) <= now_ms
    is_done = not (left_out or status.pending or status.undone_jobs)
    return HourReport(
        **{one.name: getattr(status, one.name) for one in fields(status)},
        segments=sum(count for state, count in status.sources_by_state.items() if state != "out_of_range"),
        lag=_in_seconds(lags["derived"]),
        lags=lags,
        asked=LagRecords(ledger).hour_lag(hour, asked=True),
        lags_lately={} if is_over else LagRecords(ledger).lag(now_ms - LATELY_MS, now_ms + 1),
        left_out=left_out,
        complete=is_over and status.listed_ms is not None and is_done,
        exports=exports,
        exported_lag=exported_lag,
        run=run if run is not None else RunCounts(),
        rules=rules,
        snapshots=RuleUse(ledger).snapshots_of_hour(hour),
    )


#: What a report takes over from the ledger's sums as it is.
_SUMS: Final = (
    *("jobs", "pending", "changed", "samples", "accepted", "refused"),
    *("bytes", "requests", "retries", "seconds"),
)


def _exports(ledger: Ledger, hour: str, scopes: Mapping[str, int]) -> tuple[tuple[ExportReport, ...], Lag | None]:
    reports, lags_ms = [], []
    for name, status in ReceiptRecords(ledger).receiver_hours(hour, dict(scopes)).items():
        state = ReceiverRecords(ledger).receiver_state(name)
        lags_ms += status.lags_ms
        reports.append(
            ExportReport(
                receiver=name,
                **{same: getattr(status, same) for same in _SUMS},
                reasons=dict(sorted(status.reasons.items())),
                tenants={tenant: dict(reasons) for tenant, reasons in sorted(status.tenants.items())},
                examples=tuple(status.examples),
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
    return _in_seconds(figures_of(sorted(Counter(lags_ms).items())))
