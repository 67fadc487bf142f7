"""Opening the pipeline inside a run: a wrong setting ends it with one sentence, and it says that it is alive.

Here, too:
* runs that died without Dagster's knowledge: runs say that they are alive, and who is silent is ended;
* how a live run stays: it looks for what landed and does what is due until its time is over.

Add here what every run must have before its first job. Ticks open the pipeline themselves: a tick that fails is seen.
"""

import logging
import threading
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Final

import dagster as dg

from pyro_assets.app import App
from pyro_assets.defs.jobs import lane_of
from pyro_assets.errors import ConfigError, LedgerError, SettingsError
from pyro_assets.jobs.beats import Beats
from pyro_assets.jobs.counts import RunCounts
from pyro_assets.jobs.quarantine import QuarantineRecords
from pyro_assets.ledger.records import Lane
from pyro_assets.monitoring.reports import HourReport
from pyro_assets.operations import ticks
from pyro_assets.resources.pipeline import PipelineResource
from pyro_assets.settings import Settings

BEAT_SECONDS: Final = 5.0


@contextmanager
def beating(opened: App, run_id: str, seconds: float = BEAT_SECONDS) -> Iterator[None]:
    """Say that a run is alive, now and every few seconds while the block runs."""
    ended = threading.Event()

    def beat() -> None:
        while not ended.is_set():
            _quietly(lambda: Beats(opened.ledger).beat(run_id, opened.clock()))
            ended.wait(seconds)

    thread = threading.Thread(target=beat, name="beat", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        _quietly(lambda: Beats(opened.ledger).end_beats(run_id))


def end_silent_runs(instance: dg.DagsterInstance, opened: App, now_ms: int, lease_ms: int) -> list[str]:
    """Marks runs as failed whose process is gone, so that their lane is free.

    On another machine a process is gone when it is silent for as long as a lease; on this one, that can be seen. A run
    of which nothing was ever heard is left to Dagster, unless it is a live one: these speak when they start, which may
    take a while on a machine that is busy. Whether a run is really dead does not matter to the data: jobs have leases
    and fences.

    Args:
        instance: Dagster's records.
        opened: knows who was heard of.
        now_ms: Unix milliseconds.
        lease_ms: how long a worker may be silent until its jobs are another's.

    Returns:
        Their ids.
    """
    heard = Beats(opened.ledger)
    beats = heard.beats()
    found = []
    records = instance.get_run_records(dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED]))
    for record in records:
        run = record.dagster_run
        beat, start_ms = beats.get(run.run_id), round((record.start_time or now_ms / 1000) * 1000)
        if beat is not None:
            is_dead, silent_ms = beat.is_gone or now_ms - beat.at_ms > lease_ms, now_ms - beat.at_ms
        else:
            # A run that just took its last beat back still has to write that it succeeded: its events are fresh.
            events = instance.get_records_for_run(run.run_id, limit=1, ascending=False).records
            silent_ms = now_ms - max([start_ms, *(round(event.timestamp * 1000) for event in events)])
            is_dead = lane_of(run) is not None and silent_ms > 2 * lease_ms
        if is_dead:
            last = QuarantineRecords(opened.ledger).last_words(run.run_id)
            words = f" ({last})" if last else ""
            instance.report_run_failed(
                run,
                f"nothing was heard of this run for {silent_ms / 1000:.0f} s: its process is gone{words}. What it had "
                "begun is done by the next run, once.",
            )
            found.append(run.run_id)
    started = {record.dagster_run.run_id for record in records}
    old = [run_id for run_id, beat in beats.items() if run_id not in started and now_ms - beat.at_ms > lease_ms]
    for run_id in [*found, *old]:
        heard.end_beats(run_id)
    return found


def _quietly(say: Callable[[], None]) -> None:
    try:
        say()
    except LedgerError as error:
        # The next beat may be heard; a ledger that stays away fails the run's work itself.
        logging.getLogger(__name__).warning("a sign of life was not heard: %s", error)


@contextmanager
def opening(pipeline: PipelineResource, run_id: str, *, series: bool = False) -> Iterator[App]:
    """The open pipeline, closed at the end; while the block runs, the run says that it is alive.

    Args:
        pipeline: the resource.
        run_id: of the run that opens it.
        series: the run derives: rules are read, and the archive must take what is made.

    Raises:
        dagster.Failure: settings or a file that they name cannot be used; a retry would not help.
    """
    try:
        opened = pipeline.open(series=series)
    except (SettingsError, ConfigError) as error:
        raise dg.Failure(description=str(error), allow_retries=False) from None
    with opened, beating(opened, run_id):
        yield opened


#: Some ticks without work, on a busy machine too: nothing lands, and the next tick with work starts another run.
IDLE_SECONDS: Final = 20.0
_POLL_SECONDS: Final = 0.25
Reports = dict[str, HourReport]


@dataclass(frozen=True, slots=True)
class Stay:
    """For how long a run stays, and what it says meanwhile.

    Attributes:
        until_monotonic: no job is begun after this `time.monotonic()`.
        say: told the reports of what was done so far, at most every `say_seconds`.
        idle_seconds: the run ends when it had no work for so long.
        is_relieved: another run has taken its turn.
    """

    until_monotonic: float
    say: Callable[[Reports], None]
    say_seconds: float = 10.0
    idle_seconds: float = IDLE_SECONDS
    is_relieved: Callable[[], bool] = lambda: False
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep


def stay(
    due_hours: Callable[[], dict[str, int]], run: Callable[[Sequence[str]], Reports], reports: Reports, stay: Stay
) -> Reports:
    """Run hours again as their jobs become due.

    Ends when the time is over, when there was nothing to do for a while, when a job failed (so that it is seen), or
    when another run has taken its turn, as one does that also has a later hour.

    Args:
        due_hours: hour -> jobs that the run could take now.
        run: does what is due of some hours.
        reports: of the run's first round, for all its partitions, the only ones that it may touch.
        stay: for how long.

    Returns:
        The last report of each hour, with what all rounds did.
    """
    reports = dict(reports)
    said = worked = stay.clock()
    silent: set[str] = set()
    while not any(report.run.failed for report in reports.values()):
        now = stay.clock()
        if now >= stay.until_monotonic or now - worked >= stay.idle_seconds or stay.is_relieved():
            break
        due = due_hours()
        mine = [hour for hour in reports if hour in due]
        if not mine:
            stay.sleep(_POLL_SECONDS)
            continue
        for hour, report in run(mine).items():
            reports[hour] = replace(report, run=added(reports[hour].run, report.run))
            silent.add(hour)
        worked = stay.clock()
        if worked - said >= stay.say_seconds:
            stay.say({hour: reports[hour] for hour in sorted(silent)})
            said, silent = worked, set()
    return reports


#: Between two looks of a live run, at least; a slow bucket is looked at a fifth of the time at most.
_LOOK_SECONDS: Final = 2.0
_LOOK_SHARE: Final = 4.0


def look_seconds(settings: Settings) -> float:
    """Between two looks: segments wait for others before they are a job, blocks of Pyroscope's are one each."""
    return max(_LOOK_SECONDS, settings.job_age_seconds / 2) if settings.compaction == "own" else _LOOK_SECONDS


@dataclass(slots=True)
class Lookout:
    """Looks for new sources while a live run stays: ticks, five seconds and more apart, would be most of the lag.

    What it saw is the next tick's to tell.

    Attributes:
        opened: what is looked at.
        hours: those of the run; others are the sensor's.
        lane: looks at these shards only.
        every_seconds: so long is between two looks, at least.
    """

    opened: App
    hours: Collection[str]
    lane: Lane | None
    every_seconds: float
    clock: Callable[[], float] = time.monotonic
    next_look: float = 0.0

    def look(self) -> None:
        """Look, unless that was done just now."""
        begun = self.clock()
        if begun < self.next_look:
            return
        ticks.look(self.opened, self.hours, self.lane)
        ended = self.clock()
        self.next_look = ended + max(self.every_seconds, _LOOK_SHARE * (ended - begun))


def added(before: RunCounts, more: RunCounts) -> RunCounts:
    """What two rounds did; what was left or busy is as the second found it."""
    return RunCounts(
        compacted=before.compacted + more.compacted,
        derived=before.derived + more.derived,
        failed=before.failed + more.failed,
        busy=more.busy,
        left=more.left,
        seconds=before.seconds + more.seconds,
        errors=before.errors + more.errors,
    )
