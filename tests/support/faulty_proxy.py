"""A proxy before a real server of S3's protocol that errs where a test says so: what real stores do rarely.

A fault looks at a request and answers it, or changes the answer's body, or leaves it alone. Only reading goes through
it; tests write to the server itself.
"""

import http.client
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any
from urllib.parse import urlsplit

from tests.support.scripted_server import Reply, serving

#: Told method and path with its query; a Reply is given instead of the server's answer, a function changes its body.
Fault = Callable[[str, str], "Reply | Callable[[bytes], bytes] | None"]


@dataclass
class FaultyProxy:
    """A proxy on a free port of this machine.

    Attributes:
        url: its endpoint.
        fault: asked for every request.
        requests: "METHOD path" of each; headers: of each.
    """

    url: str = ""
    fault: Fault = lambda _method, _path: None
    requests: list[str] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)

    def first(self, times: int, matches: str, reply: "Reply | Callable[[bytes], bytes]") -> None:
        """Errs at the first so many GET requests whose path has this in it."""
        left = [times]

        def fault(method: str, path: str) -> "Reply | Callable[[bytes], bytes] | None":
            if method == "GET" and matches in path and left[0] > 0:
                left[0] -= 1
                return reply
            return None

        self.fault = fault


def error_reply(status: int, code: str) -> Reply:
    """An error as S3 says it."""
    text = f'<?xml version="1.0"?><Error><Code>{code}</Code><Message>{code} on purpose</Message></Error>'
    return Reply(status, text.encode(), {"Content-Type": "application/xml"})


@contextmanager
def faulty_proxy(target: str) -> Iterator[FaultyProxy]:
    """Start it before the server at `target`, and stop it at the end."""
    proxy = FaultyProxy()
    parts = urlsplit(target)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle_any(self) -> None:
            proxy.requests.append(f"{self.command} {self.path}")
            proxy.headers.append({name.lower(): value for name, value in self.headers.items()})
            fault = proxy.fault(self.command, self.path)
            if isinstance(fault, Reply):
                self._answer(fault.status, fault.headers, fault.body)
                return
            connection = http.client.HTTPConnection(parts.hostname or "", parts.port or 80, timeout=30)
            connection.request(self.command, self.path, headers=dict(self.headers.items()))
            answer = connection.getresponse()
            body = answer.read()
            connection.close()
            hop = {"content-length", "transfer-encoding", "connection", "date", "server"}
            headers = {name: value for name, value in answer.getheaders() if name.lower() not in hop}
            if fault is not None:
                # The client would see by these that the body is another one, and not show it to us.
                headers = {name: value for name, value in headers.items() if "checksum" not in name.lower()}
            length = answer.getheader("Content-Length") if self.command == "HEAD" else None
            self._answer(answer.status, headers, body if fault is None else fault(body), length)

        def _answer(self, status: int, headers: dict[str, str], body: bytes, length: str | None = None) -> None:
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", length or str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_HEAD = handle_any  # noqa: N815 - names that http.server looks for

        def log_message(self, *_: Any) -> None:
            pass

    with serving(Handler) as url:
        proxy.url = url
        yield proxy
