"""What pydantic found wrong with a configuration, in words that say what to write instead.

Add a kind of mistake here when its message names no remedy. Checks themselves belong to the models.
"""

import difflib
import re
from collections.abc import Callable, Collection
from typing import Any

from pydantic_core import ErrorDetails

from pyro_assets.series.yaml_text import Path


def explain(details: ErrorDetails, fields_at: Callable[[Path], Collection[str]]) -> tuple[Path, str, bool]:
    """One mistake.

    Args:
        details: what pydantic says of it.
        fields_at: the fields that the model at a path has.

    Returns:
        Its path, what is wrong and what to write instead, and whether it is the key that is wrong, not the value.
    """
    path: Path = tuple(part for part in details["loc"] if part != "[key]")
    kind, given = details["type"], details["input"]
    context = details.get("ctx", {})
    is_about_key = kind == "extra_forbidden" or "[key]" in details["loc"]
    if kind == "extra_forbidden":
        known = sorted(fields_at(path[:-1]))
        close = difflib.get_close_matches(str(path[-1]), known, n=1)
        why = "unknown field; " + (f"did you mean {close[0]}?" if close else f"known are {', '.join(known)}")
    elif kind == "missing":
        why = f"this field is missing; write {path[-1]}: and its value"
    elif kind == "string_type":
        why = f"must be text, not {_kind_of(given)}; put it in quotes"
    elif kind in ("list_type", "dict_type", "model_type", "int_type", "bool_type"):
        wanted = {"list_type": "a list", "int_type": "a whole number", "bool_type": "true or false"}.get(
            kind, "a mapping"
        )
        why = f"must be {wanted}, not {_kind_of(given)}{_remedy(kind, path, given)}"
    elif kind == "string_too_short":
        why = "must not be empty; write some text or remove it"
    elif kind == "literal_error":
        close = difflib.get_close_matches(str(given), re.findall(r"'(.*?)'", context["expected"]), n=1)
        why = f"must be {context['expected']}, not {given!r}" + (f"; did you mean {close[0]}?" if close else "")
    elif kind in ("greater_than_equal", "less_than_equal"):
        bound = f"at least {context['ge']}" if "ge" in context else f"at most {context['le']}"
        why = f"must be {bound}, not {given}"
    else:
        why = str(context.get("why", details["msg"]))
    return path, why, is_about_key


def _remedy(kind: str, path: Path, given: Any) -> str:
    """What to write instead of a value of another type."""
    if given is None:
        return "; write a value or remove it"
    if kind == "list_type":
        return "; put - before each item" if isinstance(given, dict) else f"; write [{given}]"
    if kind == "bool_type" or (kind == "int_type" and isinstance(given, str)):
        return "; write it without quotes" if isinstance(given, str) else "; write one of them"
    if kind == "int_type":
        return "; write it without a fraction" if isinstance(given, float) else "; write one number"
    if not path:
        return "; write headings such as rules:"
    if path[-2:-1] and path[-2] in ("functions", "exclude", "stack"):
        return "; write a name in quotes, {glob: ...} or {regex: ...}"
    return "; write its fields as NAME: VALUE"


def _kind_of(value: Any) -> str:
    names = {
        dict: "a mapping",
        list: "a list",
        str: "text",
        bool: "true or false",
        int: "a number",
        float: "a fraction",
    }
    return "nothing" if value is None else names.get(type(value), type(value).__name__)
