"""The command `pyro-assets` itself: its sub-commands, and how failures leave it.

A sub-command's module is imported when it is called, so that `--help` is quick. What exit statuses mean is STATUSES.
"""

import atexit
import errno
import gc
import importlib
from typing import Any, Final

import click
from click.shell_completion import CompletionItem
from dotenv import load_dotenv

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

#: Name -> module below `pyro_assets.cli`, function, and what `--help` says of it, in its order.
COMMANDS = {
    "init": ("init", "init", "Make a folder with settings, rules, receivers, Dagster's files and a compose file."),
    "run": ("run", "run", "Find, compact and derive all that is due, once, and send it to receivers."),
    "generate": ("generate", "generate", "Fill a bucket with realistic segments of made-up programs."),
    "inspect": ("inspect", "inspect", "Show what is in a block."),
    "verify": ("archive.verify", "verify", "Check every checksum of blocks, or all that the archive holds."),
    "rules": ("rules.show", "rules", "Say which functions and dimensions become series."),
    "series": ("series", "series", "Print the series of an archive."),
    "doctor": ("doctor", "doctor", "Check configuration, reachability, permissions, clock, versions and Dagster."),
    "rescan": ("archive.rescan", "rescan", "Find uploads that came so late that ticks did not see them."),
    "retention": (
        "archive.retention",
        "retention",
        "List what is older than it is to be kept; with --apply, remove it.",
    ),
    "publish": ("archive.publish", "publish", "Copy level-1 blocks of hours to a Pyroscope server's own bucket."),
    "rebuild-ledger": (
        "archive.rebuild_ledger",
        "rebuild_ledger",
        "Write what the archive's commit records prove into an empty ledger.",
    ),
    "quarantine": (
        "archive.quarantine",
        "quarantine",
        "Jobs given up, sources set aside or lost: list, show, retry, release, forget.",
    ),
    "export": ("receivers.export", "export", "Send what receivers lack, since their start or of some hours."),
    "receivers": ("receivers.listing", "receivers", "Show, check, pause and resume receivers."),
    "reconcile": (
        "receivers.reconcile",
        "reconcile",
        "Compare what a receiver holds, by PromQL, with the archive's series.",
    ),
    "web": ("web", "web", "Serve pages, their JSON API, remote read and the project's own metrics."),
}


#: Exit status -> what it means of any command.
STATUSES: Final = {
    0: "all is done, or as it should be",
    1: "something failed or is not as it should be: one sentence on stderr says what",
    2: "wrong usage, or a setting, a file of settings or a place that cannot be used: nothing was begun",
}
#: Command -> what 1 means of it beside a bucket or ledger that does not answer.
NOT_AS_IT_SHOULD_BE: Final = {
    "run": "a job failed or waits for its next attempt, a source is set aside or lost and not acknowledged, a listing "
    "failed, or a receiver did not get everything",
    "inspect": "the block cannot be read",
    "verify": "a checksum is wrong, or an object of the archive is damaged or missing (with `--repair`: still)",
    "rules validate": "a file has mistakes",
    "rules diff": "rules of the ledger differ from those of the files",
    "series": "a file of series cannot be read",
    "doctor": "there is a problem; warnings alone are 0",
    "rescan": "a listing failed",
    "rebuild-ledger": "a record is damaged",
    "export": "a receiver did not get everything",
    "receivers check": "a receiver would not take samples",
    "reconcile": "a sample is missing or differs",
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
        _collect_rarely()
        module, function, _ = COMMANDS[cmd_name]
        command = getattr(importlib.import_module(f"pyro_assets.cli.{module}"), function)
        assert isinstance(command, click.Command)  # noqa: S101 - COMMANDS is ours
        return command

    def format_commands(self, _ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The table of commands, without importing one of them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, sentence) for name, (_, _, sentence) in COMMANDS.items()])

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Names of commands and options, without importing one of the commands."""
        found = [
            CompletionItem(name, help=sentence)
            for name, (_, _, sentence) in COMMANDS.items()
            if name.startswith(incomplete)
        ]
        return found if not incomplete.startswith("-") else click.Command.shell_complete(self, ctx, incomplete)

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


def _collect_rarely() -> None:
    """Looks for cycles of objects seldom: to import what a command needs makes half a million objects, which all stay.

    At Python's default of 700 new objects that takes a seventh of the start, and the look at all of them, when the
    process ends, as much again.
    """
    gc.set_threshold(50_000, 20, 100)
    atexit.register(gc.freeze)


class _Refusal(click.ClickException):
    """One sentence on stderr, and a status of its own: a setting cannot be used."""

    exit_code = 2


def _sentence(error: BaseException) -> str:
    return " ".join(str(error).split()) or type(error).__name__


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(package_name="pyro-assets")
def main() -> None:
    """Exact Prometheus series from continuous profiles, computed where their blocks are compacted."""
    # What the file of a project's folder says counts where the environment says nothing yet.
    load_dotenv(".env")
