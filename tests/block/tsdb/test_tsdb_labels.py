"""Order, fingerprint and profile type of labels."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyro_assets.block.tsdb.labels import fingerprint, in_stored_order, profile_type
from tests.oracle.bytes import xxh64
from tests.support import golden_bucket

Pairs = list[tuple[bytes, bytes]]
pairs = st.lists(st.tuples(st.binary(max_size=5), st.binary(max_size=40)), max_size=5)


@given(pairs)
def test_fingerprint_agrees_with_the_slow_one(labels: Pairs) -> None:
    assert fingerprint(tuple(labels)) == xxh64(b"".join(part + b"\xff" for label in labels for part in label))


def test_fingerprints_of_real_series_follow_from_their_labels() -> None:
    bucket = golden_bucket.committed()
    for block in bucket.decoded_sources(bucket.jobs[0][:5]):
        for dataset in block.datasets:
            for series in dataset.series:
                assert fingerprint(series.labels) == series.fingerprint
                assert in_stored_order(reversed(series.labels)) == series.labels


@given(pairs, pairs)
def test_order_compares_pair_by_pair_and_a_prefix_comes_first(one: Pairs, other: Pairs) -> None:
    first, second = tuple(one), tuple(other)
    expected = len(first) < len(second)
    for left, right in zip(first, second, strict=False):
        if left != right:
            expected = left[0] < right[0] if left[0] != right[0] else left[1] < right[1]
            break
    assert (first < second) is expected


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ({b"__profile_type__": b"a:b:c:d:e", b"__name__": b"other"}, b"a:b:c:d:e"),
        ({b"__name__": b"cpu", b"__period_unit__": b"ns"}, b"cpu::::ns"),
        ({b"pod": b"x"}, b""),
        ({}, b""),
    ],
)
def test_profile_type(labels: dict[bytes, bytes], expected: bytes) -> None:
    assert profile_type(tuple(labels.items())) == expected


def test_stored_order_puts_type_and_service_first() -> None:
    given_order = [(b"a", b""), (b"__type__", b""), (b"__service_name__", b""), (b"__profile_type__", b"")]
    assert [name for name, _ in in_stored_order(given_order)] == [
        b"__profile_type__",
        b"__service_name__",
        b"__type__",
        b"a",
    ]
