"""BlockMeta: real messages come out byte for byte, made-up ones are read back, wrong ones are refused by name."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyro_assets import errors
from pyro_assets.block import metadata_pb2
from pyro_assets.block.metadata import (
    INDEX_LABELS,
    BlockMeta,
    Dataset,
    encode_metadata,
    merged_string_table,
    metadata_from_dict,
    parse_metadata,
)
from pyro_assets.block.object import parse_object
from pyro_assets.errors import BlockError, Where
from tests.support import golden_bucket

HERE = Where("key", "metadata")


def message() -> metadata_pb2.BlockMeta:
    """A good level-0 message of one service and its tenant's index."""
    return metadata_pb2.BlockMeta(
        format_version=1,
        id="01M891VN847EGSDAA2RKSJH15H",
        shard=3,
        min_time=1000,
        max_time=2000,
        created_by=1,
        string_table=[b"", b"vm", b"acme", b"shop", b"service_name", b"__tenant_dataset__", b"dataset_tsdb_index"],
        datasets=[
            metadata_pb2.Dataset(
                tenant=2,
                name=3,
                min_time=1000,
                max_time=2000,
                table_of_contents=[0, 10, 20],
                size=30,
                labels=[1, 4, 3, 0, 2, 4, 3, 4, 2],
            ),
            metadata_pb2.Dataset(tenant=2, table_of_contents=[30], size=5, labels=[1, 5, 6], format=1),
        ],
    )


def test_reads_every_field() -> None:
    meta = parse_metadata(message().SerializeToString(), HERE)
    assert (meta.id, meta.shard, meta.level, meta.tenant) == ("01M891VN847EGSDAA2RKSJH15H", 3, 0, b"")
    assert (meta.min_time_ms, meta.max_time_ms, meta.created_by, meta.created_by_index) == (1000, 2000, b"vm", 1)
    assert meta.format_version == 1
    shop, index = meta.datasets
    service = (b"service_name", b"shop")
    assert shop == Dataset(
        tenant=b"acme",
        name=b"shop",
        min_time_ms=1000,
        max_time_ms=2000,
        toc=(0, 10, 20),
        size=30,
        label_sets=((service,), (), (service, (b"service_name", b"acme"))),
        format=0,
    )
    assert (index.name, index.toc, index.format, index.label_sets) == (b"", (30,), 1, (INDEX_LABELS,))


def test_an_empty_message_is_an_empty_block() -> None:
    meta = parse_metadata(b"", HERE)
    assert meta.datasets == []
    assert meta.format_version == 0


Change = Callable[[metadata_pb2.BlockMeta], None]


def _set(path: str, value: object) -> Change:
    """A change of one field, of the block or of its first dataset."""

    def change(block: metadata_pb2.BlockMeta) -> None:
        target: object = block
        name = path
        if path.startswith("dataset."):
            target, name = block.datasets[0], path.removeprefix("dataset.")
        if isinstance(value, list):
            del getattr(target, name)[:]
            getattr(target, name).extend(value)
        else:
            setattr(target, name, value)

    return change


@pytest.mark.parametrize(
    ("change", "error", "text"),
    [
        (_set("format_version", 2), errors.UnsupportedVersion, "format version of the block"),
        (_set("dataset.format", 2), errors.UnsupportedVersion, "format of the dataset (key, dataset shop"),
        (_set("tenant", 7), errors.BadIndex, "string of tenant"),
        (_set("tenant", -1), errors.BadIndex, "string of tenant"),
        (_set("created_by", 7), errors.BadIndex, "string of created_by"),
        (_set("dataset.tenant", 7), errors.BadIndex, "string of dataset tenant"),
        (_set("dataset.name", 1 << 30), errors.BadIndex, "string of dataset name"),
        (_set("dataset.name", -5), errors.BadIndex, "string of dataset name"),
        (_set("dataset.labels", [1, 4, 7]), errors.BadIndex, "label set 0"),
        (_set("dataset.labels", [1, 4, 3, 1, -1, 3]), errors.BadIndex, "label set 1"),
        (_set("dataset.labels", [1, 4]), errors.BadMetadata, "label set 0 does not parse"),
        (_set("dataset.labels", [1, 4, 3, 1, 4]), errors.BadMetadata, "label set 1 does not parse"),
        (_set("dataset.labels", [2, 4, 3]), errors.BadMetadata, "expected 0 to 1 pairs, found 2"),
        (_set("dataset.labels", [1 << 30, 4, 3]), errors.BadMetadata, "label set 0 does not parse"),
        (_set("dataset.labels", [-1, 4, 3]), errors.BadMetadata, "label set 0 does not parse"),
        (_set("string_table", []), errors.BadIndex, "string of"),
    ],
)
def test_wrong_fields_are_named(change: Change, error: type[BlockError], text: str) -> None:
    block = message()
    change(block)
    with pytest.raises(BlockError) as caught:
        parse_metadata(block.SerializeToString(), HERE)
    assert type(caught.value) is error
    assert text in str(caught.value)


@pytest.mark.parametrize("data", [b"\x08", b"\xff" * 20, b"\x12\x7fabc", b"\x12\x01\xff"])
def test_what_is_no_message_is_refused(data: bytes) -> None:
    with pytest.raises(errors.BadMetadata, match="does not decode"):
        parse_metadata(data, HERE)


names = st.binary(max_size=6) | st.sampled_from([b"service_name", b"vm", b"acme", b"\xff\xfe"])
label_sets = st.lists(st.lists(st.tuples(names, names), max_size=3).map(tuple), max_size=4).map(tuple)
times = st.integers(-(1 << 63), (1 << 63) - 1)
datasets = st.builds(
    Dataset,
    tenant=names,
    name=names,
    min_time_ms=times,
    max_time_ms=times,
    toc=st.lists(st.integers(0, (1 << 64) - 1), max_size=3).map(tuple),
    size=st.integers(0, (1 << 64) - 1),
    label_sets=label_sets,
    format=st.integers(0, 1),
)
metas = st.builds(
    BlockMeta,
    id=st.text(max_size=26),
    shard=st.integers(0, (1 << 32) - 1),
    level=st.integers(0, 9),
    tenant=names,
    min_time_ms=times,
    max_time_ms=times,
    created_by=names,
    size=st.integers(0, 1 << 40),
    metadata_offset=st.integers(0, 1 << 40),
    datasets=st.lists(datasets, max_size=4),
    format_version=st.integers(0, 1),
)


@given(metas)
def test_what_is_written_is_read_back(meta: BlockMeta) -> None:
    data = encode_metadata(meta)
    read = parse_metadata(data, HERE)
    assert replace(read, created_by_index=0, string_table=()) == meta
    assert read.string_table[read.created_by_index] == meta.created_by
    assert encode_metadata(read) == data


def test_numbers_that_do_not_fit_are_unwritable() -> None:
    meta = parse_metadata(message().SerializeToString(), HERE)
    with pytest.raises(errors.Unwritable):
        encode_metadata(replace(meta, shard=1 << 32))
    with pytest.raises(errors.Unwritable):
        encode_metadata(replace(meta, id="\udcff"))


def _raw(data: bytes, meta: BlockMeta) -> bytes:
    return data[meta.metadata_offset : -8]


def test_committed_metadata_comes_out_byte_for_byte() -> None:
    """Of segments, and of compacted blocks from their sources: the order of strings is that of the sources."""
    bucket = golden_bucket.committed()
    for job in bucket.jobs:
        sources = []
        for key in job:
            data = bucket.read(key)
            meta = parse_object(data, key)
            assert encode_metadata(replace(meta, size=0, string_table=())) == _raw(data, meta)
            sources.append(meta)
        assert bucket.level1_keys(job)
        for key in bucket.level1_keys(job):
            data = bucket.read(key)
            meta = parse_object(data, key)
            table = merged_string_table(sources, meta.tenant)
            assert encode_metadata(replace(meta, size=0, string_table=table)) == _raw(data, meta)


def test_all_real_metadata_comes_out_byte_for_byte(shared_data: Path) -> None:
    bucket = golden_bucket.GoldenBucket(shared_data / "bucket-2026")
    blocks = 0
    for job in bucket.jobs:
        sources = [parse_object(bucket.read(key), key) for key in job]
        for key in bucket.level1_keys(job):
            data = bucket.read(key)
            meta = parse_object(data, key)
            table = merged_string_table(sources, meta.tenant)
            assert encode_metadata(replace(meta, size=0, string_table=table)) == _raw(data, meta)
            blocks += 1
    assert blocks == 31
    for folder in ("bucket-2026/segments", "large-2026", "blocks-2025"):
        for path in (shared_data / folder).rglob("block.bin"):
            data = path.read_bytes()
            meta = parse_object(data, str(path))
            assert encode_metadata(replace(meta, size=0, string_table=())) == _raw(data, meta)


def test_metadata_kept_as_json(shared_data: Path) -> None:
    for fields in json.loads((shared_data / "segments-2024" / "metas.json").read_text()):
        meta = metadata_from_dict(fields)
        assert (meta.format_version, meta.shard, meta.level) == (0, 1, 0)
        assert {dataset.tenant for dataset in meta.datasets} == {b"anonymous"}
        size = (shared_data / "segments-2024" / meta.id / "block.bin").stat().st_size
        assert sum(dataset.size for dataset in meta.datasets) == size == meta.size


@pytest.mark.parametrize(
    "fields",
    [{"unknown": 1}, {"shard": "one"}, {"shard": -1}, {"datasets": 5}, {"string_table": 5}, {"datasets": [{"x": 1}]}],
)
def test_json_that_does_not_fit_is_refused(fields: dict[str, object]) -> None:
    with pytest.raises(errors.BadMetadata, match="do not fit"):
        metadata_from_dict(fields)
