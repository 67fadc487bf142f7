"""A tenant's dataset index follows from its datasets, byte for byte as in real blocks."""

from pathlib import Path

import numpy as np
import pytest

from pyro_assets.block.columns import SeriesTable
from pyro_assets.block.object import dataset_sections, index_section, parse_object
from pyro_assets.block.tsdb.dataset_index import write_dataset_index
from pyro_assets.block.tsdb.reader import read_series
from pyro_assets.errors import Where
from tests.support import golden_bucket


def _equal(path: Path) -> bool:
    data = path.read_bytes()
    meta = parse_object(data, str(path))
    kinds = [dataset.format for dataset in meta.datasets]
    positions = [number for number, kind in enumerate(kinds) if kind == 0]
    table = read_series(
        [dataset_sections(data, meta, number).tsdb for number in positions], [Where(str(path))] * len(positions)
    )
    written = write_dataset_index(table, range(len(positions)), positions)
    return written == bytes(index_section(data, meta, kinds.index(1)))


def test_committed_dataset_indices_are_derived_byte_for_byte() -> None:
    paths = sorted(golden_bucket.COMMITTED.rglob("block.bin"))
    assert len(paths) > 20
    assert all(_equal(path) for path in paths)


@pytest.mark.parametrize(
    ("folder", "objects"),
    [("bucket-2026/blocks", 31), ("bucket-2026/segments", 342), ("large-2026", 40), ("blocks-2025", 6)],
)
def test_all_real_dataset_indices_are_derived_byte_for_byte(shared_data: Path, folder: str, objects: int) -> None:
    paths = sorted((shared_data / folder).rglob("block.bin"))
    assert [_equal(path) for path in paths] == [True] * objects


def _table() -> SeriesTable:
    return SeriesTable(
        dataset_start=np.array([0, 2, 2, 3]),
        fingerprint=np.array([7, 8, 9], np.uint64),
        labels=[((b"a", b"2"),), ((b"a", b"1"),), ((b"a", b"3"),)],
        series_index=np.array([0, 1, 0]),
        min_time_ns=np.array([5, 5, 5]),
        max_time_ns=np.array([6, 6, 6]),
    )


def test_only_the_tenants_datasets_in_the_given_order() -> None:
    index = write_dataset_index(_table(), [2, 0], [4, 1])
    read = read_series([index], [Where()])
    assert read.labels == [((b"a", b"3"),), ((b"a", b"2"),), ((b"a", b"1"),)]
    assert read.series_index.tolist() == [4, 1, 1]
    assert read.fingerprint.tolist() == [9, 7, 8]
    assert not read.min_time_ns.any()
    assert not read.max_time_ns.any()


def test_a_tenant_without_series() -> None:
    assert read_series([write_dataset_index(_table(), [], [])], [Where()]).labels == []
    assert read_series([write_dataset_index(_table(), [1], [0])], [Where()]).labels == []
