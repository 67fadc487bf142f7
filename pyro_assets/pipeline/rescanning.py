"""Looking again where ticks no longer look: a span on demand, or the whole bucket in small steps.

Add another way to find what was missed here. What is found is recorded and planned as a tick does it, so looking
twice, or beside a tick, finds nothing twice.
"""

import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Final

from pyro_assets.errors import StorageUnavailable
from pyro_assets.ledger.ledger import Ledger, Policy
from pyro_assets.ledger.policy import kind_of_mode
from pyro_assets.pipeline.settings import Settings
from pyro_assets.pipeline.ticking import policy_of
from pyro_assets.storage.discovery import Discovery, FoundBlock, folders_of
from pyro_assets.storage.interface import ReadOnlyBucket
from pyro_assets.storage.rescan import list_span
from pyro_assets.storage.ulid import first_ulid

#: The purpose of the sweep's cursors.
SWEEP: Final = "sweep"
#: Cursor of a folder that the sweep is through with: the greatest ULID.
_DONE: Final = "7ZZZZZZZZZZZZZZZZZZZZZZZZZ"
_LAST_MS: Final = 2**48 - 1


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
    policy = ledger.enter_mode(policy_of(settings), now_ms)
    discovery = Discovery()
    folders = list(folders_of(source, kind_of_mode(settings.mode), ledger.cursors(), discovery))
    begin_ms, end_ms = max(begin_ms, 0), min(end_ms, _LAST_MS)
    # The ULID before the first one of that millisecond is in no bucket: listing begins after it.
    after = first_ulid(begin_ms - 1)[:10] + "Z" * 16 if begin_ms else ""
    for done, folder in enumerate(folders, 1):
        try:
            for page in list_span(source, folder, after, first_ulid(end_ms), settings.list_page_keys):
                report.listed += page.keys
                _record(ledger, policy, page.found, {}, now_ms, report)
        except StorageUnavailable as error:
            discovery.failures.append(str(error))
        progress(done, len(folders))
    return _finish(ledger, policy, now_ms, begun, report, discovery, finished=True)


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
    policy = ledger.enter_mode(policy_of(settings), now_ms)
    discovery = Discovery()
    live, swept = ledger.cursors(), ledger.cursors(SWEEP)
    folders = sorted(folders_of(source, kind_of_mode(settings.mode), live, discovery))
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
                _record(ledger, policy, page.found, moved, now_ms, report)
                if report.listed >= max_keys:
                    break
        except StorageUnavailable as error:
            discovery.failures.append(str(error))
    finished = not discovery.failures and all(swept.get(folder) == _DONE for folder in left)
    if finished:
        ledger.drop_cursors(SWEEP)
    return _finish(ledger, policy, now_ms, begun, report, discovery, finished=finished)


def _record(
    ledger: Ledger,
    policy: Policy,
    found: list[FoundBlock],
    moved: dict[str, str],
    now_ms: int,
    report: RescanReport,
) -> None:
    recorded = ledger.record_sources(found, moved, now_ms, policy, SWEEP)
    report.out_of_range += recorded.out_of_range
    for hour, count in Counter(item.block.hour for item in recorded.new).items():
        report.new[hour] = report.new.get(hour, 0) + count


def _finish(
    ledger: Ledger,
    policy: Policy,
    now_ms: int,
    begun: float,
    report: RescanReport,
    discovery: Discovery,
    *,
    finished: bool,
) -> RescanReport:
    report.new = dict(sorted(report.new.items()))
    report.planned_jobs = ledger.plan(now_ms, policy)
    report.failures = discovery.failures
    report.finished = finished and not discovery.failures
    report.seconds = time.perf_counter() - begun
    return report
