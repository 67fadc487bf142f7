"""The ledger from the archive: what its records and files of series prove, for the day when the database is lost.

Add what else the archive proves here. Sources that were in no committed job are in no record: the next tick finds them
in the source bucket, as it found them the first time.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Final

from pyro_assets.errors import BadRecord, NotABlockKey, RebuildNeeded, SeriesError, SettingsError
from pyro_assets.ledger.ledger import Ledger
from pyro_assets.ledger.records import SeriesFile
from pyro_assets.ledger.restoring import RestoredJob, RestoredSource
from pyro_assets.ledger.schema import JobState
from pyro_assets.pipeline.file_notes import with_notes
from pyro_assets.pipeline.record import CommitRecord, parse_record
from pyro_assets.pipeline.rule_records import restore_rules
from pyro_assets.pipeline.settings import KINDS
from pyro_assets.storage.interface import Bucket, ObjectInfo, ReadOnlyBucket
from pyro_assets.storage.keys import COMMITS, RECEIPTS, hour_from_path, hour_start_ms, parse_block_key, series_key

_PAGE_KEYS: Final = 500


@dataclass(slots=True)
class RebuildReport:
    """What a rebuild did.

    Attributes:
        records: commit records read; jobs: written to the ledger (the others were there from an earlier attempt).
        sources: named by the records.
        series_files: found.
        rules: versions of rules and snapshots that the archive has.
        receivers: whose start was put back.
        damaged: one sentence for each record that does not parse.
        seconds: how long it took.
    """

    records: int = 0
    jobs: int = 0
    sources: int = 0
    series_files: int = 0
    rules: int = 0
    receivers: tuple[str, ...] = ()
    damaged: list[str] = field(default_factory=list)
    seconds: float = 0.0


def guard(ledger: Ledger, archive: ReadOnlyBucket) -> None:
    """Refuses to plan with a ledger that has lost what the archive remembers: its sources would be compacted again.

    Costs a request only while the ledger is empty.

    Raises:
        RebuildNeeded: the ledger is empty and the archive is not, or a rebuild has begun and not ended.
    """
    if ledger.is_rebuilding():
        raise RebuildNeeded(
            "the ledger is being rebuilt, or that was interrupted: `pyro-assets rebuild-ledger` goes on with it"
        )
    if not ledger.has_jobs() and archive.list_after(f"{COMMITS}/", "", 1):
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
    if ledger.has_jobs() and not ledger.is_rebuilding():
        raise SettingsError(
            "the ledger has jobs, so it is not lost; a rebuild goes into an empty one: name it by --ledger-url, or "
            "move this one away first"
        )
    ledger.mark_rebuilding(now_ms, rebuilding=True)
    report = RebuildReport()
    try:
        report.rules = restore_rules(ledger, archive, now_ms)
    except BadRecord as error:
        report.damaged.append(str(error))
    for keys in _pages(archive, f"{COMMITS}/"):
        records = list(_records(archive, keys, report))
        restored = _restored(archive, records)
        report.jobs += ledger.restore(restored, now_ms)
        report.records += len(records)
        report.sources += sum(len(job.sources) for job in restored)
        report.series_files += sum(len(job.files) for job in restored)
        progress(report.records)
    report.receivers = _restore_receivers(ledger, archive)
    if not report.damaged or skip_damaged:
        ledger.mark_rebuilding(now_ms, rebuilding=False)
    report.seconds = time.perf_counter() - begun
    return report


def _pages(archive: ReadOnlyBucket, prefix: str) -> Iterator[list[ObjectInfo]]:
    after = ""
    while page := archive.list_after(prefix, after, _PAGE_KEYS):
        yield page
        after = page[-1].key


def _records(archive: ReadOnlyBucket, listed: Sequence[ObjectInfo], report: RebuildReport) -> Iterator[CommitRecord]:
    for item, data in zip(listed, archive.get_many(listed), strict=True):
        if isinstance(data, Exception):
            raise data
        try:
            record = parse_record(data, item.key)
        except BadRecord as error:
            report.damaged.append(str(error))
            continue
        if record.key == item.key:
            yield record
        else:
            report.damaged.append(f"{item.key} holds the record of another job, {record.key}")


def _restored(archive: ReadOnlyBucket, records: Sequence[CommitRecord]) -> list[RestoredJob]:
    files = _files_of(archive, [record for record in records if record.outputs])
    return [_job(record, files.get(record.job, ())) for record in records]


def _job(record: CommitRecord, files: Sequence[SeriesFile]) -> RestoredJob:
    try:
        sources = tuple(
            RestoredSource(parse_block_key(s.key), s.size_bytes, s.state, s.reason, s.failure) for s in record.sources
        )
    except NotABlockKey as error:
        raise BadRecord(f"{record.key}: {error}", key=record.key) from error
    state: JobState = "compacted"
    if sources and all(source.state == "lost" for source in sources):
        state = "lost"
    elif not record.outputs:
        # It was, or would be, derived to nothing.
        state, files = "derived", [SeriesFile(kind, None, 0, 0) for kind in sorted(KINDS)]
    elif {file.kind for file in files} >= KINDS:
        state = "derived"
    return RestoredJob(
        id=record.job,
        kind=record.kind,
        shard=record.shard,
        tenant=record.tenant,
        hour=record.hour,
        timestamp_ms=record.timestamp_ms,
        mode=record.mode,
        dedup=record.dedup,
        state=state,
        sources=sources,
        compaction=record.compaction(0.0),
        files=tuple(files),
    )


def _files_of(archive: ReadOnlyBucket, records: Sequence[CommitRecord]) -> dict[str, list[SeriesFile]]:
    """Job -> its files of series, found by listing the hours of these records."""
    keys = {series_key(kind, record.hour, record.job): (record.job, kind) for record in records for kind in KINDS}
    found: list[ObjectInfo] = []
    for kind in sorted(KINDS):
        for hour in sorted({record.hour for record in records}):
            prefix = series_key(kind, hour, "x").removesuffix("x.parquet")
            of_hour = [key for key in keys if key.startswith(prefix)]
            # Records come in pages: of an hour of many jobs only those of this page are listed.
            after = min(of_hour)[:-1]
            while page := archive.list_after(prefix, after, _PAGE_KEYS):
                found += [item for item in page if item.key in keys]
                after = page[-1].key
                if after > max(of_hour):
                    break
    files: dict[str, list[SeriesFile]] = {}
    for item, data in zip(found, archive.get_many(found), strict=True):
        if isinstance(data, Exception):
            raise data
        job, kind = keys[item.key]
        files.setdefault(job, []).append(_file(SeriesFile(kind, item.key, 0, item.size_bytes), data))
    return files


def _file(blank: SeriesFile, data: bytes) -> SeriesFile:
    """A file of series with what it says; without rows where it does not parse: deriving its hour writes it anew."""
    from pyro_assets.series.store import read_notes

    try:
        rows, notes = read_notes(data)
        return with_notes(replace(blank, rows=rows), notes)
    except SeriesError:
        return blank


def _restore_receivers(ledger: Ledger, archive: ReadOnlyBucket) -> tuple[str, ...]:
    """Lets receivers get series since the first hour of which they have a receipt: none may fall between the ledgers.

    What they have got already is in the receipts, which an export reads before it sends anything.
    """
    names = archive.list_folder(f"{RECEIPTS}/").folders
    for name in names:
        hours = archive.list_folder(f"{RECEIPTS}/{name}/").folders
        if hours:
            ledger.see_receiver(name, hour_start_ms(hour_from_path(min(hours))))
    return tuple(names)
