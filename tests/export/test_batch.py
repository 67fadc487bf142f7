"""Requests of a job: inside the limits, one time each, in time order, and the same digest for the same samples."""

from collections import Counter
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyro_assets.errors import SeriesError
from pyro_assets.export.remote_write.batch import cut_batches, prepare
from pyro_assets.export.samples import open_series, read_samples
from pyro_assets.receivers.model import Receiver, ReceiverLimits
from pyro_assets.rules.names import exported_names
from pyro_assets.series.files import series_to_parquet, to_polars
from pyro_assets.series.frame import SCHEMA
from pyro_assets.storage.shown import show_bytes
from tests.support.remote_write import NOW_MS, decode_body, many, row, samples, series_file, table


def receiver(**fields) -> Receiver:
    return Receiver(**({"name": "r", "url": "http://localhost/api/v1/write", "kind": "mimir"} | fields))


@given(
    st.lists(st.tuples(st.sampled_from("abc"), st.integers(0, 3), st.integers(0, 20)), max_size=60, unique=True),
    st.integers(1, 7),
    st.sampled_from([4096, 4200, 8192]),
)
def test_every_sample_is_in_one_request(rows: list[tuple[str, int, int]], series: int, size: int):
    config = receiver(limits=ReceiverLimits(request_series=series, request_bytes=size))
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
    config = receiver(limits=ReceiverLimits(request_series=3))
    assert [len(batch) for batch in prepare(many(10), config, NOW_MS).batches()] == [3, 3, 3, 1]
    assert [len(batch) for batch in prepare(many(20_000), receiver(), NOW_MS).batches()] == [2000] * 10


def test_a_series_larger_than_a_request_is_refused():
    config = receiver(limits=ReceiverLimits(request_bytes=4096, label_value_bytes=100_000))
    prepared = prepare(samples(row(a="x" * 5000), row(a="y")), config, NOW_MS)
    assert prepared.refusals.by_reason == {"series_too_large": 1}
    assert len(prepared.samples) == 1


def test_tenants_that_share_an_org_id_share_requests():
    config = receiver(org_id="all", tenant_label="tenant")
    (batch,) = prepare(samples(row(tenant="a"), row(tenant="b")), config, NOW_MS).batches()
    assert batch.org_id == "all"
    assert [dict(labels)["tenant"] for labels, _, _ in decode_body(batch.body())] == ["a", "b"]


def sent_labels(*rows: Any, **fields: Any) -> list[tuple[dict[str, str], float]]:
    """Labels without the metric's name, and value, of all samples of some rows as one receiver gets them."""
    prepared = prepare(samples(*rows), receiver(tenants=["acme"], **fields), NOW_MS)
    assert not prepared.refusals.total
    decoded = [one for batch in prepared.batches() for one in decode_body(batch.body())]
    return [({name: text for name, text in labels if name != "__name__"}, value) for labels, value, _ in decoded]


@pytest.mark.parametrize(
    ("label_names", "dots", "letters"),
    [
        ("underscores", "k8s_pod", "_438__43c__44f_"),
        ("values", "U__k8s_2e_pod", "U___438__43c__44f_"),
        ("utf8", "k8s.pod", "имя"),
    ],
)
def test_label_names_as_the_receiver_takes_them(label_names: str, dots: str, letters: str):
    rows = [row(**{"k8s.pod": "a", "имя": "b"}), row(value=2.0, имя="b"), row(value=3.0, pod="c")]
    assert sent_labels(*rows, label_names=label_names, labels={"site": "x"}) == [
        ({dots: "a", letters: "b", "site": "x"}, 1.0),
        ({letters: "b", "site": "x"}, 2.0),
        ({"pod": "c", "site": "x"}, 3.0),
    ]


def test_only_in_a_series_with_both_labels_one_is_called_otherwise():
    rows = [row(**{"a.b": "1", "a_b": "2"}), row(**{"a.b": "3"}), row(a_b="4"), row(**{"a.b": "5", "c.d": "6"})]
    assert [labels for labels, _ in sent_labels(*rows)] == [
        {"U__a_2e_b": "1", "a_b": "2"}, {"a_b": "3"}, {"a_b": "4"}, {"a_b": "5", "c_d": "6"}
    ]  # fmt: skip
    # A receiver's label is legal by nature.
    assert sent_labels(row(**{"si-te": "1"}), labels={"si_te": "x"})[0][0] == {"U__si_2d_te": "1", "si_te": "x"}


def test_series_that_are_called_the_same_there_are_added_up():
    rows = [row(value=4.0, **{"a.b": "1"}), row(value=1.0, pod="p"), row(value=2.0, **{"a-b": "1"})]
    rows += [row(value=8.0, rule="other", metric="n", a_b="1"), row(value=16.0, a_b="2")]
    assert sent_labels(*rows) == [({"a_b": "1"}, 6.0), ({"pod": "p"}, 1.0), ({"a_b": "1"}, 8.0), ({"a_b": "2"}, 16.0)]
    assert len(sent_labels(*rows, label_names="values")) == len(sent_labels(*rows, label_names="utf8")) == 5


@given(
    st.lists(st.dictionaries(st.sampled_from(["a.b", "a-b", "a_b", "U__a_2e_b", "é", "c"]), st.just("x")), max_size=8),
    st.sampled_from(["underscores", "values", "utf8"]),
)
def test_no_sample_is_lost_and_no_name_stands_twice(label_sets: list[dict[str, str]], label_names: Any):
    distinct = [dict(labels) for labels in dict.fromkeys(tuple(sorted(labels.items())) for labels in label_sets)]
    sent = sent_labels(*(row(value=2.0**number, **one) for number, one in enumerate(distinct)), label_names=label_names)
    expected: Counter[Any] = Counter()
    for number, labels in enumerate(distinct):
        names, _ = exported_names(tuple(labels), label_names)
        expected[tuple(sorted((names[name], text) for name, text in labels.items()))] += 2.0**number
    assert {tuple(sorted(labels.items())): value for labels, value in sent} == expected
    assert len(sent) == len(expected)


def test_selectors_of_receivers_speak_of_own_names():
    rows = [row(**{"k8s.pod": "a"}), row(value=2.0, k8s_pod="a")]
    assert [value for _, value in sent_labels(*rows, select=['{"k8s.pod"="a"}'])] == [1.0]
    assert [value for _, value in sent_labels(*rows, select=['{k8s_pod=~"a|b"}'])] == [2.0]


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
    assert digest == prepare(samples(*rows), receiver(limits=ReceiverLimits(request_series=1, labels=1)), NOW_MS).digest
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
    assert list(prepare(read_samples(SCHEMA.empty_table()), receiver(), NOW_MS).batches()) == []
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
    prepared = prepare(open_series(series_file(40_000)), receiver(kind="prometheus"), NOW_MS)
    batches = prepared.batches()
    first = next(batches)
    # What is not asked for is not made: a generator that waits holds nothing of what comes.
    assert len(first.message) < 1_000_000
    assert batches.gi_frame is not None
    assert sum(len(batch.message) for batch in batches) > 9_000_000


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
