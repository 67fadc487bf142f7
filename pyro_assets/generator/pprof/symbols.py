"""Profiles' symbols -> one partition: equal strings, functions, mappings, locations and stacks once.

Add here what happens to symbols between an upload and a segment. Rows and labels are the business of `rows`. A
location of a mapping that has functions loses its address, and the mapping its place in memory, as in the original's
segments: both differ from process to process and mean nothing once names are known.
"""

from collections.abc import Sequence
from typing import Final

import numpy as np
import pyarrow as pa

from pyro_assets.block.columns import I64, SymbolTables, starts
from pyro_assets.generator.pprof.profile import Profile
from pyro_assets.generator.pprof.reader import table

#: The bit of a mapping's flags that says its functions are known.
HAS_FUNCTIONS: Final = 8
_Function = tuple[int, int, int, int]
_Mapping = tuple[int, int, int, int, int, int]
_Line = tuple[int, int]
_Location = tuple[int, int, bool, tuple[_Line, ...]]
#: What stands for a function or mapping that the profile does not have.
_NO_FUNCTION: Final[_Function] = (0, 0, 0, 0)
_NO_MAPPING: Final[_Mapping] = (0, 0, HAS_FUNCTIONS, 0, 0, 0)


class SymbolsBuilder:
    """Collects the symbols of one dataset; numbers are given in the order of first use.

    Attributes:
        unsymbolized: a stack has a location in a mapping without functions.
    """

    def __init__(self) -> None:
        self.unsymbolized = False
        self.strings: dict[bytes, int] = {b"": 0}
        self.functions: dict[_Function, int] = {}
        self.mappings: dict[_Mapping, int] = {}
        self.locations: dict[_Location, int] = {}
        self._nodes: dict[int, int] = {}
        self.node_parent = [-1]
        self.node_location = [-1]
        self._stacks: dict[bytes, int] = {b"": 0}

    def add(self, profile: Profile, samples: I64) -> I64:
        """Add the stacks of some samples.

        Args:
            profile: where they are.
            samples: rows of the profile's samples.

        Returns:
            The node of each sample's stack; 0, the root, for an empty stack.
        """
        starts, ends = profile.stack_start.take(samples), profile.stack_start.take(samples + 1)
        used = np.zeros(len(profile.location_mapping), np.bool_)
        for start, end in zip(starts.tolist(), ends.tolist(), strict=True):
            used[profile.stack_location[start:end]] = True
        codes = self._add_locations(profile, np.flatnonzero(used))
        path = codes.take(profile.stack_location)
        known, nodes = self._stacks, []
        for start, end in zip(starts.tolist(), ends.tolist(), strict=True):
            stack = path[start:end]
            key = stack.tobytes()
            node = known.get(key)
            if node is None:
                node = known[key] = self._add_stack(stack[::-1].tolist())
            nodes.append(node)
        return np.array(nodes, np.int64)

    def _add_stack(self, root_to_leaf: list[int]) -> int:
        nodes, parents, locations = self._nodes, self.node_parent, self.node_location
        node = 0
        for location in root_to_leaf:
            key = node << 32 | location
            child = nodes.get(key)
            if child is None:
                child = nodes[key] = len(parents)
                parents.append(node)
                locations.append(location)
            node = child
        return node

    def _add_locations(self, profile: Profile, used: I64) -> I64:
        """The number of each used location in this partition, by row of the profile's locations."""
        table = _Numbers(self, profile)
        starts, numbers = profile.line_start.tolist(), profile.line_number.astype(np.int32).tolist()
        functions, mappings = profile.line_function.tolist(), profile.location_mapping.tolist()
        addresses, folded = profile.location_address.tolist(), profile.location_is_folded.tolist()
        codes = np.zeros(len(addresses), np.int64)
        for row in used.tolist():
            lines = range(starts[row], starts[row + 1])
            inlined = tuple([(table.function(functions[line]), numbers[line]) for line in lines])
            mapping, has_functions = table.mapping(mappings[row])
            if not has_functions:
                self.unsymbolized = True
            # A frame without lines has nothing but its address.
            address = 0 if has_functions and inlined else addresses[row]
            key = (mapping, address, folded[row], inlined)
            codes[row] = self.locations.setdefault(key, len(self.locations))
        return codes


class _Numbers:
    """Rows of a profile's tables -> numbers in the partition; what is asked for is added."""

    def __init__(self, builder: SymbolsBuilder, profile: Profile) -> None:
        self._builder = builder
        self._texts = profile.strings.to_pylist()
        self._function_rows = list(
            zip(
                profile.function_name.tolist(),
                profile.function_system_name.tolist(),
                profile.function_file_name.tolist(),
                profile.function_start_line.astype(np.int32).tolist(),
                strict=True,
            )
        )
        self._profile = profile
        self._functions: dict[int, int] = {}
        self._mappings: dict[int, tuple[int, bool]] = {}

    def function(self, row: int) -> int:
        code = self._functions.get(row)
        if code is None:
            key = _NO_FUNCTION
            if row >= 0:
                name, system_name, file_name, start_line = self._function_rows[row]
                key = (self._string(name), self._string(system_name), self._string(file_name), start_line)
            known = self._builder.functions
            code = self._functions[row] = known.setdefault(key, len(known))
        return code

    def mapping(self, row: int) -> tuple[int, bool]:
        """The mapping's number, and whether it has functions."""
        found = self._mappings.get(row)
        if found is None:
            key, profile = _NO_MAPPING, self._profile
            if row >= 0:
                file_name = self._string(int(profile.mapping_file_name[row]))
                build_id = self._string(int(profile.mapping_build_id[row]))
                flags = int(profile.mapping_flags[row])
                place = (profile.mapping_memory_start, profile.mapping_memory_limit, profile.mapping_file_offset)
                start, limit, offset = (0 if flags & HAS_FUNCTIONS else int(column[row]) for column in place)
                key = (file_name, build_id, flags, start, limit, offset)
            known = self._builder.mappings
            found = known.setdefault(key, len(known)), bool(key[2] & HAS_FUNCTIONS)
            self._mappings[row] = found
        return found

    def _string(self, row: int) -> int:
        known = self._builder.strings
        return known.setdefault(self._texts[row], len(known))


def join_symbols(builders: Sequence[SymbolsBuilder]) -> SymbolTables:
    """One unit per builder: partition 0 of the dataset at the builder's position. References become absolute."""
    string_start = starts([len(one.strings) for one in builders])
    function_start = starts([len(one.functions) for one in builders])
    mapping_start = starts([len(one.mappings) for one in builders])
    location_start = starts([len(one.locations) for one in builders])
    node_start = starts([len(one.node_parent) for one in builders])
    functions = table([row for one in builders for row in one.functions], "qqqi")
    mappings = table([row for one in builders for row in one.mappings], "qqiQQQ")
    locations = [row for one in builders for row in one.locations]
    lines = table([line for row in locations for line in row[3]], "qi")
    line_start = starts([len(row[3]) for row in locations])
    parent = np.array([node for one in builders for node in one.node_parent], np.int64)
    location = np.array([row for one in builders for row in one.node_location], np.int64)
    return SymbolTables(
        unit_dataset=np.arange(len(builders), dtype=np.int64),
        unit_partition=np.zeros(len(builders), np.uint64),
        string_start=string_start,
        strings=pa.array([text for one in builders for text in one.strings], pa.large_binary()),
        function_start=function_start,
        function_name=functions[0] + _base(string_start, function_start),
        function_system_name=functions[1] + _base(string_start, function_start),
        function_file_name=functions[2] + _base(string_start, function_start),
        function_start_line=functions[3],
        mapping_start=mapping_start,
        mapping_file_name=mappings[0] + _base(string_start, mapping_start),
        mapping_build_id=mappings[1] + _base(string_start, mapping_start),
        mapping_flags=mappings[2],
        mapping_memory_start=mappings[3],
        mapping_memory_limit=mappings[4],
        mapping_file_offset=mappings[5],
        location_start=location_start,
        location_mapping=np.array([row[0] for row in locations], np.int64) + _base(mapping_start, location_start),
        location_address=np.array([row[1] for row in locations], np.uint64),
        location_is_folded=np.array([row[2] for row in locations], np.bool_),
        line_start=line_start,
        line_function=lines[0] + _base(function_start, line_start.take(location_start)),
        line_number=lines[1],
        node_start=node_start,
        node_parent=np.where(parent < 0, -1, parent + _base(node_start, node_start)),
        node_location=np.where(parent < 0, -1, location + _base(location_start, node_start)),
        dangling=np.zeros(len(builders), np.int64),
    )


def _base(target_start: I64, start: I64) -> I64:
    """What to add to references of each unit's items: the unit's first row in the table that they refer to."""
    return np.repeat(target_start[:-1], np.diff(start))
