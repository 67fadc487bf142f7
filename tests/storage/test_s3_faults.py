"""An S3 that throttles, fails half-way through a listing, or refuses us: said in words, and made up for later."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import requests
import s3fs

from pyro_assets.app import App
from pyro_assets.errors import ObjectConflict, StorageUnavailable
from pyro_assets.operations import runs, ticks
from pyro_assets.planning.listing import Window, discover
from pyro_assets.storage.bucket import open_bucket
from pyro_assets.storage.keys import segment_key
from pyro_assets.storage.ulid import make_ulid
from tests.support import fakes
from tests.support.ledgers import HOUR, NOW_MS
from tests.support.s3_server import s3, s3_client, s3_endpoint
from tests.support.scripted_server import Reply, Request, ScriptedServer, scripted_server
from tests.support.worlds import World

__all__ = ["s3", "s3_client", "s3_endpoint"]

pytestmark = [pytest.mark.service, pytest.mark.usefixtures("s3_client")]

SLOW_DOWN = Reply(
    503,
    b"<Error><Code>SlowDown</Code><Message>Please reduce your request rate.</Message></Error>",
    {"Content-Type": "application/xml"},
)
DENIED = Reply(
    403,
    b"<Error><Code>InvalidAccessKeyId</Code><Message>The key does not exist in our records.</Message></Error>",
    {"Content-Type": "application/xml"},
)
NOT_IMPLEMENTED = Reply(
    501,
    b"<Error><Code>NotImplemented</Code><Message>A header is not implemented.</Message></Error>",
    {"Content-Type": "application/xml"},
)
PAGE = 10


class Proxy:
    """In front of the real server; `fault` may answer a request in its place."""

    def __init__(self, endpoint: str, server: ScriptedServer) -> None:
        self._endpoint = endpoint
        self._session = requests.Session()
        self.server = server
        self.fault: Callable[[Request], Reply | None] = lambda request: None
        self.faults = 0
        server.default = self._answer

    def _answer(self, request: Request) -> Reply:
        reply = self.fault(request)
        if reply is not None:
            self.faults += 1
            return reply
        headers = {name: value for name, value in request.headers.items() if name.lower() != "host"}
        answer = self._session.request(
            request.method, self._endpoint + request.path, headers=headers, data=request.body, timeout=30
        )
        kept = {
            name: value
            for name, value in answer.headers.items()
            if name.lower() in ("content-type", "content-range", "etag")
        }
        return Reply(answer.status_code, answer.content, kept)

    def close(self) -> None:
        self._session.close()


@pytest.fixture
def source(s3: str) -> str:
    """A bucket with 25 segments in shard 2 and 5 in shard 4, a second apart."""
    bucket = open_bucket(s3, writable=True)
    for shard, count in ((2, 25), (4, 5)):
        for second in range(count):
            key = segment_key(shard, make_ulid(NOW_MS - 40_000 + second * 1000, bytes(10)))
            bucket.create(key, b"acme 1")
    return s3


@pytest.fixture
def proxy(source: str, s3_endpoint: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Proxy]:
    with scripted_server() as server:
        made = Proxy(s3_endpoint, server)
        monkeypatch.setenv("AWS_ENDPOINT_URL", server.url)
        s3fs.S3FileSystem.clear_instance_cache()
        yield made
        made.close()
    s3fs.S3FileSystem.clear_instance_cache()


def second_page_of_shard_2(request: Request) -> Reply | None:
    is_it = "list-type=2" in request.path and "segments%2F2%2F" in request.path and "start-after=" in request.path
    return SLOW_DOWN if is_it else None


def look(url: str, cursors: dict[str, str] | None = None):
    return discover(open_bucket(url), "segments", cursors or {}, Window(NOW_MS, 60_000, PAGE))


def test_a_listing_that_is_throttled_half_way_keeps_what_it_has(source: str, proxy: Proxy) -> None:
    proxy.fault = second_page_of_shard_2
    found = look(source)
    assert sorted((item.block.shard, item.block.created_ms - NOW_MS) for item in found.found) == [
        *((2, -40_000 + second * 1000) for second in range(PAGE)),
        *((4, -40_000 + second * 1000) for second in range(5)),
    ]
    (failure,) = found.failures
    assert "SlowDown" in failure
    assert proxy.faults >= 1
    # The next one goes on from there.
    proxy.fault = lambda request: None
    again = look(source, found.cursors)
    assert (len({item.block.key for item in [*found.found, *again.found]}), again.failures) == (30, [])


def test_a_single_refusal_is_tried_again_at_once(source: str, proxy: Proxy) -> None:
    def once(request: Request) -> Reply | None:
        return SLOW_DOWN if "list-type=2" in request.path and proxy.faults == 0 else None

    proxy.fault = once
    found = look(source)
    assert (len(found.found), found.failures, proxy.faults) == (30, [], 1)


def test_a_connection_that_breaks_is_a_failure_of_its_listing_only(source: str, proxy: Proxy) -> None:
    def cut(request: Request) -> Reply | None:
        return Reply(cut=True) if "segments%2F4%2F" in request.path else None

    proxy.fault = cut
    found = look(source)
    assert {item.block.shard for item in found.found} == {2}
    assert len(found.failures) == 1


def test_a_store_without_conditional_writes_is_written_to_all_the_same(source: str, proxy: Proxy) -> None:
    def unknown(request: Request) -> Reply | None:
        conditional = {name.lower() for name in request.headers} & {"if-none-match"}
        return NOT_IMPLEMENTED if request.method == "PUT" and conditional else None

    proxy.fault = unknown
    bucket = open_bucket(source, True)
    assert bucket.create("commits/a.json", b"{}")
    assert proxy.faults >= 1
    assert not bucket.create("commits/a.json", b"{}")
    with pytest.raises(ObjectConflict):
        bucket.create("commits/a.json", b"other")
    assert bucket.read("commits/a.json") == b"{}"


def test_wrong_credentials_are_named(source: str, proxy: Proxy) -> None:
    proxy.fault = lambda request: DENIED
    with pytest.raises(StorageUnavailable, match="InvalidAccessKeyId"):
        open_bucket(source).list_after("segments/", "", 10)
    with pytest.raises(StorageUnavailable, match=r"InvalidAccessKeyId|PermissionError"):
        open_bucket(source).read(segment_key(2, make_ulid(NOW_MS - 40_000, bytes(10))))


def test_a_tick_says_so_and_the_next_one_finds_the_rest(source: str, proxy: Proxy, tmp_path: Path) -> None:
    world = World(tmp_path)
    try:
        config = fakes.TextConfig()
        pipeline = App(
            open_bucket(source), world.archive, world.ledger, world.settings, config, engine=world.engine.engine,
            clock=world.clock,
        )  # fmt: skip
        proxy.fault = lambda request: SLOW_DOWN if "segments%2F2%2F" in request.path else None
        first = ticks.tick(pipeline)
        assert (sum(hour.objects for hour in first.arrivals.values()), len(first.failures)) == (5, 1)
        assert "SlowDown" in first.failures[0]
        proxy.fault = lambda request: None
        second = ticks.tick(pipeline)
        assert (sum(hour.objects for hour in second.arrivals.values()), second.failures) == (25, ())
        runs.run(pipeline, [HOUR], run_id="run")
        assert world.archived_values() == [(b"acme", 1)] * 30
    finally:
        world.ledger.close()
