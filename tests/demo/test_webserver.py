"""Questions to Dagster's webserver, against a server that answers from a list."""

import json
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from pyro_assets.demo.processes import free_port
from pyro_assets.demo.webserver import Webserver
from pyro_assets.errors import PyroAssetsError


@contextmanager
def answering(*answers: dict) -> Iterator[tuple[Webserver, list[dict]]]:
    """A webserver that gives these answers in turn, and what it was asked."""
    asked: list[dict] = []
    waiting = list(answers)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            asked.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            body = json.dumps(waiting.pop(0)).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments): ...

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield Webserver(server.server_port), asked
        finally:
            server.shutdown()
            thread.join()


def location(status: str, loaded: dict | None) -> dict:
    entry = {"name": "pyro_assets", "loadStatus": status, "locationOrLoadError": loaded}
    return {"data": {"workspaceOrError": {"__typename": "Workspace", "locationEntries": [entry]}}}


def test_a_webserver_that_is_not_there_yet_is_not_ready():
    webserver = Webserver(free_port(40_000))
    assert not webserver.location_loaded()
    assert not webserver.daemon_healthy()
    with pytest.raises(PyroAssetsError, match="refuses the backfill"):
        webserver.start_backfill(["l1_blocks"], ["2026-11-25-12:00"], "t", {})


def test_readiness():
    loaded = {"__typename": "RepositoryLocation"}
    with answering(location("LOADING", None), location("LOADED", loaded)) as (webserver, _):
        assert not webserver.location_loaded()
        assert webserver.location_loaded()


def test_a_location_that_does_not_load_is_an_error():
    broken = location("LOADED", {"__typename": "PythonError", "message": "no module"})
    with (
        answering(broken) as (webserver, _),
        pytest.raises(PyroAssetsError, match=r"cannot load .*: no module"),
    ):
        webserver.location_loaded()


@pytest.mark.parametrize(("healthy", "required", "expected"), [(True, True, True), (False, True, False)])
def test_daemons(healthy: bool, required: bool, expected: bool):
    status = {"daemonType": "SENSOR", "required": required, "healthy": healthy}
    other = {"daemonType": "BACKFILL", "required": False, "healthy": None}
    answer = {"data": {"instance": {"daemonHealth": {"allDaemonStatuses": [status, other]}}}}
    with answering(answer) as (webserver, _):
        assert webserver.daemon_healthy() is expected


def test_a_backfill():
    answer = {"data": {"launchPartitionBackfill": {"__typename": "LaunchBackfillSuccess", "backfillId": "abc"}}}
    with answering(answer) as (webserver, asked):
        assert webserver.start_backfill(["l1_blocks"], ["2026-11-25-12:00"], "past", {"lane": "backfill"}) == "abc"
    params = asked[0]["variables"]["params"]
    assert params["partitionNames"] == ["2026-11-25-12:00"]
    assert params["tags"] == [{"key": "lane", "value": "backfill"}]


@pytest.mark.parametrize(
    "answer",
    [
        {"data": {"launchPartitionBackfill": {"__typename": "PythonError", "message": "unknown partition"}}},
        {"errors": [{"message": "unknown partition"}]},
    ],
)
def test_a_refused_backfill(answer: dict):
    with answering(answer) as (webserver, _), pytest.raises(PyroAssetsError, match="unknown partition"):
        webserver.start_backfill(["l1_blocks"], ["x"], "past", {})
