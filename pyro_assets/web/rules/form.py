"""The form of a rule: fields of a page to the plain values of the language and back, and which field a problem is of.

Add a field when the language gets one that people set often; everything else is written as text. What values mean,
and whether they may be, is for `rules.language`.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from pydantic import ValidationError

from pyro_assets.rules.choice import plain_name
from pyro_assets.rules.in_force import Problem
from pyro_assets.rules.language import Rule
from pyro_assets.rules.patterns import Pattern
from pyro_assets.web.wire.requests import first

#: What browsers do not send back as it was.
_CHANGED: Final = re.compile(r"[\r\0]")
_LINE: Final = re.compile(r"(exact|glob|regex):[ ]?(.*)", re.DOTALL)
#: Fields of the form that hold something of the language under another name.
_PLACES: Final[Mapping[str, str]] = {"by": "keep", "without": "keep", "exact": "functions"}
_CHECKS: Final = ("enabled", "combine", "other")
_NUMBERS: Final = ("max_series", "top_k")
_CHOICES: Final = ("match", "aggregate", "unit", "overflow")
_TEXTS: Final = ("name", "description", "selector", "metric")
_LISTS: Final = ("profile_types", "tenants", "resolved")
_PATTERNS: Final = ("functions", "stack", "exclude")
FIELDS: Final = (
    *_TEXTS,
    *_PATTERNS,
    *_LISTS,
    *_CHECKS,
    *_NUMBERS,
    *_CHOICES,
    "normalize",
    "keep",
    "keep_labels",
    "labels",
)
Form = dict[str, str]


def form_of(rule: Rule) -> Form | None:
    """A rule as the form shows it; None where the form cannot hold it, as with line breaks in names."""
    form: Form = {
        "name": rule.name,
        "description": rule.description,
        "selector": rule.selector,
        "metric": rule.metric or "",
        "match": rule.match,
        "aggregate": rule.aggregate or "",
        "unit": rule.unit or "",
        "overflow": rule.overflow,
        "max_series": str(rule.max_series),
        "top_k": "" if rule.top_k is None else str(rule.top_k),
        "normalize": " ".join(rule.normalize),
        "keep": "by" if rule.by is not None else "without" if rule.without else "",
        "keep_labels": "\n".join(rule.by if rule.by is not None else rule.without),
        "labels": "\n".join(f"{name}={value}" for name, value in rule.labels.items()),
    }
    form |= {field: "\n".join(map(_line, getattr(rule, field))) for field in _PATTERNS}
    form |= {field: "\n".join(getattr(rule, field)) for field in _LISTS}
    form |= {field: "on" if getattr(rule, field) else "" for field in _CHECKS}
    return form if _holds(form, rule) else None


def _holds(form: Form, rule: Rule) -> bool:
    """Whether the form, as a browser sends it back, says the same as the rule: saving it must not lose anything."""
    if any(_CHANGED.search(text) for text in form.values()) or any("\n" in form[field] for field in _TEXTS):
        return False
    try:
        return Rule.model_validate(value_of(form)) == rule
    except ValidationError:
        return False


def read_form(fields: Mapping[str, Sequence[str]]) -> Form:
    """The form as it was sent, or asked for in a query; missing fields are empty, a name without list is one line."""
    form = {field: first(fields, field).replace("\r\n", "\n") for field in FIELDS}
    form["normalize"] = " ".join(fields.get("normalize", []))
    return form


def prefilled(query: Mapping[str, Sequence[str]]) -> Form | None:
    """The form with what a link says; `function`, `profile_type` and `tenant` may be given several times.

    None where the form cannot hold the functions, as with line breaks in names.
    """
    form = form_of(Rule(name="")) or {}
    form |= {field: values[0] for field, values in query.items() if field in FIELDS and values}
    for field, singular in (("profile_types", "profile_type"), ("tenants", "tenant")):
        if query.get(singular):
            form[field] = "\n".join(query[singular])
    names = query.get("function", [])
    if names:
        form["functions"] = "\n".join(_line(Pattern.model_construct(exact=name)) for name in names)
    return None if any(re.search(r"[\r\n\0]", name) for name in names) else form


def value_of(form: Form) -> dict[str, Any]:
    """What the form says in the language, without what is left to its default."""
    value: dict[str, Any] = {"name": form["name"].strip()}
    for field in ("description", "selector", "metric"):
        if form[field].strip():
            value[field] = form[field].strip()
    for field in _PATTERNS:
        patterns = [_pattern(line) for line in _lines(form[field], strip=False)]
        if patterns:
            value[field] = patterns
    for field in _LISTS:
        texts = _lines(form[field], strip=field != "resolved")
        if texts:
            value[field] = texts
    if not form["enabled"]:
        value["enabled"] = False
    value |= {field: True for field in ("combine", "other") if form[field]}
    value |= {field: form[field] for field in _CHOICES if form[field]}
    for field in _NUMBERS:
        text = form[field].strip().replace(",", "")
        if text:
            value[field] = int(text) if re.fullmatch(r"-?[0-9]{1,18}", text) else text
    if form["normalize"]:
        value["normalize"] = form["normalize"].split()
    labels = [name for name in re.split(r"[\s,]+", form["keep_labels"]) if name]
    if form["keep"] in ("by", "without"):
        value[form["keep"]] = labels
    if form["labels"].strip():
        pairs = [line.partition("=") for line in _lines(form["labels"])]
        value["labels"] = {name.strip(): text.strip() for name, _, text in pairs}
    return value


def placed(problems: Iterable[Problem]) -> dict[str, list[str]]:
    """Problems by the field of the form they are of; "" has those of the rule as a whole."""
    found: dict[str, list[str]] = {}
    for problem in problems:
        head, *rest = re.split(r"[.\[]", problem.field, maxsplit=1)
        field = _PLACES.get(head, head)
        place = re.match(r"(\d+)\]", rest[0]) if rest else None
        why = f"line {int(place[1]) + 1}: {problem.why}" if place and field != "keep" else problem.why
        if field not in FIELDS:
            field, why = "", f"{problem.field}: {problem.why}" if problem.field else problem.why
        found.setdefault(field, []).append(why)
    return found


def suggested_name(form: Form) -> str:
    """A name for a rule that has none yet: that of its function, or what it selects.

    >>> suggested_name({"functions": "net/http.(*Server).Serve", "match": "self", "profile_types": ""})
    'net/http.Server.Serve-self'
    """
    named = (_lines(form["functions"]) or _lines(form["profile_types"]) or ["rule"])[0]
    found = _LINE.match(named)
    name = plain_name(named if found is None else found[2])
    return f"{name}-self" if form["match"] == "self" else name


def _line(pattern: Pattern) -> str:
    if pattern.glob is not None:
        return f"glob: {pattern.glob}"
    if pattern.regex is not None:
        return f"regex: {pattern.regex}"
    text = pattern.exact or ""
    return f"exact: {text}" if _LINE.match(text) else text


def _pattern(line: str) -> Any:
    found = _LINE.match(line)
    return line if found is None else {found[1]: found[2]}


def _lines(text: str, *, strip: bool = True) -> list[str]:
    lines = text.split("\n")
    return [line.strip() if strip else line.strip("\r") for line in lines if line.strip()]
