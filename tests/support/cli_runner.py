"""Runs the command line inside the test's process, with an environment of its own."""

from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result

from pyro_assets.cli.main import main


def run(*arguments: Any, env: dict[str, str] | None = None) -> Result:
    """`pyro-assets ARGUMENTS`; exceptions that are no exit are raised."""
    result = CliRunner().invoke(main, [str(argument) for argument in arguments], env=env)
    if result.exception is not None and not isinstance(result.exception, SystemExit):
        raise result.exception
    return result


def fails(result: Result, *words: str) -> None:
    """The command ended with status 1 (2: a setting is refused) and one sentence on stderr that holds these words."""
    assert result.exit_code in (1, 2), result.output
    [sentence] = [line for line in result.stderr.splitlines() if line.startswith("Error: ")]
    assert result.stderr.rstrip().endswith(sentence)
    for word in words:
        assert word in sentence


def is_refused(result: Result, *words: str) -> str:
    """The command ended with status 2 and one sentence on stderr, and nothing else, that holds these words."""
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    (sentence,) = result.stderr.splitlines()
    for word in words:
        assert word in sentence
    return sentence.removeprefix("Error: ")


def is_wrong_usage(result: Result, *words: str) -> None:
    """The command ended with status 2 and its usage on stderr."""
    assert result.exit_code == 2, result.output
    assert result.stderr.startswith("Usage: ")
    for word in words:
        assert word in result.stderr


def places(folder: Path) -> list[str]:
    """Options for archive and ledger in a folder."""
    return ["--archive-url", str(folder / "archive"), "--ledger-url", f"sqlite:///{folder / 'ledger.db'}"]
