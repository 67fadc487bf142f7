"""Queries and drawings of metrics: amounts as rates, levels as levels, gaps as gaps, links to what draws them."""

import json
from urllib.parse import parse_qs, urlsplit

import pytest

from pyro_assets.explore.series import Step
from pyro_assets.rules.config import DEFAULT_GAUGES
from pyro_assets.rules.language import Rule
from pyro_assets.web.meanings import graph_links, meaning_of

CPU = "pyroscope_exported_metrics_process_cpu_cpu_nanoseconds_cpu_nanoseconds"
INUSE = "pyroscope_exported_metrics_memory_inuse_space_bytes_space_bytes"


@pytest.mark.parametrize(
    ("metric", "rule", "unit", "rate"),
    [
        (CPU, Rule(name="r"), "nanoseconds", (1e-9, "cores")),
        (INUSE, Rule(name="r"), "bytes", (1.0, "bytes")),
        (INUSE, Rule(name="r", aggregate="sum"), "bytes", (1.0, "B/s")),
        (CPU, Rule(name="r", aggregate="count"), "", (1.0, "/s")),
        ("mine", Rule(name="r", metric="mine", profile_types=["cpu"], unit="seconds"), "seconds", (1.0, "cores")),
        ("goroutines", Rule(name="r", metric="goroutines", profile_types=["goroutine"]), "", (1.0, "")),
        ("unknown_bytes", Rule(name="r"), "", (1.0, "/s")),
        ("pyroscope_exported_metrics_mutex_delay_nanoseconds_contentions_count", Rule(name="r"), "nanoseconds",
         (1e-9, "s/s")),
    ],
)  # fmt: skip
def test_units_come_from_names_and_rules(metric: str, rule: Rule, unit: str, rate: tuple[float, str]):
    found = meaning_of(metric, DEFAULT_GAUGES, [rule])
    assert (found.unit, found.rate) == (unit, rate)


def test_amounts_become_rates_and_what_is_missing_stays_missing():
    steps = {0: Step(30e9, 30e9), 60_000: Step(90e9, 45e9), 240_000: Step(60e9, 60e9)}
    drawn = meaning_of(CPU, DEFAULT_GAUGES).drawn(steps, 60_000, 50_000)
    assert [(begin_ms, round(value or 0, 3)) for begin_ms, value in drawn.points] == [
        (0, 0.5),
        (60_000, 1.5),
        (240_000, 1.0),
    ]
    assert (drawn.step_ms, drawn.unit) == (60_000, "cores")
    # Where samples are rarer than steps, steps are wider.
    wide = meaning_of(CPU, DEFAULT_GAUGES).drawn(steps, 60_000, 100_000)
    assert [(begin_ms, round(value or 0, 3)) for begin_ms, value in wide.points] == [(0, 1.0), (240_000, 0.5)]
    levels = meaning_of(INUSE, DEFAULT_GAUGES).drawn(steps, 60_000, 100_000)
    assert levels.points == [(0, 37.5e9), (240_000, 60e9)]


def test_queries_name_labels_as_receivers_do():
    query = meaning_of(INUSE, DEFAULT_GAUGES).promql({"k8s.pod": 'a"b\n'}, by=["service.name"])
    assert query == (
        f'sum by (service_name) (avg without (pyroscope_shard) (avg_over_time({INUSE}{{k8s_pod="a\\"b\\n"}}[5m])))'
    )
    assert meaning_of("größe", ()).promql(by=()).startswith('sum (sum_over_time({__name__="größe"}[5m]))')


def test_links_to_what_draws_a_query():
    found = graph_links('up{a="b"}', "3h", prometheus_url="http://p", grafana_url="http://g/x")
    assert parse_qs(urlsplit(found["Prometheus"]).query)["g0.expr"] == ['up{a="b"}']
    panes = json.loads(parse_qs(urlsplit(found["Grafana"]).query)["panes"][0])
    assert panes["one"]["queries"][0]["expr"] == 'up{a="b"}'
    assert panes["one"]["range"] == {"from": "now-3h", "to": "now"}
    assert graph_links("up", "1h") == {}
