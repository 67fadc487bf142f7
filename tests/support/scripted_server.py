"""A receiver that answers as it is told, for answers that real ones give rarely; and a clock that does not wait.

A script is a list of answers, given in order; then `default` answers. An answer is a status, an `Reply`, or a function
of the request that returns one of these.
"""

import datetime
import ipaddress
import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.support.remote_write import DecodedSeries, decode_body


@dataclass(frozen=True)
class Reply:
    """An answer; `cut` closes the connection instead of giving it.

    `trickle` goes on after it for ever, so fast that no single read takes long: "headers", "body", or "continue" before
    it, whatever the status.
    """

    status: int = 204
    body: bytes = b""
    headers: dict[str, str] = field(default_factory=dict)
    cut: bool = False
    trickle: str = ""


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
    stopped: threading.Event = field(default_factory=threading.Event)

    def answer(self, request: Request) -> Reply:
        """Take the next answer of the script."""
        self.requests.append(request)
        answer = self.script.pop(0) if self.script else self.default
        if callable(answer):
            answer = answer(request)
        return Reply(answer) if isinstance(answer, int) else answer


@contextmanager
def serving(handler: type[BaseHTTPRequestHandler], certificate: Path | None = None) -> Iterator[str]:
    """Serves on a free port, each request in a thread of its own; gives the address. A certificate: over TLS."""
    http = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    http.daemon_threads = True
    if certificate is not None:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        http.socket = context.wrap_socket(http.socket, server_side=True)
    thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    try:
        yield f"http{'s' if certificate else ''}://127.0.0.1:{http.server_port}"
    finally:
        http.shutdown()
        http.server_close()
        thread.join()


@contextmanager
def scripted_server(
    *script: Answering, default: Answering = 204, certificate: Path | None = None
) -> Iterator[ScriptedServer]:
    """Start it, and stop it at the end."""
    server = ScriptedServer(script=list(script), default=default)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"
        disable_nagle_algorithm = True  # head and body are written apart: an answer would wait 40 ms for an ACK

        def handle_any(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            reply = server.answer(Request(self.command, self.path, dict(self.headers.items()), body))
            if reply.cut:
                self.close_connection = True
                return
            if reply.trickle:
                self.close_connection = True
                self.trickle(reply)
                return
            self.send_response(reply.status)
            for name, value in reply.headers.items():
                self.send_header(name, value)
            if reply.status != 204:
                self.send_header("Content-Length", str(len(reply.body)))
            self.end_headers()
            self.wfile.write(reply.body)

        def trickle(self, reply: Reply) -> None:
            head = f"HTTP/1.1 {reply.status} x\r\n".encode()
            first, drop = {
                "headers": (head, b"X-A: b"),
                "body": (head + b"Content-Length: 1000000\r\n\r\n" + reply.body, b"a"),
                "continue": (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
            }[reply.trickle]
            try:
                self.connection.sendall(first)
                while not server.stopped.wait(0.02):
                    self.connection.sendall(drop)
            except OSError:
                return  # the client has gone, which is what it shall do

        do_GET = do_HEAD = do_PUT = do_POST = handle_any  # noqa: N815 - names that http.server looks for

        def log_message(self, *_: Any) -> None:
            pass

    with serving(Handler, certificate) as url:
        server.url = url
        try:
            yield server
        finally:
            server.stopped.set()


def own_certificate(folder: Path) -> Path:
    """A certificate of 127.0.0.1 that nobody signed but itself, and its key, in one file."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.UTC)
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]), critical=False)
        .sign(key, hashes.SHA256())
    )
    pem = serialization.Encoding.PEM
    plain = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    path = folder / "server.pem"
    path.write_bytes(certificate.public_bytes(pem) + plain)
    return path


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
