r"""Label selectors in PromQL's notation: `{service_name="checkout", pod!~"canary-.*"}`.

Labels are bytes, because the labels of profiles are not always UTF-8. Matchers look at many label sets at once, and
at each distinct value once; callers ask once per distinct label set, never per profile. What a rule does with a match
is not here.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Final, Literal, cast

import numpy as np
from pydantic import AfterValidator

from pyro_assets.block.columns import Bool
from pyro_assets.errors import SelectorError
from pyro_assets.rules.re2 import RegexProblem, check_regex, match_whole, text_array
from pyro_assets.rules.validation import refusal

Operator = Literal["=", "!=", "=~", "!~"]
_NAME: Final = re.compile(r"[a-zA-Z_][a-zA-Z0-9_]*")
_SPACE: Final = re.compile(r"[ \t\r\n]*")
_OPERATOR: Final = re.compile(r"=~|!~|!=|=")
_SIMPLE_ESCAPES: Final = {"a": 7, "b": 8, "f": 12, "n": 10, "r": 13, "t": 9, "v": 11, "\\": 92}
_CODE_ESCAPES: Final = {"x": 2, "u": 4, "U": 8}
_HEX: Final = re.compile(r"[0-9A-Fa-f]+")
_OCTAL: Final = re.compile(r"[0-7]{3}")


@dataclass(frozen=True, slots=True)
class Matcher:
    """One condition. A label that is missing has the value b""."""

    name: bytes
    operator: Operator
    value: bytes

    def select(self, values: Sequence[bytes]) -> Bool:
        """Which values of a label (b"" if missing) fulfil the condition."""
        if self.operator in ("=", "!="):
            found = np.fromiter((value == self.value for value in values), dtype=np.bool_, count=len(values))
        else:
            distinct = list(dict.fromkeys(values))
            holds = dict(zip(distinct, match_whole(text_array(distinct), self.value.decode()).tolist(), strict=True))
            found = np.fromiter((holds[value] for value in values), dtype=np.bool_, count=len(values))
        return found if self.operator in ("=", "=~") else ~found


@dataclass(frozen=True, slots=True)
class Selector:
    """Conditions that must all hold; none of them selects everything."""

    text: str
    matchers: tuple[Matcher, ...]

    def select(self, label_sets: Sequence[Mapping[bytes, bytes]]) -> Bool:
        """Which label sets are selected.

        >>> parse_selector('{service_name="shop", zone=""}').select([{b"service_name": b"shop"}, {}]).tolist()
        [True, False]
        """
        result = np.ones(len(label_sets), dtype=np.bool_)
        for matcher in self.matchers:
            result &= matcher.select([labels.get(matcher.name, b"") for labels in label_sets])
        return result


def parse_selector(text: str) -> Selector:
    r"""Read a selector.

    Names are Prometheus's, or anything in quotes (`{"k8s.pod"="a"}`, as Prometheus 3 writes them). Values are quoted
    by ", ' or `; in the first two, backslash escapes are those of Go. Regular expressions are RE2's and match a value
    as a whole. The empty selector `{}` selects everything.

    >>> [(m.name, m.operator, m.value) for m in parse_selector('{a="b\\x00", c=~`d|e`,}').matchers]
    [(b'a', '=', b'b\x00'), (b'c', '=~', b'd|e')]

    Raises:
        SelectorError: it does not parse; says where and why.
    """
    return _Parser(text).selector()


class _Parser:
    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0

    def selector(self) -> Selector:
        self._skip_space()
        if not self._take("{"):
            raise self._error(self.at, "a selector starts with { and has no metric name before it")
        matchers = []
        self._skip_space()
        while not self._take("}"):
            matchers.append(self._matcher())
            self._skip_space()
            if not self._take(",") and self._next() != "}":
                raise self._error(self.at, "expected , or } after a matcher")
            self._skip_space()
        self._skip_space()
        if self.at < len(self.text):
            raise self._error(self.at, "nothing may follow the closing }")
        return Selector(self.text, tuple(matchers))

    def _matcher(self) -> Matcher:
        name = self._name()
        self._skip_space()
        match = _OPERATOR.match(self.text, self.at)
        if match is None:
            raise self._error(self.at, "expected one of = != =~ !~ after the label name")
        operator = cast(Operator, match[0])
        self.at = match.end()
        self._skip_space()
        start = self.at
        if self._next() not in ('"', "'", "`"):
            raise self._error(start, "expected a value in quotes")
        value = self._string()
        if operator in ("=~", "!~"):
            try:
                check_regex(value.decode())
            except UnicodeDecodeError as error:
                raise self._error(start, "a regular expression must be UTF-8") from error
            except RegexProblem as problem:
                raise self._error(self._place(start, value, problem.position), str(problem)) from problem
        return Matcher(name, operator, value)

    def _place(self, start: int, value: bytes, position: int | None) -> int:
        """Where a character of a value stands: escapes make it longer as text; the quote where that is not known."""
        if position is None:
            return start
        behind, self.at = self.at, start + 1
        count = len(value.decode()[:position].encode())
        quote = self.text[start]
        while count > 0:
            count -= len(self._character(quote))
        place, self.at = self.at, behind
        return place

    def _name(self) -> bytes:
        start = self.at
        if self._next() in ('"', "'", "`"):
            name = self._string()
            if not name:
                raise self._error(start, "a label name must not be empty")
            self._skip_space()
            if self._next() in (",", "}"):
                raise self._error(start, "a metric name selects nothing here; write a label, an operator and a value")
            return name
        match = _NAME.match(self.text, start)
        if match is None:
            why = "expected a label name (a letter or _ first; other names in quotes) or }"
            raise self._error(start, why if start < len(self.text) else "the selector is not closed by }")
        self.at = match.end()
        return match[0].encode()

    def _string(self) -> bytes:
        start, quote = self.at, self._next()
        self.at += 1
        parts: list[bytes] = []
        while (char := self._next()) != quote:
            if not char or (char == "\n" and quote != "`"):
                raise self._error(start, f"this string is not closed by {quote}")
            parts.append(self._character(quote))
        self.at += 1
        return b"".join(parts)

    def _character(self, quote: str) -> bytes:
        """The next character of a string, or what the next escape stands for."""
        char = self._next()
        if char == "\\" and quote != "`":
            return self._escape(quote)
        self.at += 1
        try:
            return char.encode()
        except UnicodeEncodeError as error:
            raise self._error(self.at - 1, "half of a surrogate pair is no character") from error

    def _escape(self, quote: str) -> bytes:
        start = self.at
        char = self.text[start + 1 : start + 2]
        self.at += 2
        if char in _SIMPLE_ESCAPES:
            return bytes([_SIMPLE_ESCAPES[char]])
        if char and char == quote:
            return char.encode()
        if char in _CODE_ESCAPES:
            digits = self.text[self.at : self.at + _CODE_ESCAPES[char]]
            if len(digits) != _CODE_ESCAPES[char] or not _HEX.fullmatch(digits):
                raise self._error(start, f"\\{char} needs {_CODE_ESCAPES[char]} hexadecimal digits")
            self.at += len(digits)
            code = int(digits, 16)
            if char == "x":
                return bytes([code])
            if code > 0x10FFFF or 0xD800 <= code < 0xE000:
                raise self._error(start, f"\\{char}{digits} is no character")
            return chr(code).encode()
        octal = _OCTAL.match(self.text, start + 1)
        if octal is not None and int(octal[0], 8) < 256:
            self.at = octal.end()
            return bytes([int(octal[0], 8)])
        shown = f"\\{char}" if char else "a backslash at the end"
        raise self._error(
            start, f"{shown} is no escape of Go's strings; write \\\\ for a backslash, or use ` as quotes"
        )

    def _next(self) -> str:
        return self.text[self.at : self.at + 1]

    def _take(self, char: str) -> bool:
        if self._next() != char:
            return False
        self.at += 1
        return True

    def _skip_space(self) -> None:
        match = _SPACE.match(self.text, self.at)
        if match is not None:
            self.at = match.end()

    def _error(self, position: int, why: str) -> SelectorError:
        return SelectorError(self.text, position, why)


_PROFILE_TYPE_PARTS: Final = 5
_GAUGE: Final = re.compile(r"[^\[\]\s]+")


def _check_selector(text: str) -> str:
    try:
        parse_selector(text)
    except SelectorError as error:
        raise refusal("selector", str(error)) from error
    return text


def _check_types(text: str) -> str:
    if not _GAUGE.fullmatch(text):
        what = "is no type; write a sample type (inuse_space) or a whole profile type"
        raise refusal("gauge", f"{what}; * and ? stand for any characters")
    if ":" in text and text.count(":") != _PROFILE_TYPE_PARTS - 1:
        raise refusal(
            "gauge",
            "is no whole type; write five parts, name:type:unit:period_type:period_unit, or a sample type alone",
        )
    return text


#: A label selector in PromQL's notation.
SelectorText = Annotated[str, AfterValidator(_check_selector)]
#: A glob of a sample type, or of a whole profile type.
TypeText = Annotated[str, AfterValidator(_check_types)]
