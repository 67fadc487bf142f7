"""Profiles of many blocks as one pprof profile: equal stacks are one sample, with functions, files and lines.

Tables are merged as compaction merges them; here they become messages. Names of functions alone are `stacks`'s.
"""

from collections.abc import Iterable
from dataclasses import fields, replace
from typing import Any, Final

import numpy as np
import polars as pl
import pyarrow as pa

from pyro_assets.block.columns import I64, SymbolTables
from pyro_assets.compaction.symbols import merge_symbols, prune_symbols
from pyro_assets.errors import ValueOverflow
from pyro_assets.explore.call_tree import add_up
from pyro_assets.explore.pyroscope.archive import ChosenProfiles
from pyro_assets.explore.pyroscope.asked import ProfileQuery
from pyro_assets.explore.pyroscope.go_pgo import GoPgo
from pyro_assets.explore.pyroscope.messages.profile_pb2 import (
    Function,
    Line,
    Mapping,
    PprofLocation,
    Profile,
    Sample,
    ValueType,
)
from pyro_assets.explore.pyroscope.stacks import OTHER, cut_nodes, totals
from pyro_assets.storage.shown import show_bytes

_LIMIT: Final = 2**63
_NS_PER_MS: Final = 1_000_000
#: What the original gives as period, by the name of the profile; 1 for the others.
_PERIODS: Final = {"process_cpu": 1_000_000_000, "memory": 512 * 1024}
#: Fields of SymbolTables that say where rows begin, and those that refer to rows, by the field that counts these.
_STARTS: Final = frozenset(
    {"string_start", "function_start", "mapping_start", "location_start", "line_start", "node_start"}
)
_REFERENCES: Final = {
    "strings": ("function_name", "function_system_name", "function_file_name", "mapping_file_name", "mapping_build_id"),
    "mapping_flags": ("location_mapping",),
    "function_name": ("line_function",),
    "node_parent": ("node_parent",),
    "location_mapping": ("node_location",),
}


def pprof(
    profiles: Iterable[ChosenProfiles], asked: ProfileQuery, max_nodes: int = 0, pgo: GoPgo | None = None
) -> Profile:
    """One profile of all that is meant.

    Args:
        profiles: with everything that is stored of their symbols.
        asked: names the type and the time of the profile.
        max_nodes: of the call tree, as in a flame graph; 0 for all.
        pgo: trims stacks first.

    Raises:
        ValueOverflow: the values do not fit 64 bits.
    """
    tables: SymbolTables | None = None
    own = pl.Series(values=[], dtype=pl.Int128)
    for one in profiles:
        part, its_own = _of_stacks(one)
        if tables is None:
            tables, own = part, its_own
            continue
        joined = merge_symbols(_as_one(_joined(tables, part)), np.zeros(1, dtype=np.int64))
        own = add_up(joined.node_code, pl.concat([own, its_own]), len(joined.tables.node_parent))
        tables = joined.tables
    message = _Message(asked)
    if tables is not None:
        if int(own.abs().sum()) >= _LIMIT:
            raise ValueOverflow("the sum of these profiles does not fit 64 bits; choose a shorter time range")
        values: I64 = own.cast(pl.Int64).to_numpy()
        if pgo is not None:
            tables, values = pgo.trim(tables, values)
        message.add(tables, values, max_nodes)
    return message.profile


def _of_stacks(chosen: ChosenProfiles) -> tuple[SymbolTables, pl.Series]:
    """The symbols of the profiles that are meant as one unit, and the values that end at each node (Int128)."""
    rows = chosen.columns.rows
    place = np.flatnonzero(np.repeat(chosen.rows, np.diff(rows.sample_start)))
    stack = rows.stack.take(place)
    merged = merge_symbols(_as_one(chosen.columns.symbols), np.zeros(1, dtype=np.int64))
    stack = merged.node_code.take(stack)
    tables, row = prune_symbols(merged.tables, stack)
    stack = stack if row is None else row.take(stack)
    return tables, add_up(stack, rows.value.take(place), len(tables.node_parent))


def _as_one(tables: SymbolTables) -> SymbolTables:
    """The tables with all their units meant for one."""
    units = len(tables.unit_dataset)
    return replace(tables, unit_dataset=np.zeros(units, np.int64), unit_partition=np.zeros(units, np.uint64))


def _joined(first: SymbolTables, second: SymbolTables) -> SymbolTables:
    """Two tables end to end."""
    shift = {name: len(getattr(first, counted)) for counted, names in _REFERENCES.items() for name in names}
    joined: dict[str, Any] = {}
    for field in fields(SymbolTables):
        one, two = getattr(first, field.name), getattr(second, field.name)
        if field.name == "strings":
            joined[field.name] = pa.concat_arrays([one, two])
        elif field.name in _STARTS:
            joined[field.name] = np.concatenate([one, two[1:] + one[-1]])
        else:
            by = shift.get(field.name, 0)
            joined[field.name] = np.concatenate([one, np.where(two < 0, two, two + by) if by else two])
    return SymbolTables(**joined)


class _Message:
    """A profile that is being written: its strings are numbered as they come."""

    def __init__(self, asked: ProfileQuery) -> None:
        self._number = {"": 0}
        kind = asked.kind
        self.profile = Profile(
            string_table=[""],
            sample_type=[self._value_type(kind.sample_type, kind.sample_unit)],
            period_type=self._value_type(kind.period_type, kind.period_unit),
            period=_PERIODS.get(kind.name, 1),
            default_sample_type=self._text(kind.sample_type),
            time_nanos=asked.span.end_ms * _NS_PER_MS,
        )
        self.profile.string_table[:] = list(self._number)

    def add(self, tables: SymbolTables, own: I64, max_nodes: int) -> None:
        """Write merged tables of one unit, and the values that end at each of their nodes."""
        parent = tables.node_parent
        kept, lost, holders = cut_nodes(parent, totals(parent, own)[:, None], max_nodes)
        samples = np.flatnonzero(kept & (own != 0) & (parent >= 0))
        tables, row = prune_symbols(tables, np.append(samples, holders))
        if row is not None:
            samples_row, holders = row.take(samples), row.take(holders)
        else:
            samples_row = samples
        self._write_tables(tables)
        parents, locations = tables.node_parent.tolist(), tables.node_location.tolist()
        stacks: dict[int, list[int]] = {}
        for node, (above, location) in enumerate(zip(parents, locations, strict=True)):
            stacks[node] = [location + 1, *stacks[above]] if above >= 0 else []
        found = [
            Sample(location_id=stacks[node], value=[value])
            for node, value in zip(samples_row.tolist(), own.take(samples).tolist(), strict=True)
        ]
        if len(holders):
            other = self._write_other(len(tables.location_mapping) + 1, len(tables.function_name) + 1)
            found += [
                Sample(location_id=[other, *stacks[node]], value=[value])
                for node, value in zip(holders.tolist(), lost[:, 0].tolist(), strict=True)
            ]
        self.profile.sample.extend(found)
        self.profile.string_table[:] = list(self._number)

    def _write_tables(self, tables: SymbolTables) -> None:
        # References that are out of range in the bytes are -1, and find the empty string at the end.
        texts = [self._text(show_bytes(text)) for text in tables.strings.to_pylist()]
        place = np.array([*texts, 0], dtype=np.int64)
        flags = tables.mapping_flags
        mappings = zip(
            tables.mapping_memory_start.tolist(), tables.mapping_memory_limit.tolist(),
            tables.mapping_file_offset.tolist(), place.take(tables.mapping_file_name).tolist(),
            place.take(tables.mapping_build_id).tolist(), flags.tolist(), strict=True,
        )  # fmt: skip
        self.profile.mapping.extend(
            Mapping(
                id=number, memory_start=start, memory_limit=limit, file_offset=offset, filename=file, build_id=build,
                has_functions=bool(flag & 8), has_filenames=bool(flag & 4), has_line_numbers=bool(flag & 2),
                has_inline_frames=bool(flag & 1),
            )
            for number, (start, limit, offset, file, build, flag) in enumerate(mappings, 1)
        )  # fmt: skip
        functions = zip(
            place.take(tables.function_name).tolist(), place.take(tables.function_system_name).tolist(),
            place.take(tables.function_file_name).tolist(), tables.function_start_line.tolist(), strict=True,
        )  # fmt: skip
        self.profile.function.extend(
            Function(id=number, name=name, system_name=system, filename=file, start_line=line)
            for number, (name, system, file, line) in enumerate(functions, 1)
        )
        lines = [
            Line(function_id=function + 1, line=number)
            for function, number in zip(tables.line_function.tolist(), tables.line_number.tolist(), strict=True)
        ]
        start = tables.line_start.tolist()
        self.profile.location.extend(
            PprofLocation(
                id=number + 1, mapping_id=mapping + 1, address=address, is_folded=folded,
                line=lines[start[number] : start[number + 1]],
            )
            for number, (mapping, address, folded) in enumerate(
                zip(
                    tables.location_mapping.tolist(), tables.location_address.tolist(),
                    tables.location_is_folded.tolist(), strict=True,
                )
            )
        )  # fmt: skip

    def _write_other(self, location: int, function: int) -> int:
        """The location that stands for what was cut."""
        name = self._text(OTHER)
        self.profile.function.append(Function(id=function, name=name, system_name=name))
        mapping = 1 if self.profile.mapping else 0
        line = Line(function_id=function)
        self.profile.location.append(PprofLocation(id=location, mapping_id=mapping, line=[line]))
        return location

    def _value_type(self, kind: str, unit: str) -> ValueType:
        return ValueType(type=self._text(kind), unit=self._text(unit))

    def _text(self, text: str) -> int:
        return self._number.setdefault(text, len(self._number))
