"""Remote write 1.0 in bytes: samples of one time to the body of a request, without generated code.

Each distinct label is encoded once per job; Arrow joins the pieces, so no loop runs over samples. What may be in one
request is for `batch`; the tests hold the messages against protobuf's own encoder.

    WriteRequest { repeated TimeSeries timeseries = 1 }
    TimeSeries   { repeated Label labels = 1; repeated Sample samples = 2 }
    Label        { string name = 1; string value = 2 }        Sample { double value = 1; int64 timestamp = 2 }
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final

import cramjam
import numpy as np
import pyarrow as pa

from pyro_assets.block.columns import I64, starts
from pyro_assets.block.cursor import uvarint
from pyro_assets.export.samples import Samples

_TIMESERIES: Final = b"\x0a"
_LABEL: Final = b"\x0a"
_NAME: Final = b"\x0a"
_VALUE: Final = b"\x12"
_SAMPLE: Final = b"\x12"
_SAMPLE_VALUE: Final = b"\x09"
_SAMPLE_TIMESTAMP: Final = b"\x10"
_INT64_MASK: Final = (1 << 64) - 1
#: Labels whose bytes are remembered: the jobs of an hour have much the same ones. Some 20 MB at most.
_REMEMBERED: Final = 1 << 16
#: The message without any series.
EMPTY_REQUEST: Final = b""


@lru_cache(_REMEMBERED)
def encode_label(name: str, value: str) -> bytes:
    r"""One label as a field of TimeSeries.

    >>> encode_label("job", "x").hex()
    '0a080a036a6f62120178'
    """
    encoded_name, encoded_value = name.encode(), value.encode()
    inner = _NAME + uvarint(len(encoded_name)) + encoded_name + _VALUE + uvarint(len(encoded_value)) + encoded_value
    return _LABEL + uvarint(len(inner)) + inner


def encode_series_without_samples(labels: Mapping[str, str]) -> bytes:
    """A request with one series that a receiver judges and stores nothing of; labels are sorted by name."""
    series = b"".join(encode_label(name, value) for name, value in labels.items())
    return _TIMESERIES + uvarint(len(series)) + series


def compress(message: bytes | memoryview) -> bytes:
    """The body of a request: snappy's block format.

    Always `bytes`: cramjam returns a file-like object that is empty when it is sent for the second time.
    """
    return bytes(cramjam.snappy.compress_raw(message))


@dataclass(frozen=True, slots=True)
class Encoded:
    """Messages of n series, one behind the other: any run of them is a WriteRequest.

    Attributes:
        data: all bytes.
        offsets: int64[n + 1], series i is data[offsets[i]:offsets[i + 1]].
    """

    data: memoryview
    offsets: I64


class Encoder:
    """Encodes samples of one job.

    Attributes:
        size: int64[n], bytes of each series in a message.
    """

    def __init__(self, samples: Samples) -> None:
        self._samples = samples
        pairs = zip(samples.pair_name.tolist(), samples.pair_value.tolist(), strict=True)
        pieces = [encode_label(samples.names[name], samples.values[value]) for name, value in pairs]
        self._pieces: Any = pa.array(pieces, type=pa.binary())
        lengths = np.array([len(piece) for piece in pieces], dtype=np.int64)
        labels_size = np.diff(starts(lengths.take(samples.pair)).take(samples.offsets))
        # Exact as long as all timestamps have the same number of bytes, as those of 2004 to 2109 have.
        times, of_row = np.unique(samples.timestamp_ms, return_inverse=True)
        tail = np.array([len(_tail_of(time)) for time in times.tolist()], dtype=np.int64).take(of_row)
        inner = labels_size + tail
        self.size: I64 = inner + 1 + _uvarint_size(inner)

    def encode(self, begin: int, end: int) -> Encoded:
        """Encode samples [begin, end), which must have one timestamp.

        Raises:
            ValueError: they have several.
        """
        import pyarrow.compute as pc

        samples, n = self._samples, end - begin
        times = np.unique(samples.timestamp_ms[begin:end])
        if len(times) != 1:
            raise ValueError(f"{len(times)} timestamps in one request, must be 1")
        first, last = samples.offsets[begin], samples.offsets[end]
        codes = pa.array(samples.pair[first:last])
        offsets = pa.array((samples.offsets[begin : end + 1] - first).astype(np.int32))
        labels = pc.binary_join(pa.ListArray.from_arrays(offsets, self._pieces.take(codes)), b"")
        tail = _tail_of(int(times[0]))
        tails = np.tile(np.frombuffer(tail, dtype=np.uint8), (n, 1))
        tails[:, 3:11] = samples.value[begin:end].astype("<f8").view(np.uint8).reshape(n, 8)
        places = np.arange(n + 1, dtype=np.int32) * len(tail)
        tail_array = pa.BinaryArray.from_buffers(pa.binary(), n, [None, pa.py_buffer(places), pa.py_buffer(tails)])
        inner = np.diff(np.frombuffer(labels.buffers()[1], dtype=np.int32, count=n + 1)) + len(tail)
        lengths, of_row = np.unique(inner, return_inverse=True)
        heads = pa.array([_TIMESERIES + uvarint(length) for length in lengths.tolist()], type=pa.binary())
        joined = pc.binary_join_element_wise(heads.take(pa.array(of_row)), labels, tail_array, b"")
        ends = np.frombuffer(joined.buffers()[1], dtype=np.int32, count=n + 1).astype(np.int64)
        return Encoded(memoryview(joined.buffers()[2])[: ends[-1]], ends)


def _tail_of(timestamp_ms: int) -> bytes:
    """The sample of a series with the value 0; the value's eight bytes begin at 3."""
    sample = _SAMPLE_VALUE + bytes(8) + _SAMPLE_TIMESTAMP + uvarint(timestamp_ms & _INT64_MASK)
    return _SAMPLE + uvarint(len(sample)) + sample


def _uvarint_size(numbers: I64) -> I64:
    size = np.ones(len(numbers), dtype=np.int64)
    for bits in (7, 14, 21, 28):
        size += numbers >= 1 << bits
    return size
