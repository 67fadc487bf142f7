"""What is worth knowing about a derivation beside its series: services, unsymbolised samples, what was odd.

Here, too:
* what series need to know of the job that they are of.

Add a count here when a person or a check needs to see it; nothing that a series depends on.
"""

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from pyro_assets.block.columns import I64, BlockColumns
from pyro_assets.storage.shown import show_bytes

if TYPE_CHECKING:
    import polars as pl

#: So many examples of label collisions are kept.
MAX_EXAMPLES: Final = 5


@dataclass(frozen=True, slots=True)
class ServiceFacts:
    """One service of a tenant.

    Attributes:
        profiles: one per uploaded profile and sample type.
        samples: of all these.
        unsymbolised_samples: samples whose innermost frame has no function, only an address.
        dangling: references of its symbols that lead nowhere.
    """

    tenant: str
    service: str
    profiles: int
    samples: int
    unsymbolised_samples: int
    dangling: int


@dataclass(frozen=True, slots=True)
class Unmade:
    """Series that a rule should have given a tenant and did not.

    Attributes:
        why: what stands behind the rule's name in a sentence, with the remedy.
    """

    tenant: str
    rule: str
    why: str

    def __str__(self) -> str:
        return f"rule {self.rule} {self.why} (tenant {self.tenant!r})"


@dataclass(slots=True)
class SeriesFacts:
    """Counts of one derivation.

    Attributes:
        services: sorted by tenant and service.
        series: series per kind.
        skipped_zero_series: function series of native rules that would be 0, and are left out.
        rounded_values: series whose exact value is not a double, so that what is sent is rounded.
        negative_samples: samples with a value below 0; they count as they are.
        label_collisions: label sets in which two labels wanted the same name, here or where names are sent by
            underscores; one of them is called `U__...`.
        merged_series: native series that add up label sets (or profile types) that differ only in characters which
            Prometheus does not allow in names, there or as they are sent.
        collision_examples: a few of these, in words.
        overflowing_series: series left out because their value does not fit 64 bits; everything else is made.
        refused_rules: rules (per tenant) with `overflow: error` that gave more series than they may, and so none.
        unmade: the refused rules, and a few of the overflowing series.
        limited_rules: rules (per tenant) that gave more series than they may.
        dropped_series: series that were left out for that.
        conflicting_series: series that another rule gives already, and were left out.
        other_units: label sets (per rule) left out because their unit is no time.
    """

    services: list[ServiceFacts] = field(default_factory=list)
    series: dict[str, int] = field(default_factory=dict)
    skipped_zero_series: int = 0
    rounded_values: int = 0
    negative_samples: int = 0
    label_collisions: int = 0
    merged_series: int = 0
    collision_examples: list[str] = field(default_factory=list)
    overflowing_series: int = 0
    refused_rules: int = 0
    unmade: list[Unmade] = field(default_factory=list)
    limited_rules: int = 0
    dropped_series: int = 0
    conflicting_series: int = 0
    other_units: int = 0

    @property
    def examples(self) -> list[str]:
        """A few of what could not be made, and of what collided, in words."""
        return [*map(str, self.unmade[:MAX_EXAMPLES]), *self.collision_examples]

    def refuse(self, one: Unmade) -> None:
        """Note a rule that gave a tenant none of its series."""
        self.refused_rules += 1
        self.unmade.append(one)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        return asdict(self)


def note_overflows(unfit: "pl.DataFrame", job_of_series: Sequence[int], facts: Sequence[SeriesFacts]) -> None:
    """Count series whose values do not fit, frames of the series' schema, and name the first of each job."""
    for number, job in enumerate(job_of_series):
        facts[job].overflowing_series += 1
        if facts[job].overflowing_series <= MAX_EXAMPLES:
            series = unfit.row(number, named=True)
            labels = ", ".join(f"{label['name']}={label['value']!r}" for label in series["labels"])
            why = (
                f"gives {series['metric']}{{{labels}}} a value that does not fit 64 bits, so this series was left out: "
                "look at the profiles' values with `pyro-assets inspect`"
            )
            facts[job].unmade.append(Unmade(series["tenant"], series["rule"], why))


def count_services(columns: BlockColumns, job_of_dataset: I64, jobs: int) -> list[list[ServiceFacts]]:
    """Samples of each of some jobs per tenant and service, and how many of them lack symbols."""
    rows, symbols = columns.rows, columns.symbols
    datasets = len(columns.datasets)
    samples = np.diff(rows.sample_start.take(rows.dataset_start))
    unsymbolised = _unsymbolised_per_dataset(columns, samples)
    dangling = np.zeros(datasets, dtype=np.int64)
    np.add.at(dangling, symbols.unit_dataset, symbols.dangling)
    counts = np.stack([np.diff(rows.dataset_start), samples, unsymbolised, dangling], axis=1).tolist()
    services: list[dict[tuple[bytes, bytes], list[int]]] = [{} for _ in range(jobs)]
    for job, dataset, added in zip(job_of_dataset.tolist(), columns.datasets, counts, strict=True):
        total = services[job].setdefault((dataset.tenant, dataset.name), [0, 0, 0, 0])
        for position, number in enumerate(added):
            total[position] += number
    return [
        [ServiceFacts(show_bytes(tenant), show_bytes(name), *total) for (tenant, name), total in sorted(own.items())]
        for own in services
    ]


def count_negative(columns: BlockColumns, job_of_dataset: I64, jobs: int) -> list[int]:
    """Samples below 0 of each job."""
    rows = columns.rows
    row = np.searchsorted(rows.sample_start, np.flatnonzero(rows.value < 0), side="right") - 1
    dataset = np.searchsorted(rows.dataset_start, row, side="right") - 1
    counts: list[int] = np.bincount(job_of_dataset.take(dataset), minlength=jobs).tolist()
    return counts


def _unsymbolised_per_dataset(columns: BlockColumns, samples: I64) -> I64:
    rows, symbols = columns.rows, columns.symbols
    # One more than there are locations: a stack without frames (location -1) is not called unsymbolised.
    is_bare = np.append(symbols.line_start[1:] == symbols.line_start[:-1], False)
    if not is_bare.any():
        return np.zeros(len(samples), dtype=np.int64)
    position = np.flatnonzero(is_bare.take(symbols.node_location).take(rows.stack))
    found = np.searchsorted(position, rows.sample_start.take(rows.dataset_start))
    return np.diff(found)


@dataclass(frozen=True, slots=True)
class JobInfo:
    """What series need to know of their job.

    Attributes:
        job_id: a column of the stored series.
        shard: the label `pyroscope_shard` of native series.
        timestamp_ms: of all samples, Unix milliseconds.
        instance: the label `pyroscope_instance` of imported recording rules, see `instance_hash`.
    """

    job_id: str
    shard: int
    timestamp_ms: int
    instance: str
