"""Checks of what is so whoever asks, whichever hours a run is about: whether the source is there, what is left out.

Ticks give these verdicts, of no run, as soon as they change; a person can ask for them beside the asset. Add a check
here when its answer does not belong to the hours of a run; those that do are `checks`'.
"""

from typing import Final

import dagster as dg

from pyro_assets.defs.assets import SEGMENTS
from pyro_assets.defs.checks import ASSET, LEFT_OUT, left_out_result
from pyro_assets.defs.opening import opening
from pyro_assets.pipeline.given_up import LeftOut
from pyro_assets.resources.environment import WEB_URL, value
from pyro_assets.resources.pipeline import PipelineResource

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
            verdict = source_verdict(opened.source_problem())
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
    result = left_out_result(found, value(WEB_URL))
    return dg.AssetCheckEvaluation(
        asset_key=dg.AssetKey(ASSET),
        check_name=LEFT_OUT,
        passed=result.passed,
        severity=result.severity,
        description=result.description,
        metadata=result.metadata,
    )
