"""What a run does: the jobs of its hours, their reports, verification and repair."""

from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import replace
from typing import TYPE_CHECKING, Final, Literal

from pyro_assets.app import App
from pyro_assets.errors import AccessRefused, SettingsError
from pyro_assets.jobs.beats import Turn
from pyro_assets.jobs.beats import turn as take_turn
from pyro_assets.jobs.claims import Retry
from pyro_assets.jobs.counts import Progress, RunCounts, VerifyReport
from pyro_assets.jobs.derive import within
from pyro_assets.ledger.records import Lane
from pyro_assets.monitoring.hour import report_hour
from pyro_assets.monitoring.reports import HourReport
from pyro_assets.operations import sending, upkeep
from pyro_assets.planning.due import DueJobs
from pyro_assets.planning.listing import FoundBlock
from pyro_assets.planning.modes import Modes
from pyro_assets.planning.plan import Planner
from pyro_assets.planning.tick import policy_of
from pyro_assets.rules.report import RuleProgress
from pyro_assets.rules.stored import RuleUse
from pyro_assets.settings import KINDS
from pyro_assets.storage.keys import PROBE, parse_block_key

if TYPE_CHECKING:
    from pyro_assets.archive.repair import Repaired
    from pyro_assets.archive.scrubs import Damage
    from pyro_assets.jobs.work import Worker
    from pyro_assets.rules.stored import RuleMark


Step = Literal["l1_blocks", "dimension_series", "function_series"]
STEPS: Final[frozenset[Step]] = frozenset({"l1_blocks", "dimension_series", "function_series"})
SERIES_STEPS: Final[frozenset[Step]] = frozenset({"dimension_series", "function_series"})
_KIND_OF_STEP: Final[dict[Step, str]] = {"dimension_series": "dimension", "function_series": "function"}


def run(
    app: App,
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
        app: what to work with.
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
    from pyro_assets.jobs.run import Order, run_hours

    marks = _marks(app, rules, _kinds(steps)) if rules else ()
    order = Order(
        compact="l1_blocks" in steps and not marks,
        kinds=_kinds(steps),
        rules=marks,
        lane=lane,
        deadline_monotonic=deadline_monotonic,
        progress=progress,
        newest_first=app.settings.order == "newest",
    )
    worker = worker_of(app, run_id, order.kinds, marks, app.clock() if asked else None)
    counts = run_hours(app.ledger, worker, hours, order)
    return {hour: _report(app, hour, counts.get(hour), marks) for hour in sorted(set(hours))}


def run_exact(
    app: App,
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
    from pyro_assets.jobs.run import Order, run_jobs

    order = Order(compact=True, kinds=_kinds(steps), progress=progress)
    now_ms = app.clock()
    wanted = [[found(app, key) for key in keys] for keys in jobs]
    policy = Modes(app.ledger).enter_mode(policy_of(app.settings), now_ms)
    ids = Planner(app.ledger).plan_exact(wanted, now_ms, policy)
    hours = DueJobs(app.ledger).hours_of(ids)
    due = {
        job_id
        for hour in set(hours.values())
        for job_id in DueJobs(app.ledger).due_jobs(hour, now_ms, kinds=order.kinds)
    }
    listed = [(hours[job_id], job_id) for job_id in ids if job_id in due]
    counts = run_jobs(worker_of(app, run_id, order.kinds), listed, order)
    return {hour: _report(app, hour, counts.get(hour)) for hour in sorted(set(hours.values()))}


def hour_report(app: App, hour: str) -> HourReport:
    """What is known of one hour; all zero when nothing is."""
    return _report(app, hour, None)


def verify_hour(app: App, hour: str, *, deadline_monotonic: float | None = None, again: bool = False) -> VerifyReport:
    """Compares the level-1 objects of an hour, as read back, with their sources.

    Each job is compared once unless `again`. What no check may forgive, a source left undone, is in
    `hour_report` (`pending`, `undone_jobs`).
    """
    from pyro_assets.jobs.verify import Verifier

    verifier = Verifier(app.source, app.archive, app.ledger, app.engine)
    return verifier.verify(hour, app.clock(), deadline_monotonic, again=again)


def repair(app: App, damaged: "Sequence[Damage]", *, run_id: str) -> "list[Repaired]":
    """Puts damaged objects of the archive back, and looks at their hours again; see `archive.repair`.

    Raises:
        StorageUnavailable: the archive or the source does not answer.
    """
    from pyro_assets.archive.repair import Repairer
    from pyro_assets.jobs.compact import Compactor
    from pyro_assets.jobs.run import Order, run_jobs

    def derive(jobs: "Sequence[tuple[str, str]]") -> list[str]:
        counts = run_jobs(worker_of(app, run_id, KINDS), jobs, Order(compact=False, kinds=KINDS))
        busy = sum(count.busy for count in counts.values())
        errors = [sentence for count in counts.values() for sentence in count.errors]
        return [*errors, *([f"{busy} jobs are held by a run; call this again"] if busy else [])]

    compactor = Compactor(app.source, app.archive, app.engine)
    done = Repairer(app.archive, app.ledger, compactor, derive, app.clock).repair(damaged)
    upkeep.scrub(app, hours={one.hour for one in damaged})
    return done


def _marks(app: App, rules: Sequence[str], kinds: frozenset[str]) -> "tuple[RuleMark, ...]":
    """Rules as a backfill wants them."""
    from pyro_assets.rules.choice import rule_hash, rule_kinds
    from pyro_assets.rules.stored import RuleMark

    known = {} if app.config is None else rule_kinds(app.config)
    marks = []
    for rule in dict.fromkeys(rules):
        if app.config is None or rule not in known:
            raise SettingsError(
                f"no rule {rule!r} is in force, so it cannot be backfilled; `pyro-assets rules list` shows those "
                "that are, and why others are not"
            )
        if known[rule] not in kinds:
            raise SettingsError(
                f"rule {rule!r} gives {known[rule]} series; select the asset {known[rule]}_series, where they are"
            )
        marks.append(RuleMark(rule, known[rule], rule_hash(app.config, rule)))
    return tuple(marks)


def worker_of(
    app: App, run_id: str, kinds: frozenset[str], rules: "tuple[RuleMark, ...]" = (), asked_ms: int | None = None
) -> "Worker":
    """Who does the jobs of a run.

    Raises:
        SettingsError: series are asked for, and there is no configuration.
    """
    from pyro_assets.jobs.compact import Compactor
    from pyro_assets.jobs.derive import Deriver
    from pyro_assets.jobs.pool import Limits, cores
    from pyro_assets.jobs.work import Worker
    from pyro_assets.rules.archive import RuleKeeper

    if kinds and app.config is None:
        raise SettingsError("a run that derives series needs their configuration; pass config=SeriesConfig()")
    settings = app.settings
    engine = within(app.engine, settings.most_memory_bytes)
    config, deriver, config_for = app.config, None, None
    if config is not None and kinds:
        deriver = Deriver(app.archive, engine, config, config.hash, rules)
        config_for = RuleKeeper(app.ledger, app.archive, config, app.clock).config_for
    return Worker(
        ledger=app.ledger,
        compactor=Compactor(app.source, app.archive, engine),
        deriver=deriver,
        config_for=config_for,
        run_id=run_id,
        lease_ms=settings.lease_ms,
        retry=Retry(settings.max_attempts, settings.retry_base_ms, settings.retry_cap_ms),
        clock=app.clock,
        processes=settings.workers or cores(),
        limits=Limits(settings.job_seconds, settings.job_memory_bytes),
        trust=app.trust,
        asked_ms=asked_ms,
    )


def found(app: App, key: str) -> FoundBlock:
    """The source of a key, with its size.

    Raises:
        NotABlockKey, ObjectMissing: there is none.
    """
    return FoundBlock(parse_block_key(key), app.source.size(key))


def _report(app: App, hour: str, counts: RunCounts | None, marks: "Sequence[RuleMark]" = ()) -> HourReport:
    rules = app.rules
    if rules is not None and marks:
        progress = [(mark, RuleUse(app.ledger).rule_progress(hour, mark)) for mark in marks]
        rules = replace(
            rules, backfill=tuple(RuleProgress(mark.rule, mark.hash, *counted) for mark, counted in progress)
        )
    scopes = sending.scopes(app)
    return report_hour(app.ledger, hour, app.clock(), app.settings.settle_ms, counts, scopes, rules)


def check_archive(app: App) -> None:
    """Sees whether the archive can be written to, before work is begun whose result it cannot take.

    Raises:
        SettingsError: it cannot, until a person changes that.
        StorageUnavailable: not now.
    """
    try:
        app.archive.replace(PROBE, b"written to see whether it may\n")
    except AccessRefused as error:
        raise SettingsError(f"the archive cannot be written to: {error}") from error


def turn(app: App, lane: Lane | None, run_id: str) -> AbstractContextManager[Turn]:
    """The turn of a live run in its lane, see `jobs.beats`; a run without a lane waits for nobody.

    What its jobs need is imported before: while the run that it relieves is still at work, that costs no lag.
    """
    if lane is not None:
        worker_of(app, run_id, KINDS)
    return take_turn(app.ledger, lane, run_id, app.clock, app.settings.lease_ms)


def _kinds(steps: frozenset[Step]) -> frozenset[str]:
    return frozenset(kind for step, kind in _KIND_OF_STEP.items() if step in steps)
