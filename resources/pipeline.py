"""The pipeline as a Dagster resource: URLs and settings in, an open `App` out.

Add a field when a person may need another value, with its variable in `environment.py`. What a setting does is said
in `pyro_assets.settings`.
"""

import os
import time
from typing import Any

import dagster as dg
from pydantic import Field

from pyro_assets.app import App, open_app
from pyro_assets.archive.retain import Keep
from pyro_assets.errors import SettingsError
from pyro_assets.operations import runs
from pyro_assets.resources import environment as env
from pyro_assets.resources.receivers import environment_secrets
from pyro_assets.resources.settings import make_settings
from pyro_assets.settings import Settings


class PipelineResource(dg.ConfigurableResource[App]):
    """Where bytes live, how jobs are cut, and how long a run may take."""

    source_url: str = Field(description=env.SOURCE_URL.meaning)
    archive_url: str = Field(description=env.ARCHIVE_URL.meaning)
    ledger_url: str = Field(description=env.LEDGER_URL.meaning)
    series_config: str = Field(default=env.CONFIG.default, description=env.CONFIG.meaning)
    receivers_file: str = Field(default=env.RECEIVERS.default, description=env.RECEIVERS.meaning)
    compaction: str = Field(default=env.COMPACTION.default, description=env.COMPACTION.meaning)
    dedup: str = Field(default=env.DEDUP.default, description=env.DEDUP.meaning)
    start_date: str = Field(default=env.START_DATE.default, description=env.START_DATE.meaning)
    live_since: str = Field(default=env.LIVE_SINCE.default, description=env.LIVE_SINCE.meaning)
    job_blocks: int = Field(default=int(env.JOB_BLOCKS.default), description=env.JOB_BLOCKS.meaning)
    job_mib: float = Field(default=float(env.JOB_MIB.default), description=env.JOB_MIB.meaning)
    job_age_seconds: float = Field(default=float(env.JOB_AGE_SECONDS.default), description=env.JOB_AGE_SECONDS.meaning)
    order: str = Field(default=env.ORDER.default, description=env.ORDER.meaning)
    lanes: int = Field(default=int(env.LANES.default), description=env.LANES.meaning)
    workers: int = Field(default=int(env.WORKERS.default), description=env.WORKERS.meaning)
    job_seconds: float = Field(default=float(env.JOB_SECONDS.default), description=env.JOB_SECONDS.meaning)
    job_memory_mib: float = Field(default=float(env.JOB_MEMORY_MIB.default), description=env.JOB_MEMORY_MIB.meaning)
    live_budget_seconds: float = Field(
        default=float(env.LIVE_BUDGET_SECONDS.default), description=env.LIVE_BUDGET_SECONDS.meaning
    )
    backfill_budget_seconds: float = Field(
        default=float(env.BACKFILL_BUDGET_SECONDS.default), description=env.BACKFILL_BUDGET_SECONDS.meaning
    )

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

            config = load_config(self.series_config) if self.series_config else SeriesConfig()
        opened = open_app(
            self.source_url,
            self.archive_url,
            self.ledger_url,
            settings=self.settings(),
            config=config,
            receivers_file=self.receivers_file,
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
        for name in ("live_budget_seconds", "backfill_budget_seconds"):
            if getattr(self, name) < 0:
                raise SettingsError(f"{name} is {getattr(self, name)}; it cannot be negative")
        return make_settings(
            compaction=self.compaction,
            dedup=self.dedup,
            start_date=self.start_date,
            job_blocks=self.job_blocks,
            job_mib=self.job_mib,
            job_age_seconds=self.job_age_seconds,
            order=self.order,
            lanes=self.lanes,
            workers=self.workers,
            job_seconds=self.job_seconds,
            job_memory_mib=self.job_memory_mib,
        )

    def deadline_monotonic(self, *, live: bool) -> float:
        """The `time.monotonic()` after which a run takes no further job."""
        return time.monotonic() + (self.live_budget_seconds if live else self.backfill_budget_seconds)


class RetentionResource(dg.ConfigurableResource[None]):
    """How long things are kept, and how fast the slow sweep goes."""

    keep_runs_minutes: float = Field(
        default=float(env.KEEP_RUNS_MINUTES.default), description=env.KEEP_RUNS_MINUTES.meaning
    )
    keep_backfill_runs_days: float = Field(
        default=float(env.KEEP_BACKFILL_RUNS_DAYS.default), description=env.KEEP_BACKFILL_RUNS_DAYS.meaning
    )
    keep_blocks_days: float = Field(
        default=float(env.KEEP_BLOCKS_DAYS.default), description=env.KEEP_BLOCKS_DAYS.meaning
    )
    keep_series_days: float = Field(
        default=float(env.KEEP_SERIES_DAYS.default), description=env.KEEP_SERIES_DAYS.meaning
    )
    keep_ledger_days: float = Field(
        default=float(env.KEEP_LEDGER_DAYS.default), description=env.KEEP_LEDGER_DAYS.meaning
    )
    keep_temporary_days: float = Field(
        default=float(env.KEEP_TEMPORARY_DAYS.default), description=env.KEEP_TEMPORARY_DAYS.meaning
    )
    sweep_keys: int = Field(default=int(env.SWEEP_KEYS.default), description=env.SWEEP_KEYS.meaning)

    def keep(self) -> Keep:
        """The same as a plain object.

        Raises:
            SettingsError: something would be kept for less than a day.
        """
        return Keep(self.keep_blocks_days, self.keep_series_days, self.keep_ledger_days, self.keep_temporary_days)


def production_resources() -> dict[str, Any]:
    """The resources of a real deployment: from the environment where it says something, else the defaults."""
    # The location loads whatever a variable says: what cannot be used is told by every tick and run.
    refusals: list[str] = []

    def number(variable: env.Variable) -> float:
        return env.usable_number(variable, refusals)

    retention = RetentionResource(
        keep_runs_minutes=number(env.KEEP_RUNS_MINUTES),
        keep_backfill_runs_days=number(env.KEEP_BACKFILL_RUNS_DAYS),
        keep_blocks_days=number(env.KEEP_BLOCKS_DAYS),
        keep_series_days=number(env.KEEP_SERIES_DAYS),
        keep_ledger_days=number(env.KEEP_LEDGER_DAYS),
        keep_temporary_days=number(env.KEEP_TEMPORARY_DAYS),
        sweep_keys=int(number(env.SWEEP_KEYS)),
    )
    number(env.RECONCILE)
    return {
        "pipeline": PipelineResource(
            source_url=_text(env.SOURCE_URL),
            archive_url=_text(env.ARCHIVE_URL),
            ledger_url=_text(env.LEDGER_URL),
            series_config=_text(env.CONFIG),
            receivers_file=_text(env.RECEIVERS),
            compaction=_text(env.COMPACTION),
            dedup=_text(env.DEDUP),
            start_date=_text(env.START_DATE),
            live_since=_text(env.LIVE_SINCE),
            job_blocks=int(number(env.JOB_BLOCKS)),
            job_mib=number(env.JOB_MIB),
            job_age_seconds=number(env.JOB_AGE_SECONDS),
            order=_text(env.ORDER),
            lanes=int(number(env.LANES)),
            workers=int(number(env.WORKERS)),
            job_seconds=number(env.JOB_SECONDS),
            job_memory_mib=number(env.JOB_MEMORY_MIB),
            live_budget_seconds=number(env.LIVE_BUDGET_SECONDS),
            backfill_budget_seconds=number(env.BACKFILL_BUDGET_SECONDS),
            refused="; ".join(refusals),
        ),
        "retention": retention,
    }


def _text(variable: env.Variable) -> Any:
    # A set variable stays a reference: the UI then shows its name, and its value is not written anywhere.
    return dg.EnvVar(variable.name) if os.environ.get(variable.name) else variable.default
