"""The run coordinator that dagster.yaml names: Dagster's queue, in which every run of our assets has a lane.

Runs from the asset graph carry no tag of ours, and a queue can only limit what has one: several of them would take all
places, those of live runs too. Web server and daemon import this; add what every queued run must carry.
"""

import dagster as dg

# Where Dagster's documentation of coordinators takes them from; there is no public name.
from dagster._core.run_coordinator import QueuedRunCoordinator, SubmitRunContext

from pyro_assets.defs.catalogue import ASSETS
from pyro_assets.defs.jobs import ASKED, LANE


class LaneRunCoordinator(QueuedRunCoordinator):
    """Queues runs; those of our assets that came without a lane share one."""

    def submit_run(self, context: SubmitRunContext) -> dg.DagsterRun:
        """Queue a run."""
        run = context.dagster_run
        if LANE not in run.tags and is_ours(run):
            self._instance.add_run_tags(run.run_id, {LANE: ASKED})
        return super().submit_run(context)


def is_ours(run: dg.DagsterRun) -> bool:
    """Whether a run from the asset graph is about our assets: others may share the instance."""
    keys = {*(run.asset_selection or ()), *(check.asset_key for check in run.asset_check_selection or ())}
    return any(key.to_user_string() in ASSETS for key in keys)
