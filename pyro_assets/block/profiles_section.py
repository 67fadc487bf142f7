"""One profiles section opened as a Parquet file, everything in it checked before it is decoded.

The careful way: it reads whatever a Parquet writer may have made of the columns, and names what is wrong. `profiles`
takes it for sections of an unusual form and for columns that few sections have. Checks of a single section belong
here; the file's metadata are as untrusted as its pages.
"""

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from pyro_assets.block.columns import I64
from pyro_assets.block.profiles_forms import learn_form
from pyro_assets.block.profiles_pages import DELTA_LENGTH_BYTE_ARRAY, PLAIN, VALUES_PER_BYTE, check_pages
from pyro_assets.block.profiles_schema import (
    ANNOTATION_KEY,
    ANNOTATIONS,
    COMMENTS,
    ID_BYTES,
    LABEL_KEY,
    LABELS,
    REQUIRED,
    SPAN_ID,
    STACK,
    TRACE_ID,
    VALUE,
    Layout,
    check_schema,
    count_entries,
)
from pyro_assets.errors import BadCount, BadEncoding, BadLength, BadMagic, Truncated, Where

_MAGIC: Final = b"PAR1"
#: More samples than this in one section are refused: lists have 32-bit offsets, and memory has an end.
_MOST_SAMPLES: Final = 1 << 27
#: No list in a footer is longer; Thrift allocates for a list before it reads the elements.
_LONGEST_FOOTER_LIST: Final = 1 << 16

#: Whatever pyarrow raises for a file that does not decode.
ARROW_ERRORS: Final = (
    pa.ArrowException,
    OSError,
    ValueError,
    KeyError,
    IndexError,
    OverflowError,
    TypeError,
    NotImplementedError,
    MemoryError,
)

#: How many values a nested column may have in a row group: as many as another column (as rows if ""), and whether
#: more than that, by lists.
_COUNTS: Final = {
    STACK: ("", True),
    VALUE: (STACK, False),
    SPAN_ID: (STACK, False),
    TRACE_ID: (STACK, False),
    LABEL_KEY: (STACK, True),
    LABELS + "Str": (LABEL_KEY, False),
    LABELS + "Num": (LABEL_KEY, False),
    LABELS + "NumUnit": (LABEL_KEY, False),
    COMMENTS: ("", True),
    ANNOTATION_KEY: ("", True),
    ANNOTATIONS + "Value": (ANNOTATION_KEY, False),
}
#: Strings may not come from a dictionary: a small file could then hold any number of long ones.
_ENCODINGS: Final = dict.fromkeys((ANNOTATION_KEY, ANNOTATIONS + "Value"), (PLAIN, DELTA_LENGTH_BYTE_ARRAY))

#: Layouts seen so far: the schema of almost every file equals one of them, which is faster than checking it.
_layouts: list[Layout] = []


@dataclass(slots=True)
class OpenSection:
    """A section whose footer was read and checked.

    Attributes:
        data: the whole Parquet file.
        file: Arrow's reader of it.
        layout: where its columns are.
        rows: how many it has.
        where: for messages.
    """

    data: memoryview
    file: Any
    layout: Layout
    rows: int
    where: Where

    def columns(self) -> list[str]:
        """Paths of the required columns and of those others that metadata do not call empty."""
        wanted = dict.fromkeys(REQUIRED)
        metadata = self.file.metadata
        for number in range(metadata.num_row_groups):
            group = metadata.row_group(number)
            for paths, probe in self.layout.optional:
                if paths[0] in wanted:
                    continue
                chunk = group.column(probe)
                statistics = chunk.statistics
                if statistics is None or not statistics.has_null_count or statistics.null_count != chunk.num_values:
                    wanted.update(dict.fromkeys(paths))
        return list(wanted)

    def read(self, columns: list[str]) -> tuple[Any, "Samples | None"]:
        """Decode these columns into an Arrow table; its column Samples is taken apart.

        Raises:
            BadCount, BadEncoding, BadLength, Truncated: the metadata or page headers of these columns are wrong.
        """
        metadata = self.file.metadata
        checked = columns if STACK in columns else [STACK, *columns]
        entries = 0
        for number in range(metadata.num_row_groups):
            entries += self._check_row_group(metadata.row_group(number), checked)
        if entries > _MOST_SAMPLES:
            raise BadCount("samples of the profiles", self.where, expected=f"at most {_MOST_SAMPLES}", actual=entries)
        table = self.file.read(columns=columns, use_threads=False).combine_chunks()
        if table.num_rows != self.rows:
            raise BadCount("rows of the profiles", self.where, expected=self.rows, actual=table.num_rows)
        samples = split_samples(table, self.where)
        if samples is not None:
            found = int(count_entries(samples.starts, np.array([self.rows])).sum())
            if found != entries:
                # Arrow stops at the rows it was asked for, whatever follows.
                raise BadCount("values in the lists of the profiles", self.where, expected=entries, actual=found)
        return table, samples

    def _check_row_group(self, group: Any, columns: list[str]) -> int:
        """Check counts and sizes of the columns; the number of values of STACK."""
        rows, where = group.num_rows, self.where
        values: dict[str, int] = {}
        for path in columns:
            chunk = group.column(self.layout.position[path])
            if chunk.compression != "UNCOMPRESSED":
                raise BadEncoding(
                    f"compression of column {path}", where, expected="UNCOMPRESSED", actual=chunk.compression
                )
            count, size = chunk.num_values, chunk.total_compressed_size
            base, grows = _COUNTS.get(path, ("", False))
            least = values[base] if base else rows
            most = least + grows * VALUES_PER_BYTE * min(size, len(self.data))
            if not least <= count <= most:
                raise BadCount(f"values of column {path}", where, expected=f"from {least} to {most}", actual=count)
            values[path] = count
            # A column that is not nested needs no look at its pages: Arrow stops at the rows it was asked for.
            if path in _COUNTS:
                start = chunk.data_page_offset
                if chunk.has_dictionary_page and 0 < chunk.dictionary_page_offset < start:
                    start = chunk.dictionary_page_offset
                check_pages(self.data, start, start + size, count, path, where, _ENCODINGS.get(path))
        return values[STACK]


def open_section(section: memoryview, where: Where) -> OpenSection:
    """Open a section and check its schema and its number of rows.

    Raises:
        BadMagic, Truncated, BadLength: it is no Parquet file, or one without its end.
        BadCount: more rows than it has room for, or counts that contradict each other.
        BadEncoding: a column is missing or has another type.
    """
    size = len(section)
    if size < 12:
        raise Truncated("profiles", where, expected="a Parquet file of at least 12 bytes", actual=size)
    ends = bytes(section[:4]), bytes(section[size - 4 :])
    if ends != (_MAGIC, _MAGIC):
        raise BadMagic("profiles", where, expected=(_MAGIC, _MAGIC), actual=ends)
    footer_size = int.from_bytes(section[size - 8 : size - 4], "little")
    if footer_size > size - 12:
        raise BadLength(
            "Parquet footer of the profiles",
            where,
            offset=size - 8,
            expected=f"at most {size - 12} bytes",
            actual=footer_size,
        )
    file = pq.ParquetFile(
        pa.BufferReader(section),
        pre_buffer=False,
        arrow_extensions_enabled=False,
        page_checksum_verification=True,
        thrift_string_size_limit=size,
        thrift_container_size_limit=_LONGEST_FOOTER_LIST,
    )
    layout = _find_layout(file.schema, where)
    learn_form(section, layout)
    metadata = file.metadata
    groups = [metadata.row_group(number).num_rows for number in range(metadata.num_row_groups)]
    rows = metadata.num_rows
    if min(groups, default=0) < 0 or sum(groups) != rows or rows > size // ID_BYTES:
        raise BadCount(
            "rows of the profiles",
            where,
            expected=f"the {sum(groups)} of its row groups, at most {size // ID_BYTES}",
            actual=rows,
        )
    return OpenSection(section, file, layout, rows, where)


def _find_layout(schema: Any, where: Where) -> Layout:
    for layout in _layouts:
        if schema.equals(layout.schema):
            return layout
    layout = check_schema(schema, where)
    # Real files have a handful of schemas; made ones may have any number.
    if len(_layouts) < 8:
        _layouts.append(layout)
    return layout


@dataclass(slots=True)
class Samples:
    """The samples of a section's rows; columns that were not read are None.

    Attributes:
        starts: int64[rows + 1], from 0.
        stack, value, labels, span_id, trace_id: Arrow arrays, one entry per sample.
    """

    starts: I64
    stack: Any
    value: Any
    labels: Any
    span_id: Any
    trace_id: Any


def split_samples(table: Any, where: Where) -> Samples | None:
    """The column Samples of a table that was read, None if it has none.

    Raises:
        BadEncoding: a list or a sample is null.
    """
    index = table.schema.get_field_index("Samples")
    if index < 0:
        return None
    column = table.column(index)
    lists = column.chunk(0) if column.num_chunks else pa.array([], column.type)
    elements = lists.values
    if lists.null_count or elements.null_count:
        raise BadEncoding("nulls in the required column Samples of the profiles", where)
    offsets = lists.offsets
    starts = np.frombuffer(offsets.buffers()[1], np.int32, len(lists) + 1, offsets.offset * 4).astype(np.int64)
    first, last = int(starts[0]), int(starts[-1])
    if first or last != len(elements):
        elements, starts = elements.slice(first, last - first), starts - first
    kind = elements.type
    names = ("StacktraceID", "Value", "Labels", "SpanID", "TraceID")
    fields = [elements.field(at) if (at := kind.get_field_index(name)) >= 0 else None for name in names]
    return Samples(starts, *fields)
