"""The sensor `housekeeping`: have hours that are over done and checked for good, and prune what is old.

It decides when; how an hour is sealed and a run deleted stands in `retention`. Add what must happen every minute
beside the live path.
"""

import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

import dagster as dg

from pyro_assets.app import App
from pyro_assets.defs.catalogue import ASSETS, SEGMENTS
from pyro_assets.defs.checks import is_closed
from pyro_assets.defs.due import describe
from pyro_assets.defs.jobs import CLOSE, LANE, AssetJob
from pyro_assets.defs.metadata import empty_metadata
from pyro_assets.defs.retention import materialised, prune
from pyro_assets.operations import runs, ticks
from pyro_assets.resources.pipeline import PipelineResource, RetentionResource
from pyro_assets.storage.keys import HOUR_MS, hour_of, hour_start_ms

INTERVAL_SECONDS: Final = 60
#: A tick must end within a minute, so it looks at so many at most.
_HOURS_A_TICK: Final = 10
#: For hours of which nothing is known, of the minute that a tick has.
_LISTING_SECONDS: Final = 20.0


def housekeeping_sensor(job: AssetJob) -> dg.SensorDefinition:
    """The sensor, for the job that finishes an hour."""

    @dg.sensor(
        name="housekeeping",
        job=job,
        minimum_interval_seconds=INTERVAL_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="When an hour is over, has what is left of it done, and checks it for good. Deletes Dagster's "
        "records of live runs after PYRO_ASSETS_KEEP_RUNS_MINUTES (of failed ones after seven days), once the hour's "
        "figures are kept apart from them. Blocks, series and the ledger are not touched.",
    )
    def housekeeping(
        context: dg.SensorEvaluationContext, pipeline: PipelineResource, retention: RetentionResource
    ) -> dg.SensorResult:
        """One tick."""
        with pipeline.open() as opened:
            keep = timedelta(minutes=retention.keep_runs_minutes)
            settle_ms = pipeline.settings().settle_ms
            return keep_house(context.instance, opened, context.cursor, datetime.now(UTC), keep, settle_ms)

    return housekeeping


def keep_house(
    instance: dg.DagsterInstance,
    opened: App,
    cursor: str | None,
    now: datetime,
    keep: timedelta,
    settle_ms: int,
) -> dg.SensorResult:
    """What a tick does and asks for.

    Args:
        instance: Dagster's records.
        opened: what the hours are asked of.
        cursor: of the tick before: the last hour that was over then.
        now: with its time zone.
        keep: how long live runs are kept; nothing: for ever.
        settle_ms: an hour is over so long after its end.
    """
    now_ms = round(now.timestamp() * 1000)
    closed, over = newly_closed(cursor, now_ms, settle_ms)
    # Hours that nobody processed are history, which is for people to start. A live run materialises at its end: one
    # that was killed has left blocks only.
    reports = {hour: runs.hour_report(opened, hour) for hour in over}
    unknown = [hour for hour, report in reports.items() if not report.segments and not materialised(instance, hour)]
    trouble: list[str] = []
    if unknown:
        listed = ticks.list_hours(opened, unknown, deadline_monotonic=time.monotonic() + _LISTING_SECONDS)
        if not listed.finished:
            # The next tick tries again, and goes on from there.
            over = over[: over.index(unknown[0])]
            closed = over[-1] if over else cursor or closed
            why = listed.failures[0] if listed.failures else "there was no time for the rest"
            trouble.append(f"{describe(unknown)} could not be listed: {why}")
    empty = materialise_empty(instance, opened, [hour for hour in unknown if hour in over])
    wanted = [hour for hour in over if materialised(instance, hour) or reports[hour].blocks]
    wanted = [hour for hour in wanted if hour not in empty]
    pruned = prune(instance, opened, now, keep) if keep else 0
    if wanted:
        requests = [dg.RunRequest(partition_key=hour, tags={LANE: CLOSE}) for hour in wanted]
        return dg.SensorResult(run_requests=requests, cursor=closed)
    done = [*trouble, *([f"pruned {pruned} live runs"] if pruned else [])]
    done += [f"listed and empty: {describe(empty)}"] if empty else []
    return dg.SensorResult(skip_reason="; ".join(done) or "nothing to close or prune", cursor=closed)


def materialise_empty(instance: dg.DagsterInstance, opened: App, hours: Sequence[str]) -> list[str]:
    """Says of hours that were listed and have no segment that they are done: they would stay missing for ever.

    A late upload makes one an hour like any other.

    Returns:
        The empty ones.
    """
    empty = [hour for hour in hours if not runs.hour_report(opened, hour).segments]
    for hour in empty:
        for asset in (SEGMENTS, *ASSETS):
            instance.report_runless_asset_event(
                dg.AssetMaterialization(asset, partition=hour, metadata=empty_metadata())
            )
    return empty


def newly_closed(closed: str | None, now_ms: int, settle_ms: int) -> tuple[str, list[str]]:
    """The hours that became over since `closed`, at most ten, and the last of them (or `closed`).

    Without `closed` (or with something else in it), the hour before the running one counts as closed.

    >>> newly_closed("2026-11-25-08:00", 1795597200000 + 4_000_000, 120_000)
    ('2026-11-25-09:00', ['2026-11-25-09:00'])
    >>> newly_closed(None, 1795597200000 + 4_000_000, 120_000)
    ('2026-11-25-09:00', [])
    """
    try:
        last_ms = hour_start_ms(closed or "")
    except ValueError:
        last_ms = hour_start_ms(hour_of(now_ms)) - HOUR_MS
    hours = [hour_of(last_ms + position * HOUR_MS) for position in range(_HOURS_A_TICK + 1)]
    over = [hour for hour in hours[1:] if is_closed(hour, now_ms, settle_ms)]
    return (over or hours)[-1 if over else 0], over
