"""Counts over the columns of a job, for its record and reports.

Add a count that needs the columns here; what a derivation notices comes from `series`.
"""

from dataclasses import dataclass

import numpy as np

from pyro_assets.block.columns import BlockColumns
from pyro_assets.series.facts import count_services

_NS_PER_MS = 1_000_000


@dataclass(frozen=True, slots=True)
class Summary:
    """What columns hold.

    Attributes:
        tenants: tenant -> (profiles, samples); a profile is a row, one per upload and sample type.
        services: (tenant, service, samples, unsymbolised samples), names printable.
        oldest_ms, newest_ms: first and last profile, None without any.
    """

    tenants: dict[bytes, tuple[int, int]]
    services: tuple[tuple[str, str, int, int], ...] = ()
    oldest_ms: int | None = None
    newest_ms: int | None = None

    @property
    def profiles(self) -> int:
        """Of all tenants."""
        return sum(profiles for profiles, _ in self.tenants.values())

    @property
    def samples(self) -> int:
        """Of all tenants."""
        return sum(samples for _, samples in self.tenants.values())


def summarise(columns: BlockColumns) -> Summary:
    """Counts what columns hold."""
    rows = columns.rows
    tenants: dict[bytes, tuple[int, int]] = {}
    row_counts = np.diff(rows.dataset_start).tolist()
    sample_counts = np.diff(rows.sample_start.take(rows.dataset_start)).tolist()
    for dataset, profiles, samples in zip(columns.datasets, row_counts, sample_counts, strict=True):
        before = tenants.get(dataset.tenant, (0, 0))
        tenants[dataset.tenant] = (before[0] + profiles, before[1] + samples)
    return Summary(
        tenants=tenants,
        services=tuple((s.tenant, s.service, s.samples, s.unsymbolised_samples) for s in count_services(columns)),
        oldest_ms=int(rows.time_ns.min()) // _NS_PER_MS if len(rows.time_ns) else None,
        newest_ms=int(rows.time_ns.max()) // _NS_PER_MS if len(rows.time_ns) else None,
    )
