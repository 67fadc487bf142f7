"""Assets through Dagster's own entry point: one hour, a range, a subset, a re-run, a failed derivation."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import dagster as dg
import pytest

from pyro_assets.app import App
from pyro_assets.definitions import build_defs
from pyro_assets.defs.catalogue import ASSETS
from pyro_assets.defs.metadata import hour_metadata
from pyro_assets.defs.runs import Lookout, look_seconds
from pyro_assets.ledger.hours import SetAside
from pyro_assets.ledger.records import Lane
from pyro_assets.monitoring.reports import ExportReport, Lag
from pyro_assets.operations import ticks
from pyro_assets.planning.sweep import RescanReport
from pyro_assets.rules.report import RulesReport
from pyro_assets.settings import Settings
from tests.support.fake_pipeline import FakePipeline, hour_of_work, resources_with

START = "2026-11-20-00:00"
HOURS = [f"2026-11-20-0{hour}:00" for hour in range(4)]


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


def materialise(
    instance: dg.DagsterInstance, fake: FakePipeline, *hours: str, selection: Sequence[str] = (), job: str = "live"
) -> dg.ExecuteInProcessResult:
    tags = {"dagster/asset_partition_range_start": hours[0], "dagster/asset_partition_range_end": hours[-1]}
    return (
        build_defs(resources_with(fake), start_hour=START)
        .resolve_job_def(job)
        .execute_in_process(
            instance=instance,
            partition_key=hours[0] if len(hours) == 1 else None,
            asset_selection=[dg.AssetKey(name) for name in selection] or None,
            tags=tags if len(hours) > 1 else {},
            raise_on_error=False,
        )
    )


def materialised(result: dg.ExecuteInProcessResult) -> dict[tuple[str, str], dict[str, object]]:
    return {
        (event.asset_key.to_user_string(), event.partition): {
            name: value.value for name, value in event.materialization.metadata.items()
        }
        for event in result.get_asset_materialization_events()
    }


def did(metadata: dict[str, object]) -> str:
    """What a run says in its headline that it did."""
    return str(metadata["headline"]).partition("This run: ")[2].removesuffix(".")


def test_one_hour(instance: dg.DagsterInstance):
    fake = FakePipeline({HOURS[1]: hour_of_work(HOURS[1])})
    result = materialise(instance, fake, HOURS[1])
    assert result.success
    found = materialised(result)
    assert set(found) == {(name, HOURS[1]) for name in ASSETS}
    metadata = found["l1_blocks", HOURS[1]]
    assert metadata["headline"] == ("**40 of 40 segments**, lag p95 4 s\n\nThis run: compacted 2 jobs, derived 2 jobs.")
    assert metadata["segments"] == 40
    assert metadata["read_mib"] == 0.038
    assert metadata["pending"] == 0
    # Each stage's lag stands on one asset; the blocks show all of them, as histograms.
    assert metadata["lag_p95_seconds"] == 4.0
    assert found["dimension_series", HOURS[1]]["lag_p95_seconds"] == 9.0
    rows = {record.data["stage"]: record.data for record in metadata["lags"].records}
    assert (rows["derived"]["jobs"], rows["derived"]["histogram"]) == (3, "7.5 s: 2, 10 s: 1")
    assert found["dimension_series", HOURS[1]]["dagster/row_count"] == 80
    assert found["function_series", HOURS[1]]["dagster/row_count"] == 8
    (asked,) = fake.asked
    assert asked["hours"] == [HOURS[1]]
    assert asked["run_id"] == result.run_id
    assert fake.opened == fake.closed


def test_a_range_of_hours_is_one_run_with_metadata_for_each(instance: dg.DagsterInstance):
    fake = FakePipeline({hour: hour_of_work(hour, jobs) for jobs, hour in enumerate(HOURS[:3], 1)})
    result = materialise(instance, fake, *HOURS[:3], job="backfill")
    assert result.success
    assert [asked["hours"] for asked in fake.asked] == [HOURS[:3]]
    found = materialised(result)
    assert len(found) == 12
    assert [found["l1_blocks", hour]["segments"] for hour in HOURS[:3]] == [20, 40, 60]


def test_a_run_of_one_asset_does_its_step_only(instance: dg.DagsterInstance):
    fake = FakePipeline({HOURS[0]: hour_of_work(HOURS[0], done=True)})
    result = materialise(instance, fake, HOURS[0], selection=["function_series"], job="backfill")
    assert result.success
    assert fake.asked[0]["steps"] == {"function_series"}
    assert set(materialised(result)) == {("function_series", HOURS[0])}


def test_a_re_run_with_nothing_new_says_so(instance: dg.DagsterInstance):
    fake = FakePipeline({HOURS[0]: hour_of_work(HOURS[0])})
    materialise(instance, fake, HOURS[0], job="backfill")
    result = materialise(instance, fake, *HOURS[:2], job="backfill")
    assert result.success
    found = materialised(result)
    assert {did(metadata) for metadata in found.values()} == {"nothing to do"}
    messages = [record.user_message for record in instance.all_logs(result.run_id)]
    assert f"{HOURS[0]}: nothing to do" in messages
    assert f"{HOURS[1]}: nothing to do; there is no segment of it in the bucket" in messages


@pytest.mark.parametrize(
    ("job", "tags", "looks"),
    [
        ("live", {}, False),
        ("live", {"lane": "live-1", "lanes": "2"}, False),
        ("backfill", {}, True),
        ("backfill", {"lane": "close"}, True),
        ("__ASSET_JOB", {}, True),
    ],
)
def test_every_run_but_a_live_one_lists_its_hours_before_it_works(
    instance: dg.DagsterInstance, job: str, tags: dict[str, str], looks: bool
):
    fake = FakePipeline({HOURS[0]: replace(hour_of_work(HOURS[0]), listed_ms=None)})
    definitions = build_defs(resources_with(fake), start_hour=START)
    result = definitions.resolve_job_def(job).execute_in_process(instance=instance, partition_key=HOURS[0], tags=tags)
    assert fake.listed == ([[HOURS[0]]] if looks else [])
    passed = {found.check_name: found.passed for found in result.get_asset_check_evaluations()}
    # 2026-11-20 is long over: a live run says that nobody has looked there since.
    assert passed["no_source_left_undone"] is looks


@pytest.mark.parametrize(
    ("seen", "why"),
    [
        (RescanReport(failures=["shard 3: 503 SlowDown"]), "shard 3: 503 SlowDown"),
        (RescanReport(), "there was no time for the rest; the next run goes on"),
    ],
)
def test_an_hour_that_could_not_be_listed_is_no_success(instance: dg.DagsterInstance, seen: RescanReport, why: str):
    fake = FakePipeline({HOURS[0]: replace(hour_of_work(HOURS[0]), listed_ms=None)}, seen=seen)
    result = materialise(instance, fake, HOURS[0], job="backfill")
    # What is known is done all the same.
    assert {name for name, _ in materialised(result)} == set(ASSETS)
    assert materialised(result)["l1_blocks", HOURS[0]]["complete"] is False
    (failure,) = result.filter_events(lambda event: event.is_step_failure)
    assert failure.step_failure_data.user_failure_data.description.endswith(f"not all was listed: {why}")
    (undone,) = [one for one in result.get_asset_check_evaluations() if one.check_name == "no_source_left_undone"]
    assert not undone.passed
    assert undone.description == f"the bucket was not listed as a whole for {HOURS[0]} since: run these hours again"


def test_a_failed_derivation_leaves_the_compaction_materialised(instance: dg.DagsterInstance):
    fake = FakePipeline({HOURS[0]: hour_of_work(HOURS[0])}, failing={HOURS[0]: "job 7: a sum does not fit int64"})
    result = materialise(instance, fake, HOURS[0])
    assert not result.success
    assert set(materialised(result)) == {("l1_blocks", HOURS[0])}
    (failure,) = result.filter_events(lambda event: event.is_step_failure)
    assert "1 jobs failed (compacted 2 jobs, 1 failed)" in failure.step_failure_data.user_failure_data.description
    assert "job 7: a sum does not fit int64" in failure.step_failure_data.user_failure_data.description


def test_live_runs_have_a_short_budget_and_others_a_long_one(instance: dg.DagsterInstance):
    fake = FakePipeline({HOURS[0]: hour_of_work(HOURS[0])})
    for job in ("live", "backfill"):
        materialise(instance, fake, HOURS[0], job=job)
    live, backfill = (asked["deadline"] for asked in fake.asked)
    assert backfill - live > 3600


def test_the_first_jobs_of_a_live_run_do_not_wait_for_warnings(instance: dg.DagsterInstance):
    class Outspoken(FakePipeline):
        asked_after: list[int] = []  # noqa: RUF012 - of the class, for a look from outside

        def warnings(self) -> list[str]:
            self.asked_after.append(len(self.asked))
            return ["segments are deleted early"]

    for job in ("live", "backfill"):
        result = materialise(instance, Outspoken({HOURS[0]: hour_of_work(HOURS[0])}), HOURS[0], job=job)
        messages = [record.user_message for record in instance.all_logs(result.run_id)]
        assert messages.count("segments are deleted early") == 1
    assert Outspoken.asked_after == [1, 0]


def test_assets_materialise_from_the_graph_too(instance: dg.DagsterInstance):
    """As "Materialize" in the UI does: the implicit job, with no lane."""
    fake = FakePipeline({HOURS[0]: hour_of_work(HOURS[0])})
    result = materialise(instance, fake, HOURS[0], job="__ASSET_JOB")
    assert result.success
    assert "lane" not in result.dagster_run.tags


def test_every_asset_stands_alone_in_the_catalogue():
    for spec in build_defs(resources_with(FakePipeline()), start_hour=START).resolve_all_asset_specs():
        assert len(spec.description) > 250, spec.key
        assert spec.owners
        assert spec.group_name != "default"
        # Each has an icon.
        assert spec.kinds <= {"source", "parquet", "numpy", "polars", "table", "report", "deltalake"}, spec.key
        assert spec.freshness_policy is not None
        references = spec.metadata["dagster/code_references"].code_references
        for reference in references:
            assert Path(reference.url.partition("/blob/main/")[2]).is_file(), reference.url
        is_table = spec.key.to_user_string() != "archive"
        assert ("dagster/column_schema" in spec.metadata) == is_table
        assert (spec.partitions_def is not None) == is_table


def test_a_headline_tells_what_is_wrong_and_where_to_look():
    report = replace(
        hour_of_work(HOURS[0], done=True),
        set_aside_total=1,
        left_out={"set_aside": 1},
        set_aside=(SetAside("segments/1/anonymous/X/block.bin", "set_aside", "truncated"),),
    )
    shown = hour_metadata(report, "l1_blocks", "https://profiles.example/")
    assert shown["headline"].value == (
        "**39 of 40 segments**, 6 blocks, lag p95 4 s, 1 set aside: [why](https://profiles.example/quarantine)"
        "\n\nThis run: nothing to do."
    )
    assert "`pyro-assets quarantine list`" in hour_metadata(report, "l1_blocks")["headline"].value


def test_no_figure_stands_on_two_assets_and_none_has_more_than_eight():
    lag = Lag(2, 7.0, 8.0, 9.0)
    receiver = ExportReport("local", jobs=2, samples=88, accepted=88, requests=4, bytes=900, lag=lag)
    report = replace(
        hour_of_work(HOURS[0], done=True),
        exports=(receiver,),
        exported_lag=lag,
        rules=RulesReport("a" * 64, 1, 3),
        facts={"dangling": 3},
    )
    numbers: dict[str, list[float]] = {}
    for asset in ASSETS:
        figures = {
            name: value.value
            for name, value in hour_metadata(report, asset).items()
            if isinstance(value, dg.IntMetadataValue | dg.FloatMetadataValue | dg.BoolMetadataValue)
        }
        assert 0 < len(figures) <= 8, (asset, figures)
        for name, value in figures.items():
            numbers.setdefault(name, []).append(value)
    assert all(len(values) == len(set(values)) for values in numbers.values()), numbers


def test_the_graph_is_the_one_of_the_design():
    graph = build_defs(resources_with(FakePipeline()), start_hour=START).resolve_asset_graph()
    parents = {
        key.to_user_string(): {parent.to_user_string() for parent in graph.get(key).parent_keys}
        for key in graph.get_all_asset_keys()
    }
    assert parents == {
        "segments": set(),
        "l1_blocks": {"segments"},
        "dimension_series": {"l1_blocks"},
        "function_series": {"l1_blocks"},
        "exported_series": {"dimension_series", "function_series"},
        "hour_blocks": {"l1_blocks"},
        "archive": {"l1_blocks", "dimension_series", "function_series"},
    }
    assert not graph.get(dg.AssetKey("segments")).is_executable


def test_a_live_run_stays_and_says_what_it_did_meanwhile(instance: dg.DagsterInstance):
    class Landing(FakePipeline):
        """Jobs become due while the run is there."""

        rounds = 0

        def due_hours(self, *asked: object) -> dict[str, int]:
            self.rounds += 1
            if self.rounds > 3:
                return {}
            self.hours_known[HOURS[0]] = hour_of_work(HOURS[0])
            return {HOURS[0]: 2}

    fake = Landing({HOURS[0]: hour_of_work(HOURS[0])})
    resources = resources_with(fake, live_budget_seconds=1.0)
    job = build_defs(resources, start_hour=START).resolve_job_def("live")
    result = job.execute_in_process(instance=instance, partition_key=HOURS[0])
    assert len(fake.asked) == 4
    assert did(materialised(result)["l1_blocks", HOURS[0]]) == "compacted 8 jobs, derived 8 jobs"


@pytest.mark.parametrize("mode", ["own", "observe"])
def test_a_live_run_looks_for_what_landed_in_its_hours_and_leaves_telling_to_ticks(
    instance: dg.DagsterInstance, mode: str
):
    fake = FakePipeline({HOURS[0]: hour_of_work(HOURS[0])})
    resources = resources_with(fake, live_budget_seconds=0.4, compaction=mode)
    job = build_defs(resources, start_hour=START).resolve_job_def("live")
    result = job.execute_in_process(instance=instance, partition_key=HOURS[0])
    assert result.success
    assert fake.looked == [([HOURS[0]], Lane())]
    assert ("segments", HOURS[0]) not in materialised(result)


def test_how_often_a_live_run_looks_follows_the_age_of_jobs():
    def seconds(**values: Any) -> float:
        return look_seconds(Settings(**values))

    assert (seconds(), seconds(job_age_seconds=0), seconds(job_age_seconds=30)) == (2.0, 2.0, 15.0)
    assert seconds(job_age_seconds=30, compaction="observe") == 2.0


def test_a_slow_bucket_is_looked_at_a_fifth_of_the_time(monkeypatch: pytest.MonkeyPatch):
    now, looks = [100.0], []

    def look(*what: object) -> int:
        looks.append(now[0])
        now[0] += 3.0
        return 0

    monkeypatch.setattr(ticks, "look", look)
    lookout = Lookout(cast("App", None), HOURS[:1], None, 2.0, clock=lambda: now[0])
    while now[0] < 130.0:
        lookout.look()
        now[0] += 0.25
    assert looks == [100.0, 115.0]


def test_a_live_run_observes_its_progress_and_materialises_each_hour_once(instance: dg.DagsterInstance):
    fake = FakePipeline({hour: hour_of_work(hour) for hour in HOURS[:2]})
    result = materialise(instance, fake, *HOURS[:2])
    assert result.success
    events = [
        (event.asset_key.to_user_string(), event.partition) for event in result.get_asset_materialization_events()
    ]
    assert sorted(events) == sorted((asset, hour) for asset in ASSETS for hour in HOURS[:2])
    observed = {
        (event.asset_key.to_user_string(), event.partition): event.asset_observation_data.asset_observation.metadata
        for event in result.get_asset_observation_events()
    }
    assert set(observed) == set(events)
    assert observed["l1_blocks", HOURS[0]]["headline"].value.endswith("This run: compacted 2 jobs, derived 2 jobs.")
