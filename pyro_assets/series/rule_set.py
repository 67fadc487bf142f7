"""What each label set means to all rules of a configuration: which select it, and what series it becomes.

Selectors and names are worked out once per distinct label set and remembered across jobs, because the same series
come again every second. Values have no place here.
"""

import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any, Final

import numpy as np

from pyro_assets.block.columns import Bool, Labels
from pyro_assets.block.tsdb.labels import profile_type
from pyro_assets.series.names import TextLabels, exported_names, metric_name, public_labels
from pyro_assets.series.rules import KINDS, Grouping, Rule
from pyro_assets.storage.shown import show_bytes

# So many label sets are remembered before all are forgotten.
_REMEMBERED: Final = 10_000


@dataclass(frozen=True, slots=True)
class Meaning:
    """What one label set means to a configuration.

    Attributes:
        is_gauge: the profile type is one of the configuration's gauges.
        selected: one bit per rule, packed.
        groups: int32 per grouping, the group the label set belongs to.
        origins: int32 per grouping, what the group's labels were made of; 0 where names cannot have collided.
        collisions: messages about labels that could not get their name.
        unit: of the profile type's values.
    """

    is_gauge: bool
    selected: bytes
    groups: bytes
    origins: bytes
    collisions: tuple[str, ...]
    unit: str = ""


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
    """Meanings and groups known so far; all numbers are valid within one memory only.

    Attributes:
        meanings: per label set.
        position: of each label set in `meanings`.
        groups: distinct groups.
        group_codes: per group int32 pairs, the numbers of each label's name and value; the value of a rule's own
            label is -1 minus its position among the constants. A metric comes before them as a pair of twice its
            number, -1 where the rule names it.
        texts: distinct strings of the groups.
        sent: per group the first that has its metric and labels as they are sent with underscores, most often itself.
        is_merging: whether a group is another's there.
    """

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


class RuleSet:
    """A configuration's rules, and the memory of what label sets mean to them. Safe to share between threads.

    Attributes:
        rules: sorted by kind and id.
        groupings: distinct groupings of the rules.
        grouping_of_rule: position in `groupings` per rule.
        kind_of_rule: position in KINDS per rule.
        is_over_profiles: bool[r], profiles are looked at one by one.
    """

    def __init__(self, rules_in: Iterable[Rule], gauges: Iterable[str]) -> None:
        rules = sorted(rules_in, key=lambda rule: (KINDS.index(rule.kind), rule.id))
        self.rules: tuple[Rule, ...] = tuple(rules)
        self.groupings: list[Grouping] = list(dict.fromkeys(rule.grouping for rule in rules))
        self.grouping_of_rule = np.array([self.groupings.index(rule.grouping) for rule in rules], dtype=np.int64)
        self.kind_of_rule = np.array([KINDS.index(rule.kind) for rule in rules], dtype=np.int64)
        self._gauges = tuple(gauges)
        over = ("mean", "max", "min", "count")
        self.is_over_profiles = np.array([rule.aggregate in over for rule in rules], dtype=np.bool_)
        self._takes_last = np.array([rule.aggregate == "last" for rule in rules], dtype=np.bool_)
        self._has_default = np.array([rule.aggregate is None for rule in rules], dtype=np.bool_)
        # Rules often share selectors, and selectors matchers: each distinct one is evaluated once.
        self._selectors = list(dict.fromkeys(s for rule in rules for conjunction in rule.any_of for s in conjunction))
        numbers = {selector: number for number, selector in enumerate(self._selectors)}
        conditions = [tuple(tuple(numbers[s] for s in c) for c in rule.any_of) for rule in rules]
        self._conditions = list(dict.fromkeys(conditions))
        self._condition_of_rule = np.array([self._conditions.index(c) for c in conditions], dtype=np.int64)
        self._types = list(dict.fromkeys(rule.profile_types for rule in rules))
        self._types_of_rule = np.array([self._types.index(rule.profile_types) for rule in rules], dtype=np.int64)
        self._memory = Memory()
        self._lock = threading.Lock()

    def look_up(self, labels: Iterable[Labels]) -> tuple[Memory, list[int]]:
        """What label sets mean.

        Returns:
            A memory, and per label set its position in the memory's `meanings`.
        """
        with self._lock:
            if len(self._memory.meanings) > _REMEMBERED:
                self._memory = Memory()  # not cleared: another thread's job may still use the old one
            memory = self._memory
            known = memory.position
            asked = list(labels)
            fresh = [one for one in dict.fromkeys(asked) if one not in known]
            if fresh:
                values = [dict(reversed(one)) for one in fresh]  # of a name that stands twice the first counts
                selected = [selector.select(values).tolist() for selector in self._selectors]
                for position, one in enumerate(fresh):
                    known[one] = len(memory.meanings)
                    by_selector = [found[position] for found in selected]
                    memory.meanings.append(self._work_out(memory, one, values[position], by_selector))
            return memory, [known[one] for one in asked]

    def takes_all(self, is_gauge: Bool) -> Bool:
        """bool[s, r]: of which label sets a rule adds up all profiles, not those of the last alone."""
        return ~(self._takes_last | (is_gauge[:, None] & self._has_default))

    def forget(self) -> None:
        """Forget all label sets; jobs that are being derived go on with what they know."""
        with self._lock:
            self._memory = Memory()

    def _work_out(
        self, memory: Memory, labels: Labels, values: Mapping[bytes, bytes], selected: Sequence[bool]
    ) -> Meaning:
        kind = profile_type(labels)
        holds = [any(all(selected[number] for number in c) for c in condition) for condition in self._conditions]
        per_rule = np.array(holds, dtype=np.bool_).take(self._condition_of_rule) if holds else np.zeros(0, np.bool_)
        of_types = [not types or is_of_type(kind, types) for types in self._types]
        per_rule &= np.array(of_types, dtype=np.bool_).take(self._types_of_rule)
        groups, origins = [], []
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
            groups.append(memory.number_group(_group(metric, text, grouping.constants)))
            origins.append(origin)
        return Meaning(
            is_of_type(kind, self._gauges),
            np.packbits(per_rule).tobytes(),
            np.array(groups, dtype=np.int32).tobytes(),
            np.array(origins, dtype=np.int32).tobytes(),
            tuple(dict.fromkeys(collisions)),
            "".join(show_bytes(kind).split(":")[2:3]),
        )


def _grouped(values: Mapping[bytes, bytes], by: Iterable[str]) -> TextLabels:
    kept = ((name, values.get(name.encode(), b"")) for name in by)
    return tuple((name, show_bytes(value)) for name, value in kept if value)


def _group(metric: str | None, labels: TextLabels, constants: tuple[str, ...]) -> Group:
    holes: list[tuple[str, str | int]] = [(name, position) for position, name in enumerate(constants)]
    # Names are unique, so that values, text or positions, are never compared.
    together = tuple(sorted([*labels, *holes], key=lambda label: label[0]))
    order = "\0".join([metric or "", *(part for label in labels for part in label), *constants])
    return Group(metric, together, order)


def is_of_type(kind: bytes, types: Iterable[str]) -> bool:
    """Whether a profile type is one of the gauges, which are globs of sample types or of whole profile types."""
    text = show_bytes(kind)
    sample_type = text.split(":")[1] if ":" in text else text
    return any(fnmatchcase(text if ":" in one else sample_type, one) for one in types)
