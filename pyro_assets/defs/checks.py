"""The asset checks of an hour: nothing lost in compaction, nothing left undone, every series made.

Plain checks that read the run's partition keys (partitioned checks are still a preview), made by the step that does
the jobs: Dagster shows a result as that of the latest materialisation only if both come from one run. What is
compared belongs to `pipeline`.
"""

import time
from collections.abc import Collection, Iterator, Sequence
from typing import Final

import dagster as dg

from pyro_assets.defs.due import describe
from pyro_assets.defs.metadata import verify_metadata
from pyro_assets.pipeline.hours import over_since_ms
from pyro_assets.pipeline.pipeline import Pipeline
from pyro_assets.pipeline.reports import HourReport, VerifyReport

ASSET: Final = "l1_blocks"
TOTALS: Final = "totals_equal_sources"
UNDONE: Final = "no_source_left_undone"
SERIES_ASSET: Final = "dimension_series"
SERIES_MADE: Final = "every_series_made"
#: Facts of derivations that fail the check.
_UNMADE: Final = {
    "overflowing_series": "series have values that do not fit 64 bits",
    "refused_rules": "rules with overflow: error gave a tenant more than max_series, and so none",
}
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
            description="Every source of the hour is in a derived job, or set aside with a reason, and none was "
            "deleted before it was read; and the bucket was listed for it as a whole since it is over. While an hour "
            "is running, sources wait for their job: that is counted and no failure.",
        ),
        dg.AssetCheckSpec(
            SERIES_MADE,
            asset=SERIES_ASSET,
            description="Every series of the hour, of dimensions and of functions, has a value that fits 64 bits, and "
            "no rule with `overflow: error` gave too many. What is named here is left out; all other series are made.",
        ),
    ]


def check_results(
    opened: Pipeline, hours: Sequence[str], wanted: Collection[str], settle_ms: int, seconds: float, *, live: bool
) -> Iterator[dg.AssetCheckResult]:
    """The checks over the hours of a run.

    Args:
        opened: what is asked.
        hours: partition keys.
        wanted: names of the checks to make.
        settle_ms: an hour is over so long after its end.
        seconds: for comparing; what is left then, the next run compares.
        live: the run did not list its hours: the one that closes an hour does, soon after it is over.
    """
    if TOTALS in wanted:
        end = time.monotonic() + seconds
        yield totals_result([opened.verify_hour(hour, deadline_monotonic=end) for hour in hours])
    if not {UNDONE, SERIES_MADE} & set(wanted):
        return
    reports = [opened.hour_report(hour) for hour in hours]
    if UNDONE in wanted:
        yield undone_result(reports, time.time_ns() // 10**6, settle_ms, _CLOSING_MS if live else 0)
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
        metadata=verify_metadata(combined(reports)),
    )


def undone_result(
    reports: Sequence[HourReport], now_ms: int, settle_ms: int, closing_ms: int = 0
) -> dg.AssetCheckResult:
    """Whether every hour that is over, late uploads included, has nothing pending, and no hour has lost anything.

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
    losing = [report for report in reports if report.sources_by_state.get("lost")]
    lost = sum(report.sources_by_state["lost"] for report in losing)
    return dg.AssetCheckResult(
        check_name=UNDONE,
        asset_key=ASSET,
        passed=not left and not losing and not unlisted,
        description=f"{lost} sources of {describe([report.hour for report in losing])} were deleted before they were "
        "read: their profiles are lost; see `pyro-assets quarantine list` and `pyro-assets doctor`"
        if losing
        else f"{failed} sources of {describe([report.hour for report in left])} are left: run these hours again"
        if left
        else f"the bucket was not listed as a whole for {describe(unlisted)} since: run these hours again"
        if unlisted
        else "every source is in a derived job or set aside"
        if not waiting
        else f"{waiting} sources wait for their job in an hour that is still running",
        metadata={
            "left": failed,
            "lost": lost,
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
