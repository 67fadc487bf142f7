"""Reads the profiles sections of a whole job: many small Parquet files into one set of columns.

Where a section's columns are is found by `profiles_forms` (fast) or `profiles_footer` (careful); `profiles_rows` has
Arrow decode the pages of all sections at once. Only what leads from one to the other, and errors to the section that
caused them, belongs here. Everything in a section is untrusted: a broken one must neither pass nor shift its
neighbours.
"""

from collections.abc import Sequence
from typing import Final

import pyarrow as pa

from pyro_assets.block.columns import ProfileRows
from pyro_assets.block.profiles_footer import Part, read_footer
from pyro_assets.block.profiles_forms import find_part, learn_form
from pyro_assets.block.profiles_rows import EVERYTHING, WITH_STACKS, WITHOUT_STACKS, Section, read_sections
from pyro_assets.block.profiles_writer import write_profiles
from pyro_assets.errors import BadEncoding, BlockError, ChecksumMismatch, Where

__all__ = ["EVERYTHING", "WITHOUT_STACKS", "WITH_STACKS", "read_profiles", "write_profiles"]

#: Whatever pyarrow raises for pages that do not decode.
_ARROW_ERRORS: Final = (pa.ArrowException, OSError, ValueError, KeyError, IndexError, OverflowError, MemoryError)


def read_profiles(
    sections: Sequence[memoryview], wheres: Sequence[Where], paths: Sequence[str] = EVERYTHING
) -> ProfileRows:
    """Read the profiles sections of many datasets end to end.

    Args:
        sections: one Parquet file per dataset.
        wheres: for messages, one per section.
        paths: the columns to read, `EVERYTHING`, `WITH_STACKS` or `WITHOUT_STACKS`.

    Returns:
        Rows with SeriesIndex, StacktracePartition and StacktraceID as stored and `unit` -1. Arrays may be
        read-only views of Arrow's memory. A row's total is not compared with its values. Of columns that are not read,
        partitions and stacks are 0, all others None.

    Raises:
        BadMagic: a section is no Parquet file.
        Truncated: a section or a column ends too early.
        BadLength: the footer's or a page's length contradicts the section's size.
        BadCount: more rows or samples than the section can hold, or counts that contradict each other.
        ChecksumMismatch: a page's bytes differ from its CRC (the original's pages have one).
        BadEncoding: whatever else does not decode, a missing or mistyped column, compressed columns.
    """
    found = [Section(_parts(section, where), where) for section, where in zip(sections, wheres, strict=True)]
    try:
        return read_sections(found, paths)
    except _ARROW_ERRORS:
        # Arrow does not say which page it was: read the sections one by one to find out.
        for section in found:
            try:
                read_sections([section], paths)
            except _ARROW_ERRORS as error:
                raise _named(error, section.where) from error
        raise


def _parts(section: memoryview, where: Where) -> list[Part]:
    part = find_part(section)
    if part is not None:
        return [part]
    parts = read_footer(section, where)
    if len(parts) == 1:
        learn_form(section, tuple(parts[0].chunks))
    return parts


def _named(error: BaseException, where: Where) -> BlockError:
    text = str(error).strip().split("\n")[0][:200]
    if "CRC" in text:
        return ChecksumMismatch("CRC of a page of the profiles", where)
    return BadEncoding(f"Parquet of the profiles ({type(error).__name__}: {text})", where)
