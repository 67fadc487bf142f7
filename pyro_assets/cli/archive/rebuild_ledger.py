"""`pyro-assets rebuild-ledger`: the ledger from the archive, when the database is lost.

The work is `archive.rebuild`'s. Exit status 1 when records are damaged.
"""

from dataclasses import asdict

import click

from pyro_assets.cli.options import archive_option, json_option, ledger_option, open_ledger
from pyro_assets.cli.output import progress_bar, show_json
from pyro_assets.cli.times import check_span, span_options, whole_span


@click.command("rebuild-ledger")
@archive_option
@ledger_option
@span_options()
@click.option("--skip-damaged", is_flag=True, help="End although records are damaged: their sources are done anew.")
@json_option
def rebuild_ledger(
    archive_url: str,
    ledger_url: str,
    begin_ms: int | None,
    end_ms: int | None,
    skip_damaged: bool,
    as_json: bool,
) -> None:
    """Write what the archive's commit records prove into an empty ledger.

    Stop Dagster first, so that nothing works with the old ledger meanwhile. Interrupted, it goes on when it is called
    again; until it has ended, nothing is planned. With a span, only rows that retention removed from a ledger in use
    are put back; nothing need be stopped.
    """
    check_span(begin_ms, end_ms)
    from pyro_assets.app import now_ms
    from pyro_assets.archive.rebuild import put_back, rebuild
    from pyro_assets.storage.bucket import open_bucket

    with open_ledger(ledger_url) as ledger, progress_bar("records") as bar:
        archive = open_bucket(archive_url, True)
        if begin_ms is not None or end_ms is not None:
            span = whole_span(begin_ms, end_ms)
            report = put_back(ledger, archive, *span, now_ms(), lambda done: bar.update(done, done))
        else:
            report = rebuild(
                ledger, archive, now_ms(), skip_damaged=skip_damaged, progress=lambda done: bar.update(done, done)
            )
    if as_json:
        show_json(asdict(report))
    else:
        click.echo(
            f"{report.records:,} records: {report.jobs:,} jobs of {report.sources:,} sources and "
            f"{report.series_files:,} files of series in {report.seconds:.1f} s"
        )
        for sentence in report.damaged:
            click.echo(f"damaged: {sentence}")
        for sentence in report.damaged_series:
            click.echo(f"the next run does this: {sentence}")
    if report.damaged and not skip_damaged:
        raise click.ClickException(
            f"{len(report.damaged)} records are damaged; restore them from a copy of the archive and call this again, "
            "or end without them by --skip-damaged"
        )
