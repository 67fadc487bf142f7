"""Requests of remote read as questions, and what answers are framed in; the bytes of samples are `encode`'s.

A request is refused here for what it is: no snappy, no message, more questions or matchers than anybody means. What
it costs to answer is bounded by `answer`.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final, Literal

import cramjam
from google.protobuf.message import DecodeError

from pyro_assets.block.cursor import uvarint
from pyro_assets.errors import BadQuery
from pyro_assets.explore.remote_read import prompb_pb2 as pb
from pyro_assets.explore.remote_read.encode import MAX_TIME_MS
from pyro_assets.export.remote_write.encode import compress, encode_label
from pyro_assets.rules.re2 import RegexProblem, check_regex
from pyro_assets.rules.selectors import Matcher, Operator
from pyro_assets.storage.checksum import crc32c

ResponseType = Literal["samples", "chunks"]

MAX_QUERIES: Final = 16
MAX_MATCHERS: Final = 100
#: Of a request before compression; Prometheus's own have some hundred bytes.
MAX_REQUEST_BYTES: Final = 1 << 20
#: What Prometheus says of a look-up of series, of which no sample is wanted.
_ONLY_LABELS: Final = "series"
_OPERATORS: Final[dict[int, Operator]] = {
    pb.LabelMatcher.EQ: "=",
    pb.LabelMatcher.NEQ: "!=",
    pb.LabelMatcher.RE: "=~",
    pb.LabelMatcher.NRE: "!~",
}
_TYPES: Final[dict[int, ResponseType]] = {
    pb.ReadRequest.SAMPLES: "samples",
    pb.ReadRequest.STREAMED_XOR_CHUNKS: "chunks",
}
#: What is compressed at once: snappy looks no further back.
_SNAPPY_BYTES: Final = 1 << 16


@dataclass(frozen=True, slots=True)
class Query:
    """One question.

    Attributes:
        begin_ms, end_ms: of samples, half-open, Unix ms.
        matchers: all must hold, of labels as the receiver has them.
        only_labels: no samples are wanted.
    """

    begin_ms: int
    end_ms: int
    matchers: tuple[Matcher, ...]
    only_labels: bool = False


def read_request(body: bytes) -> tuple[list[Query], ResponseType]:
    """A request's questions, and the first kind of answer it takes that we can give.

    Args:
        body: as it was sent, in snappy's block format.

    Raises:
        BadQuery: it is no request, or asks for what cannot be.
    """
    try:
        # The length stands in front: what would become too large is not unpacked.
        size = cramjam.snappy.decompress_raw_len(body)
        if size > MAX_REQUEST_BYTES:
            raise BadQuery(f"the request has {size:,} bytes; {MAX_REQUEST_BYTES:,} are the most")
        request = pb.ReadRequest.FromString(bytes(cramjam.snappy.decompress_raw(body)))
    except cramjam.DecompressionError as error:
        raise BadQuery(f"the body is not in snappy's block format: {error}") from error
    except DecodeError as error:
        raise BadQuery(f"the body is no ReadRequest of remote read: {error}") from error
    if len(request.queries) > MAX_QUERIES:
        raise BadQuery(f"the request has {len(request.queries):,} queries; send {MAX_QUERIES} at a time")
    accepted = list(request.accepted_response_types) or [pb.ReadRequest.SAMPLES]
    chosen = next((_TYPES[one] for one in accepted if one in _TYPES), None)
    if chosen is None:
        raise BadQuery(f"answers are SAMPLES (0) or STREAMED_XOR_CHUNKS (1), not {accepted[:10]}")
    return [_query(one) for one in request.queries], chosen


def _query(query: pb.Query) -> Query:
    begin_ms, end_ms = query.start_timestamp_ms, query.end_timestamp_ms
    hints = query.hints
    if query.HasField("hints") and hints.end_ms > 0:
        # What this selector needs of what the whole expression does; Prometheus's own storage reads no more either.
        begin_ms, end_ms = max(begin_ms, hints.start_ms), min(end_ms, hints.end_ms)
    if len(query.matchers) > MAX_MATCHERS:
        raise BadQuery(f"a query has {len(query.matchers):,} matchers; {MAX_MATCHERS} are the most")
    matchers = tuple(map(_matcher, query.matchers))
    return Query(max(begin_ms, 0), min(end_ms, MAX_TIME_MS) + 1, matchers, hints.func == _ONLY_LABELS)


def _matcher(matcher: pb.LabelMatcher) -> Matcher:
    operator = _OPERATORS.get(matcher.type)
    if operator is None:
        raise BadQuery(f"the matcher of {matcher.name[:100]!r} is of type {matcher.type}; there are 0 to 3")
    if operator in ("=~", "!~"):
        try:
            check_regex(matcher.value)
        except RegexProblem as problem:
            raise BadQuery(f"the matcher {matcher.name[:100]}{operator}{matcher.value[:200]!r}: {problem}") from problem
    return Matcher(matcher.name.encode(), operator, matcher.value.encode())


def label_fields(labels: Iterable[tuple[str, str]]) -> bytes:
    """Labels, sorted by name, as they stand in a TimeSeries and in a ChunkedSeries."""
    return b"".join(encode_label(name, value) for name, value in labels)


def chunk_frame(query_index: int, labels: bytes, chunks: bytes) -> bytes:
    """One series as a frame of a streamed answer: its length, its CRC-32C, and a ChunkedReadResponse.

    A series is one frame, however long: Prometheus takes each frame for a series of its own.
    """
    index = b"\x10" + uvarint(query_index) if query_index else b""
    message = b"".join((b"\x0a", uvarint(len(labels) + len(chunks)), labels, chunks, index))
    return b"".join((uvarint(len(message)), crc32c(message).to_bytes(4, "big"), message))


def sample_series(labels: bytes, samples: bytes) -> bytes:
    """A series as a field of a QueryResult."""
    return b"".join((b"\x0a", uvarint(len(labels) + len(samples)), labels, samples))


def result_head(size_bytes: int) -> bytes:
    """What stands in a ReadResponse before the bytes of a QueryResult."""
    return b"\x0a" + uvarint(size_bytes)


def snappy_stream(parts: Iterable[bytes], size_bytes: int) -> Iterator[bytes]:
    """Snappy's block format of parts that have so many bytes together, without holding them.

    The format is a length and then elements that reach back no further than they must: what is compressed piece by
    piece stands one behind the other once each piece has lost its own length.
    """
    yield uvarint(size_bytes)
    waiting = bytearray()
    for part in parts:
        waiting += part
        if len(waiting) >= _SNAPPY_BYTES:
            yield _elements(bytes(waiting))
            waiting.clear()
    if waiting:
        yield _elements(bytes(waiting))


def _elements(data: bytes) -> bytes:
    packed = compress(data)
    return packed[len(uvarint(len(data))) :]
