"""The YAML file of receivers: reading it, and refusing it as a whole with all its problems, each with line and field.

The models are in `receivers`, contradictions in `contradictions`. No message repeats a value of the file that could be
a secret, and nothing here looks a secret up.
"""

import difflib
from pathlib import Path as FilePath
from types import UnionType
from typing import Any, Final, get_args

from pydantic import BaseModel, Field, ValidationError
from pydantic_core import ErrorDetails

from pyro_assets.errors import ConfigError
from pyro_assets.receivers.contradictions import receiver_problems
from pyro_assets.receivers.model import Model, Receiver
from pyro_assets.rules.yaml_text import Document, Path, read_yaml, show_path

_KINDS: Final = {
    dict: "a mapping",
    list: "a list",
    str: "text",
    bool: "true or false",
    int: "a number",
    float: "a number",
}
_WANTED: Final = {
    "list_type": "a list",
    "dict_type": "a mapping",
    "model_type": "a mapping",
    "int_type": "a whole number",
    "float_type": "a number",
    "bool_type": "true or false",
    "string_type": "text",
}
#: Parts of pydantic's paths that are no part of the file: which member of a union was tried, and "this key".
_NOT_IN_FILE: Final = frozenset({"[key]", "str", "SecretRef", "function-before[_check_header(), union[str,SecretRef]]"})


class Receivers(Model):
    """Everything that a file of receivers says."""

    receivers: list[Receiver] = Field(default=[])

    def named(self, name: str) -> Receiver | None:
        """The receiver of a name, None where there is none."""
        return next((one for one in self.receivers if one.name == name), None)


def load_receivers(path: str | FilePath) -> Receivers:
    """Read a file of receivers, see `parse_receivers`.

    Raises:
        ConfigError: it cannot be read, or is refused.
    """
    file = str(path)
    try:
        text = FilePath(path).read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        why = f"is not UTF-8 (byte {error.start}); save it as UTF-8"
    except OSError as error:
        why = f"cannot be read: {error.strerror or type(error).__name__}"
    else:
        return parse_receivers(text, file)
    # Without the cause: an error about decoding carries the whole text.
    raise ConfigError(file, 0, "the file", why)


def parse_receivers(text: str, file: str = "<text>") -> Receivers:
    r"""Read receivers: a mapping with the key `receivers`, or the list alone. An empty file has none.

    >>> text = "receivers:\n- name: local\n  kind: prometheus\n  url: http://localhost:9090/api/v1/write"
    >>> parse_receivers(text).receivers[0].effective_tenant_label
    'tenant'
    >>> parse_receivers("- name: local\n  url: localhost:9090", "receivers.yaml")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ...
    pyro_assets.errors.ConfigError: receivers.yaml:2: receivers[0].url: must be http:// or https:// ...

    Raises:
        ConfigError: it is refused; all problems are in its `problems`.
    """
    document = read_yaml(text, file)
    value, prefix = document.value, Path()
    if isinstance(value, list):
        value, prefix = {"receivers": value}, ("receivers",)
    elif value is None or value == {"receivers": None}:
        value = {}
    problems = list(document.problems)
    result = Receivers()
    try:
        result = Receivers.model_validate(value)
    except ValidationError as error:
        problems += _unique(_problem(document, prefix, details) for details in error.errors(include_url=False))
    else:
        for path, why in _contradictions(result):
            problems.append(ConfigError(file, document.line(_below(path, prefix)), show_path(path), why))
    if problems:
        raise ConfigError.of_all(sorted(problems, key=lambda problem: problem.line))
    return result


def _contradictions(receivers: Receivers) -> list[tuple[Path, str]]:
    found: list[tuple[Path, str]] = []
    names: dict[str, int] = {}
    for position, receiver in enumerate(receivers.receivers):
        place: Path = ("receivers", position)
        first = names.setdefault(receiver.name, position)
        if first != position:
            why = f"receivers[{first}] is called {receiver.name!r} already; receipts are kept by name, choose another"
            found.append(((*place, "name"), why))
        found += [((*place, *path), why) for path, why in receiver_problems(receiver)]
    return found


def _below(path: Path, prefix: Path) -> Path:
    return path[len(prefix) :] if path[: len(prefix)] == prefix else path


def _unique(problems: Any) -> list[ConfigError]:
    """Each line and field once: a union complains once per member."""
    return list({(problem.line, problem.what): problem for problem in problems}.values())


def _problem(document: Document, prefix: Path, details: ErrorDetails) -> ConfigError:
    path: Path = tuple(part for part in details["loc"] if part not in _NOT_IN_FILE)
    kind = details["type"]
    is_about_key = kind == "extra_forbidden" or "[key]" in details["loc"]
    if kind == "extra_forbidden":
        known = sorted(_fields_at(path[:-1]))
        close = difflib.get_close_matches(str(path[-1]), known, n=1)
        why = "unknown field; " + (f"did you mean {close[0]}?" if close else f"known are {', '.join(known)}")
    elif kind == "missing":
        why = "this field is missing"
    elif kind in _WANTED:
        given = details["input"]
        shown = "nothing" if given is None else _KINDS.get(type(given), type(given).__name__)
        quotes = "; put it in quotes" if kind == "string_type" and isinstance(given, bool | int | float) else ""
        why = f"must be {_WANTED[kind]}, not {shown}{quotes}"
    elif kind == "string_too_short":
        why = "must not be empty"
    elif kind == "string_pattern_mismatch" and path[-1:] == ("name",):
        why = "must be small letters, digits, dots, - and _, a letter or digit first, at most 63 characters"
    elif kind == "string_pattern_mismatch":
        why = "is no name of an environment variable; use letters, digits and _"
    else:
        why = str(details.get("ctx", {}).get("why", details["msg"]))
    return ConfigError(
        document.file, document.line(_below(path, prefix), prefer_key=is_about_key), show_path(path), why
    )


def _fields_at(path: Path) -> set[str]:
    """Names that the mapping at a path may have, as they are written in the file."""
    model: type[BaseModel] | None = Receivers
    for part in path:
        if isinstance(part, int) or model is None:
            continue
        field = next((f for name, f in model.model_fields.items() if (f.alias or name) == part), None)
        model = _model_in(field.annotation) if field is not None else None
    return {field.alias or name for name, field in model.model_fields.items()} if model is not None else set()


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for inner in get_args(annotation) if not isinstance(annotation, UnionType) else annotation.__args__:
        found = _model_in(inner)
        if found is not None:
            return found
    return None
