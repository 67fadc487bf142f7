"""The command `pyro-assets` itself: its sub-commands, and how failures leave it.

A sub-command's module is imported when it is called, so that `--help` is quick. Exit status: 0 fine, 1 something
failed (one sentence on stderr), 2 wrong usage or a setting that cannot be used (one sentence, too).
"""

import errno
import importlib
from typing import Any, Final

import click

from pyro_assets.errors import (
    AccessRefused,
    ConfigError,
    LedgerUnavailable,
    PyroAssetsError,
    SchemaMismatch,
    SettingsError,
)

#: What is wrong with an installation rather than with its data: other settings, or another place, are needed.
_REFUSED: Final = (SettingsError, ConfigError, AccessRefused, LedgerUnavailable, SchemaMismatch)

#: Name -> module and function of its command, in the order in which `--help` shows them.
COMMANDS = {
    "run": ("pyro_assets.cli.run", "run"),
    "generate": ("pyro_assets.cli.generate", "generate"),
    "inspect": ("pyro_assets.cli.inspect", "inspect"),
    "verify": ("pyro_assets.cli.verify", "verify"),
    "rules": ("pyro_assets.cli.rules", "rules"),
    "series": ("pyro_assets.cli.series", "series"),
    "doctor": ("pyro_assets.cli.doctor", "doctor"),
    "rescan": ("pyro_assets.cli.rescan", "rescan"),
    "retention": ("pyro_assets.cli.retention", "retention"),
    "publish": ("pyro_assets.cli.publish", "publish"),
    "rebuild-ledger": ("pyro_assets.cli.rebuild_ledger", "rebuild_ledger"),
    "quarantine": ("pyro_assets.cli.quarantine", "quarantine"),
    "export": ("pyro_assets.cli.export", "export"),
    "receivers": ("pyro_assets.cli.receivers", "receivers"),
    "reconcile": ("pyro_assets.cli.reconcile", "reconcile"),
    "web": ("pyro_assets.cli.web", "web"),
}


class LazyGroup(click.Group):
    """A group whose commands are imported when they are asked for, and whose failures are sentences."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002 - click's signature
        """All commands in their order."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002 - click's signature
        """The command of this name, or None."""
        if cmd_name not in COMMANDS:
            return None
        module, function = COMMANDS[cmd_name]
        command = getattr(importlib.import_module(module), function)
        assert isinstance(command, click.Command)  # noqa: S101 - COMMANDS is ours
        return command

    def invoke(self, ctx: click.Context) -> Any:
        """Runs the command; what fails becomes one sentence."""
        try:
            return super().invoke(ctx)
        except PyroAssetsError as error:
            kind = _Refusal if isinstance(error, _REFUSED) else click.ClickException
            raise kind(_sentence(error)) from error
        except OSError as error:
            if error.errno == errno.EPIPE:
                raise  # the reader of a pipe went away, which click ends quietly
            raise click.ClickException(_sentence(error)) from error


class _Refusal(click.ClickException):
    """One sentence on stderr, and a status of its own: a setting cannot be used."""

    exit_code = 2


def _sentence(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="pyro-assets")
def main() -> None:
    """Exact Prometheus series from continuous profiles, computed where their blocks are compacted."""
