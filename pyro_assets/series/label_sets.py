"""The distinct label sets of a job's profiles, and what a configuration's rules make of each.

Everything that depends on labels but not on values is worked out here, once per tenant, service and label set; rows
then carry numbers. What to add up over them is in `engine`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import compress

import numpy as np
import numpy.typing as npt
import polars as pl

from pyro_assets.block.columns import I64, BlockColumns, Bool
from pyro_assets.series.facts import MAX_EXAMPLES, SeriesFacts
from pyro_assets.series.rules import Group, Meaning, Memory, RuleSet
from pyro_assets.storage.shown import show_bytes


@dataclass(slots=True)
class LabelSets:
    """Distinct (job, tenant, service, label set) with profiles.

    Attributes:
        of_entry: int64[entries of the series table], -1 where no profile refers to one.
        scope: int64[entries], equal where job, tenant and service are.
        meanings: s meanings.
        origin: int32[s, groupings], see Meaning.
        selected: bool[s, rules].
        group: int64[s, groupings], positions in `groups`.
        memory: what the numbers of groups refer to.
        groups: g numbers of groups, distinct together with job and tenant.
        tenants: g tenants.
        job_of_set, job_of_group: int64[s] and int64[g].
    """

    of_entry: I64
    scope: I64
    meanings: list[Meaning]
    origin: npt.NDArray[np.int32]
    selected: Bool
    group: I64
    memory: Memory
    groups: list[int]
    tenants: list[bytes]
    job_of_set: I64
    job_of_group: I64

    def describe(self, position: int) -> Group:
        """One of the g groups."""
        return self.memory.groups[self.groups[position]]


def find_label_sets(columns: BlockColumns, job_of_dataset: I64, rules: RuleSet) -> LabelSets:
    """Work out what the label sets of jobs' profiles mean, each distinct one once.

    Args:
        columns: the profiles of j jobs.
        job_of_dataset: int64[datasets], 0 <= job < j.
        rules: r rules.
    """
    series = columns.series
    of_datasets = list(zip(job_of_dataset.tolist(), columns.datasets, strict=True))
    services = sorted({(job, dataset.tenant, dataset.name) for job, dataset in of_datasets})
    number = {service: position for position, service in enumerate(services)}
    tenants = sorted({(job, tenant) for job, tenant, _ in services})
    tenant_number = {tenant: position for position, tenant in enumerate(tenants)}
    tenant_of_service = np.array([tenant_number[job, tenant] for job, tenant, _ in services], dtype=np.int64)
    service_of_dataset = np.array([number[job, one.tenant, one.name] for job, one in of_datasets], dtype=np.int64)
    job_of_tenant = np.array([job for job, _ in tenants], dtype=np.int64)
    memory, positions = rules.look_up(series.labels)
    entry_service = np.repeat(service_of_dataset, np.diff(series.dataset_start))
    # Entries that no profile refers to make no series.
    entry_used = np.zeros(len(positions), dtype=np.bool_)
    entry_used[columns.rows.series] = True
    key = (entry_service << 32) | np.array(positions, dtype=np.int64)
    distinct = np.unique(key.compress(entry_used))
    of_entry = np.where(entry_used, np.searchsorted(distinct, key), -1)
    meanings = [memory.meanings[position] for position in (distinct & 0xFFFF_FFFF).tolist()]
    tenant = tenant_of_service.take(distinct >> 32)
    packed = np.frombuffer(b"".join([meaning.selected for meaning in meanings]), dtype=np.uint8)
    width = -(-len(rules.rules) // 8)
    selected = np.unpackbits(packed.reshape(len(meanings), width), axis=1, count=len(rules.rules)).view(np.bool_)
    for place, rule in enumerate(rules.rules):
        if rule.tenants:
            is_wanted = np.array([show_bytes(one) in rule.tenants for _, one in tenants], dtype=np.bool_)
            selected[:, place] &= is_wanted.take(tenant)
    groups, local = _tenant_groups(meanings, tenant, len(rules.groupings))
    origins = np.frombuffer(b"".join([meaning.origins for meaning in meanings]), dtype=np.int32)
    return LabelSets(
        of_entry,
        entry_service,
        meanings,
        origins.reshape(len(meanings), len(rules.groupings)),
        selected,
        local,
        memory,
        (groups & 0xFFFF_FFFF).tolist(),
        [tenants[position >> 32][1] for position in groups.tolist()],
        job_of_tenant.take(tenant),
        job_of_tenant.take(groups >> 32),
    )


def _tenant_groups(meanings: Sequence[Meaning], tenant: I64, groupings: int) -> tuple[I64, I64]:
    numbers = np.frombuffer(b"".join([meaning.groups for meaning in meanings]), dtype=np.int32)
    numbers = numbers.reshape(len(meanings), groupings)
    distinct, inverse = np.unique((tenant[:, None] << 32) | numbers, return_inverse=True)
    return distinct, inverse.reshape(len(meanings), groupings)


def groups_of(sets: LabelSets) -> pl.DataFrame:
    """The columns group, job, tenant and order (the text by which series of a rule are sorted)."""
    describe = map(sets.describe, range(len(sets.groups)))
    return pl.DataFrame(
        {
            "group": np.arange(len(sets.groups), dtype=np.int64),
            "job": sets.job_of_group,
            "tenant": pl.Series([show_bytes(tenant) for tenant in sets.tenants], dtype=pl.String),
            "order": pl.Series([group.order for group in describe], dtype=pl.String),
        }
    )


def note_collisions(sets: LabelSets, facts: Sequence[SeriesFacts], of_job: Sequence[Mapping[str, str]]) -> None:
    """Count where two labels, or two label sets, are called the same: here, or where names are sent by underscores.

    Args:
        sets: of all rules.
        facts: of each job, get the counts and examples.
        of_job: of each job, label -> value of those that are the job's, not the profile's; others are a rule's.
    """
    examples: list[list[str]] = [[] for _ in facts]
    is_selected: Bool = np.logical_or.reduce(sets.selected, axis=1)
    for job, meaning in compress(zip(sets.job_of_set.tolist(), sets.meanings, strict=True), is_selected):
        facts[job].label_collisions += bool(meaning.collisions)
        examples[job] += meaning.collisions
    # Two origins in one group: label sets that differ as stored and no longer as sent.
    origin, group = (sets.origin * is_selected[:, None]).ravel(), sets.group.ravel()
    if sets.memory.is_merging:
        first: dict[tuple[int, bytes, int], int] = {}
        sent = (sets.memory.sent[number] for number in sets.groups)
        owners = zip(sets.job_of_group.tolist(), sets.tenants, sent, strict=True)
        of_group = [first.setdefault(owner, position) for position, owner in enumerate(owners)]
        group = np.array(of_group, dtype=np.int64).take(group)
    made = np.flatnonzero(origin)
    pairs = np.unique((group.take(made) << 32) | origin.take(made))
    merged = np.unique((pairs >> 32)[1:][(pairs[1:] >> 32) == (pairs[:-1] >> 32)])
    for job, position in zip(sets.job_of_group.take(merged).tolist(), merged.tolist(), strict=True):
        facts[job].merged_series += 1
        if facts[job].merged_series <= MAX_EXAMPLES:
            one = sets.describe(position)
            own = {name: text if isinstance(text, str) else of_job[job].get(name, "…") for name, text in one.labels}
            examples[job].append(f"different labels became one series of {one.metric or 'a rule'}: {own}")
    for fact, found in zip(facts, examples, strict=True):
        fact.collision_examples = list(dict.fromkeys(found))[:MAX_EXAMPLES]
