"""The page Quarantine on a pipeline in memory: list, details, and decisions that take effect and are recorded."""

from pathlib import Path

import pytest

from pyro_assets.errors import SeriesError, StorageUnavailable
from pyro_assets.ledger.decisions import DecisionRecords
from pyro_assets.operations import ticks
from pyro_assets.web.app import make_app
from pyro_assets.web.wire.access import Access
from tests.support.web_client import Answer, Client, site_of
from tests.support.worlds import World

HOSTILE = '"><script>alert(1)</script>\u202e'


@pytest.fixture
def world(tmp_path: Path) -> World:
    """A job of two sources that was given up, one segment set aside, one lost."""
    world = World(tmp_path)
    world.segment(0)
    world.segment(1, "broken")
    gone = world.segment(2)
    ticks.tick(world.pipeline)
    del world.source.objects[gone]
    world.clock.forward(10)
    world.tick_and_run()
    world.segment(20, shard=5)
    world.segment(21, shard=5, salt=1)
    world.engine.fail["compact"] = SeriesError(HOSTILE)
    for _ in range(5):
        world.clock.forward(600)
        world.tick_and_run()
    del world.engine.fail["compact"]
    return world


@pytest.fixture
def client(world: World) -> Client:
    return Client(make_app(site_of(world.pipeline)))


def named(client: Client) -> dict[str, str]:
    """State -> name of what is listed."""
    return {one["state"]: one["name"] for one in client.call("GET", "/quarantine").json["items"]}


def decide(client: Client, action: str, *names: str, why: str = "because", **more: str) -> Answer:
    asked = client.post("/quarantine/confirm", {"action": action, "name": list(names)})
    assert asked.status == 200
    assert all(name in asked.text for name in names)
    return client.post("/quarantine/decide", {"action": action, "name": list(names), "why": why} | more)


def test_the_list_and_the_details(client: Client):
    names = named(client)
    assert names.keys() == {"given up", "set_aside", "lost"}
    page = client.get("/quarantine")
    assert "3, the first failures first" in page.words
    assert "ChecksumMismatch" in page.words
    assert "<script>" not in page.text
    job = client.get("/quarantine/item", {"name": names["given up"]})
    # The whole error is there, as text.
    assert "&lt;script&gt;alert(1)&lt;/script&gt;\\u202e" in job.text
    assert "Its 2 segments" in job.words
    segment = client.get("/quarantine/item", {"name": names["set_aside"]})
    assert f"pyro-assets verify {names['set_aside']}" in segment.words
    assert "text, byte 4" in segment.words
    found = client.call("GET", f"/quarantine/item?name={names['set_aside']}").json
    assert found["item"]["failure"]["offset"] == 4
    assert client.get("/quarantine/item", {"name": HOSTILE}).status == 404
    assert client.get("/quarantine", {"hour": "2026-01-01 00:00"}).words.count("Nothing here") == 1
    assert client.get("/quarantine", {"hour": "soon"}).status == 400


def test_retry_a_job_and_a_segment(client: Client, world: World):
    names = named(client)
    world.source.objects[names["lost"]] = b"acme 7"
    page = decide(client, "retry", names["given up"], names["lost"], why="restored")
    assert page.words.count("waits for the next run") == 2
    world.clock.forward(600)
    report = world.tick_and_run()
    assert not report.run.failed
    assert named(client).keys() == {"set_aside"}
    assert {
        (one.action, one.subject, one.author, one.why) for one in DecisionRecords(world.ledger).past_decisions()
    } == {
        ("retry", names["given up"], "tester", "restored"),
        ("retry", names["lost"], "tester", "restored"),
    }
    assert "restored" in client.get("/quarantine").words


def test_release(client: Client, world: World):
    job = named(client)["given up"]
    assert "split into 2 jobs" in decide(client, "release", job).words
    world.clock.forward(600)
    assert world.tick_and_run().jobs_by_state["split"] == 1
    assert "given up" not in named(client)


def test_forget(client: Client, world: World):
    names = named(client)
    page = decide(client, "forget", *names.values())
    assert page.words.count("no longer listed") == 2
    assert "2 sources are left out for good" in page.words
    assert named(client) == {}
    assert "Nothing is missing" in client.get("/quarantine").words
    everything = client.get("/quarantine", {"all": "1"})
    assert everything.words.count("forgotten") >= 4
    # A commit record remembers it.
    assert any("forgotten by a person" in str(record) for record in world.records())


def test_what_cannot_be_decided_changes_nothing(client: Client, world: World):
    names = named(client)
    refused = decide(client, "release", names["set_aside"])
    assert refused.status == 409
    assert "only jobs are released" in refused.words
    # One that cannot be decided does not hold up the rest.
    both = decide(client, "retry", "unknown-job", names["given up"])
    assert both.status == 200
    assert "only what was given up can be tried again" in both.words
    for fields in (
        {"action": "remove", "name": names["lost"]},
        {"action": "retry"},
        {"action": "release", "name": "x", "parts": "1"},
        {"action": "release", "name": "x", "parts": "few"},
        {"action": "retry", "name": [str(number) for number in range(201)]},
    ):
        assert client.post("/quarantine/decide", fields).status == 400
    assert client.ask("POST", "/quarantine/decide", b"action=forget&name=" + names["lost"].encode(), {}).status == 403
    assert names["lost"] in named(client).values()


def test_an_archive_that_does_not_answer(client: Client, world: World):
    def unavailable(method: str, key: str) -> None:
        raise StorageUnavailable("the archive does not answer", key=key)

    name = named(client)["given up"]
    world.archive.before = unavailable
    page = decide(client, "release", name)
    assert page.status == 409
    assert "the archive does not answer" in page.words
    world.archive.before = None
    assert named(client)["given up"] == name
    assert DecisionRecords(world.ledger).past_decisions() == []


def test_programs(client: Client):
    names = named(client)
    done = client.call("POST", "/quarantine/decide", {"action": "forget", "names": [names["lost"]], "why": "gone"})
    assert done.json == {"outcomes": [{"name": names["lost"], "done": True, "text": "no longer listed"}]}
    again = client.call("POST", "/quarantine/decide", {"action": "release", "names": [names["lost"]]})
    assert again.status == 409
    assert client.call("POST", "/quarantine/decide", {"action": "burn", "names": ["x"]}).status == 422
    assert client.call("POST", "/quarantine/decide", {"action": "retry", "names": []}).status == 400


def test_read_only(world: World):
    client = Client(make_app(site_of(world.pipeline, access=Access(read_only=True))))
    assert "checkbox" not in client.get("/quarantine").text.partition("<table")[2]
    name = named(client)["lost"]
    assert client.post("/quarantine/decide", {"action": "forget", "name": name}).status == 403
    assert "Retry…" not in client.get("/quarantine/item", {"name": name}).words
