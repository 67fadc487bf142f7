"""Some datasets of some objects to columns, and of these only what sums need: for looking at much of an archive.

Whole objects are read by `reader`, which is what a job's work rests on; here ids, spans and labels of samples,
mappings and addresses are left out, and symbols altogether where no name is asked for. What is read is checked as
there: a damaged section raises the same errors. Which datasets are wanted and how their bytes come here is not known.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa

from pyro_assets.block.columns import BlockColumns, DatasetInfo, SeriesTable, SymbolTables
from pyro_assets.block.metadata import Dataset
from pyro_assets.block.object import dataset_where
from pyro_assets.block.parquet.rows import WITH_STACKS, WITHOUT_STACKS, read_profiles
from pyro_assets.block.reader import link
from pyro_assets.block.symbols.reader import read_symbols
from pyro_assets.block.tsdb.reader import read_series


@dataclass(frozen=True, slots=True)
class SeriesPart:
    """The series section of a dataset of format 0; `source` is for the caller, who finds it in DatasetInfo again."""

    source: int
    object_key: str
    dataset: Dataset
    tsdb: bytes | memoryview


@dataclass(frozen=True, slots=True)
class DatasetPart:
    """A dataset: its series, and the bytes of its other sections; `symbols` is not looked at without names."""

    series: SeriesPart
    profiles: memoryview
    symbols: memoryview


def read_part_series(parts: Sequence[SeriesPart]) -> SeriesTable:
    """The series of datasets, end to end.

    Raises:
        BlockError: the first section that is not what the format says.
    """
    return read_series(
        [part.tsdb for part in parts], [dataset_where(part.dataset, part.object_key, "tsdb") for part in parts]
    )


def read_parts(parts: Sequence[DatasetPart], *, names: bool, everything: bool = False) -> BlockColumns:
    """Read datasets.

    Args:
        parts: in any order; the columns keep it.
        names: whether names on stacks are needed. Without, all stacks are empty, as if they had no frame.
        everything: whether symbols have all that is stored of them: lines, files, mappings, addresses.

    Returns:
        Columns in which profiles have nothing optional, and symbols only names unless everything is asked for.

    Raises:
        BlockError: the first section that is not what the format says.
    """
    series = [part.series for part in parts]
    infos = [
        DatasetInfo(one.source, one.dataset.tenant, one.dataset.name, one.dataset.min_time_ms, one.dataset.max_time_ms)
        for one in series
    ]

    in_profiles, in_symbols = (
        [dataset_where(one.dataset, one.object_key, section) for one in series] for section in ("profiles", "symbols")
    )
    return link(
        infos,
        read_part_series(series),
        read_profiles([part.profiles for part in parts], in_profiles, WITH_STACKS if names else WITHOUT_STACKS),
        _roots(len(parts))
        if not names
        else read_symbols([part.symbols for part in parts], in_symbols, names_only=not everything),
        in_profiles,
    )


def _roots(datasets: int) -> SymbolTables:
    """Symbols in which each dataset has one stack, that without frames."""
    no_start = np.zeros(datasets + 1, dtype=np.int64)
    nothing = np.zeros(0, dtype=np.int64)
    no_numbers, no_words = nothing.astype(np.int32), nothing.astype(np.uint64)
    roots = np.full(datasets, -1, dtype=np.int64)
    return SymbolTables(
        unit_dataset=np.arange(datasets, dtype=np.int64),
        unit_partition=np.zeros(datasets, dtype=np.uint64),
        string_start=no_start,
        strings=pa.array([], type=pa.large_binary()),
        function_start=no_start,
        function_name=nothing,
        function_system_name=nothing,
        function_file_name=nothing,
        function_start_line=no_numbers,
        mapping_start=no_start,
        mapping_file_name=nothing,
        mapping_build_id=nothing,
        mapping_flags=no_numbers,
        mapping_memory_start=no_words,
        mapping_memory_limit=no_words,
        mapping_file_offset=no_words,
        location_start=no_start,
        location_mapping=nothing,
        location_address=no_words,
        location_is_folded=nothing.astype(np.bool_),
        line_start=np.zeros(1, dtype=np.int64),
        line_function=nothing,
        line_number=no_numbers,
        node_start=np.arange(datasets + 1, dtype=np.int64),
        node_parent=roots,
        node_location=roots,
        dangling=np.zeros(datasets, dtype=np.int64),
    )
