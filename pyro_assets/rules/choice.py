"""Rules of a configuration one by one: their ids, their hashes, and a configuration of some of them alone.

Here, too:
* short forms and recording rules as rules of the language, and rules as YAML.

Add here what must be known of a rule by itself, whatever stands beside it. Every kind of rule has an id, the column
`rule` of stored series: see `rules`.
"""

import json
import re
from collections.abc import Collection, Iterable, Mapping
from typing import Any, Final, Literal

from pyro_assets.rules.config import Dimensions, RecordingRule, SeriesConfig
from pyro_assets.rules.language import Rule
from pyro_assets.rules.names import DIMENSIONS_ID
from pyro_assets.rules.patterns import Pattern
from pyro_assets.rules.yaml_text import Block, write_yaml

Kind = Literal["dimension", "function"]
KINDS: Final[tuple[Kind, ...]] = ("dimension", "function")


_NO_DIMENSIONS: Final = Dimensions(selectors=[])


def rule_kinds(config: SeriesConfig) -> dict[str, Kind]:
    """Id -> kind of every rule that gives series, short forms and recording rules included.

    >>> rule_kinds(SeriesConfig(functions={"main.run": "{}"}))
    {'dimensions': 'dimension', 'function:main.run': 'function'}
    """
    kinds: dict[str, Kind] = {DIMENSIONS_ID: "dimension"} if config.dimensions.selectors else {}
    kinds |= {function_rule_id(function): "function" for function in config.functions}
    for recorded in config.recording_rules:
        kinds[recorded.id] = "dimension" if recorded.function is None else "function"
    for rule in config.rules:
        if rule.enabled:
            kinds[rule.name] = "function" if rule.has_functions else "dimension"
    return kinds


def only(config: SeriesConfig, ids: Collection[str]) -> SeriesConfig:
    """The configuration with these rules alone; gauges stay, since they decide what a rule adds up.

    >>> only(SeriesConfig(functions={"a": "{}", "b": "{}"}), ["function:b"]).functions
    {'b': '{}'}
    """
    return config.model_copy(
        update={
            "dimensions": config.dimensions if DIMENSIONS_ID in ids else _NO_DIMENSIONS,
            "functions": {name: text for name, text in config.functions.items() if function_rule_id(name) in ids},
            "recording_rules": [rule for rule in config.recording_rules if rule.id in ids],
            "rules": [rule for rule in config.rules if rule.name in ids],
        }
    )


def rule_hash(config: SeriesConfig, rule_id: str) -> str:
    """64 hexadecimal digits: rules of equal hash give equal series, whatever stands beside them.

    The list of functions that a rule with `top_k` got does not count: a job keeps the list of its first derivation, see
    `keep_lists`.
    """
    return _without_lists(only(config, [rule_id])).hash


def rule_hashes(config: SeriesConfig) -> dict[str, str]:
    """Id -> hash of every rule that gives series."""
    return {rule_id: rule_hash(config, rule_id) for rule_id in rule_kinds(config)}


def keep_lists(config: SeriesConfig, lists: Mapping[str, Iterable[str]]) -> SeriesConfig:
    """The configuration with these lists of functions for its rules with `top_k`.

    Args:
        config: what is in force.
        lists: name of a rule -> functions.
    """
    return _changed(config, lambda rule: {"resolved": list(lists[rule.name])} if rule.name in lists else {})


def listed_rules(config: SeriesConfig) -> list[str]:
    """Names of the rules with `top_k`."""
    return [rule.name for rule in config.rules if rule.enabled and rule.top_k is not None]


def _without_lists(config: SeriesConfig) -> SeriesConfig:
    return _changed(config, lambda _: {"resolved": []})


def _changed(config: SeriesConfig, change: Any) -> SeriesConfig:
    rules = [
        rule.model_copy(update=update) if rule.top_k is not None and (update := change(rule)) else rule
        for rule in config.rules
    ]
    return config if rules == config.rules else config.model_copy(update={"rules": rules})


def config_text(config: SeriesConfig) -> str:
    """A configuration without descriptions, as JSON that `parse_config` reads back to one of the same hash."""
    whole = config.model_dump(mode="json")
    whole["rules"] = sorted((rule.meaning() for rule in config.rules), key=lambda rule: str(rule["name"]))
    return json.dumps(whole, sort_keys=True, separators=(",", ":"))


def equivalent_rules(config: SeriesConfig) -> list[Rule]:
    """The short forms and recording rules of a configuration as rules; `rules` themselves are not among them.

    >>> [rule] = equivalent_rules(SeriesConfig(functions={"main.(*T).Run": "{}"}))
    >>> print(rules_text([rule]), end="")
    rules:
    - name: main.T.Run
      functions: [main.(*T).Run]
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


def plain_name(text: str) -> str:
    """What a rule may be called that is called `text` elsewhere: what no name may have is left out, slashes stay.

    >>> plain_name("net/http.(*Server).Serve"), plain_name("/../"), plain_name("größe")
    ('net/http.Server.Serve', 'rule', 'gre')
    """
    parts = (re.sub(r"[^A-Za-z0-9_.-]+", "", part).lstrip(".-") for part in text.split("/"))
    return "/".join(part for part in parts if part)[-90:].lstrip("/.-") or "rule"


def free_name(text: str, taken: set[str]) -> str:
    """A name for a rule that is called `text` elsewhere and has none of the names taken; it is taken from now on."""
    base = plain_name(text)
    name, number = base, 2
    while name in taken:
        name, number = f"{base}-{number}", number + 1
    taken.add(name)
    return name


def rule_value(rule: Rule) -> dict[str, Any]:
    """A rule as plain values, as a file has it: without fields that have their default."""
    dump = rule.model_dump(mode="json", exclude_defaults=True)
    for field in ("functions", "exclude", "stack"):
        if field in dump:
            dump[field] = [one.get("exact", one) for one in dump[field]]
    return dump


def rules_text(rules: Iterable[Rule]) -> str:
    """Rules as a YAML file that reads back to the same rules."""
    return write_yaml({"rules": [Block(rule_value(rule)) for rule in rules]})


def function_rule_id(function: str) -> str:
    """The id of the rule that the short form `function: selector` stands for.

    >>> function_rule_id("main.(*Server).Serve")
    'function:main.(*Server).Serve'
    """
    return f"function:{function}"
