"""Footers of the usual form, found by a pattern: the fast way to where a section's columns are.

A job has dozens of small Parquet files of one schema and one row group; one regular expression finds all numbers of
such a footer in the time in which twenty of its thousand fields are parsed. Any other footer is answered with None
and left to `profiles_footer`. What is found is checked by whoever reads the pages.
"""

import re
from dataclasses import dataclass
from typing import Final

from pyro_assets.block.profiles_footer import MAGIC, Part, end_of_schema
from pyro_assets.block.profiles_pages import NUMBER, Chunk
from pyro_assets.block.profiles_schema import ID_BYTES
from pyro_assets.block.profiles_thrift import number_of


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


#: Field 3, the number of rows; field 4, a list of one struct, which begins with a list of structs: so many columns.
_ROW_GROUP: Final = re.compile(rb"\x16" + NUMBER + rb"\x19\x1c\x19([\x1c-\xec]|\xfc" + NUMBER + rb")", re.DOTALL)


class _FormPart(Part):
    """A part whose numbers are decoded when they are asked for."""

    __slots__ = ("_numbers",)

    def __init__(self, section: memoryview, rows: int, numbers: dict[str, tuple[bytes | None, ...]]) -> None:
        super().__init__(section, rows, {})
        self._numbers = numbers

    def has(self, path: str) -> bool:
        return path in self._numbers

    def chunk(self, path: str) -> Chunk:
        chunk = self.chunks.get(path)
        if chunk is None:
            values, size, start, dictionary = self._numbers[path]
            begin = number_of(start) if start else 0
            first = number_of(dictionary) if dictionary else 0
            if not 0 < first < begin:
                first = begin
            end = first + (number_of(size) if size else 0)
            chunk = self.chunks[path] = Chunk(number_of(values) if values else 0, first, end, first != begin)
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


def find_part(section: memoryview) -> Part | None:
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
