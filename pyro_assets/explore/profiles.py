"""Where time and memory go: profiles of many jobs, chosen by labels and hours, as totals, functions and a call tree.

Add what people ask of past profiles here; how stacks are merged is in `explore.call_tree`, what is read in
`explore.read`. Answers hold for the jobs that the time budget allowed, and say how many those are. They are remembered
with the jobs they are made of, which never change; who walks through an answer may ask for it as it was a moment ago.
"""

import glob
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import TYPE_CHECKING, Final, TypeVar

import numpy as np
import polars as pl

from pyro_assets.block.columns import I64, BlockColumns, Bool
from pyro_assets.block.tsdb.labels import profile_type
from pyro_assets.compaction.hour import marks_of
from pyro_assets.errors import ObjectMissing
from pyro_assets.explore.call_tree import CallTree, TreeBuilder
from pyro_assets.explore.over_time import Timeline
from pyro_assets.explore.read import ArchivedJob, ArchivedJobs, JobBatch, NarrowReader, Wanted, batches, spread
from pyro_assets.ledger.database import Ledger
from pyro_assets.rules.selectors import parse_selector
from pyro_assets.series.profiles import find_profiles, run
from pyro_assets.series.rules import is_of_type
from pyro_assets.storage.shown import show_bytes

if TYPE_CHECKING:
    from pyro_assets.storage.interface import Bucket, ReadOnlyBucket

K = TypeVar("K")
V = TypeVar("V")
#: Answers that are kept, and nodes of their trees together (about 100 bytes each).
_REMEMBERED: Final = 8
_MOST_NODES: Final = 2_000_000
#: Jobs that are looked at for profile types and labels: the newest of every shard.
_JOBS_PER_SHARD: Final = 2
_MOST_JOBS: Final = 64
_NS_PER_MS: Final = 1_000_000
#: So many values of a label are listed.
_MOST_VALUES: Final = 100


@dataclass(frozen=True, slots=True)
class Question:
    """What is asked.

    Attributes:
        tenant: as the ledger shows it.
        profile_type: the whole one.
        hours: partition keys.
        selector: label matchers.
        budget_seconds: no further job is read after this time; at least one is.
        length_ms: only profiles of so long a time; 0 for all of these hours.
        until_ms: its end (exclusive, Unix ms), None for the moment of asking, `asked_ms`.
        step_ms: width of the steps in which values over time are counted.
    """

    tenant: str
    profile_type: str
    hours: tuple[str, ...]
    selector: str = "{}"
    budget_seconds: float = 5.0
    length_ms: int = 0
    until_ms: int | None = None
    step_ms: int = 60_000
    # The same question a moment later is the same question.
    asked_ms: int = field(default=0, compare=False)

    @property
    def ends_ms(self) -> tuple[int, int] | None:
        """Between which times profiles count (half open, Unix ms), None for any."""
        until_ms = self.asked_ms if self.until_ms is None else self.until_ms
        return (until_ms - self.length_ms, until_ms) if self.length_ms else None


@dataclass(frozen=True, slots=True)
class Moment:
    """What one job has of the profiles."""

    timestamp_ms: int
    shard: int
    value: int


@dataclass(frozen=True, slots=True)
class Explored:
    """The answer, over the jobs read.

    Attributes:
        jobs, jobs_read: of these hours with blocks of the tenant, and how many of them were read; the answer is exact
            when they are equal.
        is_gauge: values are levels: of each target the last profile of a job counts, and sums over jobs mean nothing.
        profiles, samples: that count.
        moments: by time.
        timeline: the same by steps and labels.
        tree: all stacks; its root has the total.
        own, totals: int64 per name of the tree.
        bytes_read, bytes_stored: see NarrowReader; seconds: how long it took.
    """

    question: Question
    jobs: int
    jobs_read: int
    is_gauge: bool
    profiles: int
    samples: int
    moments: tuple[Moment, ...]
    tree: CallTree
    own: I64
    totals: I64
    bytes_read: int
    bytes_stored: int
    seconds: float
    timeline: Timeline

    @property
    def is_exact(self) -> bool:
        """Whether every job was read."""
        return self.jobs == self.jobs_read

    @property
    def total(self) -> int:
        """Of all profiles."""
        return int(self.tree.total[0])

    @property
    def level(self) -> float:
        """What a gauge had on average: the mean over the jobs of each shard, added up."""
        shards: dict[int, list[int]] = {}
        for one in self.moments:
            shards.setdefault(one.shard, []).append(one.value)
        return sum(sum(values) / len(values) for values in shards.values())


@dataclass(frozen=True, slots=True)
class Choices:
    """What can be chosen.

    Attributes:
        tenants: of the hours.
        services: of the tenant in the hours.
        profile_types: of the tenant, sorted, with the services that have it.
        labels: public label names of the tenant with their values, sorted; of each at most a hundred.
        jobs_looked_at: types and labels are those of the newest jobs of every shard in the newest hour, so many.
    """

    tenants: tuple[str, ...]
    services: tuple[str, ...]
    profile_types: dict[str, tuple[str, ...]]
    labels: dict[str, tuple[str, ...]]
    jobs_looked_at: int


@dataclass(frozen=True, slots=True)
class _Answer:
    """An answer, the jobs it is made of, and when these were all there were (by the explorer's clock)."""

    digest: bytes
    seconds: float
    explored: Explored


class Explorer:
    """Answers questions about one archive; safe to use from many threads."""

    def __init__(
        self,
        archive: "ReadOnlyBucket | Bucket",
        ledger: Ledger,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """See the class; the clock counts seconds."""
        self._archive = archive
        self._ledger = ledger
        self._clock = clock
        self._lock = threading.Lock()
        self._answers: OrderedDict[tuple[Question, Sequence[str]], _Answer] = OrderedDict()
        self._choices: OrderedDict[tuple[str, bytes], Choices] = OrderedDict()

    def choices(self, hours: Sequence[str], tenant: str = "") -> Choices:
        """What can be chosen in these hours.

        Args:
            hours: partition keys.
            tenant: whose services, types and labels; those of the first one by default.

        Raises:
            StorageError, BlockError: the archive is damaged or does not answer.
        """
        pairs = ArchivedJobs(self._ledger).archived_services(hours)
        tenants = sorted({one for one, _ in pairs})
        tenant = tenant or next(iter(tenants), "")
        jobs: list[ArchivedJob] = []
        for hour in sorted(hours, reverse=True):
            jobs = _newest(ArchivedJobs(self._ledger).explorable([hour], tenant))
            if jobs:
                break
        key = (tenant, _digest([*(job.id for job in jobs), *(part for pair in pairs for part in pair)]))
        known = self._remembered(self._choices, key)
        if known is not None:
            return known
        services_of: dict[str, set[str]] = {}
        values_of: dict[str, set[str]] = {}
        for service, labels in NarrowReader(self._archive).series(jobs, Wanted(tenants=[tenant])):
            services_of.setdefault(show_bytes(profile_type(labels)), set()).add(service)
            for name, value in labels:
                if not name.startswith(b"__"):
                    values_of.setdefault(show_bytes(name), set()).add(show_bytes(value))
        found = Choices(
            tuple(tenants),
            tuple(service for one, service in pairs if one == tenant),
            {kind: tuple(sorted(own)) for kind, own in sorted(services_of.items())},
            {name: tuple(sorted(own)[:_MOST_VALUES]) for name, own in sorted(values_of.items())},
            len(jobs),
        )
        return self._remember(self._choices, key, found)

    def explore(self, question: Question, gauges: Sequence[str] = (), *, max_age_seconds: float = 0.0) -> Explored:
        """Read the profiles that are meant and put their stacks together.

        Args:
            question: what is asked.
            gauges: globs of profile types whose values are levels, as in the configuration of series.
            max_age_seconds: an answer that was right so long ago is good enough.

        Raises:
            SelectorError: the selector does not parse.
            ValueOverflow: the values do not fit 64 bits.
            StorageError, BlockError: the archive is damaged or does not answer.
        """
        try:
            return self._explore(question, gauges, max_age_seconds)
        except ObjectMissing:
            # Blocks of an hour were replaced after the ledger was asked where they are.
            return self._explore(question, gauges, max_age_seconds)

    def _explore(self, question: Question, gauges: Sequence[str], max_age_seconds: float) -> Explored:
        begun = self._clock()
        key = (question, tuple(gauges))
        known = self._remembered(self._answers, key)
        if known is not None and begun - known.seconds <= max_age_seconds:
            return known.explored
        kinds, ends_ms = [glob.escape(question.profile_type)], question.ends_ms
        last = None if ends_ms is None else (ends_ms[0], ends_ms[1] - 1)
        wanted = Wanted(parse_selector(question.selector), kinds, [question.tenant], ends_ms=last)
        jobs = ArchivedJobs(self._ledger).explorable(question.hours, question.tenant, last)
        digest = _digest([job.id for job in jobs])
        if known is not None and known.digest == digest and known.explored.question.ends_ms == ends_ms:
            self._remember(self._answers, key, _Answer(digest, begun, known.explored))
            return known.explored
        is_gauge = is_of_type(question.profile_type.encode(), gauges)
        reader, builder, timeline = NarrowReader(self._archive), TreeBuilder(), Timeline(question.step_ms)
        moments: list[Moment] = []
        read = profiles = samples = 0
        for some in batches(spread(jobs)):
            if read and self._clock() - begun > question.budget_seconds:
                break
            read += sum(job.jobs for job in some)
            for count in (_of_jobs, _of_summaries):
                own = [job for job in some if job.is_summary == (count is _of_summaries)]
                batch = reader.read(own, wanted) if own else None
                if batch is None or batch.columns is None:
                    continue
                counted = count(batch.columns, batch, wanted, is_gauge, ends_ms)
                builder.add(batch.columns, counted.rows)
                timeline.add(batch.columns, counted.profiles)
                profiles += int(np.count_nonzero(counted.profiles))
                samples += int(counted.samples.compress(counted.profiles).sum())
                moments += counted.moments()
        tree = builder.finish()
        functions, totals = tree.functions()
        found = Explored(
            question,
            sum(job.jobs for job in jobs),
            read,
            is_gauge,
            profiles,
            samples,
            tuple(sorted(moments, key=lambda one: (one.timestamp_ms, one.shard))),
            tree,
            functions,
            totals,
            reader.bytes_read,
            reader.bytes_stored,
            self._clock() - begun,
            timeline,
        )
        self._remember(self._answers, key, _Answer(digest, begun, found))
        return found

    def _remembered(self, memory: "OrderedDict[K, V]", key: K) -> V | None:
        with self._lock:
            if key in memory:
                memory.move_to_end(key)
            return memory.get(key)

    def _remember(self, memory: "OrderedDict[K, V]", key: K, value: V) -> V:
        with self._lock:
            memory[key] = value
            while len(memory) > 1 and (len(memory) > _REMEMBERED or sum(map(_nodes, memory.values())) > _MOST_NODES):
                memory.popitem(last=False)
        return value


def _nodes(answer: object) -> int:
    return len(answer.explored.tree.parent) if isinstance(answer, _Answer) else 0


def _newest(jobs: Sequence[ArchivedJob]) -> list[ArchivedJob]:
    """The last jobs of every shard."""
    found: dict[int, list[ArchivedJob]] = {}
    for job in reversed(jobs):
        own = found.setdefault(job.shard, [])
        if len(own) < _JOBS_PER_SHARD:
            own.append(job)
    every = [job for own in found.values() for job in own]
    return sorted(every, key=lambda job: -job.timestamp_ms)[:_MOST_JOBS]


def _chosen(columns: BlockColumns, wanted: Wanted, is_gauge: bool) -> Bool:
    """bool[rows]: profiles that count; of a gauge the last of each target and job."""
    series = columns.series
    is_wanted = wanted.series(series.labels)
    chosen = is_wanted.take(columns.rows.series)
    if is_gauge and len(chosen):
        scopes: dict[tuple[int, bytes, bytes], int] = {}
        own = [scopes.setdefault((one.source, one.tenant, one.name), len(scopes)) for one in columns.datasets]
        scope = np.repeat(np.array(own, dtype=np.int64), np.diff(series.dataset_start))
        chosen &= run(find_profiles(columns.rows, series.labels, scope, is_wanted))["is_last"].to_numpy()
    return chosen


@dataclass(frozen=True, slots=True)
class _Counted:
    """What counts of the rows of some jobs.

    Attributes:
        rows: bool[n], rows whose samples count; profiles: bool[n], rows that are profiles that count.
        samples, total: int64[n], of each profile.
        timestamp_ms, shard: int64[n], of its job.
    """

    rows: Bool
    profiles: Bool
    samples: I64
    total: I64
    timestamp_ms: I64
    shard: I64

    def moments(self) -> list[Moment]:
        """What each job has."""
        names = ("timestamp_ms", "shard")
        frame = pl.DataFrame({name: getattr(self, name) for name in (*names, "total")}).filter(self.profiles)
        sums = frame.group_by(*names).agg(pl.col("total").cast(pl.Int128).sum())
        return [Moment(*row) for row in sums.select(*names, "total").iter_rows()]


def _of_jobs(
    columns: BlockColumns, batch: JobBatch, wanted: Wanted, is_gauge: bool, ends_ms: tuple[int, int] | None
) -> _Counted:
    """What counts of level-1 blocks."""
    chosen = _chosen(columns, wanted, is_gauge)
    if ends_ms is not None:
        time_ns = columns.rows.time_ns
        chosen &= (time_ns >= ends_ms[0] * _NS_PER_MS) & (time_ns < ends_ms[1] * _NS_PER_MS)
    count, job = np.diff(columns.rows.sample_start), batch.job_of_row()
    times = np.array([job.timestamp_ms for job in batch.jobs], dtype=np.int64).take(job)
    return _Counted(chosen, chosen, count, columns.rows.total_value, times, _shards(batch).take(job))


def _of_summaries(
    columns: BlockColumns, batch: JobBatch, wanted: Wanted, is_gauge: bool, _: tuple[int, int] | None
) -> _Counted:
    """What counts of summaries, all of whose profiles are within the times that are asked for."""
    marks = marks_of(columns.rows)
    chosen = wanted.series(columns.series.labels).take(columns.rows.series)
    if is_gauge:
        chosen &= marks["is_last"] == 1
    shards = _shards(batch).take(batch.job_of_row())
    is_profile = chosen & (marks["is_sum"] == 0)
    return _Counted(chosen, is_profile, marks["samples"], columns.rows.total_value, marks["job_ms"], shards)


def _shards(batch: JobBatch) -> I64:
    return np.array([job.shard for job in batch.jobs], dtype=np.int64)


def _digest(texts: Sequence[str]) -> bytes:
    return blake2b("\0".join(texts).encode("utf-8", "surrogatepass"), digest_size=16).digest()


def choose_type(kinds: Sequence[str]) -> str:
    """The profile type that people look at first: CPU time if there is any, "" where there is none."""
    return next((kind for kind in kinds if kind.startswith("process_cpu:cpu:")), next(iter(kinds), ""))
