"""`pyro-assets receivers`: list them, ask them how they are without sending a sample, pause and resume them.

Add a question about receivers here; what is asked stands in `export.remote_write.probe`. `check` has exit status 1 when
one of them would not take samples.
"""

from dataclasses import asdict
from typing import Any

import click

from pyro_assets.cli.options import (
    archive_option,
    json_option,
    ledger_option,
    open_ledger,
    receivers_option,
    source_option,
)
from pyro_assets.cli.output import show_json, show_table, time_text
from pyro_assets.cli.receivers.export import open_exporting
from pyro_assets.cli.times import check_span, span_options
from pyro_assets.ledger.hours import HourRecords
from pyro_assets.operations import sending
from pyro_assets.resources.environment import environment_secrets
from pyro_assets.settings import variable


@click.group()
def receivers() -> None:
    """Show, check, pause and resume receivers."""


@receivers.command("list")
@source_option
@archive_option
@ledger_option
@receivers_option
@json_option
def list_them(source_url: str, archive_url: str, ledger_url: str, receivers_file: str, as_json: bool) -> None:
    """List the receivers of the file, and how sending to them went last."""
    with open_exporting(source_url, archive_url, ledger_url, receivers_file) as pipeline:
        states = sending.receiver_states(pipeline)
        rows: list[dict[str, Any]] = [
            {
                "receiver": one.name,
                "kind": one.kind,
                "url": one.shown_url,
                "tenants": ", ".join(one.tenants),
                "start": one.start,
                "state": "paused" if (state := states[one.name]).paused_ms else "failing" if state.error else "ready",
                "last_accepted": time_text(state.ok_ms),
                "error": state.error,
                "held": state.held_words,
            }
            for one in pipeline.receivers()
        ]
    if as_json:
        show_json(rows)
    elif rows:
        show_table(list(rows[0])[:-1], [list(row.values())[:-1] for row in rows])
        for row in rows:
            for tenant, why in row["held"].items():
                click.echo(f"{row['receiver']}: tenant {tenant!r}: {why}")
    else:
        click.echo(f"no receiver is configured; name a file of receivers in {variable('receivers')}")


@receivers.command()
@ledger_option
@receivers_option
@click.argument("names", nargs=-1)
@json_option
def check(ledger_url: str, receivers_file: str, names: tuple[str, ...], as_json: bool) -> None:
    """Ask receivers (all by default) whether they answer, accept the credentials, and what they are.

    Every tenant is asked: those named in the file, and those that the ledger knows of. No sample is sent.
    """
    from pyro_assets.errors import LedgerError
    from pyro_assets.export.remote_write.probe import check_receiver
    from pyro_assets.receivers.file import Receivers, load_receivers

    listed = load_receivers(receivers_file) if receivers_file else Receivers()
    unknown = [name for name in names if listed.named(name) is None]
    if unknown:
        raise click.ClickException(f"there is no receiver {unknown[0]!r} in {receivers_file or 'any file'}")
    tenants: list[str] = []
    try:
        with open_ledger(ledger_url) as ledger:
            tenants = HourRecords(ledger).tenants_lately()
    except LedgerError as error:
        click.echo(f"Warning: only tenants of the file are asked: {error}", err=True)
    chosen = [one for one in listed.receivers if not names or one.name in names]
    checks = [check_receiver(one, environment_secrets(), tenants=tenants) for one in chosen]
    if not checks:
        raise click.ClickException(f"no receiver is configured; name a file of receivers in {variable('receivers')}")
    if as_json:
        show_json([asdict(one) for one in checks])
    else:
        header = ["receiver", "answers", "accepts", "product", "version", "seconds"]
        rows = [[one.name, one.answers, one.accepts, one.product, one.version, one.seconds] for one in checks]
        show_table(header, rows)
        for one in checks:
            for text in one.problems:
                click.echo(f"{one.name}: problem: {text}")
            for text in one.warnings:
                click.echo(f"{one.name}: warning: {text}")
    bad = [one.name for one in checks if not one.accepts]
    if bad:
        raise click.ClickException(f"{', '.join(bad)} would not take samples")


_tenant_option = click.option("--tenant", default="", help="Only this tenant (X-Scope-OrgID) of the receiver.")


def _set(
    source_url: str, archive_url: str, ledger_url: str, receivers_file: str, name: str, tenant: str, *, paused: bool
) -> None:
    with open_exporting(source_url, archive_url, ledger_url, receivers_file) as pipeline:
        changed = sending.pause(pipeline, name, paused=paused, tenant=tenant)
    name += f", tenant {tenant!r}," if tenant else ""
    word = "paused" if paused else "resumed"
    click.echo(f"{name} is {word}" if changed else f"{name} was {'paused already' if paused else 'not paused'}")


@receivers.command()
@source_option
@archive_option
@ledger_option
@receivers_option
@click.argument("name")
@_tenant_option
def pause(source_url: str, archive_url: str, ledger_url: str, receivers_file: str, name: str, tenant: str) -> None:
    """Send nothing to a receiver, or to one tenant there, until it is resumed; what is lacking stays pending."""
    _set(source_url, archive_url, ledger_url, receivers_file, name, tenant, paused=True)


@receivers.command()
@source_option
@archive_option
@ledger_option
@receivers_option
@click.argument("name")
@_tenant_option
def resume(source_url: str, archive_url: str, ledger_url: str, receivers_file: str, name: str, tenant: str) -> None:
    """Go on sending to a receiver, or to one tenant there."""
    _set(source_url, archive_url, ledger_url, receivers_file, name, tenant, paused=False)


@receivers.command()
@source_option
@archive_option
@ledger_option
@receivers_option
@click.argument("name")
@span_options(required=True)
def keep(
    source_url: str,
    archive_url: str,
    ledger_url: str,
    receivers_file: str,
    name: str,
    begin_ms: int,
    end_ms: int,
) -> None:
    """Let a receiver keep what it was sent where series changed afterwards (see the check no_sample_is_refused)."""
    check_span(begin_ms, end_ms)
    with open_exporting(source_url, archive_url, ledger_url, receivers_file) as pipeline:
        count = sending.keep_changed(pipeline, name, begin_ms, end_ms)
    click.echo(f"{name} keeps what it has: {count} changes are not reported any more")
