"""querier.v1.QuerierService over HTTP: which method has which address, and who waits for whom.

Add a method in `explore.pyroscope.querier`; it appears here by itself.
"""

from typing import Any, Final

from starlette.requests import Request

from pyro_assets.explore.pyroscope.querier import METHODS, UNIMPLEMENTED, Client, Handler, Querier
from pyro_assets.web.pyroscope.connect import Answer, Method, tenant_of
from pyro_assets.web.site import Site

SERVICE: Final = "querier.v1.QuerierService"
#: What changes nothing: all of it.
READING: Final = frozenset(("POST", f"/{SERVICE}/{name}") for name in (*METHODS, *UNIMPLEMENTED))


def methods(site: Site, querier: Querier) -> list[Method]:
    """The service's methods."""

    def answered(handle: Handler) -> Any:
        def answer(message: Any, request: Request) -> Answer:
            with site.reading.take():
                return Answer(handle(querier, message, client_of(request)))

        return answer

    offered = [Method(SERVICE, name, kind, answered(handle)) for name, (kind, handle) in METHODS.items()]
    return offered + [Method(SERVICE, name, None, None) for name in sorted(UNIMPLEMENTED)]


def client_of(request: Request) -> Client:
    """Who asks, by the headers."""
    return Client(tenant_of(request), "allow-utf8-labelnames=true" in request.headers.get("accept", ""))
