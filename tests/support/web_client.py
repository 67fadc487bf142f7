"""A site for tests without a server: requests go straight into the application, cookies and CSRF tokens as browsers do.

`site_of(pipeline)` makes the site, `Client(make_app(site))` asks it; a real server and browser are in
`tests.support.browser`.
"""

import asyncio
import html
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.cookies import SimpleCookie
from pathlib import Path
from typing import Any
from urllib.parse import quote, urlencode

from starlette.applications import Starlette

from pyro_assets.app import App
from pyro_assets.operations import upkeep
from pyro_assets.web.site import Site
from pyro_assets.web.wire.access import Access
from pyro_assets.web.wire.security import CSRF_COOKIE


def site_of(pipeline: App, *, config: Path | str = "", access: Access | None = None, **more: Any) -> Site:
    """A site over a pipeline with its clock, edited by "tester"."""
    return Site(
        pipeline,
        more.pop("metrics", None) or upkeep.health(pipeline),
        config_path=str(config),
        access=access if access is not None else Access(default_user="tester"),
        clock=more.pop("clock", pipeline.clock),
        **more,
    )


@dataclass
class Answer:
    """What came back."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    cookies: list[str] = field(default_factory=list)

    @property
    def text(self) -> str:
        return self.body.decode()

    @property
    def words(self) -> str:
        """A page's text as people read it: without tags, white space folded."""
        return " ".join(html.unescape(re.sub(r"<[^>]+>", " ", self.text.replace("<wbr>", ""))).split())

    @property
    def json(self) -> Any:
        return json.loads(self.body)

    def field(self, name: str) -> str:
        """The value of an input of the page."""
        found = re.search(rf'<input[^>]*\bname="{name}"[^>]*\bvalue="([^"]*)"', self.text)
        assert found, f"no input {name}"
        return html.unescape(found[1])


class Client:
    """One browser (or program) that asks an application."""

    def __init__(self, app: Starlette, *, address: str = "127.0.0.1", silent: bool = False, **headers: str) -> None:
        self.app, self.address, self.headers = app, address, {"host": "localhost", **headers}
        self.silent = silent  # says that there is a body, and never sends it
        self.cookies: dict[str, str] = {}

    def get(self, path: str, query: Mapping[str, Any] | None = None, **headers: str) -> Answer:
        return self.ask("GET", path + (f"?{urlencode(query, doseq=True)}" if query else ""), b"", headers)

    def post(self, path: str, fields: Mapping[str, Any] | None = None, **headers: str) -> Answer:
        """A form of our own page: it has the token, and the browser says where it is from."""
        if CSRF_COOKIE not in self.cookies:
            self.get("/login")
        form = {"csrf": self.cookies[CSRF_COOKIE], **(fields or {})}
        given = {"content-type": "application/x-www-form-urlencoded", "origin": f"http://{self.headers['host']}"}
        return self.ask("POST", path, urlencode(form, doseq=True).encode(), {**given, **headers})

    def call(self, method: str, path: str, value: Any = None, **headers: str) -> Answer:
        """A call of the API by a program."""
        body = b"" if value is None else json.dumps(value).encode()
        given = {"authorization": "Bearer none", "content-type": "application/json", **headers}
        return self.ask(method, "/api/v1" + path, body, given)

    def ask(self, method: str, path: str, body: bytes, headers: Mapping[str, str]) -> Answer:
        """Any request; header names have _ for -."""
        every = {name.lower().replace("_", "-"): value for name, value in {**self.headers, **headers}.items()}
        if self.cookies:
            every["cookie"] = "; ".join(f"{name}={value}" for name, value in self.cookies.items())
        sent: list[dict[str, Any]] = []

        unsent = [] if self.silent else [body]

        async def receive() -> dict[str, Any]:
            if not unsent:
                await asyncio.Event().wait()  # we stay until we have the answer
            return {"type": "http.request", "body": unsent.pop(), "more_body": False}

        async def send(message: Any) -> None:
            sent.append(message)

        from urllib.parse import unquote

        raw, _, query = path.partition("?")
        scope = {
            "type": "http", "http_version": "1.1", "scheme": "http", "method": method, "path": unquote(raw),
            "raw_path": quote(raw, safe="/%").encode(), "query_string": query.encode(), "root_path": "",
            "headers": [(name.encode(), value.encode("latin-1")) for name, value in every.items() if value],
            "client": (self.address, 50000), "server": ("127.0.0.1", 80),
        }  # fmt: skip
        asyncio.run(self.app(scope, receive, send))
        pairs = [(name.decode(), value.decode()) for name, value in sent[0]["headers"]]
        set_cookies = [value for name, value in pairs if name == "set-cookie"]
        for cookie in set_cookies:
            for name, morsel in SimpleCookie(cookie).items():
                self.cookies[name] = morsel.value
        return Answer(sent[0]["status"], dict(pairs), b"".join(part.get("body", b"") for part in sent[1:]), set_cookies)
