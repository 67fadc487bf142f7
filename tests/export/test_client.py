"""Sending against a scripted receiver: what is tried again, waited for, split, given up, and what the report says."""

import traceback
from collections.abc import Iterator
from email.utils import formatdate
from typing import Any

import pytest

from pyro_assets.errors import ReceiverMisconfigured, ReceiverUnavailable, SecretMissing
from pyro_assets.export.remote_write.batch import Batch, prepare
from pyro_assets.export.remote_write.client import Client, SendReport
from pyro_assets.export.remote_write.isolate import RefusedSeries
from pyro_assets.export.remote_write.transport import refusal_reason
from pyro_assets.export.samples import Samples
from pyro_assets.receivers.model import Receiver
from tests.support.remote_write import NOW_MS, many, row, samples
from tests.support.scripted_server import (
    Answering,
    FakeClock,
    Reply,
    Request,
    ScriptedServer,
    own_certificate,
    scripted_server,
)

CANARY = "canary-5ecret-9f3"


def receiver(server: ScriptedServer, **fields: Any) -> Receiver:
    return Receiver(**({"name": "r", "url": f"{server.url}/api/v1/write", "kind": "mimir"} | fields))


def send(
    server: ScriptedServer, what: Samples, environ: dict[str, str] | None = None, clock: FakeClock | None = None,
    keep_going: Any = lambda: True, **fields: Any,
) -> SendReport:  # fmt: skip
    config = receiver(server, **fields)
    prepared = prepare(what, config, NOW_MS)
    assert not prepared.refusals.total
    with Client(config, environ or {}, clock=clock or FakeClock(), jitter=lambda: 1.0, keep_going=keep_going) as client:
        return client.send(prepared.batches())


def refuses(*pods: str, status: int = 400, text: str = "out of order sample") -> Answering:
    """Refuse every request with one of these pods."""

    def answer(request: Request) -> Reply:
        found = {dict(labels).get("pod") for labels, _, _ in request.series}
        return Reply(status, text.encode()) if found & set(pods) else Reply()

    return answer


def test_a_request_has_the_headers_of_the_protocol():
    with scripted_server() as server:
        report = send(server, many(3), headers={"X-Stage": "test"})
    (request,) = server.requests
    assert request.method == "POST"
    assert request.path == "/api/v1/write"
    for name, value in {
        "Content-Encoding": "snappy", "Content-Type": "application/x-protobuf", "X-Stage": "test",
        "X-Prometheus-Remote-Write-Version": "0.1.0", "X-Scope-OrgID": "acme",
    }.items():  # fmt: skip
        assert request.headers[name] == value
    assert request.headers["User-Agent"].startswith("pyro-assets/")
    assert "Retry-Attempt" not in request.headers
    assert len(request.series) == 3
    assert (report.accepted, report.refused.total, report.requests, report.retries, report.unsent) == (3, 0, 1, 0, 0)
    assert report.bytes == len(request.body)
    assert report.error is None


@pytest.mark.parametrize("status", [200, 202, 204])
def test_every_2xx_is_success(status: int):
    with scripted_server(Reply(status, b"ok" if status != 204 else b"")) as server:
        assert send(server, many(2)).accepted == 2


def test_passing_trouble_is_retried_with_the_same_bytes():
    clock = FakeClock()
    date = formatdate(clock.now + 9, usegmt=True)
    script = [
        Reply(429, headers={"Retry-After": "7"}), 503, Reply(cut=True), Reply(429, headers={"Retry-After": date}),
        408, Reply(529, headers={"Retry-After": "soon"}), 500,
    ]  # fmt: skip
    with scripted_server(*script) as server:
        report = send(server, many(4), clock=clock)
    assert (report.accepted, report.requests, report.retries) == (4, 8, 7)
    assert len({request.body for request in server.requests}) == 1
    assert len(server.requests[0].series) == 4
    assert [request.headers.get("Retry-Attempt") for request in server.requests] == [None, *"1234567"]
    # Waits doubled in between by 0.2, 0.4, ...: the date is 9 s after the clock's first second.
    assert clock.slept[0] == 7
    assert clock.slept[1:3] == pytest.approx([0.2, 0.4])
    assert clock.slept[3] == pytest.approx(9 - 7.6)
    assert clock.slept[4:] == pytest.approx([1.6, 3.2, 6.4])
    assert report.seconds == pytest.approx(sum(clock.slept))


def test_a_date_that_is_past_means_now():
    clock = FakeClock()
    date = formatdate(clock.now - 60, usegmt=True)
    with scripted_server(Reply(503, headers={"Retry-After": date})) as server:
        assert send(server, many(1), clock=clock).accepted == 1
    assert clock.slept == [0]


def test_jitter_only_makes_pauses_shorter():
    for jitter, pauses in ((0.0, [0.05, 0.1]), (1.0, [0.1, 0.2])):
        clock = FakeClock()
        with scripted_server(503, 503) as server:
            config = receiver(server)
            with Client(config, {}, clock=clock, jitter=lambda value=jitter: value) as client:
                client.send(prepare(many(1), config, NOW_MS).batches())
        assert clock.slept == pytest.approx(pauses)


def test_after_its_time_a_receiver_is_given_up():
    clock = FakeClock()
    with scripted_server(default=503) as server:
        report = send(server, many(5), clock=clock, retry_for="1m")
    assert isinstance(report.error, ReceiverUnavailable)
    assert "status 503" in str(report.error)
    assert "receiver r" in str(report.error)
    assert (report.accepted, report.unsent) == (0, 5)
    assert 30 < sum(clock.slept) <= 60


def test_a_wait_that_is_too_long_is_not_begun():
    clock = FakeClock()
    with scripted_server(Reply(429, headers={"Retry-After": "86400"})) as server:
        report = send(server, many(5), clock=clock)
    assert isinstance(report.error, ReceiverUnavailable)
    assert "asks to wait 86400 s" in str(report.error)
    assert clock.slept == []


def test_nobody_there():
    with scripted_server() as server:
        pass
    report = send(server, many(5), retry_for="1s")
    assert isinstance(report.error, ReceiverUnavailable)
    assert "no answer" in str(report.error)


def test_no_answer_in_time():
    import threading

    gate = threading.Event()

    def hang(_: Request) -> int:
        gate.wait(5)
        return 204

    with scripted_server(hang) as server:
        report = send(server, many(1), timeout="200ms")
        gate.set()
    assert (report.accepted, report.retries) == (1, 1)


@pytest.mark.parametrize(
    ("reply", "accepted", "retries", "words"),
    [
        (Reply(204, trickle="headers"), 0, 1, "no answer"),
        (Reply(204, trickle="continue"), 0, 1, "no answer"),
        (Reply(503, b"slow", trickle="body"), 0, 1, "status 503"),
        (Reply(401, b"slow", trickle="body"), 0, 0, "wants credentials"),
        (Reply(200, b"slow", trickle="body"), 1, 0, ""),
    ],
)
def test_a_request_to_a_trickling_receiver_ends(reply: Reply, accepted: int, retries: int, words: str):
    """Each byte comes in time, the answer never: the deadline is of the request as a whole."""
    with scripted_server(default=reply) as server:
        report = send(server, many(1), timeout="200ms", retry_for="150ms")
    assert (report.accepted, report.retries) == (accepted, retries)
    assert words in str(report.error or "")


def test_a_trickling_receiver_is_over_in_time_through_tls(tmp_path):
    certificate = own_certificate(tmp_path)
    slow = Reply(204, trickle="headers")
    with scripted_server(204, default=slow, certificate=certificate) as server:
        for words in ("", "Read timed out"):
            report = send(server, many(1), timeout="500ms", retry_for="0s", tls={"ca_file": str(certificate)})
            assert words in str(report.error or "")
            assert (report.error is None) == (not words)


@pytest.mark.parametrize("charset", ["idna", "no-such-charset", "undefined", "hex"])
def test_an_answer_whose_charset_cannot_be_used_is_an_answer(charset: str):
    reply = Reply(400, b"out of order sample \xff\x00", {"Content-Type": f"text/plain; charset={charset}"})
    with scripted_server(default=reply) as server:
        report = send(server, many(1))
    assert report.refused.by_reason == {"out_of_order": 1}


def test_sending_can_be_stopped():
    with scripted_server(503, default=204) as server:
        asked = iter([True, False])
        report = send(server, many(5), keep_going=lambda: next(asked))
    assert isinstance(report.error, ReceiverUnavailable)
    assert "asked to stop" in str(report.error)
    assert report.unsent == 5


def test_what_was_sent_before_trouble_is_told():
    rows = [row(pod=str(step), timestamp_ms=NOW_MS - step) for step in range(4)]
    with scripted_server(204, 204, default=401) as server:
        report = send(server, samples(*rows))
    assert isinstance(report.error, ReceiverMisconfigured)
    assert (report.accepted, report.unsent, report.requests) == (2, 1, 3)
    assert [request.series[0][2] for request in server.requests] == [NOW_MS - 3, NOW_MS - 2, NOW_MS - 1]


@pytest.mark.parametrize(
    ("reply", "words"),
    [
        (Reply(401), "wants credentials"),
        (Reply(403), "may not write"),
        (Reply(404), "nothing takes samples at this URL"),
        (Reply(404, b"remote write receiver needs to be enabled with --x"), "start Prometheus with"),
        (Reply(405), "takes no POST"),
        (Reply(407), "proxy"),
        (Reply(415), "remote write 1.0"),
        (Reply(501), "check the path"),
        (Reply(410), "refuses the request as such"),
        (Reply(301, headers={"Location": "https://user:pw@other.example/x?token=y"}), "redirects to other.example;"),
        (Reply(200, b"<html>Login</html>", {"Content-Type": "text/html; charset=utf-8"}), "a HTML page came back"),
        (Reply(200, b"\n<!DOCTYPE html><p>", {"Content-Type": "text/plain"}), "a HTML page came back"),
        (Reply(400, b"<html>Bad Request</html>", {"Content-Type": "text/html"}), "a HTML page came back"),
    ],
)  # fmt: skip
def test_what_never_works_is_a_configuration_error(reply: Reply, words: str):
    with scripted_server(reply) as server:
        report = send(server, many(3))
    assert isinstance(report.error, ReceiverMisconfigured)
    assert words in str(report.error)
    assert f"{server.url}/api/v1/write" in str(report.error)
    assert (report.requests, report.unsent) == (1, 3)


def test_one_bad_series_in_two_thousand():
    with scripted_server(default=refuses("p00777")) as server:
        report = send(server, many(2000))
    assert report.accepted == 1999
    assert report.refused.counts == {("out_of_order", "r"): 1}
    (example,) = report.refused.examples
    assert example.labels["pod"] == "p00777"
    assert "status 400: out of order sample" in example.detail
    assert report.requests < 40
    assert report.error is None


def test_ten_bad_series_are_found():
    pods = [f"p{number:05d}" for number in range(100, 2000, 190)]
    with scripted_server(default=refuses(*pods)) as server:
        report = send(server, many(2000))
    assert (report.accepted, report.refused.by_reason) == (1990, {"out_of_order": 10})


def test_a_time_that_is_too_old_costs_few_requests_for_all_samples_of_it():
    with scripted_server(default=Reply(400, b"out of bounds")) as server:
        report = send(server, many(2000))
    assert report.refused.by_reason == {"too_old": 2000}
    assert report.requests < 50
    assert report.accepted == 0


def test_series_of_a_time_that_is_too_old_are_no_suspects():
    with scripted_server(default=Reply(400, b"out of bounds")) as server:
        config = receiver(server)
        with Client(config, {}, clock=FakeClock()) as client:
            assert client.send(prepare(many(2000), config, NOW_MS).batches()).refused.total == 2000
            assert client.refused.take_fresh() == {}


@pytest.mark.parametrize("text", ["out of bounds", "too old sample", "out of order sample", "something else"])
def test_bad_samples_where_witnesses_once_stood_take_no_other_with_them(text: str):
    """Five bad ones of 2,000, at its ends and quarters, are five bad ones; and so are some at other places."""
    for pods in ([0, 499, 999, 1499, 1999], [0, 1, 2, 3, 1000], list(range(0, 2000, 64))):
        with scripted_server(default=refuses(*(f"p{pod:05d}" for pod in pods), text=text)) as server:
            report = send(server, many(2000, timestamp_ms=NOW_MS - 7_200_000), out_of_order_window="1d")
        assert (report.accepted, report.refused.total) == (2000 - len(pods), len(pods))
        assert report.requests < 25 * len(pods)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("series has too many labels (actual: 31, limit: 30) series: 'm{a=\"out of order\"}'", "label_limit"),
        ("label value too long for metric: \"m{}\" label value: \"too old\"", "label_limit"),
        ("label name too long: \"x\" metric \"m\"", "label_limit"),
        ("sample for 'm{}' has 31 label names; limit 30", "label_limit"),
        ("received a series whose number of labels exceeds the limit (actual: 31, limit: 30)", "label_limit"),
        ("received a series whose label value length exceeds the limit, label: 'a', value: 'b'", "label_limit"),
        ("user=a: err: out of order sample. timestamp=2026-11-25T09:51:16.1Z, series={a=\"b\"}", "out_of_order"),
        ("user=a: per-user series limit of 10 exceeded, please contact administrator to raise it", "series_limit"),
        ("timestamp too new: 1795600276100 metric: \"m\"", "future"),
        ("timestamp too old: 1795600276100 metric: \"m\"", "too_old"),
    ],
)  # fmt: skip
def test_words_of_cortex_and_mimir_have_reasons_of_ours(text: str, reason: str):
    assert refusal_reason(text) == reason


def test_two_bad_halves_are_not_a_bad_whole():
    with scripted_server(default=refuses("p00000", "p01999")) as server:
        report = send(server, many(2000))
    assert (report.accepted, report.refused.total) == (1998, 2)


def pods_of(request: Request) -> set[str]:
    return {dict(labels)["pod"] for labels, _, _ in request.series}


@pytest.mark.parametrize("share", [1, 2, 3, 10])
def test_a_search_ends_only_when_every_sample_is_decided(share: int):
    """Whatever the share of bad ones: good ones have arrived, and each bad one was refused alone."""
    bad = {f"p{number:05d}" for number in range(0, 600, share)}
    with scripted_server(default=refuses(*bad)) as server:
        report = send(server, many(600))
    assert (report.accepted, report.refused.by_reason) == (600 - len(bad), {"out_of_order": len(bad)})
    taken = [pods for request in server.requests if not (pods := pods_of(request)) & bad]
    assert set().union(*taken) == {f"p{number:05d}" for number in range(600)} - bad
    assert {pod for request in server.requests if len(request.series) == 1 for pod in pods_of(request)} >= bad
    assert report.requests < 1000


def jobs_of(config: Receiver, count: int, series: int) -> list[Iterator[Batch]]:
    times = [NOW_MS - (count - step) * 1000 for step in range(count)]
    return [prepare(many(series, timestamp_ms=time), config, NOW_MS).batches() for time in times]


def test_series_that_were_refused_are_sent_apart_by_the_next_jobs():
    bad = {"p00003", "p00777", "p00778", "p01999"}
    with scripted_server(default=refuses(*bad)) as server:
        config = receiver(server)
        with Client(config, {}, clock=FakeClock()) as client:
            reports = [client.send(batches) for batches in jobs_of(config, 20, 2000)]
    assert [(one.accepted, one.refused.total) for one in reports] == [(1996, 4)] * 20
    assert reports[0].requests < 80
    # One for the good ones, one for the suspects together, one for each of them.
    assert {one.requests for one in reports[1:]} == {6}


def test_what_one_process_found_refused_the_next_one_sends_apart():
    bad = {"p00003", "p00777"}
    with scripted_server(default=refuses(*bad)) as server:
        config = receiver(server)
        first, second = jobs_of(config, 2, 2000)
        with Client(config, {}, clock=FakeClock()) as client:
            assert client.send(first).requests > 20
            fresh = client.refused.take_fresh()
            assert (list(fresh), len(fresh["acme"]), client.refused.take_fresh()) == (["acme"], 2, {})
        with Client(config, {}, clock=FakeClock(), refused=RefusedSeries(fresh)) as client:
            report = client.send(second)
            assert client.refused.take_fresh() == {}
    assert (report.accepted, report.refused.total, report.requests) == (1998, 2, 4)


def test_a_series_that_is_taken_again_is_no_suspect_any_more():
    bad = {"p00003", "p00777"}
    with scripted_server(default=lambda request: refuses(*bad)(request)) as server:  # type: ignore[operator]
        config = receiver(server)
        with Client(config, {}, clock=FakeClock()) as client:
            first, second, third, *_ = jobs_of(config, 4, 2000)
            assert client.send(first).refused.total == 2
            bad.clear()
            assert (report := client.send(second)).requests == 2
            assert (report.accepted, report.refused.total) == (2000, 0)
            assert client.send(third).requests == 1


def test_of_a_receiver_that_takes_the_good_part_refusals_are_what_is_missing():
    """Cortex and Mimir answer 400 and keep what is good: what is said to be refused is what they lack."""
    bad = {f"p{number:05d}" for number in range(0, 2000, 7)}
    held: set[str] = set()

    def answer(request: Request) -> Reply:
        pods = pods_of(request)
        held.update(pods - bad)
        first = sorted(pods & bad)
        return Reply(400, f"user=acme: err: out of order sample. series={first[0]}".encode()) if first else Reply()

    with scripted_server(default=answer) as server:
        report = send(server, many(2000))
    assert report.refused.total == 2000 - len(held) == len(bad)
    assert report.accepted == len(held)
    assert report.refused.by_tenant == {"acme": {"out_of_order": len(bad)}}


def test_what_is_not_isolated_when_sending_ends_is_unsent_and_not_refused():
    asked = iter([True] * 20)
    with scripted_server(default=refuses("p00100", "p01100")) as server:
        report = send(server, many(2000), keep_going=lambda: next(asked, False))
    assert isinstance(report.error, ReceiverUnavailable)
    assert report.refused.total < 2
    assert report.accepted + report.refused.total + report.unsent == 2000


def test_internal_errors_about_samples_are_waited_out_once_and_not_for_each():
    clock = FakeClock()
    with scripted_server(default=refuses("p00100", "p01100", status=500, text="too old sample")) as server:
        report = send(server, many(2000), clock=clock)
    assert (report.accepted, report.refused.by_reason) == (1998, {"too_old": 2})
    assert len(clock.slept) == 2


def test_an_internal_error_that_stays_is_about_the_samples():
    def answer(request: Request) -> Reply:
        is_bad = any(dict(labels)["pod"] == "p00003" for labels, _, _ in request.series)
        return Reply(500, b"too old sample") if is_bad else Reply()

    with scripted_server(default=answer) as server:
        report = send(server, many(8))
    assert (report.accepted, report.refused.by_reason) == (7, {"too_old": 1})
    assert report.error is None


def test_an_internal_error_of_a_sick_server_is_not():
    with scripted_server(default=500) as server:
        report = send(server, many(8), retry_for="10s")
    assert isinstance(report.error, ReceiverUnavailable)
    assert report.refused.total == 0


def test_too_large_is_split():
    def answer(request: Request) -> int:
        return 413 if len(request.series) > 3 else 204

    with scripted_server(default=answer) as server:
        report = send(server, many(10))
    assert (report.accepted, report.refused.total) == (10, 0)
    with scripted_server(default=413) as server:
        report = send(server, many(2))
    assert report.refused.by_reason == {"series_too_large": 2}


def test_the_rate_is_kept():
    clock = FakeClock()
    with scripted_server() as server:
        report = send(server, many(10), clock=clock, limits={"samples_per_second": 2.0, "request_series": 4})
    assert report.accepted == 10
    assert clock.slept == [2.0, 2.0]


def test_credentials_are_sent():
    basic = "dTpjYW5hcnktNWVjcmV0LTlmMw=="
    cases: list[tuple[dict[str, Any], str, str]] = [
        ({"bearer_token": {"env": "T"}}, "Authorization", f"Bearer {CANARY}"),
        (
            {"basic_auth": {"username": "u", "password": {"env": "T"}}},
            "Authorization",
            f"Basic {basic}",
        ),
        ({"headers": {"X-Key": {"env": "T"}}}, "X-Key", CANARY),
    ]
    for fields, name, value in cases:
        with scripted_server() as server:
            assert send(server, many(1), {"T": CANARY}, **fields).accepted == 1
        assert server.requests[0].headers[name] == value


def test_a_secret_that_changes_is_read_again(tmp_path):
    (tmp_path / "token").write_text("first-token")

    def change(_: Request) -> int:
        (tmp_path / "token").write_text("second-token")
        return 503

    with scripted_server(change) as server:
        assert send(server, many(1), bearer_token={"file": str(tmp_path / "token")}).accepted == 1
    sent = [request.headers["Authorization"] for request in server.requests]
    assert sent == ["Bearer first-token", "Bearer second-token"]


def test_no_secret_is_repeated():
    def echo(request: Request) -> Reply:
        return Reply(401, f"you sent {request.headers}".encode())

    def echo_and_refuse(request: Request) -> Reply:
        return Reply(400, f"you sent {request.headers['Authorization']}".encode())

    auths: list[dict[str, Any]] = [
        {"bearer_token": {"env": "T"}}, {"basic_auth": {"username": "user", "password": {"env": "T"}}},
        {"headers": {"X-Key": {"env": "T"}, "Authorization": {"env": "T"}}},
    ]  # fmt: skip
    basic = "dXNlcjpjYW5hcnktNWVjcmV0LTlmMw=="
    for auth in auths:
        for answer in (echo, echo_and_refuse):
            with scripted_server(default=answer) as server:
                report = send(server, many(3), {"T": CANARY}, **auth)
            assert any(CANARY in str(request.headers) or basic in str(request.headers) for request in server.requests)
            shown = repr(report) + str(report.error)
            if report.error is not None:
                shown += "".join(traceback.format_exception(report.error))
            assert "you sent" in shown
            assert CANARY not in shown
            assert basic not in shown


def test_a_missing_secret_stops_before_the_first_request():
    with scripted_server() as server:
        report = send(server, many(3), {}, bearer_token={"env": "ABSENT"})
    assert isinstance(report.error, SecretMissing)
    assert "ABSENT" in str(report.error)
    assert server.requests == []


def test_a_netrc_file_is_not_looked_at(tmp_path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "netrc").write_text(f"machine 127.0.0.1 login u password {CANARY}\n")
    (tmp_path / "netrc").chmod(0o600)
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    with scripted_server() as server:
        assert send(server, many(1)).accepted == 1
    assert "Authorization" not in server.requests[0].headers


def test_tls_files_that_are_not_there():
    with scripted_server() as server:
        report = send(server, many(1), url=server.url.replace("http:", "https:"), tls={"ca_file": "/absent/ca.pem"})
    assert isinstance(report.error, ReceiverMisconfigured)
    assert "a file of `tls` cannot be used" in str(report.error)


def test_reports_add_up():
    with scripted_server(default=refuses("p00001")) as server:
        first, second = send(server, many(4)), send(server, many(2))
    first.merge(second)
    assert (first.accepted, first.refused.total) == (4, 2)
    assert first.requests == len(server.requests)
