"""The two asset checks of an hour: nothing lost in compaction, nothing left undone.

Plain checks that read the run's partition keys or config (partitioned checks are still a preview), as one step,
because a step costs events. What is compared belongs to `pipeline`.
"""

import time
from collections.abc import Iterator, Sequence
from typing import Final

import dagster as dg
from pydantic import Field

from pyro_assets.defs.due import describe
from pyro_assets.defs.metadata import verify_metadata
from pyro_assets.pipeline.reports import HourReport, VerifyReport
from pyro_assets.storage.keys import HOUR_MS, hour_start_ms
from resources.pipeline import PipelineResource

ASSET: Final = "l1_blocks"
TOTALS: Final = "totals_equal_sources"
UNDONE: Final = "no_source_left_undone"
#: The step of both.
STEP: Final = "check_hours"
#: What a run leaves of an hour, the next one compares.
_SECONDS: Final = 600.0
_LATEST: Final = 2


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
            description="Every source of the hour is in a derived job, or set aside with a reason. While an hour is "
            "running, sources wait for their job: that is counted and no failure.",
        ),
    ]


class CheckedHours(dg.Config):
    """Which hours a run of the checks is about."""

    hours: list[str] = Field(
        default=[], description="partition keys; empty: the run's partitions, else the two latest hours"
    )


def hour_checks() -> dg.AssetChecksDefinition:
    """Both checks over the hours of a run."""

    @dg.multi_asset_check(name=STEP, specs=check_specs(), can_subset=True)
    def check_hours(
        context: dg.AssetCheckExecutionContext, config: CheckedHours, pipeline: PipelineResource
    ) -> Iterator[dg.AssetCheckResult]:
        """Compare, and look for what was left."""
        wanted = {key.name for key in context.selected_asset_check_keys}
        partitioned = context.has_partition_key or context.has_partition_key_range
        with pipeline.open() as opened:
            hours = config.hours or (context.partition_keys if partitioned else opened.hours()[-_LATEST:])
            if TOTALS in wanted:
                end = time.monotonic() + _SECONDS
                yield totals_result([opened.verify_hour(hour, deadline_monotonic=end) for hour in hours])
            if UNDONE in wanted:
                settle_ms = pipeline.settings().settle_ms
                yield undone_result([opened.hour_report(hour) for hour in hours], time.time_ns() // 10**6, settle_ms)

    return check_hours


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


def undone_result(reports: Sequence[HourReport], now_ms: int, settle_ms: int) -> dg.AssetCheckResult:
    """Whether every hour that is over, late uploads included, has nothing pending."""
    left = [report for report in reports if report.pending and is_closed(report.hour, now_ms, settle_ms)]
    waiting = sum(report.pending for report in reports if report not in left)
    failed = sum(report.pending for report in left)
    return dg.AssetCheckResult(
        check_name=UNDONE,
        asset_key=ASSET,
        passed=not left,
        description=f"{failed} sources of {describe([report.hour for report in left])} are left: run these hours again"
        if left
        else "every source is in a derived job or set aside"
        if not waiting
        else f"{waiting} sources wait for their job in an hour that is still running",
        metadata={
            "left": failed,
            "waiting": waiting,
            "set_aside": sum(report.set_aside_total for report in reports),
            "segments": sum(report.segments for report in reports),
        },
    )


def is_closed(hour: str, now_ms: int, settle_ms: int) -> bool:
    """Whether an hour is over and late uploads had their time."""
    return hour_start_ms(hour) + HOUR_MS + settle_ms <= now_ms


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
