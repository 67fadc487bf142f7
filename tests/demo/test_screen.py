"""What the demo says: figures, series, places, the result."""

import io
from dataclasses import replace

from pyro_assets.demo.proof import Proof
from pyro_assets.demo.screen import Screen
from pyro_assets.generator.check import Discrepancy
from pyro_assets.monitoring.reports import ExportReport, HourReport, Lag


def said(tell) -> str:
    out = io.StringIO()
    tell(Screen(out))
    return out.getvalue()


def test_no_colours_outside_of_a_terminal():
    assert said(lambda screen: screen.step("making hours")) == "==> making hours\n"


def test_figures_of_an_hour():
    report = HourReport("2026-11-25-13:00", segments=1234, blocks=56, series={"dimension": 7}, lag=Lag(9, 6.51, 11, 12))
    line = said(lambda screen: screen.figures(report))
    assert "1,234 segments" in line
    assert "lag p50 6.5 s, p95 11.0 s" in line
    assert "lag" not in said(lambda screen: screen.figures(HourReport("2026-11-25-13:00")))


def test_the_newest_series():
    labels = {"function": "main", "pod": "a-1", "pyroscope_shard": "2", "service_name": "checkout"}
    row = {
        "timestamp_ms": 1795611244000,
        "tenant": "acme",
        "metric": "pyroscope_exported_metrics_functions_process_cpu_cpu_nanoseconds_cpu_nanoseconds",
        "labels": [{"name": name, "value": value} for name, value in labels.items()],
        "value": 1e9,
        "value_int": 10**9,
    }
    text = said(lambda screen: screen.newest_series([row]))
    for expected in ("acme", "checkout", "in main", "pod=a-1", "1,000,000,000"):
        assert expected in text


def test_places_are_links():
    web = "http://127.0.0.1:9119"
    text = said(lambda screen: screen.places("http://127.0.0.1:3000", "logs", web))
    assert "http://127.0.0.1:3000/asset-groups" in text
    for path in ("explore", "rules", "status", "metrics"):
        assert f"{web}/{path} " in text
    assert "Prometheus" not in text
    with_prometheus = said(lambda screen: screen.places("http://127.0.0.1:3000", "logs", web, "http://127.0.0.1:9"))
    assert "\n      http://127.0.0.1:9/graph?g0.expr=sum+by+%28service_name%29" in with_prometheus
    assert "backfilled hours among them, which it reads from the archive:" in with_prometheus


def test_the_end_sums_up_and_says_what_stays():
    report = replace(
        HourReport("2026-11-25-13:00", segments=1234, blocks=56, series={"dimension": 70}, lag=Lag(9, 6.51, 11, 12)),
        bytes_in=3 << 20,
        exports=(ExportReport("prometheus", accepted=69, refused=1),),
    )
    text = said(lambda screen: screen.summary([report], 200, ".demo"))
    assert "1,234 segments (3.0 MiB) of 1 hour became 56 blocks and 70 samples of series, in 3 min 20 s." in text
    assert "p50 6.5 s, p95 11.0 s" in text
    assert "prometheus accepted 69 samples and refused 1." in text
    assert "`make demo` goes on with it, `make demo FRESH=1` begins anew" in " ".join(text.split())


def test_the_result():
    assert "equal: 5 segments" in said(lambda screen: screen.proof(Proof(5, 2, 30, ())))
    difference = Discrepancy("value", "ab12", "acme: cpu", 7, 8)
    text = said(lambda screen: screen.proof(Proof(5, 2, 30, (difference,))))
    assert "NOT equal" in text
    assert "job ab12: value: acme: cpu: 7 != 8" in text


def test_nothing_made_proves_nothing():
    assert not Proof(0, 0, 0, ()).equal
    assert not Proof(5, 0, 0, ()).equal
    assert Proof(5, 1, 1, ()).equal
