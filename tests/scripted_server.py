"""A receiver that answers as it is told, for answers that real ones give rarely; and a clock that does not wait.

A script is a list of answers, given in order; then `default` answers. An answer is a status, an `Reply`, or a function
of the request that returns one of these.
"""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from remote_write import DecodedSeries, decode_body


@dataclass(frozen=True)
class Reply:
    """An answer; `cut` closes the connection instead of giving it."""

    status: int = 204
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    cut: bool = False


@dataclass(frozen=True)
class Request:
    """What arrived."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def series(self) -> list[DecodedSeries]:
        """The series of a remote write request."""
        return decode_body(self.body)


Answering = int | Reply | Callable[[Request], "int | Reply"]


@dataclass
class ScriptedServer:
    """A server on a free port of this machine."""

    url: str = ""
    script: list[Answering] = field(default_factory=list)
    default: Answering = 204
    requests: list[Request] = field(default_factory=list)

    def answer(self, request: Request) -> Reply:
        """Take the next answer of the script."""
        self.requests.append(request)
        answer = self.script.pop(0) if self.script else self.default
        if callable(answer):
            answer = answer(request)
        return Reply(answer) if isinstance(answer, int) else answer


@contextmanager
def serving(handler: type[BaseHTTPRequestHandler]) -> Iterator[str]:
    """Serves on a free port, each request in a thread of its own; gives the address."""
    http = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    http.daemon_threads = True
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{http.server_port}"
    finally:
        http.shutdown()
        http.server_close()
        thread.join()


@contextmanager
def scripted_server(*script: Answering, default: Answering = 204) -> Iterator[ScriptedServer]:
    """Start it, and stop it at the end."""
    server = ScriptedServer(script=list(script), default=default)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle_any(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            reply = server.answer(Request(self.command, self.path, dict(self.headers.items()), body))
            if reply.cut:
                self.close_connection = True
                return
            self.send_response(reply.status)
            for name, value in reply.headers.items():
                self.send_header(name, value)
            if reply.status != 204:
                self.send_header("Content-Length", str(len(reply.body)))
            self.end_headers()
            self.wfile.write(reply.body)

        do_GET = do_POST = handle_any  # noqa: N815 - names that http.server looks for

        def log_message(self, *_: Any) -> None:
            pass

    with serving(Handler) as url:
        server.url = url
        yield server


class FakeClock:
    """Time that passes only by sleeping; `slept` lists how long."""

    def __init__(self, now_seconds: float = 1_795_600_000.0) -> None:
        self.now = now_seconds
        self.slept: list[float] = []

    def time(self) -> float:
        return self.now

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds
