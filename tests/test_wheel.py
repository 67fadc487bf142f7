"""The wheel in an environment of its own, outside the checkout: what it brings there, and that Dagster loads it."""

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import zipfile
from pathlib import Path

import pytest

from pyro_assets.demo.processes import Processes
from pyro_assets.demo.services import is_ready
from pyro_assets.web.dagster_client import DagsterClient
from tests.support.servers import free_port

ROOT = Path(__file__).parent.parent
#: what building needs of the checkout, as in `.ci/release-check`; nothing is left behind there.
PARTS = ("pyproject.toml", "README.md", "LICENSE", "pyro_assets", "resources")


def bare(folder: Path) -> dict[str, str]:
    """An environment without any setting of this process; Dagster's home is only there where nothing else says it."""
    return {"PATH": os.environ["PATH"], "HOME": str(folder)}


def run(*command: str | Path, folder: Path) -> str:
    """Runs a command in `folder`; what it says on both streams."""
    done = subprocess.run(
        [str(part) for part in command],
        cwd=folder,
        env=bare(folder),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    source = tmp_path_factory.mktemp("source")
    for name in PARTS:
        part = ROOT / name
        if part.is_dir():
            shutil.copytree(part, source / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(part, source)
    return source


@pytest.fixture(scope="module")
def wheel(source: Path) -> Path:
    run(sys.executable, "-m", "pip", "wheel", "--no-deps", "--no-build-isolation", "-w", "made", ".", folder=source)
    (made,) = (source / "made").glob("*.whl")
    return made


@pytest.fixture(scope="module")
def environment(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fresh environment with the wheel; this one lends its packages by their path, so without its .pth files."""
    home = tmp_path_factory.mktemp("fresh")
    run(sys.executable, "-m", "venv", "--without-pip", "venv", folder=home)
    python = home / "venv" / "bin" / "python"
    run(sys.executable, "-m", "pip", "--python", python, "install", "--no-deps", "--no-index", wheel, folder=home)
    (packages,) = (home / "venv").glob("lib/python*/site-packages")
    (packages / "dependencies.pth").write_text(sysconfig.get_path("purelib"))
    return home


@pytest.mark.service
def test_the_wheel_brings_one_top_level_name_and_what_resources_holds(wheel: Path):
    names = zipfile.ZipFile(wheel).namelist()
    assert {name.split("/")[0].split("-")[0] for name in names} == {"pyro_assets"}
    brought = {name.removeprefix("pyro_assets/") for name in names}
    for path in (*(ROOT / "resources").glob("*.*"), *(ROOT / "resources" / "observability").iterdir()):
        assert path.relative_to(ROOT).as_posix() in brought


@pytest.mark.service
def test_the_sdist_holds_what_builds_the_wheel(source: Path, wheel: Path):
    run(sys.executable, "-c", "from setuptools.build_meta import build_sdist; build_sdist('made')", folder=source)
    (made,) = (source / "made").glob("*.tar.gz")
    with tarfile.open(made) as archive:
        held = {name.partition("/")[2] for name in archive.getnames()}
    assert {name.split("/")[0] for name in held if name} == {
        *(name for name in PARTS if name != "resources"),
        *("PKG-INFO", "pyro_assets.egg-info", "setup.cfg"),
    }
    assert {name for name in zipfile.ZipFile(wheel).namelist() if ".dist-info/" not in name} <= held


@pytest.mark.service
def test_dagster_loads_the_installed_location(environment: Path):
    python = environment / "venv" / "bin" / "python"
    where = (
        "import pyro_assets.resources.pipeline as p, importlib.util as u; print(p.__file__, u.find_spec('resources'))"
    )
    file, outside = run(python, "-W", "error", "-c", where, folder=environment).split()
    assert Path(file).is_relative_to(environment / "venv")
    assert outside == "None"
    said = run(python, "-m", "dagster", "definitions", "validate", "-m", "pyro_assets.definitions", folder=environment)
    assert "All code locations passed validation" in said


@pytest.mark.service
def test_a_project_made_by_init_works(environment: Path):
    command = environment / "venv" / "bin" / "pyro-assets"
    run(command, "init", "project", folder=environment)
    project = environment / "project"
    run(command, "generate", "--hours", "0.1", "--json", folder=project)
    assert run(command, "doctor", "--quiet", folder=project) == ""
    assert json.loads(run(command, "run", "--json", folder=project))["planned_jobs"] > 0


@pytest.mark.service
def test_dagster_dev_runs_in_a_project_made_by_init(environment: Path, tmp_path: Path):
    project, port = tmp_path / "project", free_port()
    run(environment / "venv" / "bin" / "pyro-assets", "init", project, folder=environment)
    processes = Processes(tmp_path, bare(project))
    try:
        python = environment / "venv" / "bin" / "python"
        processes.start("dagster dev", [python, "-m", "dagster", "dev", "--port", str(port)], project)
        client = DagsterClient(f"http://127.0.0.1:{port}")
        processes.wait_until(lambda: is_ready(client), "dagster dev", 180)
    finally:
        processes.stop_all()
    # Everything stays in the folder that its settings name.
    assert (project / "history").is_dir()
    assert not list(project.glob(".tmp_dagster_home_*"))
