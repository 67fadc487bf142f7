"""Files of series, read newest first and lazily, until a bound of files, bytes, rows or time is met.

Here, too:
* what people look at: files of series, newest first, and where the series of a job come from.

Add a filter here when questions need one; what is asked of the rows is `series`'. A file that is damaged hides no
other, and what was read is told with every answer.
"""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

import polars as pl

from pyro_assets.errors import DamagedSeries, StorageError
from pyro_assets.jobs.derive import check_file
from pyro_assets.ledger.database import Ledger
from pyro_assets.ledger.files import FileRecords
from pyro_assets.ledger.records import SeriesFile
from pyro_assets.storage.interface import ReadOnlyBucket
from pyro_assets.storage.keys import parse_series_name
from pyro_assets.storage.shown import first_line

#: Files that are read at the same time.
_BATCH: Final = 200


@dataclass(frozen=True, slots=True)
class Bounds:
    """What one question may cost; a batch of files that was begun is finished."""

    files: int = 3_000
    bytes: int = 64 << 20
    rows: int = 1_000_000
    seconds: float = 4.0


@dataclass(frozen=True, slots=True)
class Asked:
    """Which series are meant; "" means any.

    Attributes:
        begin_ms, end_ms: of samples, half-open, Unix ms.
        tenant, kind, rule, metric: exactly these.
        text: a part of the metric's name or of a label's name or value, whatever its case.
    """

    begin_ms: int
    end_ms: int
    tenant: str = ""
    kind: str = ""
    rule: str = ""
    metric: str = ""
    text: str = ""


@dataclass(slots=True)
class Extent:
    """What an answer stands on.

    Attributes:
        files, bytes, rows: that were read; seconds: how long that took.
        since_ms: the oldest sample time that was read whole, None where nothing was.
        cut: why older files were not read, "" where all were.
        unreadable: files that could not be read, with their reasons.
    """

    files: int = 0
    bytes: int = 0
    rows: int = 0
    seconds: float = 0.0
    since_ms: int | None = None
    cut: str = ""
    unreadable: list[str] = field(default_factory=list)


class SeriesScan:
    """Reads files of series.

    Args:
        archive: where the files lie.
        ledger: knows which there are.
        bounds: what one reading may cost.
        monotonic: seconds.
    """

    def __init__(
        self,
        archive: ReadOnlyBucket,
        ledger: Ledger,
        bounds: Bounds | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._archive, self._ledger = archive, ledger
        self._bounds = bounds if bounds is not None else Bounds()
        self._monotonic = monotonic

    def collect(self, asked: Asked, look: Callable[[pl.LazyFrame], pl.LazyFrame]) -> tuple[pl.DataFrame | None, Extent]:
        """What `look` makes of the files asked for, batch by batch; None where no row is left."""
        (found,), extent = self.collect_all(asked, [look])
        return found, extent

    def collect_all(
        self, asked: Asked, looks: Sequence[Callable[[pl.LazyFrame], pl.LazyFrame]]
    ) -> tuple[list[pl.DataFrame | None], Extent]:
        """The same for several looks at the files, which are read once."""
        extent, begun = Extent(), self._monotonic()
        parts: list[list[pl.DataFrame]] = []
        for batch in self._batches(asked, extent):
            if extent.files and self._monotonic() - begun >= self._bounds.seconds:
                extent.cut = f"reading took longer than {self._bounds.seconds:g} s"
                break
            parts += self._read(batch, asked, looks, extent)
            extent.since_ms = batch[-1].time_ms
        if not extent.cut:
            extent.since_ms = asked.begin_ms
        extent.seconds = self._monotonic() - begun
        filled = [[part for part in column if len(part)] for column in zip(*parts, strict=True)]
        return [pl.concat(column) if column else None for column in filled] or [None] * len(looks), extent

    def _batches(self, asked: Asked, extent: Extent) -> "Iterator[list[_File]]":
        """Files asked for, newest first, some at a time, of one kind each; a file that jobs share comes alone."""
        bounds = self._bounds
        listed = FileRecords(self._ledger).files_between(
            asked.begin_ms, asked.end_ms, kind=asked.kind, newest=bounds.files + 1
        )
        if len(listed) > bounds.files:
            del listed[-1]
            extent.cut = f"there are more than {bounds.files:,} files"
        files: dict[str, _File] = {}
        size_bytes = rows = 0
        for time_ms, file in listed:
            size_bytes, rows = size_bytes + (file.key not in files) * file.size_bytes, rows + file.rows
            if files and (size_bytes > bounds.bytes or rows > bounds.rows):
                extent.cut = f"there are more than {bounds.bytes >> 20} MiB or {bounds.rows:,} samples"
                break
            files.setdefault(file.key, _File(file)).add(file.job_id, time_ms, file.rows)
        alone: dict[str, list[_File]] = {}
        for one in files.values():
            if one.is_shared:
                yield [one]
                continue
            batch = alone.setdefault(one.kind, [])
            batch.append(one)
            if len(batch) == _BATCH:
                yield batch
                alone[one.kind] = []
        yield from (batch for batch in alone.values() if batch)

    def _read(
        self,
        batch: "Sequence[_File]",
        asked: Asked,
        looks: Sequence[Callable[[pl.LazyFrame], pl.LazyFrame]],
        extent: Extent,
    ) -> list[list[pl.DataFrame]]:
        good: list[tuple[_File, bytes]] = []
        for file, data in zip(batch, self._bytes(batch), strict=True):
            try:
                if isinstance(data, Exception):
                    raise data
                # Polars verifies no checksum.
                good.append((file, check_file(data, file.stored)))
            except (StorageError, DamagedSeries) as error:
                extent.unreadable.append(str(error))
        extent.files += len(good)
        extent.bytes += sum(len(data) for _, data in good)
        extent.rows += sum(file.rows for file, _ in good)

        def collect(chosen: Sequence[tuple[_File, bytes]]) -> list[pl.DataFrame]:
            frame = _filtered(pl.scan_parquet([data for _, data in chosen]), asked)
            if chosen[0][0].is_shared:
                # Rows of jobs that have newer files of their own do not count.
                frame = frame.filter(pl.col("job").is_in(chosen[0][0].jobs))
            frame = frame.with_columns(pl.lit(chosen[0][0].kind).alias("kind"))
            return pl.collect_all([look(frame) for look in looks])

        if not good:
            return []
        try:
            return [collect(good)]
        except (pl.exceptions.PolarsError, OSError):
            parts = []
            for one in good:  # one damaged file must not hide the others
                try:
                    parts.append(collect([one]))
                except (pl.exceptions.PolarsError, OSError) as error:
                    extent.unreadable.append(f"{one[0].key} holds no series: {first_line(error)}")
            return parts

    def _bytes(self, batch: "Sequence[_File]") -> list[bytes | StorageError]:
        if len(batch) == 1:
            try:
                return [self._archive.read(batch[0].key)]
            except StorageError as error:
                return [error]
        return self._archive.get_many(batch)


class _File:
    """A file, and which jobs' rows of it count."""

    def __init__(self, file: SeriesFile) -> None:
        self.stored = file
        self.key, self.kind, self.size_bytes = file.key, file.kind, file.size_bytes
        self.is_shared = not parse_series_name(file.key)[0]
        self.jobs: list[str] = []
        self.time_ms = self.rows = 0

    def add(self, job: str, time_ms: int, rows: int) -> None:
        """One more job, older than those before."""
        self.jobs.append(job)
        self.time_ms = time_ms
        self.rows += rows


def _filtered(frame: pl.LazyFrame, asked: Asked) -> pl.LazyFrame:
    frame = frame.filter(pl.col("timestamp_ms") >= asked.begin_ms, pl.col("timestamp_ms") < asked.end_ms)
    for name, value in (("tenant", asked.tenant), ("metric", asked.metric), ("rule", asked.rule)):
        if value:
            frame = frame.filter(pl.col(name) == value)
    if asked.text:
        part = asked.text.lower()

        def has(text: pl.Expr) -> pl.Expr:
            return text.str.to_lowercase().str.contains(part, literal=True)

        element = pl.element()
        of_label = has(element.struct.field("name")) | has(element.struct.field("value"))
        frame = frame.filter(has(pl.col("metric")) | pl.col("labels").list.eval(of_label).list.any())
    return frame
