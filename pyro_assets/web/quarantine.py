"""The page Quarantine: jobs given up, sources set aside or lost, why, and what a person decides of them.

Add what the page shows here, and what programs may ask for to `api_routes`; decisions take effect in
`operations.decide`, the same as on the command line, and are recorded with who and why.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

from pydantic import BaseModel, ConfigDict
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from pyro_assets.errors import LedgerUnavailable, PyroAssetsError
from pyro_assets.jobs.loading import JobRecords
from pyro_assets.ledger.decisions import DecisionRecords
from pyro_assets.ledger.records import Job
from pyro_assets.operations.decide import ACTIONS, Action, Item, decide, find, listed
from pyro_assets.web.site import Site
from pyro_assets.web.spans import asked_hour
from pyro_assets.web.wire.endpoints import Endpoint, Parameter
from pyro_assets.web.wire.requests import first, model_of, values_of

_MOST: Final = 500
_MOST_AT_ONCE: Final = 200


@dataclass(frozen=True, slots=True)
class QuarantineOutcome:
    """What came of a decision; `done` is False where nothing was changed."""

    name: str
    done: bool
    text: str


class Decided(BaseModel):
    """What is decided: `names` are ids of jobs or keys of sources."""

    model_config = ConfigDict(extra="forbid")

    action: Action
    names: list[str]
    why: str = ""
    parts: int | None = None


def routes(site: Site) -> list[Route]:
    """The page's routes."""

    def index(request: Request) -> Response:
        hour, everything = _hour(request), bool(request.query_params.get("all"))
        items = listed(site.app.ledger, hour, everything=everything)
        return site.page(
            request,
            "quarantine.html",
            items=items[:_MOST],
            total=len(items),
            hour=hour or "",
            everything=everything,
            decisions=DecisionRecords(site.app.ledger).past_decisions(limit=20),
            actions=ACTIONS,
        )

    def show(request: Request) -> Response:
        name = request.query_params.get("name", "")
        item, job = _found(site, name)
        decisions = DecisionRecords(site.app.ledger).past_decisions(subject=name)
        return site.page(request, "quarantine_item.html", item=item, job=job, decisions=decisions)

    def confirm(request: Request) -> Response:
        wanted = _wanted(request)
        items = {item.name: item for item in find(site.app.ledger, wanted.names)}
        return site.page(request, "quarantine_confirm.html", wanted=wanted, items=items)

    def carry_out(request: Request) -> Response:
        wanted = _wanted(request)
        outcomes = _decide(site, request, wanted)
        status = 200 if any(one.done for one in outcomes) else 409
        return site.page(request, "quarantine_done.html", status_code=status, wanted=wanted, outcomes=outcomes)

    return [
        Route("/quarantine", index, methods=["GET"]),
        Route("/quarantine/item", show, methods=["GET"]),
        Route("/quarantine/confirm", confirm, methods=["POST"]),
        Route("/quarantine/decide", carry_out, methods=["POST"]),
    ]


def api_routes(site: Site) -> list[Endpoint]:
    """The same for programs."""

    def index(request: Request) -> Mapping[str, Any]:
        everything = request.query_params.get("all") in ("1", "true")
        items = listed(site.app.ledger, _hour(request), everything=everything)
        return {"total": len(items), "items": [asdict(item) | {"actions": item.actions} for item in items[:_MOST]]}

    def show(request: Request) -> Mapping[str, Any]:
        name = request.query_params.get("name", "")
        item, job = _found(site, name)
        return {
            "item": item,
            "job": job,
            "decisions": DecisionRecords(site.app.ledger).past_decisions(subject=name),
        }

    def carry_out(request: Request) -> Mapping[str, Any]:
        wanted = model_of(request, Decided, misfit=422)
        _check(wanted)
        outcomes = _decide(site, request, wanted)
        if not any(one.done for one in outcomes):
            raise HTTPException(409, "; ".join(one.text for one in outcomes))
        return {"outcomes": outcomes}

    plain = {"type": "object"}
    hour = Parameter("hour", "only this hour, such as 2026-11-25T13 (UTC)")
    return [
        Endpoint(
            "GET",
            "/quarantine",
            index,
            "What was given up, set aside or lost.",
            (hour, Parameter("all", "also what is still retried or was forgotten", "boolean")),
            answer=plain,
        ),
        Endpoint(
            "GET",
            "/quarantine/item",
            show,
            "All that is known of one job or source.",
            (Parameter("name", "the job's id or the source's key", required=True),),
            answer=plain,
            errors=((404, "it is not in quarantine"),),
        ),
        Endpoint(
            "POST",
            "/quarantine/decide",
            carry_out,
            "Retry, release or forget jobs and sources.",
            body=Decided,
            answer=plain,
            errors=((409, "none of them can be decided like that"),),
        ),
    ]


def _hour(request: Request) -> str | None:
    text = request.query_params.get("hour", "")
    return asked_hour(text, "hour") if text else None


def _found(site: Site, name: str) -> tuple[Item, Job | None]:
    """What is known of a job or source.

    Raises:
        HTTPException: it is not in quarantine.
    """
    items = find(site.app.ledger, [name])
    if not items:
        raise HTTPException(404, "this is not in quarantine (any more); /quarantine lists what is")
    job_id = items[0].job_id
    return items[0], JobRecords(site.app.ledger).look_up(job_id)[0] if job_id else None


def _wanted(request: Request) -> Decided:
    """What a form says.

    Raises:
        HTTPException: it says nothing that can be done.
    """
    form = values_of(request)
    action, parts = first(form, "action"), first(form, "parts").strip()
    if action not in ACTIONS:
        raise HTTPException(400, "choose what is to be done: retry, release or forget")
    if parts and not parts.isdecimal():
        raise HTTPException(400, f"{parts[:20]!r} is no number of parts")
    wanted = Decided(
        action=action,
        names=form.get("name", []),
        why=first(form, "why").strip(),
        parts=int(parts) if parts else None,
    )
    _check(wanted)
    return wanted


def _check(wanted: Decided) -> None:
    if not wanted.names:
        raise HTTPException(400, "choose at least one job or segment")
    if len(wanted.names) > _MOST_AT_ONCE:
        raise HTTPException(400, f"at most {_MOST_AT_ONCE} at once; `pyro-assets quarantine` takes more")
    if wanted.parts is not None and wanted.parts < 2:
        raise HTTPException(400, "a job is released into at least 2 parts")


def _decide(site: Site, request: Request, wanted: Decided) -> list[QuarantineOutcome]:
    """Carries out a decision for one after the other; one that cannot be decided does not hold up the rest."""
    outcomes = []
    for name in dict.fromkeys(wanted.names):
        try:
            text = decide(
                site.app.ledger,
                site.app.archive,
                wanted.action,
                name,
                site.clock(),
                author=request.state.user,
                why=wanted.why[:1000],
                parts=wanted.parts,
            )
        except LedgerUnavailable:
            raise
        except PyroAssetsError as error:
            outcomes.append(QuarantineOutcome(name, False, str(error)))
        else:
            outcomes.append(QuarantineOutcome(name, True, text))
    return outcomes
