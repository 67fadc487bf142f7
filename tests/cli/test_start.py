"""What a command costs before it does anything."""

import subprocess
import sys


def after_choosing(command: str, statement: str) -> str:
    """What a fresh process prints after it has looked a command up."""
    found = f"from pyro_assets.cli.main import main; main.get_command(click.Context(main), {command!r})"
    script = f"import click, gc; {found}; {statement}"
    return subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.strip()


def test_what_is_imported_is_not_searched_for_cycles_again_and_again():
    assert after_choosing("inspect", "print(gc.get_threshold())") == "(50000, 20, 100)"
