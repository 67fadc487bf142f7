"""`web` as a process: it serves pages and metrics, asks for its token, and ends when it is asked to."""

import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.support.cli_runner import places
from tests.support.servers import free_port

PAGES = ("/", "/rules", "/rules/new", "/series", "/status", "/quarantine", "/backfills", "/api", "/api/openapi.json")


def get(url: str, **headers: str) -> tuple[int, str]:
    """Status and text."""
    request = urllib.request.Request(url, headers={name.replace("_", "-"): text for name, text in headers.items()})
    try:
        with urllib.request.urlopen(request, timeout=30) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


@contextmanager
def web(folder: Path, *options: str, said: list[str]) -> Iterator[str]:
    """The process, once it answers; yields its address, and leaves what it wrote to stderr in `said`."""
    (folder / "bucket").mkdir()
    port = free_port()
    arguments = ["web", "--source-url", str(folder / "bucket"), *places(folder), "--port", str(port), *options]
    program = [sys.executable, "-c", "from pyro_assets.cli.main import main; main()", *arguments]
    process = subprocess.Popen(program, stderr=subprocess.PIPE, text=True)
    try:
        deadline = time.monotonic() + 60
        while True:
            assert process.poll() is None
            assert time.monotonic() < deadline
            try:
                get(f"http://127.0.0.1:{port}/healthz")
                break
            except urllib.error.URLError:
                time.sleep(0.1)
        yield f"http://127.0.0.1:{port}"
        process.send_signal(signal.SIGTERM)
        said.append(process.communicate(timeout=30)[1])
    finally:
        process.kill()
        process.communicate()


def test_it_serves_metrics_and_ends(tmp_path: Path):
    said: list[str] = []
    with web(tmp_path, said=said) as address:
        _, text = get(f"{address}/metrics")
    assert re.search(r"^pyro_assets_pending_segments 0$", text, re.MULTILINE)
    assert "/metrics" in said[0]
    assert "Traceback" not in said[0]


def test_pages_without_any_data_and_behind_a_token(tmp_path: Path):
    (tmp_path / "token").write_text("a secret of ours\n")
    said: list[str] = []
    with web(tmp_path, "--token", f"file:{tmp_path / 'token'}", "--read-only", said=said) as address:
        assert get(f"{address}/api/v1/rules")[0] == 401
        for path in PAGES:
            status, text = get(address + path, Authorization="Bearer a secret of ours")
            assert (path, status) == (path, 200)
            assert path.endswith(".json") or "read-only" in text
        assert "Sign in" in get(f"{address}/rules")[1]
        assert get(f"{address}/healthz", Host="evil.example")[0] == 400
    assert "a secret of ours" not in said[0]
    assert "Traceback" not in said[0]
