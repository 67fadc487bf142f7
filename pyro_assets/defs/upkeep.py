"""Upkeep: jobs that schedules start, in a lane of their own: merge series, sweep for late uploads, remove what is old.

Here, too:
* the asset of blocks of hours, and what starts it when an hour is over;
* the renewal of the functions of rules with `top_k`: a job, and the schedule that starts it every night.

Each step does a bounded amount of work and says what it found; the next run goes on. The work itself is the pipeline's.
Add a job here when something must be done every so often and may take longer than a sensor's tick.
"""

import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import dagster as dg

from pyro_assets.archive.retain import RetentionReport
from pyro_assets.defs.catalogue import HOUR_BLOCKS, SEGMENTS, hour_blocks_spec
from pyro_assets.defs.due import describe
from pyro_assets.defs.jobs import RANGE_END, RANGE_START, SWEEP, UPKEEP_SECONDS, UPKEEP_TAGS, AssetJob
from pyro_assets.defs.metadata import HEADLINE, Metadata, late_metadata, mib
from pyro_assets.defs.retention import delete_runs, old_runs
from pyro_assets.defs.runs import opening
from pyro_assets.operations import ticks, upkeep
from pyro_assets.resources.pipeline import PipelineResource, RetentionResource
from pyro_assets.storage.keys import HOUR_MS, hour_start_ms
from pyro_assets.storage.shown import counted

if TYPE_CHECKING:
    from pyro_assets.archive.hours import HourCompaction

_SHOWN: Final = 50


class RetentionConfig(dg.Config):
    """Whether retention removes or only lists."""

    apply: bool = False


def upkeep_jobs() -> tuple[AssetJob, AssetJob, AssetJob]:
    """The jobs: merge_series, sweep, retention."""
    return _merge_job(), _sweep_job(), _retention_job()


def upkeep_schedules(merge: AssetJob, sweep: AssetJob, retention: AssetJob) -> Sequence[dg.ScheduleDefinition]:
    """When they run. Times are UTC."""
    running = dg.DefaultScheduleStatus.RUNNING

    @dg.schedule(
        name="sweep_every_ten_minutes",
        job=sweep,
        cron_schedule="*/10 * * * *",
        default_status=running,
        description="Goes on with the slow sweep; PYRO_ASSETS_SWEEP_KEYS sets its pace, 0 stops it.",
    )
    def sweep_schedule(retention: RetentionResource) -> dg.RunRequest | dg.SkipReason:
        return dg.RunRequest() if retention.sweep_keys else dg.SkipReason("the sweep's pace is 0 keys")

    @dg.schedule(
        name="retention_every_night",
        job=retention,
        cron_schedule="23 3 * * *",
        default_status=running,
        description="Removes what is older than the variables PYRO_ASSETS_KEEP_* say, and what the table of series "
        "does not need any more.",
    )
    def retention_schedule() -> dg.RunRequest:
        return dg.RunRequest(run_config=dg.RunConfig({"remove_what_is_old": RetentionConfig(apply=True)}))

    hourly = dg.ScheduleDefinition(
        name="merge_every_hour",
        job=merge,
        cron_schedule="7 * * * *",
        default_status=running,
        description="Puts the series of the hour that is over into the table.",
    )
    return hourly, sweep_schedule, retention_schedule


def _merge_job() -> AssetJob:
    @dg.op(description="Puts series of hours that are over and at rest into the table, in place of one file per job.")
    def merge_files_of_series(context: dg.OpExecutionContext, pipeline: PipelineResource) -> dg.Output[None]:
        with opening(pipeline, context.run_id) as opened:
            report = upkeep.merge_series(opened, deadline_monotonic=time.monotonic() + UPKEEP_SECONDS)
        for sentence in report.damaged:
            context.log.error(f"left as it is: {sentence}")
        if report.why_not:
            context.log.warning(f"series of closed hours stay files of jobs: {report.why_not}")
        context.log.info(
            f"{len(report.hours)} hours entered the table: {report.files_before} files became {report.files_after}; "
            f"{len(report.busy)} hours are not at rest, {report.left} are left for the next run"
        )
        metadata: dict[str, Any] = {
            "hours": len(report.hours),
            "files before": report.files_before,
            "files after": report.files_after,
            "MiB before": mib(report.size_before_bytes),
            "MiB after": mib(report.size_after_bytes),
            "not at rest": describe(report.busy) if report.busy else "none",
            "damaged": len(report.damaged),
            "left": report.left,
            "seconds": round(report.seconds, 3),
        }
        return dg.Output(None, metadata=metadata)

    @dg.job(name="merge_series", tags=UPKEEP_TAGS, description="Puts the series of hours that are over into the table.")
    def merge_series() -> None:
        merge_files_of_series()

    return merge_series


def _sweep_job() -> AssetJob:
    @dg.op(
        description="Lists a part of the source bucket behind the ticks' cursors. What is found was uploaded too late "
        "for ticks: it is planned, and the sensor requests a run."
    )
    def look_for_late_uploads(
        context: dg.OpExecutionContext, pipeline: PipelineResource, retention: RetentionResource
    ) -> dg.Output[None]:
        with opening(pipeline, context.run_id) as opened:
            report = ticks.sweep(opened, max(retention.sweep_keys, 1))
        new = sum(report.new.values())
        round_is = "is through" if report.finished else "goes on with the next run"
        context.log.info(
            f"{report.listed} keys listed, {new} late uploads found, {report.planned_jobs} jobs planned; "
            f"the round {round_is}"
        )
        now = datetime.now(UTC).isoformat(timespec="seconds")
        for hour, count in report.new.items():
            # Of no run, so that it stays when the records of this run go.
            context.instance.report_runless_asset_event(
                dg.AssetMaterialization(SEGMENTS, partition=hour, metadata=late_metadata(count, now))
            )
        metadata: dict[str, Any] = {
            "keys listed": report.listed,
            "late uploads": new,
            "jobs planned": report.planned_jobs,
            "out of range": report.out_of_range,
            "round": f"the round {round_is}",
            "failed listings": len(report.failures),
            "seconds": round(report.seconds, 3),
        }
        if report.failures:
            # What was found is recorded; the run is red so that somebody sees it, and the next one lists it again.
            raise dg.Failure(f"{len(report.failures)} listings failed: {report.failures[0]}", metadata=metadata)
        return dg.Output(None, metadata=metadata)

    @dg.job(name=SWEEP, tags=UPKEEP_TAGS, description="Looks, slowly, for uploads that came too late for every tick.")
    def sweep() -> None:
        look_for_late_uploads()

    return sweep


def _retention_job() -> AssetJob:
    @dg.op(
        description="Blocks, series, rows and temporary files that are older than PYRO_ASSETS_KEEP_* say, files that "
        "left the table of series, and Dagster's records of old runs. Without `apply` it only lists them."
    )
    def remove_what_is_old(
        context: dg.OpExecutionContext,
        config: RetentionConfig,
        pipeline: PipelineResource,
        retention: RetentionResource,
    ) -> dg.Output[None]:
        with opening(pipeline, context.run_id) as opened:
            report = upkeep.retain(
                opened, retention.keep(), apply=config.apply, deadline_monotonic=time.monotonic() + UPKEEP_SECONDS
            )
            runs = old_runs(context.instance, datetime.now(UTC), retention.keep_backfill_runs_days)
            if config.apply:
                delete_runs(context.instance, opened, runs)
        done = "removed" if config.apply else "would be removed; run it with apply: true"
        context.log.info(f"{_table(report)}\n{len(runs)} of Dagster's runs; all of this {done}")
        objects = sum(one.objects for one in report.expired)
        metadata: dict[str, Any] = {
            "applied": config.apply,
            "objects": objects,
            "rows": sum(one.rows for one in report.expired),
            "MiB": mib(sum(one.size_bytes for one in report.expired)),
            "runs": len(runs),
            "what": dg.MetadataValue.md(_table(report)),
            "kept though old": dg.MetadataValue.json(report.kept),
            "left": report.left,
        }
        return dg.Output(None, metadata=metadata)

    @dg.job(
        name="retention",
        tags=UPKEEP_TAGS,
        description="Removes what is older than it is to be kept. Started by hand it lists; with `apply: true` it "
        "removes, as the schedule does.",
    )
    def retention() -> None:
        remove_what_is_old()

    return retention


def _table(report: RetentionReport) -> str:
    if not report.expired:
        return "nothing is older than it is to be kept"
    lines = [
        f"| {one.what} | {one.hour} | {one.objects} | {one.rows} | {mib(one.size_bytes):,.1f} |"
        for one in report.expired[:_SHOWN]
    ]
    more = len(report.expired) - len(lines)
    rest = [f"| … | {more} more lines | | | |"] if more else []
    return "\n".join(["| what | hour | objects | rows | MiB |", "|---|---|---|---|---|", *lines, *rest])


RESOLVE: Final = "resolve_rules"


def resolve_job() -> AssetJob:
    """The job."""

    @dg.op(
        description="Finds the largest functions of each rule with `top_k` over the last hours that are over, and "
        "saves a new version of the rule only where they are others than before. Derived hours keep their lists."
    )
    def find_largest_functions(context: dg.OpExecutionContext, pipeline: PipelineResource) -> dg.Output[None]:
        with opening(pipeline, context.run_id, series=True) as opened:
            found = upkeep.resolve_rules(opened, deadline_monotonic=time.monotonic() + UPKEEP_SECONDS)
        context.log.info("\n".join(one.summary for one in found) or "no rule with top_k is in force")
        metadata: dict[str, Any] = {
            "rules": len(found),
            "changed": sum(bool(one.version) for one in found),
            "what": dg.MetadataValue.json({one.name: one.summary for one in found}),
        }
        failed = [one.summary for one in found if one.problem]
        if failed:
            raise dg.Failure("; ".join(failed), metadata=metadata, allow_retries=False)
        return dg.Output(None, metadata=metadata)

    @dg.job(
        name=RESOLVE,
        tags=UPKEEP_TAGS,
        description="Renews the lists of functions of rules with `top_k`.",
    )
    def resolve_rules() -> None:
        find_largest_functions()

    return resolve_rules


def resolve_schedule(job: AssetJob) -> dg.ScheduleDefinition:
    """Every night; skipped while no rule of the ledger has `top_k`. The time is UTC."""

    @dg.schedule(
        name="resolve_rules_every_night",
        job=job,
        cron_schedule="41 2 * * *",
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description="Renews the lists of functions of rules with `top_k`. Rules of the configuration's file are "
        "renewed in the file.",
    )
    def schedule(pipeline: PipelineResource) -> dg.RunRequest | dg.SkipReason:
        with pipeline.open(series=True) as opened:
            is_needed = upkeep.has_rules_to_resolve(opened)
        return dg.RunRequest() if is_needed else dg.SkipReason("no rule with top_k is in force")

    return schedule


HOUR_BLOCKS_CHECK: Final = "hour_blocks_hold_what_their_jobs_do"
#: Runs that one hour starts at most, and the hours of each; what is left, the next hour starts.
_RANGES: Final = 10
_HOURS_A_RUN: Final = 48


def hour_blocks_asset(partitions: dg.PartitionsDefinition, in_runs: dg.BackfillPolicy) -> dg.AssetsDefinition:
    """Blocks of hours; a range of hours is one run, a backfill of a long one several."""

    @dg.multi_asset(
        name="compact_hours",
        specs=[hour_blocks_spec()],
        check_specs=[
            dg.AssetCheckSpec(
                HOUR_BLOCKS_CHECK,
                asset=HOUR_BLOCKS,
                description="Blocks of hours were read back and hold every profile of their jobs once, with its total; "
                "summaries add up to the same, series by series. What does not is left as level-1 blocks.",
            )
        ],
        partitions_def=partitions,
        backfill_policy=in_runs,
    )
    def compact_hours(
        context: dg.AssetExecutionContext, pipeline: PipelineResource
    ) -> Iterator[dg.MaterializeResult[None]]:
        """Compact what is not compacted yet of the run's hours."""
        hours = list(context.partition_keys)
        with opening(pipeline, context.run.run_id) as opened:
            done = upkeep.compact_hours(opened, hours, deadline_monotonic=time.monotonic() + UPKEEP_SECONDS)
        left = [hour for hour in hours if hour not in done]
        if left:
            context.log.warning(f"{describe(left)}: not over yet, or there was no time; a later run makes them")
        for hour in hours:
            metadata = _compaction_metadata(done.get(hour))
            context.add_asset_metadata(metadata, asset_key=HOUR_BLOCKS, partition_key=hour)
        damaged = [f"{hour}: {why}" for hour, report in done.items() for why in report.damaged]
        result = dg.AssetCheckResult(
            check_name=HOUR_BLOCKS_CHECK,
            asset_key=HOUR_BLOCKS,
            passed=not damaged,
            description=f"{len(damaged)} are left as level-1 blocks: {damaged[0]}"
            if damaged
            else f"{sum(report.jobs for report in done.values())} jobs compared; all profiles and totals equal",
            metadata={"damaged": damaged[:_SHOWN], "units_compared": sum(report.units for report in done.values())},
        )
        yield dg.MaterializeResult(asset_key=HOUR_BLOCKS, check_results=[result])

    return compact_hours


def hour_blocks_job() -> AssetJob:
    """What makes blocks of hours."""
    return dg.define_asset_job(
        HOUR_BLOCKS,
        dg.AssetSelection.assets(HOUR_BLOCKS),
        description="Compacts level-1 blocks of hours that are over. Hours that are done cost a look-up.",
        tags=UPKEEP_TAGS,
        executor_def=dg.in_process_executor,
    )


def hour_blocks_schedule(job: AssetJob) -> dg.ScheduleDefinition:
    """Every hour, for the hours that lack theirs. Times are UTC."""

    @dg.schedule(
        name="hour_blocks_every_hour",
        job=job,
        cron_schedule="11 * * * *",
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description="Compacts level-1 blocks of the hour that is over, and of those to which a job came later.",
    )
    def schedule(pipeline: PipelineResource) -> Iterator[dg.RunRequest | dg.SkipReason]:
        with pipeline.open() as opened:
            hours = upkeep.hours_without_blocks(opened)
        if not hours:
            yield dg.SkipReason("all hours that are over have their blocks")
        for first, last in _ranges(hours)[:_RANGES]:
            yield dg.RunRequest(tags={RANGE_START: first, RANGE_END: last})

    return schedule


def _ranges(hours: Sequence[str]) -> list[tuple[str, str]]:
    """First and last of hours that follow each other.

    >>> _ranges(["2026-11-25-08:00", "2026-11-25-09:00", "2026-11-25-11:00"])
    [('2026-11-25-08:00', '2026-11-25-09:00'), ('2026-11-25-11:00', '2026-11-25-11:00')]
    """
    found: list[list[str]] = []
    for hour in hours:
        is_next = found and hour_start_ms(hour) - hour_start_ms(found[-1][-1]) == HOUR_MS
        if is_next and len(found[-1]) < _HOURS_A_RUN:
            found[-1].append(hour)
        else:
            found.append([hour])
    return [(one[0], one[-1]) for one in found]


def _compaction_metadata(report: "HourCompaction | None") -> Metadata:
    if report is None:
        return {HEADLINE: dg.MetadataValue.md("not over yet, or there was **no time** for it: a later run makes them")}
    made = (
        f"{counted(report.blocks, 'level-1 block')} of {counted(report.jobs, 'job')} are in "
        f"**{counted(report.units, 'unit')}** now: {mib(report.size_before_bytes):,.1f} MiB became "
        f"{mib(report.size_after_bytes):,.1f}, and {mib(report.summary_bytes):,.1f} MiB of summaries"
    )
    lines = [
        made if report.units else "nothing was left to be made",
        *(f"left as level-1 blocks: {why}" for why in report.damaged[:_SHOWN]),
        "" if report.is_done else "**some jobs** are not in them yet",
    ]
    return {
        HEADLINE: dg.MetadataValue.md("\n\n".join(filter(None, lines))),
        "complete": dg.MetadataValue.bool(report.is_done),
        "jobs": dg.MetadataValue.int(report.jobs),
        "profiles": dg.MetadataValue.int(report.profiles),
        "blocks_mib": dg.MetadataValue.float(mib(report.size_after_bytes)),
        "summaries_mib": dg.MetadataValue.float(mib(report.summary_bytes)),
        "seconds": dg.MetadataValue.float(round(report.seconds, 3)),
    }
