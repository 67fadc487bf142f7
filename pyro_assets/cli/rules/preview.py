"""`pyro-assets rules preview`: what a rule would give over past hours, as tables or JSON.

Add a figure when `explore.preview` knows it and a person should see it.
"""

from dataclasses import asdict
from typing import TYPE_CHECKING

import click

from pyro_assets.cli.options import (
    archive_option,
    budget_option,
    config_option,
    hours_option,
    json_option,
    ledger_option,
    open_ledger,
)
from pyro_assets.cli.output import show_json, show_table, size_text
from pyro_assets.rules.stored import StoredRules
from pyro_assets.storage.shown import counted

if TYPE_CHECKING:
    from pyro_assets.explore.preview import Preview
    from pyro_assets.rules.config import SeriesConfig
    from pyro_assets.rules.language import Rule


@click.command()
@click.argument("name", required=False)
@click.option("-f", "--file", "path", metavar="PATH", type=click.Path(exists=True), help="Take the rule from a file.")
@archive_option
@ledger_option
@config_option
@hours_option
@click.option("--tenant", "tenants", multiple=True, metavar="NAME", help="This tenant only.")
@budget_option(10.0)
@json_option
def preview(
    name: str | None,
    path: str | None,
    archive_url: str,
    ledger_url: str,
    config_path: str,
    hours: tuple[str, ...],
    tenants: tuple[str, ...],
    budget_seconds: float,
    as_json: bool,
) -> None:
    """Show which series a rule would give: nothing is stored or sent.

    NAME is a rule of the ledger or the configuration; with --file one of that file (which may hold just one).
    """
    from pyro_assets.app import now_ms
    from pyro_assets.explore.preview import closed_hours, preview_rule
    from pyro_assets.rules.config import SeriesConfig, load_config
    from pyro_assets.rules.in_force import merge_rules
    from pyro_assets.storage.bucket import open_bucket

    config = load_config(config_path) if config_path else SeriesConfig()
    with open_ledger(ledger_url) as ledger:
        if path is not None:
            rule = _chosen(load_config(path), name)
        else:
            known = merge_rules(config, StoredRules(ledger).rules()).known
            rule = _chosen(config.model_copy(update={"rules": [one.rule for one in known if one.rule]}), name)
        chosen = list(hours) or closed_hours(ledger, now_ms())
        found = preview_rule(
            open_bucket(archive_url), ledger, rule, config, chosen, tenants=tenants, budget_seconds=budget_seconds
        )
    if as_json:
        show_json(asdict(found) | {"is_exact": found.is_exact})
    else:
        _show(found)


@click.command()
@click.argument("name")
@archive_option
@ledger_option
@hours_option
@budget_option(60.0)
@click.option("--author", default="rules resolve", show_default=True, help="Who makes the change.")
def resolve(
    name: str, archive_url: str, ledger_url: str, hours: tuple[str, ...], budget_seconds: float, author: str
) -> None:
    """Find the functions of a saved rule with top_k anew, and save them where they changed."""
    from pyro_assets.app import now_ms
    from pyro_assets.explore.preview import resolve_rule
    from pyro_assets.rules.config import SeriesConfig
    from pyro_assets.rules.in_force import read_body
    from pyro_assets.storage.bucket import open_bucket

    with open_ledger(ledger_url) as ledger:
        stored = next((one for one in StoredRules(ledger).rules() if one.name == name), None)
        if stored is None or read_body(name, stored.body).top_k is None:
            raise click.ClickException(f"the ledger has no rule {name!r} with top_k; see `pyro-assets rules list`")
        found = resolve_rule(
            ledger,
            open_bucket(archive_url),
            stored,
            SeriesConfig(),
            now_ms(),
            author=author,
            hours=hours,
            budget_seconds=budget_seconds,
        )
    if found.problem:
        raise click.ClickException(found.problem)
    for one in found.functions:
        click.echo(one)


def _chosen(config: "SeriesConfig", name: str | None) -> "Rule":
    from pyro_assets.rules.choice import equivalent_rules

    rules = [*config.rules, *equivalent_rules(config)]
    found = [rule for rule in rules if name in (None, rule.name)]
    if not found or (name is None and len(found) != 1):
        known = ", ".join(sorted(rule.name for rule in rules)) or "none"
        raise click.UsageError(f"name one rule; there are: {known}")
    return found[0]


def _show(found: "Preview") -> None:
    whole = "all" if found.is_exact else f"an estimate from {found.jobs_read}"
    click.echo(f"{counted(len(found.hours), 'hour')}, {whole} of {found.jobs} jobs, {found.seconds:.1f} s")
    at_least = "" if found.is_exact else "at least "
    click.echo(
        f"{at_least}{found.series:,} series, {found.samples:,} samples, at most {found.most_series:,} series a job; "
        f"{found.cost_ms:.1f} ms a job"
    )
    click.echo(f"read {size_text(found.bytes_read)} of {size_text(found.bytes_stored)} stored")
    for warning in found.warnings:
        click.echo(f"warning: {warning}")
    if found.shares:
        click.echo("\nshare of the selected profiles")
        show_table(
            ["tenant", "metric", "total", "share"],
            [
                [one.tenant, one.metric, one.total, "" if one.share is None else f"{one.share:.1%}"]
                for one in found.shares
            ],
        )
    if found.functions:
        click.echo(f"\nfunctions caught (of {found.names_seen:,} names looked at)")
        rows = [
            [one.tenant, one.metric, one.function, one.total, "" if one.share is None else f"{one.share:.1%}"]
            for one in found.functions[:20]
        ]
        show_table(["tenant", "metric", "function", "total", "share"], rows)
        if len(found.functions) > len(rows):
            click.echo(f"and {len(found.functions) - len(rows):,} more; --json shows all")
    if found.first:
        click.echo("\nfirst series")
        labels = [", ".join(f"{name}={value}" for name, value in one.labels) for one in found.first]
        rows = [[one.tenant, one.metric, text, one.value] for one, text in zip(found.first, labels, strict=True)]
        show_table(["tenant", "metric", "labels", "largest value"], rows)
    if len(found.largest) > 1:
        click.echo("\nlargest values")
        some = found.largest[:5]
        labels = [", ".join(f"{name}={value}" for name, value in one.labels) for one in some]
        rows = [[one.tenant, one.metric, text, one.value] for one, text in zip(some, labels, strict=True)]
        show_table(["tenant", "metric", "labels", "value"], rows)
    for family, examples in found.folding.items():
        click.echo(f"\nnormalize: [{family}] would fold {examples[0][0]} to {examples[0][1]}")
