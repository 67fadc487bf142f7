"""`pyro-assets publish`: a copy of the archive's blocks that a Pyroscope server can serve.

The work is `archive.publish`'s.
"""

from dataclasses import asdict

import click

from pyro_assets.cli.options import archive_option, json_option
from pyro_assets.cli.output import progress_bar, show_json, size_text
from pyro_assets.cli.times import check_span, span_options
from pyro_assets.resources.environment import Environment


@click.command()
@archive_option
@click.option("--to", "target_url", metavar="URL", required=True, help="The bucket of the Pyroscope server.")
@span_options("--from-hour", "--to-hour", required=True)
@click.option("--again", is_flag=True, help="Offer jobs that were published before, too: they would count double.")
@click.option("--dry-run", is_flag=True, help="Only count.")
@json_option
def publish(
    archive_url: str, target_url: str, begin_ms: int, end_ms: int, again: bool, dry_run: bool, as_json: bool
) -> None:
    """Copy blocks of these hours to a Pyroscope server's own bucket, and offer them to it.

    Of an hour and shard these are the blocks of the hour, or those of its jobs where some were published before or
    are in no block of the hour.

    The server imports what is offered while it runs. It compacts and deletes in its bucket: never name the archive.
    """
    check_span(begin_ms, end_ms)
    from pyro_assets.archive import publish as publishing
    from pyro_assets.storage.bucket import open_bucket

    publishing.refuse_target(target_url, archive_url, Environment().source_url)
    with progress_bar("jobs") as bar:
        report = publishing.publish(
            open_bucket(archive_url),
            open_bucket(target_url, True),
            begin_ms,
            end_ms,
            again=again,
            dry_run=dry_run,
            progress=lambda done: bar.update(done, done),
        )
    if as_json:
        show_json(asdict(report))
        return
    done = "would be copied" if dry_run else f"copied in {report.seconds:.1f} s"
    click.echo(
        f"{report.blocks:,} blocks ({size_text(report.size_bytes)}) of {report.jobs:,} jobs and "
        f"{len(report.hours):,} hours {done}; {report.skipped:,} jobs were published before"
        + (f"; blocks of {report.removed:,} jobs were removed by retention" if report.removed else "")
    )
