"""`pyro-assets rules apply` and `import`: the rules of files into the ledger; options that commands of rules share.

Add another way to bring many rules in here; changes of single rules are in `rules`.
"""

import getpass
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import click

from pyro_assets.cli.options import ledger_option, open_ledger
from pyro_assets.rules.stored import StoredRules
from pyro_assets.storage.shown import counted

if TYPE_CHECKING:
    from pyro_assets.rules.language import Rule

Command = TypeVar("Command", bound=Callable[..., Any])
file_option = click.option(
    "-f", "--file", "path", required=True, metavar="PATH", type=click.Path(exists=True),
    help="A file of rules, or a folder of such files.",
)  # fmt: skip


def signed(command: Command) -> Command:
    """`--author` and `--why`: what the history says of a change."""
    author = click.option("--author", default=system_user, show_default="you", help="Who makes the change.")
    why = click.option("--why", default="", help="Why, for the history.")
    return author(why(command))


def system_user() -> str:
    """Who runs this process."""
    try:
        return getpass.getuser()
    except (OSError, KeyError, ImportError):
        return "unknown"


@click.command("apply")
@file_option
@ledger_option
@click.option("--dry-run", is_flag=True, help="Tell what would change, and change nothing.")
@click.option("--prune", is_flag=True, help="Delete rules of the ledger that the files do not have.")
@signed
def apply_rules(path: str, ledger_url: str, dry_run: bool, prune: bool, author: str, why: str) -> None:
    """Make the ledger's rules those of a file or folder; doing it again changes nothing."""
    from pyro_assets.rules.config import load_config

    _apply(load_config(path).rules, ledger_url, dry_run=dry_run, prune=prune, author=author, why=why)


@click.command("import")
@click.argument("path", type=click.Path(exists=True))
@ledger_option
@click.option("--dry-run", is_flag=True, help="Print the rules as a file of ours, and change nothing.")
@signed
def import_rules(path: str, ledger_url: str, dry_run: bool, author: str, why: str) -> None:
    """Save short forms and recording rules of a file as rules of the ledger."""
    from pyro_assets.rules.choice import equivalent_rules, rules_text
    from pyro_assets.rules.config import load_config

    config = load_config(path)
    found = [*config.rules, *equivalent_rules(config)]
    if dry_run:
        click.echo(rules_text(found), nl=False)
    else:
        _apply(found, ledger_url, dry_run=False, prune=False, author=author, why=why or f"imported from {path}")


def _apply(given: "Sequence[Rule]", ledger_url: str, *, dry_run: bool, prune: bool, author: str, why: str) -> None:
    from pyro_assets.app import now_ms
    from pyro_assets.rules.config import SeriesConfig
    from pyro_assets.rules.in_force import plan_edits

    with open_ledger(ledger_url) as ledger:
        plan = plan_edits(given, StoredRules(ledger).rules(), SeriesConfig(), prune=prune)
        for name, what in plan.changes:
            click.echo(f"{what} {name}")
        if plan.problems:
            raise click.ClickException("\n".join(plan.problems))
        if plan.edits and not dry_run:
            StoredRules(ledger).edit_rules(plan.edits, author=author, why=why, now_ms=now_ms())
    done, unchanged = (
        "would change" if dry_run else "changed",
        {rule.name for rule in given} - dict(plan.changes).keys(),
    )
    click.echo(f"{counted(len(plan.edits), 'rule')} {done}, {len(unchanged)} unchanged")
