"""Questions and orders to Dagster's webserver over its GraphQL API: is it ready, start, follow and cancel backfills.

Add a question here when a page has one. What a backfill is made of is decided by `backfills`; what was processed is
asked of the ledger, not of Dagster.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final, Self
from urllib.parse import quote, urlsplit

import requests

from pyro_assets.errors import DagsterError, DagsterUnavailable
from pyro_assets.export.remote_write.deadline import DeadlineAdapter
from pyro_assets.web.wire.access import is_loopback

_CONNECT_SECONDS: Final = 3.05
_RUNS: Final = 20
#: States from which a backfill does not go on.
_OVER: Final = frozenset({"COMPLETED", "COMPLETED_SUCCESS", "COMPLETED_FAILED", "FAILED", "CANCELED"})

_READY: Final = """
query { version workspaceOrError { __typename
    ... on Workspace { locationEntries { name loadStatus
      locationOrLoadError { __typename ... on PythonError { message } } } }
    ... on PythonError { message } }
  instance { daemonHealth { allDaemonStatuses { daemonType required healthy } } } }
"""
_LAUNCH: Final = """
mutation ($params: LaunchBackfillParams!) { launchPartitionBackfill(backfillParams: $params) {
  __typename
  ... on LaunchBackfillSuccess { backfillId }
  ... on PartitionKeysNotFoundError { message }
  ... on RunConfigValidationInvalid { errors { message } }
  ... on Error { message } } }
"""
#: Refusals that an older set of partitions may be the reason of.
_PERHAPS_OLD: Final = frozenset({"PythonError", "PartitionKeysNotFoundError"})
#: The code is imported anew.
_RELOAD_SECONDS: Final = 60.0
_RELOAD: Final = """
mutation { reloadWorkspace { __typename ... on Error { message } } }
"""
_FACTS: Final = """
fragment Facts on PartitionBackfill {
  id status title timestamp endTimestamp numPartitions tags { key value } assetSelection { path } error { message } }
"""
_BACKFILL: Final = f"""{_FACTS}
query ($id: String!, $runs: Int!) {{ partitionBackfillOrError(backfillId: $id) {{ __typename
  ... on PartitionBackfill {{ ...Facts runs(limit: $runs) {{ id status startTime endTime }} }}
  ... on Error {{ message }} }} }}
"""
_BACKFILLS: Final = f"""{_FACTS}
query ($limit: Int!) {{ partitionBackfillsOrError(limit: $limit) {{ __typename
  ... on PartitionBackfills {{ results {{ ...Facts }} }}
  ... on PythonError {{ message }} }} }}
"""
_CANCEL: Final = """
mutation ($id: String!) { cancelPartitionBackfill(backfillId: $id) { __typename ... on Error { message } } }
"""


#: Everything that is ever asked, for the test that Dagster's schema has it.
QUERIES: Final = (_READY, _LAUNCH, _RELOAD, _BACKFILL, _BACKFILLS, _CANCEL)


@dataclass(frozen=True, slots=True)
class BackfillRun:
    """A run of a backfill; `status` is Dagster's word."""

    id: str
    status: str
    started_ms: int | None
    ended_ms: int | None


@dataclass(frozen=True, slots=True)
class Backfill:
    """A backfill as Dagster knows it.

    Attributes:
        id, status, title, tags: as they are there.
        assets: names of what it makes.
        hours: how many partitions it has.
        created_ms, ended_ms: Unix ms; the second None until it is over.
        error: why it failed, "" where it did not.
        runs: the first of them; empty in lists.
    """

    id: str
    status: str
    title: str
    tags: Mapping[str, str]
    assets: tuple[str, ...]
    hours: int
    created_ms: int
    ended_ms: int | None
    error: str
    runs: tuple[BackfillRun, ...] = ()

    @property
    def is_over(self) -> bool:
        """Whether it does not go on by itself."""
        return self.status in _OVER


@dataclass(frozen=True, slots=True)
class Readiness:
    """Whether a backfill would be started and worked on.

    Attributes:
        version: Dagster's.
        problem: why it would not be started, "" where it would; `is_broken`: waiting does not help.
        warning: why nobody would work on it.
    """

    version: str
    problem: str = ""
    warning: str = ""
    is_broken: bool = False


class DagsterClient:
    """Dagster's webserver at an address (`url`, without a slash at the end); as cheap as a connection.

    A question takes `seconds` at most, its answer included.

    Raises (every method):
        DagsterUnavailable: it does not answer, or is something else than Dagster.
        DagsterError: it refuses.
    """

    def __init__(self, url: str, seconds: float = 20.0) -> None:
        self.url = url.rstrip("/")
        self._timeout = (min(_CONNECT_SECONDS, seconds), seconds)
        self._session = requests.Session()
        # A proxy from the environment cannot reach this machine's own address.
        self._session.trust_env = not is_loopback(urlsplit(url).hostname or "")
        for scheme in ("http://", "https://"):
            self._session.mount(scheme, DeadlineAdapter())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._session.close()

    def readiness(self) -> Readiness:
        """Whether backfills can be started, and whether somebody works on them."""
        answer = self.ask(_READY)
        version, workspace = str(answer["version"]), answer["workspaceOrError"]
        if "locationEntries" not in workspace:
            return Readiness(version, f"Dagster cannot read its workspace: {workspace.get('message', '')}")
        entries = workspace["locationEntries"]
        if not entries:
            return Readiness(version, "Dagster has no code location; start it with -w resources/workspace.yaml")
        for entry in entries:
            loaded = entry["locationOrLoadError"] or {}
            if loaded.get("__typename") == "PythonError":
                why = f"Dagster cannot load {entry['name']}: {_first_line(loaded['message'])}"
                return Readiness(version, f"{why}; correct it, then reload it there (Deployment)", is_broken=True)
            if entry["loadStatus"] != "LOADED":
                return Readiness(version, f"Dagster is still loading {entry['name']}; ask again in some seconds")
        daemons = answer["instance"]["daemonHealth"]["allDaemonStatuses"]
        ill = sorted(
            str(one["daemonType"]).lower()
            for one in daemons
            if not one["healthy"] and (one["required"] or one["daemonType"] == "BACKFILL")
        )
        ill = ill if daemons else ["all"]
        warning = f"daemons without a sign of life: {', '.join(ill)}; start dagster-daemon run" if ill else ""
        return Readiness(version, warning=warning)

    def start_backfill(
        self,
        assets: Sequence[str],
        hours: Sequence[str],
        title: str,
        tags: Mapping[str, str],
        run_config: Mapping[str, Any] | None = None,
    ) -> str:
        """Start a backfill of assets over hours (partition keys), as the UI's "Materialize" does; returns its id.

        Hours that came to light since Dagster loaded the code are no partitions there: where it refuses, it loads anew.
        """
        params: dict[str, Any] = {
            "assetSelection": [{"path": [asset]} for asset in assets],
            "partitionNames": list(hours),
            "title": title,
            "tags": [{"key": key, "value": value} for key, value in tags.items()],
        }
        if run_config is not None:
            params["runConfigData"] = dict(run_config)
        launched = self.ask(_LAUNCH, {"params": params})["launchPartitionBackfill"]
        if launched["__typename"] in _PERHAPS_OLD:
            self.ask(_RELOAD, seconds=_RELOAD_SECONDS)
            launched = self.ask(_LAUNCH, {"params": params})["launchPartitionBackfill"]
        if "backfillId" not in launched:
            raise DagsterError(
                f"Dagster refuses the backfill: are its partitions there, from {hours[0]} to {hours[-1]}? Hours that "
                "came to light since the code server was started are partitions after its restart; then start the "
                f"backfill once more. Dagster says: {_message(launched)}"
            )
        return str(launched["backfillId"])

    def backfill(self, backfill_id: str) -> Backfill | None:
        """A backfill with its runs, None where there is none of this id."""
        found = self.ask(_BACKFILL, {"id": backfill_id, "runs": _RUNS})["partitionBackfillOrError"]
        if found["__typename"] == "BackfillNotFoundError":
            return None
        if "status" not in found:
            raise DagsterError(f"Dagster cannot tell of backfill {backfill_id}: {_message(found)}")
        return _backfill(found)

    def backfills(self, limit: int) -> list[Backfill]:
        """The latest backfills, of whatever kind, without their runs."""
        found = self.ask(_BACKFILLS, {"limit": limit})["partitionBackfillsOrError"]
        if "results" not in found:
            raise DagsterError(f"Dagster cannot list backfills: {_message(found)}")
        return [_backfill(one) for one in found["results"]]

    def cancel_backfill(self, backfill_id: str) -> None:
        """Let a backfill and its runs end."""
        answer = self.ask(_CANCEL, {"id": backfill_id})["cancelPartitionBackfill"]
        if answer["__typename"] != "CancelBackfillSuccess":
            raise DagsterError(f"Dagster does not cancel backfill {backfill_id}: {_message(answer)}")

    def ask(
        self, query: str, variables: Mapping[str, Any] | None = None, *, seconds: float | None = None
    ) -> dict[str, Any]:
        """The data of an answer, which may take other seconds than usual."""
        url = f"{self.url}/graphql"
        timeout = self._timeout if seconds is None else (self._timeout[0], seconds)
        try:
            response = self._session.post(
                url, json={"query": query, "variables": dict(variables or {})}, timeout=timeout
            )
        except requests.RequestException as error:
            raise DagsterUnavailable(
                f"Dagster does not answer at {self.url} ({type(error).__name__}): start dagster-webserver, or name "
                "its address with --dagster-url"
            ) from error
        try:
            answer: dict[str, Any] = response.json()
            if answer.get("errors"):
                raise DagsterError(f"Dagster refuses: {_first_line(str(answer['errors'][0]['message']))}")
            data: dict[str, Any] = dict(answer["data"])
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise DagsterUnavailable(
                f"what answers at {self.url} is no Dagster (status {response.status_code}); --dagster-url must be the "
                "address of dagster-webserver"
            ) from error
        return data


def run_url(dagster_url: str, run_id: str) -> str:
    """Where Dagster shows a run.

    >>> run_url("http://127.0.0.1:3000", "ab12")
    'http://127.0.0.1:3000/runs/ab12'
    """
    return f"{dagster_url}/runs/{quote(run_id, safe='')}"


def partition_url(dagster_url: str, asset: str, hour: str) -> str:
    """Where Dagster shows an asset's partition.

    >>> partition_url("http://127.0.0.1:3000", "l1_blocks", "2026-11-25-13:00")
    'http://127.0.0.1:3000/assets/l1_blocks?view=partitions&partition=2026-11-25-13%3A00'
    """
    return f"{dagster_url}/assets/{quote(asset, safe='')}?view=partitions&partition={quote(hour, safe='')}"


def backfill_url(dagster_url: str, backfill_id: str) -> str:
    """Where Dagster shows a backfill.

    >>> backfill_url("http://127.0.0.1:3000", "ab12")
    'http://127.0.0.1:3000/runs/b/ab12'
    """
    return f"{dagster_url}/runs/b/{quote(backfill_id, safe='')}"


def _backfill(found: Mapping[str, Any]) -> Backfill:
    return Backfill(
        id=str(found["id"]),
        status=str(found["status"]),
        title=str(found["title"] or ""),
        tags={tag["key"]: tag["value"] for tag in found["tags"]},
        assets=tuple("/".join(asset["path"]) for asset in found["assetSelection"] or ()),
        hours=int(found["numPartitions"] or 0),
        created_ms=_ms(found["timestamp"]) or 0,
        ended_ms=_ms(found["endTimestamp"]),
        error=_first_line(str(found["error"]["message"])) if found["error"] else "",
        runs=tuple(
            BackfillRun(str(run["id"]), str(run["status"]), _ms(run["startTime"]), _ms(run["endTime"]))
            for run in found.get("runs", ())
        ),
    )


def _ms(seconds: float | None) -> int | None:
    return None if seconds is None else round(seconds * 1000)


def _message(answer: Mapping[str, Any]) -> str:
    """Why an order was refused, in Dagster's words."""
    messages = [answer.get("message"), *(one.get("message") for one in answer.get("errors", ()))]
    return "; ".join(_first_line(str(one)) for one in messages if one) or str(answer.get("__typename"))


def _first_line(text: str) -> str:
    """Without the traceback that Dagster likes to send."""
    return next((line.strip() for line in text.splitlines() if line.strip()), "")[:500]
