"""Files of history for receivers that take no old samples: one per UTC day, sorted by series and time.

`openmetrics` is valid for `promtool tsdb create-blocks-from openmetrics` (gauges, seconds, `# EOF`);
`victoriametrics` is for its `/api/v1/import/prometheus` (milliseconds). Any number of samples goes through bounded
memory; a file is there whole or not at all.
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

from pyro_assets.block.columns import I64
from pyro_assets.errors import ExportError
from pyro_assets.export.batch import prepare
from pyro_assets.export.receivers import Receiver
from pyro_assets.export.refusals import Refusal, Refusals
from pyro_assets.export.samples import Samples
from pyro_assets.export.spool import MAX_ROWS, Spool
from pyro_assets.export.text import metrics, seconds_text, series_lines, value_text
from pyro_assets.storage.keys import tenant_folder

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
    """What was written; samples that were not (two of one series and time, labels nobody takes); damaged files."""

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
    codes = table["metric"].combine_chunks()
    codes = (codes.chunk(0) if isinstance(codes, pa.ChunkedArray) else codes).dictionary_encode()
    number = codes.indices.to_numpy(zero_copy_only=False)
    starts = [0, *(np.flatnonzero(np.diff(number)) + 1).tolist(), len(number)]
    for begin, end in pairwise(starts):  # runs of one metric
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
    """Lines without those that share series and time with another, which are refused, all of them."""
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
