"""The client of Dagster's API: its queries against Dagster's own schema, its words against a server with a list."""

import json
import threading
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from pyro_assets.demo.processes import free_port
from pyro_assets.errors import DagsterError, DagsterUnavailable
from pyro_assets.web.dagster_client import QUERIES, DagsterClient


@contextmanager
def answering(*answers: dict | bytes) -> Iterator[tuple[DagsterClient, list[dict]]]:
    """A client of a server that gives these answers in turn, and what the server was asked."""
    asked: list[dict] = []
    waiting = list(answers)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            asked.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            answer = waiting.pop(0)
            body = answer if isinstance(answer, bytes) else json.dumps(answer).encode()
            self.send_response(200)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *arguments): ...

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            with DagsterClient(f"http://127.0.0.1:{server.server_port}") as client:
                yield client, asked
        finally:
            server.shutdown()
            thread.join()


def ready(entries: list[dict], daemons: list[dict] = ()) -> dict:
    workspace = {"__typename": "Workspace", "locationEntries": entries}
    instance = {"daemonHealth": {"allDaemonStatuses": list(daemons)}}
    return {"data": {"version": "1.13", "workspaceOrError": workspace, "instance": instance}}


def location(status: str = "LOADED", loaded: dict | None = None) -> dict:
    return {"name": "pyro_assets", "loadStatus": status, "locationOrLoadError": loaded}


def daemon(kind: str, *, healthy: bool | None, required: bool = True) -> dict:
    return {"daemonType": kind, "required": required, "healthy": healthy}


def backfill(**fields) -> dict:
    facts = {
        "__typename": "PartitionBackfill",
        "id": "abc",
        "status": "REQUESTED",
        "title": None,
        "timestamp": 1795600000.5,
        "endTimestamp": None,
        "numPartitions": 2,
        "tags": [{"key": "lane", "value": "backfill"}],
        "assetSelection": [{"path": ["function_series"]}],
        "error": None,
    }
    return facts | fields


def test_dagsters_own_schema_has_everything_that_is_asked():
    from graphql import parse, validate

    with warnings.catch_warnings():
        # Dagster's own use of its own libraries.
        warnings.simplefilter("ignore")
        from dagster_graphql.schema import create_schema

        schema = create_schema().graphql_schema
    assert [validate(schema, parse(query)) for query in QUERIES] == [[]] * len(QUERIES)


@pytest.mark.parametrize(
    ("answer", "problem", "warning"),
    [
        (ready([location()], [daemon("SENSOR", healthy=True)]), "", ""),
        (ready([]), "no code location", ""),
        (ready([location("LOADING")]), "still loading pyro_assets", ""),
        (
            ready([location(loaded={"__typename": "PythonError", "message": "No module named x\n\nStack Trace:"})]),
            "cannot load pyro_assets: No module named x; correct it",
            "",
        ),
        (ready([location()], [daemon("BACKFILL", healthy=False, required=False)]), "", "backfill; start dagster-d"),
        (ready([location()], [daemon("ASSET", healthy=None, required=False)]), "", ""),
    ],
)
def test_readiness(answer: dict, problem: str, warning: str):
    with answering(answer) as (client, _):
        found = client.readiness()
    assert problem in found.problem
    assert bool(problem) == bool(found.problem)
    assert warning in found.warning
    assert bool(warning) == bool(found.warning)


def test_a_backfill_is_started_followed_and_cancelled():
    launched = {"__typename": "LaunchBackfillSuccess", "backfillId": "abc"}
    run = {"id": "r1", "status": "STARTED", "startTime": 1795600001.0, "endTime": None}
    answers = [
        {"data": {"launchPartitionBackfill": launched}},
        {"data": {"partitionBackfillOrError": backfill(runs=[run])}},
        {"data": {"partitionBackfillsOrError": {"results": [backfill(status="COMPLETED_FAILED", endTimestamp=1.0)]}}},
        {"data": {"cancelPartitionBackfill": {"__typename": "CancelBackfillSuccess"}}},
    ]
    with answering(*answers) as (client, asked):
        config = {"ops": {"a": {"config": {"rules": ["x"]}}}}
        assert client.start_backfill(["f"], ["2026-11-25-12:00"], "past", {"lane": "backfill"}, config) == "abc"
        now = client.backfill("abc")
        assert now is not None
        assert (now.is_over, now.created_ms, now.tags, now.title) == (False, 1795600000500, {"lane": "backfill"}, "")
        assert now.runs[0].started_ms == 1795600001000
        (over,) = client.backfills(5)
        assert (over.is_over, over.ended_ms, over.assets) == (True, 1000, ("function_series",))
        client.cancel_backfill("abc")
    params = asked[0]["variables"]["params"]
    assert params["partitionNames"] == ["2026-11-25-12:00"]
    assert params["tags"] == [{"key": "lane", "value": "backfill"}]
    assert params["runConfigData"] == config


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ({"__typename": "PythonError", "message": "DagsterError: unknown partition\n\nStack"}, "unknown partition"),
        ({"__typename": "RunConfigValidationInvalid", "errors": [{"message": "no rules"}]}, "no rules"),
        ({"__typename": "UnauthorizedError", "message": "read-only"}, "read-only"),
        ({"__typename": "SomethingNew"}, "SomethingNew"),
    ],
)
def test_what_dagster_refuses_is_said_in_its_words(answer: dict, words: str):
    refused = {"data": {"launchPartitionBackfill": answer}}
    with answering(refused) as (client, _), pytest.raises(DagsterError, match=words) as raised:
        client.start_backfill(["x"], ["y"], "", {})
    assert "Stack" not in str(raised.value)


def test_other_refusals():
    with answering({"errors": [{"message": "syntax"}]}) as (client, _), pytest.raises(DagsterError, match="syntax"):
        client.readiness()
    answer = {"data": {"partitionBackfillOrError": {"__typename": "BackfillNotFoundError", "message": "none"}}}
    with answering(answer) as (client, _):
        assert client.backfill("x") is None
    answer = {"data": {"partitionBackfillOrError": {"__typename": "PythonError", "message": "gone"}}}
    with answering(answer) as (client, _), pytest.raises(DagsterError, match="gone"):
        client.backfill("x")
    answer = {"data": {"partitionBackfillsOrError": {"__typename": "PythonError", "message": "gone"}}}
    with answering(answer) as (client, _), pytest.raises(DagsterError, match="gone"):
        client.backfills(1)
    answer = {"data": {"cancelPartitionBackfill": {"__typename": "PythonError", "message": "over"}}}
    with answering(answer) as (client, _), pytest.raises(DagsterError, match="over"):
        client.cancel_backfill("x")


def test_who_is_no_dagster():
    port = free_port(41_000)
    with (
        DagsterClient(f"http://127.0.0.1:{port}") as client,
        pytest.raises(DagsterUnavailable, match="start dagster-w"),
    ):
        client.readiness()
    for answer in (b"<html>", {"data": None}, {"other": 1}, []):
        with answering(answer) as (client, _), pytest.raises(DagsterUnavailable, match="no Dagster"):
            client.backfills(1)
