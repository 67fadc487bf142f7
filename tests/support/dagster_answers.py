"""Answers as Dagster's webserver gives them over GraphQL, for a scripted server.

Add an answer when a test needs one; that Dagster's own schema has what is asked for is tested in `test_dagster_client`.
"""

import json
from typing import Any

from tests.support.scripted_server import Reply, ScriptedServer


def reply(field: str, value: dict[str, Any]) -> Reply:
    """Data with one field."""
    return raw({"data": {field: value}})


def raw(value: Any) -> Reply:
    """Any document."""
    return Reply(200, json.dumps(value).encode())


#: Dagster has loaded its code locations again.
RELOADED = reply("reloadWorkspace", {"__typename": "Workspace"})


def ready(*entries: dict[str, Any], daemons: tuple[dict[str, Any], ...] = ()) -> Reply:
    """Dagster with these code locations."""
    workspace = {"__typename": "Workspace", "locationEntries": list(entries)}
    instance = {"daemonHealth": {"allDaemonStatuses": list(daemons)}}
    return raw({"data": {"version": "1.13", "workspaceOrError": workspace, "instance": instance}})


def location(status: str = "LOADED", error: str = "") -> dict[str, Any]:
    """A code location."""
    loaded = {"__typename": "PythonError", "message": error} if error else None
    return {"name": "pyro_assets", "loadStatus": status, "locationOrLoadError": loaded}


def daemon(kind: str, *, healthy: bool | None, required: bool = True) -> dict[str, Any]:
    """A daemon."""
    return {"daemonType": kind, "required": required, "healthy": healthy}


def launched(backfill_id: str = "abc") -> Reply:
    """A backfill was started."""
    return reply("launchPartitionBackfill", {"__typename": "LaunchBackfillSuccess", "backfillId": backfill_id})


def backfill(**fields: Any) -> dict[str, Any]:
    """What is told of a backfill."""
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


def followed(**fields: Any) -> Reply:
    """One backfill with its runs."""
    return reply("partitionBackfillOrError", backfill(**{"runs": [], **fields}))


def listed(*found: dict[str, Any]) -> Reply:
    """The latest backfills."""
    return reply("partitionBackfillsOrError", {"__typename": "PartitionBackfills", "results": list(found)})


def params(server: ScriptedServer) -> dict[str, Any]:
    """What the last backfill was started with."""
    sent = [json.loads(request.body)["variables"] for request in server.requests]
    found: dict[str, Any] = [one["params"] for one in sent if "params" in one][-1]
    return found
