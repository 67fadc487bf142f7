"""What the demo asks of Dagster's webserver, over its GraphQL API: is it ready, start a backfill.

Add a question here when the story needs one; what is processed is asked of the ledger, not of Dagster.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import requests

from pyro_assets.errors import PyroAssetsError

_TIMEOUT_SECONDS: Final = 30.0

_LOCATIONS: Final = """
query { workspaceOrError { __typename ... on Workspace { locationEntries {
  name loadStatus locationOrLoadError { __typename ... on PythonError { message } } } } } }
"""
_DAEMONS: Final = """
query { instance { daemonHealth { allDaemonStatuses { daemonType required healthy } } } }
"""
_BACKFILL: Final = """
mutation ($params: LaunchBackfillParams!) { launchPartitionBackfill(backfillParams: $params) {
  __typename ... on LaunchBackfillSuccess { backfillId } ... on PythonError { message } } }
"""


class Webserver:
    """Dagster's webserver on this machine."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self._session = requests.Session()
        # A proxy from the environment cannot reach this machine's own address.
        self._session.trust_env = False

    def location_loaded(self) -> bool:
        """Whether the webserver answers and has loaded the code location.

        Raises:
            PyroAssetsError: the location cannot be loaded.
        """
        answer = self._ask(_LOCATIONS)
        entries = answer["workspaceOrError"].get("locationEntries", []) if answer else []
        for entry in entries:
            loaded = entry["locationOrLoadError"]
            if loaded and loaded["__typename"] == "PythonError":
                raise PyroAssetsError(f"Dagster cannot load {entry['name']}: {loaded['message']}")
        return bool(entries) and all(entry["loadStatus"] == "LOADED" for entry in entries)

    def daemon_healthy(self) -> bool:
        """Whether every daemon that is needed has said so lately."""
        answer = self._ask(_DAEMONS)
        statuses = answer["instance"]["daemonHealth"]["allDaemonStatuses"] if answer else []
        return bool(statuses) and all(status["healthy"] for status in statuses if status["required"])

    def start_backfill(self, assets: Sequence[str], hours: Sequence[str], title: str, tags: Mapping[str, str]) -> str:
        """Start a backfill of assets over hours, as the UI's "Materialize" does; returns its id.

        Raises:
            PyroAssetsError: Dagster refuses.
        """
        params = {
            "assetSelection": [{"path": [asset]} for asset in assets],
            "partitionNames": list(hours),
            "title": title,
            "tags": [{"key": key, "value": value} for key, value in tags.items()],
        }
        answer = self._ask(_BACKFILL, {"params": params})
        launched = answer["launchPartitionBackfill"] if answer else {}
        if "backfillId" not in launched:
            raise PyroAssetsError(f"Dagster refuses the backfill: {launched.get('message', launched)}")
        return str(launched["backfillId"])

    def _ask(self, query: str, variables: Mapping[str, Any] | None = None) -> dict[str, Any] | None:
        """The answer's data; None while the webserver is not there yet."""
        try:
            response = self._session.post(
                f"{self.url}/graphql", json={"query": query, "variables": variables or {}}, timeout=_TIMEOUT_SECONDS
            )
        except requests.ConnectionError:
            return None
        response.raise_for_status()
        answer: dict[str, Any] = response.json()
        if answer.get("errors"):
            raise PyroAssetsError(f"Dagster's webserver: {answer['errors'][0]['message']}")
        data: dict[str, Any] = answer["data"]
        return data
