"""How much a receiver would get: series and samples per hour, before anything is sent.

Counts what `batch.prepare` would let through; nothing is encoded here.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field

import numpy as np

from pyro_assets.export.batch import prepare
from pyro_assets.export.receivers import Receiver
from pyro_assets.export.refusals import Refusals
from pyro_assets.export.samples import U64, Samples

_HOUR_MS = 3_600_000


@dataclass(slots=True)
class HourEstimate:
    """One hour of samples.

    Attributes:
        samples: that would be sent.
        refused: samples that our own rules would keep back, whatever their age.
    """

    samples: int = 0
    refused: Refusals = field(default_factory=Refusals)
    _series: U64 = field(default_factory=lambda: np.zeros(0, dtype=np.uint64))

    @property
    def series(self) -> int:
        """Distinct series among them."""
        return len(self._series)


def estimate(jobs: Iterable[Samples], receiver: Receiver) -> dict[int, HourEstimate]:
    """Count what jobs amount to for one receiver; eight bytes per distinct series and hour are kept.

    Args:
        jobs: samples of one job and kind each, in any order.
        receiver: whose tenants, metrics, labels and limits count, except its window.

    Returns:
        Hour (ms // 3,600,000) -> counts, sorted by hour.
    """
    found: dict[int, HourEstimate] = {}
    for job in jobs:
        if not len(job):
            continue
        prepared = prepare(job, receiver, 0, ageless=True)
        samples = prepared.samples
        hour = samples.timestamp_ms // _HOUR_MS
        series = samples.series_hash([receiver.org_of(tenant) for tenant in samples.tenants])
        # A job has one time; where all its samples are refused it still names its hour.
        first = found.setdefault(int(job.timestamp_ms[0]) // _HOUR_MS, HourEstimate())
        first.refused.merge(prepared.refusals)
        for one in np.unique(hour).tolist():
            counted = found.setdefault(one, HourEstimate())
            inside = series.compress(hour == one)
            counted.samples += len(inside)
            counted._series = np.union1d(counted._series, inside)
    return dict(sorted(found.items()))
