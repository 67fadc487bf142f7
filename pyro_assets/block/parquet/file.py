"""A Parquet file in memory, made of other files' pages: Arrow opens one file for a whole job, with a footer of ours.

Opening a file costs as much as decoding 10 kB of it, a job has dozens of small ones, and Arrow should see no footer
from outside. Only the arrangement of pages belongs here: they are copied as they are and must have been checked
(`profiles_pages`). Columns have names of their own here, and each nested one stands alone, so that the lengths of
lists can be compared.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final

import pyarrow as pa
import pyarrow.parquet as pq

from pyro_assets.block.parquet.schema import ANNOTATIONS, COMMENTS, LABELS, LEAVES, SPAN_ID, STACK, TRACE_ID, VALUE
from pyro_assets.block.parquet.thrift import BINARY, I32, STRUCT, binary, list_of, number

_MAGIC: Final = b"PAR1"
#: Columns of lists -> their name in the file that is made; the others keep theirs.
LISTS: Final = {
    STACK: "Stacks",
    VALUE: "Values",
    SPAN_ID: "Spans",
    TRACE_ID: "Traces",
    COMMENTS: "Comments",
    **{LABELS + name: "Labels" for name in ("Key", "Str", "Num", "NumUnit")},
    **{ANNOTATIONS + name: "Annotations" for name in ("Key", "Value")},
}


@dataclass(slots=True)
class Column:
    """The pages of one column in one row group, end to end; `values` counts nulls too."""

    pages: list[Any] = field(default_factory=list)
    values: int = 0
    dictionary: bool = False


@dataclass(slots=True)
class RowGroup:
    """Rows, and the columns by path in the original's order; the same paths in every row group of a file."""

    rows: int
    columns: dict[str, Column]

    def append(self, rows: int, columns: dict[str, Column]) -> None:
        """Put more pages behind those that are there."""
        self.rows += rows
        for path, column in columns.items():
            own = self.columns[path]
            own.pages += column.pages
            own.values += column.values


def read_file(groups: Sequence[RowGroup]) -> Any:
    """Let Arrow decode row groups.

    Returns:
        A table of one chunk a column. Flat columns have Arrow types of their physical types, signed; lists are named
        as in `LISTS`.

    Raises:
        Whatever pyarrow raises for pages that do not decode, also where a page differs from its CRC.
    """
    file = pq.ParquetFile(
        pa.BufferReader(_make_file(groups)),
        pre_buffer=False,
        arrow_extensions_enabled=False,
        page_checksum_verification=True,
    )
    return file.read(use_threads=False).combine_chunks()


def null_page(rows: int) -> bytes:
    """A page of version 1 with that many nulls of a column that is not nested, below 2^31."""
    run = number(rows) + b"\x00"
    levels = len(run).to_bytes(4, "little") + run
    size = number(len(levels))
    # Both sizes; values; encodings: plain, and run lengths for both kinds of levels.
    header = b"\x15\x00\x15" + size + b"\x15" + size + b"\x2c\x15" + number(rows) + b"\x15\x00\x15\x06\x15\x06\x00\x00"
    return header + levels


def _make_file(groups: Sequence[RowGroup]) -> bytes:
    parts: list[Any] = [_MAGIC]
    position = len(_MAGIC)
    written = []
    for group in groups:
        begin = position
        chunks = []
        for path, column in group.columns.items():
            parts += column.pages
            size = sum(map(len, column.pages))
            chunks.append(_chunk(path, column, position, size))
            position += size
        written.append(
            b"\x19"
            + list_of(STRUCT, chunks)
            + b"\x16"
            + number(position - begin)
            + b"\x16"
            + number(group.rows)
            + b"\x00"
        )
    rows = sum(group.rows for group in groups)
    schema = _schema(tuple(groups[0].columns))
    footer = b"\x15\x04\x19" + schema + b"\x16" + number(rows) + b"\x19" + list_of(STRUCT, written) + b"\x00"
    return b"".join((*parts, footer, len(footer).to_bytes(4, "little"), _MAGIC))


def _chunk(path: str, column: Column, offset: int, size: int) -> bytes:
    # Where data begin behind a dictionary is not known without reading its page; Arrow starts at the dictionary.
    places = b"\x26" + number(offset + column.dictionary)
    if column.dictionary:
        places += b"\x26" + number(offset)
    kind, names = _described(path)
    return b"".join(
        (
            b"\x26\x00\x1c\x15", kind,
            b"\x19", list_of(I32, [number(0)]),
            b"\x19", names,
            b"\x15\x00\x16", number(column.values),
            b"\x16", number(size),
            b"\x16", number(size),
            places,
            b"\x00\x00",
        )
    )  # fmt: skip


#: Physical types (parquet.thrift) of leaves that are not plain 64-bit integers: number, width, converted type.
_INT32, _INT64, _BYTES, _FIXED = 1, 2, 6, 7
_TEXT, _LIST, _UINT64 = 0, 3, 14
_TYPES: Final[dict[str, tuple[int, int, int | None]]] = {
    "ID": (_FIXED, 16, None),
    "SeriesIndex": (_INT32, 0, None),
    SPAN_ID: (_INT64, 0, _UINT64),
    TRACE_ID: (_FIXED, 16, None),
    ANNOTATIONS + "Key": (_BYTES, 0, _TEXT),
    ANNOTATIONS + "Value": (_BYTES, 0, _TEXT),
}


@lru_cache(maxsize=64)
def _schema(paths: tuple[str, ...]) -> bytes:
    """The list of schema elements, depth first, the root before all."""
    names = dict.fromkeys(LISTS.get(path, path) for path in paths)
    elements = [_group("schema", len(names), None)]
    for name in names:
        leaves = [path for path in paths if LISTS.get(path, path) == name]
        last = [path.rpartition(".")[2] for path in leaves]
        if leaves[0] in LISTS:
            elements += [_group(name, 1, 0, _LIST), _group("list", 1, 2)]
        if name == "Labels":
            elements += [_group("element", 1, 0, _LIST), _group("list", 1, 2)]
        if len(leaves) > 1:
            elements.append(_group("element", len(leaves), 0))
        elif leaves[0] in LISTS:
            last = ["element"]
        elements += [_leaf(path, text) for path, text in zip(leaves, last, strict=True)]
    return list_of(STRUCT, elements)


def _group(name: str, children: int, repetition: int | None, converted: int | None = None) -> bytes:
    # Fields: 3 repetition (0 required, 1 optional, 2 repeated), 4 name, 5 children, 6 converted type.
    start = b"\x48" if repetition is None else b"\x35" + number(repetition) + b"\x18"
    end = b"" if converted is None else b"\x15" + number(converted)
    return start + binary(name) + b"\x15" + number(children) + end + b"\x00"


def _leaf(path: str, name: str) -> bytes:
    # Fields: 1 physical type, 2 width, 3 repetition, 4 name, 6 converted type.
    kind, width, converted = _TYPES.get(path, (_INT64, 0, None))
    definition, repetition = LEAVES[path].levels
    start = b"\x15" + number(kind) + (b"\x15" + number(width) + b"\x15" if width else b"\x25")
    end = b"" if converted is None else b"\x25" + number(converted)
    return start + number(definition - repetition) + b"\x18" + binary(name) + end + b"\x00"


@lru_cache(maxsize=64)
def _described(path: str) -> tuple[bytes, bytes]:
    """Physical type and path of a leaf as its chunk's metadata give them."""
    kind, _, _ = _TYPES.get(path, (_INT64, 0, None))
    names = [path]
    if path in LISTS:
        name, last = LISTS[path], path.rpartition(".")[2]
        names = [name, *(["list", "element"] * (2 if name == "Labels" else 1))]
        names += [last] if name in ("Labels", "Annotations") else []
    return number(kind), list_of(BINARY, [binary(name) for name in names])
