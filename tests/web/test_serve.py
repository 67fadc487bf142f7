"""The server of the pages: connections that ask nothing end, and health never waits behind those who read."""

import http.client
import socket
import threading
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from urllib.parse import urlsplit

import pytest

from pyro_assets.app import App
from pyro_assets.web.site import Site
from pyro_assets.web.wire.turns import Turns
from tests.support.browser import served
from tests.support.exports import derive, opened
from tests.support.web_client import site_of

SECONDS = 20.0


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    with opened(tmp_path_factory.mktemp("serve")) as pipeline:
        derive(pipeline)
        yield pipeline


@pytest.fixture
def site(pipeline: App) -> Site:
    return site_of(pipeline)


@pytest.fixture
def hurried(site: Site) -> Iterator[str]:
    """The host and port of a server with little patience."""
    with served(site, head_seconds=0.1, request_seconds=0.2) as url:
        yield urlsplit(url).netloc


def connect(netloc: str) -> socket.socket:
    host, port = netloc.split(":")
    return socket.create_connection((host, int(port)), timeout=SECONDS)


def is_ended(connection: socket.socket) -> bool:
    """Whether the server ends the connection without an answer; waits for it."""
    try:
        return connection.recv(1) == b""
    except ConnectionResetError:
        return True


@pytest.mark.parametrize("sent", [b"", b"GET /healthz HTT", b"GET /healthz HTTP/1.1\r\nHost: localhost\r\nX-Long: a"])
def test_a_half_open_connection_ends(hurried: str, sent: bytes):
    with connect(hurried) as connection:
        connection.sendall(sent)
        assert is_ended(connection)


def test_a_head_that_trickles_ends(hurried: str):
    ended = threading.Event()

    def trickle(connection: socket.socket) -> None:
        try:
            connection.sendall(b"GET /healthz HTTP/1.1\r\nX-Long: ")
            while not ended.wait(0.01):
                connection.sendall(b"a")
        except OSError:
            pass  # it ended, which is what the test asks for below

    with connect(hurried) as connection, ThreadPoolExecutor(1) as pool:
        pool.submit(trickle, connection)
        try:
            assert is_ended(connection)
        finally:
            ended.set()


def test_a_request_that_is_never_answered_ends(site: Site, hurried: str):
    free = threading.Event()
    site.metrics.collect = lambda: free.wait(SECONDS) and []  # type: ignore[method-assign,assignment,func-returns-value]
    try:
        with connect(hurried) as connection:
            connection.sendall(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n")
            assert is_ended(connection)
    finally:
        free.set()


def test_a_connection_is_used_again(site: Site):
    with served(site) as url:
        connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=SECONDS)
        for _ in range(3):
            connection.request("GET", "/healthz", headers={"Host": "localhost"})
            assert connection.getresponse().read() == b"ok\n"
        connection.close()


def test_health_and_metrics_do_not_wait_behind_eighty_readers(site: Site):
    site.reading = Turns(2, waiting=8, wait_seconds=SECONDS)

    def get(path: str) -> tuple[int, str | None]:
        connection = http.client.HTTPConnection(urlsplit(url).netloc, timeout=60)
        try:
            connection.request("GET", path, headers={"Host": "localhost"})
            answer = connection.getresponse()
            answer.read()
            return answer.status, answer.headers.get("Retry-After")
        finally:
            connection.close()

    with served(site) as url, ThreadPoolExecutor(80) as pool:
        with ExitStack() as readers:
            readers.enter_context(site.reading.take())
            readers.enter_context(site.reading.take())
            asked = [pool.submit(get, "/explore") for _ in range(80)]
            # All who find no place are told soon; the others still wait when these are answered.
            refused = [one for one in asked if one.done()]
            while len(refused) < 72:
                assert get("/healthz") == (200, None)
                assert get("/metrics")[0] == 200
                refused = [one for one in asked if one.done()]
            assert {one.result() for one in refused} == {(503, "20")}
            assert len(refused) == 72
        assert Counter(one.result()[0] for one in asked) == {503: 72, 200: 8}


def test_the_port_is_said_when_requests_are_answered(site: Site):
    with served(site) as url, connect(urlsplit(url).netloc) as connection:
        connection.sendall(b"GET /healthz HTTP/1.0\r\nHost: localhost\r\n\r\n")
        assert connection.recv(1000).startswith(b"HTTP/1.1 200")
