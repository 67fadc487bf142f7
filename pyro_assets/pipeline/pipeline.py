"""The pipeline as its faces use it: the sensor ticks, assets and the command line run, checks verify.

Add what a face needs as a method that delegates; the work itself stands in the neighbouring modules.
"""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Final, Literal

from pyro_assets.errors import AccessRefused, ConfigError, SettingsError, StorageError, StorageUnavailable
from pyro_assets.ledger.beats import Beat
from pyro_assets.ledger.ledger import Lane, Ledger, Retry
from pyro_assets.pipeline.engine import Engine
from pyro_assets.pipeline.hours import report_hour
from pyro_assets.pipeline.reports import (
    HourReport,
    Progress,
    RuleProgress,
    RulesReport,
    RunCounts,
    TickReport,
    VerifyReport,
)
from pyro_assets.pipeline.rule_records import keep_versions
from pyro_assets.pipeline.settings import KINDS, Settings
from pyro_assets.pipeline.ticking import lanes_of, policy_of, tick
from pyro_assets.storage.bucket import open_bucket, place_of
from pyro_assets.storage.discovery import FoundBlock
from pyro_assets.storage.interface import Bucket, ReadOnlyBucket
from pyro_assets.storage.keys import PROBE, parse_block_key

if TYPE_CHECKING:
    from pyro_assets.export.openmetrics import FileFormat, FilesReport
    from pyro_assets.export.receivers import Receiver
    from pyro_assets.export.reconcile import Reconciliation
    from pyro_assets.ledger.receivers import ReceiverState
    from pyro_assets.ledger.rule_use import RuleMark
    from pyro_assets.pipeline.exporting import ExportCounts, Exporter
    from pyro_assets.pipeline.health import HealthMetrics
    from pyro_assets.pipeline.merging import MergeReport
    from pyro_assets.pipeline.reconciling import HourEstimate
    from pyro_assets.pipeline.rescanning import RescanReport
    from pyro_assets.pipeline.resolving import Resolved
    from pyro_assets.pipeline.retention import Expired, Keep, RetentionReport
    from pyro_assets.pipeline.work import Trust, Worker
    from pyro_assets.series.config import SeriesConfig

__all__ = ["STEPS", "Beat", "Lane", "Pipeline", "Step", "now_ms", "open_pipeline"]

Step = Literal["l1_blocks", "dimension_series", "function_series"]
STEPS: Final[frozenset[Step]] = frozenset({"l1_blocks", "dimension_series", "function_series"})
SERIES_STEPS: Final[frozenset[Step]] = frozenset({"dimension_series", "function_series"})
#: A receiver that was given up is a reason for a run again after this time.
_RECEIVER_AGAIN_MS: Final = 60_000
_KIND_OF_STEP: Final[dict[Step, str]] = {"dimension_series": "dimension", "function_series": "function"}


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
    rules = None
    if config is not None:
        from pyro_assets.pipeline.rules import merge_rules

        in_force = merge_rules(config, ledger.rules())
        config, rules = in_force.config, in_force.report()
    return Pipeline(
        source,
        archive,
        ledger,
        settings,
        config,
        rules=rules,
        receivers_file=receivers_file,
        secrets=secrets,
        clock=clock,
    )


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
        rules: RulesReport | None = None,
        engine: Engine | None = None,
        receivers: "Sequence[Receiver] | None" = None,
        receivers_file: str = "",
        secrets: Mapping[str, str] | None = None,
        clock: Callable[[], int] = now_ms,
    ) -> None:
        self._source = source
        self._archive = archive
        self._ledger = ledger
        self._settings = settings if settings is not None else Settings()
        self._config = config
        self._rules = rules
        self._engine = engine if engine is not None else Engine()
        self._receivers = None if receivers is None and receivers_file else tuple(receivers or ())
        self._receivers_file = receivers_file
        self._secrets: Mapping[str, str] = secrets if secrets is not None else {}
        self._clock = clock
        self._known: Trust | None = None

    @property
    def ledger(self) -> Ledger:
        """The ledger, for faces that show what it knows."""
        return self._ledger

    @property
    def settings(self) -> Settings:
        """How jobs are planned and done."""
        return self._settings

    @property
    def archive(self) -> Bucket:
        """The archive, for faces that read blocks and series."""
        return self._archive

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
        found = tick(self._source, self._ledger, self._settings, now_ms)
        try:
            keep_versions(self._ledger, self._archive)
        except StorageError as error:
            found = replace(found, failures=(*found.failures, f"rules are not kept in the archive: {error}"))
        try:
            receivers = self.receivers()
        except ConfigError as error:
            return replace(found, failures=(*found.failures, f"nothing is sent: {error}"))
        lanes = tuple(
            self._with_exports(due, receivers, lane)
            for due, lane in zip(found.lanes, lanes_of(self._settings), strict=True)
        )
        return replace(found, due=self._with_exports(found.due, receivers), lanes=lanes)

    def run(
        self,
        hours: Sequence[str],
        steps: frozenset[Step] = STEPS,
        *,
        run_id: str,
        rules: Sequence[str] = (),
        lane: Lane | None = None,
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
        counts = run_hours(self._ledger, self._worker(run_id, order.kinds, marks), hours, order)
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

    def receivers(self) -> "tuple[Receiver, ...]":
        """Who gets series.

        Raises:
            ConfigError: the file of receivers is refused.
        """
        if self._receivers is None:
            from pyro_assets.export.receivers_file import load_receivers

            self._receivers = tuple(load_receivers(self._receivers_file).receivers)
        return self._receivers

    def exporter(
        self,
        hours: Sequence[str],
        *,
        explicit: bool,
        stay: bool = False,
        names: Sequence[str] = (),
        lane: Lane | None = None,
        deadline_monotonic: float | None = None,
    ) -> "Exporter":
        """Begins to send what receivers lack of these hours, in the background; `finish` or `stop` it.

        Args:
            hours: partition keys, the only ones that are touched.
            explicit: these hours were asked for: a receiver gets them although they are before its start.
            stay: look for more until it is finished.
            names: of the receivers; all by default.
            lane: the share of the shards that is sent; all by default.
            deadline_monotonic: nothing is sent after this `time.monotonic()`.

        Raises:
            ConfigError: the file of receivers is refused.
            SettingsError: there is no receiver of a name.
        """
        from pyro_assets.pipeline.exporting import Exporter

        receivers = self.receivers()
        chosen = [self.receiver(name) for name in names] if names else receivers
        return Exporter(
            self._archive,
            self._ledger,
            chosen,
            self._secrets,
            hours,
            explicit=explicit,
            stay=stay,
            everyone=receivers,
            lane=lane,
            clock=self._clock,
            deadline_monotonic=deadline_monotonic,
        ).start()

    def export(
        self,
        hours: Sequence[str] | None = None,
        *,
        names: Sequence[str] = (),
        deadline_monotonic: float | None = None,
    ) -> "dict[str, ExportCounts]":
        """Sends what receivers lack: of these hours, or of all since each receiver's start.

        Returns:
            What was done, by receiver. A receiver that is down is reported there, not raised.

        Raises:
            ConfigError, SettingsError: see `exporter`.
        """
        explicit = hours is not None
        wanted = list(self.export_due_hours(names)) if hours is None else hours
        exporter = self.exporter(wanted, explicit=explicit, names=names, deadline_monotonic=deadline_monotonic)
        return exporter.finish()

    def pause(self, name: str, *, paused: bool) -> bool:
        """Pauses or resumes a receiver: what it lacks stays pending meanwhile.

        Returns:
            Whether that changed anything.

        Raises:
            ConfigError, SettingsError: there is no receiver of this name.
        """
        return self._ledger.pause_receiver(self.receiver(name).name, self._clock(), paused=paused)

    def keep_changed(self, name: str, begin_ms: int, end_ms: int) -> int:
        """Lets a receiver keep what it was sent where samples of [begin_ms, end_ms) changed afterwards.

        Returns:
            How many receipts are not reported as changed any more.

        Raises:
            ConfigError, SettingsError: there is no receiver of this name.
        """
        return self._ledger.keep_changed(self.receiver(name).name, begin_ms, end_ms, self._clock())

    def export_due_hours(self, names: Sequence[str] = ()) -> dict[str, int]:
        """Hour -> jobs that some receiver lacks since its start, oldest first."""
        found: dict[str, int] = {}
        for receiver in self.receivers():
            if not names or receiver.name in names:
                for hour, jobs in self._ledger.export_due_hours(
                    receiver.name, since_ms=self._start_ms(receiver)
                ).items():
                    found[hour] = max(jobs, found.get(hour, 0))
        return dict(sorted(found.items()))

    def reconcile(
        self,
        name: str,
        begin_ms: int,
        end_ms: int,
        *,
        only_sent: bool = False,
        progress: Callable[[int], None] = lambda _: None,
    ) -> "Reconciliation":
        """Asks a receiver for what it holds of [begin_ms, end_ms) and compares it with the archive's series.

        Args:
            name: of the receiver.
            begin_ms: the first millisecond.
            end_ms: the first millisecond that is not compared any more.
            only_sent: expect only what it has accepted, instead of everything that is derived.
            progress: called with the end of each window of time that is done.

        Raises:
            ConfigError, SettingsError: there is no receiver of this name.
            ReceiverMisconfigured, ReceiverUnavailable, BadAnswer: it cannot be asked.
        """
        from pyro_assets.pipeline.reconciling import reconcile_receiver

        return reconcile_receiver(
            self._archive,
            self._ledger,
            self.receiver(name),
            self._secrets,
            begin_ms,
            end_ms,
            only_sent=only_sent,
            progress=progress,
        )

    def estimate(self, name: str, begin_ms: int, end_ms: int) -> "dict[int, HourEstimate]":
        """Hour (ms // 3,600,000) -> what a receiver would get of it, before anything is sent.

        Raises:
            ConfigError, SettingsError: there is no receiver of this name.
        """
        from pyro_assets.pipeline.reconciling import estimate

        return estimate(self._archive, self._ledger, self.receiver(name), begin_ms, end_ms)

    def write_files(
        self, receiver: "Receiver | None", folder: Path, file_format: "FileFormat", begin_ms: int, end_ms: int
    ) -> "FilesReport":
        """Writes the series of [begin_ms, end_ms) as files for receivers that take no history; see `openmetrics`."""
        from pyro_assets.export.openmetrics import any_receiver, write_files
        from pyro_assets.pipeline.reconciling import files_between, read_files

        jobs = read_files(self._archive, self._ledger, files_between(self._ledger, begin_ms, end_ms))
        wanted = receiver if receiver is not None else any_receiver()
        return write_files(jobs, wanted, folder, file_format=file_format, from_ms=begin_ms, to_ms=end_ms)

    def merge_series(self, *, deadline_monotonic: float | None = None) -> "MergeReport":
        """Merges the files of series of hours that are over; see `merging.merge_hours`."""
        from pyro_assets.pipeline.merging import merge_hours

        return merge_hours(
            self._archive,
            self._ledger,
            self._clock(),
            self._settings.settle_ms,
            deadline_monotonic=deadline_monotonic,
        )

    def retain(
        self,
        keep: "Keep",
        *,
        apply: bool,
        deadline_monotonic: float | None = None,
        progress: "Callable[[Expired], None]" = lambda _: None,
    ) -> "RetentionReport":
        """Removes what is older than `keep` says, or only lists it; see `retention.retain`.

        Raises:
            ConfigError: the file of receivers is refused, so that nobody knows what is still to be sent.
        """
        from pyro_assets.pipeline.retention import retain

        scopes = {receiver.name: self._start_ms(receiver) for receiver in self.receivers()}
        return retain(
            self._archive,
            self._ledger,
            keep,
            scopes,
            self._clock(),
            apply=apply,
            deadline_monotonic=deadline_monotonic,
            progress=progress,
        )

    def sweep(self, max_keys: int) -> "RescanReport":
        """Goes on with the slow sweep of the whole source bucket; see `rescanning.sweep`."""
        from pyro_assets.pipeline.rescanning import sweep

        self._guard()
        return sweep(self._source, self._ledger, self._settings, self._clock(), max_keys)

    def receiver(self, name: str) -> "Receiver":
        """The receiver of a name.

        Raises:
            ConfigError, SettingsError: there is none.
        """
        found = next((one for one in self.receivers() if one.name == name), None)
        if found is None:
            raise SettingsError(f"there is no receiver {name!r}; `pyro-assets receivers list` shows them")
        return found

    def has_rules_to_resolve(self) -> bool:
        """Whether a rule of the ledger that is in force has `top_k`."""
        from pyro_assets.pipeline.resolving import rules_to_resolve

        return self._config is not None and bool(rules_to_resolve(self._ledger, self._config))

    def resolve_rules(self, *, deadline_monotonic: float | None = None) -> "list[Resolved]":
        """Finds the functions of the ledger's rules with `top_k` anew, and saves what changed.

        Args:
            deadline_monotonic: no further rule is begun after this `time.monotonic()`.

        Raises:
            StorageError, BlockError: the archive is damaged or does not answer.
        """
        from pyro_assets.pipeline.resolving import SCHEDULE, resolve_rule, rules_to_resolve

        found = []
        for stored in rules_to_resolve(self._ledger, self._config) if self._config is not None else ():
            if self._config is None or (deadline_monotonic is not None and time.monotonic() >= deadline_monotonic):
                break
            now_ms = self._clock()
            found.append(resolve_rule(self._ledger, self._archive, stored, self._config, now_ms, author=SCHEDULE))
        return found

    def health(self) -> "HealthMetrics":
        """The project's own metrics; make them once per process."""
        from pyro_assets.pipeline.health import HealthMetrics

        return HealthMetrics(self._ledger, self.receiver_starts, self._clock)

    def push_health(self, metrics: "HealthMetrics", instance: str) -> dict[str, str]:
        """Sends the project's own metrics to every receiver that is not paused; see `pushing.push`.

        Raises:
            ConfigError, LedgerUnavailable: nothing was sent.
        """
        from pyro_assets.pipeline.pushing import push, samples_of

        now_ms = self._clock()
        states = self.receiver_states()
        ready = [one for one in self.receivers() if states[one.name].paused_ms is None]
        return push(samples_of(metrics.collect(), now_ms, instance), ready, self._secrets, now_ms)

    def receiver_starts(self) -> dict[str, int]:
        """Receiver -> the time from which on it gets samples by itself, Unix ms.

        Raises:
            ConfigError: the file of receivers is refused.
        """
        return {receiver.name: self._start_ms(receiver) for receiver in self.receivers()}

    def receiver_states(self) -> "dict[str, ReceiverState]":
        """What is known of each receiver that is configured."""
        return {receiver.name: self._ledger.receiver_state(receiver.name) for receiver in self.receivers()}

    def plan_aged(self) -> int:
        """Makes jobs of sources that became old enough since the last tick; looks for no new ones.

        Returns:
            The number of new jobs.
        """
        return self._ledger.plan_aged(self._clock(), policy_of(self._settings))

    def due_hours(self, lane: Lane | None = None, since_hour: str = "") -> dict[str, int]:
        """Hour -> jobs that a run could take now, oldest first, beginning with `since_hour`."""
        return self._ledger.due_hours(self._clock(), KINDS, lane, since_hour)

    def beat(self, run_id: str) -> None:
        """Says that a run is alive, in this process.

        Raises:
            LedgerUnavailable: nobody heard it.
        """
        self._ledger.beat(run_id, self._clock())

    def end_beats(self, run_id: str) -> None:
        """Says that a run will not say anything any more."""
        self._ledger.end_beats(run_id)

    def beats(self) -> dict[str, Beat]:
        """Run that did not end in order -> its last sign of life."""
        return self._ledger.beats()

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

    def warnings(self) -> list[str]:
        """What a person should know whenever work begins: sentences, empty where all is well.

        Costs a few requests; a bucket that does not answer is no warning of this.
        """
        from pyro_assets.pipeline.lifetimes import measure

        if self._settings.mode != "own":
            return []
        try:
            life = measure(self._source, self._clock(), max_shards=4)
        except StorageUnavailable:
            return []
        if not life.is_short:
            return []
        return [
            f"{life.sentence}: an outage of ours that is longer loses profiles; choose observe as the mode of "
            "compaction, or raise Pyroscope's deletion delay"
        ]

    def check_archive(self) -> None:
        """Sees whether the archive can be written to, before work is begun whose result it cannot take.

        Raises:
            SettingsError: it cannot, until a person changes that.
            StorageUnavailable: not now.
        """
        try:
            self._archive.replace(PROBE, b"written to see whether it may\n")
        except AccessRefused as error:
            raise SettingsError(f"the archive cannot be written to: {error}") from error

    def close(self) -> None:
        """Gives the ledger's connections back."""
        self._ledger.close()

    def __enter__(self) -> "Pipeline":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

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

    def _worker(self, run_id: str, kinds: frozenset[str], rules: "tuple[RuleMark, ...]" = ()) -> "Worker":
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
            compactor=Compactor(self._source, self._archive, self._engine),
            deriver=deriver,
            config_for=config_for,
            run_id=run_id,
            lease_ms=settings.lease_ms,
            retry=Retry(settings.max_attempts, settings.retry_base_ms, settings.retry_cap_ms),
            clock=self._clock,
            processes=settings.workers,
            limits=Limits(settings.job_seconds, settings.job_memory_bytes),
            trust=self._trust(),
        )

    def _trust(self) -> "Trust":
        from pyro_assets.pipeline.work import Trust

        if self._known is None:
            self._known = Trust()
        return self._known

    def _guard(self) -> None:
        from pyro_assets.pipeline.rebuilding import guard

        guard(self._ledger, self._archive)

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

    def _scopes(self) -> dict[str, int]:
        try:
            return self.receiver_starts()
        except ConfigError:
            return {}  # a report is about what is known; the run and the tick say that the file is refused

    def _start_ms(self, receiver: "Receiver") -> int:
        from pyro_assets.pipeline.exporting import start_ms_of

        return start_ms_of(self._ledger, receiver, self._clock())

    def _with_exports(
        self, due: Mapping[str, int], receivers: "Sequence[Receiver]", lane: Lane | None = None
    ) -> dict[str, int]:
        """What is due, with the hours that wait to be sent."""
        hours = dict(due)
        for receiver in receivers:
            for hour, jobs in self._export_due_hours(receiver, lane).items():
                hours[hour] = hours.get(hour, 0) + jobs
        return dict(sorted(hours.items()))

    def _export_due_hours(self, receiver: "Receiver", lane: Lane | None) -> dict[str, int]:
        """Hours for which a run should be requested for this receiver's sake."""
        state = self._ledger.receiver_state(receiver.name)
        if state.paused_ms is not None:
            return {}
        if state.error_ms is not None and self._clock() - state.error_ms < _RECEIVER_AGAIN_MS:
            return {}
        return self._ledger.export_due_hours(receiver.name, since_ms=self._start_ms(receiver), lane=lane)


def _kinds(steps: frozenset[Step]) -> frozenset[str]:
    return frozenset(kind for step, kind in _KIND_OF_STEP.items() if step in steps)
