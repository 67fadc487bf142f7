"""Ticks: look for new sources, record them, plan jobs, say what is due.

Add what must happen every few seconds here; its cost must not grow with what is finished.
"""

import time
from collections.abc import Mapping
from itertools import groupby
from typing import Final

from pyro_assets.errors import StorageUnavailable
from pyro_assets.ledger.ledger import Lane, Ledger, Policy
from pyro_assets.ledger.policy import kind_of_mode
from pyro_assets.pipeline.lifetimes import deleted_unseen
from pyro_assets.pipeline.reports import HourArrivals, TickReport
from pyro_assets.pipeline.settings import KINDS, Settings
from pyro_assets.pipeline.verdict_records import keep_lost
from pyro_assets.storage.discovery import Discovery, FoundBlock, Window, discover
from pyro_assets.storage.interface import Bucket, ReadOnlyBucket
from pyro_assets.storage.keys import ANONYMOUS, SEGMENTS
from pyro_assets.storage.ulid import is_ulid, ulid_time_ms

#: Where nothing of so long a time before the first segment is left, something may have been deleted.
_GAP_MS: Final = 60_000
_UNSEEN: Final = "segments of this block were deleted before they were listed"


def policy_of(settings: Settings) -> Policy:
    """The planner's rules among the settings."""
    return Policy(
        mode=settings.mode,
        dedup=settings.dedup,
        max_blocks=settings.max_blocks,
        max_bytes=settings.max_bytes,
        max_age_ms=settings.max_age_ms,
        start_ms=settings.start_ms,
        future_ms=settings.future_ms,
    )


def lanes_of(settings: Settings) -> list[Lane]:
    """The lanes, none where there is a single one."""
    return [Lane(index, settings.lanes) for index in range(settings.lanes)] if settings.lanes > 1 else []


def tick(
    source: ReadOnlyBucket, ledger: Ledger, settings: Settings, now_ms: int, archive: Bucket | None = None
) -> TickReport:
    """One tick; see `Pipeline.tick`."""
    begun = time.perf_counter()
    policy = ledger.enter_mode(policy_of(settings), now_ms)
    window = Window(now_ms, settings.window_ms, settings.list_page_keys, settings.tick_keys)
    cursors = ledger.cursors()
    found = discover(source, kind_of_mode(settings.mode), cursors, window)
    if settings.mode == "own":
        _look_into_gaps(source, ledger, policy, cursors, found, now_ms, archive)
    recorded = ledger.record_sources(found.found, found.cursors, now_ms, policy)
    planned = ledger.plan(now_ms, policy)
    backlog = ledger.backlog(now_ms, KINDS)
    return TickReport(
        now_ms=now_ms,
        arrivals=_arrivals(recorded.new),
        planned_jobs=planned,
        due=backlog.due,
        lanes=tuple(ledger.due_hours(now_ms, KINDS, lane) for lane in lanes_of(settings)),
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
        if ledger.record_lost(blocks, _UNSEEN, now_ms, policy):
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
