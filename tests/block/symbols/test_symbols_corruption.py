"""One field changed at a time: exactly one named error, with the section and the place, and unharmed neighbours."""

import tracemalloc
from collections.abc import Callable

import numpy as np
import pytest

from pyro_assets.block.symbols.index import encode_index, parse_index
from pyro_assets.block.symbols.reader import read_symbols
from pyro_assets.block.symbols.writer import write_symbols
from pyro_assets.errors import (
    BadCount,
    BadEncoding,
    BadIndex,
    BadLength,
    BadMagic,
    BlockError,
    ChecksumMismatch,
    Truncated,
    UnsupportedVersion,
    Where,
)
from tests.oracle.bytes import crc32c
from tests.oracle.symbol_codecs import encode_tree
from tests.support.symbol_surgery import SymbolSurgery
from tests.support.symbol_tables import Unit, build, differing, example

TABLES = build([example()])
GOOD = write_symbols(TABLES, 1)[0]
MANY = 1 << 31

Cases = dict[str, tuple[int | bytes | Callable[[int], int], type[BlockError], str]]

#: field -> (new value, error, the field whose place the error names).
FIELDS: Cases = {
    "footer magic": (b"sym2", BadMagic, "footer magic"),
    "footer version": (2, UnsupportedVersion, "footer version"),
    "index offset": (lambda v: v + 400, BadLength, "index offset"),
    "index magic": (b"\0\0\0\0", BadMagic, "index magic"),
    "index version": (1, UnsupportedVersion, "index version"),
    "entry size": (lambda v: v + 1, BadLength, "entry size"),
    "entry offset": (31, BadLength, "entry size"),
    "partitions": (MANY, BadCount, "partitions"),
    "chunks": (MANY, BadCount, "chunks"),
    "chunk offset": (-1, BadLength, "chunk offset"),
    "chunk size": (lambda v: v + 10_000, BadLength, "chunk offset"),
    "chunk number": (1, BadEncoding, "chunk number"),
    "chunk encoding": (2, BadEncoding, "chunk number"),
    "nodes": (MANY, BadCount, "nodes"),
    "locations offset": (1 << 40, BadLength, "locations offset"),
    "mappings offset": (lambda v: v + 100_000, BadLength, "mappings offset"),
    "functions size": (MANY, BadLength, "functions offset"),
    "strings size": (lambda v: v + 100_000, BadLength, "strings offset"),
    "locations items": (MANY, BadCount, "locations items"),
    "mappings items": (MANY, BadCount, "mappings items"),
    "functions items": (MANY, BadCount, "functions items"),
    "strings items": (MANY, BadCount, "strings items"),
    "locations per block": (0, BadCount, "locations per block"),
    "mappings per block": (MANY, BadCount, "mappings per block"),
    "functions per block": (1 << 17, BadCount, "functions per block"),
    "strings per block": (0, BadCount, "strings per block"),
    "locations header size": (32, UnsupportedVersion, "locations header size"),
    "mappings header size": (0, UnsupportedVersion, "mappings header size"),
    "functions header size": (28, UnsupportedVersion, "functions header size"),
    "strings header size": (8, UnsupportedVersion, "strings header size"),
    "locations format": (2, UnsupportedVersion, "locations header size"),
    "mappings format": (5, UnsupportedVersion, "mappings header size"),
    "functions format": (0, UnsupportedVersion, "functions header size"),
    "strings format": (3, UnsupportedVersion, "strings header size"),
    "locations inner count": (MANY, BadCount, "locations inner count"),
    "mappings inner count": (lambda v: v - 1, BadCount, "mappings inner count"),
    "functions inner count": (lambda v: v + 1, BadCount, "functions inner count"),
    "strings inner count": (0, BadCount, "strings inner count"),
    "strings inner bits": (12, BadEncoding, "strings inner bits"),
    "locations inner mapping_size": (MANY, BadLength, "locations data"),
    "locations inner lines_size": (lambda v: v + 9999, BadLength, "locations data"),
    "locations inner address_size": (MANY, BadLength, "locations data"),
    "locations inner folded_size": (lambda v: v - 1, BadLength, "locations inner folded_size"),
    "mappings inner file_size": (MANY, BadLength, "mappings data"),
    "mappings inner build_size": (MANY, BadLength, "mappings data"),
    "mappings inner flags_size": (MANY, BadLength, "mappings data"),
    "mappings inner start_size": (MANY, BadLength, "mappings data"),
    "mappings inner limit_size": (MANY, BadLength, "mappings data"),
    "mappings inner offset_size": (MANY, BadLength, "mappings data"),
    "functions inner name_size": (MANY, BadLength, "functions data"),
    "functions inner system_size": (MANY, BadLength, "functions data"),
    "functions inner file_size": (MANY, BadLength, "functions data"),
    "functions inner line_size": (MANY, BadLength, "functions data"),
}
CRCS = {
    "footer crc": "footer magic",
    "index crc": "index magic",
    "chunk crc": "chunk data",
    "locations crc": "locations inner count",
    "mappings crc": "mappings inner count",
    "functions crc": "functions inner count",
    "strings crc": "strings inner count",
    "locations inner crc": "locations inner count",
    "mappings inner crc": "mappings inner count",
    "functions inner crc": "functions inner count",
    "strings inner crc": "strings inner count",
}


def expect(section: bytes, error: type[BlockError], offset: int | None) -> BlockError:
    """The one error that the middle one of three sections raises."""
    wheres = [Where("key", "symbols", name) for name in ("before", "broken", "after")]
    with pytest.raises(BlockError) as caught:
        read_symbols([memoryview(GOOD), memoryview(section), memoryview(GOOD)], wheres)
    assert type(caught.value) is error, caught.value
    assert caught.value.where == wheres[1]
    if offset is not None:
        assert caught.value.offset == offset, caught.value
    neighbours = read_symbols([memoryview(GOOD)] * 2, [wheres[0], wheres[2]])
    twice = build([example(), example(dataset=1)])
    assert differing(neighbours, twice) == []
    return caught.value


def change(surgery: SymbolSurgery, name: str, value: int | bytes | Callable[[int], int]) -> None:
    surgery.set(name, value(surgery.get(name)) if callable(value) else value)


@pytest.mark.parametrize("name", FIELDS)
def test_a_field(name: str) -> None:
    value, error, place = FIELDS[name]
    surgery = SymbolSurgery(GOOD)
    change(surgery, name, value)
    expect(surgery.reseal(), error, surgery.at(place))


@pytest.mark.parametrize("name", CRCS)
def test_a_checksum(name: str) -> None:
    surgery = SymbolSurgery(GOOD)
    stored = surgery.get(name)
    # Checksums that cover this one are right, so that it is the only one that differs.
    surgery.set(name, stored ^ 1)
    resealed = SymbolSurgery(surgery.reseal())
    if name.endswith("inner crc"):
        kind = name.removesuffix(" inner crc")
        resealed.set(name, stored ^ 1)
        begin = resealed.get(f"{kind} offset")
        resealed.set(f"{kind} crc", crc32c(bytes(resealed.data[begin : begin + resealed.get(f"{kind} size")])))
    else:
        resealed.set(name, stored ^ 1)
    if name not in ("index crc", "footer crc"):
        resealed.set("index crc", crc32c(bytes(resealed.data[resealed.index : resealed.footer - 4])))
    expect(bytes(resealed.data), ChecksumMismatch, surgery.at(CRCS[name]))


@pytest.mark.parametrize("name", ["chunk data", "locations data", "mappings data", "functions data", "strings data"])
def test_a_byte_of_the_data(name: str) -> None:
    surgery = SymbolSurgery(GOOD)
    surgery.data[surgery.at(name)] ^= 0x40
    assert "CRC" in str(expect(bytes(surgery.data), ChecksumMismatch, None))


def test_sizes_that_move_columns_into_each_other() -> None:
    # The sum of the sizes is right, so only the streams themselves can tell.
    for kind, one, other in (
        ("functions", "name_size", "system_size"),
        ("mappings", "file_size", "build_size"),
        ("mappings", "start_size", "limit_size"),
        ("locations", "mapping_size", "lines_size"),
    ):
        surgery = SymbolSurgery(GOOD)
        for name, by in ((one, 1), (other, -1)):
            change(surgery, f"{kind} inner {name}", lambda v, by=by: v + by)  # type: ignore[misc]
        with pytest.raises((BadEncoding, BadCount)):
            read_symbols([memoryview(surgery.reseal())], [Where()])


def test_number_of_lines() -> None:
    surgery = SymbolSurgery(GOOD)
    change(surgery, "locations inner lines", lambda v: v + 1)
    expect(surgery.reseal(), BadCount, None)
    surgery = SymbolSurgery(GOOD)
    surgery.data[surgery.at("locations data") + surgery.get("locations inner mapping_size")] ^= 3
    error = expect(surgery.reseal(), BadCount, None)
    assert "lines" in error.what
    surgery = SymbolSurgery(GOOD)
    change(surgery, "locations inner lines", lambda _: 0)
    expect(surgery.reseal(), BadCount, None)


def test_lengths_of_strings() -> None:
    for change_by in (-1, 1, 200):
        surgery = SymbolSurgery(GOOD)
        surgery.data[surgery.at("strings data") + 1] += change_by
        assert expect(surgery.reseal(), BadLength, surgery.at("strings data")).what == "lengths of the strings"
    surgery = SymbolSurgery(GOOD)
    surgery.set("strings inner bits", 16)
    expect(surgery.reseal(), BadLength, surgery.at("strings data"))


def test_lengths_of_strings_in_the_first_of_several_inner_blocks() -> None:
    (section,) = write_symbols(build([Unit(strings=[b"abc"] * 1025)]), 1)
    surgery = SymbolSurgery(section)
    # What follows is sought where these lengths lead: too far, into too little, and into a string.
    for length, error in ((255, BadLength), (8, Truncated), (2, ChecksumMismatch)):
        surgery.data[surgery.at("strings data")] = length
        expect(surgery.reseal(), error, None)


@pytest.mark.parametrize(("items", "per_block"), [(9, 3), (9, 8)])
def test_inner_blocks_that_are_not_there(items: int, per_block: int) -> None:
    for kind in ("functions", "strings", "locations"):
        surgery = SymbolSurgery(GOOD)
        surgery.set(f"{kind} items", items)
        surgery.set(f"{kind} per block", per_block)
        expect(surgery.reseal(), BadCount, surgery.at(f"{kind} inner count"))


def test_one_partition_more_than_there_is() -> None:
    surgery = SymbolSurgery(GOOD)
    surgery.set("partitions", 2)
    expect(surgery.reseal(), BadCount, surgery.at("partitions"))
    surgery = SymbolSurgery(GOOD)
    surgery.set("partitions", 0)
    expect(surgery.reseal(), BadCount, None)


def test_several_chunks_are_refused_by_name() -> None:
    surgery = SymbolSurgery(GOOD)
    extra = surgery.at("chunk offset")
    grown = bytearray(surgery.data)
    grown[extra:extra] = surgery.data[extra : extra + 64]
    surgery = SymbolSurgery(bytes(grown))
    surgery.set("chunks", 2)
    change(surgery, "entry size", lambda v: v + 64)
    assert "several stack-trace chunks" in str(expect(reseal_frame(surgery), UnsupportedVersion, surgery.at("chunks")))


def reseal_frame(surgery: SymbolSurgery) -> bytes:
    """Only footer and index, where the places of the rest have moved."""
    surgery.set("index crc", crc32c(bytes(surgery.data[surgery.index : surgery.footer - 4])))
    return bytes(surgery.data)


def test_older_versions_are_refused_by_name() -> None:
    for version in (1, 2):
        index = b"sym1" + version.to_bytes(4, "big") + bytes(100)
        assert f"version {version}" in str(expect(index, UnsupportedVersion, 4))


@pytest.mark.parametrize("size", [0, 1, 23, 24, 63])
def test_too_short(size: int) -> None:
    expect(GOOD[len(GOOD) - size :], Truncated, 0)


def test_cut_anywhere() -> None:
    for size in range(0, len(GOOD), 37):
        with pytest.raises(BlockError):
            read_symbols([memoryview(GOOD[:size])], [Where()])
        with pytest.raises(BlockError):
            read_symbols([memoryview(GOOD[size + 1 :])], [Where()])


class TestTrees:
    """Nodes that refer to what is not there, behind right checksums."""

    @pytest.mark.parametrize(
        ("nodes", "what"),
        [
            ([(0, 0), (0, 1)], "parent of a node (0)"),
            ([(-1, 0), (0, 0), (2, 0)], "parent of a node (2)"),
            ([(-1, 0), (0, 0), (7, 0)], "parent of a node (2)"),
            ([(-1, 0), (0, 0), (-1, 0)], "parent of a node (2)"),
            ([(-1, 0), (0, 0), (-9, 0), (0, 0)], "parent of a node (2)"),
            ([(-1, 0), (0, 40)], "location of a node (1)"),
            ([(-1, 0), (0, 1), (1, 2**32 - 1)], "location of a node (2)"),
        ],
    )
    def test_bad_references(self, nodes: list[tuple[int, int]], what: str) -> None:
        surgery = with_tree(nodes, len(nodes))
        assert expect(surgery.reseal(), BadIndex, surgery.get("chunk offset")).what == what

    def test_root_may_name_any_location(self) -> None:
        read_symbols([memoryview(with_tree([(-1, 99)], 1).reseal())], [Where()])

    def test_number_of_nodes(self) -> None:
        # Four one-byte nodes take ten bytes; five and six nodes would fit them, too.
        surgery = with_tree([(-1, 300), (0, 300), (1, 3), (2, 3)], 2)
        expect(surgery.reseal(), BadCount, surgery.get("chunk offset"))

    def test_padding(self) -> None:
        surgery = with_tree([(-1, 0), (0, 3), (1, 3), (2, 3)], 3)
        expect(surgery.reseal(), BadEncoding, surgery.get("chunk offset"))

    def test_a_last_group_past_the_end(self) -> None:
        surgery = with_tree([(-1, 0), (0, 3), (1, 3), (2, 3)], 4)
        surgery.data[surgery.at("chunk data") + 5] = 1
        expect(surgery.reseal(), BadEncoding, surgery.get("chunk offset"))


def with_tree(nodes: list[tuple[int, int]], count: int) -> SymbolSurgery:
    """The good section with another tree."""
    surgery = SymbolSurgery(GOOD)
    chunk = encode_tree(nodes)
    begin, size = surgery.get("chunk offset"), surgery.get("chunk size")
    assert len(chunk) <= size
    surgery.data[begin : begin + len(chunk)] = chunk
    surgery.set("chunk size", len(chunk))
    surgery.set("nodes", count)
    return surgery


def test_dangling_references_are_counted_not_raised() -> None:
    unit = example()
    unit.functions[3] = (-1, 2, 3, 4)
    unit.locations[5] = (-1, 7, False, [(-1, 3), (2, 9)])
    tables = build([unit])
    read = read_symbols([memoryview(write_symbols(tables, 1)[0])], [Where()])
    assert differing(read, tables) == []
    assert read.dangling.tolist() == [3]


@pytest.mark.parametrize("stored", [0x7E, 0x02, 0x01], ids=["63", "1", "-1"])
def test_references_past_the_end_dangle(stored: int) -> None:
    tables = build([Unit(strings=[b""], functions=[(0, 0, 0, 0)])])
    surgery = SymbolSurgery(write_symbols(tables, 1)[0])
    surgery.data[surgery.at("functions data") + 4] = stored  # the zig-zag of the only name
    read = read_symbols([memoryview(surgery.reseal())], [Where()])
    assert (read.function_name.tolist(), read.dangling.tolist()) == ([-1], [1])


def test_partitions_that_share_bytes_are_refused() -> None:
    """A few headers could otherwise have the same megabytes read any number of times."""
    array = np.frombuffer(GOOD, np.uint8)
    [partition] = parse_index(memoryview(GOOD), array, Where())
    end = SymbolSurgery(GOOD).index
    shared = GOOD[:end] + encode_index([partition, partition._replace(number=1)], end)
    with pytest.raises(BadLength, match="sizes of the symbols together"):
        read_symbols([memoryview(shared)], [Where()])


def test_tables_of_streams_have_no_more_items_than_their_bytes_allow() -> None:
    """Even where the streams are not decoded, as for names alone."""
    surgery = SymbolSurgery(GOOD)
    for name in ("mappings items", "mappings inner count"):
        surgery.set(name, 60_000)
    surgery.set("mappings per block", 1 << 16)
    with pytest.raises(BadCount, match="number of mappings"):
        read_symbols([memoryview(surgery.reseal())], [Where()], names_only=True)


def test_hostile_counts_allocate_nothing() -> None:
    for name, (value, _, _) in FIELDS.items():
        if value == MANY:
            surgery = SymbolSurgery(GOOD)
            surgery.set(name, value)
            section = memoryview(surgery.reseal())
            tracemalloc.start()
            with pytest.raises(BlockError):
                read_symbols([section], [Where()])
            _, peak_bytes = tracemalloc.get_traced_memory()
            tracemalloc.stop()
            assert peak_bytes < 1 << 20, name
