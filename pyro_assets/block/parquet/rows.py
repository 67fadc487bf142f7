"""Row groups of many profiles sections -> `ProfileRows`, by one file in memory that Arrow decodes.

Here, too:
* reads the profiles sections of a whole job: many small Parquet files into one set of columns.

Pages are checked, put end to end (`file`), decoded, and what comes out is compared with what each section claimed.
Columns of lists that few sections use are read from those alone. Which sections there are is not decided here.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
import pyarrow as pa

from pyro_assets.block.columns import I64, ProfileRows
from pyro_assets.block.parquet.file import LISTS, Column, RowGroup, null_page, read_file
from pyro_assets.block.parquet.footer import GroupColumns, check_counts, find_part, learn_form, read_footer
from pyro_assets.block.parquet.pages import (
    DELTA_LENGTH_BYTE_ARRAY,
    PLAIN,
    check_first_list,
    check_pages,
    find_usual_pages,
    holds_nothing,
)
from pyro_assets.block.parquet.schema import (
    ANNOTATION_KEY,
    ANNOTATIONS,
    ANNOTATIONS_TYPE,
    COMMENTS_TYPE,
    ID_BYTES,
    LABELS_TYPE,
    LEAVES,
    OPTIONAL,
    REQUIRED,
    STACK,
    TRACE_ID_TYPE,
    VALUE,
    empty_lists,
    retype_lists,
)
from pyro_assets.block.parquet.writer import write_profiles
from pyro_assets.errors import BadCount, BadEncoding, BlockError, ChecksumMismatch, Where

__all__ = ["EVERYTHING", "WITHOUT_STACKS", "WITH_STACKS", "read_profiles", "write_profiles"]

#: Columns with at most one value a row: read from all sections if any has something in them.
_NULLABLE: Final = ("DropFrames", "KeepFrames", "DurationNanos", "Period", "DefaultSampleType")
#: Columns of lists that few sections use.
_SELDOM: Final = tuple(paths for paths in OPTIONAL if paths[0] not in _NULLABLE)
#: Those of them that belong to rows; the others belong to samples.
_OF_ROWS: Final = ("Comments", "Annotations")
#: Strings may not come from a dictionary: a small file could then hold any number of long ones.
_ENCODINGS: Final = dict.fromkeys((ANNOTATION_KEY, ANNOTATIONS + "Value"), (PLAIN, DELTA_LENGTH_BYTE_ARRAY))
_MOST_SAMPLES: Final = (1 << 31) - 1
#: Which columns to read: all; what sums of samples need; what sums of whole profiles need.
EVERYTHING: Final = (*REQUIRED, *_NULLABLE)
WITH_STACKS: Final = REQUIRED
WITHOUT_STACKS: Final = tuple(path for path in WITH_STACKS if path not in (STACK, "StacktracePartition"))


@dataclass(frozen=True, slots=True)
class Section:
    """The row groups of one section."""

    parts: list[GroupColumns]
    where: Where


def read_sections(sections: Sequence[Section], paths: Sequence[str] = EVERYTHING) -> ProfileRows:
    """Decode all row groups, these columns of them; with EVERYTHING also all that few sections have.

    Raises:
        BadCount, BadEncoding, BadLength, Truncated: pages are not what the footer says.
        Whatever pyarrow raises for pages that do not decode; which one it was is not told.
    """
    parts = [part for section in sections for part in section.parts]
    wheres = [section.where for section in sections for _ in section.parts]
    row_counts = [sum(part.rows for part in section.parts) for section in sections]
    is_whole = paths == EVERYTHING
    required = [path for path in paths if path not in _NULLABLE]
    table = _read_common(parts, wheres, required, _NULLABLE if is_whole else ()) if parts else None
    value_starts, value = _list(table, VALUE)
    starts, stack = _list(table, STACK) if STACK in paths else (value_starts, None)
    bounds = np.cumsum([0, *(part.rows for part in parts)])
    _check_lists(starts, value_starts, bounds, parts, wheres)
    rows, samples = np.diff(bounds).tolist(), np.diff(starts.take(bounds)).tolist()
    seldom = _read_seldom(parts, wheres, starts, bounds) if is_whole else []

    rows_in_all = len(starts) - 1

    def joined(name: str, kind: Any) -> Any:
        lengths = rows if name in _OF_ROWS else samples
        return _join([one.get(name) for one in seldom], lengths, kind) if is_whole else None

    return ProfileRows(
        dataset_start=np.cumsum([0, *row_counts], dtype=np.int64),
        id=_view(table, "ID", np.uint8, ID_BYTES).reshape(-1, ID_BYTES),
        series=_view(table, "SeriesIndex", np.uint32).astype(np.int64),
        partition=_view(table, "StacktracePartition", np.uint64)
        if STACK in paths
        else np.zeros(rows_in_all, np.uint64),
        unit=np.full(len(starts) - 1, -1, np.int64),
        total_value=_view(table, "TotalValue", np.int64),
        time_ns=_view(table, "TimeNanos", np.int64),
        sample_start=starts,
        stack=_as_numpy(stack, np.int64) if STACK in paths else np.zeros(int(starts[-1]), np.int64),
        value=_as_numpy(value, np.int64),
        span_id=joined("Spans", pa.uint64()),
        trace_id=joined("Traces", TRACE_ID_TYPE),
        sample_labels=joined("Labels", LABELS_TYPE),
        drop_frames=_nullable(table, "DropFrames"),
        keep_frames=_nullable(table, "KeepFrames"),
        duration_ns=_nullable(table, "DurationNanos"),
        period=_nullable(table, "Period"),
        default_sample_type=_nullable(table, "DefaultSampleType"),
        comments=joined("Comments", COMMENTS_TYPE),
        annotations=joined("Annotations", ANNOTATIONS_TYPE),
    )


def _read_common(parts: list[GroupColumns], wheres: list[Where], paths: Sequence[str], optional: Sequence[str]) -> Any:
    """The table of columns that all sections have, and of the nullable ones that any section uses."""
    held = [{name for name in optional if _holds(part, name)} for part in parts]
    nullable = [name for name in optional if any(name in own for own in held)]
    groups: list[RowGroup] = []
    samples = 0
    for part, own, where in zip(parts, held, wheres, strict=True):
        check_counts(part, paths, where)
        samples += part.chunk(STACK).values
        if samples > _MOST_SAMPLES:
            raise BadCount("samples up to this section", where, expected=f"at most {_MOST_SAMPLES}", actual=samples)
        columns = {path: _column(part, path, where) for path in paths}
        for path in nullable:
            columns[path] = _column(part, path, where) if path in own else Column([null_page(part.rows)], part.rows)
        # Pages can be put end to end unless they need a dictionary.
        alone = any(column.dictionary for column in columns.values())
        if groups and not alone and not any(column.dictionary for column in groups[-1].columns.values()):
            groups[-1].append(part.rows, columns)
        else:
            groups.append(RowGroup(part.rows, columns))
    return read_file(groups)


def _holds(part: GroupColumns, path: str) -> bool:
    """Whether a column is there and may have more than nulls."""
    return part.has(path) and not holds_nothing(part.section, part.chunk(path), path)


def _column(part: GroupColumns, path: str, where: Where) -> Column:
    """The checked pages of a column."""
    chunk = part.chunk(path)
    encodings = _ENCODINGS.get(path)
    levels = 0 if encodings else find_usual_pages(part.section, chunk)
    if not levels:
        levels = check_pages(part.section, chunk, path, where, encodings)
    if path in LISTS:
        check_first_list(part.section, chunk, levels, LEAVES[path].levels[1], path, where)
    return Column([part.section[chunk.start : chunk.end]], chunk.values, chunk.dictionary)


def _check_lists(starts: I64, value_starts: I64, bounds: I64, parts: list[GroupColumns], wheres: list[Where]) -> None:
    """Check that each part's lists are its own: levels that hold more or fewer lists would shift those behind them."""
    empty = np.cumsum(np.append(0, np.diff(starts) == 0))
    # A row without samples is one null.
    entries = np.diff(starts.take(bounds) + empty.take(bounds)).tolist()
    equal = starts[1:] == value_starts[1:]
    for number, (part, where) in enumerate(zip(parts, wheres, strict=True)):
        if entries[number] != part.chunk(STACK).values:
            raise BadCount(
                "values in the lists of the profiles", where, expected=part.chunk(STACK).values, actual=entries[number]
            )
        if not equal[bounds[number] : bounds[number + 1]].all():
            raise BadCount("samples of the profiles differ from column to column", where)


def _read_seldom(parts: list[GroupColumns], wheres: list[Where], starts: I64, bounds: I64) -> list[dict[str, Any]]:
    """For each part what it has in the columns of `_SELDOM`: arrays, one entry per sample or row, by names of LISTS."""
    seldom: list[dict[str, Any]] = [{} for _ in parts]
    for paths in _SELDOM:
        numbers = [number for number, part in enumerate(parts) if any(_holds(part, path) for path in paths)]
        if not numbers:
            continue
        name = LISTS[paths[0]]
        groups = []
        for number in numbers:
            part, where = parts[number], wheres[number]
            check_counts(part, (STACK, *paths), where)
            groups.append(RowGroup(part.rows, {path: _column(part, path, where) for path in paths}))
        found, elements = _list(read_file(groups), paths[0])
        row = 0
        for number in numbers:
            part = parts[number]
            own = found[row : row + part.rows + 1]
            expected = starts[bounds[number] : bounds[number + 1] + 1]
            row += part.rows
            if name in _OF_ROWS:
                lists = pa.ListArray.from_arrays(
                    pa.array((own - own[0]).astype(np.int32)), elements.slice(own[0], own[-1] - own[0])
                )
                seldom[number][name] = lists
            elif np.array_equal(own - own[0], expected - expected[0]):
                seldom[number][name] = elements.slice(own[0], own[-1] - own[0])
            else:
                raise BadCount("samples of the profiles differ from column to column", wheres[number])
    return seldom


def _join(parts: list[Any], lengths: list[int], kind: Any) -> Any:
    """Arrays end to end, missing ones as nulls or empty lists; None if there is no value in any."""
    if all(part is None for part in parts):
        return None
    is_list = pa.types.is_list(kind)
    whole = pa.concat_arrays(
        [
            (empty_lists if is_list else pa.nulls)(length, kind) if part is None
            else retype_lists(part, kind) if is_list
            else part
            for part, length in zip(parts, lengths, strict=True)
        ]
    )  # fmt: skip
    if is_list:
        return whole if len(whole.values) else None
    return _some(whole)


def _some(array: Any) -> Any:
    return None if array is None or array.null_count == len(array) else array


def _chunk_of(table: Any, name: str) -> Any:
    index = -1 if table is None else table.schema.get_field_index(name)
    return None if index < 0 else table.column(index).chunk(0)


def _nullable(table: Any, name: str) -> Any:
    return _some(_chunk_of(table, name))


def _view(table: Any, name: str, dtype: Any, width: int = 1) -> Any:
    return _as_numpy(_chunk_of(table, name), dtype, width)


def _list(table: Any, path: str) -> tuple[I64, Any]:
    """Starts from 0, and elements of a list column."""
    lists = _chunk_of(table, LISTS[path])
    if lists is None:
        return np.zeros(1, np.int64), None
    offsets = lists.offsets
    starts = np.frombuffer(offsets.buffers()[1], np.int32, len(lists) + 1, offsets.offset * 4).astype(np.int64)
    first = int(starts[0])
    return starts - first, lists.values.slice(first, int(starts[-1]) - first)


def _as_numpy(array: Any, dtype: Any, width: int = 1) -> Any:
    """The values of a fixed-width array without nulls as they lie in memory, `width` items of `dtype` each."""
    if array is None or not len(array):
        return np.empty(0, dtype)
    size = width * np.dtype(dtype).itemsize
    return np.frombuffer(array.buffers()[1], dtype, len(array) * width, array.offset * size)


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


def _parts(section: memoryview, where: Where) -> list[GroupColumns]:
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
