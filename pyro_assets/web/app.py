"""The Starlette application behind `pyro-assets web`: `/metrics` for Prometheus, `/healthz` for supervisors.

Add a route with a function of its own. Nothing is computed here, and nothing is changed by a GET.
"""

from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import PlainTextResponse, Response
from starlette.routing import Route

from pyro_assets.errors import PyroAssetsError
from pyro_assets.pipeline.health import HealthMetrics, exposition

_TEXT_FORMAT = "text/plain; version=0.0.4; charset=utf-8"


def make_app(metrics: HealthMetrics) -> Starlette:
    """The application; `metrics` is asked at every scrape."""

    def show_metrics(_: Request) -> Response:
        # No coroutine: Starlette runs it in a thread, so that a slow ledger stops nobody else.
        try:
            return Response(exposition(metrics.collect()), headers={"Content-Type": _TEXT_FORMAT})
        except PyroAssetsError as error:
            return PlainTextResponse(f"{error}\n", status_code=503)

    def show_health(_: Request) -> Response:
        return PlainTextResponse("ok\n")

    return Starlette(routes=[Route("/metrics", show_metrics), Route("/healthz", show_health)])
