"""Options that several commands share, and what they open.

Add an option here when a second command wants it. Options of settings come from `pyro_assets.settings`: click looks
their variables up when a command runs, never at import.
"""

from collections.abc import Callable
from contextlib import closing
from typing import TYPE_CHECKING, Any, TypeVar, get_args

import click

from pyro_assets.resources.environment import Environment
from pyro_assets.settings import variable

if TYPE_CHECKING:
    from pyro_assets.ledger.database import Ledger

Command = TypeVar("Command", bound=Callable[..., Any])


def setting_option(name: str, *declarations: str, **more: Any) -> Callable[[Command], Command]:
    """An option for the setting `name`; what is not given is its variable, else its default.

    Args:
        name: of a setting.
        declarations: how click is to call the option; by default as the setting.
        more: what is to differ from what the setting says, in click's words.
    """
    field = Environment.model_fields[name]
    choices, meaning = get_args(field.annotation), field.description or name
    kinds: dict[Any, click.ParamType[Any]] = {float: click.FloatRange(0), str: click.STRING}
    from_setting = {
        "envvar": variable(name),
        "show_envvar": True,
        "default": field.default,
        "show_default": bool(field.default),
        "type": click.Choice(choices) if choices else kinds[field.annotation],
        "metavar": "URL" if name.endswith("_url") else None,
        "help": meaning[0].upper() + meaning[1:] + ".",
    }
    return click.option(*(declarations or ["--" + name.replace("_", "-")]), **from_setting | more)


def json_option(command: Command) -> Command:
    """`--json`: one JSON document on stdout in place of tables."""
    return click.option("--json", "as_json", is_flag=True, help="Print one JSON document instead of tables.")(command)


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


source_option = setting_option("source_url")
archive_option = setting_option("archive_url")
ledger_option = setting_option("ledger_url")
mode_option = setting_option(
    "compaction",
    "--mode",
    "mode",
    help="own: segments, which are compacted; observe: the level-1 blocks that Pyroscope made.",
)
config_option = setting_option(
    "config", "--config", "config_path", metavar="PATH", help="File or folder of rules; they win over saved ones."
)
receivers_option = setting_option(
    "receivers",
    "--receivers",
    "receivers_file",
    type=click.Path(dir_okay=False),
    help="YAML file that lists receivers.",
)
