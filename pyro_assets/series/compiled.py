"""Rules of the language made ready for evaluation: label side, distinct patterns, and what each rule asks of stacks.

Everything here depends on the rules alone and is worked out once per configuration. What profiles make of it is in
`evaluate`.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final, TypeVar

from pyro_assets.series.compiling import Compiler
from pyro_assets.series.config import SeriesConfig
from pyro_assets.series.language import Rule, is_gap
from pyro_assets.series.name_sets import NameMemory, NameSet
from pyro_assets.series.names import FUNCTION_LABEL, FUNCTION_METRIC_PREFIX, METRIC_PREFIX, SHARD_LABEL
from pyro_assets.series.normalize import FAMILIES, Family
from pyro_assets.series.patterns import Pattern
from pyro_assets.series.rule_set import RuleSet
from pyro_assets.series.rules import SHARD_VALUE, Grouping
from pyro_assets.series.rules import Rule as LabelRule
from pyro_assets.series.selectors import parse_selector

_T = TypeVar("_T")
_COMPILED: Final = 16
#: Stands for a function's name among the constants.
FUNCTION_VALUE: Final = "\0function"

#: Positions in `CompiledRules.sets`.
Names = int


@dataclass(slots=True)
class CompiledRules:
    """The enabled rules of the language, sorted as `labels.rules` are.

    Attributes:
        rules: r rules.
        labels: their selectors and groupings.
        sets: distinct sets of names; names: which names they mean, as far as is known.
        wanted, excluded: per rule a position in `sets`, -1 for none.
        paths: distinct stack paths, each a tuple of positions in `sets` and -1 for gaps.
        path: per rule a position in `paths`, -1 for none.
    """

    rules: list[Rule]
    labels: RuleSet
    sets: list[NameSet] = field(default_factory=list)
    wanted: list[Names] = field(default_factory=list)
    excluded: list[Names] = field(default_factory=list)
    paths: list[tuple[Names, ...]] = field(default_factory=list)
    path: list[int] = field(default_factory=list)
    names: NameMemory = field(default_factory=lambda: NameMemory([]))
    _number_of_set: dict[NameSet, Names] = field(default_factory=dict)
    _number_of_path: dict[tuple[Names, ...], int] = field(default_factory=dict)

    def _number(self, families: tuple[Family, ...], patterns: Sequence[Pattern]) -> Names:
        if not patterns:
            return -1
        return _number_among(self.sets, self._number_of_set, (families, tuple(patterns)))

    def forget(self) -> None:
        """Forget all label sets and names that were seen."""
        self.labels.forget()
        self.names.forget()

    def add(self, rule: Rule) -> None:
        """Note what the next rule asks of stacks."""
        families = tuple(family for family in FAMILIES if family in rule.normalize)
        self.wanted.append(self._number(families, rule.wanted))
        self.excluded.append(self._number(families, rule.exclude))
        path = tuple(-1 if is_gap(part) else self._number(families, [part]) for part in rule.stack)
        self.path.append(_number_among(self.paths, self._number_of_path, path) if path else -1)


def _number_among(listed: list[_T], number_of: dict[_T, int], one: _T) -> int:
    """The position of one in a list, at whose end it is put where it is not in it yet."""
    number = number_of.setdefault(one, len(listed))
    if number == len(listed):
        listed.append(one)
    return number


def _compile(config: SeriesConfig) -> CompiledRules:
    rules = {rule.name: rule for rule in config.rules if rule.enabled}
    labels = RuleSet([_label_rule(rule) for rule in rules.values()], config.gauges)
    compiled = CompiledRules([rules[one.id] for one in labels.rules], labels)
    for rule in compiled.rules:
        compiled.add(rule)
    compiled.names = NameMemory(compiled.sets)
    return compiled


def _label_rule(rule: Rule) -> LabelRule:
    """The side of a rule that looks at labels only."""
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
    return LabelRule(
        rule.name,
        "function" if rule.has_functions else "dimension",
        ((parse_selector(rule.selector),),),
        None,
        grouping,
        last_of_gauges=rule.aggregate is None,
        keeps_zero=not rule.has_functions,
        metric=rule.metric,
        constants=tuple(constants[name] for name in names),
        profile_types=tuple(rule.profile_types),
        tenants=tuple(rule.tenants),
    )


#: The enabled rules of a configuration; equal ones share what is remembered of label sets.
compile_language: Final = Compiler(_compile, _COMPILED)
