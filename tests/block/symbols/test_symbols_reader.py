"""Reading symbols: real sections against the slow decoder, and what real sections lack."""

import json
from collections.abc import Sequence
from pathlib import Path

import pytest

from pyro_assets.block.columns import SymbolTables
from pyro_assets.block.symbols.reader import read_symbols
from pyro_assets.block.symbols.writer import write_symbols
from pyro_assets.errors import Where
from tests.oracle import symbols as slow_symbols
from tests.oracle.values import Frame, Line, Mapping
from tests.support.golden_bucket import COMMITTED
from tests.support.symbol_tables import (
    Unit,
    build,
    differing,
    example,
    sections_of,
    sections_under,
    sections_without_footers,
)


def read(sections: Sequence[bytes]) -> SymbolTables:
    wheres = [Where(str(i), "symbols") for i in range(len(sections))]
    return read_symbols([memoryview(section) for section in sections], wheres)


def assert_as_slow(sections: list[bytes]) -> None:
    """Every string, function, mapping, location and node is what the slow decoder says."""
    tables = read(sections)
    slow = [(d, *item) for d, section in enumerate(sections) for item in slow_symbols.read_symbols(section).items()]
    strings = tables.strings.to_pylist()

    def text(row: int) -> bytes | None:
        return strings[row] if row >= 0 else None

    assert tables.unit_dataset.tolist() == [dataset for dataset, _, _ in slow]
    assert tables.unit_partition.tolist() == [number for _, number, _ in slow]
    assert tables.dangling.tolist() == [partition.dangling for _, _, partition in slow]
    functions = [
        (text(name), text(system_name), text(file_name), line)
        for name, system_name, file_name, line in zip(
            tables.function_name,
            tables.function_system_name,
            tables.function_file_name,
            tables.function_start_line.tolist(),
            strict=True,
        )
    ]
    mappings = [
        Mapping(text(file_name), text(build_id), *numbers)
        for file_name, build_id, *numbers in zip(
            tables.mapping_file_name,
            tables.mapping_build_id,
            tables.mapping_flags.tolist(),
            tables.mapping_memory_start.tolist(),
            tables.mapping_memory_limit.tolist(),
            tables.mapping_file_offset.tolist(),
            strict=True,
        )
    ]
    lines = [
        Line(*(functions[function] if function >= 0 else (None, None, None, 0)), number)
        for function, number in zip(tables.line_function, tables.line_number.tolist(), strict=True)
    ]
    line_start = tables.line_start.tolist()
    locations = [
        Frame(
            tuple(lines[line_start[i] : line_start[i + 1]]),
            address,
            mappings[mapping] if mapping >= 0 else None,
            folded,
        )
        for i, (address, mapping, folded) in enumerate(
            zip(
                tables.location_address.tolist(),
                tables.location_mapping,
                tables.location_is_folded.tolist(),
                strict=True,
            )
        )
    ]
    assert strings == [string for _, _, partition in slow for string in partition.strings]
    assert functions == [function for _, _, partition in slow for function in partition.functions]
    assert mappings == [mapping for _, _, partition in slow for mapping in partition.mappings]
    assert locations == [location for _, _, partition in slow for location in partition.locations]
    for unit, (_, _, partition) in enumerate(slow):
        first, last = tables.node_start[unit : unit + 2].tolist()
        place = int(tables.location_start[unit])
        nodes = zip(tables.node_parent[first:last].tolist(), tables.node_location[first:last].tolist(), strict=True)
        own = [(-1, 0) if parent < 0 else (parent - first, location - place) for parent, location in nodes]
        assert own == [(parent, location if parent >= 0 else 0) for parent, location in partition.nodes]


def test_committed_objects() -> None:
    sections = sections_under(COMMITTED)
    assert len(sections) > 20
    assert_as_slow(sections)


def test_sections_from_before_footers(shared_data: Path) -> None:
    root = shared_data / "segments-2024"
    sections = sections_without_footers(root, json.loads((root / "metas.json").read_text()))
    assert len(sections) == 11
    assert_as_slow(sections)
    assert read(sections).unit_partition.all()  # partitions had hashes for numbers then


def test_compacted_blocks_of_2025(shared_data: Path) -> None:
    assert_as_slow(sections_under(shared_data / "blocks-2025"))


def test_large_job(shared_data: Path) -> None:
    root = shared_data / "large-2026"
    job = json.loads((root / "jobs.json").read_text())[1]
    assert_as_slow([section for key in job[:4] for section in sections_of((root / key).read_bytes())])


def test_no_sections() -> None:
    tables = read([])
    assert len(tables.unit_dataset) == 0
    assert tables.node_start.tolist() == tables.string_start.tolist() == [0]
    assert differing(tables, build([])) == []


def test_sections_together_are_sections_alone_end_to_end() -> None:
    units = [example(seed, scale=30 + 500 * seed, dataset=seed) for seed in range(4)]
    sections = write_symbols(build(units), 4)
    assert differing(read(sections), build(units)) == []
    for section, unit in zip(sections, units, strict=True):
        unit.dataset = 0
        assert differing(read([section]), build([unit])) == []


@pytest.mark.parametrize("unit", [Unit(), Unit(nodes=[(-1, 0)]), Unit(strings=[b""]), Unit(strings=[b"", b"\xff\xfe"])])
def test_empty_tables(unit: Unit) -> None:
    tables = build([unit])
    section = write_symbols(tables, 1)
    assert differing(read(section), tables) == []
    assert_as_slow(section)


def test_any_buffer_is_a_section() -> None:
    tables = build([example()])
    (section,) = write_symbols(tables, 1)
    padded = b"xyz" + section + b"xyz"
    for view in (memoryview(bytearray(section)), memoryview(padded)[3:-3]):
        assert differing(read_symbols([view], [Where()]), tables) == []
