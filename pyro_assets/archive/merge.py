"""One file of series per kind for an hour that is over, in place of one per job.

The order is: the ledger gives the hour's next number, so that nobody writes to the files that are there any more ->
merged files -> ledger -> the small files go. A crash in between leaves what every reader understands
(`series.merged.current_files`), and the next merge goes on. Values, receipts and `written_ms` stay as they are, so
nothing is sent again.
"""

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from pyro_assets.errors import ObjectChanged, ObjectMissing, SeriesError
from pyro_assets.jobs.derive import SeriesFiles, check_file
from pyro_assets.ledger.database import Ledger
from pyro_assets.ledger.upkeep import Merged, MergeOrder, PlacedFile, UpkeepRecords
from pyro_assets.settings import KINDS
from pyro_assets.storage.checksum import crc32c
from pyro_assets.storage.interface import Bucket, ObjectInfo
from pyro_assets.storage.keys import hour_of, merged_key, parse_series_name, series_prefix

if TYPE_CHECKING:
    from pyro_assets.series.merged import JobSeries

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
    report = MergeReport()
    for hour in hours_to_merge(ledger, now_ms, settle_ms):
        if deadline_monotonic is not None and time.monotonic() >= deadline_monotonic:
            report.left += 1
            continue
        try:
            if not merge_hour(archive, ledger, hour, now_ms, settle_ms, report):
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
    return [
        hour
        for hour in UpkeepRecords(ledger).hours_before(before)
        if hour not in states or states[hour].merged_ms is None
    ]


def merge_hour(archive: Bucket, ledger: Ledger, hour: str, now_ms: int, settle_ms: int, report: MergeReport) -> bool:
    """Merges an hour and adds it to the report; False where it is not at rest."""
    order = UpkeepRecords(ledger).begin_merge(hour, now_ms, settle_ms)
    if order is None:
        return False
    keep = {file.key for file in order.files}
    if order.is_needed:
        merged = [_merge(archive, ledger, order, kind) for kind in sorted({file.kind for file in order.files})]
        if not UpkeepRecords(ledger).finish_merge(order, merged):
            return False
        keep = {file.key for file in merged}
        report.hours[hour] = len({file.key for file in order.files})
        report.files_before += report.hours[hour]
        report.files_after += len(merged)
        sizes = {file.key: file.size_bytes for file in order.files}
        report.size_before_bytes += sum(sizes.values())
        report.size_after_bytes += sum(file.size_bytes for file in merged)
    remove_older(archive, hour, order.number, keep)
    UpkeepRecords(ledger).mark_merged(order, now_ms)
    return True


def remove_older(archive: Bucket, hour: str, number: int, keep: set[str]) -> None:
    """Removes files of series with smaller numbers than `number`, but for those to keep.

    Nobody writes to them, but a worker that lost its lease; whatever it wrote is in no ledger.
    """
    for kind in sorted(KINDS):
        for page in archive.pages(series_prefix(kind, hour)):
            old = [item.key for item in page if item.key not in keep and parse_series_name(item.key)[1] < number]
            archive.remove(old)


def _merge(archive: Bucket, ledger: Ledger, order: MergeOrder, kind: str) -> Merged:
    from pyro_assets.series.merged import write_merged

    files = [file for file in order.files if file.kind == kind]
    data = write_merged(_parts(archive, SeriesFiles(archive, ledger), files))
    key = merged_key(kind, order.hour, order.number)
    archive.replace(key, data)
    return Merged(kind, key, len(data), crc32c(data), {file.job_id: file.key for file in files})


def _parts(archive: Bucket, reader: SeriesFiles, files: Sequence[PlacedFile]) -> "Iterator[JobSeries]":
    from pyro_assets.series.merged import read_job_series

    for begin in range(0, len(files), _BATCH):
        batch = files[begin : begin + _BATCH]
        own = [file for file in batch if parse_series_name(file.key)[0]]
        found = archive.get_many([ObjectInfo(file.key, file.size_bytes) for file in own])
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
