"""Removes what is old enough, where a person said how long things are kept: blocks, series, rows, temporary files.

Here, too:
* what retention removed of an hour, as an object of the archive: without it a rebuilt ledger would miss objects;
* blocks of the archive that no commit record names: a crash came between them and their record.

A dry run lists what would go and changes nothing. The order for each hour is: record in the archive -> mark in the
ledger -> objects go -> the hour is done; a crash in between is repaired by the next call. Commit records, receipts and
rules stay for ever: they are small, and say what must not be done again. The source bucket is not even known here.
"""

import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from itertools import chain, takewhile
from typing import Final, Literal

from pyro_assets.archive.expire import ExpiryRecords
from pyro_assets.archive.rows import SourceRows
from pyro_assets.archive.table import ArchiveTable, remove_older
from pyro_assets.archive.units import remove_hour
from pyro_assets.errors import SettingsError
from pyro_assets.jobs.record import read_records
from pyro_assets.ledger.database import Ledger
from pyro_assets.ledger.hour_blocks import HourBlockRecords
from pyro_assets.ledger.upkeep import UpkeepRecords
from pyro_assets.planning.listing import FoundBlock, blocks_among
from pyro_assets.storage.interface import Bucket, ObjectInfo, ReadOnlyBucket
from pyro_assets.storage.keys import (
    BLOCKS,
    COMMITS,
    HOUR_MS,
    RETENTION,
    hour_of,
    hour_path,
    retention_key,
)
from pyro_assets.storage.sealed_json import from_bytes, parsing, to_bytes
from pyro_assets.storage.ulid import first_ulid


@dataclass(frozen=True, slots=True)
class RetentionRecord:
    """What was removed of an hour.

    Attributes:
        hour: partition key.
        blocks: jobs whose level-1 blocks are gone.
        series: jobs whose series are gone, but for files with `series_number` or more.
        series_number: files of series with smaller numbers are gone.
    """

    hour: str
    blocks: frozenset[str] = frozenset()
    series: frozenset[str] = frozenset()
    series_number: int = 0

    def to_bytes(self) -> bytes:
        """See `sealed_json.to_bytes`."""
        plain = {
            "hour": self.hour,
            "blocks": sorted(self.blocks),
            "series": sorted(self.series),
            "series_number": self.series_number,
        }
        return to_bytes(plain)


def read_record(archive: ReadOnlyBucket, hour: str) -> RetentionRecord:
    """What was removed of an hour; an empty record where nothing was.

    Raises:
        BadRecord: the record does not parse, or is damaged.
        StorageUnavailable: the archive does not answer.
    """
    key = retention_key(hour)
    # Asked for by listing: in most archives there is not even the folder.
    listed = archive.list_after(f"{RETENTION}/", key.removesuffix(".json"), 1)
    if [item.key for item in listed] != [key]:
        return RetentionRecord(hour)
    plain = from_bytes(archive.read(key), key, "a record of retention")
    with parsing(key, "a record of retention"):
        return RetentionRecord(
            str(plain["hour"]),
            frozenset(map(str, plain["blocks"])),
            frozenset(map(str, plain["series"])),
            int(plain["series_number"]),
        )


def add_to_record(archive: Bucket, more: RetentionRecord) -> None:
    """Adds to what the archive says of an hour.

    Raises:
        StorageError: it was not written.
    """
    known = read_record(archive, more.hour)
    both = RetentionRecord(
        more.hour,
        known.blocks | more.blocks,
        known.series | more.series,
        max(known.series_number, more.series_number),
    )
    if both != known:
        archive.replace(retention_key(more.hour), both.to_bytes())


#: Blocks of this time are looked at; whoever looks every day sees each several times.
_SPAN_MS: Final = 7 * 24 * HOUR_MS


def orphaned_blocks(
    archive: ReadOnlyBucket, ledger: Ledger, now_ms: int, before_ms: int, span_ms: int = _SPAN_MS
) -> Iterator[ObjectInfo]:
    """Blocks of [before_ms - span_ms, before_ms) that are in no commit record, of hours in which no job is open.

    Costs a request per thousand blocks; commit records are read only of hours that seem to have such blocks.

    Raises:
        StorageError: the archive does not answer, or a record is damaged.
    """
    known: dict[str, set[str] | None] = {}
    recorded: dict[tuple[str, int], set[str]] = {}
    for item in _blocks(archive, max(before_ms - span_ms, 0), before_ms):
        block = item.block
        if block.hour not in known:
            known[block.hour] = ExpiryRecords(ledger).committed_blocks(block.hour, now_ms)
        of_hour = known[block.hour]
        if of_hour is None or block.key in of_hour:
            continue
        place = (block.hour, block.shard)
        if place not in recorded:
            recorded[place] = _recorded(archive, *place)
        if block.key not in recorded[place]:
            yield ObjectInfo(block.key, item.size_bytes)


def _blocks(archive: ReadOnlyBucket, begin_ms: int, end_ms: int) -> Iterator[FoundBlock]:
    for shard in archive.list_folder(f"{BLOCKS}/").folders:
        for tenant in archive.list_folder(f"{BLOCKS}/{shard}/").folders:
            prefix = f"{BLOCKS}/{shard}/{tenant}/"
            after, end = f"{prefix}{first_ulid(begin_ms)}", f"{prefix}{first_ulid(end_ms)}"
            listed = chain.from_iterable(archive.pages(prefix, after))
            yield from blocks_among(takewhile(lambda item, end=end: item.key < end, listed))  # type: ignore[misc]


def _recorded(archive: ReadOnlyBucket, hour: str, shard: int) -> set[str]:
    records = read_records(archive, f"{COMMITS}/{hour_path(hour)}/{shard}/")
    return {output.key for record in records for output in record.outputs}


DAY_MS: Final = 24 * HOUR_MS
What = Literal["blocks", "hour blocks", "series", "ledger", "temporary", "table"]


@dataclass(frozen=True, slots=True)
class Keep:
    """How many days things are kept; 0: for ever.

    Attributes:
        blocks: level-1 blocks, and those of hours; series: their files of series; ledger: the ledger's rows, all by the
            hour of creation.
        level1: level-1 blocks that blocks of hours hold, too, where they shall go earlier.
        temporary: what crashed writers left in the archive: unfinished files, and blocks that no record names.
    """

    blocks: float = 0.0
    series: float = 0.0
    ledger: float = 0.0
    temporary: float = 0.0
    level1: float = 0.0

    def __post_init__(self) -> None:
        for what in ("blocks", "series", "ledger", "temporary", "level1"):
            days = getattr(self, what)
            if days and days < 1:
                raise SettingsError(
                    f"{what} would be kept for {days:g} days; keep them for a day or more, or for ever (0)"
                )

    @property
    def anything_goes(self) -> bool:
        """Whether anything is ever removed."""
        return bool(self.blocks or self.series or self.ledger or self.temporary or self.level1)


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
        states = UpkeepRecords(self.ledger).upkeep_states()

        def hours(days: float) -> list[str]:
            return UpkeepRecords(self.ledger).hours_before(hour_of(self.now_ms - round(days * DAY_MS))) if days else []

        def is_left(hour: str, done: str) -> bool:
            return hour not in states or getattr(states[hour], done) is None

        old = hours(keep.blocks)
        units = HourBlockRecords(self.ledger).hours_with_units(old[-1]) if old else []
        blocks = [hour for hour in old if is_left(hour, "blocks_removed_ms")]
        level1 = [hour for hour in hours(keep.level1) if hour not in old and is_left(hour, "blocks_removed_ms")]
        series = [hour for hour in hours(keep.series) if is_left(hour, "series_removed_ms")]
        # An hour that was collapsed has jobs again when late sources came.
        for step, todo in (
            (self._blocks, blocks),
            (self._units, units),
            (partial(self._blocks, held=True), level1),
            (self._series, series),
            (self._rows, hours(keep.ledger)),
        ):
            yield from (partial(step, hour) for hour in todo)
        yield self._table
        if keep.temporary:
            yield partial(self._temporary, self.now_ms - round(keep.temporary * DAY_MS))

    def _blocks(self, hour: str, *, held: bool = False) -> Iterator[Expired]:
        """Level-1 blocks; if `held`, those that blocks of the hour hold, too."""
        found = ExpiryRecords(self.ledger).expired_blocks(hour, self.now_ms, self.scopes, held=held)
        for why, count in found.kept.items():
            self.report.keep("blocks", why, count)
        if self.apply:
            if found.jobs:
                add_to_record(self.archive, RetentionRecord(hour, blocks=frozenset(found.jobs)))
                # What was marked by a call that was interrupted goes as well.
                self.archive.remove(
                    ExpiryRecords(self.ledger).mark_blocks_removed(hour, self.now_ms, self.scopes, held=held)
                )
            ExpiryRecords(self.ledger).finish_blocks(hour, self.now_ms)
        if found.keys:
            yield Expired("blocks", hour, len(found.keys), found.size_bytes)

    def _units(self, hour: str) -> Iterator[Expired]:
        """Blocks of an hour, which go when nothing keeps those of its jobs."""
        objects = HourBlockRecords(self.ledger).objects(hour)
        if not ExpiryRecords(self.ledger).expired_blocks(hour, self.now_ms, self.scopes).kept:
            if self.apply:
                remove_hour(self.archive, self.ledger, hour, self.now_ms)
            yield Expired("hour blocks", hour, len(objects), sum(one.size_bytes for one in objects))

    def _series(self, hour: str) -> Iterator[Expired]:
        found = ExpiryRecords(self.ledger).expired_series(hour, self.now_ms, self.scopes)
        if found.kept:
            self.report.keep("series", found.kept)
            return
        if self.apply:
            number = found.number
            if found.keys:
                more = RetentionRecord(hour, series=frozenset(found.jobs), series_number=found.number + 1)
                add_to_record(self.archive, more)
                marked = ExpiryRecords(self.ledger).mark_series_removed(found, self.now_ms, self.scopes)
                if marked is None:
                    self.report.keep("series", "a job of the hour was done meanwhile")
                    return
                number = marked
            if number:
                ArchiveTable(self.archive).replace(hour, number, [], self.now_ms)
            remove_older(self.archive, hour, number)
            ExpiryRecords(self.ledger).finish_series(hour, self.now_ms)
        if found.keys:
            yield Expired("series", hour, len(found.keys), found.size_bytes)

    def _rows(self, hour: str) -> Iterator[Expired]:
        has_table = not ArchiveTable(self.archive).why_not
        found = SourceRows(self.ledger).expired_rows(hour, self.now_ms, self.scopes, has_table=has_table)
        if found.kept:
            self.report.keep("ledger", found.kept)
        elif not self.apply or SourceRows(self.ledger).collapse(hour, self.now_ms, self.scopes, has_table=has_table):
            yield Expired("ledger", hour, 0, 0, rows=found.sources + found.jobs)

    def _table(self) -> Iterator[Expired]:
        """Files that left the table of series a day ago, whatever is kept: nothing names them any more."""
        table = ArchiveTable(self.archive)
        left = table.tidy(apply=False)
        size_bytes = sum(map(self.archive.size, left))
        if self.apply:
            table.tidy(apply=True)
        if left:
            yield Expired("table", "", len(left), size_bytes)

    def _temporary(self, before_ms: int) -> Iterator[Expired]:
        left = self.archive.unfinished(before_ms)
        for what in (left, list(orphaned_blocks(self.archive, self.ledger, self.now_ms, before_ms))):
            if what and self.apply:
                self.archive.remove([item.key for item in what])
            if what:
                yield Expired("temporary", "", len(what), sum(item.size_bytes for item in what))
