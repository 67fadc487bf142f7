"""The fast way to read many profiles sections: their pages, end to end, as one Parquet file made in memory.

Sections of the usual form (`profiles_forms`) are copied page by page under one new footer, so that Arrow opens and
reads once for the whole job; any other form is left to the slow way in `profiles`. Every page fills its place exactly
and holds the rows it claims, so that a broken section cannot shift its neighbours' values: when in doubt the answer
is None, and the slow way finds the error.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pyro_assets.block.columns import I64
from pyro_assets.block.profiles_forms import Found, find_columns
from pyro_assets.block.profiles_schema import OPTIONAL, STACK, VALUE, count_entries

#: Physical types as parquet.thrift numbers them.
_INT32, _INT64, _FIXED = 1, 2, 7
_REQUIRED: Final = {
    "ID": _FIXED,
    "SeriesIndex": _INT32,
    "StacktracePartition": _INT64,
    "TotalValue": _INT64,
    "TimeNanos": _INT64,
}
_NULLABLE: Final = ("DropFrames", "KeepFrames", "DurationNanos", "Period", "DefaultSampleType")
#: Lists are joined as two columns, so that their lengths can be compared.
_LISTS: Final = {STACK: "Stacks", VALUE: "Values"}
#: Columns that few sections use; such sections are opened for them.
_SELDOM: Final = tuple(paths for paths in OPTIONAL if paths[0] not in _NULLABLE)

_MAGIC: Final = b"PAR1"


@dataclass(slots=True)
class Joined:
    """What `read_joined` has read of `d` sections.

    Attributes:
        row_counts: int64[d].
        flat: Arrow table of the columns with one value a row; nullable ones only where any section has values.
        sample_start: int64[n + 1]; stack, value: int64[m].
        seldom: position of a section -> paths of its other columns that are not empty, still to be read.
    """

    row_counts: I64
    flat: Any
    sample_start: I64
    stack: I64
    value: I64
    seldom: dict[int, list[str]]


@dataclass(slots=True)
class _Column:
    """The pages of one column, section by section."""

    path: str
    pages: list[Any] = field(default_factory=list)
    values: int = 0


def read_joined(sections: Sequence[memoryview]) -> Joined | None:
    """Read the columns that most sections have, all sections at once.

    Returns:
        None if a section has another form than the usual one, or if anything looks wrong.

    Raises:
        Whatever pyarrow raises for bytes that do not decode; which section it was cannot be told.
    """
    found = [find_columns(section) for section in sections]
    sound = [one for one in found if one is not None]
    if not sound or len(sound) < len(found):
        return None
    columns = _join(sound)
    if columns is None or columns[STACK].values >= 1 << 31 or columns[STACK].values != columns[VALUE].values:
        return None
    row_counts = np.array([one.rows for one in sound], np.int64)
    rows = int(row_counts.sum())
    file = pq.ParquetFile(
        pa.BufferReader(_make_file(list(columns.values()), rows)),
        pre_buffer=False,
        arrow_extensions_enabled=False,
        page_checksum_verification=True,
    )
    table = file.read(use_threads=False).combine_chunks()
    if table.num_rows != rows:
        return None
    starts, stack = _list(table, STACK)
    value_starts, value = _list(table, VALUE)
    expected = np.array([one.values(STACK) for one in sound], np.int64)
    if not np.array_equal(starts, value_starts) or not np.array_equal(count_entries(starts, row_counts), expected):
        return None
    seldom = {
        number: list(paths)
        for number, one in enumerate(sound)
        if (paths := [path for group in _SELDOM if one.holds(group[0]) for path in group])
    }
    flat = table.select([name for name in table.column_names if name not in _LISTS.values()])
    return Joined(row_counts, flat, starts, stack, value, seldom)


def _join(sections: list[Found]) -> dict[str, _Column] | None:
    """The pages of every column that is needed, or None if there is one that cannot be joined."""
    nullable = [name for name in _NULLABLE if any(one.holds(name) for one in sections)]
    columns = {path: _Column(path) for path in (*_REQUIRED, *nullable, *_LISTS)}
    for column in columns.values():
        path = column.path
        for one in sections:
            if path in nullable and not one.holds(path):
                column.pages.append(_null_page(one.rows))
                column.values += one.rows
                continue
            pages, values = one.pages(path), one.values(path)
            if pages is None or (path not in _LISTS and values != one.rows):
                return None
            column.pages.append(pages)
            column.values += values
    return columns


def _list(table: Any, path: str) -> tuple[I64, I64]:
    """Starts and elements of a list column."""
    lists = table.column(_LISTS[path]).chunk(0)
    starts = np.frombuffer(lists.offsets.buffers()[1], np.int32, len(lists) + 1, lists.offsets.offset * 4)
    elements = lists.values
    first, last = int(starts[0]), int(starts[-1])
    return starts.astype(np.int64) - first, np.frombuffer(elements.buffers()[1], np.int64, last - first, first * 8)


# --- A Parquet file, in Thrift's compact protocol -----------------------------------------------------------------


def _make_file(columns: list[_Column], rows: int) -> bytes:
    """A file of one row group that holds the pages as they are."""
    parts: list[Any] = [_MAGIC]
    chunks = []
    position = total = len(_MAGIC)
    for column in columns:
        parts += column.pages
        size = sum(map(len, column.pages))
        chunks.append(_chunk(column, position, size))
        position += size
    total = position - len(_MAGIC)
    group = b"\x19" + _list_of(12, chunks) + b"\x16" + _number(total) + b"\x16" + _number(rows) + b"\x00"
    schema = _schema(tuple(column.path for column in columns))
    footer = b"\x15\x04\x19" + schema + b"\x16" + _number(rows) + b"\x19" + _list_of(12, [group]) + b"\x00"
    return b"".join((*parts, footer, len(footer).to_bytes(4, "little"), _MAGIC))


def _chunk(column: _Column, offset: int, size: int) -> bytes:
    kind = _REQUIRED.get(column.path, _INT64)
    path = [_LISTS[column.path], "list", "element"] if column.path in _LISTS else [column.path]
    return b"".join(
        (
            b"\x26\x00\x1c\x15", _number(kind),
            b"\x19", _list_of(5, [_number(0)]),
            b"\x19", _list_of(8, [_binary(name) for name in path]),
            b"\x15\x00\x16", _number(column.values),
            b"\x16", _number(size),
            b"\x16", _number(size),
            b"\x26", _number(offset),
            b"\x00\x00",
        )
    )  # fmt: skip


@lru_cache(maxsize=64)
def _schema(paths: tuple[str, ...]) -> bytes:
    """The list of schema elements, the root first."""
    # Fields: 1 type, 2 width, 3 repetition (0 required, 1 optional, 2 repeated), 4 name, 5 children, 6 (3: a list).
    elements = [b"\x48" + _binary("schema") + b"\x15" + _number(len(paths)) + b"\x00"]
    for path in paths:
        if path in _LISTS:
            elements += [
                b"\x35\x00\x18" + _binary(_LISTS[path]) + b"\x15\x02\x15\x06\x00",
                b"\x35\x04\x18" + _binary("list") + b"\x15\x02\x00",
                b"\x15" + _number(_INT64) + b"\x25\x00\x18" + _binary("element") + b"\x00",
            ]
            continue
        kind = _REQUIRED.get(path, _INT64)
        width = b"\x15" + _number(16) + b"\x15" if kind == _FIXED else b"\x25"
        repetition = _number(0 if path in _REQUIRED else 1)
        elements.append(b"\x15" + _number(kind) + width + repetition + b"\x18" + _binary(path) + b"\x00")
    return _list_of(12, elements)


@lru_cache(maxsize=256)
def _null_page(rows: int) -> bytes:
    """A page of version 1 with that many nulls of a column that is not nested."""
    run = _varint(rows << 1) + b"\x00"
    levels = len(run).to_bytes(4, "little") + run
    size = _number(len(levels))
    # Its two sizes; values; encodings: plain, and run lengths for both kinds of levels.
    return (
        b"\x15\x00\x15"
        + size
        + b"\x15"
        + size
        + b"\x2c\x15"
        + _number(rows)
        + b"\x15\x00\x15\x06\x15\x06\x00\x00"
        + levels
    )


def _list_of(kind: int, items: Sequence[bytes]) -> bytes:
    count = len(items)
    start = bytes([count << 4 | kind]) if count < 15 else bytes([0xF0 | kind]) + _varint(count)
    return start + b"".join(items)


def _binary(text: str) -> bytes:
    return _varint(len(text)) + text.encode()


def _number(value: int) -> bytes:
    return _varint(value << 1)


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)
