"""The Connect protocol, unary: a bare message as protobuf or JSON in, one out, errors as JSON with a code.

One `ConnectMethod` per address; what goes wrong in it is raised, and the application makes an answer of it
(`error_answer`). Nothing is known of what is asked. The maintained library has its own router, errors and generated
stubs, and streams, gRPC and compressions that nobody asks for here: more than this module to keep in step.
"""

import gzip
import json
import logging
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from google.protobuf import json_format
from google.protobuf.message import DecodeError, Message
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from pyro_assets.errors import (
    BadQuery,
    ConfigError,
    LedgerUnavailable,
    NothingFound,
    NotOffered,
    ObjectMissing,
    PyroAssetsError,
    QueryTooLarge,
    SelectorError,
    StaleRule,
    StorageUnavailable,
    ValueOverflow,
)

JSON: Final = "application/json"
PROTO: Final = "application/proto"
#: What a request may become when it is unpacked.
_MAX_BYTES: Final = 4 << 20
#: Shorter answers are not packed: it would cost more than it saves.
_PACKED_BYTES: Final = 1 << 10
#: What went wrong -> code; the first that fits.
_CODES: Final[tuple[tuple[type[PyroAssetsError], str], ...]] = (
    (BadQuery, "invalid_argument"),
    (SelectorError, "invalid_argument"),
    (QueryTooLarge, "resource_exhausted"),
    (NotOffered, "unimplemented"),
    (NothingFound, "not_found"),
    (StaleRule, "already_exists"),
    (ValueOverflow, "out_of_range"),
    (ConfigError, "failed_precondition"),
    (LedgerUnavailable, "unavailable"),
    (StorageUnavailable, "unavailable"),
    # Retention removes what was there when the question began.
    (ObjectMissing, "unavailable"),
    (PyroAssetsError, "internal"),
)
_STATUSES: Final = {
    "invalid_argument": 400, "failed_precondition": 400, "out_of_range": 400, "unauthenticated": 401,
    "permission_denied": 403, "not_found": 404, "already_exists": 409, "resource_exhausted": 429, "internal": 500,
    "unimplemented": 501, "unavailable": 503,
}  # fmt: skip
_CODE_OF_STATUS: Final = {status: code for code, status in _STATUSES.items()} | {400: "invalid_argument"}


@dataclass(frozen=True, slots=True)
class ConnectAnswer:
    """A message, and headers beside it."""

    message: Message
    headers: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class ConnectMethod:
    """One method of a service.

    Attributes:
        service, name: its address.
        request: what is sent.
        answer: a function of message and request, called in a thread; None for a method that is not offered.
    """

    service: str
    name: str
    request: type[Message] | None
    answer: Callable[[Any, Request], ConnectAnswer] | None

    @property
    def path(self) -> str:
        """Its address."""
        return f"/{self.service}/{self.name}"

    def route(self) -> Route:
        """The method as a route."""

        def handle(request: Request) -> Response:
            if self.answer is None or self.request is None:
                raise NotOffered(f"{self.service}/{self.name} is not offered here")
            kind = kind_of(request)
            if kind is None:
                return Response(status_code=415, headers={"Accept-Post": f"{JSON}, {PROTO}"})
            return _packed(request, kind, self.answer(_read(request, kind, self.request()), request))

        return Route(self.path, handle, methods=["POST"])


def tenant_of(request: Request) -> str:
    """Whose profiles are meant; a server without tenants calls its only one so."""
    return request.headers.get("x-scope-orgid", "").strip() or "anonymous"


def kind_of(request: Request) -> str | None:
    """The form of the messages, None for one that is not known."""
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    return kind if kind in (JSON, PROTO) else None


def error_answer(error: Exception, path: str) -> Response:
    """What went wrong, as clients expect it; of what nobody foresaw, no detail leaves the process."""
    headers: Mapping[str, str] = {}
    text = str(error)
    if isinstance(error, HTTPException):
        status, text, headers = error.status_code, error.detail, error.headers or {}
        code = _CODE_OF_STATUS.get(status, "unknown")
    else:
        code = next((code for kind, code in _CODES if isinstance(error, kind)), "internal")
        if code == "internal":
            logging.getLogger(__name__).error("%s", path, exc_info=error)
        if not isinstance(error, PyroAssetsError):
            text = "something went wrong here that nobody foresaw; the log of this process says more"
        status = _STATUSES[code]
    return JSONResponse({"code": code, "message": text}, status, headers)


def _read(request: Request, kind: str, message: Message) -> Message:
    """The message that was sent.

    Raises:
        BadQuery: it does not parse.
        NotOffered: it is packed in another way.
        QueryTooLarge: it is too large when it is unpacked.
    """
    body: bytes = request.state.body
    packing = request.headers.get("content-encoding", "identity").strip().lower()
    if packing == "gzip":
        body = _unpack(body)
    elif packing not in ("", "identity"):
        raise NotOffered(f"unknown compression {packing[:50]!r}: supported encodings are gzip")
    try:
        if kind == PROTO:
            message.ParseFromString(body)
        elif body:
            json_format.Parse(body.decode("utf-8"), message, ignore_unknown_fields=True)
    except (DecodeError, json_format.ParseError, ValueError, RecursionError) as error:
        raise BadQuery(f"the request is no {message.DESCRIPTOR.name} as {kind}: {error}") from error
    return message


def _unpack(body: bytes) -> bytes:
    unpacker = zlib.decompressobj(wbits=31)
    try:
        found = unpacker.decompress(body, _MAX_BYTES)
    except zlib.error as error:
        raise BadQuery(f"the request is not what gzip makes: {error}") from error
    if unpacker.unconsumed_tail:
        raise QueryTooLarge(f"the request has more than {_MAX_BYTES >> 20} MiB when it is unpacked; send less")
    if not unpacker.eof:
        raise BadQuery("the request ends before gzip's end; send all of it")
    return found


def _packed(request: Request, kind: str, answer: ConnectAnswer) -> Response:
    if kind == PROTO:
        body = answer.message.SerializeToString()
    else:
        plain = json_format.MessageToDict(answer.message)
        body = json.dumps(plain, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")
    headers = {"Content-Type": kind, "Vary": "Accept-Encoding", **answer.headers}
    if len(body) >= _PACKED_BYTES and "gzip" in request.headers.get("accept-encoding", ""):
        body, headers["Content-Encoding"] = gzip.compress(body, 5, mtime=0), "gzip"
    return Response(body, headers=headers)
