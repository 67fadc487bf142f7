"""Writing TSDB indices: real ones come out byte for byte, and whatever is written is read back."""

import json
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyro_assets.block.columns import Labels
from pyro_assets.block.metadata import metadata_from_dict
from pyro_assets.block.object import dataset_sections, index_section, parse_object
from pyro_assets.block.tsdb.reader import read_series
from pyro_assets.block.tsdb.writer import write_index
from pyro_assets.errors import BadLength, Unwritable, Where
from tests.oracle import tsdb as slow_tsdb
from tests.support import golden_bucket

HERE = Where("memory", "tsdb")
INT64 = st.integers(-(1 << 63), (1 << 63) - 1)


def real_sections(paths: list[Path]) -> Iterator[tuple[str, int, bytes]]:
    """Level (or folder), dataset format and bytes of every TSDB index in these objects."""
    for path in paths:
        data = path.read_bytes()
        meta = parse_object(data, str(path))
        for position, dataset in enumerate(meta.datasets):
            if dataset.format == 0:
                section = dataset_sections(data, meta, position).tsdb
            else:
                section = index_section(data, meta, position)
            yield f"level {meta.level}", dataset.format, bytes(section)


def rewritten(section: bytes) -> bytes:
    table = read_series([section], [HERE])
    return write_index(table.labels, table.fingerprint, table.series_index, table.min_time_ns, table.max_time_ns)


def test_committed_indices_come_out_byte_for_byte() -> None:
    paths = sorted(golden_bucket.COMMITTED.rglob("block.bin"))
    counts = Counter((level, kind) for level, kind, section in real_sections(paths) if rewritten(section) == section)
    all_of = Counter((level, kind) for level, kind, _ in real_sections(paths))
    assert counts == all_of
    assert set(counts) == {("level 0", 0), ("level 0", 1), ("level 1", 0), ("level 1", 1)}


@pytest.mark.parametrize(
    ("folder", "sections"),
    [("bucket-2026/blocks", 70), ("bucket-2026/segments", 684), ("large-2026", 99), ("blocks-2025", 12)],
)
def test_all_real_indices_come_out_byte_for_byte(shared_data: Path, folder: str, sections: int) -> None:
    paths = sorted((shared_data / folder).rglob("block.bin"))
    found = [rewritten(section) == section for _, _, section in real_sections(paths)]
    assert found == [True] * sections


def test_indices_from_before_footers_come_out_byte_for_byte(shared_data: Path) -> None:
    root = shared_data / "segments-2024"
    found = []
    for fields in json.loads((root / "metas.json").read_text()):
        data = (root / fields["id"] / "block.bin").read_bytes()
        meta = parse_object(data, fields["id"], metadata_from_dict(fields))
        for position in range(len(meta.datasets)):
            section = bytes(dataset_sections(data, meta, position).tsdb)
            found.append(rewritten(section) == section)
    assert found == [True] * 11


text = st.binary(max_size=12) | st.binary(min_size=120, max_size=300)
label_sets = st.lists(
    st.dictionaries(
        st.sampled_from([b"a", b"b", b"__name__"]) | st.binary(min_size=1, max_size=4), text, max_size=6
    ).map(lambda labels: tuple(labels.items())),
    max_size=12,
)


@given(label_sets, st.data())
def test_what_is_written_is_read_back(labels: list[Labels], data: st.DataObject) -> None:
    count = len(labels)

    def column(values: st.SearchStrategy[int]) -> list[int]:
        return data.draw(st.lists(values, min_size=count, max_size=count))

    prints = np.array(column(st.integers(0, (1 << 64) - 1)), np.uint64)
    indices = np.array(column(st.integers(0, (1 << 32) - 1)), np.int64)
    times = np.sort(np.array([column(INT64), column(INT64)], np.int64).reshape(2, count), axis=0)
    index = write_index(labels, prints, indices, times[0], times[1])
    table = read_series([index], [HERE])
    assert table.labels == labels
    assert (table.fingerprint == prints).all()
    assert (table.series_index == indices).all()
    assert (table.min_time_ns == times[0]).all()
    assert (table.max_time_ns == times[1]).all()
    assert rewritten(index) == index


def test_more_series_than_one_fingerprint_offset() -> None:
    count = 2500
    labels = [((b"__service_name__", b"s"), (b"pod", b"%d" % i)) for i in range(count)]
    prints = np.arange(count, dtype=np.uint64) << np.uint64(40)
    times = np.arange(count)
    index = write_index(labels, prints, np.arange(count), times, times)
    assert read_series([index], [HERE]).labels == labels
    # The slow decoder derives every redundant part from the series and compares.
    slow = slow_tsdb.read_tsdb(index)
    assert len(slow) == count


def test_refuses_what_the_format_cannot_hold() -> None:
    one = np.zeros(1, np.int64)
    prints = one.astype(np.uint64)
    labels = [((b"a", b"b"),)]
    for index, first, last in ((1 << 32, 0, 0), (-1, 0, 0), (0, 1, 0)):
        with pytest.raises(Unwritable, match="series 0"):
            write_index(labels, prints, one + index, one + first, one + last, HERE)


def test_labels_whose_pairs_take_more_than_a_gibibyte_are_unwritable() -> None:
    none = np.zeros(1025, np.int64)
    series = [((b"n" * (1 << 20), b"%d" % number),) for number in range(1025)]
    with pytest.raises(Unwritable, match=r"labels of all series.*at most 1073741824 bytes"):
        write_index(series, none.astype(np.uint64), none, none, none, HERE)


def test_a_long_label_of_very_many_series_is_refused_though_it_is_small_in_the_index() -> None:
    series = [((b"n" * (1 << 20), b"v"), (b"pod", b"%d" % number)) for number in range(300)]
    none = np.zeros(300, np.int64)
    index = write_index(series, none.astype(np.uint64), np.arange(300), none, none)
    assert len(index) < 5 << 20
    with pytest.raises(BadLength, match="labels of all series"):
        read_series([index], [HERE])
    fewer = write_index(series[:200], none[:200].astype(np.uint64), np.arange(200), none[:200], none[:200])
    assert read_series([fewer], [HERE]).labels == series[:200]
