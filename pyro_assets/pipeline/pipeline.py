"""The pipeline as its faces use it: the sensor ticks, assets and the command line run, checks verify.

Add what a face needs as a method that delegates; the work itself stands in the neighbouring modules.
"""

import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Final, Literal

from pyro_assets.ledger.ledger import Lane, Ledger
from pyro_assets.pipeline.engine import Engine
from pyro_assets.pipeline.reports import HourReport, Progress, TickReport, VerifyReport
from pyro_assets.pipeline.settings import Settings
from pyro_assets.storage.interface import Bucket, ReadOnlyBucket

if TYPE_CHECKING:
    from pyro_assets.series.config import SeriesConfig

Step = Literal["l1_blocks", "dimension_series", "function_series"]
STEPS: Final[frozenset[Step]] = frozenset({"l1_blocks", "dimension_series", "function_series"})


def now_ms() -> int:
    """The wall clock, Unix milliseconds."""
    return time.time_ns() // 1_000_000


def open_pipeline(
    source_url: str,
    archive_url: str,
    ledger_url: str,
    *,
    settings: Settings | None = None,
    config: "SeriesConfig | None" = None,
    clock: Callable[[], int] = now_ms,
) -> "Pipeline":
    """Opens buckets and ledger (made where missing). Close the pipeline, or use it as a context manager.

    Args:
        source_url: Pyroscope's bucket, only ever read: a folder or an fsspec URL such as `s3://bucket/prefix`.
        archive_url: where level-1 blocks, commit records and series go.
        ledger_url: an SQLAlchemy URL, or a path for SQLite.
        settings: see `Settings`.
        config: which series to derive; may be None where only ticks and reports are wanted.
        clock: Unix milliseconds.

    Raises:
        SettingsError: source and archive are the same place, or one lies inside the other.
        StorageUnavailable, LedgerUnavailable, SchemaMismatch.
    """
    raise NotImplementedError


class Pipeline:
    """Source bucket, archive, ledger and settings, and what can be done with them. Cheap to make."""

    def __init__(
        self,
        source: ReadOnlyBucket,
        archive: Bucket,
        ledger: Ledger,
        settings: Settings | None = None,
        config: "SeriesConfig | None" = None,
        *,
        engine: Engine | None = None,
        clock: Callable[[], int] = now_ms,
    ) -> None:
        raise NotImplementedError

    def tick(self, now_ms: int | None = None) -> TickReport:
        """Looks for new sources and plans jobs. A listing that fails is reported, not raised.

        Raises:
            LedgerUnavailable: nothing was recorded.
        """
        raise NotImplementedError

    def run(
        self,
        hours: Sequence[str],
        steps: frozenset[Step] = STEPS,
        *,
        run_id: str,
        lane: Lane | None = None,
        deadline_monotonic: float | None = None,
        progress: Callable[[Progress], None] | None = None,
    ) -> dict[str, HourReport]:
        """Does the jobs of these hours, oldest first, and no others.

        With "l1_blocks" among the steps: all jobs that are due when it starts. With series steps only: derives the
        series of these kinds again, from the archive's level-1 blocks, for every committed job of the hours (the
        backfill of a rule).

        Args:
            hours: partition keys.
            steps: what to do of each job.
            run_id: who holds the leases.
            lane: the share of the shards that this run takes; all by default.
            deadline_monotonic: no job is begun after this `time.monotonic()`; what is left comes with the next run.
            progress: called after each job.

        Returns:
            A report for each of the hours, with `run.summary` "nothing to do" where there was nothing.
            A job that fails is reported there (`run.failed`, `run.errors`) and tried again by a later run.
        """
        raise NotImplementedError

    def run_exact(
        self,
        jobs: Sequence[Sequence[str]],
        steps: frozenset[Step] = STEPS,
        *,
        run_id: str,
        progress: Callable[[Progress], None] | None = None,
    ) -> dict[str, HourReport]:
        """Does exactly these jobs (lists of source keys) in this order, with nothing planned beside.

        Jobs that are done already stay as they are.

        Raises:
            NotABlockKey: a key names no block.
            ObjectMissing: a source does not exist.
            JobConflict: a source belongs to another job, or a job has sources of several shards.
        """
        raise NotImplementedError

    def due_hours(self) -> dict[str, int]:
        """Hour -> jobs that a run could take now, oldest first."""
        raise NotImplementedError

    def hours(self) -> list[str]:
        """All hours that have sources, oldest first, without those out of range."""
        raise NotImplementedError

    def hour_report(self, hour: str) -> HourReport:
        """What is known of one hour; all zero when nothing is."""
        raise NotImplementedError

    def verify_hour(self, hour: str, *, deadline_monotonic: float | None = None, again: bool = False) -> VerifyReport:
        """Compares the level-1 objects of an hour, as read back, with their sources.

        Each job is compared once unless `again`. What no check may forgive, a source left undone, is in
        `hour_report` (`pending`, `undone_jobs`).
        """
        raise NotImplementedError

    def close(self) -> None:
        """Gives the ledger's connections back."""
        raise NotImplementedError

    def __enter__(self) -> "Pipeline":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()
