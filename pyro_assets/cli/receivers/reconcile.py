"""`pyro-assets reconcile`: what a receiver holds against the archive's series, sample by sample.

Add a way to show differences here; comparing is `export.reconcile`'s. Exit status 1 when anything differs.
"""

import click

from pyro_assets.cli.options import archive_option, json_option, ledger_option, receivers_option, source_option
from pyro_assets.cli.output import progress_bar, show_json, show_table
from pyro_assets.cli.receivers.export import open_exporting
from pyro_assets.cli.times import check_span, span_options
from pyro_assets.operations import sending
from pyro_assets.storage.keys import HOUR_MS, hour_of, hour_start_ms


@click.command()
@source_option
@archive_option
@ledger_option
@receivers_option
@click.option("--receiver", "name", required=True, metavar="NAME", help="Who is asked.")
@span_options(required=True)
@click.option("--only-sent", is_flag=True, help="Expect only what it has accepted, not everything that is derived.")
@json_option
def reconcile(
    source_url: str,
    archive_url: str,
    ledger_url: str,
    receivers_file: str,
    name: str,
    begin_ms: int,
    end_ms: int,
    only_sent: bool,
    as_json: bool,
) -> None:
    """Ask a receiver over PromQL for what it holds and compare it with the archive's series."""
    check_span(begin_ms, end_ms)
    from pyro_assets.app import now_ms
    from pyro_assets.export.reconcile import KINDS

    with (
        open_exporting(source_url, archive_url, ledger_url, receivers_file) as pipeline,
        progress_bar("minutes") as bar,
    ):
        found = sending.reconcile(
            pipeline,
            name,
            begin_ms,
            end_ms,
            only_sent=only_sent,
            progress=lambda at_ms: bar.update((at_ms - begin_ms) // 60_000, (end_ms - begin_ms) // 60_000),
        )
    running = hour_of(now_ms())
    if end_ms <= hour_start_ms(running):
        running = ""
    rows = [
        [kind, hour_of(hour * HOUR_MS), tenant, metric, count]
        for (kind, hour, tenant, metric), count in sorted(found.counts.items())
    ]
    header = ["difference", "hour", "tenant", "metric", "samples"]
    totals = {kind: found.total(kind) for kind in KINDS}
    if as_json:
        show_json(
            {
                "receiver": name,
                "compared": found.compared,
                "equal": found.equal,
                **totals,
                "refused": found.refused,
                "running_hour": running or None,
                "queries": found.queries,
            }
            | {"by_metric": [dict(zip(header, row, strict=True)) for row in rows]}
            | {"examples": [str(example) for example in found.examples]}
            | {"unsendable": found.unsendable.by_reason, "unreadable": list(found.unreadable.values())}
        )
    else:
        if rows:
            show_table(header, rows)
        for example in found.examples:
            click.echo(str(example))
        for reason, count in found.unsendable.by_reason.items():
            click.echo(f"{count} samples are not expected: our own rules keep them back ({reason})")
        for why in found.unreadable.values():
            click.echo(f"not compared: {why}")
        if found.refused:
            click.echo(f"{found.refused:,} samples are not expected: {name} refused them, say the receipts")
        if running:
            click.echo(f"{running} is still running: what is derived and not sent yet counts as missing")
        words = ", ".join(f"{count:,} {kind}" for kind, count in totals.items())
        click.echo(f"{found.compared:,} samples compared, {found.equal:,} equal, {words}")
    if found.unreadable and not found.counts:
        raise click.ClickException(f"{len(found.unreadable)} files of series could not be read")
    if not found.is_equal:
        soon = f"; {running} is still running, so ask again when it is over" if running else ""
        raise click.ClickException(f"{name} does not hold what the series say{soon}")
