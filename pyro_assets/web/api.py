"""Description of the JSON API: the page `/api` for people and `/api/openapi.json` for programs.

Calls are listed by the modules of their pages. What a call does never stands here.
"""

from collections.abc import Sequence

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from pyro_assets.web.endpoints import Endpoint
from pyro_assets.web.site import Site


def routes(site: Site, calls: Sequence[Endpoint]) -> list[Route]:
    """`/api`."""

    def show(request: Request) -> Response:
        return site.page(request, "api.html", calls=calls)

    return [Route("/api", show, methods=["GET"])]
