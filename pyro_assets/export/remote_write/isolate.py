"""Isolating: which samples of a refused batch a receiver refuses, each of them proven by a request of its own.

Many receivers refuse a request as a whole for one bad sample. A good sample is never given up for its neighbours: what
is refused was refused alone. `RefusedSeries` keep the price low: series that were refused are sent apart from then on.
"""

import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from pyro_assets.block.columns import Bool
from pyro_assets.export.remote_write.batch import Batch
from pyro_assets.export.remote_write.transport import HttpAnswer

#: Series remembered per X-Scope-OrgID; more are isolated again in each job.
_MOST_REMEMBERED: Final = 100_000


@dataclass(slots=True)
class RefusedSeries:
    """Series that a receiver refused when it saw them last, by X-Scope-OrgID; threads may share it.

    Keep one per receiver as long as the process lives; `take_fresh` is what to keep for later ones.
    """

    _series: dict[str, set[int]] = field(default_factory=dict)
    _fresh: dict[str, set[int]] = field(default_factory=dict)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def among(self, batch: Batch) -> Bool | None:
        """bool[n]: which samples of a batch are of such series; None where none is."""
        with self._lock:
            known = np.array(sorted(self._series.get(batch.org_id, ())), dtype=np.uint64)
        if not len(known):
            return None
        found = np.isin(batch.series(), known)
        return found if found.any() else None

    def note(self, batch: Batch, *, refused: bool) -> None:
        """Remembers whether a batch's series were refused."""
        if not refused and not self._series.get(batch.org_id):
            return
        series = batch.series().tolist()
        with self._lock:
            known = self._series.setdefault(batch.org_id, set())
            if refused:
                fresh = [one for one in series if one not in known][: max(0, _MOST_REMEMBERED - len(known))]
                known.update(fresh)
                self._fresh.setdefault(batch.org_id, set()).update(fresh)
            else:
                known.difference_update(series)

    def take_fresh(self) -> dict[str, set[int]]:
        """X-Scope-OrgID -> hashes of series that were refused since this was asked last and not before."""
        with self._lock:
            fresh, self._fresh = self._fresh, {}
        return {org_id: series for org_id, series in fresh.items() if series}


def isolate(
    batch: Batch,
    answer: HttpAnswer,
    ask: Callable[[Batch], HttpAnswer | None],
    is_for_all: Callable[[Batch, HttpAnswer], bool],
    *,
    is_suspect: bool = False,
) -> Iterator[tuple[Batch, HttpAnswer | None]]:
    """Send a refused batch in parts until each sample is decided.

    Of 2,000 samples one bad one costs about 13 requests, ten cost 110, a hundred 810; if all are bad, each costs one.

    Args:
        batch: that was refused.
        answer: with which.
        ask: sends a part; None when it is accepted, the answer when it is refused.
        is_for_all: asked when the first sample was refused alone: whether that answer is about every sample.
        is_suspect: most of them are expected to be refused.

    Yields:
        Parts in their order with None (accepted), or with the answer that refused them.
    """
    count = len(batch)
    if count == 1:
        yield batch, answer
        return
    begin, size = 0, 1 if is_suspect else (count + 1) // 2
    #: [begin, bad_end) holds a refused sample; 0: nothing is known.
    bad_end, since_bad, is_first = count, 0, True
    while begin < count:
        part = batch.slice(begin, min(begin + size, count))
        no = ask(part)
        if no is not None and len(part) > 1:
            bad_end = begin + len(part)
        elif no is not None:
            if begin == 0 and is_for_all(batch, no):
                yield batch, no
                return
            yield part, no
            begin += 1
            # Bad ones often stand side by side; after the first of all, the rest may well be good.
            size = count if is_first and not is_suspect else max(1, since_bad)
            bad_end, since_bad, is_first = 0, 0, False
            continue
        else:
            yield part, None
            begin += len(part)
            since_bad += len(part)
            size *= 2
        if bad_end > begin:
            size = (bad_end - begin + 1) // 2
