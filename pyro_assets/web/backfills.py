"""The page Backfills: choose a rule and hours, see what it will cost, start it in Dagster, follow it to its end.

Add what the page shows here, and what programs may ask for to `api_routes`; what an order means is
`monitoring.backfills`', talking to Dagster is `dagster_client`'s. Dagster keeps the list of backfills, the ledger what
they have done.
"""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any, Final
from urllib.parse import urlencode

from pydantic import BaseModel, ConfigDict
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Route

from pyro_assets.errors import DagsterError, DagsterUnavailable
from pyro_assets.ledger.decisions import Decision, DecisionRecords
from pyro_assets.ledger.hours import HourRecords
from pyro_assets.monitoring.backfills import (
    FROM_TAG,
    OVERHEAD_SECONDS,
    RULE,
    RULE_TAG,
    TO_TAG,
    WHATS,
    BackfillOrder,
    BackfillPlan,
    hours_between,
    known_part,
    plan,
    progress,
)
from pyro_assets.rules.choice import rule_kinds
from pyro_assets.storage.keys import HOUR_MS, hour_of, hour_start_ms
from pyro_assets.web.dagster_client import Backfill, DagsterClient, Readiness, backfill_url, run_url
from pyro_assets.web.site import Site
from pyro_assets.web.spans import asked_hour
from pyro_assets.web.wire.endpoints import Endpoint, Parameter
from pyro_assets.web.wire.requests import first, model_of, values_of

_LISTED: Final = 25
_DEFAULT_HOURS: Final = 24
_REFRESH_SECONDS: Final = 4
#: Dagster's words -> ours, and how they look.
_STATES: Final[Mapping[str, tuple[str, str]]] = {
    "REQUESTED": ("going on", "info"),
    "CANCELING": ("being cancelled", "warn"),
    "FAILING": ("failing", "bad"),
    "CANCELED": ("cancelled", "warn"),
    "COMPLETED": ("over", "good"),
    "COMPLETED_SUCCESS": ("done", "good"),
    "COMPLETED_FAILED": ("failed", "bad"),
    "FAILED": ("failed", "bad"),
}


class Ordered(BaseModel):
    """A backfill to start: `what` is `rule:NAME`, pending, function, dimension or series; hours are inclusive."""

    model_config = ConfigDict(extra="forbid", populate_by_name=True)

    what: str
    first: str
    last: str
    send: bool = False


def routes(site: Site) -> list[Route]:
    """The page's routes."""

    def index(request: Request) -> Response:
        known, problem, backfills = HourRecords(site.app.ledger).hours(), "", []
        try:
            with _client(site) as client:
                backfills = client.backfills(_LISTED)
        except DagsterError as error:
            problem = str(error)
        return site.page(
            request,
            "backfills.html",
            chosen=_chosen(request, known),
            known=known,
            rules=rule_kinds(site.config()),
            whats=WHATS,
            problem=problem,
            backfills=backfills,
            states=_STATES,
        )

    def estimate(request: Request) -> Response:
        query = request.query_params
        ordered = Ordered(
            what=_what(query.get("what", ""), query.get("rule", "")),
            first=query.get("from", ""),
            last=query.get("to", ""),
            send=bool(query.get("send")),
        )
        found = _plan(site, request, ordered)
        ready = _readiness(site)
        return site.page(request, "backfill_plan.html", plan=found, ready=ready, overhead=OVERHEAD_SECONDS, whats=WHATS)

    def start(request: Request) -> Response:
        form = values_of(request)
        ordered = Ordered(
            what=first(form, "what"), first=first(form, "from"), last=first(form, "to"), send=bool(first(form, "send"))
        )
        backfill_id = _start(site, request, ordered)
        return RedirectResponse(f"/backfills/{backfill_id}", 303)

    def follow(request: Request) -> Response:
        found = _backfill(site, request)
        refresh = request.query_params.get("refresh", str(_REFRESH_SECONDS))
        return site.page(
            request,
            "backfill.html",
            backfill=found,
            state=_STATES.get(found.status, (found.status, "")),
            progress=progress(site.app, site.config(), found.tags, found.created_ms),
            link=backfill_url(site.dagster_url, found.id),
            runs=[(run, run_url(site.dagster_url, run.id)) for run in found.runs],
            refresh=0 if found.is_over or refresh == "0" else _REFRESH_SECONDS,
            series=_series_address(found),
        )

    def cancel(request: Request) -> Response:
        _cancel(site, request)
        return RedirectResponse(f"/backfills/{request.path_params['backfill_id']}", 303)

    return [
        Route("/backfills", index, methods=["GET"]),
        Route("/backfills/estimate", estimate, methods=["GET"]),
        Route("/backfills/start", start, methods=["POST"]),
        Route("/backfills/{backfill_id}", follow, methods=["GET"]),
        Route("/backfills/{backfill_id}/cancel", cancel, methods=["POST"]),
    ]


def api_routes(site: Site) -> list[Endpoint]:
    """The same for programs."""

    def index(_: Request) -> Mapping[str, Any]:
        with _client(site) as client:
            return {"backfills": client.backfills(_LISTED)}

    def estimate(request: Request) -> Mapping[str, Any]:
        query = request.query_params
        ordered = Ordered(
            what=query.get("what", ""),
            first=query.get("first", ""),
            last=query.get("last", ""),
            send=query.get("send") in ("1", "true"),
        )
        return asdict(_plan(site, request, ordered))

    def start(request: Request) -> Mapping[str, Any]:
        return {"id": _start(site, request, model_of(request, Ordered, misfit=422))}

    def follow(request: Request) -> Mapping[str, Any]:
        found = _backfill(site, request)
        return {
            "backfill": found,
            "is_over": found.is_over,
            "progress": progress(site.app, site.config(), found.tags, found.created_ms),
        }

    def cancel(request: Request) -> Mapping[str, Any]:
        _cancel(site, request)
        return {"cancelled": request.path_params["backfill_id"]}

    plain = {"type": "object"}
    dagster = (502, "Dagster does not answer, or refuses")
    gone = (404, "there is no backfill of this id")
    order = (
        Parameter("what", "rule:NAME, pending, function, dimension or series", required=True),
        Parameter("first", "the first hour, such as 2026-11-25T13 (UTC)", required=True),
        Parameter("last", "the last hour, which is included", required=True),
        Parameter("send", "also send to receivers", "boolean"),
    )
    one = "/backfills/{backfill_id}"
    return [
        Endpoint("GET", "/backfills", index, "The latest backfills.", answer=plain, errors=(dagster,)),
        Endpoint("GET", "/backfills/estimate", estimate, "What a backfill would cost.", order, answer=plain),
        Endpoint(
            "POST", "/backfills", start, "Start a backfill.", body=Ordered, answer=plain, errors=(dagster,), status=201
        ),
        Endpoint("GET", one, follow, "How far a backfill is.", answer=plain, errors=(gone, dagster)),
        Endpoint("POST", f"{one}/cancel", cancel, "Cancel a backfill.", answer=plain, errors=(gone, dagster)),
    ]


def _client(site: Site) -> DagsterClient:
    if not site.dagster_url:
        raise DagsterUnavailable(
            "the address of Dagster's webserver is not known; start `pyro-assets web` with --dagster-url"
        )
    return DagsterClient(site.dagster_url)


def _readiness(site: Site) -> Readiness:
    try:
        with _client(site) as client:
            return client.readiness()
    except DagsterError as error:
        return Readiness("", problem=str(error))


def _what(what: str, rule: str) -> str:
    """What a form orders: a rule has a list of its own there."""
    return f"{RULE}{rule}" if what == "rule" else what


def _chosen(request: Request, known: list[str]) -> dict[str, Any]:
    """What the form shows at first: what the address says, else the last day."""
    query = request.query_params
    begin, end = query.get("from", ""), query.get("to", "")
    return {
        "what": query.get("what") or ("rule" if query.get("rule") else "pending"),
        "rule": query.get("rule", ""),
        "first": asked_hour(begin, "from") if begin else known[-_DEFAULT_HOURS:][0] if known else "",
        "last": asked_hour(end, "to") if end else known[-1] if known else "",
        "send": bool(query.get("send")) or "from" not in query,
    }


def _plan(site: Site, request: Request, ordered: Ordered) -> BackfillPlan:
    """What an order means.

    Raises:
        HTTPException: an hour cannot be read.
        SettingsError: there is no such thing to order, or nothing landed in these hours.
    """
    hours = hours_between(asked_hour(ordered.first, "from"), asked_hour(ordered.last, "to"))
    order = BackfillOrder(ordered.what, known_part(site.app, hours), ordered.send)
    return plan(site.app, site.config(), order, request.state.user)


def _start(site: Site, request: Request, ordered: Ordered) -> str:
    """Start a backfill in Dagster; returns its id."""
    found = _plan(site, request, ordered)
    with _client(site) as client:
        ready = client.readiness()
        if ready.problem:
            raise DagsterUnavailable(ready.problem)
        backfill_id = client.start_backfill(found.assets, found.order.hours, found.title, found.tags, found.run_config)
    why = f"{found.order.hours[0]} to {found.order.hours[-1]}, Dagster's backfill {backfill_id}"
    subject = found.order.rule or found.order.what
    DecisionRecords(site.app.ledger).note_decision(Decision(site.clock(), request.state.user, "backfill", subject, why))
    return backfill_id


def _backfill(site: Site, request: Request) -> Backfill:
    backfill_id = str(request.path_params["backfill_id"])
    with _client(site) as client:
        found = client.backfill(backfill_id)
    if found is None:
        raise HTTPException(404, f"Dagster knows no backfill {backfill_id[:50]!r}; /backfills lists the latest")
    return found


def _cancel(site: Site, request: Request) -> None:
    found = _backfill(site, request)
    with _client(site) as client:
        client.cancel_backfill(found.id)
    DecisionRecords(site.app.ledger).note_decision(
        Decision(site.clock(), request.state.user, "cancel", found.tags.get(RULE_TAG, found.title), found.id)
    )


def _series_address(found: Backfill) -> str:
    """Where the series of a backfill are shown, "" where that is not known."""
    tags = found.tags
    if FROM_TAG not in tags or TO_TAG not in tags:
        return ""
    hours = hours_between(tags[FROM_TAG], tags[TO_TAG])
    query = {"last": f"{len(hours)}h", "until": hour_of(hour_start_ms(hours[-1]) + HOUR_MS)}
    if RULE_TAG in tags:
        query["rule"] = tags[RULE_TAG]
    return f"/series?{urlencode(query)}"
