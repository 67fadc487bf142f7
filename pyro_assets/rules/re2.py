r"""Regular expressions by RE2, which Arrow brings: linear time whatever people write, over many texts at once.

An expression matches a text as a whole, and `.` matches a newline, as in today's Prometheus. What Go's own reader
refuses and RE2 takes is refused here, so that an expression means the same wherever it is copied to.
"""

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Any, Final

import numpy as np
import pyarrow as pa

from pyro_assets.block.columns import Bool

MAX_CHARACTERS: Final = 10_000
# Arrow's words before RE2's.
_ARROWS_WORDS: Final = "Invalid regular expression: "
# Go's reader has no \C, and no two groups of one name. What is quoted or stands in a class is neither.
_TOKEN: Final = re.compile(
    r"\\Q(?s:.*?)(?:\\E|\Z)|(?P<escape>\\(?s:.))|\[\^?\]?(?:\[:\^?\w*:\]|\\(?s:.)|[^\]\\])*+\]|\(\?P?<(?P<group>\w+)>"
)
# What to do about RE2's words.
_REMEDIES: Final = {
    "missing )": "close every parenthesis, or write \\( for the character",
    "unexpected )": "write \\) for the character",
    "missing ]": "close the class, or write \\[ for the character",
    "trailing \\": "write \\\\ for the character",
    "invalid perl operator": "write it without lookaround, atomic groups and conditions, which RE2 has not",
    "invalid escape sequence": "write it without backreferences, which RE2 has not; the end of the text is \\z",
    "invalid character class range": "write a class that RE2 knows, or a range that ascends",
    "invalid named capture group": "name it by letters, digits and _",
    "no argument for repetition operator": "write a backslash before it for the character",
    "bad repetition operator": "put the inner repetition into (?:...)",
    "invalid repetition size": "use counts that ascend and multiply to 1000 at most",
    "pattern too large": "make it shorter or with fewer repetitions",
}
# Every byte that is no part of a character becomes one of these when it is decoded with `surrogateescape`.
_NO_CHARACTER: Final = dict.fromkeys(range(0xDC80, 0xDD00), "\ufffd")


class RegexProblem(ValueError):
    """The pattern is refused; `position` is 0-based in the pattern, None where no single place is to blame."""

    def __init__(self, position: int | None, why: str) -> None:
        self.position, self.why = position, why
        place = "the regular expression" if position is None else f"character {position + 1} of the regular expression"
        super().__init__(f"{place}: {why}")


def check_regex(pattern: str) -> None:
    r"""Refuse what is no expression by itself: nothing is put around it before it was read alone.

    >>> check_regex("a|b+")
    >>> check_regex("a)|(?:b")
    Traceback (most recent call last):
    ...
    pyro_assets.rules.re2.RegexProblem: the regular expression: unexpected ): a)|(?:b; write \) for the character

    Raises:
        RegexProblem: RE2 or Go does not take it, or it is too long.
    """
    if len(pattern) > MAX_CHARACTERS:
        raise RegexProblem(None, f"is longer than {MAX_CHARACTERS} characters; write several")
    for expression in (pattern, _anchored(pattern)):
        why = _complaint(expression)
        if why is not None:
            _, _, fragment = why.partition(": ")
            # A fragment that stands twice could be either; where a parenthesis is missing RE2 shows the whole pattern.
            is_found = fragment and pattern.count(fragment) == 1 and not why.startswith(("missing )", "unexpected )"))
            remedy = next((f"; {remedy}" for words, remedy in _REMEDIES.items() if why.startswith(words)), "")
            raise RegexProblem(pattern.index(fragment) if is_found else None, why + remedy)
    groups = set()
    for token in _TOKEN.finditer(pattern):
        if token["escape"] == "\\C":
            raise RegexProblem(token.start(), "invalid escape sequence: \\C; write . for any character")
        if token["group"] in groups:
            raise RegexProblem(token.start(), f"duplicate capture group name: {token[0]}; leave the name out")
        if token["group"]:
            groups.add(token["group"])


def is_taken(expression: str) -> bool:
    """Whether RE2 takes an expression of ours, which may be too large."""
    return _complaint(_anchored(expression)) is None


def match_whole(texts: Any, expression: str) -> Bool:
    r"""Which texts an expression matches as a whole.

    Args:
        texts: large_string array; distinct ones, as a call costs more than most texts.
        expression: one that was checked.

    >>> match_whole(pa.array(["bike", "bikes"], pa.large_string()), "bike|c.r").tolist()
    [True, False]
    """
    import pyarrow.compute as pc

    found = pc.match_substring_regex(texts, _anchored(expression))
    return np.asarray(found.to_numpy(zero_copy_only=False), dtype=np.bool_)


def text_array(values: Iterable[bytes]) -> Any:
    r"""Bytes as a large_string array; each byte that is not UTF-8 is one U+FFFD, as it is for Go.

    >>> text_array([b"caf\xc3\xa9", b"\xff\xe2\x82"]).to_pylist()
    ['café', '���']
    """
    texts = [value.decode("utf-8", "surrogateescape").translate(_NO_CHARACTER) for value in values]
    return pa.array(texts, type=pa.large_string())


@lru_cache(maxsize=4096)
def _anchored(expression: str) -> str:
    quotes = [token[0] for token in _TOKEN.finditer(expression) if token[0].startswith("\\Q")]
    # An open quotation reaches to the end, and no further.
    end = "\\E" if quotes and not quotes[-1].endswith("\\E") else ""
    return rf"(?s)\A(?:{expression}{end})\z"


def _complaint(expression: str) -> str | None:
    """The message with which RE2 refuses an expression, None where it takes it."""
    import pyarrow.compute as pc

    try:
        pc.match_substring_regex(pa.array([""], type=pa.large_string()), expression)
    except pa.ArrowInvalid as error:
        return str(error).removeprefix(_ARROWS_WORDS)
    return None
