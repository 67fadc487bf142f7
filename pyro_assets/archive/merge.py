"""The series of an hour that is over become a part of the table, in place of a file per job.

The order is: the ledger gives the hour's next number, so that nobody writes to the files that are there any more ->
files of the table -> its commit -> ledger -> the small files go. Until the commit an hour counts by its small files,
from then on by the table, and the next merge goes on after a crash. Values, receipts and `written_ms` stay as they are,
so nothing is sent again. Where the store can have no table, files of jobs stay.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from pyro_assets.archive.hour_files import HourFiles
from pyro_assets.archive.table import ArchiveTable, NewFile, remove_older
from pyro_assets.errors import ObjectChanged, ObjectMissing, SeriesError
from pyro_assets.jobs.derive import SeriesFiles, check_file
from pyro_assets.ledger.database import Ledger
from pyro_assets.ledger.records import SeriesFile
from pyro_assets.ledger.upkeep import Merged, MergeOrder, UpkeepRecords
from pyro_assets.storage.checksum import crc32c
from pyro_assets.storage.interface import Bucket
from pyro_assets.storage.keys import hour_of, parse_series_name, table_key

if TYPE_CHECKING:
    from pyro_assets.series.files import JobSeries

#: Small files that are read at the same time.
_BATCH: Final = 64


@dataclass(slots=True)
class MergeReport:
    """What a merge of hours did (or, of a dry run, would do).

    Attributes:
        hours: that were merged, with how many files each had; those in which there was nothing to merge are not named.
        files_before, files_after: of these hours.
        size_before_bytes, size_after_bytes: the same.
        busy: hours that are over but not at rest: a job is open or held, or was derived just now.
        left: hours that there was no time for.
        seconds: how long it took.
        damaged: why hours were left as they are: a file of theirs is damaged or missing.
        why_not: why the archive can have no table, so that all hours were left.
    """

    hours: dict[str, int] = field(default_factory=dict)
    files_before: int = 0
    files_after: int = 0
    size_before_bytes: int = 0
    size_after_bytes: int = 0
    busy: list[str] = field(default_factory=list)
    left: int = 0
    seconds: float = 0.0
    damaged: list[str] = field(default_factory=list)
    why_not: str = ""


def merge_hours(
    archive: Bucket,
    ledger: Ledger,
    now_ms: int,
    settle_ms: int,
    *,
    deadline_monotonic: float | None = None,
) -> MergeReport:
    """Merges the files of all hours that are over and at rest, oldest first; those that are merged cost a look-up.

    Args:
        archive: where the files lie.
        ledger: knows them.
        now_ms: Unix milliseconds.
        settle_ms: an hour is over so long after its end, and at rest so long after its last derivation.
        deadline_monotonic: no hour is begun after this `time.monotonic()`.

    Raises:
        StorageError: the archive does not do what was asked.
        LedgerUnavailable: hours until then are merged.
    """
    begun = time.perf_counter()
    table = ArchiveTable(archive)
    report = MergeReport(why_not=table.why_not)
    hours = [] if report.why_not else hours_to_merge(ledger, now_ms, settle_ms)
    known = table.files() if hours else {}
    states = UpkeepRecords(ledger).upkeep_states()
    for hour in hours:
        if deadline_monotonic is not None and time.monotonic() >= deadline_monotonic:
            report.left += 1
            continue
        there = known.get(hour, [])
        try:
            # The ledger does not know any more where series of collapsed jobs are, and they must not be replaced.
            is_collapsed = hour in states and states[hour].collapsed_ms is not None
            others = HourFiles(archive, hour, there).placed() if is_collapsed else ()
            order = UpkeepRecords(ledger).begin_merge(hour, now_ms, settle_ms, {file.key for file in there}, others)
            if order is None or not merge_hour(archive, table, ledger, order, now_ms, report):
                report.busy.append(hour)
        except (SeriesError, ObjectMissing) as error:
            # The hour keeps its files as they are, and is tried again by the next merge.
            report.damaged.append(f"{hour}: {error}")
    report.seconds = time.perf_counter() - begun
    return report


def hours_to_merge(ledger: Ledger, now_ms: int, settle_ms: int) -> list[str]:
    """Hours that are over and have not been looked at since their last derivation, oldest first."""
    states = UpkeepRecords(ledger).upkeep_states()
    before = hour_of(now_ms - settle_ms)
    collapsed = {hour for hour, state in states.items() if state.collapsed_ms is not None}
    hours = sorted(collapsed.union(UpkeepRecords(ledger).hours_before(before)))
    return [hour for hour in hours if hour not in states or states[hour].table_ms is None]


def merge_hour(
    archive: Bucket, table: ArchiveTable, ledger: Ledger, order: MergeOrder, now_ms: int, report: MergeReport
) -> bool:
    """Merges an hour and adds it to the report; False where another merge was faster."""
    if order.is_needed:
        merged, files = [], []
        for kind in sorted({file.kind for file in order.files}):
            for one, new in _write(archive, ledger, order, kind):
                merged.append(one)
                files.append(new)
        if not table.replace(order.hour, order.number, files, now_ms) or not UpkeepRecords(ledger).finish_merge(
            order, merged
        ):
            return False
        sizes = {file.key: file.size_bytes for file in order.files}
        report.hours[order.hour] = len(sizes)
        report.files_before += len(sizes)
        report.files_after += len(merged)
        report.size_before_bytes += sum(sizes.values())
        report.size_after_bytes += sum(file.size_bytes for file in merged)
    remove_older(archive, order.hour, order.number)
    UpkeepRecords(ledger).mark_merged(order, now_ms)
    return True


def _write(archive: Bucket, ledger: Ledger, order: MergeOrder, kind: str) -> Iterator[tuple[Merged, NewFile]]:
    """Writes the files of a kind, one at a time: so much is in memory."""
    from pyro_assets.series.files import write_pieces

    files = [file for file in order.files if file.kind == kind]
    before = {file.job_id: file.key for file in files}
    for number, piece in enumerate(write_pieces(_parts(archive, SeriesFiles(archive, ledger), files))):
        key, size_bytes = table_key(kind, order.hour, order.number, number), len(piece.data)
        archive.replace(key, piece.data)
        of_piece = {job: before[job] for job in piece.jobs}
        yield (
            Merged(kind, key, size_bytes, crc32c(piece.data), of_piece),
            NewFile(key, kind, size_bytes, piece.rows, piece.smallest, piece.largest),
        )


def _parts(archive: Bucket, reader: SeriesFiles, files: Sequence[SeriesFile]) -> "Iterator[JobSeries]":
    from pyro_assets.series.files import read_job_series

    for begin in range(0, len(files), _BATCH):
        batch = files[begin : begin + _BATCH]
        own = [file for file in batch if parse_series_name(file.key)[0]]
        found = archive.get_many(own)
        data = dict(zip([file.job_id for file in own], found, strict=True))
        for file in batch:
            content = data.get(file.job_id)
            if content is None or isinstance(content, ObjectChanged | ObjectMissing):
                # Merged with others, or to be looked for once more.
                yield reader.rows(file)
            elif isinstance(content, Exception):
                raise content
            else:
                yield read_job_series(check_file(content, file), file.job_id, file.key)
