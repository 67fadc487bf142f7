"""The scrub: all that the archive holds is read and compared with what was written, hour by hour, oldest check first.

Missing and changed objects are found before they are needed; they stand in the ledger as damage until a later scrub of
the hour finds them sound. Add a kind of object in `_Hour`; the remedies are `repair`'s.
"""

import math
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeVar

from pyro_assets.archive.hour_files import HourFiles
from pyro_assets.archive.retain import read_record
from pyro_assets.archive.scrubs import Damage, DamageKind, ScrubRecords, Written
from pyro_assets.archive.table import ArchiveTable
from pyro_assets.errors import (
    BadRecord,
    ChecksumMismatch,
    DamagedSeries,
    ObjectChanged,
    ObjectMissing,
    PyroAssetsError,
    SeriesError,
    StorageError,
    Where,
)
from pyro_assets.export.receipt import parse_receipts
from pyro_assets.jobs.derive import check_file
from pyro_assets.jobs.record import parse_record
from pyro_assets.ledger.database import Ledger
from pyro_assets.ledger.hour_blocks import HourBlockRecords, HourObject
from pyro_assets.ledger.records import Output, SeriesFile
from pyro_assets.ledger.upkeep import UpkeepRecords
from pyro_assets.rules.archive import damaged_rules
from pyro_assets.storage.checksum import check_crc, crc32c
from pyro_assets.storage.interface import Listed, ObjectInfo, ReadOnlyBucket, portions
from pyro_assets.storage.keys import (
    COMMITS,
    RECEIPTS,
    TABLE,
    commit_key,
    hour_of,
    hour_path,
    parse_series_name,
    parse_shard,
    receipts_prefix,
    retention_key,
)

__all__ = ["Damage", "ScrubReport", "scrub"]

#: Nights in which the whole archive is scrubbed once, where the time suffices.
NIGHTS: Final = 30
#: Bytes in memory at a time, but for a single larger object.
_AT_ONCE_BYTES: Final = 64 << 20
_PAGE_KEYS: Final = 500
_Block = TypeVar("_Block", Output, HourObject)
#: What says that one object is not what was written; everything else says that the archive does not answer.
_ROT: Final = (BadRecord, ChecksumMismatch, ObjectChanged, ObjectMissing, SeriesError)


@dataclass(slots=True)
class ScrubReport:
    """What a scrub found.

    Attributes:
        hours: that were looked at; left: that there was no time for.
        objects, bytes: that were read and compared.
        damaged: what is not what was written, of these hours; `ledger.damaged` has those of all.
        failures: why hours could not be looked at whole; they come again.
        seconds: how long it took.
    """

    hours: list[str] = field(default_factory=list)
    left: int = 0
    objects: int = 0
    bytes: int = 0
    damaged: list[Damage] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    seconds: float = 0.0


def scrub(
    archive: ReadOnlyBucket,
    ledger: Ledger,
    clock: Callable[[], int],
    settle_ms: int,
    *,
    hours: Collection[str] | None = None,
    deadline_monotonic: float | None = None,
    progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> ScrubReport:
    """Looks at a share of the hours that are over: those with damage, then those that were not looked at for longest.

    Args:
        archive: the one that belongs to the ledger.
        ledger: knows what was written, and keeps what is found.
        clock: Unix milliseconds.
        settle_ms: an hour is over so long after its end.
        hours: look at these, whenever they were looked at last; by default at a thirtieth of all.
        deadline_monotonic: no hour is begun after this `time.monotonic()`.
        progress: called after each hour with how many are done and how many there are.

    Raises:
        LedgerUnavailable: what was found until then is kept.
    """
    begun = time.perf_counter()
    report = ScrubReport()
    known = ScrubRecords(ledger).hours_to_scrub(hour_of(clock() - settle_ms))
    share = len(known) if hours is not None else math.ceil(len(known) / NIGHTS)
    wanted = [hour for hour in known[:share] if hours is None or hour in hours]
    # Rules belong to no hour, and are few.
    for position, hour in enumerate(["", *wanted]):
        if deadline_monotonic is not None and time.monotonic() >= deadline_monotonic:
            report.left = len(wanted) - max(position - 1, 0)
            break
        try:
            found = _look(archive, ledger, hour, report)
        except StorageError as error:
            report.failures.append(f"{hour or 'rules'}: {error}")
            continue
        ScrubRecords(ledger).note_scrub(hour, found, clock())
        report.damaged += found
        report.hours += [hour] if hour else []
        progress(position, len(wanted))
    report.seconds = time.perf_counter() - begun
    return report


def _look(archive: ReadOnlyBucket, ledger: Ledger, hour: str, report: ScrubReport) -> list[Damage]:
    """What is found twice: in between, the ledger says again where things are, because upkeep may be moving them."""

    def look(counts: ScrubReport) -> list[Damage]:
        if not hour:
            return [Damage(key, "", "rules", why) for key, why in damaged_rules(archive, ledger).items()]
        return list(_Hour(archive, ledger, hour, counts).damage())

    first = look(report)
    if not first:
        return []
    keys = {one.key for one in first}
    return [one for one in look(ScrubReport()) if one.key in keys]


@dataclass(slots=True)
class _Hour:
    """One look at an hour."""

    archive: ReadOnlyBucket
    ledger: Ledger
    hour: str
    report: ScrubReport
    table: set[str] | None = None

    def damage(self) -> Iterator[Damage]:
        """Everything of the hour that is not what was written.

        Raises:
            StorageError: the archive does not answer.
        """
        written = ScrubRecords(self.ledger).written(self.hour)
        blocks: list[Output] = []
        yield from self._records(written, blocks)
        yield from self._blocks("block", blocks)
        yield from self._blocks("hour", HourBlockRecords(self.ledger).objects(self.hour))
        yield from self._series(written.files)
        yield from self._retention(written)
        yield from self._receipts(written)

    def _records(self, written: Written, blocks: list[Output]) -> Iterator[Damage]:
        """Commit records; collects the blocks that must be there, of an hour without rows as its records name them."""
        missing = {commit_key(self.hour, shard, job): made for job, (shard, made) in written.records.items()}
        for job, (_, made) in written.records.items():
            blocks += () if job in written.removed else made
        state = UpkeepRecords(self.ledger).upkeep_states([self.hour]).get(self.hour)
        is_collapsed = state is not None and state.collapsed_ms is not None
        removed = self._removed() if is_collapsed else frozenset()
        collapsed: list[str] = []
        for item, data in self._read_below(f"{COMMITS}/{hour_path(self.hour)}/"):
            expected = missing.pop(item.key, None)
            try:
                record = parse_record(_bytes(data), item.key)
                if record.record_key != item.key:
                    raise BadRecord(f"{item.key} holds the record of another job, {record.record_key}", key=item.key)
                if expected is not None and record.outputs != expected:
                    raise BadRecord(f"{item.key} names other blocks than the ledger does", key=item.key)
            except _ROT as error:
                yield self._damage("record", item.key, error)
                continue
            if expected is None and is_collapsed:
                collapsed.append(record.id)
                blocks += () if record.id in removed else record.outputs
        for key in sorted(missing):
            yield self._damage("record", key, ObjectMissing(f"{key} is missing", key=key))
        if collapsed:
            yield from self._without_rows(collapsed)

    def _without_rows(self, jobs: Sequence[str]) -> Iterator[Damage]:
        """Series of an hour whose rows retention removed: the files vouch for themselves."""
        try:
            files = HourFiles(self.archive, self.hour, ArchiveTable(self.archive).files().get(self.hour, ()))
        except BadRecord:
            return  # told by `_retention`
        files.of(jobs)
        for key, why in files.damaged.items():
            yield Damage(key, self.hour, "series", why)

    def _blocks(self, kind: DamageKind, blocks: Sequence[_Block]) -> Iterator[Damage]:
        for output, data in self._in_batches(blocks):
            try:
                check_crc(_bytes(data), output.crc32c, "the committed object", Where(output.key))
            except _ROT as error:
                yield self._damage(kind, output.key, error)

    def _series(self, files: Sequence[SeriesFile]) -> Iterator[Damage]:
        for file, data in self._in_batches(list({file.key: file for file in files}.values())):
            try:
                if file.key.startswith(f"{TABLE}/") and file.key not in self._in_table():
                    UpkeepRecords(self.ledger).merge_again(self.hour)
                    why = "is not named by the log of the table any more; the next merge of its hour puts it there"
                    raise DamagedSeries(file.key, why)
                content = check_file(_bytes(data), file)
                if file.crc32c is None:
                    _read_whole(content, file.key)
                    ScrubRecords(self.ledger).note_checksum(file.key, crc32c(content))
            except _ROT as error:
                yield self._damage("series", file.key, error)

    def _in_table(self) -> set[str]:
        if self.table is None:
            self.table = {file.key for file in ArchiveTable(self.archive).files().get(self.hour, ())}
        return self.table

    def _removed(self) -> frozenset[str]:
        try:
            return read_record(self.archive, self.hour).blocks
        except _ROT:
            return frozenset()  # told by `_retention`

    def _retention(self, written: Written) -> Iterator[Damage]:
        key = retention_key(self.hour)
        try:
            gone = set(written.removed) - read_record(self.archive, self.hour).blocks
            if gone:
                raise BadRecord(f"{key} does not say that blocks of {len(gone)} jobs were removed", key=key)
        except _ROT as error:
            yield self._damage("retention", key, error)

    def _receipts(self, written: Written) -> Iterator[Damage]:
        expected = set(written.receipts)
        for receiver in self.archive.list_folder(f"{RECEIPTS}/").folders:
            prefix = f"{RECEIPTS}/{receiver}/{hour_path(self.hour)}/"
            for item, data in self._read_below(prefix):
                number, _, name = item.key.removeprefix(prefix).partition("/")
                job = name.rpartition("-")[0]
                expected.discard((receiver, parse_shard(number) or 0, job))
                try:
                    parse_receipts(_bytes(data), item.key, job, receiver)
                except _ROT as error:
                    yield self._damage("receipt", item.key, error)
        for receiver, shard, job in sorted(expected):
            key = f"{receipts_prefix(receiver, self.hour, shard)}{job}"
            yield self._damage("receipt", key, ObjectMissing(f"no receipt of {key} is there", key=key))

    def _damage(self, kind: DamageKind, key: str, error: PyroAssetsError) -> Damage:
        why = f"{key} does not have the size it was written with" if isinstance(error, ObjectChanged) else str(error)
        return Damage(key, self.hour, kind, why)

    def _read_below(self, prefix: str) -> Iterator[tuple[ObjectInfo, bytes | StorageError]]:
        for page in self.archive.pages(prefix, limit=_PAGE_KEYS):
            yield from self._in_batches(page)

    def _in_batches(self, items: Sequence[Listed]) -> Iterator[tuple[Listed, bytes | StorageError]]:
        for batch in portions(items, _AT_ONCE_BYTES):
            found = self.archive.get_many(batch)
            self.report.objects += len(batch)
            self.report.bytes += sum(item.size_bytes for item in batch)
            yield from zip(batch, found, strict=True)


def _bytes(data: bytes | StorageError) -> bytes:
    if isinstance(data, Exception):
        raise data
    return data


def _read_whole(data: bytes, key: str) -> None:
    """Reads all rows of a file that has no recorded checksum: its bytes of now are believed from now on."""
    from pyro_assets.export.samples import open_series
    from pyro_assets.series.files import MergedFile

    open_series(data, key)
    if not parse_series_name(key)[0]:
        MergedFile(data, key)
