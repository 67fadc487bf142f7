"""The reference pages of settings and commands, made from what the program itself reads.

`python -m pyro_assets.cli.reference resources/docs` writes them; a test compares. Words about a setting or an option
belong where it is declared.
"""

import inspect
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import click

from pyro_assets.cli.main import NOT_AS_IT_SHOULD_BE, STATUSES
from pyro_assets.cli.main import main as command_line
from pyro_assets.resources.environment import GROUPS
from pyro_assets.settings import variable, written

_SHELLS: Final = (
    ("Bash", "~/.bashrc", 'eval "$(_PYRO_ASSETS_COMPLETE=bash_source pyro-assets)"'),
    ("Zsh", "~/.zshrc", 'eval "$(_PYRO_ASSETS_COMPLETE=zsh_source pyro-assets)"'),
    ("Fish", "~/.config/fish/completions/pyro-assets.fish", "_PYRO_ASSETS_COMPLETE=fish_source pyro-assets | source"),
)


def settings_page() -> str:
    """All settings with their defaults and reasons."""
    lines = [
        "# Settings",
        "",
        "Each is an environment variable. Where commands have an option for one, the option wins; in Dagster the same",
        "names, without the prefix and in small letters, are fields of the resources `pipeline` and `retention`. An",
        "empty variable means the default.",
    ]
    for group in GROUPS:
        lines += ["", f"## {(group.__doc__ or '').rstrip('.')}", ""]
        lines += ["| variable | default | meaning | why so |", "|---|---|---|---|"]
        for name, field in group.model_fields.items():
            why = field.json_schema_extra["why"] if isinstance(field.json_schema_extra, dict) else ""
            lines.append(f"| `{variable(name)}` | {_default(field.default)} | {field.description} | {why} |")
    return "\n".join([*lines, ""])


def commands_page() -> str:
    """All commands with their options."""
    commands = list(_commands("pyro-assets", command_line))
    lines = ["# Commands", "", "| command | what it does |", "|---|---|"]
    for name, command in commands:
        anchor = name.replace(" ", "-")
        lines.append(f"| [`{name}`](#{anchor}) | {_cell(_text(command).split(chr(10) * 2)[0])} |")
    lines += ["", "## Exit statuses", "", "| status | of any command |", "|---|---|"]
    lines += [f"| {status} | {meaning} |" for status, meaning in STATUSES.items()]
    lines += ["", "| command | status 1 also means |", "|---|---|"]
    lines += [f"| `{name}` | {meaning} |" for name, meaning in NOT_AS_IT_SHOULD_BE.items()]
    lines += [
        "",
        "## Shell completion",
        "",
        "Names of commands and options by the tab key; in the file that your shell reads:",
    ]
    for shell, file, line in _SHELLS:
        lines += ["", f"{shell}, `{file}`:", "", "```bash parse", line, "```"]
    for name, command in commands:
        with click.Context(command, info_name=name) as context:
            arguments = [piece for one in command.get_params(context) for piece in one.get_usage_pieces(context)]
        lines += ["", f"## {name}", "", f"`{' '.join([name, *arguments])}`", "", _text(command)]
        options = [one for one in command.params if isinstance(one, click.Option) and not one.hidden]
        if options:
            lines += ["", "| option | default | meaning |", "|---|---|---|"]
        lines += [
            f"| `{'`, `'.join(one.opts)}` | {_option_default(one)} | {_cell(one.help or '')} |" for one in options
        ]
    return "\n".join([*lines, ""])


PAGES = {"settings.md": settings_page, "commands.md": commands_page}


def _commands(name: str, command: click.Command) -> Iterator[tuple[str, click.Command]]:
    if not isinstance(command, click.Group):
        yield name, command
        return
    context = click.Context(command)
    for part in command.list_commands(context):
        found = command.get_command(context, part)
        if found is not None:
            yield from _commands(f"{name} {part}", found)


def _text(command: click.Command) -> str:
    return inspect.cleandoc(command.help or "").replace("\b\n", "")


def _cell(text: str) -> str:
    return " ".join(text.split()).replace("|", "\\|")


def _option_default(option: click.Option) -> str:
    if isinstance(option.envvar, str):
        return f"`{option.envvar}`"
    shown = option.show_default and not option.is_flag and not callable(option.default)
    return _default(option.default) if shown else ""


def _default(default: Any) -> str:
    if isinstance(default, (list, tuple)):
        return ", ".join(map(_default, default))
    return f"`{written(default)}`" if default != "" else "(none)"


def main() -> None:
    """Write the pages into the folder that is named."""
    (folder,) = map(Path, sys.argv[1:])
    for name, page in PAGES.items():
        (folder / name).write_text(page(), "utf-8")


if __name__ == "__main__":
    main()
