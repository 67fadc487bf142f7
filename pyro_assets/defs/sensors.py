"""The sensor `segments_landed`: tick the pipeline, say what landed, request one run per lane for what is due.

Here, too:
* checks of what is so whoever asks, whichever hours a run is about: whether the source is there, what is left out,
  what else needs a person.

No run key: it would de-duplicate for ever, also after a failure. The ledger and the question whether a live run is in
flight do it instead. Decisions about hours belong to `due`, those about dead runs to `runs`.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from typing import Final

import dagster as dg

from pyro_assets.app import App
from pyro_assets.defs.catalogue import LANDED, SEGMENTS
from pyro_assets.defs.checks import ASSET, LEFT_OUT, left_out_result
from pyro_assets.defs.coordinator import lanes_problem
from pyro_assets.defs.due import (
    Landed,
    LiveRun,
    Watch,
    describe,
    what_landed,
    what_to_know,
    why_no_run,
)
from pyro_assets.defs.jobs import (
    IN_FLIGHT,
    LIVE,
    PARTITION,
    RANGE_END,
    RANGE_START,
    AssetJob,
    Turn,
    lane_of,
    lane_tags,
    turn_of,
)
from pyro_assets.defs.metadata import arrival_metadata
from pyro_assets.defs.runs import end_silent_runs, opening
from pyro_assets.errors import StorageUnavailable
from pyro_assets.ledger.records import Lane
from pyro_assets.monitoring.now import Alert
from pyro_assets.operations import decide as decisions
from pyro_assets.operations import runs, ticks, upkeep
from pyro_assets.operations.decide import LeftOut
from pyro_assets.planning.report import TickReport
from pyro_assets.planning.spans import spans
from pyro_assets.resources.environment import usable
from pyro_assets.resources.pipeline import PipelineResource
from pyro_assets.storage.keys import HOUR_MS, hour_of

SOURCE: Final = "source_is_pyroscopes_bucket"
WELL: Final = "nothing_needs_a_person"


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
            return _result(source_verdict(ticks.source_problem(opened)))

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


def alerts_verdict(alerts: Sequence[Alert], since: Mapping[str, int]) -> dg.AssetCheckEvaluation:
    """The verdict over what is wrong right now: what, since when, and what to do."""
    lines = [f"{one.severity}: {one.summary}, since {_clock(since[one.name])}. {one.remedy}" for one in alerts]
    records = [
        dg.TableRecord(
            {
                "alert": one.name,
                "severity": one.severity,
                "since": _clock(since[one.name]),
                "what": one.summary,
                "do": one.remedy,
            }
        )
        for one in alerts
    ]
    columns = [dg.TableColumn(name, "string") for name in ("alert", "severity", "since", "what", "do")]
    is_critical = any(one.severity == "critical" for one in alerts)
    return dg.AssetCheckEvaluation(
        asset_key=dg.AssetKey(SEGMENTS),
        check_name=WELL,
        passed=not alerts,
        severity=dg.AssetCheckSeverity.ERROR if is_critical else dg.AssetCheckSeverity.WARN,
        description="\n".join(lines) or "nothing is late, lost, given up or refused",
        metadata={"alerts": dg.MetadataValue.table(records, dg.TableSchema(columns))} if records else {},
    )


def well_check() -> dg.AssetChecksDefinition:
    """What is wrong right now, whatever it is."""

    @dg.asset_check(
        asset=SEGMENTS,
        name=WELL,
        description="Nothing is late, lost, given up, damaged or refused: the conditions of our alerts, looked at by "
        "ticks once a minute. What fails is named with its time and what to do.",
    )
    def nothing_needs_a_person(
        context: dg.AssetCheckExecutionContext, pipeline: PipelineResource
    ) -> dg.AssetCheckResult:
        with opening(pipeline, context.run.run_id) as opened:
            now_ms = opened.clock()
            alerts = upkeep.alerts(opened, now_ms)
            return _result(alerts_verdict(alerts, {one.name: now_ms for one in alerts}))

    return nothing_needs_a_person


def _result(verdict: dg.AssetCheckEvaluation) -> dg.AssetCheckResult:
    """What a check gives that says the same as ticks do."""
    return dg.AssetCheckResult(
        passed=verdict.passed,
        severity=verdict.severity,
        description=verdict.description,
        metadata=verdict.metadata,
    )


def _clock(time_ms: int) -> str:
    return f"{datetime.fromtimestamp(time_ms / 1000, UTC):%Y-%m-%d %H:%M} UTC"


#: Dagster's sensor loop comes by every 5 s; asked for the same 5 s, it passes over every second or third tick, because
#: the loop is never exactly on time.
INTERVAL_SECONDS: Final = 4
_LOOK_MS: Final = 60_000
_MOST_LANES: Final = 1_000
Verdicts = Sequence[dg.AssetCheckEvaluation]


def landing_sensor(job: AssetJob, first_hour: str) -> dg.SensorDefinition:
    """The sensor, for the job that it requests and the first partition of the location as it was loaded."""

    @dg.sensor(
        name=LANDED,
        job=job,
        minimum_interval_seconds=INTERVAL_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Looks for new segments, plans jobs, reports what landed, and requests one run for all that is "
        "due in each lane that has no live run in flight, or whose run is soon over. Hours from before its first tick "
        "wait for a backfill. Each tick says what it found, and why it requests no run.",
    )
    def segments_landed(context: dg.SensorEvaluationContext, pipeline: PipelineResource) -> dg.SensorResult:
        """One tick."""
        if problem := lanes_problem(context.instance):
            context.log.warning(problem)
        with pipeline.open() as opened:
            watch = Watch.from_cursor(context.cursor, pipeline.live_since)
            tick = ticks.tick(opened, since_ms=watch.ticked_ms or None)
            for sentence in tick.others:
                context.log.warning(sentence)
            watch = _after(watch, tick, opened)
            end_silent_runs(context.instance, opened, tick.now_ms, pipeline.settings().lease_ms)
            watch, verdicts = _verdicts(opened, tick, watch)
        result, line = decide(
            tick,
            watch,
            live_runs(context.instance, tick.now_ms),
            verdicts,
            first_hour=first_hour,
            budget_seconds=pipeline.live_budget_seconds,
        )
        context.log.info(line)
        return result

    return segments_landed


def _verdicts(opened: App, tick: TickReport, watch: Watch) -> tuple[Watch, Verdicts]:
    """What ticks see to, as it is now, and what is remembered of it."""
    # After a listing that failed nothing is known of the source.
    known = tick.source_problem or not tick.failures
    verdicts = [source_verdict(tick.source_problem)] if known else []
    verdicts.append(left_out_verdict(decisions.left_out(opened.ledger)))
    if tick.now_ms - watch.looked_ms >= _LOOK_MS:
        alerts = upkeep.alerts(opened, tick.now_ms)
        since = {one.name: watch.wrong.get(one.name, tick.now_ms) for one in alerts}
        # Its words change all the time: it is given when something else is wrong than before.
        if not watch.looked_ms or set(since) != set(watch.wrong):
            verdicts.append(alerts_verdict(alerts, since))
        watch = replace(watch, wrong=since, looked_ms=tick.now_ms)
    return watch, verdicts


def decide(
    tick: TickReport,
    watch: Watch,
    in_flight: Sequence[LiveRun],
    verdicts: Verdicts = (),
    *,
    first_hour: str = "",
    budget_seconds: float = 60.0,
) -> tuple[dg.SensorResult, str]:
    """What a tick leads to, and a line that says so.

    Args:
        tick: what it found.
        watch: what the one before remembered.
        in_flight: live runs that are not over.
        verdicts: of checks, as they are now; those that changed are reported.
        first_hour: the first partition, as the location was loaded.
        budget_seconds: how long a live run stays.

    Raises:
        StorageUnavailable: a listing failed and there is nothing else to report, so that the tick is seen as failed.
    """
    running_hour = hour_of(tick.now_ms)

    def wanted(hours: Iterable[str]) -> list[str]:
        # A clock ahead of ours makes hours that are no partitions yet; they come in time. Earlier ones that were seen
        # since the location was loaded are partitions when it is loaded again.
        return [hour for hour in hours if watch.takes(hour) and first_hour <= hour <= running_hour]

    requests, asked = [], []
    recent = hour_of(tick.now_ms - HOUR_MS)
    for lane, hours in _lanes(tick):
        mine = [run for run in in_flight if run.lane == lane]
        if any(run.is_of_other_lanes(lane) for run in in_flight):
            continue
        late = [hour for hour in wanted(hours) if hour < recent]
        if late and not any(run.turn == "late" for run in mine):
            requests += [run_request(first, last, lane, "late") for first, last in spans(late)]
            asked.append(f"a run of {describe(late)} for late uploads")
        mine = [run for run in mine if run.turn != "late"]
        if not mine:
            fresh = [hour for hour in wanted(hours) if hour >= recent]
            requests += [run_request(first, last, lane) for first, last in spans(fresh)]
            asked += [f"a run of {describe(fresh)}"] if fresh else []
        elif len(mine) == 1 and (
            fresh := _to_relieve(mine[0], wanted({*hours, *tick.arrivals}), recent, budget_seconds)
        ):
            turn: Turn = "" if mine[0].turn else "next"
            requests.append(run_request(fresh[0], fresh[-1], lane, turn))
            asked.append(f"a run of {describe(fresh)}, to relieve {mine[0].run_id[:8]}")
    landed = watch.landed.plus(tick.arrivals)
    # A listing that goes on may bring thousands of hours, too many to remember.
    reports = landed.hours if requests or tick.truncated or landed.is_due(tick.now_ms) else {}
    said = {verdict.check_name: _said(verdict) for verdict in verdicts}
    events: list[dg.AssetMaterialization | dg.AssetObservation | dg.AssetCheckEvaluation] = [
        dg.AssetMaterialization(SEGMENTS, partition=hour, metadata=arrival_metadata(arrivals, tick.now_ms))
        for hour, arrivals in sorted(reports.items())
    ]
    landed = Landed(reported_ms=tick.now_ms) if events else landed
    cursor = replace(watch, landed=landed, said={**watch.said, **said}).to_cursor()
    events += [verdict for verdict in verdicts if watch.said.get(verdict.check_name) != said[verdict.check_name]]
    if not requests and tick.failures and not tick.source_problem and not tick.arrivals and not events:
        raise StorageUnavailable(
            f"{len(tick.failures)} listings failed; what they hide comes with a later tick. {tick.failures[0]}"
        )
    why = f"requested: {'; '.join(asked)}" if asked else why_no_run(tick, wanted(tick.due), in_flight)
    line = "; ".join([what_landed(tick), why, *what_to_know(tick, watch, first_hour)])
    if requests:
        return dg.SensorResult(run_requests=requests, asset_events=events, cursor=cursor), line
    return dg.SensorResult(skip_reason=line, asset_events=events, cursor=cursor), line


def _to_relieve(run: LiveRun, hours: Sequence[str], recent: str, budget_seconds: float) -> list[str]:
    """The hours of the run that is to relieve another one; none while that may stay or nothing lands."""
    fresh = sorted(hour for hour in hours if hour >= recent)
    if not fresh or not run.is_to_be_relieved(fresh, budget_seconds):
        return []
    # The last segments of an hour that is just over become old enough when the other has left.
    return sorted({*fresh, run.last_hour} if run.last_hour >= recent else fresh)


def _said(verdict: dg.AssetCheckEvaluation) -> str:
    return "passes" if verdict.passed else verdict.description or ""


def run_request(first: str, last: str, lane: Lane, turn: Turn = "") -> dg.RunRequest:
    """A run of a lane over consecutive hours, both included."""
    tags = lane_tags(lane, turn)
    if first == last:
        return dg.RunRequest(partition_key=first, tags=tags)
    return dg.RunRequest(tags={**tags, RANGE_START: first, RANGE_END: last})


def _lanes(tick: TickReport) -> Iterable[tuple[Lane, Iterable[str]]]:
    """Each lane with its hours that have something due."""
    if not tick.lanes:
        return [(Lane(), tick.due)]
    return [(Lane(index, len(tick.lanes)), hours) for index, hours in enumerate(tick.lanes)]


def live_runs(instance: dg.DagsterInstance, now_ms: int) -> Sequence[LiveRun]:
    """Live runs that are not over, the latest first."""
    records = instance.get_run_records(dg.RunsFilter(job_name=LIVE, statuses=IN_FLIGHT), limit=_MOST_LANES)
    return [
        LiveRun(
            run.run_id,
            run.status.value.lower(),
            lane_of(run),
            turn_of(run),
            run.tags.get(RANGE_END, run.tags.get(PARTITION, "")),
            None if record.start_time is None else max(now_ms / 1000 - record.start_time, 0.0),
        )
        for record in records
        for run in [record.dagster_run]
    ]


def _after(watch: Watch, tick: TickReport, opened: App) -> Watch:
    def began(hour: str) -> bool:
        return runs.hour_report(opened, hour).blocks > 0

    # What a listing hid is told by the tick that gets it.
    ticked_ms = watch.ticked_ms if tick.failures else tick.now_ms
    watch = replace(watch, live_since=watch.live_since or hour_of(tick.now_ms), ticked_ms=ticked_ms)
    return watch.after(tick.arrivals, tick.unfinished_jobs, began)
