"""The pipeline as a Dagster resource: places and settings in, an open `App` out.

The fields are the settings of `pyro_assets.settings`, with their defaults and meanings; add one there.
"""

import logging
import time
from typing import Any, Final, Literal, TypeVar, get_origin

import dagster as dg
from pydantic import Field, create_model

from pyro_assets.app import App, now_ms, open_app
from pyro_assets.archive.retain import Keep
from pyro_assets.errors import LedgerError, SettingsError
from pyro_assets.ledger.database import Ledger
from pyro_assets.ledger.hours import HourRecords
from pyro_assets.operations import runs
from pyro_assets.resources.environment import Environment, environment_secrets, usable
from pyro_assets.settings import (
    JobSettings,
    Places,
    RetentionSettings,
    RunSettings,
    Settings,
    SettingsGroup,
    variable,
)
from pyro_assets.storage.keys import hour_of

Group = TypeVar("Group", bound=SettingsGroup)


def _resource_of(*groups: type[SettingsGroup]) -> Any:
    """A resource whose fields are the settings of `groups`.

    Their types are those that Dagster can show, without bounds: what cannot be used is told by ticks and runs, and
    the location loads.
    """
    fields: dict[str, Any] = {}
    for group in groups:
        for name, field in group.model_fields.items():
            kind = str if get_origin(field.annotation) is Literal else field.annotation
            fields[name] = (kind, Field(field.default, description=field.description))
    return create_model("SettingsResource", __base__=dg.ConfigurableResource, **fields)


#: What a live run goes on at most when its time is over.
_GRACE_SECONDS: Final = 60.0
#: Made at run time, so mypy cannot look into them.
_OfPipeline: Any = _resource_of(Places, JobSettings, RunSettings)
_OfRetention: Any = _resource_of(RetentionSettings)


class PipelineResource(_OfPipeline):
    """Where bytes live, how jobs are cut, and how long a run may take."""

    refused: str = Field(default="", description="what is wrong with a variable: nothing runs until it is corrected")

    def open(self, *, series: bool = False) -> App:
        """Open buckets and ledger.

        Args:
            series: for a run: also reads the rules, and sees whether the archive can be written to.

        Raises:
            SettingsError: source and archive overlap, or a setting cannot be used.
            ConfigError: the file of series is refused.
            StorageUnavailable, LedgerUnavailable, SchemaMismatch.
        """
        config = None
        if series:
            from pyro_assets.rules.config import SeriesConfig, load_config

            config = load_config(self.config) if self.config else SeriesConfig()
        opened = open_app(
            self.source_url,
            self.archive_url,
            self.ledger_url,
            settings=self.settings(),
            config=config,
            receivers_file=self.receivers,
            secrets=environment_secrets(),
        )
        if series:
            try:
                runs.check_archive(opened)
            except BaseException:
                opened.close()
                raise
        return opened

    def settings(self) -> Settings:
        """The settings of jobs as a plain object.

        Raises:
            SettingsError: one of them cannot be used.
        """
        if self.refused:
            raise SettingsError(self.refused)
        _chosen(RunSettings, self)
        return Settings(**_chosen(JobSettings, self).model_dump())

    def deadline_monotonic(self, *, live: bool) -> float:
        """The `time.monotonic()` after which a run takes no further job.

        A live run goes on when its time is over until the next one relieves it: on a busy machine that may take long to
        start. Where none comes, it ends after twice its time, or a minute more.
        """
        budget = float(self.live_budget_seconds if live else self.backfill_budget_seconds)
        return time.monotonic() + budget + (min(budget, _GRACE_SECONDS) if live else 0.0)


class RetentionResource(_OfRetention):
    """How long things are kept, and how fast the slow sweep goes."""

    def keep(self) -> Keep:
        """The same as a plain object.

        Raises:
            SettingsError: something would be kept for less than a day.
        """
        return Keep(
            self.keep_blocks_days,
            self.keep_series_days,
            self.keep_ledger_days,
            self.keep_temporary_days,
            self.keep_level1_days,
        )


def production_resources() -> dict[str, Any]:
    """The resources of a real deployment: from the environment where it says something, else the defaults."""
    found, refused = usable()

    def chosen(resource: Any) -> dict[str, Any]:
        return {name: _shown(found, name) for name in resource.model_fields if name in Environment.model_fields}

    return {
        "pipeline": PipelineResource(**chosen(PipelineResource), refused=refused),
        "retention": RetentionResource(**chosen(RetentionResource)),
    }


def first_partition(found: Environment) -> str:
    """The hour with which partitions begin: the first one that was ever seen; asks the ledger, never a bucket.

    Where nothing was seen yet, the running hour, or an earlier one that a setting names. Where the ledger does not
    answer, that of `start_date`: no hour that was seen is missing then.
    """
    try:
        ledger = Ledger.open_existing(found.ledger_url)
        if ledger is None:
            seen = None
        else:
            try:
                seen = HourRecords(ledger).first_hour()
            finally:
                ledger.close()
    except (LedgerError, SettingsError) as error:
        logging.getLogger(__name__).warning("partitions begin with %s: %s", found.start_date, error)
        return str(found.start_date)
    if seen is None:
        named = [found.live_since, found.start_date if "start_date" in found.model_fields_set else ""]
        return min([*filter(None, named), hour_of(now_ms())])
    return max(seen, found.start_date)


def _shown(found: Environment, name: str) -> Any:
    # A text from a variable stays a reference: the UI then shows its name, and its value is not written anywhere.
    is_text = name in found.model_fields_set and Environment.model_fields[name].annotation is str
    return dg.EnvVar(variable(name)) if is_text else getattr(found, name)


def _chosen(group: type[Group], resource: Any) -> Group:
    return group(**{name: getattr(resource, name) for name in group.model_fields})
