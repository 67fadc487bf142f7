"""The client of Dagster's API: its queries against Dagster's own schema, its words against a scripted server."""

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest

from pyro_assets.demo.services import is_ready
from pyro_assets.errors import DagsterError, DagsterUnavailable, PyroAssetsError
from pyro_assets.web.dagster_client import QUERIES, DagsterClient
from tests.support.dagster_answers import (
    RELOADED,
    backfill,
    daemon,
    followed,
    launched,
    listed,
    location,
    params,
    raw,
    ready,
    reply,
)
from tests.support.scripted_server import Reply, ScriptedServer, scripted_server
from tests.support.servers import free_port


@contextmanager
def answering(*answers: Reply) -> Iterator[tuple[DagsterClient, ScriptedServer]]:
    """A client of a server that gives these answers in turn."""
    with scripted_server() as server, DagsterClient(server.url) as client:
        server.script += answers
        yield client, server


def test_dagsters_own_schema_has_everything_that_is_asked():
    from graphql import parse, validate

    with warnings.catch_warnings():
        # Dagster's own use of its own libraries.
        warnings.simplefilter("ignore")
        from dagster_graphql.schema import create_schema

        schema = create_schema().graphql_schema
    assert [validate(schema, parse(query)) for query in QUERIES] == [[]] * len(QUERIES)


@pytest.mark.parametrize("trickle", ["headers", "body"])
def test_an_answer_that_trickles_is_no_answer(trickle: str):
    with scripted_server(Reply(200, trickle=trickle)) as server:
        client = DagsterClient(server.url, 0.2)
        with client, pytest.raises(DagsterUnavailable, match="not answer"):
            client.readiness()


@pytest.mark.parametrize(
    ("answer", "problem", "warning"),
    [
        (ready(location(), daemons=(daemon("SENSOR", healthy=True),)), "", ""),
        (ready(), "no code location", ""),
        (ready(location("LOADING")), "still loading pyro_assets", ""),
        (
            ready(location(error="No module named x\n\nStack Trace:")),
            "cannot load pyro_assets: No module named x; correct it",
            "",
        ),
        (ready(location(), daemons=(daemon("BACKFILL", healthy=False, required=False),)), "", "backfill; start dags"),
        (ready(location(), daemons=(daemon("ASSET", healthy=None, required=False),)), "", ""),
        (ready(location()), "", "all; start dagster-daemon run"),
    ],
)
def test_readiness(answer: Reply, problem: str, warning: str):
    with answering(answer) as (client, _):
        found = client.readiness()
    assert problem in found.problem
    assert bool(problem) == bool(found.problem)
    assert warning in found.warning
    assert bool(warning) == bool(found.warning)


@pytest.mark.parametrize(
    ("answer", "expected"),
    [
        (ready(location(), daemons=(daemon("SENSOR", healthy=True),)), True),
        (ready(location(), daemons=(daemon("SENSOR", healthy=False),)), False),
        (ready(location()), False),
        (ready(location("LOADING"), daemons=(daemon("SENSOR", healthy=True),)), False),
        (Reply(503, b""), False),
    ],
)
def test_what_the_demo_waits_for(answer: Reply, expected: bool):
    with answering(answer) as (client, _):
        assert is_ready(client) is expected


def test_code_that_cannot_be_loaded_is_not_waited_for():
    with (
        answering(ready(location(error="no module"))) as (client, _),
        pytest.raises(PyroAssetsError, match="no module"),
    ):
        is_ready(client)


def test_a_workspace_that_cannot_be_read():
    broken = {"__typename": "PythonError", "message": "bad yaml"}
    instance = {"daemonHealth": {"allDaemonStatuses": []}}
    with answering(raw({"data": {"version": "1", "workspaceOrError": broken, "instance": instance}})) as (client, _):
        assert "cannot read its workspace: bad yaml" in client.readiness().problem


def test_a_backfill_is_started_followed_and_cancelled():
    run = {"id": "r1", "status": "STARTED", "startTime": 1795600001.0, "endTime": None}
    answers = (
        launched(),
        followed(runs=[run]),
        listed(backfill(status="COMPLETED_FAILED", endTimestamp=1.0)),
        reply("cancelPartitionBackfill", {"__typename": "CancelBackfillSuccess"}),
    )
    with answering(*answers) as (client, server):
        config = {"ops": {"a": {"config": {"rules": ["x"]}}}}
        assert client.start_backfill(["f"], ["2026-11-25-12:00"], "past", {"lane": "backfill"}, config) == "abc"
        now = client.backfill("abc")
        assert now is not None
        assert (now.is_over, now.created_ms, now.tags, now.title) == (False, 1795600000500, {"lane": "backfill"}, "")
        assert now.runs[0].started_ms == 1795600001000
        (over,) = client.backfills(5)
        assert (over.is_over, over.ended_ms, over.assets) == (True, 1000, ("function_series",))
        client.cancel_backfill("abc")
        sent = params(server)
    assert sent["partitionNames"] == ["2026-11-25-12:00"]
    assert sent["tags"] == [{"key": "lane", "value": "backfill"}]
    assert sent["runConfigData"] == config


def test_partitions_that_dagster_does_not_know_yet_are_loaded_and_the_backfill_is_started():
    unknown = reply("launchPartitionBackfill", {"__typename": "PythonError", "message": "Invariant failed"})
    with answering(unknown, RELOADED, launched()) as (client, server):
        assert client.start_backfill(["f"], ["2026-11-25-12:00"], "past", {}) == "abc"
        sent = [request.body for request in server.requests]
    assert b"reloadWorkspace" in sent[1]
    assert sent[0] == sent[2]


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ({"__typename": "PythonError", "message": "DagsterError: unknown partition\n\nStack"}, "unknown partition"),
        ({"__typename": "RunConfigValidationInvalid", "errors": [{"message": "no rules"}]}, "no rules"),
        ({"__typename": "UnauthorizedError", "message": "read-only"}, "read-only"),
        ({"__typename": "SomethingNew"}, "SomethingNew"),
    ],
)
def test_what_dagster_refuses_is_said_in_its_words(answer: dict[str, Any], words: str):
    refused = reply("launchPartitionBackfill", answer)
    with answering(refused, RELOADED, refused) as (client, _), pytest.raises(DagsterError, match=words) as raised:
        client.start_backfill(["x"], ["y"], "", {})
    assert "after its restart" in str(raised.value)
    assert "Stack" not in str(raised.value)


def test_other_refusals():
    syntax = raw({"errors": [{"message": "syntax"}]})
    with answering(syntax) as (client, _), pytest.raises(DagsterError, match="syntax"):
        client.readiness()
    none = reply("partitionBackfillOrError", {"__typename": "BackfillNotFoundError", "message": "none"})
    with answering(none) as (client, _):
        assert client.backfill("x") is None
    gone = {"__typename": "PythonError", "message": "gone"}
    with answering(*(reply(f"partition{what}OrError", gone) for what in ("Backfill", "Backfills"))) as (client, _):
        with pytest.raises(DagsterError, match="gone"):
            client.backfill("x")
        with pytest.raises(DagsterError, match="gone"):
            client.backfills(1)
    with answering(reply("cancelPartitionBackfill", gone)) as (client, _), pytest.raises(DagsterError, match="gone"):
        client.cancel_backfill("x")


def test_who_is_no_dagster():
    nobody = DagsterClient(f"http://127.0.0.1:{free_port()}")
    with nobody as client, pytest.raises(DagsterUnavailable, match="start dagster-w"):
        client.readiness()
    for answer in (Reply(200, b"<html>"), raw({"data": None}), raw({"other": 1}), raw([]), Reply(404, b"")):
        with answering(answer) as (client, _), pytest.raises(DagsterUnavailable, match="no Dagster"):
            client.backfills(1)
