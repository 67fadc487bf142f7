"""Plain models of level-0 objects, and the columns and bytes that say the same.

A model is made of the slow decoder's values, so what must come out of any code under test is known without running
it. The arrangement of tables in bytes is noise and comes from a seed (0: none). Examples and strategies stand in their
own modules.
"""

import random
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa

from pyro_assets.block.columns import BlockColumns, DatasetInfo, ProfileRows, SeriesTable, SymbolTables
from pyro_assets.block.parquet.schema import ANNOTATIONS_TYPE, COMMENTS_TYPE, LABELS_TYPE, TRACE_ID_TYPE
from pyro_assets.block.reader import RawObject
from pyro_assets.block.writer import BlockIdentity, write_segment
from tests.oracle.bytes import xxh64
from tests.oracle.values import Fact, Frame, Labels, Line, Mapping, Profile, Sample, Stack, profile_facts


@dataclass(frozen=True)
class ModelDataset:
    """A dataset: its profiles in the order in which they are stored."""

    tenant: bytes
    name: bytes
    profiles: tuple[Profile, ...]

    @property
    def label_sets(self) -> tuple[Labels, ...]:
        """One set per profile type, as a level-0 writer would say."""
        types = dict.fromkeys(dict(profile.labels)[b"__profile_type__"] for profile in self.profiles)
        return tuple(((b"service_name", self.name), (b"__profile_type__", t)) for t in types)


@dataclass(frozen=True)
class ModelObject:
    """A level-0 object. `seed` arranges its symbol tables: order, unused entries, entries twice."""

    ulid: str
    shard: int
    datasets: tuple[ModelDataset, ...]
    seed: int = 0

    @property
    def key(self) -> str:
        return f"segments/{self.shard}/anonymous/{self.ulid}/block.bin"

    def facts(self) -> list[Fact]:
        """What decoding the object must give."""
        return [
            fact
            for dataset in self.datasets
            for profile in dataset.profiles
            for fact in profile_facts(dataset, profile)  # type: ignore[arg-type]
        ]


def profile_counts(datasets: Sequence[Any]) -> Counter[Any]:
    """Whole profiles of datasets (models or slowly decoded ones), the samples of each as a multiset."""
    return Counter(
        (dataset.tenant, dataset.name, profile._replace(samples=frozenset(Counter(profile.samples).items())))
        for dataset in datasets
        for profile in dataset.profiles
    )


@dataclass
class _Unit:
    """Tables of one partition, grown by need; `noise` decides on entries twice and entries that nobody uses."""

    noise: random.Random | None
    strings: list[bytes] = field(default_factory=list)
    functions: list[tuple[int, int, int, int]] = field(default_factory=list)
    mappings: list[tuple[int, int, int, int, int, int]] = field(default_factory=list)
    locations: list[tuple[int, int, bool, tuple[tuple[int, int], ...]]] = field(default_factory=list)
    nodes: list[tuple[int, int]] = field(default_factory=lambda: [(-1, -1)])

    def _entry(self, table: list[Any], value: Any) -> int:
        if value in table and not (self.noise and self.noise.random() < 0.2):
            return table.index(value)
        if self.noise and self.noise.random() < 0.2 and len(table) > 1:
            table.append(self.noise.choice(table[1:]))  # the first node is the root, of which there is one
        table.append(value)
        return len(table) - 1

    def string(self, value: bytes | None) -> int:
        return -1 if value is None else self._entry(self.strings, value)

    def function(self, line: Line) -> int:
        if line[:4] == (None, None, None, 0):
            return -1
        strings = (self.string(line.name), self.string(line.system_name), self.string(line.file_name))
        return self._entry(self.functions, (*strings, line.start_line))

    def mapping(self, value: Mapping | None) -> int:
        if value is None:
            return -1
        return self._entry(self.mappings, (self.string(value.file_name), self.string(value.build_id), *value[2:]))

    def location(self, frame: Frame) -> int:
        lines = tuple((self.function(line), line.line) for line in frame.lines)
        return self._entry(self.locations, (self.mapping(frame.mapping), frame.address, frame.is_folded, lines))

    def node(self, stack: Stack) -> int:
        if stack.frame is None:
            return 0
        assert stack.parent is not None
        return self._entry(self.nodes, (self.node(stack.parent), self.location(stack.frame)))


def _unit_of(profiles: Sequence[Profile], noise: random.Random | None) -> tuple[_Unit, dict[Stack, int]]:
    unit = _Unit(noise)
    stacks = list(dict.fromkeys(sample.stack for profile in profiles for sample in profile.samples))
    if noise:
        noise.shuffle(stacks)
    else:
        unit.string(b"")
    node_of = {stack: unit.node(stack) for stack in stacks}
    if noise and not stacks and noise.random() < 0.5:
        unit.nodes.clear()
    return unit, node_of


def fingerprint(labels: Labels) -> int:
    """xxHash64 over name 0xFF value 0xFF in stored order."""
    return xxh64(b"".join(name + b"\xff" + value + b"\xff" for name, value in labels))


def _starts(lengths: Sequence[int]) -> Any:
    return np.cumsum([0, *lengths], dtype=np.int64)


def _some(values: list[Any], kind: Any) -> Any:
    return None if all(value is None for value in values) else pa.array(values, kind)


def _lists(values: list[Any], kind: Any) -> Any:
    return None if not any(values) else pa.array(values, kind)


def columns_of(model: ModelObject) -> BlockColumns:
    """A model as columns."""
    noise = random.Random(model.seed) if model.seed else None
    infos, series_counts, times = [], [], []
    series_labels: list[Labels] = []
    units: list[tuple[int, int, _Unit]] = []
    rows: list[tuple[Profile, int, int, list[tuple[int, Sample]]]] = []
    node_base = 0
    for position, dataset in enumerate(model.datasets):
        own = list(dict.fromkeys(profile.labels for profile in dataset.profiles))
        series_base = len(series_labels)
        series_labels += own
        series_counts.append(len(own))
        for labels in own:
            mine = [profile.time_ns for profile in dataset.profiles if profile.labels == labels]
            times.append((min(mine), max(mine)))
        unit_of: dict[int, tuple[int, dict[Stack, int], int]] = {}
        for partition in dict.fromkeys(profile.partition for profile in dataset.profiles):
            profiles = [profile for profile in dataset.profiles if profile.partition == partition]
            if noise and noise.random() < 0.3 and not any(profile.samples for profile in profiles):
                continue  # rows without samples may name a partition that does not exist
            unit, node_of = _unit_of(profiles, noise)
            unit_of[partition] = (len(units), node_of, node_base)
            node_base += len(unit.nodes)
            units.append((position, partition, unit))
        for profile in dataset.profiles:
            unit_row, node_of, base = unit_of.get(profile.partition, (-1, {}, 0))
            samples = sorted(((base + node_of[sample.stack], sample) for sample in profile.samples), key=lambda p: p[0])
            rows.append((profile, series_base + own.index(profile.labels), unit_row, samples))
        stamps = [profile.time_ns // 1_000_000 for profile in dataset.profiles]
        infos.append(
            DatasetInfo(
                0,
                dataset.tenant,
                dataset.name,
                min(stamps, default=0),
                max(stamps, default=0),
                dataset.label_sets,
            )
        )
    samples_flat = [sample for _, _, _, samples in rows for _, sample in samples]
    columns = ProfileRows(
        dataset_start=_starts([len(dataset.profiles) for dataset in model.datasets]),
        id=np.array([list(p.id) for p, *_ in rows], np.uint8).reshape(len(rows), 16),
        series=np.array([series for _, series, _, _ in rows], np.int64),
        partition=np.array([p.partition for p, *_ in rows], np.uint64),
        unit=np.array([unit for _, _, unit, _ in rows], np.int64),
        total_value=np.array([p.total_value for p, *_ in rows], np.int64),
        time_ns=np.array([p.time_ns for p, *_ in rows], np.int64),
        sample_start=_starts([len(samples) for *_, samples in rows]),
        stack=np.array([node for *_, samples in rows for node, _ in samples], np.int64),
        value=np.array([sample.value for sample in samples_flat], np.int64),
        span_id=_some([sample.span_id for sample in samples_flat], pa.uint64()),
        trace_id=_some([sample.trace_id for sample in samples_flat], TRACE_ID_TYPE),
        sample_labels=_lists([_label_dicts(sample.labels) for sample in samples_flat], LABELS_TYPE),
        drop_frames=_some([p.drop_frames for p, *_ in rows], pa.int64()),
        keep_frames=_some([p.keep_frames for p, *_ in rows], pa.int64()),
        duration_ns=_some([p.duration_ns for p, *_ in rows], pa.int64()),
        period=_some([p.period for p, *_ in rows], pa.int64()),
        default_sample_type=_some([p.default_sample_type for p, *_ in rows], pa.int64()),
        comments=_lists([list(p.comments) for p, *_ in rows], COMMENTS_TYPE),
        annotations=_lists(
            [[{"Key": k.decode(), "Value": v.decode()} for k, v in p.annotations] for p, *_ in rows],
            ANNOTATIONS_TYPE,
        ),
    )
    series = SeriesTable(
        dataset_start=_starts(series_counts),
        fingerprint=np.array([fingerprint(labels) for labels in series_labels], np.uint64),
        labels=series_labels,
        series_index=np.array([i for count in series_counts for i in range(count)], np.int64),
        min_time_ns=np.array([low for low, _ in times], np.int64),
        max_time_ns=np.array([high for _, high in times], np.int64),
    )
    return BlockColumns(infos, series, columns, _symbol_tables(units), {})


def _label_dicts(labels: Sequence[tuple[int, int | None, int | None, int | None]]) -> list[dict[str, Any]]:
    return [dict(zip(("Key", "Str", "Num", "NumUnit"), label, strict=True)) for label in labels]


def _symbol_tables(units: Sequence[tuple[int, int, _Unit]]) -> SymbolTables:
    tables = [unit for _, _, unit in units]
    strings = _starts([len(unit.strings) for unit in tables])
    functions = _starts([len(unit.functions) for unit in tables])
    mappings = _starts([len(unit.mappings) for unit in tables])
    locations = _starts([len(unit.locations) for unit in tables])
    nodes = _starts([len(unit.nodes) for unit in tables])

    def references(base: Any, values: Sequence[Sequence[int]]) -> Any:
        absolute = [-1 if value < 0 else int(base[i]) + value for i, own in enumerate(values) for value in own]
        return np.array(absolute, np.int64)

    def plain(name: str, position: int, dtype: Any) -> Any:
        return np.array([entry[position] for unit in tables for entry in getattr(unit, name)], dtype)

    line_lists = [location[3] for unit in tables for location in unit.locations]
    dangling = [
        sum(entry[i] < 0 for entry in unit.functions for i in range(3))
        + sum(entry[i] < 0 for entry in unit.mappings for i in range(2))
        + sum((entry[0] < 0) + sum(line[0] < 0 for line in entry[3]) for entry in unit.locations)
        for unit in tables
    ]
    return SymbolTables(
        unit_dataset=np.array([dataset for dataset, _, _ in units], np.int64),
        unit_partition=np.array([partition for _, partition, _ in units], np.uint64),
        string_start=strings,
        strings=pa.array([text for unit in tables for text in unit.strings], pa.large_binary()),
        function_start=functions,
        function_name=references(strings, [[f[0] for f in unit.functions] for unit in tables]),
        function_system_name=references(strings, [[f[1] for f in unit.functions] for unit in tables]),
        function_file_name=references(strings, [[f[2] for f in unit.functions] for unit in tables]),
        function_start_line=plain("functions", 3, np.int32),
        mapping_start=mappings,
        mapping_file_name=references(strings, [[m[0] for m in unit.mappings] for unit in tables]),
        mapping_build_id=references(strings, [[m[1] for m in unit.mappings] for unit in tables]),
        mapping_flags=plain("mappings", 2, np.int32),
        mapping_memory_start=plain("mappings", 3, np.uint64),
        mapping_memory_limit=plain("mappings", 4, np.uint64),
        mapping_file_offset=plain("mappings", 5, np.uint64),
        location_start=locations,
        location_mapping=references(mappings, [[x[0] for x in unit.locations] for unit in tables]),
        location_address=plain("locations", 1, np.uint64),
        location_is_folded=plain("locations", 2, np.bool_),
        line_start=_starts([len(lines) for lines in line_lists]),
        line_function=references(functions, [[line[0] for x in unit.locations for line in x[3]] for unit in tables]),
        line_number=np.array([line[1] for lines in line_lists for line in lines], np.int32),
        node_start=nodes,
        node_parent=references(nodes, [[node[0] for node in unit.nodes] for unit in tables]),
        node_location=references(locations, [[node[1] for node in unit.nodes] for unit in tables]),
        dangling=np.array(dangling, np.int64),
    )


def raw_object(model: ModelObject) -> RawObject:
    """A model as a level-0 object."""
    written = write_segment(columns_of(model), BlockIdentity(model.ulid, model.shard, 0))
    return RawObject(model.key, written.data)
