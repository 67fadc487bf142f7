"""The promise against real servers: what they hold, read back by PromQL, equals the series to the last digit."""

import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event

from pyro_assets.export.remote_write.batch import prepare
from pyro_assets.export.remote_write.client import Client
from pyro_assets.export.remote_write.probe import check_receiver
from pyro_assets.export.samples import open_series
from pyro_assets.operations import runs, sending
from pyro_assets.receivers.model import Receiver
from pyro_assets.storage.keys import HOUR_MS, hour_of, hour_start_ms
from tests.support import servers
from tests.support.exports import GOLDEN, HOUR, derive, expected, got, opened, scripted
from tests.support.golden_bucket import GoldenBucket
from tests.support.remote_write import NOW_MS as SAMPLE_MS
from tests.support.remote_write import many, row, samples, series_file
from tests.support.scripted_server import Reply, Request, scripted_server
from tests.support.servers import PROMETHEUS_VERSIONS, Server

pytestmark = pytest.mark.service

BEGIN_MS = hour_start_ms(HOUR)
VM = {"kind": "victoriametrics", "dedup": True, "retention": "10y", "out_of_order_window": None}
WINDOW = {"kind": "prometheus", "out_of_order_window": "3650d"}


@contextmanager
def running(folder: Path, which: str) -> Iterator[tuple[Server, dict[str, Any]]]:
    """A server, and what its receiver declares."""
    if which.startswith("vm"):
        with servers.victoriametrics(folder / "vm", dedup=which == "vm") as server:
            yield server, VM | ({} if which == "vm" else {"dedup": False})
        return
    version, _, window = which.partition("+")
    fields = WINDOW | ({} if window else {"out_of_order_window": None})
    with servers.prometheus(folder / "tsdb", version=version, window=window or None) as server:
        yield server, fields


def held(server: Server, prefix: str = "") -> dict[Any, list[tuple[int, float]]]:
    server.flush()
    found = server.samples(f'{{__name__=~"{prefix}.+"}}', BEGIN_MS, BEGIN_MS + HOUR_MS)
    return {labels: sorted((time, float(value)) for time, value in values) for labels, values in found.items()}


def recorded(golden: GoldenBucket) -> dict[Any, list[tuple[int, float]]]:
    found: dict[Any, list[tuple[int, float]]] = {}
    for time, series in golden.recorded.items():
        for (tenant, metric, labels), value in series.items():
            named = {"__name__": metric, "tenant": tenant, **dict(labels)}
            key = tuple(sorted((name, text) for name, text in named.items() if text))
            found.setdefault(key, []).append((time, value))
    return {labels: sorted(values) for labels, values in found.items()}


ALL = [*PROMETHEUS_VERSIONS, *(f"{version}+3650d" for version in PROMETHEUS_VERSIONS), "vm"]


@pytest.mark.parametrize("which", ALL)
def test_everything_that_was_derived_is_there_and_a_repeated_backfill_changes_nothing(tmp_path: Path, which: str):
    with running(tmp_path, which) as (server, fields):
        with opened(tmp_path, scripted(server, **fields)) as pipeline:
            derive(pipeline)
            for _ in range(2):
                assert sending.export(pipeline, [HOUR])["r"].error == ""
                assert held(server) == expected(tmp_path)
                assert held(server, "profiles_recorded_") == recorded(GOLDEN)
            found = sending.reconcile(pipeline, "r", BEGIN_MS, BEGIN_MS + HOUR_MS)
            assert found.is_equal
        # A ledger and receipts that are both gone: everything is sent again.
        if which.endswith("d") or which == "vm":
            again = tmp_path / "again"
            with opened(again, scripted(server, **fields)) as pipeline:
                derive(pipeline)
                assert sending.export(pipeline, [HOUR])["r"].refused.total() == 0
            assert held(server) == expected(again) == expected(tmp_path)


def test_the_534_recorded_samples_are_read_back(tmp_path: Path, bucket_2026: Path):
    golden = GoldenBucket(bucket_2026)
    with running(tmp_path, "prometheus+3650d") as (server, fields):
        with opened(tmp_path, scripted(server, **fields), golden=golden) as pipeline:
            derive(pipeline, golden)
            hours = sorted({hour_of(time) for time in golden.recorded})
            assert sending.export(pipeline, hours)["r"].error == ""
        begin, end = hour_start_ms(hours[0]), hour_start_ms(hours[-1]) + HOUR_MS
        found = server.samples('{__name__=~"profiles_recorded_.+"}', begin, end)
    there = {labels: sorted((time, float(value)) for time, value in values) for labels, values in found.items()}
    assert there == recorded(golden)
    assert sum(map(len, there.values())) == 534


def test_without_dedup_a_repeated_sample_is_shown_by_reconcile(tmp_path: Path):
    """VictoriaMetrics without -dedup.minScrapeInterval counts twice; `receivers check` warns of it."""
    with running(tmp_path, "vm without") as (server, fields):
        receiver = scripted(server, **fields)
        assert any("dedup" in warning for warning in receiver.warnings())
        with opened(tmp_path, receiver) as pipeline:
            derive(pipeline)
            sending.export(pipeline, [HOUR])
        with opened(tmp_path / "again", receiver) as pipeline:
            derive(pipeline)
            sending.export(pipeline, [HOUR])
        twice = {labels: sorted(values * 2) for labels, values in expected(tmp_path).items()}
        assert held(server) == twice


def test_two_receivers_one_dead_for_a_while(tmp_path: Path):
    with running(tmp_path, "prometheus+3650d") as (good, fields), scripted_server(default=503) as bad:
        dead = scripted(bad, "dead", retry_for="1s", **fields)
        with opened(tmp_path, scripted(good, "good", **fields), dead) as pipeline:
            derive(pipeline)
            done = sending.export(pipeline, [HOUR])
            assert held(good) == expected(tmp_path)
            assert "503" in done["dead"].error
            bad.default = 204
            bad.requests.clear()
            assert sending.export(pipeline, [HOUR])["dead"].error == ""
            assert got(bad) == expected(tmp_path)


def test_cut_after_it_stored_and_before_it_answered(tmp_path: Path):
    with running(tmp_path, "prometheus") as (server, fields):
        cuts = 2

        def forward(request: Request) -> Reply:
            nonlocal cuts
            names = ("Content-Type", "Content-Encoding", "X-Prometheus-Remote-Write-Version")
            headers = {name: request.headers[name] for name in names}
            sent = urllib.request.Request(server.write_url, request.body, headers)
            with urllib.request.urlopen(sent, timeout=30) as answer:
                status = answer.status
            cuts -= 1
            return Reply(cut=True) if cuts >= 0 else Reply(status)

        with scripted_server(default=forward) as proxy, opened(tmp_path, scripted(proxy, **fields)) as pipeline:
            derive(pipeline)
            done = sending.export(pipeline, [HOUR])["r"]
            assert (done.error, done.retries, done.refused.total()) == ("", 2, 0)
        assert held(server) == expected(tmp_path)


@pytest.mark.parametrize("version", PROMETHEUS_VERSIONS)
def test_one_bad_series_in_2000(tmp_path: Path, version: str):
    with running(tmp_path, version) as (server, fields):
        receiver = Receiver(name="r", url=server.write_url, **fields)
        spoilt = prepare(samples(row(value=-1.0, pod="p01234")), receiver, SAMPLE_MS)
        with Client(receiver, {}) as client:
            assert client.send(spoilt.batches()).accepted == 1
            report = client.send(prepare(many(2000), receiver, SAMPLE_MS).batches())
        assert (report.accepted, report.refused.total, report.error) == (1999, 1, None)
        assert report.refused.by_reason == {"conflict": 1}
        assert report.requests < 40
        (example,) = report.refused.examples
        assert example.labels["pod"] == "p01234"


@pytest.mark.parametrize("version", PROMETHEUS_VERSIONS)
def test_of_a_job_with_refusals_reconcile_expects_what_was_accepted(tmp_path: Path, version: str):
    with running(tmp_path, version) as (server, fields):
        receiver = scripted(server, **fields)
        with opened(tmp_path, receiver) as pipeline:
            derive(pipeline)
            victim, ((time, _),) = sorted(expected(tmp_path).items())[40]
            labels = dict(victim)
            metric = labels.pop("__name__")
            # Somebody else's sample of the same series: newer, so that ours is refused, and its request with it.
            ahead = row(metric, -1.0, time + 60_000, labels.pop("tenant"), **labels)
            with Client(receiver, {}) as client:
                assert client.send(prepare(samples(ahead), receiver, time + 60_000).batches()).accepted == 1
            done = sending.export(pipeline, [HOUR])["r"]
            assert (done.refused, done.error) == ({"out_of_order": 1}, "")
            found = sending.reconcile(pipeline, "r", BEGIN_MS, BEGIN_MS + HOUR_MS, only_sent=True)
        everything = sum(map(len, expected(tmp_path).values()))
        assert (found.compared, found.equal, found.refused) == (everything - 1, everything - 1, 1)
        assert (found.total("missing"), found.total("extra")) == (0, 1)  # what somebody else sent
        assert [one.actual for one in found.examples] == [-1.0]


@pytest.mark.parametrize("version", PROMETHEUS_VERSIONS)
def test_a_block_that_is_too_old_by_the_receivers_answers(tmp_path: Path, version: str):
    """The declared window is wrong: one hour there, ten years here. Refused once, shown, and a file is the way out."""
    with running(tmp_path, f"{version}+1h") as (server, fields):
        receiver = Receiver(name="new", url=server.write_url, **WINDOW)
        newer = prepare(many(1, timestamp_ms=SAMPLE_MS + 7_200_000), receiver, SAMPLE_MS + 7_200_000)
        with Client(receiver, {}) as client:
            assert client.send(newer.batches()).accepted == 1
        with opened(tmp_path, scripted(server, **fields)) as pipeline:
            derive(pipeline)
            done = sending.export(pipeline, [HOUR])["r"]
            assert done.error == ""
            (report,) = runs.hour_report(pipeline, HOUR).exports
            assert report.reasons == {"too_old": report.samples}
            assert sending.export(pipeline, [HOUR])["r"].requests == 0
            files = sending.write_files(
                pipeline, receiver, tmp_path / "files", "openmetrics", BEGIN_MS, BEGIN_MS + HOUR_MS
            )
            assert files.samples == report.samples


def test_100_000_series_in_one_job(tmp_path: Path):
    found = open_series(series_file(100_000))
    with running(tmp_path, PROMETHEUS_VERSIONS[-1]) as (server, fields):
        receiver = Receiver(name="r", url=server.write_url, **fields)
        prepared = prepare(found, receiver, SAMPLE_MS)
        with Client(receiver, {}) as client:
            report = client.send(prepared.batches())
        assert (report.accepted, report.error) == (prepared.derived, None)
        (counted,) = server.get(
            "/api/v1/query", query='count({__name__=~"pyroscope_.+"})', time=str(SAMPLE_MS / 1000 + 1)
        )["data"]["result"]
        assert int(counted["value"][1]) == report.accepted


#: bcrypt of the right password, cost 4.
RIGHT = "r1ght-canary"
WEB = "basic_auth_users: {user: $2b$04$EoIyrLiEDkjYDwH/1L1c0ur0bQCO9swtsYoFXMxZjTuIiAVNSatHW}\n"


@pytest.mark.parametrize("version", PROMETHEUS_VERSIONS)
def test_wrong_and_right_password(tmp_path: Path, version: str):
    wrong = "wr0ng-canary"
    path = tmp_path / "password"
    auths: list[dict[str, Any]] = [{"env": "PASSWORD"}, {"file": str(path)}]
    with servers.prometheus(tmp_path / "tsdb", version=version, window="3650d", web_config=WEB) as server:
        for number, place in enumerate(auths):
            folder = tmp_path / str(number)
            receiver = scripted(server, basic_auth={"username": "user", "password": place})  # type: ignore[arg-type]
            path.write_text(wrong)
            with opened(folder, receiver, secrets={"PASSWORD": wrong}) as pipeline:
                derive(pipeline)
                done = sending.export(pipeline, [HOUR])["r"]
                assert "credentials" in done.error
                assert (done.samples, done.jobs) == (0, 0)
                assert wrong not in done.error
                check = check_receiver(receiver, {"PASSWORD": wrong})
                assert (check.answers, check.accepts) == (True, False)
                assert wrong not in str(check)
            path.write_text(RIGHT + "\n")
            with opened(folder, receiver, secrets={"PASSWORD": RIGHT}) as pipeline:
                done = sending.export(pipeline, [HOUR])["r"]
                assert (done.error, done.refused.total(), done.jobs) == ("", 0, 3)
                assert check_receiver(receiver, {"PASSWORD": RIGHT}).accepts
                found = sending.reconcile(pipeline, "r", BEGIN_MS, BEGIN_MS + HOUR_MS)
                assert found.is_equal
                assert found.equal == done.samples > 0
            for kept in folder.rglob("*"):
                if kept.is_file():
                    assert not [one for one in (wrong, RIGHT) if one.encode() in kept.read_bytes()], kept


def test_a_ledger_on_a_full_disk(tmp_path: Path):
    with scripted_server() as server:
        with opened(tmp_path, scripted(server)) as pipeline:
            derive(pipeline)
            engine = pipeline.ledger._engine
            engine.dispose()

            @event.listens_for(engine, "connect")
            def limit(connection: Any, _: Any) -> None:
                pages = connection.execute("PRAGMA page_count").fetchone()[0]
                connection.execute(f"PRAGMA max_page_count = {pages}")

            done = sending.export(pipeline, [HOUR])["r"]
            assert done.fatal
            assert "full" in done.error
            # Room again: engines are kept for as long as the process lives.
            event.remove(engine, "connect", limit)
            engine.dispose()
        with opened(tmp_path, scripted(server)) as pipeline:
            assert sending.export(pipeline, [HOUR])["r"].error == ""
            assert {labels: sorted(set(values)) for labels, values in got(server).items()} == expected(tmp_path)


def test_tenants_share_a_receiver_by_label_or_each_has_its_own(tmp_path: Path):
    tenants = sorted({tenant for series in GOLDEN.recorded.values() for tenant, _, _ in series})
    assert len(tenants) > 1
    with running(tmp_path, "prometheus+3650d") as (server, fields):
        only = scripted(server, tenants=[tenants[0]], **fields)
        with opened(tmp_path, only) as pipeline:
            derive(pipeline)
            sending.export(pipeline, [HOUR])
            mine = {
                labels: values for labels, values in expected(tmp_path).items() if dict(labels)["tenant"] == tenants[0]
            }
            bare = {tuple(pair for pair in labels if pair[0] != "tenant"): values for labels, values in mine.items()}
            assert held(server) == bare
