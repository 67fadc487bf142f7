"""The asset checks of an hour: nothing lost in compaction, nothing left undone, every series made.

Plain checks that read the run's partition keys (partitioned checks are still a preview), made by the step that does
the jobs: Dagster shows a result as that of the latest materialisation only if both come from one run. What is
compared belongs to `jobs`.
"""

import time
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any, Final
from urllib.parse import quote

import dagster as dg

from pyro_assets.app import App
from pyro_assets.defs.due import describe
from pyro_assets.defs.metadata import verify_metadata
from pyro_assets.jobs.counts import VerifyReport
from pyro_assets.monitoring.reports import HourReport
from pyro_assets.operations import decide as decisions
from pyro_assets.operations import runs
from pyro_assets.operations.decide import Item, LeftOut
from pyro_assets.planning.spans import over_since_ms, spans

ASSET: Final = "l1_blocks"
TOTALS: Final = "totals_equal_sources"
UNDONE: Final = "no_source_left_undone"
LEFT_OUT: Final = "nothing_is_left_out"
SERIES_ASSET: Final = "dimension_series"
SERIES_MADE: Final = "every_series_made"
#: Facts of derivations that fail the check.
_UNMADE: Final = {
    "overflowing_series": "series have values that do not fit 64 bits",
    "refused_rules": "rules with overflow: error gave a tenant more than max_series, and so none",
}
#: Metadata of a verdict: the hours for which it is bad, and those that were looked at, as first and last of spans.
HOURS: Final = "hours_that_fail"
LOOKED: Final = "hours_looked_at"
_MOST_HOURS: Final = 100
_LINKED: Final = 10
#: So many evaluations at most are made while a run is at its checks.
_HISTORY: Final = 50
#: An hour that is over has been closed after this time, unless the queue is long or something is wrong.
_CLOSING_MS: Final = 600_000


def check_specs() -> list[dg.AssetCheckSpec]:
    """What the UI says of the checks."""
    return [
        dg.AssetCheckSpec(
            TOTALS,
            asset=ASSET,
            description="Per tenant, service and profile type, the totals of the sources equal the totals computed "
            "from the stacks and values of the level-1 objects as read back. Each job is compared once.",
        ),
        dg.AssetCheckSpec(
            UNDONE,
            asset=ASSET,
            description="Every source of the hour is in a derived job, or left out with a reason; and the bucket was "
            "listed for it as a whole since it is over. While an hour is running, sources wait for their job: that is "
            "counted and no failure. An hour that failed is looked at again by every run until it passes.",
        ),
        dg.AssetCheckSpec(
            LEFT_OUT,
            asset=ASSET,
            description="No source of any hour is lost or set aside, and no job given up, unless a person has "
            "acknowledged it (page Quarantine, or `pyro-assets quarantine forget`). What is only set aside is a "
            "warning. Runs see to it, and ticks as soon as it changes.",
        ),
        dg.AssetCheckSpec(
            SERIES_MADE,
            asset=SERIES_ASSET,
            description="Every series of the hour, of dimensions and of functions, has a value that fits 64 bits, and "
            "no rule with `overflow: error` gave too many. What is named here is left out; all other series are made.",
        ),
    ]


def check_results(
    opened: App,
    hours: Sequence[str],
    wanted: Collection[str],
    settle_ms: int,
    seconds: float,
    *,
    live: bool,
    failing: Callable[[str], Collection[str]],
    web_url: str,
) -> Iterator[dg.AssetCheckResult]:
    """The checks over the hours of a run.

    Args:
        opened: what is asked.
        hours: partition keys.
        wanted: names of the checks to make.
        settle_ms: an hour is over so long after its end.
        seconds: for comparing; what is left then, the next run compares.
        failing: check -> hours for which it failed last, which must not be forgotten; see `still_failing`.
        web_url: of our pages, for links; "" where it is not known.
        live: the run did not list its hours: the one that closes an hour does, soon after it is over.
    """
    if TOTALS in wanted:
        end = time.monotonic() + seconds
        again = sorted({*hours, *failing(TOTALS)})
        yield totals_result([runs.verify_hour(opened, hour, deadline_monotonic=end) for hour in again])
    if not {UNDONE, LEFT_OUT, SERIES_MADE} & set(wanted):
        return
    reports = [runs.hour_report(opened, hour) for hour in hours]
    if UNDONE in wanted:
        others = [runs.hour_report(opened, hour) for hour in failing(UNDONE) if hour not in hours]
        yield undone_result([*reports, *others], time.time_ns() // 10**6, settle_ms, _CLOSING_MS if live else 0)
    if LEFT_OUT in wanted:
        yield left_out_result(decisions.left_out(opened.ledger), web_url)
    if SERIES_MADE in wanted:
        yield series_result(reports)


def totals_result(reports: Sequence[VerifyReport]) -> dg.AssetCheckResult:
    """Whether all totals that were compared are equal.

    A job that is left for a later run, or whose sources are gone by now, is counted and no difference.
    """
    different = [report for report in reports if not report.equal]
    compared = sum(report.checked for report in reports)
    before = sum(report.before for report in reports)
    return dg.AssetCheckResult(
        check_name=TOTALS,
        asset_key=ASSET,
        passed=not different,
        description=f"{sum(len(report.differences) for report in different)} totals differ in "
        + describe([report.hour for report in different])
        if different
        else f"{compared} jobs compared, {before} before; all totals equal",
        metadata={
            **of_hours([report.hour for report in different], [report.hour for report in reports]),
            **verify_metadata(combined(reports)),
        },
    )


def undone_result(
    reports: Sequence[HourReport], now_ms: int, settle_ms: int, closing_ms: int = 0
) -> dg.AssetCheckResult:
    """Whether every hour that is over, late uploads included, has nothing pending.

    "Nothing pending" is only known of an hour for which the bucket was listed since it is over; that may take
    `closing_ms` more.
    """
    unlisted = [
        report.hour
        for report in reports
        if report.listed_ms is None and is_closed(report.hour, now_ms, settle_ms + closing_ms)
    ]
    left = [report for report in reports if report.pending and is_closed(report.hour, now_ms, settle_ms)]
    waiting = sum(report.pending for report in reports if report not in left)
    failed = sum(report.pending for report in left)
    return dg.AssetCheckResult(
        check_name=UNDONE,
        asset_key=ASSET,
        passed=not left and not unlisted,
        description=f"{failed} sources of {describe([report.hour for report in left])} are left: run these hours again"
        if left
        else f"the bucket was not listed as a whole for {describe(unlisted)} since: run these hours again"
        if unlisted
        else "every source is in a derived job or left out with a reason"
        if not waiting
        else f"{waiting} sources wait for their job in an hour that is still running",
        metadata={
            **of_hours({*(report.hour for report in left), *unlisted}, [report.hour for report in reports]),
            "left": failed,
            "waiting": waiting,
            "hours_not_listed": len(unlisted),
            "set_aside": sum(report.set_aside_total for report in reports),
            "segments": sum(report.segments for report in reports),
        },
    )


def series_result(reports: Sequence[HourReport]) -> dg.AssetCheckResult:
    """Whether every series of some hours could be made."""
    counts = {
        # A rule's backfill puts its name behind that of the fact.
        fact: sum(count for report in reports for name, count in report.facts.items() if name.split(" (")[0] == fact)
        for fact in _UNMADE
    }
    found = [f"{counts[fact]} {what}" for fact, what in _UNMADE.items() if counts[fact]]
    examples = list(dict.fromkeys(one for report in reports for one in report.examples)) if found else []
    return dg.AssetCheckResult(
        check_name=SERIES_MADE,
        asset_key=SERIES_ASSET,
        passed=not found,
        description="; ".join(found) + ": left out, everything else is made" if found else "every series was made",
        metadata={**counts, **({"examples": examples} if examples else {})},
    )


def left_out_result(found: LeftOut, web_url: str) -> dg.AssetCheckResult:
    """Whether nothing of any hour is lost, given up or set aside that nobody acknowledged: the same whoever asks."""
    counts = {"lost": found.lost, "given up": found.given_up, "set aside": found.set_aside}
    nouns = {"lost": "sources", "given up": "jobs", "set aside": "sources"}
    listed = ", ".join(f"{count} {nouns[what]} {what}" for what, count in counts.items() if count)
    hours = sorted({item.hour for item in found.items})
    metadata: dict[str, dg.MetadataValue] = {
        what.replace(" ", "_"): dg.MetadataValue.int(count) for what, count in counts.items()
    }
    if found.items:
        metadata["items"] = _items(found.items)
    if found.items and web_url:
        base = f"{web_url.rstrip('/')}/quarantine"
        metadata["page"] = dg.MetadataValue.url(base)
        # Only an entry of its own is a link in the UI, not a cell of a table.
        for number, item in enumerate(found.items[:_LINKED], 1):
            metadata[f"item_{number}"] = dg.MetadataValue.url(f"{base}/item?name={quote(item.name, safe='')}")
    return dg.AssetCheckResult(
        check_name=LEFT_OUT,
        asset_key=ASSET,
        passed=not found.items,
        severity=dg.AssetCheckSeverity.ERROR if found.lost or found.given_up else dg.AssetCheckSeverity.WARN,
        description=f"{listed}, of {describe(hours)}: nobody has acknowledged that; see the page Quarantine, or "
        "`pyro-assets quarantine list`, and retry, release or forget them"
        if found.items
        else "nothing is lost, given up or set aside that nobody has acknowledged",
        metadata=metadata,
    )


def _items(items: Sequence[Item]) -> dg.MetadataValue:
    records = [
        dg.TableRecord(
            {
                "key": item.name,
                "state": item.state,
                "hour": item.hour,
                "cause": item.failure.cause if item.failure else "",
                "reason": item.reason,
            }
        )
        for item in items
    ]
    return dg.MetadataValue.table(records, dg.TableSchema([dg.TableColumn(name, "string") for name in records[0].data]))


def of_hours(failing: Collection[str], looked_at: Collection[str]) -> dict[str, dg.MetadataValue]:
    """Metadata by which later runs know the hours for which a check failed, see `still_failing`."""
    # Failing hours that are not named are not said to have been looked at either.
    named = sorted(failing)[:_MOST_HOURS]
    seen = spans(set(looked_at) - (set(failing) - set(named)))
    return {HOURS: dg.MetadataValue.json(named), LOOKED: dg.MetadataValue.json([list(span) for span in seen])}


def still_failing(instance: dg.DagsterInstance, check: str, asset: str = ASSET) -> list[str]:
    """The hours for which a check failed when it was made last for them: they are looked at again until they pass.

    Several runs are at work at the same time: the latest record may be of one that did not know yet what another
    found, or that has not come to the check yet, such as the one that asks.
    """
    key = dg.AssetCheckKey(dg.AssetKey(asset), check)
    failing: set[str] = set()
    seen: list[tuple[str, str]] = []
    for record in instance.event_log_storage.get_asset_check_execution_history(key, limit=_HISTORY):
        found = record.evaluation
        if not isinstance(found, dg.AssetCheckEvaluation):
            continue
        failing |= {
            hour for hour in _listed(found, HOURS) or () if not any(first <= hour <= last for first, last in seen)
        }
        looked = _listed(found, LOOKED)
        if looked is None:
            break  # of an older version, which looked at all that had failed before
        seen += [(first, last) for first, last in looked]
    return sorted(failing)


def _listed(found: dg.AssetCheckEvaluation, name: str) -> list[Any] | None:
    """A list in the metadata of a verdict; None where there is none."""
    value = found.metadata.get(name)
    return value.value if isinstance(value, dg.JsonMetadataValue) and isinstance(value.value, list) else None


def is_closed(hour: str, now_ms: int, settle_ms: int) -> bool:
    """Whether an hour is over and late uploads had their time."""
    return over_since_ms(hour, settle_ms) <= now_ms


def combined(reports: Sequence[VerifyReport]) -> VerifyReport:
    """Several hours as one."""
    return VerifyReport(
        describe([report.hour for report in reports]) if reports else "",
        checked=sum(report.checked for report in reports),
        before=sum(report.before for report in reports),
        unverifiable=sum(report.unverifiable for report in reports),
        left=sum(report.left for report in reports),
        totals=sum(report.totals for report in reports),
        differences=tuple(difference for report in reports for difference in report.differences),
        seconds=sum(report.seconds for report in reports),
    )
