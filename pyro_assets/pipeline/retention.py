"""Removes what is old enough, where a person said how long things are kept: blocks, series, rows, temporary files.

A dry run lists what would go and changes nothing. The order for each hour is: record in the archive -> mark in the
ledger -> objects go -> the hour is done; a crash in between is repaired by the next call. Commit records, receipts and
rules stay for ever: they are small, and say what must not be done again. The source bucket is not even known here.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Final, Literal

from pyro_assets.errors import SettingsError
from pyro_assets.ledger.ledger import Ledger
from pyro_assets.pipeline.merging import remove_older
from pyro_assets.pipeline.orphans import orphaned_blocks
from pyro_assets.pipeline.retention_record import RetentionRecord, add_to_record
from pyro_assets.storage.interface import Bucket
from pyro_assets.storage.keys import HOUR_MS, hour_of

DAY_MS: Final = 24 * HOUR_MS
What = Literal["blocks", "series", "ledger", "temporary"]


@dataclass(frozen=True, slots=True)
class Keep:
    """How many days things are kept; 0: for ever.

    Attributes:
        blocks: level-1 blocks; series: their files of series; ledger: the ledger's rows, all by the hour of creation.
        temporary: what crashed writers left in the archive: unfinished files, and blocks that no record names.
    """

    blocks: float = 0.0
    series: float = 0.0
    ledger: float = 0.0
    temporary: float = 0.0

    def __post_init__(self) -> None:
        for what in ("blocks", "series", "ledger", "temporary"):
            days = getattr(self, what)
            if days and days < 1:
                raise SettingsError(
                    f"{what} would be kept for {days:g} days; keep them for a day or more, or for ever (0)"
                )

    @property
    def anything_goes(self) -> bool:
        """Whether anything is ever removed."""
        return bool(self.blocks or self.series or self.ledger or self.temporary)


@dataclass(frozen=True, slots=True)
class Expired:
    """Things of one kind and hour that go; `hour` is "" for what belongs to none.

    Attributes:
        objects: that are removed; rows: of sources and jobs; size_bytes: of the objects.
    """

    what: What
    hour: str
    objects: int
    size_bytes: int
    rows: int = 0


@dataclass(slots=True)
class RetentionReport:
    """What went (or, of a dry run, would go).

    Attributes:
        expired: by kind and hour.
        kept: things that are old enough and stay, in words -> how many hours or jobs.
        left: hours that there was no time for.
        seconds: how long it took.
    """

    expired: list[Expired] = field(default_factory=list)
    kept: dict[str, int] = field(default_factory=dict)
    left: int = 0
    seconds: float = 0.0

    def keep(self, what: What, why: str, count: int = 1) -> None:
        """Counts what stays."""
        text = f"{what}: {why}"
        self.kept[text] = self.kept.get(text, 0) + count


def retain(
    archive: Bucket,
    ledger: Ledger,
    keep: Keep,
    scopes: Mapping[str, int],
    now_ms: int,
    *,
    apply: bool,
    deadline_monotonic: float | None = None,
    progress: Callable[[Expired], None] = lambda _: None,
) -> RetentionReport:
    """Removes what is older than a person wants to keep, oldest first.

    Args:
        archive: the one that belongs to the ledger.
        ledger: knows what is done and sent.
        keep: for how long.
        scopes: receiver -> the time from which on it gets samples, Unix ms: what one lacks stays.
        now_ms: Unix milliseconds.
        apply: False only lists.
        deadline_monotonic: no hour is begun after this `time.monotonic()`.
        progress: called after each hour and kind.

    Raises:
        StorageError: the archive does not do what was asked; what was begun is finished by the next call.
        LedgerUnavailable: the same.
    """
    begun = time.perf_counter()
    report = RetentionReport()
    it = _Retention(archive, ledger, scopes, now_ms, apply, report)
    for step in it.steps(keep):
        if deadline_monotonic is not None and time.monotonic() >= deadline_monotonic:
            report.left += 1
            continue
        for expired in step():
            report.expired.append(expired)
            progress(expired)
    report.seconds = time.perf_counter() - begun
    return report


@dataclass(slots=True)
class _Retention:
    archive: Bucket
    ledger: Ledger
    scopes: Mapping[str, int]
    now_ms: int
    apply: bool
    report: RetentionReport

    def steps(self, keep: Keep) -> Iterator[Callable[[], Iterator[Expired]]]:
        """One for each kind and hour."""
        states = self.ledger.upkeep_states()

        def hours(days: float) -> list[str]:
            return self.ledger.hours_before(hour_of(self.now_ms - round(days * DAY_MS))) if days else []

        def is_left(hour: str, done: str) -> bool:
            return hour not in states or getattr(states[hour], done) is None

        blocks = [hour for hour in hours(keep.blocks) if is_left(hour, "blocks_removed_ms")]
        series = [hour for hour in hours(keep.series) if is_left(hour, "series_removed_ms")]
        # An hour that was collapsed has jobs again when late sources came.
        for step, todo in ((self._blocks, blocks), (self._series, series), (self._rows, hours(keep.ledger))):
            yield from (partial(step, hour) for hour in todo)
        if keep.temporary:
            yield partial(self._temporary, self.now_ms - round(keep.temporary * DAY_MS))

    def _blocks(self, hour: str) -> Iterator[Expired]:
        found = self.ledger.expired_blocks(hour, self.now_ms, self.scopes)
        for why, count in found.kept.items():
            self.report.keep("blocks", why, count)
        if self.apply:
            if found.jobs:
                add_to_record(self.archive, RetentionRecord(hour, blocks=frozenset(found.jobs)))
                # What was marked by a call that was interrupted goes as well.
                self.archive.remove(self.ledger.mark_blocks_removed(hour, self.now_ms, self.scopes))
            self.ledger.finish_blocks(hour, self.now_ms)
        if found.keys:
            yield Expired("blocks", hour, len(found.keys), found.size_bytes)

    def _series(self, hour: str) -> Iterator[Expired]:
        found = self.ledger.expired_series(hour, self.now_ms, self.scopes)
        if found.kept:
            self.report.keep("series", found.kept)
            return
        if self.apply:
            number = found.number
            if found.keys:
                more = RetentionRecord(hour, series=frozenset(found.jobs), series_number=found.number + 1)
                add_to_record(self.archive, more)
                marked = self.ledger.mark_series_removed(found, self.now_ms, self.scopes)
                if marked is None:
                    self.report.keep("series", "a job of the hour was done meanwhile")
                    return
                number = marked
            remove_older(self.archive, hour, number, set())
            self.ledger.finish_series(hour, self.now_ms)
        if found.keys:
            yield Expired("series", hour, len(found.keys), found.size_bytes)

    def _rows(self, hour: str) -> Iterator[Expired]:
        found = self.ledger.expired_rows(hour, self.now_ms, self.scopes)
        if found.kept:
            self.report.keep("ledger", found.kept)
        elif not self.apply or self.ledger.collapse(hour, self.now_ms, self.scopes):
            yield Expired("ledger", hour, 0, 0, rows=found.sources + found.jobs)

    def _temporary(self, before_ms: int) -> Iterator[Expired]:
        left = self.archive.unfinished(before_ms)
        for what in (left, list(orphaned_blocks(self.archive, self.ledger, self.now_ms, before_ms))):
            if what and self.apply:
                self.archive.remove([item.key for item in what])
            if what:
                yield Expired("temporary", "", len(what), sum(item.size_bytes for item in what))
