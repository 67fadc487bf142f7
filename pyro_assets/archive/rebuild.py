"""The ledger from the archive: what its records and files of series prove, for the day when the database is lost.

Add what else the archive proves here. Sources that were in no committed job are in no record: the next tick finds them
in the source bucket, as it found them the first time.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import groupby, islice
from typing import Final

from pyro_assets.archive.expire import ExpiryRecords
from pyro_assets.archive.hour_files import HourFiles
from pyro_assets.archive.restore import RestoredJob, Restorer, restore_verdicts
from pyro_assets.archive.rows import SourceRows
from pyro_assets.archive.table import ArchiveTable
from pyro_assets.archive.units import read_units
from pyro_assets.errors import BadRecord, NotABlockKey, RebuildNeeded, SettingsError
from pyro_assets.export.states import ReceiverRecords
from pyro_assets.jobs.record import CommitRecord, parse_record
from pyro_assets.ledger.database import Ledger
from pyro_assets.ledger.hour_blocks import HourBlockRecords
from pyro_assets.ledger.hours import HourRecords
from pyro_assets.ledger.records import SeriesFile
from pyro_assets.ledger.schema import JobState
from pyro_assets.ledger.upkeep import UpkeepRecords
from pyro_assets.rules.archive import restore_rules
from pyro_assets.settings import KINDS
from pyro_assets.storage.interface import Bucket, ReadOnlyBucket
from pyro_assets.storage.keys import (
    COMMITS,
    RECEIPTS,
    hour_from_path,
    hour_of,
    hour_path,
    hour_start_ms,
    parse_block_key,
)

#: Jobs that are put back by one transaction.
_TOGETHER: Final = 500


@dataclass(slots=True)
class RebuildReport:
    """What a rebuild did.

    Attributes:
        records: commit records read; jobs: written to the ledger (the others were there from an earlier attempt).
        sources: named by the records.
        series_files: found.
        rules: versions of rules and snapshots that the archive has.
        decisions: of people, on what was lost or set aside.
        receivers: whose start was put back.
        damaged: one sentence for each record that does not parse.
        damaged_series: one for each file of series or record of hour blocks that is not what was written; the next run
            makes it again.
        seconds: how long it took.
    """

    records: int = 0
    jobs: int = 0
    sources: int = 0
    series_files: int = 0
    rules: int = 0
    decisions: int = 0
    receivers: tuple[str, ...] = ()
    damaged: list[str] = field(default_factory=list)
    damaged_series: list[str] = field(default_factory=list)
    seconds: float = 0.0


def guard(ledger: Ledger, archive: ReadOnlyBucket) -> None:
    """Refuses to plan with a ledger that has lost what the archive remembers: its sources would be compacted again.

    Costs a request only while the ledger is empty.

    Raises:
        RebuildNeeded: the ledger is empty and the archive is not, or a rebuild has begun and not ended.
    """
    if Restorer(ledger).is_rebuilding():
        raise RebuildNeeded(
            "the ledger is being rebuilt, or that was interrupted: `pyro-assets rebuild-ledger` goes on with it"
        )
    if not Restorer(ledger).has_jobs() and archive.list_after(f"{COMMITS}/", "", 1):
        raise RebuildNeeded(
            f"the ledger is empty, but the archive {archive.url} has commit records: the ledger was lost, or the "
            "archive belongs to another one; run `pyro-assets rebuild-ledger`, or name another archive"
        )


def rebuild(
    ledger: Ledger,
    archive: Bucket,
    now_ms: int,
    *,
    skip_damaged: bool = False,
    progress: Callable[[int], None] = lambda _: None,
) -> RebuildReport:
    """Writes what the archive proves into an empty ledger; begun again after an interruption, it goes on.

    Args:
        ledger: without jobs, but for those of an earlier attempt.
        archive: the one that belongs to it.
        now_ms: Unix milliseconds.
        skip_damaged: end although some records do not parse: their sources will be compacted anew.
        progress: called with the number of records so far.

    Raises:
        SettingsError: the ledger is in use: it has jobs.
        StorageError: the archive does not answer.
        LedgerUnavailable: what was written until then stays.
    """
    begun = time.perf_counter()
    if Restorer(ledger).has_jobs() and not Restorer(ledger).is_rebuilding():
        raise SettingsError(
            "the ledger has jobs, so it is not lost; a rebuild goes into an empty one: name it by --ledger-url, or "
            "move this one away first"
        )
    Restorer(ledger).mark_rebuilding(now_ms, rebuilding=True)
    report = RebuildReport()
    try:
        report.rules = restore_rules(ledger, archive, now_ms)
    except BadRecord as error:
        report.damaged.append(str(error))
    _restore_jobs(ledger, archive, f"{COMMITS}/", now_ms, report, progress)
    report.decisions = restore_verdicts(ledger, archive, report.damaged)
    report.receivers = _restore_receivers(ledger, archive)
    HourRecords(ledger).remember_first_hour(now_ms)
    if not report.damaged or skip_damaged:
        Restorer(ledger).mark_rebuilding(now_ms, rebuilding=False)
    report.seconds = time.perf_counter() - begun
    return report


def put_back(
    ledger: Ledger,
    archive: Bucket,
    begin_ms: int,
    end_ms: int,
    now_ms: int,
    progress: Callable[[int], None] = lambda _: None,
) -> RebuildReport:
    """Puts back the rows of the hours of [begin_ms, end_ms) that retention removed from a ledger in use.

    Raises:
        StorageError: the archive does not answer, or a record is damaged.
    """
    begun = time.perf_counter()
    report = RebuildReport()
    first, last = hour_of(max(begin_ms, 0)), hour_of(max(end_ms - 1, 0))
    for hour, state in UpkeepRecords(ledger).upkeep_states().items():
        if state.collapsed_ms is None or not first <= hour <= last:
            continue
        _restore_jobs(ledger, archive, f"{COMMITS}/{hour_path(hour)}/", now_ms, report, progress)
        if report.damaged:
            raise BadRecord(report.damaged[0])
        SourceRows(ledger).uncollapse(hour)
    report.seconds = time.perf_counter() - begun
    return report


def _restore_jobs(
    ledger: Ledger,
    archive: Bucket,
    prefix: str,
    now_ms: int,
    report: RebuildReport,
    progress: Callable[[int], None],
) -> None:
    table = ArchiveTable(archive).files()
    for hour, of_hour in groupby(_records(archive, prefix, report), lambda record: record.hour):
        files = HourFiles(archive, hour, table.get(hour, ()))
        while records := list(islice(of_hour, _TOGETHER)):
            found = files.of([record.id for record in records if record.outputs])
            restored = [_job(record, found.get(record.id, ())) for record in records]
            report.jobs += Restorer(ledger).restore(restored, now_ms)
            report.sources += sum(len(job.blocks) for job in restored)
            report.series_files += sum(bool(file.key) for job in restored for file in job.files)
            report.records += len(records)
            progress(report.records)
        report.damaged_series += files.damaged.values()
        if files.series_number or files.retention.blocks:
            ExpiryRecords(ledger).note_retention(hour, files.series_number, sorted(files.retention.blocks), now_ms)
        try:
            HourBlockRecords(ledger).restore(read_units(archive, hour))
        except BadRecord as error:
            # Its jobs count by their own blocks, and are compacted again.
            report.damaged_series.append(str(error))


def _records(archive: ReadOnlyBucket, prefix: str, report: RebuildReport) -> Iterator[CommitRecord]:
    for key, data in archive.read_all(prefix):
        try:
            record = parse_record(data, key)
        except BadRecord as error:
            report.damaged.append(str(error))
            continue
        if record.record_key == key:
            yield record
        else:
            report.damaged.append(f"{key} holds the record of another job, {record.record_key}")


def _job(record: CommitRecord, files: Sequence[SeriesFile]) -> RestoredJob:
    try:
        blocks = tuple(parse_block_key(source.key) for source in record.sources)
    except NotABlockKey as error:
        raise BadRecord(f"{record.record_key}: {error}", key=record.record_key) from error
    state: JobState = "compacted"
    if record.is_lost:
        state = "lost"
    elif not record.outputs:
        # It was, or would be, derived to nothing.
        state, files = "derived", [SeriesFile(kind, record.id, "") for kind in sorted(KINDS)]
    elif {file.kind for file in files} >= KINDS:
        state = "derived"
    return RestoredJob(record, blocks, state, tuple(files))


def _restore_receivers(ledger: Ledger, archive: ReadOnlyBucket) -> tuple[str, ...]:
    """Lets receivers get series since the first hour of which they have a receipt: none may fall between the ledgers.

    What they have got already is in the receipts, which an export reads before it sends anything.
    """
    names = archive.list_folder(f"{RECEIPTS}/").folders
    for name in names:
        hours = archive.list_folder(f"{RECEIPTS}/{name}/").folders
        if hours:
            ReceiverRecords(ledger).see_receiver(name, hour_start_ms(hour_from_path(min(hours))))
    return tuple(names)
