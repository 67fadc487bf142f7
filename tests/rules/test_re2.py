"""Expressions by RE2: what matches, what is refused with which words and place, and that time stays linear."""

import re
import time

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyro_assets.errors import SelectorError
from pyro_assets.rules.re2 import MAX_CHARACTERS, RegexProblem, check_regex, match_whole, text_array
from pyro_assets.rules.selectors import parse_selector


@pytest.mark.parametrize(
    ("pattern", "matching", "other"),
    [
        ("bike|car", ["bike", "car"], ["bikes", "scar", ""]),
        ("", [""], ["a"]),
        ("a.c", ["abc", "a\nc", "aéc", "a\ufffdc"], ["ac", "abbc"]),
        ("(?-s)a.c", ["abc"], ["a\nc"]),
        ("^a$", ["a"], ["a\n", "\na"]),
        ("a\\z", ["a"], ["a\n"]),
        ("(?m)a$\\n^b", ["a\nb"], ["ab"]),
        ("\\Aa", ["a"], ["b"]),
        ("\\d+", ["17"], ["1\u0663"]),
        ("[\\d]+", ["17"], ["\u0663"]),
        ("\\w", ["a", "_", "1"], ["é", "-"]),
        ("\\W", ["é", "-"], ["a"]),
        ("\\s", [" ", "\t"], ["\u00a0", "\v"]),
        ("\\S+", ["abc"], ["a c"]),
        (".*\\bcd\\b.*", ["ab cd", "écd"], ["abcd"]),
        ("\\B", [""], ["a"]),
        ("(?i)CaR", ["car", "CAR"], ["bar"]),
        ("x(?i)a|b", ["xA", "B"], ["Xa"]),
        ("(?i:a)b", ["Ab"], ["AB"]),
        ("(?i)[^k]", ["a"], ["K"]),
        ("(?i)\\W", ["-"], ["\u212a", "k"]),
        ("(?i)[\\W]", ["-"], ["\u212a", "k", "\u017f"]),
        ("a{,2}", ["a{,2}"], ["aa"]),
        ("a{2}", ["aa"], ["a", "aaa"]),
        ("a{1,}b{0,1}", ["a", "aab"], ["b"]),
        ("{a}", ["{a}"], ["a"]),
        ("a*?b+?c??", ["b", "aabbc"], ["ac"]),
        ("(?U)a*", ["aaa"], ["b"]),
        ("(?P<x>a)(?<y>b)(?:c)", ["abc"], []),
        ("[]a]", ["]", "a"], ["b"]),
        ("[^]a]", ["b"], ["]", "a"]),
        ("[a-c-]", ["b", "-"], ["d"]),
        ("[[:alpha:]][[:^digit:]]", ["ax", "Z-"], ["1x", "a1"]),
        ("[[]", ["["], [""]),
        ("[a&&b]", ["&", "a", "b"], ["c"]),
        ("[+--]", ["+", ",", "-"], ["."]),
        ("\\x41\\x{e9}\\101\\0", ["Aé" + "A\0"], []),
        ("\\Qa.b|\\E+", ["a.b|", "a.b||"], ["axb|"]),
        ("\\Q(", ["("], []),
        ("\\a\\f\\t\\n\\r\\v\\.\\-\\_", ["\a\f\t\n\r\v.-_"], []),
        ("é+", ["éé"], ["e"]),
        ("()|a||b", ["", "a", "b"], ["ab"]),
        ("\\pL+\\PL", ["é1"], ["éé"]),
        ("[\\p{Greek}]", ["λ"], ["l"]),
        ("(?)a", ["a"], []),
        # Neither is what it looks like: a quoted backslash, a class, a quoted text.
        ("\\\\C", ["\\C"], ["C"]),
        ("[(?P<a>x)](?P<a>y)", ["<y", "ay"], ["y"]),
        ("\\Q\\C(?P<a>\\E(?P<a>y)", ["\\C(?P<a>y"], []),
    ],
)
def test_matches_as_go_does(pattern: str, matching: list[str], other: list[str]):
    check_regex(pattern)
    found = match_whole(pa.array(matching + other, pa.large_string()), pattern).tolist()
    assert [text for text, is_found in zip(matching + other, found, strict=True) if is_found] == matching


@pytest.mark.parametrize(
    ("pattern", "position", "why"),
    [
        ("(a)\\1", 3, "invalid escape sequence: \\1; write it without backreferences"),
        ("(?P<a>x)(?P=a)", None, "invalid perl operator: (?P"),  # stands twice
        ("\\k<a>", 0, "invalid escape sequence: \\k"),
        ("(?=a)", 0, "invalid perl operator: (?=; write it without lookaround"),
        ("b(?!a)", 1, "invalid perl operator: (?!"),
        ("(?<=a)b", 0, "invalid perl operator: (?<="),
        ("(?>a)", 0, "invalid perl operator: (?>"),
        ("(?(1)a|b)", 0, "invalid perl operator: (?("),
        ("(?#hm)", 0, "invalid perl operator: (?#"),
        ("a++", 1, "bad repetition operator: ++"),
        ("a{2}+", 1, "bad repetition operator: {2}+"),
        ("a**", 1, "bad repetition operator: **"),
        ("*a", 0, "no argument for repetition operator: *"),
        ("a|+", 2, "no argument for repetition operator: +"),
        ("(?i)*", 4, "no argument for repetition operator: *"),
        ("(a", None, "missing ): (a"),
        ("a)", None, "unexpected ): a)"),
        ("a)|(?:b", None, "unexpected ): a)|(?:b"),
        ("b[a", 1, "missing ]: [a"),
        ("[z-a]", 1, "invalid character class range: z-a"),
        ("[[:nope:]]", 1, "invalid character class range: [:nope:]"),
        ("[a-\\d]", 3, "invalid escape sequence: \\d"),
        ("a\\", None, "trailing \\"),
        (
            "a\\Z",
            1,
            "which RE2 has not; the end of the text is \\z",
        ),
        ("\\p{Klingon}", 0, "invalid character class range: \\p{Klingon}"),
        ("a{1001}", 1, "invalid repetition size: {1001}"),
        ("a{3,2}", 1, "invalid repetition size: {3,2}"),
        ("(?z)", 0, "invalid perl operator: (?z"),
        ("(?P<a b>x)", 0, "invalid named capture group: (?P<a b>"),
        ("x(?P<a>x)(?<a>y)", 9, "duplicate capture group name: (?<a>"),
        ("x\\C", 1, "invalid escape sequence: \\C"),
        ("[\\C]", 1, "invalid escape sequence: \\C"),
        ("(\\pL{50}){20}", None, "pattern too large - compile failed; make it shorter or with fewer repetitions"),
        ("((a{1,100}){1,100}){1,100}", None, "invalid repetition size"),
        ("a" * (MAX_CHARACTERS + 1), None, f"longer than {MAX_CHARACTERS} characters"),
    ],
)
def test_refuses_with_the_fragment_and_its_place(pattern: str, position: int | None, why: str):
    with pytest.raises(RegexProblem) as caught:
        check_regex(pattern)
    assert caught.value.position == position
    assert why in caught.value.why


@pytest.mark.parametrize(
    ("selector", "place"),
    [
        ('{a=~"b(?=c)"}', "(?="),
        (r'{a=~"\\\\(?=c)"}', "(?="),
        (r'{a=~"\u00e9\x62é(?=c)"}', "(?="),
        (r"{a=~`\d\Z`}", r"\Z"),
        (r'{a=~"\\d\\Z"}', r"\\Z"),
        ('{a=~"(b"}', '"(b"'),
        ('{a=~"b)|(?:c"}', '"b)|(?:c"'),
    ],
)
def test_the_place_is_that_in_the_selector(selector: str, place: str):
    with pytest.raises(SelectorError) as caught:
        parse_selector(selector)
    assert selector[caught.value.position :].startswith(place)


@given(
    st.sampled_from(["(a|b)*", "(ab)+c?", "(?:a+b)+", "(a|é){2,3}", "a*b*a*b*a*", "(.)*", "(?i)(AB)+", "a$|b"]),
    st.lists(st.text("abé\nc", max_size=8)),
)
def test_the_same_as_by_re(pattern: str, texts: list[str]):
    python = pattern.replace("$", r"\Z")
    expected = [bool(re.fullmatch(python, text, re.DOTALL)) for text in texts]
    assert match_whole(pa.array(texts, pa.large_string()), pattern).tolist() == expected


@pytest.mark.parametrize(
    ("pattern", "text"),
    [
        ("(a+)+b", "a" * 20_000 + "!"),
        ("(a|a)*b", "a" * 20_000 + "!"),
        ("((a*)*)*b", "a" * 20_000),
        ("a*a*a*a*a*a*a*a*b", "a" * 20_000),
        (".{0,99}" * 20 + "!", "a" * 2_000),
        ("a?" * 32 + "a" * 32, "a" * 31),
    ],
)
def test_catastrophes_take_no_time(pattern: str, text: str):
    selector = parse_selector(f'{{pod=~"{pattern}"}}')
    started = time.process_time()
    assert selector.select([{b"pod": text.encode()}]).tolist() == [False]
    assert time.process_time() - started < 2


@given(st.binary(max_size=12))
def test_bytes_that_are_no_text_are_one_character_each(data: bytes):
    [text] = text_array([data]).to_pylist()
    assert text == data.decode("utf-8", "surrogateescape").encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    dots = f'{{pod=~".{{{len(text)}}}"}}'
    assert parse_selector(dots).select([{b"pod": data}, {b"pod": data + b"\xff"}]).tolist() == [True, False]
