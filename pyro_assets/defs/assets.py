"""The assets: what lands, and what one task makes of it.

An asset is a shell: partition keys -> `App.run` -> metadata. Three of them are one multi-asset because a whole
job is done while its columns are in memory, and the fourth because samples leave as soon as they are stored.
"""

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Final

import dagster as dg
from pydantic import Field

from pyro_assets.app import App
from pyro_assets.defs.catalogue import ASSETS, EXPORTED, made_specs
from pyro_assets.defs.checks import check_results, check_specs, still_failing
from pyro_assets.defs.exports import Exports, Sending, export_check_results, export_check_specs, exporting
from pyro_assets.defs.jobs import CLOSE, LANE, lane_of, turn_of
from pyro_assets.defs.metadata import Metadata, hour_metadata
from pyro_assets.defs.runs import Lookout, Stay, look_seconds, opening, stay
from pyro_assets.errors import SettingsError
from pyro_assets.jobs.counts import Progress
from pyro_assets.ledger.hours import HourRecords
from pyro_assets.ledger.records import Lane
from pyro_assets.monitoring.reports import HourReport, total_run
from pyro_assets.operations import runs, ticks
from pyro_assets.operations.runs import STEPS
from pyro_assets.planning.due import DueJobs
from pyro_assets.planning.plan import Planner
from pyro_assets.planning.tick import policy_of
from pyro_assets.resources.environment import usable
from pyro_assets.resources.pipeline import PipelineResource
from pyro_assets.settings import KINDS

_PROGRESS_SECONDS: Final = 10.0
_SHOWN_ERRORS: Final = 10
#: What is said of an hour without segments, by whether somebody looked since it was over.
_NOTHING: Final = {False: "no segment of it is known", True: "there is no segment of it in the bucket"}
_LATEST_HOURS: Final = 2
#: What a live run has time to compare before it goes on; the next one compares what is left.
_LIVE_CHECK_SECONDS: Final = 5.0
_CHECK_SECONDS: Final = 3600.0

Result = dg.MaterializeResult[None] | dg.AssetCheckResult


class Choice(dg.Config):
    """What a run is restricted to, beside its assets and hours."""

    rules: list[str] = Field(
        default=[],
        description="Only the series of these rules are made, of jobs that are derived already and do not have them "
        "in this version, and put among the others, which stay as they are. Empty: all rules.",
    )


def made_assets(
    partitions: dg.PartitionsDefinition, in_runs: dg.BackfillPolicy, *, reconcile: bool = False
) -> dg.AssetsDefinition:
    """The multi-asset; a range of hours is one run, a backfill of a long one several."""

    @dg.multi_asset(
        name="compact_and_derive",
        specs=made_specs(),
        check_specs=[*check_specs(), *export_check_specs(reconcile=reconcile)],
        partitions_def=partitions,
        can_subset=True,
        backfill_policy=in_runs,
    )
    def compact_and_derive(
        context: dg.AssetExecutionContext, config: Choice, pipeline: PipelineResource
    ) -> Iterator[Result]:
        """Do the due jobs of the run's hours and check them; a live run then stays for those that become due."""
        steps = frozenset(step for step in STEPS if dg.AssetKey(step) in context.selected_asset_keys)
        exported = dg.AssetKey(EXPORTED) in context.selected_asset_keys
        assets = frozenset([*steps, *([EXPORTED] if exported else [])])
        checks = {key.name for key in context.selected_asset_check_keys}
        lane = lane_of(context.run)
        live = bool(steps) and lane is not None and not config.rules
        progress = None if live else _log_progress(context.log)
        run_id = context.run.run_id
        takes_turn = live and turn_of(context.run) != "late"
        with (
            opening(pipeline, run_id, series=bool(steps)) as opened,
            runs.turn(opened, lane if takes_turn else None, run_id) as turn,
        ):
            # Its time begins with its turn.
            deadline = pipeline.deadline_monotonic(live=live)
            if not live:
                _warn(context, opened)
            hours = _hours(context, opened)
            # Only ticks and rules know what they are about: whoever else asks for hours has somebody look there first.
            unseen = [] if live or config.rules else _look(context, opened, hours, deadline)
            # Who asks for hours gets what is before a receiver's start, too; and that it is old is no lag.
            asked = lane is None and context.run.tags.get(LANE) != CLOSE and not config.rules
            run = partial(
                runs.run,
                opened,
                asked=asked,
                steps=steps,
                run_id=run_id,
                rules=config.rules,
                lane=lane,
                deadline_monotonic=deadline,
                progress=progress,
            )
            say = partial(_say, context, assets)
            settle_ms = pipeline.settings().settle_ms
            sending = Sending(live=live, asked=asked, until_monotonic=deadline, lane=lane)
            with exporting(opened, hours if exported else [], sending) as exports:
                reports = run(hours) if steps else {}
                if live:
                    say(reports)
                    how = Stay(deadline, say, is_relieved=lambda: turn.is_over)
                    lookout = Lookout(opened, hours, lane, look_seconds(pipeline.settings()))
                    reports = stay(partial(_due, opened, lane, min(hours), lookout), run, reports, how)
                exports.finish()
                # From here on the next run is at work: what follows is no lag of anything.
                turn.leave()
                if live:
                    _warn(context, opened)
                failing = partial(still_failing, context.instance)
                yield from check_results(
                    opened,
                    hours,
                    checks,
                    settle_ms,
                    _LIVE_CHECK_SECONDS if live else _CHECK_SECONDS,
                    live=live,
                    failing=failing,
                    web_url=usable()[0].web_url,
                )
                yield from export_check_results(opened, hours, checks, time.time_ns() // 10**6, settle_ms, failing)
            if exported:
                # What was sent after the last look.
                now = {hour: runs.hour_report(opened, hour) for hour in reports or hours}
                reports = {hour: _as_run(report, reports.get(hour, report)) for hour, report in now.items()}
            # Dagster writes what is yielded; until that is done the run must be heard, or it is taken for dead.
            yield from _results(context, assets, reports, exports)
            if unseen:
                raise dg.Failure(f"what is known is done, but not all was listed: {unseen[0]}", allow_retries=False)

    return compact_and_derive


def _look(context: dg.AssetExecutionContext, opened: App, hours: Sequence[str], deadline: float) -> list[str]:
    """List what was created in these hours, however late it was uploaded; what went wrong."""
    try:
        report = ticks.list_hours(opened, hours, deadline_monotonic=deadline)
    except SettingsError as error:
        raise dg.Failure(description=str(error), allow_retries=False) from None
    context.log.info(
        f"{report.listed} keys listed, {sum(report.new.values())} of them new, {report.planned_jobs} jobs planned"
    )
    left = [] if report.finished or report.failures else ["there was no time for the rest; the next run goes on"]
    return [*report.failures, *left]


def _warn(context: dg.AssetExecutionContext, opened: App) -> None:
    for sentence in ticks.warnings(opened):
        context.log.warning(sentence)


def _as_run(now: HourReport, report: HourReport) -> HourReport:
    """An hour as it is now, with what a run did there."""
    return replace(now, run=report.run, rules=report.rules)


def _due(opened: App, lane: Lane | None, since_hour: str, lookout: Lookout) -> dict[str, int]:
    """What a live run could take now; it does not wait for a tick to see what landed and became old enough.

    History that waits for a backfill may be long, and this is asked several times a second: it is left out.
    """
    lookout.look()
    now_ms = opened.clock()
    Planner(opened.ledger).plan_aged(now_ms, policy_of(opened.settings))
    return DueJobs(opened.ledger).due_hours(now_ms, KINDS, lane, since_hour)


def _hours(context: dg.AssetExecutionContext, opened: App) -> Sequence[str]:
    """The run's partitions; "Execute" beside a check in the UI names none: the latest hours."""
    partitioned = context.has_partition_key or context.has_partition_key_range
    return context.partition_keys if partitioned else HourRecords(opened.ledger).hours()[-_LATEST_HOURS:]


def _results(
    context: dg.AssetExecutionContext, assets: frozenset[str], reports: Mapping[str, HourReport], exports: Exports
) -> Iterator[dg.MaterializeResult[None]]:
    """Metadata per hour and asset. A run with failed jobs leaves the compaction materialised and fails after it."""
    for hour, report in reports.items():
        unknown = "" if report.segments else f"; {_NOTHING[report.listed_ms is not None]}"
        context.log.info(f"{hour}: {report.run.summary}{unknown}")
    for name, counts in exports.done.items():
        (context.log.error if counts.error else context.log.info)(f"receiver {name}: {counts.summary}")
    for step, metadata in _shown(assets, reports).items():
        for hour, of_hour in metadata.items():
            context.add_asset_metadata(of_hour, asset_key=step, partition_key=hour)
        yield dg.MaterializeResult(asset_key=step)
    run = total_run(reports)
    if run.failed:
        # A second attempt of this run would only repeat it.
        raise dg.Failure(
            f"{run.failed} jobs failed ({run.summary}); the ledger tries them again or gives them up. First errors: "
            + "; ".join(run.errors[:_SHOWN_ERRORS]),
            allow_retries=False,
        )
    if exports.failure:
        raise dg.Failure(f"series are stored, but not everything was sent: {exports.failure}", allow_retries=False)


def _say(context: dg.AssetExecutionContext, assets: frozenset[str], reports: Mapping[str, HourReport]) -> None:
    """What a run that stays did so far, so that the UI need not wait for its end, where the hour is materialised."""
    for step, metadata in _shown(assets, reports).items():
        for hour, of_hour in metadata.items():
            context.log_event(dg.AssetObservation(step, partition=hour, metadata=of_hour))


def _shown(assets: frozenset[str], reports: Mapping[str, HourReport]) -> dict[str, dict[str, Metadata]]:
    """Metadata per hour of the assets that a run materialises: series only if no job failed."""
    failed = total_run(reports).failed
    shown = [step for step in ASSETS if step in assets and (step == "l1_blocks" or not failed)]
    web_url = usable()[0].web_url
    return {step: {hour: hour_metadata(report, step, web_url) for hour, report in reports.items()} for step in shown}


def _log_progress(log: dg.DagsterLogManager) -> Callable[[Progress], None]:
    """Say how far a long run is; every line is an event that is stored, so not for each job."""
    last = time.monotonic()

    def say(progress: Progress) -> None:
        nonlocal last
        if time.monotonic() - last >= _PROGRESS_SECONDS:
            last = time.monotonic()
            log.info(f"{progress.done} of {progress.total} jobs done, now in {progress.hour}")

    return say
