"""Files of history for receivers that take no old samples: one per UTC day, sorted by series and time.

Here, too:
* samples as lines of text: the exposition format of Prometheus and OpenMetrics, by columns;
* sorting more samples than fit into memory: sorted runs on disk, merged piece by piece.

`openmetrics` is valid for `promtool tsdb create-blocks-from openmetrics` (gauges, seconds, `# EOF`); `victoriametrics`
is for its `/api/v1/import/prometheus` (milliseconds). Any number of samples goes through bounded memory; a file is
there whole or not at all.
"""

import os
import shutil
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any, BinaryIO, Final, Literal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pyro_assets.block.columns import I64, starts
from pyro_assets.errors import ExportError
from pyro_assets.export.remote_write.batch import prepare
from pyro_assets.export.remote_write.refusals import Refusal, Refusals
from pyro_assets.export.samples import Samples
from pyro_assets.receivers.model import Receiver
from pyro_assets.storage.keys import tenant_folder

_ESCAPES: Final = str.maketrans({"\\": "\\\\", '"': '\\"', "\n": "\\n"})


def escape(value: str) -> str:
    r"""A label's value as it stands between quotes.

    >>> print(escape('a"b\\c'))
    a\"b\\c
    """
    return value.translate(_ESCAPES)


def quote_name(name: str) -> str:
    """A label's name as it stands in a line or a selector: in quotes where it is not legal everywhere.

    >>> quote_name("pod"), quote_name("__name__"), quote_name("k8s.pod")
    ('pod', '__name__', '"k8s.pod"')
    """
    return name if name.isidentifier() and name.isascii() else f'"{escape(name)}"'


def series_lines(samples: Samples) -> Any:
    """The series of each sample as text, `metric{name="value",...}`, labels in byte order: Arrow strings, n."""
    import pyarrow.compute as pc

    pieces = [
        f'{quote_name(samples.names[name])}="{escape(samples.values[value])}"'
        for name, value in zip(samples.pair_name.tolist(), samples.pair_value.tolist(), strict=True)
    ]
    is_name = (samples.pair_name == samples.name_code).take(samples.pair)
    offsets = starts(~is_name).take(samples.offsets)
    labels = pa.ListArray.from_arrays(
        pa.array(offsets.astype(np.int32)),
        pa.array(pieces, type=pa.string()).take(pa.array(samples.pair.compress(~is_name))),
    )
    return pc.binary_join_element_wise(metrics(samples), "{", pc.binary_join(labels, ","), "}", "")


def metrics(samples: Samples) -> Any:
    """The name of each sample's metric: Arrow strings, n. Every sample must have one."""
    is_name = (samples.pair_name == samples.name_code).take(samples.pair)
    values = samples.pair_value.take(samples.pair.compress(is_name))
    return pa.array(samples.values, type=pa.string()).take(pa.array(values))


def seconds_text(timestamp_ms: Any) -> Any:
    """Milliseconds, int64 from 0, as seconds with three decimals: Arrow strings.

    >>> seconds_text(pa.array([1_795_600_276_005, 7])).to_pylist()
    ['1795600276.005', '0.007']
    """
    import pyarrow.compute as pc

    # pyarrow has no remainder.
    seconds = pc.divide(timestamp_ms, 1000)
    rest = pc.subtract(timestamp_ms, pc.multiply(seconds, 1000))
    padded = pc.utf8_lpad(rest.cast(pa.string()), 3, padding="0")
    return pc.binary_join_element_wise(seconds.cast(pa.string()), padded, ".")


def value_text(values: Any) -> Any:
    """Doubles in the shortest form that reads back as the same double: Arrow strings."""
    return values.cast(pa.string())


#: Lines in memory while a run is made, and again while runs are merged.
MAX_ROWS: Final = 128 * 1024
_FEWEST_ROWS: Final = 512
_MAX_RUNS: Final = 256
_ORDER: Final = [("series", "ascending"), ("timestamp_ms", "ascending")]
_SCHEMA: Final = pa.schema(
    [
        pa.field("series", pa.string()),
        pa.field("timestamp_ms", pa.int64()),
        pa.field("value", pa.float64()),
        pa.field("metric", pa.string()),
        pa.field("rule", pa.string()),
    ]
)


class Spool:
    """Collects lines in a folder of its own and gives them back in order.

    Args:
        folder: empty; its files are removed by `close`.
    """

    def __init__(self, folder: Path, max_rows: int = MAX_ROWS) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        self._max_rows = max_rows
        self._parts: list[Any] = []
        self._rows = 0
        self._runs: list[Path] = []
        self._made = 0

    def add(self, table: Any) -> None:
        """Take lines in any order."""
        for begin in range(0, table.num_rows, self._max_rows):
            part = table.slice(begin, self._max_rows).select(_SCHEMA.names).cast(_SCHEMA)
            if self._rows + part.num_rows > self._max_rows:
                self.flush()
            self._parts.append(part)
            self._rows += part.num_rows

    def sorted(self) -> Iterator[Any]:
        """All lines by series and time, in tables of about `max_rows` lines; equal ones are in the same table."""
        self.flush()
        while len(self._runs) > _MAX_RUNS:  # merge the smallest first
            some, self._runs = self._runs[:_MAX_RUNS], self._runs[_MAX_RUNS:]
            self._write(self._merge(some))
            for run in some:
                run.unlink()
        yield from self._merge(self._runs)

    def close(self) -> None:
        """Remove what is on disk."""
        self._parts, self._rows = [], 0
        for run in self._folder.glob("run-*.parquet"):
            run.unlink()
        self._folder.rmdir()

    @property
    def pending_rows(self) -> int:
        """Lines that are still in memory."""
        return self._rows

    def flush(self) -> None:
        """Write what is in memory as a run."""
        if self._parts:
            self._write(iter([pa.concat_tables(self._parts).sort_by(_ORDER)]))
            self._parts, self._rows = [], 0

    def _write(self, tables: Iterator[Any]) -> None:
        path = self._folder / f"run-{self._made:06d}.parquet"
        self._made += 1
        with pq.ParquetWriter(path, _SCHEMA, compression="zstd", write_statistics=False) as writer:
            for table in tables:
                writer.write_table(table, row_group_size=_FEWEST_ROWS * 16)
        self._runs.append(path)

    def _merge(self, paths: list[Path]) -> Iterator[Any]:
        """Merge runs: as much as is certainly complete of all of them at a time, sorted again."""
        rows = max(_FEWEST_ROWS, self._max_rows // max(1, len(paths)))
        runs = [_Run(path, rows) for path in paths]
        try:
            carried: Any = None
            while sum([run.refill() for run in runs]):  # all of them, not up to the first that has some
                # Whatever is not loaded yet is not smaller than the smallest last line of a run that has more.
                last = min((run.last for run in runs if run.has_more), default=None)
                taken = [run.take(last) for run in runs]
                merged = pa.concat_tables([*([carried] if carried is not None else []), *taken]).sort_by(_ORDER)
                # Lines equal to the last one may still come from a run's next piece: they wait for it.
                cut = merged.num_rows if last is None else _Run.position(merged, last, before=True)
                carried = merged.slice(cut).combine_chunks()
                if cut:
                    yield merged.slice(0, cut)
            if carried is not None and carried.num_rows:
                yield carried
        finally:
            for run in runs:
                run.close()


class _Run:
    """One sorted run, of which a piece is loaded."""

    def __init__(self, path: Path, rows: int) -> None:
        self._file: Any = pq.ParquetFile(path)
        self._batches: Any = self._file.iter_batches(rows, use_threads=False)
        self._next: Any = next(self._batches, None)
        self._table: Any = _SCHEMA.empty_table()

    @property
    def has_more(self) -> bool:
        """Whether lines are left that are not loaded."""
        return self._next is not None

    @property
    def last(self) -> tuple[str, int]:
        """Series and time of the last loaded line."""
        end = self._table.num_rows - 1
        return self._table["series"][end].as_py(), self._table["timestamp_ms"][end].as_py()

    def refill(self) -> bool:
        """Load the next piece where nothing is loaded; whether anything is."""
        while not self._table.num_rows and self._next is not None:
            self._table = pa.Table.from_batches([self._next])
            self._next = next(self._batches, None)
        return bool(self._table.num_rows)

    def take(self, last: tuple[str, int] | None) -> Any:
        """Remove and return the lines up to and including `last`, all of them for None."""
        cut = self._table.num_rows if last is None else self.position(self._table, last)
        taken, self._table = self._table.slice(0, cut), self._table.slice(cut)
        return taken

    @staticmethod
    def position(table: Any, line: tuple[str, int], *, before: bool = False) -> int:
        """How many lines of a sorted table are not greater than `line`, or smaller than it."""
        low, high = 0, table.num_rows
        series, times = table["series"], table["timestamp_ms"]
        while low < high:
            middle = (low + high) // 2
            here = (series[middle].as_py(), times[middle].as_py())
            # Text is compared as bytes, as Arrow sorts it.
            mine, other = (here[0].encode(), here[1]), (line[0].encode(), line[1])
            if mine < other or (mine == other and not before):
                low = middle + 1
            else:
                high = middle
        return low

    def close(self) -> None:
        """Close the file."""
        self._file.close()


FileFormat = Literal["openmetrics", "victoriametrics"]
SUFFIX: Final[dict[str, str]] = {"openmetrics": ".om", "victoriametrics": ".prom"}
_DAY_MS: Final = 86_400_000


def any_receiver() -> Receiver:
    """A receiver for files that are for no configured one: everything, without limits, tenants by a label."""
    return Receiver(name="files", url="http://localhost/", kind="prometheus")


@dataclass(frozen=True, slots=True)
class WrittenFile:
    """One file of one day.

    Attributes:
        org_id: whose series it holds where the receiver keeps tenants apart, "" where it holds all.
        samples, series: how many lines, of how many series.
        min_time_ms, max_time_ms: of its samples, both inclusive.
    """

    path: Path
    org_id: str
    day: str
    samples: int
    series: int
    min_time_ms: int
    max_time_ms: int
    size_bytes: int


@dataclass(slots=True)
class FilesReport:
    """Written files, refused samples (two of one series and time, bad labels), and damaged files of series."""

    files: list[WrittenFile] = field(default_factory=list)
    refused: Refusals = field(default_factory=Refusals)
    unreadable: list[str] = field(default_factory=list)

    @property
    def samples(self) -> int:
        """Samples in all files."""
        return sum(file.samples for file in self.files)


def write_files(
    jobs: Iterable[Samples],
    receiver: Receiver,
    folder: Path,
    *,
    file_format: FileFormat = "openmetrics",
    from_ms: int = 0,
    to_ms: int = 1 << 62,
) -> FilesReport:
    """Write the samples of jobs as files, split by day.

    Args:
        jobs: samples of one job and kind each, in any order, as `samples.open_series` reads them.
        receiver: for whom: its tenants, metrics, labels and limits of labels hold; its window does not.
        folder: where the files go: `DAY.om`, or `ORG/DAY.om` where the receiver keeps tenants apart by
            X-Scope-OrgID alone. Files of the same names are replaced.
        file_format: see the module.
        from_ms: the first millisecond of samples that are written.
        to_ms: the first millisecond of samples that are not written any more.

    Raises:
        ExportError: the folder cannot be written to.
    """
    report = FilesReport()
    working = folder / f".working-{os.getpid()}"
    spools: dict[tuple[str, int], Spool] = {}
    try:
        working.mkdir(parents=True, exist_ok=True)
        for samples in jobs:
            inside = (samples.timestamp_ms >= from_ms) & (samples.timestamp_ms < to_ms)
            prepared = prepare(samples.take(np.flatnonzero(inside)), receiver, 0, ageless=True)
            report.refused.merge(prepared.refusals)
            for org_id, day, rows in _by_file(prepared.samples, receiver):
                if (org_id, day) not in spools:
                    spools[org_id, day] = Spool(working / f"spool-{len(spools)}")
                spools[org_id, day].add(_lines(prepared.samples.take(rows)))
                # Many days at once must not hold more in memory than one.
                if sum(spool.pending_rows for spool in spools.values()) > MAX_ROWS:
                    max(spools.values(), key=lambda spool: spool.pending_rows).flush()
        for (org_id, day), spool in sorted(spools.items()):
            name = datetime.fromtimestamp(day * 86_400, UTC).strftime("%Y-%m-%d")
            place = folder / tenant_folder(org_id) if org_id else folder
            place.mkdir(parents=True, exist_ok=True)
            written = _write_file(spool, place / (name + SUFFIX[file_format]), working, file_format, report.refused)
            spool.close()
            if written is not None:
                report.files.append(WrittenFile(written[0], org_id, name, *written[1:]))
    except OSError as error:
        raise ExportError(f"{folder} cannot be written to: {error.strerror or error}") from error
    finally:
        shutil.rmtree(working, ignore_errors=True)
    return report


def _by_file(samples: Samples, receiver: Receiver) -> Iterator[tuple[str, int, I64]]:
    """X-Scope-OrgID ("" where one file holds all), day since 1970, and rows of each file that samples belong to."""
    is_apart = receiver.effective_tenant_label is None and receiver.org_id is None and receiver.only_tenant is None
    org = samples.tenant if is_apart else np.zeros(len(samples), dtype=np.int32)
    day = samples.timestamp_ms // _DAY_MS
    for one_org, one_day in sorted(set(zip(org.tolist(), day.tolist(), strict=True))):
        name = receiver.org_of(samples.tenants[one_org]) if is_apart else ""
        yield name, one_day, np.flatnonzero((org == one_org) & (day == one_day))


def _lines(samples: Samples) -> Any:
    return pa.table(
        {
            "series": series_lines(samples),
            "timestamp_ms": samples.timestamp_ms,
            "value": samples.value,
            "metric": metrics(samples),
            "rule": pa.array(samples.rules, type=pa.string()).take(pa.array(samples.rule)),
        }
    )


def _write_file(
    spool: Spool, path: Path, working: Path, file_format: FileFormat, refused: Refusals
) -> tuple[Path, int, int, int, int, int] | None:
    """Write one file beside its place and move it there; None when no sample is left."""
    partial = working / "partial"
    samples = series = 0
    min_time_ms, max_time_ms = 1 << 62, -(1 << 62)
    last_series, last_metric = "", ""
    with partial.open("wb") as file:
        for table in spool.sorted():
            kept = _without_duplicates(table, refused)
            if not kept.num_rows:
                continue
            distinct = kept["series"].unique()
            series += len(distinct) - (distinct[0].as_py() == last_series)
            last_series = distinct[len(distinct) - 1].as_py()
            samples += kept.num_rows
            times = kept["timestamp_ms"].to_numpy()
            min_time_ms, max_time_ms = min(min_time_ms, int(times.min())), max(max_time_ms, int(times.max()))
            last_metric = _write_lines(file, kept, file_format, last_metric)
        if file_format == "openmetrics":
            file.write(b"# EOF\n")
        file.flush()
        os.fsync(file.fileno())
        size_bytes = file.tell()
    if not samples:
        return None
    partial.replace(path)
    return path, samples, series, min_time_ms, max_time_ms, size_bytes


def _write_lines(file: BinaryIO, table: Any, file_format: FileFormat, last_metric: str) -> str:
    """Append lines, with a TYPE where a metric begins; returns the last metric."""
    import pyarrow.compute as pc

    is_openmetrics = file_format == "openmetrics"
    times = table["timestamp_ms"]
    time = seconds_text(times) if is_openmetrics else times.cast(pa.string())
    lines = pc.binary_join_element_wise(table["series"], value_text(table["value"]), time, " ")
    codes = _flat(table["metric"]).dictionary_encode()
    number = codes.indices.to_numpy(zero_copy_only=False)
    bounds = [0, *(np.flatnonzero(np.diff(number)) + 1).tolist(), len(number)]
    for begin, end in pairwise(bounds):  # runs of one metric
        metric = codes.dictionary[int(number[begin])].as_py()
        if metric != last_metric and is_openmetrics:
            file.write(f"# TYPE {metric} gauge\n".encode())
        last_metric = metric
        part = lines.slice(begin, end - begin)
        one = pa.ListArray.from_arrays(pa.array([0, end - begin], type=pa.int32()), _flat(part))
        file.write(pc.binary_join(one, "\n")[0].as_py().encode() + b"\n")
    return last_metric


def _flat(column: Any) -> Any:
    flat = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    return flat.chunk(0) if isinstance(flat, pa.ChunkedArray) else flat


def _without_duplicates(table: Any, refused: Refusals) -> Any:
    """Lines whose series and time no other line has; the others are refused, all of them."""
    if table.num_rows < 2:
        return table
    series = _flat(table["series"]).dictionary_encode().indices.to_numpy(zero_copy_only=False)
    times = table["timestamp_ms"].to_numpy()
    same = (np.diff(series) == 0) & (np.diff(times) == 0)
    if not same.any():
        return table
    is_bad = np.append(same, False) | np.append(False, same)
    for row in table.filter(pa.array(is_bad)).to_pylist():
        why = f"{row['series']} has several samples at this time"
        refused.add(
            Refusal(
                "duplicate_sample", row["rule"], "", {"__name__": row["metric"]}, row["timestamp_ms"], row["value"], why
            )
        )
    return table.filter(pa.array(~is_bad))
