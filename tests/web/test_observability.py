"""Alert rules by promtool, and every query of the dashboard against a Prometheus that holds exports and our metrics."""

import re
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import uvicorn

from pyro_assets.app import App
from pyro_assets.operations import sending, upkeep
from pyro_assets.web.app import make_app
from pyro_assets.web.site import Site
from tests.support import servers
from tests.support.dashboards import DASHBOARD, OBSERVABILITY, QUERIES, filled
from tests.support.exports import HOUR, config, derive, opened, scripted
from tests.support.servers import binary


@pytest.mark.service
@pytest.mark.parametrize(
    "promtool", ["promtool", *(["promtool3"] if "prometheus3" in servers.PROMETHEUS_VERSIONS else [])]
)
def test_alerts_fire_on_trouble_and_on_nothing_else(tmp_path: Path, promtool: str):
    text = (Path(__file__).parent / "alerts_test.yaml").read_text()
    (tmp_path / "test.yaml").write_text(text.replace("RULES", str(OBSERVABILITY / "alerts.yaml")))
    for arguments in (["check", "rules", OBSERVABILITY / "alerts.yaml"], ["test", "rules", tmp_path / "test.yaml"]):
        done = subprocess.run([binary(promtool), *arguments], capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stdout + done.stderr


def test_the_dashboard_sums_deltas_and_links_to_dagster():
    assert len({panel["id"] for panel in DASHBOARD["panels"]}) == len(DASHBOARD["panels"])
    for panel in DASHBOARD["panels"]:
        assert panel["links"][0]["url"].startswith("${dagster}/assets/exported_series")
    for query in QUERIES:
        if "pyroscope_exported_metrics" in query:
            assert "sum_over_time(" in query
            assert not re.search(r"rate\(|increase\(", query)


@contextmanager
def web(pipeline: App) -> Iterator[int]:
    """Our web process, in a thread; yields its port."""
    port = servers.free_port()
    server = uvicorn.Server(
        uvicorn.Config(make_app(Site(pipeline, upkeep.health(pipeline))), port=port, log_level="warning")
    )
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        yield port
    finally:
        server.should_exit = True
        thread.join()


@pytest.mark.service
@pytest.mark.parametrize("version", servers.PROMETHEUS_VERSIONS)
def test_every_query_of_the_dashboard_gives_series(tmp_path: Path, version: str):
    with servers.prometheus(tmp_path / "tsdb", version=version, window="3650d") as server:
        series = config(functions=["main.fibonacci"])
        with opened(tmp_path, scripted(server), series=series) as pipeline, web(pipeline) as port:
            derive(pipeline)
            sending.export(pipeline, [HOUR])
            time.sleep(1.5)  # what was just committed is shown a second later
            (tmp_path / "tsdb" / "prometheus.yml").write_text(
                "global: {scrape_interval: 1s}\nstorage: {tsdb: {out_of_order_time_window: 3650d}}\n"
                f"scrape_configs: [{{job_name: pyro, static_configs: [{{targets: ['127.0.0.1:{port}']}}]}}]\n"
            )
            server.process.send_signal(1)
            deadline = time.monotonic() + 30
            while not server.get("/api/v1/query", query="count_over_time(pyro_assets_pending_segments[1m]) > 3")[
                "data"
            ]["result"]:
                assert time.monotonic() < deadline
                time.sleep(0.3)
        empty = []
        for query in QUERIES:
            exported = "pyroscope_exported_metrics" in query
            at = 1_795_600_274 + 600 if exported else time.time()
            answer: Any = server.get("/api/v1/query", query=filled(query), time=f"{at:.3f}")
            assert answer["status"] == "success"
            if not answer["data"]["result"]:
                empty.append(query)
    assert [query for query in empty if "refused" not in query] == []
