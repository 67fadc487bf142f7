"""How a live run stays: it does what is due, then what ticks plan meanwhile, until its time is over.

The start of a run is two to three seconds of the lag, every time, and its events are a hundred kilobytes; a run that
stays for a while pays that once. Decided here without Dagster; what a job is stands in `pipeline`.
"""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Final

from pyro_assets.pipeline.reports import HourReport, RunCounts

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
    """

    until_monotonic: float
    say: Callable[[Reports], None]
    say_seconds: float = 10.0
    idle_seconds: float = IDLE_SECONDS
    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep


def stay(
    due_hours: Callable[[], dict[str, int]], run: Callable[[Sequence[str]], Reports], reports: Reports, stay: Stay
) -> Reports:
    """Run hours again as their jobs become due.

    Ends when the time is over, when there was nothing to do for a while, when a job failed (so that it is seen), or
    when a later hour has work, which needs a run of its own.

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
        if now >= stay.until_monotonic or now - worked >= stay.idle_seconds:
            break
        due = due_hours()
        if any(hour > max(reports) for hour in due):
            break
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
