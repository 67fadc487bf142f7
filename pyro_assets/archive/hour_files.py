"""The files of series of an hour as the archive shows them, for a ledger that is rebuilt.

Names tell which files count, notes in the files what they were made with, and the record of retention what is gone on
purpose. Add what else the ledger knows of a file when files can prove it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from pyro_assets.archive.retain import RetentionRecord, read_record
from pyro_assets.errors import DamagedSeries, ObjectChanged, ObjectMissing, SeriesError
from pyro_assets.jobs.derive import with_notes
from pyro_assets.ledger.records import SeriesFile
from pyro_assets.settings import KINDS
from pyro_assets.storage.checksum import crc32c
from pyro_assets.storage.interface import ObjectInfo, ReadOnlyBucket
from pyro_assets.storage.keys import parse_series_name, series_prefix


@dataclass(slots=True)
class HourFiles:
    """Files of series of one hour.

    Attributes:
        hour: partition key.
        table: what the table of series has of the hour.
        retention: what is gone on purpose.
        series_number: of files that are written from now on.
        damaged: files that are not what was written, with one sentence each.
    """

    archive: ReadOnlyBucket
    hour: str
    table: Sequence[ObjectInfo]
    retention: RetentionRecord = field(init=False)
    series_number: int = field(init=False)
    damaged: dict[str, str] = field(init=False, default_factory=dict)
    _own: dict[tuple[str, str], ObjectInfo] = field(init=False, default_factory=dict)
    _merged: dict[tuple[str, str], SeriesFile] = field(init=False, default_factory=dict)
    _lost: dict[str, ObjectInfo] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        self.retention = read_record(self.archive, self.hour)
        self.series_number = self.retention.series_number
        for kind in sorted(KINDS):
            self._look(kind)

    def of(self, jobs: Sequence[str]) -> dict[str, list[SeriesFile]]:
        """Job -> its files by kind, without those that are damaged: their jobs count as not derived yet.

        Where level-1 blocks were removed on purpose, nothing can be derived: a damaged file stays, without rows.

        Raises:
            StorageError: the archive does not answer.
        """
        wanted = [(job, kind) for job in jobs for kind in sorted(KINDS)]
        own = [place for place in wanted if place in self._own]
        found = dict(zip(own, self.archive.get_many([self._own[place] for place in own]), strict=True))
        files: dict[str, list[SeriesFile]] = {}
        for job, kind in wanted:
            data = found.get((job, kind))
            if isinstance(data, Exception):
                raise data
            if data is not None:
                item = self._own[job, kind]
                blank = SeriesFile(kind, job, item.key, 0, item.size_bytes)
                try:
                    file = _noted(replace(blank, crc32c=crc32c(data)), data)
                except SeriesError as error:
                    self.damaged[item.key] = str(error)
                    if job not in self.retention.blocks:
                        continue
                    file = blank
            elif (job, kind) in self._merged:
                file = self._merged[job, kind]
            elif kind in self._lost and job in self.retention.blocks:
                file = SeriesFile(kind, job, self._lost[kind].key, 0, self._lost[kind].size_bytes)
            elif job in self.retention.series:
                file = SeriesFile(kind, job, "")
            else:
                continue
            files.setdefault(job, []).append(file)
        return files

    def placed(self) -> list[SeriesFile]:
        """Where the series of all jobs of the hour are.

        Raises:
            DamagedSeries: a file is damaged, so that nobody can tell.
        """
        jobs = list(dict.fromkeys(job for job, _ in (*self._merged, *self._own)))
        found = self.of(jobs)
        for key, why in self.damaged.items():
            raise DamagedSeries(key, f"is damaged ({why})")
        return [file for job in jobs for file in found.get(job, ()) if file.key]

    def _look(self, kind: str) -> None:
        from pyro_assets.series.files import CurrentFile, MergedFile, current_files, parse_series_key

        items = {item.key: item for page in self.archive.pages(series_prefix(kind, self.hour)) for item in page}
        pieces = {item.key: item for item in self.table if parse_series_key(item.key)[0] == kind}
        numbers = [parse_series_name(key)[1] for key in (*items, *pieces)]
        self.series_number = max([self.series_number, *numbers])
        # What the table has of an hour stands for all files of the hour with smaller numbers.
        begin = max((parse_series_name(key)[1] for key in pieces), default=0)
        files = current_files(key for key in items if parse_series_name(key)[1] >= begin)
        own = frozenset(parse_series_name(file.key)[0] for file in files)
        for current in (*files, *(CurrentFile(key, own) for key in pieces)):
            item = (items | pieces)[current.key]
            job = parse_series_name(current.key)[0]
            if job:
                self._own[job, kind] = item
                continue
            try:
                data = self.archive.get(item.key, item.size_bytes)
                checksum = crc32c(data)
                _check(data, item.key)
                merged = MergedFile(data, item.key)
                for job, rows in merged.jobs.items():
                    if job not in current.without:
                        file = SeriesFile(kind, job, item.key, rows, item.size_bytes, checksum)
                        self._merged[job, kind] = with_notes(file, merged.metadata(job))
            except (SeriesError, ObjectChanged, ObjectMissing) as error:
                self.damaged[item.key] = str(error)
                self._lost[kind] = item


def _noted(blank: SeriesFile, data: bytes) -> SeriesFile:
    from pyro_assets.series.files import read_notes

    _check(data, blank.key)
    rows, notes = read_notes(data, blank.key)
    return with_notes(replace(blank, rows=rows), notes)


def _check(data: bytes, name: str) -> None:
    """Reads a file without a seal whole: what is recorded of it is believed from now on."""
    from pyro_assets.export.samples import open_series
    from pyro_assets.series.files import check_seal

    if not check_seal(data, name):
        open_series(data, name)
