"""Environment variables: defaults, numbers, the table for people, and that each one is described once."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

from pyro_assets.errors import SettingsError
from pyro_assets.resources import environment as env


def test_an_empty_variable_means_its_default():
    assert env.value(env.DEDUP, {}) == "exact"
    assert env.value(env.DEDUP, {env.DEDUP.name: ""}) == "exact"
    assert env.value(env.DEDUP, {env.DEDUP.name: "original"}) == "original"


@pytest.mark.parametrize("text", ["five", "-1", "nan", "inf", "1e999"])
def test_a_number_that_is_none_is_refused_by_name(text: str):
    with pytest.raises(SettingsError, match=r"PYRO_ASSETS_JOB_AGE_SECONDS is .*must be a number"):
        env.number(env.JOB_AGE_SECONDS, {env.JOB_AGE_SECONDS.name: text})


def test_every_variable_is_listed():
    named = {variable.name for variable in vars(env).values() if isinstance(variable, env.Variable)}
    assert named == {variable.name for variable in env.VARIABLES}
    assert len(named) == len(env.VARIABLES)


def test_the_table_for_people():
    table = subprocess.run(
        [sys.executable, "-m", "pyro_assets.resources.environment"], capture_output=True, text=True, check=True
    ).stdout
    assert re.findall(r"^\| `(\w+)`", table, re.MULTILINE) == [variable.name for variable in env.VARIABLES]


def test_the_readme_has_the_table_with_a_reason_for_each():
    readme = (Path(__file__).parents[2] / "README.md").read_text("utf-8")
    assert env.table() in readme
    assert all(one.reason for one in env.VARIABLES)
