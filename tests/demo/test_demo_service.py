"""The real thing: code server, webserver, daemon, sensor, live runs, a backfill, the proof; and that all of it ends.

Servers are Dagster's own processes on free ports with a DAGSTER_HOME of their own.
"""

import io
import json
import math
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from pathlib import Path

import dagster as dg
import pytest
import yaml

from pyro_assets.demo import services
from pyro_assets.demo.layout import DemoFolder
from pyro_assets.demo.processes import Processes
from pyro_assets.demo.screen import Screen
from pyro_assets.demo.story import Story
from tests.support import rule_story
from tests.support.browser import chrome
from tests.support.dashboards import QUERIES, filled

pytestmark = pytest.mark.service


def below(root: int) -> set[int]:
    """A process and everything that it started, directly or not."""
    parents = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = stat.read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        parents[int(stat.parent.name)] = int(fields[1])
    found = {root}
    while more := {pid for pid, parent in parents.items() if parent in found} - found:
        found |= more
    return found


def running(pids: set[int]) -> set[int]:
    alive = set()
    for pid in pids:
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
        except (FileNotFoundError, ProcessLookupError):
            continue
        if state != "Z":
            alive.add(pid)
    return alive


def look_at_the_pages(said: str) -> None:
    """Each page that the demo names answers; the list of rules has what was derived, and links to Dagster."""
    address = said.partition("Our pages are at ")[2].split()[0]
    for path in ("/", "/explore", "/rules", "/series", "/status", "/quarantine", "/backfills", "/api"):
        with urllib.request.urlopen(address + path, timeout=60) as answer:
            text = answer.read().decode()
            assert answer.status == 200
            assert said.partition("Dagster is at ")[2].split()[0] in text
    with urllib.request.urlopen(address + "/api/v1/rules", timeout=60) as answer:
        rules = {rule["id"]: rule for rule in json.load(answer)["rules"]}
    assert rules["function:net/http.HandlerFunc.ServeHTTP"]["series"] > 0


def walk_through_the_pages(folder: Path, said: str) -> None:
    """A rule for what Explore shows first, made, backfilled in Dagster and seen in a browser."""
    address = said.partition("Our pages are at ")[2].split()[0]
    with chrome(folder, width=1100) as driver:
        rule_story.tell(driver, address)
    with urllib.request.urlopen(f"{address}/api/v1/metrics?rule={rule_story.NAME}", timeout=60) as answer:
        assert json.load(answer)["rows"]


def test_segments_land_and_exact_series_come_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    # A server of the whole session may run already.
    others = below(os.getpid())
    layout, out = DemoFolder(tmp_path / "demo"), io.StringIO()
    with layout.lock():
        # Short stays, so that there are several live runs.
        short = {"PYRO_ASSETS_LIVE_BUDGET_SECONDS": "6"}
        processes = Processes(layout.logs, layout.environment(os.environ) | short)
        try:
            story = Story(layout, processes, Screen(out))
            equal = story.run(45)
            if services.prometheus_program():
                look_at_the_dashboard(layout)
            look_at_the_pages(out.getvalue())
            if shutil.which("chromedriver"):
                walk_through_the_pages(tmp_path, out.getvalue())
            story.leave()
            children = below(os.getpid()) - others
        finally:
            processes.stop_all()
    assert equal, out.getvalue()
    if services.prometheus_program():
        assert "equal: prometheus holds" in out.getvalue()
    assert not running(children)
    assert "Summary" in out.getvalue()
    look_at_the_logs(layout)
    for variable, value in layout.environment({}).items():
        monkeypatch.setenv(variable, value)
    with dg.DagsterInstance.get() as instance:
        look_at_what_dagster_kept(instance)


def look_at_the_dashboard(layout: DemoFolder) -> None:
    """Every query of the dashboard, against the Prometheus of the demo, which still runs."""
    (receiver,) = yaml.safe_load(layout.receivers.read_text())["receivers"]
    url, without = receiver["url"].removesuffix("write"), []
    for query in QUERIES:
        with urllib.request.urlopen(f"{url}query?{urllib.parse.urlencode({'query': filled(query)})}") as answer:
            series = json.load(answer)["data"]["result"]
        if not any(math.isfinite(float(one["value"][1])) for one in series):
            without.append(query)
    # Nothing was refused, so that there may be no reason of refusals either.
    assert [query for query in without if "refused" not in query] == []


def look_at_the_logs(layout: DemoFolder) -> None:
    """Nobody complained of anything: the last live run ended in order, too."""
    for log in layout.logs.glob("*.log"):
        lines = log.read_text("utf-8", "replace").splitlines()
        found = [line for line in lines if re.search(r"Traceback|\b(ERROR|WARNING|CRITICAL)\b|Exception", line)]
        assert found == [], log.name


def look_at_what_dagster_kept(instance: dg.DagsterInstance) -> None:
    records = instance.get_run_records(ascending=True)
    *live, last = [record for record in records if record.dagster_run.job_name == "live"]
    # The last one may still have been staying for more.
    done = {record.dagster_run.status for record in records if record is not last}
    assert done == {dg.DagsterRunStatus.SUCCESS}
    backfills = [record for record in records if "dagster/backfill" in record.dagster_run.tags]
    assert live
    # A live run is relieved by the next one while it ends; there is no third.
    runs = [*live, last]
    assert all(before.end_time <= after.start_time for before, after in zip(runs, runs[2:], strict=False))
    assert {record.dagster_run.tags["lane"] for record in runs} == {"live", "live-next"}
    # Two hours of history are one run, in a lane of its own; so is a rule that was backfilled from its page.
    of_rule = ["rules"] if shutil.which("chromedriver") else []
    assert [record.dagster_run.tags["lane"] for record in backfills] == ["backfill", *of_rule]
    for asset in ("segments", "l1_blocks", "dimension_series", "function_series", "exported_series"):
        assert len(instance.get_materialized_partitions(dg.AssetKey(asset))) >= 3
    for check in ("totals_equal_sources", "no_source_left_undone"):
        key = dg.AssetCheckKey(dg.AssetKey("l1_blocks"), check)
        record = instance.get_latest_asset_check_evaluation_record(key)
        assert record.event.dagster_event.event_specific_data.passed


# Both have one handler.
@pytest.mark.parametrize("number", [signal.SIGTERM, pytest.param(signal.SIGINT, marks=pytest.mark.nightly)])
def test_a_demo_that_is_ended_leaves_nothing_running(tmp_path: Path, number: signal.Signals):
    demo = subprocess.Popen(
        [sys.executable, "-m", "pyro_assets.demo", "--folder", str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    try:
        end = time.monotonic() + 60
        while not (tmp_path / "logs" / "daemon.log").exists():
            assert time.monotonic() < end
            assert demo.poll() is None
            time.sleep(0.1)
        time.sleep(1)
        started = below(demo.pid)
        assert len(started) > 3
        demo.send_signal(number)
        text, _ = demo.communicate(timeout=30)
    finally:
        demo.kill()
        demo.communicate()
    assert demo.returncode == 0
    assert "ending everything" in text
    assert not running(started)
