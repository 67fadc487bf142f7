"""`/pyroscope/render` and `/pyroscope/render-diff`: times, units, refusals; what a real server drew is next door."""

from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyro_assets.app import App
from pyro_assets.web.app import make_app
from tests.support.exports import derive, opened
from tests.support.pyroscope_exchanges import paths_of
from tests.support.web_client import Client, site_of

CPU = "process_cpu:cpu:nanoseconds:cpu:nanoseconds"
START, END = 1_795_600_200_000, 1_795_600_500_000


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    with opened(tmp_path_factory.mktemp("render")) as made:
        derive(made)
        yield made


def render(pipeline: App, path: str = "/pyroscope/render", now_ms: int = END, **query: Any) -> Any:
    client = Client(make_app(site_of(pipeline, clock=lambda: now_ms)))
    given = {name.replace("_", "-"): value for name, value in query.items()}
    return client.get(path, given, x_scope_orgid="acme")


def test_times_in_every_form_mean_the_same(pipeline: App):
    wanted = render(pipeline, query=CPU + "{}", **{"from": START, "until": END}).json
    assert wanted["flamebearer"]["numTicks"] > 0
    for begin, end in ((START // 1000, END // 1000), ("now-5m", "now"), ("now-300s", ""), ("now-300000ms", END)):
        assert render(pipeline, query=CPU + "{}", **{"from": begin, "until": end}).json == wanted


@pytest.mark.parametrize(
    ("kind", "units", "rate"),
    [
        (CPU, "samples", 1_000_000_000),
        ("memory:alloc_objects:count:space:bytes", "objects", 100),
        ("memory:inuse_space:bytes:space:bytes", "bytes", 100),
        ("mutex:delay:nanoseconds:contentions:count", "nanoseconds", 100),
    ],
)
def test_units(pipeline: App, kind: str, units: str, rate: int):
    found = render(pipeline, query=kind + "{}", **{"from": START, "until": END}).json["metadata"]
    assert (found["units"], found["sampleRate"], found["name"]) == (units, rate, kind.split(":")[1])


def test_a_long_timeline_has_longer_steps(pipeline: App):
    found = render(pipeline, query=CPU + "{}", **{"from": "now-30d", "until": "now"}).json
    timeline = found["timeline"]
    assert timeline["durationDelta"] == 30 * 86_400 // 1500
    assert len(timeline["samples"]) == 1500
    assert sum(timeline["samples"]) == found["flamebearer"]["numTicks"]


@pytest.mark.parametrize(
    ("query", "status", "words"),
    [
        ({"query": "bad"}, 400, 'failed to parse "query"'),
        ({}, 400, 'failed to parse "query"'),
        ({"query": "a{}"}, 400, "profile-type selection must be of the form"),
        ({"query": CPU + "{"}, 400, "parsing label selector"),
        ({"query": CPU + "{}", "from": "yesterday"}, 400, "'yesterday' is no time"),
        ({"query": CPU + "{}", "from": "now", "until": "now-1h"}, 400, "after end time"),
        ({"query": CPU + "{}", "max_nodes": "many"}, 400, "'many' is no whole number"),
        ({"query": CPU + "{}", "format": "dot"}, 501, "'dot' is not offered"),
    ],
)
def test_refusals(pipeline: App, query: dict[str, Any], status: int, words: str):
    answer = render(pipeline, **{"from": "now-1h", "until": "now"} | query)
    assert answer.status == status
    assert words in answer.json["message"]


@given(st.dictionaries(st.sampled_from(["query", "from", "until", "max-nodes", "format"]), st.text(max_size=12)))
def test_whatever_is_asked_is_answered(pipeline: App, query: dict[str, str]):
    for path in ("/pyroscope/render", "/pyroscope/render-diff"):
        answer = render(pipeline, path, **query)
        assert answer.status in (400, 501)
        assert set(answer.json) == {"code", "message"}


def test_a_diff_has_both_sides(pipeline: App):
    half = (START + END) // 2
    sides = {
        "leftQuery": CPU + "{}", "leftFrom": START, "leftUntil": half,
        "rightQuery": CPU + '{service_name="checkout"}', "rightFrom": START, "rightUntil": END,
    }  # fmt: skip
    found = render(pipeline, "/pyroscope/render-diff", **sides).json
    left, right = (
        render(pipeline, query=sides[f"{one}Query"], **{"from": sides[f"{one}From"], "until": sides[f"{one}Until"]})
        .json["flamebearer"]["numTicks"]
        for one in ("left", "right")
    )  # fmt: skip
    assert (found["leftTicks"], found["rightTicks"]) == (left, right)
    assert found["metadata"]["format"] == "double"
    paths = paths_of(found["flamebearer"]["names"], found["flamebearer"]["levels"], width=7)
    assert paths["total",] == (left, right, 0, 0)
    assert all(total[0] >= total[2] >= 0 and total[1] >= total[3] >= 0 for total in paths.values())
