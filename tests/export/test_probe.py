"""Checks of receivers: what they say about reachability, credentials, version and settings, without any sample."""

import json
from pathlib import Path
from typing import Any

import pytest

from pyro_assets.export.remote_write.probe import check_receiver
from pyro_assets.receivers.model import Receiver
from tests.support.scripted_server import Reply, Request, ScriptedServer, scripted_server
from tests.support.servers import PROMETHEUS_VERSIONS, prometheus, victoriametrics

CANARY = "canary-5ecret-9f3"


def receiver(url: str, **fields: Any) -> Receiver:
    return Receiver(**({"name": "r", "url": f"{url}/api/v1/write", "kind": "prometheus", "tenants": ["a"]} | fields))


def pages(**found: Any) -> Any:
    """A server with some pages; everything else is 404, writing is 204."""

    def answer(request: Request) -> Reply:
        if request.method == "POST":
            assert request.series == []
            return Reply()
        name = request.path.partition("?")[0].rpartition("/")[2]
        if name not in found:
            return Reply(404)
        content = found[name]
        return Reply(200, content.encode() if isinstance(content, str) else json.dumps({"data": content}).encode())

    return answer


def warnings(server: ScriptedServer, **fields: Any) -> str:
    return "\n".join(check_receiver(receiver(server.url, **fields), {}).warnings)


def test_nobody_there():
    with scripted_server() as server:
        pass
    check = check_receiver(receiver(server.url), {})
    assert not check.answers
    assert not check.accepts
    assert "no answer" in check.problems[0]


def test_wrong_credentials():
    with scripted_server(default=401) as server:
        check = check_receiver(receiver(server.url, bearer_token={"env": "T"}), {"T": CANARY})
    assert check.answers
    assert not check.accepts
    assert "does not accept the credentials" in check.problems[0]
    assert CANARY not in repr(check)
    missing = check_receiver(receiver(server.url, bearer_token={"env": "ABSENT"}), {})
    assert "ABSENT" in missing.problems[0]


def test_a_page_for_people():
    with scripted_server(default=Reply(200, b"<html>", {"Content-Type": "text/html"})) as server:
        check = check_receiver(receiver(server.url), {})
    assert not check.accepts
    assert "HTML" in check.problems[0]


def test_a_receiver_that_says_nothing_about_itself():
    with scripted_server(default=pages()) as server:
        check = check_receiver(receiver(server.url, kind="generic"), {})
    assert check.accepts
    assert (check.product, check.version, check.problems, check.warnings) == ("", "", [], [])
    # The kind is what somebody wrote into a file; Cortex and others are of kind mimir, too.
    with scripted_server(default=pages()) as server:
        assert check_receiver(receiver(server.url, kind="mimir"), {}).product == ""
    elsewhere = Receiver(name="r", url="http://127.0.0.1:9/other", tenants=["a"])
    assert "no answer" in check_receiver(elsewhere, {}).problems[0]


def test_an_api_that_is_not_found():
    with scripted_server(default=pages()) as server:
        check = check_receiver(Receiver(name="r", url=f"{server.url}/other", tenants=["a"]), {})
    assert check.accepts
    assert "set query_url" in check.warnings[0]


def test_the_window_of_a_prometheus():
    def config(text: str) -> Any:
        flags = {"web.enable-remote-write-receiver": "true"}
        return pages(flags=flags, config={"yaml": text}, buildinfo={"version": "2"})

    with scripted_server(default=config("storage: {tsdb: {out_of_order_time_window: 1h}}")) as server:
        assert "declared as 1d, the receiver has 1h" in warnings(server, out_of_order_window="1d")
        assert warnings(server, out_of_order_window="1h") == ""
        assert "declare out_of_order_window: 1h to use it" in warnings(server)
        assert "it is a Prometheus; write kind: prometheus" in warnings(server, kind="generic")
    for text in ("", "global: {}", "storage:", "a: b: c", "storage: [1]"):
        with scripted_server(default=config(text)) as server:
            assert "no out_of_order_window is declared" in warnings(server)


def test_the_deduplication_of_a_victoriametrics():
    version = 'vm_app_version{version="victoria-metrics-x", short_version="v1.99.0"} 1\n'
    kind = {"kind": "victoriametrics"}
    with scripted_server(default=pages(metrics=version, flags='-dedup.minScrapeInterval="1ms"\n')) as server:
        check = check_receiver(receiver(server.url, dedup=True, **kind), {})
        assert (check.product, check.version, check.warnings) == ("VictoriaMetrics", "v1.99.0", [])
        assert "write dedup: true" in warnings(server, **kind)
        assert "write kind: victoriametrics" in warnings(server)
    with scripted_server(default=pages(metrics=version, flags='-retentionPeriod="7d"\n')) as server:
        text = warnings(server, dedup=True, retention="30d", **kind)
        assert "it runs without -dedup.minScrapeInterval" in text
        assert "keeps 7d" in text
    with scripted_server(default=pages(metrics=version, flags='-dedup.minScrapeInterval="15s"\n')) as server:
        assert "set it to 1ms" in warnings(server, dedup=True, **kind)


def test_whether_names_arrive_that_are_not_legal_everywhere():
    def answer(request: Request) -> Reply:
        if request.method == "POST" and request.series:
            assert request.series[0].keys() == {"__name__", "label.name"}
            return Reply(400, b"invalid label name")
        return pages()(request)

    with scripted_server(default=answer) as server:
        assert check_receiver(receiver(server.url), {}).problems == []
        [problem] = check_receiver(receiver(server.url, kind="mimir", label_names="utf8"), {}).problems
    assert "does not take label_names: utf8" in problem
    assert "write label_names: underscores or values" in problem


@pytest.mark.service
@pytest.mark.parametrize("version", PROMETHEUS_VERSIONS)
def test_whether_a_real_prometheus_takes_utf8_names(tmp_path: Path, version: str):
    with prometheus(tmp_path, version=version) as server:
        problems = check_receiver(receiver(server.url, label_names="utf8"), {}).problems
        assert server.get("/api/v1/label/__name__/values")["data"] == []
    drops = "drops series with label_names: utf8 silently; write label_names: underscores or values"
    assert [problem.endswith(drops) for problem in problems] == ([True] if version == "prometheus" else [])


@pytest.mark.service
@pytest.mark.parametrize("version", PROMETHEUS_VERSIONS)
def test_a_real_prometheus(tmp_path: Path, version: str):
    with prometheus(tmp_path, version=version, window="1d") as server:
        check = check_receiver(receiver(server.url, out_of_order_window="2d"), {})
        assert server.get("/api/v1/label/__name__/values")["data"] == []
    assert check.accepts
    assert check.product == "Prometheus"
    # What `go install` builds does not know its version.
    assert check.version.startswith("2.") or version == "prometheus3"
    assert check.problems == []
    assert len(check.warnings) == 1
    assert "the receiver has 1d" in check.warnings[0]


@pytest.mark.service
@pytest.mark.parametrize("version", PROMETHEUS_VERSIONS)
def test_a_real_prometheus_that_takes_nothing(tmp_path: Path, version: str):
    with prometheus(tmp_path, version=version, receiver=False) as server:
        check = check_receiver(receiver(server.url), {})
    assert not check.accepts
    assert "start Prometheus with --web.enable-remote-write-receiver" in check.problems[0]


@pytest.mark.service
@pytest.mark.parametrize("dedup", [True, False])
def test_a_real_victoriametrics(tmp_path: Path, dedup: bool):
    with victoriametrics(tmp_path, dedup=dedup) as server:
        check = check_receiver(receiver(server.url, kind="victoriametrics", dedup=True, retention="10y"), {})
    assert check.accepts
    assert check.product == "VictoriaMetrics"
    assert check.warnings == ([] if dedup else [check.warnings[0]])
