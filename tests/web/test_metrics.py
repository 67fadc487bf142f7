"""`/metrics`: names and units by Prometheus' conventions, figures that the ledger knows, answers when it does not."""

import subprocess
from pathlib import Path

import pytest

from pyro_assets.errors import LedgerUnavailable
from pyro_assets.monitoring.metrics import HealthMetrics, exposition
from pyro_assets.monitoring.now import alerts, look
from pyro_assets.operations import runs, sending
from pyro_assets.web.app import make_app
from pyro_assets.web.site import Site
from tests.support.exports import HOUR, derive, expected, opened, scripted
from tests.support.scripted_server import scripted_server
from tests.support.servers import binary
from tests.support.web_client import Client


def figures(text: str) -> dict[str, float]:
    lines = [line for line in text.splitlines() if not line.startswith("#")]
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines)}


def scraped(folder: Path, *, asked: bool = False) -> str:
    """What is there after one export of the golden jobs, which a person asked for or not."""
    with scripted_server() as server, opened(folder, scripted(server)) as pipeline:
        times = iter(range(0, 10**9, 60_000))
        clock = pipeline.clock
        metrics = HealthMetrics(pipeline.ledger, lambda: {"r": 0}, lambda: clock() + next(times))
        derive(pipeline)
        sending.export(pipeline, [HOUR] if asked else None)
        return Client(make_app(Site(pipeline, metrics))).get("/metrics").text


def test_figures_of_an_export(tmp_path: Path):
    found = figures(scraped(tmp_path))
    samples = sum(map(len, expected(tmp_path).values()))
    assert found['pyro_assets_exported_samples_total{receiver="r"}'] == samples
    assert found['pyro_assets_export_lag_seconds_count{receiver="r"}'] == 3
    assert found['pyro_assets_export_lag_seconds_bucket{receiver="r",le="+Inf"}'] == 3
    for stage in ("compacted", "derived", "exported"):
        assert found[f'pyro_assets_lag_seconds_count{{stage="{stage}"}}'] == 3
    assert found["pyro_assets_compacted_jobs_total"] == 3
    assert found["pyro_assets_pending_segments"] == 0
    assert found['pyro_assets_receiver_up{receiver="r"}'] == 1
    assert found['pyro_assets_quarantined{subject="job"}'] == 0
    assert found["pyro_assets_lost_segments"] == 0
    assert found['pyro_assets_receiver_answer_seconds_count{receiver="r"}'] > 0
    assert any(name.startswith("pyro_assets_rule_series{") for name in found)


def test_an_export_that_a_person_asked_for_has_no_lag_and_raises_no_alert(tmp_path: Path):
    found = figures(scraped(tmp_path, asked=True))
    assert found['pyro_assets_export_lag_seconds_count{receiver="r"}'] == 0
    assert found['pyro_assets_lag_seconds_count{stage="exported"}'] == 0
    assert found['pyro_assets_backfill_seconds_count{stage="exported"}'] == 3
    # Stages that live runs had reached before keep their lag.
    assert found['pyro_assets_lag_seconds_count{stage="derived"}'] == 3
    assert found['pyro_assets_backfill_seconds_count{stage="derived"}'] == 0


def test_a_backfill_of_old_hours_raises_no_alert_of_lag(tmp_path: Path):
    with scripted_server() as server, opened(tmp_path, scripted(server)) as pipeline:
        derive(pipeline)
        sending.export(pipeline, [HOUR])
        now = look(pipeline, pipeline.clock())
        assert [receiver.lag_p95_seconds for receiver in now.receivers] == [None]
        assert now.receivers[0].accepted > 0
        assert "PyroAssetsLag" not in {alert.name for alert in alerts(now)}
        report = runs.hour_report(pipeline, HOUR)
        assert (report.exported_lag, report.asked["exported"].count) == (None, 3)


@pytest.mark.service
def test_promtool_accepts_names_and_units(tmp_path: Path):
    checked = subprocess.run(
        [binary("promtool"), "check", "metrics"], input=scraped(tmp_path), capture_output=True, text=True, check=False
    )
    assert (checked.returncode, checked.stdout + checked.stderr) == (0, "")


def test_a_ledger_that_does_not_answer_is_said(tmp_path: Path):
    class Broken:
        def collect(self):
            raise LedgerUnavailable("the ledger is away")

    with opened(tmp_path) as pipeline:
        client = Client(make_app(Site(pipeline, Broken())))  # type: ignore[arg-type]
        answers = [client.get(path) for path in ("/metrics", "/healthz")]
        assert [(one.status, one.text) for one in answers] == [(503, "the ledger is away\n"), (200, "ok\n")]


def test_nothing_is_a_text_too():
    assert exposition([]) == "\n"
