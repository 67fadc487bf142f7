"""Rows of stored series that a query may mean, a slice of hours after the other, from lazy scans of their files.

Hours without jobs cost a look-up, files outside of the span nothing, row groups are left out by their statistics of
time, tenant and metric. What the labels must be is asked later, of few distinct label sets, by `dressing`.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import polars as pl

from pyro_assets.errors import DamagedSeries, ObjectChanged, ObjectMissing
from pyro_assets.explore.remote_read.wire import Query
from pyro_assets.jobs.derive import check_file
from pyro_assets.ledger.database import Ledger
from pyro_assets.ledger.files import FileRecords
from pyro_assets.ledger.records import SeriesFile
from pyro_assets.receivers.model import Receiver
from pyro_assets.storage.interface import ReadOnlyBucket, portions
from pyro_assets.storage.shown import first_line

#: A series as it is stored; what has these equal is one.
IDENTITY: Final = ("tenant", "metric", "rule", "labels")
#: What is held of files at once.
_READ_BYTES: Final = 64 << 20
_READ_FILES: Final = 500
#: The filters that every query has.
_SPAN_FILTERS: Final = 2
#: Pieces of a file that are read by themselves.
_MOST_RUNS: Final = 16
#: A file moves once an hour at most; whoever does not find it so often has lost it.
_TRIES: Final = 3
#: An expression that names each of its values.
_ALTERNATIVES: Final = re.compile(r"[\w:-]*(?:\|[\w:-]*)*", re.ASCII)


@dataclass(frozen=True, slots=True)
class View:
    """As whom somebody reads.

    Attributes:
        receiver: series are seen as this receiver has them.
        org_id: the X-Scope-OrgID, None for every tenant.
    """

    receiver: Receiver
    org_id: str | None = None

    @property
    def tenants(self) -> frozenset[str] | None:
        """Those that are sent under the X-Scope-OrgID; None for any."""
        receiver, org = self.receiver, self.org_id
        if org is None or receiver.org_id == org:
            return None
        if receiver.org_id is not None:
            return frozenset()
        renamed = {tenant for tenant, name in receiver.org_ids.items() if name == org}
        return frozenset(renamed if org in receiver.org_ids else renamed | {org})


def matching_rows(
    archive: ReadOnlyBucket, ledger: Ledger, query: Query, view: View, rows_at_once: int
) -> Iterator[pl.DataFrame]:
    """Slices of hours, oldest first: columns of IDENTITY, and of each series the lists `timestamp_ms` and `value`.

    A series may have several rows in a slice. Of a query for labels only, lists are empty.

    Raises:
        DamagedSeries, StorageError: a file cannot be read: an answer without it would be wrong.
    """
    filters = _filters(query, view)
    parts: list[pl.DataFrame] = []
    rows = 0
    for hour in FileRecords(ledger).hours_between(query.begin_ms, query.end_ms):
        found, size = _hour(archive, ledger, query, hour, filters)
        parts, rows = parts + found, rows + size
        if rows >= rows_at_once:
            yield pl.concat(parts)
            parts, rows = [], 0
    if parts:
        yield pl.concat(parts)


def _filters(query: Query, view: View) -> list[pl.Expr]:
    """What of a query the columns of the files can tell."""
    found = [pl.col("timestamp_ms") >= query.begin_ms, pl.col("timestamp_ms") < query.end_ms]
    if view.tenants is not None:
        found.append(pl.col("tenant").is_in(sorted(view.tenants)))
    columns = {b"__name__": "metric"}
    if (label := view.receiver.effective_tenant_label) is not None:
        columns[label.encode()] = "tenant"
    for matcher in query.matchers:
        column, value = columns.get(matcher.name), matcher.value.decode("utf-8", "replace")
        if column is None:
            continue
        if matcher.operator == "=":
            found.append(pl.col(column) == value)
        elif matcher.operator == "=~" and _ALTERNATIVES.fullmatch(value):
            found.append(pl.col(column).is_in(value.split("|")))
    return found


def _hour(
    archive: ReadOnlyBucket, ledger: Ledger, query: Query, hour: str, filters: Sequence[pl.Expr]
) -> tuple[list[pl.DataFrame], int]:
    """What is found in an hour, and how many rows were looked at."""
    for attempt in range(_TRIES):
        files = FileRecords(ledger).files_in_hour(hour, query.begin_ms, query.end_ms)
        try:
            parts = portions(files, _READ_BYTES, _READ_FILES)
            found = [_collected(_scans(archive, ledger, hour, part), filters, query) for part in parts]
        except (ObjectMissing, ObjectChanged, DamagedSeries):
            # It was merged, or derived again, since the ledger was asked.
            if attempt + 1 == _TRIES or files == FileRecords(ledger).files_in_hour(hour, query.begin_ms, query.end_ms):
                raise
        else:
            return found, sum(file.rows for file in files)
    raise AssertionError("the last attempt returns or raises")


def _scans(
    archive: ReadOnlyBucket, ledger: Ledger, hour: str, files: Sequence[SeriesFile]
) -> list[tuple[str, pl.LazyFrame]]:
    """The rows of files that count, verified: Polars looks at no checksum."""
    read = archive.get_many(files)
    whole: list[bytes] = []
    scans: list[tuple[str, pl.LazyFrame]] = []
    for file, data in zip(files, read, strict=True):
        if isinstance(data, Exception):
            raise data
        check_file(data, file)
        if file.job_id in file.key:  # a file of this job alone
            whole.append(data)
            continue
        scan = pl.scan_parquet(data)
        try:
            is_whole = scan.select(pl.len()).collect().item() == file.rows
        except (pl.exceptions.PolarsError, OSError) as error:
            raise DamagedSeries(file.key, f"holds no series: {error}") from error
        if not is_whole:  # rows of jobs that have newer files of their own do not count
            scan = scan.filter(pl.col("job").is_in(FileRecords(ledger).jobs_in(file.key, hour)))
        scans.append((file.key, scan))
    if whole:
        scans.append((f"one of {len(whole)} files of {hour}", pl.scan_parquet(whole)))
    return scans


def _collected(scans: Sequence[tuple[str, pl.LazyFrame]], filters: Sequence[pl.Expr], query: Query) -> pl.DataFrame:
    lists = [pl.col(one).head(0) if query.only_labels else pl.col(one) for one in ("timestamp_ms", "value")]
    found = []
    for name, scan in scans:
        try:
            found.append(_narrowed(scan, filters).group_by(*IDENTITY).agg(*lists).collect())
        except (pl.exceptions.PolarsError, OSError) as error:
            raise DamagedSeries(name, f"holds no series: {first_line(error)}") from error
    return pl.concat(found)


def _narrowed(scan: pl.LazyFrame, filters: Sequence[pl.Expr]) -> pl.LazyFrame:
    """The rows that fulfil all conditions, by their places where they stand together, as in files sorted by metric.

    Labels cost nine tenths of reading, and Polars takes them apart for whole groups of rows before it filters; of a
    slice it takes no others.
    """
    filtered = scan.filter(*filters)
    if len(filters) == _SPAN_FILTERS:
        return filtered
    places = scan.with_row_index("place").filter(*filters).select("place").collect()["place"].to_numpy()
    begins = np.flatnonzero(np.diff(places, prepend=-2) != 1)
    if not 0 < len(begins) <= _MOST_RUNS:
        return filtered
    counts = np.diff(begins, append=len(places)).tolist()
    return pl.concat(
        [scan.slice(place, count) for place, count in zip(places.take(begins).tolist(), counts, strict=True)]
    )
