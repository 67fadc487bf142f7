"""YAML text to plain values that remember their lines, so that every problem can name one.

Scalars follow JSON's idea of types (true, false, null, numbers; everything else is text), so that function names such
as `on` or `12:30` stay what they are, and JSON files are read alike. Duplicate keys and aliases are refused. What the
values mean is for the models of the configuration to say.
"""

import re
from dataclasses import dataclass, field
from typing import Any, Final

import yaml

from pyro_assets.errors import ConfigError

#: The place of a value: keys and positions from the root.
Path = tuple[str | int, ...]
# Hostile text of this size takes some seconds to read; a thousand rules are a tenth of it.
_MAX_CHARACTERS: Final = 1 << 20
# JSON writes characters beyond the first 65,536 as two escapes, of which YAML parsers make nothing.
_TWO_ESCAPES: Final = re.compile(r"(?<!\\)((?:\\\\)*)\\u([dD][89abAB][0-9a-fA-F]{2})\\u([dD][c-fC-F][0-9a-fA-F]{2})")
_MAX_DEPTH: Final = 32
_SafeLoader: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_TYPES: Final[dict[str, tuple[re.Pattern[str], str]]] = {
    "tag:yaml.org,2002:null": (re.compile(r"(?:~|null|)\Z"), "~n\0"),
    "tag:yaml.org,2002:bool": (re.compile(r"(?:true|false)\Z"), "tf"),
    "tag:yaml.org,2002:int": (re.compile(r"-?(?:0|[1-9][0-9]{0,18})\Z"), "-0123456789"),
    "tag:yaml.org,2002:float": (
        re.compile(r"-?(?:0|[1-9][0-9]{0,18})(?:\.[0-9]+)?(?:[eE][-+]?[0-9]{1,3})?\Z"),
        "-0123456789",
    ),
}


class _Loader(_SafeLoader):  # type: ignore[misc] # chosen at run time: the C parser where libyaml is present
    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012 - PyYAML's own way


class Block(dict[str, Any]):
    """A mapping that is written with a line for each field, however short they are."""


class _Dumper(yaml.SafeDumper):
    """Quotes what `_Loader` would take for something else than text."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012 - PyYAML's own way

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002 - aliases are refused when they are read
        return True


_Dumper.add_representer(
    Block, lambda dumper, block: dumper.represent_mapping("tag:yaml.org,2002:map", block.items(), flow_style=False)
)
# YAML folds these line breaks anywhere but in double quotes.
_Dumper.add_representer(
    str,
    lambda dumper, text: dumper.represent_scalar(
        "tag:yaml.org,2002:str", text, style='"' if set(text) & set("\x85\u2028\u2029") else None
    ),
)
for _tag, (_pattern, _first) in _TYPES.items():
    for _class in (_Loader, _Dumper):
        _class.add_implicit_resolver(_tag, _pattern, ["" if char == "\0" else char for char in _first])


@dataclass(slots=True)
class Document:
    """Values and the lines they stand on.

    Attributes:
        value: dict, list, str, int, float, bool or None.
        value_line: 1-based line where the value at a path starts.
        key_line: 1-based line of the key that leads to a path.
        problems: what is wrong with the text itself, such as a key that stands twice.
    """

    file: str
    value: Any = None
    value_line: dict[Path, int] = field(default_factory=dict)
    key_line: dict[Path, int] = field(default_factory=dict)
    problems: list[ConfigError] = field(default_factory=list)

    def line(self, path: Path, *, prefer_key: bool = False) -> int:
        """The line of a path, or of the nearest enclosing value where the path itself does not exist."""
        for length in range(len(path), -1, -1):
            place = path[:length]
            is_itself = length == len(path)
            lines = (self.key_line, self.value_line) if prefer_key and is_itself else (self.value_line, self.key_line)
            for known in lines:
                if place in known:
                    return known[place]
        return 1


def show_path(path: Path) -> str:
    """A path as people write it.

    >>> show_path(("recording_rules", 2, "matchers", 0)), show_path(("functions", "main.(*T).Run")), show_path(())
    ('recording_rules[2].matchers[0]', 'functions["main.(*T).Run"]', 'the file')
    """
    text = ""
    for part in path:
        if isinstance(part, int):
            text += f"[{part}]"
        elif re.fullmatch(r"\w+", part):
            text += f".{part}" if text else part
        else:
            text += f'["{part}"]'
    return text or "the file"


def read_yaml(text: str, file: str) -> Document:
    """Read one YAML (or JSON) document.

    Args:
        text: the file's text.
        file: its name, for messages.

    Returns:
        The document; an empty text has the value None. Duplicate keys are in `problems`, the first one wins.

    Raises:
        ConfigError: it is no YAML, has aliases, more than one document, or is absurdly large or deep.
    """
    document = Document(file)
    if len(text) > _MAX_CHARACTERS:
        raise ConfigError(file, 0, "the file", f"is larger than {_MAX_CHARACTERS} characters; split it")
    loader = None
    try:
        loader = _Loader(_TWO_ESCAPES.sub(_one_escape, text))
        node = loader.get_single_node()
        if node is not None:
            document.value = _Reader(document).read(node, (), 0)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        why = " ".join(filter(None, (error.context, error.problem)))
        raise ConfigError(
            file,
            mark.line + 1 if mark else 0,
            "the file",
            f"is no valid YAML: {why}; check quotes, brackets and indentation there",
        ) from error
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1 if isinstance(error.position, int) else 0
        why = f"the character {error.character!r} is not allowed; write it as an escape in double quotes"
        raise ConfigError(file, line, "the file", f"is no valid YAML: {why}") from error
    except (RecursionError, UnicodeEncodeError) as error:
        why = "is nested too deeply" if isinstance(error, RecursionError) else "holds characters that do not exist"
        raise ConfigError(file, 0, "the file", why) from error
    finally:
        if loader is not None:
            loader.dispose()
    return document


def write_yaml(value: Any) -> str:
    """Plain values as YAML that `read_yaml` reads back to the same; lists and mappings of scalars stand on one line.

    >>> print(write_yaml({"rules": [Block(name="on", by=["pod", "1"])]}), end="")
    rules:
    - name: on
      by: [pod, '1']
    """
    text: str = yaml.dump(
        value, Dumper=_Dumper, default_flow_style=None, sort_keys=False, allow_unicode=True, width=1 << 30
    )
    return text


def _one_escape(match: re.Match[str]) -> str:
    code = 0x10000 + ((int(match[2], 16) - 0xD800) << 10) + int(match[3], 16) - 0xDC00
    return f"{match[1]}\\U{code:08x}"


class _Reader:
    def __init__(self, document: Document) -> None:
        self.document = document
        self.seen: set[int] = set()

    def read(self, node: yaml.Node, path: Path, depth: int) -> Any:
        line = node.start_mark.line + 1
        if id(node) in self.seen:
            line = self.document.key_line.get(path, line)
            raise self._error(line, path, "is an alias (*name); aliases are not supported, write the value again")
        self.seen.add(id(node))
        if depth > _MAX_DEPTH:
            raise self._error(line, path, f"is nested more than {_MAX_DEPTH} levels deep; write it flatter")
        self.document.value_line[path] = line
        if isinstance(node, yaml.MappingNode) and node.tag == "tag:yaml.org,2002:map":
            return self._mapping(node, path, depth)
        if isinstance(node, yaml.SequenceNode) and node.tag == "tag:yaml.org,2002:seq":
            return [self.read(item, (*path, position), depth + 1) for position, item in enumerate(node.value)]
        return self._scalar(node, path, line)

    def _mapping(self, node: yaml.MappingNode, path: Path, depth: int) -> dict[str, Any]:
        result: dict[str, Any] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            if not isinstance(key_node, yaml.ScalarNode):
                raise self._error(line, path, "has a key that is a list or a mapping; keys are names, write one")
            key = self._text(key_node, path, line)
            here = (*path, key)
            if key in result:
                why = f"stands twice (first in line {self.document.key_line[here]}); remove one"
                self.document.problems.append(self._error(line, here, why))
                continue
            self.document.key_line[here] = line
            result[key] = self.read(value_node, here, depth + 1)
            if not isinstance(value_node, yaml.ScalarNode):
                self.document.value_line[here] = line  # people look at the heading, not at the line below it
        return result

    def _scalar(self, node: yaml.Node, path: Path, line: int) -> Any:
        kind = node.tag.removeprefix("tag:yaml.org,2002:")
        if isinstance(node, yaml.ScalarNode) and kind == "str":
            return self._text(node, path, line)
        known = _TYPES.get(node.tag)
        if known is None or not isinstance(node, yaml.ScalarNode) or not known[0].match(node.value):
            raise self._error(line, path, f"has the tag {node.tag}, which is not supported; write the value plainly")
        if kind == "null":
            return None
        if kind == "bool":
            return node.value == "true"
        return int(node.value) if kind == "int" else float(node.value)

    def _text(self, node: yaml.ScalarNode, path: Path, line: int) -> str:
        text: str = node.value
        if any("\ud800" <= char < "\ue000" for char in text):
            raise self._error(line, path, "holds half of a surrogate pair, which is no character")
        return text

    def _error(self, line: int, path: Path, why: str) -> ConfigError:
        return ConfigError(self.document.file, line, show_path(path), why)
