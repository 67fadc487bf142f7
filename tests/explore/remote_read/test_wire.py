"""What is asked, as Prometheus writes it, and what nobody means; frames and snappy piece by piece."""

import cramjam
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyro_assets.errors import BadQuery
from pyro_assets.explore.remote_read import prompb_pb2 as pb
from pyro_assets.explore.remote_read.encode import MAX_TIME_MS
from pyro_assets.explore.remote_read.wire import (
    MAX_MATCHERS,
    MAX_QUERIES,
    MAX_REQUEST_BYTES,
    chunk_frame,
    label_fields,
    read_request,
    snappy_stream,
)
from tests.support.remote_reads import body, frames, query


def test_a_query_with_everything():
    one = query(("a", "=", "b"), ("c", "!~", "d|e"), span=(1000, 2000), func="rate", start_ms=1100, end_ms=1900)
    (found,), kind = read_request(body(one, accepts=[1, 0]))
    assert [(m.name, m.operator, m.value) for m in found.matchers] == [(b"a", "=", b"b"), (b"c", "!~", b"d|e")]
    # Both ends are asked for; of a larger expression this selector needs its own part.
    assert (found.begin_ms, found.end_ms, found.only_labels, kind) == (1100, 1901, False, "chunks")


@pytest.mark.parametrize(
    ("accepts", "kind"),
    [([], "samples"), ([0], "samples"), ([0, 1], "samples"), ([1, 0], "chunks"), ([7, 1], "chunks")],
)
def test_the_first_kind_that_can_be_given_is(accepts: list[int], kind: str):
    assert read_request(body(query(), accepts=accepts))[1] == kind


def test_spans_end_where_times_do():
    (found,), _ = read_request(body(query(span=(-(2**62), 2**62))))
    assert (found.begin_ms, found.end_ms) == (0, MAX_TIME_MS + 1)
    (found,), _ = read_request(body(query(span=(-(2**63), 2**63 - 1), func="series", start_ms=-5, end_ms=5)))
    assert (found.begin_ms, found.end_ms, found.only_labels) == (0, 6, True)


@pytest.mark.parametrize(
    ("data", "why"),
    [
        (b"", "snappy"),
        (b"\xff" * 20, "snappy"),
        (bytes(cramjam.snappy.compress_raw(b"\xff" * 20)), "no ReadRequest"),
        (bytes(cramjam.snappy.compress_raw(bytes(MAX_REQUEST_BYTES + 1))), "1,048,577 bytes"),
        (b"\xff\xff\xff\xff\x0f" + bytes(10), "4,294,967,295 bytes"),
        (body(*[query()] * (MAX_QUERIES + 1)), "17 queries"),
        (body(query(*[("a", "=", "b")] * (MAX_MATCHERS + 1))), "101 matchers"),
        (body(query(("a", "=~", "("))), r"missing \)"),
        (body(query(("a", "!~", "(?=x)"))), "lookaround"),
        (body(pb.Query(matchers=[pb.LabelMatcher(type=9, name="a")])), "type 9"),
        (body(query(), accepts=[5]), "not \\[5\\]"),
    ],
)
def test_what_nobody_means_is_refused_with_the_reason(data: bytes, why: str):
    with pytest.raises(BadQuery, match=why):
        read_request(data)


@given(st.integers(0, 3), st.lists(st.tuples(st.text(max_size=9), st.text(max_size=300)), max_size=4), st.binary())
def test_frames_hold_one_series(index: int, labels: list[tuple[str, str]], junk: bytes):
    chunk = pb.ChunkedSeries(chunks=[pb.Chunk(data=junk, type=1)]).SerializeToString()
    (frame,) = frames(chunk_frame(index, label_fields(labels), chunk))
    assert frame.query_index == index
    assert [(one.name, one.value) for one in frame.chunked_series[0].labels] == labels
    assert [one.data for one in frame.chunked_series[0].chunks] == [junk]


@pytest.mark.parametrize("sizes", [[], [0], [1], [65_536], [1, 65_535, 1], [200_000, 3, 70_000], [100] * 5000])
def test_snappy_in_pieces_is_snappy(sizes: list[int]):
    parts = [bytes((number * 31 + at // 7) % 256 for at in range(size)) for number, size in enumerate(sizes)]
    packed = b"".join(snappy_stream(parts, sum(sizes)))
    assert bytes(cramjam.snappy.decompress_raw(packed)) == b"".join(parts)
