"""`pyro-assets rescan`: look again where ticks no longer look.

The work is `planning.sweep`'s. Exit status 1 when a listing failed.
"""

from dataclasses import asdict

import click

from pyro_assets.cli.options import json_option, ledger_option, mode_option, open_ledger, source_option
from pyro_assets.cli.output import progress_bar, show_json, show_table
from pyro_assets.cli.times import check_span, span_options, whole_span
from pyro_assets.resources.environment import job_settings


@click.command()
@source_option
@ledger_option
@span_options()
@click.option(
    "--sweep",
    "sweep_keys",
    type=click.IntRange(1),
    metavar="KEYS",
    help="Instead of a span: go on with the slow sweep of the whole bucket, for about so many keys.",
)
@mode_option
@json_option
def rescan(
    source_url: str,
    ledger_url: str,
    begin_ms: int | None,
    end_ms: int | None,
    sweep_keys: int | None,
    mode: str,
    as_json: bool,
) -> None:
    """Find uploads that came so late that ticks did not see them, by creation time; all without a span.

    What is found waits for the next run, of `pyro-assets run` or of Dagster.
    """
    check_span(begin_ms, end_ms)
    if sweep_keys is not None and (begin_ms is not None or end_ms is not None):
        raise click.UsageError("--sweep goes over the whole bucket; it takes no --from or --to")
    from pyro_assets.app import now_ms
    from pyro_assets.planning import sweep as rescanning
    from pyro_assets.storage.bucket import open_bucket

    settings = job_settings(compaction=mode)
    source = open_bucket(source_url)
    with open_ledger(ledger_url) as ledger:
        if sweep_keys is not None:
            report = rescanning.sweep(source, ledger, settings, now_ms(), sweep_keys)
        else:
            span = whole_span(begin_ms, end_ms)
            with progress_bar("folders") as bar:
                report = rescanning.rescan(source, ledger, settings, *span, now_ms(), bar.update)
    new = sum(report.new.values())
    if as_json:
        show_json(asdict(report) | {"seconds": round(report.seconds, 3)})
    else:
        if report.new:
            show_table(["hour (UTC)", "new"], list(report.new.items()))
        click.echo(f"{report.listed:,} keys listed, {new:,} new, {report.planned_jobs:,} jobs planned")
        if report.out_of_range:
            click.echo(f"{report.out_of_range:,} more were created outside of the partitions")
        if sweep_keys is not None:
            click.echo("the round is through" if report.finished else "the round goes on with the next call")
    if report.failures:
        raise click.ClickException(f"{len(report.failures)} listings failed: {report.failures[0]}")
