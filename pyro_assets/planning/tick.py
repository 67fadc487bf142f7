"""Ticks: look for new sources, record them, plan jobs, say what is due.

Here, too:
* how long segments live beside a Pyroscope that compacts and deletes them, and what it deleted before we came.

Add what must happen every few seconds here; its cost must not grow with what is finished.
"""

import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby, islice
from typing import Final

from pyro_assets.errors import StorageUnavailable
from pyro_assets.ledger.database import Ledger
from pyro_assets.ledger.hours import HourRecords
from pyro_assets.ledger.records import Lane
from pyro_assets.planning.due import DueJobs
from pyro_assets.planning.listing import Discovery, FoundBlock, Window, blocks_among, discover
from pyro_assets.planning.modes import Modes
from pyro_assets.planning.plan import Planner
from pyro_assets.planning.policy import Policy, kind_of_mode
from pyro_assets.planning.report import HourArrivals, TickReport
from pyro_assets.planning.sources import SourceRecords
from pyro_assets.planning.verdicts import keep_lost
from pyro_assets.settings import KINDS, Settings
from pyro_assets.storage.interface import Bucket, ObjectInfo, ReadOnlyBucket
from pyro_assets.storage.keys import ANONYMOUS, BLOCKS, SEGMENTS
from pyro_assets.storage.ulid import first_ulid, is_ulid, ulid_time_ms

#: Segments that live shorter than this cannot outlast an outage of ours.
SHORT_LIFE_MS: Final = 6 * 3_600_000
#: A block is at most so much older than the first segment that is left where nothing was deleted.
_SETTLE_MS: Final = 60_000
_PAGE_KEYS: Final = 100


@dataclass(frozen=True, slots=True)
class Lifetime:
    """How long segments live.

    Attributes:
        compacts: there are blocks, so a Pyroscope compacts this bucket.
        deletes: blocks are there whose segments are not.
        life_ms: age of the oldest segment that is left; where some are deleted, about how long they live. None
            without any segment.
    """

    compacts: bool = False
    deletes: bool = False
    life_ms: int | None = None

    @property
    def is_short(self) -> bool:
        """Whether an outage of ours loses segments."""
        return self.deletes and (self.life_ms is None or self.life_ms < SHORT_LIFE_MS)

    @property
    def sentence(self) -> str:
        """What was found, "" where nobody compacts."""
        if not self.compacts:
            return ""
        if self.life_ms is None:
            return "a Pyroscope compacts this bucket, and no segment is left"
        minutes = f"{self.life_ms / 60_000:,.0f} minutes"
        if not self.deletes:
            return f"a Pyroscope compacts this bucket, and deleted no segment so far (the oldest is {minutes} old)"
        return f"a Pyroscope compacts this bucket and deletes segments about {minutes} after they were created"


def measure(source: ReadOnlyBucket, now_ms: int, max_shards: int | None = None) -> Lifetime:
    """Looks at the oldest segment and block of each shard.

    Args:
        source: the bucket.
        now_ms: Unix milliseconds.
        max_shards: looks at no more; None for all.

    Raises:
        StorageUnavailable: the bucket does not answer.
    """
    shards = source.list_folder(f"{BLOCKS}/").folders
    deletes, ages = False, []
    for shard in islice(shards, max_shards):
        segment = _first_ms(source.list_after(f"{SEGMENTS}/{shard}/{ANONYMOUS}/", "", _PAGE_KEYS))
        block = _first_ms(source.list_after(f"{BLOCKS}/{shard}/", "", _PAGE_KEYS))
        if segment is not None:
            ages.append(now_ms - segment)
        deletes |= block is not None and (segment is None or block < segment - _SETTLE_MS)
    return Lifetime(bool(shards), deletes, max(ages, default=None))


def deleted_unseen(
    source: ReadOnlyBucket, shard: int, after_ulid: str, before_ulid: str, max_blocks: int = 1000
) -> list[FoundBlock]:
    """Blocks of any tenant whose first segment was created between two segments, both ends excluded.

    A block has the time of its first segment: where that lies in a gap of the listing, it was deleted before it was
    ever listed.

    Raises:
        StorageUnavailable: the bucket does not answer.
    """
    found: list[FoundBlock] = []
    first = first_ulid(ulid_time_ms(after_ulid) + 1)
    last = first_ulid(ulid_time_ms(before_ulid))
    for tenant in source.list_folder(f"{BLOCKS}/{shard}/").folders:
        folder = f"{BLOCKS}/{shard}/{tenant}/"
        listed = source.list_after(folder, folder + first, max_blocks)
        found += blocks_among(item for item in listed if item.key < folder + last)
    return found


def _first_ms(listed: Sequence[ObjectInfo]) -> int | None:
    return next((found.block.created_ms for found in blocks_among(listed)), None)


#: Where nothing of so long a time before the first segment is left, something may have been deleted.
_GAP_MS: Final = 60_000
_UNSEEN: Final = "segments of this block were deleted before they were listed"


def policy_of(settings: Settings) -> Policy:
    """The planner's rules among the settings."""
    return Policy(
        mode=settings.compaction,
        dedup=settings.dedup,
        max_blocks=settings.job_blocks,
        max_bytes=settings.max_bytes,
        max_age_ms=settings.max_age_ms,
        start_ms=settings.start_ms,
        future_ms=settings.future_ms,
    )


def lanes_of(settings: Settings) -> list[Lane]:
    """The lanes, none where there is a single one."""
    return [Lane(index, settings.lanes) for index in range(settings.lanes)] if settings.lanes > 1 else []


def tick(
    source: ReadOnlyBucket,
    ledger: Ledger,
    settings: Settings,
    now_ms: int,
    archive: Bucket | None = None,
    since_ms: int | None = None,
) -> TickReport:
    """One tick; see `operations.ticks`."""
    begun = time.perf_counter()
    policy = Modes(ledger).enter_mode(policy_of(settings), now_ms)
    window = Window(now_ms, settings.window_ms, settings.list_page_keys, settings.tick_keys)
    cursors = SourceRecords(ledger).cursors()
    found = discover(source, kind_of_mode(settings.compaction), cursors, window)
    if settings.compaction == "own":
        _look_into_gaps(source, ledger, policy, cursors, found, now_ms, archive)
    recorded = SourceRecords(ledger).record_sources(found.found, found.cursors, now_ms, policy, since_ms=since_ms)
    planned = Planner(ledger).plan(now_ms, policy)
    if recorded.new:
        HourRecords(ledger).remember_first_hour(now_ms)
    backlog = DueJobs(ledger).backlog(now_ms, KINDS)
    return TickReport(
        now_ms=now_ms,
        arrivals=_arrivals(recorded.new + recorded.lately),
        planned_jobs=planned,
        due=backlog.due,
        lanes=tuple(DueJobs(ledger).due_hours(now_ms, KINDS, lane) for lane in lanes_of(settings)),
        leased_jobs=backlog.leased,
        waiting_sources=backlog.waiting,
        unfinished_jobs=backlog.unfinished,
        oldest_pending_ms=backlog.oldest_ms,
        out_of_range=recorded.out_of_range,
        not_block_keys=found.not_block_keys,
        not_block_examples=tuple(found.examples),
        truncated=found.truncated,
        failures=tuple(found.failures),
        source_problem=found.missing,
        seconds=time.perf_counter() - begun,
    )


def look(
    source: ReadOnlyBucket,
    ledger: Ledger,
    settings: Settings,
    hours: Collection[str],
    now_ms: int,
    lane: Lane | None = None,
) -> int:
    """Looks between two ticks for what appeared in some hours, records it and plans jobs; what else appeared waits.

    No cursor moves, so that the next tick looks at all of it and tells what landed. A listing that fails is the next
    tick's to tell, too.

    Args:
        source: the bucket.
        ledger: takes what is new.
        settings: of this process.
        hours: the only ones that are touched.
        now_ms: Unix milliseconds.
        lane: looks at these shards only.

    Returns:
        The number of sources seen for the first time.
    """
    policy = Modes(ledger).enter_mode(policy_of(settings), now_ms)
    window = Window(now_ms, settings.window_ms, settings.list_page_keys, settings.tick_keys, lane=lane)
    found = discover(source, kind_of_mode(settings.compaction), SourceRecords(ledger).cursors(), window)
    mine = [item for item in found.found if item.block.hour in hours]
    new = SourceRecords(ledger).record_sources(mine, {}, now_ms, policy).new
    if new:
        Planner(ledger).plan(now_ms, policy)
    return len(new)


def _look_into_gaps(
    source: ReadOnlyBucket,
    ledger: Ledger,
    policy: Policy,
    cursors: Mapping[str, str],
    found: Discovery,
    now_ms: int,
    archive: Bucket | None,
) -> None:
    """Finds segments that came and were deleted while nobody ticked: a Pyroscope's blocks were made of them.

    Costs nothing while the segment is there that a cursor names.
    """
    firsts: dict[int, str] = {}
    for item in found.found:
        firsts.setdefault(item.block.shard, item.block.ulid)
    for shard, first in firsts.items():
        folder = f"{SEGMENTS}/{shard}/{ANONYMOUS}/"
        cursor = cursors.get(folder, "")
        if not is_ulid(cursor) or ulid_time_ms(first) - ulid_time_ms(cursor) < _GAP_MS:
            continue
        try:
            blocks = deleted_unseen(source, shard, cursor, first)
            if archive is not None:
                keep_lost(archive, blocks, _UNSEEN, now_ms)
        except StorageUnavailable as error:
            found.failures.append(str(error))
            # The next tick finds the gap again.
            found.cursors.pop(folder, None)
            continue
        if SourceRecords(ledger).record_lost(blocks, _UNSEEN, now_ms, policy):
            found.failures.append(
                f"segments of shard {shard} were deleted before they were listed: {len(blocks)} blocks were made of "
                "them; choose observe as the mode of compaction, then `pyro-assets quarantine retry` recovers these"
            )


def _arrivals(new: tuple[FoundBlock, ...]) -> dict[str, HourArrivals]:
    arrivals = {}
    ordered = sorted(new, key=lambda item: item.block.ulid)
    for hour, group in groupby(ordered, lambda item: item.block.hour):
        items = list(group)
        arrivals[hour] = HourArrivals(
            objects=len(items),
            size_bytes=sum(item.size_bytes for item in items),
            shards=len({item.block.shard for item in items}),
            oldest_created_ms=items[0].block.created_ms,
            newest_created_ms=items[-1].block.created_ms,
        )
    return arrivals
