"""Settings and secrets from environment variables; the only place that reads them.

A variable's name is the setting's in capitals behind `pyro_assets.settings.PREFIX`. Nothing is read when this module
is imported, only when a function is called.
"""

import os
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from dotenv import dotenv_values
from pydantic_settings import BaseSettings, SettingsConfigDict

from pyro_assets.errors import SettingsError
from pyro_assets.settings import (
    PREFIX,
    JobSettings,
    PageSettings,
    Places,
    RetentionSettings,
    RunSettings,
    Settings,
    variable,
)

#: In the order in which people read about them.
GROUPS = (Places, JobSettings, RunSettings, RetentionSettings, PageSettings)


class Environment(Places, JobSettings, RunSettings, RetentionSettings, PageSettings, BaseSettings):
    """All settings; a variable that is unset or empty means the default.

    Raises:
        SettingsError: variables have values that cannot be used; all of them are named.
    """

    model_config = SettingsConfigDict(env_prefix=PREFIX, env_ignore_empty=True)


def usable() -> tuple[Environment, str]:
    """All settings, with the default in place of what cannot be used, and the sentences about that."""
    try:
        return Environment(), ""
    except SettingsError as error:
        defaults = {name: Environment.model_fields[name].default for name in error.names}
        return Environment(**defaults), str(error)


def job_settings(**given: Any) -> Settings:
    """Settings of jobs from the environment; what is given wins.

    Raises:
        SettingsError: a value cannot be used.
    """
    return Settings(**Environment(**given).model_dump(include=set(JobSettings.model_fields)))


def variables(**given: str) -> dict[str, str]:
    """Settings by the names of their variables, for the environment of another process."""
    return {variable(name): value for name, value in given.items()}


def contradicted(path: str = ".env") -> list[str]:
    """Variables of which a file of settings says something else than the environment.

    Of the two, commands take what the environment says, Dagster's processes what the file says.
    """
    said = dotenv_values(path)
    return [name for name, value in said.items() if value is not None and os.environ.get(name, value) != value]


def dagster_home() -> Path | None:
    """The folder of Dagster's own configuration, None when its variable is not set."""
    home = os.environ.get("DAGSTER_HOME")
    return Path(home) if home else None


def environment_secrets() -> Mapping[str, str]:
    """The environment, not to be changed and not to be shown; secrets are looked up in it where samples are sent."""
    return MappingProxyType(_Unshown(os.environ))


class _Unshown(dict[str, str]):
    """A copy of variables that does not show its values."""

    def __repr__(self) -> str:
        return f"<{len(self)} variables>"
