"""The scrub in Dagster: an asset that a schedule looks at every night, and a check that fails while anything is rotten.

What is compared is the pipeline's. The asset has no partitions: a night looks at a share of all hours, and the check is
about the whole archive.
"""

import time
from collections.abc import Iterator
from typing import Any, Final

import dagster as dg

from pyro_assets.archive.scrub import Damage, ScrubReport
from pyro_assets.archive.scrubs import ScrubRecords
from pyro_assets.defs.catalogue import ARCHIVE, archive_spec
from pyro_assets.defs.jobs import UPKEEP_SECONDS, UPKEEP_TAGS, AssetJob
from pyro_assets.defs.metadata import HEADLINE, mib
from pyro_assets.defs.runs import opening
from pyro_assets.operations import upkeep
from pyro_assets.resources.pipeline import PipelineResource
from pyro_assets.storage.shown import counted

CHECK: Final = "archive_is_as_it_was_written"
_SHOWN: Final = 50


def archive_asset() -> dg.AssetsDefinition:
    """The archive as something that is looked at."""

    @dg.multi_asset(
        name="scrub_archive",
        specs=[archive_spec()],
        check_specs=[
            dg.AssetCheckSpec(
                CHECK,
                asset=ARCHIVE,
                description="Nothing that was written has changed or vanished, as far as it was looked at. "
                "`pyro-assets verify --archive --repair` puts back what can be put back.",
            )
        ],
    )
    def scrub_archive(
        context: dg.AssetExecutionContext, pipeline: PipelineResource
    ) -> Iterator[dg.MaterializeResult[None]]:
        """One night's share; what could not be looked at fails the run after what could is told."""
        with opening(pipeline, context.run.run_id) as opened:
            report = upkeep.scrub(opened, deadline_monotonic=time.monotonic() + UPKEEP_SECONDS)
            damaged = ScrubRecords(opened.ledger).damaged()
        context.log.info(f"{report.objects} objects of {len(report.hours)} hours compared; {len(damaged)} are damaged")
        yield dg.MaterializeResult(metadata=_metadata(report), check_results=[check_result(damaged)])
        if report.failures:
            raise dg.Failure(f"{len(report.failures)} hours could not be looked at: {report.failures[0]}")

    return scrub_archive


def check_result(damaged: list[Damage]) -> dg.AssetCheckResult:
    """Fails while anything is known to be damaged, whenever that was found."""
    first = damaged[0].message if damaged else ""
    return dg.AssetCheckResult(
        check_name=CHECK,
        asset_key=ARCHIVE,
        passed=not damaged,
        description=f"{len(damaged)} objects are damaged or missing: {first}. Call `pyro-assets verify --archive "
        "--repair`"
        if damaged
        else "nothing is damaged or missing",
        metadata={"damaged": len(damaged), "what": dg.MetadataValue.md(_table(damaged))},
    )


def scrub_job() -> AssetJob:
    """What looks at a night's share."""
    return dg.define_asset_job(
        "scrub",
        dg.AssetSelection.assets(ARCHIVE),
        description="Reads a share of the archive and compares it with what was written.",
        tags=UPKEEP_TAGS,
        executor_def=dg.in_process_executor,
    )


def scrub_schedule(job: AssetJob) -> dg.ScheduleDefinition:
    """When it runs. Times are UTC."""
    return dg.ScheduleDefinition(
        name="scrub_every_night",
        job=job,
        cron_schedule="43 1 * * *",
        default_status=dg.DefaultScheduleStatus.RUNNING,
        description="Looks at a thirtieth of the archive's hours, those that were not looked at for longest.",
    )


def _metadata(report: ScrubReport) -> dict[str, Any]:
    found = f"{counted(len(report.damaged), 'object')} damaged" if report.damaged else "nothing changed or vanished"
    story = f"**{counted(report.objects, 'object')}** of {counted(len(report.hours), 'hour')} compared, {found}"
    return {
        HEADLINE: dg.MetadataValue.md(f"{story}; {counted(report.left, 'hour')} wait for their turn"),
        "hours": len(report.hours),
        "objects": report.objects,
        "read_mib": mib(report.bytes),
        "damaged_now": len(report.damaged),
        "left": report.left,
        "seconds": round(report.seconds, 3),
    }


def _table(damaged: list[Damage]) -> str:
    if not damaged:
        return "nothing is damaged or missing"
    rows = [f"| {one.kind} | {one.hour} | {one.message.replace('|', ' ')} |" for one in damaged[:_SHOWN]]
    more = [f"| … | | {len(damaged) - _SHOWN} more |"] if len(damaged) > _SHOWN else []
    return "\n".join(["| what | hour | why |", "|---|---|---|", *rows, *more])
