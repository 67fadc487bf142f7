"""Reconciliation against answers by hand: every difference is found and named, and equal things are equal."""

import json
from typing import Any
from urllib.parse import parse_qs

import pytest

from pyro_assets.errors import BadAnswer, DamagedSeries, ReceiverMisconfigured, ReceiverUnavailable
from pyro_assets.export import reconcile as module
from pyro_assets.export.promql import PromQLClient, query_base
from pyro_assets.export.reconcile import JobSamples, Reconciliation, reconcile
from pyro_assets.export.remote_write.transport import Transport
from pyro_assets.receivers.model import Receiver
from tests.support.remote_write import NOW_MS, row, samples
from tests.support.scripted_server import FakeClock, Reply, Request, ScriptedServer, scripted_server

HOUR_MS = 3_600_000
BEGIN_MS = NOW_MS // HOUR_MS * HOUR_MS
M = "pyroscope_exported_metrics_m"


def success(data: Any) -> Reply:
    return Reply(200, json.dumps({"status": "success", "data": data}).encode())


class Holding:
    """A receiver that holds samples: labels -> time -> value; answers range vectors of exact label sets."""

    def __init__(self, *held: tuple[dict[str, str], dict[int, float]]) -> None:
        self.held = held

    def __call__(self, request: Request) -> Reply:
        if "/label/" in request.path:
            data: Any = sorted({labels["__name__"] for labels, _ in self.held})
        else:
            form = {name: values[0] for name, values in parse_qs(request.body.decode()).items()}
            matchers, window = form["query"].removesuffix("ms]").split("[")
            wanted = dict(part.split("=") for part in matchers.strip("{}").split(","))
            last_ms = round(float(form["time"]) * 1000)
            result = [
                {"metric": labels, "values": [[time / 1000, str(value)] for time, value in sorted(found.items())
                                               if last_ms - int(window) <= time <= last_ms]}
                for labels, found in self.held
                if all(labels.get(name) == value.strip('"') for name, value in wanted.items())
            ]  # fmt: skip
            data = {"resultType": "matrix", "result": result}
        return success(data)


def compare(server: ScriptedServer, jobs: list[Any], hours: int = 1, **fields: Any) -> Reconciliation:
    defaults = {"name": "r", "url": f"{server.url}/api/v1/write", "kind": "prometheus", "tenants": ["acme"]}
    receiver = Receiver(**(defaults | fields))
    given = [JobSamples(int(job.timestamp_ms[0]), len(job), lambda job=job: job) for job in jobs]
    with Transport(receiver, {}) as transport:
        questions = PromQLClient(transport, FakeClock())
        return reconcile(receiver, questions, given, BEGIN_MS, BEGIN_MS + hours * HOUR_MS)


def test_equal_is_equal():
    job = samples(row(M, 1.5, NOW_MS, a="x"), row(M, 2.0, NOW_MS, a="y"))
    held = Holding(*(({"__name__": M, "a": a}, {NOW_MS: value}) for a, value in (("x", 1.5), ("y", 2.0))))
    with scripted_server(default=held) as server:
        result = compare(server, [job])
    assert result.is_equal
    assert (result.compared, result.equal) == (2, 2)


def test_every_difference_is_named():
    jobs = [samples(row(M, 1.0, NOW_MS, a="x"), row(M, 2.0, NOW_MS, a="y")), samples(row(M, 3.0, NOW_MS + 5, a="x"))]
    held = Holding(
        ({"__name__": M, "a": "x"}, {NOW_MS: 1.5, NOW_MS + 7: 9.0}),
        ({"__name__": M, "a": "z"}, {NOW_MS: 1.0}),
        ({"__name__": "pyroscope_exported_metrics_unknown"}, {NOW_MS: 1.0}),
        ({"__name__": "other"}, {NOW_MS: 1.0}),
    )
    with scripted_server(default=held) as server:
        result = compare(server, jobs)
    assert {kind: result.total(kind) for kind in ("missing", "extra", "differing")} == {
        "missing": 2, "extra": 3, "differing": 1,
    }  # fmt: skip
    (differing,) = [one for one in result.examples if one.kind == "differing"]
    assert (differing.expected, differing.actual, differing.timestamp_ms) == (1.0, 1.5, NOW_MS)
    assert str(differing) == f'differing {{__name__="{M}",a="x"}} at {NOW_MS}: expected 1.0, found 1.5'
    assert ("missing", NOW_MS // HOUR_MS, "acme", M) in result.counts
    assert result.compared == 3


def test_a_damaged_file_hides_no_other_and_what_it_held_is_not_extra():
    def damaged() -> Any:
        raise DamagedSeries("series/x.parquet", "has rot")

    held = Holding(({"__name__": M}, {NOW_MS: 1.0, NOW_MS + 5: 4.0, NOW_MS + 7: 9.0}))
    with scripted_server(default=held) as server:
        receiver = Receiver(name="r", url=f"{server.url}/api/v1/write", kind="prometheus", tenants=["acme"])
        good = samples(row(M, 1.0, NOW_MS))
        jobs = [JobSamples(NOW_MS, 1, lambda: good), JobSamples(NOW_MS + 5, 1, damaged)]
        with Transport(receiver, {}) as transport:
            result = reconcile(receiver, PromQLClient(transport, FakeClock()), jobs, BEGIN_MS, BEGIN_MS + HOUR_MS)
    assert (result.compared, result.equal, result.total("extra"), result.is_equal) == (1, 1, 1, False)
    assert [one.timestamp_ms for one in result.examples] == [NOW_MS + 7]
    assert "series/x.parquet has rot; derive its job again" in result.unreadable[NOW_MS + 5]


def test_differences_that_cancel_in_a_sum_are_found():
    jobs = [samples(row(M, 1.0, NOW_MS)), samples(row(M, 2.0, NOW_MS + 1))]
    with scripted_server(default=Holding(({"__name__": M}, {NOW_MS: 2.0, NOW_MS + 1: 1.0}))) as server:
        assert compare(server, jobs).total("differing") == 2


def test_a_sample_that_is_there_twice_is_found():
    def answer(request: Request) -> Reply:
        if "/label/" in request.path:
            return success([M])
        values = [[NOW_MS / 1000, "2"], [NOW_MS / 1000, "2"], [NOW_MS / 1000, "3"]]
        return success({"resultType": "matrix", "result": [{"metric": {"__name__": M}, "values": values}]})

    with scripted_server(default=answer) as server:
        result = compare(server, [samples(row(M, 2.0, NOW_MS))])
    assert not result.is_equal
    assert (result.equal, result.total("doubled"), result.counts.total()) == (1, 2, 2)
    assert {one.actual for one in result.examples} == {2.0, 3.0}


def test_what_receipts_say_was_refused_is_neither_missing_nor_are_the_others_extra():
    job = samples(*(row(M, float(number), NOW_MS, a=str(number)) for number in range(5)))
    held = Holding(*(({"__name__": M, "a": str(number)}, {NOW_MS: float(number)}) for number in (0, 1, 3)))
    for may_lack, expected in (
        (2, {"compared": 3, "equal": 3, "refused": 2, "missing": 0, "extra": 0}),
        # One that was accepted is not there any more.
        (1, {"compared": 4, "equal": 3, "refused": 1, "missing": 1, "extra": 0}),
        (0, {"compared": 5, "equal": 3, "refused": 0, "missing": 2, "extra": 0}),
        # Nothing was sent, and yet there is something.
        (None, {"compared": 0, "equal": 0, "refused": 0, "missing": 0, "extra": 3}),
        # It was begun, or has changed since: nothing is said of it.
        (float("inf"), {"compared": 0, "equal": 0, "refused": 0, "missing": 0, "extra": 0}),
    ):
        given = JobSamples(NOW_MS, 5, lambda: job, lambda _, may=may_lack: may)
        with scripted_server(default=held) as server:
            receiver = Receiver(name="r", url=f"{server.url}/api/v1/write", kind="prometheus", tenants=["acme"])
            with Transport(receiver, {}) as transport:
                questions = PromQLClient(transport, FakeClock())
                found = reconcile(receiver, questions, [given], BEGIN_MS, BEGIN_MS + HOUR_MS, tenants=["acme"])
        kinds = {kind: found.total(kind) for kind in ("missing", "extra")}
        assert {"compared": found.compared, "equal": found.equal, "refused": found.refused, **kinds} == expected


def test_windows_have_no_gaps_and_no_overlap(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(module, "WINDOW_SAMPLES", 2)
    end_ms = BEGIN_MS + 3 * HOUR_MS
    steps = [0, 1, 1, 2, HOUR_MS - 1, HOUR_MS, 3 * HOUR_MS - 1]
    jobs = [samples(row(M, 1.0, BEGIN_MS + step, a=str(number))) for number, step in enumerate(steps)]
    ours = [({"__name__": M, "a": str(number)}, {BEGIN_MS + step: 1.0}) for number, step in enumerate(steps)]
    # Just before, inside and just behind what is compared: one is extra.
    theirs = {BEGIN_MS - 1: 1.0, end_ms - HOUR_MS - 1: 1.0, end_ms: 1.0}
    held = Holding(*ours, ({"__name__": M, "a": "x"}, theirs))
    with scripted_server(default=held) as server:
        result = compare(server, jobs, hours=3)
    assert (result.equal, result.total("missing"), result.total("extra")) == (7, 0, 1)
    assert result.queries > 6


def test_tenants_and_labels_are_asked_for():
    jobs = [samples(row(M, 1.0, NOW_MS, "a"), row(M, 2.0, NOW_MS, "b"))]
    held = Holding(
        ({"__name__": M, "tenant": "a", "zone": "z"}, {NOW_MS: 1.0}),
        ({"__name__": M, "tenant": "b", "zone": "z"}, {NOW_MS: 2.0}),
        ({"__name__": M, "tenant": "a", "zone": "other"}, {NOW_MS: 1.0}),
    )
    with scripted_server(default=held) as server:
        result = compare(server, jobs, tenants=["*"], labels={"zone": "z"})
    assert result.is_equal
    assert {request.headers["X-Scope-OrgID"] for request in server.requests} == {"a", "b"}


def test_what_is_not_selected_is_not_extra_and_what_we_keep_back_is_not_missing():
    jobs = [samples(row(M, 1.0, NOW_MS, a="x"), row(M, float("inf"), NOW_MS, a="x2"))]
    held = Holding(({"__name__": M, "a": "x"}, {NOW_MS: 1.0}), ({"__name__": M, "a": "y"}, {NOW_MS: 1.0}))
    with scripted_server(default=held) as server:
        result = compare(server, jobs, select=['{a=~"x.*"}'])
    assert result.is_equal
    assert result.unsendable.by_reason == {"not_finite": 1}


def test_decimal_receivers_may_round_what_is_not_whole():
    jobs = [samples(row(M, 0.1 + 0.2, NOW_MS, a="x"), row(M, float(2**53), NOW_MS, a="y"))]
    held = Holding(({"__name__": M, "a": "x"}, {NOW_MS: 0.3}), ({"__name__": M, "a": "y"}, {NOW_MS: float(2**53 - 1)}))
    with scripted_server(default=held) as server:
        assert compare(server, jobs).total("differing") == 2
        assert compare(server, jobs, kind="victoriametrics").total("differing") == 1


@pytest.mark.parametrize(
    ("reply", "error"),
    [
        (Reply(200, b"{}"), BadAnswer),
        (Reply(200, b"[]"), BadAnswer),
        (Reply(200, b"no json"), BadAnswer),
        (success({"resultType": "vector", "result": []}), BadAnswer),
        (success({"resultType": "matrix", "result": [{}]}), BadAnswer),
        (success({"resultType": "matrix", "result": [{"metric": {}, "values": [[1]]}]}), BadAnswer),
        (Reply(400, b'{"status":"error","error":"bad_data"}'), BadAnswer),
        (Reply(401), ReceiverMisconfigured),
        (Reply(404), ReceiverMisconfigured),
        (Reply(200, b"<html>", {"Content-Type": "text/html"}), ReceiverMisconfigured),
        (Reply(503), ReceiverUnavailable),
    ],
)
def test_an_answer_that_is_none_is_a_typed_error(reply: Reply, error: type[Exception]):
    receiver = Receiver(name="r", url="http://h/api/v1/write")
    with scripted_server(default=reply) as server:
        receiver = receiver.model_copy(update={"url": f"{server.url}/api/v1/write"})
        with Transport(receiver, {}) as transport, pytest.raises(error, match="receiver r"):
            PromQLClient(transport, FakeClock()).raw_samples({"__name__": "m"}, 0, 1000)


def test_where_to_ask():
    with pytest.raises(ReceiverMisconfigured, match="set query_url"):
        query_base(Receiver(name="r", url="http://h/insert/0/prometheus"))
    assert query_base(Receiver(name="r", url="http://h/x", query_url="http://q/prometheus/")) == "http://q/prometheus"
