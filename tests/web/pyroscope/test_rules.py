"""Rules made in another tool's form are rules on our pages, and the other way round."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pyro_assets.app import App
from pyro_assets.rules.stored import StoredRules
from pyro_assets.web.app import make_app
from pyro_assets.web.pyroscope.rules import LEFT_OUT_HEADER, SERVICE
from tests.support.connect_client import call, is_error
from tests.support.exports import opened
from tests.support.web_client import Answer, Client, site_of

CPU = '{__profile_type__="process_cpu:cpu:nanoseconds:cpu:nanoseconds"}'


@pytest.fixture
def pipeline(tmp_path: Path) -> Iterator[App]:
    with opened(tmp_path) as made:
        yield made


@pytest.fixture
def client(pipeline: App) -> Client:
    return Client(make_app(site_of(pipeline)))


def rules(client: Client, name: str, **value: Any) -> Answer:
    return call(client, f"{name}RecordingRule", value, service=SERVICE)


def test_a_rule_made_there_is_on_our_page(client: Client, pipeline: App):
    made = rules(client, "Upsert", metricName="profiles_recorded_cpu", matchers=[CPU], groupBy=["pod"]).json["rule"]
    assert "profiles_recorded_cpu" in client.get("/rules/show/cpu").text
    [version] = StoredRules(pipeline.ledger).rule_history("cpu")
    assert version.author == "tester"
    shown = client.call("GET", "/rules/cpu").json["rule"]
    assert (shown["metric"], shown["by"], shown["tenants"]) == ("profiles_recorded_cpu", ["pod"], ["acme"])
    # Whoever has the older form in front of them is told so, on either side.
    shown["by"] = ["zone"]
    assert client.call("PUT", "/rules/cpu?why=x", shown, if_match='"1"').status == 200
    stale = {"id": made["id"], "metricName": "profiles_recorded_cpu", "matchers": [CPU], "generation": "1"}
    is_error(rules(client, "Upsert", **stale), 409, "already_exists", "conflicting update")
    assert rules(client, "Get", id=made["id"]).json["rule"]["groupBy"] == ["zone"]
    assert rules(client, "Delete", id=made["id"]).json == {}
    is_error(rules(client, "Get", id=made["id"]), 404, "not_found")
    assert client.call("GET", "/rules/cpu").status == 404


def test_a_rule_made_on_our_page_is_there(client: Client):
    rule = {"selector": CPU, "by": ["pod"], "aggregate": "sum", "tenants": ["acme"]}
    assert client.call("PUT", "/rules/pods?why=x", rule, if_match='"0"').status == 201
    assert client.call("PUT", "/rules/stacks?why=x", {"stack": "a;b"}, if_match='"0"').status == 201
    answer = call(client, "ListRecordingRules", {}, service=SERVICE)
    assert [one["metricName"] for one in answer.json["rules"]] == [
        "pyroscope_exported_metrics_process_cpu_cpu_nanoseconds_cpu_nanoseconds"
    ]
    assert answer.headers[LEFT_OUT_HEADER.lower()] == "1"
