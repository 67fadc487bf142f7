"""The entry of the demo: its exit status when it cannot start."""

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
