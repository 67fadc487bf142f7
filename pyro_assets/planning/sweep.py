"""Looking again where ticks no longer look: hours before a run, a span on demand, or the whole bucket in small steps.

Add another way to find what was missed here. What is found is recorded and planned as a tick does it, so looking
twice, or beside a tick, finds nothing twice.
"""

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final

from pyro_assets.errors import StorageUnavailable
from pyro_assets.ledger.database import Ledger
from pyro_assets.ledger.hours import HourRecords
from pyro_assets.planning.listed_hours import ListedHours
from pyro_assets.planning.listing import Discovery, FoundBlock, folders_of, list_span
from pyro_assets.planning.modes import Modes
from pyro_assets.planning.plan import Planner
from pyro_assets.planning.policy import Policy, kind_of_mode
from pyro_assets.planning.sources import SourceRecords
from pyro_assets.planning.spans import hours_over, over_since_ms, spans
from pyro_assets.planning.tick import policy_of
from pyro_assets.settings import Settings
from pyro_assets.storage.interface import ReadOnlyBucket
from pyro_assets.storage.keys import HOUR_MS, hour_start_ms
from pyro_assets.storage.ulid import first_ulid

#: The purpose of the sweep's cursors.
SWEEP: Final = "sweep"
#: Cursor of a folder that the sweep is through with: the greatest ULID.
_DONE: Final = "7ZZZZZZZZZZZZZZZZZZZZZZZZZ"
_LAST_MS: Final = 2**48 - 1
#: A listing of hours that was interrupted is gone on with for so long; what it saw before is too old then.
_RESUME_MS: Final = HOUR_MS


@dataclass(slots=True)
class RescanReport:
    """What a rescan or a step of a sweep saw.

    Attributes:
        listed: keys in the listings.
        new: hour -> sources that were not known.
        out_of_range: new sources outside of the partitions.
        planned_jobs: jobs made of all that waited.
        finished: nothing of the span (the bucket) is left to be listed.
        failures: one sentence for each listing that failed.
        seconds: how long it took.
    """

    listed: int = 0
    new: dict[str, int] = field(default_factory=dict)
    out_of_range: int = 0
    planned_jobs: int = 0
    finished: bool = False
    failures: list[str] = field(default_factory=list)
    seconds: float = 0.0


def rescan(
    source: ReadOnlyBucket,
    ledger: Ledger,
    settings: Settings,
    begin_ms: int,
    end_ms: int,
    now_ms: int,
    progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> RescanReport:
    """Lists all that was created in [begin_ms, end_ms), records what is new and plans jobs of it.

    Args:
        source: the bucket.
        ledger: where to record.
        settings: mode and rules of planning.
        begin_ms: the first millisecond of creation, as keys say.
        end_ms: the first that is not listed any more.
        now_ms: Unix milliseconds.
        progress: called with the number of folders that are done, and of all.

    Raises:
        LedgerUnavailable: what was recorded until then stays.
        SettingsError: the mode cannot change yet.
    """
    begun = time.perf_counter()
    report = RescanReport()
    policy = Modes(ledger).enter_mode(policy_of(settings), now_ms)
    _list(source, ledger, settings, policy, max(begin_ms, 0), min(end_ms, _LAST_MS), now_ms, report, progress)
    if not report.failures:
        whole = [hour for hour in HourRecords(ledger).hours() if begin_ms <= hour_start_ms(hour) <= end_ms - HOUR_MS]
        _note_listed(ledger, settings, whole, now_ms)
    return _finish(ledger, policy, now_ms, begun, report, finished=True)


def list_hours(
    source: ReadOnlyBucket,
    ledger: Ledger,
    settings: Settings,
    hours: Sequence[str],
    now_ms: int,
    deadline_monotonic: float | None = None,
) -> RescanReport:
    """Lists all that was created in these hours, as `rescan` does; interrupted, it goes on where it was.

    Costs a request for each folder and one per thousand keys. Hours that are over count as listed then.

    Args:
        source: the bucket.
        ledger: where to record.
        settings: mode and rules of planning.
        hours: partition keys.
        now_ms: Unix milliseconds.
        deadline_monotonic: no page is asked for after this `time.monotonic()`; the next call goes on.

    Raises:
        LedgerUnavailable: what was recorded until then stays.
        SettingsError: the mode cannot change yet.
    """
    begun = time.perf_counter()
    report = RescanReport()
    policy = Modes(ledger).enter_mode(policy_of(settings), now_ms)
    finished = True
    for first, last in spans(hours):
        begin_ms, end_ms = hour_start_ms(first), hour_start_ms(last) + HOUR_MS
        # Cursors of a listing are called after its first hour: a longer one over the same hours may use them, too.
        over_ms = over_since_ms(last, settings.settle_ms)
        purpose = first if over_ms <= now_ms else ""
        began_ms = ListedHours(ledger).listing_began(purpose, max(now_ms - _RESUME_MS, over_ms)) if purpose else None
        failures = len(report.failures)
        through = _list(
            source, ledger, settings, policy, begin_ms, end_ms, now_ms, report, _silent, purpose, deadline_monotonic
        )
        if through and len(report.failures) == failures:
            of_span = [hour for hour in hours if first <= hour <= last]
            _note_listed(ledger, settings, of_span, now_ms if began_ms is None else began_ms)
            if purpose:
                SourceRecords(ledger).drop_cursors(purpose)
        finished &= through
    return _finish(ledger, policy, now_ms, begun, report, finished=finished)


def _silent(_done: int, _total: int) -> None:
    """Tells nobody how far a listing is."""


def _list(
    source: ReadOnlyBucket,
    ledger: Ledger,
    settings: Settings,
    policy: Policy,
    begin_ms: int,
    end_ms: int,
    now_ms: int,
    report: RescanReport,
    progress: Callable[[int, int], None],
    purpose: str = "",
    deadline_monotonic: float | None = None,
) -> bool:
    """Lists [begin_ms, end_ms) in all folders; with a purpose, from its cursors on. False where time was over."""
    discovery = Discovery()
    folders = list(folders_of(source, kind_of_mode(settings.compaction), SourceRecords(ledger).cursors(), discovery))
    report.failures += [*discovery.failures, *filter(None, [discovery.missing])]
    before, last = _before(begin_ms), _before(end_ms)
    came = SourceRecords(ledger).cursors(purpose) if purpose else {}
    folders = [folder for folder in folders if came.get(folder, "") < last]
    for done, folder in enumerate(folders, 1):
        try:
            for page in list_span(
                source, folder, max(before, came.get(folder, "")), first_ulid(end_ms), settings.list_page_keys
            ):
                report.listed += page.keys
                ulid = last if page.finished else page.last_ulid
                _record(ledger, policy, page.found, {folder: ulid} if purpose and ulid else {}, now_ms, report, purpose)
                if deadline_monotonic is not None and time.monotonic() >= deadline_monotonic:
                    return False
        except StorageUnavailable as error:
            report.failures.append(str(error))
        progress(done, len(folders))
    return True


def _before(time_ms: int) -> str:
    """The greatest ULID from before a millisecond, which is in no bucket: a listing after it begins with that time."""
    return first_ulid(time_ms - 1)[:10] + "Z" * 16 if time_ms else ""


def _note_listed(ledger: Ledger, settings: Settings, hours: Sequence[str], began_ms: int) -> None:
    ListedHours(ledger).note_listed(hours_over(hours, settings.settle_ms, began_ms), began_ms)


def sweep(source: ReadOnlyBucket, ledger: Ledger, settings: Settings, now_ms: int, max_keys: int) -> RescanReport:
    """Goes on listing the whole bucket behind the ticks' cursors, for at most about `max_keys` keys.

    Where it came to is in the ledger, so that a schedule may call this as often as it likes, and any process may go on.
    A round that is through is followed by the next one with the next call.

    Returns:
        What this step saw; `finished` when a round is through.

    Raises:
        LedgerUnavailable: what was recorded until then stays.
        SettingsError: the mode cannot change yet.
    """
    begun = time.perf_counter()
    report = RescanReport()
    policy = Modes(ledger).enter_mode(policy_of(settings), now_ms)
    discovery = Discovery()
    live, swept = SourceRecords(ledger).cursors(), SourceRecords(ledger).cursors(SWEEP)
    folders = sorted(folders_of(source, kind_of_mode(settings.compaction), live, discovery))
    # Without a cursor the ticks have not been there, and list all of it themselves.
    left = [folder for folder in folders if folder in live and swept.get(folder) != _DONE]
    for folder in left:
        if report.listed >= max_keys:
            break
        try:
            for page in list_span(source, folder, swept.get(folder, ""), live[folder], settings.list_page_keys):
                report.listed += page.keys
                swept[folder] = _DONE if page.finished else page.last_ulid or swept.get(folder, "")
                moved = {folder: swept[folder]} if swept[folder] else {}
                _record(ledger, policy, page.found, moved, now_ms, report, SWEEP)
                if report.listed >= max_keys:
                    break
        except StorageUnavailable as error:
            discovery.failures.append(str(error))
    report.failures = discovery.failures
    finished = not report.failures and all(swept.get(folder) == _DONE for folder in left)
    if finished:
        SourceRecords(ledger).drop_cursors(SWEEP)
    return _finish(ledger, policy, now_ms, begun, report, finished=finished)


def _record(
    ledger: Ledger,
    policy: Policy,
    found: list[FoundBlock],
    moved: dict[str, str],
    now_ms: int,
    report: RescanReport,
    purpose: str,
) -> None:
    recorded = SourceRecords(ledger).record_sources(found, moved, now_ms, policy, purpose)
    report.out_of_range += recorded.out_of_range
    for hour, count in Counter(item.block.hour for item in recorded.new).items():
        report.new[hour] = report.new.get(hour, 0) + count


def _finish(
    ledger: Ledger,
    policy: Policy,
    now_ms: int,
    begun: float,
    report: RescanReport,
    *,
    finished: bool,
) -> RescanReport:
    report.new = dict(sorted(report.new.items()))
    report.planned_jobs = Planner(ledger).plan(now_ms, policy)
    report.finished = finished and not report.failures
    report.seconds = time.perf_counter() - begun
    return report
