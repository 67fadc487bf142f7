"""Description of the JSON API: the page `/api` for people and `/api/openapi.json` for programs.

Calls are listed by the modules of their pages. What a call does never stands here.
"""

from collections.abc import Sequence
from importlib.metadata import PackageNotFoundError, version

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from pyro_assets.web.site import Site
from pyro_assets.web.wire.endpoints import PREFIX, Endpoint, json_answer
from pyro_assets.web.wire.openapi import document


def routes(site: Site, calls: Sequence[Endpoint]) -> list[Route]:
    """`/api` and the document that it describes."""
    described = document(calls, _version())

    def show(request: Request) -> Response:
        address = str(request.base_url).rstrip("/")
        return site.page(
            request, "api.html", calls=calls, prefix=PREFIX, token=bool(site.access.token), address=address
        )

    def show_document(_: Request) -> Response:
        return json_answer(described)

    return [
        Route("/api", show, methods=["GET"]),
        Route("/api/openapi.json", show_document, methods=["GET"]),
    ]


def _version() -> str:
    try:
        return version("pyro-assets")
    except PackageNotFoundError:
        return "0"
