"""Broken profiles sections: one case per field, each with its named error, and neighbours that are not blamed."""

import random
import re
import time
import zlib

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyro_assets.block.parquet.pages import ColumnChunk, find_usual_pages
from pyro_assets.block.parquet.rows import read_profiles, write_profiles
from pyro_assets.errors import (
    BadCount,
    BadEncoding,
    BadLength,
    BadMagic,
    BlockError,
    ChecksumMismatch,
    Truncated,
)
from tests.support import profile_rows as made
from tests.support.memory import at_most

ROWS, SAMPLES = 37, 11
GOOD = write_profiles(made.plain_rows(ROWS, SAMPLES))[0]
FOOTER = len(GOOD) - 8 - int.from_bytes(GOOD[-8:-4], "little")


def zigzag(value: int, length: int = 0) -> bytes:
    """A number in Thrift's compact protocol, stretched to `length` bytes."""
    value = (value << 1) ^ (value >> 63)
    value &= 2**64 - 1
    out = []
    while value > 127 or len(out) + 1 < length:
        out.append(value & 127 | 128)
        value >>= 7
    return bytes([*out, value])


def chunk(path: str):
    """Arrow's view of a column's metadata in the good section."""
    group = pq.ParquetFile(pa.BufferReader(GOOD)).metadata.row_group(0)
    return next(group.column(at) for at in range(group.num_columns) if group.column(at).path_in_schema == path)


def in_footer(path: str, old: bytes, new: bytes) -> bytes:
    """Changes a field of a column's metadata: the first `old` after its path."""
    names = path.split(".")
    listed = bytes([len(names) << 4 | 8]) + b"".join(bytes([len(name)]) + name.encode() for name in names)
    start = GOOD.index(listed, FOOTER) + len(listed)
    return replaced(GOOD.index(old, start), old, new)


def replaced(at: int, old: bytes, new: bytes) -> bytes:
    """`new` instead of `old`, the footer's length put right."""
    assert GOOD[at : at + len(old)] == old
    data = GOOD[:at] + new + GOOD[at + len(old) :]
    if at >= FOOTER:
        data = data[:-8] + (len(data) - 8 - FOOTER).to_bytes(4, "little") + data[-4:]
    return data


def in_page(path: str, field: int, new: int) -> bytes:
    """Changes a number in a page header, keeping its length.

    Fields: 0 type, 1 and 2 sizes, 3 CRC, 4 values, 5 to 7 encodings of values and levels.
    """
    at = chunk(path).data_page_offset
    number = rb"([\x80-\xff]*[\x00-\x7f])"
    header = re.match(
        rb"\x15" + number + (rb"\x15" + number) * 3 + rb"\x1c" + (rb"\x15" + number) * 4, GOOD[at : at + 40]
    )
    assert header is not None
    old = header.group(field + 1)
    return replaced(at + header.start(field + 1), old, zigzag(new, len(old)))


def check(data: bytes, error: type[BlockError], match: str) -> None:
    """The error is raised for the bad section among good ones, and names it."""
    sections = [memoryview(GOOD), memoryview(data), memoryview(GOOD)]
    with pytest.raises(error, match=match) as caught:
        read_profiles(sections, made.wheres(3))
    assert type(caught.value) is error
    assert caught.value.where.dataset == "1"
    assert "set aside" in str(caught.value)


def test_the_good_one_is_good() -> None:
    rows = read_profiles([memoryview(GOOD)], made.wheres(1))
    made.assert_same(rows, made.plain_rows(ROWS, SAMPLES))


@pytest.mark.parametrize(
    ("data", "error", "match"),
    [
        (b"", Truncated, "at least 12 bytes, found 0"),
        (GOOD[:11], Truncated, "at least 12 bytes, found 11"),
        (b"PAR2" + GOOD[4:], BadMagic, "PAR2"),
        (GOOD[:-4] + b"PARE", BadMagic, "PARE"),
        (GOOD[:-1], BadMagic, "expected"),
        (GOOD[: len(GOOD) // 2], BadMagic, "expected"),
        (GOOD[:-8] + (len(GOOD) - 11).to_bytes(4, "little") + b"PAR1", BadLength, "footer"),
        (GOOD[:-8] + b"\xff\xff\xff\xff" + b"PAR1", BadLength, "4294967295"),
        (GOOD[:-8] + (0).to_bytes(4, "little") + b"PAR1", BadEncoding, "footer of the profiles ends too early"),
        (GOOD[:-8] + (9).to_bytes(4, "little") + b"PAR1", BadEncoding, "in the Parquet footer"),
        (b"PAR1" + b"\x00\x00\x00\x00PAR1", BadEncoding, "ends too early"),
        (GOOD[:FOOTER] + b"\xff" * (len(GOOD) - 8 - FOOTER) + GOOD[-8:], BadEncoding, "does not parse: wire type 15"),
    ],
    ids=[
        "empty", "short", "head-magic", "tail-magic", "cut-by-one", "cut-in-half", "footer-too-long",
        "footer-length-max", "no-footer", "footer-cut", "only-magic", "footer-of-ones",
    ],
)  # fmt: skip
def test_the_frame(data: bytes, error: type[BlockError], match: str) -> None:
    check(data, error, match)


def test_a_footer_list_of_a_billion() -> None:
    """The schema's length says 2^30: refused before anything is allocated."""
    at = GOOD.index(b"\x19\xfc", FOOTER)
    bad = replaced(at, b"\x19\xfc" + GOOD[at + 2 : at + 3], b"\x19\xfc\x80\x80\x80\x80\x04")
    check(bad, BadEncoding, "does not parse: a list is longer than what is left")


@pytest.mark.parametrize("rows", [-1, 0, 36, 38, 2**31, 2**62])
def test_rows_of_the_file(rows: int) -> None:
    at = GOOD.index(b"\x16" + zigzag(ROWS) + b"\x19\x1c", FOOTER)
    check(replaced(at + 1, zigzag(ROWS), zigzag(rows)), BadCount, "rows of the profiles")


@pytest.mark.parametrize("rows", [-1, 36, 38, 2**31])
def test_rows_of_the_row_group(rows: int) -> None:
    at = GOOD.rindex(b"\x16" + zigzag(ROWS) + b"&")
    check(replaced(at + 1, zigzag(ROWS), zigzag(rows)), BadCount, "rows of the profiles")


@pytest.mark.parametrize(
    ("path", "count", "match"),
    [
        ("Samples.list.element.StacktraceID", 2**31, "values of column Samples.list.element.StacktraceID"),
        ("Samples.list.element.StacktraceID", -1, "values of column Samples.list.element.StacktraceID"),
        ("Samples.list.element.StacktraceID", ROWS * SAMPLES + 1, "values of column Samples.list.element.Value"),
        ("Samples.list.element.Value", ROWS * SAMPLES - 1, "values of column Samples.list.element.Value"),
        ("Samples.list.element.Value", 2**40, "values of column Samples.list.element.Value"),
    ],
)
def test_values_of_a_nested_column(path: str, count: int, match: str) -> None:
    check(in_footer(path, zigzag(chunk(path).num_values), zigzag(count)), BadCount, match)


@pytest.mark.parametrize("path", ["ID", "SeriesIndex", "Samples.list.element.Value", "DurationNanos"])
@pytest.mark.parametrize("offset", [-5, 2**31, 2**62])
def test_offset_of_a_column(path: str, offset: int) -> None:
    old = zigzag(chunk(path).data_page_offset)
    with pytest.raises((BadEncoding, Truncated, BadLength)):
        read_profiles([memoryview(in_footer(path, b"\x26" + old, b"\x26" + zigzag(offset)))], made.wheres(1))


@pytest.mark.parametrize("path", ["ID", "SeriesIndex", "Samples.list.element.Value", "DurationNanos"])
@pytest.mark.parametrize("size", [-5, 3, 2**31, 2**62])
def test_size_of_a_column(path: str, size: int) -> None:
    old = zigzag(chunk(path).total_compressed_size)
    bad = in_footer(path, b"\x16" + old + b"\x16" + old, b"\x16" + old + b"\x16" + zigzag(size))
    with pytest.raises(BlockError):
        read_profiles([memoryview(bad)], made.wheres(1))


def test_values_of_a_page() -> None:
    path = "Samples.list.element.StacktraceID"
    check(in_page(path, 4, ROWS * SAMPLES + 1), BadCount, f"values in a page of column {path}")
    check(in_page(path, 4, ROWS * SAMPLES - 1), BadCount, f"values of column {path}.*expected 407, found 406")


@pytest.mark.parametrize("field", [1, 2])
@pytest.mark.parametrize("path", ["Samples.list.element.StacktraceID", "Samples.list.element.Value", "TimeNanos"])
def test_sizes_of_a_page(path: str, field: int) -> None:
    for size in (1, chunk(path).total_compressed_size + 1):
        with pytest.raises(BlockError) as caught:
            read_profiles([memoryview(GOOD), memoryview(in_page(path, field, size))], made.wheres(2))
        assert caught.value.where.dataset == "1"


@pytest.mark.parametrize("path", ["ID", "SeriesIndex", "Samples.list.element.StacktraceID", "TimeNanos"])
def test_a_flipped_bit_in_a_page(path: str) -> None:
    """Pages carry a CRC, in the original's blocks and in ours."""
    column = chunk(path)
    at = column.data_page_offset + column.total_compressed_size - 1
    check(GOOD[:at] + bytes([GOOD[at] ^ 1]) + GOOD[at + 1 :], ChecksumMismatch, "CRC of a page of the profiles")


def without_checksums(rows) -> bytes:
    """The same as another writer puts it, whose pages have no CRC."""
    [data] = write_profiles(rows)
    sink = pa.BufferOutputStream()
    pq.write_table(
        pq.read_table(pa.BufferReader(data)), sink, compression="none", use_dictionary=False, store_schema=False
    )
    return sink.getvalue().to_pybytes()


def test_a_list_that_goes_on_behind_the_last_row() -> None:
    """37 rows of samples where everything else says 36: Arrow would stop at the 36th and never mention it.

    Joined with its neighbours, the 37th would become the first row of the next section.
    """
    data = without_checksums(made.plain_rows(ROWS, SAMPLES))
    footer = len(data) - 8 - int.from_bytes(data[-8:-4], "little")
    head, tail = data[:footer], data[footer:]
    values = b"\x15" + zigzag(ROWS)
    assert head.count(b"\x2c" + values) >= 10
    tail = tail.replace(b"\x16" + zigzag(ROWS), b"\x16" + zigzag(ROWS - 1))
    bad = head.replace(b"\x2c" + values, b"\x2c\x15" + zigzag(ROWS - 1)) + tail
    check(bad, BadCount, "values in the lists of the profiles.*expected 407, found 396")


@pytest.mark.parametrize("path", ["Value", "SpanID"])
def test_lists_that_differ_from_column_to_column(path: str) -> None:
    """As many samples in all, but two and one in one column where the others have one and two."""

    def section(lengths: tuple[int, int]) -> bytes:
        rows = made.plain_rows(2, 3)
        rows.sample_start[1] = lengths[0]
        rows.sample_start[2] = sum(lengths)
        rows.stack, rows.value = rows.stack[:3], np.array([1, 2, 3])
        rows.span_id = pa.array([1, 2, 3], pa.uint64())
        return without_checksums(rows)

    one, other = section((1, 2)), section((2, 1))
    group = pq.ParquetFile(pa.BufferReader(one)).metadata.row_group(0)
    places = [group.column(number) for number in range(group.num_columns)]
    [column] = [place for place in places if place.path_in_schema == "Samples.list.element." + path]
    begin = column.dictionary_page_offset or column.data_page_offset
    end = begin + column.total_compressed_size
    assert len(one) == len(other)
    assert one[begin:end] != other[begin:end]
    check(one[:begin] + other[begin:end] + one[end:], BadCount, "samples of the profiles differ from column to column")


def test_a_column_that_begins_within_a_list() -> None:
    """Alone, Arrow would not mind; behind another section's pages it would go on with that one's last list."""
    path = "Samples.list.element.Value"
    data = bytearray(without_checksums(made.plain_rows(3, 2)))
    group = pq.ParquetFile(pa.BufferReader(bytes(data))).metadata.row_group(0)
    [column] = [group.column(i) for i in range(group.num_columns) if group.column(i).path_in_schema == path]
    start = column.data_page_offset
    levels = find_usual_pages(memoryview(data), ColumnChunk(6, start, start + column.total_compressed_size))
    # Packed in one byte, lowest first: 0 1 0 1 0 1.
    assert data[levels : levels + 2] == bytes([0x03, 0b101010])
    data[levels + 1] |= 1
    check(bytes(data), BadEncoding, f"column {path} does not begin with a list")
    check(in_page("Samples.list.element.Value", 6, 4), BadEncoding, f"levels of column {path}")


@pytest.mark.parametrize("groups", [0, 2])
def test_another_number_of_row_groups(groups: int) -> None:
    """The list of row groups is empty, or says two where one follows."""
    old, new = b"\x16" + zigzag(ROWS) + b"\x19\x1c", b"\x16" + zigzag(ROWS) + b"\x19" + bytes([groups << 4 | 12])
    at = GOOD.index(old, FOOTER)
    check(replaced(at, old, new), (BadCount, BadEncoding)[groups > 0], "footer|row groups")


def test_another_number_of_columns() -> None:
    """The row group lists 20 columns where the schema has 21: what follows are no longer its bytes and rows."""
    old, new = b"\x19\x1c\x19\xfc\x15", b"\x19\x1c\x19\xfc\x14"
    check(replaced(GOOD.index(old, FOOTER), old, new), BadCount, "rows of the profiles")


def test_a_long_name_of_a_group_is_not_repeated_with_every_child() -> None:
    """A footer of four MiB could otherwise ask for a terabyte of paths."""
    name = b"x" * 300
    leaf = b"\x15\x04\x25\x00\x18\x01a\x00"
    old = GOOD[FOOTER:].index(b"\x06schema")
    footer = GOOD[FOOTER:-8]
    group = b"\x35\x00\x18" + b"\xac\x02" + name + b"\x15\x0a\x00"
    begin = footer.index(b"\x19\xfc")
    count = footer[begin + 2]
    end = old + len(b"\x06schema\x15\x1a\x00")
    changed = footer[:begin] + b"\x19\xfc" + bytes([count + 6]) + footer[begin + 3 : end - 2] + b"\x1c\x00"
    changed += group + leaf * 5 + footer[end:]
    bad = GOOD[:FOOTER] + changed + len(changed).to_bytes(4, "little") + b"PAR1"
    check(bad, BadEncoding, "path of a column.*at most 256 characters")


def test_a_group_without_its_children() -> None:
    """The root claims 14 children of 13: the tree needs more elements than there are."""
    old, new = b"\x06schema\x15\x1a", b"\x06schema\x15\x1c"
    check(replaced(GOOD.index(old, FOOTER), old, new), BadEncoding, "schema of the profiles.*more elements")
    old, new = b"\x06schema\x15\x1a", b"\x06schema\x15\x18"
    check(replaced(GOOD.index(old, FOOTER), old, new), BadEncoding, "schema of the profiles")
    old, new = b"\x06schema\x15\x1a", b"\x06schema\x15\x19"
    check(replaced(GOOD.index(old, FOOTER), old, new), BadEncoding, "schema of the profiles.*a tree")


def test_a_page_that_claims_a_billion_samples() -> None:
    """Run lengths of a few bytes and a footer that agrees: only the size of the section says no."""
    rows = made.plain_rows(1, 1)
    data = without_checksums(rows)
    path = "Samples.list.element."
    group = pq.ParquetFile(pa.BufferReader(data)).metadata.row_group(0)
    footer = len(data) - 8 - int.from_bytes(data[-8:-4], "little")
    head, tail = bytearray(data[:footer]), data[footer:]
    del head
    claimed = zigzag(2**30)
    for name in ("StacktraceID", "Value"):
        listed = b"\x48\x07Samples\x04list\x07element" + bytes([len(name)]) + name.encode() + b"\x15\x00\x16"
        tail = tail.replace(listed + zigzag(1), listed + claimed)
    bad = data[:footer] + tail[:-8] + (len(tail) - 8).to_bytes(4, "little") + b"PAR1"
    assert group.column(4).path_in_schema == path + "StacktraceID"
    with at_most(1 << 30):  # the claim stands for eight
        check(bad, BadCount, "values of column Samples.list.element.StacktraceID.*found 1073741824")


@given(st.data())
def test_cut_anywhere(data) -> None:
    at = data.draw(st.integers(0, len(GOOD) - 1))
    with pytest.raises((BadMagic, Truncated)):
        read_profiles([memoryview(GOOD)[:at]], made.wheres(1))


def mutate(dice: random.Random) -> bytes:
    """A few bytes of the good section changed, often in the footer or in page headers, CRCs sometimes put right."""
    data = bytearray(GOOD)
    for _ in range(dice.randint(1, 4)):
        at = dice.choice([dice.randrange(len(data)), dice.randrange(FOOTER, len(data)), dice.randrange(4, 400)])
        match dice.randrange(4):
            case 0:
                data[at] ^= 1 << dice.randrange(8)
            case 1:
                data[at] = dice.choice([0, 1, 127, 128, 255])
            case 2:
                del data[at : at + dice.randint(1, 3)]
            case 3:
                data[at:at] = dice.randbytes(dice.randint(1, 3))
    return bytes(data)


@pytest.mark.parametrize("seed", range(8))
def test_random_damage_ends_in_errors_of_the_damaged_section(seed: int) -> None:
    """Whatever changes: an error that names the section, or rows of the right shape and neighbours as they were."""
    dice = random.Random(seed)
    good = made.plain_rows(ROWS, SAMPLES)
    for _ in range(60):
        bad = mutate(dice)
        begun = time.monotonic()
        try:
            rows = read_profiles([memoryview(GOOD), memoryview(bad), memoryview(GOOD)], made.wheres(3))
        except BlockError as error:
            assert error.where.dataset == "1"
        else:
            first, last = slice(0, ROWS), slice(int(rows.dataset_start[2]), None)
            for part in (first, last):
                assert rows.time_ns[part].tolist() == good.time_ns.tolist()
                assert rows.id[part].tobytes() == good.id.tobytes()
            assert rows.value[: len(good.value)].tolist() == good.value.tolist()
            assert rows.value[-len(good.value) :].tolist() == good.value.tolist()
        assert time.monotonic() - begun < 5
    assert zlib.crc32(GOOD)  # the good one was not changed in place
