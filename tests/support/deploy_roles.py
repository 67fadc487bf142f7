"""The four roles of the image as plain processes on free ports, with a Postgres and folders of their own."""

import subprocess
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from pyro_assets.app import now_ms
from pyro_assets.demo.processes import Processes
from pyro_assets.storage.keys import hour_of
from tests.support.postgres_server import PostgresServer
from tests.support.servers import free_port

RESOURCES = Path(__file__).parents[2] / "resources"
ROLE = RESOURCES / "deploy" / "role"
#: Where a container has the folder.
_SEEN = "/data"
_OF_THE_IMAGE = {"PATH", "HOME", "DAGSTER_HOME"}
ROLES = ("code", "webserver", "daemon", "pages")


@dataclass
class Roles:
    """An installation; `home` is what the image has at DAGSTER_HOME.

    Attributes:
        folder: for everything that is written.
        postgres: has a database for Dagster and one for the ledger.
        path: where programs are looked for.
        container: of the image, in which everything is run; "" for the programs of the checkout.
    """

    folder: Path
    postgres: PostgresServer
    path: str
    container: str = ""
    environment: dict[str, str] = field(init=False)
    processes: Processes = field(init=False)

    def __post_init__(self) -> None:
        seen = _SEEN if self.container else self.folder
        self.environment = {
            "PATH": self.path,
            "HOME": str(self.folder),
            "HOST": "127.0.0.1",
            "CODE_HOST": "127.0.0.1",
            "CODE_PORT": str(free_port()),
            "WEBSERVER_PORT": str(free_port()),
            "PAGES_PORT": str(free_port()),
            "PYRO_ASSETS_SOURCE_URL": f"{seen}/bucket",
            "PYRO_ASSETS_ARCHIVE_URL": f"{seen}/archive",
            "PYRO_ASSETS_LIVE_BUDGET_SECONDS": "10",
            # The first tick may come in the next hour.
            "PYRO_ASSETS_LIVE_SINCE": hour_of(now_ms()),
        }
        for name in ("bucket", "archive"):
            (self.folder / name).mkdir()
        self.new_machine("first")

    def new_machine(self, name: str) -> None:
        """Forgets the processes; those to come have an empty DAGSTER_HOME and empty databases, as after a fire."""
        for variable in ("DAGSTER_POSTGRES_URL", "PYRO_ASSETS_LEDGER_URL"):
            self.environment[variable] = self.postgres.new_database()
        home = self.folder / name
        (home / "storage").mkdir(parents=True)
        files = {
            "dagster.yaml": (RESOURCES / "dagster.yaml").read_text() + (RESOURCES / "deploy/storage.yaml").read_text(),
            "workspace.yaml": (RESOURCES / "deploy" / "workspace.yaml").read_text(),
        }
        for file, text in files.items():
            (home / file).write_text(text)
        # As read-only as the image's, but for what runs print.
        self.environment["DAGSTER_HOME"] = str(home)
        self.processes = Processes(home / "storage", self.environment)

    def command(self, program: str, *arguments: str) -> list[str]:
        if not self.container:
            return [str(ROLE) if program == "role" else program, *arguments]
        # The image says where its programs and DAGSTER_HOME are.
        own = {name: value for name, value in self.environment.items() if name not in _OF_THE_IMAGE}
        told = [f"--env={name}={value}" for name, value in own.items()]
        folder = f"--volume={self.folder}:{_SEEN}"
        return ["buildah", "run", "--isolation=chroot", folder, *told, self.container, "--", program, *arguments]

    def start(self, *names: str) -> None:
        """Starts roles, each when the one before it is well."""
        for name in names:
            self.processes.start(name, self.command("role", name), self.folder)
            self.processes.wait_until(partial(self.is_healthy, name), name, 120)

    def is_healthy(self, name: str) -> bool:
        """What the image's HEALTHCHECK asks of a role."""
        return self._call("role", "healthy", name).returncode == 0

    def generate(self, seconds: float) -> None:
        """Fills the bucket as time passes."""
        self.run("pyro-assets", "generate", "--live", "--seconds", str(seconds))

    def run(self, *arguments: str) -> None:
        """Runs a command to its end, which must be a good one."""
        done = self._call(*arguments)
        assert done.returncode == 0, done.stdout

    def series(self) -> int:
        """Files of series in the archive."""
        return len(list((self.folder / "archive").rglob("series/**/*.parquet")))

    def wait_for_series(self, more_than: int) -> int:
        self.processes.wait_until(lambda: self.series() > more_than, "series of what was just uploaded", 120)
        return self.series()

    def _call(self, *arguments: str) -> "subprocess.CompletedProcess[Any]":
        return subprocess.run(
            self.command(*arguments),
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=300,
            check=False,
        )

    def lose(self) -> None:
        """Kills everything at once, as the end of a machine does."""
        self.processes.stop_all(grace_seconds=0.0)
