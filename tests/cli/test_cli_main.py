"""The command as a whole: help, versions, exit statuses, sentences."""

import errno
import importlib
import subprocess
import sys

import click
import pytest
from click.testing import CliRunner

from pyro_assets.cli import main as module
from pyro_assets.cli.main import COMMANDS, NOT_AS_IT_SHOULD_BE, main
from pyro_assets.errors import StorageUnavailable
from tests.support.cli_runner import fails, is_wrong_usage, run


def test_help_names_every_command():
    result = run("--help")
    assert result.exit_code == 0
    for name in COMMANDS:
        assert f"\n  {name} " in result.stdout


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_and_says_what_it_is_for(name: str):
    result = run(name, "--help")
    assert result.exit_code == 0
    assert f"Usage: main {name} " in result.stdout


def test_the_version_is_the_packages():
    assert "0." in run("--version").stdout


def test_wrong_usage():
    is_wrong_usage(run("no-such-command"), "No such command")
    is_wrong_usage(run("run", "--dedup", "sometimes"), "--dedup")


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (StorageUnavailable("the bucket\n does not answer"), "the bucket does not answer"),
        (PermissionError(errno.EACCES, "Permission denied", "/x"), "Permission denied: '/x'"),
    ],
)
def test_what_fails_becomes_a_sentence(monkeypatch: pytest.MonkeyPatch, error: Exception, sentence: str):
    @click.command()
    def broken() -> None:
        raise error

    monkeypatch.setattr(module.LazyGroup, "get_command", lambda *_: broken)
    fails(run("anything"), sentence)


def test_a_reader_that_went_away_is_no_failure_of_ours(monkeypatch: pytest.MonkeyPatch):
    @click.command()
    def broken() -> None:
        raise BrokenPipeError(errno.EPIPE, "Broken pipe")

    monkeypatch.setattr(module.LazyGroup, "get_command", lambda *_: broken)
    result = run("anything")
    assert result.exit_code == 1
    assert "Error" not in result.output


def test_help_needs_neither_arrow_nor_polars_nor_dagster():
    code = (
        "import sys; from click.testing import CliRunner; from pyro_assets.cli.main import main; "
        "assert CliRunner().invoke(main, ['--help']).exit_code == 0; "
        "print(sorted({'pyarrow', 'polars', 'dagster', 'numpy', 'sqlalchemy'} & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


def test_the_tab_key_completes_commands_without_importing_them(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("COMP_WORDS", "pyro-assets re")
    monkeypatch.setenv("COMP_CWORD", "1")
    monkeypatch.setattr(importlib, "import_module", None)
    result = CliRunner().invoke(main, env={"_PYRO_ASSETS_COMPLETE": "bash_complete"}, prog_name="pyro-assets")
    names = [line.partition(",")[2] for line in result.stdout.split()]
    assert names == [name for name in COMMANDS if name.startswith("re")]


def test_what_statuses_are_said_of_is_a_command():
    for name in NOT_AS_IT_SHOULD_BE:
        command: click.Command | None = main
        for part in name.split():
            assert isinstance(command, click.Group)
            command = command.get_command(click.Context(command), part)
        assert command is not None, name
