"""Series of jobs from the archive, wherever they are: in a file of their own, or in the merged one of their hour.

Add another form of the same rows here. A file may move while it is looked for, so the ledger is asked once more before
one counts as missing or damaged; where it moves is `merging`'s.
"""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pyro_assets.block.checksum import crc32c
from pyro_assets.errors import DamagedSeries, ObjectMissing
from pyro_assets.ledger.ledger import Ledger
from pyro_assets.ledger.receipt import StoredFile
from pyro_assets.ledger.upkeep import PlacedFile
from pyro_assets.storage.interface import ReadOnlyBucket
from pyro_assets.storage.keys import parse_series_name

if TYPE_CHECKING:
    from pyro_assets.export.samples import Samples
    from pyro_assets.series.merged import JobSeries, MergedFile

#: Merged files that are kept open: one of each kind.
_OPEN_FILES = 2
#: A file moves at most once in a while; whoever does not find it so often has lost it.
_TRIES = 3


@dataclass(slots=True)
class SeriesFiles:
    """Reads series of jobs. Keeps the last merged files, since jobs are mostly read in the order of time.

    Attributes:
        archive: where the files lie.
        ledger: knows where they are now; not needed by a worker that holds the job, because nobody moves its files.
    """

    archive: ReadOnlyBucket
    ledger: Ledger | None = None
    _merged: "dict[str, MergedFile]" = field(default_factory=dict)

    def samples(self, file: PlacedFile | StoredFile) -> "Samples":
        """The series of a job as samples to send.

        Args:
            file: what the ledger knows of them.

        Raises:
            ObjectMissing: they are nowhere.
            DamagedSeries: they are not what was written.
            StorageError, SeriesError: the file cannot be read.
        """
        from pyro_assets.export.samples import open_series, read_samples

        found = self._read(file)
        if isinstance(found, bytes):
            return open_series(found, file.key)
        return read_samples(found.table, file.key)

    def rows(self, file: PlacedFile | StoredFile) -> "JobSeries":
        """The series of a job as rows, with what their file says of itself; see `samples`."""
        from pyro_assets.series.merged import read_job_series

        found = self._read(file)
        return read_job_series(found, file.job_id, file.key) if isinstance(found, bytes) else found

    def own_file(self, file: PlacedFile | StoredFile) -> bytes:
        """The series of a job as a file of its own; see `samples`."""
        from pyro_assets.series.frame import to_polars
        from pyro_assets.series.store import series_to_parquet

        found = self._read(file)
        if isinstance(found, bytes):
            return found
        return series_to_parquet(to_polars(found.table), found.metadata)

    def _read(self, file: PlacedFile | StoredFile) -> "bytes | JobSeries":
        for _ in range(_TRIES - 1):
            try:
                return self._read_at(file)
            except (ObjectMissing, DamagedSeries):
                place = self.ledger.placed_file(file.job_id, file.kind) if self.ledger is not None else None
                if place is None or (place.key, place.crc32c) == (file.key, file.crc32c):
                    raise
                file = place
        return self._read_at(file)

    def _read_at(self, file: PlacedFile | StoredFile) -> "bytes | JobSeries":
        if parse_series_name(file.key)[0]:
            return self._bytes(file)
        from pyro_assets.series.merged import MergedFile

        if file.key not in self._merged:
            opened = MergedFile(self._bytes(file), file.key)
            while len(self._merged) >= _OPEN_FILES:
                del self._merged[next(iter(self._merged))]
            self._merged[file.key] = opened
        return self._merged[file.key].read(file.job_id)

    def _bytes(self, file: PlacedFile | StoredFile) -> bytes:
        data = self.archive.read(file.key)
        if self.ledger is None:
            from pyro_assets.series.sealing import check_seal

            # A derivation of this job that was killed may have written a file of which the ledger never heard.
            if check_seal(data, file.key):
                return data
        return check_file(data, file)


def check_file(data: bytes, file: PlacedFile | StoredFile) -> bytes:
    """The bytes of a file, which must be those that the ledger recorded; without a record, those of the file's seal.

    Raises:
        DamagedSeries: they are others.
    """
    if len(data) != file.size_bytes:
        raise DamagedSeries(file.key, f"has {len(data):,} bytes and was written with {file.size_bytes:,}")
    if file.crc32c is None:
        from pyro_assets.series.sealing import check_seal

        check_seal(data, file.key)
    elif (actual := crc32c(data)) != file.crc32c:
        raise DamagedSeries(file.key, f"has the CRC-32C {actual:08x} and was written with {file.crc32c:08x}")
    return data
