"""Some rules of a configuration apart from the others: their ids, what they mean, and a configuration of them alone.

Add here what must be known of a rule by itself, whatever stands beside it. Every kind of rule has an id, the column
`rule` of stored series: see `rules`.
"""

import json
from collections.abc import Collection, Iterable, Mapping
from typing import Any, Final

from pyro_assets.series.config import Dimensions, SeriesConfig
from pyro_assets.series.names import DIMENSIONS_ID
from pyro_assets.series.rules import Kind, function_rule_id

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

    The list of functions that a rule with `top_k` got has no say: a job keeps the list of its first derivation, see
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
    """What series depend on, as JSON that `parse_config` reads back to a configuration of the same hash."""
    whole = config.model_dump(mode="json")
    whole["rules"] = sorted((rule.meaning() for rule in config.rules), key=lambda rule: str(rule["name"]))
    return json.dumps(whole, sort_keys=True, separators=(",", ":"))
