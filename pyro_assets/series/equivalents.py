"""Other ways to write rules as rules of the language, and rules as text again.

Add a form that people have rules in here. An imported recording rule keeps its own meaning in a configuration; what
stands here is its nearest rule of the language, with our labels of identity instead of the original's.
"""

import json
import re
from collections.abc import Iterable
from typing import Any, Final

from pyro_assets.series.config import RecordingRule, SeriesConfig
from pyro_assets.series.language import Rule
from pyro_assets.series.patterns import Pattern

_PLAIN: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_./() -]*[A-Za-z0-9_/)]|[A-Za-z_]")
_WORDS: Final = frozenset({"true", "false", "null", "yes", "no", "on", "off", "y", "n"})


def equivalent_rules(config: SeriesConfig) -> list[Rule]:
    """The short forms and recording rules of a configuration as rules; `rules` themselves are not among them.

    >>> [rule] = equivalent_rules(SeriesConfig(functions={"main.(*T).Run": "{}"}))
    >>> print(rules_text([rule]), end="")
    rules:
    - name: main.T.Run
      functions: ["main.(*T).Run"]
    """
    taken = {rule.name for rule in config.rules}
    found = []
    for function, selector in config.functions.items():
        name = free_name(function, taken)
        found.append(Rule(name=name, functions=[Pattern(exact=function)], selector=selector))
    found += [of_recording_rule(recorded, free_name(recorded.id, taken)) for recorded in config.recording_rules]
    return found


def of_recording_rule(rule: RecordingRule, name: str) -> Rule:
    """The nearest rule of the language."""
    inner = [matcher.strip()[1:-1].strip().strip(",") for matcher in rule.matchers]
    return Rule(
        name=name,
        description=f"recording rule {rule.id}",
        functions=[] if rule.function is None else [Pattern(exact=rule.function)],
        combine=rule.function is not None,
        selector="{" + ", ".join(text for text in inner if text) + "}",
        metric=rule.metric_name,
        by=list(rule.group_by),
        labels={label.name: label.value for label in rule.external_labels if label.value},
        aggregate="sum",
        tenants=list(rule.tenants),
    )


def free_name(text: str, taken: set[str]) -> str:
    """A name for a rule that is called `text` elsewhere and has none of the names taken; it is taken from now on."""
    base = re.sub(r"[^A-Za-z0-9_.-]+", "", text).lstrip(".-")[:90] or "rule"
    name, number = base, 2
    while name in taken:
        name, number = f"{base}-{number}", number + 1
    taken.add(name)
    return name


def rule_value(rule: Rule) -> dict[str, Any]:
    """A rule as plain values, as a file has it: what is left to its default is left out."""
    dump = rule.model_dump(mode="json", exclude_defaults=True)
    for field in ("functions", "exclude", "stack"):
        if field in dump:
            dump[field] = [one.get("exact", one) for one in dump[field]]
    return dump


def rules_text(rules: Iterable[Rule]) -> str:
    """Rules as a YAML file that reads back to the same rules."""
    lines = ["rules:"]
    for rule in rules:
        for number, (field, value) in enumerate(rule_value(rule).items()):
            lines.append(f"{'  ' if number else '- '}{field}: {_flow(value)}")
    return "\n".join(lines if len(lines) > 1 else ["rules: []"]) + "\n"


def _flow(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ", ".join(f"{_flow(key)}: {_flow(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ", ".join(_flow(inner) for inner in value) + "]"
    if isinstance(value, str):
        is_plain = _PLAIN.fullmatch(value) is not None and value.lower() not in _WORDS
        return value if is_plain else _quoted(value)
    return json.dumps(value)


def _quoted(text: str) -> str:
    # JSON's quotes are YAML's double quotes; what JSON writes as two escapes is written as it is.
    return "".join(char if char > "\uffff" else json.dumps(char)[1:-1] if char > "~" and not char.isprintable() else
                   json.dumps(char, ensure_ascii=False)[1:-1] for char in text).join(('"', '"'))  # fmt: skip
