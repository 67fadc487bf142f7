"""Series as Parquet files and back: of one job, and of many jobs of an hour as the table of series has them.

Here, too:
* a flipped bit is noticed: pages have checksums, and a seal in the footer covers all bytes. Any reader of Parquet can
  verify the pages; page headers, the schema and the notes are covered by the seal alone. Files from before seals are
  read as they are, and what the ledger recorded of a file is compared by `jobs.derive`;
* series of some rules put in the place of their earlier ones, while every other rule's stay as they are;
* which files count while an hour is merged.

In a merged file rows are sorted by metric and series, so that a reader finds a metric's groups of rows by their
statistics, and each has its place among those of its job, so that a job comes back as it was. Bytes go in and out here;
what a table is, and when an hour enters it, is `archive`'s.
"""

import json
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from pyro_assets.block.columns import I64
from pyro_assets.errors import DamagedSeries, SeriesError
from pyro_assets.series.frame import SCHEMA, identities
from pyro_assets.storage.checksum import crc32c
from pyro_assets.storage.keys import hour_from_path, parse_series_name
from pyro_assets.storage.shown import first_line

#: The name of the seal among the texts of a file's metadata.
SEAL: Final = "pyro_assets.crc32c"
_DIGITS: Final = 8
#: The seal's name and the length of its value, as the footer's Thrift writes them.
_MARK: Final = bytes([len(SEAL)]) + SEAL.encode() + bytes([0x18, _DIGITS])


def check_seal(data: Any, name: str) -> bool:
    """Compares the seal of a file with its bytes.

    Returns:
        Whether it has a seal.

    Raises:
        DamagedSeries: they differ.
    """
    raw = data if isinstance(data, bytes) else bytes(memoryview(data))
    begin, end = _seal_of(raw)
    if begin < 0:
        return False
    if raw[begin:end] != (actual := _checksum(raw, begin, end)):
        expected = raw[begin:end].decode("ascii", "backslashreplace")
        raise DamagedSeries(name, f"has the CRC-32C {actual.decode()} and was written with {expected}")
    return True


def open_checked(data: Any, name: str, **options: Any) -> Any:
    """Opens a file of series; what is read from it is verified page by page.

    Args:
        data: the whole file.
        name: its key, for messages.
        options: of `pyarrow.parquet.ParquetFile`.

    Raises:
        DamagedSeries: it is no Parquet file, or not the one that was written.
    """
    check_seal(data, name)
    with damage(name):
        return pq.ParquetFile(pa.BufferReader(data), page_checksum_verification=True, **options)


def notes_in(file: Any) -> dict[str, str]:
    """The texts of a file's metadata, without its seal."""
    texts = (file.metadata.metadata or {}).items()
    return {key.decode(): value.decode() for key, value in texts if key != SEAL.encode()}


@contextmanager
def damage(name: str) -> Iterator[None]:
    """Turns what Arrow says of a damaged file into a DamagedSeries."""
    try:
        yield
    except (pa.ArrowException, OSError, KeyError, ValueError, TypeError, IndexError) as error:
        raise DamagedSeries(name, f"holds no series: {first_line(error)}") from error


def _seal_of(raw: bytes) -> tuple[int, int]:
    """Where the digits of the seal stand; (-1, -1) where there is none."""
    # The last one: texts of the data and of the footer's statistics stand before it.
    found = raw.rfind(_MARK)
    return (-1, -1) if found < 0 else (found + len(_MARK), found + len(_MARK) + _DIGITS)


def _checksum(raw: bytes, begin: int, end: int) -> bytes:
    """The seal of a file: the CRC-32C of all bytes but its own."""
    return b"%08x" % crc32c(raw[end:], crc32c(raw[:begin]))


_ROWS_PER_GROUP: Final = 64 * 1024
_NOTHING: Final[Mapping[str, str]] = {}


def to_polars(table: Any) -> pl.DataFrame:
    """An Arrow table of SCHEMA as a Polars frame."""
    frame = pl.from_arrow(table, rechunk=False)
    if not isinstance(frame, pl.DataFrame):
        raise TypeError("a table is a frame")
    return frame


def series_to_parquet(frame: pl.DataFrame, notes: Mapping[str, str] = _NOTHING) -> bytes:
    """Write series as one Parquet file; equal frames and notes give equal bytes with the same pyarrow version.

    Args:
        frame: the columns of `Derived.frames`.
        notes: texts for the file's metadata.
    """
    return _written(
        _in_schema(frame.to_arrow()),
        notes,
        _ROWS_PER_GROUP,
        # On files of some kilobytes zstd would save 5 % and double the time.
        compression="snappy",
        use_dictionary=["tenant", "metric", "labels.list.element.name", "labels.list.element.value", "rule", "job"],
        write_statistics=["tenant", "metric", "timestamp_ms", "rule"],
    )


def _written(table: Any, notes: Mapping[str, str], row_group_size: int, **options: Any) -> bytes:
    """A table as a file with checksums of its pages, its notes and a seal."""
    sink = pa.BufferOutputStream()
    with pq.ParquetWriter(sink, table.schema, store_schema=False, write_page_checksum=True, **options) as writer:
        writer.write_table(table, row_group_size=row_group_size)
        writer.add_key_value_metadata({**notes, SEAL: "0" * _DIGITS})
    raw = sink.getvalue().to_pybytes()
    begin, end = _seal_of(raw)
    return b"".join((raw[:begin], _checksum(raw, begin, end), raw[end:]))


def read_notes(data: bytes | memoryview, name: str = "<memory>") -> tuple[int, dict[str, str]]:
    """How many series a file has, and the texts of its metadata.

    Raises:
        DamagedSeries: it is no Parquet file, or not the one that was written.
    """
    file = open_checked(data, name)
    with damage(name):
        return int(file.metadata.num_rows), notes_in(file)


def parquet_to_series(data: bytes | memoryview, name: str = "<memory>") -> pl.DataFrame:
    """Read one file of series.

    Args:
        data: the whole file.
        name: its key, for messages.

    Raises:
        DamagedSeries: it is no Parquet file, has not the columns of series, or is not what was written.
    """
    return to_polars(read_job_series(data, "", name).table)


def parse_series_key(key: str) -> tuple[str, str]:
    """Kind and hour (a partition key) of a file of series.

    >>> parse_series_key("series/kind=dimension/hour=2026-11-25T09/ab12.parquet")
    ('dimension', '2026-11-25-09:00')

    Raises:
        SeriesError: it is another kind of key.
    """
    parts = dict(part.split("=", 1) for part in key.split("/")[:-1] if "=" in part)
    try:
        return parts["kind"], hour_from_path(parts["hour"])
    except (KeyError, ValueError):
        raise SeriesError(f"{key!r} names no file of series; expected series/kind=.../hour=.../JOB.parquet") from None


#: Rows of a file, but for those of its last job: so many are in memory while it is made, or read.
MAX_ROWS: Final = 256 * 1024
#: Few enough that a metric is found without reading all others, and enough that dictionaries pay.
_MERGED_ROWS_PER_GROUP: Final = 32 * 1024
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


def replace_rules(
    before: Mapping[str, pl.DataFrame], found: Mapping[str, pl.DataFrame], ids: Collection[str]
) -> tuple[dict[str, pl.DataFrame], pl.DataFrame]:
    """Put what was found of some rules among the series of a job.

    Args:
        before: kind -> all series of the job so far.
        found: kind -> series of these rules alone, as `derive` gives them.
        ids: of the rules.

    Returns:
        The kinds of `before`, in the order in which one derivation of all rules gives them; and the series that were
        left out because another rule has given them already, which keeps them.
    """
    kept = {kind: frame.filter(~pl.col("rule").is_in(list(ids))) for kind, frame in before.items()}
    taken = pl.concat([identities(frame) for frame in kept.values()])
    refused = []
    result = {}
    for kind, frame in kept.items():
        is_taken = identities(found[kind]).is_in(taken.implode())
        refused.append(found[kind].filter(is_taken))
        result[kind] = pl.concat([frame, found[kind].filter(~is_taken)]).sort("tenant", "rule", maintain_order=True)
    return result, pl.concat(refused)


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
    data = _written(
        table,
        {_JOBS: json.dumps(named, sort_keys=True, separators=(",", ":"))},
        _MERGED_ROWS_PER_GROUP,
        # Written once and read by people's tools for years: here size counts more than the time to write.
        compression="zstd",
        use_dictionary=_DICTIONARIES,
        write_statistics=["tenant", "metric", "timestamp_ms", "rule", "job"],
        write_page_index=True,
    )
    bounds = {name: pc.min_max(table[name]).as_py() for name in _BOUNDED} if table.num_rows else {}
    return Piece(
        data,
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
