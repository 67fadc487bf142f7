"""The files of series of an hour as the archive shows them, for a ledger that is rebuilt.

Names tell which files count, notes in the files what they were made with, and the record of retention what is gone on
purpose. Add what else the ledger knows of a file when files can prove it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from pyro_assets.errors import SeriesError
from pyro_assets.ledger.records import SeriesFile
from pyro_assets.pipeline.file_notes import with_notes
from pyro_assets.pipeline.retention_record import RetentionRecord, read_record
from pyro_assets.pipeline.settings import KINDS
from pyro_assets.storage.interface import ObjectInfo, ReadOnlyBucket
from pyro_assets.storage.keys import parse_series_name, series_prefix


@dataclass(slots=True)
class HourFiles:
    """Files of series of one hour.

    Attributes:
        hour: partition key.
        retention: what is gone on purpose.
        series_number: of files that are written from now on.
    """

    archive: ReadOnlyBucket
    hour: str
    retention: RetentionRecord = field(init=False)
    series_number: int = field(init=False)
    _own: dict[tuple[str, str], ObjectInfo] = field(init=False, default_factory=dict)
    _merged: dict[tuple[str, str], SeriesFile] = field(init=False, default_factory=dict)

    def __post_init__(self) -> None:
        self.retention = read_record(self.archive, self.hour)
        self.series_number = self.retention.series_number
        for kind in sorted(KINDS):
            self._look(kind)

    def of(self, jobs: Sequence[str]) -> dict[str, list[SeriesFile]]:
        """Job -> its files by kind; a file that does not parse has no rows: deriving its hour writes it anew.

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
                file = _noted(SeriesFile(kind, item.key, 0, item.size_bytes), data)
            elif (job, kind) in self._merged:
                file = self._merged[job, kind]
            elif job in self.retention.series:
                file = SeriesFile(kind, None, 0, 0)
            else:
                continue
            files.setdefault(job, []).append(file)
        return files

    def _look(self, kind: str) -> None:
        from pyro_assets.series.merged import MergedFile, current_files

        items = {item.key: item for page in self.archive.pages(series_prefix(kind, self.hour)) for item in page}
        self.series_number = max([self.series_number, *(parse_series_name(key)[1] for key in items)])
        for current in current_files(items):
            item = items[current.key]
            job = parse_series_name(current.key)[0]
            if job:
                self._own[job, kind] = item
                continue
            merged = MergedFile(self.archive.get(item.key, item.size_bytes), item.key)
            for job, rows in merged.jobs.items():
                if job not in current.without:
                    blank = SeriesFile(kind, item.key, rows, item.size_bytes)
                    self._merged[job, kind] = with_notes(blank, merged.metadata(job))


def _noted(blank: SeriesFile, data: bytes) -> SeriesFile:
    from pyro_assets.series.store import read_notes

    try:
        rows, notes = read_notes(data)
        return with_notes(replace(blank, rows=rows), notes)
    except SeriesError:
        return blank
