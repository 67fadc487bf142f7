"""Footers and page headers of the usual form, parsed by patterns: where a profiles section's columns are.

Opening a Parquet file costs as much as decoding 10 kB of it, and a job has dozens of small ones. Nearly all have one
form: one row group, nothing compressed; it is found here with one regular expression a footer.
Anything else is answered with None and left to Arrow. `profiles_joined` uses what is found; the numbers mean what
parquet.thrift says.
"""

import re
from dataclasses import dataclass
from typing import Final

from pyro_assets.block.profiles_pages import VALUES_PER_BYTE, read_struct
from pyro_assets.block.profiles_schema import ID_BYTES, OPTIONAL, REQUIRED, STACK, Layout

# Thrift's compact protocol. Each alternative is told by its first byte and none is tried twice (possessive and
# atomic), so a match is the one parse there is, and takes linear time.
_NUMBER: Final = rb"[\x80-\xff]{0,9}+[\x00-\x7f]"
#: A binary as statistics of columns of fixed width have it.
_BINARY: Final = rb"(?:\x04.{4}|\x08.{8}|\x10.{16}|\x00)"
_STATISTICS: Final = (
    rb"(?>(?:[\x18\x28\x38\x48\x58\x68]" + _BINARY + rb"|[\x16\x26\x36]" + _NUMBER + rb"|[\x11\x12\x21\x22])*+\x00)"
)
_I32: Final = rb"\x15" + _NUMBER

#: A data page's header, of version 2 or 1: both sizes and the number of values.
_PAGE: Final = re.compile(
    rb"\x15\x06\x15(" + _NUMBER + rb")\x15(" + _NUMBER + rb")(?:" + _I32 + rb"\x4c|\x5c)\x15(" + _NUMBER + rb")"
    + _I32 * 5 + rb"(?:[\x11\x12](?:\x1c" + _STATISTICS + rb")?|\x2c" + _STATISTICS + rb")?+\x00\x00"
    rb"|\x15\x00\x15(" + _NUMBER + rb")\x15(" + _NUMBER + rb")(?:" + _I32 + rb"\x1c|\x2c)\x15(" + _NUMBER + rb")"
    + _I32 * 3 + rb"(?:\x1c" + _STATISTICS + rb")?+\x00\x00",
    re.DOTALL,
)  # fmt: skip
#: No page header of these forms is longer.
_LONGEST_HEADER: Final = 256


@dataclass(frozen=True, slots=True)
class _Form:
    """A footer that starts with these bytes (version and schema) is parsed by the pattern from there on.

    `columns` are the leaves that the pattern finds, in the order of the file, with four groups each.
    """

    start: bytes
    pattern: re.Pattern[bytes]
    columns: tuple[str, ...]


#: Forms seen so far.
_forms: list[_Form] = []


def learn_form(section: memoryview, layout: Layout) -> None:
    """Remember the schema of a section that was opened and checked, so that the next one like it is found."""
    footer = _footer(section)
    # Real files have a handful of schemas; made ones may have any number.
    if len(_forms) < 8 and not any(footer.startswith(form.start) for form in _forms):
        try:
            end = _end_of_schema(memoryview(footer))
        except (IndexError, ValueError):
            return
        _forms.append(_Form(footer[:end], *_pattern(layout)))


def _footer(section: memoryview) -> bytes:
    size = len(section)
    length = int.from_bytes(section[size - 8 : size - 4], "little")
    return bytes(section[max(0, size - 8 - length) : size - 8])


def _end_of_schema(footer: memoryview) -> int:
    """Where the struct of the file goes on after its first two fields: an i32 and a list of structs."""
    if footer[0] != 0x15 or footer[1] > 127 or footer[2] != 0x19 or footer[3] & 15 != 12:
        raise ValueError
    count, position = footer[3] >> 4, 4
    if count == 15:
        count, position = footer[4], 5
    for _ in range(count):
        _, position = read_struct(footer, position)
    return position


def _pattern(layout: Layout) -> tuple[re.Pattern[bytes], tuple[str, ...]]:
    wanted = {*REQUIRED, *(paths[0] for paths in OPTIONAL)}
    columns = sorted((path for path in layout.position if path in wanted), key=layout.position.__getitem__)
    # Field 3, the number of rows; field 4, a list of one struct, which begins with a list of structs.
    parts = [rb"\x16(" + _NUMBER + rb")\x19\x1c\x19(?:[\x1c-\xec]|\xfc" + _NUMBER + rb")"]
    for path in columns:
        names = path.split(".")
        listed = bytes([0x19, len(names) << 4 | 8]) + b"".join(bytes([len(n)]) + n.encode() for n in names)
        # Its path; compression 0; values, bytes twice, where data begin and a dictionary; how many nulls.
        parts.append(
            rb"(?>.*?" + re.escape(listed) + rb"\x15\x00\x16(" + _NUMBER + rb")\x16" + _NUMBER + rb"\x16("
            + _NUMBER + rb")\x26(" + _NUMBER + rb")(?:\x26" + _NUMBER + rb")?(?:[\x1c\x3c]\x36(" + _NUMBER + rb"))?)"
        )  # fmt: skip
    return re.compile(b"".join(parts), re.DOTALL), tuple(columns)


@dataclass(slots=True)
class Found:
    """A section of the usual form: its rows (at least one), and what the footer says of each column.

    `chunks`: path -> (values, bytes, offset, nulls) as undecoded numbers, nulls None where statistics do not say.
    """

    section: memoryview
    rows: int
    chunks: dict[str, tuple[bytes, bytes, bytes, bytes | None]]

    def holds(self, path: str) -> bool:
        """Whether the column is there and not known to be all null."""
        chunk = self.chunks.get(path)
        return chunk is not None and chunk[0] != chunk[3]

    def values(self, path: str) -> int:
        """Values of the column, list elements and nulls included."""
        return _number(self.chunks[path][0])

    def pages(self, path: str) -> memoryview | None:
        """The column's data pages with their headers; None if that is not all that is in their place."""
        values, size, offset, _ = self.chunks[path]
        start = position = _number(offset)
        end = start + _number(size)
        if not 4 <= start < end <= len(self.section) - 8:
            return None
        left = _number(values)
        while position < end:
            header = _PAGE.match(self.section[position : min(end, position + _LONGEST_HEADER)])
            if header is None:
                return None
            plain_size, stored_size, count = header.groups()[:3] if header.lastindex == 3 else header.groups()[3:]
            if plain_size != stored_size or (page_size := _number(stored_size)) < 0 or (held := _number(count)) < 0:
                return None
            left -= held
            position += header.end() + page_size
        return self.section[start:end] if position == end and left == 0 else None


def find_columns(section: memoryview) -> Found | None:
    """Where the columns of a section are, or None if it is not of a known form."""
    size = len(section)
    if size < 12 or bytes(section[:4]) != b"PAR1" or bytes(section[size - 4 :]) != b"PAR1":
        return None
    footer = _footer(section)
    for form in _forms:
        if footer.startswith(form.start):
            match = form.pattern.match(footer, len(form.start))
            if match is None:
                return None
            groups = match.groups()
            rows = _number(groups[0])
            chunks = dict(zip(form.columns, zip(*[iter(groups[1:])] * 4, strict=True), strict=True))
            found = Found(section, rows, chunks)
            if not 0 < rows <= size // ID_BYTES:
                return None
            if not rows <= found.values(STACK) <= rows + VALUES_PER_BYTE * size:
                return None
            return found
    return None


def _number(raw: bytes) -> int:
    """A zig-zag number.

    >>> _number(bytes([0x3C])), _number(bytes([0xC4, 0x31])), _number(bytes([0x03]))
    (30, 3170, -2)
    """
    if len(raw) == 1:
        result = raw[0]
    else:
        result = shift = 0
        for byte in raw:
            result |= (byte & 127) << shift
            shift += 7
    return (result >> 1) ^ -(result & 1)
