"""The pipeline as its faces use it: the sensor ticks, assets and the command line run, checks verify.

Add what a face needs of ticks, jobs and hours as a method that delegates; receivers are `export_methods`', schedules
`upkeep_methods`'. The work itself stands in the neighbouring modules.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Final, Literal

from pyro_assets.errors import ConfigError, SettingsError, StorageError, StorageUnavailable
from pyro_assets.ledger.beats import Beat
from pyro_assets.ledger.ledger import Lane, Ledger, Retry
from pyro_assets.pipeline.engine import within
from pyro_assets.pipeline.export_methods import ExportMethods
from pyro_assets.pipeline.hours import report_hour
from pyro_assets.pipeline.parts import now_ms
from pyro_assets.pipeline.reports import (
    HourReport,
    Progress,
    RuleProgress,
    RunCounts,
    TickReport,
    VerifyReport,
)
from pyro_assets.pipeline.rule_records import keep_versions
from pyro_assets.pipeline.settings import KINDS, Settings
from pyro_assets.pipeline.ticking import lanes_of, policy_of, tick
from pyro_assets.pipeline.upkeep_methods import UpkeepMethods
from pyro_assets.storage.bucket import open_bucket, place_of
from pyro_assets.storage.discovery import FoundBlock
from pyro_assets.storage.keys import parse_block_key

if TYPE_CHECKING:
    from pyro_assets.ledger.rule_use import RuleMark
    from pyro_assets.ledger.scrubs import Damage
    from pyro_assets.pipeline.repairing import Repaired
    from pyro_assets.pipeline.work import Trust, Worker
    from pyro_assets.series.config import SeriesConfig

__all__ = ["STEPS", "Beat", "Lane", "Pipeline", "Step", "now_ms", "open_pipeline"]

Step = Literal["l1_blocks", "dimension_series", "function_series"]
STEPS: Final[frozenset[Step]] = frozenset({"l1_blocks", "dimension_series", "function_series"})
SERIES_STEPS: Final[frozenset[Step]] = frozenset({"dimension_series", "function_series"})
_KIND_OF_STEP: Final[dict[Step, str]] = {"dimension_series": "dimension", "function_series": "function"}


def open_pipeline(
    source_url: str,
    archive_url: str,
    ledger_url: str,
    *,
    settings: Settings | None = None,
    config: "SeriesConfig | None" = None,
    receivers_file: str = "",
    secrets: Mapping[str, str] | None = None,
    clock: Callable[[], int] = now_ms,
) -> "Pipeline":
    """Opens buckets and ledger (made where missing). Close the pipeline, or use it as a context manager.

    Args:
        source_url: Pyroscope's bucket, only ever read: a folder or an fsspec URL such as `s3://bucket/prefix`.
        archive_url: where level-1 blocks, commit records and series go.
        ledger_url: an SQLAlchemy URL, or a path for SQLite.
        settings: see `Settings`.
        config: which series to derive, beside the ledger's rules as they are now; may be None where only ticks and
            reports are wanted.
        receivers_file: the YAML file of receivers, read when it is needed; "" for none.
        secrets: where receivers' references to environment variables are looked up.
        clock: Unix milliseconds.

    Raises:
        SettingsError: source and archive are the same place, or one lies inside the other.
        StorageUnavailable, LedgerUnavailable, SchemaMismatch.
    """
    ends = [place_of(source_url), place_of(archive_url)]
    if ends[0].startswith(ends[1]) or ends[1].startswith(ends[0]):
        raise SettingsError(
            f"source {source_url!r} and archive {archive_url!r} are the same place, or one lies inside the other; "
            "the source is never written to, so name another archive"
        )
    source = open_bucket(source_url)
    archive = open_bucket(archive_url, True)
    ledger = Ledger.open(ledger_url)
    rules, file_hash = None, ""
    if config is not None:
        from pyro_assets.pipeline.rules import merge_rules

        file_hash = config.hash
        in_force = merge_rules(config, ledger.rules())
        config, rules = in_force.config, in_force.report()
    return Pipeline(
        source,
        archive,
        ledger,
        settings,
        config,
        rules=rules,
        file_hash=file_hash,
        receivers_file=receivers_file,
        secrets=secrets,
        clock=clock,
    )


class Pipeline(ExportMethods, UpkeepMethods):
    """Source bucket, archive, ledger and settings, and what can be done with them."""

    def tick(self, now_ms: int | None = None) -> TickReport:
        """Looks for new sources and plans jobs. A listing that fails is reported, not raised.

        Raises:
            LedgerUnavailable: nothing was recorded.
            RebuildNeeded: the ledger lost what the archive remembers.
            SettingsError: the mode cannot change yet.
        """
        now_ms = self._clock() if now_ms is None else now_ms
        try:
            self._guard()
        except StorageUnavailable as error:
            # An empty ledger may be a lost one: that cannot be told before the archive answers.
            return TickReport(now_ms, failures=(str(error),))
        found = tick(self._source, self._ledger, self._settings, now_ms, self._archive)
        found = replace(found, others=tuple(self.other_configurations("tick")))
        try:
            keep_versions(self._ledger, self._archive)
        except StorageError as error:
            found = replace(found, failures=(*found.failures, f"rules are not kept in the archive: {error}"))
        try:
            worth = self._worth_a_run(self.receivers())
        except ConfigError as error:
            return replace(found, failures=(*found.failures, f"nothing is sent: {error}"))
        lanes = tuple(
            self._with_exports(due, worth, lane)
            for due, lane in zip(found.lanes, lanes_of(self._settings), strict=True)
        )
        return replace(found, due=self._with_exports(found.due, worth), lanes=lanes)

    def run(
        self,
        hours: Sequence[str],
        steps: frozenset[Step] = STEPS,
        *,
        run_id: str,
        rules: Sequence[str] = (),
        lane: Lane | None = None,
        asked: bool = False,
        deadline_monotonic: float | None = None,
        progress: Callable[[Progress], None] | None = None,
    ) -> dict[str, HourReport]:
        """Does the jobs of these hours and no others: what has just landed first, then the backlog, oldest hour first.

        With "l1_blocks" among the steps: all jobs that are due when it starts. With series steps only: derives the
        series of these kinds again, from the archive's level-1 blocks, for every committed job of the hours. With
        rules: only their series are derived, of jobs that are derived and do not have them in this version, and put
        among the others, which stay as they are (the backfill of a rule).

        Args:
            hours: partition keys.
            steps: what to do of each job.
            run_id: who holds the leases.
            rules: names (ids) of the rules to backfill; none for all.
            lane: the share of the shards that this run takes; all by default.
            asked: a person wants these hours, which may be old: what is done of them is no lag.
            deadline_monotonic: no job is begun after this `time.monotonic()`; what is left comes with the next run.
            progress: called after each job.

        Returns:
            A report for each of the hours, with `run.summary` "nothing to do" where there was nothing.
            A job that fails is reported there (`run.failed`, `run.errors`) and tried again by a later run.

        Raises:
            SettingsError: there is no such rule in force, or its kind of series is not among the steps.
        """
        # Imported where it is needed: ticks come every few seconds and do without NumPy and Arrow.
        from pyro_assets.pipeline.running import Order, run_hours

        marks = self._marks(rules, _kinds(steps)) if rules else ()
        order = Order(
            compact="l1_blocks" in steps and not marks,
            kinds=_kinds(steps),
            rules=marks,
            lane=lane,
            deadline_monotonic=deadline_monotonic,
            progress=progress,
            newest_first=self._settings.order == "newest",
        )
        worker = self._worker(run_id, order.kinds, marks, self._clock() if asked else None)
        counts = run_hours(self._ledger, worker, hours, order)
        return {hour: self._report(hour, counts.get(hour), marks) for hour in sorted(set(hours))}

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
            SettingsError: the mode cannot change yet.
        """
        from pyro_assets.pipeline.running import Order, run_jobs

        order = Order(compact=True, kinds=_kinds(steps), progress=progress)
        now_ms = self._clock()
        wanted = [[self._found(key) for key in keys] for keys in jobs]
        policy = self._ledger.enter_mode(policy_of(self._settings), now_ms)
        ids = self._ledger.plan_exact(wanted, now_ms, policy)
        hours = self._ledger.hours_of(ids)
        due = {
            job_id for hour in set(hours.values()) for job_id in self._ledger.due_jobs(hour, now_ms, kinds=order.kinds)
        }
        listed = [(hours[job_id], job_id) for job_id in ids if job_id in due]
        counts = run_jobs(self._worker(run_id, order.kinds), listed, order)
        return {hour: self._report(hour, counts.get(hour)) for hour in sorted(set(hours.values()))}

    def plan_aged(self) -> int:
        """Makes jobs of sources that became old enough since the last tick; looks for no new ones.

        Returns:
            The number of new jobs.
        """
        return self._ledger.plan_aged(self._clock(), policy_of(self._settings))

    def due_hours(self, lane: Lane | None = None, since_hour: str = "") -> dict[str, int]:
        """Hour -> jobs that a run could take now, oldest first, beginning with `since_hour`."""
        return self._ledger.due_hours(self._clock(), KINDS, lane, since_hour)

    def hours(self) -> list[str]:
        """All hours that have sources, oldest first, without those out of range."""
        return self._ledger.hours()

    def hour_report(self, hour: str) -> HourReport:
        """What is known of one hour; all zero when nothing is."""
        return self._report(hour, None)

    def verify_hour(self, hour: str, *, deadline_monotonic: float | None = None, again: bool = False) -> VerifyReport:
        """Compares the level-1 objects of an hour, as read back, with their sources.

        Each job is compared once unless `again`. What no check may forgive, a source left undone, is in
        `hour_report` (`pending`, `undone_jobs`).
        """
        from pyro_assets.pipeline.verifying import Verifier

        verifier = Verifier(self._source, self._archive, self._ledger, self._engine)
        return verifier.verify(hour, self._clock(), deadline_monotonic, again=again)

    def repair(self, damaged: "Sequence[Damage]", *, run_id: str) -> "list[Repaired]":
        """Puts damaged objects of the archive back, and looks at their hours again; see `repairing`.

        Raises:
            StorageUnavailable: the archive or the source does not answer.
        """
        from pyro_assets.pipeline.compacting import Compactor
        from pyro_assets.pipeline.repairing import Repairer
        from pyro_assets.pipeline.running import Order, run_jobs

        def derive(jobs: "Sequence[tuple[str, str]]") -> list[str]:
            counts = run_jobs(self._worker(run_id, KINDS), jobs, Order(compact=False, kinds=KINDS))
            busy = sum(count.busy for count in counts.values())
            errors = [sentence for count in counts.values() for sentence in count.errors]
            return [*errors, *([f"{busy} jobs are held by a run; call this again"] if busy else [])]

        compactor = Compactor(self._source, self._archive, self._engine)
        done = Repairer(self._archive, self._ledger, compactor, derive, self._clock).repair(damaged)
        self.scrub(hours={one.hour for one in damaged})
        return done

    def _marks(self, rules: Sequence[str], kinds: frozenset[str]) -> "tuple[RuleMark, ...]":
        """Rules as a backfill wants them."""
        from pyro_assets.ledger.rule_use import RuleMark
        from pyro_assets.series.choice import rule_hash, rule_kinds

        known = {} if self._config is None else rule_kinds(self._config)
        marks = []
        for rule in dict.fromkeys(rules):
            if self._config is None or rule not in known:
                raise SettingsError(
                    f"no rule {rule!r} is in force, so it cannot be backfilled; `pyro-assets rules list` shows those "
                    "that are, and why others are not"
                )
            if known[rule] not in kinds:
                raise SettingsError(
                    f"rule {rule!r} gives {known[rule]} series; select the asset {known[rule]}_series, where they are"
                )
            marks.append(RuleMark(rule, known[rule], rule_hash(self._config, rule)))
        return tuple(marks)

    def _worker(
        self, run_id: str, kinds: frozenset[str], rules: "tuple[RuleMark, ...]" = (), asked_ms: int | None = None
    ) -> "Worker":
        from pyro_assets.pipeline.compacting import Compactor
        from pyro_assets.pipeline.deriving import Deriver
        from pyro_assets.pipeline.pool import Limits
        from pyro_assets.pipeline.rule_records import RuleKeeper
        from pyro_assets.pipeline.work import Worker

        if kinds and self._config is None:
            raise SettingsError("a run that derives series needs their configuration; pass config=SeriesConfig()")
        settings = self._settings
        config, deriver, config_for = self._config, None, None
        if config is not None and kinds:
            deriver = Deriver(self._archive, self._engine, config, config.hash, rules)
            config_for = RuleKeeper(self._ledger, self._archive, config, self._clock).config_for
        return Worker(
            ledger=self._ledger,
            compactor=Compactor(self._source, self._archive, within(self._engine, settings.most_memory_bytes)),
            deriver=deriver,
            config_for=config_for,
            run_id=run_id,
            lease_ms=settings.lease_ms,
            retry=Retry(settings.max_attempts, settings.retry_base_ms, settings.retry_cap_ms),
            clock=self._clock,
            processes=settings.workers,
            limits=Limits(settings.job_seconds, settings.job_memory_bytes),
            trust=self._trust(),
            asked_ms=asked_ms,
        )

    def _trust(self) -> "Trust":
        from pyro_assets.pipeline.work import Trust

        if self._known is None:
            self._known = Trust()
        return self._known

    def _found(self, key: str) -> FoundBlock:
        return FoundBlock(parse_block_key(key), self._source.size(key))

    def _report(self, hour: str, counts: RunCounts | None, marks: "Sequence[RuleMark]" = ()) -> HourReport:
        rules = self._rules
        if rules is not None and marks:
            progress = [(mark, self._ledger.rule_progress(hour, mark)) for mark in marks]
            rules = replace(
                rules, backfill=tuple(RuleProgress(mark.rule, mark.hash, *counted) for mark, counted in progress)
            )
        scopes = self._scopes()
        return report_hour(self._ledger, hour, self._clock(), self._settings.settle_ms, counts, scopes, rules)


def _kinds(steps: frozenset[Step]) -> frozenset[str]:
    return frozenset(kind for step, kind in _KIND_OF_STEP.items() if step in steps)
