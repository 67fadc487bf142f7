"""The page Status on a pipeline in memory: alerts, lag, receivers, the calendar, one hour, the doctor."""

import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import yaml

from pyro_assets.app import App
from pyro_assets.export.states import ReceiverState
from pyro_assets.ledger.calendar import HourCounts
from pyro_assets.ledger.decisions import DecisionRecords
from pyro_assets.monitoring.calendar import cell
from pyro_assets.monitoring.doctor import Finding
from pyro_assets.monitoring.now import ELSEWHERE, ONLY_HERE, SEVERITIES, Overview, ReceiverNow, alerts
from pyro_assets.operations import runs, sending, ticks
from pyro_assets.planning.due import Backlog
from pyro_assets.web.app import make_app
from pyro_assets.web.wire.access import Access
from tests.support.exports import HOUR, derive, opened, scripted
from tests.support.ledgers import HOUR as WORLD_HOUR
from tests.support.scripted_server import scripted_server
from tests.support.web_client import Client, site_of
from tests.support.worlds import World

ALERTS = Path(__file__).parent.parent.parent / "resources" / "observability" / "alerts.yaml"
FINE = Overview(1_000_000, {}, Backlog({}, 0, 0, 0, None), 0, {}, (), "")


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def client_of(pipeline: App, **more: object) -> Client:
    return Client(make_app(site_of(pipeline, **more)))


@pytest.fixture
def sent(tmp_path: Path) -> Iterator[App]:
    """The golden jobs, of which one receiver has everything and another nothing."""
    with scripted_server() as server:
        receivers = (scripted(server), scripted(server, "other"))
        with opened(tmp_path, *receivers) as pipeline:
            derive(pipeline)
            sending.export(pipeline, [HOUR], names=["r"])
            yield pipeline


def test_nothing_arrived_yet(world: World):
    page = client_of(world.pipeline).get("/status")
    assert page.status == 200
    assert "Nothing is wrong." in page.words
    assert "No receiver is configured" in page.words


def test_what_waits_fails_and_is_lost(world: World):
    world.segment(0)
    world.segment(1, "broken")
    gone = world.segment(2)
    ticks.tick(world.pipeline)
    del world.source.objects[gone]
    world.clock.forward(10)
    ticks.tick(world.pipeline)
    runs.run(world.pipeline, [WORLD_HOUR], run_id="run")
    world.segment(20, shard=5)
    ticks.tick(world.pipeline)
    world.clock.forward(1030)
    page = client_of(world.pipeline).get("/status")
    for words in (
        "1 segment was deleted before being read",
        "1 segment was set aside, because reading failed",
        "the oldest segment has waited 17 minutes",
    ):
        assert words in page.words
    found = client_of(world.pipeline).call("GET", "/status").json
    assert [one["name"] for one in found["alerts"]] == ["PyroAssetsStalled", "PyroAssetsLost", "PyroAssetsQuarantine"]
    assert (found["unheld"], found["backlog"]["waiting"]) == ({"lost": 1, "set_aside": 1}, 1)
    hour = client_of(world.pipeline).get(f"/status/hours/{WORLD_HOUR}")
    assert "2 segments; decide what becomes of them" in hour.words
    # Why it is not complete stands on top, each reason with what to do.
    why = re.search(r'<div class="note warn" id="why">.*?</div>', hour.text, re.DOTALL)
    assert why is not None
    assert "It is not over yet" in why[0]
    assert "1 segment without series, the oldest of which has waited 17 min" in why[0]
    assert "Live runs make them." in why[0]
    assert "Backfill it" not in why[0]
    assert "1 segment set aside, because reading failed; nobody has decided yet." in why[0]
    # The menu says how much is wrong, on every page.
    menu = re.search(r'<nav aria-label="Pages".*?</nav>', client_of(world.pipeline).get("/rules").text, re.DOTALL)
    assert menu is not None
    badges = re.findall(r'href="([^"]*)"[^>]*>\w+ <span class="badge bad">(\d+)<', menu[0])
    assert badges == [("/status", "3"), ("/quarantine", "2")]
    assert client_of(world.pipeline).call("GET", f"/status/hours/{WORLD_HOUR}").json["segments"] == 4
    world.clock.forward(2 * 3600)
    words = client_of(world.pipeline).get(f"/status/hours/{WORLD_HOUR}").words
    assert "A backfill makes them. Backfill it" in words


def test_the_calendar(world: World):
    world.segment(0)
    world.clock.forward(10)
    world.tick_and_run()
    world.segment(2 * 3600, shard=9)
    world.clock.forward(4 * 3600)
    ticks.tick(world.pipeline)
    ticks.list_hours(world.pipeline, [WORLD_HOUR])
    client = client_of(world.pipeline)
    days = client.call("GET", "/status/hours?days=2").json["days"]
    assert [len(day["cells"]) for day in days] == [24, 24]
    states = {one["hour"]: (one["state"], one["text"]) for day in days for one in day["cells"]}
    assert states[WORLD_HOUR] == ("done", "1 job done")
    later = WORLD_HOUR.replace("13:00", "15:00")
    assert states[later] == ("pending", "1 job without series, never listed as a whole")
    assert states[WORLD_HOUR.replace("13:00", "23:00")][0] == "future"
    page = client.get("/status", {"days": "2"})
    # The text stands in the page, not only the colour.
    assert f'title="{later[:10]} 15:00: 1 job without series, never listed as a whole"' in page.text
    assert f'href="/status/hours/{later.replace(":", "%3A")}"' in page.text
    before = client.get("/status", {"days": "7", "before": days[0]["date"]})
    assert "Later" in before.words
    assert days[0]["date"] not in before.text.split("</table>")[-2]
    for query in ({"days": "0"}, {"days": "63"}, {"before": "soon"}, {"before": "2026-13-01"}):
        assert client.get("/status", query).status == 400
    assert client.get("/status/hours/soon").status == 404
    empty = client.get("/status/hours/2026-01-01-00:00")
    assert "pyro-assets rescan --from 2026-01-01T00 --to 2026-01-01T01" in empty.words


def test_states_of_hours_in_order_of_what_to_look_at():
    everything = HourCounts({"quarantined": 1, "planned": 1, "derived": 2}, {"pending": 3, "set_aside": 1})
    hour = "2026-11-25-09:00"
    assert cell(hour, everything, 5, is_over=True).state == "failed"
    assert cell(hour, HourCounts({"planned": 1}), 5, is_over=False).state == "running"
    assert cell(hour, HourCounts({"planned": 1}), 5, is_over=True).state == "pending"
    assert cell(hour, HourCounts(sources={"pending": 1}), 0, is_over=True).state == "pending"
    assert cell(hour, HourCounts({"derived": 1}), 5, is_over=True).state == "pending"  # nobody looked for others
    assert cell(hour, HourCounts({"derived": 1}, is_listed=True), 5, is_over=True).state == "unsent"
    assert cell(hour, None, 0, is_over=True).state == "nothing"
    everything.is_listed = True
    text = "1 job given up, 1 segment set aside, 1 job without series, 3 segments in no job yet, 2 jobs done"
    assert cell(hour, everything, 0, is_over=True).text == text


def test_receivers_are_paused_and_resumed_on_record(sent: App):
    client = client_of(sent)
    page = client.get("/status")
    assert "r prometheus at" in page.words
    assert "takes samples" in page.words
    assert "nothing sent yet" in page.words
    now = {one["name"]: one for one in client.call("GET", "/status").json["receivers"]}
    assert (now["r"]["pending"], now["other"]["pending"], now["other"]["oldest_hour"]) == (0, 3, HOUR)
    assert now["r"]["accepted"] > 0
    assert client.post("/status/receivers/other/pause").status == 303
    assert sending.receiver_states(sent)["other"].paused_ms is not None
    assert client.call("POST", "/receivers/other/pause").json == {"changed": False}
    assert client.call("POST", "/receivers/other/resume").json == {"changed": True}
    assert [(one.action, one.author) for one in DecisionRecords(sent.ledger).past_decisions(subject="other")] == [
        ("resume", "tester"),
        ("pause", "tester"),
    ]
    assert client.post("/status/receivers/none/pause").status == 404
    assert client.call("POST", "/receivers/none/pause").status == 404
    described = client.get("/api/openapi.json").json["paths"]["/api/v1/receivers/{name}/pause"]["post"]["responses"]
    assert described["404"]["description"] == "there is no receiver of this name"
    assert client.post("/status/receivers/other/remove").status == 404
    # Without the form's token nothing happens.
    assert client.ask("POST", "/status/receivers/other/pause", b"", {}).status == 403
    assert sending.receiver_states(sent)["other"].paused_ms is None
    cells = client.get("/status", {"days": "1"})
    assert "3 jobs not sent everywhere" in cells.text


def test_read_only_changes_nothing(sent: App):
    client = client_of(sent, access=Access(read_only=True), doctor=lambda: pytest.fail("examined"))
    page = client.get("/status")
    assert 'method="post"' not in page.text
    assert client.post("/status/receivers/r/pause").status == 403
    assert client.post("/status/doctor").status == 403
    assert sending.receiver_states(sent)["r"].paused_ms is None


def test_the_doctor_is_asked_on_demand(world: World):
    findings = [Finding("disk", "problem", "<b>full</b>", "make room"), Finding("clock", "ok", "fine")]
    client = client_of(world.pipeline, doctor=lambda: findings)
    assert "Examine the installation" in client.get("/status").words
    page = client.post("/status/doctor")
    assert "1 problem, 0 warnings." in page.words
    assert "&lt;b&gt;full" in page.text
    assert "make room" in page.words
    assert client_of(world.pipeline).post("/status/doctor").status == 404


def receiver(**fields: object) -> ReceiverNow:
    return replace(ReceiverNow("r", "prometheus", "http://x", ReceiverState("r")), **fields)


@pytest.mark.parametrize(
    ("now", "names"),
    [
        (FINE, []),
        (replace(FINE, backlog=Backlog({}, 0, 1, 0, 699_999)), ["PyroAssetsStalled"]),
        (replace(FINE, backlog=Backlog({}, 0, 1, 0, 700_001)), []),
        (replace(FINE, given_up=1), ["PyroAssetsQuarantine"]),
        (replace(FINE, unheld={"lost": 1, "set_aside": 1}), ["PyroAssetsLost", "PyroAssetsQuarantine"]),
        (replace(FINE, damaged=1), ["PyroAssetsRot"]),
        (replace(FINE, receivers_problem="line 3"), ["PyroAssetsReceivers"]),
        (replace(FINE, receivers=(receiver(lag_p95_seconds=61.0),)), ["PyroAssetsLag"]),
        (replace(FINE, receivers=(receiver(lag_p95_seconds=59.0),)), []),
        (replace(FINE, receivers=(receiver(refused=1, reasons={"too_old": 1}),)), ["PyroAssetsRefusals"]),
        (replace(FINE, receivers=(receiver(state=ReceiverState("r", error="503")),)), ["PyroAssetsReceiverDown"]),
        (replace(FINE, receivers=(receiver(state=ReceiverState("r", error="503", paused_ms=1)),)), []),
    ],
)
def test_alerts(now: Overview, names: list[str]):
    found = alerts(now)
    assert [one.name for one in found] == names
    assert all(one.remedy.endswith(".") for one in found)


def test_conditions_are_those_of_prometheus_rules():
    (group,) = yaml.safe_load(ALERTS.read_text())["groups"]
    rules = {rule["alert"]: rule for rule in group["rules"]}
    there = {name: rule["labels"]["severity"] for name, rule in rules.items() if name not in ELSEWHERE}
    assert there == {name: severity for name, severity in SEVERITIES.items() if name not in ONLY_HERE}
    assert rules["PyroAssetsStalled"]["expr"].endswith("> 300")
    assert rules["PyroAssetsLag"]["expr"].strip().endswith("> 60")
