"""What stays of an hour when its live runs go: seal its last word, then delete runs, events and files.

A live run leaves about 100 kB; without pruning that is half a gigabyte a day at a run every 15 s. Deleting a run
deletes its materialisations, so the hour's figures are first said again as events of no run, which stay. The ledger
and the archive keep everything regardless.
"""

import shutil
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, Final

import dagster as dg

from pyro_assets.app import App
from pyro_assets.defs.catalogue import ASSETS, HOUR_BLOCKS
from pyro_assets.defs.jobs import CLOSE, LANE, LIVE, PARTITION, RANGE_END, RANGE_START, SWEEP, UPKEEP
from pyro_assets.defs.metadata import hour_metadata
from pyro_assets.operations import runs
from pyro_assets.resources.environment import usable
from pyro_assets.storage.keys import HOUR_MS, hour_of, hour_start_ms

#: A tick must end within a minute, so it takes so many at most; one a second is far more than there are.
_RUNS_A_TICK: Final = 100
_OURS: Final[tuple[dict[str, Any], ...]] = ({"job_name": LIVE}, {"tags": {LANE: CLOSE}}, {"job_name": SWEEP})
_OVER: Final = [dg.DagsterRunStatus.SUCCESS]
#: Runs that did not succeed are for people to look at, so they are kept longer.
_TROUBLED: Final = [dg.DagsterRunStatus.FAILURE, dg.DagsterRunStatus.CANCELED]
_KEEP_TROUBLED: Final = timedelta(days=7)
#: What other upkeep did is read days later; there are some tens of such runs a day.
_KEEP_UPKEEP: Final = timedelta(days=7)
_OLD_RUNS: Final = 1_000


def seal(instance: dg.DagsterInstance, opened: App, hour: str) -> bool:
    """Say the present figures of an hour as events of no run, for the assets that have it.

    Returns:
        Whether any has.
    """
    assets = materialised(instance, hour)
    if not assets:
        return False
    report, web_url = runs.hour_report(opened, hour), usable()[0].web_url
    for asset in assets:
        instance.report_runless_asset_event(
            dg.AssetMaterialization(
                asset,
                partition=hour,
                metadata=hour_metadata(report, asset, web_url, "These figures outlive the runs that made them."),
            )
        )
    return True


def prune(instance: dg.DagsterInstance, opened: App, now: datetime, keep: timedelta) -> int:
    """Delete live and closing runs that ended long enough ago, with events and logs; what they said last stays.

    What a check found last is kept by Dagster apart from its run.

    Returns:
        How many were deleted, at most 100.
    """
    kept: list[tuple[dict[str, Any], list[dg.DagsterRunStatus], timedelta]] = [
        *((which, _OVER, keep) for which in _OURS),
        *((which, _TROUBLED, max(keep, _KEEP_TROUBLED)) for which in _OURS),
        ({"tags": {LANE: UPKEEP}}, [*_OVER, *_TROUBLED], max(keep, _KEEP_UPKEEP)),
    ]
    # A run of the sweep is among those of upkeep, too.
    runs = {
        record.dagster_run.run_id: record.dagster_run
        for which, statuses, age in kept
        for record in instance.get_run_records(
            dg.RunsFilter(**which, statuses=statuses, updated_before=now - age), limit=_RUNS_A_TICK, ascending=True
        )
    }
    return delete_runs(instance, opened, list(runs.values())[:_RUNS_A_TICK])


def old_runs(instance: dg.DagsterInstance, now: datetime, keep_days: float) -> list[dg.DagsterRun]:
    """Runs of any kind that ended more than so many days ago, the oldest first, at most 1,000; none for 0 days."""
    if not keep_days:
        return []
    ended = dg.RunsFilter(statuses=[*_OVER, *_TROUBLED], updated_before=now - timedelta(days=keep_days))
    return [record.dagster_run for record in instance.get_run_records(ended, limit=_OLD_RUNS, ascending=True)]


def delete_runs(instance: dg.DagsterInstance, opened: App, runs: Sequence[dg.DagsterRun]) -> int:
    """Delete runs with events, logs and files, and keep what they said last of each hour; returns how many."""
    doomed = {run.run_id for run in runs}
    for hour in sorted({hour for run in runs for hour in hours_of(run)}):
        if doomed & set(materialised(instance, hour).values()):
            seal(instance, opened, hour)
        last = _last_materialisation(instance, HOUR_BLOCKS, hour)
        if last is not None and last.run_id in doomed and last.asset_materialization is not None:
            # What it said of the hour is right until the hour changes.
            instance.report_runless_asset_event(last.asset_materialization)
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


def materialised(instance: dg.DagsterInstance, hour: str) -> dict[str, str]:
    """The assets that have a materialisation in this hour -> the run of the latest ("" for none)."""
    found: dict[str, str] = {}
    for asset in ASSETS:
        last = _last_materialisation(instance, asset, hour)
        if last is not None:
            found[asset] = last.run_id
    return found


def _last_materialisation(instance: dg.DagsterInstance, asset: str, hour: str) -> dg.EventLogRecord | None:
    wanted = dg.AssetRecordsFilter(dg.AssetKey(asset), asset_partitions=[hour])
    return next(iter(instance.fetch_materializations(wanted, limit=1).records), None)


def _remove_files(home: Path, run_id: str) -> None:
    # With SQLite, Dagster keeps one database file a run and leaves it, empty but 140 kB, when the run is deleted;
    # the captured output is left too. With other storages there is nothing at these paths.
    for suffix in (".db", ".db-wal", ".db-shm"):
        (home / "history" / "runs" / f"{run_id}{suffix}").unlink(missing_ok=True)
    shutil.rmtree(home / "storage" / run_id, ignore_errors=True)
