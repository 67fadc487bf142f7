"""RE2's regular expressions, as far as label selectors need them, run by Python's `re`.

The pattern is read by RE2's grammar and written again for `re`, atom by atom, so that what differs between the two
(ASCII classes, `$`, `.`, inline flags, literal braces) means what RE2 means; what RE2 refuses is refused by name.
Only whole-value matching is offered, for which laziness and captures have no meaning. Not promised: linear time.
"""

import re
from typing import Final

from pyro_assets.series.regex_classes import (
    PERL_CLASSES,
    POSIX_CLASSES,
    UNICODE_END,
    Ranges,
    as_class_character,
    complement,
)

_CONTROL: Final = {"a": 7, "f": 12, "t": 9, "n": 10, "r": 13, "v": 11}
_ANCHORS: Final = {"A": r"(?:\A)", "z": r"(?:\Z)", "b": r"(?a:\b)", "B": r"(?a:(?!\b))"}
_REPEAT: Final = re.compile(r"\{(\d{1,9})(?:(,)(\d{0,9}))?\}")
_NAME: Final = re.compile(r"[A-Za-z0-9_]+")
_FLAGS: Final = re.compile(r"([imsU]*)(?:-([imsU]+))?([:)])")
_MAX_REPEAT: Final = 1000
_MAX_DEPTH: Final = 200

#: Openings that RE2 does not have, longest first.
_REFUSED_GROUPS: Final = (
    ("(?<=", "lookbehind"),
    ("(?<!", "negative lookbehind"),
    ("(?P=", "backreferences"),
    ("(?P>", "recursion"),
    ("(?=", "lookahead"),
    ("(?!", "negative lookahead"),
    ("(?>", "atomic groups"),
    ("(?(", "conditional groups"),
    ("(?#", "comments in groups"),
    ("(?|", "branch resets"),
    ("(?R", "recursion"),
    ("(?&", "recursion"),
)


class RegexProblem(ValueError):
    """The pattern is not one of RE2's; `position` is 0-based in the pattern."""

    def __init__(self, position: int, why: str) -> None:
        self.position, self.why = position, why
        super().__init__(f"character {position + 1} of the regular expression: {why}")


def compile_anchored(pattern: str) -> re.Pattern[str]:
    r"""Compile a pattern that must match a value as a whole; `.` matches a newline, as in today's Prometheus.

    >>> bool(compile_anchored("bike|c.r").fullmatch("car")), bool(compile_anchored("bike").fullmatch("bikes"))
    (True, False)
    >>> compile_anchored(r"(a)\1")
    Traceback (most recent call last):
    ...
    pyro_assets.series.regex.RegexProblem: character 4 of the regular expression: RE2 has no backreferences

    Raises:
        RegexProblem: the pattern is none of RE2's, or uses what is not supported here.
    """
    text = _Translator(pattern).run()
    try:
        return re.compile(text)
    except (re.error, OverflowError, RecursionError) as error:
        raise RegexProblem(0, f"cannot be compiled ({error})") from error


class _Translator:
    def __init__(self, pattern: str) -> None:
        self.pattern = pattern
        self.at = 0
        self.out: list[str] = []
        # Flags of the enclosing groups; a group's flags end with it.
        self.flags = {"i": False, "m": False, "s": True}
        self.outer: list[tuple[dict[str, bool], int]] = []
        self.names: set[str] = set()
        #: an atom stands before, so that a repetition has something to repeat
        self.has_atom = False

    def run(self) -> str:
        while self.at < len(self.pattern):
            self._step(self.pattern[self.at])
        if self.outer:
            raise RegexProblem(self.outer[-1][1], "this parenthesis is not closed")
        return "".join(self.out)

    def _step(self, char: str) -> None:
        start = self.at
        if char == "(":
            self._open()
        elif char == ")":
            if not self.outer:
                raise RegexProblem(start, "this parenthesis closes nothing; write \\) for the character")
            self.flags = self.outer.pop()[0]
            self.at += 1
            self._atom(")")
        elif char == "|":
            self.at += 1
            self.out.append("|")
            self.has_atom = False
        elif char in "*+?":
            self.at += 1
            self._repeat(start, char)
        elif char == "{" and (counts := _REPEAT.match(self.pattern, start)):
            self.at = counts.end()
            self._repeat(start, self._counts(start, counts))
        elif char == "[":
            self._atom(self._class_text())
        elif char == ".":
            self.at += 1
            self._atom("(?s:.)" if self.flags["s"] else r"[^\n]")
        elif char in "^$":
            self.at += 1
            single = r"(?:\A)" if char == "^" else r"(?:\Z)"
            self._atom(f"(?m:{char})" if self.flags["m"] else single)
        elif char == "\\":
            self._escape()
        else:
            self.at += 1
            self._atom(self._literal(char))

    def _atom(self, text: str) -> None:
        self.out.append(text)
        self.has_atom = True

    def _literal(self, char: str) -> str:
        return f"(?i:{re.escape(char)})" if self.flags["i"] else re.escape(char)

    def _open(self) -> None:
        start = self.at
        rest = self.pattern[start : start + 4]
        for opening, name in _REFUSED_GROUPS:
            if rest.startswith(opening):
                raise RegexProblem(start, f"RE2 has no {name}")
        if not rest.startswith("(?"):
            self._push(start, dict(self.flags), start + 1)
            return
        for opening in ("(?P<", "(?<"):
            if rest.startswith(opening):
                name_match = _NAME.match(self.pattern, start + len(opening))
                end = name_match.end() if name_match else start + len(opening)
                if name_match is None or self.pattern[end : end + 1] != ">":
                    raise RegexProblem(start, "a group's name is letters, digits and _, closed by >")
                if name_match[0] in self.names:
                    raise RegexProblem(start, f"the group name {name_match[0]!r} is used twice")
                self.names.add(name_match[0])
                self._push(start, dict(self.flags), end + 1)
                return
        match = _FLAGS.match(self.pattern, start + 2)
        if match is None or (match[3] == ")" and not match[1] and not match[2]):
            raise RegexProblem(start, "this kind of group is none of RE2's; flags are i, m, s and U")
        flags = dict(self.flags)
        flags.update(dict.fromkeys(set(match[1]) & set(flags), True))
        flags.update(dict.fromkeys(set(match[2] or "") & set(flags), False))
        if match[3] == ":":
            self._push(start, flags, match.end())
        else:
            # RE2 would let a repetition reach over the flags to what stands before; nobody means that.
            self.flags, self.at, self.has_atom = flags, match.end(), False

    def _push(self, start: int, flags: dict[str, bool], behind: int) -> None:
        if len(self.outer) >= _MAX_DEPTH:
            raise RegexProblem(start, f"more than {_MAX_DEPTH} groups inside each other")
        self.outer.append((self.flags, start))
        self.flags, self.at = flags, behind
        self.out.append("(?:")
        self.has_atom = False

    def _repeat(self, start: int, operator: str) -> None:
        if not self.has_atom:
            raise RegexProblem(
                start, f"nothing stands before {operator} that it could repeat; write \\{operator} for the character"
            )
        self.out.append(operator)
        behind = self.pattern[self.at : self.at + 1]
        if behind == "?":  # lazy: the same for a match of the whole value
            self.at += 1
            behind = self.pattern[self.at : self.at + 1]
        elif behind == "+":
            raise RegexProblem(start, f"RE2 has no possessive quantifiers ({operator}+)")
        if behind and (behind in "*+?" or _REPEAT.match(self.pattern, self.at)):
            raise RegexProblem(self.at, "a repetition of a repetition; put the inner one into (?:...)")

    def _counts(self, start: int, match: re.Match[str]) -> str:
        low = int(match[1])
        high = int(match[3]) if match[3] else low
        if low > _MAX_REPEAT or high > _MAX_REPEAT or high < low:
            raise RegexProblem(start, f"counts must ascend and be at most {_MAX_REPEAT}; write smaller ones")
        return f"{{{low}{match[2] or ''}{match[3] or ''}}}"

    def _escape(self) -> None:
        start = self.at
        char = self.pattern[start + 1 : start + 2]
        if char == "Q":
            end = self.pattern.find("\\E", start + 2)
            quoted = self.pattern[start + 2 : end if end >= 0 else len(self.pattern)]
            self.at = end + 2 if end >= 0 else len(self.pattern)
            for literal in quoted:
                self._atom(self._literal(literal))
        elif char and char in _ANCHORS:
            self.at += 2
            self._atom(_ANCHORS[char])
        elif char and char.lower() in PERL_CLASSES:
            self.at += 2
            self._atom(self._ranges(PERL_CLASSES[char.lower()], negated=char.isupper()))
        else:
            self._atom(self._literal(chr(self._escaped_character())))

    def _escaped_character(self) -> int:
        """One character after a backslash, inside or outside of a class; moves behind it."""
        start, pattern = self.at, self.pattern
        char = pattern[start + 1 : start + 2]
        if not char:
            raise RegexProblem(start, "a backslash at the end; write \\\\ for the character")
        if char in "pP":
            raise RegexProblem(start, "Unicode classes (\\p) are not supported here; write ranges")
        if char == "x":
            hexadecimal = re.compile(r"\{([0-9A-Fa-f]{1,8})\}|([0-9A-Fa-f]{2})").match(pattern, start + 2)
            if hexadecimal is None or int(hexadecimal[1] or hexadecimal[2], 16) > UNICODE_END:
                raise RegexProblem(start, "write \\x41 or \\x{10FFFF}")
            self.at = hexadecimal.end()
            return int(hexadecimal[1] or hexadecimal[2], 16)
        octal = re.compile(r"0[0-7]{0,2}|[1-7][0-7]{1,2}").match(pattern, start + 1)
        if octal is not None:
            self.at = octal.end()
            return int(octal[0], 8)
        self.at = start + 2
        if char in _CONTROL:
            return _CONTROL[char]
        if char in "123456789kg":
            raise RegexProblem(start, "RE2 has no backreferences")
        if char.isascii() and not char.isalnum():
            return ord(char)
        remedy = "; the end of the value is \\z" if char == "Z" else ""
        raise RegexProblem(start, f"RE2 has no escape \\{char}{remedy}")

    def _class_text(self) -> str:
        start, pattern = self.at, self.pattern
        self.at += 1
        negated = pattern[self.at : self.at + 1] == "^"
        self.at += negated
        ranges: list[tuple[int, int]] = []
        first = True
        while first or pattern[self.at : self.at + 1] != "]":
            if self.at >= len(pattern):
                raise RegexProblem(start, "this class is not closed by ]")
            ranges += self._class_item(start)
            first = False
        self.at += 1
        return self._ranges(tuple(ranges), negated=negated)

    def _class_item(self, start: int) -> Ranges:
        pattern = self.pattern
        if pattern.startswith("[:", self.at) and (end := pattern.find(":]", self.at + 2)) >= 0:
            name = pattern[self.at + 2 : end]
            ranges = POSIX_CLASSES.get(name.removeprefix("^"))
            if ranges is None:
                raise RegexProblem(self.at, f"no class is called [:{name}:]")
            self.at = end + 2
            return self._complement(ranges) if name.startswith("^") else ranges
        char = pattern[self.at + 1 : self.at + 2]
        if pattern[self.at] == "\\" and char and char.lower() in PERL_CLASSES:
            self.at += 2
            return self._complement(PERL_CLASSES[char.lower()]) if char.isupper() else PERL_CLASSES[char.lower()]
        low = high = self._class_character()
        if pattern[self.at : self.at + 1] == "-" and pattern[self.at + 1 : self.at + 2] not in ("]", ""):
            self.at += 1
            high = self._class_character()
            if high < low:
                raise RegexProblem(start, f"the range {chr(low)}-{chr(high)} descends; write it the other way round")
        return ((low, high),)

    def _class_character(self) -> int:
        if self.pattern[self.at] == "\\":
            return self._escaped_character()
        self.at += 1
        return ord(self.pattern[self.at - 1])

    def _ranges(self, ranges: Ranges, *, negated: bool = False) -> str:
        body = "".join(f"{as_class_character(low)}-{as_class_character(high)}" for low, high in ranges)
        text = f"[{'^' if negated else ''}{body}]"
        return f"(?i:{text})" if self.flags["i"] else text

    def _complement(self, ranges: Ranges) -> Ranges:
        return complement(ranges, ignores_case=self.flags["i"])
