"""The call of remote read: who may ask, as whom, and what is said to those who may not; anything may be sent to it."""

import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cramjam
import pytest

from pyro_assets.app import App
from pyro_assets.explore.remote_read import prompb_pb2 as pb
from pyro_assets.explore.remote_read.answer import ReadAnswer
from pyro_assets.receivers.model import Receiver
from pyro_assets.web.app import make_app
from pyro_assets.web.wire.access import Access
from tests.support.exports import config, derive, expected, opened
from tests.support.remote_reads import NAME, body, decoded, query
from tests.support.web_client import Answer, Client, site_of

TOKEN = "0123456789abcdef"
PATH = "/api/v1/read"


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, App]]:
    folder = tmp_path_factory.mktemp("read")
    receiver = Receiver(name="here", url="http://127.0.0.1/", kind="prometheus", labels={"cluster": "c"})
    with opened(folder, receiver, series=config(functions=["main.fibonacci"])) as pipeline:
        derive(pipeline)
        yield folder, pipeline


def read(pipeline: App, data: bytes, path: str = PATH, access: Access | None = None, **headers: str) -> Answer:
    """What a Prometheus gets."""
    given = {"content_type": "application/x-protobuf", "content_encoding": "snappy", **headers}
    return Client(make_app(site_of(pipeline, access=access))).ask("POST", path, data, given)


def found(answer: Answer) -> dict[Any, Any]:
    assert answer.status == 200, answer.text
    headers = {name.title(): value for name, value in answer.headers.items()}
    (series,) = decoded(ReadAnswer(headers, iter([answer.body]), 0, 0))
    return series


@pytest.mark.parametrize("accepts", [pb.ReadRequest.SAMPLES, pb.ReadRequest.STREAMED_XOR_CHUNKS])
def test_everything_is_read(world: tuple[Path, App], accepts: int):
    folder, pipeline = world
    assert found(read(pipeline, body(query(), accepts=[accepts]))) == expected(folder)


def test_who_reads_is_asked_as_everywhere(world: tuple[Path, App]):
    _, pipeline = world
    access = Access(token=TOKEN, read_only=True)
    assert read(pipeline, body(query()), access=access).status == 401
    assert read(pipeline, body(query()), access=access, authorization="Bearer 0123456789abcdeX").status == 401
    assert found(read(pipeline, body(query()), access=access, authorization=f"Bearer {TOKEN}"))
    # Reading needs no token of forms; another page's script is refused all the same.
    assert found(read(pipeline, body(query()), access=Access(read_only=True)))
    for headers in (
        {"origin": "http://elsewhere.example"},
        {"sec_fetch_site": "cross-site"},
        {"content_type": "text/plain"},
    ):
        assert read(pipeline, body(query()), **headers).status == 403


def test_series_are_those_of_a_receiver_or_tenant(world: tuple[Path, App]):
    _, pipeline = world
    every = found(read(pipeline, body(query())))
    here = found(read(pipeline, body(query()), PATH + "?receiver=here"))
    assert {tuple(sorted([*labels, ("cluster", "c")])): samples for labels, samples in every.items()} == here
    acme = found(read(pipeline, body(query()), x_scope_orgid="acme"))
    assert acme == {
        tuple(pair for pair in labels if pair[0] != "tenant"): samples
        for labels, samples in every.items()
        if ("tenant", "acme") in labels
    }
    # A receiver that tells tenants apart by their label goes on doing so.
    both = found(read(pipeline, body(query()), PATH + "?receiver=here", x_scope_orgid="acme"))
    assert both == {labels: samples for labels, samples in here.items() if ("tenant", "acme") in labels}


def test_what_cannot_be_answered_says_why(world: tuple[Path, App]):
    _, pipeline = world
    nobody = read(pipeline, body(query()), PATH + "?receiver=nobody")
    assert (nobody.status, nobody.json["error"]) == (404, "there is no receiver 'nobody'; there are: here")
    bad = read(pipeline, b"{}")
    assert (bad.status, "snappy" in bad.json["error"]) == (400, True)
    wrong = read(pipeline, body(query((NAME, "=~", "("))))
    assert (wrong.status, "missing )" in wrong.json["error"]) == (400, True)
    assert read(pipeline, bytes(600 << 10)).status == 413
    assert Client(make_app(site_of(pipeline))).get(PATH).status == 405


def test_whatever_is_sent_is_answered_or_refused(world: tuple[Path, App]):
    """Mutants of requests, and of what is inside of them, end in an answer or in a 4xx that says why."""
    _, pipeline = world
    client = Client(make_app(site_of(pipeline)))
    chance = random.Random(12)
    good = [
        body(query((NAME, "=~", "py.*"), ("pod", "!=", "x"), func="rate", step_ms=1000, grouping=["a"]), query()),
        body(query(("tenant", "!~", "a|b"), span=(0, 2**60), func="series"), accepts=[0]),
    ]
    outcomes: dict[int, int] = {}
    for number in range(400):
        data = bytearray(chance.choice(good))
        inside = number % 2
        if inside:
            data = bytearray(bytes(cramjam.snappy.decompress_raw(bytes(data))))
        for _ in range(chance.randint(1, 4)):
            at = chance.randrange(len(data))
            match chance.randrange(4):
                case 0:
                    data[at] = chance.randrange(256)
                case 1:
                    del data[at : at + chance.randint(1, 5)]
                case 2:
                    data[at:at] = chance.randbytes(chance.randint(1, 5))
                case _:
                    data[at:at] = data[: chance.randint(1, 30)]
            data = data or bytearray(b"\0")
        sent = bytes(cramjam.snappy.compress_raw(bytes(data))) if inside else bytes(data)
        answer = client.ask("POST", PATH, sent, {"content_type": "application/x-protobuf"})
        outcomes[answer.status] = outcomes.get(answer.status, 0) + 1
        assert answer.status in (200, 400, 422), (number, answer.status, answer.text)
        assert answer.status == 200 or answer.json["error"]
    assert min(outcomes[200], outcomes[400]) > 5, outcomes
