"""The pages of a column chunk, checked before Arrow decodes them: they fill their place and hold what was said.

A run-length encoded page of a few bytes can claim 2^31 list elements, and Arrow believes the page. Pages of many
sections are also put end to end (`profiles_file`), where one that is too long would swallow its neighbour. Checks of
page headers belong here; values are decoded by Arrow.
"""

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

from pyro_assets.block.parquet.schema import LEAVES
from pyro_assets.block.parquet.thrift import number_of, read_struct
from pyro_assets.errors import BadCount, BadEncoding, BadLength, Truncated, Where

#: No encoding that the format uses packs more values than this into a byte (Arrow's deltas: 256 in 5 bytes).
VALUES_PER_BYTE: Final = 64
#: Page types and value encodings by their numbers in parquet.thrift.
_DATA, _DICTIONARY, _DATA_V2 = 0, 2, 3
PLAIN: Final = 0
_RUNS: Final = 3
DELTA_LENGTH_BYTE_ARRAY: Final = 6
#: Fields of PageHeader, and of the headers in it: number of values, encoding.
_TYPE, _PLAIN_SIZE, _STORED_SIZE = 1, 2, 3
_HEADER: Final = {_DATA: 5, _DICTIONARY: 7, _DATA_V2: 8}
_ENCODING: Final = {_DATA: 2, _DICTIONARY: 2, _DATA_V2: 4}
# Page headers of the usual form as a pattern. Each alternative is told by its first byte and none is tried twice
# (possessive and atomic), so a match is the one parse there is, and takes linear time.
NUMBER: Final = rb"[\x80-\xff]{0,9}+[\x00-\x7f]"
_I32: Final = rb"\x15" + NUMBER
#: A struct of statistics, binaries having the lengths of columns of fixed width.
_STATISTICS: Final = (
    rb"(?>(?:[\x18\x28\x38\x48\x58\x68](?:\x04.{4}|\x08.{8}|\x10.{16}|\x00)|[\x16\x26\x36]" + NUMBER
    + rb"|[\x11\x12\x21\x22])*+\x00)"
)  # fmt: skip
#: A data page's header, of version 2 or 1 (with run lengths for levels): both sizes and the number of values; of
#: version 2 also the bytes of its levels.
_PAGE: Final = re.compile(
    rb"\x15\x06\x15(" + NUMBER + rb")\x15(" + NUMBER + rb")(?:" + _I32 + rb"\x4c|\x5c)\x15(" + NUMBER + rb")"
    + _I32 * 3 + rb"\x15(" + NUMBER + rb")\x15(" + NUMBER + rb")"
    + rb"(?:[\x11\x12](?:\x1c" + _STATISTICS + rb")?|\x2c" + _STATISTICS + rb")?+\x00\x00"
    rb"|\x15\x00\x15(" + NUMBER + rb")\x15(" + NUMBER + rb")(?:" + _I32 + rb"\x1c|\x2c)\x15(" + NUMBER + rb")"
    + _I32 + rb"\x15\x06\x15\x06(?:\x1c" + _STATISTICS + rb")?+\x00\x00",
    re.DOTALL,
)  # fmt: skip
#: A dictionary page without any entry.
_NO_DICTIONARY: Final = re.compile(
    rb"\x15\x04\x15\x00\x15\x00(?:" + _I32 + rb"\x3c|\x4c)\x15\x00" + _I32 + rb"[\x11\x12]?\x00\x00", re.DOTALL
)
#: What encoders make of no values: nothing, delta headers that count none (the original's, Arrow's), an index of no
#: bits with an empty run or without. No encoding gets a value out of these bytes.
_NO_VALUES: Final = (b"", b"\x80\x01\x04\x00\x00", b"\x80\x02\x04\x00\x00", b"\x00\x00", b"\x00")
_LAST_OF_VERSION_2: Final = 5
#: No page header of these forms is longer.
_LONGEST_HEADER: Final = 256


@dataclass(frozen=True, slots=True)
class ColumnChunk:
    """One column in one row group: pages in bytes `start:end` of the section, `dictionary` if one comes first.

    `values` counts list elements and nulls.
    """

    values: int
    start: int
    end: int
    dictionary: bool = False


def find_usual_pages(section: memoryview, chunk: ColumnChunk) -> int:
    """Whether the chunk is exactly its data pages, without a dictionary, all with headers of the usual form.

    Returns:
        Where the levels of the first page start; 0 says nothing, and `check_pages` then finds out.
    """
    position, end, left = chunk.start, chunk.end, chunk.values
    levels = 0
    if chunk.dictionary or not 4 <= position < end <= len(section) - 8:
        return 0
    while position < end:
        header = _PAGE.match(section, position, min(end, position + _LONGEST_HEADER))
        if header is None:
            return 0
        is_version_2 = header.lastindex == _LAST_OF_VERSION_2
        plain_size, stored_size, count = header.group(1, 2, 3) if is_version_2 else header.group(6, 7, 8)
        if plain_size != stored_size or (size := number_of(stored_size)) < 0 or (values := number_of(count)) < 0:
            return 0
        left -= values
        position = header.end()
        levels = levels or _start_of_levels(position, is_version_2)
        position += size
    return levels if position == end and left == 0 else 0


#: Bytes of a column whose looks are remembered: one page of nothing but nulls has a few dozen, whatever their number.
_MOST_REMEMBERED: Final = 256


def holds_nothing(section: memoryview, chunk: ColumnChunk, path: str) -> bool:
    """Whether a column plainly has no value but nulls: all its pages are of the usual form and end with their levels.

    Statistics say so, too, but nothing holds them to the truth; with these bytes there is nothing that could be lost.
    """
    if not 4 <= chunk.start < chunk.end <= len(section) - 8:
        return False
    data = bytes(section[chunk.start : chunk.end])
    look = _holds_nothing if len(data) <= _MOST_REMEMBERED else _holds_nothing.__wrapped__
    return look(data, bool(chunk.dictionary), path)


# Sections of a job have the same bytes for the same number of nulls, and looking at them is most of what they cost.
@lru_cache(maxsize=4096)
def _holds_nothing(data: bytes, has_dictionary: bool, path: str) -> bool:
    position, end = 0, len(data)
    if has_dictionary:
        dictionary = _NO_DICTIONARY.match(data, position, end)
        position = dictionary.end() if dictionary else end
    pages = 0
    while position < end:
        header = _PAGE.match(data, position, min(end, position + _LONGEST_HEADER))
        if header is None:
            return False
        position = header.end()
        if header.lastindex == _LAST_OF_VERSION_2:
            size, first, second = map(number_of, header.group(2, 4, 5))
            begin = position + first + second
        else:
            size, begin = number_of(header.group(7)), position
            for level in LEAVES[path].levels:
                begin += 4 + int.from_bytes(data[begin : begin + 4], "little") if level else 0
        if not position <= begin <= position + size or data[begin : position + size] not in _NO_VALUES:
            return False
        position += size
        pages += 1
    return pages > 0 and position == end


def _start_of_levels(page: int, is_version_2: bool) -> int:
    """Where the runs of a page's first levels are: in version 1 behind their length."""
    return page if is_version_2 else page + 4


def check_first_list(
    section: memoryview, chunk: ColumnChunk, levels: int, width: int, column: str, where: Where
) -> None:
    """Check that a column of lists begins with the beginning of a list.

    Arrow takes that for granted in a file; between pages put end to end it would go on with the last list.

    Args:
        section: the whole Parquet file.
        chunk: the column's pages, already checked.
        levels: where the levels of its first data page start.
        width: bits of a repetition level.
        column: path for messages.
        where: for messages.

    Raises:
        BadEncoding: the first element is said to belong to a list before it.
    """
    position = levels
    while position < chunk.end and section[position] > 127:
        position += 1
    # A run's header is odd for packed levels, the first in the lowest bits, or even for one that is repeated.
    if position + 1 >= chunk.end or section[position + 1] & (1 << width) - 1:
        raise BadEncoding(f"column {column} does not begin with a list", where, offset=levels)


def check_pages(
    section: memoryview, chunk: ColumnChunk, column: str, where: Where, encodings: tuple[int, ...] | None = None
) -> int:
    """Check that the chunk is exactly its pages, and that they claim as many values as the footer.

    Args:
        section: the whole Parquet file.
        chunk: where the pages are.
        column: path for messages.
        where: for messages.
        encodings: value encodings that are allowed, None for all.

    Returns:
        Where the levels of the first data page start, 0 if there is none.

    Raises:
        Truncated: the chunk lies outside the section, or a page header runs past it.
        BadCount: the pages claim more or fewer values than the footer, or a dictionary more than it has bytes.
        BadLength: a page's size is negative, or does not fill or runs past its chunk.
        BadEncoding: a page header does not parse, a page is compressed, an encoding is not allowed.
    """
    start, end = chunk.start, chunk.end
    if not 4 <= start <= end <= len(section) - 8:
        raise Truncated(
            f"column {column} lies outside the profiles",
            where,
            expected=f"within 4:{len(section) - 8}",
            actual=f"{start}:{end}",
        )
    position, left, levels = start, chunk.values, 0
    while position < end:
        try:
            header, after = read_struct(section[:end], position)
        except IndexError:
            raise Truncated(f"page header of column {column}", where, offset=position) from None
        except ValueError as error:
            raise BadEncoding(
                f"page header of column {column} does not parse: {error}", where, offset=position
            ) from None
        size = header.get(_STORED_SIZE)
        if not isinstance(size, int) or not 0 <= size <= end - after:
            raise BadLength(
                f"page of column {column}",
                where,
                offset=position,
                expected=f"at most {end - after} bytes",
                actual=size,
            )
        if header.get(_PLAIN_SIZE) != size:
            raise BadLength(
                f"page of column {column} is compressed, or one of its sizes is wrong",
                where,
                offset=position,
                expected=size,
                actual=header.get(_PLAIN_SIZE),
            )
        left -= _check_header(header, size, left, position, column, where, encodings)
        if header[_TYPE] != _DICTIONARY:
            levels = levels or _start_of_levels(after, header[_TYPE] == _DATA_V2)
        position = after + size
    if left:
        raise BadCount(
            f"values of column {column}", where, expected=chunk.values, actual=f"{chunk.values - left} in its pages"
        )
    return levels


def _check_header(
    header: dict[int, Any],
    size: int,
    left: int,
    position: int,
    column: str,
    where: Where,
    encodings: tuple[int, ...] | None,
) -> int:
    """The number of values in a data page; 0 for other pages."""
    kind = header.get(_TYPE)
    inner = header.get(_HEADER.get(kind, -1)) if isinstance(kind, int) else None
    if not isinstance(inner, dict) or not isinstance(kind, int):
        raise BadEncoding(f"page of column {column} is of no known type", where, offset=position, actual=kind)
    count, encoding = inner.get(1), inner.get(_ENCODING[kind])
    most = size if kind == _DICTIONARY else left
    if not isinstance(count, int) or not 0 <= count <= most:
        raise BadCount(
            f"values in a page of column {column}", where, offset=position, expected=f"at most {most}", actual=count
        )
    if kind == _DATA and "." in column and (inner.get(3), inner.get(4)) != (_RUNS, _RUNS):
        raise BadEncoding(f"levels of column {column}", where, offset=position, expected=_RUNS, actual=inner.get(4))
    if encodings is not None and encoding not in encodings:
        raise BadEncoding(f"encoding of column {column}", where, offset=position, expected=encodings, actual=encoding)
    return 0 if kind == _DICTIONARY else count
