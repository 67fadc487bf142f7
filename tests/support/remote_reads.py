"""Remote read in tests: requests as Prometheus writes them, answers taken apart slowly, and archives made by hand.

Nothing of the code under test is used to decode.
"""

import struct
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import cramjam
import google_crc32c
import pyarrow as pa

from pyro_assets.explore.remote_read import prompb_pb2 as pb
from pyro_assets.explore.remote_read.answer import ReadAnswer
from pyro_assets.ledger.database import Ledger
from pyro_assets.ledger.schema import jobs, series_files
from pyro_assets.series.files import series_to_parquet, to_polars
from pyro_assets.storage.checksum import crc32c
from pyro_assets.storage.interface import Bucket
from pyro_assets.storage.keys import hour_of, hour_path
from tests.oracle.xor import decode_chunk
from tests.support import fakes
from tests.support.remote_write import table

NAME = "__name__"
EVER = (0, 2**53)
_TYPES = {"=": pb.LabelMatcher.EQ, "!=": pb.LabelMatcher.NEQ, "=~": pb.LabelMatcher.RE, "!~": pb.LabelMatcher.NRE}
#: (name, operator, value)
Condition = tuple[str, str, str]
#: labels, sorted by name -> (time, value)
Series = dict[tuple[tuple[str, str], ...], list[tuple[int, float]]]


def query(*conditions: Condition, span: tuple[int, int] = EVER, **hints: Any) -> pb.Query:
    """A query; both ends of the span are asked for."""
    matchers = [pb.LabelMatcher(type=_TYPES[op], name=name, value=value) for name, op, value in conditions]
    given = pb.ReadHints(**hints) if hints else None
    return pb.Query(start_timestamp_ms=span[0], end_timestamp_ms=span[1], matchers=matchers, hints=given)


def body(
    *queries: pb.Query, accepts: Sequence[pb.ReadRequest.ResponseType] = (pb.ReadRequest.STREAMED_XOR_CHUNKS,)
) -> bytes:
    """A request as it is sent."""
    message = pb.ReadRequest(queries=queries, accepted_response_types=accepts).SerializeToString()
    return bytes(cramjam.snappy.compress_raw(message))


def frames(data: bytes) -> list[pb.ChunkedReadResponse]:
    """The frames of a streamed answer."""
    found, at = [], 0
    while at < len(data):
        size = shift = 0
        while True:
            byte, at = data[at], at + 1
            size |= (byte & 0x7F) << shift
            shift += 7
            if byte < 0x80:
                break
        (checksum,) = struct.unpack(">I", data[at : at + 4])
        message = data[at + 4 : at + 4 + size]
        assert len(message) == size
        assert checksum == google_crc32c.value(message)
        found.append(pb.ChunkedReadResponse.FromString(message))
        at += 4 + size
    return found


def decoded(answer: ReadAnswer) -> list[Series]:
    """What was found for each query; checks what the protocol promises of both kinds of answers."""
    data = b"".join(answer.parts)
    if "streamed" not in answer.headers["Content-Type"]:
        assert answer.headers["Content-Encoding"] == "snappy"
        response = pb.ReadResponse.FromString(bytes(cramjam.snappy.decompress_raw(data)))
        return [
            _ordered([(one.labels, [(s.timestamp, s.value) for s in one.samples]) for one in result.timeseries])
            for result in response.results
        ]
    found: dict[int, list[Any]] = {}
    for frame in frames(data):
        (one,) = frame.chunked_series
        samples = [pair for chunk in one.chunks for pair in decode_chunk(chunk.data)]
        found.setdefault(frame.query_index, []).append((one.labels, samples))
    assert list(found) == sorted(found)
    return [_ordered(found.get(index, [])) for index in range(max(found, default=0) + 1)]


def _ordered(series: Iterable[tuple[Iterable[pb.Label], list[tuple[int, float]]]]) -> Series:
    pairs = [(tuple((one.name, one.value) for one in labels), samples) for labels, samples in series]
    for labels, samples in pairs:
        assert list(labels) == sorted(labels, key=lambda label: label[0].encode())
        assert samples == sorted(samples, key=lambda sample: sample[0])
    keys = [[(name.encode(), value.encode()) for name, value in labels] for labels, _ in pairs]
    assert keys == sorted(keys)
    assert max(Counter(labels for labels, _ in pairs).values(), default=1) == 1
    return dict(pairs)


@dataclass
class Archive:
    """Files of series and a ledger that knows them, without anything that was compacted."""

    bucket: Bucket
    ledger: Ledger

    def add(self, rows: Sequence[Mapping[str, Any]], *, shared: bool = False) -> str:
        """The series of a job (of one for each time, where they share a file); returns the file's key."""
        return self.add_table(table(*rows), shared=shared)

    def add_table(self, series: pa.Table, *, shared: bool = False) -> str:
        """The same, of a table whose jobs are put right."""
        times = series["timestamp_ms"].to_pylist()
        counts = Counter(times)
        assert shared or len(counts) == 1
        named = {time: f"{time:064x}" for time in counts}
        jobs_of_rows = pa.array([named[time] for time in times], pa.large_string())
        series = series.set_column(series.column_names.index("job"), "job", jobs_of_rows)
        path = hour_path(hour_of(times[0]))
        key = f"series/kind=dimension/hour={path}/{'shared' if shared else named[times[0]]}.parquet"
        data = series_to_parquet(to_polars(series))
        if isinstance(self.bucket, fakes.MemoryBucket):
            self.bucket.objects[key] = data
        else:
            self.bucket.replace(key, data)
        self._note(named, counts, key, data)
        return key

    def _note(self, named: Mapping[int, str], counts: Mapping[int, int], key: str, data: bytes) -> None:
        rows = [
            {
                "id": job, "kind": "segment", "shard": 1, "tenant": "", "hour": hour_of(time), "timestamp_ms": time,
                "mode": "own", "dedup": "exact", "sources": 1, "bytes_in": 1, "first_created_ms": time,
                "last_created_ms": time, "planned_ms": time, "state": "derived",
            }
            for time, job in named.items()
        ]  # fmt: skip
        place = {"kind": "dimension", "key": key, "size_bytes": len(data), "crc32c": crc32c(data), "written_ms": 1}
        files = [{"job_id": job, "rows": counts[time], **place} for time, job in named.items()]
        with self.ledger.write() as connection:
            for job in named.values():
                connection.execute(series_files.delete().where(series_files.c.job_id == job))
                connection.execute(jobs.delete().where(jobs.c.id == job))
            connection.execute(jobs.insert(), rows)
            connection.execute(series_files.insert(), files)
