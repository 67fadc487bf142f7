"""Reads what a selector means from the archive's blocks, many jobs at a time, and no more bytes than pay.

Here, too:
* jobs as readers of the archive need them: times and level-1 blocks of whole hours, in a few queries.

A block is one tenant with a dataset per service, so footers and series tell which datasets have wanted profiles; only
these are fetched and decoded, without symbols where nobody asks for names. Small blocks are read whole, as one request
costs more than their bytes. Add a way to leave bytes out here; what is made of the columns is not known.
"""

import json
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import compress, groupby, pairwise
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from sqlalchemy import Connection, or_, select

from pyro_assets.block.columns import I64, BlockColumns, Bool, Labels, SeriesTable
from pyro_assets.block.metadata import FORMAT_PROFILES, BlockMeta, Dataset
from pyro_assets.block.narrow import DatasetPart, SeriesPart, read_part_series, read_parts
from pyro_assets.block.object import TAIL_BYTES, parse_object, read_footer
from pyro_assets.block.tsdb.labels import profile_type
from pyro_assets.errors import StorageError, Where
from pyro_assets.ledger.database import Queries
from pyro_assets.ledger.records import Output, is_there
from pyro_assets.ledger.schema import hour_objects, hour_units, jobs, outputs
from pyro_assets.rules.selectors import Selector, parse_selector
from pyro_assets.series.rules import is_of_type
from pyro_assets.storage.checksum import check_crc
from pyro_assets.storage.interface import ByteRange, ReadOnlyBucket
from pyro_assets.storage.shown import show_bytes

if TYPE_CHECKING:
    from pyro_assets.storage.interface import Bucket


_JOB: Final = (jobs.c.id, jobs.c.shard, jobs.c.hour, jobs.c.timestamp_ms, jobs.c.instance)
_OUTPUT: Final = (
    outputs.c.tenant, outputs.c.block_id, outputs.c.key, outputs.c.size_bytes, outputs.c.crc32c, outputs.c.profiles,
    outputs.c.samples,
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class ArchivedJob:
    """A job whose level-1 blocks are in the archive, or several of one hour, shard and tenant that are read as one.

    Attributes:
        id: of the job.
        shard: of all its sources.
        hour: partition key.
        timestamp_ms: of all its samples; of several jobs that of the first.
        instance: `pyroscope_instance` of the imported rules' series.
        outputs: its level-1 blocks, or what was made of those of several jobs.
        jobs: how many they are.
        is_summary: `outputs` are summaries, see `compaction.hour`.
    """

    id: str
    shard: int
    hour: str
    timestamp_ms: int
    instance: str
    outputs: tuple[Output, ...]
    jobs: int = 1
    is_summary: bool = False


class ArchivedJobs(Queries):
    """The part of the ledger that knows what the archive holds."""

    def archived_jobs(self, hours: Sequence[str]) -> list[ArchivedJob]:
        """The jobs of these hours that have level-1 blocks, hour by hour, oldest first."""
        found = []
        with self.ledger.read() as connection:
            for hour in hours:
                made: dict[str, list[Output]] = {}
                rows = connection.execute(
                    select(outputs.c.job_id, *_OUTPUT)
                    .join(jobs, jobs.c.id == outputs.c.job_id)
                    .where(is_there(hour))
                    .order_by(outputs.c.job_id, outputs.c.position)
                )
                for job_id, *output in rows:
                    made.setdefault(job_id, []).append(Output(*output))
                those = connection.execute(
                    select(*_JOB).where(is_there(hour)).order_by(jobs.c.timestamp_ms, jobs.c.shard, jobs.c.tenant)
                )
                for job_id, shard, own_hour, timestamp_ms, instance in those:
                    blocks = tuple(made.get(job_id, ()))
                    found.append(ArchivedJob(job_id, shard, own_hour, timestamp_ms, instance or "", blocks))
        return found

    def explorable(
        self, hours: Sequence[str], tenant: str, ends_ms: tuple[int, int] | None = None
    ) -> list[ArchivedJob]:
        """What to read of a tenant in these hours, so that every profile counts once, oldest first.

        Where all of an hour is asked, its summaries are read, else level-1 blocks, as long as these are there.

        Args:
            hours: partition keys.
            tenant: as the ledger shows it.
            ends_ms: nothing is asked of profiles that are not between these times, both included.
        """
        first, last = ends_ms if ends_ms is not None else (-(2**63), 2**63)
        with self.ledger.read() as connection:
            units = connection.execute(
                select(hour_units).where(
                    hour_units.c.hour.in_(hours), hour_units.c.tenant == tenant, hour_units.c.removed_ms.is_(None)
                )
            ).all()
            asked = {unit.id: unit for unit in units if unit.oldest_ms <= last and unit.newest_ms >= first}
            whole = {number for number, unit in asked.items() if unit.oldest_ms >= first and unit.newest_ms <= last}
            # A part of an hour is read job by job, unless some of them cannot be read any more.
            rest = set(asked) - whole
            gone = select(outputs.c.hour_unit).join(jobs, jobs.c.id == outputs.c.job_id)
            gone = gone.where(outputs.c.hour_unit.in_(rest), jobs.c.blocks_removed_ms.is_not(None)).distinct()
            without = set(connection.execute(gone).scalars()) if rest else set()
            found = _units(connection, asked, "summary", whole) + _units(connection, asked, "block", without)
            is_own = or_(outputs.c.hour_unit.is_(None), outputs.c.hour_unit.in_(rest - without))
            rows: Any = connection.execute(
                select(*_JOB, *_OUTPUT)
                .join(outputs, outputs.c.job_id == jobs.c.id)
                .where(is_there(*hours), outputs.c.tenant == tenant, is_own)
                .order_by(jobs.c.id, outputs.c.position)
            )
            by_job: Iterator[tuple[Any, Iterator[Any]]] = groupby(rows, lambda row: tuple(row)[: len(_JOB)])
            for (job, shard, hour, timestamp_ms, instance), group in by_job:
                blocks = tuple(Output(*row[len(_JOB) :]) for row in group)
                found.append(ArchivedJob(job, shard, hour, timestamp_ms, instance or "", blocks))
        return sorted(found, key=lambda one: (one.timestamp_ms, one.shard, one.id))

    def knows(self, tenant: str) -> bool:
        """Whether a tenant has any blocks; costs a look at all blocks only where it has none."""
        with self.ledger.read() as connection:
            return (
                connection.execute(select(outputs.c.key).where(outputs.c.tenant == tenant).limit(1)).first() is not None
            )

    def archived_services(self, hours: Sequence[str]) -> list[tuple[str, str]]:
        """Tenants and services of these hours, as text, sorted."""
        found: set[tuple[str, str]] = set()
        with self.ledger.read() as connection:
            for hour in hours:
                # Services of neighbouring jobs are the same: equal texts are parsed once.
                texts = connection.execute(select(jobs.c.services).where(is_there(hour)).distinct()).scalars()
                found |= {(tenant, service) for text in texts for tenant, service, *_ in json.loads(text or "[]")}
        return sorted(found)


def _units(connection: Connection, units: Mapping[int, Any], kind: str, numbers: Collection[int]) -> list[ArchivedJob]:
    """Units of hours with their objects of one kind."""
    made: dict[int, list[Output]] = {number: [] for number in numbers}
    query = select(hour_objects).where(hour_objects.c.unit.in_(numbers), hour_objects.c.kind == kind)
    for one in connection.execute(query.order_by(hour_objects.c.unit, hour_objects.c.position)) if numbers else ():
        tenant = units[one.unit].tenant
        made[one.unit].append(Output(tenant, one.block_id, one.key, one.size_bytes, one.crc32c, 0, 0))
    return [
        ArchivedJob(
            # Another unit under the same key is another one.
            " ".join(f"{one.key} {one.crc32c:08x}" for one in blocks),
            units[number].shard,
            units[number].hour,
            units[number].first_job_ms,
            "",
            tuple(blocks),
            units[number].jobs,
            kind == "summary",
        )
        for number, blocks in made.items()
    ]


#: Blocks up to this size are read with one request, and their whole checksum is checked.
WHOLE_BYTES: Final = 256 << 10
#: Ranges with no more than this between them are one request.
_GAP_BYTES: Final = 64 << 10
#: Jobs are read together up to so many stored bytes, which bounds memory and the time between two looks at a clock.
_BATCH_BYTES: Final = 16 << 20
_BATCH_JOBS: Final = 128
#: The first jobs are read one by one, which tells what a single job costs.
SINGLE_JOBS: Final = 4
_GOLDEN: Final = 0.6180339887498949
_REMEMBERED: Final = 1 << 16


@dataclass(slots=True)
class Wanted:
    """Which profiles are wanted.

    Attributes:
        selector: label matchers.
        profile_types: globs as in rules; empty means all.
        tenants: empty means all.
        names: whether the names on stacks are needed.
        ends_ms: datasets without profiles between these times, both included, are left out.
        everything: whether lines, files and addresses are needed too.
    """

    selector: Selector = field(default_factory=lambda: parse_selector("{}"))
    profile_types: Sequence[str] = ()
    tenants: Sequence[str] = ()
    names: bool = True
    ends_ms: tuple[int, int] | None = None
    everything: bool = False
    _known: dict[Labels, bool] = field(default_factory=dict, repr=False)

    @property
    def is_everything(self) -> bool:
        """Whether every series of the tenants is wanted."""
        return not self.selector.matchers and not self.profile_types

    def datasets(self, datasets: Sequence[Dataset]) -> Bool:
        """Of which datasets series may be wanted, as far as services and times tell."""
        names = [dataset.name for dataset in datasets]
        found = np.ones(len(names), dtype=np.bool_)
        if self.ends_ms is not None:
            first, last = self.ends_ms
            found[:] = [one.min_time_ms <= last and one.max_time_ms >= first for one in datasets]
        for matcher in self.selector.matchers:
            if matcher.name == b"service_name":
                found &= matcher.select(names)
        return found

    def series(self, series: Sequence[Labels]) -> Bool:
        """Which series are wanted."""
        if len(self._known) >= _REMEMBERED:
            self._known.clear()
        fresh = [labels for labels in dict.fromkeys(series) if labels not in self._known]
        if fresh:
            # Of a name that stands twice the first counts.
            selected = self.selector.select([dict(reversed(labels)) for labels in fresh]).tolist()
            for labels, is_selected in zip(fresh, selected, strict=True):
                has_type = not self.profile_types or is_of_type(profile_type(labels), self.profile_types)
                self._known[labels] = is_selected and has_type
        return np.fromiter((self._known[labels] for labels in series), dtype=np.bool_, count=len(series))


@dataclass(slots=True)
class JobBatch:
    """Jobs read together.

    Attributes:
        jobs: in the order they were asked for.
        columns: their wanted datasets, None where there are none; `source` of a dataset is the position of its job.
    """

    jobs: list[ArchivedJob]
    columns: BlockColumns | None

    def job_of_row(self) -> I64:
        """int64[rows], positions in `jobs`."""
        columns = self.columns
        if columns is None:
            return np.zeros(0, dtype=np.int64)
        jobs = np.array([dataset.source for dataset in columns.datasets], dtype=np.int64)
        return np.repeat(jobs, np.diff(columns.rows.dataset_start))


def spread(jobs: Sequence[ArchivedJob]) -> list[ArchivedJob]:
    """The jobs in an order in which any beginning of it is spread evenly over time."""
    order = sorted(range(len(jobs)), key=lambda number: number * _GOLDEN % 1)
    return [jobs[position] for position in order]


def batches(jobs: Sequence[ArchivedJob]) -> Iterator[list[ArchivedJob]]:
    """Cut a list of jobs into what is read together: some single ones, then more and more."""
    begin, most = 0, 1
    while begin < len(jobs):
        end, total = begin, 0
        while end < min(len(jobs), begin + most) and (end == begin or total < _BATCH_BYTES):
            total += sum(output.size_bytes for output in jobs[end].outputs)
            end += 1
        yield list(jobs[begin:end])
        begin = end
        if begin >= SINGLE_JOBS:
            most = min(2 * most, _BATCH_JOBS)


class NarrowReader:
    """Reads from one archive, and counts.

    Attributes:
        bytes_read: from the archive; bytes_stored: of the blocks of the jobs read.
        requests: for objects and parts of them.
        datasets: of all these blocks; datasets_read: those whose samples were decoded.
    """

    def __init__(self, archive: "ReadOnlyBucket | Bucket", *, whole_bytes: int = WHOLE_BYTES) -> None:
        """See the class.

        Args:
            archive: where level-1 blocks are.
            whole_bytes: blocks up to this size are read whole.
        """
        self._archive = archive
        self._whole_bytes = whole_bytes
        self.bytes_read = 0
        self.bytes_stored = 0
        self.requests = 0
        self.datasets = 0
        self.datasets_read = 0

    def series(self, jobs: Sequence[ArchivedJob], wanted: Wanted) -> list[tuple[str, Labels]]:
        """Services and label sets of the wanted series of some jobs, of which only footers and series are read.

        Raises:
            StorageError, BlockError: the archive is damaged or does not answer.
        """
        parts = [part for _, part in self._series_parts(jobs, wanted)]
        series = read_part_series(parts)
        is_wanted = wanted.series(series.labels).tolist()
        found = []
        for part, (begin, end) in zip(parts, pairwise(series.dataset_start.tolist()), strict=True):
            service = show_bytes(part.dataset.name)
            found += [(service, labels) for labels in compress(series.labels[begin:end], is_wanted[begin:end])]
        return found

    def series_table(self, jobs: Sequence[ArchivedJob], wanted: Wanted) -> SeriesTable:
        """The series of the datasets that may hold what is wanted, with their times; no more than that is read.

        Raises:
            StorageError, BlockError: the archive is damaged or does not answer.
        """
        return read_part_series([part for _, part in self._series_parts(jobs, wanted)])

    def read(self, jobs: Sequence[ArchivedJob], wanted: Wanted) -> JobBatch:
        """Read what is wanted of some jobs.

        Raises:
            StorageError, BlockError: the archive is damaged or does not answer.
        """
        found = self._series_parts(jobs, wanted)
        if not wanted.is_everything and found:
            series = read_part_series([part for _, part in found])
            is_wanted = wanted.series(series.labels)
            has = [is_wanted[begin:end].any() for begin, end in pairwise(series.dataset_start.tolist())]
            found = list(compress(found, has))
        if not found:
            return JobBatch(list(jobs), None)
        self._fetch([(one, *_samples(part.dataset, wanted.names)) for one, part in found])
        nothing = memoryview(b"")
        whole = []
        for one, part in found:
            profiles, tsdb, symbols = part.dataset.toc
            end = profiles + part.dataset.size
            names = one.view(symbols, end) if wanted.names else nothing
            whole.append(DatasetPart(part, one.view(profiles, tsdb), names))
        self.datasets_read += len(whole)
        return JobBatch(list(jobs), read_parts(whole, names=wanted.names, everything=wanted.everything))

    def _series_parts(self, jobs: Sequence[ArchivedJob], wanted: Wanted) -> "list[tuple[_Object, SeriesPart]]":
        """The datasets that may hold what is wanted, with their series in memory."""
        objects = [
            _Object(number, output)
            for number, job in enumerate(jobs)
            for output in job.outputs
            if not wanted.tenants or output.tenant in wanted.tenants
        ]
        self._fetch_footers(objects)
        every = [
            (one, dataset) for one in objects for dataset in one.meta.datasets if dataset.format == FORMAT_PROFILES
        ]
        self.datasets += len(every)
        asked = list(compress(every, wanted.datasets([dataset for _, dataset in every])))
        self._fetch([(one, dataset.toc[1], dataset.toc[2]) for one, dataset in asked])
        return [
            (one, SeriesPart(one.source, one.output.key, dataset, one.view(dataset.toc[1], dataset.toc[2])))
            for one, dataset in asked
        ]

    def _fetch_footers(self, objects: "Sequence[_Object]") -> None:
        """Small objects whole, of the others the end; and the metadata of all."""
        small = [one for one in objects if one.output.size_bytes <= self._whole_bytes]
        found = self._archive.get_many([one.output for one in small])
        for one, data in zip(small, found, strict=True):
            whole = _unless_error(data)
            check_crc(whole, one.output.crc32c, "the committed object", Where(one.output.key))
            one.add(0, whole)
            one.meta = parse_object(whole, one.output.key)
            self.bytes_read += len(whole)
        large = [one for one in objects if one.output.size_bytes > self._whole_bytes]
        ends = [ByteRange(one.output.key, *_end(one.output.size_bytes)) for one in large]
        for one, data in zip(large, self._archive.get_ranges(ends), strict=True):
            end = _unless_error(data)
            one.add(one.output.size_bytes - len(end), end)
            one.meta = read_footer(self._range_reader(one, end), one.output.size_bytes, one.output.key)
            self.bytes_read += len(end)
        self.requests += len(objects)
        self.bytes_stored += sum(one.output.size_bytes for one in objects)

    def _range_reader(self, one: "_Object", end: bytes) -> Callable[[int, int], bytes]:
        """Reads ranges of an object whose end is known; what is before it costs a request."""
        begin = one.output.size_bytes - len(end)

        def read_range(start: int, length: int) -> bytes:
            if start >= begin:
                return end[start - begin : start - begin + length]
            self.bytes_read += length
            self.requests += 1
            return self._archive.get_range(one.output.key, start, length)

        return read_range

    def _fetch(self, ranges: "Sequence[tuple[_Object, int, int]]") -> None:
        """Bring ranges of objects into memory, neighbouring ones with one request."""
        wanted: list[tuple[_Object, int, int]] = []
        for one, start, end in sorted(ranges, key=lambda item: (item[0].source, item[0].output.key, item[1])):
            if one.has(start, end):
                continue
            if wanted and wanted[-1][0] is one and start - wanted[-1][2] <= _GAP_BYTES:
                wanted[-1] = (one, wanted[-1][1], max(end, wanted[-1][2]))
            else:
                wanted.append((one, start, end))
        found = self._archive.get_ranges([ByteRange(one.output.key, start, end - start) for one, start, end in wanted])
        for (one, start, _), data in zip(wanted, found, strict=True):
            part = _unless_error(data)
            one.add(start, part)
            self.bytes_read += len(part)
        self.requests += len(wanted)


class _Object:
    """A level-1 block and the parts of it that are in memory."""

    def __init__(self, source: int, output: Output) -> None:
        self.source = source
        self.output = output
        self.meta: BlockMeta = BlockMeta("", 0, 0, b"", 0, 0)
        self._windows: list[tuple[int, memoryview]] = []

    def add(self, start: int, data: bytes) -> None:
        """Keep the bytes from `start` on."""
        self._windows.append((start, memoryview(data)))

    def view(self, start: int, end: int) -> memoryview:
        """The bytes start:end, which must have been fetched."""
        for begin, window in self._windows:
            if begin <= start and end <= begin + len(window):
                return window[start - begin : end - begin]
        raise LookupError(f"{self.output.key}: {start}:{end} was not fetched")

    def has(self, start: int, end: int) -> bool:
        """Whether these bytes are here."""
        return any(begin <= start and end <= begin + len(window) for begin, window in self._windows)


def _end(size_bytes: int) -> tuple[int, int]:
    """Start and length of what is read of an object first."""
    return max(0, size_bytes - TAIL_BYTES), min(size_bytes, TAIL_BYTES)


def _samples(dataset: Dataset, names: bool) -> tuple[int, int]:
    """Where a dataset's profiles are, and with names its symbols."""
    return dataset.toc[0], dataset.toc[0] + dataset.size if names else dataset.toc[1]


def _unless_error(data: bytes | StorageError) -> bytes:
    if isinstance(data, StorageError):
        raise data
    return data
