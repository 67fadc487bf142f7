"""Selectors: every operator, quoting and escape, and every way in which they do not parse."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyro_assets.errors import SelectorError
from pyro_assets.rules.selectors import parse_selector

LABELS = {b"service_name": b"shop", b"vehicle": b"bike", b"k8s.pod": b"p-0", b"raw": b"\xff\x00"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("{}", True),
        (" { } ", True),
        ('{service_name="shop"}', True),
        ('{service_name="shops"}', False),
        ('{service_name="shop",}', True),
        ('{ service_name = "shop" , vehicle != "car" }', True),
        ('{service_name="shop", vehicle="car"}', False),
        ('{vehicle=~"bike|car"}', True),
        ('{vehicle=~"bik"}', False),
        ('{vehicle=~"ike"}', False),
        ('{vehicle!~"bik"}', True),
        ('{vehicle!~"b.*"}', False),
        # A missing label is empty.
        ('{zone=""}', True),
        ('{zone!=""}', False),
        ('{zone=~".*"}', True),
        ('{zone=~".+"}', False),
        ('{zone!~".+"}', True),
        ('{zone!="a"}', True),
        # Several matchers of one label must all hold.
        ('{vehicle!="car", vehicle!="bike"}', False),
        # Other names in quotes.
        ('{"k8s.pod"="p-0"}', True),
        ("{'k8s.pod'=~'p-[0-9]'}", True),
        # Bytes that are not UTF-8: one character each for an expression.
        (r'{raw="\xff\000"}', True),
        (r'{raw=~".."}', True),
        (r'{raw=~"."}', False),
    ],
)
def test_evaluates(text: str, expected: bool):
    assert parse_selector(text).select([LABELS]).tolist() == [expected]


@pytest.mark.parametrize(
    ("quoted", "value"),
    [
        (r'"a\"b\\c"', b'a"b\\c'),
        (r"'a\'b'", b"a'b"),
        ("'\"'", b'"'),
        (r"`a\n\"b`", rb"a\n\"b"),
        ("`two\nlines`", b"two\nlines"),
        (r'"\a\b\f\n\r\t\v"', b"\a\b\f\n\r\t\v"),
        (r'"\x41\101\u00e9\U0001F600"', b"AA\xc3\xa9\xf0\x9f\x98\x80"),
        (r'"\377\xFE"', b"\xff\xfe"),
        ('"größe"', "größe".encode()),
        ('""', b""),
        ("\"a,b}{c='d'\"", b"a,b}{c='d'"),
        ("'#no comment'", b"#no comment"),
    ],
)
def test_reads_strings_as_go_does(quoted: str, value: bytes):
    assert parse_selector("{a=" + quoted + "}").matchers[0].value == value


@pytest.mark.parametrize(
    ("text", "position", "why"),
    [
        ("", 0, "starts with {"),
        ('up{a="b"}', 0, "no metric name before it"),
        ("{", 1, "not closed by }"),
        ('{a="b"', 6, "expected , or }"),
        ('{a="b"} x', 8, "nothing may follow"),
        ('{a="b"}}', 7, "nothing may follow"),
        ("{,}", 1, "expected a label name"),
        ('{a="b",,}', 7, "expected a label name"),
        ('{a="b" c="d"}', 7, "expected , or }"),
        ('{1a="b"}', 1, "expected a label name"),
        ('{a.b="c"}', 2, "expected one of ="),
        ("{a}", 2, "expected one of ="),
        ('{a=="b"}', 3, "expected a value in quotes"),
        ('{a>"b"}', 2, "expected one of ="),
        ("{a=b}", 3, "expected a value in quotes"),
        ('{a="b}', 3, 'not closed by "'),
        ('{a="b\nc"}', 3, 'not closed by "'),
        ("{a=`b}", 3, "not closed by `"),
        ('{""="b"}', 1, "must not be empty"),
        ('{"up"}', 1, "a metric name selects nothing"),
        (r'{a="\q"}', 4, r"\q is no escape"),
        (r'{a="\'"}', 4, "is no escape"),
        (r'{a="\400"}', 4, "is no escape"),
        (r'{a="\x4"}', 4, "needs 2 hexadecimal digits"),
        (r'{a="\u12"}', 4, "needs 4 hexadecimal digits"),
        (r'{a="\ud800"}', 4, "is no character"),
        (r'{a="\U00110000"}', 4, "is no character"),
        ('{a="\\', 4, "a backslash at the end"),
        ('{a="\ud800"}', 4, "half of a surrogate pair"),
        ('{a=~"(?=b)"}', 5, "character 1 of the regular expression: invalid perl operator: (?="),
        (r'{a!~"\xff"}', 4, "must be UTF-8"),
    ],
)
def test_refuses_with_position(text: str, position: int, why: str):
    with pytest.raises(SelectorError) as caught:
        parse_selector(text)
    assert caught.value.position == position
    assert why in caught.value.why
    assert f"character {position + 1}" in str(caught.value)


@given(st.dictionaries(st.binary(min_size=1, max_size=4), st.binary(max_size=4), max_size=4))
def test_any_bytes_can_be_selected(labels: dict[bytes, bytes]):
    def quote(data: bytes) -> str:
        return '"' + "".join(f"\\x{byte:02x}" for byte in data) + '"'

    selector = parse_selector("{" + ",".join(f"{quote(name)}={quote(labels[name])}" for name in labels) + "}")
    assert selector.select([labels]).all()
    for name in labels:
        assert not selector.select([labels | {name: labels[name] + b"x"}]).any()


@given(st.text(max_size=30))
def test_only_our_error_comes_out(text: str):
    for candidate in (text, "{" + text + "}", '{a=~"' + text + '"}'):
        try:
            parse_selector(candidate)
        except SelectorError as error:
            assert 0 <= error.position <= len(candidate)
