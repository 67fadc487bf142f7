"""Facts out of BlockColumns, one sample at a time: what columns say, for comparison with the slow decoder.

Only reading of the column classes belongs here; no code of the package is called.
"""

from typing import Any

from pyro_assets.block.columns import BlockColumns, SymbolTables
from tests.oracle.values import EMPTY_STACK, Fact, Frame, Line, Mapping, Profile, Sample, Stack, profile_facts


class _Named:
    """A dataset's name, tenant and profiles, as `profile_facts` and `profile_counts` want them."""

    def __init__(self, tenant: bytes, name: bytes, profiles: list[Profile]) -> None:
        self.tenant, self.name, self.profiles = tenant, name, profiles


def stacks_of(symbols: SymbolTables) -> list[Stack]:
    """The stack at every node."""
    strings = symbols.strings.to_pylist()

    def string(row: int) -> bytes | None:
        return strings[row] if row >= 0 else None

    def line(row: int) -> Line:
        function, number = int(symbols.line_function[row]), int(symbols.line_number[row])
        if function < 0:
            return Line(None, None, None, 0, number)
        return Line(
            string(symbols.function_name[function]),
            string(symbols.function_system_name[function]),
            string(symbols.function_file_name[function]),
            int(symbols.function_start_line[function]),
            number,
        )

    mappings = [
        Mapping(
            string(symbols.mapping_file_name[i]),
            string(symbols.mapping_build_id[i]),
            int(symbols.mapping_flags[i]),
            int(symbols.mapping_memory_start[i]),
            int(symbols.mapping_memory_limit[i]),
            int(symbols.mapping_file_offset[i]),
        )
        for i in range(len(symbols.mapping_flags))
    ]
    frames = [
        Frame(
            tuple(line(row) for row in range(symbols.line_start[i], symbols.line_start[i + 1])),
            int(symbols.location_address[i]),
            mappings[symbols.location_mapping[i]] if symbols.location_mapping[i] >= 0 else None,
            bool(symbols.location_is_folded[i]),
        )
        for i in range(len(symbols.location_address))
    ]
    stacks: list[Stack] = []
    pairs = zip(symbols.node_parent.tolist(), symbols.node_location.tolist(), strict=True)
    for node, (parent, location) in enumerate(pairs):
        assert parent < node
        stacks.append(EMPTY_STACK if parent < 0 else Stack.of(frames[location], stacks[parent]))
    return stacks


def datasets_of(columns: BlockColumns) -> list[_Named]:
    """Datasets with whole profiles, in order."""
    rows, stacks = columns.rows, stacks_of(columns.symbols)

    def cells(column: Any, length: int) -> list[Any]:
        return [None] * length if column is None else column.to_pylist()

    samples_n, rows_n = len(rows.value), len(rows.time_ns)
    span, trace = cells(rows.span_id, samples_n), cells(rows.trace_id, samples_n)
    labels = cells(rows.sample_labels, samples_n)
    drop, keep = cells(rows.drop_frames, rows_n), cells(rows.keep_frames, rows_n)
    duration, period = cells(rows.duration_ns, rows_n), cells(rows.period, rows_n)
    comments, default_type = cells(rows.comments, rows_n), cells(rows.default_sample_type, rows_n)
    annotations = cells(rows.annotations, rows_n)
    datasets = []
    for position, info in enumerate(columns.datasets):
        profiles = []
        for row in range(rows.dataset_start[position], rows.dataset_start[position + 1]):
            entry = int(rows.series[row])
            assert columns.series.dataset_start[position] <= entry < columns.series.dataset_start[position + 1]
            samples = tuple(
                Sample(
                    stacks[rows.stack[i]],
                    int(rows.value[i]),
                    span[i],
                    trace[i],
                    tuple((x["Key"], x["Str"], x["Num"], x["NumUnit"]) for x in labels[i] or ()),
                )
                for i in range(rows.sample_start[row], rows.sample_start[row + 1])
            )
            profiles.append(
                Profile(
                    id=bytes(rows.id[row]),
                    labels=columns.series.labels[entry],
                    fingerprint=int(columns.series.fingerprint[entry]),
                    partition=int(rows.partition[row]),
                    time_ns=int(rows.time_ns[row]),
                    total_value=int(rows.total_value[row]),
                    samples=samples,
                    drop_frames=drop[row],
                    keep_frames=keep[row],
                    duration_ns=duration[row],
                    period=period[row],
                    comments=tuple(comments[row] or ()),
                    default_sample_type=default_type[row],
                    annotations=tuple((a["Key"].encode(), a["Value"].encode()) for a in annotations[row] or ()),
                )
            )
        datasets.append(_Named(info.tenant, info.name, profiles))
    return datasets


def facts_of_dataset(dataset: _Named) -> list[Fact]:
    """Every sample of one dataset."""
    return [fact for profile in dataset.profiles for fact in profile_facts(dataset, profile)]  # type: ignore[arg-type]


def facts_of_columns(columns: BlockColumns) -> list[Fact]:
    """Every sample."""
    return [fact for dataset in datasets_of(columns) for fact in facts_of_dataset(dataset)]
