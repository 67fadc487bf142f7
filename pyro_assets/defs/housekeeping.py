"""The sensor `housekeeping`: seal hours that are over, prune what Dagster keeps of live runs.

A live run leaves about 100 kB; without pruning that is half a gigabyte a day. Deleting a run deletes its
materialisations, so the hour's last word is first said again as runless events, which stay. Add what else of
Dagster's own records must not grow; the ledger and the archive keep everything regardless.
"""

import shutil
import time
from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import dagster as dg

from pyro_assets.defs.assets import MADE
from pyro_assets.defs.checks import is_closed, totals_result, undone_result
from pyro_assets.defs.jobs import LANE, LIVE, PARTITION, RANGE_END, RANGE_START
from pyro_assets.defs.metadata import hour_metadata
from pyro_assets.pipeline.pipeline import Pipeline
from pyro_assets.storage.keys import HOUR_MS, hour_of, hour_start_ms
from resources.pipeline import PipelineResource, RetentionResource

INTERVAL_SECONDS: Final = 60
#: A tick must end within a minute, so it takes so much at most.
_RUNS_A_TICK: Final = 100
_HOURS_A_TICK: Final = 10
_VERIFY_SECONDS: Final = 20.0
_OVER: Final = [dg.DagsterRunStatus.SUCCESS]
#: Runs that did not succeed are for people to look at, so they are kept longer.
_TROUBLED: Final = [dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED]
_KEEP_TROUBLED: Final = timedelta(days=7)


def housekeeping_sensor() -> dg.SensorDefinition:
    """The sensor; it requests no runs."""

    @dg.sensor(
        name="housekeeping",
        minimum_interval_seconds=INTERVAL_SECONDS,
        default_status=dg.DefaultSensorStatus.RUNNING,
        description="Seals hours that are over with their final figures and checks, and deletes Dagster's records of "
        "live runs after PYRO_ASSETS_KEEP_RUNS_MINUTES (of failed ones after seven days). Blocks, series and the "
        "ledger are not touched.",
    )
    def housekeeping(
        context: dg.SensorEvaluationContext, pipeline: PipelineResource, retention: RetentionResource
    ) -> dg.SensorResult:
        """One tick."""
        now = datetime.now(UTC)
        with pipeline.open() as opened:
            settle_ms = pipeline.settings().settle_ms
            sealed, cursor = seal_closed(context.instance, opened, context.cursor, now, settle_ms)
            keep = timedelta(minutes=retention.keep_runs_minutes)
            pruned = prune(context.instance, opened, now, keep) if keep else 0
        reason = f"sealed {sealed} hours, pruned {pruned} live runs" if sealed or pruned else "nothing to seal or prune"
        return dg.SensorResult(skip_reason=reason, cursor=cursor)

    return housekeeping


def seal_closed(
    instance: dg.DagsterInstance, opened: Pipeline, cursor: str | None, now: datetime, settle_ms: int
) -> tuple[int, str]:
    """Seal the hours that became closed since the last tick.

    The first tick begins with the running hour: earlier ones keep what their runs said.

    Returns:
        How many hours were sealed, and the cursor: the last hour that needs no more looking at.
    """
    now_ms = round(now.timestamp() * 1000)
    hour_ms = hour_start_ms(cursor) if cursor else now_ms // HOUR_MS * HOUR_MS - HOUR_MS
    sealed = 0
    end = time.monotonic() + _VERIFY_SECONDS
    for _ in range(_HOURS_A_TICK):
        hour = hour_of(hour_ms + HOUR_MS)
        if not is_closed(hour, now_ms, settle_ms):
            break
        hour_ms += HOUR_MS
        if not _materialised(instance, hour):
            continue
        verified = opened.verify_hour(hour, deadline_monotonic=end)
        report = opened.hour_report(hour)
        seal(instance, opened, hour)
        for result in (totals_result([verified]), undone_result([report], now_ms, settle_ms)):
            instance.report_runless_asset_event(_evaluation(result))
        sealed += 1
    return sealed, hour_of(hour_ms)


def seal(instance: dg.DagsterInstance, opened: Pipeline, hour: str) -> None:
    """Say the present figures of an hour as events that belong to no run, for the assets that it has."""
    report = opened.hour_report(hour)
    for asset in _materialised(instance, hour):
        instance.report_runless_asset_event(
            dg.AssetMaterialization(
                asset,
                partition=hour,
                description="the hour's figures, kept while its live runs are pruned",
                metadata={**hour_metadata(report, asset), "run": "none: these figures outlive the runs"},
            )
        )


def prune(instance: dg.DagsterInstance, opened: Pipeline, now: datetime, keep: timedelta) -> int:
    """Delete live runs that ended long enough ago, with their events and logs; what they said last stays.

    Returns:
        How many were deleted, at most 100.
    """
    runs = [
        record.dagster_run
        for statuses, age in ((_OVER, keep), (_TROUBLED, max(keep, _KEEP_TROUBLED)))
        for record in instance.get_run_records(
            dg.RunsFilter(tags={LANE: LIVE}, statuses=statuses, updated_before=now - age),
            limit=_RUNS_A_TICK,
            ascending=True,
        )
    ][:_RUNS_A_TICK]
    doomed = {run.run_id for run in runs}
    for hour in sorted({hour for run in runs for hour in hours_of(run)}):
        if doomed & set(_materialised(instance, hour).values()):
            seal(instance, opened, hour)
    for run_id in doomed:
        instance.delete_run(run_id)
        _remove_files(Path(instance.root_directory), run_id)
    return len(doomed)


def hours_of(run: dg.DagsterRun) -> Iterable[str]:
    """The partition keys of a run over one hour or a range, without asking the repository."""
    single = run.tags.get(PARTITION)
    first, last = run.tags.get(RANGE_START, single), run.tags.get(RANGE_END, single)
    if not first or not last:
        return ()
    return map(hour_of, range(hour_start_ms(first), hour_start_ms(last) + 1, HOUR_MS))


def _materialised(instance: dg.DagsterInstance, hour: str) -> dict[str, str]:
    """The assets that have a materialisation in this hour -> the run of the latest ("" for none)."""
    found: dict[str, str] = {}
    for asset in MADE:
        records: Sequence[dg.EventLogRecord] = instance.fetch_materializations(
            dg.AssetRecordsFilter(dg.AssetKey(asset), asset_partitions=[hour]), limit=1
        ).records
        if records:
            found[asset] = records[0].run_id
    return found


def _evaluation(result: dg.AssetCheckResult) -> dg.AssetCheckEvaluation:
    key = result.asset_key
    if key is None or result.check_name is None:
        raise ValueError("a check's result outside its run names its asset and check")
    return dg.AssetCheckEvaluation(
        asset_key=key,
        check_name=result.check_name,
        passed=result.passed,
        metadata=result.metadata,
        severity=result.severity,
        description=result.description,
    )


def _remove_files(home: Path, run_id: str) -> None:
    # With SQLite, Dagster keeps one database file a run and leaves it, empty but 140 kB, when the run is deleted;
    # the captured output is left too. With other storages there is nothing at these paths.
    for suffix in (".db", ".db-wal", ".db-shm"):
        (home / "history" / "runs" / f"{run_id}{suffix}").unlink(missing_ok=True)
    shutil.rmtree(home / "storage" / run_id, ignore_errors=True)
