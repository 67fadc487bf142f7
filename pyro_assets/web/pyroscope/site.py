"""All addresses of Pyroscope's clients, and what of them changes nothing.

Methods of querier.v1.QuerierService appear here by themselves: add one in `explore.pyroscope.querier`. Unknown methods
of a service that is offered are answered as the original answers them.
"""

from typing import Any, Final

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from pyro_assets.explore.pyroscope.archive import ProfileArchive
from pyro_assets.explore.pyroscope.querier import METHODS, UNIMPLEMENTED, Caller, Handler, Querier
from pyro_assets.explore.read import ArchivedJobs
from pyro_assets.ledger.hours import HourRecords
from pyro_assets.web.pyroscope import render, rules
from pyro_assets.web.pyroscope.connect import ConnectAnswer, ConnectMethod, tenant_of
from pyro_assets.web.site import Site
from pyro_assets.web.wire.security import Programs

QUERIER: Final = "querier.v1.QuerierService"
#: What changes nothing: all of it.
_READING: Final = frozenset(("POST", f"/{QUERIER}/{name}") for name in (*METHODS, *UNIMPLEMENTED))
_SERVICES: Final = (QUERIER, rules.SERVICE)
PROGRAMS: Final = Programs((*(f"/{service}/" for service in _SERVICES), render.PATH), _READING | rules.READING)


def routes(site: Site) -> list[Route]:
    """Every address."""
    ledger = site.app.ledger
    jobs = ArchivedJobs(ledger)
    answers = Querier(ProfileArchive(site.app.archive, HourRecords(ledger).hours, jobs.explorable, knows=jobs.knows))
    methods = [*_methods(site, answers), *rules.methods(site)]
    return [
        *(method.route() for method in methods),
        *(Route(f"/{service}/{{rest:path}}", _unknown, methods=["POST"]) for service in _SERVICES),
        *render.routes(site, answers),
    ]


def _unknown(_: Request) -> Response:
    return PlainTextResponse("404 page not found\n", 404)


def _methods(site: Site, querier: Querier) -> list[ConnectMethod]:
    """The service's methods."""

    def answered(handle: Handler) -> Any:
        def answer(message: Any, request: Request) -> ConnectAnswer:
            with site.asking.take():
                return ConnectAnswer(handle(querier, message, _caller_of(request)))

        return answer

    offered = [ConnectMethod(QUERIER, name, kind, answered(handle)) for name, (kind, handle) in METHODS.items()]
    return offered + [ConnectMethod(QUERIER, name, None, None) for name in sorted(UNIMPLEMENTED)]


def _caller_of(request: Request) -> Caller:
    """Who asks, by the headers."""
    return Caller(tenant_of(request), "allow-utf8-labelnames=true" in request.headers.get("accept", ""))
