"""The series of all jobs of an hour in one Parquet file, and which files of an hour's folder count.

Bytes go in and out here, and names; when an hour is merged, and what the ledger says of it, is `archive.merge`'s.
A file says in its own metadata which rows are whose, so that one job is read without looking at the others.
"""

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from pyro_assets.errors import DamagedSeries, SeriesError
from pyro_assets.series.frame import SCHEMA
from pyro_assets.series.sealing import CHECKED_PAGES, add_notes, damage, notes_in, open_checked, sealed
from pyro_assets.storage.keys import parse_series_name

if TYPE_CHECKING:
    import polars as pl

_ROWS_PER_GROUP: Final = 64 * 1024
#: The name of what a merged file says of itself.
_JOBS: Final = "pyro_assets.jobs"


@dataclass(frozen=True, slots=True)
class JobSeries:
    """The series of one job: rows of SCHEMA, and the metadata of the file that they were in."""

    job: str
    table: Any
    metadata: Mapping[str, str]


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


def write_merged(parts: Iterable[JobSeries]) -> bytes:
    """Write jobs into one file, in the order given; the same parts give the same bytes with the same pyarrow version.

    Memory holds a group of rows and the file.
    """
    sink = pa.BufferOutputStream()
    jobs: list[tuple[str, int, int]] = []
    metadata: dict[str, int] = {}
    with pq.ParquetWriter(
        sink,
        SCHEMA,
        # Written once and read by people's tools for years: here size counts more than the time to write.
        compression="zstd",
        use_dictionary=["tenant", "metric", "labels.list.element.name", "labels.list.element.value", "rule", "job"],
        write_statistics=["tenant", "metric", "timestamp_ms", "rule", "job"],
        store_schema=False,
        **CHECKED_PAGES,
    ) as writer:
        waiting: list[Any] = []
        rows = 0
        for part in parts:
            text = json.dumps(dict(part.metadata), sort_keys=True)
            jobs.append((part.job, part.table.num_rows, metadata.setdefault(text, len(metadata))))
            waiting.append(part.table)
            rows += part.table.num_rows
            if rows >= _ROWS_PER_GROUP:
                writer.write_table(pa.concat_tables(waiting).combine_chunks(), row_group_size=_ROWS_PER_GROUP)
                waiting, rows = [], 0
        if rows:
            writer.write_table(pa.concat_tables(waiting).combine_chunks(), row_group_size=_ROWS_PER_GROUP)
        named = {"jobs": jobs, "metadata": [json.loads(text) for text in metadata]}
        add_notes(writer, {_JOBS: json.dumps(named, sort_keys=True, separators=(",", ":"))})
    return sealed(sink.getvalue())


class MergedFile:
    """A merged file, opened.

    Attributes:
        jobs: job -> how many rows it has, in the order of the file.

    Raises:
        DamagedSeries: it is no merged file, or not the one that was written.
    """

    def __init__(self, data: bytes | memoryview, name: str = "<memory>") -> None:
        self._name = name
        self._group: tuple[int, Any] = (-1, None)
        self._file: Any = open_checked(data, name)
        with damage(name):
            named = json.loads(notes_in(self._file)[_JOBS])
            self.jobs: dict[str, int] = {job: int(rows) for job, rows, _ in named["jobs"]}
            self._metadata = {job: dict(named["metadata"][number]) for job, _, number in named["jobs"]}
            groups = [self._file.metadata.row_group(n).num_rows for n in range(self._file.num_row_groups)]
        self._begins: dict[str, int] = {}
        begin = 0
        for job, rows in self.jobs.items():
            self._begins[job] = begin
            begin += rows
        self._group_begins = [sum(groups[:n]) for n in range(len(groups) + 1)]
        if begin != self._group_begins[-1]:
            raise DamagedSeries(name, f"has {self._group_begins[-1]} rows and says that its jobs have {begin}")

    def metadata(self, job: str) -> Mapping[str, str]:
        """The metadata of the file in which a job's series were before."""
        return self._metadata[job]

    def read(self, job: str) -> JobSeries:
        """The series of a job; jobs in the order of the file are read fastest.

        Raises:
            SeriesError: it is not in the file, or the file is damaged.
        """
        if job not in self.jobs:
            raise SeriesError(f"{self._name} has no job {job}")
        begin = self._begins[job]
        end = begin + self.jobs[job]
        parts = [SCHEMA.empty_table()]
        for number, (first, last) in enumerate(zip(self._group_begins, self._group_begins[1:], strict=False)):
            if first < end and begin < last:
                with damage(self._name):
                    table = self._read_group(number)
                parts.append(table.slice(max(begin - first, 0), min(end, last) - max(begin, first)))
        return JobSeries(job, pa.concat_tables(parts).combine_chunks(), self._metadata[job])

    def _read_group(self, number: int) -> Any:
        if self._group[0] != number:
            self._group = (number, _in_schema(self._file.read_row_group(number, use_threads=False)))
        return self._group[1]


def without_jobs(frame: "pl.DataFrame", jobs: Iterable[str]) -> "pl.DataFrame":
    """Series that belong to none of these jobs."""
    import polars as pl

    unwanted = sorted(jobs)
    return frame.filter(~pl.col("job").is_in(unwanted)) if unwanted else frame


def _in_schema(table: Any) -> Any:
    return table.select(SCHEMA.names).cast(SCHEMA)
