"""A fresh checkout without any variable: Dagster's own commands find the location, and leave nothing."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from pyro_assets.demo.processes import Processes
from pyro_assets.demo.services import is_ready
from pyro_assets.web.dagster_client import DagsterClient
from tests.support.servers import free_port

ROOT = Path(__file__).parent.parent.parent
DAGSTER = [sys.executable, "-m", "dagster"]
DG = [str(Path(sys.executable).parent / "dg")]
pytestmark = pytest.mark.service


def bare(folder: Path) -> dict[str, str]:
    """An environment without any setting of this process."""
    return {"PATH": os.environ["PATH"], "HOME": str(folder), "PYTHONDONTWRITEBYTECODE": "1"}


def call(folder: Path, *command: str) -> str:
    done = subprocess.run(
        command, cwd=folder, env=bare(folder.parent), capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout + done.stderr


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("fresh") / "checkout"
    names = call(ROOT, "git", "ls-files", "--cached", "--others", "--exclude-standard", "-z").split("\0")
    for name in filter(None, names):
        if not (ROOT / name).exists() or name.startswith("tests/golden"):
            continue
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, folder / name, follow_symlinks=False)
    call(folder, "git", "init", "--quiet")
    call(folder, "git", "add", "--all")
    yield folder
    left = call(folder, "git", "status", "--porcelain").splitlines()
    assert [line for line in left if not line.startswith("A ")] == []


@pytest.mark.parametrize("workspace", [[], ["-w", "workspace.yaml"]], ids=["by pyproject.toml", "by workspace.yaml"])
def test_both_ways_to_name_the_location_load_it(checkout: Path, workspace: list[str]):
    said = call(checkout, *DAGSTER, "definitions", "validate", *workspace)
    assert "Validation successful for code location pyro_assets" in said
    assert "All code locations passed validation" in said


def test_dg_checks_and_lists_the_definitions(checkout: Path):
    assert "All definitions loaded successfully" in call(checkout, *DG, "check", "defs")
    listed = call(checkout, *DG, "list", "defs", "--json")
    found = json.loads(listed[: listed.rindex("}") + 1][listed.index("{") :])
    assert {"segments", "l1_blocks", "exported_series"} <= {asset["asset_key"] for asset in found["assets"]}


@pytest.mark.parametrize("command", [[*DAGSTER, "dev"], [*DG, "dev"]], ids=["dagster", "dg"])
def test_servers_for_development_start(checkout: Path, tmp_path: Path, command: list[str]):
    port = free_port()
    processes = Processes(tmp_path, bare(tmp_path))
    try:
        processes.start("dev", [*command, "--port", str(port)], checkout)
        client = DagsterClient(f"http://127.0.0.1:{port}")
        processes.wait_until(lambda: is_ready(client), "dev", 180)
    finally:
        processes.stop_all()
