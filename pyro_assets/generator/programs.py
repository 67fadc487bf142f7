"""Made-up programs: symbols and stacks of a service, built once from its language's vocabulary and a seed.

Vocabulary belongs to `trees_*.py`, encoding to `upload.py`. Functions, locations and mappings carry pprof's one-based
ids in list order; a stack lists its locations leaf first, as pprof does.
"""

import re
import zlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from itertools import cycle
from random import Random
from types import ModuleType
from typing import TypeVar

from pyro_assets.generator import trees_go, trees_java, trees_python
from pyro_assets.generator.calltree import Node, Path, SampleLabels, Weight, chain, flatten, parse_tree
from pyro_assets.generator.fleet import Service
from pyro_assets.generator.load import rng

_Key = TypeVar("_Key")
_Item = TypeVar("_Item")
_VOCABULARY: Mapping[str, ModuleType] = {"go": trees_go, "java": trees_java, "python": trees_python}
_RUNTIMES = {"go": "/app/{service}", "java": "/opt/java/openjdk/bin/java", "python": "/usr/local/bin/python3.12"}


@dataclass(frozen=True, slots=True)
class Function:
    """A function; `system_name` is the linker's name, `start_line` 0 where profilers of the language do not know it."""

    name: str
    system_name: str
    file_name: str
    start_line: int


@dataclass(frozen=True, slots=True)
class MappedFile:
    """A file that is mapped into the process; one without symbols has `has_symbols` false."""

    file_name: str
    build_id: str
    memory_start: int
    has_symbols: bool


@dataclass(frozen=True, slots=True)
class Location:
    """An address in mapping number `mapping` (one-based) with (function number, line) pairs, innermost first."""

    mapping: int
    address: int
    lines: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class Stack:
    """Location numbers from the leaf to the root, the names on them, labels in force and own weights by kind."""

    locations: tuple[int, ...]
    functions: frozenset[str]
    labels: SampleLabels
    weights: dict[str, Weight]


@dataclass(slots=True)
class Program:
    """All that a service's binary is made of, as its profiler sees it."""

    service: Service
    mappings: list[MappedFile] = field(default_factory=list)
    functions: list[Function] = field(default_factory=list)
    locations: list[Location] = field(default_factory=list)
    stacks: list[Stack] = field(default_factory=list)


def build_program(service: Service, seed: int) -> Program:
    """Makes up the program of a service; equal arguments give equal programs."""
    vocabulary = _VOCABULARY[service.language]
    dice = rng(seed, "program", service.tenant, service.name)
    fragments = cycle(service.fragments)
    roots = list(parse_tree(vocabulary.RUNTIME))
    for labels in service.endpoints or ((), ()):
        handler = replace(_business(service, vocabulary, dice, fragments, depth=0), labels=labels)
        roots.append(chain(vocabulary.SERVE, (handler,)))
    program = Program(service)
    builder = _Symbols(program)
    for path in flatten(roots):
        program.stacks.append(
            Stack(builder.locations(path), builder.names(path), path.labels, _vary(path.weights, dice))
        )
    return program


def _vary(weights: dict[str, Weight], dice: Random) -> dict[str, Weight]:
    return {kind: (weight * (0.5 + dice.random()), size) for kind, (weight, size) in weights.items()}


def _business(service: Service, vocabulary: ModuleType, dice: Random, fragments: Iterator[str], depth: int) -> Node:
    """A made-up function of the service that calls others of its kind and, at the bottom, a library."""
    words = vocabulary.WORDS
    method = dice.choice(words["methods"])
    name = words["pattern"].format(
        tenant=service.tenant,
        service=service.name.replace("-", "") if service.language == "java" else service.name.replace("-", "_"),
        package=dice.choice(words["packages"]),
        type=dice.choice(words["types"]),
        method=method,
    )
    weights: dict[str, Weight] = {"cpu": (dice.uniform(1, 7), 0)}
    if dice.random() < 0.6:
        weights["heap"] = (dice.uniform(0.5, 4), dice.choice((16, 48, 96, 256, 1024, 4096)))
    if dice.random() < 0.2:
        weights["mutex"] = (dice.uniform(0.5, 2), 0)
    children: list[Node] = []
    if depth < 2:
        calls = 2 if depth == 0 else 1
        children = [_business(service, vocabulary, dice, fragments, depth + 1) for _ in range(calls)]
    else:
        children.extend(parse_tree(vocabulary.FRAGMENTS[next(fragments)]))
    repeat = 5 if method in words["recursive"] else 1
    return Node(name, False, False, repeat, (), weights, tuple(children))


class _Symbols:
    """Numbers the symbols of a program in order of first use."""

    def __init__(self, program: Program) -> None:
        self._program = program
        self._functions: dict[str, int] = {}
        self._locations: dict[tuple[object, ...], int] = {}
        self._mappings: dict[str, int] = {}
        self._mapping(_RUNTIMES[program.service.language].format(service=program.service.name), has_symbols=True)

    def names(self, path: Path) -> frozenset[str]:
        return frozenset(self._split(node.name)[0] for node in path.nodes if not node.native)

    def locations(self, path: Path) -> tuple[int, ...]:
        numbers: list[int] = []
        group: list[tuple[int, int]] = []
        nodes = path.nodes
        for position, node in enumerate(nodes):
            if node.native:
                numbers.append(self._native(node.name))
                continue
            callee = nodes[position + 1].name if position + 1 < len(nodes) else ""
            function = self._function(node.name)
            # Each call site has its own line, so one function has several locations.
            line = self._program.functions[function - 1].start_line + zlib.crc32(f"{node.name}>{callee}".encode()) % 37
            group.insert(0, (function, line + 1))
            if position + 1 < len(nodes) and nodes[position + 1].inline:
                continue
            numbers.append(self._location(tuple(group)))
            group = []
        return tuple(reversed(numbers))

    def _location(self, lines: tuple[tuple[int, int], ...]) -> int:
        compiled = self._program.service.language == "go"
        address = 0x401000 + 0x1A4 * len(self._locations) if compiled else 0
        return _numbered(self._locations, lines, self._program.locations, lambda: Location(1, address, lines))

    def _native(self, name: str) -> int:
        def make() -> Location:
            library, offset = name.split("+")
            mapping = self._mapping(f"/usr/lib/x86_64-linux-gnu/{library}", has_symbols=False)
            return Location(mapping, self._program.mappings[mapping - 1].memory_start + int(offset, 16), ())

        return _numbered(self._locations, (name,), self._program.locations, make)

    def _mapping(self, file_name: str, *, has_symbols: bool) -> int:
        build_id = f"{zlib.crc32(file_name.encode()):08x}" * 5
        memory_start = 0x400000 if has_symbols else 0x7F3A_0000_0000 + 0x1000_0000 * len(self._mappings)
        made = MappedFile(file_name, build_id, memory_start, has_symbols)
        return _numbered(self._mappings, file_name, self._program.mappings, lambda: made)

    def _function(self, name: str) -> int:
        def make() -> Function:
            short, file_name = self._split(name)
            start_line = zlib.crc32(name.encode()) % 900 + 1 if self._program.service.language == "go" else 0
            return Function(short, short, file_name, start_line)

        return _numbered(self._functions, name, self._program.functions, make)

    def _split(self, name: str) -> tuple[str, str]:
        """A node's name as (function name, file name), by the habits of the language's profiler."""
        language = self._program.service.language
        if language == "python":
            file_name, function = name.rsplit(":", 1)
            return function, f"/usr/local/lib/python3.12/{file_name}"
        if language == "java":
            return name, name.rsplit(".", 1)[0].split("$")[0].rsplit("/", 1)[-1] + ".java"
        package = re.match(r"(.*/)?[^.]*", name)
        directory = package[0] if package else "main"
        base = directory.rsplit("/", 1)[-1]
        root = "/go/pkg/mod/" if "." in directory.split("/")[0] else "/usr/local/go/src/"
        return name, f"{root}{directory}/{base}.go"


def _numbered(numbers: dict[_Key, int], key: _Key, items: list[_Item], make: Callable[[], _Item]) -> int:
    """The number of an item, counted from 1; one that has none yet is made and appended."""
    if key not in numbers:
        items.append(make())
        numbers[key] = len(items)
    return numbers[key]
