"""The language of rules: one model for the file, the ledger, the command line and whatever else edits rules.

Add a field here with its check in `check_rules`; what a rule's series are worth is computed by `engine`. Nothing
here may depend on profiles.
"""

import re
from collections.abc import Iterable, Iterator
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, BeforeValidator, Field

from pyro_assets.rules.names import (
    DIMENSIONS_ID,
    FUNCTION_LABEL,
    INSTANCE_LABEL,
    RULE_ID_LABEL,
    SHARD_LABEL,
    TENANT_LABEL,
    is_label_name,
    is_metric_name,
)
from pyro_assets.rules.patterns import Family, Pattern, from_text
from pyro_assets.rules.selectors import SelectorText, TypeText, parse_selector
from pyro_assets.rules.validation import MODEL_CONFIG, FieldProblem

__all__ = ["GAP", "OTHER", "RESERVED", "Aggregate", "Match", "Overflow", "Pattern", "Rule"]

Match = Literal["total", "self"]
Aggregate = Literal["sum", "mean", "max", "min", "last", "count"]
Overflow = Literal["error", "drop_rule", "keep_largest"]
#: The gap in a stack path.
GAP: Final = "..."
#: The function label of what no function of a self rule has.
OTHER: Final = "__other__"
#: Labels that rules may neither set nor group by.
RESERVED: Final = frozenset({"__name__", RULE_ID_LABEL, INSTANCE_LABEL, SHARD_LABEL, FUNCTION_LABEL, TENANT_LABEL})
#: Parts between slashes, none of which begins with a dot: names stand in addresses.
_NAME: Final = re.compile(r"(?=.{1,100}\Z)[A-Za-z0-9_][A-Za-z0-9_.-]*(/[A-Za-z0-9_][A-Za-z0-9_.-]*)*")
_MAX_SERIES: Final = 100_000
_MAX_PATH: Final = 32


def _split_path(value: Any) -> Any:
    r"""`a;...;b` as a list; `\;` is a semicolon of a name."""
    if not isinstance(value, str):
        return value
    return [part.replace("\\;", ";") for part in re.split(r"(?<!\\);", value)]


class Rule(BaseModel):
    r"""One rule: which samples count, and which series they become.

    Attributes:
        name: unique; the column `rule` of stored series, never a label.
        description: for people.
        enabled: a rule that is not gives no series.
        functions: names, any of which; text is an exact name, others are {glob: ...} or {regex: ...}. Without
            functions and stack, whole profiles count (a dimension rule).
        stack: only samples whose stack has these frames, from caller to callee, each calling the next directly;
            `...` between two stands for any frames. As text: `main.main;...;net/http.serve`. Without `functions`
            the last frame is the function.
        exclude: samples whose stack contains one of these do not count.
        match: total: the function is anywhere in the stack; self: it is the innermost frame.
        combine: one series for all functions of the rule, without the label `function`.
        normalize: families of names to fold before they are matched and shown.
        selector: label matchers of the profiles.
        profile_types: globs of sample types or of whole profile types; empty means all.
        tenants: names of tenants; empty means all.
        metric: name of the metric; by default made of the profile type.
        by, without: labels to keep, or to leave out; by default all public ones stay.
        labels: constant labels to add.
        aggregate: over the profiles of a job in which something matched; by default `last` of gauges, `sum` of others.
        unit: "seconds" divides values in nano-, micro- or milliseconds; other units then give no series.
        max_series: per job and tenant.
        overflow: what happens beyond: the rule gives nothing, or the largest stay; `error` gives nothing either, and
            fails a check.
        top_k: only the functions in `resolved` count, which `pyro-assets rules resolve` finds: the k with the largest
            shares over past hours. They are stored, never looked for per job, so that series do not flap.
        resolved: the names of `top_k`.
        other: (self only) what is left of the profiles' total becomes the series `function="__other__"`.
    """

    model_config = MODEL_CONFIG

    name: str
    description: str = ""
    enabled: bool = True
    functions: Annotated[
        list[Annotated[Pattern, from_text]],
        BeforeValidator(lambda value: [value] if isinstance(value, str) else value),
    ] = []
    stack: Annotated[list[Annotated[Pattern, from_text]], BeforeValidator(_split_path)] = []
    exclude: list[Annotated[Pattern, from_text]] = []
    match: Match = "total"
    combine: bool = False
    normalize: list[Family] = []
    selector: SelectorText = "{}"
    profile_types: list[TypeText] = []
    tenants: list[str] = []
    metric: str | None = None
    by: list[str] | None = None
    without: list[str] = []
    labels: dict[str, str] = {}
    aggregate: Aggregate | None = None
    unit: Literal["seconds"] | None = None
    max_series: Annotated[int, Field(ge=1, le=_MAX_SERIES)] = 10_000
    overflow: Overflow = "drop_rule"
    top_k: Annotated[int, Field(ge=1, le=1000)] | None = None
    resolved: list[Annotated[str, Field(min_length=1)]] = []
    other: bool = False

    @property
    def has_functions(self) -> bool:
        """Whether samples are looked at, not whole profiles."""
        return bool(self.functions or self.stack)

    @property
    def wanted(self) -> list[Pattern]:
        """The functions; those of a rule with a stack alone are its last frame."""
        if self.top_k is not None:
            return [Pattern(exact=name) for name in self.resolved]
        return self.functions or self.stack[-1:]

    def meaning(self) -> dict[str, Any]:
        """The fields that series depend on, as plain values: all but the description."""
        return self.model_dump(mode="json", exclude={"description"}, exclude_defaults=True)


def is_gap(pattern: Pattern) -> bool:
    """Whether a part of a stack path is the gap."""
    return pattern.exact == GAP


class Taken:
    """Names and series that are taken by rules: no other rule may have one of them."""

    def __init__(self) -> None:
        self._names: dict[str, int] = {}
        self._series: dict[Any, tuple[int, str]] = {}

    def problems(self, rule: Rule) -> Iterator[FieldProblem]:
        """Why a rule cannot stand beside those that were added: its name or its series exist already."""
        if rule.name in self._names:
            why = f"{rule.name!r} exists already as rules[{self._names[rule.name]}]; choose another name"
            yield ("name",), why
        elif rule.enabled:
            taken = next((self._series[key] for key in _certain_series(rule) if key in self._series), None)
            if taken is not None:
                why = f"must give the same series as rules[{taken[0]}] ({taken[1]}); give one another metric or labels"
                yield ("name",), why

    def add(self, position: int, rule: Rule) -> None:
        """Adds a rule, whatever is wrong with it, under its position for messages."""
        if self._names.setdefault(rule.name, position) == position and rule.enabled:
            self._series.update(dict.fromkeys(_certain_series(rule), (position, rule.name)))


def check_rules(rules: Iterable[Rule]) -> Iterator[FieldProblem]:
    """Problems that no single field shows, each with its place below the list and its remedy."""
    taken = Taken()
    for position, rule in enumerate(rules):
        for path, why in (*check_rule(rule), *taken.problems(rule)):
            yield (position, *path), why
        taken.add(position, rule)


def check_rule(rule: Rule) -> Iterator[FieldProblem]:
    """The problems of one rule alone."""
    if not _NAME.fullmatch(rule.name):
        yield ("name",), f"{rule.name!r} is no name of a rule; use up to 100 letters, digits, _ . - and / between them"
    if rule.name == DIMENSIONS_ID:
        yield ("name",), f"{rule.name!r} is what the series of the heading `dimensions` are called; choose another name"
    if rule.metric is not None and not is_metric_name(rule.metric):
        yield (
            ("metric",),
            f"{rule.metric!r} is no name of a metric; use letters, digits, _ and :, no digit first",
        )
    if rule.metric is not None and not rule.profile_types and not _names_type(rule.selector):
        why = "would add up values of different profile types; name profile_types, or leave the metric to its default"
        yield ("metric",), why
    yield from _check_labels(rule)
    yield from _check_functions(rule)
    for matcher in parse_selector(rule.selector).matchers:
        if matcher.name == b"service_name" and matcher.operator == "=" and not matcher.value:
            yield (
                ("selector",),
                "never matches: every profile has a service_name; remove the matcher or name one",
            )
    for number, tenant in enumerate(rule.tenants):
        if not tenant:
            yield ("tenants", number), "a tenant has a name; an empty list means all of them"


def _check_labels(rule: Rule) -> Iterator[FieldProblem]:
    if rule.by is not None and rule.without:
        yield ("without",), "by says already what stays; write one of the two"
    for field, names in (("by", rule.by or []), ("without", rule.without)):
        for number, name in enumerate(names):
            if not name:
                yield (field, number), "is empty; remove it or write the name of a label"
            elif name.startswith("__") or (name in RESERVED and field == "by"):
                yield (field, number), f"{name!r} is reserved; leave it out, it is set where it belongs"
    for name in rule.labels:
        if name in RESERVED:
            yield ("labels", name), f"{name!r} is reserved; choose another name"
        elif not is_label_name(name):
            yield (
                ("labels", name),
                f"{name!r} is no name of a label; use letters, digits and _, no digit or __ first",
            )
        elif name in (rule.by or []):
            yield ("labels", name), f"{name!r} stands in by too; remove one of them"
        elif not rule.labels[name]:
            yield ("labels", name), "must not be empty: Prometheus takes an empty label for a missing one; remove it"


def _check_functions(rule: Rule) -> Iterator[FieldProblem]:
    if not rule.has_functions:
        for name in ("combine", "other", "normalize", "exclude", "top_k"):
            if getattr(rule, name):
                yield (name,), "needs functions or a stack; a rule without them counts whole profiles"
        if rule.match == "self":
            yield ("match",), "self needs functions or a stack; a rule without them counts whole profiles"
    if rule.stack:
        if is_gap(rule.stack[0]) or is_gap(rule.stack[-1]):
            yield ("stack",), "begins or ends with a gap, which says nothing; begin and end with a function"
        if len(rule.stack) > _MAX_PATH:
            yield ("stack",), f"has more than {_MAX_PATH} parts; shorten it with ..."
        for number, (one, other) in enumerate(zip(rule.stack, rule.stack[1:], strict=False)):
            if is_gap(one) and is_gap(other):
                yield ("stack", number + 1), "is a gap after a gap; remove one"
    if rule.other and rule.has_functions:
        if rule.match != "self" or rule.combine:
            yield ("other",), "needs match: self and one series per function; totals of functions overlap"
        elif rule.aggregate not in (None, "sum", "last"):
            yield ("other",), f"the rest of a {rule.aggregate} means nothing; use sum or last"
    if rule.resolved and rule.top_k is None:
        yield ("resolved",), "belongs to top_k; write the names into functions, or say top_k"
    if rule.top_k is not None and len(rule.resolved) > rule.top_k:
        yield ("resolved",), f"has more than top_k ({rule.top_k}) names; run `pyro-assets rules resolve` again"
    if rule.unit and rule.aggregate == "count":
        yield ("unit",), "a count of profiles has no unit of time; remove it"


def _names_type(selector: str) -> bool:
    return any(matcher.name in (b"__profile_type__", b"__type__") for matcher in parse_selector(selector).matchers)


def _certain_series(rule: Rule) -> list[Any]:
    """Keys of the series that a rule gives for certain: two rules with a key in common give the same series."""
    base = (
        rule.metric,
        rule.unit if rule.metric is None else None,
        rule.selector,
        tuple(sorted(rule.profile_types)),
        tuple(sorted(rule.tenants)),
        None if rule.by is None else tuple(sorted(rule.by)),
        tuple(sorted(rule.without)),
        tuple(sorted(rule.labels.items())),
    )
    if not rule.has_functions:
        return [(*base, None)]
    if rule.combine:
        return [(*base, ())]
    return [(*base, pattern.exact or pattern.expression, pattern.exact is None) for pattern in rule.wanted]


def warnings_of(rule: Rule, gauges: Iterable[str]) -> Iterator[FieldProblem]:
    """Warnings about what is allowed and often a mistake.

    Args:
        rule: a valid rule.
        gauges: the configuration's gauges.
    """
    if rule.top_k is not None and not rule.resolved:
        yield ("top_k",), "gives no series until `pyro-assets rules resolve` has found its functions"
    levels = {gauge for gauge in gauges if gauge in rule.profile_types}
    if levels and (rule.by is not None or rule.without):
        yield (
            ("by" if rule.by is not None else "without",),
            "levels of several processes are added up per label set",
        )
    if levels and rule.aggregate == "sum":
        yield (
            ("aggregate",),
            f"{', '.join(sorted(levels))}: a sum of levels over time means nothing; use last or max",
        )
    if rule.aggregate in ("last", "min") and rule.profile_types and not levels:
        yield (
            ("aggregate",),
            f"{rule.aggregate} of an amount counts one profile of a job and forgets the others",
        )
