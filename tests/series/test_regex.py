"""RE2's syntax run by `re`: what matches, what is refused and by which name."""

import pytest

from pyro_assets.series.regex import RegexProblem, compile_anchored


@pytest.mark.parametrize(
    ("pattern", "matching", "other"),
    [
        ("bike|car", ["bike", "car"], ["bikes", "scar", ""]),
        ("", [""], ["a"]),
        ("a.c", ["abc", "a\nc", "aéc", "a\udcffc"], ["ac", "abbc"]),
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
    ],
)
def test_matches_as_re2_does(pattern: str, matching: list[str], other: list[str]):
    compiled = compile_anchored(pattern)
    assert [value for value in matching if not compiled.fullmatch(value)] == []
    assert [value for value in other if compiled.fullmatch(value)] == []


@pytest.mark.parametrize(
    ("pattern", "position", "why"),
    [
        ("(a)\\1", 3, "RE2 has no backreferences"),
        ("(?P<a>x)(?P=a)", 8, "RE2 has no backreferences"),
        ("\\k<a>", 0, "RE2 has no backreferences"),
        ("(?=a)", 0, "RE2 has no lookahead"),
        ("b(?!a)", 1, "RE2 has no negative lookahead"),
        ("(?<=a)b", 0, "RE2 has no lookbehind"),
        ("(?<!a)b", 0, "RE2 has no negative lookbehind"),
        ("(?>a)", 0, "RE2 has no atomic groups"),
        ("(?(1)a|b)", 0, "RE2 has no conditional groups"),
        ("(?#hm)", 0, "RE2 has no comments in groups"),
        ("a++", 1, "RE2 has no possessive quantifiers (++)"),
        ("a*+", 1, "RE2 has no possessive quantifiers (*+)"),
        ("a{2}+", 1, "RE2 has no possessive quantifiers ({2}+)"),
        ("a**", 2, "a repetition of a repetition"),
        ("a{2}{3}", 4, "a repetition of a repetition"),
        ("*a", 0, "nothing stands before *"),
        ("a|+", 2, "nothing stands before +"),
        ("(?i)*", 4, "nothing stands before *"),
        ("(a", 0, "this parenthesis is not closed"),
        ("a)", 1, "this parenthesis closes nothing"),
        ("[a", 0, "this class is not closed"),
        ("[z-a]", 0, "the range z-a descends"),
        ("[[:word", 0, "not closed"),
        ("[[:nope:]]", 1, "no class is called [:nope:]"),
        ("[a-\\d]", 3, "RE2 has no escape \\d"),
        ("a\\", 1, "a backslash at the end"),
        ("a\\Z", 1, "the end of the value is \\z"),
        ("\\h", 0, "RE2 has no escape \\h"),
        ("\\xzz", 0, "write \\x41"),
        ("\\x{110000}", 0, "write \\x41"),
        ("\\pL", 0, "Unicode classes"),
        ("[\\PL]", 1, "Unicode classes"),
        ("a{1001}", 1, "at most 1000"),
        ("a{3,2}", 1, "must ascend"),
        ("(?z)", 0, "this kind of group is none of RE2's"),
        ("(?)", 0, "this kind of group is none of RE2's"),
        ("(?P<a b>x)", 0, "a group's name"),
        ("(?P<a>x)(?P<a>y)", 8, "used twice"),
        ("(" * 201 + ")" * 201, 200, "more than 200 groups"),
    ],
)
def test_refuses_by_name_and_place(pattern: str, position: int, why: str):
    with pytest.raises(RegexProblem) as caught:
        compile_anchored(pattern)
    assert caught.value.position == position
    assert why in caught.value.why
