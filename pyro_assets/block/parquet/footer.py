"""The footer of a profiles section: its schema checked, its row groups found, from any writer.

The careful way goes field by field, the fast one finds footers of the usual form by a pattern. Checks that need only
the footer belong here. What the numbers mean is said in the Parquet specification, parquet.thrift.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from pyro_assets.block.parquet.pages import NUMBER, VALUES_PER_BYTE, ColumnChunk
from pyro_assets.block.parquet.schema import (
    ANNOTATION_KEY,
    ANNOTATIONS,
    COMMENTS,
    ID_BYTES,
    LABEL_KEY,
    LABELS,
    SPAN_ID,
    STACK,
    TRACE_ID,
    VALUE,
    Leaf,
    check_leaves,
)
from pyro_assets.block.parquet.thrift import number_of, read_struct
from pyro_assets.errors import BadCount, BadEncoding, BadLength, BadMagic, Truncated, Where

MAGIC: Final = b"PAR1"
#: Twenty million rows have no longer footer; parsed, it takes some hundred times its bytes.
_LONGEST_FOOTER: Final = 4 << 20
#: More samples than this in one section are refused: lists have 32-bit offsets, and memory has an end.
_MOST_SAMPLES: Final = 1 << 27
_DEEPEST_GROUP: Final = 10
#: Children repeat the path of their group; ours have 55 characters at most.
_LONGEST_PATH: Final = 256
#: Physical types by number.
_PHYSICAL: Final = ("BOOLEAN", "INT32", "INT64", "INT96", "FLOAT", "DOUBLE", "BYTE_ARRAY", "FIXED_LEN_BYTE_ARRAY")
#: Converted types (parquet.thrift) of integers by width and sign.
_CONVERTED: Final = {"64 True": 18, "64 False": 14, "32 False": 13}
_COMPRESSIONS: Final = ("UNCOMPRESSED", "SNAPPY", "GZIP", "LZO", "BROTLI", "LZ4", "ZSTD", "LZ4_RAW")
#: How many values a list column has in a row group: as many as another column (as rows if ""), and whether more than
#: that, by its own lists.
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


@dataclass(slots=True)
class GroupColumns:
    """One row group of a section: its rows, at least one, and the chunks of the known columns by path."""

    section: memoryview
    rows: int
    chunks: dict[str, ColumnChunk]

    def has(self, path: str) -> bool:
        """Whether the column is there."""
        return path in self.chunks

    def chunk(self, path: str) -> ColumnChunk:
        """Where the column is."""
        return self.chunks[path]


def footer_of(section: memoryview, where: Where) -> memoryview:
    """The footer's bytes.

    Raises:
        BadMagic, Truncated, BadLength: it is no Parquet file, or one without its end.
    """
    size = len(section)
    if size < 12:
        raise Truncated("profiles", where, expected="a Parquet file of at least 12 bytes", actual=size)
    ends = bytes(section[:4]), bytes(section[size - 4 :])
    if ends != (MAGIC, MAGIC):
        raise BadMagic("profiles", where, expected=(MAGIC, MAGIC), actual=ends)
    length = int.from_bytes(section[size - 8 : size - 4], "little")
    most = min(size - 12, _LONGEST_FOOTER)
    if length > most:
        raise BadLength(
            "Parquet footer of the profiles", where, offset=size - 8, expected=f"at most {most}", actual=length
        )
    return section[size - 8 - length : size - 8]


def read_footer(section: memoryview, where: Where) -> list[GroupColumns]:
    """Parse the footer of a section.

    Returns:
        Its row groups, those without rows left out.

    Raises:
        BadMagic, Truncated, BadLength: it is no Parquet file, or one without its end.
        BadCount: more rows or samples than it has room for, or counts that contradict each other.
        BadEncoding: the footer does not parse, a column is missing, of another type or compressed.
    """
    fields = _parse(footer_of(section, where), where)
    leaves = _leaves(_field(fields, 2, list, "schema", where), where)
    place = check_leaves(leaves, where)
    rows = _field(fields, 3, int, "number of rows", where)
    groups = _field(fields, 4, list, "row groups", where)
    counts = [_field(group, 3, int, "rows of a row group", where) for group in groups]
    most = len(section) // ID_BYTES
    if min(counts, default=0) < 0 or not sum(counts) == rows <= most:
        raise BadCount(
            "rows of the profiles", where, expected=f"the {counts[:8]} of its row groups, at most {most}", actual=rows
        )
    parts = [_part(section, group, leaves, place, where) for group in groups]
    samples = sum(part.chunks[STACK].values for part in parts)
    if samples > _MOST_SAMPLES:
        raise BadCount("samples of the profiles", where, expected=f"at most {_MOST_SAMPLES}", actual=samples)
    return [part for part in parts if part.rows]


def end_of_schema(footer: memoryview) -> int:
    """Where a well-formed footer goes on after its first two fields, the version and the schema.

    Raises:
        IndexError, ValueError: it does not begin with them.
    """
    if footer[0] != 0x15 or footer[1] > 127 or footer[2] != 0x19 or footer[3] & 15 != 12:
        raise ValueError("version and schema expected")
    count, position = footer[3] >> 4, 4
    if count == 15:
        count, position = footer[4], 5
    for _ in range(count):
        _, position = read_struct(footer, position)
    return position


def _parse(footer: memoryview, where: Where) -> dict[int, Any]:
    try:
        return read_struct(footer, 0)[0]
    except IndexError:
        raise BadEncoding("Parquet footer of the profiles ends too early", where) from None
    except ValueError as error:
        raise BadEncoding(f"Parquet footer of the profiles does not parse: {error}", where) from None


def _field(fields: Any, number: int, kind: type, name: str, where: Where) -> Any:
    value = fields.get(number) if isinstance(fields, dict) else None
    if type(value) is not kind:
        raise BadEncoding(
            f"{name} in the Parquet footer of the profiles", where, expected=kind.__name__, actual=repr(value)[:80]
        )
    return value


def _leaves(elements: list[Any], where: Where) -> list[tuple[str, Leaf]]:
    """Path and type of every leaf; the elements are a tree written depth first, each group with its width."""
    leaves: list[tuple[str, Leaf]] = []
    # What is open: how many children are still to come, path, levels.
    stack: list[tuple[int, str, int, int]] = []
    for number, element in enumerate(elements):
        width = element.get(5, 0) if isinstance(element, dict) else -1
        if not isinstance(width, int) or not 0 <= width <= len(elements) or len(stack) > _DEEPEST_GROUP:
            raise BadEncoding("schema of the profiles", where, expected="a tree", actual=f"element {number}")
        if number == 0:
            stack.append((width, "", 0, 0))
            continue
        if not stack:
            raise BadEncoding("schema of the profiles", where, expected=f"{number} elements", actual=len(elements))
        left, path, definition, repetition = stack.pop()
        if left > 1:
            stack.append((left - 1, path, definition, repetition))
        path += _field(element, 4, bytes, "name of a column", where).decode(errors="backslashreplace")
        if len(path) > _LONGEST_PATH:
            raise BadEncoding(
                "path of a column", where, expected=f"at most {_LONGEST_PATH} characters", actual=len(path)
            )
        kind = _field(element, 3, int, f"repetition of {path}", where)
        definition, repetition = definition + (kind > 0), repetition + (kind == 2)
        if 5 in element and width:
            stack.append((width, path + ".", definition, repetition))
        else:
            leaves.append((path, Leaf(_kind(element), (definition, repetition))))
    if stack:
        raise BadEncoding("schema of the profiles", where, expected="more elements", actual=len(elements))
    return leaves


def _kind(element: dict[int, Any]) -> str:
    """A leaf's type in the words of `profiles_schema`."""
    number, converted = element.get(1), element.get(6)
    logical = element.get(10)
    logical = logical if isinstance(logical, dict) else {}
    physical = _PHYSICAL[number] if isinstance(number, int) and 0 <= number < len(_PHYSICAL) else f"type {number}"
    if physical == "FIXED_LEN_BYTE_ARRAY":
        physical = f"{element.get(2)} bytes"
    if 14 in logical:
        return f"{physical} UUID"
    if 1 in logical or converted == 0:
        return f"{physical} String"
    if isinstance(time := logical.get(8), dict):
        unit = time.get(2)
        unit = "nanoseconds" if isinstance(unit, dict) and 3 in unit else "other unit"
        return f"{physical} {unit} {'UTC' if time.get(1) is True else 'local'}"
    if isinstance(integer := logical.get(10), dict):
        converted = _CONVERTED.get(f"{integer.get(1)} {integer.get(2)}", -1)
    elif logical:
        return f"{physical} of logical type {sorted(logical)}"
    # A signed 64-bit integer needs no annotation: some writers (Arrow among them) leave it out.
    if converted is None or (converted, physical) == (18, "INT64"):
        return physical
    if (converted, physical) in ((14, "INT64"), (13, "INT32")):
        return f"{physical} unsigned"
    return f"{physical} of converted type {converted}"


def _part(
    section: memoryview, group: Any, leaves: list[tuple[str, Leaf]], place: dict[str, int], where: Where
) -> GroupColumns:
    columns = _field(group, 1, list, "columns of a row group", where)
    if len(columns) != len(leaves):
        raise BadCount("columns of a row group of the profiles", where, expected=len(leaves), actual=len(columns))
    part = GroupColumns(section, group[3], {path: _chunk(columns[index], path, where) for path, index in place.items()})
    check_counts(part, place, where)
    return part


def check_counts(part: GroupColumns, paths: Iterable[str], where: Where) -> None:
    """Check that columns have as many values as the rows, or as the columns that they go with, allow.

    Raises:
        BadCount: one has more or fewer.
    """
    for path in paths:
        chunk = part.chunk(path)
        base, grows = _COUNTS.get(path, ("", False))
        least = most = part.chunk(base).values if base else part.rows
        if grows:
            most += VALUES_PER_BYTE * max(0, min(chunk.end - chunk.start, len(part.section)))
        if not least <= chunk.values <= most:
            raise BadCount(f"values of column {path}", where, expected=f"from {least} to {most}", actual=chunk.values)


def _chunk(column: Any, path: str, where: Where) -> ColumnChunk:
    meta = _field(column, 3, dict, f"metadata of column {path}", where)
    names = _field(meta, 3, list, f"path of column {path}", where)
    if names != path.encode().split(b".") or 1 in column:
        raise BadEncoding("columns of a row group of the profiles", where, expected=path, actual=names)
    compression = _field(meta, 4, int, f"compression of column {path}", where)
    if compression:
        name = _COMPRESSIONS[compression] if 0 < compression < len(_COMPRESSIONS) else compression
        raise BadEncoding(f"compression of column {path}", where, expected="UNCOMPRESSED", actual=name)
    size = _field(meta, 7, int, f"size of column {path}", where)
    start = _field(meta, 9, int, f"offset of column {path}", where)
    dictionary = meta.get(11)
    has_dictionary = isinstance(dictionary, int) and 0 < dictionary < start
    if has_dictionary:
        start = dictionary
    return ColumnChunk(
        _field(meta, 5, int, f"values of column {path}", where),
        start,
        start + size,
        has_dictionary,
    )


@dataclass(frozen=True, slots=True)
class _Form:
    """A footer that starts with these bytes (version and schema) is parsed by the pattern from there on.

    `columns` are the leaves that the pattern finds, in the order of the file, with four groups each.
    """

    start: bytes
    pattern: re.Pattern[bytes]
    columns: tuple[str, ...]


#: Forms seen last. Real files have a handful; made ones may have any number.
_forms: list[_Form] = []
_MOST_FORMS: Final = 8
#: Field 3, the number of rows; field 4, a list of one struct, which begins with a list of structs, one for each column.
_ROW_GROUP: Final = re.compile(rb"\x16" + NUMBER + rb"\x19\x1c\x19([\x1c-\xec]|\xfc" + NUMBER + rb")", re.DOTALL)


class _FormPart(GroupColumns):
    """A part whose numbers are decoded when they are asked for."""

    __slots__ = ("_numbers",)

    def __init__(self, section: memoryview, rows: int, numbers: dict[str, tuple[bytes | None, ...]]) -> None:
        super().__init__(section, rows, {})
        self._numbers = numbers

    def has(self, path: str) -> bool:
        return path in self._numbers

    def chunk(self, path: str) -> ColumnChunk:
        chunk = self.chunks.get(path)
        if chunk is None:
            values, size, start, dictionary = self._numbers[path]
            begin = number_of(start) if start else 0
            first = number_of(dictionary) if dictionary else 0
            if not 0 < first < begin:
                first = begin
            end = first + (number_of(size) if size else 0)
            chunk = self.chunks[path] = ColumnChunk(number_of(values) if values else 0, first, end, first != begin)
        return chunk


def learn_form(section: memoryview, columns: tuple[str, ...]) -> None:
    """Remember the schema of a section that the careful way has read, so that the next one like it is found.

    Args:
        section: a section with a sound footer.
        columns: the known leaves in the order of the file.
    """
    footer = _footer(section)
    if any(footer.startswith(form.start) for form in _forms):
        return
    try:
        end = end_of_schema(memoryview(footer))
    except (IndexError, ValueError):
        return  # sound, but not as anyone writes it
    start = _ROW_GROUP.match(footer, end)
    if start is not None:
        _forms.append(_Form(footer[:end], _pattern(start.group(1), columns), columns))
        del _forms[:-_MOST_FORMS]


def find_part(section: memoryview) -> GroupColumns | None:
    """The only row group of a section, or None if the section is not of a known form."""
    size = len(section)
    if size < 12 or bytes(section[:4]) != MAGIC or bytes(section[size - 4 :]) != MAGIC:
        return None
    footer = _footer(section)
    for form in _forms:
        if footer.startswith(form.start):
            match = form.pattern.match(footer, len(form.start))
            if match is None:
                return None
            groups = match.groups()
            rows = number_of(groups[0])
            part = _FormPart(
                section, rows, dict(zip(form.columns, zip(*[iter(groups[1:])] * 4, strict=True), strict=True))
            )
            return part if 0 < rows <= size // ID_BYTES else None
    return None


def _footer(section: memoryview) -> bytes:
    size = len(section)
    length = int.from_bytes(section[size - 8 : size - 4], "little")
    return bytes(section[max(0, size - 8 - length) : size - 8])


def _pattern(start_of_columns: bytes, columns: tuple[str, ...]) -> re.Pattern[bytes]:
    parts = [rb"\x16(" + NUMBER + rb")\x19\x1c\x19" + re.escape(start_of_columns)]
    for path in columns:
        names = path.split(".")
        listed = bytes([0x19, len(names) << 4 | 8]) + b"".join(bytes([len(n)]) + n.encode() for n in names)
        # Its path; compression 0; values, bytes twice, where data begin and a dictionary. What comes before
        # the path of the next column is skipped (atomically: linear time, whatever the footer holds).
        parts.append(
            rb"(?>.*?" + re.escape(listed) + rb"\x15\x00\x16(" + NUMBER + rb")\x16" + NUMBER + rb"\x16("
            + NUMBER + rb")\x26(" + NUMBER + rb")(?:\x26(" + NUMBER + rb"))?)"
        )  # fmt: skip
    # Behind all columns of the row group: its bytes, and its rows again.
    parts.append(rb".*?\x16" + NUMBER + rb"\x16\1")
    return re.compile(b"".join(parts), re.DOTALL)
