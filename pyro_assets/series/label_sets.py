"""What label sets mean to the rules of a configuration: which select them, and what series they become.

Here, too:
* the distinct label sets of jobs' profiles, numbered, so that rows carry numbers.

Everything that depends on labels but not on values is worked out here, once per label set: selectors are matched by RE2
over distinct values, and what is known of a label set is kept from job to job. What to add up over them is in `engine`.
"""

import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import compress
from typing import Any, Final

import numpy as np
import polars as pl

from pyro_assets.block.columns import I64, BlockColumns, Bool, Labels
from pyro_assets.block.tsdb.labels import profile_type
from pyro_assets.compaction.arrays import numbered
from pyro_assets.rules.names import TextLabels, exported_names, metric_name, public_labels
from pyro_assets.series.facts import MAX_EXAMPLES, SeriesFacts
from pyro_assets.series.rules import Selection, is_of_type
from pyro_assets.storage.shown import show_bytes

# So many label sets are remembered before all are forgotten.
_REMEMBERED: Final = 10_000


@dataclass(frozen=True, slots=True)
class Meaning:
    """What one label set means to a configuration.

    Attributes:
        is_gauge: the profile type is one of the configuration's gauges.
        unit: of the profile type's values.
        collisions: messages about labels that could not get their name.
    """

    is_gauge: bool
    unit: str
    collisions: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Group:
    """Labels of a series, with holes for what rules add.

    Attributes:
        metric: None where the rule names it.
        labels: sorted by name; the value of a rule's own label is its position among the constants.
        order: sorts groups by their text, the same in every process.
    """

    metric: str | None
    labels: tuple[tuple[str, str | int], ...]
    order: str


@dataclass(slots=True)
class Memory:
    """Meanings and groups known so far; all numbers are valid within one memory only, which only ever grows.

    Attributes:
        selected: bool[s, selections], which select each label set.
        of_group: int64[s, groupings], the group that each belongs to.
        origin: int64[s, groupings], what the group's labels were made of; 0 where names cannot have collided.
        meanings: what else is known of each of the s label sets.
        position: of each label set among them.
        groups: distinct groups.
        group_codes: per group int32 pairs, the numbers of each label's name and value; the value of a rule's own
            label is -1 minus its position among the constants. A metric comes before them as a pair of twice its
            number, -1 where the rule names it.
        texts: distinct strings of the groups.
        sent: per group the first that has its metric and labels as they are sent with underscores, most often itself.
        is_merging: whether a group is another's there.
    """

    selected: Bool
    of_group: I64
    origin: I64
    meanings: list[Meaning] = field(default_factory=list)
    position: dict[Labels, int] = field(default_factory=dict)
    groups: list[Group] = field(default_factory=list)
    group_codes: list[bytes] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    sent: list[int] = field(default_factory=list)
    is_merging: bool = False
    _group_numbers: dict[Group, int] = field(default_factory=dict)
    _sent_numbers: dict[Any, int] = field(default_factory=dict)
    _text_numbers: dict[str, int] = field(default_factory=dict)
    _origin_numbers: dict[tuple[bytes, Labels], int] = field(default_factory=dict)

    def number_group(self, group: Group) -> int:
        """The group's number."""
        number = self._group_numbers.setdefault(group, len(self.groups))
        if number == len(self.groups):
            metric = -1 if group.metric is None else self.number_text(group.metric)
            codes = [metric, metric]
            for name, value in group.labels:
                codes += self.number_text(name), self.number_text(value) if isinstance(value, str) else -1 - value
            self.group_codes.append(np.array(codes, dtype=np.int32).tobytes())
            self.groups.append(group)
            names, _ = exported_names(tuple(name for name, _ in group.labels))
            labels = frozenset((names[name], value) for name, value in group.labels)
            self.sent.append(self._sent_numbers.setdefault((group.metric, labels), number))
            self.is_merging |= self.sent[number] != number
        return number

    def number_text(self, text: str) -> int:
        """The string's number."""
        number = self._text_numbers.setdefault(text, len(self.texts))
        if number == len(self.texts):
            self.texts.append(text)
        return number

    def number_origin(self, kind: bytes, renamed: Labels) -> int:
        """A number above 0 for the profile type and labels (none if not renamed) that a group was made of."""
        return self._origin_numbers.setdefault((kind, renamed), len(self._origin_numbers) + 1)


class LabelMemory:
    """The memory of what label sets mean to a configuration's rules. Safe to share between threads.

    Attributes:
        selections: distinct ones.
        groupings: distinct groupings of them.
        grouping: int64[selections], positions in `groupings`.
    """

    def __init__(self, selections: Iterable[Selection], gauges: Iterable[str]) -> None:
        self.selections = tuple(selections)
        self.groupings, self.grouping = numbered(one.grouping for one in self.selections)
        self._gauges = tuple(gauges)
        # Selections often share selectors, and selectors matchers: each distinct one is evaluated once.
        self._selectors, flat = numbered(s for one in self.selections for group in one.any_of for s in group)
        number = iter(flat.tolist())
        self._conditions, self._condition = numbered(
            tuple(tuple(next(number) for _ in group) for group in one.any_of) for one in self.selections
        )
        self._types, self._types_of = numbered(one.profile_types for one in self.selections)
        self._memory = self._nothing()
        self._lock = threading.Lock()

    def look_up(self, labels: Sequence[Labels]) -> tuple[Memory, I64]:
        """What label sets mean: a memory, and the position of each in it."""
        with self._lock:
            if len(self._memory.meanings) > _REMEMBERED:
                self._memory = self._nothing()
            memory = self._memory
            fresh = [one for one in dict.fromkeys(labels) if one not in memory.position]
            if fresh:
                self._work_out(memory, fresh)
            return memory, np.array([memory.position[one] for one in labels], dtype=np.int64)

    def forget(self) -> None:
        """Forget all label sets; jobs that are being derived go on with what they know."""
        with self._lock:
            self._memory = self._nothing()

    def _nothing(self) -> Memory:
        """A new memory: the old one is not cleared, as another thread's job may still use it."""
        groups = np.zeros((0, len(self.groupings)), dtype=np.int64)
        return Memory(np.zeros((0, len(self.selections)), dtype=np.bool_), groups, groups)

    def _work_out(self, memory: Memory, fresh: Sequence[Labels]) -> None:
        """Add label sets to a memory."""
        values = [dict(reversed(one)) for one in fresh]  # of a name that stands twice the first counts
        kinds = [profile_type(one) for one in fresh]
        every = np.ones(len(fresh), dtype=np.bool_)
        holds = [selector.select(values) for selector in self._selectors]
        fulfilled = [
            np.logical_or.reduce(
                [np.logical_and.reduce([every, *(holds[one] for one in group)]) for group in condition]
            )
            for condition in self._conditions
        ]
        of_types = [[not types or is_of_type(kind, types) for kind in kinds] for types in self._types]
        selected, is_of_types = (
            np.array(one, dtype=np.bool_).reshape(-1, len(fresh)).take(numbers, axis=0)
            for one, numbers in ((fulfilled, self._condition), (of_types, self._types_of))
        )
        pairs = [self._add(memory, *one) for one in zip(fresh, values, kinds, strict=True)]
        of_group, origin = np.array(pairs, dtype=np.int64).reshape(len(fresh), -1, 2).transpose(2, 0, 1)
        memory.selected = np.concatenate([memory.selected, (selected & is_of_types).T])
        memory.of_group = np.concatenate([memory.of_group, of_group])
        memory.origin = np.concatenate([memory.origin, origin])

    def _add(self, memory: Memory, labels: Labels, values: Mapping[bytes, bytes], kind: bytes) -> list[tuple[int, int]]:
        """Add a label set; its group and origin by each grouping."""
        found = []
        collisions: list[str] = []
        for grouping in self.groupings:
            origin = 0
            if grouping.by is None:
                public = public_labels(labels, keep=grouping.keep, drop=grouping.drop)
                origin = memory.number_origin(kind, public.renamed)
                collisions += public.collisions
                text = public.labels
            else:
                text = _grouped(values, grouping.by)
                collisions += exported_names(tuple(name for name, _ in text))[1]
            metric = None if grouping.metric_prefix is None else metric_name(kind, grouping.metric_prefix)
            found.append((memory.number_group(_group(metric, text, grouping.constants)), origin))
        unit = "".join(show_bytes(kind).split(":")[2:3])
        memory.position[labels] = len(memory.meanings)
        memory.meanings.append(Meaning(is_of_type(kind, self._gauges), unit, tuple(dict.fromkeys(collisions))))
        return found


def _grouped(values: Mapping[bytes, bytes], by: Iterable[str]) -> TextLabels:
    kept = ((name, values.get(name.encode(), b"")) for name in by)
    return tuple((name, show_bytes(value)) for name, value in kept if value)


def _group(metric: str | None, labels: TextLabels, constants: tuple[str, ...]) -> Group:
    holes: list[tuple[str, str | int]] = [(name, position) for position, name in enumerate(constants)]
    # Names are unique, so that values, text or positions, are never compared.
    together = tuple(sorted([*labels, *holes], key=lambda label: label[0]))
    order = "\0".join([metric or "", *(part for label in labels for part in label), *constants])
    return Group(metric, together, order)


@dataclass(slots=True)
class LabelSets:
    """Distinct (job, tenant, service, label set) with profiles.

    Attributes:
        of_entry: int64[entries of the series table], -1 where no profile refers to one.
        scope: int64[entries], equal where job, tenant and service are.
        meanings: s meanings.
        origin: int64[s, groupings], see Memory.
        selected: bool[s, selections].
        group: int64[s, groupings], positions in `groups`; grouping: int64[selections].
        memory: what the numbers of groups refer to.
        groups: g numbers of groups, distinct together with job and tenant.
        tenants: g tenants.
        job_of_set, job_of_group: int64[s] and int64[g].
    """

    of_entry: I64
    scope: I64
    meanings: list[Meaning]
    origin: I64
    selected: Bool
    group: I64
    grouping: I64
    memory: Memory
    groups: list[int]
    tenants: list[bytes]
    job_of_set: I64
    job_of_group: I64

    def frame(self) -> pl.LazyFrame:
        """The columns set, job, is_gauge and unit."""
        return pl.LazyFrame(
            {
                "set": np.arange(len(self.meanings), dtype=np.int64),
                "job": self.job_of_set,
                "is_gauge": pl.Series([meaning.is_gauge for meaning in self.meanings], dtype=pl.Boolean),
                "unit": pl.Series([meaning.unit for meaning in self.meanings], dtype=pl.String),
            }
        )

    def pairs(self) -> pl.LazyFrame:
        """Which selections select which label sets: the columns selection, set and group."""
        set_, selection = np.nonzero(self.selected)
        return pl.LazyFrame(
            {"selection": selection, "set": set_, "group": self.group[set_, self.grouping.take(selection)]}
        )

    def describe(self, position: int) -> Group:
        """One of the g groups."""
        return self.memory.groups[self.groups[position]]


def find_label_sets(columns: BlockColumns, job_of_dataset: I64, rules: LabelMemory) -> LabelSets:
    """Work out what the label sets of jobs' profiles mean, each distinct one once.

    Args:
        columns: the profiles of j jobs.
        job_of_dataset: int64[datasets], 0 <= job < j.
        rules: what is known of label sets.
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
    key = (entry_service << 32) | positions
    distinct = np.unique(key.compress(entry_used))
    of_entry = np.where(entry_used, np.searchsorted(distinct, key), -1)
    known, tenant = distinct & 0xFFFF_FFFF, tenant_of_service.take(distinct >> 32)
    selected = memory.selected.take(known, axis=0)
    for place, selection in enumerate(rules.selections):
        if selection.tenants:
            is_wanted = np.array([show_bytes(one) in selection.tenants for _, one in tenants], dtype=np.bool_)
            selected[:, place] &= is_wanted.take(tenant)
    of_group = memory.of_group.take(known, axis=0)
    groups, local = np.unique((tenant[:, None] << 32) | of_group, return_inverse=True)
    return LabelSets(
        of_entry,
        entry_service,
        [memory.meanings[position] for position in known.tolist()],
        memory.origin.take(known, axis=0),
        selected,
        local.reshape(of_group.shape),
        rules.grouping,
        memory,
        (groups & 0xFFFF_FFFF).tolist(),
        [tenants[position >> 32][1] for position in groups.tolist()],
        job_of_tenant.take(tenant),
        job_of_tenant.take(groups >> 32),
    )


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
