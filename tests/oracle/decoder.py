"""A slow, obvious decoder of whole objects: bytes in, plain Python values out, nothing of the package used.

It exists to contradict the fast code: it may import the standard library and, for Parquet alone, pyarrow;
never pyro_assets. It is strict: besides every CRC it checks alignment, padding, order, and that everything
redundant (postings, label indices, tables, totals) follows from the rest. The format is explained in
pyro_assets/block/FORMAT.md.
"""

import io
import itertools
from collections.abc import Iterator, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from tests.oracle.bytes import SlowDecodeError, check_crc, must, packed, protobuf_fields, signed64
from tests.oracle.symbols import Partition, read_symbols
from tests.oracle.tsdb import read_tsdb
from tests.oracle.values import Block, Dataset, Fact, Labels, Profile, Sample, Series, dataset_facts, facts_of

__all__ = [
    "Block",
    "Dataset",
    "Fact",
    "Profile",
    "Sample",
    "Series",
    "SlowDecodeError",
    "dataset_facts",
    "decode_object",
    "facts_of",
    "metadata_of",
]


def metadata_of(data: bytes) -> dict[str, Any]:
    """The metadata at the object's end, in the form of segments-2024/metas.json (strings as bytes)."""
    must(len(data) >= 8, "too short for a footer", len(data))
    length = int.from_bytes(data[-8:-4], "big")
    must(length <= len(data) - 8, "metadata longer than the object", length)
    check_crc(data[-8 - length : -4], int.from_bytes(data[-4:], "big"), "metadata")
    message = data[-8 - length : -8]
    fields = protobuf_fields(message)
    must(set(fields) <= set(range(1, 13)), "unknown fields of BlockMeta", sorted(fields))

    def one(number: int) -> Any:
        return fields.get(number, [0])[-1]

    datasets = []
    for raw in fields.get(10, []):
        sub = protobuf_fields(raw)
        must(set(sub) <= {1, 2, 3, 4, 5, 6, 8, 9}, "unknown fields of Dataset", sorted(sub))
        datasets.append(
            {
                "tenant": sub.get(1, [0])[-1],
                "name": sub.get(2, [0])[-1],
                "min_time": signed64(sub.get(3, [0])[-1]),
                "max_time": signed64(sub.get(4, [0])[-1]),
                "table_of_contents": packed(sub.get(5, [])),
                "size": sub.get(6, [0])[-1],
                "labels": packed(sub.get(8, [])),
                "format": sub.get(9, [0])[-1],
            }
        )
    meta = {
        "format_version": one(1),
        "id": fields.get(2, [b""])[-1],
        "tenant": one(3),
        "shard": one(4),
        "compaction_level": one(5),
        "min_time": signed64(one(6)),
        "max_time": signed64(one(7)),
        "created_by": one(8),
        "size": one(9),
        "datasets": datasets,
        "string_table": fields.get(11, []),
        "metadata_offset": one(12),
    }
    must(meta["metadata_offset"] == len(data) - 8 - length, "metadata_offset", meta["metadata_offset"])
    return meta


def label_sets_of(numbers: Sequence[int], strings: Sequence[bytes]) -> tuple[Labels, ...]:
    """Label sets in a row: n, k1, v1, ..., kn, vn as string-table indices."""
    sets, i = [], 0
    while i < len(numbers):
        n = numbers[i]
        pairs = numbers[i + 1 : i + 1 + 2 * n]
        must(len(pairs) == 2 * n, "label set runs past its end", n)
        sets.append(tuple((strings[pairs[j]], strings[pairs[j + 1]]) for j in range(0, 2 * n, 2)))
        i += 1 + 2 * n
    return tuple(sets)


def decode_object(data: bytes, meta: dict[str, Any] | None = None, *, ascending: bool = True) -> Block:
    """A whole object.

    Args:
        data: all bytes of the object.
        meta: the metadata of an object without footer, as in segments-2024/metas.json.
        ascending: demand that the stack ids of a row ascend; blocks that the original compacted do not obey.

    Raises:
        SlowDecodeError: something is not as the format says.
    """
    data = bytes(data)
    has_footer = meta is None
    if meta is None:
        meta = metadata_of(data)
    strings = [s.encode() if isinstance(s, str) else s for s in meta["string_table"]]
    must(strings and strings[0] == b"", "the string table must start with the empty string")
    must(len(set(strings)) == len(strings), "strings of the table repeat")
    datasets, position = [], 0
    for raw in meta["datasets"]:
        toc, size = raw["table_of_contents"], raw["size"]
        must(raw["format"] in (0, 1), "unknown dataset format", raw["format"])
        must(len(toc) == (1 if raw["format"] else 3), "table of contents", toc)
        must(toc[0] == position, "datasets do not follow each other", toc[0], position)
        bounds = [*toc, toc[0] + size]
        must(bounds == sorted(bounds) and bounds[-1] <= len(data), "bounds of a dataset", bounds)
        position = bounds[-1]
        sections = tuple(data[a:b] for a, b in itertools.pairwise(bounds))
        series: Sequence[Series]
        profiles: tuple[Profile, ...] = ()
        partitions: dict[int, Partition] = {}
        if raw["format"] == 1:
            series = read_tsdb(sections[0], is_dataset_index=True)
        else:
            series = read_tsdb(sections[1])
            partitions = read_symbols(sections[2])
            profiles = tuple(read_profiles(sections[0], series, partitions, ascending))
        datasets.append(
            Dataset(
                tenant=strings[raw["tenant"]],
                name=strings[raw["name"]],
                min_time_ms=raw["min_time"],
                max_time_ms=raw["max_time"],
                toc=tuple(toc),
                size=size,
                label_sets=label_sets_of(raw.get("labels", []), strings),
                format=raw["format"],
                sections=sections,
                series=tuple(series),
                profiles=profiles,
                partitions=partitions,
            )
        )
    must(
        position == (meta["metadata_offset"] if has_footer else len(data)),
        "bytes after the last dataset",
        position,
    )
    return Block(
        id=meta["id"] if isinstance(meta["id"], bytes) else meta["id"].encode(),
        shard=meta["shard"],
        level=meta["compaction_level"],
        tenant=strings[meta["tenant"]],
        min_time_ms=meta["min_time"],
        max_time_ms=meta["max_time"],
        created_by=strings[meta.get("created_by", 0)],
        created_by_index=meta.get("created_by", 0),
        size=meta["size"],
        metadata_offset=meta.get("metadata_offset", 0),
        format_version=meta["format_version"],
        string_table=tuple(strings),
        datasets=tuple(datasets),
    )


COLUMNS = (
    "ID",
    "SeriesIndex",
    "StacktracePartition",
    "TotalValue",
    "Samples",
    "DropFrames",
    "KeepFrames",
    "TimeNanos",
    "DurationNanos",
    "Period",
    "Comments",
    "DefaultSampleType",
    "Annotations",
)


def _column(table: pa.Table, name: str) -> list[Any]:
    """A column as a Python list; one that the file lacks is all null."""
    if name not in table.column_names:
        return [None] * table.num_rows
    column = table.column(name)
    if pa.types.is_timestamp(column.type):
        column = column.cast(pa.int64())
    found: list[Any] = column.to_pylist()
    return found


def _bytes16(value: Any) -> bytes | None:
    if value is None:
        return None
    raw = value if isinstance(value, bytes) else value.bytes
    must(len(raw) == 16, "an id of another length than 16", raw)
    return raw


def _as_bytes(value: Any) -> bytes:
    return value if isinstance(value, bytes) else value.encode()


def read_profiles(
    data: bytes, series: Sequence[Series], partitions: dict[int, Partition], ascending: bool = True
) -> Iterator[Profile]:
    """The rows of the profiles section, joined with series and symbols."""
    by_index: dict[int, Series] = {}
    for one in series:
        for _, _, index in one.chunks:
            must(index not in by_index, "two series with one index", index)
            by_index[index] = one
    times: dict[int, list[int]] = {}
    file = pq.ParquetFile(io.BytesIO(data))
    for i in range(file.num_row_groups):
        must(file.metadata.row_group(i).num_rows <= 10_240, "rows of a row group")
    table = file.read(use_threads=False)
    columns = {name: _column(table, name) for name in COLUMNS}
    previous = (-1, 0)
    for row in range(table.num_rows):
        value = {name: column[row] for name, column in columns.items()}
        index, time_ns, partition = value["SeriesIndex"], value["TimeNanos"], value["StacktracePartition"]
        must(previous <= (index, time_ns), "rows are not sorted by series and time", previous, index, time_ns)
        previous = (index, time_ns)
        must(index in by_index, "a row of no series", index)
        times.setdefault(index, []).append(time_ns)
        samples = []
        stack_ids = [sample["StacktraceID"] for sample in value["Samples"]]
        must(not ascending or stack_ids == sorted(stack_ids), "stack ids of a row are not ascending", row)
        must(partition in partitions or not stack_ids, "a row of no partition", partition)
        for sample in value["Samples"]:
            labels = tuple(
                (label["Key"], label["Str"], label["Num"], label["NumUnit"]) for label in sample["Labels"] or ()
            )
            samples.append(
                Sample(
                    partitions[partition].stack(sample["StacktraceID"]),
                    sample["Value"],
                    sample["SpanID"],
                    _bytes16(sample.get("TraceID")),
                    labels,
                )
            )
        total = sum(sample.value for sample in samples) % (1 << 64)
        must(total == value["TotalValue"], "TotalValue is not the sum", row, total, value["TotalValue"])
        id16 = _bytes16(value["ID"])
        must(id16 is not None, "a row without id", row)
        yield Profile(
            id=id16 or b"",
            labels=by_index[index].labels,
            fingerprint=by_index[index].fingerprint,
            partition=partition,
            time_ns=time_ns,
            total_value=signed64(value["TotalValue"]),
            samples=tuple(samples),
            drop_frames=value["DropFrames"],
            keep_frames=value["KeepFrames"],
            duration_ns=value["DurationNanos"],
            period=value["Period"],
            comments=tuple(value["Comments"] or ()),
            default_sample_type=value["DefaultSampleType"],
            annotations=tuple((_as_bytes(a["Key"]), _as_bytes(a["Value"])) for a in value["Annotations"] or ()),
        )
    for index, one in by_index.items():
        if index in times:
            chunk = next(c for c in one.chunks if c[2] == index)
            must(chunk[:2] == (min(times[index]), max(times[index])), "times of a series", one.labels, chunk)
