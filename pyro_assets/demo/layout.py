"""Where the demo keeps its things: one folder, kept for the next demo, and the environment of what it starts.

Add a path here when a process needs one. Nothing outside the folder is written.
"""

import fcntl
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import IO, Final

import yaml

from pyro_assets.app import now_ms
from pyro_assets.errors import PyroAssetsError
from pyro_assets.resources import environment
from pyro_assets.resources.environment import Environment, variables
from pyro_assets.settings import variable
from pyro_assets.storage.keys import HOUR_FORMAT, HOUR_MS, hour_of

#: Function name -> selector of the profiles it is looked for in; the generator records the totals of all of them.
FUNCTIONS: Final[Mapping[str, str]] = {
    "net/http.HandlerFunc.ServeHTTP": "{}",
    "encoding/json.Unmarshal": "{}",
    "runtime.gcDrain": "{}",
    "org/springframework/web/servlet/DispatcherServlet.doDispatch": "{}",
    "dispatch_request": '{service_name!=""}',
}
#: How many hours of history are made; one more may begin meanwhile.
HISTORY_HOURS: Final = 2
#: Name of the demo's receiver.
PROMETHEUS: Final = "prometheus"
_LOCK: Final = "lock"


@dataclass(frozen=True, slots=True)
class DemoFolder:
    """The demo's folder (absolute) and what lies in it."""

    root: Path

    @property
    def bucket(self) -> Path:
        """The source: what Pyroscope's bucket is in production."""
        return self.root / "bucket"

    @property
    def archive(self) -> Path:
        """Level-1 blocks, commits and series."""
        return self.root / "archive"

    @property
    def ledger_url(self) -> str:
        """The ledger, an SQLite file."""
        return f"sqlite:///{self.root / 'ledger.db'}"

    @property
    def manifest(self) -> Path:
        """What the generator says that it made."""
        return self.root / "manifest.jsonl"

    @property
    def config(self) -> Path:
        """Which series are derived."""
        return self.root / "series.yaml"

    @property
    def receivers(self) -> Path:
        """Who gets series; empty until there is one."""
        return self.root / "receivers.yaml"

    @property
    def prometheus(self) -> Path:
        """Configuration and data of the demo's own Prometheus."""
        return self.root / "prometheus"

    @property
    def dagster_home(self) -> Path:
        """DAGSTER_HOME."""
        return self.root / "dagster_home"

    @property
    def workspace(self) -> Path:
        """Tells webserver and daemon where the code server is."""
        return self.root / "workspace.yaml"

    @property
    def logs(self) -> Path:
        """One file per process."""
        return self.root / "logs"

    def lock(self) -> IO[str]:
        """Take the folder; it is free again when the file is closed or the process ends.

        Raises:
            PyroAssetsError: another demo has it.
        """
        self.root.mkdir(parents=True, exist_ok=True)
        file = (self.root / _LOCK).open("a+")
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            file.close()
            raise PyroAssetsError(f"another demo is running in {self.root}; end it first") from None
        return file

    @property
    def is_used(self) -> bool:
        """Whether an earlier demo left something: data, and perhaps rules that a person made."""
        return (self.root / "ledger.db").exists() and self.bucket.is_dir()

    def clear(self) -> None:
        """Remove what an earlier demo left."""
        for path in self.root.iterdir():
            if path.name != _LOCK:
                shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()

    def prepare(self, code_server_port: int) -> None:
        """Write the files that the processes read; data and rules that are there stay."""
        for folder in (self.bucket, self.archive, self.dagster_home, self.logs):
            folder.mkdir(exist_ok=True)
        template = Path(environment.__file__).with_name("dagster.yaml")
        shutil.copyfile(template, self.dagster_home / "dagster.yaml")
        server = {"host": "127.0.0.1", "port": code_server_port, "location_name": "pyro_assets"}
        self.workspace.write_text(yaml.safe_dump({"load_from": [{"grpc_server": server}]}), "utf-8")
        self.receivers.write_text("receivers: []\n", "utf-8")
        if not self.config.exists():
            self.config.write_text(yaml.safe_dump({"functions": dict(FUNCTIONS)}, allow_unicode=True), "utf-8")

    def prepare_prometheus(self, port: int, web_port: int) -> None:
        """Write the files of a Prometheus on this port that scrapes our web process, and name it as a receiver."""
        self.prometheus.mkdir(exist_ok=True)
        self.configure_prometheus(web_port, reads=True)
        receiver = {
            "name": PROMETHEUS,
            "kind": "prometheus",
            "url": f"http://127.0.0.1:{port}/api/v1/write",
            "out_of_order_window": "1d",
            # Segments land before the first run has seen the receiver.
            "start": hour_of(now_ms() - (HISTORY_HOURS + 1) * HOUR_MS),
        }
        self.receivers.write_text(yaml.safe_dump({"receivers": [receiver]}), "utf-8")

    def configure_prometheus(self, web_port: int, *, reads: bool) -> None:
        """Write its configuration: whether it also reads the archive, beside what it is sent."""
        # A window larger than the demo's lag and its history, so that every sample arrives once in effect.
        config: dict[str, object] = {
            "global": {"scrape_interval": "5s"},
            "storage": {"tsdb": {"out_of_order_time_window": "1d"}},
            "scrape_configs": [{"job_name": "pyro_assets", "static_configs": [{"targets": [f"127.0.0.1:{web_port}"]}]}],
        }
        if reads:
            url = f"http://127.0.0.1:{web_port}/api/v1/read?receiver={PROMETHEUS}"
            config["remote_read"] = [{"url": url, "read_recent": True}]
        (self.prometheus / "prometheus.yml").write_text(yaml.safe_dump(config), "utf-8")

    @staticmethod
    def addresses(web_port: int, webserver_port: int, prometheus_url: str = "") -> dict[str, str]:
        """Where our pages, Dagster's and Prometheus are, for the environment."""
        return variables(
            web_url=f"http://127.0.0.1:{web_port}",
            dagster_url=f"http://127.0.0.1:{webserver_port}",
            prometheus_url=prometheus_url,
        )

    def environment(self, base: Mapping[str, str], now: datetime | None = None) -> dict[str, str]:
        """`base` without the settings of another installation, with the demo's own."""
        now = datetime.now(UTC) if now is None else now
        # The code server is loaded before anything is seen: partitions begin with the history that is about to be made,
        # or with the first hour that the ledger knows.
        start = now - timedelta(hours=HISTORY_HOURS + 1)
        begin = {} if self.is_used else variables(start_date=start.replace(minute=0).strftime(HOUR_FORMAT))
        # What lands from now on is live, also where the sensor's first tick comes in the next hour.
        begin |= variables(live_since=now.replace(minute=0).strftime(HOUR_FORMAT))
        ours = {variable(name) for name in Environment.model_fields}
        return {
            **{name: value for name, value in base.items() if name not in ours},
            "DAGSTER_HOME": str(self.dagster_home),
            "DAGSTER_DISABLE_TELEMETRY": "yes",
            "PYTHONUNBUFFERED": "1",
            **variables(
                source_url=str(self.bucket),
                archive_url=str(self.archive),
                ledger_url=self.ledger_url,
                config=str(self.config),
                receivers=str(self.receivers),
            ),
            **begin,
        }
