"""Prometheus 2 and 3 read the archive: what was never sent is what was, and what is in both places counts once."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

from pyro_assets.app import App
from pyro_assets.errors import ReceiverMisconfigured
from pyro_assets.operations import sending
from pyro_assets.receivers.model import Receiver
from pyro_assets.storage.keys import HOUR_MS, hour_start_ms
from pyro_assets.web.wire.access import Access
from tests.support.browser import served
from tests.support.exports import HOUR, NOW_MS, Held, config, derive, expected, opened
from tests.support.servers import PROMETHEUS_VERSIONS, Server, prometheus
from tests.support.web_client import site_of

pytestmark = [pytest.mark.service, pytest.mark.parametrize("version", PROMETHEUS_VERSIONS)]

TEXT = (Path(__file__).parents[3] / "resources" / "docs" / "reading.md").read_text("utf-8")
(DOCUMENTED,) = yaml.safe_load(re.findall(r"^```yaml\n(remote_read:.*?)```", TEXT, re.DOTALL | re.MULTILINE)[0])[
    "remote_read"
]
CPU = "pyroscope_exported_metrics_process_cpu_cpu_nanoseconds_cpu_nanoseconds"
TOKEN = "0123456789abcdef"
QUESTIONS = (
    f"sum by (service_name) (sum_over_time({CPU}[1h]))",
    f"{CPU}[1h]",
    f'{{__name__=~"{CPU}|pyroscope_exported_metrics_memory.*", service_name!~"no.*"}}[1h]',
    f'sum(last_over_time({CPU}{{service_name!=""}}[1h])) / count(last_over_time({CPU}[1h]))',
    f'sum_over_time({CPU}{{no_such_label="x"}}[1h])',
    'sum by (__name__, tenant) ({profiles_rule_id!=""} offset 37m)',
)


@contextmanager
def reading(pipeline: App, folder: Path, version: str, path: str = "", **fields: Any) -> Iterator[Server]:
    """A Prometheus that reads the archive behind our own server, which shows everything and takes nothing."""
    access = Access(token=TOKEN, read_only=True)
    with served(site_of(pipeline, access=access)) as url:
        changed = {"url": f"{url}/api/v1/read{path}", "authorization": {"credentials": TOKEN}}
        read = DOCUMENTED | changed | fields
        with prometheus(folder, version=version, window="30d", remote_read=read) as server:
            yield server


def asked(server: Server, query: str, time_ms: int = NOW_MS) -> list[Any]:
    answer = server.get("/api/v1/query", query=query, time=str(time_ms / 1000))
    assert "warnings" not in answer, answer["warnings"]
    return sorted(answer["data"]["result"], key=lambda one: sorted(one["metric"].items()))


def everything(server: Server) -> Held:
    found = server.samples('{__name__=~".+"}', NOW_MS - 7_200_000, NOW_MS)
    return {labels: [(time, float(value)) for time, value in samples] for labels, samples in found.items()}


@pytest.fixture
def sent(tmp_path: Path, version: str) -> Iterator[tuple[App, Server, Receiver]]:
    """The golden jobs, sent to a Prometheus."""
    with prometheus(tmp_path / "sent", version=version, window="30d") as server:
        receiver = Receiver(
            name="real", url=server.write_url, kind="prometheus", out_of_order_window="30d", start=HOUR,
            labels={"cluster": "one"},
        )  # fmt: skip
        with opened(tmp_path, receiver, series=config(functions=["main.fibonacci"])) as pipeline:
            derive(pipeline)
            sending.export(pipeline, [HOUR])
            yield pipeline, server, receiver


def test_hours_that_were_never_sent_are_as_those_that_were(
    sent: tuple[App, Server, Receiver], tmp_path: Path, version: str
):
    pipeline, holder, _ = sent
    with reading(pipeline, tmp_path / "reads", version, "?receiver=real") as server:
        assert len(asked(holder, QUESTIONS[0])) > 1
        for query in QUESTIONS:
            assert asked(server, query) == asked(holder, query), query
        span = {"start": str((NOW_MS - 30 * 86_400_000) / 1000), "end": str(NOW_MS / 1000)}
        for path, more in (
            ("/api/v1/series", {"match[]": CPU}),
            ("/api/v1/query_range", {"query": QUESTIONS[0], "step": "3600"}),
        ):
            mine, theirs = (one.get(path, **span, **more)["data"] for one in (server, holder))
            if isinstance(mine, list):
                mine, theirs = (sorted(each, key=str) for each in (mine, theirs))
            assert mine == theirs, path
            assert mine
        # Names and values of labels come from a Prometheus's own storage only.
        assert server.get("/api/v1/label/service_name/values")["data"] == []


def test_a_sample_in_both_places_counts_once(sent: tuple[App, Server, Receiver], tmp_path: Path, version: str):
    pipeline, holder, receiver = sent
    with reading(pipeline, tmp_path / "both", version, "?receiver=real") as server:
        both = (receiver.model_copy(update={"name": "both", "url": server.write_url}), receiver)
        pipeline = replace(pipeline, receivers=lambda: both)
        sending.export(pipeline, [HOUR], names=["both"])
        local = server.get("/api/v1/label/service_name/values")["data"]
        assert local
        for query in QUESTIONS:
            assert asked(server, query) == asked(holder, query), query
        # What it answers is not what it holds, so nothing is proved by asking it.
        with pytest.raises(
            ReceiverMisconfigured, match=r"both answers with what it reads from .*/api/v1/read \(remote"
        ):
            sending.reconcile(pipeline, "both", hour_start_ms(HOUR), hour_start_ms(HOUR) + HOUR_MS)
        assert sending.reconcile(pipeline, "real", hour_start_ms(HOUR), hour_start_ms(HOUR) + HOUR_MS).is_equal
        # What Grafana asks for variables.
        names = asked(server, f"count by (service_name) (last_over_time({CPU}[1h]))")
        assert [one["metric"]["service_name"] for one in names] == local


def test_raw_samples_are_those_of_the_files(tmp_path: Path, version: str):
    with opened(tmp_path, series=config(functions=["main.fibonacci"])) as pipeline:
        derive(pipeline)
        with reading(pipeline, tmp_path / "raw", version) as server:
            found = everything(server)
        wanted = expected(tmp_path)
        assert found == wanted
        if version == "prometheus":
            return  # 2.42 has the option, and sends no headers
        # Of one tenant, which its series need not say then.
        tenant = min(dict(labels)["tenant"] for labels in wanted)
        with reading(pipeline, tmp_path / "tenant", version, headers={"X-Scope-OrgID": tenant}) as server:
            found = everything(server)
        assert found == {
            tuple(pair for pair in labels if pair[0] != "tenant"): samples
            for labels, samples in wanted.items()
            if ("tenant", tenant) in labels
        }


def test_a_refusal_is_shown(tmp_path: Path, version: str):
    with opened(tmp_path) as pipeline:
        derive(pipeline)
        with reading(pipeline, tmp_path / "refused", version, "?receiver=nobody") as server:
            answer = server.get("/api/v1/query", query=f"{CPU}[1h]", time=str(NOW_MS / 1000))
            assert "404" in answer["warnings"][0]
            assert "there is no receiver 'nobody'" in answer["warnings"][0]
