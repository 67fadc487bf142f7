"""`web` as a process: it serves metrics and ends when it is asked to."""

import re
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

from cli_runner import places
from servers import free_port


def test_it_serves_metrics_and_ends(tmp_path: Path):
    (tmp_path / "bucket").mkdir()
    port = free_port()
    arguments = ["web", "--source-url", str(tmp_path / "bucket"), *places(tmp_path), "--port", str(port)]
    program = [sys.executable, "-c", "from pyro_assets.cli.main import main; main()", *arguments]
    web = subprocess.Popen(program, stderr=subprocess.PIPE, text=True)
    try:
        text = ""
        deadline = time.monotonic() + 60
        while not text:
            assert web.poll() is None
            assert time.monotonic() < deadline
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as answer:
                    text = answer.read().decode()
            except urllib.error.URLError:
                time.sleep(0.1)
        web.send_signal(signal.SIGTERM)
        _, said = web.communicate(timeout=30)
    finally:
        web.kill()
        web.communicate()
    assert re.search(r"^pyro_assets_pending_segments 0$", text, re.MULTILINE)
    assert "/metrics" in said
    assert "Traceback" not in said
