"""Celery workers over Debian's redis: killed ones lose and double nothing, and two of them share a backfill.

The settings are those of resources/docs/launchers.md, word by word but for the ports.
"""

import os
import re
import shutil
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import yaml

from pyro_assets.demo import services
from pyro_assets.demo.layout import DemoFolder
from pyro_assets.demo.processes import Processes, free_port, listens
from pyro_assets.operations.runs import STEPS
from pyro_assets.resources.environment import variables
from tests.soak.soak import soak
from tests.support.cli_runner import run

pytestmark = [pytest.mark.service, pytest.mark.nightly]

DOCUMENT = Path(__file__).parents[2] / "resources" / "docs" / "launchers.md"
WORKERS = ("worker-1", "worker-2")


def blocks(language: str) -> list[str]:
    """The document's blocks of code."""
    return re.findall(rf"```{language}\n(.*?)```", DOCUMENT.read_text("utf-8"), re.DOTALL)


def with_celery(
    port: int,
    layout: DemoFolder,
    processes: Processes,
    workers: Sequence[str] = WORKERS,
    processes_each: int = 2,
) -> Mapping[str, Callable[[], None]]:
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
        arguments = line.replace("worker-1", name).replace("--concurrency 2", f"--concurrency {processes_each}").split()
        processes.start(name, [sys.executable, "-m", "celery", *arguments], layout.root)

    for name in workers:
        start(name)
    return {name: partial(start, name) for name in workers}


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


HOURS = [f"2026-11-20-{hour:02}:00" for hour in range(6)]


def backfilled(folder: Path, history: Path, workers: int) -> tuple[float, dict[str, bytes]]:
    """A backfill of all hours, two a run, by so many workers of one process.

    Returns:
        Seconds from the start of its first run to the end of its last, and what the archive holds of it.
    """
    layout = DemoFolder(folder)
    folder.mkdir()
    with layout.lock():
        redis, code, web = (free_port(31_000 + 300 * number + os.getpid() % 300) for number in range(3))
        layout.prepare(code)
        layout.bucket.rmdir()
        layout.bucket.symlink_to(history)
        ours = variables(start_date=HOURS[0], live_since="2030-01-01-00:00", backfill_hours="2")
        processes = Processes(layout.logs, layout.environment(os.environ) | ours)
        try:
            with_celery(redis, layout, processes, WORKERS[:workers], processes_each=1)
            path = layout.dagster_home / "dagster.yaml"
            config: dict[str, Any] = yaml.safe_load(path.read_text())
            config["run_coordinator"]["config"] |= {"backfill_runs": workers, "max_concurrent_runs": 5 + 3 * workers}
            path.write_text(yaml.safe_dump(config))
            services.start_code_server(processes, layout, code)
            client = services.start_dagster(processes, layout, code, web)
            backfill = client.start_backfill(sorted(STEPS), HOURS, "past hours", {"lane": "backfill"})

            def is_over() -> bool:
                found = client.backfill(backfill)
                return found is not None and found.is_over

            processes.wait_until(is_over, "the backfill", 1_800)
            found = client.backfill(backfill)
        finally:
            processes.stop_all()
    assert found is not None
    begun = min(run.started_ms for run in found.runs if run.started_ms)
    ended = max(run.ended_ms for run in found.runs if run.ended_ms)
    archive = {path.relative_to(layout.archive): path for path in layout.archive.rglob("*") if path.is_file()}
    made = {
        str(name): path.read_bytes() for name, path in archive.items() if name.parts[0] not in (".tmp", "hour_blocks")
    }
    return (ended - begun) / 1000, made


def test_a_backfill_gives_the_same_by_one_worker_and_by_two(tmp_path: Path):
    if shutil.which("redis-server") is None:
        pytest.skip("no redis-server on the path")
    if find_spec("dagster_celery") is None:
        pytest.skip("dagster-celery is not installed: pip install 'pyro-assets[celery]'")
    history = tmp_path / "history"
    span = ["--hours", len(HOURS), "--until", "2026-11-20T06:00"]
    arguments = ["--url", history, *span, "--past-rate", 0.02, "--shards", 2]
    assert run("generate", *arguments, "--manifest", tmp_path / "manifest.jsonl").exit_code == 0
    seconds, made = backfilled(tmp_path / "one", history, 1)
    seconds_of_two, by_two = backfilled(tmp_path / "two", history, 2)
    print(f"two workers: {seconds_of_two / seconds:.2f} of the time of one ({seconds:.0f} s)")
    assert by_two == made
