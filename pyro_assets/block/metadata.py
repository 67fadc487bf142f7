"""BlockMeta, the message at the end of an object: what it says of the block and its datasets.

Reader and writer of the message belong here, with its string table resolved to bytes. Whether the offsets in it fit
the object is checked in `object`, where the object's size is known. The message itself is in metadata.proto
(FORMAT.md, 3).
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, NoReturn

from google.protobuf.message import DecodeError

from pyro_assets.block import metadata_pb2
from pyro_assets.block.columns import Labels
from pyro_assets.errors import BadIndex, BadMetadata, UnsupportedVersion, Unwritable, Where

#: The newest BlockMeta.format_version that is understood; blocks from before footers carry 0.
FORMAT_VERSION: Final = 1
#: Dataset formats: profiles, TSDB index and symbols; or one tenant's index over datasets.
FORMAT_PROFILES: Final = 0
FORMAT_INDEX: Final = 1
#: The label set of a dataset index.
INDEX_LABELS: Final[Labels] = ((b"__tenant_dataset__", b"dataset_tsdb_index"),)


@dataclass(slots=True)
class Dataset:
    """What the metadata says of one dataset.

    Attributes:
        tenant, name: as bytes (not always UTF-8); the name of a dataset index is empty.
        min_time_ms, max_time_ms: Unix milliseconds, both ends included.
        toc: offsets of the sections from the object's start, ascending; each section ends where the next begins.
        size: bytes of all sections; the last one ends at toc[0] + size.
        label_sets: (name, value) pairs in stored order, one tuple a set.
        format: FORMAT_PROFILES or FORMAT_INDEX.
    """

    tenant: bytes
    name: bytes
    min_time_ms: int
    max_time_ms: int
    toc: tuple[int, ...]
    size: int
    label_sets: tuple[Labels, ...] = ()
    format: int = FORMAT_PROFILES


@dataclass(slots=True)
class BlockMeta:
    """What the metadata says of one object.

    Attributes:
        id: the block's ULID.
        tenant: empty at level 0, whose objects hold several tenants.
        min_time_ms, max_time_ms: Unix milliseconds over all datasets, both ends included.
        created_by: the host that wrote it; created_by_index is its place in the string table as stored, which
            identifies a recording instance (not used when writing).
        size: bytes of the object; 0 in the message itself.
        metadata_offset: where the message starts, 0 when unknown.
        format_version: 0 before footers existed, otherwise 1.
        string_table: as read. When writing, these strings are numbered first, in this order: empty for a new
            object, `merged_string_table` for a compacted one.
    """

    id: str
    shard: int
    level: int
    tenant: bytes
    min_time_ms: int
    max_time_ms: int
    created_by: bytes = b""
    created_by_index: int = 0
    size: int = 0
    metadata_offset: int = 0
    datasets: list[Dataset] = field(default_factory=list)
    format_version: int = FORMAT_VERSION
    string_table: tuple[bytes, ...] = ()


def parse_metadata(data: bytes | memoryview, where: Where) -> BlockMeta:
    """Reads one BlockMeta message.

    Args:
        data: exactly the message, without the length and checksum that follow it in an object.
        where: object key and section "metadata".

    Raises:
        BadMetadata: not such a message, or a list of labels that does not parse.
        BadIndex: a string index past the end of the string table.
        UnsupportedVersion: a format version or dataset format that is not known.
    """
    message = metadata_pb2.BlockMeta()
    try:
        message.ParseFromString(bytes(data))
    except DecodeError as error:
        raise BadMetadata("the message does not decode", where, expected="BlockMeta", actual=str(error)) from error
    return _from_message(message, where)


def metadata_from_dict(fields: Mapping[str, Any], where: Where | None = None) -> BlockMeta:
    """Metadata of a block without a footer, kept as JSON in the message's own field names.

    Args:
        fields: the message's fields; strings as text, offsets from the object's start.
        where: for messages; by default the block's id.

    Raises:
        BadMetadata: unknown fields or wrong types, and whatever `parse_metadata` raises.
    """
    where = where or Where(str(fields.get("id", "<memory>")), "metadata")
    values = dict(fields)
    try:
        values["string_table"] = [str(text).encode() for text in values.get("string_table", ())]
        message = metadata_pb2.BlockMeta(**values)
    except (TypeError, ValueError, AttributeError) as error:
        raise BadMetadata("the fields do not fit", where, expected="BlockMeta", actual=str(error)) from error
    return _from_message(message, where)


def _from_message(message: metadata_pb2.BlockMeta, where: Where) -> BlockMeta:
    if message.format_version > FORMAT_VERSION:
        raise UnsupportedVersion(
            "format version of the block", where, expected=f"at most {FORMAT_VERSION}", actual=message.format_version
        )
    strings = list(message.string_table) or [b""]
    datasets = [_dataset(one, strings, where) for one in message.datasets]
    return BlockMeta(
        id=message.id,
        shard=message.shard,
        level=message.compaction_level,
        tenant=_string(strings, message.tenant, "tenant", where),
        min_time_ms=message.min_time,
        max_time_ms=message.max_time,
        created_by=_string(strings, message.created_by, "created_by", where),
        created_by_index=message.created_by,
        size=message.size,
        metadata_offset=message.metadata_offset,
        datasets=datasets,
        format_version=message.format_version,
        string_table=tuple(strings),
    )


def _dataset(message: metadata_pb2.Dataset, strings: list[bytes], where: Where) -> Dataset:
    name = _string(strings, message.name, "dataset name", where)
    dataset_format = message.format
    if dataset_format not in (FORMAT_PROFILES, FORMAT_INDEX):
        at = _within(where, name)
        raise UnsupportedVersion("format of the dataset", at, expected="0 or 1", actual=dataset_format)
    return Dataset(
        _string(strings, message.tenant, "dataset tenant", where),
        name,
        message.min_time,
        message.max_time,
        tuple(message.table_of_contents),
        message.size,
        _label_sets(list(message.labels), strings, where, name),
        dataset_format,
    )


def _within(where: Where, name: bytes) -> Where:
    """The place of one dataset; built only for errors, as this runs for every dataset of a job."""
    return Where(where.object_key, where.section, name.decode("utf-8", "backslashreplace"))


def _string(strings: list[bytes], index: int, what: str, where: Where) -> bytes:
    if not 0 <= index < len(strings):
        raise BadIndex(f"string of {what}", where, expected=f"0 to {len(strings) - 1}", actual=index)
    return strings[index]


def _label_sets(indices: list[int], strings: list[bytes], where: Where, name: bytes) -> tuple[Labels, ...]:
    """Splits `n, k1, v1, ..., kn, vn, n, ...` into sets."""
    if not indices:
        return ()
    # A negative count would lead backwards, for ever.
    if min(indices) < 0:
        _refuse_labels(indices, len(strings), _within(where, name))
    sets: list[Labels] = []
    position, end = 0, len(indices)
    try:
        while position < end:
            start = position + 1
            position = start + 2 * indices[position]
            texts = [strings[index] for index in indices[start:position]]
            sets.append(tuple(zip(texts[::2], texts[1::2], strict=True)))
    except (IndexError, ValueError):
        position = -1
    if position != end:
        _refuse_labels(indices, len(strings), _within(where, name))
    return tuple(sets)


def _refuse_labels(indices: list[int], strings: int, where: Where) -> NoReturn:
    """Raises the error that names the first label set that is wrong."""
    position = number = 0
    while position < len(indices):
        pairs = indices[position]
        left = (len(indices) - position - 1) // 2
        if not 0 <= pairs <= left:
            raise BadMetadata(f"label set {number} does not parse", where, expected=f"0 to {left} pairs", actual=pairs)
        for index in indices[position + 1 : position + 1 + 2 * pairs]:
            if not 0 <= index < strings:
                raise BadIndex(f"string in label set {number}", where, expected=f"0 to {strings - 1}", actual=index)
        position += 1 + 2 * pairs
        number += 1
    raise AssertionError("the labels are right")


class _StringTable:
    """Numbers strings in the order they are first asked for; the empty string is number 0."""

    def __init__(self) -> None:
        self.numbers: dict[bytes, int] = {b"": 0}

    def number(self, text: bytes) -> int:
        return self.numbers.setdefault(text, len(self.numbers))


def encode_metadata(meta: BlockMeta) -> bytes:
    """Writes one BlockMeta message.

    The string table starts with "", then `meta.string_table`, the block's tenant and its creator, then come the strings
    of each dataset: tenant, name, labels, each in the order of its first use. This gives the bytes of real blocks of
    all levels. `size` is written only when it is not 0 (objects do not store it, offered metadata does);
    `created_by_index` is ignored.

    Raises:
        Unwritable: a number does not fit its field.
    """
    table = _StringTable()
    for text in meta.string_table:
        table.number(text)
    try:
        message = metadata_pb2.BlockMeta(
            format_version=meta.format_version,
            id=meta.id,
            tenant=table.number(meta.tenant),
            shard=meta.shard,
            compaction_level=meta.level,
            min_time=meta.min_time_ms,
            max_time=meta.max_time_ms,
            created_by=table.number(meta.created_by),
            size=meta.size,
            metadata_offset=meta.metadata_offset,
        )
        for dataset in meta.datasets:
            message.datasets.add(
                tenant=table.number(dataset.tenant),
                name=table.number(dataset.name),
                min_time=dataset.min_time_ms,
                max_time=dataset.max_time_ms,
                table_of_contents=dataset.toc,
                size=dataset.size,
                labels=_label_numbers(dataset.label_sets, table),
                format=dataset.format,
            )
    except (ValueError, TypeError) as error:
        raise Unwritable("metadata", Where(meta.id, "metadata"), expected="BlockMeta", actual=str(error)) from error
    message.string_table.extend(table.numbers)
    return message.SerializeToString(deterministic=True)


def merged_string_table(sources: Sequence[BlockMeta], tenant: bytes) -> tuple[bytes, ...]:
    """The order in which the original numbers the strings of a tenant's compacted block.

    It goes through the sources in job order, not through the result: a service that appears late, or a profile type
    that a service gains late, comes after what earlier sources brought.

    Args:
        sources: the metadata of the job's sources, in job order.
        tenant: of the block to be written.

    Returns:
        What to put into `BlockMeta.string_table` of that block.
    """
    table = _StringTable()
    table.number(tenant)
    for source in sources:
        for dataset in source.datasets:
            if dataset.tenant == tenant and dataset.format == FORMAT_PROFILES:
                table.number(dataset.name)
                _label_numbers(dataset.label_sets, table)
    return tuple(table.numbers)


def _label_numbers(label_sets: Sequence[Labels], table: _StringTable) -> list[int]:
    numbers: list[int] = []
    for labels in label_sets:
        numbers.append(len(labels))
        for name, value in labels:
            numbers += (table.number(name), table.number(value))
    return numbers
