"""The Connect protocol around Pyroscope's methods: forms, packing, refusals, and who may ask."""

import gzip
import json
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st
from starlette.routing import Route

from pyro_assets.app import App
from pyro_assets.explore.pyroscope.messages import querier_pb2, types_pb2
from pyro_assets.explore.pyroscope.querier import METHODS
from pyro_assets.settings import variable
from pyro_assets.web.app import make_app
from pyro_assets.web.pyroscope.rules import SERVICE as RULES
from pyro_assets.web.pyroscope.site import QUERIER
from pyro_assets.web.wire.access import Access
from pyro_assets.web.wire.turns import Turns
from tests.support.connect_client import ASKED, END, START, call, is_error
from tests.support.dashboards import OBSERVABILITY
from tests.support.exports import derive, opened
from tests.support.web_client import Client, site_of

CPU = "process_cpu:cpu:nanoseconds:cpu:nanoseconds"
TOKEN = "correct horse battery"


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    with opened(tmp_path_factory.mktemp("connect")) as made:
        derive(made)
        yield made


@pytest.fixture(scope="module")
def client(pipeline: App) -> Client:
    return Client(make_app(site_of(pipeline)))


def test_both_forms_say_the_same(client: Client):
    as_json = call(client, "ProfileTypes")
    asked = querier_pb2.ProfileTypesRequest(start=START, end=END).SerializeToString()
    as_proto = call(client, "ProfileTypes", asked, content_type="application/proto")
    message = querier_pb2.ProfileTypesResponse.FromString(as_proto.body)
    assert as_proto.headers["content-type"] == "application/proto"
    assert [one.ID for one in message.profile_types] == [one["ID"] for one in as_json.json["profileTypes"]]
    assert len(message.profile_types) == 9


def test_packed_questions_and_answers(client: Client):
    plain = call(client, "Series")
    packed = call(
        client, "Series", gzip.compress(json.dumps(ASKED).encode()), content_encoding="gzip", accept_encoding="gzip"
    )
    assert packed.headers["content-encoding"] == "gzip"
    assert packed.headers["vary"] == "Accept-Encoding"
    assert gzip.decompress(packed.body) == plain.body
    assert "content-encoding" not in plain.headers
    # What is short is not packed.
    assert "content-encoding" not in call(client, "GetProfileStats", {}, accept_encoding="gzip").headers


@pytest.mark.parametrize(
    ("body", "headers", "status", "code", "words"),
    [
        (b"{", {}, 400, "invalid_argument", ("no ProfileTypesRequest as application/json",)),
        (b'{"start": "x"}', {}, 400, "invalid_argument", ("start",)),
        (b'{"start": 1e999}', {}, 400, "invalid_argument", ()),
        (b"\xff\xfe", {}, 400, "invalid_argument", ()),
        (b"[" * 100_000, {}, 400, "invalid_argument", ()),
        (b"\x08", {"content_type": "application/proto"}, 400, "invalid_argument", ("application/proto",)),
        (b"no gzip", {"content_encoding": "gzip"}, 400, "invalid_argument", ("gzip",)),
        (gzip.compress(b"{}")[:-4], {"content_encoding": "gzip"}, 400, "invalid_argument", ("ends before",)),
        (gzip.compress(b" " * (5 << 20)), {"content_encoding": "gzip"}, 429, "resource_exhausted", ("4 MiB",)),
        (b"{}", {"content_encoding": "br"}, 501, "unimplemented", ("'br'", "gzip")),
    ],
    ids=["cut", "word", "infinity", "bytes", "deep", "proto", "no gzip", "cut gzip", "bomb", "brotli"],
)
def test_what_is_no_question(client: Client, body: bytes, headers: Any, status: int, code: str, words: tuple[str, ...]):
    is_error(call(client, "ProfileTypes", body, **headers), status, code, *words)


def test_other_forms_methods_and_verbs(client: Client):
    refused = call(client, "ProfileTypes", content_type="application/grpc")
    assert (refused.status, refused.headers["accept-post"]) == (415, "application/json, application/proto")
    unknown = call(client, "Nothing")
    assert (unknown.status, unknown.body) == (404, b"404 page not found\n")
    assert client.get(f"/{QUERIER}/ProfileTypes").status == 405
    for name in ("SelectHeatmap", "SelectMergeSpanProfile", "AnalyzeQuery"):
        is_error(call(client, name), 501, "unimplemented", name)


def test_fields_that_nobody_knows_are_no_mistake(client: Client):
    assert call(client, "ProfileTypes", ASKED | {"invented": {"later": 1}}).json == call(client, "ProfileTypes").json


@pytest.mark.parametrize(
    "more",
    [
        {"stackTraceSelector": {"callSite": [{"name": "main.main"}]}},
        {"profileIdSelector": ["a"]},
        {"traceIdSelector": ["a"]},
        {"spanSelector": ["a"]},
        {"async": {"type": "ASYNC_QUERY_TYPE_FORCE"}},
        {"format": "PROFILE_FORMAT_DOT"},
    ],
    ids=lambda more: next(iter(more)),
)
def test_what_cannot_be_asked_here_is_refused_by_name(client: Client, more: Any):
    asked = ASKED | {"profileTypeID": CPU, "labelSelector": "{}"} | more
    is_error(call(client, "SelectMergeStacktraces", asked), 501, "unimplemented")
    if "stackTraceSelector" in more:
        is_error(call(client, "SelectSeries", asked | {"step": 15}), 501, "unimplemented", "stack_trace_selector")
        is_error(call(client, "SelectMergeProfile", asked), 501, "unimplemented", "stack_trace_selector")
        is_error(call(client, "Diff", {"left": asked, "right": ASKED}), 501, "unimplemented", "stack_trace_selector")


def test_more_refusals_of_points(client: Client):
    asked = ASKED | {"profileTypeID": CPU, "labelSelector": "{}", "step": 15}
    exemplars = asked | {"exemplarType": "EXEMPLAR_TYPE_INDIVIDUAL"}
    is_error(call(client, "SelectSeries", exemplars), 501, "unimplemented", "exemplars")
    for step in (0, -1, "NaN", "Infinity", 1e-9):
        is_error(call(client, "SelectSeries", asked | {"step": step}), 400, "invalid_argument", "step must be >= 1ms")
    is_error(call(client, "SelectSeries", asked | {"step": 0.001}), 400, "invalid_argument", "100000 points")
    is_error(call(client, "LabelValues"), 400, "invalid_argument", "name is required")
    backwards = {"start": str(END), "end": str(START)}
    is_error(call(client, "ProfileTypes", backwards), 400, "invalid_argument", "after end time")
    bad = ASKED | {"matchers": ['{a=~"("}']}
    is_error(call(client, "LabelNames", bad), 400, "invalid_argument", 'parsing label selector "{a=~"("}": 1:')


def test_a_range_of_all_times_has_everything(client: Client):
    meant = {"profileTypeID": CPU, "labelSelector": "{}"}
    every = {"start": str(-(2**63)), "end": str(2**63 - 1)}
    for name, more in (("SelectMergeStacktraces", {}), ("SelectMergeProfile", {}), ("SelectSeries", {"step": 10**9})):
        answers = [call(client, name, span | meant | more) for span in (every, ASKED)]
        assert [one.status for one in answers] == [200, 200], answers[0].text
        if name == "SelectMergeStacktraces":
            assert answers[0].json == answers[1].json
        if name == "SelectMergeProfile":
            assert answers[0].json["timeNanos"] == str((2**63 - 1) // 10**6 * 10**6)
            assert answers[0].json["sample"] == answers[1].json["sample"]
    assert call(client, "Series", every).json == call(client, "Series").json


def test_a_tenant_sees_its_own_and_no_header_means_the_only_one(client: Client):
    services = [
        call(client, "LabelValues", ASKED | {"name": "service_name"}, x_scope_orgid=tenant).json.get("names")
        for tenant in ("acme", "initech", "anonymous", "")
    ]
    assert services == [["checkout", "gateway", "ride-sharing-app"], ["tps-reports"], None, None]


def test_who_waits_too_long_shall_come_again(pipeline: App):
    site = site_of(pipeline)
    site.asking = Turns(1, waiting=0, wait_seconds=0.0)
    with site.asking.take():
        answer = call(Client(make_app(site)), "ProfileTypes")
    is_error(answer, 503, "unavailable", "others read the archive")
    assert answer.headers["retry-after"] == "1"


def test_blocks_that_are_gone_are_said(tmp_path: Path):
    with opened(tmp_path) as pipeline:
        derive(pipeline)
        shutil.rmtree(tmp_path / "archive" / "blocks")
        is_error(call(Client(make_app(site_of(pipeline))), "ProfileTypes"), 503, "unavailable", "blocks/")


# --- Who may ask ----------------------------------------------------------------------------------------------------


def access(pipeline: App, **settings: Any) -> Client:
    return Client(make_app(site_of(pipeline, access=Access(default_user="tester", **settings))))


def test_programs_need_no_form_and_other_pages_may_not_ask(pipeline: App):
    asking = access(pipeline)
    for name in METHODS:
        assert call(asking, name, {"name": "pod"} if name == "LabelValues" else {}).status in (200, 400)
    is_error(call(asking, "ProfileTypes", origin="http://evil.example"), 403, "permission_denied", "evil.example")
    is_error(call(asking, "ProfileTypes", sec_fetch_site="cross-site"), 403, "permission_denied")
    # A form of another page cannot have these kinds of content.
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=a", ""):
        is_error(call(asking, "UpsertRecordingRule", service=RULES, content_type=kind), 403, "permission_denied")


def test_with_a_token_programs_send_it(pipeline: App):
    asking = access(pipeline, token=TOKEN)
    is_error(call(asking, "ProfileTypes"), 401, "unauthenticated", "Authorization: Bearer TOKEN")
    assert call(asking, "ProfileTypes", authorization=f"Bearer {TOKEN}").status == 200
    refused = asking.get("/pyroscope/render", {"query": CPU + "{}"})
    is_error(refused, 401, "unauthenticated")


def test_what_reads_is_open_in_read_only_mode_and_what_writes_is_not(pipeline: App):
    asking = access(pipeline, read_only=True)
    for name in METHODS:
        assert call(asking, name).status in (200, 400), name
    assert call(asking, "ListRecordingRules", {}, service=RULES).status == 200
    for name in ("UpsertRecordingRule", "DeleteRecordingRule"):
        is_error(call(asking, name, {}, service=RULES), 403, "permission_denied", "read-only")


def test_every_known_method_has_its_address(pipeline: App):
    paths = {one.path for one in make_app(site_of(pipeline)).routes if isinstance(one, Route)}
    assert {f"/{QUERIER}/{name}" for name in METHODS} < paths


# --- Anything ---------------------------------------------------------------------------------------------------------

_NUMBERS = st.integers(-(2**63), 2**63 - 1) | st.integers(START - 10, END + 10)
_TEXTS = st.sampled_from(["", "{}", '{pod=~".+"}', "{", CPU, "a:b:c:d:e", "pod", "\0"]) | st.text(max_size=8)


@given(st.data())
def test_whatever_is_asked_is_answered_in_the_protocol(client: Client, data: st.DataObject):
    name = data.draw(st.sampled_from(sorted(METHODS)))
    message = METHODS[name][0]()
    fill(message, data)
    body = message.SerializeToString()
    if data.draw(st.booleans()):
        cut = bytearray(body)
        for _ in range(data.draw(st.integers(0, 3))):
            if cut:
                cut[data.draw(st.integers(0, len(cut) - 1))] = data.draw(st.integers(0, 255))
        body = bytes(cut[: data.draw(st.integers(0, len(cut)))])
    answer = call(client, name, body, content_type="application/proto")
    if answer.status != 200:
        assert answer.status in (400, 429, 501), answer.text
        assert set(answer.json) == {"code", "message"}


def fill(message: Any, data: st.DataObject) -> None:
    """Any values in the fields of a message."""
    for field in message.DESCRIPTOR.fields:
        if not data.draw(st.booleans()):
            continue
        if field.message_type is not None:
            if not field.is_repeated:
                fill(getattr(message, field.name), data)
        elif field.is_repeated:
            getattr(message, field.name).extend(data.draw(st.lists(_TEXTS, max_size=2)))
        elif field.enum_type is not None:
            setattr(message, field.name, data.draw(st.integers(0, 5)))
        elif field.cpp_type == field.CPPTYPE_STRING:
            setattr(message, field.name, data.draw(_TEXTS))
        elif field.cpp_type == field.CPPTYPE_DOUBLE:
            setattr(message, field.name, data.draw(st.floats()))
        elif field.cpp_type in (field.CPPTYPE_UINT32, field.CPPTYPE_BOOL):
            setattr(message, field.name, data.draw(st.integers(0, 1)))
        else:
            setattr(message, field.name, data.draw(_NUMBERS))


def test_names_of_labels_that_prometheus_does_not_allow_are_for_those_who_take_them(client: Client):
    asked = types_pb2.LabelNamesRequest(start=START, end=END).SerializeToString()
    names = []
    for accept in ("*/*", "*/*;allow-utf8-labelnames=true"):
        answer = call(client, "LabelNames", asked, content_type="application/proto", accept=accept)
        names.append(set(types_pb2.LabelNamesResponse.FromString(answer.body).names))
    assert names[1] - names[0] == {"service.version"}
    assert names[0] < names[1]


def test_the_provisioned_data_source_asks_as_we_expect_it():
    [source] = yaml.safe_load((OBSERVABILITY / "pyroscope-datasource.yaml").read_text())["datasources"]
    assert (source["type"], source["access"], source["url"]) == (
        "grafana-pyroscope-datasource", "proxy", "http://localhost:9119",
    )  # fmt: skip
    values = source["secureJsonData"]
    headers = {
        source["jsonData"][f"httpHeaderName{number}"].lower(): values[f"httpHeaderValue{number}"] for number in (1, 2)
    }
    assert headers["x-scope-orgid"] == "anonymous"
    assert headers["authorization"] == f"Bearer ${variable('web_token')}"
