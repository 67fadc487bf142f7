"""Whether there is room, for how long, and what takes it that need not.

Add a check when something grows. Figures are those of the last day, from the ledger; only what lies in folders can be
compared with the room that is left.
"""

import shutil
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Final

from pyro_assets.ledger.ledger import Ledger
from pyro_assets.pipeline.findings import Finding, Installation
from pyro_assets.pipeline.merging import hours_to_merge
from pyro_assets.pipeline.orphans import orphaned_blocks
from pyro_assets.storage.bucket import open_bucket, place_of
from pyro_assets.storage.keys import HOUR_MS, hour_of

_FREE_BYTES: Final = 1 << 30
_FREE_SHARE: Final = 0.05
_DAY_MS: Final = 24 * HOUR_MS
#: Less room than for so many days is a reason to act.
_SHORT_DAYS: Final = 14.0
_MANY_HOURS: Final = 24
_MANY_ORPHANS: Final = 1_000
_MIB: Final = 2**20


def check_disk(it: Installation) -> Iterator[Finding]:
    """Room for archive, ledger and Dagster, where they lie in folders."""
    folders = {}
    for name, place in (("archive", place_of(it.archive_url)), ("ledger", _ledger_folder(it.ledger_url))):
        if place.startswith("file:"):
            folders[name] = Path(place.removeprefix("file:"))
    if it.dagster_home is not None:
        folders["Dagster"] = it.dagster_home
    for name, folder in folders.items():
        there = next(path for path in (folder, *folder.parents) if path.exists())
        usage = shutil.disk_usage(there)
        text = f"{name}: {usage.free / 2**30:,.1f} GiB of {usage.total / 2**30:,.1f} GiB free at {there}"
        if usage.free < max(_FREE_BYTES, _FREE_SHARE * usage.total):
            yield Finding(
                "disk", "warning", text, "make room, or move it: a full disk stops the work (nothing is lost)"
            )
        else:
            yield Finding("disk", "ok", text)


def _ledger_folder(url: str) -> str:
    path = url.removeprefix("sqlite:///") if url.startswith("sqlite:") else url
    return "" if "://" in path else f"file:{Path(path).absolute().parent}"


def check_growth(it: Installation) -> Iterator[Finding]:
    """What a day adds to archive and ledger, and how long there is room for it."""
    ledger = Ledger.open(it.ledger_url)
    try:
        # The running hour is what a new installation has.
        day = ledger.growth(hour_of(it.now_ms - _DAY_MS + HOUR_MS), hour_of(it.now_ms + HOUR_MS))
    finally:
        ledger.close()
    if not day.sources:
        return
    text = (
        f"the last 24 hours, with the running one, added {day.sources:,} sources, "
        f"{day.block_bytes / _MIB:,.1f} MiB of blocks and {day.series_bytes / _MIB:,.1f} MiB of series"
    )
    place = place_of(it.archive_url)
    added = day.block_bytes + day.series_bytes
    if not place.startswith("file:") or not added:
        yield Finding("growth", "ok", text)
        return
    folder = Path(place.removeprefix("file:"))
    free = shutil.disk_usage(next(path for path in (folder, *folder.parents) if path.exists())).free
    days = free / added
    text += f"; at that pace the archive's disk has room for {days:,.0f} days"
    if days < _SHORT_DAYS:
        remedy = "make room, or say how long blocks and series are kept: `pyro-assets retention` lists what would go"
        yield Finding("growth", "warning", text, remedy)
    else:
        yield Finding("growth", "ok", text)


def check_upkeep(it: Installation) -> Iterator[Finding]:
    """What upkeep should have done away with."""
    archive = open_bucket(it.archive_url, True)
    ledger = Ledger.open(it.ledger_url)
    try:
        unmerged = len(hours_to_merge(ledger, it.now_ms, it.settings().settle_ms))
        # Of a day, until an hour ago: a job may be between its blocks and its record.
        found = orphaned_blocks(archive, ledger, it.now_ms, it.now_ms - HOUR_MS, _DAY_MS)
        orphans = list(islice(found, _MANY_ORPHANS))
        damaged = ledger.damaged()
    finally:
        ledger.close()
    if damaged:
        text = f"{len(damaged):,} objects of the archive changed or vanished, {damaged[0].key} first"
        remedy = "`pyro-assets verify --archive --repair` puts back what can be put back; restore the rest from a copy"
        yield Finding("upkeep", "problem", text, remedy)
    if unmerged > _MANY_HOURS:
        text = f"files of series of {unmerged:,} hours are not merged: each hour has one per job"
        remedy = "let the schedule merge_every_hour run, or call `pyro-assets retention --apply` every day"
        yield Finding("upkeep", "warning", text, remedy)
    else:
        yield Finding("upkeep", "ok", f"{unmerged:,} hours wait for their files of series to be merged")
    left = [*archive.unfinished(it.now_ms - _DAY_MS), *orphans]
    if left:
        size = sum(item.size_bytes for item in left) / _MIB
        text = f"{len(left):,} objects ({size:,.1f} MiB) were left by writers that died; nobody reads them"
        remedy = "remove them by `pyro-assets retention --keep-temporary-days 1`, then with --apply"
        yield Finding("upkeep", "warning", text, remedy)
