"""The entry of the demo: its exit status when it cannot start."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

from pyro_assets.demo.layout import DemoFolder


def demo(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "pyro_assets.demo", *arguments], capture_output=True, text=True, timeout=60, check=False
    )


def test_a_folder_in_use_is_refused(tmp_path: Path):
    with DemoFolder(tmp_path).lock():
        result = demo("--folder", str(tmp_path))
    assert result.returncode == 1
    assert "another demo is running" in result.stdout


def test_wrong_usage():
    assert demo("--minutes", "3").returncode == 2


def dry(target: str, folder: Path, *variables: str) -> str:
    """What make would do in a checkout whose environment was never made."""
    shutil.copy(Path(__file__).parents[2] / "Makefile", folder)
    (folder / "pyproject.toml").touch()
    command = ["make", "--dry-run", target, *variables]
    # Tests themselves are started by make, which hands its own flags and variables down.
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    return subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=True).stdout


def test_the_demo_installs_no_tools_of_developers(tmp_path: Path):
    asked = dry("demo", tmp_path)
    assert "--editable . |" in asked
    assert "[dev]" not in asked
    assert "--fresh" not in asked
    assert "[dev]" in dry("setup", tmp_path)


def test_variables_of_the_demo(tmp_path: Path):
    asked = dry("demo", tmp_path, "FRESH=1", "DEMO_SECONDS=9")
    assert asked.rstrip().endswith("-m pyro_assets.demo --seconds 9 --fresh")


def test_a_second_demo_wipes_nothing_unless_it_is_told_to(tmp_path: Path):
    layout = DemoFolder(tmp_path / "demo")
    with layout.lock():
        layout.prepare(1)
        (layout.root / "ledger.db").write_text("no database, so that the demo ends here")
        layout.config.write_text("rules: []")
    kept = demo("--folder", str(layout.root), "--seconds", "0")
    assert kept.returncode == 1
    assert "going on with what an earlier demo left" in kept.stdout
    assert "make demo FRESH=1 begins anew" in kept.stdout
    assert layout.config.read_text() == "rules: []"
