"""Remote write in tests: series by hand, requests taken apart slowly, and the messages as protobuf itself writes them.

Nothing of the code under test is used to decode.
"""

import struct
from collections.abc import Iterator, Mapping
from typing import Any

import cramjam
import numpy as np
import pyarrow as pa
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

from pyro_assets.export.samples import Samples, read_samples
from pyro_assets.series.files import series_to_parquet, to_polars
from pyro_assets.series.frame import SCHEMA

NOW_MS = 1_795_600_276_100

#: labels in the order of the message, value, timestamp.
DecodedSeries = tuple[tuple[tuple[str, str], ...], float, int]


def row(
    metric: str = "m",
    value: float = 1.0,
    timestamp_ms: int = NOW_MS,
    tenant: str = "acme",
    rule: str = "r",
    **labels: str,
) -> dict[str, Any]:
    """One row of stored series."""
    return {
        "tenant": tenant, "metric": metric, "timestamp_ms": timestamp_ms, "value": value, "value_int": None,
        "rule": rule, "job": "j", "labels": [{"name": name, "value": text} for name, text in sorted(labels.items())],
    }  # fmt: skip


def table(*rows: Mapping[str, Any]) -> pa.Table:
    """Rows as a table of stored series."""
    return pa.Table.from_pylist(list(rows), schema=SCHEMA)


def samples(*rows: Mapping[str, Any]) -> Samples:
    """Rows as samples."""
    return read_samples(table(*rows))


def many(count: int, timestamp_ms: int = NOW_MS, **labels: str) -> Samples:
    """`count` series that differ in the label `pod`."""
    return samples(*(row("m", float(number), timestamp_ms, pod=f"p{number:05d}", **labels) for number in range(count)))


def series_file(count: int, labels: int = 8) -> bytes:
    """A file of `count` series of one job, each with `labels` labels beside the metric's name."""
    rng = np.random.default_rng(7)
    names = [f"label_{position}" for position in range(labels - 2)]
    rows = []
    for number in range(count):
        codes = rng.integers(0, 40, len(names)).tolist()
        own = {name: f"value-{code}" for name, code in zip(names, codes, strict=True)}
        own |= {"pod": f"checkout-7d9c5b{number // 9:08x}", "pyroscope_shard": "3"}
        rows.append(row(f"pyroscope_exported_metrics_type_{number % 9}", float(number * 1_000_003), NOW_MS, **own))
    return series_to_parquet(to_polars(table(*rows)))


def decode_body(body: bytes) -> list[DecodedSeries]:
    """All series of a request's body, each with exactly one sample."""
    return list(decode_message(bytes(cramjam.snappy.decompress_raw(body))))


def decode_message(message: bytes) -> Iterator[DecodedSeries]:
    """All series of a WriteRequest."""
    for number, series in _fields(message):
        assert number == 1
        labels: list[tuple[str, str]] = []
        found: list[tuple[float, int]] = []
        for inner, content in _fields(series):
            parts = dict(_fields(content))
            if inner == 1:
                assert not found, "labels stand before samples"
                labels.append((parts[1].decode(), parts[2].decode()))
            else:
                assert inner == 2
                found.append((struct.unpack("<d", parts[1])[0], parts[2]))
        ((value, timestamp_ms),) = found
        yield tuple(labels), value, timestamp_ms


def _fields(data: bytes) -> Iterator[tuple[int, Any]]:
    at = 0
    content: int | bytes
    while at < len(data):
        key, at = _varint(data, at)
        if key & 7 == 0:
            content, at = _varint(data, at)
        elif key & 7 == 1:
            content, at = data[at : at + 8], at + 8
        else:
            assert key & 7 == 2
            size, at = _varint(data, at)
            assert at + size <= len(data)
            content, at = data[at : at + size], at + size
        yield key >> 3, content


def _varint(data: bytes, at: int) -> tuple[int, int]:
    result = shift = 0
    while True:
        byte = data[at]
        result |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            return result, at


def write_request_class() -> Any:
    """The message WriteRequest, as protobuf's own library makes it from a description."""
    field = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(name="oracle.proto", package="oracle", syntax="proto3")

    def message(name: str, *fields: tuple[str, int, int, str | None, bool]) -> None:
        described = file.message_type.add(name=name)
        for label, number, kind, of, is_repeated in fields:
            described.field.add(
                name=label, number=number, type=kind, type_name=f".oracle.{of}" if of else None,
                label=field.LABEL_REPEATED if is_repeated else field.LABEL_OPTIONAL,
            )  # fmt: skip

    message("Label", ("name", 1, field.TYPE_STRING, None, False), ("value", 2, field.TYPE_STRING, None, False))
    message("Sample", ("value", 1, field.TYPE_DOUBLE, None, False), ("timestamp", 2, field.TYPE_INT64, None, False))
    message(
        "TimeSeries",
        ("labels", 1, field.TYPE_MESSAGE, "Label", True),
        ("samples", 2, field.TYPE_MESSAGE, "Sample", True),
    )
    message("WriteRequest", ("timeseries", 1, field.TYPE_MESSAGE, "TimeSeries", True))
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("oracle.WriteRequest"))
