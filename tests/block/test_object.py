"""The object as a whole: footer, ranged reads, where sections lie, and every way in which that can be wrong."""

from collections.abc import Callable
from dataclasses import replace

import pytest

from pyro_assets import errors
from pyro_assets.block.metadata import INDEX_LABELS, BlockMeta, Dataset, encode_metadata
from pyro_assets.block.object import (
    TAIL_BYTES,
    dataset_sections,
    index_section,
    parse_object,
    read_footer,
    seal_object,
)
from pyro_assets.errors import BlockError
from pyro_assets.storage.checksum import crc32c
from tests.support import golden_bucket

KEY = "segments/1/anonymous/01M891VN847EGSDAA2RKSJH15H/block.bin"
BODY = [b"PPPPPPPPPP", b"TTTTT", b"SSSSS", b"IIII"]


def small_meta() -> BlockMeta:
    """One service and its tenant's index, over the bytes of BODY."""
    return BlockMeta(
        id="01M891VN847EGSDAA2RKSJH15H",
        shard=1,
        level=0,
        tenant=b"",
        min_time_ms=1,
        max_time_ms=2,
        created_by=b"vm",
        datasets=[
            Dataset(b"acme", b"shop", 1, 2, (0, 10, 15), 20, (((b"service_name", b"shop"),),)),
            Dataset(b"acme", b"", 1, 2, (20,), 4, (INDEX_LABELS,), 1),
        ],
    )


def sealed(message: bytes, length: int | None = None) -> bytes:
    """BODY with this metadata, right but for what the caller falsified."""
    tail = message + (len(message) if length is None else length).to_bytes(4, "big")
    return b"".join(BODY) + tail + crc32c(tail).to_bytes(4, "big")


def test_seals_and_reads_an_object() -> None:
    data = seal_object(BODY, small_meta())
    meta = parse_object(data, KEY)
    assert meta.size == len(data)
    assert meta.metadata_offset == 24
    assert replace(meta, size=0, metadata_offset=0, created_by_index=0, string_table=()) == small_meta()
    assert [bytes(part) for part in dataset_sections(data, meta, 0)] == BODY[:3]
    assert bytes(index_section(data, meta, 1)) == BODY[3]
    with pytest.raises(errors.BadMetadata):
        dataset_sections(data, meta, 1)
    with pytest.raises(errors.BadMetadata):
        index_section(data, meta, 0)


def test_real_objects_are_sealed_byte_for_byte() -> None:
    for path in sorted(golden_bucket.COMMITTED.rglob("block.bin")):
        data = path.read_bytes()
        meta = parse_object(data, str(path))
        assert seal_object([data[: meta.metadata_offset]], meta) == data


# --- Ranged reads -----------------------------------------------------------------------------------------------


class Ranges:
    """Serves ranges of an object and remembers which were asked for."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.asked: list[tuple[int, int]] = []

    def __call__(self, start: int, length: int) -> bytes:
        assert start >= 0
        self.asked.append((start, length))
        return self.data[start : start + length]


def test_one_ranged_read_from_the_end_is_enough() -> None:
    data = bytes(50_000) + seal_object(BODY, small_meta())
    meta = small_meta()
    meta.datasets = [replace(one, toc=tuple(at + 50_000 for at in one.toc)) for one in meta.datasets]
    data = seal_object([bytes(50_000), *BODY], meta)
    ranges = Ranges(data)
    assert read_footer(ranges, len(data), KEY) == parse_object(data, KEY)
    assert ranges.asked == [(len(data) - TAIL_BYTES, TAIL_BYTES)]


def test_long_metadata_takes_a_second_read() -> None:
    meta = small_meta()
    meta.datasets[0].label_sets = tuple(((b"service_name", b"%06d" % i * 10),) for i in range(500))
    data = seal_object([*BODY, bytes(1000)], meta)
    ranges = Ranges(data)
    assert read_footer(ranges, len(data), KEY) == parse_object(data, KEY)
    length = len(data) - 24 - 1000
    assert ranges.asked == [(len(data) - TAIL_BYTES, TAIL_BYTES), (len(data) - length, length - TAIL_BYTES)]


def test_a_range_that_comes_back_short_is_truncated() -> None:
    data = seal_object(BODY, small_meta())
    with pytest.raises(errors.Truncated, match="ranged read"):
        read_footer(Ranges(data[:-3]), len(data), KEY)


# --- Wrong objects ----------------------------------------------------------------------------------------------


def _both(data: bytes) -> BlockError:
    """The error that reading at once and reading by ranges have in common."""
    with pytest.raises(BlockError) as whole:
        parse_object(data, KEY)
    with pytest.raises(BlockError) as ranged:
        read_footer(Ranges(data), len(data), KEY)
    assert str(whole.value) == str(ranged.value)
    assert whole.value.where.object_key == KEY
    return whole.value


def test_a_zero_byte_object() -> None:
    error = _both(b"")
    assert type(error) is errors.Truncated
    assert "the object is empty" in str(error)
    with pytest.raises(errors.Truncated, match="empty"):
        parse_object(b"", KEY, small_meta())


def test_truncated_anywhere() -> None:
    data = seal_object(BODY, small_meta())
    for size in range(len(data)):
        error = _both(data[:size])
        if size < 8:
            assert type(error) is errors.Truncated


def test_every_byte_of_the_footer_is_vouched_for() -> None:
    data = seal_object(BODY, small_meta())
    for position in range(24, len(data)):
        changed = bytearray(data)
        changed[position] ^= 0xFF
        _both(bytes(changed))


def test_wrong_checksum_of_the_metadata() -> None:
    data = bytearray(seal_object(BODY, small_meta()))
    data[-1] ^= 1
    error = _both(bytes(data))
    assert type(error) is errors.ChecksumMismatch
    assert (error.offset, error.where.section) == (24, "metadata")


@pytest.mark.parametrize("extra", [1, 1 << 31, (1 << 32) - 1])
def test_metadata_longer_than_the_object(extra: int) -> None:
    message = encode_metadata(small_meta())
    length = min(len(message) + 24 + extra, (1 << 32) - 1)
    error = _both(sealed(message, length))
    assert type(error) is errors.BadLength
    assert (error.offset, error.where.section) == (24 + len(message), "footer")


def test_metadata_length_that_is_shorter_or_longer_by_one_fails_the_checksum() -> None:
    message = encode_metadata(small_meta())
    for wrong in (-1, 1):
        assert type(_both(sealed(message, len(message) + wrong))) is errors.ChecksumMismatch


Change = Callable[[BlockMeta], None]


def _dataset(number: int, **fields: object) -> Change:
    def change(meta: BlockMeta) -> None:
        meta.datasets[number] = replace(meta.datasets[number], **fields)  # type: ignore[arg-type]

    return change


WRONG: list[tuple[Change, type[BlockError], str]] = [
    (_dataset(0, toc=()), errors.BadCount, "expected 3, found 0"),
    (_dataset(0, toc=(0, 10)), errors.BadCount, "expected 3, found 2"),
    (_dataset(0, toc=(0, 10, 12, 15)), errors.BadCount, "expected 3, found 4"),
    (_dataset(1, toc=(20, 22)), errors.BadCount, "expected 1, found 2"),
    (_dataset(1, toc=()), errors.BadCount, "expected 1, found 0"),
    (_dataset(0, toc=(0, 0, 15)), errors.BadMetadata, "section profiles"),
    (_dataset(0, toc=(11, 10, 15), size=9), errors.BadMetadata, "section profiles"),
    (_dataset(0, toc=(0, 15, 10)), errors.BadMetadata, "section tsdb"),
    (_dataset(0, toc=(0, 10, 20)), errors.BadMetadata, "section symbols"),
    (_dataset(0, toc=(0, 10, 1 << 40)), errors.BadMetadata, "section symbols"),
    (_dataset(0, size=15), errors.BadMetadata, "section symbols"),
    (_dataset(0, size=0), errors.BadMetadata, "section symbols"),
    (_dataset(0, size=25), errors.BadMetadata, "end of the dataset"),
    (_dataset(0, size=1 << 63), errors.BadMetadata, "end of the dataset"),
    (_dataset(0, toc=(1 << 63, (1 << 63) + 1, (1 << 63) + 2)), errors.BadMetadata, "end of the dataset"),
    (_dataset(1, size=5), errors.BadMetadata, "end of the dataset"),
    (_dataset(1, size=0), errors.BadMetadata, "section dataset index"),
    (_dataset(1, toc=(25,)), errors.BadMetadata, "end of the dataset"),
    (_dataset(1, toc=(19,)), errors.BadMetadata, "datasets overlap"),
    (_dataset(1, toc=(0,)), errors.BadMetadata, "datasets overlap"),
    (_dataset(0, format=2), errors.UnsupportedVersion, "format of the dataset"),
]


@pytest.mark.parametrize(("change", "error", "text"), WRONG)
def test_wrong_places_of_sections_are_named(change: Change, error: type[BlockError], text: str) -> None:
    meta = small_meta()
    change(meta)
    found = _both(sealed(encode_metadata(meta)))
    assert type(found) is error
    assert text in str(found)
    if error is errors.UnsupportedVersion:
        return
    # From outside the same is refused, and nothing of the kind is ever written.
    with pytest.raises(error):
        parse_object(b"".join(BODY), KEY, meta)
    with pytest.raises(errors.Unwritable):
        seal_object(BODY, meta)


def test_metadata_offset_must_be_the_truth_or_absent() -> None:
    meta = small_meta()
    assert parse_object(sealed(encode_metadata(meta)), KEY).metadata_offset == 24
    error = _both(sealed(encode_metadata(replace(meta, metadata_offset=23))))
    assert type(error) is errors.BadMetadata
    assert (error.expected, error.actual) == (24, 23)


def test_unknown_format_version_is_refused_by_name() -> None:
    error = _both(sealed(encode_metadata(replace(small_meta(), format_version=2))))
    assert type(error) is errors.UnsupportedVersion


def test_blocks_without_footer_are_read_with_metadata_from_outside() -> None:
    data = b"".join(BODY)
    meta = parse_object(data, KEY, small_meta())
    assert meta.size == 24
    assert [bytes(part) for part in dataset_sections(data, meta, 0)] == BODY[:3]
    for size in range(1, 24):
        with pytest.raises(errors.BadMetadata):
            parse_object(data[:size], KEY, small_meta())


def test_datasets_may_stand_in_any_order_and_apart() -> None:
    meta = small_meta()
    meta.datasets.reverse()
    assert len(parse_object(seal_object(BODY, meta), KEY).datasets) == 2
    meta.datasets = meta.datasets[:1]
    assert len(parse_object(seal_object(BODY, meta), KEY).datasets) == 1
