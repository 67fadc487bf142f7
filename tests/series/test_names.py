"""Names: legal in Prometheus, never merged unnoticed."""

from string import ascii_letters, digits

from hypothesis import given
from hypothesis import strategies as st

from pyro_assets.series.names import (
    OWN_LABELS,
    is_label_name,
    is_metric_name,
    legal_label_name,
    metric_name,
    public_labels,
    show_bytes,
)


def pairs(**labels: str) -> tuple[tuple[bytes, bytes], ...]:
    return tuple((name.encode(), value.encode()) for name, value in labels.items())


def test_private_and_empty_labels_are_dropped():
    labels = (*pairs(__name__="cpu", __session_id__="1", pod="a", zone=""), (b"raw", b"\xff"))
    assert public_labels(labels).labels == (("pod", "a"), ("raw", "\\xff"))


def test_labels_called_as_ours_move_aside():
    labels = pairs(function="f", pyroscope_shard="9", tenant="t", job="j")
    expected = (("exported_function", "f"), ("exported_pyroscope_shard", "9"), ("exported_tenant", "t"), ("job", "j"))
    public = public_labels(labels)
    assert public.labels == expected
    assert public.collisions == ()  # expected, not odd


def test_a_label_called_like_a_moved_one_moves_too():
    public = public_labels(pairs(exported_function="theirs", function="f"))
    assert public.labels == (("exported_exported_function", "f"), ("exported_function", "theirs"))
    assert len(public.collisions) == 1


def test_a_collision_is_reported_and_both_labels_stay():
    labels = ((b"a.b", b"dot"), (b"a_b", b"legal"), (b"a-b", b"dash"))
    public = public_labels(labels)
    assert public.labels == (("a_b", "legal"), ("exported_a_b", "dash"), ("exported_exported_a_b", "dot"))
    assert "'a-b'" in public.collisions[0]
    assert public == public_labels(labels[::-1])


def test_a_name_that_stands_twice_is_a_collision():
    public = public_labels(((b"pod", b"b"), (b"pod", b"a")))
    assert public.labels == (("exported_pod", "b"), ("pod", "a"))
    assert public.collisions


def test_keep_and_drop_go_by_stored_or_exported_names():
    labels = ((b"a.b", b"1"), (b"pod", b"2"), (b"function", b"3"))
    assert public_labels(labels, keep=["a.b"]).labels == (("a_b", "1"),)
    assert public_labels(labels, keep=["a_b"]).labels == (("a_b", "1"),)
    assert public_labels(labels, drop=["a_b", "function"]).labels == (("pod", "2"),)
    assert public_labels(labels, keep=[]).labels == ()


def test_what_labels_were_made_of_tells_equal_series_apart():
    one, other = public_labels(((b"a.b", b"1"),)), public_labels(((b"a_b", b"1"),))
    assert one.labels == other.labels
    assert (one.renamed, other.renamed) == (((b"a.b", b"1"),), ())
    assert one.renamed == public_labels(((b"__session_id__", b"9"), (b"a.b", b"1"))).renamed
    assert public_labels(pairs(function="f")).renamed == ((b"function", b"f"),)
    assert public_labels(((b"a", b"\xff"),)).renamed
    assert public_labels(((b"a", b"\\xff"),)).labels != public_labels(((b"a", b"\xff"),)).labels


def test_metrics():
    assert metric_name(b"") == "pyroscope_exported_metrics_"
    assert metric_name(b"a.b:\xff") == "pyroscope_exported_metrics_a_b__xff"


@given(st.lists(st.tuples(st.binary(max_size=6), st.binary(max_size=3)), max_size=6))
def test_whatever_comes_in_is_legal_and_unique(labels: list[tuple[bytes, bytes]]):
    public = public_labels(tuple(labels))
    names = [name for name, _ in public.labels]
    assert names == sorted(set(names))
    assert all(is_label_name(name) and name not in OWN_LABELS for name in names)
    assert all(value for _, value in public.labels)
    visible = [(n, v) for n, v in labels if v and not show_bytes(n).startswith("__")]
    assert len(names) == len(visible)
    "".join(value for _, value in public.labels).encode()  # valid text


@given(st.text(max_size=8), st.binary(max_size=8))
def test_names_are_legal(text: str, kind: bytes):
    assert is_label_name(legal_label_name(text))
    assert is_metric_name(metric_name(kind))
    if text and set(text) <= set(ascii_letters + digits + "_") and not text[0].isdigit() and text[:2] != "__":
        assert legal_label_name(text) == text
