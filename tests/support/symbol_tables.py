"""Symbols for tests: sections of real objects, and made-up units with relative references as absolute columns."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from hypothesis import strategies as st

from pyro_assets.block.columns import SymbolTables
from tests.oracle.decoder import metadata_of


def sections_of(block: bytes) -> list[bytes]:
    """The symbols sections of an object with a footer."""
    datasets = [dataset for dataset in metadata_of(block)["datasets"] if dataset["format"] == 0]
    return [_section(block, dataset) for dataset in datasets]


def sections_under(root: Path) -> list[bytes]:
    """The symbols sections of all objects in a folder."""
    return [section for path in sorted(root.rglob("block.bin")) for section in sections_of(path.read_bytes())]


def sections_without_footers(root: Path, metas: Sequence[Any]) -> list[bytes]:
    """The symbols sections of objects whose metadata lies in metas.json."""
    return [
        _section((root / meta["id"] / "block.bin").read_bytes(), dataset)
        for meta in metas
        for dataset in meta["datasets"]
    ]


def _section(block: bytes, dataset: Any) -> bytes:
    table = dataset["table_of_contents"]
    return block[table[2] : table[0] + dataset["size"]]


@dataclass
class Unit:
    """Symbols of one partition; references count from 0 within it, -1 dangles."""

    dataset: int = 0
    partition: int = 0
    strings: list[bytes] = field(default_factory=list)
    functions: list[tuple[int, int, int, int]] = field(default_factory=list)
    mappings: list[tuple[int, int, int, int, int, int]] = field(default_factory=list)
    #: (mapping, address, is_folded, [(function, line number)])
    locations: list[tuple[int, int, bool, list[tuple[int, int]]]] = field(default_factory=list)
    nodes: list[tuple[int, int]] = field(default_factory=list)


def build(units: Sequence[Unit]) -> SymbolTables:
    """Units, sorted by dataset, as absolute columns."""

    def starts(counts: Sequence[int]) -> Any:
        return np.cumsum([0, *counts], dtype=np.int64)

    def rows(start: Any, unit: int, values: Sequence[int]) -> list[int]:
        return [int(start[unit]) + value if value >= 0 else -1 for value in values]

    string_start = starts([len(u.strings) for u in units])
    function_start = starts([len(u.functions) for u in units])
    mapping_start = starts([len(u.mappings) for u in units])
    location_start = starts([len(u.locations) for u in units])
    node_start = starts([len(u.nodes) for u in units])
    names: list[list[int]] = [[], [], []]
    files: list[list[int]] = [[], []]
    location_mapping: list[int] = []
    line_function: list[int] = []
    parent: list[int] = []
    node_location: list[int] = []
    dangling = []
    for number, unit in enumerate(units):
        for column, values in enumerate(names):
            values += rows(string_start, number, [function[column] for function in unit.functions])
        for column, values in enumerate(files):
            values += rows(string_start, number, [mapping[column] for mapping in unit.mappings])
        location_mapping += rows(mapping_start, number, [location[0] for location in unit.locations])
        lines = [line for location in unit.locations for line in location[3]]
        line_function += rows(function_start, number, [function for function, _ in lines])
        parent += rows(node_start, number, [p for p, _ in unit.nodes])
        node_location += [int(location_start[number]) + location if p >= 0 else -1 for p, location in unit.nodes]
        dangling.append(
            sum(reference == -1 for function in unit.functions for reference in function[:3])
            + sum(reference == -1 for mapping in unit.mappings for reference in mapping[:2])
            + sum(location[0] == -1 for location in unit.locations)
            + sum(function == -1 for function, _ in lines)
        )
    mappings = [mapping for unit in units for mapping in unit.mappings]
    locations = [location for unit in units for location in unit.locations]

    def i64(values: Sequence[int]) -> Any:
        return np.array(values, dtype=np.int64)

    return SymbolTables(
        unit_dataset=i64([unit.dataset for unit in units]),
        unit_partition=np.array([unit.partition for unit in units], dtype=np.uint64),
        string_start=string_start,
        strings=pa.array([string for unit in units for string in unit.strings], pa.large_binary()),
        function_start=function_start,
        function_name=i64(names[0]),
        function_system_name=i64(names[1]),
        function_file_name=i64(names[2]),
        function_start_line=np.array([f[3] for unit in units for f in unit.functions], dtype=np.int32),
        mapping_start=mapping_start,
        mapping_file_name=i64(files[0]),
        mapping_build_id=i64(files[1]),
        mapping_flags=np.array([mapping[2] for mapping in mappings], dtype=np.int32),
        mapping_memory_start=np.array([mapping[3] for mapping in mappings], dtype=np.uint64),
        mapping_memory_limit=np.array([mapping[4] for mapping in mappings], dtype=np.uint64),
        mapping_file_offset=np.array([mapping[5] for mapping in mappings], dtype=np.uint64),
        location_start=location_start,
        location_mapping=i64(location_mapping),
        location_address=np.array([location[1] for location in locations], dtype=np.uint64),
        location_is_folded=np.array([location[2] for location in locations], dtype=np.bool_),
        line_start=starts([len(location[3]) for location in locations]),
        line_function=i64(line_function),
        line_number=np.array([n for location in locations for _, n in location[3]], dtype=np.int32),
        node_start=node_start,
        node_parent=i64(parent),
        node_location=i64(node_location),
        dangling=i64(dangling),
    )


def differing(left: SymbolTables, right: SymbolTables) -> list[str]:
    """The names of the columns that differ, in values or in type."""
    found = []
    for column in dataclasses.fields(SymbolTables):
        a, b = getattr(left, column.name), getattr(right, column.name)
        same = a.equals(b) if column.name == "strings" else a.dtype == b.dtype and np.array_equal(a, b)
        if not same:
            found.append(column.name)
    return found


def example(seed: int = 1, scale: int = 40, dataset: int = 0, partition: int = 0) -> Unit:
    """A plausible unit: every table has about `scale` items, every optional column is there."""
    rng = np.random.default_rng(seed)

    def below(bound: int) -> int:
        return int(rng.integers(bound))

    return Unit(
        dataset=dataset,
        partition=partition,
        strings=[b"", *(b"symbol-%d-%s" % (i, b"x" * below(20)) for i in range(scale))],
        functions=[(below(scale), below(scale), below(scale), below(500)) for _ in range(scale)],
        mappings=[(below(scale), below(scale), 8, 1 << 22, 1 << 40, 4096 * below(9)) for _ in range(1 + scale // 20)],
        locations=[
            (0, below(1 << 40), below(9) == 0, [(below(scale), below(3000)) for _ in range(1 + below(3))])
            for _ in range(scale)
        ],
        nodes=[(-1, 0), *((i if below(5) else below(i + 1), below(scale)) for i in range(2 * scale))],
    )


_I32 = st.integers(-(2**31), 2**31 - 1)
_U64 = st.integers(0, 2**64 - 1) | st.just(0)


@st.composite
def units(draw: st.DrawFn, datasets: int = 3) -> list[Unit]:
    """Some units of up to `datasets` datasets, with any references that the format can hold."""
    found = []
    for dataset in range(datasets):
        partitions = draw(st.lists(st.integers(0, 2**64 - 1), max_size=2, unique=True))
        for partition in partitions:
            strings = draw(st.lists(st.binary(max_size=300), max_size=8))
            string = st.integers(-1, len(strings) - 1)
            functions = draw(st.lists(st.tuples(string, string, string, _I32), max_size=8))
            mappings = draw(st.lists(st.tuples(string, string, _I32, _U64, _U64, _U64), max_size=4))
            line = st.tuples(st.integers(-1, len(functions) - 1), _I32)
            locations = draw(
                st.lists(
                    st.tuples(st.integers(-1, len(mappings) - 1), _U64, st.booleans(), st.lists(line, max_size=3)),
                    max_size=12,
                )
            )
            nodes: list[tuple[int, int]] = []
            if draw(st.booleans()):
                nodes = [(-1, 0)]
                for i in range(draw(st.integers(0, 12)) if locations else 0):
                    nodes.append((draw(st.integers(0, i)), draw(st.integers(0, len(locations) - 1))))
            found.append(Unit(dataset, partition, strings, functions, mappings, locations, nodes))
    return found
