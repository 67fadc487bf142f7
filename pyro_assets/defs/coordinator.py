"""The run coordinator that dagster.yaml names: Dagster's queue, in which every run of our assets has a lane.

Here, too:
* lanes side by side for runs over hours of the past: `backfill_runs` in dagster.yaml says how many;
* what to say of an instance that has no such queue.

Runs from the asset graph carry no tag of ours, and a queue can only limit what has one: several of them would take all
places, those of live runs too. Web server and daemon import this; add what every queued run must carry.
"""

from collections.abc import Mapping
from typing import Any, Final, Self, cast

import dagster as dg

# Where Dagster's documentation of coordinators takes them from; there is no public name.
from dagster._core.run_coordinator import QueuedRunCoordinator, SubmitRunContext

from pyro_assets.defs.catalogue import ASSETS
from pyro_assets.defs.jobs import ASKED, BACKFILL, IN_FLIGHT, LANE, RULES

#: Lanes of runs that people start for hours of the past.
_OF_THE_PAST: Final = (BACKFILL, RULES, ASKED)
_BACKFILL_RUNS: Final = "backfill_runs"


class LaneRunCoordinator(QueuedRunCoordinator):
    """Queues runs; those of our assets that came without a lane share one, and each backfill may have several."""

    backfill_runs = 1

    @classmethod
    def config_type(cls) -> Any:
        """The fields in dagster.yaml."""
        ours = dg.Field(
            dg.IntSource,
            default_value=1,
            description="Runs of one kind of backfill (backfill, rules, asked) at the same time, each in a lane.",
        )
        return dict(cast("Mapping[str, Any]", super().config_type())) | {_BACKFILL_RUNS: ours}

    @classmethod
    def from_config_value(cls, inst_data: Any, config_value: Mapping[str, Any]) -> Self:
        """Made of what stands in dagster.yaml."""
        made = super().from_config_value(inst_data, config_value)
        made.backfill_runs = config_value.get(_BACKFILL_RUNS, 1)
        return made

    def submit_run(self, context: SubmitRunContext) -> dg.DagsterRun:
        """Queue a run."""
        run = context.dagster_run
        lane = run.tags.get(LANE) or (ASKED if is_ours(run) else "")
        if lane in _OF_THE_PAST and (is_ours(run) or run.job_name in (BACKFILL, RULES)):
            lane = self._emptiest(lane)
        if lane != run.tags.get(LANE, ""):
            self._instance.add_run_tags(run.run_id, {LANE: lane})
        return super().submit_run(context)

    def _emptiest(self, lane: str) -> str:
        """Of the lanes side by side the first with the fewest runs that are not over."""
        lanes = [lane, *(f"{lane}-{number}" for number in range(2, self.backfill_runs + 1))]
        return min(lanes, key=self._unfinished) if lanes[1:] else lane

    def _unfinished(self, lane: str) -> int:
        # The run that asks is not queued yet.
        queued = [status for status in IN_FLIGHT if status is not dg.DagsterRunStatus.NOT_STARTED]
        return self._instance.get_runs_count(dg.RunsFilter(tags={LANE: lane}, statuses=queued))


def lanes_problem(instance: dg.DagsterInstance) -> str:
    """Says what to do where an instance limits no lane, as one without our dagster.yaml; "" where it does."""
    queue = instance.run_coordinator
    limits = queue.get_run_queue_config().tag_concurrency_limits if isinstance(queue, QueuedRunCoordinator) else ()
    if any(limit.get("key") == LANE for limit in limits or ()):
        return ""
    return (
        "this Dagster instance limits no lane, so that live runs may wait for others: start it in a folder that "
        "`pyro-assets init` made, or with DAGSTER_HOME at one that has a copy of resources/dagster.yaml"
    )


def is_ours(run: dg.DagsterRun) -> bool:
    """Whether a run from the asset graph is about our assets: others may share the instance."""
    keys = {*(run.asset_selection or ()), *(check.asset_key for check in run.asset_check_selection or ())}
    return any(key.to_user_string() in ASSETS for key in keys)
