"""One call of the JSON API: what it takes and gives, described once for the router and for the OpenAPI document.

Add what a description needs here. The calls themselves are listed by `api_routes(site)` of the module of their page.
"""

import dataclasses
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final, Literal

from pydantic import BaseModel
from pydantic_core import to_jsonable_python
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

PREFIX: Final = "/api/v1"
Method = Literal["GET", "PUT", "POST", "DELETE"]
Schema = dict[str, Any]
Kind = Literal["string", "integer", "number", "boolean"]


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter of the query.

    Attributes:
        repeated: may be given several times.
    """

    name: str
    meaning: str
    kind: Kind = "string"
    required: bool = False
    repeated: bool = False


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One call.

    Attributes:
        path: below PREFIX, with Starlette's `{name}` for its parts.
        handle: gives plain values, a dataclass or a model, which become the JSON document; or a whole response.
        summary: one sentence, with its full stop.
        parameters: of the query.
        body: what is sent: a model, or a JSON schema; None for nothing.
        answer: what comes back: a model, or a JSON schema.
        errors: status -> when it comes, beside what any call may answer.
        status: of success.
        media: the type of what is sent, and of what comes back.
    """

    method: Method
    path: str
    handle: Callable[[Request], Any]
    summary: str
    parameters: tuple[Parameter, ...] = ()
    body: type[BaseModel] | Schema | None = None
    answer: type[BaseModel] | Schema | None = None
    errors: tuple[tuple[int, str], ...] = ()
    status: int = 200
    media: str = "application/json"

    def route(self) -> Route:
        """The call as a route; a function in a thread, because ledgers and buckets may be slow."""

        def answer(request: Request) -> Response:
            found = self.handle(request)
            return found if isinstance(found, Response) else json_answer(found, self.status)

        return Route(PREFIX + self.path, answer, methods=[self.method])


def json_answer(value: Any, status: int = 200) -> JSONResponse:
    """Any plain value as a JSON document."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        value = dataclasses.asdict(value)
    return JSONResponse(to_jsonable_python(value, by_alias=True), status)


def whole_number(request: Request, name: str, default: int, *, least: int = 0, most: int = 2**53) -> int:
    """A parameter of the query as a number.

    Raises:
        HTTPException: it is none, or out of bounds.
    """
    text = request.query_params.get(name) or str(default)
    try:
        found = int(text)
    except ValueError:
        found = least - 1
    if not least <= found <= most:
        raise HTTPException(400, f"{name}={text[:50]!r} is no whole number from {least} to {most}")
    return found
