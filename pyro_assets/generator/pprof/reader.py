"""pprof bytes -> the columns of a profile: unpacks, decodes and checks every reference.

Checks of a single profile belong here; what a profile becomes in a segment is the business of `rows` and `symbols`.
The message is in profile.proto; its meaning is the public pprof format's.
"""

import gzip
import io
import zlib
from collections.abc import Iterable
from typing import Any, Final

import numpy as np
import pyarrow as pa
from google.protobuf.message import DecodeError

from pyro_assets.block.columns import I64, U64, starts
from pyro_assets.errors import PprofError
from pyro_assets.generator.pprof import profile_pb2
from pyro_assets.generator.pprof.profile import Profile

#: Most bytes of an unpacked profile. Decoded messages take up to fifty times as much memory.
MOST_BYTES: Final = 32 << 20
_GZIP: Final = b"\x1f\x8b"
_REFUSED: Final = "; the upload is refused"


def parse_profile(data: bytes, most_bytes: int = MOST_BYTES) -> Profile:
    """Read one profile.

    Args:
        data: the message, plain or in gzip (one member or several).
        most_bytes: how large the message may be once it is unpacked.

    Returns:
        All fields, as columns. A line whose function, or a location whose mapping, is not in the profile is kept and
        counted in `dangling`.

    Raises:
        PprofError: not gzip or pprof, larger than `most_bytes`, or a reference that leaves the profile.
    """
    message = profile_pb2.Profile()
    plain = _unpack(data, most_bytes)
    if not plain:
        raise PprofError(f"pprof: no bytes{_REFUSED}")
    try:
        message.ParseFromString(plain)
    except DecodeError as error:
        raise PprofError(f"pprof: the message does not decode ({error}){_REFUSED}") from error
    profile = _columns(message)
    _check_strings(profile)
    return profile


def _unpack(data: bytes, most_bytes: int) -> bytes:
    if data[:2] != _GZIP:
        if len(data) > most_bytes:
            raise PprofError(f"pprof: {len(data)} bytes, at most {most_bytes} are read{_REFUSED}")
        return bytes(data)
    # One reader over the bytes: what follows a member is copied for each member where zlib alone is used.
    members = gzip.GzipFile(fileobj=io.BytesIO(data))
    try:
        plain = members.read(most_bytes + 1)
    except EOFError:
        raise PprofError(f"pprof: the gzip ends too early{_REFUSED}") from None
    except (OSError, zlib.error) as error:
        raise PprofError(f"pprof: the gzip does not unpack ({error}){_REFUSED}") from error
    if len(plain) > most_bytes:
        raise PprofError(f"pprof: unpacks to more than {most_bytes} bytes{_REFUSED}")
    return plain


def _columns(message: Any) -> Profile:
    types = message.sample_type
    if not types:
        raise PprofError(f"pprof: no sample types{_REFUSED}")
    strings = list(message.string_table)
    if not strings or strings[0]:
        raise PprofError(f"pprof: string 0 must be empty{_REFUSED}")
    # One loop per table: each access to a field of a message costs as much as ten numbers in an array.
    functions = table(
        ((one.id, one.name, one.system_name, one.filename, one.start_line) for one in message.function), "Qqqqq"
    )
    mappings = table(
        (
            (one.id, one.memory_start, one.memory_limit, one.file_offset, one.filename, one.build_id, _flags(one))
            for one in message.mapping
        ),
        "QQQQqqi",
    )
    lines: list[tuple[int, int, int]] = []
    locations = table((_location(one, lines) for one in message.location), "QQQ?q")
    line_function, line_number, line_column = table(lines, "Qqq")
    function_row, lost_functions = _rows("function", functions[0], line_function)
    mapping_row, lost_mappings = _rows("mapping", mappings[0], locations[1])
    value, stack_start, stack_location, labels = _samples(message, len(types), locations[0])
    label_start, label_key, label_text, label_number, label_unit = labels
    return Profile(
        strings=pa.array(strings, pa.large_binary()),
        sample_type=_i64([one.type for one in types]),
        sample_unit=_i64([one.unit for one in types]),
        value=value,
        stack_start=stack_start,
        stack_location=stack_location,
        label_start=label_start,
        label_key=label_key,
        label_text=label_text,
        label_number=label_number,
        label_unit=label_unit,
        mapping_memory_start=mappings[1],
        mapping_memory_limit=mappings[2],
        mapping_file_offset=mappings[3],
        mapping_file_name=mappings[4],
        mapping_build_id=mappings[5],
        mapping_flags=mappings[6],
        location_mapping=mapping_row,
        location_address=locations[2],
        location_is_folded=locations[3],
        line_start=starts(locations[4]),
        line_function=function_row,
        line_number=line_number,
        line_column=line_column,
        function_name=functions[1],
        function_system_name=functions[2],
        function_file_name=functions[3],
        function_start_line=functions[4],
        comments=_i64(message.comment),
        drop_frames=message.drop_frames,
        keep_frames=message.keep_frames,
        default_sample_type=message.default_sample_type,
        doc_url=message.doc_url,
        time_ns=message.time_nanos,
        duration_ns=message.duration_nanos,
        period=message.period,
        period_type=message.period_type.type,
        period_unit=message.period_type.unit,
        dangling=lost_functions + lost_mappings,
    )


def _flags(mapping: Any) -> int:
    return int(
        mapping.has_functions << 3
        | mapping.has_filenames << 2
        | mapping.has_line_numbers << 1
        | mapping.has_inline_frames
    )


def _location(one: Any, lines: list[tuple[int, int, int]]) -> tuple[int, int, int, bool, int]:
    before = len(lines)
    lines += [(line.function_id, line.line, line.column) for line in one.line]
    return one.id, one.mapping_id, one.address, one.is_folded, len(lines) - before


def _samples(message: Any, types: int, location_ids: U64) -> tuple[I64, I64, I64, tuple[I64, ...]]:
    """Values, starts and locations of stacks, and labels."""
    values: list[int] = []
    stacks: list[int] = []
    stack_lengths: list[int] = []
    labels: list[tuple[int, int, int, int]] = []
    label_lengths: list[int] = []
    for number, sample in enumerate(message.sample):
        stack, value, marks = sample.location_id, sample.value, sample.label
        if len(value) != types:
            raise PprofError(f"pprof: sample {number} has {len(value)} values for {types} sample types{_REFUSED}")
        values += value
        stacks += stack
        stack_lengths.append(len(stack))
        label_lengths.append(len(marks))
        if marks:
            labels += [(label.key, label.str, label.num, label.num_unit) for label in marks]
    wanted = np.array(stacks, np.uint64)
    location, _ = _rows("location", location_ids, wanted)
    if len(location) and int(location.min()) < 0:
        number = int(wanted[np.flatnonzero(location < 0)[0]])
        raise PprofError(f"pprof: a sample names location {number}, which is not in the profile{_REFUSED}")
    return (
        _i64(values).reshape(len(stack_lengths), types),
        starts(stack_lengths),
        location,
        (starts(label_lengths), *table(labels, "qqqq")),
    )


def _rows(kind: str, known: U64, sought: U64) -> tuple[I64, int]:
    """The row of each wanted id, -1 for id 0 and for ids that are not there; how many of the latter."""
    order = np.argsort(known, kind="stable")
    known = known.take(order)
    if len(known) and known[0] == 0:
        raise PprofError(f"pprof: a {kind} has the id 0{_REFUSED}")
    if (known[1:] == known[:-1]).any():
        twice = int(known[1:][known[1:] == known[:-1]][0])
        raise PprofError(f"pprof: the {kind} id {twice} stands twice{_REFUSED}")
    if not len(known):
        return np.full(len(sought), -1, np.int64), int(np.count_nonzero(sought))
    place = np.minimum(np.searchsorted(known, sought), len(known) - 1)
    row = np.where(known.take(place) == sought, order.take(place), np.int64(-1))
    return row, int(np.count_nonzero((row < 0) & (sought != 0)))


_STRING_COLUMNS: Final = (
    "sample_type",
    "sample_unit",
    "label_key",
    "label_text",
    "label_unit",
    "mapping_file_name",
    "mapping_build_id",
    "function_name",
    "function_system_name",
    "function_file_name",
    "comments",
)
_STRING_FIELDS: Final = (
    "drop_frames",
    "keep_frames",
    "default_sample_type",
    "doc_url",
    "period_type",
    "period_unit",
)


def _check_strings(profile: Profile) -> None:
    end = len(profile.strings)
    columns = [getattr(profile, name) for name in _STRING_COLUMNS]
    columns.append(np.array([getattr(profile, name) for name in _STRING_FIELDS], np.int64))
    together = np.concatenate(columns)
    if 0 <= int(together.min()) <= int(together.max()) < end:
        return
    fields = ((name, [getattr(profile, name)]) for name in _STRING_FIELDS)
    for name, rows in (*zip(_STRING_COLUMNS, columns, strict=False), *fields):
        for row in rows:
            if not 0 <= row < end:
                raise PprofError(f"pprof: {name} refers to string {row} of {end}{_REFUSED}")


def table(rows: Iterable[tuple[int, ...]], kinds: str) -> list[Any]:
    """Tuples to one array per column; `kinds` are NumPy's letters, one a column.

    >>> [column.tolist() for column in table([(1, True), (2, False)], "q?")]
    [[1, 2], [True, False]]
    """
    columns = list(zip(*rows, strict=True)) or [()] * len(kinds)
    return [np.array(column, kind) for column, kind in zip(columns, kinds, strict=True)]


def _i64(numbers: Iterable[int]) -> I64:
    return np.fromiter(numbers, np.int64)
