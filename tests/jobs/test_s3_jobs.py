"""What a store of S3's protocol can do to jobs, over HTTP: what is said of each fault, and that work goes on.

A real server (moto's), and before it a proxy that errs where a test says so; listings alone are tested in storage.
"""

import io
import json
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.request import Request, urlopen

import pytest

from pyro_assets.app import App, open_app
from pyro_assets.errors import AccessRefused, SettingsError
from pyro_assets.ledger.hours import HourRecords
from pyro_assets.monitoring.reports import HourReport
from pyro_assets.operations import runs, ticks
from pyro_assets.rules.config import SeriesConfig
from pyro_assets.settings import Settings
from pyro_assets.storage.bucket import open_bucket
from pyro_assets.storage.keys import segment_key
from pyro_assets.storage.ulid import make_ulid
from tests.support import golden_bucket
from tests.support.faulty_proxy import FaultyProxy, error_reply, faulty_proxy
from tests.support.s3_server import s3, s3_client, s3_endpoint

__all__ = ["s3", "s3_client", "s3_endpoint"]

pytestmark = [pytest.mark.service, pytest.mark.usefixtures("s3_client")]

GOLDEN = golden_bucket.committed()
JOB = GOLDEN.jobs[0]


@dataclass
class Store:
    """A bucket of a real server, seen through the proxy; what a test puts there goes to the server itself."""

    url: str
    proxy: FaultyProxy
    client: Any
    folder: Path

    def put(self, objects: dict[str, bytes]) -> None:
        name, _, prefix = self.url.removeprefix("s3://").partition("/")
        with ThreadPoolExecutor(8) as pool:
            list(
                pool.map(
                    lambda item: self.client.put_object(
                        Bucket=name, Key=f"{prefix}/{item[0]}", Body=io.BytesIO(item[1])
                    ),
                    objects.items(),
                )
            )

    def open(self, **settings: Any) -> App:
        return open_app(
            self.url,
            str(self.folder / "archive"),
            str(self.folder / "ledger.db"),
            settings=Settings(**settings),
            config=SeriesConfig(),
        )


@pytest.fixture
def store(s3: str, s3_endpoint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    import boto3
    import s3fs

    client = boto3.client("s3", endpoint_url=s3_endpoint)
    with faulty_proxy(s3_endpoint) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.url)
        # The library's own patience would only make the tests slow.
        monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
        s3fs.S3FileSystem.clear_instance_cache()
        yield Store(s3, proxy, client, tmp_path)
    s3fs.S3FileSystem.clear_instance_cache()
    client.close()


def many(count: int, shard: int = 4) -> dict[str, bytes]:
    return {segment_key(shard, make_ulid(1_795_600_000_000 + i, bytes(10))): b"x" for i in range(count)}


def work(store: Store) -> HourReport:
    """A tick and a run of the committed job, which is all that is there."""
    with store.open() as pipeline:
        assert ticks.tick(pipeline).failures == ()
        (hour,) = HourRecords(pipeline.ledger).hours()
        return runs.run(pipeline, [hour], run_id="run")[hour]


def test_a_listing_of_several_pages_that_fails_half_way_keeps_what_it_has(store: Store) -> None:
    store.put(many(1_050))
    # The first page ends with key 1000: the second one is asked for from there on.
    after = sorted(many(1_050))[999].split("/")[3]
    page = f"start-after=some%2Fprefix%2Fsegments%2F4%2Fanonymous%2F{after}"
    store.proxy.first(100, page, error_reply(500, "InternalError"))
    with store.open() as pipeline:
        tick = ticks.tick(pipeline)
        assert sum(arrived.objects for arrived in tick.arrivals.values()) == 1_000
        (sentence,) = tick.failures
        assert "cannot be listed" in sentence
        store.proxy.first(0, "", error_reply(500, "InternalError"))
        again = ticks.tick(pipeline)
        assert again.failures == ()
        assert sum(arrived.objects for arrived in again.arrivals.values()) == 50
    # All of it in two requests; names of folders come in pages, too.
    store.proxy.requests.clear()
    bucket = open_bucket(store.url)
    assert len(bucket.list_after("segments/", limit=2_000)) == 1_050
    assert len(store.proxy.requests) == 2
    assert len(bucket.list_folder("segments/4/anonymous/").folders) == 1_050


def test_reads_that_are_throttled_fail_no_job_for_good(store: Store) -> None:
    store.put({key: GOLDEN.read(key) for key in JOB})
    store.proxy.first(10_000, "block.bin", error_reply(503, "SlowDown"))
    report = work(store)
    assert (report.run.failed, report.run.compacted) == (1, 0)
    assert "throttles" in report.run.errors[0]
    assert report.jobs_by_state == {"planned": 1}
    assert report.set_aside == ()
    store.proxy.first(0, "", error_reply(503, "SlowDown"))
    later = open_app(
        store.url, str(store.folder / "archive"), str(store.folder / "ledger.db"), config=SeriesConfig(), clock=_later
    )
    with later as pipeline:
        (hour,) = HourRecords(pipeline.ledger).hours()
        assert runs.run(pipeline, [hour], run_id="run")[hour].run.derived == 1


def _later() -> int:
    return time.time_ns() // 1_000_000 + 3_600_000


def test_wrong_credentials(store: Store, s3_endpoint: str) -> None:
    store.put({JOB[0]: GOLDEN.read(JOB[0])})
    _authenticate(s3_endpoint, after_requests="0")
    try:
        for ask in (lambda bucket: bucket.list_folder("segments/"), lambda bucket: bucket.read(JOB[0])):
            with pytest.raises(AccessRefused, match=r"refuses access: .*check the credentials") as refused:
                ask(open_bucket(store.url))
            assert "\n" not in str(refused.value)
        with store.open() as pipeline:
            assert "check the credentials (AWS_ACCESS_KEY_ID" in ticks.tick(pipeline).source_problem
    finally:
        _authenticate(s3_endpoint, after_requests="inf")


def _authenticate(endpoint: str, after_requests: str) -> None:
    """Lets moto's server look at credentials after so many requests."""
    headers = {"Content-Type": "text/plain"}
    with urlopen(Request(f"{endpoint}/moto-api/reset-auth", after_requests.encode(), headers), timeout=30):
        pass


@pytest.mark.parametrize(
    ("status", "code", "remedy"),
    [
        (403, "InvalidObjectState", "restore it from its storage class (S3 Glacier"),
        (400, "KMS.DisabledException", "let its KMS key be used again"),
        (403, "AccessDenied", "look at what denies this one: its owner, its ACL"),
    ],
)
def test_one_object_that_is_not_given_out_is_set_aside_with_its_own_remedy(
    store: Store, status: int, code: str, remedy: str
) -> None:
    store.put({key: GOLDEN.read(key) for key in JOB})
    store.proxy.first(10_000, f"{JOB[3].split('/')[3]}/block.bin", error_reply(status, code))
    with store.open(max_attempts=1) as pipeline:
        ticks.tick(pipeline)
        (hour,) = HourRecords(pipeline.ledger).hours()
        report = runs.run(pipeline, [hour], run_id="run")[hour]
    assert report.sources_by_state == {"done": 19, "set_aside": 1}
    (aside,) = report.set_aside
    assert (aside.key, aside.reason.startswith("ObjectUnreadable: ")) == (JOB[3], True)
    assert code in aside.reason
    assert remedy in aside.reason
    assert "credentials (AWS" not in aside.reason


def test_a_clock_that_is_wrong_is_not_a_matter_of_credentials(store: Store) -> None:
    store.put({JOB[0]: GOLDEN.read(JOB[0])})
    store.proxy.first(10_000, "", error_reply(403, "RequestTimeTooSkewed"))
    for ask in (lambda bucket: bucket.list_folder("segments/"), lambda bucket: bucket.read(JOB[0])):
        with pytest.raises(AccessRefused, match=r"by their time: RequestTimeTooSkewed.*set it by NTP") as refused:
            ask(open_bucket(store.url))
        assert "credentials" not in str(refused.value)


def test_a_bucket_that_does_not_exist(store: Store) -> None:
    url = "s3://no-such-bucket-of-ours/prefix"
    with pytest.raises(AccessRefused, match=r"names no bucket that exists .*; correct it, or make it"):
        open_bucket(url).list_after("segments/")
    with pytest.raises(AccessRefused, match="names no bucket that exists"):
        open_bucket(url).read(JOB[0])
    with open_app(url, str(store.folder / "archive"), str(store.folder / "ledger.db")) as pipeline:
        assert "names no bucket that exists" in ticks.tick(pipeline).source_problem


def test_a_bucket_that_is_gone_has_lost_nothing(store: Store) -> None:
    store.put({key: GOLDEN.read(key) for key in JOB})
    with store.open() as pipeline:
        ticks.tick(pipeline)
    store.proxy.first(10_000, "", error_reply(404, "NoSuchBucket"))
    with store.open() as pipeline:
        (hour,) = HourRecords(pipeline.ledger).hours()
        report = runs.run(pipeline, [hour], run_id="run")[hour]
    assert (report.run.failed, report.jobs_by_state, report.sources_by_state) == (1, {"planned": 1}, {"planned": 20})


def test_an_object_that_changes_under_us_is_read_as_it_is_now(store: Store) -> None:
    keys = JOB[:2]
    store.put({keys[0]: GOLDEN.read(keys[0]), keys[1]: GOLDEN.read(keys[1])[:100]})
    with store.open(job_blocks=2) as pipeline:
        ticks.tick(pipeline)
        # Its upload was not over when it was listed; now it has another size, and another ETag.
        store.put({keys[1]: GOLDEN.read(keys[1])})
        (hour,) = HourRecords(pipeline.ledger).hours()
        report = runs.run(pipeline, [hour], run_id="run")[hour]
    assert (report.run.compacted, report.sources_by_state) == (1, {"done": 2})
    (record,) = [json.loads(path.read_text()) for path in (store.folder / "archive").glob("commits/*/*/*.json")]
    assert {source["key"]: source["size_bytes"] for source in record["sources"]} == {
        key: len(GOLDEN.read(key)) for key in keys
    }


def test_bytes_that_were_damaged_on_the_way_are_read_once_more(store: Store) -> None:
    store.put({key: GOLDEN.read(key) for key in JOB})
    store.proxy.first(1, JOB[3].split("/")[3], lambda body: bytes([body[0] ^ 1]) + body[1:])
    report = work(store)
    assert report.sources_by_state == {"done": 20}
    reads = [request for request in store.proxy.requests if JOB[3].split("/")[3] in request]
    assert len([request for request in reads if request.startswith("GET")]) == 2


def test_bytes_that_are_damaged_in_the_store_are_set_aside_with_their_reason(store: Store) -> None:
    store.put({key: GOLDEN.read(key) for key in JOB} | {JOB[3]: b"\0" + GOLDEN.read(JOB[3])[1:]})
    report = work(store)
    assert report.sources_by_state == {"done": 19, "set_aside": 1}
    assert report.set_aside[0].key == JOB[3]


def test_a_listed_object_that_is_not_there_at_first(store: Store) -> None:
    store.put({key: GOLDEN.read(key) for key in JOB})
    store.proxy.first(1, JOB[3].split("/")[3], error_reply(404, "NoSuchKey"))
    report = work(store)
    assert report.sources_by_state == {"done": 20}


def test_a_listed_object_that_is_gone_is_lost(store: Store) -> None:
    store.put({key: GOLDEN.read(key) for key in JOB})
    store.proxy.first(10_000, JOB[3].split("/")[3], error_reply(404, "NoSuchKey"))
    name, _, prefix = store.url.removeprefix("s3://").partition("/")
    with store.open() as pipeline:
        ticks.tick(pipeline)
        store.client.delete_object(Bucket=name, Key=f"{prefix}/{JOB[3]}")
        (hour,) = HourRecords(pipeline.ledger).hours()
        report = runs.run(pipeline, [hour], run_id="run")[hour]
    assert report.sources_by_state == {"done": 19, "lost": 1}


def test_an_archive_that_refuses_is_told_before_any_work(
    store: Store, s3_endpoint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3_endpoint)
    with (
        open_app(
            store.url, "s3://no-such-bucket-of-ours/archive", str(store.folder / "ledger.db"), config=SeriesConfig()
        ) as pipeline,
        pytest.raises(SettingsError, match=r"the archive cannot be written to: .*names no bucket that exists"),
    ):
        runs.check_archive(pipeline)
