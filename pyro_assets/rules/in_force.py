"""The rules in force: those of the file, which win, and those of the ledger.

Here, too:
* changes of rules before they are saved: every problem at its field, what a file would change, what would collide.

Add what decides between the two here. A rule of the ledger that cannot stand beside the others is left out and
reported; it never breaks a run, because nobody looks at the run when they edit a rule.
"""

import json
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

from pydantic import ValidationError

from pyro_assets.errors import ConfigError
from pyro_assets.rules.choice import rule_value, rules_text
from pyro_assets.rules.config import SeriesConfig, name_of_recording_rule, parse_config
from pyro_assets.rules.language import Rule, Taken, check_rules, warnings_of
from pyro_assets.rules.report import RulesReport
from pyro_assets.rules.stored import RuleEdit, RuleVersion
from pyro_assets.rules.yaml_text import show_path

Origin = Literal["file", "ledger"]


@dataclass(frozen=True, slots=True)
class KnownRule:
    """A rule and its standing.

    Attributes:
        rule: the rule; None where the ledger's text is no rule (any more).
        origin: where it is from.
        version: of the ledger; None for rules of the file.
        problem: why it gives no series; "" where it does. A disabled rule has no problem.
    """

    name: str
    rule: Rule | None
    origin: Origin
    version: RuleVersion | None = None
    problem: str = ""


@dataclass(frozen=True, slots=True)
class RulesInForce:
    """One consistent snapshot.

    Attributes:
        config: the file's configuration with the ledger's rules; its `hash` names the snapshot.
        known: every rule, of the file in its order, then of the ledger by name.
    """

    config: SeriesConfig
    known: tuple[KnownRule, ...]

    def report(self) -> RulesReport:
        """The snapshot for people: short forms and recording rules count as rules of the file."""
        in_force = [one for one in self.known if one.rule is not None and one.rule.enabled and not one.problem]
        others = len(self.config.functions) + len(self.config.recording_rules)
        return RulesReport(
            hash=self.config.hash,
            from_file=others + sum(one.origin == "file" for one in in_force),
            from_ledger=sum(one.origin == "ledger" for one in in_force),
            left_out=tuple((one.name, one.problem) for one in self.known if one.problem),
        )


def rule_body(rule: Rule) -> str:
    """A rule as the ledger keeps it."""
    return json.dumps(rule_value(rule), ensure_ascii=False, sort_keys=True)


def read_body(name: str, body: str) -> Rule:
    """A rule from the ledger.

    Raises:
        ConfigError: the language has changed, or the text was edited in the database.
    """
    [rule] = parse_config(f'{{"rules": [{body}]}}', f"<rule {name}>").rules
    return rule


def version_text(version: RuleVersion) -> str:
    """A version as a file has it; as the ledger has it where it is no rule (any more)."""
    try:
        return rules_text([read_body(version.name, version.body)])
    except (ConfigError, ValidationError):
        return version.body + "\n"


def rule_words(rule: Rule) -> str:
    """The functions, or whole profiles, that a rule counts, in a few words."""
    if not rule.has_functions:
        return f"whole profiles {rule.selector}"
    names = ", ".join(pattern.show() for pattern in rule.wanted[:3]) + (", ..." if len(rule.wanted) > 3 else "")
    return f"{rule.match} of {names} in {rule.selector}"


def merge_rules(config: SeriesConfig, stored: Sequence[RuleVersion]) -> RulesInForce:
    """Put the rules of file and ledger together.

    Args:
        config: the file's.
        stored: the ledger's rules as of one moment.
    """
    known = [KnownRule(rule.name, rule, "file") for rule in config.rules]
    rules, taken = list(config.rules), Taken()
    for position, one in enumerate(rules):
        taken.add(position, one)
    for version in sorted(stored, key=lambda one: one.name):
        try:
            rule = read_body(version.name, version.body)
        except (ConfigError, ValidationError) as error:
            known.append(KnownRule(version.name, None, "ledger", version, f"is no rule of this version: {error}"))
            continue
        problem = ""
        if any(other.name == rule.name for other in config.rules):
            problem = "a rule of the file has this name, and the file wins"
        elif any(recorded.id == rule.name for recorded in config.recording_rules):
            problem = name_of_recording_rule(rule.name)
        else:
            # What is wrong with it alone was said when it was read.
            problem = "; ".join(why for _, why in taken.problems(rule))
        if not problem:
            taken.add(len(rules), rule)
            rules.append(rule)
        known.append(KnownRule(rule.name, rule, "ledger", version, problem))
    if len(rules) == len(config.rules):
        return RulesInForce(config, tuple(known))
    return RulesInForce(config.model_copy(update={"rules": rules}), tuple(known))


#: Addresses of pages and calls about rules have these words where others have a rule's name.
RESERVED_NAMES: Final = frozenset({"check", "import", "language", "new", "preview", "save", "validate"})
_PREFIX: Final = re.compile(r"rules\[0\]\.?")


@dataclass(frozen=True, slots=True)
class Problem:
    """A mistake in a rule.

    Attributes:
        field: the path of the field, such as `functions[1]`; "" for the rule as a whole.
        why: what is wrong and what to write instead.
        line: of the text, 1-based; 0 where there is none.
    """

    field: str
    why: str
    line: int = 0


@dataclass(frozen=True, slots=True)
class Checked:
    """A rule after its checks: it may be saved when it has no problems; None where it could not be read."""

    rule: Rule | None
    problems: tuple[Problem, ...] = ()
    warnings: tuple[Problem, ...] = ()


@dataclass(frozen=True, slots=True)
class EditPlan:
    """The edits of the ledger by which some rules are saved.

    Attributes:
        edits: for the ledger; rules that are there already, as they are, are not among them.
        changes: (name, "create", "change" or "delete") of each edit.
        problems: why they must not be made, in words.
    """

    edits: tuple[RuleEdit, ...]
    changes: tuple[tuple[str, str], ...]
    problems: tuple[str, ...]


def check_value(value: Mapping[str, Any], in_force: RulesInForce) -> Checked:
    """A rule from plain values, as JSON has them; see `check_text`."""
    try:
        text = json.dumps({"rules": [value]})
    except (TypeError, ValueError, RecursionError) as error:
        return Checked(None, (Problem("", f"is no JSON: {error}"),))
    found = check_text(text, in_force)
    # All of it stands on one line that nobody wrote.
    problems = [Problem(one.field, one.why) for one in found.problems]
    wrong = {_head(one.field) for one in problems}
    rest = {name: inner for name, inner in value.items() if name not in wrong}
    if found.rule is None and len(rest) < len(value):
        # What cannot be read keeps nobody from hearing of the other mistakes.
        problems += [one for one in check_value(rest, in_force).problems if one.field and _head(one.field) not in wrong]
    return Checked(found.rule, tuple(problems), found.warnings)


def check_text(text: str, in_force: RulesInForce) -> Checked:
    """One rule as a file has it, checked alone and against the rules in force.

    Args:
        text: YAML or JSON with the one heading `rules`.
        in_force: what it has to stand beside; an older version of the rule itself does not count.
    """
    try:
        config = parse_config(text, "the rule")
    except ConfigError as error:
        return Checked(None, tuple(Problem(_PREFIX.sub("", one.what), one.why, one.line) for one in error.problems))
    if len(config.rules) != 1 or config.model_copy(update={"rules": []}) != SeriesConfig():
        why = f"holds {len(config.rules)} rules; write one below `rules:` and nothing else, or import many at once"
        return Checked(None, (Problem("", why),))
    [rule] = config.rules
    others = [one for one in in_force.config.rules if one.name != rule.name]
    problems = [Problem(show_path(path), why) for _, path, why in _placed(others, [rule])]
    if is_in_file(rule.name, in_force):
        problems.append(Problem("name", "a rule of the file has this name, and the file wins; choose another name"))
    problems += [Problem("name", why) for why in _reserved(rule.name)]
    warnings = [Problem(show_path(path), why) for path, why in warnings_of(rule, in_force.config.gauges)]
    return Checked(rule, tuple(problems), tuple(warnings))


def is_in_file(name: str, in_force: RulesInForce) -> bool:
    """Whether the file has a rule of this name."""
    return any(known.name == name and known.origin == "file" for known in in_force.known)


def plan_edits(
    given: Sequence[Rule], stored: Sequence[RuleVersion], config: SeriesConfig, *, prune: bool = False
) -> EditPlan:
    """The edits that make the ledger's rules those that are given.

    Args:
        given: rules with names of their own.
        stored: the ledger's as of one moment.
        config: the file's, which wins.
        prune: delete what is not given.
    """
    known = {one.name: one for one in stored}
    names = {rule.name for rule in given}
    edits, changes = [], []
    for rule in given:
        current, body = known.get(rule.name), rule_body(rule)
        if current is None or current.body != body:
            edits.append(RuleEdit(rule.name, body, current.version if current else 0))
            changes.append((rule.name, "change" if current else "create"))
    for one in stored if prune else ():
        if one.name not in names:
            edits.append(RuleEdit(one.name, None, one.version))
            changes.append((one.name, "delete"))
    changed = {edit.name for edit in edits}
    problems = [f"{given[place].name}: {show_path(path)} {why}" for place, path, why in _placed(config.rules, given)]
    problems += [f"{name}: name {why}" for name, _ in changes if name in names for why in _reserved(name)]
    left = [one for one in stored if one.name not in changed and one.name not in names]
    beside = config.model_copy(update={"rules": [*config.rules, *given]})
    problems += [
        f"rule {other.name} of the ledger would give no series: {other.problem}"
        for other in merge_rules(beside, left).known
        if other.origin == "ledger" and other.problem
    ]
    return EditPlan(tuple(edits), tuple(changes), tuple(problems))


def _head(field: str) -> str:
    return re.split(r"[.\[]", field, maxsplit=1)[0]


def _reserved(name: str) -> list[str]:
    """Why a rule that is edited must not have this name; nothing where it may."""
    is_word = name in RESERVED_NAMES or name.endswith(("/history", "/restore"))
    return [f"{name!r} is a word of the pages' addresses; choose another name"] if is_word else []


def _placed(others: Sequence[Rule], given: Sequence[Rule]) -> Iterable[tuple[int, tuple[str | int, ...], str]]:
    """Problems of the rules given beside others: position, path in the rule, reason."""
    every = [*others, *given]
    for (place, *path), why in check_rules(every):
        if int(place) >= len(others):
            named = re.sub(r"rules\[(\d+)\](?: \(.*?\))?", lambda match: f"rule {every[int(match[1])].name}", why)
            yield int(place) - len(others), tuple(path), named
