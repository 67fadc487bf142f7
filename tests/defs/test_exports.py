"""The asset `exported_series`: its metadata with and without receivers, its checks, and whose trouble fails a run."""

from dataclasses import replace
from typing import Any

import dagster as dg

from pyro_assets.definitions import build_defs
from pyro_assets.defs.exports import receipts_result, refused_result
from pyro_assets.defs.metadata import hour_metadata
from pyro_assets.errors import ConfigError
from pyro_assets.export.exporter import ExportCounts
from pyro_assets.monitoring.reports import ExportReport, HourReport, Lag
from pyro_assets.storage.keys import HOUR_MS, hour_start_ms
from tests.support.fake_pipeline import FakePipeline, hour_of_work, resources_with

HOUR = "2026-11-20-03:00"
SETTLE_MS = 120_000
OVER_MS = hour_start_ms(HOUR) + HOUR_MS + SETTLE_MS
GOOD = ExportReport("local", jobs=2, samples=88, accepted=88, requests=4, bytes=900, lag=Lag(2, 7.0, 8.0, 9.0))
REFUSED = replace(GOOD, accepted=80, refused=8, reasons={"too_old": 8}, examples=("too_old (m{} ...)",))


def run(fake: FakePipeline, job: str = "live", **how: Any) -> dg.ExecuteInProcessResult:
    definition = build_defs(resources_with(fake), start_hour="2026-11-20-00:00").resolve_job_def(job)
    with dg.DagsterInstance.ephemeral() as instance:
        return definition.execute_in_process(instance=instance, partition_key=HOUR, raise_on_error=False, **how)


def exported(result: dg.ExecuteInProcessResult) -> dict[str, Any]:
    event = [e for e in result.get_asset_materialization_events() if e.asset_key.path[-1] == "exported_series"][-1]
    return {name: value.value for name, value in event.materialization.metadata.items()}


def test_without_receivers_the_asset_says_so():
    metadata = exported(run(FakePipeline({HOUR: hour_of_work(HOUR)})))
    assert metadata["receivers"] == 0
    assert metadata["headline"].startswith("**nothing is sent**: name a file of receivers")


def test_figures_are_sums_and_each_receiver_is_a_row():
    metadata = exported(run(FakePipeline({HOUR: replace(hour_of_work(HOUR), exports=(GOOD,), exported_lag=GOOD.lag)})))
    assert metadata["headline"].startswith("**88 samples** accepted by 1 receiver, lag p95 8 s\n\n")
    assert (metadata["dagster/row_count"], metadata["pending_jobs"], metadata["lag_p95_seconds"]) == (88, 0, 8.0)
    down = replace(REFUSED, error="down", paused=True, tenants={"acme": {"too_old": 8}}, lag=None)
    shown = hour_metadata(HourReport(HOUR, exports=(down,)), "exported_series")
    assert "8 refused: see the check `no_sample_is_refused`" in shown["headline"].value
    assert "local in trouble: `pyro-assets receivers check local`" in shown["headline"].value
    (row,) = (record.data for record in shown["receivers"].value.records)
    assert (row["accepted"], row["refused"]) == (80, 8)
    assert (row["state"], row["refusals"]) == ("paused; down", "tenant 'acme': 8 too_old")
    assert "lag_p95_seconds" not in row


def test_a_live_run_sends_beside_its_work_and_a_backfill_what_was_asked_for():
    fake = FakePipeline({HOUR: hour_of_work(HOUR)})
    run(fake)
    run(fake, "backfill")
    assert [(asked["hours"], asked["explicit"], asked["stay"]) for asked in fake.sent] == [
        ([HOUR], False, True), ([HOUR], True, True),
    ]  # fmt: skip


def test_a_run_of_the_asset_alone_only_sends():
    fake = FakePipeline({HOUR: hour_of_work(HOUR, done=True)})
    result = run(fake, "backfill", asset_selection=[dg.AssetKey("exported_series")])
    assert result.success
    assert fake.asked == []
    assert len(fake.sent) == 1
    assert exported(result)["headline"].endswith("This run: nothing to do.")


def test_a_receiver_that_is_down_fails_no_run_but_a_ledger_does():
    down = FakePipeline({HOUR: hour_of_work(HOUR)}, counts={"local": ExportCounts(error="receiver local: no answer")})
    assert run(down).success
    full = FakePipeline({HOUR: hour_of_work(HOUR)}, counts={"local": ExportCounts(error="disk full", fatal=True)})
    result = run(full)
    assert not result.success
    assert {event.asset_key.path[-1] for event in result.get_asset_materialization_events()} >= {"l1_blocks"}


def test_a_file_of_receivers_with_a_mistake_stops_no_compaction():
    class Mistaken(FakePipeline):
        def exporter(self, hours: Any, **how: Any) -> Any:
            raise ConfigError("receivers.yaml", 3, "receivers[0].url", "is no URL")

    fake = Mistaken({HOUR: hour_of_work(HOUR)})
    result = run(fake)
    assert not result.success
    assert len(fake.asked) == 1
    (failure,) = result.filter_events(lambda event: event.is_step_failure)
    assert "receivers.yaml:3" in failure.step_failure_data.user_failure_data.description


def test_checks():
    report = HourReport(HOUR, exports=(GOOD,))
    assert receipts_result([report], OVER_MS, SETTLE_MS).passed
    left = HourReport(HOUR, exports=(replace(GOOD, pending=3),))
    assert receipts_result([left], OVER_MS - 1, SETTLE_MS).passed
    failed = receipts_result([left], OVER_MS, SETTLE_MS)
    assert not failed.passed
    assert "local: 3 jobs of 2026-11-20-03:00 are not sent" in str(failed.description)
    assert receipts_result([HourReport(HOUR, exports=(replace(GOOD, pending=3, paused=True),))], OVER_MS, 0).passed
    assert refused_result([report]).passed
    warned = refused_result([HourReport(HOUR, exports=(REFUSED,))])
    assert (warned.passed, warned.severity) == (False, dg.AssetCheckSeverity.WARN)
    assert "8 too_old" in str(warned.description)
    ways = refused_result([HourReport(HOUR, exports=(replace(REFUSED, changed=1),))]).metadata["what_to_do"].value
    when = "--from 2026-11-20-03:00 --to 2026-11-20-04:00"
    assert f"pyro-assets export --receiver local --format openmetrics {when} --out DIR" in str(ways)
    assert f"pyro-assets receivers keep local {when}" in str(ways)
    assert refused_result([report]).metadata["what_to_do"].value == "nothing"


def test_advice_about_refusals_names_the_tenants():
    tenants = {"acme": {"too_old": 7, "series_limit": 2}, "globex": {"too_old": 1}}
    one = replace(REFUSED, reasons={"too_old": 8, "series_limit": 2}, tenants=tenants)
    metadata = refused_result([HourReport(HOUR, exports=(one,))]).metadata
    ways = str(metadata["what_to_do"].value)
    assert "too old for local (tenant 'acme', 'globex'): write files" in ways
    assert "series_limit at local (tenant 'acme'): raise that limit" in ways
    words = "local, 2026-11-20-03:00: tenant 'acme': 2 series_limit, 7 too_old; tenant 'globex': 1 too_old"
    assert metadata["tenants"].value == [words]
