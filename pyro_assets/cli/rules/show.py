"""`pyro-assets rules`: look at rules, check and change those of the ledger, from files where files are kept in Git.

Add a sub-command here; what rules mean belongs to `rules.language`, which of them count to `rules.in_force`.
"""

import difflib
import time
from dataclasses import asdict
from typing import TYPE_CHECKING, Final

import click

from pyro_assets.cli.options import archive_option, config_option, json_option, ledger_option, open_ledger
from pyro_assets.cli.output import show_json, show_table, time_text
from pyro_assets.cli.rules.apply import apply_rules, file_option, import_rules, signed
from pyro_assets.cli.rules.preview import preview, resolve
from pyro_assets.errors import ConfigError, StorageError
from pyro_assets.rules.stored import StoredRules
from pyro_assets.storage.bucket import open_bucket

if TYPE_CHECKING:
    from pyro_assets.rules.in_force import RulesInForce


#: What all costs together may take.
_COSTS_SECONDS: Final = 10.0


@click.group()
def rules() -> None:
    """Say which functions and dimensions become series.

    Rules of the file (--config) are read-only here and win; those of the ledger are edited by these commands.
    """


def _in_force(ledger_url: str, config_path: str) -> "RulesInForce":
    from pyro_assets.rules.config import SeriesConfig, load_config
    from pyro_assets.rules.in_force import merge_rules

    config = load_config(config_path) if config_path else SeriesConfig()
    with open_ledger(ledger_url) as ledger:
        return merge_rules(config, StoredRules(ledger).rules())


@rules.command("list")
@archive_option
@ledger_option
@config_option
@click.option("--costs", is_flag=True, help="Also measure what each rule costs a job, for a few seconds.")
@json_option
def list_rules(archive_url: str, ledger_url: str, config_path: str, costs: bool, as_json: bool) -> None:
    """All rules: state, series and samples of the last hour, who got them, and what they count.

    Short forms and recording rules are shown as the rules they stand for; quiet is a rule that gave nothing.
    """
    from pyro_assets.explore.standing import Standings, measure_costs, parts_of, standings
    from pyro_assets.web.rules.listing import listed

    found = _in_force(ledger_url, config_path)
    with open_ledger(ledger_url) as ledger:
        archive, now_ms = open_bucket(archive_url), time.time_ns() // 10**6
        parts = parts_of(found.config) if costs else {}
        standing: Standings | None
        try:
            measured = measure_costs(archive, ledger, parts, wanted=parts, budget_seconds=_COSTS_SECONDS)
            standing = standings(archive, ledger, now_ms)
        except StorageError as error:
            click.echo(f"Warning: no figures: {error}", err=True)
            measured, standing = {}, None
        rows = listed(found, standing, measured)
    if as_json:
        show_json({"hash": found.config.hash, "rules": [asdict(row) for row in rows]})
        return
    header = ["rule", "state", "series", "samples", "sent to", "ms a job", "version", "counts", "origin", "problem"]
    table = []
    for row in rows:
        figures = [row.series, row.samples, ", ".join(row.receivers), row.cost_ms]
        table.append([row.name, row.state, *figures, row.version, row.words, row.origin, row.problem])
    if not costs:
        header, table = [*header[:5], *header[6:]], [[*line[:5], *line[6:]] for line in table]
    show_table(header, table)
    click.echo(f"\nseries and samples of the last hour; snapshot {found.config.hash}")


@rules.command()
@click.argument("name")
@ledger_option
@config_option
@click.option("--history", is_flag=True, help="Show all versions instead, the newest first.")
def show(name: str, ledger_url: str, config_path: str, history: bool) -> None:
    """Print one rule as a file has it, or its history."""
    from pyro_assets.rules.choice import equivalent_rules, rules_text
    from pyro_assets.rules.in_force import version_text

    if history:
        with open_ledger(ledger_url) as ledger:
            versions = StoredRules(ledger).rule_history(name)
        if not versions:
            raise click.ClickException(f"the ledger never had a rule {name!r}; see `pyro-assets rules list`")
        for version in versions:
            what = "deleted" if version.deleted else "saved"
            why = f": {version.why}" if version.why else ""
            click.echo(f"# version {version.version} {what} by {version.author}, {time_text(version.at_ms)} UTC{why}")
            click.echo("" if version.deleted else version_text(version), nl=version.deleted)
        return
    found = _in_force(ledger_url, config_path)
    for known in found.known:
        if known.name == name and known.rule is not None:
            if known.problem:
                click.echo(f"# {known.problem}")
            click.echo(rules_text([known.rule]), nl=False)
            return
    for rule in equivalent_rules(found.config):
        if rule.name == name:
            click.echo(rules_text([rule]), nl=False)
            return
    raise click.ClickException(f"there is no rule {name!r}; see `pyro-assets rules list`")


@rules.command()
@click.argument("paths", nargs=-1, required=True, type=click.Path(exists=True))
def validate(paths: tuple[str, ...]) -> None:
    """Check files of rules; every problem is shown with file, line, field and remedy."""
    from pyro_assets.rules.config import load_config
    from pyro_assets.rules.language import warnings_of

    problems = []
    for path in paths:
        try:
            config = load_config(path)
        except ConfigError as error:
            problems += error.problems
            continue
        for rule in config.rules:
            for place, why in warnings_of(rule, config.gauges):
                click.echo(f"warning: {path}: rule {rule.name}, {place[0]}: {why}", err=True)
        click.echo(f"{path}: {len(config.rules)} rules, all fine")
    for problem in problems:
        click.echo(str(problem), err=True)
    if problems:
        raise click.exceptions.Exit(1)


@rules.command()
@file_option
@ledger_option
def diff(path: str, ledger_url: str) -> None:
    """Show how the ledger's rules differ from those of a file or folder; exit status 1 if they do."""
    from pyro_assets.rules.choice import rules_text
    from pyro_assets.rules.config import load_config
    from pyro_assets.rules.in_force import version_text

    given = {rule.name: rules_text([rule]) for rule in load_config(path).rules}
    with open_ledger(ledger_url) as ledger:
        stored = {one.name: version_text(one) for one in StoredRules(ledger).rules()}
    differs = False
    for name in sorted(given.keys() | stored.keys()):
        old, new = (text.splitlines()[1:] for text in (stored.get(name, ""), given.get(name, "")))
        for line in difflib.unified_diff(old, new, f"ledger: {name}", f"{path}: {name}", lineterm=""):
            differs = True
            click.echo(line)
    if differs:
        raise click.exceptions.Exit(1)


@rules.command()
@click.argument("names", nargs=-1, required=True)
@ledger_option
@signed
def delete(names: tuple[str, ...], ledger_url: str, author: str, why: str) -> None:
    """Delete rules of the ledger; their history stays, and `restore` brings them back."""
    from pyro_assets.app import now_ms
    from pyro_assets.rules.stored import RuleEdit

    with open_ledger(ledger_url) as ledger:
        known = {one.name: one.version for one in StoredRules(ledger).rules()}
        edits = [RuleEdit(name, None, known.get(name, 0)) for name in dict.fromkeys(names)]
        StoredRules(ledger).edit_rules(edits, author=author, why=why, now_ms=now_ms())
    click.echo(f"deleted {', '.join(edit.name for edit in edits)}")


@rules.command()
@click.argument("name")
@ledger_option
@click.option("--version", type=click.IntRange(1), help="The version to bring back.  [default: the newest that was]")
@signed
def restore(name: str, ledger_url: str, version: int | None, author: str, why: str) -> None:
    """Bring a deleted rule, or an older version of one, back as its newest version."""
    from pyro_assets.app import now_ms
    from pyro_assets.rules.stored import RuleEdit

    with open_ledger(ledger_url) as ledger:
        history = StoredRules(ledger).rule_history(name)
        wanted = [one for one in history if not one.deleted and version in (None, one.version)]
        if not wanted:
            raise click.ClickException(f"the ledger has no such version of a rule {name!r}; see `rules show --history`")
        seen = 0 if history[0].deleted else history[0].version
        edit = RuleEdit(name, wanted[0].body, seen)
        why = why or f"version {wanted[0].version} restored"
        [made] = StoredRules(ledger).edit_rules([edit], author=author, why=why, now_ms=now_ms())
    click.echo(f"{name} is as in version {wanted[0].version} again; this is version {made.version}")


@rules.command()
@ledger_option
@config_option
@click.option("--all", "everything", is_flag=True, help="Also the file's rules, and other forms as rules.")
def export(ledger_url: str, config_path: str, everything: bool) -> None:
    """Print the ledger's rules as a file that `apply` reads back."""
    from pyro_assets.rules.choice import equivalent_rules, rules_text

    found = _in_force(ledger_url, config_path)
    chosen = [one.rule for one in found.known if one.rule is not None and (everything or one.origin == "ledger")]
    click.echo(rules_text([*chosen, *(equivalent_rules(found.config) if everything else [])]), nl=False)


rules.add_command(apply_rules)
rules.add_command(import_rules)
rules.add_command(preview)
rules.add_command(resolve)
