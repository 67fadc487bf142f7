"""The file that says which series exist: dimensions, functions, gauges and the original's recording rules.

Here, too:
* what pydantic found wrong with a configuration, in words that say what to write instead.

Add a field to the models here, with the check that refuses what cannot work; the meaning of a rule belongs to
`series.rules`. A broken file is refused as a whole, with all its problems, each with line, field, reason and remedy.
"""

import difflib
import hashlib
import json
import re
from collections.abc import Callable, Collection, Iterator
from pathlib import Path as FilePath
from typing import Annotated, Any, Final

from pydantic import BaseModel, Field, ValidationError
from pydantic_core import ErrorDetails

from pyro_assets.errors import ConfigError
from pyro_assets.rules.imports import Origins, as_one_list
from pyro_assets.rules.language import Pattern, Rule, check_rules
from pyro_assets.rules.names import INSTANCE_LABEL, RULE_ID_LABEL, exported_name, is_label_name, is_metric_name
from pyro_assets.rules.selectors import MODEL_CONFIG, SelectorText, TypeText
from pyro_assets.rules.yaml_text import Document, Path, read_yaml, show_path


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


#: Changes whenever equal text comes to mean other series.
_MEANING: Final = 1
#: Sample types whose value is a level, not an increase: what counts is the last one, not the sum. `live` is what JFR
#: calls its live objects; `threadcreate` is a running total since the start of the process.
DEFAULT_GAUGES: Final = ("inuse_*", "goroutine", "goroutines", "live", "live_*", "threadcreate")
Problem = tuple[Path, str]


class _Model(BaseModel):
    model_config = MODEL_CONFIG


class Dimensions(_Model):
    """Series of whole profiles: one per profile type and set of public labels.

    Attributes:
        selectors: a profile counts when one of them selects it; an empty list switches dimension series off.
        keep_labels: keep only these labels; None keeps all public ones.
        drop_labels: leave these out. Values of series that become equal are summed.
    """

    selectors: list[SelectorText] = ["{}"]
    keep_labels: list[str] | None = None
    drop_labels: list[str] = []


class ExternalLabel(_Model):
    """A constant label of a recording rule."""

    name: str
    value: str


class FunctionFilter(_Model):
    """Counts only the samples whose stack contains this function; `metric_type` 0 is the total."""

    function_name: Annotated[str, Field(min_length=1)]
    metric_type: int = 0


class StacktraceFilter(_Model):
    """The one kind of filter that recording rules know."""

    function_name: FunctionFilter


class RecordingRule(_Model):
    """One of the original's recording rules, with its field names.

    Attributes:
        id: becomes the label `profiles_rule_id`.
        matchers: selectors that must all hold.
        group_by: labels to keep, where a series has them.
        tenants: ours, not the original's, which keeps rules per tenant: of these alone; empty means all.
    """

    id: Annotated[str, Field(min_length=1)]
    metric_name: str
    matchers: list[SelectorText] = []
    group_by: list[str] = []
    external_labels: list[ExternalLabel] = []
    stacktrace_filter: StacktraceFilter | None = None
    tenants: list[str] = []

    @property
    def function(self) -> str | None:
        """The function of the filter, None without one."""
        return self.stacktrace_filter.function_name.function_name if self.stacktrace_filter else None


class SeriesConfig(_Model):
    """Everything that a configuration file says; without a file, dimension series of everything.

    Attributes:
        functions: exact function name -> selector of the profiles it is looked for in.
        gauges: sample types or whole profile types whose value is a level.
        rules: see `language`.
    """

    dimensions: Dimensions = Dimensions()
    functions: dict[Annotated[str, Field(min_length=1)], SelectorText] = {}
    gauges: list[TypeText] = list(DEFAULT_GAUGES)
    recording_rules: list[RecordingRule] = []
    rules: list[Rule] = []

    @property
    def hash(self) -> str:
        """64 hexadecimal digits; configurations of equal hash give equal series. The order of keys has no say.

        >>> SeriesConfig().hash == parse_config("functions: {}", "a.yaml").hash
        True
        """
        dump = self.model_dump(mode="json")
        # A new part of the language must not give every older configuration another hash. Rules' order has no say.
        del dump["rules"]
        for recorded in dump["recording_rules"]:
            if not recorded["tenants"]:
                del recorded["tenants"]
        if self.rules:
            dump["rules"] = sorted((rule.meaning() for rule in self.rules), key=lambda rule: str(rule["name"]))
        meaning = json.dumps([_MEANING, dump], sort_keys=True, ensure_ascii=True)
        return hashlib.sha256(meaning.encode()).hexdigest()


def load_config(path: str | FilePath) -> SeriesConfig:
    """Read a configuration file, see `parse_config`, or all that end in .yaml, .yml or .json in a folder.

    In a folder, functions and rules of all files count together; every other part may stand in one file only.

    Raises:
        ConfigError: it cannot be read, or is refused.
    """
    file = str(path)
    if FilePath(path).is_dir():
        from pyro_assets.rules.folder import load_folder

        return load_folder(FilePath(path))
    try:
        text = FilePath(path).read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError(file, 0, "the file", f"is not UTF-8 (byte {error.start}); save it as UTF-8") from error
    except OSError as error:
        raise ConfigError(file, 0, "the file", f"cannot be read: {error.strerror or error}") from error
    return parse_config(text, file)


def parse_config(text: str, file: str = "<text>") -> SeriesConfig:
    r"""Read a configuration.

    Recording rules are taken in every form that the original keeps or writes them in, see `imports`.

    >>> parse_config('functions: {"foo": "{vehicle=\\"bike\\"}"}').functions
    {'foo': '{vehicle="bike"}'}
    >>> parse_config("functions:\n  foo: '{vehicle=bike}'", "rules.yaml")  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    ...
    pyro_assets.errors.ConfigError: rules.yaml:2: functions.foo: selector '{vehicle=bike}', ...

    Raises:
        ConfigError: it is refused; all problems are in its `problems`.
    """
    document = read_yaml(text, file)
    value, origins = as_one_list(document.value)
    if isinstance(value, dict):
        # A heading with everything below it commented out means what no heading means.
        value = {
            key: inner for key, inner in value.items() if inner is not None or key not in SeriesConfig.model_fields
        }
    elif value is None:
        value = {}
    problems = list(document.problems)
    if isinstance(document.value, list) and any(isinstance(one, dict) and "name" in one for one in document.value):
        # Recording rules have no names.
        why = "is a list of rules without a heading; write rules: above it"
        raise ConfigError.of_all([*problems, ConfigError(file, 1, "the file", why)])
    config = SeriesConfig()
    try:
        config = SeriesConfig.model_validate(value)
    except ValidationError as error:
        problems += [_problem(document, origins, details) for details in error.errors(include_url=False)]
    else:
        problems += [
            ConfigError(file, _line(document, origins, path), show_path(origins.shown(path)), why)
            for path, why in check_config(config)
        ]
    if problems:
        raise ConfigError.of_all(sorted(problems, key=lambda problem: problem.line))
    return config


def _line(document: Document, origins: Origins, path: Path, *, prefer_key: bool = False) -> int:
    return document.line(origins.place(path), prefer_key=prefer_key)


def _problem(document: Document, origins: Origins, details: ErrorDetails) -> ConfigError:
    path, why, is_about_key = explain(details, _fields_at)
    line = _line(document, origins, path, prefer_key=is_about_key)
    return ConfigError(document.file, line, show_path(origins.shown(path)), why)


def _fields_at(path: Path) -> set[str]:
    shape = tuple("*" if isinstance(part, int) else part for part in path)
    models: dict[tuple[str, ...], type[BaseModel]] = {
        (): SeriesConfig,
        ("dimensions",): Dimensions,
        ("rules", "*"): Rule,
        ("rules", "*", "functions", "*"): Pattern,
        ("rules", "*", "exclude", "*"): Pattern,
        ("rules", "*", "stack", "*"): Pattern,
        ("recording_rules", "*"): RecordingRule,
        ("recording_rules", "*", "external_labels", "*"): ExternalLabel,
        ("recording_rules", "*", "stacktrace_filter"): StacktraceFilter,
        ("recording_rules", "*", "stacktrace_filter", "function_name"): FunctionFilter,
    }
    return set(models[shape].model_fields) if shape in models else set()


def check_config(config: SeriesConfig) -> Iterator[Problem]:
    """What no single field shows."""
    dimensions = config.dimensions
    if dimensions.keep_labels is not None and dimensions.drop_labels:
        yield ("dimensions", "drop_labels"), "keep_labels says already what stays; write one of the two"
    ids: dict[str, int] = {}
    recorded = {rule.id for rule in config.recording_rules}
    for number, named in enumerate(config.rules):
        if named.name in recorded:
            yield ("rules", number, "name"), name_of_recording_rule(named.name)
    for position, rule in enumerate(config.recording_rules):
        place: Path = ("recording_rules", position)
        first = ids.setdefault(rule.id, position)
        if first != position:
            yield (*place, "id"), f"rule {rule.id!r} exists already as recording_rules[{first}]; ids must be unique"
        for inner, why in _check_rule(rule):
            yield (*place, *inner), why
    for inner, why in check_rules(config.rules):
        yield ("rules", *inner), why


def name_of_recording_rule(name: str) -> str:
    """What is wrong with a rule that is called as a recording rule is."""
    return f"{name!r} is the id of a recording rule; choose another name"


def _check_rule(rule: RecordingRule) -> Iterator[Problem]:
    if not is_metric_name(rule.metric_name):
        yield (
            ("metric_name",),
            f"{rule.metric_name!r} is no name of a metric; use letters, digits, _ and :, no digit first",
        )
    if rule.stacktrace_filter and rule.stacktrace_filter.function_name.metric_type != 0:
        place: Path = ("stacktrace_filter", "function_name", "metric_type")
        yield place, "only 0 (total) is known"
    taken: dict[str, str] = {RULE_ID_LABEL: "ours", INSTANCE_LABEL: "ours"}
    for position, label in enumerate(rule.external_labels):
        place = ("external_labels", position, "name")
        if label.name in taken:
            yield place, f"the label {label.name!r} is {_taken(taken[label.name])}; choose another name"
        elif not is_label_name(label.name):
            yield place, f"{label.name!r} is no name of a label; use letters, digits and _, no digit or __ first"
        taken[label.name] = f"external_labels[{position}]"
    for position, name in enumerate(rule.group_by):
        place, legal = ("group_by", position), exported_name(name)
        if not name or name.startswith("__"):
            yield place, f"{name!r} cannot be a label of a series; names starting with __ are Prometheus's own"
        elif legal in taken:
            yield place, f"the label {legal!r} is {_taken(taken[legal])}; remove one of them"
        taken[legal] = f"group_by[{position}]"


def _taken(by: str) -> str:
    return "set for every rule" if by == "ours" else f"set already by {by}"
