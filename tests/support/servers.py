"""Real receivers for tests: Prometheus 2 and 3, VictoriaMetrics, each on a free port with a folder of its own.

Every function starts a process and stops exactly that one. A binary that is missing skips the test with the reason,
which `tests.support.require_services` turns into a failure. Prometheus 3 is only expected where Go is, which builds it.
"""

import json
import os
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

_READY_SECONDS = 60.0
GO_BIN = Path(os.environ.get("GOBIN") or Path(os.environ.get("GOPATH") or Path.home() / "go") / "bin")

#: What tests of real receivers run against; a Prometheus 3 only where it can be.
PROMETHEUS_VERSIONS = ["prometheus"]
if shutil.which("go") or (GO_BIN / "prometheus").exists():
    PROMETHEUS_VERSIONS.append("prometheus3")


@dataclass
class Server:
    """A running receiver."""

    url: str
    write_url: str
    process: subprocess.Popen[bytes]

    def get(self, path: str, **params: str) -> Any:
        """The JSON answer of its API."""
        query = f"?{urllib.parse.urlencode(params)}" if params else ""
        with urllib.request.urlopen(self.url + path + query, timeout=30) as answer:
            return json.load(answer)

    def samples(
        self, selector: str, begin_ms: int, end_ms: int
    ) -> dict[tuple[tuple[str, str], ...], list[tuple[int, str]]]:
        """Raw samples in [begin_ms, end_ms): labels -> (timestamp_ms, value as the receiver writes it)."""
        answer = self.get(
            "/api/v1/query", query=f"{selector}[{end_ms - begin_ms}ms]", time=f"{(end_ms - 1) / 1000:.3f}"
        )
        return {
            tuple(sorted(series["metric"].items())): [
                (round(float(seconds) * 1000), value)
                for seconds, value in series["values"]
                if begin_ms <= round(float(seconds) * 1000) < end_ms
            ]
            for series in answer["data"]["result"]
        }

    def flush(self) -> None:
        """Make what was just written visible (VictoriaMetrics); nothing elsewhere."""
        try:
            urllib.request.urlopen(self.url + "/internal/force_flush", timeout=30).close()
        except urllib.error.HTTPError as error:
            error.close()


def binary(name: str) -> str:
    """The path of a program, or the test is skipped."""
    if name in ("prometheus3", "promtool3"):
        path = GO_BIN / name.removesuffix("3")
        if not path.exists():
            pytest.skip(f"{path} not found; go install github.com/prometheus/prometheus/cmd/...@v0.316.0")
        return str(path)
    # What Go built is another version of the same name, and its folder is often on the path too.
    folders = [one for one in os.environ.get("PATH", "").split(os.pathsep) if Path(one) != GO_BIN]
    found = shutil.which(name, path=os.pathsep.join(folders))
    if found is None:
        pytest.skip(f"{name} not found; install Debian's prometheus and victoria-metrics")
    return found


def free_port() -> int:
    """A port that nothing listens on right now."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


@contextmanager
def prometheus(
    folder: Path, *, version: str = "prometheus", window: str | None = None, receiver: bool = True,
    web_config: str = "", remote_read: Mapping[str, Any] | None = None,
) -> Iterator[Server]:  # fmt: skip
    """Run a Prometheus that scrapes nothing.

    Args:
        folder: for its data; keep it to start it again on the same data.
        version: "prometheus" (Debian's) or "prometheus3".
        window: `out_of_order_time_window`, None for none.
        receiver: whether it takes remote write.
        web_config: contents of its web configuration, for TLS and passwords.
        remote_read: where it reads beside its own storage, None for nowhere.
    """
    program, port = binary(version), free_port()
    folder.mkdir(parents=True, exist_ok=True)
    # Labels of its own, as most have them: what is read must be found in spite of them.
    config = "global: {scrape_interval: 1m, external_labels: {replica: a}}\n"
    if window is not None:
        config += f"storage: {{tsdb: {{out_of_order_time_window: {window}}}}}\n"
    if remote_read is not None:
        config += f"remote_read: [{json.dumps(dict(remote_read))}]\n"
    (folder / "prometheus.yml").write_text(config)
    (folder / "web.yml").write_text(web_config)
    arguments = [
        program, f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data",
        f"--web.listen-address=127.0.0.1:{port}", f"--web.config.file={folder}/web.yml",
        "--storage.tsdb.retention.time=10y", "--log.level=warn",
    ]  # fmt: skip
    if receiver:
        arguments.append("--web.enable-remote-write-receiver")
    scheme = "https" if "tls_server_config" in web_config else "http"
    with _running(arguments, folder, f"{scheme}://127.0.0.1:{port}", "/-/ready") as server:
        yield server


@contextmanager
def victoriametrics(folder: Path, *, dedup: bool = True, retention: str = "10y") -> Iterator[Server]:
    """Run a VictoriaMetrics."""
    program, port = binary("victoria-metrics"), free_port()
    folder.mkdir(parents=True, exist_ok=True)
    arguments = [
        program, f"-storageDataPath={folder}/data", f"-httpListenAddr=127.0.0.1:{port}",
        f"-retentionPeriod={retention}", "-loggerLevel=WARN", "-search.latencyOffset=0s",
        # It would take the machine's free memory, which is not its own here.
        "-memory.allowedBytes=256MB",
    ]  # fmt: skip
    if dedup:
        arguments.append("-dedup.minScrapeInterval=1ms")
    with _running(arguments, folder, f"http://127.0.0.1:{port}", "/health") as server:
        yield server


@contextmanager
def _running(arguments: list[str], folder: Path, url: str, ready: str) -> Iterator[Server]:
    with (folder / "log").open("ab") as log:
        process = subprocess.Popen(arguments, stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    try:
        _wait(process, url + ready, folder / "log")
        yield Server(url, url + "/api/v1/write", process)
    finally:
        process.terminate()
        try:
            process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait(process: subprocess.Popen[bytes], url: str, log: Path) -> None:
    import ssl

    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    deadline = time.monotonic() + _READY_SECONDS
    while time.monotonic() < deadline:
        assert process.poll() is None, f"it ended at once: {log.read_text()[-2000:]}"
        try:
            urllib.request.urlopen(url, timeout=5, context=context).close()
        except urllib.error.HTTPError as error:
            error.close()
            if error.code == 401:
                return
        except (OSError, urllib.error.URLError):
            pass
        else:
            return
        time.sleep(0.05)
    raise AssertionError(f"not ready after {_READY_SECONDS} s: {log.read_text()[-2000:]}")
