"""What a configuration means: every kind of rule in one form.

Add a kind of rule by giving it this form. What label sets mean to rules is in `rule_set`, evaluating rules on
profiles in `sums`.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Literal

from pyro_assets.series.config import SeriesConfig
from pyro_assets.series.names import (
    DIMENSIONS_ID,
    FUNCTION_LABEL,
    FUNCTION_METRIC_PREFIX,
    INSTANCE_LABEL,
    METRIC_PREFIX,
    RULE_ID_LABEL,
    SHARD_LABEL,
)
from pyro_assets.series.selectors import Selector, parse_selector

Kind = Literal["dimension", "function"]
KINDS: Final[tuple[Kind, ...]] = ("dimension", "function")

#: Values of constant labels that only the job knows.
SHARD_VALUE: Final = "\0shard"
INSTANCE_VALUE: Final = "\0instance"


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
        function: count only samples whose stack contains it; None for whole profiles.
        last_of_gauges: of gauges only the last profile of each target counts, see `profiles`; otherwise all are summed.
        keeps_zero: a function series exists for every selected label set, even where nothing matched.
        metric: None where the grouping makes it from the profile type.
        constants: values of the grouping's constants, in its order.
        profile_types: globs of sample types or whole profile types, one of which must match; empty means all.
        tenants: as text; empty means all.
    """

    id: str
    kind: Kind
    any_of: tuple[tuple[Selector, ...], ...]
    function: bytes | None
    grouping: Grouping
    last_of_gauges: bool
    keeps_zero: bool
    metric: str | None
    constants: tuple[str, ...]
    profile_types: tuple[str, ...] = ()
    tenants: tuple[str, ...] = ()


def function_rule_id(function: str) -> str:
    """The id of the rule that the short form `function: selector` stands for.

    >>> function_rule_id("main.(*Server).Serve")
    'function:main.(*Server).Serve'
    """
    return f"function:{function}"


def rules_of(config: SeriesConfig) -> Iterable[Rule]:
    """All rules of a configuration, in its order."""
    dimensions = config.dimensions
    if dimensions.selectors:
        keep = None if dimensions.keep_labels is None else frozenset(dimensions.keep_labels)
        grouping = Grouping((SHARD_LABEL,), None, keep, frozenset(dimensions.drop_labels), METRIC_PREFIX)
        any_of = tuple((parse_selector(text),) for text in dimensions.selectors)
        yield Rule(DIMENSIONS_ID, "dimension", any_of, None, grouping, True, True, None, (SHARD_VALUE,))
    grouping = Grouping((FUNCTION_LABEL, SHARD_LABEL), metric_prefix=FUNCTION_METRIC_PREFIX)
    for function, text in config.functions.items():
        selected = ((parse_selector(text),),)
        constants = (function, SHARD_VALUE)
        yield Rule(
            function_rule_id(function), "function", selected, function.encode(), grouping, True, False, None, constants
        )
    for rule in config.recording_rules:
        added = {label.name: label.value for label in rule.external_labels if label.value}
        added |= {RULE_ID_LABEL: rule.id, INSTANCE_LABEL: INSTANCE_VALUE}
        names = tuple(sorted(added))
        yield Rule(
            rule.id,
            "dimension" if rule.function is None else "function",
            (tuple(parse_selector(text) for text in rule.matchers),),
            None if rule.function is None else rule.function.encode(),
            Grouping(names, tuple(rule.group_by)),
            last_of_gauges=False,
            keeps_zero=True,
            metric=rule.metric_name,
            constants=tuple(added[name] for name in names),
            tenants=tuple(rule.tenants),
        )
