"""Exports against scripted receivers: what is sent once, again, not at all, in which order, and what receipts say."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from pyro_assets.errors import SettingsError
from pyro_assets.export.receipt import Receipt
from pyro_assets.export.receipts import ReceiptRecords
from pyro_assets.export.states import ActiveSeriesRecords, export_due_hours
from pyro_assets.ledger.database import Ledger
from pyro_assets.operations import runs, sending
from pyro_assets.receivers.model import Receiver
from pyro_assets.storage.keys import HOUR_MS, hour_start_ms
from tests.support.exports import GOLDEN, HOUR, NOW_MS, config, derive, expected, got, opened, scripted
from tests.support.scripted_server import Reply, Request, ScriptedServer, scripted_server


def receipts(folder: Path, receiver: str = "r") -> list[dict[str, Any]]:
    return [json.loads(path.read_bytes()) for path in sorted((folder / "archive/receipts" / receiver).rglob("*.json"))]


def jobs_of(folder: Path, ledger: str = "ledger.db") -> dict[str, str]:
    opened_ledger = Ledger.open(str(folder / ledger))
    try:
        with opened_ledger.read() as connection:
            return {row[0]: row[1] for row in connection.exec_driver_sql("SELECT id, state FROM jobs")}
    finally:
        opened_ledger.close()


def tenants_of(server: ScriptedServer) -> set[str]:
    return {request.headers["X-Scope-OrgID"] for request in server.requests}


def test_every_sample_is_sent_once_and_has_a_receipt(tmp_path: Path):
    with scripted_server() as server, opened(tmp_path, scripted(server)) as pipeline:
        derive(pipeline)
        done = sending.export(pipeline)["r"]
        assert got(server) == expected(tmp_path)
        samples = sum(map(len, expected(tmp_path).values()))
        assert (done.jobs, done.samples, done.refused.total(), done.error) == (3, samples, 0, "")
        assert set(jobs_of(tmp_path).values()) == {"exported"}
        (report,) = runs.hour_report(pipeline, HOUR).exports
        assert (report.jobs, report.pending, report.accepted, report.refused) == (3, 0, samples, 0)
        assert report.requests == len(server.requests)
        assert report.lag is not None
        assert report.lag.jobs == 3
        assert sum(kind["accepted"] for one in receipts(tmp_path) for kind in one["kinds"]) == samples
        requests = len(server.requests)
        assert sending.export(pipeline, [HOUR])["r"].summary == "nothing to send"
        assert len(server.requests) == requests


def test_times_ascend_in_each_shard_and_each_request_has_one(tmp_path: Path):
    with scripted_server() as server, opened(tmp_path, scripted(server)) as pipeline:
        derive(pipeline)
        sending.export(pipeline, [HOUR])
    times = [{time for _, _, time in request.series} for request in server.requests]
    assert all(len(one) == 1 for one in times)
    assert [one for request in times for one in request] == sorted(one for request in times for one in request)


def test_a_rebuilt_ledger_does_not_send_again(tmp_path: Path):
    with scripted_server() as server:
        with opened(tmp_path, scripted(server)) as pipeline:
            derive(pipeline)
            sending.export(pipeline, [HOUR])
        requests = len(server.requests)
        with opened(tmp_path, scripted(server), ledger="new.db") as pipeline:
            derive(pipeline)
            done = sending.export(pipeline, [HOUR])["r"]
            assert len(server.requests) == requests
            assert (done.jobs, done.requests) == (3, 0)
            (report,) = runs.hour_report(pipeline, HOUR).exports
            assert (report.jobs, report.pending) == (3, 0)
            assert report.accepted == sum(map(len, expected(tmp_path).values()))
        assert set(jobs_of(tmp_path, "new.db").values()) == {"exported"}


def test_a_new_rule_is_sent_and_a_changed_one_is_reported(tmp_path: Path):
    rules = list(config().recording_rules)
    assert len(rules) > 1
    plain = [rule.model_dump() for rule in rules]
    with scripted_server() as server:
        with opened(tmp_path, scripted(server), series=config(plain[:1])) as pipeline:
            derive(pipeline)
            sending.export(pipeline, [HOUR])
        before, requests = got(server), len(server.requests)
        changed = [plain[0] | {"external_labels": [{"name": "edited", "value": "yes"}]}, plain[1]]
        with opened(tmp_path, scripted(server), series=config(changed)) as pipeline:
            steps = frozenset({"dimension_series", "function_series"})
            runs.run(pipeline, [HOUR], steps, run_id="again")  # type: ignore[arg-type]
            done = sending.export(pipeline, [HOUR])["r"]
            fresh = [one for request in server.requests[requests:] for one in request.series]
            assert fresh
            assert not any(dict(labels).get("edited") for labels, _, _ in fresh)
            assert not {labels for labels, _, _ in fresh} & set(before)
            assert done.changed > 0
            (report,) = runs.hour_report(pipeline, HOUR).exports
            assert report.changed > 0
            assert any("changed after it was sent" in example for example in report.examples)
            requests = len(server.requests)
            assert sending.export(pipeline, [HOUR])["r"].jobs == 0
            assert len(server.requests) == requests
            # Two choices: a file with the new values, or leave it at that.
            begin_ms = hour_start_ms(HOUR)
            assert sending.write_files(
                pipeline, None, tmp_path / "om", "openmetrics", begin_ms, begin_ms + HOUR_MS
            ).samples
            assert sending.keep_changed(pipeline, "r", begin_ms, begin_ms + HOUR_MS) > 0
            (report,) = runs.hour_report(pipeline, HOUR).exports
            assert (report.changed, report.pending) == (0, 0)
        # The first rule again as it was: nothing differs from what was sent any more.
        with opened(tmp_path, scripted(server), series=config(plain[:2])) as pipeline:
            runs.run(pipeline, [HOUR], steps, run_id="back")  # type: ignore[arg-type]
            assert sending.export(pipeline, [HOUR])["r"].changed == 0
            assert len(server.requests) == requests
            (report,) = runs.hour_report(pipeline, HOUR).exports
            assert report.changed == 0


def test_a_dead_receiver_does_not_hold_up_the_other(tmp_path: Path):
    with scripted_server() as good, scripted_server(default=503) as bad:
        dead = scripted(bad, "dead", retry_for="1s")
        with opened(tmp_path, scripted(good, "good"), dead) as pipeline:
            derive(pipeline)
            done = sending.export(pipeline, [HOUR])
            assert got(good) == expected(tmp_path)
            assert done["good"].error == ""
            assert "status 503" in done["dead"].error
            assert set(jobs_of(tmp_path).values()) == {"derived"}
            reports = {report.receiver: report for report in runs.hour_report(pipeline, HOUR).exports}
            assert (reports["good"].pending, reports["dead"].pending) == (0, 3)
            assert "status 503" in reports["dead"].error
            bad.default = 204
            sent = len(good.requests)
            bad.requests.clear()
            assert sending.export(pipeline, [HOUR])["dead"].error == ""
            assert got(bad) == expected(tmp_path)
            assert len(good.requests) == sent
            assert set(jobs_of(tmp_path).values()) == {"exported"}


def test_paused_and_resumed(tmp_path: Path):
    with scripted_server() as server, opened(tmp_path, scripted(server)) as pipeline:
        derive(pipeline)
        assert sending.pause(pipeline, "r", paused=True)
        assert not sending.pause(pipeline, "r", paused=True)
        assert sending.export(pipeline, [HOUR])["r"].paused
        assert server.requests == []
        (report,) = runs.hour_report(pipeline, HOUR).exports
        assert (report.paused, report.pending) == (True, 3)
        assert sending.pause(pipeline, "r", paused=False)
        assert sending.export(pipeline, [HOUR])["r"].jobs == 3
        with pytest.raises(SettingsError, match="no receiver 'x'"):
            sending.pause(pipeline, "x", paused=True)


def test_a_receiver_that_was_added_later_starts_now_or_where_it_says(tmp_path: Path):
    with scripted_server() as server:
        with opened(tmp_path, scripted(server, start="now")) as pipeline:
            derive(pipeline)
            assert sending.export(pipeline)["r"].jobs == 0
            assert server.requests == []
            assert export_due_hours(pipeline) == {}
        with opened(tmp_path, scripted(server, start=HOUR)) as pipeline:
            assert export_due_hours(pipeline) == {HOUR: 3}
            assert sending.export(pipeline)["r"].jobs == 3


def test_refused_samples_are_counted_kept_and_do_not_block(tmp_path: Path):
    with scripted_server() as every, opened(tmp_path / "all", scripted(every)) as pipeline:
        derive(pipeline)
    services = {dict(labels).get("service_name") for labels in expected(tmp_path / "all")} - {None}
    victim = sorted(map(str, services))[0]

    def refuses(request: Request) -> Reply:
        bad = any(dict(labels).get("service_name") == victim for labels, _, _ in request.series)
        return Reply(400, b"out of order sample") if bad else Reply()

    with scripted_server(default=refuses) as server, opened(tmp_path / "some", scripted(server)) as pipeline:
        derive(pipeline)
        done = sending.export(pipeline, [HOUR])["r"]
        assert done.jobs == 3
        assert done.refused.total() > 0
        (report,) = runs.hour_report(pipeline, HOUR).exports
        assert report.pending == 0
        assert report.accepted + report.refused == report.samples
        assert report.examples
        # The next run is to know of them: it sends them apart.
        refused = ActiveSeriesRecords(pipeline.ledger).refused_series("r", NOW_MS)
        assert sum(map(len, refused.values())) == report.refused
        assert report.tenants.keys() == refused.keys()
        requests = len(server.requests)
        sending.export(pipeline, [HOUR])
        assert len(server.requests) == requests


def test_too_old_is_recognised_before_sending(tmp_path: Path):
    late = NOW_MS + 40 * 86_400_000
    with scripted_server() as server, opened(tmp_path, scripted(server), now_ms=late) as pipeline:
        derive(pipeline)
        done = sending.export(pipeline, [HOUR])["r"]
        assert server.requests == []
        (report,) = runs.hour_report(pipeline, HOUR).exports
        assert done.refused == {"too_old": report.samples}
        assert report.reasons == {"too_old": report.samples}
        assert report.pending == 0


def test_wrong_credentials_are_said_and_no_secret_is_anywhere(tmp_path: Path, caplog: pytest.LogCaptureFixture):
    secret = "canary-5ecret-9f3"
    with scripted_server(default=Reply(401, secret.encode())) as server:
        receiver = Receiver(
            name="r", url=f"{server.url}/api/v1/write", kind="prometheus", bearer_token={"env": "TOKEN"},
            out_of_order_window="30d",
        )  # fmt: skip
        with opened(tmp_path, receiver, secrets={"TOKEN": secret}) as pipeline:
            derive(pipeline)
            done = sending.export(pipeline, [HOUR])["r"]
            assert "credentials" in done.error
            assert secret not in repr(done)
            assert secret not in repr(runs.hour_report(pipeline, HOUR))
        # Nothing can have arrived, so no receipt is open.
        assert ReceiptRecords(Ledger.open(str(tmp_path / "ledger.db"))).receipts_of(next(iter(jobs_of(tmp_path)))) == []
    held = b"".join(path.read_bytes() for path in tmp_path.rglob("*") if path.is_file())
    assert secret.encode() not in held
    assert secret not in caplog.text


def test_a_page_for_people_is_no_receiver(tmp_path: Path):
    page = Reply(200, b"<!doctype html><title>Login</title>", {"Content-Type": "text/html"})
    with scripted_server(default=page) as server, opened(tmp_path, scripted(server)) as pipeline:
        derive(pipeline)
        done = sending.export(pipeline, [HOUR])["r"]
        assert "HTML" in done.error
        assert done.jobs == 0


def test_a_storm_of_429_is_waited_out(tmp_path: Path):
    storm = [Reply(429, b"slow down", {"Retry-After": "0"})] * 25
    with scripted_server(*storm) as server, opened(tmp_path, scripted(server)) as pipeline:
        derive(pipeline)
        done = sending.export(pipeline, [HOUR])["r"]
        assert done.error == ""
        (report,) = runs.hour_report(pipeline, HOUR).exports
        # Only first requests (of a tenant and kind) are repeated by another one, of the tenant's own thread.
        assert report.retries == done.retries >= 25 - 2 * len(tenants_of(server))
        assert report.requests == done.requests == len(server.requests)


def test_the_connection_is_cut_after_storing(tmp_path: Path):
    with scripted_server(Reply(cut=True)) as server, opened(tmp_path, scripted(server)) as pipeline:
        derive(pipeline)
        assert sending.export(pipeline, [HOUR])["r"].error == ""
        assert server.requests[0].body == server.requests[1].body
        assert {labels: sorted(set(samples)) for labels, samples in got(server).items()} == expected(tmp_path)


def test_two_processes_do_not_send_one_job_at_once(tmp_path: Path):
    with scripted_server() as server, opened(tmp_path, scripted(server)) as pipeline:
        derive(pipeline)
        ledger, now_ms = pipeline.ledger, pipeline.clock()
        due = ReceiptRecords(ledger).export_due("r", [HOUR])
        opened_one = Receipt(due[0].job_id, due[0].files[0].kind, "r", "sending", file_ms=due[0].files[0].written_ms)
        assert ReceiptRecords(ledger).open_receipts([opened_one], now_ms)
        with ledger.write() as connection:  # as if another machine had opened it
            connection.exec_driver_sql("UPDATE receipts SET detail = replace(detail, '/', '-elsewhere/')")
        assert not ReceiptRecords(ledger).open_receipts([opened_one], now_ms + 60_000)
        assert ReceiptRecords(ledger).open_receipts([opened_one], now_ms + 120_000)
        assert sending.export(pipeline, [HOUR])["r"].jobs == 3
        assert got(server) == expected(tmp_path)
        # What another process has closed meanwhile is not opened again.
        assert not ReceiptRecords(ledger).open_receipts([opened_one], now_ms)


def test_a_damaged_file_of_series_does_not_hold_up_the_other_jobs(tmp_path: Path):
    with scripted_server() as server, opened(tmp_path, scripted(server)) as pipeline:
        derive(pipeline)
        first, *_ = ReceiptRecords(pipeline.ledger).export_due("r", [HOUR])
        path = tmp_path / "archive" / first.files[0].key
        data = path.read_bytes()
        path.write_bytes(b"no Parquet")
        done = sending.export(pipeline, [HOUR])["r"]
        assert done.jobs == 2
        assert first.job_id in done.error
        assert not done.fatal
        assert runs.hour_report(pipeline, HOUR).exports[0].pending == 1
        path.write_bytes(data)
        assert sending.export(pipeline, [HOUR])["r"].error == ""
        assert got(server) == expected(tmp_path)


def test_an_unfinished_job_holds_its_shard_back_for_half_a_minute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    plain = {"out_of_order_window": None}
    with scripted_server() as server:
        with opened(tmp_path, scripted(server)) as pipeline:
            derive(pipeline)

        def send(later_ms: int, **fields: Any) -> int:
            with opened(tmp_path, scripted(server, **fields), now_ms=NOW_MS + later_ms) as pipeline:
                monkeypatch.setattr(ReceiptRecords, "unfinished_before", lambda *_, **__: True)
                return sending.export(pipeline)["r"].jobs

        assert send(0, **plain) == 0
        assert server.requests == []
        # Half a minute later it is sent, whatever becomes of the earlier job.
        assert send(31_000, **plain) == 3
        assert got(server) == expected(tmp_path)


def test_the_limit_of_active_series_counts_over_processes(tmp_path: Path):
    """Live runs are processes of a minute: what one sent, the next one must know."""

    def distinct(server: ScriptedServer) -> dict[str, int]:
        found: dict[str, set[Any]] = {}
        for labels in got(server):
            found.setdefault(dict(labels)["tenant"], set()).add(labels)
        return {tenant: len(series) for tenant, series in sorted(found.items())}

    with scripted_server() as server, opened(tmp_path / "free", scripted(server)) as pipeline:
        derive(pipeline)
        sending.export(pipeline, [HOUR])
        without_limit = distinct(server)
    limit = max(without_limit.values()) // 2
    with scripted_server() as server:
        receiver = scripted(server, limits={"active_series": limit})
        refused: Counter[str] = Counter()
        accepted = 0
        for job in GOLDEN.jobs:
            with opened(tmp_path, receiver) as pipeline:
                runs.run_exact(pipeline, [job], run_id="run")
                done = sending.export(pipeline, [HOUR])["r"]
                assert (done.jobs, done.error) == (1, "")
                refused += done.refused
                accepted += done.samples
        assert distinct(server) == {tenant: min(count, limit) for tenant, count in without_limit.items()}
        assert set(refused) == {"active_series"}
        assert accepted + refused.total() == sum(map(len, expected(tmp_path).values()))
        # One process that sends all of it decides the same.
        with (
            scripted_server() as other,
            opened(tmp_path / "one", scripted(other, limits={"active_series": limit})) as p,
        ):
            derive(p)
            assert sending.export(p, [HOUR])["r"].refused == refused
            assert got(other) == got(server)
    # A receiver without a limit costs the ledger nothing.
    with opened(tmp_path / "free") as pipeline, pipeline.ledger.read() as connection:
        assert connection.exec_driver_sql("SELECT count(*) FROM active_series").scalar() == 0
