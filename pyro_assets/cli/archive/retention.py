"""`pyro-assets retention`: puts series of hours that are over into the table and removes what is old, or lists it.

The work is `archive.merge`'s and `archive.retain`'s; without Dagster this command stands for its schedules.
"""

from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from pyro_assets.cli.options import archive_option, json_option, ledger_option, setting_option
from pyro_assets.cli.output import show_json, show_table, size_text
from pyro_assets.operations import upkeep
from pyro_assets.resources.environment import Environment, environment_secrets, job_settings

if TYPE_CHECKING:
    from pyro_assets.archive.retain import RetentionReport


@click.command()
@archive_option
@ledger_option
@setting_option("keep_blocks_days", metavar="DAYS")
@setting_option("keep_level1_days", metavar="DAYS")
@setting_option("keep_series_days", metavar="DAYS")
@setting_option("keep_ledger_days", metavar="DAYS")
@setting_option("keep_temporary_days", metavar="DAYS")
@click.option("--apply", is_flag=True, help="Do it; otherwise only list what would go.")
@json_option
def retention(archive_url: str, ledger_url: str, apply: bool, as_json: bool, **days: float) -> None:
    """List what is older than it is to be kept; with --apply, remove it, and do for hours that are over what is due.

    Their series enter the table, and their level-1 blocks become blocks of the hour.

    Nothing is removed that a receiver still lacks, or of which a job is open. Commit records stay, so that nothing is
    compacted again, and so do receipts. The source bucket is never touched.
    """
    from pyro_assets.app import open_app
    from pyro_assets.archive.retain import Keep

    here = Environment()
    keep = Keep(**{name.removeprefix("keep_").removesuffix("_days"): amount for name, amount in days.items()})
    with open_app(
        here.source_url,
        archive_url,
        ledger_url,
        settings=job_settings(),
        receivers_file=here.receivers,
        secrets=environment_secrets(),
    ) as pipeline:
        merged = upkeep.merge_series(pipeline) if apply else None
        report = upkeep.retain(pipeline, keep, apply=apply)
        compacted = upkeep.compact_hours(pipeline, upkeep.hours_without_blocks(pipeline)) if apply else {}
    if as_json:
        show_json(
            {
                "expired": [asdict(one) for one in report.expired],
                "kept": report.kept,
                "applied": apply,
                "merged": merged.hours if merged is not None else {},
                "no_table": merged.why_not if merged is not None else "",
                "hour_blocks": {hour: asdict(one) for hour, one in compacted.items()},
            }
        )
        return
    _show(report, apply=apply, anything_goes=keep.anything_goes)
    if merged is not None and merged.why_not:
        click.echo(f"series of closed hours stay files of jobs: {merged.why_not}")
    elif merged is not None:
        click.echo(
            f"series of {len(merged.hours):,} hours entered the table: {merged.files_before:,} files became "
            f"{merged.files_after:,}; {len(merged.busy):,} hours are not at rest"
        )
    if compacted:
        damaged = [why for one in compacted.values() for why in one.damaged]
        click.echo(
            f"{sum(one.blocks for one in compacted.values()):,} level-1 blocks of {len(compacted):,} hours are in "
            "blocks of their hours"
            + (f"; {len(damaged):,} places are left as they are: {damaged[0]}" if damaged else "")
        )


def _show(report: "RetentionReport", *, apply: bool, anything_goes: bool) -> None:
    if not anything_goes:
        click.echo("everything is kept for ever: no number of days is set")
        if not report.expired:
            return
    rows = [[one.what, one.hour, one.objects, one.rows, size_text(one.size_bytes)] for one in report.expired]
    if rows:
        show_table(["what", "hour (UTC)", "objects", "rows", "size"], rows)
    objects, size_bytes = sum(one.objects for one in report.expired), sum(one.size_bytes for one in report.expired)
    done = "removed" if apply else "would be removed (--apply does it)"
    click.echo(
        f"{objects:,} objects ({size_text(size_bytes)}), {sum(one.rows for one in report.expired):,} rows {done}"
    )
    for why, count in report.kept.items():
        click.echo(f"kept, though old: {count:,} of {why}")
