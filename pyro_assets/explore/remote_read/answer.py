"""Remote read from the question to the bytes: reads, encodes and keeps, within bounds, before anything is sent.

So whoever asks for too much gets a refusal and never half an answer, and memory holds some hours of samples, however
long the span. Add a bound here; what is in a message is `wire`'s and `encode`'s.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np

from pyro_assets.block.columns import I64
from pyro_assets.block.cursor import uvarint
from pyro_assets.errors import QueryTooLarge
from pyro_assets.explore.remote_read.dressing import QueriedSeries
from pyro_assets.explore.remote_read.encode import encode_chunks, encode_samples
from pyro_assets.explore.remote_read.rows import View, matching_rows
from pyro_assets.explore.remote_read.spool import SeriesSpool
from pyro_assets.explore.remote_read.wire import (
    Query,
    ResponseType,
    chunk_frame,
    read_request,
    result_head,
    sample_series,
    snappy_stream,
)
from pyro_assets.ledger.database import Ledger
from pyro_assets.storage.interface import ReadOnlyBucket

_HEADERS: Final[dict[ResponseType, dict[str, str]]] = {
    "samples": {"Content-Type": "application/x-protobuf", "Content-Encoding": "snappy"},
    "chunks": {"Content-Type": "application/x-streamed-protobuf; proto=prometheus.ChunkedReadResponse"},
}


@dataclass(frozen=True, slots=True)
class ReadBounds:
    """What one request may cost, and how much of it is in memory.

    Attributes:
        samples: the number at which Prometheus ends a query itself.
        series: of one query.
        bytes: of encoded samples.
        series_bytes: of one series: Prometheus takes no frame above 50 MB.
        rows_at_once: of files that are looked at before answers are made of them; an hour is never cut.
        samples_at_once: that are encoded at once, at some hundred bytes each.
    """

    samples: int = 50_000_000
    series: int = 200_000
    bytes: int = 1 << 30
    series_bytes: int = 48_000_000
    rows_at_once: int = 300_000
    samples_at_once: int = 250_000


@dataclass(slots=True)
class _Result:
    """What was found for one query."""

    query: Query
    table: QueriedSeries
    spool: SeriesSpool


@dataclass(frozen=True, slots=True)
class ReadAnswer:
    """An answer to send.

    Attributes:
        headers: what the protocol wants.
        parts: the body; can be read once.
        series, samples: how many are in it.
    """

    headers: dict[str, str]
    parts: Iterator[bytes]
    series: int
    samples: int


class RemoteReader:
    """Answers requests of remote read.

    Args:
        archive: where files of series lie.
        ledger: knows which there are.
        bounds: of each request.
        monotonic: seconds.
    """

    def __init__(
        self,
        archive: ReadOnlyBucket,
        ledger: Ledger,
        bounds: ReadBounds | None = None,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._archive, self._ledger = archive, ledger
        self._bounds = bounds if bounds is not None else ReadBounds()
        self._monotonic = monotonic

    def answer(self, body: bytes, view: View, seconds: float = 50.0) -> ReadAnswer:
        """Answers a request.

        Args:
            body: as it was sent.
            view: as whom it is read.
            seconds: that reading may take; Prometheus waits for a minute unless it is told otherwise.

        Raises:
            BadQuery: the request cannot be understood.
            QueryTooLarge: it asks for more than `bounds` allow.
            SeriesError, StorageError, LedgerError: what is archived cannot be read.
        """
        queries, kind = read_request(body)
        results: list[_Result] = []
        try:
            samples = 0
            deadline = self._monotonic() + seconds
            for query in queries:
                results.append(_Result(query, QueriedSeries(view, query.matchers), SeriesSpool()))
                samples += self._read(results[-1], view, kind, samples, deadline)
        except BaseException:
            for result in results:
                result.spool.close()
            raise
        parts = _chunks(results) if kind == "chunks" else _samples(results)
        return ReadAnswer(_HEADERS[kind], parts, sum(len(one.table.labels) for one in results), samples)

    def _read(self, result: _Result, view: View, kind: ResponseType, before: int, deadline: float) -> int:
        """Reads what one query asks for; returns how many samples that are."""
        bounds, spool, table = self._bounds, result.spool, result.table
        encode = encode_chunks if kind == "chunks" else encode_samples
        samples = 0
        for rows in matching_rows(self._archive, self._ledger, result.query, view, bounds.rows_at_once):
            columns = table.add(rows)
            samples += len(columns.time_ms)
            _refuse_above(bounds.samples, before + samples, "samples")
            _refuse_above(bounds.series, len(table.labels), "series")
            for portion in columns.portions(bounds.samples_at_once):
                spool.add(portion.series, encode(portion.time_ms, portion.value, portion.begins))
                _refuse_above(bounds.bytes, spool.size_bytes, "bytes")
            if self._monotonic() > deadline:
                raise QueryTooLarge(
                    "reading takes longer than it may; ask for fewer hours or series, or allow more time"
                )
        largest = int(spool.sizes(len(table.labels)).max(initial=0))
        _refuse_above(bounds.series_bytes, largest, "bytes of one series")
        return samples


def _refuse_above(most: int, count: int, what: str) -> None:
    if count > most:
        raise QueryTooLarge(f"the answer has more than {most:,} {what}; ask for fewer hours or series")


def _chunks(results: list[_Result]) -> Iterator[bytes]:
    for index, result in enumerate(results):
        with result.spool:
            order = _wanted(result)
            for number, chunks in zip(order.tolist(), result.spool.series(order), strict=True):
                yield chunk_frame(index, result.table.labels[number], chunks)


def _samples(results: list[_Result]) -> Iterator[bytes]:
    sizes = []
    for result in results:
        labels = np.array([len(one) for one in result.table.labels], dtype=np.int64)
        inner = (labels + result.spool.sizes(len(labels))).take(_wanted(result)).tolist()
        sizes.append(sum(1 + len(uvarint(size)) + size for size in inner))
    heads = [result_head(size) for size in sizes]

    def parts() -> Iterator[bytes]:
        for head, result in zip(heads, results, strict=True):
            yield head
            with result.spool:
                order = _wanted(result)
                for number, samples in zip(order.tolist(), result.spool.series(order), strict=True):
                    yield sample_series(result.table.labels[number], samples)

    return snappy_stream(parts(), sum(sizes) + sum(map(len, heads)))


def _wanted(result: _Result) -> I64:
    """Series in the order of an answer, without those of which nothing is left."""
    order = result.table.order()
    if result.query.only_labels:
        return order
    return order.compress(result.spool.sizes(len(order)).take(order) > 0)
