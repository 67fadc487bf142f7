"""The processes of the demo: generator, code server, webserver, daemon, pages; as in production, on one machine.

Add a process when the system gets one. `dagster dev` is not used: it restarts and announces things of its own.
"""

import json
import os
import shutil
import signal
import sys
import time
import urllib.request
from contextlib import closing
from pathlib import Path
from typing import Final

import yaml

from pyro_assets.app import now_ms
from pyro_assets.demo.layout import HISTORY_HOURS, DemoFolder
from pyro_assets.demo.processes import Processes, listens
from pyro_assets.errors import DagsterUnavailable, PyroAssetsError
from pyro_assets.jobs.beats import LaneTurns
from pyro_assets.ledger.database import Ledger
from pyro_assets.ledger.records import Lane
from pyro_assets.web.dagster_client import DagsterClient

CODE_SERVER, WEBSERVER, DAEMON, GENERATOR = "code-server", "webserver", "daemon", "generator"
PROMETHEUS_PROCESS, WEB = "prometheus", "web"
SHARDS: Final = 4
SEED: Final = 7
#: Segments per second and shard.
_HISTORY_RATE: Final = 0.02
_LIVE_RATE: Final = 1.0
#: A slow machine needs most of it for imports.
_START_SECONDS: Final = 120.0
_BIN: Final = Path(sys.executable).parent
_AT_WORK: Final = "{ runsOrError(filter: {statuses: [STARTING, STARTED]}) { ... on Runs { results { runId } } } }"
#: Who takes the turn of the last live run.
_DEMO: Final = "demo"


def make_history(processes: Processes, layout: DemoFolder) -> None:
    """Fill the last full hours at once."""
    arguments = ["--hours", str(HISTORY_HOURS), "--past-rate", str(_HISTORY_RATE)]
    processes.run("history", [*_generate(layout), *arguments], layout.root)


def start_generator(processes: Processes, layout: DemoFolder, rate: float = _LIVE_RATE) -> None:
    """Let segments land as time passes, until it is stopped; some uploads are late, some repeated.

    Args:
        processes: what it joins.
        layout: where to.
        rate: segments per second and shard.
    """
    arguments = ["--live", "--rate", str(rate), "--late-share", "0.02"]
    processes.start(GENERATOR, [*_generate(layout), *arguments], layout.root)


def prometheus_program() -> str | None:
    """The Prometheus on the path, None where there is none: the demo does without."""
    return shutil.which("prometheus")


def stop_reading(processes: Processes, layout: DemoFolder, url: str, web_port: int) -> None:
    """Let the Prometheus answer with what it was sent alone: what it reads from the archive proves nothing."""
    layout.configure_prometheus(web_port, reads=False)
    os.kill(processes.pid(PROMETHEUS_PROCESS), signal.SIGHUP)

    def has_stopped() -> bool:
        with urllib.request.urlopen(f"{url}/api/v1/status/config", timeout=_START_SECONDS) as answer:  # noqa: S310 - our own
            return "remote_read" not in yaml.safe_load(json.load(answer)["data"]["yaml"])

    processes.wait_until(has_stopped, "Prometheus to read no more", _START_SECONDS)


def start_prometheus(processes: Processes, layout: DemoFolder, program: str, port: int) -> str:
    """A receiver of samples; returns its URL when it is ready."""
    arguments = [
        program,
        f"--config.file={layout.prometheus / 'prometheus.yml'}",
        f"--storage.tsdb.path={layout.prometheus / 'data'}",
        f"--web.listen-address=127.0.0.1:{port}",
        "--web.enable-remote-write-receiver",
        "--log.level=warn",
    ]
    processes.start(PROMETHEUS_PROCESS, arguments, layout.prometheus)
    processes.wait_until(lambda: listens(port), "Prometheus", _START_SECONDS)
    return f"http://127.0.0.1:{port}"


def start_web(processes: Processes, layout: DemoFolder, port: int) -> str:
    """The process that serves our pages and metrics; returns its address when it answers."""
    processes.start(WEB, [_BIN / "pyro-assets", "web", "--port", str(port)], layout.root)
    processes.wait_until(lambda: listens(port), "our web process", _START_SECONDS)
    return f"http://127.0.0.1:{port}"


def start_code_server(processes: Processes, layout: DemoFolder, port: int) -> None:
    """The process that holds the definitions; every run is a child of it."""
    arguments = ["api", "grpc", "--host", "127.0.0.1", "--port", str(port), "--location-name", "pyro_assets"]
    processes.start(CODE_SERVER, [_BIN / "dagster", *arguments, "-m", "pyro_assets.definitions"], layout.root)


def start_dagster(processes: Processes, layout: DemoFolder, code_server_port: int, port: int) -> DagsterClient:
    """Webserver and daemon, once the code server answers; returns when both are ready."""
    processes.wait_until(lambda: listens(code_server_port), "the code server", _START_SECONDS)
    start_daemon(processes, layout)
    start_webserver(processes, layout, port)
    client = DagsterClient(f"http://127.0.0.1:{port}")
    processes.wait_until(lambda: is_ready(client), "Dagster's webserver and daemon", _START_SECONDS)
    return client


def end_live_runs(processes: Processes, layout: DemoFolder, client: DagsterClient, seconds: float = 20.0) -> None:
    """Lets the live runs end in order, and starts no others: each leaves when another takes its turn in the lane.

    Not longer than so many seconds: what is still at work then is ended with the code server.
    """
    processes.stop(DAEMON)
    end = time.monotonic() + seconds
    with closing(Ledger.open(layout.ledger_url)) as ledger:
        while time.monotonic() < end and client.ask(_AT_WORK)["runsOrError"].get("results"):
            LaneTurns(ledger).take_turn(Lane(), _DEMO, now_ms())
            time.sleep(0.3)
        LaneTurns(ledger).leave(Lane(), _DEMO, now_ms())


def is_ready(client: DagsterClient) -> bool:
    """Whether the webserver has loaded our code, and every daemon has given a sign of life.

    Raises:
        PyroAssetsError: our code cannot be loaded.
    """
    try:
        found = client.readiness()
    except DagsterUnavailable:
        return False
    if found.is_broken:
        raise PyroAssetsError(found.problem)
    return not found.problem and not found.warning


def start_webserver(processes: Processes, layout: DemoFolder, port: int) -> None:
    """Dagster's pages."""
    where: list[str | Path] = ["--host", "127.0.0.1", "--port", str(port), "-w", layout.workspace]
    processes.start(WEBSERVER, [_BIN / "dagster-webserver", *where], layout.root)


def start_daemon(processes: Processes, layout: DemoFolder) -> None:
    """What runs sensors and the queue; start it when the code server answers: it looks again only once a minute."""
    processes.start(DAEMON, [_BIN / "dagster-daemon", "run", "-w", layout.workspace], layout.root)


def _generate(layout: DemoFolder) -> list[str | Path]:
    where = ["--url", str(layout.bucket), "--manifest", str(layout.manifest)]
    return [_BIN / "pyro-assets", "generate", *where, "--seed", str(SEED), "--shards", str(SHARDS)]
