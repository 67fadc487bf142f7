"""The renewal of the functions of rules with `top_k`: a job, and the schedule that starts it every night.

The finding is `pipeline.resolving`'s. Add here what people see of it.
"""

import time
from typing import Any, Final

import dagster as dg

from pyro_assets.defs.jobs import UPKEEP_SECONDS, UPKEEP_TAGS, AssetJob
from pyro_assets.defs.opening import opening
from pyro_assets.resources.pipeline import PipelineResource

RESOLVE: Final = "resolve_rules"


def resolve_job() -> AssetJob:
    """The job."""

    @dg.op(
        description="Finds the largest functions of each rule with `top_k` over the last hours that are over, and "
        "saves a new version of the rule only where they are others than before. Derived hours keep their lists."
    )
    def find_largest_functions(context: dg.OpExecutionContext, pipeline: PipelineResource) -> dg.Output[None]:
        with opening(pipeline, context.run_id, series=True) as opened:
            found = opened.resolve_rules(deadline_monotonic=time.monotonic() + UPKEEP_SECONDS)
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
            is_needed = opened.has_rules_to_resolve()
        return dg.RunRequest() if is_needed else dg.SkipReason("no rule with top_k is in force")

    return schedule
