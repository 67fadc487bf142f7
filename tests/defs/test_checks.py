"""The two checks: what passes, what fails, what waits."""

from dataclasses import replace
from typing import Any

import dagster as dg
import pytest

from pyro_assets.definitions import build_defs
from pyro_assets.defs.checks import (
    LEFT_OUT,
    SERIES_MADE,
    TOTALS,
    UNDONE,
    left_out_result,
    of_hours,
    series_result,
    still_failing,
    totals_result,
    undone_result,
)
from pyro_assets.defs.exports import RECEIPTS, REFUSED
from pyro_assets.jobs.counts import Difference, VerifyReport
from pyro_assets.ledger.records import Failure
from pyro_assets.monitoring.reports import ExportReport, HourReport
from pyro_assets.operations.decide import Item, LeftOut
from pyro_assets.storage.keys import HOUR_MS, hour_start_ms
from tests.support.fake_pipeline import FakePipeline, hour_of_work, resources_with

HOUR = "2026-11-20-03:00"
NEXT = "2026-11-20-04:00"
SETTLE_MS = 120_000
END_MS = hour_start_ms(HOUR) + HOUR_MS
DIFFERENCE = Difference("ab12", "acme", "checkout", "process_cpu:cpu:nanoseconds:cpu:nanoseconds", "total", 7, 8)


def run_checks(fake: FakePipeline, job: str = "live", **arguments: Any) -> dict[str, dg.AssetCheckEvaluation]:
    definition = build_defs(resources_with(fake), start_hour="2026-11-20-00:00").resolve_job_def(job)
    with dg.DagsterInstance.ephemeral() as instance:
        result = definition.execute_in_process(instance=instance, raise_on_error=False, **arguments)
    assert result.success
    return {evaluation.check_name: evaluation for evaluation in result.get_asset_check_evaluations()}


RANGE = {"dagster/asset_partition_range_start": HOUR, "dagster/asset_partition_range_end": NEXT}
ONLY_CHECKS = [dg.AssetCheckKey(dg.AssetKey("l1_blocks"), name) for name in (TOTALS, UNDONE)]


@pytest.mark.parametrize(
    ("job", "arguments", "segments"),
    [
        ("live", {"partition_key": HOUR}, 40),
        ("backfill", {"tags": RANGE}, 80),
        # "Execute" beside the check in the UI names no hour: the latest two.
        ("", {}, 80),
    ],
)
def test_checks_come_with_every_run_and_alone(job: str, arguments: dict, segments: int):
    alone = not job
    known = {hour: hour_of_work(hour, done=alone) for hour in ("2026-11-20-02:00", HOUR, NEXT)}
    fake = FakePipeline(known)
    found = execute_checks_alone(fake) if alone else run_checks(fake, job, **arguments)
    assert {name: evaluation.passed for name, evaluation in found.items()} == dict.fromkeys(found, True)
    assert ({TOTALS, UNDONE} if alone else {TOTALS, UNDONE, SERIES_MADE}) <= set(found)
    assert found[UNDONE].metadata["segments"].value == segments
    assert bool(fake.asked) is not alone


def execute_checks_alone(fake: FakePipeline) -> dict[str, dg.AssetCheckEvaluation]:
    job = dg.define_asset_job("checks", dg.AssetSelection.checks(*ONLY_CHECKS))
    definitions = build_defs(resources_with(fake), start_hour="2026-11-20-00:00")
    merged = dg.Definitions.merge(definitions, dg.Definitions(jobs=[job]))
    with dg.DagsterInstance.ephemeral() as instance:
        result = merged.resolve_job_def("checks").execute_in_process(instance=instance)
    return {evaluation.check_name: evaluation for evaluation in result.get_asset_check_evaluations()}


def test_a_difference_fails_and_is_shown():
    fake = FakePipeline({HOUR: hour_of_work(HOUR)}, verified={HOUR: VerifyReport(HOUR, 1, differences=(DIFFERENCE,))})
    evaluation = run_checks(fake, partition_key=HOUR)["totals_equal_sources"]
    assert not evaluation.passed
    assert evaluation.description == f"1 totals differ in {HOUR}"
    (record,) = evaluation.metadata["differences"].records
    assert "acme/checkout/process_cpu" in record.data["difference"]
    assert "expected 7, found 8" in record.data["difference"]


@pytest.mark.parametrize(
    ("pending", "now_ms", "passed"),
    [
        (0, END_MS + SETTLE_MS, True),
        (5, END_MS - 1, True),
        (5, END_MS + SETTLE_MS - 1, True),
        (5, END_MS + SETTLE_MS, False),
    ],
)
def test_what_is_pending_fails_once_the_hour_is_closed(pending: int, now_ms: int, passed: bool):
    result = undone_result([HourReport(HOUR, pending=pending, listed_ms=1)], now_ms, SETTLE_MS)
    assert result.passed is passed
    assert result.metadata["left"].value == (0 if passed else 5)


@pytest.mark.parametrize(("closing_ms", "passed"), [(0, False), (1, True)])
def test_an_hour_that_was_never_listed_does_not_pass_once_it_should_have_been(closing_ms: int, passed: bool):
    result = undone_result([HourReport(HOUR)], END_MS + SETTLE_MS, SETTLE_MS, closing_ms)
    assert (result.passed, result.metadata["hours_not_listed"].value) == (passed, 0 if passed else 1)


def test_one_hour_left_of_two_is_named():
    reports = [replace(HourReport(HOUR), pending=5), replace(HourReport(NEXT), pending=2)]
    result = undone_result(reports, END_MS + SETTLE_MS, SETTLE_MS)
    assert result.description == f"5 sources of {HOUR} are left: run these hours again"
    assert result.metadata["waiting"].value == 2


def test_hours_of_a_range_are_added_up():
    result = totals_result([VerifyReport(HOUR, 2, before=1, totals=9), VerifyReport(NEXT, 3, totals=8)])
    assert result.passed
    assert result.description == "5 jobs compared, 1 before; all totals equal"
    assert result.metadata["totals_compared"].value == 17


LOST = Item("segments/4/anonymous/X/block.bin", "source", "lost", HOUR, None, "was gone", None, 1, 1, "")
BROKEN = replace(LOST, name="segments/4/anonymous/Y/block.bin", state="set_aside", failure=Failure("BadMagic", "no"))
JOB = replace(BROKEN, name="ab12", subject="job", state="given up", hour=NEXT)


@pytest.mark.parametrize(
    ("missing", "severity", "text"),
    [
        (LeftOut(lost=1, items=(LOST,)), dg.AssetCheckSeverity.ERROR, f"1 sources lost, of {HOUR}: nobody has"),
        (LeftOut(set_aside=1, items=(BROKEN,)), dg.AssetCheckSeverity.WARN, f"1 sources set aside, of {HOUR}: nobody"),
        (
            LeftOut(given_up=1, set_aside=1, items=(JOB, BROKEN)),
            dg.AssetCheckSeverity.ERROR,
            f"1 jobs given up, 1 sources set aside, of 2 hours from {HOUR} to {NEXT}",
        ),
    ],
)
def test_what_is_left_out_of_any_hour_is_seen_whichever_hour_a_run_is_about(
    missing: LeftOut, severity: dg.AssetCheckSeverity, text: str
):
    other = "2026-11-20-09:00"
    found = run_checks(FakePipeline({other: hour_of_work(other)}, missing=missing), partition_key=other)[LEFT_OUT]
    assert (found.passed, found.severity) == (False, severity)
    assert found.description is not None
    assert found.description.startswith(text)
    rows = [record.data for record in found.metadata["items"].records]
    assert [(row["key"], row["cause"]) for row in rows] == [
        (item.name, item.failure.cause if item.failure else "") for item in missing.items
    ]


def test_items_that_are_left_out_link_to_their_page():
    result = left_out_result(LeftOut(set_aside=1, items=(BROKEN,)), "http://pages:9119/")
    link = "http://pages:9119/quarantine/item?name=segments%2F4%2Fanonymous%2FY%2Fblock.bin"
    assert result.metadata["item_1"].value == link
    assert result.metadata["page"].value == "http://pages:9119/quarantine"
    assert left_out_result(LeftOut(), "http://pages:9119").passed


def test_a_bad_verdict_over_an_hour_outlives_runs_of_other_hours_until_the_hour_is_right():
    fake = FakePipeline(
        {HOUR: hour_of_work(HOUR), NEXT: hour_of_work(NEXT)},
        verified={HOUR: VerifyReport(HOUR, 1, differences=(DIFFERENCE,))},
    )
    live = build_defs(resources_with(fake), start_hour="2026-11-20-00:00").resolve_job_def("live")
    with dg.DagsterInstance.ephemeral() as instance:

        def run(hour: str) -> dict[str, dg.AssetCheckEvaluation]:
            result = live.execute_in_process(instance=instance, partition_key=hour)
            return {evaluation.check_name: evaluation for evaluation in result.get_asset_check_evaluations()}

        fake.hours_known[HOUR] = replace(hour_of_work(HOUR), pending=2, undone_jobs=0)
        assert not run(HOUR)[TOTALS].passed
        later = run(NEXT)
        assert later[TOTALS].description == f"1 totals differ in {HOUR}"
        assert later[UNDONE].description == f"2 sources of {HOUR} are left: run these hours again"
        fake.verified.clear()
        fake.hours_known[HOUR] = hour_of_work(HOUR, done=True)
        last = run(NEXT)
        assert (last[TOTALS].passed, last[UNDONE].passed) == (True, True)


def test_a_bad_verdict_outlives_one_that_another_run_gave_at_the_same_time():
    bad, good = (replace(HourReport(hour), pending=pending, listed_ms=1) for hour, pending in ((HOUR, 5), (NEXT, 0)))
    now_ms = hour_start_ms(NEXT) + HOUR_MS + SETTLE_MS
    with dg.DagsterInstance.ephemeral() as instance:

        def give(*reports: HourReport) -> list[str]:
            result = undone_result(reports, now_ms, SETTLE_MS)
            verdict = dg.AssetCheckEvaluation(
                dg.AssetKey("l1_blocks"), UNDONE, passed=result.passed, metadata=result.metadata
            )
            instance.report_runless_asset_event(verdict)
            return still_failing(instance, UNDONE)

        assert give(bad) == [HOUR]
        # Two runs of a backfill end together: the second has not seen what the first says.
        assert give(good) == [HOUR]
        assert give(replace(bad, pending=0), good) == []
        assert give(good) == []


def test_a_bad_verdict_over_more_hours_than_are_named_forgets_none():
    metadata = of_hours([f"2026-11-{day}-{hour:02}:00" for day in range(10, 20) for hour in range(24)], [HOUR])
    assert len(metadata["hours_that_fail"].value) == 100
    hidden = of_hours(
        {"2026-11-19-23:00", *(f"2026-11-1{day}-{hour:02}:00" for day in range(5) for hour in range(24))},
        ["2026-11-19-23:00", HOUR],
    )
    assert hidden["hours_looked_at"].value == [[HOUR, HOUR]]


def test_hours_that_are_not_sent_are_looked_at_until_they_are():
    bad = replace(hour_of_work(HOUR, done=True), exports=(ExportReport("vm", pending=3),))
    fake = FakePipeline({HOUR: bad, NEXT: replace(hour_of_work(NEXT, done=True), exports=(ExportReport("vm"),))})
    live = build_defs(resources_with(fake), start_hour="2026-11-20-00:00").resolve_job_def("live")
    with dg.DagsterInstance.ephemeral() as instance:

        def run(hour: str) -> dg.AssetCheckEvaluation:
            result = live.execute_in_process(instance=instance, partition_key=hour)
            return {one.check_name: one for one in result.get_asset_check_evaluations()}[RECEIPTS]

        assert [run(HOUR).passed, run(NEXT).passed] == [False, False]
        fake.hours_known[HOUR] = replace(bad, exports=(ExportReport("vm"),))
        assert run(NEXT).passed


@pytest.mark.parametrize("exports", [(), (ExportReport("vm"),)])
def test_without_a_receiver_nothing_of_exported_series_has_passed(exports: tuple[ExportReport, ...]):
    found = run_checks(FakePipeline({HOUR: replace(hour_of_work(HOUR), exports=exports)}), partition_key=HOUR)
    assert ({RECEIPTS, REFUSED} <= set(found)) == ({RECEIPTS, REFUSED} & set(found) != set()) == bool(exports)


def test_series_that_could_not_be_made_fail_their_check_with_names():
    facts = {"overflowing_series": 2, "refused_rules (hot)": 1, "dropped_series": 9}
    reports = [replace(HourReport(HOUR), facts=facts, examples=("rule dimensions gives x",)), HourReport(NEXT)]
    result = series_result(reports)
    assert not result.passed
    assert result.description == (
        "2 series have values that do not fit 64 bits; 1 rules with overflow: error gave a tenant more than "
        "max_series, and so none: left out, everything else is made"
    )
    assert result.metadata["overflowing_series"].value == 2
    assert result.metadata["examples"].value == ["rule dimensions gives x"]
    fine = series_result([replace(HourReport(HOUR), facts={"dropped_series": 9}, examples=("a and b",))])
    assert fine.passed
    assert "examples" not in fine.metadata
