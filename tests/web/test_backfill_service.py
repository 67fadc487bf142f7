"""From a saved rule to its series, in a real browser and a real Dagster: choose, estimate, start, follow, look.

Dagster's servers are its own processes on free ports with a DAGSTER_HOME of their own, ended by the test.
"""

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pyro_assets.app import App, open_app
from pyro_assets.demo import services
from pyro_assets.demo.layout import DemoFolder
from pyro_assets.demo.processes import Processes
from pyro_assets.errors import DagsterError
from pyro_assets.ledger.decisions import DecisionRecords
from pyro_assets.ledger.hours import HourRecords
from pyro_assets.operations import runs
from pyro_assets.rules.config import load_config
from pyro_assets.rules.in_force import rule_body
from pyro_assets.rules.language import Rule
from pyro_assets.rules.patterns import Pattern
from pyro_assets.rules.stored import RuleEdit, StoredRules
from pyro_assets.web.dagster_client import DagsterClient
from tests.support.browser import chrome, complaints, is_too_wide, screenshot, served, wait
from tests.support.servers import free_port
from tests.support.web_client import site_of

pytestmark = pytest.mark.service

RULE = Rule(
    name="json",
    functions=[Pattern(glob="encoding/json.*")],
    profile_types=["process_cpu:cpu:nanoseconds:cpu:nanoseconds"],
    by=["service_name"],
    metric="json_cpu_nanoseconds",
)
#: Most of it is Dagster's: its backfill daemon looks every half minute, and a run starts.
_SECONDS = 180


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[DemoFolder, str]]:
    """Two past hours, derived before the rule was there, and a Dagster beside them."""
    layout = DemoFolder(tmp_path_factory.mktemp("backfill") / "demo")
    with layout.lock():
        processes = Processes(layout.logs, layout.environment(os.environ))
        code_server_port = free_port()
        layout.prepare(code_server_port)
        try:
            services.start_code_server(processes, layout, code_server_port)
            made = ["generate", "--url", layout.bucket, "--manifest", layout.manifest, "--shards", "2"]
            program = services._BIN / "pyro-assets"
            processes.run("history", [program, *made, "--hours", "2", "--past-rate", "0.005"], layout.root)
            processes.run("derive", [program, "run"], layout.root)
            webserver = services.start_dagster(processes, layout, code_server_port, free_port())
            yield layout, webserver.url
        finally:
            processes.stop_all()


def opened(layout: DemoFolder) -> App:
    return open_app(str(layout.bucket), str(layout.archive), layout.ledger_url, config=load_config(layout.config))


def other_series(layout: DemoFolder) -> dict[Path, list[dict[str, Any]]]:
    """Rows of all files, without those of the rule."""
    import pyarrow.parquet as pq

    files = sorted(layout.archive.glob("series/**/*.parquet"))
    newest = {path.stem.partition("-")[0] + path.parent.parent.name: path for path in files}
    return {
        path.parent / path.stem.partition("-")[0]: [
            row for row in pq.read_table(path, partitioning=None).to_pylist() if row["rule"] != RULE.name
        ]
        for path in newest.values()
    }


def test_a_rule_gets_its_past(installation: tuple[DemoFolder, str], tmp_path: Path):
    layout, dagster_url = installation
    before = other_series(layout)
    with opened(layout) as pipeline:
        StoredRules(pipeline.ledger).edit_rules(
            [RuleEdit(RULE.name, rule_body(RULE), 0)], author="ann", why="", now_ms=1
        )
        first, last = HourRecords(pipeline.ledger).hours()[0], HourRecords(pipeline.ledger).hours()[-1]
        site = site_of(pipeline, config=layout.config, dagster_url=dagster_url)
        with served(site) as url, chrome(tmp_path) as driver:
            driver.get(f"{url}/backfills?rule={RULE.name}")
            choose(driver, "from", first)
            choose(driver, "to", last)
            screenshot(driver, "backfill-choose")
            driver.find_element("xpath", "//button[text()='Estimate']").click()
            assert "Backfill the rule json?" in driver.find_element("tag name", "h1").text
            screenshot(driver, "backfill-estimate")
            assert not is_too_wide(driver)
            driver.find_element("id", "start").click()
            wait(driver, lambda d: d.find_elements("id", "state"), "the page of the backfill")
            screenshot(driver, "backfill-started")
            assert follow(driver) == "done"
            done = driver.find_element("css selector", "label[for=progress]").text
            screenshot(driver, "backfill-done")
            # Dagster's own page of the run is linked.
            assert driver.find_elements("css selector", f"a[href^='{dagster_url}/runs/']")
            driver.find_element("id", "series").click()
            (row,) = driver.find_elements("css selector", "main tbody tr")[:1]
            assert "json_cpu_nanoseconds" in row.text
            screenshot(driver, "backfill-series")
            assert complaints(driver) == []
        hours = HourRecords(pipeline.ledger).hours()
        jobs = sum(runs.hour_report(pipeline, hour).jobs_by_state["derived"] for hour in hours)
        assert done.startswith(f"{jobs} of {jobs} jobs done")
        assert [one.action for one in DecisionRecords(pipeline.ledger).past_decisions(subject=RULE.name)] == [
            "backfill"
        ]
    # Nothing else was touched.
    assert other_series(layout) == before


def choose(driver: Any, name: str, hour: str) -> None:
    field = driver.find_element("id", name)
    field.clear()
    field.send_keys(f"{hour[:10]} {hour[11:]}")


def follow(driver: Any) -> str:
    """The page reloads itself until the backfill is over."""
    from selenium.common.exceptions import StaleElementReferenceException

    end = time.monotonic() + _SECONDS
    while time.monotonic() < end:
        try:
            state = wait(driver, lambda d: d.find_elements("id", "state"), "the state")[0].text
        except StaleElementReferenceException:
            continue
        if state not in ("going on",):
            return str(state)
        time.sleep(0.5)
    raise AssertionError("the backfill does not end")


def test_dagster_refuses_in_words_and_cancels(installation: tuple[DemoFolder, str]):
    layout, dagster_url = installation
    with opened(layout) as pipeline:
        hours = HourRecords(pipeline.ledger).hours()
    with DagsterClient(dagster_url) as client:
        assert client.readiness().problem == ""
        with pytest.raises(DagsterError, match=r"are its partitions there.*after its restart"):
            client.start_backfill(["function_series"], ["1999-01-01-00:00"], "", {"lane": "backfill"})
        with pytest.raises(DagsterError, match="refuses the backfill"):
            client.start_backfill(["no_such_asset"], hours, "", {"lane": "backfill"})
        started = client.start_backfill(["function_series"], hours, "all again", {"lane": "backfill", "x/y": "*" * 300})
        client.cancel_backfill(started)
        found = client.backfill(started)
        assert found is not None
        assert found.status in ("CANCELING", "CANCELED")
        assert found.tags["x/y"] == "*" * 300
        assert started in [one.id for one in client.backfills(5)]
        assert client.backfill("none") is None
        with pytest.raises(DagsterError, match="does not cancel backfill none"):
            client.cancel_backfill("none")
