"""Real receivers: what is sent is what they hold, sent twice is held once, and what they refuse is found out.

The rare answers are in test_client; here every answer is a real one.
"""

import itertools
from pathlib import Path
from typing import Any

import pytest

from pyro_assets.export.promql import PromQLClient
from pyro_assets.export.reconcile import JobSamples, Reconciliation, reconcile
from pyro_assets.export.remote_write.batch import prepare
from pyro_assets.export.remote_write.client import Client, SendReport
from pyro_assets.export.remote_write.transport import Transport
from pyro_assets.export.samples import Samples
from pyro_assets.receivers.model import Receiver
from pyro_assets.rules.names import exported_name
from tests.support import golden_bucket
from tests.support.remote_write import NOW_MS, many, row, samples
from tests.support.servers import PROMETHEUS_VERSIONS, Server, prometheus, victoriametrics

HOUR_MS = 3_600_000
pytestmark = pytest.mark.service


def receiver(server: Server, **fields: Any) -> Receiver:
    defaults = {"name": "real", "url": server.write_url, "kind": "prometheus", "retry_for": "20s"}
    return Receiver(**(defaults | fields))


def send(config: Receiver, *jobs: Samples, now_ms: int = NOW_MS, ageless: bool = False) -> SendReport:
    report = SendReport()
    with Client(config, {}) as client:
        for job in jobs:
            report.merge(client.send(prepare(job, config, now_ms, ageless=ageless).batches()))
    assert report.error is None, report.error
    return report


def ask(config: Receiver, *jobs: Samples, hours: int = 1, prefix: str = "m") -> Reconciliation:
    times = [int(job.timestamp_ms[0]) for job in jobs]
    given = [JobSamples(time, len(job), lambda job=job: job) for time, job in zip(times, jobs, strict=True)]
    begin = min(times) // HOUR_MS * HOUR_MS
    with Transport(config, {}) as transport:
        return reconcile(config, PromQLClient(transport), given, begin, begin + hours * HOUR_MS, prefix=prefix)


def recorded() -> list[Samples]:
    """The recorded samples of the committed golden jobs, one job each."""
    return [
        samples(
            *(row(metric, value, time, tenant, **dict(labels)) for (tenant, metric, labels), value in series.items())
        )
        for time, series in sorted(golden_bucket.committed().recorded.items())
    ]


@pytest.mark.parametrize("version", PROMETHEUS_VERSIONS)
def test_recorded_samples_are_held_to_the_last_digit(tmp_path: Path, version: str):
    jobs = recorded()
    with prometheus(tmp_path, version=version, window="1d") as server:
        config = receiver(server, out_of_order_window="1d")
        report = send(config, *jobs, ageless=True)
        assert report.accepted == sum(map(len, jobs)) > 20
        result = ask(config, *jobs, prefix="profiles_recorded_")
        assert result.is_equal
        assert result.equal == report.accepted
        again = send(config, *reversed(jobs), ageless=True)
        assert (again.accepted, again.refused.total) == (report.accepted, 0)
        assert ask(config, *jobs, prefix="profiles_recorded_").is_equal


@pytest.mark.parametrize("dedup", [True, False])
def test_victoriametrics_holds_once_what_is_sent_twice_only_with_deduplication(tmp_path: Path, dedup: bool):
    jobs = recorded()
    with victoriametrics(tmp_path, dedup=dedup) as server:
        config = receiver(server, kind="victoriametrics", dedup=dedup)
        first = send(config, *jobs, ageless=True)
        second = send(config, *jobs, ageless=True)
        assert first.accepted == second.accepted == sum(map(len, jobs))
        server.flush()
        found = ask(config, *jobs, prefix="profiles_recorded_")
        assert found.equal == first.accepted
        assert found.total("doubled") == found.counts.total() == (0 if dedup else first.accepted)
        selector = '{__name__=~"profiles_recorded_.*"}'
        times = int(jobs[0].timestamp_ms[0]), int(jobs[-1].timestamp_ms[0]) + 1
        held = server.samples(selector, *times)
        assert sum(map(len, held.values())) == first.accepted * (1 if dedup else 2)


@pytest.mark.parametrize("version", PROMETHEUS_VERSIONS)
def test_one_bad_series_in_two_thousand(tmp_path: Path, version: str):
    with prometheus(tmp_path, version=version) as server:
        config = receiver(server)
        # The newest sample of one series is newer: without a window its older one is refused, and the request with it.
        assert send(config, samples(row(pod="p00777", timestamp_ms=NOW_MS + 1000))).accepted == 1
        job = many(2000)
        report = send(config, job)
        assert (report.accepted, report.refused.by_reason) == (1999, {"out_of_order": 1})
        assert report.refused.examples[0].labels["pod"] == "p00777"
        result = ask(config, job)
        assert (result.equal, result.total("missing"), result.total("extra")) == (1999, 1, 1)


@pytest.mark.parametrize("version", PROMETHEUS_VERSIONS)
def test_no_good_sample_is_lost_for_bad_neighbours_without_a_window(tmp_path: Path, version: str):
    """Where the newest samples of some series are newer, all others arrive; the next job isolates nothing."""
    bad = [number for number in range(3000) if number % 8 == 3 or number in (0, 499, 999, 1499, 1999)]
    with prometheus(tmp_path, version=version) as server:
        config = receiver(server)
        ahead = samples(*(row(pod=f"p{number:05d}", timestamp_ms=NOW_MS + 60_000) for number in bad))
        assert send(config, ahead).accepted == len(bad)
        jobs = [many(3000, timestamp_ms=NOW_MS + step * 10_000) for step in range(3)]
        with Client(config, {}) as client:
            reports = [client.send(prepare(job, config, NOW_MS).batches()) for job in jobs]
        for report in reports:
            assert (report.error, report.accepted) == (None, 3000 - len(bad))
            assert report.refused.by_reason == {"out_of_order": len(bad)}
        assert reports[0].requests > reports[1].requests == reports[2].requests == len(bad) + 4
        result = ask(config, *jobs)
        assert (result.equal, result.total("missing")) == (3 * (3000 - len(bad)), 3 * len(bad))


@pytest.mark.parametrize("version", PROMETHEUS_VERSIONS)
@pytest.mark.parametrize("window", [None, "30m"])
def test_a_block_that_is_too_old_is_found_out_with_few_requests(tmp_path: Path, version: str, window: str | None):
    with prometheus(tmp_path, version=version, window=window) as server:
        config = receiver(server, **({"out_of_order_window": window} if window else {}))
        assert send(config, samples(row())).accepted == 1
        old = many(2000, timestamp_ms=NOW_MS - 3 * HOUR_MS)
        assert prepare(old, config, NOW_MS).refusals.by_reason == {"too_old": 2000}
        report = send(config, old, ageless=True)
        assert report.refused.by_reason == {"too_old": 2000}
        assert report.requests < 60


@pytest.mark.parametrize("version", PROMETHEUS_VERSIONS)
def test_history_in_time_order_goes_into_a_window(tmp_path: Path, version: str):
    jobs = [many(20, timestamp_ms=NOW_MS - step * HOUR_MS) for step in range(50, 0, -1)]
    with prometheus(tmp_path, version=version, window="30d") as server:
        config = receiver(server, out_of_order_window="30d")
        assert send(config, many(20)).accepted == 20
        assert send(config, *jobs).accepted == 1000
        assert ask(config, *jobs, many(20), hours=52).is_equal


def test_tenants_share_a_prometheus(tmp_path: Path):
    job = samples(*(row("m", float(number), tenant=tenant) for number, tenant in enumerate(["a", "b"])))
    with prometheus(tmp_path) as server:
        config = receiver(server)
        assert send(config, job).accepted == 2
        assert ask(config, job).is_equal
        assert server.samples('m{tenant="b"}', NOW_MS, NOW_MS + 1) == {
            (("__name__", "m"), ("tenant", "b")): [(NOW_MS, "1")]
        }


LABELLED = [{"k8s.pod": "a", "имя": "b"}, {"a.b": "1", "a_b": "2"}, {"a.b": "1"}, {"a-b": "1", "pod": "c"}]


@pytest.mark.parametrize(
    ("version", "label_names"),
    [*itertools.product(PROMETHEUS_VERSIONS, ["underscores", "values"]), ("prometheus3", "utf8")],
)
def test_labels_of_any_name_arrive_at_a_prometheus(tmp_path: Path, version: str, label_names: str):
    if version not in PROMETHEUS_VERSIONS:
        pytest.skip("there is no Prometheus 3")
    job = samples(*(row("m", float(number), **labels) for number, labels in enumerate(LABELLED)))
    with prometheus(tmp_path, version=version) as server:
        config = receiver(server, label_names=label_names)
        assert send(config, job).accepted == len(LABELLED)
        assert ask(config, job).is_equal
        held = {name for labels in server.samples("m", NOW_MS, NOW_MS + 1) for name, _ in labels}
    expected = {exported_name(name, label_names) for labels in LABELLED for name in labels}  # type: ignore[arg-type]
    assert expected <= held


def test_labels_of_any_name_arrive_at_a_victoriametrics(tmp_path: Path):
    job = samples(*(row("m", float(number), **labels) for number, labels in enumerate(LABELLED)))
    for label_names in ("underscores", "values", "utf8"):
        with victoriametrics(tmp_path / label_names) as server:
            config = receiver(server, kind="victoriametrics", dedup=True, label_names=label_names)
            assert send(config, job).accepted == len(LABELLED)
            server.flush()
            assert ask(config, job).is_equal


def test_a_hundred_thousand_series_in_one_job(tmp_path: Path):
    job = many(100_000)
    with prometheus(tmp_path) as server:
        config = receiver(server)
        report = send(config, job)
        assert (report.accepted, report.requests) == (100_000, 50)
        held = server.get("/api/v1/query", query="count(m)", time=f"{NOW_MS / 1000:.3f}")
        assert held["data"]["result"][0]["value"][1] == "100000"
