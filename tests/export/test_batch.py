"""Requests of a job: inside the limits, one time each, in time order, and the same digest for the same samples."""

import tracemalloc
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from remote_write import NOW_MS, decode_body, many, row, samples, series_file, table

from pyro_assets.errors import SeriesError
from pyro_assets.export.batch import cut_batches, prepare
from pyro_assets.export.receivers import Limits, Receiver
from pyro_assets.export.samples import empty_samples, open_series, read_samples
from pyro_assets.series.frame import to_polars
from pyro_assets.series.store import series_to_parquet
from pyro_assets.storage.shown import show_bytes


def receiver(**fields) -> Receiver:
    return Receiver(**({"name": "r", "url": "http://localhost/api/v1/write", "kind": "mimir"} | fields))


@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 3), st.integers(0, 20)), max_size=60, unique=True),
    st.integers(1, 7),
    st.sampled_from([4096, 4200, 8192]),
)
def test_every_sample_is_in_one_request(rows: list[tuple[str, int, int]], series: int, size: int):
    config = receiver(limits=Limits(request_series=series, request_bytes=size))
    given_rows = [
        row("m", float(number), NOW_MS + time, tenant, pod=f"{number}", filler="x" * 700)
        for tenant, time, number in rows
    ]
    prepared = prepare(samples(*given_rows), config, NOW_MS)
    sent, places = [], []
    for batch in prepared.batches():
        decoded = decode_body(batch.body())
        assert 1 <= len(batch) == len(decoded) <= series
        assert len(batch.message) <= size
        assert {time for _, _, time in decoded} == {batch.timestamp_ms}
        sent += [(batch.org_id, time - NOW_MS, int(dict(labels)["pod"])) for labels, _, time in decoded]
        places.append((batch.org_id, batch.timestamp_ms))
    assert sorted(sent) == sorted(rows)
    assert places == sorted(places)
    assert prepared.derived == len(rows)


def test_requests_are_full():
    config = receiver(limits=Limits(request_series=3))
    assert [len(batch) for batch in prepare(many(10), config, NOW_MS).batches()] == [3, 3, 3, 1]
    assert [len(batch) for batch in prepare(many(20_000), receiver(), NOW_MS).batches()] == [2000] * 10


def test_a_series_larger_than_a_request_is_refused():
    config = receiver(limits=Limits(request_bytes=4096, label_value_bytes=100_000))
    prepared = prepare(samples(row(a="x" * 5000), row(a="y")), config, NOW_MS)
    assert prepared.refusals.by_reason == {"series_too_large": 1}
    assert len(prepared.samples) == 1


def test_tenants_that_share_an_org_id_share_requests():
    config = receiver(org_id="all", tenant_label="tenant")
    (batch,) = prepare(samples(row(tenant="a"), row(tenant="b")), config, NOW_MS).batches()
    assert batch.org_id == "all"
    assert [dict(labels)["tenant"] for labels, _, _ in decode_body(batch.body())] == ["a", "b"]


def test_undressed_samples_are_not_cut():
    mixed = samples(row(timestamp_ms=NOW_MS + 1), row())
    with pytest.raises(ValueError, match="order of sending"):
        list(cut_batches(mixed, receiver()))


def test_only_selected_tenants_and_metrics_are_sent():
    config = receiver(tenants=["team-*", "x"], select=['{__name__=~"a.*", pod!=""}', '{zone="z"}'])
    rows = [
        row("a1", tenant="team-1", pod="p"), row("a2", tenant="other", pod="p"), row("b", tenant="x", pod="p"),
        row("b", tenant="x", zone="z"), row("a3", tenant="x"),
    ]  # fmt: skip
    sent = prepare(samples(*rows), config, NOW_MS).samples
    assert [sent.labels(i) for i in range(len(sent))] == [
        {"__name__": "a1", "pod": "p"}, {"__name__": "b", "zone": "z"},
    ]  # fmt: skip


def test_the_digest_is_about_samples_and_nothing_else():
    rows = [row(pod="a", value=1.0), row(pod="b", value=2.0)]
    digest = prepare(samples(*rows), receiver(), NOW_MS).digest
    assert digest == prepare(samples(*reversed(rows)), receiver(), NOW_MS + 10**10).digest
    assert digest == prepare(samples(*rows), receiver(limits=Limits(request_series=1, labels=1)), NOW_MS).digest
    others = [
        prepare(samples(rows[0]), receiver(), NOW_MS),
        prepare(samples(rows[0], row(pod="b", value=2.5)), receiver(), NOW_MS),
        prepare(samples(rows[0], row(pod="b", value=2.0, timestamp_ms=NOW_MS + 1)), receiver(), NOW_MS),
        prepare(samples(*rows), receiver(labels={"cluster": "eu"}), NOW_MS),
        prepare(samples(*rows), receiver(org_ids={"acme": "other"}), NOW_MS),
    ]
    assert len({digest, *(other.digest for other in others)}) == 6


def test_frames_tables_and_files_read_alike():
    one = table(row("m", pod="a"), row("m", pod="b", zone="z"), row("n", tenant="t"))
    from_file = open_series(series_to_parquet(to_polars(one)))
    for other in (read_samples(one), read_samples(to_polars(one))):
        assert [other.labels(i) for i in range(3)] == [from_file.labels(i) for i in range(3)]
    assert [from_file.tenants[code] for code in from_file.tenant] == ["acme", "acme", "t"]
    assert list(prepare(empty_samples(), receiver(), NOW_MS).batches()) == []
    assert len(open_series(series_to_parquet(to_polars(table())))) == 0


def test_what_is_no_series_is_named():
    with pytest.raises(SeriesError, match=r"series/x\.parquet holds no series"):
        open_series(b"PAR1 nonsense PAR1", "series/x.parquet")
    with pytest.raises(SeriesError, match="'metric' is missing"):
        read_samples(table(row()).drop_columns(["metric"]))
    gap = table(row()).set_column(4, "value", [[None]])
    with pytest.raises(SeriesError, match="gaps"):
        read_samples(gap)


def test_sending_does_not_need_the_messages_of_a_job_at_once():
    config = receiver(kind="prometheus")
    prepared = prepare(open_series(series_file(40_000)), config, NOW_MS)
    tracemalloc.start()
    total = sum(len(batch.message) for batch in prepared.batches())
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert total > 10_000_000
    assert peak < total  # Python's and NumPy's share; the messages themselves are Arrow's, 8,000 at a time


def test_times_ascend_per_tenant():
    rows = [row(timestamp_ms=NOW_MS - step, tenant=tenant, pod=str(step)) for step in range(5) for tenant in "ab"]
    batches = list(prepare(samples(*rows), receiver(), NOW_MS).batches())
    for first, second in pairwise(batches):
        assert first.org_id < second.org_id or first.timestamp_ms < second.timestamp_ms


def test_tenants_that_look_alike_are_sent_under_names_of_their_own():
    config = receiver()
    alike = samples(*(row(tenant=show_bytes(tenant)) for tenant in (b"\xff", rb"\xff", rb"\x5cxff")))
    batches = list(prepare(alike, config, NOW_MS).batches())
    assert sorted(batch.org_id for batch in batches) == sorted([r"\xff", r"\x5cxff", r"\x5cx5cxff"])
    assert {len(batch) for batch in batches} == {1}
