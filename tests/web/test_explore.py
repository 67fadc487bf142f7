"""The page Explore and its API over three real jobs: figures, links, filters, what is empty, what is wrong."""

import gzip
import html
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import numpy as np
import pytest

from pyro_assets.app import App
from pyro_assets.explore.call_tree import TreeBuilder
from pyro_assets.explore.over_time import Timeline
from pyro_assets.explore.profiles import Choices, Explored, Explorer, Moment, Question
from pyro_assets.explore.pyroscope.messages.profile_pb2 import Profile
from pyro_assets.operations import ticks
from pyro_assets.rules.config import DEFAULT_GAUGES
from pyro_assets.storage.shown import show_bytes
from pyro_assets.web.app import make_app
from pyro_assets.web.explore.asked import ExploreForm, with_label
from pyro_assets.web.wire.access import Access
from pyro_assets.web.wire.turns import Turns
from tests.support.exports import HOUR, derive, opened
from tests.support.series_jobs import job, profile, sample
from tests.support.web_client import Answer, Client, site_of

CPU = "process_cpu:cpu:nanoseconds:cpu:nanoseconds"
INUSE = "memory:inuse_space:bytes:space:bytes"


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    with opened(tmp_path_factory.mktemp("explore")) as made:
        derive(made)
        yield made


@pytest.fixture(scope="module")
def client(pipeline: App) -> Client:
    return Client(make_app(site_of(pipeline)))


def known(pipeline: App, kind: str = CPU, selector: str = "{}") -> Explored:
    return Explorer(pipeline.archive, pipeline.ledger).explore(
        Question("acme", kind, (HOUR,), selector, 60.0), DEFAULT_GAUGES
    )


def links(page: Answer, inside: str) -> list[str]:
    """The addresses of a page that contain a text."""
    return [one for one in map(html.unescape, re.findall(r'href="([^"]*)"', page.text)) if inside in one]


def rows(page: Answer) -> list[str]:
    """The functions of the table, in its order."""
    found = re.findall(r'<th scope="row" class="name"><a[^>]*><bdi><code>(.*?)</code>', page.text)
    return [html.unescape(one.replace("<wbr>", "")) for one in found]


@pytest.mark.parametrize("expression", [".{0,99}" * 20 + "!", ":?" * 64 + ":" * 64, "(.*)*!"])
def test_an_expression_that_hangs_pythons_re_is_answered(client: Client, expression: str):
    page = client.get("/explore", {"selector": f'{{__profile_type__=~"{expression}"}}'})
    assert page.status == 200
    assert not rows(page)


def test_it_begins_with_cpu_of_the_last_hour(client: Client, pipeline: App):
    page = client.get("/")
    found = known(pipeline)
    order = sorted(
        range(len(found.tree.names)),
        key=lambda place: (-found.own[place], -found.totals[place], found.tree.names[place]),
    )
    assert page.status == 200
    assert rows(page) == [found.tree.names[place] for place in order[:30]]
    assert f"{len(found.tree.names)} functions" in page.words.replace("of ", "")
    assert f"profiles {found.profiles} " in page.words
    assert "CPU time, mean over" in page.words
    assert " cores" in page.words
    assert rows(client.get("/explore")) == rows(page)
    assert not re.search(r"\sstyle=|<script(?! src=\"/static/pages.js\")", page.text)


def test_sorting_and_searching(client: Client, pipeline: App):
    found = known(pipeline)
    page = client.get("/explore", {"sort": "total", "rows": 5})
    order = sorted(
        range(len(found.tree.names)),
        key=lambda place: (-found.totals[place], -found.own[place], found.tree.names[place]),
    )
    assert rows(page) == [found.tree.names[place] for place in order[:5]]
    assert "aria-sort=descending" in page.text
    matching = {name for name in found.tree.names if "runtime." in name}
    page = client.get("/explore", {"search": "RunTime.", "rows": 1000})
    assert set(rows(page)) == matching
    assert f"{len(matching)} of {len(matching)} functions that contain" in page.words
    assert "No function of these profiles contains" in client.get("/explore", {"search": "nowhere<b>"}).words
    assert "<b>" not in client.get("/explore", {"search": "nowhere<b>"}).text


def test_every_frame_leads_to_itself(client: Client, pipeline: App):
    found = known(pipeline)
    frames = [one for one in links(client.get("/explore"), "#flame") if "at=" in one]
    assert len(frames) > 20
    for address in frames[:40:8]:
        at = parse_qs(urlsplit(address).query)["at"][0]
        node = found.tree.find(int(at, 16))
        assert node is not None
        page = client.get(address.partition("#")[0])
        assert f"{found.tree.text(node)}" in page.words
        assert "Up to the caller" in page.words
        crumbs = re.search(r'<nav class="crumbs".*?</nav>', page.text, re.DOTALL)
        assert crumbs is not None
        assert crumbs[0].count("<a ") == found.tree.depth[node]
    lost = client.get("/explore", {"at": "123"})
    assert "is on no stack of these profiles" in lost.words
    assert client.get("/explore", {"at": "x<y"}).status == 400


def test_a_rule_is_one_link_away(client: Client):
    page = client.get("/explore", {"service": "ride-sharing-app", "selector": 'pod!=""', "search": "main."})
    address = links(page, "/rules/new?")[0]
    query = parse_qs(urlsplit(address).query)
    assert query == {
        "function": [rows(page)[0]],
        "selector": ['{service_name="ride-sharing-app", pod!=""}'],
        "tenant": ["acme"],
        "profile_type": [CPU],
        "last": ["1h"],
    }
    form = client.get(address)
    assert form.status == 200
    assert rows(page)[0] in html.unescape(form.text)
    assert CPU in form.text


def test_downloads_hold_what_the_page_shows(client: Client, pipeline: App):
    found = known(pipeline)
    folded = client.get("/explore/download/folded")
    assert folded.headers["content-disposition"] == "attachment; filename*=UTF-8''all-process_cpu-cpu.txt"
    stacks = [line.rpartition(" ") for line in folded.text.splitlines()]
    assert sum(int(value) for *_, value in stacks) == found.total
    assert {name for stack, *_ in stacks for name in stack.split(";")} - {"(no function)", "(no stack)"} <= set(
        found.tree.names
    )
    answer = client.get("/explore/download/pprof", {"service": "ride-sharing-app"})
    profile = Profile.FromString(gzip.decompress(answer.body))
    assert "ride-sharing-app" in answer.headers["content-disposition"]
    part = known(pipeline, selector='{service_name="ride-sharing-app"}')
    assert sum(one.value[0] for one in profile.sample) == part.total
    assert client.get("/explore/download/svg").status == 404
    assert client.get("/explore/download/pprof", {"selector": "{"}).status == 422


def test_callers_and_comparisons(client: Client, pipeline: App):
    found = known(pipeline)
    name = max(zip(found.totals.tolist(), found.tree.names, strict=True))[1]
    page = client.get("/explore", {"around": name})
    assert page.text.count('class="flame"') == 2
    assert "Choose a frame to put its function in the middle" in page.words
    assert "No stack of these profiles contains" in client.get("/explore", {"around": "nobody"}).words
    other = client.get("/explore", {"against": "labels", "other": '{service_name="ride-sharing-app"}'})
    assert "What has changed" in other.words
    assert re.search(r"change-(more|less)-\d", other.text)
    assert other.field("other") == '{service_name="ride-sharing-app"}'
    # Nothing was there an hour before.
    assert "the time before no profile" in client.get("/explore", {"against": "before"}).words
    split = client.get("/explore", {"split": "service_name"})
    assert "CPU time by service_name, mean over" in split.words
    assert '<ul class="legend">' in split.text


def test_filters(client: Client, pipeline: App):
    one = known(pipeline, selector='{service_name="ride-sharing-app"}')
    page = client.get("/explore", {"service": "ride-sharing-app"})
    assert f"profiles {one.profiles} " in page.words
    labels = [address for address in links(page, "selector=") if "rules" not in address]
    assert labels
    assert client.get(labels[0]).status == 200
    wrong = client.get("/explore", {"selector": '{pod="'})
    assert wrong.status == 422
    assert "selector" in wrong.words
    assert 'aria-invalid="true"' in wrong.text
    nothing = client.get("/explore", {"selector": '{pod="none"}'})
    assert "No profile of acme in the last hour fits" in nothing.words
    assert links(nothing, "/explore")
    assert client.get("/explore", {"tenant": '"><script>', "type": "<b>", "service": "'\"<i>"}).status == 200


def test_levels(client: Client, pipeline: App):
    found = known(pipeline, INUSE)
    page = client.get("/explore", {"type": INUSE})
    assert "memory in use, on average" in page.words
    assert "A level, not an amount" in page.words
    assert 0 < found.level <= found.total


@pytest.mark.parametrize(
    ("query", "status", "text"),
    [
        ({"until": "2020-01-01T00", "hours": "24"}, 200, "No profile was taken in"),
        ({"until": "soon"}, 400, "is no time"),
        ({"last": "long"}, 400, "is no length of time"),
        ({"until": "2026-11-25T09:51", "last": "1m"}, 200, "fits"),
        ({"hours": "0"}, 400, "whole number"),
        ({"rows": "x"}, 400, "whole number"),
        ({"tenant": "nobody"}, 200, "No profile of nobody in the last hour fits"),
        ({"hours": "168"}, 200, "Top functions"),
    ],
)
def test_what_cannot_be_shown_is_said(client: Client, query: dict[str, str], status: int, text: str):
    page = client.get("/explore", query)
    assert (page.status, text in page.words) == (status, True)


@pytest.mark.parametrize(
    ("access", "origin", "allowed"),
    [
        (Access(), "http://scope.example", "http://scope.example"),
        (Access(read_only=True), "http://scope.example", "http://scope.example"),
        (Access(), "http://scope.example:81", None),
        (Access(), "null", None),
        (Access(), "", None),
        (Access(trusted_header="X-User"), "http://scope.example", None),
        (Access(token="x" * 20), "http://scope.example", None),
    ],
)
def test_one_origin_may_fetch_one_download(pipeline: App, access: Access, origin: str, allowed: str | None):
    site = site_of(pipeline, access=access, speedscope_url="http://Scope.example:80/index.html")
    client = Client(make_app(site), x_user="tester" if access.trusted_header else "")
    name = "access-control-allow-origin"
    page = client.get("/explore/download/pprof", {"type": CPU}, origin=origin)
    assert page.headers.get(name) == allowed
    assert "access-control-allow-credentials" not in page.headers
    if not access.token:
        assert page.headers.get("vary") == (None if access.trusted_header else "Origin")
        shown = client.get("/explore")
        assert ("open in speedscope" in shown.words) is access.is_open
        assert ("because people sign in" in shown.words) is not access.is_open
    for method, path in [
        ("GET", "/explore"), ("GET", "/explore/download/folded"), ("GET", "/api/v1/explore"), ("GET", "/healthz"),
        ("POST", "/explore/download/pprof"), ("OPTIONS", "/explore/download/pprof"),
    ]:  # fmt: skip
        assert name not in client.ask(method, path, b"", {"origin": origin}).headers, path


def test_without_a_speedscope_nobody_else_may_read(client: Client):
    page = client.get("/explore/download/pprof", {"type": CPU}, origin="https://www.speedscope.app")
    assert not [one for one in page.headers if one.startswith("access-control")]
    assert "open in speedscope" not in client.get("/explore").words


def test_before_anything_arrived(tmp_path: Path):
    with opened(tmp_path) as empty:
        page = Client(make_app(site_of(empty))).get("/")
        assert "Nothing has arrived yet" in page.words
        assert Client(make_app(site_of(empty))).call("GET", "/explore").json["total"] == 0
        ticks.tick(empty)
        assert "no level-1 block is made of them yet" in Client(make_app(site_of(empty))).get("/").words


def test_the_same_for_programs(client: Client, pipeline: App):
    found = known(pipeline)
    answer = client.call("GET", "/explore?rows=1000&search=main").json
    own = dict(zip(found.tree.names, zip(found.own.tolist(), found.totals.tolist(), strict=True), strict=True))
    assert {one["name"]: (one["self"], one["total"]) for one in answer["functions"]} == {
        name: values for name, values in own.items() if "main" in name.casefold()
    }
    assert (answer["total"], answer["jobs"], answer["is_exact"], answer["unit"]) == (
        found.total, found.jobs, True, "nanoseconds"
    )  # fmt: skip
    assert sum(one["value"] for one in answer["over_time"]) == found.total
    tree = client.call("GET", "/explore/flamegraph").json
    frames: dict[str, Any] = {one["id"]: one for one in tree["frames"]}
    assert frames["0"]["total"] == found.total
    for one in frames.values():
        if one["above"] is not None:
            assert one["total"] <= frames[one["above"]]["total"]
    some = tree["frames"][3]["id"]
    below = client.call("GET", f"/explore/flamegraph?at={some}").json["frames"]
    assert some in {one["id"] for one in below}
    assert client.call("GET", "/explore/flamegraph?at=123").status == 404
    assert client.call("GET", "/explore?selector={").status == 422
    choices = client.call("GET", "/explore/choices").json
    assert choices["tenants"] == ["acme", "globex", "initech"]
    assert CPU in choices["profile_types"]


def test_a_broken_file_of_rules_does_not_keep_anyone_from_looking(pipeline: App, tmp_path: Path):
    (tmp_path / "series.yaml").write_text("rules: [{name: 1, colour: red}]")
    page = Client(make_app(site_of(pipeline, config=tmp_path / "series.yaml"))).get("/explore")
    assert (page.status, "Top functions" in page.words) == (200, True)


def test_who_waits_too_long_is_told_to_come_again(pipeline: App):
    site = site_of(pipeline)
    site.reading = Turns(1, waiting=1, wait_seconds=0.0)
    client = Client(make_app(site))
    assert client.get("/explore", {"selector": '{pod="'}).status == 422
    with site.reading.take():
        page = client.get("/explore")
        assert (page.status, "others read the archive at the moment" in page.words) == (503, True)
        refused = client.call("GET", "/explore")
        assert (refused.status, int(refused.headers["retry-after"]) > 0) == (503, True)
    # Turns end however a question ended.
    with pytest.raises(ValueError, match="odd"), site.reading.take():
        raise ValueError("odd")
    assert client.get("/explore").status == 200


HOSTILE = [
    b'<script>alert("x")</script>',
    b"\xe2\x80\xaeevil\n",
    b"\xff\xfe\x00",
    b"a" * 1000,
    b"&amp;'\"",
    b"{{ 7*7 }}",
]


class HostileExplorer:
    """Whatever is asked, every name in the answer wants to be something else."""

    names = tuple(show_bytes(name) for name in HOSTILE)

    def choices(self, hours: Any, tenant: str = "") -> Choices:
        labels = dict.fromkeys(self.names, self.names)
        return Choices(self.names, self.names, dict.fromkeys(self.names, self.names), labels, 1)

    def explore(self, question: Question, gauges: Any = (), **how: Any) -> Explored:
        columns, _ = job(profile([sample(100, one, two) for one in HOSTILE for two in HOSTILE]))
        builder = TreeBuilder()
        builder.add(columns, np.ones(len(columns.rows.series), dtype=np.bool_))
        tree = builder.finish()
        moments = (Moment(1_795_600_274_692, 1, 3600),)
        timeline = Timeline(60_000)
        timeline.add(columns, np.ones(len(columns.rows.series), dtype=np.bool_))
        return Explored(question, 2, 1, False, 1, 36, moments, tree, *tree.functions(), 1, 2, 0.1, timeline)


def test_hostile_names_are_shown_and_do_nothing(pipeline: App):
    site = site_of(pipeline)
    site.__dict__["explorer"] = HostileExplorer()
    client = Client(make_app(site))
    for query in ({}, {"type": "<b>x:y", "search": "<", "selector": 'pod="</script>"', "tenant": "'><i>"}):
        page = client.get("/explore", query)
        assert page.status == 200
        assert not re.search(r"<script(?! src=\"/static/)|<b>|<i>", page.text)
        assert not set(page.words) & set("\u202e\x00")
        assert "49" not in re.sub(r"\d{3,}", "", "".join(rows(page)))
        for address in [one for one in links(page, "/explore?") + links(page, "/rules/new?") if "at=" not in one]:
            path = urlsplit(address).path
            assert path in ("/explore", "/rules/new", "/api/v1/explore") or path.startswith("/explore/download/")
    page = client.get("/explore")
    assert "\\u202eevil\\n" in page.words
    assert "1 of 2 blocks" in page.words
    functions = {parse_qs(urlsplit(one).query)["function"][0] for one in links(page, "/rules/new?")}
    assert functions == {show_bytes(name) for name in HOSTILE}
    assert {client.get(one).status for one in links(page, "/rules/new?")} == {200}
    frames = client.call("GET", "/explore/flamegraph").json["frames"]
    assert {one["name"] for one in frames} - {""} == functions


@pytest.mark.parametrize(
    ("before", "name", "value", "after"),
    [
        ("", "pod", "a", '{pod="a"}'),
        ('{pod="a",}', "k8s.pod", 'b"\n', '{pod="a", "k8s.pod"="b\\"\\n"}'),
        ('pod=~"a"', "größe", "ü", '{pod=~"a", "größe"="ü"}'),
    ],
)
def test_a_label_is_added_to_the_filter(before: str, name: str, value: str, after: str):
    address = with_label(ExploreForm(selector=before), name, value)
    assert parse_qs(urlsplit(address).query)["selector"] == [after]
