"""What a configuration means: every kind of rule in one form.

Here, too:
* what each label set means to all rules of a configuration: which select it, and what series it becomes.

Add a kind of rule by giving it this form. Evaluating rules on profiles is `engine`'s.
"""

import threading
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from typing import Any, Final

import numpy as np

from pyro_assets.block.columns import Labels
from pyro_assets.block.tsdb.labels import profile_type
from pyro_assets.rules import language
from pyro_assets.rules.choice import KINDS, Kind, function_rule_id
from pyro_assets.rules.config import RecordingRule, SeriesConfig
from pyro_assets.rules.language import Aggregate, Overflow, is_gap
from pyro_assets.rules.names import (
    DIMENSIONS_ID,
    FUNCTION_LABEL,
    FUNCTION_METRIC_PREFIX,
    INSTANCE_LABEL,
    METRIC_PREFIX,
    RULE_ID_LABEL,
    SHARD_LABEL,
    TextLabels,
    exported_names,
    metric_name,
    public_labels,
)
from pyro_assets.rules.patterns import FAMILIES, Pattern
from pyro_assets.rules.selectors import Selector, parse_selector
from pyro_assets.series.name_sets import NameSet
from pyro_assets.storage.shown import show_bytes

#: Values of constant labels that only the job knows.
SHARD_VALUE: Final = "\0shard"
INSTANCE_VALUE: Final = "\0instance"
#: Stands for the name of a series' function among the constants.
FUNCTION_VALUE: Final = "\0function"


@dataclass(frozen=True, slots=True)
class Grouping:
    """How a label set becomes the labels of a series, but for the values of the rule's own labels.

    Attributes:
        constants: names of the labels that rules add, sorted.
        by: labels to keep where present; None keeps all public ones, as `keep` and `drop` say.
        metric_prefix: the metric is this and the profile type; None where the rule names it.
    """

    constants: tuple[str, ...]
    by: tuple[str, ...] | None = None
    keep: frozenset[str] | None = None
    drop: frozenset[str] = frozenset()
    metric_prefix: str | None = None


@dataclass(frozen=True, slots=True)
class Rule:
    """One rule.

    Attributes:
        id: unique among the rules of a configuration; a column of stored series.
        any_of: a label set is selected when all selectors of one of these hold.
        grouping: makes labels.
        metric: None where the grouping makes it from the profile type.
        constants: values of the grouping's constants, in its order.
        aggregate: over profiles, see `profiles`; None is `last` of gauges and `sum` of others.
        keeps_zero: a function series exists for every selected label set, even where nothing matched.
        wanted: functions, any of which; None for whole profiles.
        exclude, path: see the language; parts of a path are None for gaps.
        is_self, is_combined, has_other: `match: self`, `combine` and `other` of the language.
        is_scaled: values become seconds.
        profile_types: globs of sample types or whole profile types, one of which must match; empty means all.
        tenants: as text; empty means all.
        max_series: per job and tenant, None without limit; overflow: what happens beyond.
        is_native: the short form of a function, whose series that would be 0 are counted.
        yields: leaves a series to the rule of another form that gives it too.
    """

    id: str
    kind: Kind
    any_of: tuple[tuple[Selector, ...], ...]
    grouping: Grouping
    metric: str | None
    constants: tuple[str, ...]
    aggregate: Aggregate | None = None
    keeps_zero: bool = False
    wanted: NameSet | None = None
    exclude: NameSet | None = None
    path: tuple[NameSet | None, ...] = ()
    is_self: bool = False
    is_combined: bool = False
    has_other: bool = False
    is_scaled: bool = False
    profile_types: tuple[str, ...] = ()
    tenants: tuple[str, ...] = ()
    max_series: int | None = None
    overflow: Overflow = "drop_rule"
    is_native: bool = False
    yields: bool = False


def rules_of(config: SeriesConfig) -> Iterable[Rule]:
    """All rules of a configuration, in its order."""
    dimensions = config.dimensions
    if dimensions.selectors:
        keep = None if dimensions.keep_labels is None else frozenset(dimensions.keep_labels)
        grouping = Grouping((SHARD_LABEL,), None, keep, frozenset(dimensions.drop_labels), METRIC_PREFIX)
        any_of = tuple((parse_selector(text),) for text in dimensions.selectors)
        yield Rule(DIMENSIONS_ID, "dimension", any_of, grouping, None, (SHARD_VALUE,))
    grouping = Grouping((FUNCTION_LABEL, SHARD_LABEL), metric_prefix=FUNCTION_METRIC_PREFIX)
    for function, text in config.functions.items():
        yield Rule(
            function_rule_id(function),
            "function",
            ((parse_selector(text),),),
            grouping,
            None,
            (function, SHARD_VALUE),
            wanted=_exactly(function),
            is_combined=True,
            is_native=True,
        )
    yield from map(_of_recording_rule, config.recording_rules)
    yield from (_of_language(rule) for rule in config.rules if rule.enabled)


def _exactly(function: str) -> NameSet:
    # Not validated: the short form takes longer names than a pattern.
    return (), (Pattern.model_construct(exact=function),)


def _of_recording_rule(rule: RecordingRule) -> Rule:
    added = {label.name: label.value for label in rule.external_labels if label.value}
    added |= {RULE_ID_LABEL: rule.id, INSTANCE_LABEL: INSTANCE_VALUE}
    names = tuple(sorted(added))
    return Rule(
        rule.id,
        "dimension" if rule.function is None else "function",
        (tuple(parse_selector(text) for text in rule.matchers),),
        Grouping(names, tuple(rule.group_by)),
        rule.metric_name,
        tuple(added[name] for name in names),
        aggregate="sum",
        keeps_zero=True,
        wanted=None if rule.function is None else _exactly(rule.function),
        is_combined=True,
        tenants=tuple(rule.tenants),
    )


def _of_language(rule: language.Rule) -> Rule:
    families = tuple(family for family in FAMILIES if family in rule.normalize)
    constants = dict(rule.labels) | {SHARD_LABEL: SHARD_VALUE}
    if rule.has_functions and not rule.combine:
        constants[FUNCTION_LABEL] = FUNCTION_VALUE
    names = tuple(sorted(constants))
    prefix = FUNCTION_METRIC_PREFIX if rule.has_functions else METRIC_PREFIX
    grouping = Grouping(
        names,
        keep=None if rule.by is None else frozenset(rule.by),
        # A constant label of the rule takes the place of the profiles' own one.
        drop=frozenset(rule.without) | frozenset(rule.labels),
        metric_prefix=prefix if rule.metric is None else None,
    )
    return Rule(
        rule.name,
        "function" if rule.has_functions else "dimension",
        ((parse_selector(rule.selector),),),
        grouping,
        rule.metric,
        tuple(constants[name] for name in names),
        aggregate=rule.aggregate,
        wanted=(families, tuple(rule.wanted)) if rule.has_functions else None,
        exclude=(families, tuple(rule.exclude)) if rule.exclude else None,
        path=tuple(None if is_gap(part) else (families, (part,)) for part in rule.stack),
        is_self=rule.match == "self",
        is_combined=rule.combine,
        has_other=rule.other,
        is_scaled=rule.unit is not None,
        profile_types=tuple(rule.profile_types),
        tenants=tuple(rule.tenants),
        max_series=rule.max_series,
        overflow=rule.overflow,
        yields=True,
    )


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
    """

    def __init__(self, rules_in: Iterable[Rule], gauges: Iterable[str]) -> None:
        rules = sorted(rules_in, key=lambda rule: (KINDS.index(rule.kind), rule.id))
        self.rules: tuple[Rule, ...] = tuple(rules)
        self.groupings: list[Grouping] = list(dict.fromkeys(rule.grouping for rule in rules))
        self.grouping_of_rule = np.array([self.groupings.index(rule.grouping) for rule in rules], dtype=np.int64)
        self.kind_of_rule = np.array([KINDS.index(rule.kind) for rule in rules], dtype=np.int64)
        self._gauges = tuple(gauges)
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
