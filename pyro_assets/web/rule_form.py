"""The form of a rule: fields of a page to the plain values of the language and back, and which field a problem is of.

Add a field when the language gets one that people set often; everything else is written as text. What values mean,
and whether they may be, is for `series.language`.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from pyro_assets.pipeline.rule_edits import Problem
from pyro_assets.series.language import Rule
from pyro_assets.series.patterns import Pattern

_KINDS: Final = ("exact", "glob", "regex")
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
    """A rule as the form shows it; None where the form cannot hold it, because names have line breaks."""
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
    lists: dict[str, list[str]] = {field: [_line(one) for one in getattr(rule, field)] for field in _PATTERNS}
    lists |= {field: list(getattr(rule, field)) for field in _LISTS}
    lists["by"], lists["labels"] = [*(rule.by or []), *rule.without], [*rule.labels, *rule.labels.values()]
    if any(_breaks(text) for texts in lists.values() for text in texts) or _breaks(rule.selector + rule.description):
        return None
    if any(re.search(r"[\s,]", name) for name in lists["by"]):
        return None
    form |= {field: "\n".join(lists[field]) for field in (*_PATTERNS, *_LISTS)}
    form |= {field: "on" if getattr(rule, field) else "" for field in _CHECKS}
    return form


def read_form(fields: Mapping[str, Sequence[str]]) -> Form:
    """The form as it was sent, or asked for in a query; missing fields are empty, a name without list is one line."""
    form = {field: (fields.get(field) or [""])[0].replace("\r\n", "\n") for field in FIELDS}
    form["normalize"] = " ".join(fields.get("normalize", []))
    return form


def prefilled(query: Mapping[str, Sequence[str]]) -> Form:
    """An empty form, with what a link says: names may be given several times, and are exact."""
    empty = form_of(Rule.model_construct(**{"name": "", **_defaults()}))
    form: Form = dict(empty or {})
    form |= {field: values[0] for field, values in query.items() if field in FIELDS and values}
    for field in ("functions", "exclude"):
        exact = query.get(field.removesuffix("s"), [])
        if exact:
            form[field] = "\n".join(_line(Pattern.model_construct(exact=name)) for name in exact)
    for field, singular in (("profile_types", "profile_type"), ("tenants", "tenant")):
        if query.get(singular):
            form[field] = "\n".join(query[singular])
    return form


def _defaults() -> dict[str, Any]:
    return {name: field.get_default() for name, field in Rule.model_fields.items() if name != "name"}


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
    """A name for a rule that has none yet: the last words of its function, or what it selects.

    >>> suggested_name({"functions": "net/http.(*Server).Serve", "match": "self", "profile_types": ""})
    'Server.Serve-self'
    """
    first = (_lines(form["functions"]) or _lines(form["profile_types"]) or ["rule"])[0]
    text = re.sub(r"[^A-Za-z0-9_.-]+", "", re.split(r"[/\s]", first)[-1]).lstrip(".-")
    text = re.sub(r"^[A-Za-z0-9_]+\.(?=[A-Za-z0-9_]+\.)", "", text)[:80] or "rule"
    return f"{text}-self" if form["match"] == "self" else text


def _breaks(text: str) -> bool:
    """Whether a line of a form cannot hold a text: it has line breaks, or browsers would take off its spaces."""
    return len(text.splitlines()) > 1 or "\n" in text or "\r" in text or text != text.strip()


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
