"""The distinct label sets of a job's profiles, and what a configuration's rules make of each.

Everything that depends on labels but not on values is worked out here, once per tenant, service and label set; rows
then carry numbers. What to sum over them is in `sums`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import chain, compress

import numpy as np
import numpy.typing as npt

from pyro_assets.block.columns import I64, BlockColumns, Bool
from pyro_assets.series.facts import MAX_EXAMPLES, SeriesFacts
from pyro_assets.series.profiles import Profiles, find_profiles
from pyro_assets.series.rule_set import Group, Meaning, Memory, RuleSet
from pyro_assets.storage.shown import show_bytes


@dataclass(slots=True)
class LabelSets:
    """Distinct (tenant, service, label set) with profiles.

    Attributes:
        of_row: int64[rows].
        profiles: what rows are parts of.
        meanings: s meanings.
        origin: int32[s, groupings], see Meaning.
        selected: bool[s, rules].
        group: int64[s, groupings], positions in `groups`.
        memory: what the numbers of groups refer to.
        groups: g numbers of groups, distinct together with the tenant.
        tenants: g tenants.
    """

    of_row: I64
    profiles: Profiles
    meanings: list[Meaning]
    origin: npt.NDArray[np.int32]
    selected: Bool
    group: I64
    memory: Memory
    groups: list[int]
    tenants: list[bytes]

    def describe(self, position: int) -> Group:
        """One of the g groups."""
        return self.memory.groups[self.groups[position]]


def find_label_sets(columns: BlockColumns, rules: RuleSet) -> LabelSets:
    """Work out what the label sets of a job's profiles mean, each distinct one once."""
    series = columns.series
    services = sorted({(dataset.tenant, dataset.name) for dataset in columns.datasets})
    number = {service: position for position, service in enumerate(services)}
    tenants = sorted({tenant for tenant, _ in services})
    tenant_of_service = np.array([tenants.index(tenant) for tenant, _ in services], dtype=np.int64)
    service_of_dataset = np.array([number[d.tenant, d.name] for d in columns.datasets], dtype=np.int64)
    memory, positions = rules.look_up(series.labels)
    entry_service = np.repeat(service_of_dataset, np.diff(series.dataset_start))
    # Entries that no profile refers to make no series.
    entry_used = np.zeros(len(positions), dtype=np.bool_)
    entry_used[columns.rows.series] = True
    key = (entry_service << 32) | np.array(positions, dtype=np.int64)
    distinct = np.unique(key.compress(entry_used))
    of_entry = np.searchsorted(distinct, key)
    meanings = [memory.meanings[position] for position in (distinct & 0xFFFF_FFFF).tolist()]
    tenant = tenant_of_service.take(distinct >> 32)
    packed = np.frombuffer(b"".join([meaning.selected for meaning in meanings]), dtype=np.uint8)
    width = -(-len(rules.rules) // 8)
    selected = np.unpackbits(packed.reshape(len(meanings), width), axis=1, count=len(rules.rules)).view(np.bool_)
    for place, rule in enumerate(rules.rules):
        if rule.tenants:
            is_wanted = np.array([show_bytes(one) in rule.tenants for one in tenants], dtype=np.bool_)
            selected[:, place] &= is_wanted.take(tenant)
    groups, local = _tenant_groups(meanings, tenant, len(rules.groupings))
    origins = np.frombuffer(b"".join([meaning.origins for meaning in meanings]), dtype=np.int32)
    return LabelSets(
        of_entry.take(columns.rows.series),
        find_profiles(columns.rows, series.labels, entry_service),
        meanings,
        origins.reshape(len(meanings), len(rules.groupings)),
        selected,
        local,
        memory,
        (groups & 0xFFFF_FFFF).tolist(),
        [tenants[position >> 32] for position in groups.tolist()],
    )


def _tenant_groups(meanings: Sequence[Meaning], tenant: I64, groupings: int) -> tuple[I64, I64]:
    numbers = np.frombuffer(b"".join([meaning.groups for meaning in meanings]), dtype=np.int32)
    numbers = numbers.reshape(len(meanings), groupings)
    distinct, inverse = np.unique((tenant[:, None] << 32) | numbers, return_inverse=True)
    return distinct, inverse.reshape(len(meanings), groupings)


def rank_groups(sets: LabelSets) -> tuple[list[str], I64, I64]:
    """Per group its tenant as text, its place by tenant, metric and labels, and its tenant's place."""
    tenants = [show_bytes(tenant) for tenant in sets.tenants]
    ranked = sorted(range(len(tenants)), key=lambda position: (tenants[position], sets.describe(position).order))
    rank = np.zeros(len(tenants), dtype=np.int64)
    rank[ranked] = np.arange(len(tenants), dtype=np.int64)
    number = {tenant: position for position, tenant in enumerate(sorted(set(tenants)))}
    return tenants, rank, np.array([number[tenant] for tenant in tenants], dtype=np.int64)


def note_collisions(sets: LabelSets, facts: SeriesFacts, of_job: Mapping[str, str]) -> None:
    """Count where two labels, or two label sets, are called the same: here, or where names are sent by underscores.

    Args:
        sets: of all rules of one form.
        facts: get the counts and examples, beside those of other forms.
        of_job: label -> value of those that are the job's, not the profile's; others are a rule's.
    """
    examples = list(facts.collision_examples)
    is_selected: Bool = np.logical_or.reduce(sets.selected, axis=1)
    collided = [meaning.collisions for meaning in compress(sets.meanings, is_selected) if meaning.collisions]
    # The label sets of one job are the same whatever rules are asked.
    facts.label_collisions = max(facts.label_collisions, len(collided))
    examples += chain.from_iterable(collided)
    # Two origins in one group: label sets that differ as stored and no longer as sent.
    origin, group = (sets.origin * is_selected[:, None]).ravel(), sets.group.ravel()
    if sets.memory.is_merging:
        first: dict[tuple[bytes, int], int] = {}
        owners = zip(sets.tenants, (sets.memory.sent[number] for number in sets.groups), strict=True)
        of_group = [first.setdefault(owner, position) for position, owner in enumerate(owners)]
        group = np.array(of_group, dtype=np.int64).take(group)
    made = np.flatnonzero(origin)
    pairs = np.unique((group.take(made) << 32) | origin.take(made))
    merged = np.unique((pairs >> 32)[1:][(pairs[1:] >> 32) == (pairs[:-1] >> 32)])
    facts.merged_series += len(merged)
    for position in merged[:MAX_EXAMPLES].tolist():
        one = sets.describe(position)
        labels = {name: value if isinstance(value, str) else of_job.get(name, "…") for name, value in one.labels}
        examples.append(f"different labels became one series of {one.metric or 'a rule'}: {labels}")
    facts.collision_examples = list(dict.fromkeys(examples))[:MAX_EXAMPLES]
