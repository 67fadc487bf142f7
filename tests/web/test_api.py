"""The JSON API: its description fits its routes, rules are changed with the version that was seen, errors are JSON."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
from starlette.routing import Route

from pyro_assets.app import App
from pyro_assets.web.app import endpoints, make_app
from pyro_assets.web.wire.endpoints import PREFIX
from pyro_assets.web.wire.security import HARMLESS
from tests.support.exports import HOUR, derive, opened
from tests.support.web_client import Client, site_of


@pytest.fixture(scope="module")
def pipeline(tmp_path_factory: pytest.TempPathFactory) -> Iterator[App]:
    with opened(tmp_path_factory.mktemp("api")) as pipeline:
        derive(pipeline)
        yield pipeline


@pytest.fixture(scope="module")
def client(pipeline: App) -> Client:
    return Client(make_app(site_of(pipeline)))


@pytest.fixture(scope="module")
def described(client: Client) -> dict[str, Any]:
    found: dict[str, Any] = client.get("/api/openapi.json").json
    return found


def references(value: Any) -> Iterator[str]:
    if isinstance(value, dict):
        if isinstance(value.get("$ref"), str):
            yield value["$ref"]
        for inner in value.values():
            yield from references(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from references(inner)


def test_every_route_is_described_and_nothing_else(client: Client, described: dict[str, Any]):
    served = {
        (re.sub(r":\w+\}", "}", route.path), method)
        for route in client.app.routes
        if isinstance(route, Route) and route.path.startswith(PREFIX)
        for method in route.methods or ()
        if method != "HEAD"
    }
    listed = {(path, method.upper()) for path, item in described["paths"].items() for method in item}
    assert served == listed
    assert len(listed) >= 9


def test_the_document_is_openapi(described: dict[str, Any]):
    assert described["openapi"].startswith("3.1")
    assert {"title", "version"} <= described["info"].keys()
    seen = []
    for path, item in described["paths"].items():
        for operation in item.values():
            seen.append(operation["operationId"])
            assert operation["summary"].endswith(".")
            assert any(status.startswith("2") for status in operation["responses"])
            assert all(one["description"] and "content" in one for one in operation["responses"].values())
            places = [(one["in"], one["name"]) for one in operation["parameters"]]
            assert len(places) == len(set(places))
            assert {name for where, name in places if where == "path"} == set(re.findall(r"\{(\w+)\}", path))
            assert all("type" in one["schema"] for one in operation["parameters"])
    assert len(seen) == len(set(seen))
    schemas = described["components"]["schemas"]
    found = set(references(described))
    assert found
    assert {one.removeprefix("#/components/schemas/") for one in found} <= schemas.keys()
    assert "functions" in schemas["Rule"]["properties"]
    assert schemas["Rule"]["additionalProperties"] is False


def test_what_is_harmless_exists_and_saves_nothing(client: Client):
    routes = [route for route in client.app.routes if isinstance(route, Route)]
    assert {(method, route.path) for route in routes for method in route.methods or ()} >= HARMLESS


def test_people_can_read_it_too(client: Client, pipeline: App):
    page = client.get("/api")
    for call in endpoints(site_of(pipeline)):
        assert call.summary in page.words.replace("’", "'")


def test_a_rule_is_made_changed_deleted_and_restored(client: Client):
    rule = {"functions": [{"glob": "runtime.*"}], "by": ["service_name"]}
    made = client.call("PUT", "/rules/one?why=first", rule, if_match='"0"')
    assert (made.status, made.headers["etag"], made.json["author"], made.json["why"]) == (201, '"1"', "tester", "first")
    assert made.json["rule"] == {"name": "one", **rule}
    assert client.call("GET", "/rules/one").json == made.json
    stale = client.call("PUT", "/rules/one", {"functions": ["a"]}, if_match='"0"')
    assert (stale.status, stale.json["current"]["version"], stale.json["yours"]["functions"]) == (409, 1, ["a"])
    assert client.call("PUT", "/rules/one", {"functions": ["a"]}, if_match='W/"1"').json["version"] == 2
    assert client.call("PUT", "/rules/one", {"functions": ["a"]}).status == 428
    assert client.call("DELETE", "/rules/one", if_match='"2"').status == 422
    assert client.call("DELETE", "/rules/one?why=old", if_match='"1"').status == 409
    assert client.call("DELETE", "/rules/one?why=old", if_match='"2"').json["deleted"] is True
    assert client.call("GET", "/rules/one").status == 404
    back = client.call("POST", "/rules/one/restore", {"version": 1}, if_match='"0"')
    assert (back.json["version"], back.json["rule"]["by"]) == (4, ["service_name"])
    history = client.call("GET", "/rules/one/history").json
    assert [(one["version"], one["deleted"]) for one in history] == [(4, False), (3, True), (2, False), (1, False)]
    listed = {one["name"]: one for one in client.call("GET", "/rules").json["rules"]}
    assert listed["one"]["state"] == "quiet"
    assert listed["dimensions"]["series"] > 0


def test_a_refused_rule_has_all_its_problems(client: Client):
    rule = {"name": "bad", "functions": [{"regex": "("}], "colour": "red", "max_series": 0}
    for answer in (
        client.call("PUT", "/rules/bad", rule, if_match='"0"'),
        client.call("POST", "/rules/validate", {"rule": rule}),
    ):
        assert {one["field"] for one in answer.json["problems"]} == {"functions[0]", "colour", "max_series"}
    assert client.call("PUT", "/rules/other", {"name": "bad"}, if_match='"0"').status == 422
    assert client.call("PUT", "/rules/other", [1], if_match='"0"').status == 400
    text = client.call("POST", "/rules/validate", {"text": "rules:\n- name: x\n  top_k: 3\n  functions: [a]\n"}).json
    assert text["rule"] == {"name": "x", "top_k": 3, "functions": ["a"]}
    assert [one["field"] for one in text["warnings"]] == ["top_k"]


def test_a_preview_and_an_import(client: Client):
    rule = {"name": "p", "functions": [{"glob": "runtime.*"}], "profile_types": ["cpu"]}
    found = client.call("POST", "/rules/preview", {"rule": rule, "hours": [HOUR]}).json
    assert (found["is_exact"], found["jobs"], found["series"] > 0) == (True, 3, True)
    assert client.call("POST", "/rules/preview", {"name": "none"}).status == 404
    assert client.call("POST", "/rules/preview", {"rule": rule, "seconds": 1e9}).status == 400
    sent = {"text": 'functions: {"foo": "{}"}', "dry_run": True}
    dry = client.call("POST", "/rules/import", sent).json
    assert (dry["saved"], dry["changes"], dry["rules"]) == (
        0,
        {"foo": "create"},
        [{"name": "foo", "functions": ["foo"]}],
    )
    assert client.call("POST", "/rules/import", {**sent, "dry_run": False}).json["saved"] == 1
    assert client.call("POST", "/rules/import", {"text": "rules: [{name: 1}]"}).status == 422


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("GET", "/nothing", b"", 404),
        ("POST", "/rules", b"", 405),
        ("POST", "/rules/validate", b"{", 400),
        ("POST", "/rules/validate", b"[" * 100_000, 400),
        ("POST", "/rules/validate", b'{"text": 1}', 400),
        ("POST", "/rules/validate", b"{}", 400),
        ("POST", "/rules/one/restore", b'{"version": 0}', 400),
        ("POST", "/rules/validate", b"x" * (5 << 20), 413),
    ],
)
def test_errors_are_json_with_words(client: Client, method: str, path: str, body: bytes, status: int):
    answer = client.ask(method, PREFIX + path, body, {"authorization": "Bearer x"})
    assert answer.status == status
    assert ("GET" in answer.headers.get("allow", "")) == (status == 405)
    assert len(answer.json["error"]) > 10
