"""Reads the profiles that a question means from the archive: whole jobs and hours, which come from the ledger.

Add what several methods read here. A question has a limited time, because its client waits; what was read of one that
is refused is lost. Series of jobs never change and are remembered.
"""

import glob
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import TYPE_CHECKING, Final

from pyro_assets.block.columns import BlockColumns, Bool, Labels
from pyro_assets.compaction.hour import marks_of
from pyro_assets.errors import QueryTooLarge
from pyro_assets.explore.pyroscope.asked import ProfileQuery, TimeRange
from pyro_assets.explore.read import ArchivedJob, NarrowReader, Wanted, batches
from pyro_assets.rules.selectors import Selector
from pyro_assets.storage.keys import hour_start_ms

if TYPE_CHECKING:
    from pyro_assets.storage.interface import Bucket, ReadOnlyBucket

#: Jobs whose series are read, and remembered, together.
_JOBS_TOGETHER: Final = 64
#: So many series of them are remembered (about 150 bytes each), with so many distinct label sets (about 1 kB each).
_REMEMBERED: Final = 500_000
_MOST_LABEL_SETS: Final = 100_000
_NS_PER_MS: Final = 1_000_000

#: Hours, tenant, and the times between which profiles are asked for -> what to read.
Explorable = Callable[[Sequence[str], str, tuple[int, int] | None], Sequence[ArchivedJob]]
#: Label set -> first and last nanosecond of its profiles.
SeriesTimes = dict[Labels, tuple[int, int]]


@dataclass(frozen=True, slots=True)
class ChosenProfiles:
    """Profiles of some jobs: columns, and bool[rows] which of them are meant.

    Where names are asked for, a row may be the sum of many profiles; where they are not, samples may be missing.
    """

    columns: BlockColumns
    rows: Bool


class ProfileArchive:
    """The blocks of one archive; safe to use from many threads."""

    def __init__(
        self,
        archive: "ReadOnlyBucket | Bucket",
        hours: Callable[[], Sequence[str]],
        explorable: Explorable,
        *,
        knows: Callable[[str], bool] = lambda _: True,
        seconds: float = 60.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """See the class.

        Args:
            archive: where blocks are.
            hours: all partition keys that there are, oldest first.
            explorable: what to read of some hours, see `ArchivedJobs.explorable`.
            knows: whether there is anything of a tenant, so that not all hours are looked at for one that has nothing.
            seconds: no question is read for longer.
            clock: counts seconds.
        """
        self._archive, self._hours, self._explorable, self._knows = archive, hours, explorable, knows
        self._seconds, self._clock = seconds, clock
        self._lock = threading.Lock()
        self._known: OrderedDict[tuple[str, ...], SeriesTimes] = OrderedDict()
        self._shared: dict[Labels, Labels] = {}
        self._size = 0

    def read(self, asked: ProfileQuery, *, names: bool = True, everything: bool = False) -> Iterator[ChosenProfiles]:
        """The profiles that are meant, some jobs at a time.

        Args:
            asked: which.
            names: whether the names on stacks are needed.
            everything: whether lines, files and addresses are needed too.

        Raises:
            QueryTooLarge: it takes too long.
            StorageError, BlockError: the archive is damaged or does not answer.
        """
        begun = self._clock()
        ends = asked.span.start_ms, asked.span.end_ms
        kinds = [glob.escape(asked.kind.text.removesuffix(":delta"))]
        wanted = Wanted(asked.selector, kinds, [asked.tenant], names, ends, everything)
        reader = NarrowReader(self._archive)
        first, last = asked.span.ends_ns
        for some in chain.from_iterable(map(batches, self._by_hour(asked.tenant, asked.span))):
            self._look_at_clock(begun)
            for is_summary in (False, True):
                own = [job for job in some if job.is_summary == is_summary]
                columns = reader.read(own, wanted).columns if own else None
                if columns is None:
                    continue
                time_ns = columns.rows.time_ns
                rows = wanted.series(columns.series.labels).take(columns.rows.series)
                if is_summary:
                    rows &= marks_of(columns.rows)["is_sum"] == names
                # The original counts whole milliseconds, of which the last one belongs to the range.
                yield ChosenProfiles(columns, rows & (time_ns >= first) & (time_ns < last + _NS_PER_MS))

    def series(self, tenant: str, selector: Selector, span: TimeRange) -> list[Labels]:
        """The distinct label sets of a tenant's series that have profiles in a span.

        Raises:
            QueryTooLarge: it takes too long.
            StorageError, BlockError: the archive is damaged or does not answer.
        """
        first, last = span.ends_ns
        found = [
            labels
            for labels, (begin, end) in self._series_times(tenant, self._by_hour(tenant, span))
            if begin < last + _NS_PER_MS and end >= first
        ]
        distinct = list(dict.fromkeys(found))
        is_selected = selector.select([dict(reversed(labels)) for labels in distinct]).tolist()
        return [labels for labels, is_one in zip(distinct, is_selected, strict=True) if is_one]

    def ends_ms(self, tenant: str) -> tuple[int, int] | None:
        """When the first and the last of a tenant's profiles were taken, None without any.

        Of profiles that were uploaded out of order, those of the first and the last hour with blocks count.
        """
        found, begun = [], self._clock()
        hours = list(self._hours()) if self._knows(tenant) else []
        for ordered in (hours, hours[::-1]):
            for hour in ordered:
                self._look_at_clock(begun)
                jobs = self._explorable([hour], tenant, None)
                if jobs:
                    found += [ends for _, ends in self._series_times(tenant, [jobs])]
                    break
        if not found:
            return None
        return min(begin for begin, _ in found) // _NS_PER_MS, max(end for _, end in found) // _NS_PER_MS

    def _by_hour(self, tenant: str, span: TimeRange) -> Iterator[Sequence[ArchivedJob]]:
        """The jobs of a tenant, hour by hour: a month has millions."""
        for hour in self._hours():
            if span.has_hour(hour_start_ms(hour)):
                yield self._explorable([hour], tenant, (span.start_ms, span.end_ms))

    def _series_times(
        self, tenant: str, hours: Iterable[Sequence[ArchivedJob]]
    ) -> Iterator[tuple[Labels, tuple[int, int]]]:
        begun = self._clock()
        wanted = Wanted(tenants=[tenant])
        for some in chain.from_iterable(map(_together, hours)):
            key = (tenant, *(job.id for job in some))
            with self._lock:
                known = self._known.get(key)
                if known is not None:
                    self._known.move_to_end(key)
            if known is None:
                self._look_at_clock(begun)
                table = NarrowReader(self._archive).series_table(some, wanted)
                ends = zip(table.labels, table.min_time_ns.tolist(), table.max_time_ns.tolist(), strict=True)
                known = self._remember(key, ends)
            yield from known.items()

    def _remember(self, key: tuple[str, ...], series: Iterable[tuple[Labels, int, int]]) -> SeriesTimes:
        found: SeriesTimes = {}
        with self._lock:
            for labels, begin, end in series:
                shared = self._shared.setdefault(labels, labels)
                known = found.get(shared, (begin, end))
                found[shared] = min(begin, known[0]), max(end, known[1])
            if len(self._shared) > _MOST_LABEL_SETS:
                self._known.clear()
                self._shared.clear()
                self._size = 0
            self._size += len(found) - len(self._known.get(key, ()))
            self._known[key] = found
            while self._size > _REMEMBERED:
                self._size -= len(self._known.popitem(last=False)[1])
        return found

    def _look_at_clock(self, begun: float) -> None:
        if self._clock() - begun > self._seconds:
            raise QueryTooLarge(
                f"this question reads the archive for more than {self._seconds:g} s; ask for a shorter time range, "
                "or for fewer services"
            )


def _together(jobs: Sequence[ArchivedJob]) -> Iterator[Sequence[ArchivedJob]]:
    """The jobs of an hour in the parts in which they are remembered."""
    return (jobs[begin : begin + _JOBS_TOGETHER] for begin in range(0, len(jobs), _JOBS_TOGETHER))
