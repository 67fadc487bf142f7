"""Regular expressions of selectors in bounded time, whatever people write.

Expressions in which a group repeats could take Python's `re` exponential time; RE2 (in Arrow) runs those. All others
stay with `re`, which is quicker for the single short values that labels are, and at worst polynomial.
"""

import re
from dataclasses import dataclass
from typing import Final

import pyarrow as pa

from pyro_assets.series.regex import RegexProblem, compile_anchored

# A group that repeats, or so many open repetitions that trying all their lengths takes long.
_REPEATED_GROUP: Final = re.compile(r"\)\s*[*+{?]")
_OPEN: Final = re.compile(r"[*+]|\{\d+,\}")
_MOST_OPEN: Final = 3
_NO_CHARACTER: Final = re.compile("[\ud800-\udfff]")


@dataclass(frozen=True, slots=True)
class LinearPattern:
    """An expression that RE2 runs."""

    expression: str

    def fullmatch(self, text: str) -> bool | None:
        """Whether the whole text matches: True or None, as `re` has it."""
        import pyarrow.compute as pc

        values = pa.array([_NO_CHARACTER.sub("\ufffd", text)], type=pa.large_string())
        return pc.match_substring_regex(values, self.expression)[0].as_py() or None


def compile_bounded(pattern: str) -> "re.Pattern[str] | LinearPattern":
    r"""Compile a pattern that must match a value as a whole, as `regex.compile_anchored` does.

    >>> bool(compile_bounded("(a+)+b").fullmatch("a" * 5000)), bool(compile_bounded("(a|b)+").fullmatch("abba"))
    (False, True)

    Raises:
        RegexProblem: RE2 does not take it.
    """
    compiled = compile_anchored(pattern)
    if not _REPEATED_GROUP.search(pattern) and len(_OPEN.findall(pattern)) <= _MOST_OPEN:
        return compiled
    linear = LinearPattern(rf"(?s)\A(?:{pattern})\z")
    try:
        linear.fullmatch("")
    except pa.ArrowInvalid as error:
        raise RegexProblem(0, f"RE2 refuses it ({error}); make it shorter or with fewer repetitions") from error
    return linear
