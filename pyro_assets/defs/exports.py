"""The asset `exported_series`: what receivers have accepted, its checks, and sending beside the work of a run.

Sending runs in threads of the step that derives, because waiting for the end of a run would be most of the lag. Add
what people should see of an export here; what is sent, to whom and when belongs to `export`.
"""

from collections import Counter
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import dagster as dg

from pyro_assets.app import App
from pyro_assets.defs.catalogue import EXPORTED
from pyro_assets.defs.checks import of_hours
from pyro_assets.defs.due import describe
from pyro_assets.errors import PyroAssetsError
from pyro_assets.ledger.records import Lane
from pyro_assets.monitoring.reports import ExportReport, HourReport
from pyro_assets.operations import runs, sending
from pyro_assets.storage.keys import HOUR_MS, hour_of, hour_start_ms

if TYPE_CHECKING:
    from pyro_assets.export.exporter import ExportCounts, Exporter

RECEIPTS: Final = "every_sample_has_a_receipt"
REFUSED: Final = "no_sample_is_refused"
RECONCILED: Final = "receivers_hold_what_was_sent"
_SHOWN: Final = 10
#: Reasons of refusals that a person can do something about by a limit, of the receiver or declared for it.
_LIMITS: Final = frozenset(
    {"active_series", "label_limit", "label_name_too_long", "label_value_too_long", "series_limit", "too_many_labels"}
)
#: What a live run still waits for receivers at its end; and every run without an answer that settles something.
_LIVE_FINISH_SECONDS: Final = 10.0
_IDLE_SECONDS: Final = 60.0


def export_check_specs(*, reconcile: bool = False) -> list[dg.AssetCheckSpec]:
    """What the UI says of the checks; `reconcile` adds the one that asks receivers for all they hold."""
    specs = [
        dg.AssetCheckSpec(
            RECEIPTS,
            asset=EXPORTED,
            description="Every derived sample of the hour has a receipt of every receiver that is to get it. While "
            "an hour is running, samples are on their way: that is counted and no failure.",
        ),
        dg.AssetCheckSpec(
            REFUSED,
            asset=EXPORTED,
            description="No receiver refused a sample for good, and no job changed after it was sent.",
        ),
    ]
    if reconcile:
        specs.append(
            dg.AssetCheckSpec(
                RECONCILED,
                asset=EXPORTED,
                description="What receivers hold, asked over PromQL, equals what was sent, sample by sample.",
            )
        )
    return specs


@dataclass(slots=True)
class Exports:
    """Sending of one run: `done` by receiver once it is over; `trouble` says why nothing could be sent at all."""

    exporter: "Exporter | None" = None
    live: bool = False
    done: "dict[str, ExportCounts]" = field(default_factory=dict)
    trouble: str = ""

    def finish(self) -> None:
        """Let receivers have what is due now."""
        if self.exporter is not None:
            # One that is not live goes on as long as somebody takes samples.
            self.done = self.exporter.finish(_LIVE_FINISH_SECONDS if self.live else None, _IDLE_SECONDS)

    @property
    def failure(self) -> str:
        """Why the run has failed, "" where it has not: a receiver that is down is its own trouble, not the run's."""
        fatal = [f"{name}: {counts.error}" for name, counts in self.done.items() if counts.fatal]
        return self.trouble or "; ".join(fatal)


@dataclass(frozen=True, slots=True)
class Sending:
    """How a run sends: a live one soon leaves; `asked`: somebody asked for these hours, whatever receivers' starts.

    With a lane, only its shards.
    """

    live: bool
    asked: bool
    until_monotonic: float
    lane: Lane | None = None


@contextmanager
def exporting(opened: App, hours: Sequence[str], how: Sending) -> Iterator[Exports]:
    """Send in the background while the block runs; call `finish` at its end. Without hours, nothing."""
    exports = Exports(live=how.live)
    if hours:
        try:
            exports.exporter = sending.exporter(
                opened,
                hours,
                explicit=how.asked,
                stay=True,
                lane=how.lane,
                deadline_monotonic=how.until_monotonic + (_LIVE_FINISH_SECONDS if how.live else 0),
            )
        except PyroAssetsError as error:  # a file of receivers with a mistake must not stop compaction
            exports.trouble = str(error)
    try:
        yield exports
    finally:
        if exports.exporter is not None:
            exports.exporter.stop()


def export_check_results(
    opened: App,
    hours: Sequence[str],
    wanted: Collection[str],
    now_ms: int,
    settle_ms: int,
    failing: Callable[[str, str], Collection[str]],
) -> Iterator[dg.AssetCheckResult]:
    """The checks over the hours of a run; `wanted` are the names of those to make, `failing` is as in `checks`."""
    if {RECEIPTS, REFUSED} & set(wanted):
        reports = [runs.hour_report(opened, hour) for hour in hours]
        if not any(report.exports for report in reports):
            return  # without a receiver nothing is sent, and nothing has passed
        if RECEIPTS in wanted:
            others = [runs.hour_report(opened, hour) for hour in failing(RECEIPTS, EXPORTED) if hour not in hours]
            yield receipts_result([*reports, *others], now_ms, settle_ms)
        if REFUSED in wanted:
            yield refused_result(reports)
    if RECONCILED in wanted:
        yield reconciled_result(opened, hours)


def receipts_result(reports: Sequence[HourReport], now_ms: int, settle_ms: int) -> dg.AssetCheckResult:
    """Whether every hour that is over has all its receipts; a paused receiver's hours wait."""
    left = [
        (report.hour, one)
        for report in reports
        for one in report.exports
        if one.pending and not one.waits and hour_start_ms(report.hour) + HOUR_MS + settle_ms <= now_ms
    ]
    pending = sum(one.pending for report in reports for one in report.exports)
    receivers = {one.receiver for report in reports for one in report.exports}
    text = f"{sum(one.accepted for report in reports for one in report.exports)} samples accepted"
    if left:
        names = ", ".join(sorted({one.receiver for _, one in left}))
        jobs = sum(one.pending for _, one in left)
        text = f"{names}: {jobs} jobs of {describe(sorted({hour for hour, _ in left}))} are not sent"
        tenants = sorted({tenant for _, one in left for tenant in one.owed})
        text += f"; some of them only to {', '.join(map(repr, tenants[:_SHOWN]))}" if tenants else ""
    elif pending:
        text = f"{pending} jobs are on their way to {len(receivers)} receivers"
    return dg.AssetCheckResult(
        check_name=RECEIPTS,
        asset_key=EXPORTED,
        passed=not left,
        description=text,
        metadata={
            "pending": pending,
            "receivers": len(receivers),
            **of_hours({hour for hour, _ in left}, [report.hour for report in reports]),
        },
    )


def refused_result(reports: Sequence[HourReport]) -> dg.AssetCheckResult:
    """Whether nothing was refused, else a warning with the first reasons."""
    refused = sum(one.refused for report in reports for one in report.exports)
    changed = sum(one.changed for report in reports for one in report.exports)
    examples = [f"{one.receiver}: {text}" for report in reports for one in report.exports for text in one.examples]
    reasons: Counter[str] = Counter()
    tenants: list[str] = []
    for report in reports:
        for one in report.exports:
            reasons.update(one.reasons)
            tenants += [f"{one.receiver}, {report.hour}: {one.refused_words}"] if one.refused else []
    listed = ", ".join(f"{count} {reason}" for reason, count in sorted(reasons.items()))
    return dg.AssetCheckResult(
        check_name=REFUSED,
        asset_key=EXPORTED,
        passed=not refused and not changed,
        severity=dg.AssetCheckSeverity.WARN,
        description=f"{refused} samples refused ({listed}), {changed} jobs changed after they were sent"
        if refused or changed
        else "nothing refused, nothing changed after it was sent",
        metadata={
            "refused": refused,
            "changed": changed,
            "tenants": dg.MetadataValue.json(tenants[:_SHOWN]),
            "first": dg.MetadataValue.json(examples[:_SHOWN]),
            "what_to_do": dg.MetadataValue.text("\n".join(_ways_out(reports)) or "nothing"),
        },
    )


def _ways_out(reports: Sequence[HourReport]) -> list[str]:
    """What to do about samples that a receiver did not take for their age or limits, or has with other values."""
    ways = []
    for report in reports:
        end = hour_of(hour_start_ms(report.hour) + HOUR_MS)
        for one in report.exports:
            when = f"--from {report.hour} --to {end}"
            file = f"pyro-assets export --receiver {one.receiver} --format openmetrics {when} --out DIR"
            if one.reasons.get("too_old"):
                whose = _tenants_of(one, "too_old")
                ways.append(f"too old for {one.receiver}{whose}: write files to import there: {file}")
            ways += [
                f"{reason} at {one.receiver}{_tenants_of(one, reason)}: raise that limit there and in the file of "
                "receivers, or make fewer series or shorter labels by the rules"
                for reason in sorted(_LIMITS & set(one.reasons))
            ]
            if one.changed:
                keep = f"pyro-assets receivers keep {one.receiver} {when}"
                ways.append(f"changed after {one.receiver} got it: keep what it has: {keep}; or write a file: {file}")
    return ways[:_SHOWN]


def _tenants_of(one: ExportReport, reason: str) -> str:
    """Whose samples were refused for a reason."""
    tenants = [tenant for tenant, reasons in sorted(one.tenants.items()) if reason in reasons]
    more = f" and {len(tenants) - _SHOWN} more" if len(tenants) > _SHOWN else ""
    return f" (tenant {', '.join(map(repr, tenants[:_SHOWN]))}{more})" if tenants else ""


def reconciled_result(opened: App, hours: Sequence[str]) -> dg.AssetCheckResult:
    """Whether every receiver holds what was sent; one that cannot be asked is a warning."""
    compared, different, silent = 0, [], []
    for receiver in opened.receivers():
        for hour in hours:
            begin_ms = hour_start_ms(hour)
            try:
                found = sending.reconcile(opened, receiver.name, begin_ms, begin_ms + HOUR_MS, only_sent=True)
            except PyroAssetsError as error:
                silent.append(str(error))
                break
            compared += found.compared
            different += [f"{receiver.name}: {example}" for example in found.examples]
    return dg.AssetCheckResult(
        check_name=RECONCILED,
        asset_key=EXPORTED,
        passed=not different and not silent,
        severity=dg.AssetCheckSeverity.ERROR if different else dg.AssetCheckSeverity.WARN,
        description=silent[0] if silent and not different else f"{compared} samples compared",
        metadata={"compared": compared, "first_differences": dg.MetadataValue.json(different[:_SHOWN])},
    )
