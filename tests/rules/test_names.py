"""Names: a function of the label alone, legal where they are sent, never merged unnoticed."""

from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyro_assets.rules.names import (
    OWN_LABELS,
    LabelNames,
    escaped_name,
    exported_name,
    exported_names,
    is_label_name,
    is_metric_name,
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


def test_a_moved_label_leaves_its_name_to_the_one_that_has_it():
    public = public_labels(pairs(exported_function="theirs", function="f"))
    assert public.labels == (("U__function", "f"), ("exported_function", "theirs"))
    assert len(public.collisions) == 1


def test_a_name_is_a_function_of_the_label_alone():
    names = ["регион", "имя", "k8s.pod", "k8s-node", "a b", "größe", "1st", "/", "%"]
    alone = {name: exported_name(name) for name in names}
    assert alone == {
        "регион": "_440__435__433__438__43e__43d_",
        "имя": "_438__43c__44f_",
        "k8s.pod": "k8s_pod",
        "k8s-node": "k8s_node",
        "a b": "a_b",
        "größe": "gr_f6__df_e",
        "1st": "_1st",
        "/": "_2f_",
        "%": "_25_",
    }
    assert exported_names(tuple(names)) == (alone, ())


def test_where_two_meet_the_one_that_was_not_legal_is_escaped_and_named():
    labels = ((b"a.b", b"dot"), (b"a_b", b"legal"), (b"a-b", b"dash"))
    public = public_labels(labels)
    assert public.labels == (("a-b", "dash"), ("a.b", "dot"), ("a_b", "legal"))
    assert public.collisions == (
        "label 'a-b' cannot be called 'a_b', another label is: it is called 'U__a_2d_b'",
        "label 'a.b' cannot be called 'a_b', another label is: it is called 'U__a_2e_b'",
    )
    assert public == public_labels(labels[::-1])
    # Whoever writes that name himself keeps it.
    assert exported_names(("a.b", "a_b", "U__a_2e_b"))[0]["a.b"] == "U__U____a__2e__b"


@pytest.mark.parametrize(
    ("name", "escaped"),
    [
        # The examples of https://prometheus.io/docs/instrumenting/escaping_schemes/ and of its implementation.
        ("mysystem.prod.west.cpu.load", "U__mysystem_2e_prod_2e_west_2e_cpu_2e_load"),
        ("mysystem.prod.west.cpu.load_total", "U__mysystem_2e_prod_2e_west_2e_cpu_2e_load__total"),
        ("http.status:sum", "U__http_2e_status_3a_sum"),
        ("label with 😱", "U__label_20_with_20__1f631_"),
        ("花火", "U___82b1__706b_"),
        ("0bad", "U___30_bad"),
        ("no:escaping_required", "U__no_3a_escaping__required"),  # a label has no colon
        ("legal_name", "legal_name"),
    ],
)
def test_values_are_escaped_as_prometheus_does(name: str, escaped: str):
    assert exported_name(name, "values") == escaped


def test_utf8_keeps_every_name_that_may_be_one():
    assert [exported_name(name, "utf8") for name in ("k8s.pod", "имя", "a b", "")] == ["k8s.pod", "имя", "a b", "_"]


def test_a_name_that_stands_twice_is_a_collision():
    public = public_labels(((b"pod", b"b"), (b"pod", b"a")))
    assert public.labels == (("U__pod", "a"), ("pod", "b"))  # of equal ones the first counts, as in selectors
    assert public.collisions


def test_keep_and_drop_go_by_own_names():
    labels = ((b"a.b", b"1"), (b"pod", b"2"), (b"function", b"3"))
    assert public_labels(labels, keep=["a.b"]).labels == (("a.b", "1"),)
    assert public_labels(labels, keep=["a_b"]).labels == ()
    assert public_labels(labels, keep=["exported_function"]).labels == (("exported_function", "3"),)
    assert public_labels(labels, drop=["a_b", "function"]).labels == (("a.b", "1"), ("pod", "2"))
    assert public_labels(labels, keep=[]).labels == ()


def test_what_labels_were_made_of_tells_equal_series_apart():
    one, other = public_labels(((b"a.b", b"1"),)), public_labels(((b"a_b", b"1"),))
    assert (one.renamed, other.renamed) == (((b"a.b", b"1"),), ())
    assert one.renamed == public_labels(((b"__session_id__", b"9"), (b"a.b", b"1"))).renamed
    assert public_labels(pairs(function="f")).renamed == ((b"function", b"f"),)
    assert public_labels(((b"a", b"\xff"),)).renamed
    assert public_labels(((b"a", b"\\xff"),)).labels != public_labels(((b"a", b"\xff"),)).labels


def test_metrics():
    assert metric_name(b"") == "pyroscope_exported_metrics_"
    assert metric_name(b"a.b:\xff") == "pyroscope_exported_metrics_a_b__xff"
    assert metric_name("цп:a".encode()) == "pyroscope_exported_metrics__446__43f__a"
    assert metric_name("вп:a".encode()) != metric_name("цп:a".encode())


@given(st.lists(st.tuples(st.binary(max_size=6), st.binary(max_size=3)), max_size=6))
def test_whatever_comes_in_is_legal_and_unique(labels: list[tuple[bytes, bytes]]):
    public = public_labels(tuple(labels))
    names = [name for name, _ in public.labels]
    assert names == sorted(set(names))
    assert not OWN_LABELS & set(names)
    assert all(value for _, value in public.labels)
    for label_names in get_args(LabelNames):
        sent, _ = exported_names(tuple(names), label_names)
        assert len(set(sent.values())) == len(names)
        assert all(is_label_name(name) or (label_names == "utf8" and name[:2] != "__") for name in sent.values())
    visible = [(n, v) for n, v in labels if v and not show_bytes(n).startswith("__")]
    assert len(names) == len(visible)
    "".join(value for _, value in public.labels).encode()  # valid text


@given(st.text(max_size=8), st.binary(max_size=8))
def test_names_are_legal(text: str, kind: bytes):
    assert is_metric_name(metric_name(kind))
    for label_names in get_args(LabelNames):
        name = exported_name(text, label_names)
        assert is_label_name(name) or (label_names == "utf8" and name[:2] != "__")
        assert name == text or not is_label_name(text)
    assert is_label_name(escaped_name(text))


@given(st.text(max_size=6), st.text(max_size=6))
def test_different_names_are_escaped_differently(one: str, other: str):
    assert (escaped_name(one) == escaped_name(other)) == (one == other)
