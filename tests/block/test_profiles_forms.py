"""What the patterns find in footers and page headers is what the careful parsers find."""

import random
import time
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given

from pyro_assets.block.columns import ProfileRows
from pyro_assets.block.parquet.footer import find_part, read_footer
from pyro_assets.block.parquet.pages import ColumnChunk, check_pages, find_usual_pages, holds_nothing
from pyro_assets.block.parquet.rows import read_profiles, write_profiles
from pyro_assets.block.parquet.schema import REQUIRED
from pyro_assets.errors import Where
from tests.support import profile_rows as made
from tests.support.golden_bucket import COMMITTED

WHERE = Where("key", "profiles", "x")


def assert_found(section: memoryview) -> None:
    read_profiles([section], [WHERE])  # the form is known from here on
    part = find_part(section)
    [careful] = read_footer(section, WHERE)
    assert part is not None
    group = pq.ParquetFile(pa.BufferReader(section)).metadata.row_group(0)
    columns = [group.column(number) for number in range(group.num_columns)]
    # These files were made by honest writers.
    nulls = {one.path_in_schema: one.statistics.null_count for one in columns if one.statistics is not None}
    assert part.rows == careful.rows
    for path, chunk in careful.chunks.items():
        assert part.has(path) and careful.has(path), path
        found = part.chunk(path)
        assert (found.values, found.start, found.end, found.dictionary) == (
            chunk.values,
            chunk.start,
            chunk.end,
            chunk.dictionary,
        ), path
        check_pages(section, chunk, path, WHERE)
        assert holds_nothing(section, chunk, path) == (nulls.get(path) == chunk.values), path
        if not chunk.dictionary:
            assert find_usual_pages(section, found), path


def test_committed_sections() -> None:
    for _, sections in made.real_sections(COMMITTED):
        for section in sections:
            assert_found(section)


@pytest.mark.parametrize("folder", ["segments-2024", "blocks-2025", "large-2026"])
def test_real_sections(shared_data: Path, folder: str) -> None:
    for _, sections in made.real_sections(shared_data / folder):
        for section in sections:
            assert_found(section)


@given(rows=made.jobs(1))
def test_written_sections(rows: ProfileRows) -> None:
    for section in write_profiles(rows):
        if len(rows.id):
            assert_found(memoryview(section))


def test_a_pattern_takes_no_time_to_fail() -> None:
    """A footer that repeats the start of every column's metadata a thousand times."""
    [section] = write_profiles(made.plain_rows())
    read_profiles([memoryview(section)], [WHERE])
    footer_size = int.from_bytes(section[-8:-4], "little")
    footer = section[-8 - footer_size : -8]
    begin = footer.index(b"\x19\x18\x02ID")
    repeated = (footer[:begin] + footer[begin:-60] * 1000).replace(b"Annotations\x04list\x07element\x05Value", b"")
    bad = section[: -8 - footer_size] + repeated + len(repeated).to_bytes(4, "little") + b"PAR1"
    begun = time.process_time()
    assert find_part(memoryview(bad)) is None
    assert time.process_time() - begun < 1
    header = b"\x15\x00\x15\x02\x15\x02\x2c\x15\x02\x15\x00\x15\x06\x15\x06\x1c" + b"\x11" * 200
    begun = time.process_time()
    for _ in range(100):
        assert not find_usual_pages(
            memoryview(b"PAR1" + header * 50 + bytes(8)), ColumnChunk(1, 4, 4 + len(header) * 50)
        )
    assert time.process_time() - begun < 1


def test_pages_that_the_pattern_takes_are_taken_by_the_parser() -> None:
    """The pattern may only ever be stricter."""
    [section] = write_profiles(made.plain_rows(37, 11))
    [part] = read_footer(memoryview(section), WHERE)
    dice = random.Random(5)
    taken = 0
    for _ in range(3000):
        path = dice.choice(REQUIRED)
        chunk = part.chunk(path)
        data = bytearray(section)
        for _ in range(dice.randint(1, 3)):
            data[chunk.start + dice.randrange(30)] = dice.choice([0, 1, 2, 0x15, 0x1C, 0x2C, 0x7F, 0x80, 0xFF])
        view = memoryview(bytes(data))
        if find_usual_pages(view, chunk):
            taken += 1
            check_pages(view, chunk, path, WHERE)
    assert taken > 100
