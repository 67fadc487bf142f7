"""The pipeline as a resource: from variables to settings, refusals, nothing read at import."""

import subprocess
import sys

import dagster as dg
import pytest

from pyro_assets.errors import SettingsError
from pyro_assets.resources.environment import Environment, job_settings
from pyro_assets.resources.pipeline import PipelineResource, production_resources
from pyro_assets.settings import variable


def resource(**fields) -> PipelineResource:
    return PipelineResource(**{"source_url": "a", "archive_url": "b", "ledger_url": "sqlite:///l.db", **fields})


def test_settings_have_the_units_of_the_pipeline():
    settings = resource(job_mib=2, job_age_seconds=1.5, job_blocks=7, start_date="2026-01-01-00:00").settings()
    assert settings.max_bytes == 2 << 20
    assert settings.max_age_ms == 1500
    assert settings.job_blocks == 7
    assert settings.start_date == "2026-01-01-00:00"


@pytest.mark.parametrize(
    "fields", [{"compaction": "both"}, {"dedup": "some"}, {"job_blocks": 0}, {"start_date": "yesterday"}]
)
def test_settings_that_cannot_be_used_are_refused(fields: dict):
    with pytest.raises(SettingsError):
        resource(**fields).settings()


@pytest.mark.parametrize("archive", ["same", "same/", "same/below", "."])
def test_an_archive_that_overlaps_the_source_is_refused(tmp_path, monkeypatch, archive: str):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SettingsError):
        resource(source_url="same", archive_url=archive, ledger_url=f"sqlite:///{tmp_path / 'l.db'}").open()


def test_the_environment_decides(monkeypatch: pytest.MonkeyPatch):
    for name in Environment.model_fields:
        monkeypatch.delenv(variable(name), raising=False)
    assert production_resources()["pipeline"].source_url == "data/bucket"
    monkeypatch.setenv("PYRO_ASSETS_SOURCE_URL", "s3://profiles")
    monkeypatch.setenv("PYRO_ASSETS_JOB_BLOCKS", "5")
    with dg.build_resources(production_resources()) as resources:
        assert resources.pipeline.source_url == "s3://profiles"
        assert resources.pipeline.settings().job_blocks == 5


def test_dagster_and_the_command_line_read_the_same_settings(monkeypatch: pytest.MonkeyPatch):
    others = {
        "COMPACTION": "observe",
        "DEDUP": "original",
        "START_DATE": "2026-01-01-00:00",
        "JOB_BLOCKS": "7",
        "JOB_MIB": "0.5",
        "JOB_AGE_SECONDS": "2.5",
        "ORDER": "newest",
        "LANES": "3",
        "WORKERS": "2",
        "JOB_SECONDS": "1.5",
        "JOB_MEMORY_MIB": "99.5",
    }
    for name, value in others.items():
        monkeypatch.setenv(f"PYRO_ASSETS_{name}", value)
    made = job_settings()
    assert (made.max_bytes, made.max_age_ms, made.order, made.lanes) == (1 << 19, 2_500, "newest", 3)
    with dg.build_resources(production_resources()) as resources:
        assert resources.pipeline.settings() == made
    assert job_settings(compaction="own", dedup="exact") == made.model_copy(
        update={"compaction": "own", "dedup": "exact"}
    )


def test_a_deadline_of_the_live_lane_is_near():
    opened = resource(live_budget_seconds=60, backfill_budget_seconds=3600)
    # A minute of its own, and another in which the next one relieves it.
    assert 3470 < opened.deadline_monotonic(live=False) - opened.deadline_monotonic(live=True) < 3490


def test_importing_the_definitions_reads_nothing_and_imports_nothing_slow():
    script = """
import os, sys
class Refusing(dict):
    def __getitem__(self, name):
        if name.startswith("PYRO_ASSETS"): raise AssertionError(name)
        return super().__getitem__(name)
    def get(self, name, default=None):
        if str(name).startswith("PYRO_ASSETS"): raise AssertionError(name)
        return super().get(name, default)
import dagster
os.environ = Refusing(os.environ)
import pyro_assets.definitions
slow = {"s3fs", "polars", "pyarrow.compute", "pyarrow.parquet", "moto"} & set(sys.modules)
assert not slow, slow
"""
    subprocess.run([sys.executable, "-W", "error", "-c", script], check=True)
