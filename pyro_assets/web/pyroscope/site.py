"""All addresses of Pyroscope's clients, and what of them changes nothing.

Unknown methods of a service that is offered are answered as the original answers them.
"""

from typing import Final

from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from pyro_assets.explore.pyroscope.archive import ProfileArchive
from pyro_assets.explore.pyroscope.querier import Querier
from pyro_assets.web.pyroscope import querier, render, rules
from pyro_assets.web.security import Programs
from pyro_assets.web.site import Site

_SERVICES: Final = (querier.SERVICE, rules.SERVICE)
PROGRAMS: Final = Programs((*(f"/{service}/" for service in _SERVICES), render.PATH), querier.READING | rules.READING)


def routes(site: Site) -> list[Route]:
    """Every address."""
    ledger = site.pipeline.ledger
    answers = Querier(ProfileArchive(site.pipeline.archive, ledger.hours, ledger.archived_jobs))
    methods = [*querier.methods(site, answers), *rules.methods(site)]
    return [
        *(method.route() for method in methods),
        *(Route(f"/{service}/{{rest:path}}", _unknown, methods=["POST"]) for service in _SERVICES),
        *render.routes(site, answers),
    ]


def _unknown(_: Request) -> Response:
    return PlainTextResponse("404 page not found\n", 404)
