"""Writing symbols: the original's bytes from the original's tables, round trips, and what cannot be written."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given

from pyro_assets.block.columns import SymbolTables
from pyro_assets.block.symbols.index import parse_index
from pyro_assets.block.symbols.reader import read_symbols
from pyro_assets.block.symbols.writer import write_symbols
from pyro_assets.errors import Unwritable, Where
from tests.oracle import symbols as slow_symbols
from tests.support.golden_bucket import COMMITTED
from tests.support.symbol_tables import (
    Unit,
    build,
    differing,
    example,
    sections_of,
    sections_under,
    sections_without_footers,
    units,
)


def read(sections: list[bytes]) -> SymbolTables:
    return read_symbols([memoryview(section) for section in sections], [Where()] * len(sections))


def stack_traces(section: bytes) -> list[int]:
    """What the chunk headers say, which no table has: distinct stacks of the profiles."""
    array = np.frombuffer(section, np.uint8)
    return [partition.chunk.stack_traces for partition in parse_index(memoryview(section), array, Where())]


def assert_rewritten(sections: list[bytes]) -> None:
    """Reading and writing gives the same bytes."""
    counts = np.array([count for section in sections for count in stack_traces(section)], dtype=np.int64)
    written = write_symbols(read(sections), len(sections), counts)
    assert [i for i, pair in enumerate(zip(written, sections, strict=True)) if pair[0] != pair[1]] == []


class TestTheOriginalsBytes:
    def test_committed_sections_under(self) -> None:
        assert_rewritten(sections_under(COMMITTED))

    @pytest.mark.parametrize(("level", "count"), [("blocks", 39), ("segments", 342)])
    def test_whole_bucket(self, bucket_2026: Path, level: str, count: int) -> None:
        sections = sections_under(bucket_2026 / level)
        assert len(sections) == count
        assert_rewritten(sections)

    def test_large_segments(self, shared_data: Path) -> None:
        root = shared_data / "large-2026"
        keys = json.loads((root / "jobs.json").read_text())[1]
        assert_rewritten([section for key in keys for section in sections_of((root / key).read_bytes())])

    def test_compacted_blocks_of_2025(self, shared_data: Path) -> None:
        assert_rewritten(sections_under(shared_data / "blocks-2025"))

    def test_segments_of_2024_but_for_the_limit_of_nodes(self, shared_data: Path) -> None:
        root = shared_data / "segments-2024"
        for section in sections_without_footers(root, json.loads((root / "metas.json").read_text())):
            (written,) = write_symbols(read([section]), 1, np.array(stack_traces(section)))
            assert len(written) == len(section)
            differs = {i for i in range(len(section)) if written[i] != section[i]}
            index = int.from_bytes(section[-16:-8], "big")
            # The most nodes of a chunk (then 2**22) and the index's CRC, which covers it.
            assert differs <= {*range(index + 92, index + 96), *range(len(section) - 28, len(section) - 24)}


@given(units())
def test_round_trip(made: list[Unit]) -> None:
    tables = build(made)
    sections = write_symbols(tables, 3)
    assert differing(read(sections), tables) == []
    for dataset, section in enumerate(sections):
        partitions = slow_symbols.read_symbols(section)
        own = {unit.partition: unit for unit in made if unit.dataset == dataset}
        assert list(partitions) == list(own)
        for number, partition in partitions.items():
            assert partition.strings == own[number].strings
            assert partition.nodes == own[number].nodes


@pytest.mark.parametrize("scale", [1, 127, 128, 1022, 1023, 1024, 1025, 2047, 2048, 2049, 3100])
def test_tables_around_the_ends_of_inner_blocks(scale: int) -> None:
    tables = build([example(1, scale), example(2, 5, dataset=0, partition=7), example(3, scale, dataset=2)])
    sections = write_symbols(tables, 3)
    assert differing(read(sections), tables) == []
    for section in sections:
        slow_symbols.read_symbols(section)
    assert write_symbols(read(sections), 3) == sections


def test_numbers_at_the_ends_of_their_types() -> None:
    low, high, most = -(2**31), 2**31 - 1, 2**64 - 1
    unit = Unit(
        partition=most,
        strings=[b"", b"\xff\x00", b"a" * 255, b"b" * 256, b"c" * 65_535],
        functions=[(4, 0, -1, low), (0, 4, 2, high), (1, 1, 1, 0)],
        mappings=[(0, 4, low, most, 0, 1), (4, 0, high, 0, most, 0)],
        locations=[(1, most, True, [(2, high), (0, low)] * 127), (0, 0, False, []), (-1, 1, True, [(-1, 0)])],
        nodes=[(-1, 0), (0, 2), (0, 1), (2, 0), (0, 0)],
    )
    tables = build([unit])
    sections = write_symbols(tables, 1)
    assert differing(read(sections), tables) == []
    slow_symbols.read_symbols(sections[0])


def test_inner_blocks_choose_the_width_of_lengths_by_themselves() -> None:
    strings = [b"x"] * 1024 + [b"y" * 300] + [b"z"] * 1023 + [b"w"] * 3
    (section,) = write_symbols(build([Unit(strings=strings)]), 1)
    assert read([section]).strings.to_pylist() == strings
    first, second = 0, 12 + 1024 + 1024
    third = second + 12 + 2 * 1024 + 300 + 1023
    assert [section[place + 5] for place in (first, second, third)] == [8, 16, 8]
    # Index 4 is what stood there before: the fifth byte of the last lengths that were long enough.
    assert [section[place + 4] for place in (first, second, third)] == [1, 0, 0]


def test_columns_of_zeros_are_left_out_per_inner_block() -> None:
    blank = [(0, 0, False, [])] * 1024
    unit = Unit(
        mappings=[(-1, -1, 0, 0, 0, 0)], locations=[*blank, (0, 9, True, []), *blank[1:]], nodes=[(-1, 0), (0, 1024)]
    )
    (section,) = write_symbols(build([unit]), 1)
    assert differing(read([section]), build([unit])) == []
    sizes = []
    place = 0
    for block in slow_headers(section):
        place = block
        sizes.append(tuple(int.from_bytes(section[place + 16 + 4 * i : place + 20 + 4 * i], "big") for i in range(2)))
    assert [(address > 0, folded) for address, folded in sizes] == [(False, 0), (True, 128)]


def slow_headers(section: bytes) -> list[int]:
    """Where the two inner blocks of 1024 locations start."""
    index = int.from_bytes(section[-16:-8], "big")
    first = int.from_bytes(section[index + 36 + 76 : index + 36 + 84], "big")
    words = [int.from_bytes(section[first + 4 * i : first + 4 * i + 4], "big") for i in range(6)]
    return [first, first + 28 + words[1] + 1024 + sum(words[3:6])]


def test_datasets_without_symbols() -> None:
    tables = build([example(dataset=1)])
    sections = write_symbols(tables, 4)
    assert len(sections) == 4
    assert [len(slow_symbols.read_symbols(section)) for section in sections] == [0, 1, 0, 0]
    assert differing(read(sections), tables) == []
    assert [len(slow_symbols.read_symbols(section)) for section in write_symbols(build([]), 2)] == [0, 0]


def test_stack_traces_are_told_or_else_the_leaves() -> None:
    tables = build([Unit(locations=[(-1, 5, False, [])], nodes=[(-1, 0), (0, 0), (1, 0), (0, 0)])])
    assert stack_traces(write_symbols(tables, 1)[0]) == [2]
    assert stack_traces(write_symbols(tables, 1, np.array([3]))[0]) == [3]


def test_any_arrow_array_of_bytes() -> None:
    tables = build([example()])
    expected = write_symbols(tables, 1)
    padded = pa.concat_arrays([pa.array([b"other"], pa.large_binary()), tables.strings])
    for strings in (padded[1:], tables.strings.cast(pa.binary()), pa.chunked_array([tables.strings])):
        assert write_symbols(replace(tables, strings=strings), 1) == expected


LINES = [(0, 1)] * 256
UNWRITABLE: dict[str, tuple[Unit, dict[str, Any]]] = {
    "a string of 65,536 bytes": (Unit(strings=[b"", b"x" * 65_536]), {}),
    "256 lines": (Unit(strings=[b""], functions=[(0, 0, 0, 0)], locations=[(-1, 0, False, LINES)]), {}),
    "a name of another unit": (example(), {"function_name": 3000}),
    "a build id of another unit": (example(), {"mapping_build_id": 3000}),
    "a mapping of another unit": (example(), {"location_mapping": 70}),
    "a function of another unit": (example(), {"line_function": 90}),
    "a location of another unit": (example(), {"node_location": 90}),
    "a node without location": (example(), {"node_location": -1}),
    "a child before its parent": (example(), {"node_parent": 80}),
    "two roots": (example(), {"node_parent": -1}),
    "an unknown dataset": (example(dataset=1), {}),
    "rows of no unit": (example(), {"function_start": 39}),
}


@pytest.mark.parametrize("name", UNWRITABLE)
def test_what_cannot_be_written(name: str) -> None:
    unit, changes = UNWRITABLE[name]
    tables = build([unit])
    for column, value in changes.items():
        getattr(tables, column)[-1] = value
    with pytest.raises(Unwritable):
        write_symbols(tables, 1)


def test_a_parent_in_the_unit_before() -> None:
    tables = build([example(1), example(2, partition=1)])
    tables.node_parent[-1] = 3
    with pytest.raises(Unwritable):
        write_symbols(tables, 1)
