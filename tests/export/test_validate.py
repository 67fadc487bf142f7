"""Every rule refuses what it is for, names rule, label and reason, and lets the neighbours through."""

from typing import Any

import pytest

from pyro_assets.export.remote_write.batch import prepare
from pyro_assets.export.remote_write.refusals import MAX_EXAMPLES, REASONS, Refusals
from pyro_assets.export.remote_write.validate import MAX_AHEAD_MS, ActiveSeries, validate
from pyro_assets.receivers.model import Receiver, ReceiverLimits
from tests.support.remote_write import NOW_MS, many, row, samples

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS


def receiver(**fields: Any) -> Receiver:
    return Receiver(**({"name": "r", "url": "http://localhost/api/v1/write", "kind": "mimir"} | fields))


@pytest.mark.parametrize(
    ("bad", "reason", "detail"),
    [
        (row("1m"), "bad_metric_name", "'__name__'"),
        (row("m.dot"), "bad_metric_name", "'__name__'"),
        (row("mé"), "bad_metric_name", "'__name__'"),
        (row(""), "bad_metric_name", ""),
        (row(**{f"l{i}": "x" for i in range(30)}), "too_many_labels", ""),
        (row(**{"n" * 1025: "x"}), "label_name_too_long", "'nnn"),
        (row(a="x" * 2049), "label_value_too_long", "'a'"),
        (row(a="é" * 1025), "label_value_too_long", "'a'"),
        (row("m" * 2049), "label_value_too_long", "'__name__'"),
        (row(value=float("nan")), "not_finite", ""),
        (row(value=float("-inf")), "not_finite", ""),
        (row(tenant="a\nb"), "bad_org_id", ""),
        (row(tenant=" a"), "bad_org_id", ""),
        (row(timestamp_ms=NOW_MS + MAX_AHEAD_MS + 1), "future", ""),
        (row(timestamp_ms=NOW_MS - HOUR_MS - 1), "too_old", ""),
        (row(timestamp_ms=0), "too_old", ""),
        (row(timestamp_ms=-5), "too_old", ""),
    ],
)
def test_a_bad_sample_is_refused_and_its_neighbours_are_not(bad: dict[str, Any], reason: str, detail: str):
    bad["rule"] = "the rule"
    prepared = prepare(samples(row(pod="before"), bad, row(pod="after")), receiver(), NOW_MS)
    assert [prepared.samples.labels(i)["pod"] for i in range(len(prepared.samples))] == ["before", "after"]
    assert prepared.refusals.counts == {(reason, "the rule"): 1}
    (example,) = prepared.refusals.examples
    assert example.timestamp_ms == bad["timestamp_ms"]
    assert example.tenant == bad["tenant"]
    assert detail in example.detail
    assert reason in str(example)
    assert "the rule" in str(example)
    assert reason in REASONS


@pytest.mark.parametrize(("label_names", "taken"), [("underscores", 1), ("values", 1), ("utf8", 2)])
def test_a_label_name_that_was_not_made_for_the_receiver_is_refused(label_names: str, taken: int):
    given = samples(row(pod="a"), row(**{"k8s.pod": "b"}), row(__private="c"), row(**{"": "d"}))
    validated = validate(given, receiver(label_names=label_names), NOW_MS)
    assert len(validated.samples) == taken
    assert validated.refusals.counts == {("bad_label_name", "r"): 4 - taken}


@pytest.mark.parametrize(
    "good",
    [
        row("a:b_C9"),
        row(**{f"l{i}": "x" for i in range(29)}),
        row(a="x" * 2048, b="é" * 1024),
        row(value=-0.0),
        row(timestamp_ms=NOW_MS + MAX_AHEAD_MS),
        row(timestamp_ms=NOW_MS - HOUR_MS),
        row(a='quotes " \\ and \n lines'),
    ],
)
def test_what_is_just_legal_passes(good: dict[str, Any]):
    assert not prepare(samples(good), receiver(), NOW_MS).refusals.total


def test_an_empty_label_is_no_label_and_may_not_hide_a_second_series():
    prepared = prepare(samples(row(a="", pod="p"), row(pod="q"), row(a="", pod="q")), receiver(), NOW_MS)
    assert [prepared.samples.labels(i) for i in range(len(prepared.samples))] == [{"__name__": "m", "pod": "p"}]
    assert prepared.refusals.by_reason == {"duplicate_sample": 2}


def test_two_samples_of_one_key_are_both_refused():
    rows = [row(pod="a", value=1.0), row(pod="b"), row(pod="a", value=2.0), row(pod="a", timestamp_ms=NOW_MS - 1)]
    prepared = prepare(samples(*rows), receiver(), NOW_MS)
    assert len(prepared.samples) == 2
    assert prepared.refusals.by_reason == {"duplicate_sample": 2}
    assert {example.labels["pod"] for example in prepared.refusals.examples} == {"a"}


def test_tenants_that_become_one_are_noticed():
    # The patterns of `tenants` hide it from the check of the file.
    config = receiver(tenants=["*"], org_ids={"a": "b"})
    prepared = prepare(samples(row(tenant="a"), row(tenant="b"), row(tenant="c")), config, NOW_MS)
    assert prepared.refusals.by_reason == {"duplicate_sample": 2}


def test_a_label_of_the_receiver_never_replaces_one_of_the_series():
    config = receiver(labels={"cluster": "eu"}, tenant_label="team")
    prepared = prepare(samples(row(cluster="us"), row(team="x"), row(pod="p")), config, NOW_MS)
    assert prepared.refusals.by_reason == {"duplicate_label": 2}
    assert {example.detail for example in prepared.refusals.examples} == {"label 'cluster'", "label 'team'"}
    assert prepared.samples.labels(0) == {"__name__": "m", "pod": "p", "cluster": "eu", "team": "acme"}


def test_each_kind_has_its_own_limits():
    long = row(a="x" * 1500)
    for kind, refused in (("prometheus", 0), ("mimir", 0), ("victoriametrics", 1), ("generic", 0)):
        assert prepare(samples(long), receiver(kind=kind, tenants=["acme"]), NOW_MS).refusals.total == refused
    own = receiver(kind="victoriametrics", tenants=["acme"], limits=ReceiverLimits(label_value_bytes=16_384))
    assert not prepare(samples(long), own, NOW_MS).refusals.total


@pytest.mark.parametrize(
    ("fields", "age_ms", "refused"),
    [
        ({"kind": "prometheus"}, HOUR_MS + 1, True),
        ({"kind": "prometheus", "out_of_order_window": "1d"}, DAY_MS, False),
        ({"kind": "prometheus", "out_of_order_window": "1d"}, DAY_MS + 1, True),
        ({"kind": "prometheus", "out_of_order_window": "10m"}, 30 * 60_000, False),
        ({"kind": "mimir", "out_of_order_window": "1d", "retention": "12h"}, DAY_MS // 2 + 1, True),
        ({"kind": "victoriametrics"}, 30 * DAY_MS, False),
        ({"kind": "victoriametrics"}, 30 * DAY_MS + 1, True),
        ({"kind": "victoriametrics", "retention": "1y"}, 200 * DAY_MS, False),
        ({"kind": "generic"}, 900 * DAY_MS, False),
        ({"kind": "generic", "retention": "1d"}, DAY_MS + 1, True),
    ],
)
def test_too_old_is_what_the_receiver_declares(fields: dict[str, Any], age_ms: int, refused: bool):
    config = receiver(**(fields | {"tenants": ["acme"]}))
    old = samples(row(timestamp_ms=NOW_MS - age_ms))
    assert prepare(old, config, NOW_MS).refusals.by_reason == ({"too_old": 1} if refused else {})
    assert not prepare(old, config, NOW_MS, ageless=True).refusals.total


def test_active_series_overflow_is_counted_per_tenant_and_hour():
    active = ActiveSeries(limit=3)
    config = receiver(limits=ReceiverLimits(active_series=3))
    first = prepare(many(5), config, NOW_MS, active)
    assert first.refusals.by_reason == {"active_series": 2}
    # The same job again: the same decision. Another tenant and another hour have room of their own.
    again = prepare(many(5), config, NOW_MS, active)
    assert [again.samples.labels(i) for i in range(3)] == [first.samples.labels(i) for i in range(3)]
    assert again.refusals.by_reason == {"active_series": 2}
    assert not prepare(many(3, tenant="other"), config, NOW_MS, active).refusals.total
    assert not prepare(many(3, timestamp_ms=NOW_MS + HOUR_MS), config, NOW_MS + HOUR_MS, active).refusals.total
    fresh = active.take_fresh()
    hour = NOW_MS // HOUR_MS
    assert {place: len(series) for place, series in fresh.items()} == {
        ("acme", hour): 3,
        ("acme", hour + 1): 3,
        ("other", hour): 3,
    }
    assert active.take_fresh() == {}
    # Another process goes on where this one stopped.
    later = ActiveSeries(3, lambda tenant, hour: fresh.get((tenant, hour), ()))
    assert prepare(many(5), config, NOW_MS, later).refusals.by_reason == {"active_series": 2}
    assert later.take_fresh() == {}


def test_only_first_examples_are_kept():
    prepared = prepare(samples(*(row("m.x", pod=str(i)) for i in range(50))), receiver(), NOW_MS)
    assert prepared.refusals.total == 50
    assert len(prepared.refusals.examples) == MAX_EXAMPLES
    both = Refusals()
    both.merge(prepared.refusals)
    both.merge(prepared.refusals)
    assert both.by_reason == {"bad_metric_name": 100}
    assert len(both.examples) == MAX_EXAMPLES
    assert both.examples[0].to_dict()["labels"]["pod"] == "0"
