"""The page Backfills: what an order means and costs on golden jobs, and how it talks to a Dagster that is scripted."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pyro_assets.app import App, open_app
from pyro_assets.errors import SettingsError
from pyro_assets.ledger.decisions import DecisionRecords
from pyro_assets.ledger.files import FileRecords
from pyro_assets.monitoring.backfills import BackfillOrder, hours_between, plan, progress, title_of
from pyro_assets.operations import runs
from pyro_assets.rules.config import SeriesConfig
from pyro_assets.rules.in_force import merge_rules, rule_body
from pyro_assets.rules.language import Rule
from pyro_assets.rules.patterns import Pattern
from pyro_assets.rules.stored import RuleEdit, StoredRules
from pyro_assets.web.app import make_app
from pyro_assets.web.wire.access import Access
from tests.support.dagster_answers import RELOADED, backfill, followed, launched, listed, location, params, ready, reply
from tests.support.exports import HOUR, derive, opened
from tests.support.scripted_server import ScriptedServer, scripted_server
from tests.support.web_client import Client, site_of

RULE = Rule(name="later", functions=[Pattern(glob="runtime.*")], by=["service_name"])
SPAN = {"from": "2026-11-25 08:00", "to": "2026-11-25 10:00"}
HOSTILE = '"><script>alert(1)</script>%*'


@pytest.fixture(scope="module")
def derived(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, App]]:
    """The golden jobs, derived before the rule was there."""
    folder = tmp_path_factory.mktemp("backfills")
    with opened(folder, series=SeriesConfig()) as pipeline:
        derive(pipeline)
        StoredRules(pipeline.ledger).edit_rules([RuleEdit("later", rule_body(RULE), 0)], author="ann", why="", now_ms=1)
        yield folder, pipeline


@pytest.fixture
def dagster() -> Iterator[ScriptedServer]:
    with scripted_server() as server:
        yield server


@pytest.fixture
def client(derived: tuple[Path, App], dagster: ScriptedServer) -> Client:
    return Client(make_app(site_of(derived[1], dagster_url=dagster.url)))


def test_what_a_rule_costs_and_how_far_it_is(derived: tuple[Path, App], tmp_path: Path):
    folder, pipeline = derived
    config = merge_rules(SeriesConfig(), StoredRules(pipeline.ledger).rules()).config
    found = plan(pipeline, config, BackfillOrder("rule:later", (HOUR,)), "ann")
    assert (found.jobs, found.done, found.assets, found.kinds) == (3, 0, ("function_series",), ("function",))
    assert found.run_config == {"ops": {"compact_and_derive": {"config": {"rules": ["later"]}}}}
    blocks = sum(path.stat().st_size for path in (folder / "archive" / "blocks").rglob("block.bin"))
    assert found.bytes == blocks
    assert 0 < found.seconds[0] < found.seconds[1]
    assert progress(pipeline, config, found.tags, 0) is not None
    # Another pipeline, as a run opens it: with the rules of the ledger.
    late = open_app(str(tmp_path), str(folder / "archive"), str(folder / "ledger.db"), config=SeriesConfig())
    with late:
        before = plan(late, config, BackfillOrder("function", (HOUR,)), "ann")
        runs.run(late, [HOUR], frozenset({"function_series"}), run_id="run", rules=["later"])
        after = progress(late, config, found.tags, 0)
        assert after is not None
        assert (after.done, after.total, after.share) == (3, 3, 1.0)
        again = plan(late, config, BackfillOrder("rule:later", (HOUR,)), "ann")
        assert (again.jobs, again.done) == (0, 3)
        # All function series: as many as were written since it was started.
        now_ms = max(file.written_ms for _, file in FileRecords(late.ledger).files_between(0, 2**45))
        assert progress(late, config, before.tags, now_ms + 1) == type(after)(0, 3)
        assert progress(late, config, before.tags, 0) == type(after)(3, 3)
    assert progress(pipeline, SeriesConfig(), found.tags, 0) is None
    assert progress(pipeline, config, {"lane": "backfill"}, 0) is None


def test_other_orders(derived: tuple[Path, App]):
    pipeline, config = derived[1], SeriesConfig()
    pending = plan(pipeline, config, BackfillOrder("pending", (HOUR,)), "ann")
    assert (pending.jobs, pending.done, pending.bytes) == (0, 3, 0)
    assert pending.assets == ("l1_blocks", "dimension_series", "function_series", "exported_series")
    series = plan(pipeline, config, BackfillOrder("series", (HOUR,), send=True), "ann")
    assert (series.jobs, series.run_config) == (3, None)
    assert series.assets == ("dimension_series", "function_series", "exported_series")
    assert plan(pipeline, config, BackfillOrder("rule:dimensions", (HOUR,)), "ann").assets == ("dimension_series",)
    # Of hours that were never measured, the last day is the basis.
    unknown = plan(pipeline, config, BackfillOrder("pending", ("2026-11-25-10:00",)), "ann")
    assert "of the last day" in unknown.basis
    for what in ("rule:none", "nothing"):
        with pytest.raises(SettingsError, match=r"/rules|choose a rule"):
            plan(pipeline, config, BackfillOrder(what, (HOUR,)), "ann")
    with pytest.raises(SettingsError, match="exchange them"):
        hours_between("2026-11-25-10:00", "2026-11-25-09:00")
    with pytest.raises(SettingsError, match="start several"):
        hours_between("2025-11-25-10:00", "2026-11-25-09:00")
    title = title_of(BackfillOrder("rule:" + HOSTILE * 10, ("2026-11-25-09:00",)))
    assert len(title) <= 100
    assert not set(title) & set('%*"')


def test_choose_estimate_start_follow_cancel(client: Client, dagster: ScriptedServer, derived: tuple[Path, App]):
    dagster.script += [listed(backfill(title="an older one", status="COMPLETED_SUCCESS", endTimestamp=1795600060.0))]
    page = client.get("/backfills", {"rule": "later"})
    assert '<option value="later" selected>' in page.text
    assert "an older one done 2" in page.words
    dagster.script += [ready(location())]
    estimate = client.get("/backfills/estimate", {"what": "rule", "rule": "later", **SPAN})
    assert "Backfill the rule later" in estimate.words
    # Only the part of the span that has anything.
    assert "1 hour, 2026-11-25 09:00 UTC." in estimate.words
    fields = {name: estimate.field(name) for name in ("what", "from", "to")}
    dagster.script += [ready(location()), launched()]
    started = client.post("/backfills/start", fields)
    assert (started.status, started.headers["location"]) == (303, "/backfills/abc")
    sent = params(dagster)
    assert sent["partitionNames"] == [HOUR]
    assert {"key": "pyro_assets/rule", "value": "later"} in sent["tags"]
    assert {"key": "lane", "value": "rules"} in sent["tags"]
    assert {"key": "pyro_assets/by", "value": "tester"} in sent["tags"]
    (decision, *_) = DecisionRecords(derived[1].ledger).past_decisions(subject="later")
    assert (decision.action, decision.author) == ("backfill", "tester")
    run = {"id": "0" * 8 + "-1", "status": "STARTED", "startTime": 1795600001.0, "endTime": None}
    dagster.script += [followed(tags=sent["tags"], title=sent["title"], runs=[run])]
    page = client.get("/backfills/abc")
    assert "going on" in page.words
    assert "of 3 jobs done" in page.words
    assert '<meta http-equiv="refresh"' in page.text
    assert f"{dagster.url}/runs/00000000-1" in page.text
    assert "/series?last=1h&amp;until=2026-11-25-10%3A00&amp;rule=later" in page.text
    dagster.script += [followed(tags=sent["tags"], status="COMPLETED_FAILED", endTimestamp=1795600060.0, runs=[run])]
    over = client.get("/backfills/abc")
    assert "does only what is left" in over.words
    assert "data-refresh" not in over.text
    assert "Cancel it" not in over.words
    done = reply("cancelPartitionBackfill", {"__typename": "CancelBackfillSuccess"})
    dagster.script += [followed(tags=sent["tags"]), done]
    assert client.post("/backfills/abc/cancel").status == 303


def test_programs(client: Client, dagster: ScriptedServer):
    dagster.script += [ready(location()), launched()]
    order: dict[str, Any] = {"what": "function", "first": "2026-11-25T08", "last": "2026-11-25T10", "send": True}
    made = client.call("POST", "/backfills", order)
    assert (made.status, made.json) == (201, {"id": "abc"})
    assert params(dagster)["assetSelection"] == [{"path": ["function_series"]}, {"path": ["exported_series"]}]
    estimate = client.call("GET", "/backfills/estimate?what=function&first=2026-11-25T09&last=2026-11-25T09").json
    assert estimate["jobs"] == 3
    dagster.script += [followed(status="COMPLETED_SUCCESS"), listed(backfill())]
    assert client.call("GET", "/backfills/abc").json["is_over"]
    assert [one["id"] for one in client.call("GET", "/backfills").json["backfills"]] == ["abc"]
    assert client.call("POST", "/backfills", {"what": "function"}).status == 422
    none = reply("partitionBackfillOrError", {"__typename": "BackfillNotFoundError", "message": "none"})
    dagster.script += [none, none]
    assert client.call("GET", "/backfills/none").status == 404
    assert client.call("POST", "/backfills/none/cancel").status == 404


def test_what_goes_wrong_is_said_with_what_to_do(client: Client, dagster: ScriptedServer):
    order = {"what": "rule:later", **SPAN}
    dagster.script += [ready(location(error="No module named x"))]
    refused = client.post("/backfills/start", order)
    assert refused.status == 502
    assert "cannot load pyro_assets: No module named x; correct it" in refused.words
    dagster.script += [ready(location("LOADING"))]
    page = client.get("/backfills/estimate", {"what": "rule", "rule": "later", **SPAN})
    assert "It cannot be started now: Dagster is still loading" in page.words
    assert 'id="start"' not in page.text
    error = {"__typename": "PythonError", "message": "unknown partition"}
    dagster.script += [
        ready(location()),
        reply("launchPartitionBackfill", error),
        RELOADED,
        reply("launchPartitionBackfill", error),
    ]
    assert ": unknown partition" in client.post("/backfills/start", order).words
    for changed, status, words in (
        ({"what": "rule:" + HOSTILE}, 400, "is in force"),
        ({"from": "soon"}, 400, "is no hour"),
        ({"from": "2026-11-26 00:00", "to": "2026-11-27 00:00"}, 400, "nothing landed"),
        ({"from": "2026-11-27 00:00"}, 400, "exchange them"),
    ):
        found = client.post("/backfills/start", {**order, **changed})
        assert found.status == status
        assert words in found.words
        assert "<script>" not in found.text


def test_the_form_begins_with_what_the_address_says_and_else_with_hours_that_are_not_done(
    client: Client, dagster: ScriptedServer
):
    for query, chosen in (({}, "pending"), ({"rule": "later"}, "rule"), ({"what": "series"}, "series")):
        dagster.script += [listed()]
        page = client.get("/backfills", query)
        assert re.findall(r'name="what" value="(\w+)"[^>]* checked', page.text) == [chosen]


def test_without_dagster(derived: tuple[Path, App]):
    client = Client(make_app(site_of(derived[1])))
    page = client.get("/backfills")
    assert page.status == 200
    assert "start `pyro-assets web` with --dagster-url" in page.words
    assert "Estimate" in page.words
    assert client.call("GET", "/backfills").status == 502


def test_read_only(derived: tuple[Path, App], dagster: ScriptedServer):
    client = Client(make_app(site_of(derived[1], dagster_url=dagster.url, access=Access(read_only=True))))
    dagster.script += [ready(location())]
    page = client.get("/backfills/estimate", {"what": "function", **SPAN})
    assert "This process is read-only" in page.words
    assert client.post("/backfills/start", {"what": "function", **SPAN}).status == 403
