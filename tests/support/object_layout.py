"""Where every checksum, length, count and offset of an object lies.

Add a field here when the format has one that could be falsified; `tests.support.mutations` does the falsifying.
Independent of the package, like the slow decoder, whose byte reader it uses; meant for good objects.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from tests.oracle.bytes import Reader
from tests.oracle.decoder import metadata_of


@dataclass(frozen=True)
class Crc:
    """A checksum at `at` over [start, end): CRC-32C in four bytes; of a Parquet page CRC-32 in `width` of Thrift."""

    name: str
    start: int
    end: int
    at: int
    width: int = 0


@dataclass
class Layout:
    """Checksums, inner ones before those that cover them, and fields as (offset, width in bytes, byte order)."""

    crcs: list[Crc] = field(default_factory=list)
    fields: dict[str, tuple[int, int, str]] = field(default_factory=dict)

    def add(self, name: str, offset: int, width: int = 4, order: str = "big") -> None:
        self.fields[name] = (offset, width, order)


def layout(data: bytes, dataset: int = 0) -> Layout:
    """Places in one dataset of format 0 of an object, and in its footer."""
    found = Layout()
    meta = metadata_of(data)
    toc = meta["datasets"][dataset]["table_of_contents"]
    end = toc[0] + meta["datasets"][dataset]["size"]
    found.add("parquet.magic", toc[0])
    found.add("parquet.end_magic", toc[1] - 4)
    found.add("parquet.footer_length", toc[1] - 8, 4, "little")
    _parquet(data, toc[1] - 8 - int.from_bytes(data[toc[1] - 8 : toc[1] - 4], "little"), toc[0], found)
    _tsdb(data, toc[1], toc[2], found)
    _symbols(data, toc[2], end, found)
    found.add("footer.length", len(data) - 8)
    found.crcs.append(Crc("footer", meta["metadata_offset"], len(data) - 4, len(data) - 4))
    return found


#: Fields of Parquet's ColumnMetaData and of what it contains; see parquet.thrift.
_COLUMN_FIELDS = {
    (1,): "type",
    (4,): "codec",
    (5,): "values",
    (6,): "uncompressed",
    (7,): "compressed",
    (9,): "data_page",
    (11,): "dictionary_page",
    (12, 3): "nulls",
    (16, 2): "repetition_histogram",
    (16, 3): "definition_histogram",
}


def _parquet(data: bytes, start: int, section: int, found: Layout) -> None:
    """Note the numbers of a Parquet footer that take one byte, and the checksums of the pages that it leads to."""
    numbers: dict[tuple[int, ...], int] = {}

    def note(path: tuple[int, ...], at: int, value: int) -> None:
        numbers[path] = value
        if path[:1] == (4,) and path[2:3] == (1,) and path[4:5] == (3,) and path[5:] in _COLUMN_FIELDS:
            name = f"parquet.column[{path[1]}/{path[3]}].{_COLUMN_FIELDS[path[5:]]}"
        elif path in ((1,), (3,), (4,), (4, 0, 1), (4, 0, 3)):
            name = f"parquet.{'/'.join(map(str, path))}"
        else:
            return
        if data[at] < 0x80:
            found.add(name, at, 1)

    _thrift(data, start, note)
    for path, size in numbers.items():
        if path[:1] == (4,) and path[2:3] == (1,) and path[4:] == (3, 7):
            column = path[:-1]
            first = numbers.get((*column, 11)) or numbers[*column, 9]
            _pages(data, section + first, section + first + size, f"parquet.page[{path[1]}/{path[3]}]", found)


def _pages(data: bytes, position: int, end: int, name: str, found: Layout) -> None:
    """Note the sizes and checksums of the pages in [position, end)."""
    while position < end:
        fields: dict[tuple[int, ...], tuple[int, int]] = {}

        def note(path: tuple[int, ...], at: int, value: int, fields: Any = fields) -> None:
            fields[path] = (at, value)

        after = _thrift(data, position, note)
        stop = after + fields[3,][1]
        for path, (at, _) in fields.items():
            if path != (4,) and data[at] < 0x80:
                found.add(f"{name}.{'/'.join(map(str, path))}@{position}", at, 1)
        if (4,) in fields:
            at = fields[4,][0]
            width = next(i for i in range(1, 6) if data[at + i - 1] < 0x80)
            found.crcs.append(Crc(f"{name}@{position}", after, stop, at, width))
        position = stop


def _thrift(data: bytes, start: int, note: Callable[[tuple[int, ...], int, int], None]) -> int:
    """Walk through a struct of Thrift's compact protocol; `note` gets path, place and value of numbers and lists.

    Returns:
        Where the struct ends.
    """
    reader = Reader(data, start)

    def value(path: tuple[int, ...], kind: int) -> None:
        at = reader.position
        if kind in (3, 4, 5, 6):
            raw = reader.uvarint()
            note(path, at, (raw >> 1) ^ -(raw & 1))
        elif kind == 7:
            reader.take(8)
        elif kind == 8:
            reader.text()
        elif kind in (9, 10):
            header = reader.u8()
            count = reader.uvarint() if header >> 4 == 15 else header >> 4
            note(path, at, count)
            for number in range(count):
                if header & 15 in (1, 2):
                    reader.u8()
                else:
                    value((*path, number), header & 15)
        elif kind == 12:
            struct(path)

    def struct(path: tuple[int, ...]) -> None:
        number = 0
        while header := reader.u8():
            number = number + (header >> 4) if header >> 4 else reader.varint()
            value((*path, number), header & 15)

    struct(())
    return reader.position


def _framed(data: bytes, at: int, name: str, found: Layout) -> int:
    """Note a part framed as length, content, CRC; the offset after it."""
    length = int.from_bytes(data[at : at + 4], "big")
    found.add(f"{name}.length", at)
    found.crcs.append(Crc(name, at + 4, at + 4 + length, at + 4 + length))
    return at + 8 + length


def _tsdb(data: bytes, start: int, end: int, found: Layout) -> None:
    found.add("tsdb.magic", start)
    found.add("tsdb.version", start + 4, 1)
    names = ("symbols", "series", "label_indices", "label_table", "postings", "postings_table", "fingerprints")
    offsets = {}
    for i, name in enumerate(names):
        at = end - 76 + 8 * i
        found.add(f"tsdb.toc.{name}", at, 8)
        offsets[name] = start + int.from_bytes(data[at : at + 8], "big")
    found.add("tsdb.toc.from", end - 20, 8)
    found.add("tsdb.toc.through", end - 12, 8)
    _framed(data, offsets["symbols"], "tsdb.symbols", found)
    found.add("tsdb.symbols.count", offsets["symbols"] + 4)
    found.add("tsdb.symbols.first_length", offsets["symbols"] + 8, 1)
    position, number = offsets["series"], 0
    while position < offsets["label_indices"]:
        position += -(position - start) % 16
        reader = Reader(data, position)
        length = reader.uvarint()
        content = reader.position
        if number == 0:
            found.add("tsdb.series.length", position, 1)
            found.add("tsdb.series.label_count", content + 8, 1)
            found.add("tsdb.series.name_symbol", content + 9, 1)
            found.add("tsdb.series.value_symbol", content + 10, 1)
        found.crcs.append(Crc(f"tsdb.series[{number}]", content, content + length, content + length))
        position, number = content + length + 4, number + 1
    parts = (("label_indices", "postings", "label_index"), ("postings", "label_table", "postings"))
    for begin, stop, name in parts:
        position, number = offsets[begin], 0
        while position < offsets[stop]:
            position += -(position - start) % 4
            if position >= offsets[stop]:
                break
            after = _framed(data, position, f"tsdb.{name}[{number}]", found)
            if name == "label_index":
                found.add(f"tsdb.{name}[{number}].names", position + 4)
                found.add(f"tsdb.{name}[{number}].count", position + 8)
                found.add(f"tsdb.{name}[{number}].first", position + 12)
            else:
                found.add(f"tsdb.{name}[{number}].count", position + 4)
                found.add(f"tsdb.{name}[{number}].first", position + 8)
            position, number = after, number + 1
    for name in ("label_table", "postings_table", "fingerprints"):
        _framed(data, offsets[name], f"tsdb.{name}", found)
        found.add(f"tsdb.{name}.count", offsets[name] + 4)
    found.crcs.append(Crc("tsdb.toc", end - 76, end - 4, end - 4))


def _symbols(data: bytes, start: int, end: int, found: Layout) -> None:
    index = start + int.from_bytes(data[end - 16 : end - 8], "big")
    found.add("symbols.footer.magic", end - 24)
    found.add("symbols.footer.version", end - 20)
    found.add("symbols.footer.index_offset", end - 16, 8)
    found.add("symbols.index.magic", index)
    found.add("symbols.index.version", index + 4)
    found.add("symbols.index.size", index + 16, 8)
    found.add("symbols.index.offset", index + 24, 8)
    found.add("symbols.partition_count", index + 32)
    count = int.from_bytes(data[index + 32 : index + 36], "big")
    position = index + 36
    for number in range(count):
        name = f"symbols[{number}]"
        found.add(f"{name}.partition", position, 8)
        found.add(f"{name}.chunk_count", position + 8)
        chunk = position + 12
        for label, offset, width in (
            ("offset", 0, 8),
            ("size", 8, 8),
            ("partition", 16, 8),
            ("encoding", 27, 1),
            ("stacks", 32, 4),
            ("nodes", 36, 4),
            ("max_depth", 40, 4),
            ("max_nodes", 44, 4),
        ):
            found.add(f"{name}.chunk.{label}", chunk + offset, width)
        begin = start + int.from_bytes(data[chunk : chunk + 8], "big")
        size = int.from_bytes(data[chunk + 8 : chunk + 16], "big")
        found.crcs.append(Crc(f"{name}.chunk", begin, begin + size, chunk + 60))
        found.add(f"{name}.chunk.first_byte", begin, 1)
        position = chunk + 64
        for kind in ("locations", "mappings", "functions", "strings"):
            block = f"{name}.{kind}"
            for label, offset, width in (
                ("offset", 0, 8),
                ("size", 8, 4),
                ("count", 16, 4),
                ("per_block", 20, 4),
                ("header_size", 24, 2),
                ("format", 26, 2),
            ):
                found.add(f"{block}.{label}", position + offset, width)
            begin = start + int.from_bytes(data[position : position + 8], "big")
            size, _, items, per_block = (
                int.from_bytes(data[position + i : position + i + 4], "big") for i in (8, 12, 16, 20)
            )
            header_size = int.from_bytes(data[position + 24 : position + 26], "big")
            if items:
                found.add(f"{block}.inner.count", begin)
                found.crcs.append(Crc(f"{block}.inner", begin, begin + header_size - 4, begin + header_size - 4))
                if kind == "strings":
                    found.add(f"{block}.inner.encoding", begin + 5, 1)
                else:
                    for i in range((header_size - 8) // 4):
                        found.add(f"{block}.inner.size[{i}]", begin + 4 + 4 * i)
            assert items <= per_block, "take a smaller object: only the first inner block is described"
            found.crcs.append(Crc(block, begin, begin + size, position + 12))
            position += 32
    found.crcs.append(Crc("symbols.index", index, end - 28, end - 28))
    found.crcs.append(Crc("symbols.footer", end - 24, end - 4, end - 4))
