"""Everything that may be wrong with an object: a named error or a counted fact, its neighbours unharmed.

Starts from a good object, falsifies one thing, and puts checksums right where what lies behind them is meant.
"""

from collections import Counter

import numpy as np
import pyarrow as pa
import pytest

from pyro_assets.block.reader import RawObject, read_blocks
from pyro_assets.block.writer import BlockIdentity, write_segment
from pyro_assets.compaction.compact import compact
from pyro_assets.errors import (
    BadCount,
    BadEncoding,
    BadIndex,
    BadLength,
    BadMagic,
    BadMetadata,
    BlockError,
    ChecksumMismatch,
    Truncated,
    UnsupportedVersion,
)
from tests.oracle import decoder as slow_decoder
from tests.support import golden_bucket, mutations, strategies
from tests.support.column_facts import datasets_of, facts_of_columns

BUCKET = golden_bucket.committed()
#: The smallest real segment, and two that have nothing to do with it.
KEY = min(BUCKET.jobs[0], key=lambda key: len(BUCKET.read(key)))
GOOD = BUCKET.read(KEY)
LAYOUT = mutations.layout(GOOD)
OTHERS = [RawObject(key, BUCKET.read(key)) for key in BUCKET.jobs[0] if key != KEY][:2]


@pytest.fixture(scope="module")
def rich() -> bytes:
    """A made-up object with three datasets, several partitions, ids, sample labels, annotations."""
    return strategies.raw_object(strategies.rich_object()).data


@pytest.fixture(scope="module")
def blocks_of_the_others() -> list[bytes]:
    return [block.data for block in compact(OTHERS).blocks]


def refused(data: bytes, *errors: type[BlockError], key: str = KEY) -> BlockError:
    """The object is refused with one of these errors and message that says where."""
    with pytest.raises(BlockError) as caught:
        read_blocks([RawObject(key, data)], isolate=False)
    assert type(caught.value) in errors, f"{type(caught.value).__name__}: {caught.value}"
    assert caught.value.where.object_key == key
    assert key in str(caught.value)
    return caught.value


def set_aside_alone(data: bytes, expected_blocks: list[bytes]) -> None:
    """Compaction sets this object aside with its reason and does everything else."""
    result = compact([OTHERS[0], RawObject(KEY, data), OTHERS[1]])
    assert [position for position, _ in result.set_aside] == [1]
    assert isinstance(result.set_aside[0][1], BlockError)
    assert [block.data for block in result.blocks] == expected_blocks


# --- The object -------------------------------------------------------------------------------------------------


def test_a_zero_byte_object(blocks_of_the_others):
    refused(b"", Truncated)
    set_aside_alone(b"", blocks_of_the_others)


def test_an_object_truncated_anywhere(blocks_of_the_others):
    cuts = [*range(64), *range(64, len(GOOD) - 600, 211), *range(len(GOOD) - 600, len(GOOD))]
    for cut in cuts:
        with pytest.raises(BlockError):
            read_blocks([RawObject(KEY, GOOD[:cut])], isolate=False)
    set_aside_alone(GOOD[: len(GOOD) // 2], blocks_of_the_others)


def test_sections_truncated_anywhere():
    for section in range(3):
        content = mutations.section_of(GOOD, section)
        for cut in [*range(40), *range(40, len(content), 97), *range(max(len(content) - 80, 0), len(content))]:
            data = mutations.with_section(GOOD, section, content[:cut])
            with pytest.raises(BlockError):
                read_blocks([RawObject(KEY, data)], isolate=False)


def test_bytes_in_front_or_behind():
    refused(b"\0" + GOOD, BadMetadata, ChecksumMismatch)
    refused(GOOD + b"\0", Truncated, BadLength, ChecksumMismatch)


@pytest.mark.parametrize("name", [crc.name for crc in LAYOUT.crcs if not crc.width])
def test_every_checksum_is_checked(name):
    crc = next(crc for crc in LAYOUT.crcs if crc.name == name)
    falsified = bytearray(GOOD)
    falsified[crc.at + 3] ^= 1
    # Only this one is wrong: those that cover it are put right.
    later = [other for other in LAYOUT.crcs if other.start <= crc.at < other.end]
    error = refused(mutations.refixed(bytes(falsified), later), ChecksumMismatch)
    assert error.expected != error.actual


@pytest.mark.parametrize("name", [crc.name for crc in LAYOUT.crcs if not crc.width])
def test_every_checksum_covers_its_bytes(name):
    crc = next(crc for crc in LAYOUT.crcs if crc.name == name)
    falsified = bytearray(GOOD)
    falsified[crc.end - 1] ^= 0x80
    later = [other for other in LAYOUT.crcs if other.start <= crc.at < other.end]
    refused(mutations.refixed(bytes(falsified), later), ChecksumMismatch)


def test_a_wrong_checksum_spoils_only_its_object(blocks_of_the_others):
    crc = next(crc for crc in LAYOUT.crcs if not crc.width)
    data = bytearray(GOOD)
    data[crc.at] ^= 1
    set_aside_alone(bytes(data), blocks_of_the_others)


@pytest.mark.parametrize(
    ("name", "value", "errors"),
    [
        ("parquet.magic", 0, (BadMagic,)),
        ("parquet.end_magic", 0, (BadMagic,)),
        ("parquet.footer_length", 0x7FFFFFFF, (BadLength,)),
        ("parquet.footer_length", 0xFFFFFFFF, (BadLength,)),
        ("parquet.footer_length", 0, (BadEncoding, BadLength)),
        ("tsdb.magic", 0xBAAAD701, (BadMagic,)),
        ("tsdb.version", 1, (UnsupportedVersion,)),
        ("tsdb.version", 3, (UnsupportedVersion,)),
        ("symbols.footer.magic", 0, (BadMagic,)),
        ("symbols.footer.version", 1, (UnsupportedVersion,)),
        ("symbols.footer.version", 2, (UnsupportedVersion,)),
        ("symbols.index.magic", 0, (BadMagic,)),
        ("symbols.index.version", 9, (UnsupportedVersion,)),
        ("footer.length", 0xFFFFFFFF, (BadLength, Truncated)),
    ],
)
def test_magic_versions_and_lengths_of_whole_parts(name, value, errors):
    refused(mutations.patched(GOOD, LAYOUT, {name: value}), *errors)


COUNT_FIELDS = sorted(
    name
    for name in LAYOUT.fields
    if name.endswith((".count", ".nodes", ".chunk_count", "partition_count", ".label_count", ".first_length"))
    and not name.split("[")[-1].startswith(("2", "3", "4", "5", "6", "7", "8", "9"))
)
LENGTH_FIELDS = sorted(
    name
    for name in LAYOUT.fields
    if (".size" in name or name.endswith((".length", ".offset", "index_offset")) or ".toc." in name)
    and not name.endswith(("toc.from", "toc.through", "parquet.footer_length"))
)
#: A false number may make its neighbours look like anything; all of these say so.
ANY_STRUCTURE = (BadCount, BadLength, BadIndex, BadEncoding, Truncated, ChecksumMismatch, UnsupportedVersion)


@pytest.mark.parametrize("value", [1 << 31, (1 << 32) - 1])
@pytest.mark.parametrize("name", COUNT_FIELDS)
def test_counts_of_two_to_the_31(name, value):
    if LAYOUT.fields[name][1] == 1:
        value = 0x7F
    refused(mutations.patched(GOOD, LAYOUT, {name: value}), *ANY_STRUCTURE)


@pytest.mark.parametrize("difference", [-1, 1])
@pytest.mark.parametrize("name", COUNT_FIELDS)
def test_counts_that_are_off_by_one(name, difference):
    offset, width, _ = LAYOUT.fields[name]
    value = int.from_bytes(GOOD[offset : offset + width], "big") + difference
    refused(mutations.patched(GOOD, LAYOUT, {name: value}), *ANY_STRUCTURE)


@pytest.mark.parametrize("value", [(1 << 63) - 1, (1 << 64) - 1, 1 << 31, 1 << 62])
@pytest.mark.parametrize("name", LENGTH_FIELDS)
def test_lengths_and_offsets_past_the_end(name, value):
    if LAYOUT.fields[name][1] == 1:
        value = 0x7F
    data = mutations.patched(GOOD, LAYOUT, {name: value})
    if data != GOOD:  # a size of zero stays what it was
        refused(data, *ANY_STRUCTURE)


@pytest.mark.parametrize(
    ("name", "errors"),
    [
        ("tsdb.series.name_symbol", (BadIndex,)),
        ("tsdb.series.value_symbol", (BadIndex,)),
        ("tsdb.label_index[0].first", (BadIndex, BadEncoding)),
        ("tsdb.postings[0].first", (BadIndex, BadEncoding)),
        ("symbols[0].locations.format", (BadEncoding, UnsupportedVersion, BadMetadata)),
        ("symbols[0].strings.format", (BadEncoding, UnsupportedVersion, BadMetadata)),
        ("symbols[0].chunk.encoding", (BadEncoding, UnsupportedVersion)),
        ("symbols[0].strings.inner.encoding", (BadEncoding, UnsupportedVersion)),
        ("symbols[0].functions.header_size", (BadLength, BadEncoding, UnsupportedVersion)),
    ],
)
def test_ids_and_formats_out_of_range(name, errors):
    value = 0x7E if LAYOUT.fields[name][1] == 1 else 0x7FFF
    refused(mutations.patched(GOOD, LAYOUT, {name: value}), *errors)


# --- Metadata ---------------------------------------------------------------------------------------------------


def changed(**values: object):
    """An edit of the metadata: top-level fields, or with the prefix d_ fields of the first dataset."""

    def change(meta):
        for name, value in values.items():
            if name.startswith("d_"):
                meta["datasets"][0][name[2:]] = value
            else:
                meta[name] = value

    return change


@pytest.mark.parametrize(
    ("change", "errors"),
    [
        (changed(metadata_offset=3), (BadMetadata,)),
        (changed(format_version=99), (UnsupportedVersion,)),
        (changed(tenant=77), (BadIndex,)),
        (changed(created_by=-1), (BadIndex,)),
        (changed(d_tenant=77), (BadIndex,)),
        (changed(d_name=1 << 30), (BadIndex,)),
        (changed(d_name=-1), (BadIndex,)),
        (changed(d_format=7), (UnsupportedVersion,)),
        (changed(d_size=1 << 40), (BadMetadata,)),
        (changed(d_size=(1 << 64) - 1), (BadMetadata,)),
        (changed(d_size=0), (BadMetadata,)),
        (changed(d_table_of_contents=[]), (BadCount,)),
        (changed(d_table_of_contents=[0]), (BadCount,)),
        (changed(d_table_of_contents=[0, 100, 50]), (BadMetadata,)),
        (changed(d_table_of_contents=[0, 1 << 63, 1 << 63]), (BadMetadata,)),
        (changed(d_table_of_contents=[(1 << 64) - 1] * 3), (BadMetadata,)),
        (changed(d_labels=[1 << 30]), (BadMetadata,)),
        (changed(d_labels=[1, 1]), (BadMetadata,)),
        (changed(d_labels=[1, 1, 500]), (BadIndex,)),
        (changed(d_labels=[-1]), (BadMetadata,)),
        (changed(d_labels=[0, -1]), (BadMetadata,)),  # a count that leads back to the one before it
        (changed(d_labels=[0, 0, -2]), (BadMetadata,)),
        (changed(d_labels=[1, 0, -1]), (BadIndex,)),
        (changed(compaction_level=1), (BadMetadata,)),
        (changed(compaction_level=(1 << 32) - 1), (BadMetadata,)),
    ],
)
def test_metadata_that_contradicts_itself_or_the_object(change, errors):
    refused(mutations.with_metadata(GOOD, change), *errors)


def test_metadata_that_is_no_message():
    body = GOOD[: slow_decoder.metadata_of(GOOD)["metadata_offset"]]
    refused(mutations.sealed(body, b"\xff" * 40), BadMetadata)
    refused(mutations.sealed(body, b"\x52\xff\xff\xff\xff\x0f"), BadMetadata)


def test_datasets_that_share_bytes():
    def change(meta):
        meta["datasets"].append(dict(meta["datasets"][0]))

    refused(mutations.with_metadata(GOOD, change), BadMetadata)


# --- Ids of profiles --------------------------------------------------------------------------------------------


def set_column(name: str, value: int):
    """An edit of the profiles table: one column set to one value."""

    def change(table: pa.Table) -> pa.Table:
        index = table.column_names.index(name)
        field = table.schema.field(index)
        return table.set_column(index, field, pa.array([value] * table.num_rows, field.type))

    return change


def set_stack(value: int):
    """An edit of the profiles table: the last stack id of every row set to a value."""

    def change(table: pa.Table) -> pa.Table:
        index = table.column_names.index("Samples")
        field = table.schema.field(index)
        rows = table.column(index).to_pylist()
        for row in rows:
            row[-1]["StacktraceID"] = value
        return table.set_column(index, field, pa.array(rows, field.type))

    return change


def test_profiles_written_by_plain_pyarrow_are_read():
    data = mutations.with_profiles(GOOD, lambda table: table)
    columns = read_blocks([RawObject(KEY, data)], isolate=False).columns
    assert Counter(facts_of_columns(columns)) == Counter(slow_decoder.decode_object(GOOD).facts())


@pytest.mark.parametrize(
    "change",
    [
        set_column("SeriesIndex", 1000),
        set_column("SeriesIndex", (1 << 32) - 1),
        set_column("StacktracePartition", 1),
        set_column("StacktracePartition", (1 << 64) - 1),
        set_stack(1 << 20),
        set_stack((1 << 64) - 1),
        set_stack(1 << 63),
    ],
)
def test_ids_of_profiles_out_of_range(change, blocks_of_the_others):
    data = mutations.with_profiles(GOOD, change)
    refused(data, BadIndex)
    set_aside_alone(data, blocks_of_the_others)


@pytest.mark.parametrize("name", ["ID", "SeriesIndex", "Samples", "TimeNanos", "TotalValue", "StacktracePartition"])
def test_a_required_column_that_is_missing(name):
    refused(mutations.with_profiles(GOOD, lambda table: table.drop_columns([name])), BadEncoding)


def test_a_column_of_another_type():
    def change(table: pa.Table) -> pa.Table:
        index = table.column_names.index("SeriesIndex")
        return table.set_column(index, "SeriesIndex", table.column(index).cast(pa.string()))

    refused(mutations.with_profiles(GOOD, change), BadEncoding)


def test_columns_that_older_blocks_lack():
    def change(table: pa.Table) -> pa.Table:
        return table.drop_columns(["Annotations", "DropFrames", "DefaultSampleType"])

    columns = read_blocks([RawObject(KEY, mutations.with_profiles(GOOD, change))], isolate=False).columns
    assert columns.rows.annotations is None
    assert Counter(facts_of_columns(columns)) == Counter(slow_decoder.decode_object(GOOD).facts())


# --- Counted, not refused ---------------------------------------------------------------------------------------


def test_dangling_references_are_counted_and_their_samples_kept(rich):
    result = read_blocks([RawObject("rich", rich)], isolate=False)
    assert result.columns.facts["dangling"] > 0
    names = {line.name for fact in facts_of_columns(result.columns) for frame in fact.stack for line in frame.lines}
    assert None in names
    assert Counter(facts_of_columns(result.columns)) == Counter(strategies.rich_object().facts())
    compacted = compact([RawObject("rich", rich)])
    blocks = [slow_decoder.decode_object(block.data) for block in compacted.blocks]
    assert Counter(slow_decoder.facts_of(blocks)) == Counter(strategies.rich_object().facts())
    assert compacted.facts["dangling"] == result.columns.facts["dangling"]


def test_statistics_that_call_columns_empty_lose_nothing(rich):
    """Labels, span and trace ids, comments, annotations and all else: null counts say that there is nothing."""
    data = rich
    for position, one in enumerate(slow_decoder.metadata_of(rich)["datasets"]):
        if one["format"] == 0:
            found = mutations.layout(rich, position)
            lies = {
                name: rich[found.fields[name.replace(".nulls", ".values")][0]]
                for name in found.fields
                if name.endswith(".nulls")
            }
            assert len(lies) > 15
            data = mutations.patched(data, found, lies, refix=False)
    assert data != rich
    for _ in range(2):  # the second time the form of the footer is known
        columns = read_blocks([RawObject("rich", data)], isolate=False).columns
        assert Counter(facts_of_columns(columns)) == Counter(strategies.rich_object().facts())
        expected = read_blocks([RawObject("rich", rich)]).columns.rows
        for name in ("sample_labels", "span_id", "trace_id", "comments", "annotations", "period", "duration_ns"):
            assert getattr(columns.rows, name) == getattr(expected, name), name


def test_strings_that_are_not_utf8_are_kept_byte_for_byte():
    stack = strategies.stack_of(b"\xff\xfe\x00name")
    labels = strategies.labels_of(b"\xfa\xfb", strategies.CPU)
    sample = slow_decoder.Sample(stack, 1, None, None, ())
    profile = strategies.profile_of(labels, 1, [sample])
    model = strategies.ModelObject(
        strategies.ulid(1, 1), 1, (strategies.ModelDataset(b"\xfc", b"\xfa\xfb", (profile,)),)
    )
    (block,) = (slow_decoder.decode_object(block.data) for block in compact([strategies.raw_object(model)]).blocks)
    assert (block.tenant, block.datasets[0].name) == (b"\xfc", b"\xfa\xfb")
    assert block.facts() == model.facts()


@pytest.mark.parametrize("time_ns", [0, 1, 4_000_000_000_000_000_000, (1 << 63) - 1])
def test_times_at_the_ends_of_time(time_ns):
    sample = slow_decoder.Sample(strategies.stack_of(b"f"), 1, None, None, ())
    profile = strategies.profile_of(strategies.labels_of(b"s", strategies.CPU), time_ns, [sample])
    model = strategies.ModelObject(strategies.ulid(1, 1), 1, (strategies.ModelDataset(b"t", b"s", (profile,)),))
    (block,) = (slow_decoder.decode_object(block.data) for block in compact([strategies.raw_object(model)]).blocks)
    assert [fact.time_ns for fact in block.facts()] == [time_ns]


@pytest.mark.parametrize("values", [[-5, 3], [-(1 << 63)], [(1 << 63) - 1, (1 << 63) - 1], [0, 0]])
def test_negative_and_extreme_values_are_kept(values):
    samples = [
        slow_decoder.Sample(strategies.stack_of(b"f", bytes([97 + i])), value, None, None, ())
        for i, value in enumerate(values)
    ]
    profile = strategies.profile_of(strategies.labels_of(b"s", strategies.CPU), 5, samples)
    model = strategies.ModelObject(strategies.ulid(1, 1), 1, (strategies.ModelDataset(b"t", b"s", (profile,)),))
    result = compact([strategies.raw_object(model)])
    assert sorted(result.columns.rows.value.tolist()) == sorted(values)
    (block,) = (slow_decoder.decode_object(block.data) for block in result.blocks)
    assert Counter(block.facts()) == Counter(model.facts())


def test_a_wrong_total_is_counted():
    data = mutations.with_profiles(GOOD, set_column("TotalValue", 3))
    result = read_blocks([RawObject(KEY, data)], isolate=False)
    assert result.columns.facts["total_mismatches"] > 0


def test_empty_tables_and_profiles_without_samples():
    profile = strategies.profile_of(strategies.labels_of(b"s", strategies.CPU), 5, [])
    for datasets in (
        (strategies.ModelDataset(b"t", b"s", (profile,)),),
        (strategies.ModelDataset(b"t", b"s", ()),),
        (),
    ):
        for seed in range(8):
            model = strategies.ModelObject(strategies.ulid(1, 1), 1, datasets, seed)
            result = compact([strategies.raw_object(model)])
            assert not result.set_aside
            blocks = [slow_decoder.decode_object(block.data) for block in result.blocks]
            kept = [d for block in blocks for d in block.datasets if d.format == 0]
            assert strategies.profile_counts(kept) == strategies.profile_counts(datasets)


def test_a_series_without_type_and_service_is_no_error():
    labels = ((b"pod", b"a"),)
    columns = strategies.columns_of(strategies.plain_object())
    columns.series.labels = [labels]
    columns.series.fingerprint = np.array([strategies.fingerprint(labels)], np.uint64)
    written = write_segment(columns, BlockIdentity(strategies.ulid(1, 1), 1, 0))
    datasets = datasets_of(read_blocks([RawObject("k", written.data)], isolate=False).columns)
    assert datasets[0].profiles[0].labels == labels
    assert datasets[0].profiles[0].samples[0].value == 7
