"""What a configuration means: every kind of rule in one form.

Add a kind of rule by giving it this form. Evaluating rules on profiles is `engine`'s.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Final

from pyro_assets.rules import language
from pyro_assets.rules.choice import Kind, function_rule_id
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
class Selection:
    """What rules may share: the label sets that they select, their groups, and what of these counts."""

    any_of: tuple[tuple[Selector, ...], ...]
    profile_types: tuple[str, ...]
    tenants: tuple[str, ...]
    grouping: Grouping
    aggregate: Aggregate | None
    is_scaled: bool


@dataclass(frozen=True, slots=True)
class SeriesRule:
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

    @property
    def selection(self) -> Selection:
        """What it selects."""
        return Selection(self.any_of, self.profile_types, self.tenants, self.grouping, self.aggregate, self.is_scaled)


def rules_of(config: SeriesConfig) -> Iterable[SeriesRule]:
    """All rules of a configuration, in its order."""
    dimensions = config.dimensions
    if dimensions.selectors:
        keep = None if dimensions.keep_labels is None else frozenset(dimensions.keep_labels)
        grouping = Grouping((SHARD_LABEL,), None, keep, frozenset(dimensions.drop_labels), METRIC_PREFIX)
        any_of = tuple((parse_selector(text),) for text in dimensions.selectors)
        yield SeriesRule(DIMENSIONS_ID, "dimension", any_of, grouping, None, (SHARD_VALUE,))
    grouping = Grouping((FUNCTION_LABEL, SHARD_LABEL), metric_prefix=FUNCTION_METRIC_PREFIX)
    for function, text in config.functions.items():
        yield SeriesRule(
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


def _of_recording_rule(rule: RecordingRule) -> SeriesRule:
    added = {label.name: label.value for label in rule.external_labels if label.value}
    added |= {RULE_ID_LABEL: rule.id, INSTANCE_LABEL: INSTANCE_VALUE}
    names = tuple(sorted(added))
    return SeriesRule(
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


def _of_language(rule: language.Rule) -> SeriesRule:
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
    return SeriesRule(
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


def is_of_type(kind: bytes, types: Iterable[str]) -> bool:
    """Whether a profile type is one of the gauges, which are globs of sample types or of whole profile types."""
    text = show_bytes(kind)
    sample_type = text.split(":")[1] if ":" in text else text
    return any(fnmatchcase(text if ":" in one else sample_type, one) for one in types)
