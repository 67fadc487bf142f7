"""Checks level-1 objects as read back against their sources: nothing lost, nothing doubled, nothing changed.

Add a comparison here when a fault could hide from those there are. Sources and objects are read anew and compared by
what their profiles claim and what stacks and values say, not by what compaction remembers.
"""

import time
from dataclasses import dataclass, field

import numpy as np

from pyro_assets.block.columns import I64, BlockColumns, Bool, part_sums
from pyro_assets.block.reader import RawObject
from pyro_assets.block.tsdb.labels import profile_type
from pyro_assets.errors import BlockError, StorageError, StorageUnavailable
from pyro_assets.jobs.claims import Claims
from pyro_assets.jobs.counts import Difference, VerifyReport
from pyro_assets.jobs.derive import Engine, read_outputs
from pyro_assets.jobs.loading import JobRecords
from pyro_assets.jobs.sources import read_sources
from pyro_assets.ledger.database import Ledger
from pyro_assets.ledger.records import Job
from pyro_assets.planning.due import DueJobs
from pyro_assets.storage.interface import Bucket, ReadOnlyBucket
from pyro_assets.storage.shown import printable

_MAX_DIFFERENCES = 100
#: Tenant, service and profile type.
Group = tuple[bytes, bytes, bytes]
#: Groups and their numbers, in order.
_Groups = dict[Group, int]


@dataclass(slots=True)
class _Rows:
    """Profiles as rows to compare.

    Attributes:
        group: int64[n], number of the row's group.
        fingerprint, time_ns, total: what makes a profile the same; total is what the row claims.
        measured: int64[n], the sum of the values of its samples (modulo 2**64, as it is stored).
    """

    group: I64
    fingerprint: I64
    time_ns: I64
    total: I64
    measured: I64


@dataclass(slots=True)
class _Comparison:
    job: Job
    duplicates: int
    found: list[Difference] = field(default_factory=list)

    def expect(self, what: str, expected: int, actual: int, group: Group = (b"", b"", b"")) -> None:
        if expected != actual:
            names = [printable(name) for name in group]
            self.found.append(Difference(self.job.id, names[0], names[1], names[2], what, expected, actual))


@dataclass(frozen=True, slots=True)
class Verifier:
    """Compares the jobs of an hour, each once."""

    source: ReadOnlyBucket
    archive: Bucket
    ledger: Ledger
    engine: Engine

    def verify(self, hour: str, now_ms: int, deadline_monotonic: float | None, *, again: bool) -> VerifyReport:
        """See `App.verify_hour`."""
        begun = time.perf_counter()
        wanted, before = DueJobs(self.ledger).unverified_jobs(hour, again=again)
        checked = unverifiable = totals = 0
        differences: list[Difference] = []
        for job_id in wanted:
            if deadline_monotonic is not None and time.monotonic() >= deadline_monotonic:
                break
            job, duplicates = JobRecords(self.ledger).look_up(job_id)
            comparison = _Comparison(job, duplicates)
            groups, complete = self._compare(comparison)
            checked += 1
            totals += groups
            unverifiable += not complete
            differences += comparison.found
            if not comparison.found:
                Claims(self.ledger).mark_verified(job_id, now_ms)
        return VerifyReport(
            hour=hour,
            checked=checked,
            before=before,
            unverifiable=unverifiable,
            left=len(wanted) - checked,
            totals=totals,
            differences=tuple(differences[:_MAX_DIFFERENCES]),
            seconds=time.perf_counter() - begun,
        )

    def _compare(self, comparison: _Comparison) -> tuple[int, bool]:
        """Compares one job; returns the number of groups, and whether all its sources were there."""
        job = comparison.job
        groups: _Groups = {}
        try:
            level1 = _rows(read_outputs(self.archive, self.engine, job), groups) if job.outputs else _no_rows()
        except StorageUnavailable:
            raise
        except (StorageError, BlockError) as error:
            comparison.expect(f"level-1 objects cannot be read back: {error}", len(job.outputs), 0)
            return 0, True
        comparison.expect("profiles in the level-1 objects", sum(o.profiles for o in job.outputs), len(level1.total))
        used = [source for source in job.sources if source.state == "done"]
        read = read_sources(self.source, used)
        if read.lost or job.compares:
            # Pyroscope deletes what it has compacted, or other jobs have some of its profiles; what is left is that the
            # objects agree with themselves.
            _compare_totals(comparison, groups, level1, level1.total)
            return len(groups), False
        result = self.engine.read_blocks([RawObject(key, data) for key, data in read.data.items()])
        comparison.expect("sources that can still be read", len(used), len(used) - len(result.set_aside))
        sources = _rows(result.columns, groups) if used else _no_rows()
        dropped = _compare_rows(comparison, groups, sources, level1)
        claimed = np.where(dropped, 0, sources.total)
        _compare_totals(comparison, groups, level1, claimed, sources.group)
        comparison.expect("duplicates", comparison.duplicates, int(dropped.sum()))
        return len(groups), True


def _no_rows() -> _Rows:
    empty = np.zeros(0, dtype=np.int64)
    return _Rows(empty, empty, empty, empty, empty)


def _rows(columns: BlockColumns, groups: _Groups) -> _Rows:
    rows, series = columns.rows, columns.series
    group_of_series = np.zeros(len(series.fingerprint), dtype=np.int64)
    bounds = series.dataset_start.tolist()
    for dataset, begin, end in zip(columns.datasets, bounds[:-1], bounds[1:], strict=True):
        group_of_series[begin:end] = [
            groups.setdefault((dataset.tenant, dataset.name, profile_type(labels)), len(groups))
            for labels in series.labels[begin:end]
        ]
    return _Rows(
        group=group_of_series.take(rows.series),
        fingerprint=series.fingerprint.view(np.int64).take(rows.series),
        time_ns=rows.time_ns,
        total=rows.total_value,
        measured=part_sums(rows.value, rows.sample_start),
    )


def _compare_rows(comparison: _Comparison, groups: _Groups, sources: _Rows, level1: _Rows) -> Bool:
    """Compares profiles one by one; returns which of the sources' were dropped as duplicates.

    What is not in the level-1 objects must be a duplicate: a profile of the same series and time is there, with
    dedup = "exact" of the same total too.
    """
    count = len(sources.total)
    columns = [
        np.concatenate([getattr(sources, name), getattr(level1, name)])
        for name in ("total", "time_ns", "fingerprint", "group")
    ]
    is_kept = np.arange(len(columns[0])) >= count
    # Within equal profiles those of the level-1 objects come first, then the sources in their order.
    order = np.lexsort([~is_kept, *columns])
    key = _runs([column.take(order) for column in columns])
    kept = np.bincount(key, weights=is_kept.take(order), minlength=int(key[-1]) + 1 if len(key) else 0).astype(np.int64)
    there = np.bincount(key, minlength=len(kept)) - kept
    for run in np.flatnonzero(kept > there)[:_MAX_DIFFERENCES].tolist():
        row = int(order[np.searchsorted(key, run)])
        group = list(groups)[int(columns[3][row])]
        comparison.expect("profiles that no source has", int(there[run]), int(kept[run]), group)
    # The first `kept` of a run's sources are those that were kept, the others were dropped.
    begin = np.searchsorted(key, np.arange(len(kept)))
    rank = np.arange(len(key)) - begin.take(key) - kept.take(key)
    is_dropped = ~is_kept.take(order) & (rank >= kept.take(key))
    dropped = np.zeros(len(order), dtype=np.bool_)
    dropped[order] = is_dropped
    looser = columns if comparison.job.dedup == "exact" else columns[1:]
    order = np.lexsort(looser)
    key = _runs([column.take(order) for column in looser])
    survivors = np.bincount(key, weights=is_kept.take(order), minlength=int(key[-1]) + 1 if len(key) else 0)
    gone = dropped.take(order) & (survivors.take(key) == 0)
    for row in order[gone][:_MAX_DIFFERENCES].tolist():
        group = list(groups)[int(columns[3][row])]
        comparison.expect(f"profiles at {int(columns[1][row])} ns", 1, 0, group)
    # What is lost is no duplicate: it stays in the sources' total.
    dropped[order[gone]] = False
    return dropped[:count]


def _compare_totals(
    comparison: _Comparison, groups: _Groups, level1: _Rows, claimed: I64, claimed_group: I64 | None = None
) -> None:
    """Compares totals per group: what the profiles claim with what the samples of the level-1 objects add up to."""
    expected = _sums(level1.group if claimed_group is None else claimed_group, claimed, len(groups))
    measured = _sums(level1.group, level1.measured, len(groups))
    for group, number in groups.items():
        comparison.expect("total of the samples' values", int(expected[number]), int(measured[number]), group)


def _sums(group: I64, value: I64, groups: int) -> I64:
    # np.bincount would add in floating point.
    sums = np.zeros(groups, dtype=np.int64)
    np.add.at(sums, group, value)
    return sums


def _runs(columns: list[I64]) -> I64:
    """Numbers runs of equal rows of sorted columns from 0."""
    if not len(columns[0]):
        return np.zeros(0, dtype=np.int64)
    begins = np.zeros(len(columns[0]), dtype=np.bool_)
    for column in columns:
        begins[1:] |= column[1:] != column[:-1]
    return np.cumsum(begins, dtype=np.int64)
