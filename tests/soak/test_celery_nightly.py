"""Two lanes, two Celery workers over Debian's redis, killed and started again: everything is done once.

The settings are those of resources/docs/launchers.md, word by word but for the ports.
"""

import os
import re
import shutil
import sys
from collections.abc import Callable, Mapping
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import yaml

from pyro_assets.demo import services
from pyro_assets.demo.layout import DemoFolder
from pyro_assets.demo.processes import Processes, free_port, listens
from tests.soak.soak import soak

pytestmark = [pytest.mark.service, pytest.mark.nightly]

DOCUMENT = Path(__file__).parents[2] / "resources" / "docs" / "launchers.md"
WORKERS = ("worker-1", "worker-2")


def blocks(language: str) -> list[str]:
    """The document's blocks of code."""
    return re.findall(rf"```{language}\n(.*?)```", DOCUMENT.read_text("utf-8"), re.DOTALL)


def with_celery(port: int, layout: DemoFolder, processes: Processes) -> Mapping[str, Callable[[], None]]:
    """Starts redis and the workers; how to start a worker again."""
    redis = layout.root / "redis"
    redis.mkdir()
    program = ["redis-server", "--port", str(port), "--bind", "127.0.0.1", "--dir", redis, "--save", ""]
    processes.start("redis", program, redis)
    processes.wait_until(lambda: listens(port), "redis", 30.0)

    def local(text: str) -> str:
        return text.replace("127.0.0.1:6379", f"127.0.0.1:{port}")

    (launcher,) = [block for block in blocks("yaml") if "CeleryRunLauncher" in block]
    config: dict[str, Any] = yaml.safe_load((layout.dagster_home / "dagster.yaml").read_text())
    (layout.dagster_home / "dagster.yaml").write_text(yaml.safe_dump(config | yaml.safe_load(local(launcher))))
    (module,) = blocks("python")
    (layout.root / "dagster_celery_config.py").write_text(local(module))
    (line,) = re.findall(r"^celery (-A .*)$", DOCUMENT.read_text("utf-8"), re.MULTILINE)

    def start(name: str) -> None:
        arguments = line.replace("worker-1", name).split()
        processes.start(name, [sys.executable, "-m", "celery", *arguments], layout.root)

    for name in WORKERS:
        start(name)
    return {name: partial(start, name) for name in WORKERS}


def test_two_workers_that_are_killed_do_everything_once(tmp_path: Path):
    for needed in ("redis-server", "prometheus"):
        if shutil.which(needed) is None:
            pytest.skip(f"no {needed} on the path")
    if find_spec("dagster_celery") is None:
        pytest.skip("dagster-celery is not installed: pip install 'pyro-assets[celery]'")
    assert services.prometheus_program()
    figures = soak(
        tmp_path / "soak",
        75,
        kill_every_seconds=(12.0, 18.0),
        rate=1.0,
        settings={"PYRO_ASSETS_LANES": "2", "PYRO_ASSETS_LIVE_BUDGET_SECONDS": "20"},
        kinds=[(name,) for name in WORKERS],
        prepare=partial(with_celery, free_port(30_000 + os.getpid() % 1_000)),
    )
    assert figures.differences == []
    assert figures.segments > 150
    assert set(figures.kills) == set(WORKERS)
    assert figures.runs["success"] > 0
    assert figures.lag["exported"]["jobs"] == figures.jobs
