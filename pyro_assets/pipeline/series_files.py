"""Series of jobs from the archive, wherever they are: in a file of their own, or in the merged one of their hour.

Add another form of the same rows here. A file may move while it is looked for, so the ledger is asked once more before
one counts as missing; where it moves is `merging`'s.
"""

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from pyro_assets.errors import ObjectMissing
from pyro_assets.ledger.ledger import Ledger
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

    def samples(self, job_id: str, kind: str, key: str) -> "Samples":
        """The series of a job as samples to send.

        Args:
            job_id: the job.
            kind: of series.
            key: where the ledger said that they are.

        Raises:
            ObjectMissing: they are nowhere.
            StorageError, SeriesError: the file cannot be read.
        """
        from pyro_assets.export.samples import open_series, read_samples

        found = self._read(job_id, kind, key)
        if isinstance(found, bytes):
            return open_series(found, key)
        return read_samples(found.table, key)

    def rows(self, job_id: str, kind: str, key: str) -> "JobSeries":
        """The series of a job as rows, with what their file says of itself; see `samples`."""
        from pyro_assets.series.merged import read_job_series

        found = self._read(job_id, kind, key)
        return read_job_series(found, job_id, key) if isinstance(found, bytes) else found

    def own_file(self, job_id: str, kind: str, key: str) -> bytes:
        """The series of a job as a file of its own; see `samples`."""
        from pyro_assets.series.frame import to_polars
        from pyro_assets.series.store import series_to_parquet

        found = self._read(job_id, kind, key)
        if isinstance(found, bytes):
            return found
        return series_to_parquet(to_polars(found.table), found.metadata)

    def _read(self, job_id: str, kind: str, key: str) -> "bytes | JobSeries":
        for _ in range(_TRIES - 1):
            try:
                return self._read_at(job_id, key)
            except ObjectMissing:
                place = self.ledger.placed_file(job_id, kind) if self.ledger is not None else None
                if place is None or place.key == key:
                    raise
                key = place.key
        return self._read_at(job_id, key)

    def _read_at(self, job_id: str, key: str) -> "bytes | JobSeries":
        if parse_series_name(key)[0]:
            return self.archive.read(key)
        from pyro_assets.series.merged import MergedFile

        if key not in self._merged:
            opened = MergedFile(self.archive.read(key), key)
            while len(self._merged) >= _OPEN_FILES:
                del self._merged[next(iter(self._merged))]
            self._merged[key] = opened
        return self._merged[key].read(job_id)
