"""The page Backfills: rules evaluated for past hours.

Add what the page shows here, and what programs may ask for to `api_routes`; figures come from `pipeline`.
"""

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from pyro_assets.web.endpoints import Endpoint
from pyro_assets.web.site import Site


def routes(site: Site) -> list[Route]:
    """The page's routes."""

    def show(request: Request) -> Response:
        return site.page(request, "backfills.html", hours=site.pipeline.hours())

    return [Route("/backfills", show, methods=["GET"])]


def api_routes(site: Site) -> list[Endpoint]:
    """The same for programs."""
    del site
    return []
