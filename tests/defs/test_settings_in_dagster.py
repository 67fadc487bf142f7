"""Bad settings in Dagster: the location loads, ticks fail and runs end with the sentence."""

from pathlib import Path
from typing import Any

import dagster as dg
import pytest

from pyro_assets.definitions import build_defs
from pyro_assets.errors import PyroAssetsError, SettingsError
from pyro_assets.resources.environment import Environment
from pyro_assets.resources.pipeline import PipelineResource, RetentionResource, production_resources
from pyro_assets.settings import variable

HOUR = "2026-11-25-09:00"


def resources_of(folder: Path, **fields: Any) -> dict[str, Any]:
    (folder / "source").mkdir(exist_ok=True)
    places = {
        "source_url": str(folder / "source"),
        "archive_url": str(folder / "archive"),
        "ledger_url": f"sqlite:///{folder / 'ledger.db'}",
    }
    return {"pipeline": PipelineResource(**places | fields), "retention": RetentionResource()}


BAD: dict[str, tuple[dict[str, Any], str]] = {
    "an unknown mode": ({"compaction": "both"}, "PYRO_ASSETS_COMPACTION is 'both'; it must be own or observe"),
    "an unknown rule of duplicates": ({"dedup": "some"}, "PYRO_ASSETS_DEDUP is 'some'; it must be exact or original"),
    "a start date that is none": ({"start_date": "yesterday"}, "it must be an hour such as 2026-11-25-09:00"),
    "a negative budget": (
        {"live_budget_seconds": -1.0},
        "LIVE_BUDGET_SECONDS is -1.0; it must be a number, 0 or more",
    ),
    "a variable that is no number": ({"refused": "X is 'many'; it must be a number"}, "X is 'many'"),
    "an unknown scheme": ({"source_url": "gopher://x"}, "gopher"),
    "no such file of series": ({"config": "/no/such.yaml"}, "/no/such.yaml"),
    "an archive that nobody may write to": (
        {"archive_url": "/sys/no-archive"},
        "the archive cannot be written to",
    ),
}
#: What ticks do not look at: they derive and write nothing.
OF_RUNS = {"no such file of series", "an archive that nobody may write to"}


@pytest.mark.parametrize("case", BAD)
def test_a_run_ends_with_the_sentence(tmp_path: Path, case: str):
    fields, words = BAD[case]
    with dg.DagsterInstance.ephemeral() as instance:
        result = (
            build_defs(resources_of(tmp_path, **fields), start_hour=HOUR)
            .resolve_job_def("backfill")
            .execute_in_process(instance=instance, partition_key=HOUR, raise_on_error=False)
        )
        assert not result.success
        (failure,) = [event for event in result.all_events if event.is_step_failure]
        data = failure.step_failure_data
        assert data.user_failure_data is not None
        assert words in (data.user_failure_data.description or "")


@pytest.mark.parametrize("job", ["merge_series", "sweep", "retention", "resolve_rules"])
def test_upkeep_ends_with_the_sentence(tmp_path: Path, job: str):
    with dg.DagsterInstance.ephemeral() as instance:
        definition = build_defs(resources_of(tmp_path, compaction="both"), start_hour=HOUR).resolve_job_def(job)
        result = definition.execute_in_process(instance=instance, raise_on_error=False)
        (failure,) = [event for event in result.all_events if event.is_step_failure]
        data = failure.step_failure_data.user_failure_data
        assert data is not None
        assert "PYRO_ASSETS_COMPACTION is 'both'" in (data.description or "")


@pytest.mark.parametrize("case", sorted(set(BAD) - OF_RUNS))
def test_a_tick_fails_with_the_sentence(tmp_path: Path, case: str):
    fields, words = BAD[case]
    resources = resources_of(tmp_path, **fields)
    definitions = build_defs(resources, start_hour=HOUR)
    with dg.DagsterInstance.ephemeral() as instance:
        for sensor in ("segments_landed", "housekeeping"):
            context = dg.build_sensor_context(instance=instance, definitions=definitions, resources=resources)
            with pytest.raises(PyroAssetsError, match=words.split(";")[0].replace("'", ".")):
                definitions.resolve_sensor_def(sensor)(context)


@pytest.mark.parametrize(
    ("name", "value"),
    [(variable(name), "many") for name, field in Environment.model_fields.items() if field.annotation is not str]
    + [("PYRO_ASSETS_START_DATE", "yesterday"), ("PYRO_ASSETS_LIVE_SINCE", "soon")],
)
def test_the_location_loads_whatever_a_variable_says(monkeypatch: pytest.MonkeyPatch, name: str, value: str):
    monkeypatch.setenv(name, value)
    definitions = build_defs()
    assert definitions.resolve_job_def("live")
    with dg.build_resources(production_resources()) as resources, pytest.raises(SettingsError, match=value):
        resources.pipeline.open()
