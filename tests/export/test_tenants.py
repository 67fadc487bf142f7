"""Exports where a receiver does not take samples of one tenant: the others get theirs, and what is owed comes later."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from pyro_assets.app import App
from pyro_assets.export.exporter import ExportCounts
from pyro_assets.monitoring.metrics import exposition
from pyro_assets.monitoring.now import alerts, look
from pyro_assets.operations import runs, sending, upkeep
from tests.support.exports import HOUR, NOW_MS, Held, config, derive, expected, got, opened, scripted
from tests.support.scripted_server import Answering, Reply, Request, ScriptedServer, scripted_server

STEPS: Any = frozenset({"dimension_series", "function_series"})


def receiver(server: ScriptedServer, **fields: Any) -> Any:
    """A receiver that knows tenants by X-Scope-OrgID."""
    return scripted(server, **({"kind": "mimir", "retry_for": "1s"} | fields))


def tenants(folder: Path) -> dict[str, Held]:
    """What each tenant is to hold, those with the most series first."""
    found: dict[str, Held] = {}
    for labels, samples in expected(folder).items():
        plain = tuple(pair for pair in labels if pair[0] != "tenant")
        found.setdefault(dict(labels)["tenant"], {})[plain] = samples
    return dict(sorted(found.items(), key=lambda item: (-len(item[1]), item[0])))


def refusing(tenant: str, answer: Answering) -> Callable[[Request], Answering]:
    """Answers one tenant so, and takes everything else."""
    return lambda request: answer if request.headers.get("X-Scope-OrgID") == tenant else 204


def taken(server: ScriptedServer) -> dict[str, Held]:
    """What each tenant holds."""
    found: dict[str, ScriptedServer] = {}
    for request in server.requests:
        found.setdefault(request.headers["X-Scope-OrgID"], ScriptedServer()).requests.append(request)
    return {tenant: held for tenant, one in found.items() if (held := got(one))}


def receipts(folder: Path) -> list[dict[str, Any]]:
    """Receipts of the archive, kind by kind."""
    paths = sorted((folder / "archive/receipts/r").rglob("*.json"))
    return [kind for path in paths for kind in json.loads(path.read_bytes())["kinds"]]


def left(pipeline: App) -> tuple[int, int]:
    """Jobs of the hour that are done and those that are pending."""
    (report,) = runs.hour_report(pipeline, HOUR).exports
    return report.jobs, report.pending


@pytest.mark.parametrize(
    ("status", "words"), [(429, "status 429"), (403, "may not write"), (529, "status 529"), (502, "status 502")]
)
def test_one_tenants_trouble_is_its_own(tmp_path: Path, status: int, words: str):
    """Also a trouble that could be the receiver's: another tenant is asked before that is believed."""
    with scripted_server() as server, opened(tmp_path, receiver(server, retry_for="2s")) as pipeline:
        derive(pipeline)
        wanted = tenants(tmp_path)
        bad = next(iter(wanted))
        server.default = refusing(bad, Reply(status, b"over the limit", {"Retry-After": "1"}))
        for _ in range(2):
            done = sending.export(pipeline, [HOUR])["r"]
            assert list(done.held) == [bad]
            assert words in done.error
            assert f"tenant {bad!r}" in done.error
        server.requests = [one for one in server.requests if one.headers["X-Scope-OrgID"] != bad]
        assert taken(server) == {tenant: held for tenant, held in wanted.items() if tenant != bad}
        state = sending.receiver_states(pipeline)["r"]
        assert not state.error
        assert words in state.tenants[bad].error
        assert left(pipeline)[1] > 0
        # It is well again: it gets what it is owed, and the others nothing a second time.
        server.default = 204
        done = sending.export(pipeline, [HOUR])["r"]
        assert (done.error, done.held) == ("", {})
        assert taken(server) == wanted
        assert left(pipeline) == (3, 0)
        assert not sending.receiver_states(pipeline)["r"].tenants
        requests = len(server.requests)
        assert sending.export(pipeline, [HOUR])["r"].summary == "nothing to send"
        assert len(server.requests) == requests
        (report,) = runs.hour_report(pipeline, HOUR).exports
        samples = sum(map(len, expected(tmp_path).values()))
        assert (report.samples, report.accepted, report.refused) == (samples, samples, 0)
        assert sum(kind["accepted"] for kind in receipts(tmp_path)) == samples
        # It is sent to with the others again.
        assert {kind.get("tenant", "") for kind in receipts(tmp_path)} == {"", bad}


def test_a_receiver_that_is_down_is_down_for_all(tmp_path: Path):
    with scripted_server(default=502) as server, opened(tmp_path, receiver(server)) as pipeline:
        derive(pipeline)
        done = sending.export(pipeline, [HOUR])["r"]
        assert "status 502" in done.error
        assert done.held == {}
        assert "status 502" in sending.receiver_states(pipeline)["r"].error
        assert left(pipeline) == (0, 3)
        server.requests.clear()
        server.default = 204
        assert sending.export(pipeline, [HOUR])["r"].error == ""
        assert taken(server) == tenants(tmp_path)


def test_a_tenant_that_is_limited_between_two_requests_gets_everything_once_in_effect(tmp_path: Path):
    small = {"limits": {"request_series": 3}}
    with scripted_server() as server, opened(tmp_path, receiver(server, retry_for="30s", **small)) as pipeline:
        derive(pipeline)
        wanted = tenants(tmp_path)
        bad, seen = next(iter(wanted)), [0]

        def every_second(request: Request) -> Answering:
            if request.headers["X-Scope-OrgID"] != bad:
                return 204
            seen[0] += 1
            limited = seen[0] % 2 == 0
            if limited:
                server.requests.remove(request)
            return Reply(429, b"slow", {"Retry-After": "0"}) if limited else 204

        server.default = every_second
        done = sending.export(pipeline, [HOUR])["r"]
        assert done.error == ""
        held = {labels: sorted(set(samples)) for labels, samples in taken(server)[bad].items()}
        assert held == wanted[bad]
        (report,) = runs.hour_report(pipeline, HOUR).exports
        assert report.accepted == report.samples == sum(map(len, expected(tmp_path).values()))


def test_a_ledger_that_is_made_anew_knows_what_is_owed(tmp_path: Path):
    with scripted_server() as server:
        with opened(tmp_path, receiver(server)) as pipeline:
            derive(pipeline)
            wanted = tenants(tmp_path)
            bad = next(iter(wanted))
            server.default = refusing(bad, 429)
            sending.export(pipeline, [HOUR])
        server.default, server.requests = 204, []
        for ledger in ("second.db", "third.db"):
            with opened(tmp_path, receiver(server), ledger=ledger) as pipeline:
                derive(pipeline)
                done = sending.export(pipeline, [HOUR])["r"]
                assert (done.error, left(pipeline)) == ("", (3, 0))
                # The third one sends nothing: what was owed was sent by the second.
                assert taken(server) == {bad: wanted[bad]}
                (report,) = runs.hour_report(pipeline, HOUR).exports
                assert report.accepted == sum(map(len, expected(tmp_path).values()))


def test_a_rule_that_is_new_reaches_a_tenant_that_was_owed(tmp_path: Path):
    rules = [rule.model_dump() for rule in config().recording_rules]
    with scripted_server() as server:
        with opened(tmp_path, receiver(server), series=config(rules[:1])) as pipeline:
            derive(pipeline)
            bad = next(iter(tenants(tmp_path)))
            server.default = refusing(bad, 429)
            sending.export(pipeline, [HOUR])
        server.requests.clear()
        with opened(tmp_path, receiver(server), series=config(rules[:2])) as pipeline:
            runs.run(pipeline, [HOUR], STEPS, run_id="again")
            wanted = tenants(tmp_path)
            assert sending.export(pipeline, [HOUR])["r"].held.keys() == {bad}
            server.default, server.requests = 204, []
            done: ExportCounts = sending.export(pipeline, [HOUR])["r"]
            assert (done.error, done.changed, left(pipeline)) == ("", 0, (3, 0))
            assert taken(server) == {bad: wanted[bad]}


def test_tenants_are_paused_and_resumed_one_by_one(tmp_path: Path):
    with scripted_server() as server, opened(tmp_path, receiver(server)) as pipeline:
        derive(pipeline)
        wanted = tenants(tmp_path)
        one = next(iter(wanted))
        assert sending.pause(pipeline, "r", paused=True, tenant=one)
        assert not sending.pause(pipeline, "r", paused=True, tenant=one)
        assert sending.export(pipeline, [HOUR])["r"].error == ""
        assert taken(server) == {tenant: held for tenant, held in wanted.items() if tenant != one}
        assert left(pipeline)[1] > 0
        assert sending.pause(pipeline, "r", paused=False, tenant=one)
        assert sending.export(pipeline, [HOUR])["r"].error == ""
        assert taken(server) == wanted


def test_a_run_does_not_wait_for_a_receiver_that_settles_nothing(tmp_path: Path):
    """What is left is said and counted, and the next export goes on."""
    slow = {"retry_for": "5m", "timeout": "30s"}
    busy = Reply(503, b"busy", {"Retry-After": "60"})
    with scripted_server(default=busy) as server, opened(tmp_path, receiver(server, **slow)) as pipeline:
        derive(pipeline)
        done = sending.export(pipeline, [HOUR], idle_seconds=0.5)["r"]
        assert not done.is_whole
        assert done.left == 3
        assert "3 jobs are left for the next run" in done.summary
        assert "status 503" in done.error
        assert "status 503" in sending.receiver_states(pipeline)["r"].error
        # One limited tenant is waited for no longer.
        bad = next(iter(tenants(tmp_path)))
        server.default = refusing(bad, Reply(429, b"slow", {"Retry-After": "60"}))
        done = sending.export(pipeline, [HOUR], idle_seconds=0.5)["r"]
        assert done.left > 0
        assert list(done.held) == [bad]
        server.default, server.requests = 204, []
        assert sending.export(pipeline, [HOUR])["r"].is_whole
        assert left(pipeline) == (3, 0)


def test_a_run_ends_although_a_receiver_trickles(tmp_path: Path):
    short, slow = {"timeout": "200ms", "retry_for": "300ms"}, Reply(204, trickle="headers")
    with scripted_server(default=slow) as server, opened(tmp_path, receiver(server, **short)) as pipeline:
        derive(pipeline)
        assert "no answer" in sending.export(pipeline, [HOUR])["r"].error


def test_jobs_that_lie_in_the_future_are_said(tmp_path: Path):
    with scripted_server() as server, opened(tmp_path, receiver(server), now_ms=NOW_MS - 3_600_000) as pipeline:
        derive(pipeline)
        assert sending.export(pipeline, [HOUR])["r"].summary == "3 jobs lie in the future and wait for their time"
        assert server.requests == []


def test_a_tenant_that_is_held_up_is_no_reason_for_a_run_but_others_are(tmp_path: Path):
    with scripted_server() as server, opened(tmp_path, receiver(server)) as pipeline:
        derive(pipeline)
        bad = next(iter(tenants(tmp_path)))
        server.default = refusing(bad, 429)
        sending.export(pipeline, [HOUR])
        worth = sending.worth_a_run(pipeline, pipeline.receivers())
        assert worth["r"][1] == [bad]
        assert sending.with_exports(pipeline, {}, worth) == {}
        # A minute later it is asked again.
        assert list(sending.with_exports(pipeline, {}, {"r": (worth["r"][0], [])})) == [HOUR]


def test_a_tenants_state_is_shown_wherever_the_receivers_is(tmp_path: Path):
    with scripted_server() as server, opened(tmp_path, receiver(server)) as pipeline:
        derive(pipeline)
        bad = next(iter(tenants(tmp_path)))
        server.default = refusing(bad, Reply(403, b"no"))
        sending.export(pipeline, [HOUR])
        (report,) = runs.hour_report(pipeline, HOUR).exports
        assert report.owed[bad] > 0
        assert "check their permissions" in report.held[bad]
        assert not report.waits
        now = look(pipeline, NOW_MS)
        assert list(now.receivers[0].owed) == [bad]
        [alert] = [one for one in alerts(now) if one.name == "PyroAssetsTenantHeld"]
        assert f"no samples of tenant {bad!r}" in alert.summary
        text = exposition(upkeep.health(pipeline).collect())
        assert f'pyro_assets_receiver_tenant_up{{receiver="r",tenant="{bad}"}} 0' in text
        assert 'pyro_assets_receiver_up{receiver="r"} 1' in text
        assert f'pyro_assets_export_owed_jobs{{receiver="r",tenant="{bad}"}} {report.owed[bad]}' in text
        sending.pause(pipeline, "r", paused=True, tenant=bad)
        assert runs.hour_report(pipeline, HOUR).exports[0].waits
