"""Runs that are restricted to rules: what is asked of the pipeline, and what people see of it."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from pyro_assets.definitions import build_defs
from pyro_assets.ledger.database import Ledger
from pyro_assets.operations import ticks
from pyro_assets.resources.pipeline import PipelineResource, RetentionResource
from pyro_assets.rules.in_force import rule_body
from pyro_assets.rules.language import Rule
from pyro_assets.rules.patterns import Pattern
from pyro_assets.rules.stored import RuleEdit, StoredRules
from tests.support.fake_pipeline import FakePipeline, hour_of_work, resources_with
from tests.support.golden_bucket import committed

START, HOUR = "2026-11-25-00:00", "2026-11-25-09:00"
ONLY_MAIN = {"ops": {"compact_and_derive": {"config": {"rules": ["main"]}}}}


@pytest.fixture
def instance() -> Iterator[dg.DagsterInstance]:
    with dg.DagsterInstance.ephemeral() as instance:
        yield instance


def execute(
    instance: dg.DagsterInstance, resources: dict[str, Any], job: str, *, fails: bool = False, **how: Any
) -> dict[str, dict[str, Any]]:
    """Metadata by asset of one run of HOUR."""
    definitions = build_defs(resources, start_hour=START)
    tags = {"dagster/partition": HOUR, "lane": job}
    result = definitions.resolve_job_def(job).execute_in_process(
        instance=instance, tags=tags, partition_key=HOUR, raise_on_error=not fails, **how
    )
    assert result.success is not fails
    return {
        event.asset_key.to_user_string(): {
            name: value.value
            for name, value in event.step_materialization_data.materialization.metadata.items()
            if hasattr(value, "value")
        }
        for event in result.get_asset_materialization_events()
        if event.asset_key
    }


def test_the_configuration_reaches_the_pipeline(instance: dg.DagsterInstance):
    fake = FakePipeline(hours_known={HOUR: hour_of_work(HOUR, done=True)})
    found = execute(instance, resources_with(fake), "rules", run_config=ONLY_MAIN)
    assert set(found) == {"dimension_series", "function_series", "exported_series"}
    (asked,) = fake.asked
    assert (asked["rules"], asked["steps"]) == (["main"], {"dimension_series", "function_series"})
    # Receivers get what is new of hours that they have: nobody asked for all the rest.
    assert [sent["explicit"] for sent in fake.sent] == [False]
    fake.asked.clear()
    execute(instance, resources_with(fake), "backfill")
    assert "rules" not in fake.asked[0]


def test_the_lane_of_rules_is_its_own():
    jobs = {job.name: job for job in build_defs({}, start_hour=START).jobs or ()}
    assert {name: job.tags["lane"] for name, job in jobs.items()} == {
        "live": "live",
        "backfill": "backfill",
        "rules": "rules",
        **dict.fromkeys(("merge_series", "sweep", "retention", "resolve_rules", "scrub", "hour_blocks"), "upkeep"),
    }


def test_a_rule_is_backfilled_and_seen(instance: dg.DagsterInstance, tmp_path: Path):
    pipeline = PipelineResource(
        source_url=str(committed().root),
        archive_url=str(tmp_path / "archive"),
        ledger_url=f"sqlite:///{tmp_path / 'ledger.db'}",
        start_date=START,
    )
    resources = {"pipeline": pipeline, "retention": RetentionResource()}
    with pipeline.open() as opened:
        ticks.tick(opened)
    first = execute(instance, resources, "backfill")["function_series"]
    assert (first["rules_of_file"], first["rules_of_ledger"], first["dagster/row_count"]) == (0, 0, 0)
    assert first["series_files_by_rules_hash"] == {first["rules_hash"]: 6}
    failed = execute(instance, resources, "rules", run_config=ONLY_MAIN, fails=True)
    assert not failed
    ledger = Ledger.open(str(tmp_path / "ledger.db"))
    rules = [
        Rule(name="main", functions=[Pattern(glob="main.*")], by=[]),
        Rule(name="twin", functions=[Pattern(glob="main.*")], by=[]),
    ]
    StoredRules(ledger).edit_rules(
        [RuleEdit(one.name, rule_body(one), 0) for one in rules], author="ann", why="", now_ms=1
    )
    ledger.close()
    found = execute(instance, resources, "rules", run_config=ONLY_MAIN)
    shown = found["function_series"]
    assert "rule main: 3 of 3 jobs" in shown["headline"]
    assert shown["headline"].endswith("This run: derived 3 jobs.")
    assert shown["dagster/row_count"] > 0
    assert found["dimension_series"]["dagster/row_count"] > 0
    assert shown["rules_hash"] != first["rules_hash"]
    assert (shown["rules_of_file"], shown["rules_of_ledger"]) == (0, 1)
    assert "must give the same series as rules[0] (main)" in shown["rules_left_out"]["twin"]
    (made,) = (record.data for record in shown["rules_made"].records)
    assert (made["rule"], made["jobs_done"], made["jobs_total"], len(made["version"])) == ("main", 3, 3, 64)
    again = execute(instance, resources, "rules", run_config=ONLY_MAIN)
    assert again["function_series"]["headline"].endswith("This run: nothing to do.")
    # Blocks that are selected too are left as they are.
    whole = execute(instance, resources, "backfill", run_config=ONLY_MAIN)
    assert whole["l1_blocks"]["headline"].endswith("This run: nothing to do.")


def test_lists_are_renewed_by_a_schedule_where_there_are_any(instance: dg.DagsterInstance, tmp_path: Path):
    pipeline = PipelineResource(
        source_url=str(committed().root),
        archive_url=str(tmp_path / "archive"),
        ledger_url=f"sqlite:///{tmp_path / 'ledger.db'}",
        start_date=START,
    )
    resources = {"pipeline": pipeline, "retention": RetentionResource()}
    definitions = build_defs(resources, start_hour=START)
    schedule = definitions.resolve_schedule_def("resolve_rules_every_night")
    context = dg.build_schedule_context(instance=instance, resources=resources)
    assert schedule.evaluate_tick(context).skip_message == "no rule with top_k is in force"
    with pipeline.open() as opened:
        ticks.tick(opened)
    execute(instance, resources, "backfill")
    rule = Rule(name="top", functions=[Pattern(glob="*")], match="self", profile_types=["cpu"], by=[], top_k=2)
    ledger = Ledger.open(str(tmp_path / "ledger.db"))
    StoredRules(ledger).edit_rules([RuleEdit("top", rule_body(rule), 0)], author="ann", why="", now_ms=1)
    [request] = schedule.evaluate_tick(context).run_requests or []
    assert not request.run_config
    result = definitions.resolve_job_def("resolve_rules").execute_in_process(instance=instance)
    [output] = [event.step_output_data for event in result.all_events if event.is_successful_output]
    assert output.metadata["changed"].value == 1
    assert [one.author for one in StoredRules(ledger).rule_history("top")] == ["schedule", "ann"]
    ledger.close()
