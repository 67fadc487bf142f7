"""The rules in force: those of the file, which win, and those of the ledger.

Add what decides between the two here. A rule of the ledger that cannot stand beside the others is left out and
reported; it never breaks a run, because nobody looks at the run when they edit a rule.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from pydantic import ValidationError

from pyro_assets.errors import ConfigError
from pyro_assets.ledger.rules import RuleVersion
from pyro_assets.pipeline.reports import RulesReport
from pyro_assets.series.config import SeriesConfig, name_of_recording_rule, parse_config
from pyro_assets.series.equivalents import rule_value, rules_text
from pyro_assets.series.language import Beside, Rule

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
        ConfigError: the language has changed, or somebody wrote into the database.
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
    """What a rule counts, in a few words."""
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
    rules, beside = list(config.rules), Beside()
    for position, one in enumerate(rules):
        beside.add(position, one)
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
            problem = "; ".join(why for _, why in beside.problems(rule))
        if not problem:
            beside.add(len(rules), rule)
            rules.append(rule)
        known.append(KnownRule(rule.name, rule, "ledger", version, problem))
    if len(rules) == len(config.rules):
        return RulesInForce(config, tuple(known))
    return RulesInForce(config.model_copy(update={"rules": rules}), tuple(known))
