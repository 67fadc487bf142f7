"""Our rules as the original's form for recording rules shows and makes them (settings.v1.RecordingRulesService).

Listed are rules that the form can express. Of one tenant's own they can be changed; those of the file, and those that
count for other tenants too, are read-only ("provisioned"). The rest is left out and counted. What a rule means is
known by `rules.choice`; add nothing here that the form does not have.
"""

import hashlib
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Final

from pyro_assets.block.tsdb.labels import PROFILE_TYPE
from pyro_assets.errors import BadQuery, NothingFound, SelectorError, StaleRule
from pyro_assets.explore.pyroscope.asked import parse_words
from pyro_assets.explore.pyroscope.labels import is_legal
from pyro_assets.explore.pyroscope.messages import rules_pb2
from pyro_assets.explore.pyroscope.messages.types_pb2 import LabelPair
from pyro_assets.rules.choice import free_name, of_recording_rule, rule_value
from pyro_assets.rules.config import RecordingRule
from pyro_assets.rules.in_force import KnownRule, RulesInForce, check_value, rule_body
from pyro_assets.rules.language import Rule
from pyro_assets.rules.names import FUNCTION_METRIC_PREFIX, METRIC_PREFIX, is_metric_name, metric_name
from pyro_assets.rules.selectors import Matcher, parse_selector
from pyro_assets.rules.stored import RuleEdit, RuleVersion
from pyro_assets.series.rules import is_of_type

PREFIX: Final = "profiles_recorded_"
_WHY: Final = "made in the form for recording rules"
_ID: Final = re.compile(r"[a-zA-Z]+")
_ID_LETTERS: Final = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
_ID_LENGTH: Final = 10
_GLOB: Final = re.compile(r"[*?\[\\]")


@dataclass(frozen=True, slots=True)
class Listed:
    """A rule that the form can express, and what it is of ours; None for the original's own rules of the file."""

    form: rules_pb2.RecordingRule
    known: KnownRule | None


@dataclass(frozen=True, slots=True)
class Book:
    """The rules of one tenant as of one moment: listed, and how many the form cannot express."""

    listed: tuple[Listed, ...]
    left_out: int

    def find(self, rule_id: str) -> Listed | None:
        """The rule with an id."""
        return next((one for one in self.listed if one.form.id == rule_id), None)


class RecordingRules:
    """The methods of the service; what is saved is a rule like any other.

    Args:
        in_force: the rules as they are now.
        edit: saves a change (edit, author, why); raises StaleRule.
    """

    def __init__(self, in_force: Callable[[], RulesInForce], edit: Callable[[RuleEdit, str, str], RuleVersion]) -> None:
        self._in_force, self._edit = in_force, edit

    def list(self, tenant: str) -> Book:
        """All rules of a tenant."""
        return _book(self._in_force(), tenant)

    def get(self, asked: rules_pb2.GetRecordingRuleRequest, tenant: str) -> rules_pb2.RecordingRule:
        """One rule."""
        return self._found(asked.id, tenant, f"no rule with id='{asked.id}' found").form

    def upsert(self, asked: rules_pb2.UpsertRecordingRuleRequest, tenant: str, author: str) -> rules_pb2.RecordingRule:
        """Saves a new rule, or another version of one.

        Raises:
            BadQuery: it is refused; all reasons are in the message.
            NothingFound: there is no rule with the id.
            StaleRule: it has another version than the one that was changed.
        """
        problems = list(_problems(asked))
        if problems:
            raise BadQuery("invalid request: " + "\n".join(problems))
        in_force = self._in_force()
        old = None
        if asked.id:
            old = self._found(asked.id, tenant, f"no rule with id='{asked.id}' found").known
            seen = _writable(asked.id, old, tenant)
            if seen.version != asked.generation:
                raise StaleRule("conflicting update, please try again", current=seen)
        rule = _rule_of(asked, tenant, old, {one.name for one in in_force.known})
        checked = check_value(rule_value(rule), in_force)
        if checked.rule is None or checked.problems:
            raise BadQuery("invalid request: " + "\n".join(f"{one.field}: {one.why}" for one in checked.problems))
        edit = RuleEdit(rule.name, rule_body(checked.rule), old.version.version if old and old.version else 0)
        made = self._edit(edit, author, _WHY)
        return self._found_by_name(made.name, tenant)

    def delete(self, asked: rules_pb2.DeleteRecordingRuleRequest, tenant: str, author: str) -> None:
        """Deletes a rule; its history stays.

        Raises:
            BadQuery: it is read-only.
            NothingFound: there is no rule with the id.
            StaleRule: somebody changed it meanwhile.
        """
        known = self._found(asked.id, tenant, f"no rule with ID='{asked.id}' found").known
        seen = _writable(asked.id, known, tenant)
        self._edit(RuleEdit(seen.name, None, seen.version), author, "deleted in the form for recording rules")

    def _found(self, rule_id: str, tenant: str, missing: str) -> Listed:
        if not rule_id:
            raise BadQuery("id is required")
        found = _book(self._in_force(), tenant).find(rule_id)
        if found is None:
            raise NothingFound(missing)
        return found

    def _found_by_name(self, name: str, tenant: str) -> rules_pb2.RecordingRule:
        return self._found(id_of(name), tenant, f"rule {name} was deleted meanwhile").form


def id_of(name: str) -> str:
    """The id of a rule: letters, which is all that the original takes, the same for a name whatever its version.

    >>> id_of("cpu_by_service")
    'RuFOnrJych'
    """
    number = int.from_bytes(hashlib.blake2b(name.encode(), digest_size=8).digest())
    letters = []
    for _ in range(_ID_LENGTH):
        number, rest = divmod(number, len(_ID_LETTERS))
        letters.append(_ID_LETTERS[rest])
    return "".join(letters)


def _book(in_force: RulesInForce, tenant: str) -> Book:
    listed = [
        Listed(_of_recorded(one), None)
        for one in in_force.config.recording_rules
        if not one.tenants or tenant in one.tenants
    ]
    left_out = 0
    for known in in_force.known:
        rule = known.rule
        if rule is None or known.problem or not rule.enabled or (rule.tenants and tenant not in rule.tenants):
            left_out += rule is None or (not rule.tenants or tenant in rule.tenants)
            continue
        form = _form_of(rule, in_force.config.gauges)
        if form is None:
            left_out += 1
            continue
        if known.version is not None:
            form.generation = known.version.version
        form.provisioned = known.version is None or rule.tenants != [tenant]
        listed.append(Listed(form, known))
    return Book(tuple(listed), left_out)


def _writable(rule_id: str, known: KnownRule | None, tenant: str) -> RuleVersion:
    """The version of a rule that this tenant may change."""
    if known is None or known.version is None:
        raise BadQuery(f"rule {rule_id} is provisioned: it stands in the file of series; change it there")
    if known.rule is None or known.rule.tenants != [tenant]:
        why = f"rule {known.name} counts for other tenants too, so tenant {tenant} may not change it"
        raise BadQuery(f"{why}; do it on the page /rules/show/{known.name}")
    return known.version


def _problems(asked: rules_pb2.UpsertRecordingRuleRequest) -> Iterator[str]:
    """What the original refuses, in its words where they are known."""
    if asked.id and not _ID.fullmatch(asked.id):
        yield f'id "{asked.id}" must match ^[a-zA-Z]+$'
    if not is_metric_name(asked.metric_name):
        yield f'metric_name "{asked.metric_name}" is invalid: invalid metric name: {asked.metric_name}'
    elif not asked.metric_name.startswith(PREFIX):
        yield f'metric_name "{asked.metric_name}" is invalid: it must start with {PREFIX}'
    types: list[Matcher] = []
    for text in asked.matchers:
        try:
            types += [one for one in parse_selector(text).matchers if one.name == PROFILE_TYPE]
        except SelectorError as error:
            yield f'matcher "{text}" is invalid: {parse_words(error)}'
    if not types:
        yield 'matchers must contain a "__profile_type__" matcher'
    elif len(types) > 1:
        yield 'matchers must contain exactly one "__profile_type__" matcher'
    elif types[0].operator != "=":
        yield 'the "__profile_type__" matcher must be an equality matcher'
    if asked.HasField("stacktrace_filter") and not asked.stacktrace_filter.function_name.function_name:
        yield "stacktrace_filter must name a function"


def _rule_of(asked: rules_pb2.UpsertRecordingRuleRequest, tenant: str, old: KnownRule | None, taken: set[str]) -> Rule:
    function = asked.stacktrace_filter.function_name.function_name
    recorded = RecordingRule.model_validate(
        {
            "id": asked.id or "new",
            "metric_name": asked.metric_name,
            "matchers": list(asked.matchers),
            "group_by": list(asked.group_by),
            "external_labels": [{"name": one.name, "value": one.value} for one in asked.external_labels],
            "stacktrace_filter": {"function_name": {"function_name": function}} if function else None,
            "tenants": [tenant],
        }
    )
    name = old.name if old is not None else free_name(asked.metric_name.removeprefix(PREFIX), taken)
    rule = of_recording_rule(recorded, name)
    if old is None or old.rule is None:
        return rule.model_copy(update={"description": ""})
    # What the form does not have stays as it was.
    kept = {field: getattr(old.rule, field) for field in ("description", "max_series", "overflow")}
    return rule.model_copy(update=kept)


def _of_recorded(rule: RecordingRule) -> rules_pb2.RecordingRule:
    form = rules_pb2.RecordingRule(
        id=rule.id,
        metric_name=rule.metric_name,
        matchers=rule.matchers,
        group_by=rule.group_by,
        external_labels=[LabelPair(name=one.name, value=one.value) for one in rule.external_labels],
        provisioned=True,
    )
    types = [one.value for text in rule.matchers for one in parse_selector(text).matchers if one.name == PROFILE_TYPE]
    form.profile_type = types[0].decode("utf-8", "replace") if types else ""
    if rule.function is not None:
        form.stacktrace_filter.function_name.function_name = rule.function
    return form


def _form_of(rule: Rule, gauges: Sequence[str]) -> rules_pb2.RecordingRule | None:
    """The form of a rule, None where it has none."""
    matchers = list(parse_selector(rule.selector).matchers)
    types = [one for one in matchers if one.name == PROFILE_TYPE]
    if rule.profile_types and not types and len(rule.profile_types) == 1 and not _GLOB.search(rule.profile_types[0]):
        types = [Matcher(PROFILE_TYPE, "=", rule.profile_types[0].encode())]
        matchers = [*types, *matchers]
    elif rule.profile_types:
        return None
    if len(types) != 1 or types[0].operator != "=" or types[0].value.count(b":") != 4:
        return None
    is_gauge = is_of_type(types[0].value, gauges)
    function = rule.functions[0].exact if len(rule.functions) == 1 else None
    is_simple = (
        rule.by is not None
        and not (rule.stack or rule.exclude or rule.normalize or rule.without or rule.other or rule.unit)
        and rule.match == "total"
        and rule.top_k is None
        and (rule.aggregate == "sum" or (rule.aggregate is None and not is_gauge))
        and (not rule.functions or (function is not None and rule.combine))
    )
    if not is_simple:
        return None
    kind = types[0].value.decode("utf-8", "replace")
    prefix = METRIC_PREFIX if function is None else FUNCTION_METRIC_PREFIX
    form = rules_pb2.RecordingRule(
        id=id_of(rule.name),
        metric_name=rule.metric or metric_name(types[0].value, prefix),
        profile_type=kind,
        matchers=["{" + _show(one) + "}" for one in matchers],
        group_by=rule.by or [],
        external_labels=[LabelPair(name=name, value=value) for name, value in rule.labels.items()],
    )
    if function is not None:
        form.stacktrace_filter.function_name.function_name = function
    return form


def _show(matcher: Matcher) -> str:
    """A matcher as a selector has it."""
    name = matcher.name.decode("utf-8", "replace")
    quoted = name if is_legal(name) else _quoted(matcher.name)
    return f"{quoted}{matcher.operator}{_quoted(matcher.value)}"


def _quoted(value: bytes) -> str:
    parts = []
    for char in value.decode("utf-8", "surrogateescape"):
        if char in '"\\':
            parts.append("\\" + char)
        elif "\udc80" <= char <= "\udcff":
            parts.append(f"\\x{ord(char) - 0xDC00:02x}")
        else:
            parts.append(char if char.isprintable() else f"\\U{ord(char):08x}")
    return '"' + "".join(parts) + '"'
