"""The sensor `segments_landed`: tick the pipeline, say what landed, request one run per lane for what is due.

Here, too:
* checks of what is so whoever asks, whichever hours a run is about: whether the source is there, what is left out.

No run key: it would de-duplicate for ever, also after a failure. The ledger and the question whether a live run is in
flight do it instead. Decisions about hours belong to `due`, those about dead runs to `runs`.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from typing import Final

import dagster as dg

from pyro_assets.app import App
from pyro_assets.defs.catalogue import LANDED, SEGMENTS
from pyro_assets.defs.checks import ASSET, LEFT_OUT, left_out_result
from pyro_assets.defs.due import Landed, Watch, describe
from pyro_assets.defs.jobs import LIVE, RANGE_END, RANGE_START, AssetJob, lane_of, lane_tags
from pyro_assets.defs.metadata import arrival_metadata
from pyro_assets.defs.runs import end_silent_runs, opening
from pyro_assets.errors import StorageUnavailable
from pyro_assets.jobs.decide import LeftOut
from pyro_assets.ledger.records import Lane
from pyro_assets.operations import runs, ticks, upkeep
from pyro_assets.planning.report import TickReport
from pyro_assets.planning.spans import spans
from pyro_assets.resources.environment import usable
from pyro_assets.resources.pipeline import PipelineResource
from pyro_assets.storage.keys import hour_of

SOURCE: Final = "source_is_pyroscopes_bucket"


def source_check() -> dg.AssetChecksDefinition:
    """Whether anything can land at all."""

    @dg.asset_check(
        asset=SEGMENTS,
        name=SOURCE,
        description="The source can be listed and has segments/ or blocks/: otherwise nothing lands, and nothing new "
        "means nothing. Ticks see to it all the time.",
    )
    def source_is_pyroscopes_bucket(
        context: dg.AssetCheckExecutionContext, pipeline: PipelineResource
    ) -> dg.AssetCheckResult:
        with opening(pipeline, context.run.run_id) as opened:
            verdict = source_verdict(ticks.source_problem(opened))
        return dg.AssetCheckResult(passed=verdict.passed, description=verdict.description)

    return source_is_pyroscopes_bucket


def source_verdict(problem: str) -> dg.AssetCheckEvaluation:
    """The verdict over a source with this problem, "" for none."""
    return dg.AssetCheckEvaluation(
        asset_key=dg.AssetKey(SEGMENTS),
        check_name=SOURCE,
        passed=not problem,
        description=problem or "it can be listed, and has segments or blocks",
    )


def left_out_verdict(found: LeftOut) -> dg.AssetCheckEvaluation:
    """The verdict over what nobody has acknowledged, as runs give it."""
    result = left_out_result(found, usable()[0].web_url)
    return dg.AssetCheckEvaluation(
        asset_key=dg.AssetKey(ASSET),
        check_name=LEFT_OUT,
        passed=result.passed,
        severity=result.severity,
        description=result.description,
        metadata=result.metadata,
    )


#: Dagster's sensor loop comes by every 5 s; asked for the same 5 s, it passes over every second or third tick, because
#: the loop is never exactly on time.
INTERVAL_SECONDS: Final = 4
_MOST_LANES: Final = 1_000
IN_FLIGHT: Final = [
    dg.DagsterRunStatus.NOT_STARTED,
    dg.DagsterRunStatus.QUEUED,
    dg.DagsterRunStatus.STARTING,
    dg.DagsterRunStatus.STARTED,
    dg.DagsterRunStatus.CANCELING,
]


def landing_sensor(job: AssetJob, first_hour: str) -> dg.SensorDefinition:
    """The sensor, for the job that it requests and the first partition of the location as it was loaded."""

    @dg.sensor(
        name=LANDED,
        job=job,
        minimum_interval_seconds=INTERVAL_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Looks for new segments, plans jobs, reports what landed, and requests one run for all that is "
        "due in each lane that has no live run in flight. Hours from before its first tick wait for a backfill.",
    )
    def segments_landed(context: dg.SensorEvaluationContext, pipeline: PipelineResource) -> dg.SensorResult:
        """One tick."""
        with pipeline.open() as opened:
            tick = ticks.tick(opened)
            for sentence in tick.others:
                context.log.warning(sentence)
            watch = _watch(context.cursor, pipeline.live_since, tick, opened)
            end_silent_runs(context.instance, opened, tick.now_ms, pipeline.settings().lease_ms)
            # After a listing that failed nothing is known of the source.
            known = tick.source_problem or not tick.failures
            verdicts = [source_verdict(tick.source_problem)] if known else []
            verdicts.append(left_out_verdict(upkeep.left_out(opened)))
        return decide(tick, watch, live_runs(context.instance), verdicts, first_hour)

    return segments_landed


def decide(
    tick: TickReport,
    watch: Watch,
    in_flight: Sequence[dg.DagsterRun],
    verdicts: Sequence[dg.AssetCheckEvaluation] = (),
    first_hour: str = "",
) -> dg.SensorResult:
    """What a tick leads to.

    Args:
        tick: what it found.
        watch: what the one before remembered.
        in_flight: live runs that are not over.
        verdicts: of checks, as they are now; those that changed are reported.
        first_hour: the first partition, as the location was loaded.

    Raises:
        StorageUnavailable: a listing failed and there is nothing else to report, so that the tick is seen as failed.
    """
    running_hour = hour_of(tick.now_ms)

    def wanted(hours: Iterable[str]) -> list[str]:
        # A clock ahead of ours makes hours that are no partitions yet; they come in time. Earlier ones that were seen
        # since the location was loaded are partitions when it is loaded again.
        return [hour for hour in hours if watch.takes(hour) and first_hour <= hour <= running_hour]

    due = wanted(tick.due)
    requests = [
        run_request(first, last, lane)
        for lane, hours in _lanes(tick)
        if not any(in_the_way(run, lane) for run in in_flight)
        for first, last in spans(wanted(hours))
    ]
    landed = watch.landed.plus(tick.arrivals)
    # A listing that goes on may bring thousands of hours, too many to remember.
    reports = landed.hours if requests or tick.truncated or landed.is_due(tick.now_ms) else {}
    said = {verdict.check_name: verdict.description or "" for verdict in verdicts}
    events: list[dg.AssetMaterialization | dg.AssetObservation | dg.AssetCheckEvaluation] = [
        dg.AssetMaterialization(SEGMENTS, partition=hour, metadata=arrival_metadata(arrivals, tick.now_ms))
        for hour, arrivals in sorted(reports.items())
    ]
    landed = Landed(reported_ms=tick.now_ms) if events else landed
    cursor = replace(watch, landed=landed, said={**watch.said, **said}).to_cursor()
    events += [verdict for verdict in verdicts if watch.said.get(verdict.check_name) != said[verdict.check_name]]
    if requests:
        return dg.SensorResult(run_requests=requests, asset_events=events, cursor=cursor)
    if tick.failures and not tick.source_problem and not tick.arrivals and not events:
        raise StorageUnavailable(
            f"{len(tick.failures)} listings failed; what they hide comes with a later tick. {tick.failures[0]}"
        )
    reason = skip_reason(tick, watch, due, in_flight, first_hour)
    return dg.SensorResult(skip_reason=reason, asset_events=events, cursor=cursor)


def run_request(first: str, last: str, lane: Lane) -> dg.RunRequest:
    """A run of a lane over consecutive hours, both included."""
    tags = lane_tags(lane)
    if first == last:
        return dg.RunRequest(partition_key=first, tags=tags)
    return dg.RunRequest(tags={**tags, RANGE_START: first, RANGE_END: last})


def in_the_way(run: dg.DagsterRun, lane: Lane) -> bool:
    """Whether a live run that is not over holds back the next one of a lane.

    One from before the number of lanes was changed has shards of several of the present ones: all wait for it, so that
    the samples of a shard are sent in the order of time. That a job is done once does not depend on it.
    """
    other = lane_of(run)
    return other is None or other.count != lane.count or other.index == lane.index


def _lanes(tick: TickReport) -> Iterable[tuple[Lane, Iterable[str]]]:
    """Each lane with its hours that have something due."""
    if not tick.lanes:
        return [(Lane(), tick.due)]
    return [(Lane(index, len(tick.lanes)), hours) for index, hours in enumerate(tick.lanes)]


def skip_reason(
    tick: TickReport, watch: Watch, due: Sequence[str], in_flight: Sequence[dg.DagsterRun], first_hour: str = ""
) -> str:
    """Why no run is requested, and what is pending."""
    parts = []
    if in_flight:
        left = (
            f"; {sum(tick.due[hour] for hour in due)} due jobs of {describe(due)} are for it or the next" if due else ""
        )
        parts.append("; ".join(f"live run {run.run_id[:8]} is {run.status.value.lower()}" for run in in_flight) + left)
    elif tick.source_problem:
        parts.append(tick.source_problem)
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
    early = sorted(hour for hour in {*tick.due, *tick.arrivals} if hour < first_hour)
    if early:
        parts.append(
            f"{describe(early)} came to light since this code location was loaded, whose partitions begin with "
            f"{first_hour}: reload it (Deployment; or restart the code server), then they can be materialized"
        )
    if tick.out_of_range:
        parts.append(f"{tick.out_of_range} new segments were created outside the partitions and are left alone")
    if tick.truncated:
        parts.append("the listing goes on with the next tick")
    parts += [*tick.others[:1], *tick.failures[:1]]
    return "; ".join(parts)


def live_runs(instance: dg.DagsterInstance) -> Sequence[dg.DagsterRun]:
    """Live runs that are not over, the latest first."""
    return instance.get_runs(filters=dg.RunsFilter(job_name=LIVE, statuses=IN_FLIGHT), limit=_MOST_LANES)


def _watch(cursor: str | None, live_since: str, tick: TickReport, opened: App) -> Watch:
    def began(hour: str) -> bool:
        return runs.hour_report(opened, hour).blocks > 0

    watch = Watch.from_cursor(cursor, live_since or hour_of(tick.now_ms))
    return watch.after(tick.arrivals, tick.unfinished_jobs, began)
