"""`pyro-assets retention`: merges what is over and removes what is old, or lists it.

The work is `archive.merge`'s and `archive.retain`'s; without Dagster this command stands for its schedules.
"""

from collections.abc import Callable
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, TypeVar

import click

from pyro_assets.cli.options import archive_option, json_option, ledger_option
from pyro_assets.cli.output import show_json, show_table, size_text
from pyro_assets.operations import upkeep
from pyro_assets.resources import environment as env
from pyro_assets.resources.receivers import environment_secrets, receivers_file
from pyro_assets.resources.settings import environment_settings

if TYPE_CHECKING:
    from pyro_assets.archive.retain import RetentionReport

Command = TypeVar("Command", bound=Callable[..., Any])
_KEPT = {
    "blocks": env.KEEP_BLOCKS_DAYS,
    "series": env.KEEP_SERIES_DAYS,
    "ledger": env.KEEP_LEDGER_DAYS,
    "temporary": env.KEEP_TEMPORARY_DAYS,
}


def _days(command: Command) -> Command:
    """An option for each kind of thing."""
    for name, variable in reversed(_KEPT.items()):
        command = click.option(
            f"--keep-{name}-days",
            f"keep_{name}",
            type=click.FloatRange(0),
            default=lambda variable=variable: env.number(variable),
            show_default=f"{variable.name}, else {variable.default}",
            metavar="DAYS",
            help=variable.meaning.capitalize() + ".",
        )(command)
    return command


@click.command()
@archive_option
@ledger_option
@_days
@click.option("--apply", is_flag=True, help="Do it; otherwise only list what would go.")
@json_option
def retention(archive_url: str, ledger_url: str, apply: bool, as_json: bool, **days: float) -> None:
    """List what is older than it is to be kept; with --apply, remove it and merge the series of hours that are over.

    Nothing is removed that a receiver still lacks, or of which a job is open. Commit records stay, so that nothing is
    compacted again, and so do receipts. The source bucket is never touched.
    """
    from pyro_assets.app import open_app
    from pyro_assets.archive.retain import Keep

    keep = Keep(**{name.removeprefix("keep_"): amount for name, amount in days.items()})
    with open_app(
        env.value(env.SOURCE_URL),
        archive_url,
        ledger_url,
        settings=environment_settings(),
        receivers_file=receivers_file(),
        secrets=environment_secrets(),
    ) as pipeline:
        merged = upkeep.merge_series(pipeline) if apply else None
        report = upkeep.retain(pipeline, keep, apply=apply)
    if as_json:
        show_json(
            {
                "expired": [asdict(one) for one in report.expired],
                "kept": report.kept,
                "applied": apply,
                "merged": merged.hours if merged is not None else {},
            }
        )
        return
    _show(report, apply=apply, anything_goes=keep.anything_goes)
    if merged is not None:
        click.echo(
            f"series of {len(merged.hours):,} hours merged: {merged.files_before:,} files became "
            f"{merged.files_after:,}; {len(merged.busy):,} hours are not at rest"
        )


def _show(report: "RetentionReport", *, apply: bool, anything_goes: bool) -> None:
    if not anything_goes:
        click.echo("everything is kept for ever: no number of days is set")
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
