"""Configuration files checked by models: reading the text, and every mistake with its line, field, reason and remedy.

Here, too:
* what all models of configuration have in common.

Add a kind of mistake here when pydantic's words for it do not say what to write instead. What a file may say stands in
`config` and in `receivers.file`.
"""

import difflib
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from pathlib import Path as FilePath
from typing import Any, Final, TypeVar, get_args

from pydantic import BaseModel, ConfigDict, ValidationError
from pydantic_core import ErrorDetails, PydanticCustomError

from pyro_assets.errors import ConfigError
from pyro_assets.rules.yaml_text import Document, Path, show_path

#: Path of a field, and what is wrong with it.
FieldProblem = tuple[Path, str]
_Config = TypeVar("_Config", bound=BaseModel)
#: No unknown fields, no conversions, no changes.
MODEL_CONFIG: Final = ConfigDict(extra="forbid", strict=True, frozen=True)
#: In pydantic's paths: the key is meant, not the value.
_KEY: Final = "[key]"
_TYPES: Final[Mapping[type, str]] = {
    dict: "a mapping",
    list: "a list",
    str: "text",
    bool: "true or false",
    int: "a number",
    float: "a fraction",
}
_WANTED: Final[Mapping[str, str]] = {
    "list_type": "a list",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "int_type": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
}


def refusal(kind: str, why: str) -> PydanticCustomError:
    """A mistake in our words, for validators to raise."""
    return PydanticCustomError(kind, "{why}", {"why": why})


def read_file(path: str | FilePath) -> str:
    """The text of a configuration file.

    Raises:
        ConfigError: it cannot be read, or is not UTF-8.
    """
    try:
        return FilePath(path).read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        why = f"is not UTF-8 (byte {error.start}); save it as UTF-8"
    except OSError as error:
        why = f"cannot be read: {error.strerror or type(error).__name__}"
    # Without the cause: an error about decoding carries the whole text.
    raise ConfigError(str(path), 0, "the file", why)


def validated(
    model: type[_Config],
    value: Any,
    document: Document,
    check: Callable[[_Config], Iterable[FieldProblem]],
    *,
    place: Callable[[Path], Path] = lambda path: path,
    shown: Callable[[Path], Path] = lambda path: path,
    unions: Collection[str] = (),
    has_secrets: bool = False,
) -> _Config:
    """Makes a model of a file's value.

    Args:
        model: of the whole file.
        value: what the model gets.
        document: where it was read from; its own problems count too.
        check: yields what no single field shows, once all of them are right.
        place: path of the model -> path in the document.
        shown: path of the model -> path as people see it.
        unions: what pydantic's paths call members of a union, which are no part of the file.
        has_secrets: no message may repeat a value.

    Raises:
        ConfigError: the file is refused; all problems are in its `problems`.
    """
    found: Iterable[tuple[Path, str, bool]] = ()
    result = None
    try:
        result = model.model_validate(value)
    except ValidationError as error:
        every = [_explain(one, model, {_KEY, *unions}, has_secrets) for one in error.errors(include_url=False)]
        # Each field once: a union complains once per member.
        found = {(path, is_about_key): (path, why, is_about_key) for path, why, is_about_key in every}.values()
    else:
        found = ((path, why, False) for path, why in check(result))
    problems = document.problems + [
        ConfigError(document.file, document.line(place(path), prefer_key=is_about_key), show_path(shown(path)), why)
        for path, why, is_about_key in found
    ]
    if problems or result is None:
        raise ConfigError.of_all(sorted(problems, key=lambda problem: problem.line))
    return result


def _explain(
    details: ErrorDetails, model: type[BaseModel], not_in_file: Collection[str], has_secrets: bool
) -> tuple[Path, str, bool]:
    """Path of a mistake, what is wrong and what to write instead, and whether it is the key that is wrong."""
    path: Path = tuple(part for part in details["loc"] if part not in not_in_file)
    kind, given, context = details["type"], details["input"], details.get("ctx", {})
    is_about_key = kind == "extra_forbidden" or _KEY in details["loc"]
    if kind == "extra_forbidden":
        known = sorted(_fields_at(model, path[:-1]))
        close = difflib.get_close_matches(str(path[-1]), known, n=1)
        why = "unknown field; " + (f"did you mean {close[0]}?" if close else f"known are {', '.join(known)}")
    elif kind == "missing":
        why = f"this field is missing; write {path[-1]}: and its value"
    elif kind == "string_type":
        why = f"must be text, not {_type_of(given)}; put it in quotes"
    elif kind in _WANTED:
        remedy = _remedy(kind, path, "VALUE" if has_secrets and isinstance(given, str) else given)
        why = f"must be {_WANTED[kind]}, not {_type_of(given)}{remedy}"
    elif kind == "string_too_short":
        why = "must not be empty; write some text or remove it"
    elif kind == "literal_error" and not has_secrets:
        close = difflib.get_close_matches(str(given), re.findall(r"'(.*?)'", context["expected"]), n=1)
        why = f"must be {context['expected']}, not {given!r}" + (f"; did you mean {close[0]}?" if close else "")
    elif kind in ("greater_than_equal", "less_than_equal"):
        bound = f"at least {context['ge']}" if "ge" in context else f"at most {context['le']}"
        why = f"must be {bound}" + ("" if has_secrets else f", not {given}")
    else:
        why = str(context.get("why", details["msg"]))
    return path, why, is_about_key


def _remedy(kind: str, path: Path, given: Any) -> str:
    """What to write instead of a value of another type."""
    if given is None:
        return "; write a value or remove it"
    if kind == "list_type":
        return "; put - before each item" if isinstance(given, dict) else f"; write [{given}]"
    if kind == "bool_type" or (kind in ("int_type", "float_type") and isinstance(given, str)):
        return "; write it without quotes" if isinstance(given, str) else "; write one of them"
    if kind in ("int_type", "float_type"):
        return "; write it without a fraction" if isinstance(given, float) else "; write one number"
    if not path:
        return "; write headings such as rules:"
    if path[-2:-1] and path[-2] in ("functions", "exclude", "stack"):
        return "; write a name in quotes, {glob: ...} or {regex: ...}"
    return "; write its fields as NAME: VALUE"


def _type_of(value: Any) -> str:
    return "nothing" if value is None else _TYPES.get(type(value), type(value).__name__)


def _fields_at(model: type[BaseModel], path: Path) -> set[str]:
    """Names that the mapping at a path may have, as they are written in the file."""
    found: type[BaseModel] | None = model
    for part in path:
        if isinstance(part, int) or found is None:
            continue
        field = next((one for name, one in found.model_fields.items() if (one.alias or name) == part), None)
        found = next(_models_in(field.annotation), None) if field is not None else None
    return {field.alias or name for name, field in found.model_fields.items()} if found is not None else set()


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in get_args(annotation):
        yield from _models_in(inner)
