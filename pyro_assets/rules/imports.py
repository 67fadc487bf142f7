"""The forms in which Pyroscope keeps and shows recording rules, as the one form of our configuration.

Add a form that its rules are found in here. Accepted are a bare list, tenants' overrides (`overrides: TENANT:
recording_rules: [...]`), and what its command-line tool prints of all rules, or of one, with names in either case.
What a rule means, and whether it is right, is not looked at.
"""

import re
from collections.abc import Iterator
from typing import Any, Final

from pyro_assets.rules.yaml_text import Path

RULES: Final = "recording_rules"
#: What the original says of a rule beside its meaning.
_NOTES: Final = ("generation", "provisioned")
_CAMEL: Final = {
    "metricName",
    "groupBy",
    "externalLabels",
    "stacktraceFilter",
    "functionName",
    "metricType",
    "profileType",
}
_TYPES_OF_METRIC: Final = {"TOTAL": 0, "METRIC_TYPE_TOTAL": 0}


class Origins:
    """Where recording rules stood in a text before they were put into one list.

    Attributes:
        is_list: the text is a bare list: places in it are shown as if it had the heading.
    """

    def __init__(self) -> None:
        self.is_list = False
        self._places: list[Path] = []
        self._renamed: list[dict[str, str]] = []

    def add(self, place: Path, renamed: dict[str, str]) -> None:
        """Note where the next rule stood, and how its fields were called there."""
        self._places.append(place)
        self._renamed.append(renamed)

    def place(self, path: Path) -> Path:
        """The place in the text of a path in our form."""
        if len(path) < 2 or path[0] != RULES or not isinstance(path[1], int) or path[1] >= len(self._places):
            return path
        names = self._renamed[path[1]]
        return *self._places[path[1]], *(names.get(part, part) if isinstance(part, str) else part for part in path[2:])

    def shown(self, path: Path) -> Path:
        """The same for people: a bare list is shown with the heading that it lacks."""
        return path if self.is_list else self.place(path)


def as_one_list(value: Any) -> tuple[Any, Origins]:
    """A configuration's value with all recording rules in one list, whatever form they had.

    >>> as_one_list([{"id": "a", "metricName": "m"}])[0]
    {'recording_rules': [{'id': 'a', 'metric_name': 'm'}]}
    >>> value, origins = as_one_list({"overrides": {"acme": {"recording_rules": [{"id": "a"}]}}})
    >>> value, origins.place(("recording_rules", 0, "id"))
    ({'recording_rules': [{'id': 'a', 'tenants': ['acme']}]}, ('overrides', 'acme', 'recording_rules', 0, 'id'))
    """
    origins = Origins()
    if isinstance(value, list):
        origins.is_list = True
        value, found = {}, list(_listed(value, ()))
    elif isinstance(value, dict):
        value, found = _split(value)
    else:
        return value, origins
    rules: list[Any] = []
    for rule, place, tenant in found:
        plain, renamed = _plain(rule)
        if tenant is not None and isinstance(plain, dict):
            # The same rule of several tenants is one rule.
            same = next(
                (one for one in rules if isinstance(one, dict) and {**one, "tenants": 0} == {**plain, "tenants": 0}),
                None,
            )
            if same is not None and "tenants" in same and tenant not in same["tenants"]:
                same["tenants"].append(tenant)
                continue
            plain = {**plain, "tenants": [tenant]}
        rules.append(plain)
        origins.add(place, renamed)
    if found or origins.is_list:
        value = {**value, RULES: rules}
    return value, origins


Found = tuple[Any, Path, str | None]


def _split(value: dict[str, Any]) -> tuple[dict[str, Any], list[Found]]:
    """A mapping without its recording rules, and these with their places and tenants."""
    rest = dict(value)
    found: list[Found] = []
    if _is_recording_rule(value):
        return {}, [(value, (), None)]
    if isinstance(value.get("rule"), dict) and _is_recording_rule(value["rule"]):
        found.append((rest.pop("rule"), ("rule",), None))
    listed = value.get("rules")
    if isinstance(listed, list) and any(_is_recording_rule(one) for one in listed):
        found += _listed(rest.pop("rules"), ("rules",))
    if isinstance(value.get(RULES), list):
        found += _listed(rest.pop(RULES), (RULES,))
    overrides = value.get("overrides")
    if isinstance(overrides, dict) and all(one is None or isinstance(one, dict) for one in overrides.values()):
        del rest["overrides"]
        for tenant, limits in overrides.items():
            # A tenant's other limits are the server's business.
            own = (limits or {}).get(RULES)
            place = ("overrides", tenant, RULES)
            if isinstance(own, list):
                found += [(rule, path, tenant) for rule, path, _ in _listed(own, place)]
            elif own is not None:
                found.append((own, place, tenant))
    return rest, found


def _listed(rules: list[Any], place: Path) -> Iterator[Found]:
    for position, rule in enumerate(rules):
        yield rule, (*place, position), None


def _is_recording_rule(value: Any) -> bool:
    return isinstance(value, dict) and bool({"metric_name", "metricName"} & value.keys())


def _plain(rule: Any) -> tuple[Any, dict[str, str]]:
    """A rule with the names that its fields have in overrides, and what they were called."""
    renamed: dict[str, str] = {}

    def walk(value: Any) -> Any:
        if isinstance(value, list):
            return [walk(one) for one in value]
        if not isinstance(value, dict):
            return value
        result = {}
        for name, inner in value.items():
            snake = re.sub(r"(?<!^)([A-Z])", r"_\1", name).lower() if name in _CAMEL else name
            if snake != name and snake not in value:
                renamed[snake] = name
            else:
                snake = name
            result[snake] = _TYPES_OF_METRIC.get(inner, inner) if snake == "metric_type" else walk(inner)
        return result

    plain = walk(rule)
    if isinstance(plain, dict):
        for note in _NOTES:
            plain.pop(note, None)
        kind = plain.get("profile_type")
        if isinstance(kind, str) and isinstance(plain.get("matchers", []), list):
            # Said apart by some versions; a matcher says the same.
            del plain["profile_type"]
            matcher = f'{{__profile_type__="{kind}"}}'
            plain["matchers"] = list(dict.fromkeys([*([matcher] if kind else []), *plain.get("matchers", [])]))
    return plain, renamed
