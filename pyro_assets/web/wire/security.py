"""What is refused before any route: foreign hosts and origins, people unknown, forged forms, changes where none may be.

One layer before all routes, so that a new page is guarded without knowing it. Add a check here with its test; what
pages show to whom is not decided here.
"""

import asyncio
import hmac
import ipaddress
import math
import re
import secrets
import time
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import quote, urlsplit

from anyio import to_thread
from starlette.datastructures import Headers, MutableHeaders
from starlette.requests import cookie_parser
from starlette.responses import JSONResponse, PlainTextResponse, RedirectResponse, Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from pyro_assets.web.wire.access import LOOPBACK, Access, name_of
from pyro_assets.web.wire.requests import MAX_BODY_BYTES, first, parse_form
from pyro_assets.web.wire.sessions import Guesses, Sessions

#: No script and no style that stands in a page, nothing from elsewhere, no frames.
POLICY: Final = (
    "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self' data:; connect-src 'self'; "
    "form-action 'self'; frame-ancestors 'none'; base-uri 'none'"
)
CSRF_COOKIE: Final = "pyro_assets_csrf"
SESSION_COOKIE: Final = "pyro_assets_session"
CSRF_FIELD: Final = "csrf"
CSRF_HEADER: Final = "x-csrf-token"
_SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS"})
#: Routes that change nothing although something is sent, and therefore are open in read-only mode too. Each is named
#: with its method: another method of the same path, or another path, is a change.
HARMLESS: Final = frozenset(
    {
        ("POST", "/login"),
        ("POST", "/logout"),
        ("POST", "/rules/check"),
        ("POST", "/rules/import/check"),
        ("POST", "/api/v1/rules/validate"),
        ("POST", "/api/v1/rules/preview"),
    }
)
#: What may be sent by people whom nobody knows yet, in bytes: a token and an address to return to.
_MAX_LOGIN_BYTES: Final = 8 << 10
#: Whoever sends less than this in the time below does not mean to be answered.
_BODY_SECONDS: Final = 30.0
#: Asked for by programs that have no token of ours; they change nothing.
_OPEN: Final = frozenset({"/healthz", "/metrics"})
#: What the Connect protocol calls a refusal.
_CODES: Final = {
    400: "invalid_argument", 401: "unauthenticated", 403: "permission_denied", 408: "deadline_exceeded",
    413: "resource_exhausted", 429: "resource_exhausted",
}  # fmt: skip
_TOKEN: Final = re.compile(r"[A-Za-z0-9_-]{20,64}")


@dataclass(frozen=True, slots=True)
class Programs:
    """Addresses that other projects' programs ask for.

    What is sent there is no form, so no form's token comes with it.

    Attributes:
        addresses: beginnings of paths.
        reading: methods and whole paths of what only reads, and is open in read-only mode.
    """

    addresses: tuple[str, ...] = ()
    reading: frozenset[tuple[str, str]] = frozenset()

    def __or__(self, other: "Programs") -> "Programs":
        return Programs(self.addresses + other.addresses, self.reading | other.reading)


class Guard:
    """ASGI middleware: refuses what must not get to a route, and leaves user, form and body in `request.state`."""

    def __init__(
        self,
        app: ASGIApp,
        access: Access,
        sessions: Sessions,
        guesses: Guesses,
        programs: Programs | None = None,
        body_seconds: float = _BODY_SECONDS,
    ) -> None:
        self._app, self._access, self._sessions, self._guesses = app, access, sessions, guesses
        self._programs, self._body_seconds = programs or Programs(), body_seconds

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """One request."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        headers = Headers(scope=scope)
        state = scope.setdefault("state", {})
        cookies = cookie_parser(headers.get("cookie", ""))
        token = cookies.get(CSRF_COOKIE, "")
        is_new = not _TOKEN.fullmatch(token)
        state["csrf"] = secrets.token_urlsafe(24) if is_new else token
        state.update(user=self._access.default_user, signed_in=False, form={}, body=b"")

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                add_headers(MutableHeaders(scope=message), scope, state["csrf"] if is_new else "")
            await send(message)

        refusal = await self._refusal(scope, headers, cookies, receive)
        if refusal is not None:
            await refusal(scope, receive, send_with_headers)
            return
        await self._app(scope, _replay(state["body"], receive), send_with_headers)

    async def _refusal(
        self, scope: Scope, headers: Headers, cookies: dict[str, str], receive: Receive
    ) -> Response | None:
        """The answer to a request that goes no further, None for one that does."""
        access, state, path = self._access, scope["state"], scope["path"]
        is_program = path.startswith(self._programs.addresses)
        is_api = is_program or path.startswith("/api/")
        name = name_of(headers.get("host", ""))
        if access.hosts and name not in access.hosts:
            why = f"this process does not answer for {name!r}; ask for it as {', '.join(access.hosts)}, or name it "
            return _refuse(400, why + "with --allowed-host", is_api)
        if path in _OPEN:
            return None
        offers_token = access.token and _offers_token(scope, headers)
        wait = math.ceil(self._guesses.wait_seconds(client_of(scope), time.monotonic())) if offers_token else 0
        if wait:
            refusal = _refuse(429, f"too many wrong tokens from your address; try again in {wait} s", is_api)
            refusal.headers["Retry-After"] = str(wait)
            return refusal
        user, bearer = self._user(scope, headers, cookies)
        if user is None and path != "/login" and not path.startswith("/static/"):
            if not access.token:
                why = f"sign in at the proxy, which must send {access.trusted_header} from one of its own addresses"
                return _refuse(401, why, is_api)
            if is_api or scope["method"] not in _SAFE:
                return _refuse(401, "send the header `Authorization: Bearer TOKEN`, or sign in at /login", is_api)
            query = scope["query_string"].decode("latin-1")
            return RedirectResponse(f"/login?next={quote(path + (f'?{query}' if query else ''))}", 303)
        if user:
            state["user"] = user
        state["signed_in"] = user is not None and not access.is_open
        if scope["method"] in _SAFE:
            return None
        if access.read_only and (scope["method"], path) not in HARMLESS | self._programs.reading:
            return _refuse(
                403, "this process is read-only; change rules where it is not, or with `pyro-assets`", is_api
            )
        most = MAX_BODY_BYTES if user is not None else _MAX_LOGIN_BYTES
        try:
            async with asyncio.timeout(self._body_seconds):
                body = await _body(receive, most)
        except TimeoutError:
            return _refuse(408, f"what was sent did not arrive within {self._body_seconds:g} s; send it again", is_api)
        if body is None:
            return _refuse(413, f"more than {most >> 10} KiB were sent; send less at a time", is_api)
        state["body"] = body
        try:
            # A large form takes milliseconds: others are answered meanwhile.
            state["form"] = await to_thread.run_sync(parse_form, headers.get("content-type", ""), body)
        except ValueError as error:
            return _refuse(400, f"the form cannot be read: {error}; send fewer fields", is_api)
        is_safe = bearer or (is_program and _is_no_form(headers))
        return self._forged(headers, state, cookies, is_api=is_api, is_safe=is_safe)

    def _user(self, scope: Scope, headers: Headers, cookies: dict[str, str]) -> tuple[str | None, bool]:
        """Who asks ("" for somebody without a name, None for nobody that may), and whether a bearer token says so."""
        access = self._access
        kind, _, given = headers.get("authorization", "").partition(" ")
        is_bearer = kind.lower() == "bearer"
        if access.trusted_header and self._is_proxy(scope):
            named = headers.get(access.trusted_header, "").strip()
            if named:
                return named[:200], False
        if access.is_open:
            return "", is_bearer
        if access.token and is_bearer:
            if is_the_token(access, self._guesses, scope, given):
                return "", True
        elif access.token and self._sessions.is_valid(cookies.get(SESSION_COOKIE, ""), time.monotonic()):
            return "", False
        return None, False

    def _is_proxy(self, scope: Scope) -> bool:
        client = scope.get("client")
        try:
            address = ipaddress.ip_address(client[0]) if client else None
        except ValueError:
            return False
        return address is not None and any(address in ipaddress.ip_network(one) for one in self._access.proxies)

    def _forged(
        self, headers: Headers, state: dict[str, Any], cookies: dict[str, str], *, is_api: bool, is_safe: bool
    ) -> Response | None:
        """Whether another page's request is refused; it is safe where no page can send the like without our consent."""
        if headers.get("sec-fetch-site", "same-origin") not in ("same-origin", "none"):
            return _refuse(403, "another page sent this; use the forms of this one", is_api)
        origin = headers.get("origin")
        if origin is not None and not self._is_own(_netloc(origin), headers.get("host", "")):
            return _refuse(403, f"the page at {origin[:200]!r} may not send anything here", is_api)
        if is_safe:
            return None
        given = headers.get(CSRF_HEADER) or first(state["form"], CSRF_FIELD)
        known = cookies.get(CSRF_COOKIE, "")
        if not _TOKEN.fullmatch(known) or not hmac.compare_digest(given.encode(), known.encode()):
            what = f"send the cookie {CSRF_COOKIE} and the same value as {CSRF_HEADER}, or a bearer token"
            return _refuse(
                403, what if is_api else "the form is too old; load its page again, and send it once more", is_api
            )
        return None

    def _is_own(self, netloc: str, host: str) -> bool:
        """Whether an origin is this site: what was asked for, or (behind a proxy that renames) a name of ours."""
        return netloc.lower() == host.lower() or name_of(netloc) in set(self._access.hosts) - LOOPBACK


def _netloc(origin: str) -> str:
    """Where an origin is, "" (which is nobody's) where it does not parse.

    >>> _netloc("http://localhost:9119"), _netloc("http://[")
    ('localhost:9119', '')
    """
    try:
        return urlsplit(origin).netloc
    except ValueError:
        return ""


def client_of(scope: Scope) -> str:
    """The address that a request comes from, which a proxy shares among all behind it."""
    client = scope.get("client")
    return str(client[0]) if client else ""


def is_the_token(access: Access, guesses: Guesses, scope: Scope, given: str) -> bool:
    """Whether somebody knows the token; a wrong one is counted, and none is looked at while the client must wait."""
    client, now = client_of(scope), time.monotonic()
    if guesses.wait_seconds(client, now):
        # Its other requests were wrong while this one's body was on its way: many begun at once are no way around.
        return False
    if hmac.compare_digest(given.encode(), access.token.encode()):
        guesses.was_right(client)
        return True
    guesses.was_wrong(client, now)
    return False


def _offers_token(scope: Scope, headers: Headers) -> bool:
    is_login = (scope["method"], scope["path"]) == ("POST", "/login")
    return is_login or headers.get("authorization", "").lower().startswith("bearer ")


def _is_no_form(headers: Headers) -> bool:
    """Whether a body is of a kind that pages can send to other sites only if these agree, which this one never does."""
    kind = headers.get("content-type", "").partition(";")[0].strip().lower()
    return kind.startswith("application/") and kind != "application/x-www-form-urlencoded"


def _refuse(status: int, why: str, is_api: bool) -> Response:
    if is_api:
        # Ours, and the field in which clients of the Connect protocol look.
        return JSONResponse({"error": why, "code": _CODES.get(status, "unknown"), "message": why}, status)
    return PlainTextResponse(why + "\n", status)


def add_headers(headers: MutableHeaders, scope: Scope, csrf: str) -> None:
    """Puts what every answer has into its headers, and a new token of forms ("" for none) as a cookie."""
    headers["Content-Security-Policy"] = POLICY
    headers["X-Content-Type-Options"] = "nosniff"
    headers["Referrer-Policy"] = "same-origin"
    headers["Cross-Origin-Opener-Policy"] = "same-origin"
    headers["Cross-Origin-Resource-Policy"] = "same-origin"
    # Asked for anew each time, but "back" still shows what somebody has typed.
    headers.setdefault("Cache-Control", "no-store" if scope["path"].startswith("/api/") else "private, no-cache")
    if csrf:
        secure = "; Secure" if scope.get("scheme") == "https" else ""
        headers.append("Set-Cookie", f"{CSRF_COOKIE}={csrf}; Path=/; HttpOnly; SameSite=Strict{secure}")


async def _body(receive: Receive, most: int) -> bytes | None:
    """A request's body; None for one of more than `most` bytes."""
    parts, size = [], 0
    while True:
        message = await receive()
        if message["type"] != "http.request":
            return b""
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > most:
            return None
        if not message.get("more_body", False):
            return b"".join(parts)


def _replay(body: bytes, receive: Receive) -> Receive:
    """What the application receives: the body that was read already, then whatever comes."""
    sent = not body

    async def again() -> Message:
        nonlocal sent
        if sent:
            return await receive()
        sent = True
        return {"type": "http.request", "body": body, "more_body": False}

    return again
