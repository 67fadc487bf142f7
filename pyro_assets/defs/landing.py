"""The sensor `segments_landed`: tick the pipeline, say what landed, request one run for what is due.

No run key: it would de-duplicate for ever, also after a failure. The ledger and the question whether a live run is in
flight do it instead. Decisions about hours belong to `due`.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

import dagster as dg

from pyro_assets.defs.assets import LANDED, SEGMENTS
from pyro_assets.defs.due import Watch, describe, spans
from pyro_assets.defs.jobs import LANE, LIVE, RANGE_END, RANGE_START, AssetJob
from pyro_assets.defs.landed import Landed
from pyro_assets.defs.metadata import arrival_metadata
from pyro_assets.errors import StorageUnavailable
from pyro_assets.pipeline.pipeline import Pipeline
from pyro_assets.pipeline.reports import TickReport
from pyro_assets.storage.keys import hour_of
from resources.pipeline import PipelineResource

#: Dagster's sensor loop comes by every 5 s; asked for the same 5 s, it passes over every second or third tick, because
#: the loop is never exactly on time.
INTERVAL_SECONDS: Final = 4
IN_FLIGHT: Final = [
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]


def landing_sensor(job: AssetJob) -> dg.SensorDefinition:
    """The sensor, for the job that it requests."""

    @dg.sensor(
        name=LANDED,
        job=job,
        minimum_interval_seconds=INTERVAL_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Looks for new segments, plans jobs, reports what landed, and requests one run for all that is "
        "due while no live run is in flight. Hours from before its first tick wait for a backfill.",
    )
    def segments_landed(context: dg.SensorEvaluationContext, pipeline: PipelineResource) -> dg.SensorResult:
        """One tick."""
        with pipeline.open() as opened:
            tick = opened.tick()
            watch = _watch(context.cursor, pipeline.live_since, tick, opened)
        return decide(tick, watch, live_runs(context.instance))

    return segments_landed


def decide(tick: TickReport, watch: Watch, in_flight: Sequence[dg.DagsterRun]) -> dg.SensorResult:
    """What a tick leads to.

    Raises:
        StorageUnavailable: a listing failed and there is nothing else to report, so that the tick is seen as failed.
    """
    running_hour = hour_of(tick.now_ms)
    # A clock ahead of ours makes hours that are no partitions yet; they come in time.
    due = [hour for hour in tick.due if watch.takes(hour) and hour <= running_hour]
    requests = [run_request(first, last) for first, last in spans(due)] if not in_flight else []
    landed = watch.landed.plus(tick.arrivals)
    # A listing that goes on may bring thousands of hours, too many to remember.
    reports = landed.hours if requests or tick.truncated or landed.is_due(tick.now_ms) else {}
    events = [
        dg.AssetMaterialization(SEGMENTS, partition=hour, metadata=arrival_metadata(arrivals, tick.now_ms))
        for hour, arrivals in sorted(reports.items())
    ]
    cursor = replace(watch, landed=Landed(reported_ms=tick.now_ms) if events else landed).to_cursor()
    if requests:
        return dg.SensorResult(run_requests=requests, asset_events=events, cursor=cursor)
    if tick.failures and not tick.arrivals and not events:
        raise StorageUnavailable(
            f"{len(tick.failures)} listings failed; what they hide comes with a later tick. {tick.failures[0]}"
        )
    reason = skip_reason(tick, watch, due, in_flight)
    return dg.SensorResult(skip_reason=reason, asset_events=events, cursor=cursor)


def run_request(first: str, last: str) -> dg.RunRequest:
    """A run over consecutive hours, both included."""
    if first == last:
        return dg.RunRequest(partition_key=first)
    return dg.RunRequest(tags={RANGE_START: first, RANGE_END: last})


def skip_reason(tick: TickReport, watch: Watch, due: Sequence[str], in_flight: Sequence[dg.DagsterRun]) -> str:
    """Why no run is requested, and what is pending."""
    parts = []
    if in_flight:
        run = in_flight[0]
        left = (
            f"; {sum(tick.due[hour] for hour in due)} due jobs of {describe(due)} are for it or the next" if due else ""
        )
        parts.append(f"live run {run.run_id[:8]} is {run.status.value.lower()}{left}")
    elif tick.waiting_sources or tick.unfinished_jobs:
        parts.append("nothing is due")
    else:
        parts.append("nothing new: every segment that landed is in a derived job")
    if tick.waiting_sources:
        parts.append(f"{tick.waiting_sources} segments wait for more or for their age")
    if tick.leased_jobs:
        parts.append(f"{tick.leased_jobs} jobs are being worked on")
    history = [hour for hour in tick.due if not watch.takes(hour)]
    if history:
        jobs = sum(tick.due[hour] for hour in history)
        parts.append(f"{jobs} jobs of {describe(history)} landed before {watch.live_since}: start a backfill for them")
    if tick.out_of_range:
        parts.append(f"{tick.out_of_range} new segments were created outside the partitions and are left alone")
    if tick.truncated:
        parts.append("the listing goes on with the next tick")
    parts += tick.failures[:1]
    return "; ".join(parts)


def live_runs(instance: dg.DagsterInstance) -> Sequence[dg.DagsterRun]:
    """Live runs that are not over, the latest first."""
    return instance.get_runs(filters=dg.RunsFilter(tags={LANE: LIVE}, statuses=IN_FLIGHT), limit=10)


def _watch(cursor: str | None, live_since: str, tick: TickReport, opened: Pipeline) -> Watch:
    def began(hour: str) -> bool:
        return opened.hour_report(hour).blocks > 0

    watch = Watch.from_cursor(cursor, live_since or hour_of(tick.now_ms))
    return watch.after(tick.arrivals, tick.unfinished_jobs, began)
