"""Settings from the environment: defaults, refusals, and that each one is described once."""

import pytest

from pyro_assets.errors import SettingsError
from pyro_assets.resources.environment import GROUPS, Environment, job_settings, usable
from pyro_assets.settings import variable

NAMES = list(Environment.model_fields)


@pytest.fixture(autouse=True)
def nothing_is_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in NAMES:
        monkeypatch.delenv(variable(name), raising=False)


def test_an_empty_variable_means_its_default(monkeypatch: pytest.MonkeyPatch):
    assert Environment().dedup == "exact"
    monkeypatch.setenv("PYRO_ASSETS_DEDUP", "")
    assert Environment().dedup == "exact"
    monkeypatch.setenv("PYRO_ASSETS_DEDUP", "original")
    assert Environment().dedup == "original"
    assert job_settings().dedup == "original"
    assert job_settings(dedup="exact").dedup == "exact"


@pytest.mark.parametrize("text", ["five", "-1", "nan", "inf", "1e999"])
def test_a_number_that_is_none_is_refused_by_name(monkeypatch: pytest.MonkeyPatch, text: str):
    monkeypatch.setenv("PYRO_ASSETS_JOB_AGE_SECONDS", text)
    with pytest.raises(SettingsError, match=r"PYRO_ASSETS_JOB_AGE_SECONDS is .*must be a number, 0 or more \(a job is"):
        Environment()


def test_all_that_is_refused_is_told_at_once_and_the_rest_is_kept(monkeypatch: pytest.MonkeyPatch):
    wrong = {"LANES": "2.5", "ORDER": "sideways", "RECONCILE": "perhaps", "START_DATE": "today", "LIVE_SINCE": "soon"}
    for name, value in {**wrong, "JOB_BLOCKS": "7"}.items():
        monkeypatch.setenv(f"PYRO_ASSETS_{name}", value)
    settings, refused = usable()
    for sentence in (
        "PYRO_ASSETS_LANES is '2.5'; it must be a whole number, 1 or more",
        "PYRO_ASSETS_ORDER is 'sideways'; it must be oldest or newest",
        "PYRO_ASSETS_RECONCILE is 'perhaps'; it must be 0 or 1",
        "PYRO_ASSETS_START_DATE is 'today'; it must be an hour such as 2026-11-25-09:00",
        "PYRO_ASSETS_LIVE_SINCE is 'soon'; it must be an hour such as 2026-11-25-09:00",
    ):
        assert sentence in refused
    assert (settings.lanes, settings.order, settings.reconcile, settings.job_blocks) == (1, "oldest", False, 7)


def test_secrets_are_not_shown(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("PYRO_ASSETS_WEB_TOKEN", "hidden")
    monkeypatch.setenv("PYRO_ASSETS_LEDGER_URL", "postgresql://user:hidden@host/ledger")
    assert Environment().web_token == "hidden"
    assert "hidden" not in repr(Environment())


def test_every_setting_is_declared_once_with_meaning_and_reason():
    declared = [(name, field) for group in GROUPS for name, field in group.model_fields.items()]
    assert sorted(name for name, _ in declared) == sorted(NAMES)
    for name, field in declared:
        assert field.description, name
        assert isinstance(field.json_schema_extra, dict), name
        assert field.json_schema_extra["why"], name
