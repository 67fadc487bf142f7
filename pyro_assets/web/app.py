"""The Starlette application behind `pyro-assets web`: the pages, the JSON API, `/metrics` and `/healthz`.

A page is a module with `routes(site)`, and `api_routes(site)` where programs may ask for the same; name it in PAGES.
Nothing is computed here, and nothing is changed by a GET.
"""

import logging
from collections.abc import Awaitable, Callable
from typing import Final

from anyio import CapacityLimiter, to_thread
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles

from pyro_assets.errors import (
    ConfigError,
    DagsterError,
    LedgerDamaged,
    LedgerError,
    LedgerUnavailable,
    NotABlockKey,
    ObjectMissing,
    PyroAssetsError,
    QueryError,
    QueryTooLarge,
    ReceiverUnavailable,
    SelectorError,
    SettingsError,
    StaleRule,
    StorageUnavailable,
)
from pyro_assets.monitoring.metrics import exposition
from pyro_assets.web import backfills, quarantine, remote_read, series, status
from pyro_assets.web.explore import page as explore
from pyro_assets.web.pyroscope import site as pyroscope
from pyro_assets.web.pyroscope.connect import error_answer
from pyro_assets.web.rules import page as rules
from pyro_assets.web.site import FOLDER, Site
from pyro_assets.web.wire import api, signing_in
from pyro_assets.web.wire.endpoints import Endpoint
from pyro_assets.web.wire.security import Guard, add_headers

_TEXT_FORMAT: Final = "text/plain; version=0.0.4; charset=utf-8"
_PAGES: Final = (explore, rules, series, status, quarantine, backfills)
#: Who else asks here, in protocols of their own.
PROGRAMS: Final = pyroscope.PROGRAMS | remote_read.PROGRAMS
#: What went wrong -> status of the answer; the first that fits.
_STATUSES: Final[tuple[tuple[type[PyroAssetsError], int], ...]] = (
    (StaleRule, 409),
    (ConfigError, 422),
    (SelectorError, 422),
    (SettingsError, 400),
    (QueryTooLarge, 422),
    (QueryError, 400),
    (NotABlockKey, 404),
    (ObjectMissing, 404),
    (LedgerUnavailable, 503),
    (LedgerDamaged, 503),
    (StorageUnavailable, 503),
    (DagsterError, 502),
    (ReceiverUnavailable, 502),
    (LedgerError, 409),
    (PyroAssetsError, 500),
)


def make_app(site: Site) -> Starlette:
    """The application of one site."""
    routes: list[Route | Mount] = [
        Route("/metrics", _metrics(site)),
        Route("/healthz", _healthy),
        Mount("/static", StaticFiles(directory=FOLDER / "static")),
        *signing_in.routes(site),
    ]
    for page in _PAGES:
        routes += page.routes(site)
    calls = endpoints(site)
    routes += [*(call.route() for call in calls), *api.routes(site, calls), *pyroscope.routes(site)]
    return Starlette(
        routes=routes,
        middleware=[
            Middleware(Guard, access=site.access, sessions=site.sessions, guesses=site.guesses, programs=PROGRAMS)
        ],
        exception_handlers={HTTPException: _shown(site), PyroAssetsError: _shown(site), Exception: _shown(site)},
    )


def endpoints(site: Site) -> list[Endpoint]:
    """Every call of the API, page after page, and those that have no page."""
    return [call for part in (*_PAGES, remote_read) for call in part.api_routes(site)]


async def _healthy(_: Request) -> Response:
    # A coroutine needs no thread, of which there may be none left for a while.
    return PlainTextResponse("ok\n")


def _metrics(site: Site) -> Callable[[Request], Awaitable[Response]]:
    # Threads of its own: a scrape never waits behind those who read the archive, nor they behind a slow ledger.
    limiter: list[CapacityLimiter] = []

    def collect() -> Response:
        try:
            return Response(exposition(site.metrics.collect()), headers={"Content-Type": _TEXT_FORMAT})
        except PyroAssetsError as error:
            return PlainTextResponse(f"{error}\n", status_code=503)

    async def show_metrics(_: Request) -> Response:
        if not limiter:
            limiter.append(CapacityLimiter(2))
        return await to_thread.run_sync(collect, limiter=limiter[0])

    return show_metrics


def _shown(site: Site) -> Callable[[Request, Exception], Response]:
    """What went wrong, as a page or as JSON."""

    def show(request: Request, error: Exception) -> Response:
        answer: Response
        if request.url.path.startswith(pyroscope.PROGRAMS.addresses):
            answer = error_answer(error, request.url.path)
            add_headers(answer.headers, request.scope, "")
            return answer
        code, text = describe(error)
        if code == 500:
            logging.getLogger(__name__).error("%s %s", request.method, request.url.path, exc_info=error)
        # What a status needs beside its text: Allow, Retry-After.
        headers = error.headers if isinstance(error, HTTPException) else None
        if request.url.path.startswith("/api/"):
            answer = JSONResponse({"error": text}, code, headers)
        else:
            answer = site.page(request, "error.html", status_code=code, code=code, problems=text.splitlines())
            answer.headers.update(headers or {})
        if code == 500:
            # Starlette answers what nobody foresaw outside of our `Guard`.
            add_headers(answer.headers, request.scope, "")
        return answer

    return show


def describe(error: Exception) -> tuple[int, str]:
    """Status and text of what went wrong; of what nobody foresaw, no detail leaves the process."""
    if isinstance(error, HTTPException):
        known = {404: "there is no such page", 405: "this address does not take that method"}
        is_default = error.detail in ("Not Found", "Method Not Allowed")
        return error.status_code, known[error.status_code] if is_default else error.detail
    for kind, code in _STATUSES:
        if isinstance(error, kind):
            return code, str(error)
    return 500, "something went wrong here that nobody foresaw; the log of this process says more"
