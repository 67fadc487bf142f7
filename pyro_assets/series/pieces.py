"""The series of many jobs of an hour in one Parquet file, as the table of series has them.

Rows are sorted by metric and series, so that a reader finds a metric's groups of rows by their statistics, and each has
its place among those of its job, so that a job comes back as it was. Bytes go in and out here; what a table is, and
when an hour enters it, is `archive`'s.
"""

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pyro_assets.block.columns import I64
from pyro_assets.errors import DamagedSeries, SeriesError
from pyro_assets.series.frame import SCHEMA, to_polars
from pyro_assets.series.sealing import CHECKED_PAGES, add_notes, damage, notes_in, open_checked, sealed
from pyro_assets.storage.keys import parse_series_name

#: Rows of a file, but for those of its last job: so many are in memory while it is made, or read.
MAX_ROWS: Final = 256 * 1024
#: Few enough that a metric is found without reading all others, and enough that dictionaries pay.
_ROWS_PER_GROUP: Final = 32 * 1024
#: The name of what a file says of its jobs.
_JOBS: Final = "pyro_assets.jobs"
#: The place of a row among those of its job.
ROW: Final = "row"
#: The columns of a file.
PIECE_SCHEMA: Final = SCHEMA.append(pa.field(ROW, pa.int32()))
_DICTIONARIES: Final = [
    "tenant", "metric", "labels.list.element.name", "labels.list.element.value", "timestamp_ms", "rule", "job", ROW,
]  # fmt: skip
_TEXTS: Final = ["tenant", "metric", "rule", "job"]
_BOUNDED: Final = ("tenant", "metric", "timestamp_ms")


@dataclass(frozen=True, slots=True)
class JobSeries:
    """The series of one job: rows of SCHEMA, and the metadata of the file that they were in."""

    job: str
    table: Any
    metadata: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Piece:
    """Some jobs of an hour as one file.

    Attributes:
        data: the file.
        jobs: job -> how many rows it has.
        smallest, largest: of columns that readers look for, nothing where there are no rows.
    """

    data: bytes
    jobs: Mapping[str, int]
    smallest: Mapping[str, Any]
    largest: Mapping[str, Any]

    @property
    def rows(self) -> int:
        """Of all jobs."""
        return sum(self.jobs.values())


@dataclass(frozen=True, slots=True)
class CurrentFile:
    """A file that counts; of a merged one without the rows of these jobs, which have newer files of their own."""

    key: str
    without: frozenset[str] = frozenset()


def current_files(keys: Iterable[str]) -> list[CurrentFile]:
    """Which files count, of any number of folders `series/kind=.../hour=.../`, in the order of their keys.

    A job's own file counts from the number of the newest merged file on; that one holds what had smaller numbers. So
    no series is seen twice while an hour is merged, nor after a job was derived again.

    >>> [file.key for file in current_files(["h/a.parquet", "h/b.parquet"])]
    ['h/a.parquet', 'h/b.parquet']
    >>> current_files(["h/a.parquet", "h/a-000001.parquet", "h/b.parquet", "h/merged-000001.parquet"])
    [CurrentFile(key='h/a-000001.parquet', without=frozenset()), \
CurrentFile(key='h/merged-000001.parquet', without=frozenset({'a'}))]
    """
    folders: dict[str, dict[str, tuple[int, str]]] = {}
    for key in keys:
        if key.endswith(".parquet"):
            job, number = parse_series_name(key)
            newest = folders.setdefault(key.rpartition("/")[0], {})
            newest[job] = max(newest.get(job, (-1, "")), (number, key))
    found = []
    for newest in folders.values():
        number, merged = newest.pop("", (-1, ""))
        own = {job: key for job, (its_number, key) in newest.items() if its_number >= number}
        found += [CurrentFile(key) for key in own.values()]
        found += [CurrentFile(merged, frozenset(own))] if merged else []
    return sorted(found, key=lambda file: file.key)


def read_job_series(data: bytes | memoryview, job: str, name: str = "<memory>") -> JobSeries:
    """Read a job's own file as it is.

    Raises:
        DamagedSeries: it holds no series, or not those that were written.
    """
    file = open_checked(data, name)
    with damage(name):
        return JobSeries(job, _in_schema(file.read(use_threads=False)), notes_in(file))


def write_pieces(parts: Iterable[JobSeries], max_rows: int = MAX_ROWS) -> Iterator[Piece]:
    """Write jobs into as few files as their size allows, whole and in the order given.

    The same parts give the same bytes with the same versions of Polars and pyarrow. Memory holds one file and its rows.
    """
    waiting: list[JobSeries] = []
    rows = 0
    for part in parts:
        if waiting and rows + part.table.num_rows > max_rows:
            yield _piece(waiting)
            waiting, rows = [], 0
        waiting.append(part)
        rows += part.table.num_rows
    if waiting:
        yield _piece(waiting)


def _piece(parts: list[JobSeries]) -> Piece:
    counts = [part.table.num_rows for part in parts]
    metadata: dict[str, int] = {}
    texts = [json.dumps(dict(part.metadata), sort_keys=True) for part in parts]
    numbers = [metadata.setdefault(text, len(metadata)) for text in texts]
    named = {
        "jobs": [[part.job, count, number] for part, count, number in zip(parts, counts, numbers, strict=True)],
        "metadata": [json.loads(text) for text in metadata],
    }
    table = _sorted(pa.concat_tables([part.table for part in parts]), counts)
    sink = pa.BufferOutputStream()
    with pq.ParquetWriter(
        sink,
        PIECE_SCHEMA,
        # Written once and read by people's tools for years: here size counts more than the time to write.
        compression="zstd",
        use_dictionary=_DICTIONARIES,
        write_statistics=["tenant", "metric", "timestamp_ms", "rule", "job"],
        write_page_index=True,
        store_schema=False,
        **CHECKED_PAGES,
    ) as writer:
        writer.write_table(table, row_group_size=_ROWS_PER_GROUP)
        add_notes(writer, {_JOBS: json.dumps(named, sort_keys=True, separators=(",", ":"))})
    bounds = {name: pc.min_max(table[name]).as_py() for name in _BOUNDED} if table.num_rows else {}
    return Piece(
        sealed(sink.getvalue()),
        {part.job: count for part, count in zip(parts, counts, strict=True)},
        {name: both["min"] for name, both in bounds.items()},
        {name: both["max"] for name, both in bounds.items()},
    )


def _sorted(table: Any, counts: list[int]) -> Any:
    """Rows of jobs, one after another, by series and then by time, with the place that each had among its job's."""
    rows = np.concatenate([np.arange(count, dtype=np.int32) for count in [0, *counts]])
    frame = to_polars(table).with_columns(pl.Series(ROW, rows))
    ordered = frame.sort("tenant", "metric", "labels", "timestamp_ms", "job", ROW)
    return ordered.to_arrow().select(PIECE_SCHEMA.names).cast(PIECE_SCHEMA)


class MergedFile:
    """A file of several jobs, opened: one of the table, or one of an hour that was merged before there was a table.

    Attributes:
        jobs: job -> how many rows it has, in the order in which they were written.

    Raises:
        DamagedSeries: it is no such file, or not the one that was written.
    """

    def __init__(self, data: bytes | memoryview, name: str = "<memory>") -> None:
        self._name = name
        self._file: Any = open_checked(data, name, read_dictionary=_TEXTS)
        self._rows: tuple[Any, Mapping[str, I64]] | None = None
        with damage(name):
            named = json.loads(notes_in(self._file)[_JOBS])
            self.jobs: dict[str, int] = {job: int(rows) for job, rows, _ in named["jobs"]}
            self._metadata = {job: dict(named["metadata"][number]) for job, _, number in named["jobs"]}
            there = int(self._file.metadata.num_rows)
        if there != sum(self.jobs.values()):
            raise DamagedSeries(name, f"has {there} rows and says that its jobs have {sum(self.jobs.values())}")

    def metadata(self, job: str) -> Mapping[str, str]:
        """The metadata of the file in which a job's series were before."""
        return self._metadata[job]

    def read(self, job: str) -> JobSeries:
        """The series of a job. The first call reads the whole file, the others only look into it.

        Raises:
            SeriesError: it is not in the file, or the file is damaged.
        """
        if job not in self.jobs:
            raise SeriesError(f"{self._name} has no job {job}")
        with damage(self._name):
            if self._rows is None:
                self._rows = self._read()
            table, places = self._rows
            found = table.take(pa.array(places.get(job, np.empty(0, dtype=np.int64))))
            return JobSeries(job, _in_schema(found), self._metadata[job])

    def _read(self) -> tuple[Any, Mapping[str, I64]]:
        """The rows as they lie there, and where those of each job are, in the job's own order."""
        table = self._file.read(use_threads=False).combine_chunks()
        jobs = table["job"].combine_chunks()
        code = jobs.indices.to_numpy().astype(np.int64)
        # Files from before the table have the rows of each job side by side, in order.
        row = table[ROW].to_numpy() if ROW in table.column_names else np.arange(len(code))
        ordered = np.lexsort((row, code))
        ends = np.cumsum(np.bincount(code, minlength=len(jobs.dictionary)))
        places = dict(zip(jobs.dictionary.to_pylist(), np.split(ordered, ends[:-1]) if len(ends) else (), strict=True))
        if any(len(places.get(job, ())) != count for job, count in self.jobs.items()):
            raise DamagedSeries(self._name, "has other rows than it says of its jobs")
        return table, places


def without_jobs(frame: pl.DataFrame, jobs: Iterable[str]) -> pl.DataFrame:
    """Series that belong to none of these jobs."""
    unwanted = sorted(jobs)
    return frame.filter(~pl.col("job").is_in(unwanted)) if unwanted else frame


def _in_schema(table: Any) -> Any:
    return table.select(SCHEMA.names).cast(SCHEMA).combine_chunks()
