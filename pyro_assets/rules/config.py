"""The file that says which series exist: dimensions, functions, gauges and the original's recording rules.

Add a field to the models here, with the check that refuses what cannot work; the meaning of a rule belongs to
`series.rules`. A broken file is refused as a whole, with all its problems, each with line, field, reason and remedy.
"""

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path as FilePath
from typing import Annotated, Any, Final

from pydantic import BaseModel, Field

from pyro_assets.errors import ConfigError
from pyro_assets.rules.imports import as_one_list
from pyro_assets.rules.language import Rule, check_rules
from pyro_assets.rules.names import INSTANCE_LABEL, RULE_ID_LABEL, exported_name, is_label_name, is_metric_name
from pyro_assets.rules.selectors import SelectorText, TypeText
from pyro_assets.rules.validation import MODEL_CONFIG, FieldProblem, read_file, validated
from pyro_assets.rules.yaml_text import Path, read_yaml, show_path

#: Changes whenever equal text comes to mean other series.
_MEANING: Final = 1
#: Sample types whose value is a level, not an increase: what counts is the last one, not the sum. `live` is what JFR
#: calls its live objects; `threadcreate` is a running total since the start of the process.
DEFAULT_GAUGES: Final = ("inuse_*", "goroutine", "goroutines", "live", "live_*", "threadcreate")


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
        """64 hexadecimal digits; configurations of equal hash give equal series. The order of keys does not matter.

        >>> SeriesConfig().hash == parse_config("functions: {}", "a.yaml").hash
        True
        """
        dump = self.model_dump(mode="json")
        # A new part of the language must not give every older configuration another hash. Rules are sorted: their order
        # does not matter.
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
    if FilePath(path).is_dir():
        return _load_folder(FilePath(path))
    return parse_config(read_file(path), str(path))


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
    if isinstance(document.value, list) and any(isinstance(one, dict) and "name" in one for one in document.value):
        # Recording rules have no names.
        why = "is a list of rules without a heading; write rules: above it"
        raise ConfigError.of_all([*document.problems, ConfigError(file, 1, "the file", why)])
    return validated(SeriesConfig, value, document, check_config, place=origins.place, shown=origins.shown)


def _load_folder(folder: FilePath) -> SeriesConfig:
    files = sorted(file for file in folder.iterdir() if file.suffix in (".yaml", ".yml", ".json") and file.is_file())
    if not files:
        raise ConfigError(str(folder), 0, "the folder", "cannot be read: no file in it ends in .yaml, .yml or .json")
    problems: list[ConfigError] = []
    parts: dict[str, Any] = {}
    owner: dict[tuple[str, str], str] = {}
    for file in files:
        try:
            config = load_config(file)
        except ConfigError as error:
            problems += error.problems
            continue
        for field in sorted(config.model_fields_set):
            value = getattr(config, field)
            if field == "functions":
                names, parts[field] = list(value), parts.get(field, {}) | value
            elif field in ("rules", "recording_rules"):
                names = [one.name if isinstance(one, Rule) else one.id for one in value]
                parts[field] = [*parts.get(field, []), *value]
            else:
                names, parts[field] = [""], value
            for name in names:
                first = owner.setdefault((field, name), str(file))
                if first != str(file):
                    what = f"{field}: {name}" if name else field
                    problems.append(ConfigError(str(file), 0, what, f"stands in {first} too; remove one of them"))
    if problems:
        raise ConfigError.of_all(problems)
    merged = SeriesConfig(**parts)
    left = [ConfigError(str(folder), 0, show_path(path), why) for path, why in check_config(merged)]
    if left:
        raise ConfigError.of_all(left)
    return merged


def check_config(config: SeriesConfig) -> Iterator[FieldProblem]:
    """Problems that no single field shows: contradictions, and names that stand twice."""
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
    """The message about a rule whose name is the id of a recording rule."""
    return f"{name!r} is the id of a recording rule; choose another name"


def _check_rule(rule: RecordingRule) -> Iterator[FieldProblem]:
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
