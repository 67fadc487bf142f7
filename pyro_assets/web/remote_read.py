"""`/api/v1/read`: Prometheus reads the archive's series as if they were its own.

Whose names and labels they have is asked for by the URL (`?receiver=NAME`), as is how long reading may take
(`&seconds=120`); the tenant by X-Scope-OrgID. Messages, bounds and what is read are `explore.remote_read`'s.
"""

from typing import Final

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from pyro_assets.explore.remote_read.answer import RemoteReader
from pyro_assets.explore.remote_read.rows import View
from pyro_assets.receivers.model import Receiver
from pyro_assets.web.site import Site
from pyro_assets.web.wire.endpoints import PREFIX, Endpoint, Parameter, Schema, whole_number
from pyro_assets.web.wire.security import Programs

#: Who reads without naming a receiver: a Prometheus whose series say of which tenant they are, unless it asks for one.
_PLAIN: Final = Receiver(name="remote-read", url="http://127.0.0.1/", kind="prometheus")
_PATH: Final = "/read"
PROGRAMS: Final = Programs((PREFIX + _PATH,), frozenset({("POST", PREFIX + _PATH)}))
_BYTES: Final[Schema] = {"type": "string", "format": "binary"}
#: Less than the minute that Prometheus waits (`remote_timeout`), and than the time after which connections are ended.
_SECONDS: Final = 50
_MOST_SECONDS: Final = 240


def api_routes(site: Site) -> list[Endpoint]:
    """The one call of the protocol."""
    reader = RemoteReader(site.app.archive, site.app.ledger)

    def read(request: Request) -> Response:
        view, seconds = _view(site, request), whole_number(request, "seconds", _SECONDS, least=1, most=_MOST_SECONDS)
        with site.asking.take():
            answer = reader.answer(request.state.body, view, seconds)
        return StreamingResponse(answer.parts, headers=answer.headers)

    return [
        Endpoint(
            "POST",
            _PATH,
            read,
            "Series for a Prometheus, by its protocol of remote read (snappy); changes nothing.",
            (
                Parameter("receiver", "names and labels are those that this receiver gets"),
                Parameter("seconds", f"that reading may take, {_SECONDS} by default", "integer"),
            ),
            body=_BYTES,
            answer=_BYTES,
            media="application/x-protobuf",
        )
    ]


def _view(site: Site, request: Request) -> View:
    """As whom somebody reads.

    Raises:
        HTTPException: there is no receiver of the name asked for.
        ConfigError: the file of receivers is refused.
    """
    org_id = request.headers.get("x-scope-orgid") or None
    name = request.query_params.get("receiver")
    if name is None:
        return View(_PLAIN if org_id is None else _PLAIN.model_copy(update={"tenant_label": None}), org_id)
    receivers = {one.name: one for one in site.app.receivers()}
    if name not in receivers:
        known = ", ".join(sorted(receivers)) or "none is configured"
        raise HTTPException(404, f"there is no receiver {name[:100]!r}; there are: {known}")
    return View(receivers[name], org_id)
