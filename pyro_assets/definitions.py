"""The whole graph on one screen: segments -> blocks -> series -> receivers, and what watches and starts them.

Add a definition here and its parts in `defs`. Nothing is read or opened when this module is imported; Dagster calls
`defs`, tests call `build_defs` with resources of their own. `pyro_assets/__init__.py` must stay empty, or this module
imports itself.
"""

from collections.abc import Mapping
from typing import Any

import dagster as dg

from pyro_assets.defs.assets import made_assets
from pyro_assets.defs.catalogue import ASSETS, EXPORTED, SERIES, linked, segments_spec
from pyro_assets.defs.housekeeping import housekeeping_sensor
from pyro_assets.defs.jobs import backfill_job, hours, live_job, rules_job
from pyro_assets.defs.scrubbing import archive_asset, scrub_job, scrub_schedule
from pyro_assets.defs.sensors import landing_sensor, source_check, well_check
from pyro_assets.defs.upkeep import (
    hour_blocks_asset,
    hour_blocks_job,
    hour_blocks_schedule,
    resolve_job,
    resolve_schedule,
    upkeep_jobs,
    upkeep_schedules,
)
from pyro_assets.resources.environment import usable
from pyro_assets.resources.pipeline import first_partition, production_resources


def build_defs(resources: Mapping[str, Any] | None = None, *, start_hour: str | None = None) -> dg.Definitions:
    """Make the definitions anew.

    Args:
        resources: "pipeline" and "retention"; those of the environment by default.
        start_hour: the first partition ("2026-11-25-13:00", UTC); by default the first hour that the ledger of the
            environment has seen.
    """
    # What cannot be used is told by the pipeline's resource.
    settings, _ = usable()
    first = start_hour or first_partition(settings)
    partitions = hours(first)
    in_runs = dg.BackfillPolicy.multi_run(settings.backfill_hours)
    selection = dg.AssetSelection.assets(*ASSETS)
    live, backfill = live_job(selection), backfill_job(selection)
    rules = rules_job(dg.AssetSelection.assets(*SERIES, EXPORTED))
    assets: list[dg.AssetSpec | dg.AssetsDefinition] = [
        segments_spec(partitions),
        made_assets(partitions, in_runs, reconcile=settings.reconcile),
        hour_blocks_asset(partitions, in_runs),
        archive_asset(),
    ]
    upkeep, hour_blocks, resolve, scrub = upkeep_jobs(), hour_blocks_job(), resolve_job(), scrub_job()
    return dg.Definitions(
        assets=dg.map_asset_specs(linked(settings.web_url), assets),
        asset_checks=[source_check(), well_check()],
        jobs=[live, backfill, rules, *upkeep, hour_blocks, resolve, scrub],
        sensors=[landing_sensor(live, first), housekeeping_sensor(backfill)],
        schedules=[
            *upkeep_schedules(*upkeep),
            hour_blocks_schedule(hour_blocks),
            resolve_schedule(resolve),
            scrub_schedule(scrub),
        ],
        resources=dict(resources) if resources is not None else production_resources(),
        # One step does the work; a process per step would cost three seconds each.
        executor=dg.in_process_executor,
    )


@dg.definitions
def defs() -> dg.Definitions:
    """What `workspace.yaml` names."""
    return build_defs()
