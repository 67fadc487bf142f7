"""Options that several commands share, with defaults from the environment, and what they open.

Add an option here when a second command wants it. Environment variables are named in
`pyro_assets.resources.environment` alone; URLs are read when a command runs, never at import.
"""

from collections.abc import Callable
from contextlib import closing
from typing import TYPE_CHECKING, Any, TypeVar

import click

from pyro_assets.resources import environment as env

if TYPE_CHECKING:
    from pyro_assets.ledger.database import Ledger

Command = TypeVar("Command", bound=Callable[..., Any])


def from_environment(variable: env.Variable) -> Callable[[], str]:
    """A default that is looked up when the command runs."""
    return lambda: env.value(variable)


def url_option(name: str, variable: env.Variable, meaning: str = "") -> Callable[[Command], Command]:
    """An option whose default is an environment variable's value."""
    return click.option(
        name,
        default=from_environment(variable),
        show_default=f"{variable.name}, else {variable.default or 'none'}",
        metavar="URL",
        help=(meaning or variable.meaning).capitalize() + ".",
    )


def json_option(command: Command) -> Command:
    """`--json`: one JSON document on stdout in place of tables."""
    return click.option("--json", "as_json", is_flag=True, help="Print one JSON document instead of tables.")(command)


def mode_option(command: Command) -> Command:
    """`--mode`: which objects of the source are looked at."""
    return click.option(
        "--mode",
        type=click.Choice(["own", "observe"]),
        default=from_environment(env.COMPACTION),
        show_default=f"{env.COMPACTION.name}, else {env.COMPACTION.default}",
        help="own: segments, which are compacted; observe: the level-1 blocks that Pyroscope made.",
    )(command)


config_option = click.option(
    "--config", "config_path", default=from_environment(env.CONFIG), metavar="PATH",
    show_default=f"{env.CONFIG.name}, else none", help="The file or folder of rules that wins.",
)  # fmt: skip
hours_option = click.option(
    "--hour", "hours", multiple=True, metavar="HOUR", help="This hour of creation.  [default: the last three]"
)


def budget_option(seconds: float) -> Callable[[Command], Command]:
    """`--budget`: how long jobs are read."""
    return click.option(
        "--budget",
        "budget_seconds",
        type=click.FloatRange(0),
        default=seconds,
        show_default=True,
        help="Seconds after which no further job is read.",
    )


def open_ledger(ledger_url: str) -> "closing[Ledger]":
    """The ledger, closed at the end of a `with`.

    Raises:
        LedgerUnavailable: it does not answer.
    """
    from pyro_assets.ledger.database import Ledger

    return closing(Ledger.open(ledger_url))


source_option = url_option("--source-url", env.SOURCE_URL)
archive_option = url_option("--archive-url", env.ARCHIVE_URL)
ledger_option = url_option("--ledger-url", env.LEDGER_URL)
